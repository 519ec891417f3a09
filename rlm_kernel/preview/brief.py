"""
The start of an object's repr in little room, with no foreign code run.
"""

from __future__ import annotations

import pathlib
from typing import Any

from rlm_kernel.preview import atoms, kinds
from rlm_kernel.preview.kinds import is_a
from rlm_kernel.preview.text import clip
from rlm_kernel.preview.views import Entry, view


def brief(obj: Any, room: int, depth: int = 0) -> str:
    """The start of an object's repr in about `room` characters, with no foreign code run."""
    if is_a(obj, str, bytes):
        return atoms.quoted(obj, room)
    if is_a(obj, bytearray):
        return f"bytearray({atoms.quoted(bytes(bytearray.__getitem__(obj, slice(0, room))), room - 11)})"
    if is_a(obj, pathlib.PurePath):
        return atoms.quoted(atoms.path_text(obj), room)
    if (text := atoms.atom(obj)) is not None:
        return clip(text, max(8, room))
    seen = view(obj)
    if seen is None:
        return f"<{kinds.type_name(obj)}>"
    if depth > 3 or room < len(seen.open) + len(seen.close) + 4:
        return f"{seen.open}…{seen.close}" if seen.size else seen.open + seen.close
    inner = brief_entries(seen.head(room), seen.size, room - len(seen.open) - len(seen.close), depth)
    return f"{seen.open}{inner}{seen.close}"


def brief_entries(entries: list[Entry], size: int, room: int, depth: int) -> str:
    parts: list[str] = []
    for entry in entries:
        key = entry_key(entry, max(8, room // 2), depth)
        if parts and room < len(key) + 8:
            break
        parts.append(key + brief(entry.value, max(8, min(room - len(key), 60 if depth else room)), depth + 1))
        room -= len(parts[-1]) + 2
    return ", ".join(parts) + (", …" if len(parts) < size else "")


def entry_key(entry: Entry, room: int, depth: int = 0) -> str:
    if entry.sign == "=":
        return f"{clip(str(entry.key), room)}="
    return brief(entry.key, room, depth + 1) + entry.sign if entry.sign else ""
