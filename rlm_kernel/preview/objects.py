"""
What a model is told of an object it cannot see: type, size, structure, head and tail.
"""

from __future__ import annotations

import io
import pathlib
import types
from typing import Any

from rlm_kernel.preview import atoms, kinds, tables
from rlm_kernel.preview.files import describe_path
from rlm_kernel.preview.kinds import Show, is_a
from rlm_kernel.preview.lines import heading, is_iterator, one_line
from rlm_kernel.preview.outline import outline, text_in, value_types
from rlm_kernel.preview.render import part_of_text, render
from rlm_kernel.preview.text import block, clip, count, cut, estimate_tokens
from rlm_kernel.preview.views import View, view

KEYS_CHARS = 200
LINE_CHARS = 90
"""What a line of an outline is reckoned to take."""


def describe(obj: object, *, name: str = "context", limit: int = 4_000, show: Show = repr) -> str:
    """
    At most `limit` characters on what `name` is. Reads the ends of an object, never the whole; runs none of its code
    but `show` and, through it, a `__len__`. An iterator is not consumed.
    """
    first, *rest = _describe(obj, max(0, limit - 200), show)
    return cut("\n".join([f"`{name}`: {first}", *rest]), limit)


def _describe(obj: Any, room: int, show: Show) -> list[str]:
    about = heading(obj, show)
    if is_a(obj, str):
        return [
            f"{about}, about {count(estimate_tokens(obj), 'token')}",
            *(block(obj, room) if str.__len__(obj) else []),
        ]
    if is_a(obj, bytes, bytearray):
        return [about, f"    {part_of_text(obj, room)}"]
    if is_a(obj, memoryview):
        return [about]
    if (facts := tables.facts(obj)) is not None:
        shown = tables.text(obj, show)
        return [about, *facts, *block(kinds.tell(obj, show) if shown is None else shown, room - sum(map(len, facts)))]
    if (seen := view(obj)) is not None:
        return _container(obj, about, seen, room, show)
    if kinds.is_of(obj, "rlm_kernel.store", "Store"):
        return _store(obj, about, room, show)
    if is_a(obj, pathlib.PurePath):
        return [about, *describe_path(obj, room)]
    if is_a(obj, types.ModuleType):
        return [one_line(obj), *_doc(types.ModuleType.__getattribute__(obj, "__dict__").get("__doc__"))]
    if is_a(obj, type):
        return [one_line(obj, room=400), *_doc(kinds.static(obj, "__doc__"))]
    if is_a(obj, types.FunctionType, types.MethodType, types.BuiltinFunctionType):
        return [one_line(obj, room=400), *_doc(obj.__doc__)]
    if (text := atoms.atom(obj)) is not None:
        return ["None" if obj is None else f"{about} {text}"]
    return _foreign(obj, about, room, show)


def _store(obj: Any, about: str, room: int, show: Show) -> list[str]:
    keys = kinds.tell(obj, show, lambda: clip(", ".join(obj), KEYS_CHARS))
    listed = kinds.tell(obj, show, lambda: repr(obj.list_available()))
    return [f"{about}: {keys}", *block(listed, room)] if keys else [about]


def _container(obj: Any, about: str, seen: View, room: int, show: Show) -> list[str]:
    if not seen.size:
        return [about]
    text = text_in(obj).sentence()
    lines = [about + (f"; {text}" if text else "")]
    if seen.noun != "field":
        lines.append(value_types(seen))
    whole = render(obj, min(400, room), show=show) if kinds.light(obj, 300) else ""
    if whole and not whole.endswith("shown only in part]"):
        return [*lines, *block(whole, room)]
    for number in (room // LINE_CHARS, room // 160, room // 320):
        below = outline(seen, max(2, number), show=show)
        if sum(len(line) + 1 for line in below) <= room:
            break
    return [*lines, *below]


def _foreign(obj: Any, about: str, room: int, show: Show) -> list[str]:
    lines = [f"{about} ({kinds.full_name(type(obj))})"]
    if is_a(obj, io.IOBase):
        lines.append("an open file; it was not read, because reading moves its position")
    elif is_iterator(obj):
        lines.append("it can be read only once, and was not read")
    lines += block(kinds.tell(obj, show), room // 2)
    held = [] if is_iterator(obj) else kinds.fields(obj)
    if held:
        lines.append("attributes:")
        lines += [f"  {clip(str(name), 60)}: {one_line(value, show=show)}" for name, value in held[: room // 200]]
        if len(held) > room // 200:
            lines.append(f"  and {len(held) - room // 200} more")
    return lines


def _doc(text: Any) -> list[str]:
    """The first line of a docstring."""
    if not is_a(text, str):
        return []
    first = str.__getitem__(text, slice(0, 400)).strip().split("\n")[0]
    return [f"    {clip(first, 200)}"] if first else []
