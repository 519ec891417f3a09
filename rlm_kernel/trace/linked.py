"""
The notebooks of wide fan-outs beside that of their run, see `parts`: what a person has done to their cells since.

The record is whole in the first notebook, so one that is not there is not missed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlm_kernel.trace.parts import Part, parts
from rlm_kernel.trace.safe import one_line
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.unpacking import Unpacked, compare

MAX_BYTES = 400_000_000
"""Of a notebook: one JSON value takes many times its size to read."""
_UNREADABLE = (OSError, ValueError, RecursionError, MemoryError)


def look(path: Path, tree: Tree, content: str | None, found: Unpacked) -> None:
    """
    Adds to `found`, which is of the notebook at `path`, what was edited in the others. One that cannot be read is told
    in its `complaint`.
    """
    for part in parts(tree)[0][1:]:
        named = f"{path.stem}{part.name}.ipynb"
        try:
            file = path.with_name(named)
            notebook = _read(file if file.exists() else next(_renamed(path, part, content), file))
        except FileNotFoundError:
            continue
        except _UNREADABLE as error:
            why = one_line(str(error.strerror if isinstance(error, OSError) else error), 200)
            found.complaint = found.complaint or f"{named} cannot be read ({why}): what was edited in it is not known"
            continue
        if _whole_of(notebook, content) is None:
            continue
        first = part.agents[0][0]
        above = None if first.caller is None or first.in_step is None else (first.caller, first.in_step)
        steps = ((agent.id, step) for agent, _ in part.agents for step in agent.steps)
        recorded = {(id, step.number): step.source for id, step in steps if step.source is not None}
        compare(notebook, recorded, found, above)


def whole_of(path: Path, content: str) -> str | None:
    """The file of the run's notebook, where the one at `path` is a part of that run; `content` is its name."""
    try:
        return _whole_of(_read(path), content) if content.encode() in path.read_bytes() else None
    except _UNREADABLE:
        return None


def _renamed(path: Path, part: Part, content: str | None) -> Iterator[Path]:
    """Where the first notebook was given another name: what links to one that is not there any more."""
    for file in sorted(path.parent.glob(f"*{part.name}.ipynb")):
        try:
            whole = _whole_of(_read(file), content)
            if whole is not None and not file.with_name(whole).exists():
                yield file
        except _UNREADABLE:
            continue


def _read(path: Path) -> Any:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    return json.loads(path.read_bytes())


def _whole_of(notebook: Any, content: str | None) -> str | None:
    """The file that a part of a record of that content names as its first."""
    metadata = notebook.get("metadata") if isinstance(notebook, dict) else None
    rlm = metadata.get("rlm") if isinstance(metadata, Mapping) else None
    if not isinstance(rlm, Mapping) or rlm.get("content") != content:
        return None
    whole = rlm.get("part_of")
    return whole if isinstance(whole, str) else None
