"""
A trace notebook and those of wide fan-outs beside it, see `parts`: what a person has done to their cells since.

The record is whole in the first notebook, so one that is not there is not missed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlm_kernel.trace.changed import Changed, Comparison
from rlm_kernel.trace.known import Key
from rlm_kernel.trace.parts import Part, parts
from rlm_kernel.trace.safe import one_line
from rlm_kernel.trace.tree import Tree

MAX_BYTES = 400_000_000
"""Of a notebook: one JSON value takes many times its size to read."""
_UNREADABLE = (OSError, ValueError, RecursionError, MemoryError)


def look(path: Path, notebook: Mapping[str, Any], tree: Tree, content: str | None, changed: Changed) -> str | None:
    """
    Adds to `changed` what was done to the cells of the notebook at `path` and of those beside it. Gives back why it is
    not known of one of these, which cannot be read.
    """
    first, *others = parts(tree)[0]
    root, run = tree.root, tree.run
    persons = root.question if root is not None and run is not None and run.door == "cell" else None
    comparison = Comparison("0" if root is None else root.id, persons)
    comparison.look(notebook, _sources(first), changed, elsewhere=[_sources(part) for part in others])
    complaint = None
    for part in others:
        named = f"{path.stem}{part.name}.ipynb"
        try:
            _look_beside(path.with_name(named), path, part, comparison, content, changed)
        except FileNotFoundError:
            continue
        except _UNREADABLE as error:
            why = one_line(str(error.strerror if isinstance(error, OSError) else error), 200)
            complaint = complaint or f"{named} cannot be read ({why}): what was edited in it is not known"
    return complaint


def _look_beside(
    file: Path, path: Path, part: Part, comparison: Comparison, content: str | None, changed: Changed
) -> None:
    """`file` is where that part of the notebook at `path` should be."""
    if file.exists():
        notebook = _read(file)
        if _whole_of(notebook, content) is not None:
            comparison.look(notebook, _sources(part), changed, after=_above(part))
        return
    for file, notebook, whole in _others(path, part, content):
        if not path.with_name(whole).exists():  # the first notebook was given another name
            comparison.look(notebook, _sources(part), changed, after=_above(part))
            return
        theirs = Changed()
        comparison.look(notebook, _sources(part), theirs, after=_above(part))
        if theirs != Changed():
            told = f"{one_line(file.name, 200)} belongs to {one_line(whole, 200)}"
            changed.notes.append(f"{told}: what is edited in it is not taken here")


def _above(part: Part) -> Key | None:
    first = part.agents[0][0]
    return None if first.caller is None or first.in_step is None else (first.caller, first.in_step)


def _sources(part: Part) -> dict[Key, str]:
    steps = ((agent.id, step) for agent, _ in part.agents for step in agent.steps)
    return {(id, step.number): step.source for id, step in steps if step.source is not None}


def whole_of(path: Path, content: str) -> str | None:
    """The file of the run's notebook, where the one at `path` is a part of that run; `content` is its name."""
    try:
        return _whole_of(_read(path), content) if content.encode() in path.read_bytes() else None
    except _UNREADABLE:
        return None


def _others(path: Path, part: Part, content: str | None) -> Iterator[tuple[Path, Any, str]]:
    """
    Notebooks that show that part by the name of another first one, which each names. Where that is not there any more,
    it was given the name of the one at `path`: these come first.
    """
    found = []
    for file in sorted(path.parent.glob(f"*{part.name}.ipynb")):
        try:
            notebook = _read(file)
            whole = _whole_of(notebook, content)
            if whole is not None:
                found.append((file.with_name(whole).exists(), file, notebook, whole))
        except _UNREADABLE:
            continue
    return iter([each[1:] for each in sorted(found, key=lambda each: each[0])])


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
