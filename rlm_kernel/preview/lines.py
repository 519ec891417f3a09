"""
An object in one line: type, size and the start of what it holds. Runs no foreign code but a `__len__`.
"""

from __future__ import annotations

import pathlib
import types
from typing import Any

from rlm_kernel.preview import atoms, kinds, tables
from rlm_kernel.preview.brief import brief, brief_entries
from rlm_kernel.preview.kinds import Show, is_a
from rlm_kernel.preview.text import clip, count
from rlm_kernel.preview.views import view

LINE_CHARS = 120


def one_line(obj: Any, *, room: int = LINE_CHARS, show: Show = repr) -> str:
    """
    `dict, 812 items: {'abc.py': 'import…', …}`, at most `room` characters.

    `show` bounds the time of a foreign `__len__`; nothing else of the object runs.
    """
    about, start = heading(obj, show), ""
    if (left := room - len(about) - 2) >= 12:
        start = _start(obj, left)
    return clip(f"{about}: {start}" if start else about, room)


def heading(obj: Any, show: Show = repr) -> str:
    """Type and size: `str, 12,034 chars`, `DataFrame, 300 x 4`, `function`."""
    name = kinds.type_name(obj)
    if is_a(obj, str):
        return f"{name}, {count(str.__len__(obj), 'char')}"
    if is_a(obj, bytes, bytearray):
        return f"{name}, {count(kinds.length(obj, show) or 0, 'byte')}"
    if is_a(obj, memoryview):
        return f"{name}, {count(obj.nbytes, 'byte')}"
    if (table := tables.heading(obj, show)) is not None:
        return table
    if (seen := view(obj)) is not None:
        return f"{name}, {count(seen.size, seen.noun)}"
    if is_a(obj, type):
        return "class"
    if is_a(obj, types.FunctionType, types.BuiltinFunctionType):
        return "function"
    if is_a(obj, types.MethodType, types.ModuleType, pathlib.PurePath):
        return name
    if obj is None:
        return "None"
    if atoms.atom(obj) is not None:
        return name
    if is_iterator(obj):
        return f"{name}, not consumed"
    size = kinds.length(obj, show)
    return f"{name} object" if size is None else f"{name}, {count(size, 'item')}"


def is_iterator(obj: object) -> bool:
    """Reading it would use it up: an iterator, a generator, a coroutine, an open file."""
    return any(kinds.static(type(obj), name) is not None for name in ("__next__", "__anext__", "cr_frame"))


def _start(obj: Any, room: int) -> str:
    if (columns := tables.start(obj, room)) is not None:
        return columns
    if obj is None:
        return ""
    if is_a(obj, type):
        return f"{kinds.full_name(obj)}{atoms.signature(obj)}"
    if is_a(obj, types.FunctionType, types.MethodType, types.BuiltinFunctionType):
        return f"{atoms.name_of(obj)}{atoms.signature(obj)}"
    if is_a(obj, types.ModuleType):
        return clip(str(types.ModuleType.__getattribute__(obj, "__dict__").get("__name__")), kinds.NAME_CHARS)
    seen = view(obj)
    if seen is not None and seen.noun == "field":
        return brief_entries(seen.head(room), seen.size, room, 1) if seen.size else ""
    text = brief(obj, room)
    return "" if text == f"<{kinds.type_name(obj)}>" else text
