"""
What a model's cell shares with the whole process, and how it is kept from harming it: threads, pools, exit, input.

Each of these replaces a function of the standard library, once, by one that behaves as before outside a cell.
"""

from __future__ import annotations

import builtins
import contextvars
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.thread import _worker
from typing import Any

from rlm_kernel.environment.sink import SINK

NO_INPUT = "input() has nobody to answer it in a model's cell; what is needed has to be in context or in a variable"

_guarded = False


def guard() -> None:
    """Idempotent, and for the life of the process."""
    global _guarded
    if not _guarded:
        _guarded = True
        _inherit_context()
        _guard_exit()
        _guard_input()


def _inherit_context() -> None:
    """
    Threads that a model's cell starts write to that cell, and what is given to a pool to whoever gave it.

    (Python 3.14 can do the first by itself.) A pool's workers outlive the cell that happened to start them.
    """
    start = threading.Thread.start

    def start_in_context(self: threading.Thread) -> None:
        if SINK.get() is not None and getattr(self, "_target", None) is not _worker:
            context, run = contextvars.copy_context(), self.run

            def reported() -> None:
                try:
                    run()
                except SystemExit:
                    pass
                except BaseException:  # within the context, so that the report goes to the cell too
                    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), self)))

            self.run = lambda: context.run(reported)  # type: ignore[method-assign]
        start(self)

    submit = ThreadPoolExecutor.submit

    def submit_in_context(self: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        return submit(self, contextvars.copy_context().run, function, *args, **kwargs)

    threading.Thread.start = start_in_context  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = submit_in_context  # type: ignore[method-assign]


def _guard_exit() -> None:
    """`os._exit` in a model's cell would end the kernel with everything in it. A forked child may still use it."""
    leave = os._exit
    process = os.getpid()

    def guarded(status: int = 0) -> None:
        if SINK.get() is not None and os.getpid() == process:
            raise RuntimeError("os._exit would end the kernel and everything in it; a cell just ends where it ends")
        leave(status)

    os._exit = guarded  # type: ignore[assignment]


def _guard_input() -> None:
    """For a process without a kernel. A kernel puts its own `input` in place for each of the person's cells."""
    ask = builtins.input

    def guarded(prompt: object = "", /) -> str:
        if SINK.get() is not None:
            raise RuntimeError(NO_INPUT)
        return ask(prompt)

    builtins.input = guarded
