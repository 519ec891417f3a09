"""
A Jupyter kernel that is a Recursive Language Model environment.

    run = rlm_kernel.run("Which clauses conflict?", context=contracts, model="openai/gpt-5-mini")
    run.answer

In a notebook choose the kernel "Python 3 (RLM)", or `%load_ext rlm_kernel` in any other; then `%%rlm`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rlm_kernel._version import __version__
from rlm_kernel.errors import (
    ContextBudgetExceeded,
    Diverged,
    InvalidTransition,
    LimitExceeded,
    ModelError,
    NoAnswer,
    RLMError,
    RunInterrupted,
    TraceError,
    UsageError,
)
from rlm_kernel.values import Run, Usage

if TYPE_CHECKING:
    from rlm_kernel.headless import Replayed, arun, replay, run
    from rlm_kernel.store import Store
    from rlm_kernel.trace.loading import Trace, load_trace

__all__ = [
    "ContextBudgetExceeded",
    "Diverged",
    "InvalidTransition",
    "LimitExceeded",
    "ModelError",
    "NoAnswer",
    "RLMError",
    "Replayed",
    "Run",
    "RunInterrupted",
    "Store",
    "Trace",
    "TraceError",
    "Usage",
    "UsageError",
    "__version__",
    "arun",
    "load_trace",
    "replay",
    "run",
]


_FROM = {
    "run": "headless",
    "arun": "headless",
    "replay": "headless",
    "Replayed": "headless",
    "Store": "store",
    "Trace": "trace.loading",
    "load_trace": "trace.loading",
}
"""IPython is loaded when somebody runs something, not when a test imports an error class."""


def __getattr__(name: str) -> Any:
    if name in _FROM:
        return getattr(import_module(f"rlm_kernel.{_FROM[name]}"), name)
    raise AttributeError(f"module 'rlm_kernel' has no attribute {name!r}")


def load_ipython_extension(shell: Any) -> None:
    from rlm_kernel.extension import load

    load(shell)
