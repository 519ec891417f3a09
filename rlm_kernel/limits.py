"""
The limits of a run and the ledger that holds it to them.

A limit that was only checked after the fact would be overshot by every parallel batch. So each call reserves
the most that it can cost before it is sent, and settles what it did cost afterwards.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal

from rlm_kernel.errors import LimitExceeded, UsageError
from rlm_kernel.values import Price, Remaining, Usage


@dataclass(frozen=True, slots=True)
class Limits:
    """`None` is no limit, zero is zero."""

    max_steps: int | None = 30
    """Replies of the model that an agent may take; the cell of the last one still runs."""
    max_depth: int | None = 1
    """Levels of sub-agents below the root. An agent of the deepest level has plain completions only."""
    max_calls: int | None = 200
    """Model calls in the whole run: steps and completions, retries not counted."""
    max_tokens: int | None = None
    """Prompt and completion tokens of the whole run."""
    max_cost_usd: float | None = 1.0
    """US dollars of the whole run. Holds only where the model's price is known."""
    max_seconds: float | None = None
    """Wall-clock seconds of the whole run, its cells included."""
    max_output_chars: int | None = 8_000
    """Characters of a cell's outputs that go back to the model, head and tail; the trace keeps the rest."""
    max_reply_tokens: int | None = 8_192
    """
    Tokens of one reply, sent to the provider as its own cap; less where the budget left allows less. With None and a
    budget, each call reserves all that is left of it, so that calls go one by one.
    """
    max_tokens_per_read: int | None = 2_000
    """Tokens that one READ may put into a window."""
    max_read_tokens: int | None = None
    """Tokens that an agent may see of data in all: what it READs, and what else its cells show it."""

    @classmethod
    def none(cls) -> Limits:
        return cls(**{field.name: None for field in fields(cls)})

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"{field.name}={value!r}: give a number from 0 up, or None for no limit")


@dataclass(frozen=True, slots=True)
class Policy:
    """How a run goes about it; see the settings of the same names."""

    models: tuple[str, ...] = ()
    max_parallel: int = 16
    max_agents: int = 64
    isolation: Literal["thread", "process"] = "thread"
    max_memory_mb: int | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    tokens: int
    cost_usd: float | None
    max_reply_tokens: int | None


SMALLEST_REPLY = 64
"""Tokens. A budget that leaves a reply less than this is spent: what came back would be a stump."""


class Ledger:
    """
    What an agent and all below it have spent, and what is promised to calls under way. Not thread-safe: the loop
    thread owns it.

    A sub-agent's ledger hangs `below` its caller's, and a call is granted only what every ledger up to the root has
    left. `reserve` either grants a call, or raises LimitExceeded, or, where calls under way may yet give something
    back, returns None: wait for a `settle` and ask again. So the last dollars go to a whole reply, not to stumps.
    """

    def __init__(self, limits: Limits, above: Ledger | None = None) -> None:
        self.limits = limits
        self.started = time.monotonic()
        self.calls = 0
        self.usage = Usage(cost_usd=0.0)
        self.unpriced_calls = 0
        self._above = above
        self._open_calls = 0
        self._open_tokens = 0
        self._open_cost_usd = 0.0

    def below(self, limits: Limits) -> Ledger:
        return Ledger(limits, self)

    def counts(self, price: Price | None) -> bool:
        """Whether any ledger up to the root needs to know how many tokens a prompt has."""
        return any(
            ledger.limits.max_tokens is not None or (ledger.limits.max_cost_usd is not None and price is not None)
            for ledger in self._up()
        )

    def reserve(self, prompt_tokens: int, price: Price | None) -> Reservation | None:
        """`prompt_tokens` is an estimate, and should rather be high."""
        for ledger in self._up():
            ledger._check_calls()
        self.check_time()
        reply = self.limits.max_reply_tokens
        for ledger in self._up():
            room = ledger._room(prompt_tokens, price)
            if room is None:
                return None
            if room < (math.inf if reply is None else reply):
                if ledger._open_calls:
                    return None
                reply = int(room)
        cost = None if price is None else price.most(prompt_tokens, reply or 0)
        granted = Reservation(prompt_tokens + (reply or 0), cost, reply)
        for ledger in self._up():
            ledger._open_calls += 1
            ledger._open_tokens += granted.tokens
            ledger._open_cost_usd += granted.cost_usd or 0.0
        return granted

    def settle(self, granted: Reservation, usage: Usage | None, sent: bool = True) -> None:
        """
        Give a reservation back. `usage` is None where the call failed and cost nothing that we know of; one that was
        never `sent` does not count at all.
        """
        for ledger in self._up():
            ledger._open_calls -= 1
            ledger._open_tokens -= granted.tokens
            # With the last call goes what adding and subtracting fractions has left.
            ledger._open_cost_usd = ledger._open_cost_usd - (granted.cost_usd or 0.0) if ledger._open_calls else 0.0
            ledger.calls += sent
            if usage is not None:
                ledger.unpriced_calls += usage.cost_usd is None
                ledger.usage = add(ledger.usage, usage)

    def check_time(self) -> None:
        for ledger in self._up():
            allowed = ledger.limits.max_seconds
            if allowed is not None and (used := time.monotonic() - ledger.started) >= allowed:
                raise LimitExceeded("max_seconds", used, allowed)

    @property
    def total(self) -> Usage:
        """What was spent, with no cost where any call's price is unknown: a part would read like the whole."""
        return replace(self.usage, cost_usd=None) if self.unpriced_calls else self.usage

    def remaining(self, steps_used: int, limits: Limits | None = None, depth: int = 0) -> Remaining:
        """
        What an agent at that depth has left: of each limit the least that any ledger up to the root has.

        `limits` are the agent's, for what is counted by agent: steps and depth.
        """

        def least(name: str, used: Callable[[Ledger], float]) -> float | None:
            left = [
                max(0, allowed - used(ledger))
                for ledger in self._up()
                if (allowed := getattr(ledger.limits, name)) is not None
            ]
            return min(left, default=None)

        now = time.monotonic()
        limits = limits or self.limits
        return Remaining(
            steps=None if limits.max_steps is None else max(0, limits.max_steps - steps_used),
            calls=_whole(least("max_calls", lambda ledger: ledger.calls)),
            tokens=_whole(least("max_tokens", lambda ledger: ledger.usage.total_tokens)),
            cost_usd=least("max_cost_usd", lambda ledger: ledger.usage.cost_usd or 0.0),
            seconds=least("max_seconds", lambda ledger: now - ledger.started),
            depth=None if limits.max_depth is None else max(0, limits.max_depth - depth),
        )

    def _up(self) -> Iterator[Ledger]:
        ledger: Ledger | None = self
        while ledger is not None:
            yield ledger
            ledger = ledger._above

    def _check_calls(self) -> None:
        allowed, used = self.limits.max_calls, self.calls + self._open_calls
        if allowed is not None and used >= allowed:
            # A call under way will count, whatever becomes of it: there is nothing to wait for.
            raise LimitExceeded("max_calls", used, allowed)

    def _room(self, prompt_tokens: int, price: Price | None) -> float | None:
        """Tokens that a reply may have here, perhaps without end; None where calls under way may give some back."""
        limits, room = self.limits, math.inf
        if limits.max_tokens is not None:
            left = limits.max_tokens - self.usage.total_tokens - self._open_tokens - prompt_tokens
            if left < SMALLEST_REPLY:
                return self._none_yet("max_tokens", self.usage.total_tokens, limits.max_tokens)
            room = left
        if limits.max_cost_usd is not None and price is not None:
            spent = self.usage.cost_usd or 0.0
            dollars = limits.max_cost_usd - spent - self._open_cost_usd - prompt_tokens * price.prompt_usd
            affordable = math.inf if price.completion_usd <= 0 else int(max(0.0, dollars) / price.completion_usd)
            if dollars < 0 or affordable < SMALLEST_REPLY:
                return self._none_yet("max_cost_usd", spent, limits.max_cost_usd)
            room = min(room, affordable)
        return room

    def _none_yet(self, limit: str, used: float, allowed: float) -> float | None:
        if not self._open_calls:
            raise LimitExceeded(limit, used, allowed)
        return None


def add(a: Usage, b: Usage) -> Usage:
    """Sums field by field; a field that one side does not know keeps the other's."""

    def plus(x: float | None, y: float | None) -> float | None:
        return y if x is None else x if y is None else x + y

    return Usage(
        prompt_tokens=a.prompt_tokens + b.prompt_tokens,
        completion_tokens=a.completion_tokens + b.completion_tokens,
        cached_tokens=_whole(plus(a.cached_tokens, b.cached_tokens)),
        reasoning_tokens=_whole(plus(a.reasoning_tokens, b.reasoning_tokens)),
        cost_usd=plus(a.cost_usd, b.cost_usd),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
