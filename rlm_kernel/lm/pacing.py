"""Calls through litellm that are under way at once: how many there are, and when the next one starts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

START_EVERY_S = 0.005
"""
Between the starts of two whole replies. litellm works some 4 ms on each; calls that start together come back together
and wait for each other's work, wave after wave. `benchmarks/completions.py` shows what spreading them saves.
"""

MANY = 32
"""Calls under way, from which on there is work at every moment, and spreading the starts saves nothing."""

FEW = 4
"""Calls under way, up to which a step is streamed."""

_next_start = 0.0
_under_way = 0


def are_few() -> bool:
    """Whether a step is streamed, which costs litellm work for each piece."""
    return _under_way <= FEW


@contextmanager
def counted() -> Iterator[None]:
    """Around a call that is under way."""
    global _under_way  # on the loop thread alone, as is _next_start
    _under_way += 1
    try:
        yield
    finally:
        _under_way -= 1


async def spread() -> None:
    """Waits until a whole reply may be asked for."""
    global _next_start
    if _under_way <= MANY:
        now = time.monotonic()
        start = max(now, _next_start)
        _next_start = start + START_EVERY_S
        await asyncio.sleep(start - now)
