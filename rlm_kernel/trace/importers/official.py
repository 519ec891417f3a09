"""
The JSONL of the official `rlm` package: a line of metadata, then a line an iteration, sub-agents inside their calls.
What the iterations of one agent say is in `official_agent`.

Layout: `rlm/logger/rlm_logger.py` and `rlm/core/types.py` of alexzhang13/rlm, releases 0.1.x.
"""

from __future__ import annotations

from typing import Any

from rlm_kernel.trace import carried
from rlm_kernel.trace.importers.building import build
from rlm_kernel.trace.importers.official_agent import actor
from rlm_kernel.trace.importers.parts import Imported, Origin
from rlm_kernel.trace.importers.source import Log
from rlm_kernel.trace.importers.values import count, limit

LOST = [
    "Tokens and price of an agent's own replies: the log counts those of sub-calls alone.",
    "When a reply came: a time stands for the end of an iteration, and names no zone.",
    "The order of what a cell wrote to stdout and to stderr.",
]


def fits(head: list[Any]) -> bool:
    return any(isinstance(row, dict) and (_is_iteration(row) or _is_metadata(row)) for row in head)


def _is_iteration(row: dict[str, Any]) -> bool:
    return "code_blocks" in row and "response" in row


def _is_metadata(row: dict[str, Any]) -> bool:
    return row.get("type") == "metadata" and "root_model" in row


def read(log: Log) -> list[Imported]:
    """One run, or several where the metadata stands again: one logger may have served several completions."""
    runs: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    strays = 0
    for row in log.rows():
        if isinstance(row, dict) and _is_metadata(row):
            runs.append((row, []))
        elif isinstance(row, dict) and _is_iteration(row):
            if not runs:
                runs.append(({}, []))
            metadata, rows = runs[-1]
            # A second iteration 1 is that of another completion.
            if _number(row) == 1 and any(_number(other) == 1 for other in rows[:1]):
                runs.append((metadata, []))
            runs[-1][1].append(row)
        else:
            strays += 1
    complaint = "; ".join(filter(None, [log.complaint, f"{strays} lines are of no known kind" if strays else None]))
    found = []
    for at, (metadata, rows) in enumerate(runs, 1):
        name = log.run_name(at, len(runs))
        why_not = None
        if carried.KEY in metadata:
            record, metadata = metadata[carried.KEY], carried.without(metadata)
            tree, why_not = carried.brought_back(record, [metadata, *rows])
            if tree is not None:
                found.append(Imported(tree, name, complaint or None))
                continue
        root = actor(metadata, sorted(rows, key=_number))
        lost = [*LOST, *([] if root.given else ["The context: it does not stand in the variables that were logged."])]
        limits = {ours: limit(metadata.get(theirs)) for ours, theirs in _LIMITS.items() if theirs in metadata}
        # What we exported and somebody changed: its cells know our own names.
        dialect = None if metadata.get("backend") == carried.KEY else "rlm"
        said = "; ".join(filter(None, [complaint, why_not])) or None
        found.append(build(root, Origin("rlm", lost, dialect, name, limits), log.name, said))
    return found


def _number(row: dict[str, Any]) -> int:
    return count(row.get("iteration"))


_LIMITS = {"max_depth": "max_depth", "max_steps": "max_iterations"}
