"""The thread that empties the sinks of running cells, so that what they print is seen at once and stays bounded."""

from __future__ import annotations

import contextvars
import threading
import time
import weakref
from typing import Protocol

EVERY_S = 0.01
LATE_S = 0.2
"""For a sink whose cell is over: a thread of that cell may still print, and can wait longer."""


class Drained(Protocol):
    finished: bool

    def drain(self) -> None: ...


class Drainer:
    """One daemon thread for all sinks. It ends by itself when no cell has run for a while."""

    def __init__(self) -> None:
        self._sinks: weakref.WeakSet[Drained] = weakref.WeakSet()
        self._kept: set[Drained] = set()
        """Of those, what nobody else may hold any more, and something may still come."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, sink: Drained) -> None:
        with self._lock:
            self._sinks.add(sink)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="rlm-output", daemon=True)
                # In no context: it would inherit that of the cell that is watched first, and keep it alive.
                contextvars.Context().run(self._thread.start)

    def keep(self, sink: Drained) -> None:
        """Until `let_go`, whoever else has it or not."""
        with self._lock:
            self._kept.add(sink)
        self.watch(sink)

    def let_go(self, sink: Drained) -> None:
        with self._lock:
            self._kept.discard(sink)

    def _run(self) -> None:
        while True:
            with self._lock:
                sinks = list(self._sinks)
                if not sinks:
                    self._thread = None
                    return
            for sink in sinks:
                sink.drain()
            pause = EVERY_S if any(not sink.finished for sink in sinks) else LATE_S
            del sinks, sink
            time.sleep(pause)


drainer = Drainer()
