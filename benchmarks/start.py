"""Start of the kernel against plain ipykernel, in turn: to the first reply, and to the end of a first cell."""

from __future__ import annotations

import statistics
import time

from benchmarks.common import kernel, report

ROUNDS = 9


def start(name: str) -> tuple[float, float]:
    began = time.perf_counter()
    # As anywhere outside a sandbox: with compiled modules kept on disk.
    with kernel(name, PYTHONDONTWRITEBYTECODE="") as process:
        ready = time.perf_counter() - began
        process.run("1 + 1")
        return ready, time.perf_counter() - began


def main() -> None:
    for name in ("python3", "rlm"):
        start(name)  # the first reads modules from a cold disk
    pairs = [(start("python3"), start("rlm")) for _ in range(ROUNDS)]
    for index, what in enumerate(("first reply", "first cell")):
        plain = statistics.median(pair[0][index] for pair in pairs)
        ours = statistics.median(pair[1][index] for pair in pairs)
        report(
            f"kernel start to {what}: rlm {ours:.3f} s, ipykernel {plain:.3f} s, ratio", f"{ours / plain:.3f}", "<= 1.1"
        )


if __name__ == "__main__":
    main()
