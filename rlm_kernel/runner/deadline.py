"""The clock of a run: when its seconds are over, it is stopped wherever it is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rlm_kernel.environment.interrupts import interrupt_task
from rlm_kernel.lm import thread


@contextmanager
def deadline(seconds: float | None, stop: Callable[[], None]) -> Iterator[None]:
    """
    Calls `stop` after so many seconds, unless it was left before, and interrupts the main thread if this is it.

    On another thread a cell that computes cannot be reached: there the run ends when the cell does.
    """
    if seconds is None:
        yield
        return
    task = asyncio.current_task()
    on_main = threading.current_thread() is threading.main_thread()
    signalling = threading.Lock()
    over = False

    async def expire() -> None:
        await asyncio.sleep(seconds)
        stop()
        with signalling:
            if on_main and not over:
                interrupt_task(task)

    clock = thread.shared().submit(expire())
    try:
        yield
    finally:
        with signalling:  # a signal after this would meet somebody else's code
            over = True
        clock.cancel()
