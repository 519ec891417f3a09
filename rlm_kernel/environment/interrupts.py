"""
Stop, wherever the process stands.

A signal that arrives while user code runs must raise in it, or `while True: pass` goes on for ever; one that arrives
while the event loop waits must not, or the KeyboardInterrupt kills the loop. So the handler looks at what it met.
ipykernel's own handler for awaited cells only schedules a callback, which neither wakes a sleeping loop nor stops a
spinning cell (ipykernel issue 881).
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

from rlm_kernel.environment.execute import Stopped, cells, run_user_code
from rlm_kernel.environment.tracebacks import CELL_PREFIX, is_cell

T = TypeVar("T")

AGAIN_S = 0.2
"""One signal may not be enough: a cell may swallow it, or have another task that spins. So it is sent again."""


@dataclass(slots=True)
class _Waiting:
    """A run that can be stopped."""

    future: asyncio.Future[Any]
    stop: Callable[[], None]
    heard: bool = False
    alone: bool = False
    """The signal that comes is for this one and no other: its seconds are over."""


_waiting: list[_Waiting] = []
"""The handler of before is put back when the last of them is gone, in whatever order they go."""

_before: Any = None
_sending = threading.Lock()
"""Held while a signal is sent again, so that none is sent when nobody waits for it any more."""


async def ours(work: Awaitable[T]) -> T:
    """Await our own loop. A signal between two cells cancels it cleanly instead of raising in the midst of it."""
    return await work


@contextmanager
def stoppable(future: asyncio.Future[Any], stop: Callable[[], None]) -> Iterator[None]:
    """
    While it lasts, SIGINT calls `stop` and then raises in user code or cancels `future`.

    Does nothing off the main thread, where no signal arrives.
    """
    global _before
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    entry = _Waiting(future, stop)
    if not _waiting:
        _before = signal.signal(signal.SIGINT, lambda number, frame: _interrupt(loop, frame))
    _waiting.append(entry)
    try:
        yield
    finally:
        with _sending:
            _waiting.remove(entry)
        if not _waiting:
            signal.signal(signal.SIGINT, _before)


RETRY_S = 0.05


class Patience:
    """
    A SIGINT handler for the whole of a request: it raises in user code, and elsewhere tries again a moment later.

    ipykernel's own raises wherever it is; between two requests' worth of bookkeeping that loses the reply, and a
    client that waits for it waits for ever. `over` ends the trying.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code.co_name != "run_code" and (in_user_code(frame) or _in_hook(frame)):
            raise KeyboardInterrupt
        threading.Timer(RETRY_S, self._again).start()

    def over(self) -> None:
        with self._lock:
            self._over = True

    def _again(self) -> None:
        with self._lock:
            if not self._over:
                interrupt_main_thread()


def _in_hook(frame: FrameType | None) -> bool:
    """In what IPython calls around a cell: open figures are drawn there, and that may take long."""
    while frame is not None:
        if frame.f_code.co_name == "trigger" and frame.f_code.co_filename.endswith("events.py"):
            return True
        frame = frame.f_back
    return False


def _interrupt(loop: asyncio.AbstractEventLoop, frame: FrameType | None) -> None:
    alone = [entry for entry in _waiting if entry.alone]
    entries = alone or _waiting
    if not any(entry.heard for entry in _waiting):
        threading.Thread(target=_send_again, name="rlm-interrupt", daemon=True).start()
    futures = [entry.future for entry in entries]
    in_cell = in_user_code(frame)
    own_task = in_cell and asyncio.current_task(loop) in futures
    for entry in entries:
        if not own_task and (not entry.heard or cells.running):
            loop.call_soon_threadsafe(entry.future.cancel)
        entry.heard = True
        if not entry.alone:
            entry.stop()
    if own_task:
        raise KeyboardInterrupt
    if in_cell and len(entries) == len(_waiting):
        # In a task or callback that a cell started: asyncio would let a KeyboardInterrupt out of `run_forever`,
        # and that is the end of the kernel.
        raise Stopped


def _send_again() -> None:
    while True:
        time.sleep(AGAIN_S)
        with _sending:
            if not any(entry.heard for entry in _waiting):
                return
            interrupt_main_thread()


def in_user_code(frame: FrameType | None) -> bool:
    """Is a cell's code on this stack, nearer than our own loop or the event loop?"""
    persons = False
    while frame is not None:
        code = frame.f_code
        if code is run_user_code.__code__ or code.co_filename.startswith(CELL_PREFIX):
            return True
        if code is ours.__code__:
            return False
        if code.co_name == "run_code" and code.co_filename.endswith("interactiveshell.py"):
            return True  # the person's own cell, run by IPython
        if code.co_name == "_run_once" and code.co_filename.endswith("base_events.py"):
            return persons  # a task or callback of the person's
        persons = persons or is_cell(code.co_filename)  # or a hook of theirs, which our own loop has called
        frame = frame.f_back
    return persons


def interrupt_task(task: asyncio.Task[Any] | None) -> None:
    """Interrupt the run that this task drives, and leave alone what else runs. From any thread."""
    for entry in list(_waiting):
        entry.alone = entry.alone or entry.future is task
    interrupt_main_thread()


def interrupt_main_thread() -> None:
    """As if Stop had been pressed; from any thread. Wakes a sleeping system call, which `interrupt_main` does not."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)
