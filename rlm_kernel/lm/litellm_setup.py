"""
Before the first call through litellm: the import of it, and what it knows of a provider, its key and its prices.

The import takes seconds and 165 MB, so it happens in `load`, off the loop, or earlier in `import_in_background`.
Nothing here makes a network request, but that a price for `ollama` is asked of the local server.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import threading
from typing import Any

from rlm_kernel.errors import ModelError, UsageError
from rlm_kernel.lm import tokens
from rlm_kernel.values import Price

_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else the import fetches prices from GitHub
    "LITELLM_MODE": "PRODUCTION",  # else it loads ./.env, and a notebook's folder could redirect the calls
}
_SET_BY_LITELLM = "TIKTOKEN_CACHE_DIR"

_KEY_FROM_ELSEWHERE = {"azure", "azure_ai", "bedrock", "databricks", "sagemaker", "vertex_ai", "watsonx"}
"""Providers that also take a login of their cloud. Whether there is one shows with the first call."""

_NEEDS_BASE = {
    "hosted_vllm": "HOSTED_VLLM_API_BASE",
    "litellm_proxy": "LITELLM_PROXY_API_BASE",
    "lm_studio": "LM_STUDIO_API_BASE",
    "xinference": "XINFERENCE_API_BASE",
}
"""Servers of one's own. Without an address litellm would send what is meant for them to api.openai.com (seen)."""

_module: Any = None
_import_lock = threading.Lock()


def import_quietly() -> None:
    """`load` for a background thread. A failure shows where the module is needed."""
    try:
        load()
    except Exception as error:  # a broken installation of any kind: `prepare` will meet it again and say so
        logging.getLogger(__name__).debug("litellm could not be imported: %s", error)


def load() -> Any:
    """
    The litellm module, imported and set up once. Leaves the environment as it was: a person's cells inherit it.

    UsageError where it is not installed or cannot be imported.
    """
    global _module
    with _import_lock:
        if _module is None:
            before = {name: os.environ.get(name) for name in (*_ENVIRONMENT, _SET_BY_LITELLM)}
            tokens.load_tables()  # else litellm, which counts a stream without usage, loads them a second time
            for name, value in _ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            try:
                module: Any = importlib.import_module("litellm")
                importlib.import_module("litellm.litellm_core_utils.default_encoding")  # sets _SET_BY_LITELLM
            except ImportError as error:
                raise UsageError(f"litellm cannot be imported ({error}): pip install litellm") from None
            finally:
                for name, old in before.items():
                    if old is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = old
            module.suppress_debug_info = True
            module.disable_hf_tokenizer_download = True  # else counting for a llama tries the network for 23 s
            logging.getLogger("LiteLLM").setLevel(logging.ERROR)
            _module = module
        return _module


def check_provider(litellm: Any, name: str, provider: str) -> None:
    # Not litellm.get_llm_provider: for some providers that starts a login in the browser.
    known = {str(getattr(p, "value", p)) for p in litellm.provider_list}
    known |= {str(entry["provider"]) for entry in litellm.custom_provider_map}
    if provider in known:
        if name.partition("/")[2]:
            return
        raise UsageError(f'{name!r} names no model: write provider/model, as in "openai/gpt-5-mini"')
    close = difflib.get_close_matches(provider, sorted(known), 3)
    hint = f"; did you mean {' or '.join(close)}" if close else ""
    raise UsageError(
        f'there is no model provider "{provider}" for {name!r}{hint}. '
        'A model is written provider/model, as in "openai/gpt-5-mini"; '
        "the providers are listed at https://docs.litellm.ai/docs/providers"
    )


def check_key(litellm: Any, name: str, provider: str) -> bool:
    """
    Whether to send a placeholder for the key: none is set, but `<PROVIDER>_API_BASE` (or OPENAI_BASE_URL) is, and
    a server of one's own may well ask for none. If it does ask, its 401 says so.
    """
    needed_base = _NEEDS_BASE.get(provider)
    if needed_base is not None and not os.environ.get(needed_base):
        raise UsageError(f"{name}: where is the server? export {needed_base}=http://127.0.0.1:8000/v1")
    if provider in _KEY_FROM_ELSEWHERE:
        return False
    asked_for = litellm.validate_environment(model=name)["missing_keys"]
    missing = [key for key in asked_for if key.endswith(("_API_KEY", "_TOKEN"))]
    own_key = f"{provider.upper()}_API_KEY"
    if own_key in os.environ and not os.environ[own_key]:
        missing = [own_key]  # set and empty: litellm takes that for a key
    if not missing:
        return False
    if os.environ.get(f"{provider.upper()}_API_BASE") or (provider == "openai" and os.environ.get("OPENAI_BASE_URL")):
        return True
    raise ModelError(
        f"{name}: no key. Set {' or '.join(missing)} in the kernel's environment: export {missing[0]}=...", kind="key"
    )


def wants_cache_points(name: str) -> bool:
    """Claude caches a prefix only up to marks in the request; elsewhere that is automatic, and the marks unknown."""
    provider, _, model = name.partition("/")
    return provider == "anthropic" or (provider in ("bedrock", "vertex_ai") and "claude" in model)


def price_of(litellm: Any, name: str) -> Price | None:
    """From litellm's own table, as installed. An entry of zero is believed; no entry is None."""
    try:
        prompt_usd, completion_usd = litellm.cost_per_token(model=name, prompt_tokens=1, completion_tokens=1)
    except Exception:  # not in the table; which exception says so depends on the provider's code
        return None
    return Price(float(prompt_usd), float(completion_usd))
