"""
Model calls of one run: reserved before they are sent, settled after, at most so many at a model at once.

All of it happens on the loop thread of `lm.thread`. A caller waits there or elsewhere on a future, and cancelling
the future ends the request on the wire.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from rlm_kernel.errors import UsageError
from rlm_kernel.limits import Ledger, Reservation
from rlm_kernel.lm import LanguageModel, thread, tokens
from rlm_kernel.values import Reply, Request, Usage

T = TypeVar("T")

_slots: WeakValueDictionary[tuple[str, int], asyncio.Semaphore] = WeakValueDictionary()


class Calls:
    """The open calls of a run and the ledger they are charged to."""

    def __init__(self, ledger: Ledger, max_parallel: int) -> None:
        self.ledger = ledger
        self._max_parallel = max_parallel
        self._open: set[concurrent.futures.Future[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        """The open calls as the loop thread has them: a future is over as soon as it is cancelled, a task is not."""
        self._process = os.getpid()
        self._settled: asyncio.Event | None = None
        self._held: dict[str, asyncio.Semaphore] = {}
        self.stopped = False
        self.closed = False

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run it on the loop thread, and cancel it when the run is stopped. UsageError where the run is over."""
        if os.getpid() != self._process:
            # A fork has the ledger and the journal of its parent, and would write to both.
            raise _refused(work, "a forked process cannot ask a model: use llm_query_batched, or threads")
        if self.closed:
            raise _refused(work, "the run that this code belongs to is over")
        future = thread.shared().submit(self._tracked(work))
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        if self.stopped:
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

    def stop(self) -> None:
        self.stopped = True
        for future in list(self._open):
            future.cancel()

    def close(self) -> None:
        """Nothing begins after this; what is under way is cancelled, and has had a second to be recorded."""
        self.closed = True
        under_way = bool(self._open or self._tasks)
        self.stop()
        if under_way and not thread.shared().is_current():
            thread.wait(thread.shared().submit(self._ended()))

    async def _ended(self) -> None:
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=1.0)

    def when_idle(self, then: Callable[[], None]) -> None:
        """Calls `then` when no call is under way: now, or on the loop thread when the last one is over."""
        under_way = set(self._open)
        if not under_way:
            then()
            return
        left = itertools.count(len(under_way) - 1, -1)
        for future in under_way:
            future.add_done_callback(lambda _: then() if next(left) == 0 else None)

    async def ask(self, model: LanguageModel, request: Request) -> Reply:
        """Raises ModelError or LimitExceeded. Waits while calls under way hold the budget or the model's slots."""
        await model.prepare()
        granted = await self._reserve(model, request)
        usage: Usage | None = None
        try:
            async with self._slot(model.name):
                reply = await model.ask(replace(request, max_reply_tokens=granted.max_reply_tokens))
            usage = reply.usage
            return reply
        finally:
            self.ledger.settle(granted, usage)
            if self._settled is not None:
                self._settled.set()

    async def _reserve(self, model: LanguageModel, request: Request) -> Reservation:
        limits = self.ledger.limits
        price = model.price()
        counted = 0
        if limits.max_tokens is not None or (limits.max_cost_usd is not None and price is not None):
            # A provider's own tokenizer may count more than ours: a quarter, on mixed text, is seen.
            counted = tokens.count_messages(request.messages, model.name) * 5 // 4
        while True:
            granted = self.ledger.reserve(counted, price)
            if granted is not None:
                return granted
            if self._settled is None or self._settled.is_set():
                self._settled = asyncio.Event()  # one for all who wait: each settling may let several in
            await self._settled.wait()

    def _slot(self, model: str) -> asyncio.Semaphore:
        """Shared by all runs of the process: sixteen at once are sixteen at the model."""
        slot = self._held.get(model)
        if slot is None:
            slot = _slots.setdefault((model, self._max_parallel), asyncio.Semaphore(self._max_parallel))
            self._held[model] = slot
        return slot


def _refused(work: Coroutine[Any, Any, Any], message: str) -> UsageError:
    work.close()
    return UsageError(message)
