"""
Bounded pieces of text: cutting, counting and making control characters visible.

Every function here takes time and memory for what it returns, not for what it is given: a string is sliced before
anything looks at it. Methods are called through `str` itself, because a subclass may override any of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

SAMPLE_CHARS = 4_096
"""Characters in each of the three slices that stand for a long string when its tokens are estimated."""

BYTES_PER_TOKEN = 4

HEAD_SHARE = 0.65
"""Of what is shown of a thing that was cut; the rest is its tail."""

_BORDER_SHARE = 0.2
"""Of a head or tail, what may be given up so that it ends at a line's border."""

# Bidirectional controls are here because they reorder what is shown; U+0085, U+2028 and U+2029 because some readers
# break lines at them.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

SEQUENCE_CHARS = 32
"""A terminal sequence is looked for so far from where a text is cut."""

_LINE_END = re.compile("\r+(\n|\\Z)")
_ANSI = re.compile(
    "\x1b(?:\\[[0-?]*[ -/]*[@-~]"  # colours and cursor moves
    "|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)"  # titles and links
    "|[PX^_][^\x1b]*\x1b\\\\"
    "|[ -/]*[0-OQ-WYZ\\\\`-~])"
)


def cut(text: str, limit: int | None, *, hint: str = "") -> str:
    """
    At most `limit` characters of `text`: its head and tail, and between them one line with exact counts.

    Shown and not shown add up to the length of `text`. `hint` is put into that line. A limit too small for the line
    gives the line alone. None is no limit.
    """
    total = str.__len__(text)
    if limit is None or total <= limit:
        return str.__getitem__(text, slice(None))
    room = limit - len(marker(total, total, hint=hint)) - 2
    if room < 2:
        return marker(total, total, hint=hint)
    head = max(1, int(room * HEAD_SHARE))
    tail = room - head
    first = str.__getitem__(text, slice(0, head))
    border = first.rfind("\n", head - max(1, int(head * _BORDER_SHARE)))
    if border >= 0:
        first = first[: border + 1]
    last = str.__getitem__(text, slice(total - tail, total))
    border = last.find("\n", 0, int(tail * _BORDER_SHARE))
    if border >= 0:
        last = last[border + 1 :]
    return join_cut(first, marker(total - len(first) - len(last), total, hint=hint), last)


def marker(hidden: int, total: int, *, what: str = "characters", hint: str = "") -> str:
    return f"[... {hidden:,} of {total:,} {what} not shown{'; ' + hint if hint else ''} ...]"


def join_cut(head: str, line: str, tail: str) -> str:
    """`line` on a line of its own between the two."""
    return f"{head}{'' if not head or head.endswith(chr(10)) else chr(10)}{line}{chr(10) if tail else ''}{tail}"


def clip(text: str, room: int) -> str:
    """One line of at most `room` characters, its end replaced by an ellipsis where it is longer."""
    head = visible(str.__getitem__(text, slice(0, room + 1))).replace("\n", "\\n").replace("\t", "\\t")
    return head if len(head) <= room else head[: max(0, room - 1)] + "…"


def estimate_tokens(obj: str | int) -> int:
    """
    Tokens of a text, or of a text of so many characters: UTF-8 bytes / 4, rounded up.

    An estimate without a table, since a number that stands in a prompt must be the same on every machine. Of a long
    string that is not ASCII three slices are measured and scaled.
    """
    if isinstance(obj, int):
        return -(-obj // BYTES_PER_TOKEN)
    total = str.__len__(obj)
    if str.isascii(obj):  # a flag of the string, not a scan
        return -(-total // BYTES_PER_TOKEN)
    if total <= 3 * SAMPLE_CHARS:
        return -(-_utf8_bytes(str.__getitem__(obj, slice(None))) // BYTES_PER_TOKEN)
    middle = (total - SAMPLE_CHARS) // 2
    starts = (0, middle, total - SAMPLE_CHARS)
    sampled = sum(_utf8_bytes(str.__getitem__(obj, slice(start, start + SAMPLE_CHARS))) for start in starts)
    return -(-sampled * total // (3 * SAMPLE_CHARS * BYTES_PER_TOKEN))


def _utf8_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def visible(text: str) -> str:
    """Control characters, lone surrogates and direction marks as escapes; tabs and newlines stay."""
    return _INVISIBLE.sub(_escape, text)


def plain(text: str) -> str:
    """`visible`, with terminal sequences removed first, and the carriage returns that end a line."""
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    if "\r" in text:
        text = _LINE_END.sub("\\1", text)
    return visible(text)


def before_sequence(text: str, start: int, end: int) -> int:
    """`end`, or the start of a terminal sequence that a cut at `end` would tear."""
    escape = text.rfind("\x1b", max(start, end - SEQUENCE_CHARS), end)
    found = _ANSI.match(text, escape) if escape >= 0 else None
    return escape if found and found.end() > end else end


def after_sequence(text: str, start: int, end: int) -> int:
    """`start`, or the end of a terminal sequence that a cut at `start` would tear."""
    escape = text.rfind("\x1b", max(0, start - SEQUENCE_CHARS), start)
    found = _ANSI.match(text, escape, end) if escape >= 0 else None
    return found.end() if found and found.end() > start else start


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code == 0x0D:
        return "\\r"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def fit(
    text: Any, start: int, stop: int, room: int, *, clean: Callable[[Any], str] = visible, from_end: bool = False
) -> tuple[str, int]:
    """
    As much of `text[start:stop]` (a string or bytes) from one end as is at most `room` long once cleaned.

    Returns the cleaned text and how many characters or bytes it stands for.
    """
    base: Any = str if issubclass(type(text), str) else bytes
    take = min(stop - start, room)
    while take > 0:
        here = slice(stop - take, stop) if from_end else slice(start, start + take)
        shown = clean(base.__getitem__(text, here))
        if len(shown) <= room:
            return shown, take
        take = min(take - 1, take * room // len(shown))  # escapes made it longer
    return "", 0


def indenter(indent: str) -> Callable[[str], str]:
    """`visible`, with every line but the first indented."""
    return lambda part: visible(part).replace("\n", "\n" + indent)


def block(text: str, limit: int, *, indent: str = "    ", hint: str = "") -> list[str]:
    """
    `text` as indented raw lines of at most about `limit` characters in all: whole, or head and tail with a marker.
    """

    indented = indenter(indent)
    total = str.__len__(text)
    room = limit - len(indent)
    if total <= room:
        shown, taken = fit(text, 0, total, room, clean=indented)
        if taken == total:
            return (indent + shown).split("\n")
    room = max(2, room - len(indent) - len(marker(total, total, hint=hint)) - 2)
    head, taken_head = fit(text, 0, total, max(1, int(room * HEAD_SHARE)), clean=indented)
    tail_room = room - int(room * HEAD_SHARE)
    tail, taken_tail = fit(text, taken_head, total, tail_room, clean=indented, from_end=True)
    hidden = marker(total - taken_head - taken_tail, total, hint=hint)
    return [*(indent + head).split("\n"), hidden, *(indent + tail).split("\n")]


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(number_of_bytes: int) -> str:
    """Decimal units, as a file manager shows them."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number_of_bytes >= scale:
            value = number_of_bytes / scale
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return count(number_of_bytes, "byte")
