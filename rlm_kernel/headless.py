"""The door for plain Python: `run`, `arun` and `replay`, the same loop with no kernel around it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm_kernel.environment.interrupts import stoppable
from rlm_kernel.environment.notebooklike import a_namespace, a_shell
from rlm_kernel.errors import UsageError
from rlm_kernel.lm import resolve
from rlm_kernel.lm.thread import in_a_loop
from rlm_kernel.namespace import LENT
from rlm_kernel.rerun.again import Replay
from rlm_kernel.rerun.needs import prepare
from rlm_kernel.runner import Runner
from rlm_kernel.schema import Schema
from rlm_kernel.settings import RLM
from rlm_kernel.store import Store
from rlm_kernel.trace.loading import Trace, load_trace
from rlm_kernel.values import Run


def run(
    question: str,
    context: object = None,
    *,
    model: str | None = None,
    schema: object = None,
    quiet: bool = True,
    **settings: Any,
) -> Run:
    """
    Ask `question` about `context`, which is handed over by reference, and wait for the answer.

    `schema` is the form of the answer, a type or a JSON Schema as a dict. `settings` are those of `%config RLM`:
    `max_steps=10`, `max_cost_usd=None`, `trace_dir="..."`. With `quiet=False` what the model's cells print is shown.
    Raises UsageError, ModelError, LimitExceeded, NoAnswer or RunInterrupted; each but the first has what was reached
    as its `run`.
    """
    if in_a_loop():
        raise UsageError("an event loop is running here already: use `await rlm_kernel.arun(...)`, or a %%rlm cell")
    return asyncio.run(arun(question, context, model=model, schema=schema, quiet=quiet, **settings))


async def arun(
    question: str,
    context: object = None,
    *,
    model: str | None = None,
    schema: object = None,
    quiet: bool = True,
    **settings: Any,
) -> Run:
    """`run` for code that awaits. The model's cells run on this thread, in a namespace of their own."""
    if not question.strip():
        raise UsageError("the question is empty")
    chosen = RLM.load().replaced(**({"model": model} if model is not None else {}), **settings)
    form = None if schema is None else Schema(schema)
    task = asyncio.current_task()
    assert task is not None
    with a_shell() as shell, a_namespace(shell, {**LENT, "context": Store()}) as namespace:
        namespace["context"] = Store() if context is None else context
        runner = Runner(
            lambda name: resolve(name or chosen.model, timeout_s=chosen.timeout_s),
            namespace,
            shell=shell,
            limits=chosen.limits(),
            folder=chosen.trace_path,
            door="python",
            policy=chosen.policy(),
            schema=form,
            keep_context=chosen.keep_context,
        )
        with stoppable(task, runner.stop), shell.builtin_trap:
            return await runner.run(question, frontend=not quiet)


@dataclass(frozen=True, slots=True)
class Replayed:
    """A recorded run that came to the same once more."""

    answer: object
    """What FINAL was given this time; None where the record ends without it."""
    cells: int
    notes: tuple[str, ...]
    """What came out otherwise as it may, and what could not be told."""


def replay(trace: str | Path | Trace, context: object = None, *, strict: bool = False, rerun: bool = False) -> Replayed:
    """
    Run every cell of a recorded run again, with the recorded replies and no model.

    `context` is needed where the record does not hold it. With `strict`, cells that depend on a clock or on chance may
    come out otherwise no more than others. With `rerun`, those marked `%rlm no-rerun` run too. Raises Diverged at the
    first cell that comes to something else, UsageError where the record cannot run here, TraceError.
    """
    if in_a_loop():
        raise UsageError("an event loop is running here already: use %rlm replay, or a thread")
    loaded = trace if isinstance(trace, Trace) else load_trace(trace)
    empty = Store()
    with a_shell() as shell, a_namespace(shell, {**LENT, "context": empty}) as namespace:
        del namespace["context"]  # that of the record comes
        if context is not None:
            namespace["context"] = context
        again = Replay(loaded, shell, namespace, strict=strict, rerun=rerun)
        said = prepare(loaded, namespace)
        namespace.setdefault("context", empty)  # a run that was given none began with that
        with shell.builtin_trap:
            diverged = asyncio.run(again.all())
    if diverged is not None:
        raise diverged from None
    answer = None if again.answer is None else again.answer.value
    return Replayed(answer, again.report()["cells"], (*said, *again.recorded.notes))
