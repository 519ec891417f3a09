"""
One call ahead of a wide batch, so that the others find its prefix in the provider's cache.

Anthropic's rule (platform.claude.com, "Prompt caching"): an entry can be read once the first response has begun, and
lives five minutes from its last use. All agents share their system message, so that is the prefix that counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rlm_kernel.lm import LanguageModel
from rlm_kernel.values import Request

LIVES_S = 240.0
"""A little less than the five minutes that the provider promises."""

_used: dict[tuple[str, str], float] = {}
_ahead: dict[tuple[str, str], asyncio.Event] = {}


@asynccontextmanager
async def warmed(model: LanguageModel, request: Request) -> AsyncIterator[asyncio.Event | None]:
    """
    For the loop thread, around a call. The first with a prefix that is not in the cache gets an event, to set as soon
    as its reply begins; those that come meanwhile wait for it, and go together then.
    """
    if not model.warms:
        yield None
        return
    prefix = model.name, request.messages[0].content
    if time.monotonic() - _used.get(prefix, -LIVES_S) < LIVES_S:
        begun = None
    elif prefix in _ahead:
        await _ahead[prefix].wait()
        begun = None
    else:
        begun = _ahead[prefix] = asyncio.Event()
    try:
        yield begun
        _used[prefix] = time.monotonic()
    finally:
        if begun is not None:
            begun.set()  # also where it failed: the others must not wait for nothing
            del _ahead[prefix]
