"""
A warning is told once in each model's cell that causes it, whoever was told of it before.

Python notes that it has told a warning, for all who come after, in the module to which that is attributed; and makes no
note where the filter says "always". So a filter that stands before all others says that in a model's cell, and what to
do is found out when the warning is to be shown: from the other filters, and from what this cell has been told.
That holds for what C code warns of too. Outside a model's cell nothing changes, but that Python forgets its notes.

The other filters, and with them `warnings.catch_warnings`, remain the process's.
"""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any

from rlm_kernel.environment.sink import SINK

_python: Any = warnings
_show, _forget = _python._showwarnmsg, _python._filters_mutated


class _InCell:
    """Stands where a filter has a pattern for the text, and is one that matches nothing for whoever copies it."""

    pattern = "(?!)"

    def match(self, text: object) -> bool:
        return SINK.get() is not None

    def __reduce__(self) -> Any:
        return re.compile, (self.pattern,)


_FIRST = ("always", _InCell(), Warning, None, 0)
_noted = True
"""Whether Python may have notes, of what was told outside of any model's cell."""


def install() -> None:
    """To be called once, for the life of the process."""
    _python._showwarnmsg = _show_in_cell
    for name in ("_filters_mutated", "_filters_mutated_lock_held"):  # the second from Python 3.14 on
        if hasattr(warnings, name):
            _watch(name)


def begin() -> None:
    """At the start of a cell: that the person's cells were told of something is no reason not to tell it."""
    global _noted
    moved = _put_first()
    if moved or _noted:
        _noted = False
        _forget()


def _watch(name: str) -> None:
    """Python calls it after each change of the filters, to forget its notes. The cell that makes it forgets too."""
    forget = getattr(warnings, name)

    def forget_in_cell() -> None:
        if (sink := SINK.get()) is not None:
            _put_first()
            sink.warned.clear()
        forget()

    setattr(warnings, name, forget_in_cell)


def _put_first() -> bool:
    filters: list[Any] = _python.filters
    if filters and filters[0] is _FIRST:
        return False
    filters[:] = [_FIRST, *(each for each in filters if each is not _FIRST)]
    return True


def _show_in_cell(message: warnings.WarningMessage) -> None:
    global _noted
    sink = SINK.get()
    if sink is None:
        _noted = True
        _show(message)
        return
    text, kind, line = str(message.message), message.category, message.lineno
    action = _action(text, kind, _module(message), line)
    if action == "error":
        raise message.message  # type: ignore[misc]
    if action == "ignore":
        return
    if action not in ("always", "all"):
        where = {"once": (), "module": (message.filename,)}.get(action, (message.filename, line))
        key = (text, kind, *where)
        if sink.warned.setdefault(key, message) is not message:
            return
    _show(message)


def _action(text: str, kind: type[Warning], module: str, line: int) -> str:
    """What the filters but ours say. A pattern is one of `re`, or in Python's own filters a text."""
    for action, message, category, of, at in tuple(_python.filters):
        if (
            message is not _FIRST[1]
            and _matches(message, text)
            and issubclass(kind, category)
            and _matches(of, module)
            and at in (0, line)
        ):
            return str(action)
    return str(_python.defaultaction)


def _matches(pattern: Any, text: str) -> bool:
    return pattern is None or (pattern == text if isinstance(pattern, str) else pattern.match(text) is not None)


def _module(message: warnings.WarningMessage) -> str:
    """The one that the warning is attributed to: it is the first on the stack that stands at that line."""
    frame = sys._getframe(2)
    while frame is not None and (frame.f_code.co_filename, frame.f_lineno) != (message.filename, message.lineno):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return message.filename.removesuffix(".py")
    return str(frame.f_globals.get("__name__", "<string>"))
