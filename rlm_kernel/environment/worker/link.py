"""
Messages between a worker and the process that started it, over a pair of connected sockets.

On the wire: the length of a head in four bytes, the head as JSON, then the body, which is a pickle and the buffers that
were left out of it. A message is read whole before its body is unpickled, so a body that cannot be loses no other
message. Both ends are the same person's code at the same version: this is a way to be apart, not a line of trust.
"""

from __future__ import annotations

import json
import pickle
import select
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from rlm_kernel.store import Glance, Reader

LOOK_EVERY_S = 0.5
"""How often a reader asks whether the other end is alive: a child that it forked may keep the socket open."""

SKIP_BYTES = 65_536

HANDED = -1
"""In place of the number of a worker's own store: the one that its agent was handed, which is on the other side."""

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Packed:
    """An object as it travels. What can lend its memory, as arrays do, is not copied to get here."""

    stream: list[bytes | bytearray] | None
    """None where there was no memory to receive it."""
    buffers: list[Any]

    def open(self) -> Any:
        """The object, once. Raises whatever its classes raise, and MemoryError."""
        if self.stream is None:
            raise MemoryError("there is no room here for what came")
        whole = self.stream[0] if len(self.stream) == 1 else b"".join(self.stream)
        return pickle.loads(whole, buffers=self.buffers)


class _Parts(list[bytes]):
    """A file for a pickler: large texts and bytes come in one piece, which is kept and not copied once more."""

    write = list.append


@cache
def _pickler() -> Any:
    import cloudpickle  # type: ignore[import-untyped]  # 15 ms, and most kernels never start a worker

    return cloudpickle.Pickler


def pack(value: object) -> Packed:
    """Raises whatever the value's classes raise; TypeError or PicklingError for what has no pickle."""
    parts, buffers = _Parts(), list[pickle.PickleBuffer]()
    _pickler()(parts, protocol=5, buffer_callback=buffers.append).dump(value)
    return Packed(list(parts), [buffer.raw() for buffer in buffers])


@dataclass(frozen=True, slots=True)
class Message:
    kind: str
    number: int = 0
    """Of a request and its reply; for a cell, its step."""
    step: int = 0
    body: Packed | None = None

    def open(self) -> Any:
        assert self.body is not None
        return self.body.open()


class Link:
    """One end. Any thread may send, one receives."""

    def __init__(self, end: socket.socket, alive: Callable[[], bool] = lambda: True) -> None:
        """`alive` says whether the other end's process still runs."""
        self._socket = end
        self._alive = alive
        self._sending = threading.Lock()
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    def send(self, message: Message) -> None:
        """Waits where the other end is slow to read. Raises OSError where it is gone."""
        stream, buffers = (message.body.stream or [], message.body.buffers) if message.body is not None else ([], [])
        sizes = [sum(map(len, stream)), *(len(buffer) for buffer in buffers)]
        head = json.dumps([message.kind, message.number, message.step, None if message.body is None else sizes])
        with self._sending:
            self._socket.sendall(_LENGTH.pack(len(head)) + head.encode("ascii"))
            for part in (*stream, *buffers):
                self._socket.sendall(part)

    def receive(self) -> Message | None:
        """The next message; None when no more can come."""
        try:
            (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
            kind, number, step, sizes = json.loads(self._read(length))
            return Message(kind, number, step, None if sizes is None else self._body(sizes))
        except (EOFError, OSError):
            return None

    def close(self) -> None:
        """From any thread: both ends read what was sent, and then an end."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other end was quicker

    def _body(self, sizes: list[int]) -> Packed:
        try:
            room = [bytearray(size) for size in sizes]
        except MemoryError:
            left = sum(sizes)
            while left:
                left -= len(self._read(min(left, SKIP_BYTES)))
            return Packed(None, [])
        for part in room:
            self._fill(memoryview(part))
        return Packed([room[0]], room[1:])

    def _read(self, size: int) -> bytearray:
        part = bytearray(size)
        self._fill(memoryview(part))
        return part

    def _fill(self, view: memoryview) -> None:
        while view:
            while not self._ready():
                if not self._alive() and not self._poll.poll(0):
                    raise EOFError
            count = self._socket.recv_into(view)
            if not count:
                raise EOFError
            view = view[count:]

    def _ready(self) -> bool:
        try:
            return bool(self._poll.poll(LOOK_EVERY_S * 1000))
        except MemoryError:  # a cell has taken it all, for the moment; whoever listens must outlive that
            return False


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker is sent first."""

    agent: str
    """Its id."""
    run: str
    variables: Mapping[str, object]
    """`context` and the tools."""
    render: Callable[[object], str]
    one_line: Callable[[object], str]
    tokens_of: Callable[[object], int | None]
    list_variables: Callable[[Mapping[str, object]], str]
    reader: Reader
    look: Callable[[object], Glance]
    """For what a store lists."""
    max_tokens_per_read: int | None
    max_read_tokens: int | None
    replays: bool = False
    """Whether its cells run again, see `namespace.Checkpoints`."""
