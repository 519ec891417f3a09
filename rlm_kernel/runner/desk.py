"""
What the cells of a worker process ask for, and what becomes of it on this side.

Each is a message with a number, and its reply has the same: questions to models, an answer to accept, what is left of
the limits, what was read. What cells do with stores is told without a number, and has no reply.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from rlm_kernel.environment.worker.caller import Held
from rlm_kernel.environment.worker.link import HANDED, Message, Packed, pack
from rlm_kernel.environment.worker.process import Worker
from rlm_kernel.errors import RLMError, RunInterrupted, UsageError
from rlm_kernel.queries import Failed
from rlm_kernel.runner.reading import StoreId, Watch
from rlm_kernel.store import store_id
from rlm_kernel.values import CellResult, Final

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent, Results


class Desk:
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
            case "wrote" | "took" | "deleted" | "read":
                self._used(message)
            case "best":
                self._keep_best(message)

    def _used(self, message: Message) -> None:
        agent = self._agent
        store, *about = message.open()
        of: StoreId = (agent.id, store) if store else 0
        if store == HANDED:
            of = store_id(agent.namespace["context"])
        watch = Watch(agent, message.step)
        hear: dict[str, Callable[..., None]] = {
            "wrote": watch.has_written,
            "took": watch.took,
            "deleted": watch.deleted,
            "read": watch.read,
        }
        hear[message.kind](of, *about)
        watch.close()

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
