"""
An exception of a cell as plain text: the cell's own frames, the message once, no colours.

Of what lies below the cell, in libraries, only the place where it was raised is told. A reader who can change nothing
but the cell has no use for the rest.
"""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterator
from pathlib import Path

from rlm_kernel.values import CellError

MAX_MESSAGE_CHARS = 4_000
MAX_FRAMES = 12
MAX_GROUP = 5
"""Of an exception group, the members that are named."""

CELL_PREFIX = "<rlm "

_PACKAGE = str(Path(__file__).parents[1])


def cell_filename(label: str, serial: int) -> str:
    """A name that linecache keeps (it drops no `<...>` names) and that no other cell has."""
    return f"{CELL_PREFIX}{label} #{serial}>"


def describe_error(error: BaseException, filename: str, label: str) -> CellError:
    """`filename` is the cell's name in linecache; `label` is what a reader calls it."""
    if isinstance(error, SyntaxError) and error.filename == filename:
        lines = "".join(traceback.format_exception_only(error)).replace(f'File "{filename}"', label).splitlines()
    else:
        frames = _frames(error, filename, label)
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        lines = [
            *(["Traceback (most recent call last):", *frames] if frames else []),
            *([f"Cause: {_summary(cause)}"] if cause is not None else []),
            _summary(error),
            *_members(error),
            *map(str, getattr(error, "__notes__", ())),
        ]
    return CellError(type(error).__name__, _message(error), "\n".join(lines))


def _frames(error: BaseException, filename: str, label: str) -> list[str]:
    own: list[str] = []
    raised = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if is_cell(code.co_filename):
            where = label if code.co_filename == filename else _label(code.co_filename)
            source = linecache.getline(code.co_filename, line).strip()
            own.append(f"  {where}, line {line}, in {code.co_name}" + (f"\n    {source}" if source else ""))
            raised = None
        elif own and not code.co_filename.startswith(_PACKAGE):  # what we raise ourselves, the message says
            raised = f"  (raised in {_short(code.co_filename)}, line {line}, in {code.co_name})"
    skipped = len(own) - MAX_FRAMES
    if skipped > 0:
        half = MAX_FRAMES // 2
        own[half:-half] = [f"  ... {skipped} more frames ..."]
    return [*own, raised] if raised is not None else own


def _members(error: BaseException) -> Iterator[str]:
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions[:MAX_GROUP]:
            yield f"  - {_summary(member)}"
        if (more := len(error.exceptions) - MAX_GROUP) > 0:
            yield f"  - and {more} more"


def _summary(error: BaseException) -> str:
    message = _message(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _label(filename: str) -> str:
    if filename.startswith(CELL_PREFIX):
        return filename[len(CELL_PREFIX) :].rsplit(" #", 1)[0]
    return "a cell of the person"


def is_cell(filename: str) -> bool:
    """A model's cell or a person's, by the name under which its code was compiled."""
    return filename.startswith((CELL_PREFIX, "<ipython-input-")) or "/ipykernel_" in filename


def _short(filename: str) -> str:
    for marker in ("/site-packages/", "/lib/python"):
        if marker in filename:
            return filename.rsplit(marker, 1)[1]
    return filename


def _message(error: BaseException) -> str:
    try:
        message = str(error)
    except Exception as broken:  # a foreign __str__ may raise anything
        message = f"(its __str__ raised {type(broken).__name__})"
    if len(message) > MAX_MESSAGE_CHARS:
        half = MAX_MESSAGE_CHARS // 2
        message = f"{message[:half]} [... {len(message) - 2 * half:,} characters ...] {message[-half:]}"
    return message
