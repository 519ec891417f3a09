"""Which trace a person's word names: a file, a folder, a run by its id or the beginning of one, or `last`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from rlm_kernel.errors import UsageError

LAST = "last"
READ = (".jsonl", ".ipynb")
"""For what reads a run that has both files: its journal is the source of truth."""
RUN = (".ipynb", ".jsonl")
"""For what runs its cells: those that a person has edited are in its notebook."""
JOURNAL = (".jsonl",)
_MOST_NAMED = 5


def find(text: str, folder: Path, suffixes: Sequence[str] = READ) -> Path:
    """
    The file that `text` names: a file; a folder with one trace in it; a run in `folder`, or in one that is named before
    it, by its id or the beginning of one; or `last`, the run that was written to last. Of a run that has several files
    it is the one whose suffix comes first in `suffixes`.

    Raises UsageError, which names what is near, and of more than one the candidates.
    """
    path = Path(text)
    within = False
    try:
        path = path.expanduser()
        if path.is_file():
            return path
        within = bool(text) and path.is_dir()
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or nobody's home
        pass
    if within and (os.sep in text or _runs(path, suffixes)):
        return _only(path, suffixes)
    if path.suffix in READ:
        names = [file.name for file in _listed(path.parent, READ)]
        raise UsageError(f"there is no file {text}{_near(path.name, names)}")
    if os.sep in text:
        folder, text = path.parent, path.name
    return _run(text, folder, suffixes)


def _only(folder: Path, suffixes: Sequence[str]) -> Path:
    runs = _runs(folder, suffixes)
    if len(runs) == 1:
        return next(iter(runs.values()))
    if not runs:
        raise UsageError(f"{folder} is a folder, and no trace is in it")
    raise UsageError(f"{folder} is a folder with {_several(sorted(runs))}: name one of them, {folder / min(runs)}")


def _run(text: str, folder: Path, suffixes: Sequence[str]) -> Path:
    runs = _runs(folder, suffixes)
    if not runs:
        raise UsageError(f"there is no file {text}, and no trace in {folder}: name a file, or set RLM_TRACE_DIR")
    if text == LAST:
        return max(runs.values(), key=lambda found: (found.stat().st_mtime, found.name))
    if text in runs:
        return runs[text]
    begins = sorted(run for run in runs if text and run.startswith(text))
    if len(begins) == 1:
        return runs[begins[0]]
    if begins:
        raise UsageError(f"{text} is the beginning of {_several(begins)}: write more of the id")
    raise UsageError(
        f"there is no file and no run {text} in {folder}{_near(text, list(runs)) or f'; the newest is {max(runs)}'}"
    )


def _runs(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """The traces of a folder by their runs. A part of a trace, named after it, is none."""
    found: dict[str, Path] = {}
    files = _listed(folder, suffixes)
    for suffix in suffixes:
        for file in files:
            if file.suffix == suffix:
                found.setdefault(file.stem, file)
    return {run: file for run, file in found.items() if not _is_part(run, found)}


def _is_part(run: str, of: dict[str, Path]) -> bool:
    return any(letter == "." and run[:at] in of for at, letter in enumerate(run))


def _listed(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    try:
        files = sorted(folder.iterdir(), key=lambda file: file.name)
        return [file for file in files if file.suffix in suffixes and file.name[0] != "." and file.is_file()]
    except (OSError, ValueError):
        return []


def _several(runs: list[str]) -> str:
    more = f" and {len(runs) - _MOST_NAMED:,} more" if len(runs) > _MOST_NAMED else ""
    return f"{', '.join(runs[-_MOST_NAMED:])}{more}"


def _near(text: str, names: list[str]) -> str:
    near = get_close_matches(text, names, n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""
