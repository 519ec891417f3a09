"""The live view of a run: one display, updated in place while the run goes on, at most four times a second."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from typing import Any

from IPython.display import display

from rlm_kernel.lm import thread
from rlm_kernel.trace.views import bundle

EVERY_S = 0.25


class LiveView:
    """
    `poke` it whenever something has changed, from any thread; `finish` shows the last state, which is the durable one.

    With `live=False` it shows nothing before that, and nothing then that differs from run to run: nbval knows no
    updates and compares what it finds.
    """

    def __init__(self, live: bool = True) -> None:
        self.live = live
        self.runner: Any = None
        self._handle: Any = None
        self._context = contextvars.copy_context()
        self._shown_at = 0.0
        self._due: Any = None
        self._lock = threading.Lock()

    def poke(self) -> None:
        if not self.live or self.runner is None:
            return
        with self._lock:
            if self._due is not None:
                return
            wait = self._shown_at + EVERY_S - time.monotonic()
            if wait > 0:
                # Later, from the loop thread: this one may be busy with a cell by then.
                self._due = thread.shared().submit(self._later(wait))
                return
        self._show()

    def finish(self) -> None:
        with self._lock:
            due, self._due = self._due, None
        if due is not None:
            due.cancel()
        self._show(last=True)

    async def _later(self, wait: float) -> None:
        await asyncio.sleep(wait)
        with self._lock:
            self._due = None
        self._show()

    def _show(self, last: bool = False) -> None:
        with self._lock:
            runner = self.runner
            with runner.recorder.lock:
                data = bundle(runner.recorder.tree, volatile=self.live)
            self._shown_at = time.monotonic()
            if self._handle is None:
                self._handle = self._context.run(display, data, raw=True, display_id=True)
            else:
                self._context.run(self._handle.update, data, raw=True)
            if last:
                self.live = False
