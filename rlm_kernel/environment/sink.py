"""
What one cell puts out: in order, bounded, and shown while it runs.

A cell that prints a million lines calls `write` two million times, so the writer of stdout is the `append` of a
list, a C call that is atomic among threads and copies nothing. A daemon thread drains the lists of running cells
every few milliseconds: it keeps text up to the bound, counts the rest, and hands what is kept on to the person.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

from rlm_kernel.environment.drainer import drainer
from rlm_kernel.values import Final, Output

MAX_CHARS = 10_000_000
"""Characters of output that one cell may put into the trace and the frontend; the rest is counted."""

TAIL_CHARS = 8_000
"""Characters kept of the end of what went beyond the bound: a result is printed last."""

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
        self._room = max_chars
        self._outputs: list[Output] = []
        self._parts: list[str] = []
        self._name = "stdout"
        self._dropped = 0
        self._tail = ""
        self._display_ids: dict[str, list[Output]] = {}
        self._clear_next = False
        self._forwarded = 0
        self._forward_due = 0.0
        self._lock = threading.RLock()
        self._chunks: list[str] = []
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
        output = {"output_type": "display_data", "data": data, "metadata": metadata or {}}
        display_id = (transient or {}).get("display_id")
        with self._lock:
            self._close_stream()
            if not self._fits(data):
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
        with self._lock:
            self._close_stream()
            if not self._fits(data):
                return
            self._append(
                {"output_type": "execute_result", "data": data, "metadata": metadata or {}, "execution_count": None}
            )
            self._to_frontend("display", data, metadata or {}, {}, False)

    def error(self, name: str, message: str, traceback: str) -> None:
        """Not forwarded as an error: a client would take it for a failure of the person's cell (papermill does)."""
        with self._lock:
            self._close_stream()
            self._append({"output_type": "error", "ename": name, "evalue": message, "traceback": traceback.split("\n")})

    def clear(self, wait: bool = False) -> None:
        """Clears this cell's outputs only; the person's cell around it keeps what it shows."""
        with self._lock:
            self._close_stream()
            if wait:
                self._clear_next = True
            else:
                self._outputs.clear()

    def drain(self) -> None:
        """Take what was written to stdout since the last time; by the drainer, and before anything else is added."""
        with self._lock:
            if count := len(self._chunks):
                taken = self._chunks[:count]
                del self._chunks[:count]
                self._take("stdout", taken)
            elif self._parts and time.monotonic() >= self._forward_due:
                self._forward()

    def finish(self) -> tuple[tuple[Output, ...], int]:
        """The outputs in order and the count of characters that were dropped. Later writes go to the person only."""
        with self._lock:
            self.drain()
            self._close_stream()
            tail = self._tail[-TAIL_CHARS:]
            dropped = max(0, self._dropped - len(tail))
            if self._dropped:
                self._name = "stdout"
                self._parts.append(f"\n[... {dropped:,} characters of output are not kept ...]\n")
                self._close_stream()
            if tail:
                # An output of its own: before it is where something is missing.
                self._outputs.append({"output_type": "stream", "name": "stdout", "text": tail})
                self._to_frontend("stream", "stdout", tail)
            self.finished = True
            return tuple(self._outputs), dropped

    def _take(self, name: str, texts: list[str]) -> None:
        try:
            size = sum(map(str.__len__, texts))
        except TypeError:  # somebody wrote something else than text, straight to sys.stdout.write
            texts = [str(text) for text in texts]
            size = sum(map(len, texts))
        if size > self._room:
            texts = self._split(texts)
        text = "".join(texts)
        self._room -= len(text)
        if self.finished:
            if text:
                self._to_frontend("stream", name, text)
            return
        if not text:
            return
        if name != self._name:
            self._close_stream()
            self._name = name
        self._parts.append(text)
        if time.monotonic() >= self._forward_due:
            self._forward()

    def _split(self, texts: list[str]) -> list[str]:
        """What there is room for; the rest is dropped. No text is copied whole: it may be a gigabyte."""
        room, kept = self._room, []
        for at, text in enumerate(texts):
            if room <= 0:
                self._drop(texts[at:])
                break
            kept.append(text[:room])
            if len(text) > room:
                self._drop([text[max(room, len(text) - TAIL_CHARS) :]], count=len(text) - room)
            room -= len(kept[-1])
        return kept

    def _drop(self, texts: list[str], count: int | None = None) -> None:
        self._dropped += sum(map(len, texts)) if count is None else count
        last = texts[-200:]  # printed text comes in small pieces; a tail of 200 of them is enough to see how it ended
        self._tail = (self._tail + "".join(text[-TAIL_CHARS:] for text in last))[-TAIL_CHARS:]

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

    def _fits(self, data: dict[str, Any]) -> bool:
        size = sum(len(value) if isinstance(value, str) else len(json.dumps(value)) for value in data.values())
        if size > self._room:
            self._dropped += size
            return False
        self._room -= size
        return True
