"""
Stop, wherever the process stands.

A signal that arrives while user code runs must raise in it, or `while True: pass` goes on for ever; one that arrives
while the event loop waits must not, or the KeyboardInterrupt kills the loop. So the handler looks at the frame that
it interrupted. ipykernel's own handler for awaited cells only schedules a callback, which neither wakes a sleeping
loop nor stops a spinning cell (ipykernel issue 881).
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from rlm_kernel.environment.execute import run_user_code
from rlm_kernel.environment.tracebacks import CELL_PREFIX

T = TypeVar("T")


async def ours(work: Awaitable[T]) -> T:
    """Await our own loop. A signal between two cells cancels it cleanly instead of raising in the midst of it."""
    return await work


@contextmanager
def stoppable(future: asyncio.Future[Any], stop: Callable[[], None]) -> Iterator[None]:
    """
    While it lasts, SIGINT calls `stop` and then raises KeyboardInterrupt in user code or cancels `future`.

    Does nothing off the main thread, where no signal arrives.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def handler(number: int, frame: FrameType | None) -> None:
        stop()
        if in_user_code(frame):
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(future.cancel)

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def in_user_code(frame: FrameType | None) -> bool:
    """Is a cell's code on this stack, nearer than the event loop?"""
    while frame is not None:
        code = frame.f_code
        if code is run_user_code.__code__ or code.co_filename.startswith(CELL_PREFIX):
            return True
        if code is ours.__code__:
            return False
        if code.co_name == "run_code" and code.co_filename.endswith("interactiveshell.py"):
            return True  # the person's own cell, run by IPython
        if code.co_name == "_run_once" and code.co_filename.endswith("base_events.py"):
            return False
        frame = frame.f_back
    return False


def interrupt_main_thread() -> None:
    """As if Stop had been pressed; from any thread. Wakes a sleeping system call, which `interrupt_main` does not."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)
