"""
Where a sub-agent works whose cells run in a process of their own: for what a thread cannot be stopped in.

The conversation stays here, and so do the trace, the ledger and whatever is asked of a model. What crosses over is a
copy: `context` and tools at the start, an answer when FINAL is called, questions and their answers in between.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from rlm_kernel import preview, prompts
from rlm_kernel.environment.execute import CellInterrupted
from rlm_kernel.environment.within import repr_within
from rlm_kernel.environment.worker.link import Packed, Setup, pack
from rlm_kernel.environment.worker.process import Worker
from rlm_kernel.errors import UsageError, WorkerEnded
from rlm_kernel.queries import Query
from rlm_kernel.runner.briefing import HIDDEN
from rlm_kernel.runner.cell import label
from rlm_kernel.runner.desk import Desk
from rlm_kernel.runner.hands import ThreadHands
from rlm_kernel.values import CellError, CellResult
from rlm_kernel.window.reader import look, read_for_caller

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent

KILL_AFTER_S = 0.3
"""A cell that was told to stop may bring back its output until then."""


class ProcessHands(ThreadHands):
    """All methods are for the loop thread. The thread that it has besides is for what `do` is given."""

    def __init__(self, agent: Agent, query: Query, max_memory_mb: int | None) -> None:
        """`max_memory_mb` is what the process may have in addition to what it begins with."""
        super().__init__(agent)
        self._query = query
        self._max_memory_mb = max_memory_mb
        self._worker: Worker | None = None
        self._desk: Desk | None = None
        self._ended: WorkerEnded | None = None

    async def prepare(self) -> None:
        """
        The process is there, with what it begins with. Again does nothing. Where nothing is handed over, it can wait
        for the first cell: a plain text may be the answer.

        Raises UsageError where context or tools have no pickle, WorkerEnded where the process did not start.
        """
        if self._query.context is not None or self._query.tools:
            await self._ready()

    async def _ready(self) -> None:
        if self._worker is None:
            await self._enter()
            desk = Desk(self._agent)
            self._desk = desk
            self._worker = desk.worker = Worker(
                f"rlm {self._agent.id}",
                partial(_setup, self._agent, self._query),
                desk.serve,
                self._agent.runner.context,
                self._max_memory_mb,
            )
        ready = asyncio.wrap_future(self._worker.ready)
        ready.add_done_callback(lambda late: late.cancelled() or late.exception())  # also where nobody waits any more
        await asyncio.shield(ready)

    async def run(self, step: int, source: str) -> CellResult:
        await self._ready()
        worker, desk, agent = self._worker, self._desk, self._agent
        assert worker is not None
        assert desk is not None
        future = asyncio.wrap_future(worker.run(step, label(agent, step), source))
        stopped = False
        try:
            result, broken, stopped = await asyncio.shield(future)
        except asyncio.CancelledError:  # ours, for a cell's own errors are values
            agent.scope.stop()  # a cell that waits for somebody else goes on when that is over
            result, broken = await _stop(worker, future)
            stopped = True
        except WorkerEnded as ended:
            self._ended = ended
            result, broken, stopped = _unfinished(type(ended).__name__, str(ended)), [], True
        result = desk.finished(agent.runner.redactor.result(result))
        if broken:
            result = replace(result, notes=(*result.notes, prompts.restored(broken)))
        if stopped:
            raise CellInterrupted(result)
        return result

    def stopped(self) -> BaseException:
        return super().stopped() if self._ended is None else self._ended

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
        super().close()


async def _stop(worker: Worker, future: asyncio.Future[Any]) -> tuple[CellResult, list[str]]:
    """Within KILL_AFTER_S, also where the task is cancelled once more meanwhile."""
    worker.interrupt()
    kill = asyncio.get_running_loop().call_later(KILL_AFTER_S, worker.kill)
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            continue
    kill.cancel()
    if future.exception() is not None:
        return _unfinished("KeyboardInterrupt", "stopped, with the process that it ran in"), []
    result, broken, _ = future.result()
    return result, broken


def _unfinished(name: str, message: str) -> CellResult:
    told = f"{name}: {message}"
    output = {"output_type": "error", "ename": name, "evalue": message, "traceback": [told]}
    return CellResult((output,), 0.0, CellError(name, message, told))


def _setup(agent: Agent, query: Query) -> Packed:
    variables = {"context": query.context, **query.tools}
    try:
        return pack(
            Setup(
                agent=agent.id,
                run=agent.runner.id,
                variables=variables,
                render=partial(preview.render, show=repr_within),
                one_line=partial(preview.one_line, show=repr_within),
                tokens_of=preview.tokens_of,
                list_variables=partial(preview.variables, skip=HIDDEN, show=repr_within),
                reader=read_for_caller,
                look=look,
                max_tokens_per_read=agent.limits.max_tokens_per_read,
                max_read_tokens=agent.limits.max_read_tokens,
                replays=agent.checkpoints is not None,
            )
        )
    except Exception as error:  # of its classes, which may raise anything
        raise UsageError(
            f"{_culprit(variables)} cannot be handed to a worker process ({type(error).__name__}: {error}): give what "
            "can be pickled, or isolation='thread'"
        ) from None


def _culprit(variables: dict[str, object]) -> str:
    for name, value in variables.items():
        try:
            pack(value)
        except Exception:
            return name
    return "context or tools"
