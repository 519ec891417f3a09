"""What the record of a run that goes on says of where it comes from, and what that names, found again."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlm_kernel.environment.secrets import Redactor
from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.runner.recorded import Fork, Forked
from rlm_kernel.trace.changed import Inserted
from rlm_kernel.trace.known import Key
from rlm_kernel.trace.loading import Trace, load_trace

Origin = dict[str, Any]

_RUN = re.compile(r"[\w.-]+")


def of_resume(trace: Trace, folder: Path) -> Origin:
    """`folder` is where the new record will be."""
    return {"kind": "resume", "run": trace.run, **_place(trace, folder)}


def of_fork(trace: Trace, at: Fork, edited: Mapping[Key, str], folder: Path) -> Origin:
    """With what a person had edited and put in, for a fork that breaks off before it has come there."""
    origin: Origin = {"kind": "fork", "run": trace.run, "agent": at.agent, "step": at.step, **_place(trace, folder)}
    told = Redactor().text
    if edited:
        origin["edited"] = [f"agent {id}, step {step}" for id, step in edited]
        origin["sources"] = [[id, step, told(source)] for (id, step), source in edited.items()]
    if trace.inserted:
        origin["inserted"] = [
            [cell.agent, told(cell.source), cell.after and list(cell.after)] for cell in trace.inserted
        ]
    return origin


def chain(trace: Trace, folder: Path) -> tuple[list[Trace], Forked | None]:
    """
    The run and those that it went on from, for a resumed one may have broken off before it had taken over all of it;
    and where the last of them is a fork, what it was forked from.

    `folder` is looked into too. Raises UsageError for a fork that cannot go on without what is not found.
    """
    found = [trace]
    seen = {trace.run}
    while (run := trace.tree.run) is not None and run.origin.get("kind") == "resume":
        before = _found(trace, run.origin, folder)
        if before is None or before.run in seen:
            return found, None
        found.append(before)
        seen.add(before.run)
        trace = before
    if run is None or run.origin.get("kind") != "fork":
        return found, None
    return found, _forked(found, run.origin, folder)


def _forked(traces: list[Trace], origin: Origin, folder: Path) -> Forked | None:
    agent, number = origin.get("agent"), origin.get("step")
    if not isinstance(agent, str) or not isinstance(number, int):
        return None
    at = Fork(agent, number)
    trace = _found(traces[-1], origin, folder)
    whole = None if trace is None else _as_it_was(trace, origin)
    if whole is not None:
        return Forked(whole, at)
    steps = (step for one in traces if at.agent in one.agents for step in one.agents[at.agent].steps)
    if any(step.number >= at.step and step.reply is not None for step in steps):
        return None
    lacks = "its edited cells are not in its record" if trace is not None else f"{origin.get('run')} is not found"
    raise UsageError(
        f"{traces[0].run} is a fork that was stopped before it asked anything, and {lacks}: fork again, "
        f"%rlm fork {at.agent} step {at.step} --trace {origin.get('run')}"
    )


def _as_it_was(trace: Trace, origin: Origin) -> Trace | None:
    """With what was edited and put in when it was forked; None where that cannot be told."""
    if "edited" in origin and "sources" not in origin:
        return None  # older records have no more than the names
    try:
        edited = {(str(id), int(step)): str(source) for id, step, source in origin.get("sources", [])}
        inserted = tuple(
            Inserted(str(id), str(source), None if after is None else (str(after[0]), int(after[1])))
            for id, source, after in origin.get("inserted", [])
        )
    except (TypeError, ValueError, LookupError):  # nothing of ours wrote that
        return None
    return replace(trace, edited=edited, inserted=inserted, removed=(), moved=(), notes=())


def _place(trace: Trace, folder: Path) -> Origin:
    """Where that trace is, as seen from `folder`; nothing where it is there and named after its run."""
    if trace.path is None:
        return {}
    path = Path(os.path.relpath(trace.path, folder))
    return {} if path in _names(trace.run) else {"trace": path.as_posix()}


def _names(run: object) -> list[Path]:
    named = isinstance(run, str) and _RUN.fullmatch(run)
    return [Path(f"{run}.jsonl"), Path(f"{run}.ipynb")] if named else []


def _found(trace: Trace, origin: Origin, folder: Path) -> Trace | None:
    """That trace, wherever it may be: none but the very run counts."""
    for path in _places(trace, origin, folder):
        try:
            found = load_trace(path)
        except TraceError:
            continue
        if found.run == origin.get("run") and found.root is not None:
            return found
    return None


def _places(trace: Trace, origin: Origin, folder: Path) -> Iterator[Path]:
    beside = folder if trace.path is None else trace.path.parent
    names: Iterable[Path] = _names(origin.get("run"))
    if isinstance(told := origin.get("trace"), str):
        names = [Path(told), *names, *_names_beside(told, origin.get("run"))]
    for name in names:
        for place in dict.fromkeys((beside, folder)):
            if (place / name).is_file():
                yield place / name


def _names_beside(told: str, run: object) -> list[Path]:
    """The notebook may have been moved, or may have been a copy of a person's own, and its journal not."""
    return [Path(told).with_name(str(name)) for name in _names(run)]
