"""
Child processes of a model's cell write to that cell and read nothing; those of everybody else do as they always did.

`subprocess.Popen` and `os.system` are replaced, once, by what behaves as before outside a cell. When a child has been
waited for, what it wrote stands in the cell's output before anything that the cell prints next.

A forked child (`os.fork`, `os.spawn…`, multiprocessing's "fork") has the cell's ends as its stdout and stderr, and its
Python prints there. Not reached is what starts without a fork that Python knows of (`os.posix_spawn`, multiprocessing's
"spawn" and "forkserver"): that inherits what the process has at the time.
"""

from __future__ import annotations

import functools
import os
import subprocess
import threading
from typing import Any

from rlm_kernel.environment.descriptors import descriptors
from rlm_kernel.environment.pipes import NAMES, flush
from rlm_kernel.environment.process import Instead
from rlm_kernel.environment.sink import SINK
from rlm_kernel.environment.streams import STDERR, STDOUT
from rlm_kernel.environment.sysnames import give_to_forked, routed

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
        _give_ends_to_forked()
        _sync_forked("wait")
        _sync_forked("waitpid")


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


class _Fork(threading.local):
    """One that is going on in this thread."""

    ends: Any = None
    """The context manager of the cell's, entered."""
    given: dict[str, int]
    before: dict[int, os.stat_result | None]


def _give_ends_to_forked() -> None:
    fork = _Fork()

    def before() -> None:
        sink = SINK.get()
        if sink is None:
            return
        fork.before = {number: _what(number) for number in NAMES}
        try:
            flush()  # the child has a copy of what the buffers hold
            ends = sink.ends()
            fork.given = ends.__enter__()
            fork.ends = ends
        except OSError:  # too many are open: the child has what this process has
            fork.given = {}

    def in_parent() -> None:
        ends, fork.ends = fork.ends, None
        if ends is not None:
            ends.__exit__(None, None, None)

    def in_child() -> None:
        if SINK.get() is None:
            return
        for number, name in NAMES.items():
            # In the child of os.forkpty they lead to the terminal already.
            if name in fork.given and _same(fork.before[number], _what(number)):
                os.dup2(fork.given[name], number)
        in_parent()
        SINK.set(None)
        streams = {name: _stream(number) for number, name in NAMES.items()}
        for name, stream in streams.items():
            routed[name].write = stream.write  # for whoever holds it, a handler of logging say
        STDOUT.set(streams["stdout"].write)
        STDERR.set(streams["stderr"].write)
        give_to_forked(streams)

    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


def _stream(number: int) -> Any:
    """Each line is written whole, so that those of several children do not mix; it lives as long as the process."""
    return open(number, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _what(number: int) -> os.stat_result | None:
    try:
        return os.fstat(number)
    except OSError:
        return None


def _same(one: os.stat_result | None, other: os.stat_result | None) -> bool:
    return one is other if one is None or other is None else os.path.samestat(one, other)


def _sync_forked(name: str) -> None:
    original = getattr(os, name)

    def and_sync(*args: Any) -> Any:
        ended = original(*args)
        if ended[0] and (sink := SINK.get()) is not None:
            sink.sync()
        return ended

    Instead(os, name, and_sync)
