"""
A run in the formats of others. Each is a pure function of a tree, gives one text, and executes nothing.

Another format is a module here with a function, and a line in FORMATS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath

from rlm_kernel.errors import UsageError
from rlm_kernel.trace.exporters.atif import atif
from rlm_kernel.trace.exporters.html import html
from rlm_kernel.trace.exporters.official import official
from rlm_kernel.trace.exporters.python import python
from rlm_kernel.trace.tree import Tree

__all__ = ["FORMATS", "Format", "export", "format_of"]


@dataclass(frozen=True, slots=True)
class Format:
    write: Callable[[Tree], str]
    """Text that UTF-8 can hold, for any tree."""
    suffix: str
    """Of a file that is named after the run."""
    suffixes: tuple[str, ...]
    """Of files that can be nothing else here."""
    what: str
    whole: bool = False
    """The record is in it too, so that `jupyter rlm import` gives back the run that it was."""


FORMATS: dict[str, Format] = {
    "rlm-jsonl": Format(
        official, ".rlm.jsonl", (".jsonl",), "the log of the official rlm package, for its visualizer", True
    ),
    "atif": Format(atif, ".trajectory.json", (".json",), "Agent Trajectory Interchange Format 1.7", True),
    "html": Format(html, ".html", (".html", ".htm"), "one page to read, without scripts and network"),
    "python": Format(python, ".py", (".py",), "the cells as a Python file in percent format"),
}


def export(tree: Tree, to: str) -> str:
    """Raises UsageError where there is no such format."""
    if to not in FORMATS:
        raise UsageError(f"no format is named {to}: there are {', '.join(FORMATS)}")
    return FORMATS[to].write(tree)


def format_of(file: str | PurePath) -> str | None:
    """The format that the file's suffix says; None where it says none."""
    suffix = PurePath(file).suffix.lower()
    return next((name for name, each in FORMATS.items() if suffix in each.suffixes), None)
