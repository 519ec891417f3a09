"""
The text/plain of a value, as a notebook shows it where it is ordinary and bounded where it is not.

First it is tried whole. Where that would pass the limit, it is built again in parts: each container shows its first
and last items with the count of those between, and shares the room it was given among what it shows. The sharing is
by a guess at each item's size, taken in constant time, so that one giant does not starve its neighbours.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rlm_kernel.preview import atoms, kinds, tables
from rlm_kernel.preview.brief import entry_key
from rlm_kernel.preview.kinds import Show, is_a
from rlm_kernel.preview.layout import Doc, Node, lay_out
from rlm_kernel.preview.lines import heading
from rlm_kernel.preview.text import HEAD_SHARE, clip, count, cut, fit, marker
from rlm_kernel.preview.views import Entry, View, view

MOST_ITEMS = 1_000
"""Of one container; a notebook shows no more either."""

MOST_DEPTH = 60
"""Levels of nesting; below, brackets stand for what is in them."""

MOST_FAILURES = 3
"""After so many failing reprs of one type the others are not asked: each may cost the whole of its time limit."""


def render(obj: object, limit: int = 100_000, *, show: Show = repr) -> str:
    """
    At most `limit` characters. What is cut has exact counts, and a last line that names type and size of the whole,
    because that line survives another cut.
    """
    builder = _Builder(show, limit)
    try:
        text = lay_out(builder.whole(obj, 0))
    except _TooLarge:
        text = ""
    if 0 < len(text) <= limit:
        return text
    note = f"[{heading(obj, show)}, shown only in part]"
    room = max(0, limit - len(note) - 1)
    for percent in (90, 60, 40):  # the rest is for line breaks and indents, which depend on the nesting
        builder.path.clear()  # of where the last try stopped
        text = lay_out(builder.part(obj, room * percent // 100, 0))
        if len(text) <= room:
            break
    return f"{cut(text, room)}\n{note}"


class _TooLarge(Exception):
    pass


@dataclass(slots=True)
class _Builder:
    show: Show
    left: int
    path: list[int] = field(default_factory=list)
    """Ids of the containers around the present value: what is met again contains itself."""
    told: dict[int, str] = field(default_factory=dict)
    """What foreign objects said at the first try, by id; they stay alive in the value that holds them."""
    failures: Counter[type] = field(default_factory=Counter)
    failed: set[int] = field(default_factory=set)
    """Ids of the objects that `show` failed on."""

    def whole(self, obj: Any, depth: int) -> Doc:
        """Raises _TooLarge where the limit would be passed."""
        if _is_text(obj):
            self.spend(kinds.length(obj, repr) or 0)
            return self.spent(_quote(obj))
        if (text := atoms.atom(obj)) is not None:
            return self.spent(text)
        seen = view(obj)
        if seen is None or self.speaks(obj, seen):
            return self.spent(self.foreign(obj))
        if id(obj) in self.path:
            return self.spent(f"{seen.open}...{seen.close}")
        if (seen.own_repr and not kinds.light(obj)) or seen.size > MOST_ITEMS or depth >= MOST_DEPTH:
            raise _TooLarge
        self.spend(2 * seen.size)
        self.path.append(id(obj))
        parts = []
        for entry in seen.head(seen.size):
            key = f"{_flat(self.whole(entry.key, depth + 1))}: " if entry.sign == ": " else entry_key(entry, 80)
            parts.append((key, self.whole(entry.value, depth + 1)))
        self.path.pop()
        return Node(seen.open, parts, seen.close)

    def part(self, obj: Any, room: int, depth: int) -> Doc:
        """About `room` characters of it."""
        if _is_text(obj):
            return part_of_text(obj, room)
        if (text := atoms.atom(obj)) is not None:
            return clip(text, max(room, 8)) if len(text) > room else text
        seen = view(obj)
        if seen is None or self.speaks(obj, seen):
            text = self.foreign(obj)
            return cut(text, room) if room > 80 else clip(text, max(room, 8))
        if id(obj) in self.path:
            return f"{seen.open}...{seen.close}"
        if depth >= MOST_DEPTH or (room < 24 + len(seen.open) and _size_of(obj) > room):
            inside = f"... {count(seen.size, seen.noun)} ..." if seen.size else ""
            return f"{seen.open}{inside}{seen.close}"
        self.path.append(id(obj))
        node = self.node(seen, room - len(seen.open) - len(seen.close), depth)
        self.path.pop()
        return node

    def node(self, seen: View, room: int, depth: int) -> Node:
        head, tail = _ends(seen, room - 50, depth)
        hidden = seen.size - len(head) - len(tail)
        entries = head + tail
        room -= (50 if hidden else 0) + (2 + depth) * len(entries)
        shares = _shares([_guess(entry) for entry in entries], room)
        parts: list[tuple[str, Doc]] = []
        for entry, share in zip(entries, shares, strict=True):
            if len(parts) == len(head) and hidden:
                parts.append(("", marker(hidden, seen.size, what=f"{seen.noun}s")))
            key = entry_key(entry, max(8, share // 2))
            parts.append((key, self.part(entry.value, share - len(key), depth + 1)))
        if len(parts) == len(head) and hidden:
            parts.append(("", marker(hidden, seen.size, what=f"{seen.noun}s")))
        return Node(seen.open, parts, seen.close)

    def speaks(self, obj: Any, seen: View) -> bool:
        """Whether a container's own repr is asked for, and answers. If one field's fails, the others can be shown."""
        if not seen.own_repr or not kinds.light(obj):
            return False
        self.foreign(obj)
        return id(obj) not in self.failed

    def foreign(self, obj: Any) -> str:
        if id(obj) not in self.told:
            text = tables.text(obj, self.asked) or _default_repr(obj)
            self.told[id(obj)] = kinds.tell(obj, self.asked) if text is None else text
        return self.told[id(obj)]

    def asked(self, obj: object) -> object:
        if self.failures[type(obj)] >= MOST_FAILURES:
            self.failed.add(id(obj))
            return f"<{kinds.type_name(obj)} object; its repr was not asked again>"
        self.failures[type(obj)] += 1
        self.failed.add(id(obj))
        text = self.show(obj)
        self.failures[type(obj)] -= 1
        self.failed.discard(id(obj))
        return text

    def spend(self, chars: int) -> None:
        self.left -= chars
        if self.left < 0:
            raise _TooLarge

    def spent(self, text: str) -> str:
        self.spend(len(text))
        return text


def _default_repr(obj: object) -> str | None:
    """As a notebook shows an object whose class says nothing of its own."""
    cls = type(obj)
    silent = kinds.static(cls, "__repr__") is object.__repr__ and kinds.static(cls, "_repr_pretty_") is None
    return f"<{kinds.full_name(cls)} at 0x{id(obj):x}>" if silent else None


def _is_text(obj: object) -> bool:
    """Strings and bytes that print as such, and larger ones of a subclass with a repr of its own."""
    for base in (str, bytes, bytearray):
        if is_a(obj, base):
            return kinds.static(type(obj), "__repr__") is base.__repr__ or not kinds.light(obj)
    return False


def _quote(obj: Any) -> str:
    base: Any = next(base for base in (str, bytes, bytearray) if is_a(obj, base))
    return repr(base.__getitem__(obj, slice(None)))


def part_of_text(obj: Any, room: int) -> str:
    """The repr of a string or bytes; of a long one the reprs of head and tail with the exact count between."""
    if is_a(obj, bytearray):
        view_of_it = memoryview(obj)
        if len(view_of_it) > 2 * room:  # only its ends may be copied
            ends = bytes(view_of_it[:room]) + bytes(view_of_it[-room:])
            return f"bytearray({_quoted_ends(ends, len(view_of_it), room - 11, 'bytes')})"
        return f"bytearray({part_of_text(bytes(obj), room - 11)})"
    total = kinds.length(obj, repr) or 0
    if total <= room and len(text := _quote(obj)) <= room:
        return text
    return _quoted_ends(obj, total, room, "characters" if is_a(obj, str) else "bytes")


def _quoted_ends(obj: Any, total: int, room: int, what: str) -> str:
    """`total` counts the whole, of which `obj` is all or both ends."""
    left = room - len(marker(total, total, what=what))
    if left < 24:
        return atoms.quoted(obj, max(room, 8))
    length = kinds.length(obj, repr) or 0
    head, taken_head = fit(obj, 0, length, int(left * HEAD_SHARE), clean=repr)
    tail, taken_tail = fit(obj, taken_head, length, left - int(left * HEAD_SHARE), clean=repr, from_end=True)
    return head + marker(total - taken_head - taken_tail, total, what=what) + tail


def _ends(seen: View, room: int, depth: int) -> tuple[list[Entry], list[Entry]]:
    """The first and the last entries that are worth showing in `room`: few of large ones, many of small ones."""
    sample = sorted(_guess(entry) for entry in seen.head(8) + seen.tail(4))
    each = min(400, sample[len(sample) // 2] if sample else 0) + 2 + depth
    number = min(seen.size, MOST_ITEMS, max(2, room // each))
    if number == seen.size:
        return seen.head(number), []
    last = number - max(1, int(number * HEAD_SHARE))
    tail = seen.tail(last)
    return seen.head(number - len(tail)), tail


def _guess(entry: Entry, depth: int = 0) -> int:
    key = len(str(entry.key)) + 1 if entry.sign == "=" else _size_of(entry.key, depth) + 2 if entry.sign else 0
    return key + _size_of(entry.value, depth)


def _size_of(obj: Any, depth: int = 0) -> int:
    """Characters of its text, guessed in constant time from its length and its first three items."""
    if is_a(obj, str, bytes, bytearray):
        return (kinds.length(obj, repr) or 0) + 3
    if type(obj) is int:
        return int.bit_length(obj) * 3 // 10 + 2
    if type(obj) in (float, bool, type(None)):
        return 8
    seen = view(obj)
    if seen is None:
        return 200
    first = seen.head(3) if depth < 2 else []
    each = sum(_guess(entry, depth + 1) for entry in first) // len(first) if first else 8
    return len(seen.open) + seen.size * (each + 2)


def _shares(wanted: list[int], room: int) -> list[int]:
    """
    What each gets of `room`: all that it wants where it wants less than an equal part, else a part of the rest.

    What is then left over goes to all alike, since a want is a guess.
    """
    given = [0] * len(wanted)
    waiting = len(wanted)
    for index in sorted(range(len(wanted)), key=wanted.__getitem__):
        given[index] = min(wanted[index] + 8, max(0, room) // waiting)
        room -= given[index]
        waiting -= 1
    spare = max(0, room) // max(1, len(wanted))
    return [share + spare for share in given]


def _flat(doc: Doc) -> str:
    return doc if isinstance(doc, str) else doc.flat()
