"""
Replies, ends of cells and ends of agents one after another, as they came in the record.

So what is done with the first of them is done with the same one in every replay. It is for the loop thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Literal

from rlm_kernel.trace.events import AgentFinished, AskFailed, CallFailed, CallFinished, CellFinished, Event, Replied
from rlm_kernel.trace.known import Key

TURN_S = 2.0
"""How long one waits for those before it, beside the time of cells: what came in the record may not come any more."""

GAP_S = 0.01
"""Between two that cells wait for: the thread that waited for the first goes on before that of the second."""

What = Literal["step", "completion", "cell", "end"]
Place = tuple[What, str, int]
"""What came, of which agent, and the number of its step or completion."""


class Order:
    def __init__(self, places: Iterable[Place] = (), patience_s: float = TURN_S) -> None:
        self._place = {place: n for n, place in enumerate(places)}
        self._patience_s = patience_s
        self._came: set[int] = set()
        self._next = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def turn(self, what: What, agent: str, number: int) -> None:
        """Returns when all that came before it in the record are here. What is not in the record does not wait."""
        n = self._place.get((what, agent, number))
        if n is None:
            return
        if n > self._next:
            future = self._waiting[n] = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait({future}, timeout=self._patience_s)
            finally:
                del self._waiting[n]
            if not future.done():  # what is missing is waited for once
                self._next = max(self._next, n)
        self._came.add(n)
        while self._next in self._came:
            self._came.discard(self._next)
            self._next += 1
        following = self._waiting.get(self._next)
        if following is None:
            return
        if what in ("completion", "end"):
            asyncio.get_running_loop().call_later(GAP_S, _release, following)
        else:
            _release(following)


def _release(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def order_of(events: Iterable[Event], agents: Collection[str], calls: Collection[Key]) -> Order:
    """Of what these agents and completions came to. What was stopped comes when it is stopped again."""
    places: list[Place] = []
    cells_s = 0.0
    for event in events:
        place = _place(event)
        if place is None:
            continue
        ours = (place[1], place[2]) in calls if place[0] == "completion" else place[1] in agents
        if ours:
            places.append(place)
            cells_s = max(cells_s, event.seconds if isinstance(event, CellFinished) else 0.0)
    return Order(places, TURN_S + 2 * cells_s)


def _place(event: Event) -> Place | None:
    match event:
        case Replied():
            return "step", event.agent, event.step
        case AskFailed() if event.kind != "interrupted":
            return "step", event.agent, event.step
        case CallFinished():
            return "completion", event.agent, event.call
        case CallFailed() if event.kind != "interrupted":
            return "completion", event.agent, event.call
        case CellFinished():
            return "cell", event.agent, event.step
        case AgentFinished() if event.ending != "interrupted":
            return "end", event.agent, 0
    return None
