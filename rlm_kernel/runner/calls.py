"""
Model calls of one run: reserved before they are sent, settled after, at most so many at a model at once.

All of it happens on the loop thread of `lm.thread`. A caller waits there or elsewhere on a future, and cancelling
the future ends the request on the wire.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar
from weakref import WeakValueDictionary

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
        self._settled: asyncio.Event | None = None
        self._held: dict[str, asyncio.Semaphore] = {}
        self.stopped = False

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run it on the loop thread, and cancel it when the run is stopped."""
        future = thread.shared().submit(work)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        if self.stopped:
            future.cancel()
        return future

    def stop(self) -> None:
        self.stopped = True
        for future in list(self._open):
            future.cancel()

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
            self._settled = asyncio.Event()
            await self._settled.wait()

    def _slot(self, model: str) -> asyncio.Semaphore:
        """Shared by all runs of the process: sixteen at once are sixteen at the model."""
        slot = self._held.get(model)
        if slot is None:
            slot = _slots.setdefault((model, self._max_parallel), asyncio.Semaphore(self._max_parallel))
            self._held[model] = slot
        return slot
