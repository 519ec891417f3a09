"""
What one cell puts out: in order, bounded, and shown while it runs.

A cell that prints a million lines calls `write` two million times, so the writer of stdout is the `append` of a
list, a C call that is atomic among threads and copies nothing. A daemon thread drains the lists of running cells
every few milliseconds: it keeps text up to the bound, counts the rest, and hands what is kept on to the person.

What comes through pipes (`ends`), from child processes say, the person sees as it comes. Among the outputs it stands,
stdout before stderr, where the cell is known to have come to a point after it (`sync`): so a replay finds it there too.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rlm_kernel.environment.bound import MAX_CHARS, Bound
from rlm_kernel.environment.drainer import drainer
from rlm_kernel.environment.frontend import Frontend, Shown
from rlm_kernel.environment.outputs import Outputs
from rlm_kernel.environment.pipes import NAMES, Inlets, flush
from rlm_kernel.values import Final, Output

FORWARD_EVERY_S = 0.1

SINK: ContextVar[Sink | None] = ContextVar("rlm_sink", default=None)
"""The sink of the cell that is running in this context; None in the person's own cells."""


class Sink:
    """The outputs of one cell. Any thread that the cell starts may write to it; one `finish` ends it."""

    def __init__(self, frontend: Frontend | None = None, max_chars: int = MAX_CHARS) -> None:
        self._shown = Shown(frontend)
        self._bound = Bound(max_chars)
        self._outputs = Outputs()
        self._parts: list[str] = []
        self._name = "stdout"
        self._forwarded = 0
        self._forward_due = 0.0
        self._lock = threading.RLock()
        self._chunks: list[str] = []
        self._inlets = Inlets()
        self._past: dict[str, list[str]] = {name: [] for name in NAMES.values()}
        """What came through them and is not among the outputs yet."""
        self.releases: list[Callable[[], None]] = []
        """Called once, before the outputs are handed over."""
        self.notes: dict[str, None] = {}
        """What there is to say of its output, in order."""
        self.warned: dict[object, object] = {}
        """The warnings that it was told: see `warned`."""
        self.finished = False
        self.final: Final | None = None
        """Set where FINAL was called in a shell that runs a cell within this one (`%%capture`)."""
        self.write_stdout: Callable[[str], object] = self._chunks.append
        drainer.watch(self)

    def write_stderr(self, text: str) -> int:
        with self._lock:
            self.drain()
            self._take("stderr", [str(text)])
        return len(text)

    def display(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        transient: dict[str, Any] | None = None,
        update: bool = False,
    ) -> None:
        self._flush()
        with self._lock:
            self._end_stream()
            if not self._bound.fits(data):
                return
            self._outputs.display(data, metadata or {}, (transient or {}).get("display_id"), update)
            self._shown.display(data, metadata or {}, transient or {}, update)

    def result(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """The value of the cell's last expression. The person gets it as a display: `Out[n]` is their own cell's."""
        self._flush()
        with self._lock:
            self._end_stream()
            if not self._bound.fits(data):
                return
            self._outputs.append(
                {"output_type": "execute_result", "data": data, "metadata": metadata or {}, "execution_count": None}
            )
            self._shown.display(data, metadata or {}, {}, False)

    def error(self, name: str, message: str, traceback: str) -> None:
        """Not forwarded as an error: a client would take it for a failure of the person's cell (papermill does)."""
        self._flush()
        with self._lock:
            self._end_stream()
            self._outputs.append(
                {"output_type": "error", "ename": name, "evalue": message, "traceback": traceback.split("\n")}
            )

    def clear(self, wait: bool = False) -> None:
        """Clears this cell's outputs only; the person's cell around it keeps what it shows."""
        self._flush()
        with self._lock:
            self._end_stream()
            self._outputs.clear(wait)

    @contextmanager
    def ends(self, wide: bool = False) -> Iterator[dict[str, int]]:
        """Descriptors by the name of a stream, until its end: what is written there, or to a copy, is this cell's."""
        with self._lock:
            copies = self._inlets.ends(wide)
            drainer.keep(self)
            if self.finished:
                self._inlets.close()
        try:
            yield copies
        finally:
            for copy in copies.values():
                os.close(copy)

    def drain(self) -> None:
        """Take what was written to stdout since the last time; by the drainer, and before anything else is added."""
        with self._lock:
            if count := len(self._chunks):
                taken = self._chunks[:count]
                del self._chunks[:count]
                self._take("stdout", taken)
            elif self._parts and time.monotonic() >= self._forward_due:
                self._forward()
            if self._inlets:
                self._look()

    def sync(self) -> None:
        """What came through pipes until now stands before all that comes from now on."""
        self._flush()
        with self._lock:
            self._settle()

    def finish(self) -> tuple[tuple[Output, ...], int]:
        """The outputs in order and the count of characters that were dropped. Later writes go to the person only."""
        while self.releases:
            self.releases.pop()()
        with self._lock:
            self._inlets.close()
            self._end_stream()
            tail = self._bound.tail
            dropped = max(0, self._bound.dropped - len(tail))
            if self._bound.dropped:
                self._name = "stdout"
                self._parts.append(f"\n[... {dropped:,} characters of output are not kept ...]\n")
                self._close_stream()
            if tail:
                # An output of its own: before it is where something is missing.
                self._outputs.append_apart({"output_type": "stream", "name": "stdout", "text": tail})
                self._shown.stream("stdout", tail)
            self._shown.end()
            self.finished = True
            if not self._inlets:
                drainer.let_go(self)
            return self._outputs.all(), dropped

    def _take(self, name: str, texts: list[str]) -> None:
        text = self._bound.take(texts)
        if not text:
            return
        if self.finished:
            self._shown.stream(name, text)
            return
        if name != self._name:
            self._close_stream()
            self._name = name
        self._parts.append(text)
        if time.monotonic() >= self._forward_due:
            self._forward()

    def _look(self) -> None:
        """Into the pipes."""
        for name, came in self._inlets.read():
            text = self._bound.take([came])
            if not text:
                continue
            if not self.finished:
                self._past[name].append(text)
                self._forward()  # what was printed before it
            self._shown.stream(name, text)
        if self.finished and not self._inlets:
            self._shown.end()
            drainer.let_go(self)

    def _forward(self) -> None:
        pending = self._parts[self._forwarded :]
        self._forwarded = len(self._parts)
        self._forward_due = time.monotonic() + FORWARD_EVERY_S
        if pending:
            self._shown.stream(self._name, "".join(pending))

    def _flush(self) -> None:
        """Without the lock: it may wait until the pipes have been looked into."""
        if self.releases:
            flush()

    def _settle(self) -> None:
        self.drain()
        for name, texts in self._past.items():
            if texts:
                self._close_stream()
                self._outputs.append({"output_type": "stream", "name": name, "text": "".join(texts)})
                texts.clear()

    def _end_stream(self) -> None:
        """Of whatever kind it is, and wherever it came from."""
        self._settle()
        self._close_stream()

    def _close_stream(self) -> None:
        """End the current run of stream text, so that what comes next stands after it."""
        if self._chunks:
            self.drain()
        if self._parts:
            self._forward()
            text = "".join(self._parts)
            self._parts.clear()
            self._forwarded = 0
            if text:
                self._outputs.append({"output_type": "stream", "name": self._name, "text": text})
