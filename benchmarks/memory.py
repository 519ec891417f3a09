"""Peak memory of a kernel with 1 GB in `context`, over a run of three steps that look at it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.common import ask, block, kernel, report, script

SIZE = 1_000_000_000


def peak_mb(process) -> float:  # type: ignore[no-untyped-def]
    return float(process.value("int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])")) / 1_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, kernel() as process:
        before = peak_mb(process)
        process.run(f"context = 'lorem ipsum dolor sit amet\\n' * ({SIZE} // 27)")
        replies = [
            block("print(len(context), context[:200])"),
            block("context[500_000_000:500_000_300]"),
            block("FINAL(context.count('ipsum'))"),
        ]
        events = ask(process, script(Path(folder), *replies))
        more = peak_mb(process) - before
        written = sum(file.stat().st_size for file in (process.folder / ".rlm" / "runs").iterdir())
    assert any(stamped.event.type == "agent_finished" for stamped in events)
    report(
        f"1 GB in context, three steps: peak above the idle kernel {more:,.0f} MB, beside the context",
        f"{more - SIZE / 1e6:,.0f} MB",
        "<= 150 MB",
    )
    report("size of the trace of that run, journal and notebook", f"{written / 1_000:,.0f} kB", "no context in it")


if __name__ == "__main__":
    main()
