"""Cells that put out far too much: time to the observation, over the same cell with its output thrown away."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from benchmarks.common import ask, between, block, kernel, report, script

CASES = {
    "one print of 200 MB": "print('x' * 200_000_000)",
    "200 MB in two million lines": "for n in range(2_000_000): print('x' * 99)",
    "a list of 50 million at the end": "list(range(50_000_000))",
}
AWAY = "import contextlib, os\nwith open(os.devnull, 'w') as away, contextlib.redirect_stdout(away):\n    {}"
ROUNDS = 5


def main() -> None:
    for what, code in CASES.items():
        thrown = AWAY.format(code) if "print" in code else code + ";"
        with tempfile.TemporaryDirectory() as folder, kernel() as process:
            replies = [block(cell) for _ in range(ROUNDS) for cell in (thrown, code)] + [block("FINAL(0)")]
            events = ask(process, script(Path(folder), *replies))
            took = between(events, "cell_started", "asked")
            asked = [stamped.event for stamped in events if stamped.event.type == "asked"]
        longest = max(len(message.content) for event in asked[1:] for message in event.new)
        assert longest < 9_000, longest
        away, shown = statistics.median(took[0::2]), statistics.median(took[1::2])
        report(f"{what}: {shown:.2f} s, thrown away {away:.2f} s, ratio", f"{shown / away:.2f}", "<= 1.5")


if __name__ == "__main__":
    main()
