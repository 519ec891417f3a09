"""What the benchmarks share: a kernel, a scripted run in it, and the times that its journal holds."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from rlm_kernel.trace.reading import Stamped, read
from tests.kernel_process import KernelProcess, block, kernel_process, script

__all__ = ["ask", "between", "block", "kernel", "median_ms", "report", "script"]


@contextmanager
def kernel(name: str = "rlm", **environ: str) -> Iterator[KernelProcess]:
    with tempfile.TemporaryDirectory() as folder, kernel_process(Path(folder), name=name, **environ) as process:
        yield process


def ask(process: KernelProcess, model: str, options: str = "", timeout_s: float = 600) -> list[Stamped]:
    """Runs `%%rlm` and gives the events of its journal, each with the time at which it was written."""
    cell = process.run(f"%%rlm -m {model} {options}\nGo on.", timeout_s=timeout_s)
    assert cell.status == "ok", (cell.ename, cell.evalue)
    path = process.value("str(get_ipython()._rlm_workspace.last_run.journal.resolve())")
    return list(read(Path(path)).events)


def between(events: list[Stamped], first: str, then: str) -> list[float]:
    """Seconds from each event of one type to the next of another."""
    found, since = [], None
    for stamped in events:
        at = datetime.fromisoformat(stamped.at).timestamp()
        if since is not None and stamped.event.type == then:
            found.append(at - since)
            since = None
        if stamped.event.type == first:
            since = at
    return found


def median_ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1_000


def report(what: str, measured: Any, target: str) -> None:
    print(f"{what:<68} {measured!s:>16}   target {target}", flush=True)
