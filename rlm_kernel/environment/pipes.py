"""
A pipe for stdout and one for stderr, whose text belongs to one cell for as long as anything can write to them.

So whoever has inherited an end, a child process say, writes to that cell, however late.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import fcntl
import os
import sys

NAMES = {1: "stdout", 2: "stderr"}

_BYTES = 65_536
_AT_ONCE = 16
"""Reads for one look at a pipe: what writes without end must not keep whoever looks."""
_WIDE_BYTES = 1_048_576
"""What Linux lets anybody have."""


class Pipes:
    """Not thread-safe."""

    def __init__(self) -> None:
        self.ends: dict[str, int] = {}
        """To write to, by name; empty once closed."""
        self._readers: dict[str, int] = {}
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("backslashreplace") for name in NAMES.values()}
        for name in NAMES.values():
            self._readers[name], self.ends[name] = os.pipe()
            os.set_blocking(self._readers[name], False)

    def widen(self) -> None:
        """For compiled code that keeps the interpreter to itself: it can write so much before anybody can read."""
        if sys.platform == "linux":
            for end in self.ends.values():
                with contextlib.suppress(OSError):  # this user's pipes are wide enough, taken together
                    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, _WIDE_BYTES)

    def read(self) -> list[tuple[str, str]]:
        """Name and text of what is there now, without waiting; of an endless writer's, a megabyte."""
        found = []
        for name, reader in list(self._readers.items()):
            parts, over = _read(reader)
            if over:
                os.close(self._readers.pop(name))
            if text := self._decoders[name].decode(b"".join(parts), final=over):
                found.append((name, text))
        return found

    def close(self) -> None:
        """Nothing more is written from here. An end that a child has is still read."""
        for end in self.ends.values():
            os.close(end)
        self.ends.clear()

    @property
    def over(self) -> bool:
        """Nothing more can come."""
        return not self._readers


class Inlets:
    """The pipes of one cell: one pair while it runs, and one for each process that a thread of it starts later."""

    def __init__(self) -> None:
        self._pipes: list[Pipes] = []

    def __bool__(self) -> bool:
        """Whether something can come."""
        return bool(self._pipes)

    def ends(self, wide: bool) -> dict[str, int]:
        """Copies of the open pair's ends, for the caller to close."""
        if not (self._pipes and self._pipes[-1].ends):
            self._pipes.append(Pipes())
        pipes = self._pipes[-1]
        if wide:
            pipes.widen()
        return {name: os.dup(end) for name, end in pipes.ends.items()}

    def read(self) -> list[tuple[str, str]]:
        """As `Pipes.read`."""
        found = [came for pipes in self._pipes for came in pipes.read()]
        self._pipes = [pipes for pipes in self._pipes if not pipes.over]
        return found

    def close(self) -> None:
        for pipes in self._pipes:
            pipes.close()


def _read(reader: int) -> tuple[list[bytes], bool]:
    """And whether nobody can write to it any more."""
    parts: list[bytes] = []
    try:
        for _ in range(_AT_ONCE):
            part = os.read(reader, _BYTES)
            if not part:
                return parts, True
            parts.append(part)
    except BlockingIOError:
        pass
    return parts, False


_C = ctypes.CDLL(None)
_C_STDOUT = ctypes.c_void_p.in_dll(_C, "stdout" if sys.platform == "linux" else "__stdoutp")


def flush() -> None:
    """What compiled code, or Python before there was a kernel, has written and its buffers still hold."""
    _C.fflush(_C_STDOUT)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):  # closed, or full
                stream.flush()
