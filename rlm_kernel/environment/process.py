"""
What a model's cell shares with the whole process, and how it is kept from harming it: threads, pools, exit, input,
sleep, warnings, and for sub-agents' cells the working directory and the environment.

Each of these replaces a function of the standard library, once, by one that behaves as before outside a cell.
"""

from __future__ import annotations

import ast
import builtins
import contextvars
import functools
import getpass
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.thread import _worker
from typing import Any

from rlm_kernel.environment import figures, sysnames, warned
from rlm_kernel.environment.apart import APART, ROOM
from rlm_kernel.environment.sink import SINK
from rlm_kernel.environment.tracebacks import is_cell

NO_INPUT = "input() has nobody to answer it in a model's cell; what is needed has to be in context or in a variable"
NO_DEBUGGER = "breakpoint() has nobody to look into it in a model's cell; print what is to be seen"
NO_CHDIR = (
    "other agents' cells run in this process at the same time, and it has one working directory: "
    "use absolute paths, and cwd= for a subprocess"
)
NO_ENVIRON = (
    "other agents' cells run in this process at the same time, and it has one environment: "
    "pass env={**os.environ, ...} to a subprocess"
)

_WITHIN_ENVIRON = (__name__, "os", "collections.abc", "contextlib", "unittest.mock", "IPython.core.magics.osm")
"""Modules whose frames stand between a change of `os.environ` and who makes it. (_collections_abc calls itself so.)"""

SLEEP_SLICE_S = 0.1

parsing = threading.RLock()
"""Held while a syntax tree is built: Python 3.11 counts its depth for all threads together, and fails where two do."""

_guarded = False


def guard() -> None:
    """Idempotent, and for the life of the process."""
    global _guarded
    if not _guarded:
        _guarded = True
        _inherit_context()
        _guard_exit()
        _guard_input()
        _guard_directory()
        _guard_environment()
        _slice_sleep()
        _parse_one_at_a_time()
        sysnames.install()
        figures.install()
        warned.install()


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
                except BaseException as error:  # within the context, so that the report goes to the cell too
                    if error.__traceback__ is not None:  # no line of this file, which says nothing to a reader
                        error.__traceback__ = error.__traceback__.tb_next
                    threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, self)))

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
    """For a process without a kernel. A kernel puts its own in place for each of the person's cells."""
    for module, name in ((builtins, "input"), (getpass, "getpass")):
        _refuse_in_cells(module, name, NO_INPUT)
    _refuse_in_cells(builtins, "breakpoint", NO_DEBUGGER)


def _refuse_in_cells(module: Any, name: str, why: str) -> None:
    original = getattr(module, name)

    @functools.wraps(original)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if SINK.get() is not None:
            raise RuntimeError(why)
        return original(*args, **kwargs)

    setattr(module, name, guarded)


class Instead:
    """Stands for a function written in C: in a class it is no method, and it is pickled by its name."""

    def __init__(self, module: Any, name: str, function: Callable[..., Any]) -> None:
        self.__module__ = module.__name__
        self.__name__ = self.__qualname__ = name
        self.__doc__ = getattr(module, name).__doc__
        self._function = function
        setattr(module, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __reduce__(self) -> str:
        return self.__name__


def _guard_directory() -> None:
    for name in ("chdir", "fchdir"):
        _refuse_apart(name, NO_CHDIR, lambda: True)


def _guard_environment() -> None:
    """`os.environ` calls these before it changes anything. A library may set a default for itself; a cell may not."""
    for name in ("putenv", "unsetenv"):
        _refuse_apart(name, NO_ENVIRON, _called_from_a_cell)


def _refuse_apart(name: str, why: str, refused: Callable[[], bool]) -> None:
    original = getattr(os, name)
    process = os.getpid()

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if APART.get() is not None and os.getpid() == process and refused():
            raise RuntimeError(why)
        return original(*args, **kwargs)

    Instead(os, name, guarded)


def _called_from_a_cell() -> bool:
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") in _WITHIN_ENVIRON:
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return False
    own = ROOM.get()
    # `%%time` compiles under a name of its own, and runs in the cell's namespace.
    return is_cell(frame.f_code.co_filename) or (own is not None and frame.f_globals is own.namespace)


def _slice_sleep() -> None:
    """Nothing stops a call in C but a signal, and that reaches the main thread only."""
    original = time.sleep

    def sleep(seconds: Any, /) -> None:
        if SINK.get() is None or threading.get_ident() == threading.main_thread().ident or not seconds > SLEEP_SLICE_S:
            original(seconds)
            return
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            original(min(left, SLEEP_SLICE_S))

    Instead(time, "sleep", sleep)


def _parse_one_at_a_time() -> None:
    if sys.version_info >= (3, 12):  # there no thread gives way to another while it builds one
        return
    parse = ast.parse

    @functools.wraps(parse)
    def parse_alone(*args: Any, **kwargs: Any) -> Any:
        with parsing:
            return parse(*args, **kwargs)

    ast.parse = parse_alone
    os.register_at_fork(after_in_child=parsing._at_fork_reinit)  # type: ignore[attr-defined]
