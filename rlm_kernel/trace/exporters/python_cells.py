"""
What can stand in a Python file of a recorded cell. Nothing of it is run.

A cell that cannot stand there as it is (a syntax error, top-level await, a cell magic, control characters that would
show a reader something else than what runs) is a comment with the reason; of a cell that has IPython's own lines,
those lines are.
"""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from dataclasses import dataclass

from rlm_kernel.trace.safe import one_line, plain

MENDED_LINES, MENDED_CHARS = 50, 5_000_000
"""Of IPython's own lines in one cell, each of which costs a compilation; a cell with more is a comment."""

_ENDS = re.compile("\r\n|\r|\n")
_IPYTHON = re.compile(r"\s*(?:[%!?]|\w[\w.]*\??\?\s*$|[\w.,\s]+=\s*[%!]|,|;|/\w)|.*\?\s*$")
_FUTURE = re.compile(r"\s*from\s+__future__\s+import\b")
_RUNS_PYTHON = ("%%time", "%%timeit", "%%capture", "%%prun")
MARKS = re.compile("[\u061c\u200e\u200f\u2028\u2029\ufff9-\ufffb\x0c]")
"""What is no control character and yet would move the text, or end a line, where it is shown."""

_COMMENTED = "# This cell is a comment: "


@dataclass(slots=True)
class FileCell:
    """A root's cell in the file."""

    source: str
    """As it stands there."""
    reason: str | None = None
    """Why it is a comment; None where it is code."""
    comment: str = ""
    """The same as a comment."""

    @property
    def text(self) -> str:
        return self.source if self.reason is None else f"{_COMMENTED}{self.reason}\n{self.comment}"


def file_cell(source: str) -> FileCell:
    source = _ENDS.sub("\n", source)
    shown = MARKS.sub("", plain(source)).rstrip("\n").split("\n")
    cell = FileCell(source.rstrip("\n"), None, "\n".join(f"# {line}".rstrip() for line in shown))
    if plain(source) != source or MARKS.search(source):
        cell.reason = "it has control characters or marks of direction"
        return cell
    first = source.lstrip().split("\n", 1)[0].split()
    if first and first[0].startswith("%%") and first[0] not in _RUNS_PYTHON:
        cell.reason = f"{one_line(first[0], 40)} is for IPython"
        return cell
    lines = source.rstrip("\n").split("\n")
    for _ in range(min(MENDED_LINES, 1 + MENDED_CHARS // (len(source) + 1))):
        # A line ahead, so that what must stand first in a file is found to stand where it may not.
        failed = failed_line("0\n" + "\n".join(lines))
        if failed is None:
            cell.source = "\n".join(lines)
            return cell
        at, why = failed[0] - 2, failed[1]
        if not (0 <= at < len(lines) and (_IPYTHON.match(lines[at]) or _FUTURE.match(lines[at]))):
            break
        bare = lines[at].lstrip()
        lines[at] = f"{lines[at][: len(lines[at]) - len(bare)]}pass  # {bare}"
    cell.reason = "it awaits, outside of any function" if _compiles_awaiting(source) else why
    return cell


def failed_line(source: str) -> tuple[int, str] | None:
    """The number of the line at which it does not compile, and why, in a line; None where it does. Runs nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, "<trace>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return error.lineno or 1, one_line(f"{type(error).__name__}: {error.msg}", 200)
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        return 1, one_line(f"{type(error).__name__}: {error}", 200)
    return None


def _compiles_awaiting(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, "<trace>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return False
    return True


def needed(sources: list[str]) -> list[str]:
    """Names that are read and nowhere made, `context` first: what a person has to define."""
    read: dict[str, None] = {}
    made: set[str] = set()
    for source in sources:
        try:
            nodes = sorted(ast.walk(ast.parse(source)), key=lambda node: getattr(node, "lineno", 0))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in nodes:
            if isinstance(node, ast.Name):
                if isinstance(node.ctx, ast.Load):
                    read.setdefault(node.id)
                else:
                    made.add(node.id)
            elif isinstance(node, ast.arg):
                made.add(node.arg)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                made.add(node.name)
            elif isinstance(node, ast.alias):
                made.add((node.asname or node.name).split(".")[0])
            elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name is not None:
                made.add(node.name)
    needed = [name for name in read if name not in made and not hasattr(builtins, name)]
    # A cell may well make `context` anew of the one that it was given.
    lent = [name for name in ("context",) if name in read]
    return [*lent, *(name for name in needed if name not in lent)]
