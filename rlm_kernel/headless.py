"""The door for plain Python: `run` and `arun`, the same loop with no kernel around it."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from rlm_kernel.environment import routing
from rlm_kernel.environment.interrupts import stoppable
from rlm_kernel.errors import UsageError
from rlm_kernel.lm import resolve
from rlm_kernel.namespace import lend
from rlm_kernel.runner import Runner
from rlm_kernel.settings import RLM
from rlm_kernel.store import Store
from rlm_kernel.values import Run


def run(question: str, context: object = None, *, model: str | None = None, quiet: bool = True, **settings: Any) -> Run:
    """
    Ask `question` about `context`, which is handed over by reference, and wait for the answer.

    `settings` are those of `%config RLM`: `max_steps=10`, `max_cost_usd=None`, `trace_dir="..."`. With `quiet=False`
    what the model's cells print is shown. Raises UsageError, ModelError, LimitExceeded, NoAnswer or RunInterrupted;
    each but the first has what was reached as its `run`.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(arun(question, context, model=model, quiet=quiet, **settings))
    raise UsageError("an event loop is running here already: use `await rlm_kernel.arun(...)`, or a %%rlm cell")


async def arun(
    question: str, context: object = None, *, model: str | None = None, quiet: bool = True, **settings: Any
) -> Run:
    """`run` for code that awaits. The model's cells run on this thread, in a namespace of their own."""
    if not question.strip():
        raise UsageError("the question is empty")
    chosen = RLM.load().replaced(**({"model": model} if model is not None else {}), **settings)
    shell = get_ipython() or _shell()
    routing.install(shell)
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    namespace["context"] = Store() if context is None else context
    lend(namespace)
    runner = Runner(
        lambda name: resolve(name or chosen.model, timeout_s=chosen.timeout_s),
        namespace,
        limits=chosen.limits(),
        folder=chosen.trace_path,
        door="python",
        max_parallel=chosen.max_parallel,
    )
    task = asyncio.current_task()
    assert task is not None
    with shell.builtin_trap, stoppable(task, runner.stop):
        return await runner.run(question, shell=shell, frontend=not quiet)


def _shell() -> InteractiveShell:
    """IPython's machinery for a process that has none: transforms, magics, formatters; no history, no banner."""
    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    config.InteractiveShell.colors = "nocolor"
    hook = sys.displayhook
    shell: InteractiveShell = InteractiveShell.instance(config=config)
    sys.displayhook = hook
    return shell
