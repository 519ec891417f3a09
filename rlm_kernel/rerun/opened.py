"""The notebook that is open: which file it is, of those that hold the record that its first cell names."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.trace import linked
from rlm_kernel.trace.loading import load_trace
from rlm_kernel.trace.safe import one_line

LOOKED_INTO = 200
"""Notebooks of a folder that are looked into."""


def opened(folder: Path, content: str) -> Path:
    """
    `content` are the 12 digits by which a trace notebook names itself; empty for the first that holds a record.
    `folder` is that of the traces. Raises UsageError.
    """
    found = next((path for path in _notebooks(folder) if _is(path, content)), None)
    if found is not None:
        _tell_of_copies(found, content)
        return found
    for part in _notebooks(folder):
        if content and (whole := linked.whole_of(part, content)) is not None:
            told = one_line(whole, 300)
            mend = f"put {told} beside it, and run it again"
            raise UsageError(f"{part.name} is a part of {told}, which has the record and is not found: {mend}")
    mend = "save the notebook and start its kernel in its folder, or name its file: %rlm replay NAME.ipynb"
    raise UsageError(f"the notebook of this record is not found from {Path.cwd()}: {mend}")


def _tell_of_copies(found: Path, content: str) -> None:
    """Of two copies in a folder nobody but JupyterLab says which one is open."""
    if os.environ.get("JPY_SESSION_NAME") or found.parent.absolute() != Path.cwd():
        return
    others = (path for path in sorted(Path.cwd().glob("*.ipynb"), key=_age)[:LOOKED_INTO] if path.name != found.name)
    other = next((path for path in others if _is(path, content)), None)
    if other is not None:
        said = f"{found.name} and {other.name} hold the same record: taken is {found.name}, which was saved last"
        print(f"note: {said}", file=sys.stderr)


def _notebooks(folder: Path) -> Iterator[Path]:
    """Where the notebook that is being run may be: JupyterLab says so, other clients start kernels in its folder."""
    if session := os.environ.get("JPY_SESSION_NAME"):
        yield Path(session)
        yield Path.cwd() / Path(session).name
    here = sorted(Path.cwd().glob("*.ipynb"), key=_age)
    yield from here[:LOOKED_INTO]
    yield from sorted(folder.glob("*.ipynb"), key=_age)[:LOOKED_INTO]


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0


def _is(path: Path, content: str) -> bool:
    try:
        if not path.is_file() or content.encode() not in path.read_bytes():
            return False
        trace = load_trace(path)
    except (OSError, TraceError):
        return False
    return not content or trace.content == content
