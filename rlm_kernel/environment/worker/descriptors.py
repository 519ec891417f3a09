"""
What is written to the file descriptors 1 and 2 themselves, by child processes and compiled code, as output of a cell.

Only for a process that is alone with its cells. Where it comes among what Python prints is known to a few milliseconds.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import select
import sys
import threading

from rlm_kernel.environment.sink import Sink

_BYTES = 65_536
PIPE_BYTES = 1_048_576
"""What Linux lets anybody have."""
_NAMES = {1: "stdout", 2: "stderr"}


class Descriptors:
    """From its making on, for the life of the process, 1 and 2 lead here."""

    def __init__(self) -> None:
        self._ends: dict[int, str] = {}
        for number, name in _NAMES.items():
            end, begin = os.pipe()
            if sys.platform == "linux":
                # Compiled code that keeps the interpreter to itself can write so much before anybody can read.
                fcntl.fcntl(begin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            os.dup2(begin, number)
            os.close(begin)
            os.set_blocking(end, False)
            self._ends[end] = name
        self._decoders = {end: codecs.getincrementaldecoder("utf-8")(errors="backslashreplace") for end in self._ends}
        self._lock = threading.Lock()
        self.sink: Sink | None = None
        """Of the cell that runs. What comes between cells is nobody's, and dropped."""
        threading.Thread(target=self._watch, name="rlm-descriptors", daemon=True).start()

    def take(self) -> None:
        """All that was written until now is in the sink when it returns."""
        with self._lock:
            for end, name in self._ends.items():
                try:
                    while found := os.read(end, _BYTES):
                        self._give(name, self._decoders[end].decode(found))
                except BlockingIOError:
                    continue

    def _give(self, name: str, text: str) -> None:
        if self.sink is None:
            return
        if name == "stdout":
            self.sink.write_stdout(text)
        else:
            self.sink.write_stderr(text)

    def _watch(self) -> None:
        poll = select.poll()
        for end in self._ends:
            poll.register(end, select.POLLIN)
        while True:
            for end, state in poll.poll():
                if state & select.POLLHUP and not state & select.POLLIN:
                    poll.unregister(end)  # a cell has closed the descriptor
            self.take()


class OwnSink(Sink):
    """Of a cell in such a process."""

    def __init__(self, descriptors: Descriptors) -> None:
        super().__init__()
        self._descriptors = descriptors
        descriptors.sink = self

    def finish(self) -> tuple[tuple[dict[str, object], ...], int]:
        self._descriptors.take()
        self._descriptors.sink = None
        return super().finish()
