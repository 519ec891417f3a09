"""An exception of a cell as plain text: the cell's own frames, the message once, no colours."""

from __future__ import annotations

import linecache
import traceback
from types import TracebackType

from rlm_kernel.values import CellError

MAX_MESSAGE_CHARS = 4_000
MAX_FRAMES = 12


def describe_error(error: BaseException, filename: str, label: str) -> CellError:
    """`filename` is the cell's name in linecache; `label` is what a reader calls it."""
    message = _message(error)
    lines = ["Traceback (most recent call last):"]
    own: list[tuple[str, int, str]] = []
    place = None
    walker: TracebackType | None = error.__traceback__
    seen_cell = False
    while walker is not None:
        name, line = walker.tb_frame.f_code.co_filename, walker.tb_lineno
        if name.startswith(CELL_PREFIX) or _is_notebook_cell(name):
            seen_cell = True
            own.append((label if name == filename else _label(name), line, walker.tb_frame.f_code.co_name))
            source = linecache.getline(name, line).strip()
            if source:
                own[-1] = (own[-1][0], line, f"{own[-1][2]}\n    {source}")
            place = None
        elif seen_cell:
            place = (name, line, walker.tb_frame.f_code.co_name)
        walker = walker.tb_next
    skipped = len(own) - MAX_FRAMES
    for index, (where, line, rest) in enumerate(own):
        if skipped > 0 and MAX_FRAMES // 2 <= index < MAX_FRAMES // 2 + skipped:
            if index == MAX_FRAMES // 2:
                lines.append(f"  ... {skipped} more frames ...")
            continue
        lines.append(f"  {where}, line {line}, in {rest}")
    if place is not None:
        lines.append(f"  (raised in {_short(place[0])}, line {place[1]}, in {place[2]})")
    if isinstance(error, SyntaxError):
        lines = [line.rstrip("\n") for line in traceback.format_exception_only(type(error), error)]
        lines = [line.replace(f'File "{filename}"', label) for line in lines]
    else:
        lines.append(f"{type(error).__name__}: {message}" if message else type(error).__name__)
    if len(lines) == 2 and not isinstance(error, SyntaxError):
        lines = lines[1:]
    return CellError(type(error).__name__, message, "\n".join(lines))


CELL_PREFIX = "<rlm "


def cell_filename(label: str, serial: int) -> str:
    """A name that linecache keeps (it drops no `<...>` names) and that no other cell has."""
    return f"{CELL_PREFIX}{label} #{serial}>"


def _label(filename: str) -> str:
    if filename.startswith(CELL_PREFIX):
        return filename[len(CELL_PREFIX) :].rsplit(" #", 1)[0]
    return "your notebook"


def _is_notebook_cell(filename: str) -> bool:
    return "ipykernel_" in filename or filename.startswith("<ipython-input-")


def _short(filename: str) -> str:
    for marker in ("/site-packages/", "/lib/python"):
        if marker in filename:
            return filename.rsplit(marker, 1)[1]
    return filename


def _message(error: BaseException) -> str:
    try:
        message = str(error)
    except Exception as broken:
        message = f"(its __str__ raised {type(broken).__name__})"
    if len(message) > MAX_MESSAGE_CHARS:
        cut = len(message) - MAX_MESSAGE_CHARS
        message = (
            f"{message[: MAX_MESSAGE_CHARS // 2]} [... {cut:,} characters ...] {message[-MAX_MESSAGE_CHARS // 2 :]}"
        )
    return message
