"""
Where an agent works: its cells run there, and its waiting does not block what is there.

The root's cells run where the person's do, on the main thread of a kernel, and its conversation goes on there too. A
sub-agent's conversation is a task on the loop thread, so that a thousand of them that wait for a model cost no thread;
its cells run in a thread of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rlm_kernel.environment.cellthread import CellThread
from rlm_kernel.environment.execute import CellInterrupted, Stopped
from rlm_kernel.environment.frontend import Frontend
from rlm_kernel.environment.sink import Sink
from rlm_kernel.errors import RunInterrupted
from rlm_kernel.namespace import CALLER
from rlm_kernel.runner.cell import run_cell
from rlm_kernel.values import CellError, CellResult

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent

T = TypeVar("T")


class Hands(Protocol):
    async def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Work for the loop thread. Stop, from whichever side, ends it."""

    async def on_disk(self) -> None:
        """Everything that was recorded is on disk."""

    async def do(self, what: Callable[[], T], quick: bool) -> T:
        """`what` may call code of a person or a model, and then belongs where the cells run; if `quick`, not."""

    async def run(self, step: int, source: str) -> CellResult:
        """A cell. Raises CellInterrupted, with what it had put out, where it was stopped from outside."""

    def stopped(self) -> BaseException:
        """What to raise after a cell that was stopped, once that is written down."""


class MainHands:
    """Of the root."""

    def __init__(self, agent: Agent, frontend: Frontend | None) -> None:
        self._agent = agent
        self._scope = agent.scope
        self._frontend = frontend

    async def wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.wrap_future(self._scope.start(work))
        try:
            return await future
        except asyncio.CancelledError:
            if self._scope.why is None:
                raise  # cancelled by whoever awaits this run, which is their business
            _heard()
            raise self._scope.error() from None

    async def on_disk(self) -> None:
        self._agent.runner.recorder.sync()

    async def run(self, step: int, source: str) -> CellResult:
        return await run_cell(self._agent, step, source, Sink(self._frontend))

    async def do(self, what: Callable[[], T], quick: bool) -> T:
        return what()

    def stopped(self) -> BaseException:
        task = asyncio.current_task()
        if self._scope.why is None and task is not None and task.cancelling():
            return asyncio.CancelledError()  # by whoever awaits this run
        self._scope.stop()
        _heard()
        return self._scope.error()


def _heard() -> None:
    """The interrupt did its work: the task that it cancelled goes on, to write the trace."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


STOPS = 3
"""Times that a cell is told to stop before its thread is left behind."""
STOP_EVERY_S = 0.15


class ThreadHands:
    """Of a sub-agent. All methods are for the loop thread."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._thread = CellThread(f"rlm {agent.id}", agent.runner.context)
        self._room = agent.runner.rooms.of(agent)
        self._entered = False
        self.left_behind = False
        """A cell could not be stopped: its thread goes on, and nothing of it is heard any more."""

    async def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return await work

    async def on_disk(self) -> None:
        await self._agent.runner.recorder.on_disk()

    @property
    def unused(self) -> bool:
        """Nothing of the agent has run here, or nothing can any more."""
        return self.left_behind or not self._entered

    async def prepare(self) -> None:
        """Before the first question: what has to be there for the cells. Raises RLMError where it cannot be."""

    async def do(self, what: Callable[[], T], quick: bool) -> T:
        if quick:
            return what()

        async def work() -> T:
            CALLER.set(self._agent)  # a schema or a repr may ask a model too
            return what()

        await self._enter()
        return await asyncio.shield(asyncio.wrap_future(self._thread.submit(work, awaits=False)))

    async def run(self, step: int, source: str) -> CellResult:
        await self._enter()
        sink = Sink()
        # Whoever awaits says so; a cell that only calls what awaits has no running loop, and can use asyncio.run.
        awaits = "await" in source or "async" in source
        future = asyncio.wrap_future(self._thread.submit(lambda: run_cell(self._agent, step, source, sink), awaits))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            pass  # ours, for a cell's own errors are values; the cell is told so below
        except Stopped:
            raise CellInterrupted(_unfinished(sink, "stopped")) from None
        raise CellInterrupted(await self._stop(future, sink))

    def stopped(self) -> BaseException:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            return asyncio.CancelledError()
        return RunInterrupted("its own cell raised an interrupt")

    def close(self) -> None:
        self._thread.close()
        if self._entered:
            self._entered = False
            self._room.release()

    async def _enter(self) -> None:
        if not self._entered:
            await self._room.acquire()
            self._entered = True

    async def _stop(self, future: asyncio.Future[CellResult], sink: Sink) -> CellResult:
        self._agent.scope.stop()  # a cell that waits for somebody else goes on when that is over
        for _ in range(STOPS):
            self._thread.interrupt()
            await _within(future, STOP_EVERY_S)
            if future.done():
                break
        else:
            self.left_behind = True
            future.add_done_callback(lambda late: late.cancelled() or late.exception())
            return _unfinished(sink, "it sits in a call that cannot be stopped, and was left behind there")
        error = future.exception()
        if isinstance(error, CellInterrupted):
            return error.result
        return _unfinished(sink, "stopped") if error is not None else future.result()


async def _within(future: asyncio.Future[Any], seconds: float) -> None:
    """Waits so long for it, also where the task is cancelled once more meanwhile."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not future.done() and (left := end - loop.time()) > 0:
        try:
            await asyncio.wait({future}, timeout=left)
        except asyncio.CancelledError:
            continue


def _unfinished(sink: Sink, message: str) -> CellResult:
    outputs, dropped = sink.finish()
    error = CellError("KeyboardInterrupt", message, f"KeyboardInterrupt: {message}")
    return CellResult(outputs, 0.0, error, dropped_chars=dropped)
