"""
What one cell puts out: in order, bounded, and shown while it runs.

A cell that prints a million lines calls `write` two million times, so the writer of stdout is the `append` of a
list, a C call that is atomic among threads and copies nothing. A daemon thread drains the lists of running cells
every few milliseconds: it keeps text up to the bound, counts the rest, and hands what is kept on to the person.

What comes through pipes (`ends`), from child processes say, the person sees as it comes. Among the outputs it stands,
stdout before stderr, where the cell is known to have come to a point after it (`sync`): so a replay finds it there too.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from rlm_kernel.environment.bound import MAX_CHARS, Bound
from rlm_kernel.environment.drainer import drainer
from rlm_kernel.environment.pipes import NAMES, Inlets, flush
from rlm_kernel.values import Final, Output

FORWARD_EVERY_S = 0.1


SINK: ContextVar[Sink | None] = ContextVar("rlm_sink", default=None)
"""The sink of the cell that is running in this context; None in the person's own cells."""


class Frontend(Protocol):
    """Where output goes on to, for the person to see."""

    def stream(self, name: str, text: str) -> None: ...

    def display(
        self, data: dict[str, Any], metadata: dict[str, Any], transient: dict[str, Any], update: bool
    ) -> None: ...


class Sink:
    """The outputs of one cell. Any thread that the cell starts may write to it; one `finish` ends it."""

    def __init__(self, frontend: Frontend | None = None, max_chars: int = MAX_CHARS) -> None:
        self._frontend = frontend
        self._bound = Bound(max_chars)
        self._outputs: list[Output] = []
        self._parts: list[str] = []
        self._name = "stdout"
        self._display_ids: dict[str, list[Output]] = {}
        self._clear_next = False
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
        output = {"output_type": "display_data", "data": data, "metadata": metadata or {}}
        display_id = (transient or {}).get("display_id")
        with self._lock:
            self._end_stream()
            if not self._bound.fits(data):
                return
            known = self._display_ids.get(display_id, []) if display_id else []
            if update:
                for earlier in known:
                    earlier["data"], earlier["metadata"] = data, metadata or {}
            else:
                self._append(output)
                if display_id:
                    self._display_ids.setdefault(display_id, []).append(output)
            self._to_frontend("display", data, metadata or {}, transient or {}, update)

    def result(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """The value of the cell's last expression. The person gets it as a display: `Out[n]` is their own cell's."""
        self._flush()
        with self._lock:
            self._end_stream()
            if not self._bound.fits(data):
                return
            self._append(
                {"output_type": "execute_result", "data": data, "metadata": metadata or {}, "execution_count": None}
            )
            self._to_frontend("display", data, metadata or {}, {}, False)

    def error(self, name: str, message: str, traceback: str) -> None:
        """Not forwarded as an error: a client would take it for a failure of the person's cell (papermill does)."""
        self._flush()
        with self._lock:
            self._end_stream()
            self._append({"output_type": "error", "ename": name, "evalue": message, "traceback": traceback.split("\n")})

    def clear(self, wait: bool = False) -> None:
        """Clears this cell's outputs only; the person's cell around it keeps what it shows."""
        self._flush()
        with self._lock:
            self._end_stream()
            if wait:
                self._clear_next = True
            else:
                self._outputs.clear()

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
                self._outputs.append({"output_type": "stream", "name": "stdout", "text": tail})
                self._to_frontend("stream", "stdout", tail)
            self.finished = True
            if not self._inlets:
                drainer.let_go(self)
            return tuple(self._outputs), dropped

    def _take(self, name: str, texts: list[str]) -> None:
        text = self._bound.take(texts)
        if not text:
            return
        if self.finished:
            self._to_frontend("stream", name, text)
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
            self._to_frontend("stream", name, text)
        if self.finished and not self._inlets:
            drainer.let_go(self)

    def _forward(self) -> None:
        pending = self._parts[self._forwarded :]
        self._forwarded = len(self._parts)
        self._forward_due = time.monotonic() + FORWARD_EVERY_S
        if pending:
            self._to_frontend("stream", self._name, "".join(pending))

    def _to_frontend(self, how: str, *what: Any) -> None:
        if self._frontend is None:
            return
        try:
            getattr(self._frontend, how)(*what)
        except Exception as error:  # closed, or replaced by the person: what is kept here is kept all the same
            self._frontend = None
            logging.getLogger(__name__).warning("output of a cell can no longer be shown: %r", error)

    def _flush(self) -> None:
        """Without the lock: it may wait until the pipes have been looked into."""
        if self.releases:
            flush()

    def _settle(self) -> None:
        self.drain()
        for name, texts in self._past.items():
            if texts:
                self._close_stream()
                self._append({"output_type": "stream", "name": name, "text": "".join(texts)})
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
                self._append({"output_type": "stream", "name": self._name, "text": text})

    def _append(self, output: Output) -> None:
        if self._clear_next:
            self._outputs.clear()
            self._clear_next = False
        last = self._outputs[-1] if self._outputs else None
        if output["output_type"] == "stream" and last is not None and last.get("name") == output["name"]:
            last["text"] += output["text"]
        else:
            self._outputs.append(output)
