"""
Model calls of one run: reserved before they are sent, settled after, at most so many at a model at once.

All of it happens on the loop thread of `lm.thread`. Cancelling the task that asks ends the request on the wire.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from weakref import WeakValueDictionary

from rlm_kernel.limits import Ledger, Reservation
from rlm_kernel.lm import LanguageModel, tokens
from rlm_kernel.runner.warming import warmed
from rlm_kernel.values import Reply, Request, Usage

_slots: WeakValueDictionary[tuple[str, int], asyncio.Semaphore] = WeakValueDictionary()


class Calls:
    def __init__(self, max_parallel: int | None) -> None:
        self._max_parallel = max_parallel
        self._settled: asyncio.Event | None = None
        self._held: dict[str, asyncio.Semaphore] = {}

    async def ask(self, model: LanguageModel, request: Request, ledger: Ledger) -> Reply:
        """Raises ModelError or LimitExceeded. Waits while calls under way hold the budget or the model's slots."""
        await model.prepare()
        granted = await self._reserve(model, request, ledger)
        usage: Usage | None = None
        sent = False
        try:
            # Whoever waits for the one ahead holds no slot.
            async with warmed(model, request) as begun, self._slot(model.name):
                sent = True
                request = replace(request, max_reply_tokens=granted.max_reply_tokens)
                reply = await model.ask(request, None if begun is None else lambda _: begun.set())
            usage = reply.usage
            return reply
        finally:
            ledger.settle(granted, usage, sent)
            if self._settled is not None:
                self._settled.set()

    async def _reserve(self, model: LanguageModel, request: Request, ledger: Ledger) -> Reservation:
        price = model.price()
        counted = 0
        if ledger.counts(price):
            # A provider's own tokenizer may count more than ours: a quarter, on mixed text, is seen.
            counted = tokens.count_messages(request.messages, model.name) * 5 // 4
        while True:
            granted = ledger.reserve(counted, price)
            if granted is not None:
                return granted
            if self._settled is None or self._settled.is_set():
                self._settled = asyncio.Event()  # one for all who wait: each settling may let several in
            await self._settled.wait()

    def _slot(self, model: str) -> AbstractAsyncContextManager[None]:
        """
        Shared by all runs of the process: sixteen at once are sixteen at the model.

        Nobody holds one but for the time of a request, so whoever waits for somebody else holds none.
        """
        if self._max_parallel is None:
            return nullcontext()
        slot = self._held.get(model)
        if slot is None:
            slot = _slots.setdefault((model, self._max_parallel), asyncio.Semaphore(self._max_parallel))
            self._held[model] = slot
        return slot
