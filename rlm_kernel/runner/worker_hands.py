"""
Where a sub-agent works whose cells run in a process of their own: for what a thread cannot be stopped in.

The conversation stays here, and so do the trace, the ledger and whatever is asked of a model. What crosses over is a
copy: `context` and tools at the start, an answer when FINAL is called, questions and their answers in between.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from rlm_kernel import preview, prompts
from rlm_kernel.environment.execute import CellInterrupted
from rlm_kernel.environment.within import repr_within
from rlm_kernel.environment.worker.caller import Held
from rlm_kernel.environment.worker.link import Message, Packed, Setup, pack
from rlm_kernel.environment.worker.process import Worker
from rlm_kernel.errors import RLMError, RunInterrupted, UsageError, WorkerEnded
from rlm_kernel.limits import Limits
from rlm_kernel.queries import Failed, Query
from rlm_kernel.runner.briefing import HIDDEN
from rlm_kernel.runner.cell import label
from rlm_kernel.runner.hands import ThreadHands
from rlm_kernel.runner.reading import Watch
from rlm_kernel.values import CellError, CellResult, Final
from rlm_kernel.window.reader import look, read_for_caller

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent, Results

T = TypeVar("T")

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
        self._desk: _Desk | None = None
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
            desk = _Desk(self._agent)
            self._desk = desk
            self._worker = desk.worker = Worker(
                f"rlm {self._agent.id}",
                partial(_setup, self._query, self._agent.limits),
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


def _setup(query: Query, limits: Limits) -> Packed:
    variables = {"context": query.context, **query.tools}
    render = partial(preview.render, show=repr_within)
    list_variables = partial(preview.variables, skip=HIDDEN, show=repr_within)
    try:
        return pack(
            Setup(
                variables,
                render,
                list_variables,
                read_for_caller,
                look,
                limits.max_tokens_per_read,
                limits.max_read_tokens,
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


class _Desk:
    """Answers what the cells ask for. `serve` is called on the worker's keeper, replies are made by its sender."""

    worker: Worker

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._open: dict[int, concurrent.futures.Future[Results]] = {}
        self._answers: dict[int, object] = {}

    def finished(self, result: CellResult) -> CellResult:
        """With the answer itself, where the cell had one accepted."""
        final = result.final
        if final is not None and isinstance(final.value, Held):
            result = replace(result, final=Final(self._answers[final.value.number], final.name))
        return result

    def serve(self, message: Message) -> None:
        number, agent = message.number, self._agent
        match message.kind:
            case "query":
                try:
                    future = agent.at(message.step).start(message.open())
                except Exception as error:
                    self._refuse(number, error)
                    return
                self._open[number] = future
                future.add_done_callback(lambda came: self.worker.reply(number, lambda: self._answer(number, came)))
            case "cancel":
                if (open_one := self._open.get(number)) is not None:
                    open_one.cancel()
            case "accept":
                try:
                    self._answers[number] = agent.accept(message.open())
                except Exception as error:
                    self._refuse(number, error)
                    return
                self.worker.reply(number, lambda: pack((True, None)))
            case "remaining":
                remaining = agent.at(message.step).remaining()
                self.worker.reply(number, lambda: pack((True, remaining)))
            case "charge":
                try:
                    agent.reading.charge(*message.open())
                except Exception as error:
                    self._refuse(number, error)
                    return
                self.worker.reply(number, lambda: pack((True, None)))
            case "read so far":
                used = agent.reading.used
                self.worker.reply(number, lambda: pack((True, used)))
            case "took":
                watch = Watch(agent, message.step)
                watch.took(0, message.open())
                watch.close()
            case "read":
                watch = Watch(agent, message.step)
                watch.read(*message.open())
                watch.close()
            case "best":
                self._keep_best(message)

    def _refuse(self, number: int, error: Exception) -> None:
        self.worker.reply(number, lambda: _failure(error))

    def _keep_best(self, message: Message) -> None:
        agent = self._agent
        agent.namespace.pop("answer", None)
        if message.body is not None:
            try:
                agent.namespace["answer"] = message.open()
            except Exception:  # of its classes; what cannot come here is no answer
                return

    def _answer(self, number: int, came: concurrent.futures.Future[Results]) -> Packed:
        del self._open[number]
        try:
            results = came.result()
            self._agent.runner.recorder.sync(results.written)
        except concurrent.futures.CancelledError:
            return _failure(RunInterrupted("stopped by an interrupt"))
        except Exception as error:
            return _failure(error)
        try:
            return pack((True, (results.values, results.notes)))
        except Exception:  # one of them: the others are not lost
            return pack((True, ([_movable(value) for value in results.values], results.notes)))


def _movable(value: object) -> object:
    try:
        pack(value)
    except Exception as error:
        return Failed(
            UsageError(
                f"the answer, of type {type(value).__name__}, cannot be handed to a worker process ({error}): ask for "
                "what can be pickled"
            )
        )
    return value


def _failure(error: Exception) -> Packed:
    try:
        return pack((False, error))
    except Exception:
        return pack((False, RLMError(f"{type(error).__name__}: {error}")))
