"""
The JSONL of fast-rlm: one event a line, of all agents of a run between each other. Here they are told apart and hung
where they were asked; what the events of one say is in `fast_rlm_agent`.

A step's line is written when its cell is over, so it stands after those of the agents that the cell started. Layout:
`src/logging.ts` and `src/subagents.ts` of avbiswas/fast-rlm.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime
from typing import Any

from rlm_kernel.trace.importers.building import build
from rlm_kernel.trace.importers.fast_rlm_agent import Run, agent_of
from rlm_kernel.trace.importers.parts import Actor, Imported, Origin, Turn
from rlm_kernel.trace.importers.source import Log
from rlm_kernel.trace.importers.values import time
from rlm_kernel.trace.safe import one_line

LOST = [
    "The replies as they came: each is put together from its reasoning and its code.",
    "The messages that the model was sent, and its name.",
    "What the last cell of an agent put out: a step that ends with FINAL is logged without its output.",
    "What cells wrote to stderr, and how long the model and each cell took.",
    "The question apart from the context: an agent is given one text, which is both.",
]


def fits(head: list[Any]) -> bool:
    return any(_is_event(row) for row in head)


def _is_event(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("run_id"), str) and isinstance(row.get("event_type"), str)


def read(log: Log) -> list[Imported]:
    """A trace for each agent that has no caller in the log."""
    runs: dict[str, Run] = {}
    strays = 0
    for row in log.rows():
        if not _is_event(row):
            strays += 1
            continue
        run = runs.setdefault(row["run_id"], Run(row["run_id"]))
        # Most results of sub-agents do not say whose they are; the other events do.
        if isinstance(row.get("parent_run_id"), str):
            run.parent = run.parent or row["parent_run_id"]
        run.rows.append(row)
    complaints = [log.complaint, f"{strays} lines are no events" if strays else None]
    roots = _roots(runs)
    actors = {run.id: agent_of(run) for run in runs.values()}
    below: dict[str, list[Run]] = {}
    for run in runs.values():
        if run.id not in roots and run.parent is not None:
            below.setdefault(run.parent, []).append(run)
    for caller, children in below.items():
        _hang(runs[caller], actors[caller], [(run, actors[run.id]) for run in children])
    found = []
    for at, (id, odd) in enumerate(roots.items(), 1):
        root = actors[id]
        complaint = "; ".join(filter(None, [*complaints, odd])) or None
        lost = list(LOST)
        if not all(actor.given for actor in _all(root)):
            lost.append("Contexts longer than 500 characters, but for their beginning and end.")
        name = log.run_name(at, len(roots))
        found.append(build(root, Origin("fast-rlm", lost, "fast-rlm", name), log.name, complaint))
    return found


def _roots(runs: dict[str, Run]) -> dict[str, str | None]:
    """Those without a caller in this log, each with why that is odd, where it is: a caller lost, or a ring."""
    roots: dict[str, str | None] = {}
    for run in runs.values():
        if run.parent is None:
            roots[run.id] = None
        elif run.parent not in runs:
            roots[run.id] = f"agent {_said(run.id)} was started by {_said(run.parent)}, of which the log has nothing"
    reached: set[str] = set()
    for run in runs.values():
        way: list[str] = []
        id = run.id
        while id not in reached and id not in roots:
            reached.add(id)
            way.append(id)
            id = runs[id].parent or id
        if id in way:
            roots[id] = f"agent {_said(id)} is, by way of its callers, its own caller: it stands here as a root"
    return roots


def _said(id: str) -> str:
    return one_line(id, 60)


def _all(root: Actor) -> list[Actor]:
    found = [root]
    for actor in found:
        asked = [each for turn in actor.turns for each in turn.below] + actor.loose
        found += [each for each in asked if isinstance(each, Actor)]
    return found


def _hang(run: Run, caller: Actor, children: list[tuple[Run, Actor]]) -> None:
    """
    Each in the step whose cell was at work when it started: the first of its caller that ended at that time or later.
    One that started after the last step that is logged belongs to a step that the log has not.
    """
    ends = [time(turn.ended) or datetime.max.replace(tzinfo=UTC) for turn in caller.turns]
    for at in range(len(ends) - 2, -1, -1):
        ends[at] = min(ends[at], ends[at + 1])  # steps are in order whatever a clock said
    lost: Turn | None = None
    children.sort(key=lambda child: (child[0].began or datetime.max.replace(tzinfo=UTC), child[0].id))
    for child, actor in children:
        at = bisect_left(ends, child.began) if child.began is not None else len(ends)
        while at < len(ends) and ends[at] == child.began and child.last is not None and child.last > child.began:
            at += 1  # it was at work after that step had ended
        if at == len(ends) and caller.ending is not None and caller.turns:
            at = len(ends) - 1
        if at < len(ends):
            caller.turns[at].below.append(actor)
            continue
        if lost is None:
            note = "The log ends before this step was written: of it there is only whom its cell asked."
            lost = Turn(notes=[note])
        lost.below.append(actor)
    if lost is not None:
        caller.turns.append(lost)
