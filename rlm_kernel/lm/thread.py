"""
The one thread on which model calls run: a private asyncio loop, apart from the kernel's own.

The kernel's loop runs the person's cells, and a cell that waits for a model on that same loop would wait for
itself. Here is only the thread, and how another thread waits for it. What runs on it is the runner's affair.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

SLICE_S = 0.1
"""A wait returns to the interpreter this often, so that a signal handler or an injected exception gets through."""


class LoopThread:
    """An asyncio loop in a daemon thread that starts with the first `submit`."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def submit(self, coro: Coroutine[Any, Any, T]) -> Future[T]:
        """Run it as a task, in a copy of the caller's context variables. Cancelling the future cancels the task."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run, args=(self._loop,), name="rlm-models", daemon=True)
                # In no context: it would inherit that of the cell that asks first, and keep it alive.
                contextvars.Context().run(self._thread.start)
            return asyncio.run_coroutine_threadsafe(coro, self._loop)

    def is_current(self) -> bool:
        """Whether the caller is on this thread, where a `wait` would never end."""
        return self._thread is threading.current_thread()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while True:
            # asyncio lets these two out of a task and stops the loop. The task's future has them already, and the
            # other calls under way must not end with it.
            with suppress(KeyboardInterrupt, SystemExit):
                loop.run_forever()


_shared: LoopThread | None = None
_shared_lock = threading.Lock()


def shared() -> LoopThread:
    """The process's one. After a fork, whose child has the object but not the thread, a new one."""
    global _shared, _shared_lock
    if _shared is not None and _shared.pid != os.getpid():
        _shared, _shared_lock = None, threading.Lock()  # another thread may have held the old lock at the fork
    with _shared_lock:
        if _shared is None:
            _shared = LoopThread()
        return _shared


def in_a_loop() -> bool:
    """Whether the caller is on a thread whose event loop runs, where `asyncio.run` is refused."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def wait(future: Future[T]) -> T:
    """
    The future's result, for a caller that is no coroutine; raises what it raised.

    Whatever ends the wait early, KeyboardInterrupt above all, cancels the future and goes on up.
    """
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    try:
        while not done.wait(SLICE_S):
            pass
    except BaseException:
        future.cancel()
        raise
    return future.result()
