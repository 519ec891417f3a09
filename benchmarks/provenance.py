"""
What it costs that each use of a named result is recorded: steps whose cells write one and read two, with the store and
with a dict in its place, in turn and in one run. A step is all that is between two requests to the scripted model.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rlm_kernel
from benchmarks.common import block, median_ms, report
from rlm_kernel.trace.reading import read

CELLS = 400

asked_at: list[float] = []


def reply(source: str) -> Callable[[Any], str]:
    def answer(request: Any) -> str:
        asked_at.append(time.perf_counter())
        return block(source)

    return answer


def cell(number: int) -> str:
    named = "context" if number % 2 else "plain"
    return f"{named}['result'] = [{number}]\n{named}['other'], {named}['result']\nNone"


REPLIES = [
    reply("plain = {'other': 1}\ncontext['other'] = 1"),
    *(reply(cell(number)) for number in range(CELLS)),
    reply("FINAL(1)"),
]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "replies.py")
        path.write_text("from __main__ import REPLIES\n")
        run = rlm_kernel.run("Go on.", model=f"scripted:{path}", trace_dir=folder, max_steps=None, max_calls=None)
        assert run.journal is not None
        recorded = sum(stamped.event.type == "used" for stamped in read(run.journal).events)
        assert recorded == 1 + 3 * CELLS // 2
    steps = [after - before for before, after in itertools.pairwise(asked_at[1:])]
    # Neighbours are compared, since a conversation that grows makes each step a little longer.
    more = [named - plain for plain, named in zip(steps[0::2], steps[1::2], strict=True)]
    plain, named = median_ms(steps[0::2]), median_ms(steps[1::2])
    what = f"three uses of a store in a cell, ms (a step with a dict {plain:.2f}, with the store {named:.2f})"
    report(what, f"{statistics.median(more) * 1_000:.3f}", "<= 0.2")


if __name__ == "__main__":
    main()
