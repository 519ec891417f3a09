"""One cell of an agent, where the agent's cells run in this process."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from rlm_kernel import preview, prompts
from rlm_kernel.environment.apart import apart
from rlm_kernel.environment.execute import CellInterrupted, execute
from rlm_kernel.environment.sink import Sink
from rlm_kernel.environment.within import repr_within
from rlm_kernel.namespace import CALLER, lend, mend
from rlm_kernel.runner.reading import Watch
from rlm_kernel.runner.recorded import NO_RERUN
from rlm_kernel.store import WITNESS
from rlm_kernel.values import CellResult

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent


async def run_cell(agent: Agent, step: int | None, source: str, sink: Sink) -> CellResult:
    """
    The lent names are there, secrets are out of the result. `step` is None for a person's own cell.

    Raises CellInterrupted.
    """
    lend(agent.namespace, agent.runner.lends)
    token = CALLER.set(agent.at(step))
    watch = Watch(agent, step)
    watched = WITNESS.set(watch)
    # A sub-agent's cells run beside others; the root's are the person's own, as it were.
    alone: AbstractContextManager[object] = (
        nullcontext() if agent.caller is None else apart(agent.namespace, agent.lent)
    )
    try:
        with alone:
            result = await execute(
                NO_RERUN.sub("", source),
                agent.namespace,
                shell=agent.runner.shell,
                label=label(agent, step),
                render=lambda value: preview.render(value, show=repr_within),
                sink=sink,
                stopped=lambda: agent.scope.why is not None,
            )
    except CellInterrupted as stop:
        raise CellInterrupted(_finished(agent, stop.result)) from None
    finally:
        WITNESS.reset(watched)
        watch.close()
        CALLER.reset(token)
    return _finished(agent, result)


def label(agent: Agent, step: int | None) -> str:
    """What tracebacks call the cell."""
    if step is None:
        return "a person's own cell"
    return f"step {step}" if agent.caller is None else f"agent {agent.id}, step {step}"


def _finished(agent: Agent, result: CellResult) -> CellResult:
    result = agent.runner.redactor.result(result)
    broken = mend(agent.namespace, agent.runner.lends)
    return replace(result, notes=(*result.notes, prompts.restored(broken))) if broken else result
