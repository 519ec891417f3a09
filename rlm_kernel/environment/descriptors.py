"""
Whose the text is that goes to the file descriptors 1 and 2 themselves, from compiled code and child processes.

A child that a cell starts through `subprocess`, `os.system` or a fork is given ends of that cell's own (`children`).
All else can be told by time only: while one model's cell runs in the process, the descriptors lead to it; while several
do, to nobody: the person sees that text, labelled, and each of those cells has a note.

The descriptors are moved only in a process whose Python streams do not write there, a kernel's or a worker's: in a
script they stay, and what compiled code writes there goes to the terminal.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rlm_kernel.environment.drainer import drainer
from rlm_kernel.environment.pipes import NAMES, Pipes, flush
from rlm_kernel.environment.secrets import Pieces, Redactor
from rlm_kernel.environment.sink import SINK, Sink

Show = Callable[[str, str], None]
"""Takes the name of a stream and a text."""

LABEL = "[from compiled code or a process that one of several agents' cells started; it cannot be told which]\n"

MIXED = (
    "Other agents' cells ran in this process beside yours, and something wrote to its stdout or stderr past Python. It "
    "cannot be told whose text that is, so no cell's output has it. Where you need what compiled code prints, run it "
    'in a child process (subprocess), or ask with isolation="process".'
)


class _Nobodys:
    """What is written while several cells run. Watched by the drainer until nothing more can come."""

    def __init__(self, show: Show) -> None:
        self.finished = False
        self.pipes = Pipes()
        self.sinks: list[Sink] = []
        """Of the cells that have run meanwhile."""
        self._show = show
        self._pieces = Pieces(Redactor())
        self._labelled = False
        self._lock = threading.Lock()
        drainer.keep(self)

    def drain(self) -> None:
        with self._lock:
            for name, text in self.pipes.read():
                for sink in self.sinks:
                    sink.notes[MIXED] = None
                self._bring(name, self._pieces.add(name, text))
            if self.pipes.over:
                for name, text in self._pieces.rest():
                    self._bring(name, text)
                drainer.let_go(self)

    def _bring(self, name: str, text: str) -> None:
        if text:
            # Not as this thread's cell: where it has none, the person's newest cell gets it.
            contextvars.Context().run(self._show, name, text if self._labelled else LABEL + text)
            self._labelled = True

    def close(self) -> None:
        """One cell is left, or none."""
        self.finished = True
        self.pipes.close()


class Descriptors:
    """1 and 2 of this process. Thread-safe."""

    def __init__(self) -> None:
        self._show: Show | None = None
        self._unshown = 0
        self._running: list[Sink] = []
        self._nobodys: _Nobodys | None = None
        self._found: dict[int, int] = {}
        """Copies of what everybody else has there, while any cell runs."""
        self._lock = threading.RLock()
        os.register_at_fork(after_in_child=self._forget)

    @property
    def moved(self) -> bool:
        """Whether they lead to cells just now."""
        return bool(self._found)

    @property
    def claimed(self) -> bool:
        """Whether what is written there is output of a cell at all."""
        return self._show is not None

    def claim(self, show: Show) -> None:
        """From now on cells have them. `show` brings the person what cannot be told whose it is."""
        self._show = show

    @contextmanager
    def unshown(self) -> Iterator[None]:
        """Meanwhile, and later of what cells begin meanwhile, the person is not shown what is nobody's."""
        self._unshown += 1
        try:
            yield
        finally:
            self._unshown -= 1

    def lend(self, sink: Sink) -> None:
        """Until the sink is finished, its cell runs."""
        if self._show is None:
            return
        with self._lock:
            flush()
            if not self._running:
                try:
                    self._found = {number: os.dup(number) for number in NAMES}
                except OSError:  # closed, or too many are open: they stay where they are
                    return
            self._running.append(sink)
            sink.releases.append(partial(self._take_back, sink))
            self._point()

    @contextmanager
    def for_child(self) -> Iterator[dict[str, int]]:
        """What a child that is started here and now writes to, by name; empty where it is what this process has."""
        sink = SINK.get()
        if sink is not None:
            with sink.ends() as ends:
                yield ends
            return
        with self._lock:
            ends = {name: os.dup(self._found[number]) for number, name in NAMES.items()} if self._found else {}
        try:
            yield ends
        finally:
            for end in ends.values():
                os.close(end)

    def _take_back(self, sink: Sink) -> None:
        with self._lock:
            flush()
            if self._nobodys is not None:
                self._nobodys.drain()
            self._running.remove(sink)
            self._point()

    def _point(self) -> None:
        """Let them lead to whom they belong now."""
        if len(self._running) < 2 and self._nobodys is not None:
            self._nobodys.close()
            self._nobodys.drain()
            self._nobodys = None
        try:
            if len(self._running) > 1:
                self._lead(self._several().ends)
            elif self._running:
                with self._running[0].ends(wide=True) as ends:
                    self._lead(ends)
            else:
                self._lead_back()
        except OSError:  # too many are open
            self._lead_back()
        if not self._running:
            for copy in self._found.values():
                os.close(copy)
            self._found = {}

    def _lead(self, ends: dict[str, int]) -> None:
        for number, name in NAMES.items():
            os.dup2(ends[name], number)

    def _lead_back(self) -> None:
        for number, copy in self._found.items():
            os.dup2(copy, number)

    def _several(self) -> Pipes:
        if self._nobodys is None:
            assert self._show is not None
            self._nobodys = _Nobodys(_drop if self._unshown else self._show)
            self._nobodys.pipes.widen()
        self._nobodys.sinks = list(self._running)
        return self._nobodys.pipes

    def _forget(self) -> None:
        """In a forked child: its own children have what it has, and what that is was said when it was started."""
        self._lock = threading.RLock()
        self._show, self._found, self._running, self._nobodys = None, {}, [], None


def _drop(name: str, text: str) -> None:
    """As a `Show`."""


descriptors = Descriptors()
