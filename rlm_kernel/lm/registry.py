"""From the string that a person typed to a model. Imports no provider; whether that exists, `prepare` finds out."""

from __future__ import annotations

from rlm_kernel.errors import UsageError
from rlm_kernel.lm.litellm import LiteLLMModel
from rlm_kernel.lm.litellm_setup import import_quietly
from rlm_kernel.lm.protocol import LanguageModel
from rlm_kernel.lm.scripted import ScriptedModel

_MEND = 'set one with %config RLM.model = "openai/gpt-5-mini", with -m openai/gpt-5-mini, or with RLM_MODEL'


def resolve(model: str | None, *, timeout_s: float | None = 600.0) -> LanguageModel:
    """
    `scripted:PATH`, or a provider's model as litellm names it: `openai/gpt-5-mini`.

    UsageError for no model at all, for a name without a provider, and for a script that cannot be read. A script
    begins anew with every `resolve`. `timeout_s` is the longest silence of a provider.
    """
    name = (model or "").strip()
    if not name:
        raise UsageError(f"no model is set: {_MEND}")
    if name.startswith("scripted:"):
        return ScriptedModel.from_file(name.removeprefix("scripted:"))
    if "/" not in name:
        raise UsageError(f"{name!r} does not name a model: write provider/model or scripted:PATH; {_MEND}")
    return LiteLLMModel(name, timeout_s=timeout_s)


def warm_up(model: str) -> None:
    """The slow import that this model will need. For a background thread in an idle moment; never raises."""
    if not model.startswith("scripted:"):
        import_quietly()
