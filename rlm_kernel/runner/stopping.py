"""Why a run is to end, from outside: Stop, or its seconds are over. Whoever works for it asks here before going on."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from rlm_kernel.errors import LimitExceeded, RLMError, RunInterrupted
from rlm_kernel.runner.calls import Calls


class Stopping:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.why: Literal["interrupt", "deadline"] | None = None

    def stop(self, why: Literal["interrupt", "deadline"] = "interrupt") -> None:
        """From any thread: open calls are cancelled, and nothing new begins. The first reason stays."""
        self.why = self.why or why
        self._calls.stop()

    def check(self) -> None:
        """Raises RunInterrupted or LimitExceeded where the run is to end."""
        if self.why is not None:
            raise self.error()
        self._calls.ledger.check_time()

    def error(self) -> RLMError:
        ledger = self._calls.ledger
        if self.why == "deadline":
            return LimitExceeded("max_seconds", time.monotonic() - ledger.started, ledger.limits.max_seconds or 0.0)
        return RunInterrupted("stopped by an interrupt")

    @staticmethod
    def heard() -> None:
        """The interrupt did its work: the task that it cancelled goes on, to write the trace."""
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()
