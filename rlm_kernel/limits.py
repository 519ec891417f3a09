"""
The limits of a run and the ledger that holds it to them.

A limit that was only checked after the fact would be overshot by every parallel batch. So each call reserves
the most that it can cost before it is sent, and settles what it did cost afterwards.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, fields, replace

from rlm_kernel.errors import LimitExceeded, UsageError
from rlm_kernel.values import Price, Remaining, Usage


@dataclass(frozen=True, slots=True)
class Limits:
    """`None` is no limit, zero is zero."""

    max_steps: int | None = 30
    """Replies of the model that an agent may take; the cell of the last one still runs."""
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
    """Tokens of one reply, sent to the provider as its own cap; less where the budget left allows less."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"{field.name}={value!r}: give a number from 0 up, or None for no limit")


@dataclass(frozen=True, slots=True)
class Reservation:
    tokens: int
    cost_usd: float | None
    max_reply_tokens: int | None


SMALLEST_REPLY = 64
"""Tokens. A budget that leaves a reply less than this is spent: what came back would be a stump."""


class Ledger:
    """
    What a run has spent and what is promised to calls under way. Not thread-safe: the loop thread owns it.

    `reserve` either grants a call, or raises LimitExceeded, or, where calls under way may yet give something
    back, returns None: wait for a `settle` and ask again. So the last dollars go to a whole reply, not to stumps.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.started = time.monotonic()
        self.calls = 0
        self.usage = Usage(cost_usd=0.0)
        self.unpriced_calls = 0
        self._open: list[Reservation] = []

    def reserve(self, prompt_tokens: int, price: Price | None) -> Reservation | None:
        """`prompt_tokens` is an estimate, and should rather be high."""
        limits = self.limits
        if limits.max_calls is not None and self.calls + len(self._open) >= limits.max_calls:
            # A call under way will count, whatever becomes of it: there is nothing to wait for.
            raise LimitExceeded("max_calls", self.calls + len(self._open), limits.max_calls)
        self.check_time()
        reply = limits.max_reply_tokens
        if limits.max_tokens is not None:
            left = limits.max_tokens - self.usage.total_tokens - sum(r.tokens for r in self._open) - prompt_tokens
            if left < SMALLEST_REPLY:
                return self._wait_or_raise("max_tokens", self.usage.total_tokens, limits.max_tokens)
            reply, short = _least(reply, left)
            if short and self._open:
                return None
        cost = None
        if limits.max_cost_usd is not None and price is not None:
            spent = self.usage.cost_usd or 0.0
            dollars = limits.max_cost_usd - spent - sum(r.cost_usd or 0.0 for r in self._open)
            dollars -= prompt_tokens * price.prompt_usd
            if price.completion_usd > 0:
                affordable = int(dollars / price.completion_usd) if dollars > 0 else 0
                if affordable < SMALLEST_REPLY:
                    return self._wait_or_raise("max_cost_usd", spent, limits.max_cost_usd)
                reply, short = _least(reply, affordable)
                if short and self._open:
                    return None
            elif dollars < 0:
                return self._wait_or_raise("max_cost_usd", spent, limits.max_cost_usd)
            cost = price.most(prompt_tokens, reply or 0)
        granted = Reservation(prompt_tokens + (reply or 0), cost, reply)
        self._open.append(granted)
        return granted

    def settle(self, granted: Reservation, usage: Usage | None) -> None:
        """Give a reservation back. `usage` is None where the call failed and cost nothing that we know of."""
        self._open.remove(granted)
        self.calls += 1
        if usage is None:
            return
        if usage.cost_usd is None:
            self.unpriced_calls += 1
        self.usage = add(self.usage, usage)

    def check_time(self) -> None:
        allowed = self.limits.max_seconds
        if allowed is not None and (used := time.monotonic() - self.started) >= allowed:
            raise LimitExceeded("max_seconds", used, allowed)

    @property
    def total(self) -> Usage:
        """What was spent, with no cost where any call's price is unknown: a part would read like the whole."""
        return replace(self.usage, cost_usd=None) if self.unpriced_calls else self.usage

    def remaining(self, steps_used: int) -> Remaining:
        limits = self.limits

        def left(allowed: float | None, used: float) -> float | None:
            return None if allowed is None else max(0, allowed - used)

        return Remaining(
            steps=None if limits.max_steps is None else max(0, limits.max_steps - steps_used),
            calls=None if limits.max_calls is None else max(0, limits.max_calls - self.calls),
            tokens=None if limits.max_tokens is None else max(0, limits.max_tokens - self.usage.total_tokens),
            cost_usd=left(limits.max_cost_usd, self.usage.cost_usd or 0.0),
            seconds=left(limits.max_seconds, time.monotonic() - self.started),
        )

    def _wait_or_raise(self, limit: str, used: float, allowed: float) -> Reservation | None:
        if not self._open:
            raise LimitExceeded(limit, used, allowed)
        return None


def _least(wanted: int | None, left: int) -> tuple[int, bool]:
    """What a reply may take of what is left, and whether that is less than was wanted."""
    return (left, True) if wanted is None or left < wanted else (wanted, False)


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
