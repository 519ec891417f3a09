"""
Child processes of a model's cell write to that cell and read nothing; those of everybody else do as they always did.

`subprocess.Popen` and `os.system` are replaced, once, by what behaves as before outside a cell. When a child has been
waited for, what it wrote stands in the cell's output before anything that the cell prints next.
"""

from __future__ import annotations

import functools
import os
import subprocess
from typing import Any

from rlm_kernel.environment.descriptors import descriptors
from rlm_kernel.environment.pipes import NAMES
from rlm_kernel.environment.process import Instead
from rlm_kernel.environment.sink import SINK
from rlm_kernel.environment.sysnames import routed

_guarded = False


def guard() -> None:
    """Idempotent, and for the life of the process."""
    global _guarded
    if not _guarded:
        _guarded = True
        _give_ends()
        _sync("wait")
        _sync("poll")
        _guard_system()


def _give_ends() -> None:
    begin = subprocess.Popen.__init__
    process = os.getpid()

    @functools.wraps(begin)
    def begin_with_ends(
        self: Any,
        args: Any,
        bufsize: int = -1,
        executable: Any = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        *more: Any,
        **options: Any,
    ) -> None:
        if stdin is None and SINK.get() is not None and os.getpid() == process:
            stdin = subprocess.DEVNULL  # nobody answers it: in a script it would wait for the terminal
        names = _name_of(stdout, "stdout"), _name_of(stderr, "stderr")
        if names == (None, None) or os.getpid() != process:
            begin(self, args, bufsize, executable, stdin, stdout, stderr, *more, **options)
            return
        with descriptors.for_child() as ends:
            stdout, stderr = (ends.get(name or "", given) for name, given in zip(names, (stdout, stderr), strict=True))
            begin(self, args, bufsize, executable, stdin, stdout, stderr, *more, **options)

    subprocess.Popen.__init__ = begin_with_ends  # type: ignore[method-assign]


def _name_of(given: Any, default: str) -> str | None:
    """Of the stream that a child is to write to, where that is one of the process's own."""
    if given is None:
        return default
    if SINK.get() is not None:
        return next((name for name in NAMES.values() if given is routed.get(name)), None)
    return None


def _sync(name: str) -> None:
    original = getattr(subprocess.Popen, name)

    @functools.wraps(original)
    def and_sync(self: Any, *args: Any, **options: Any) -> Any:
        ended = original(self, *args, **options)
        if ended is not None and (sink := SINK.get()) is not None:
            sink.sync()
        return ended

    setattr(subprocess.Popen, name, and_sync)


def _guard_system() -> None:
    system = os.system

    def system_of_cell(command: Any) -> int:
        """As `os.system`, but that Stop ends the wait for it."""
        if SINK.get() is None and not descriptors.moved:
            return system(command)
        ended = subprocess.call(command, shell=True, close_fds=False)
        return ended << 8 if ended >= 0 else -ended

    Instead(os, "system", system_of_cell)
