"""
What is missing before a question can be asked, each with the command that mends it.

It looks and changes nothing: no model is asked, no folder is made, no key is shown. Looking at a model imports its
provider, which takes seconds for litellm, so this is for `%rlm doctor` and `jupyter rlm doctor` alone.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

from rlm_kernel import lm
from rlm_kernel._version import __version__
from rlm_kernel.errors import ModelError, UsageError
from rlm_kernel.lm import thread
from rlm_kernel.settings import RLM
from rlm_kernel.values import Price

KERNEL = "rlm"
_COMMAND = re.compile(r"[:,;]? *((?:export|pip install) \S+)$")


@dataclass(frozen=True, slots=True)
class Finding:
    ok: bool
    what: str
    """One line."""
    mend: str | None = None
    """The command, or where there is none the act, that makes it right; None where it is right."""

    def __str__(self) -> str:
        return f"ok   {self.what}" if self.ok else f"miss {self.what}  ->  {self.mend}"


def check(settings: RLM) -> list[Finding]:
    """Everything that was looked at, good and bad. Not for the loop thread: it waits for that one."""
    return [
        _versions(),
        *(Finding(False, problem, "correct it where it is set") for problem in settings.problems.values()),
        *_model(settings),
        _kernelspec(),
        _trace_folder(settings.trace_path),
    ]


def _versions() -> Finding:
    packages = ", ".join(f"{name} {version(name)}" for name in ("ipykernel", "ipython", "litellm"))
    return Finding(True, f"rlm_kernel {__version__}, Python {platform.python_version()}, {packages}")


def _model(settings: RLM) -> Iterator[Finding]:
    name = settings.model
    if name is None:
        yield Finding(False, "no model is set", _setting("model", "openai/gpt-5-mini"))
        return
    try:
        model = lm.resolve(name)
        thread.wait(thread.shared().submit(model.prepare()))
    except (ModelError, UsageError) as error:
        yield _model_failure(name, " ".join(str(error).split()))
        return
    yield Finding(True, f"model {name} is ready to be asked")
    yield _price(settings, name, model.price())


def _model_failure(name: str, message: str) -> Finding:
    what = message if name in message else f"model {name}: {message}"
    if command := _COMMAND.search(what):  # such as the variable that the key is missing from
        return Finding(False, what[: command.start()], command[1])
    return Finding(False, what, _setting("model", "PROVIDER/MODEL"))


def _price(settings: RLM, name: str, price: Price | None) -> Finding:
    if price is not None:
        dollars = f"{price.prompt_usd * 1e6:.4g} in, {price.completion_usd * 1e6:.4g} out"
        return Finding(True, f"price of {name}: US dollars for a million tokens {dollars}")
    if settings.max_cost_usd is None:
        return Finding(True, f"price of {name} is unknown; no limit in dollars is set")
    cannot = f"price of {name} is unknown: max_cost_usd={settings.max_cost_usd:g} cannot hold"
    if settings.max_tokens is not None:
        return Finding(True, f"{cannot}, max_tokens={settings.max_tokens} does")
    return Finding(False, cannot, _setting("max_tokens", "500000"))


def _kernelspec() -> Finding:
    try:
        spec = KernelSpecManager().get_kernel_spec(KERNEL)
    except NoSuchKernel:
        return Finding(False, f"no kernel named {KERNEL} is installed", "jupyter rlm install --sys-prefix")
    where = Path(spec.resource_dir)
    mend = "jupyter rlm install " + ("--sys-prefix" if where.is_relative_to(sys.prefix) else "--user")
    interpreter = spec.argv[0]
    if os.path.dirname(interpreter):  # a bare `python` is started as the interpreter of the Jupyter server
        prefix = _prefix_of(interpreter)
        if prefix is None:
            return Finding(False, f"kernel {KERNEL} in {where}: {interpreter} does not run", mend)
        if Path(prefix) != Path(sys.prefix):
            return Finding(False, f"kernel {KERNEL} in {where} runs another Python, {interpreter}", mend)
    return Finding(True, f"kernel {KERNEL} in {where}")


def _prefix_of(interpreter: str) -> str | None:
    """`sys.prefix` there. Paths would not tell: every virtual environment's python may be the same file."""
    try:
        asked = subprocess.run(
            [interpreter, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip()


def _trace_folder(folder: Path) -> Finding:
    """The folder itself comes with the first run, so the nearest one that exists must let it be made."""
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        return Finding(False, f"traces cannot go to {folder}: {nearest} is a file", _setting("trace_dir", "FOLDER"))
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(False, f"traces cannot go to {folder}: {nearest} is read-only", _setting("trace_dir", "FOLDER"))
    return Finding(True, f"traces go to {folder}")


def _setting(name: str, value: str) -> str:
    shown = value if value.isdigit() else repr(value)
    return f"export RLM_{name.upper()}={value}  (in a notebook: %config RLM.{name} = {shown})"
