"""
What one agent has under way: requests to models, completions, sub-agents, all of it on the loop thread.

Stopping a scope stops all of that and nothing else; what it has under way are tasks, and a sub-agent among them stops
its own scope when it is cancelled. So Stop goes down the tree, and the loss of one branch leaves the others alone.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from rlm_kernel.errors import LimitExceeded, RLMError, RunInterrupted, UsageError
from rlm_kernel.limits import Ledger
from rlm_kernel.lm import thread

T = TypeVar("T")


class Scope:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.why: Literal["interrupt", "deadline"] | None = None
        """Why it was stopped from outside: Stop, or its seconds are over."""
        self.closed = False
        self._open: set[concurrent.futures.Future[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        """What is open as the loop thread has it: a future is over as soon as it is cancelled, a task is not."""
        self._process = os.getpid()

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run it on the loop thread, and cancel it when the scope is stopped. UsageError where the agent is over."""
        if os.getpid() != self._process:
            # A fork has the ledger and the journal of its parent, and would write to both.
            raise _refused(work, "a forked process cannot ask a model: use llm_query_batched, or threads")
        if self.closed:
            raise _refused(work, "the run that this code belongs to is over")
        future = thread.shared().submit(self._tracked(work))
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        if self.why is not None:
            future.cancel()
        return future

    async def _tracked(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await work
        finally:
            self._tasks.discard(task)

    def stop(self, why: Literal["interrupt", "deadline"] = "interrupt") -> None:
        """From any thread: what is open is cancelled, and nothing new begins. The first reason stays."""
        self.why = self.why or why
        for future in list(self._open):
            future.cancel()

    def check(self) -> None:
        """Raises RunInterrupted or LimitExceeded where it was stopped, or a limit on seconds is reached."""
        if self.why is not None:
            raise self.error()
        self.ledger.check_time()

    def error(self) -> RLMError:
        if self.why == "deadline":
            allowed = self.ledger.limits.max_seconds or 0.0
            return LimitExceeded("max_seconds", time.monotonic() - self.ledger.started, allowed)
        return RunInterrupted("stopped by an interrupt")

    def close(self) -> None:
        """Nothing begins after this; what is under way is cancelled, and has had a second to be recorded."""
        under_way = self._end()
        if under_way and not thread.shared().is_current():
            thread.wait(thread.shared().submit(self._ended()))

    async def aclose(self) -> None:
        """The same for the loop thread."""
        if self._end():
            await self._ended()

    def _end(self) -> bool:
        self.closed = True
        under_way = bool(self._open or self._tasks)
        for future in list(self._open):
            future.cancel()
        return under_way

    async def _ended(self) -> None:
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=1.0)

    def when_idle(self, then: Callable[[], None]) -> None:
        """Calls `then` when nothing is under way: now, or on the loop thread when the last of it is over."""
        under_way = set(self._open)
        if not under_way:
            then()
            return
        left = itertools.count(len(under_way) - 1, -1)
        for future in under_way:
            future.add_done_callback(lambda _: then() if next(left) == 0 else None)


def _refused(work: Coroutine[Any, Any, Any], message: str) -> UsageError:
    work.close()
    return UsageError(message)
