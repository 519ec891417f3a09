"""Any object, or a slice of it, as text within so many tokens: tried at a few sizes, and counted each time."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from rlm_kernel.preview.kinds import Show
from rlm_kernel.preview.text import estimate_tokens
from rlm_kernel.values import Slice
from rlm_kernel.window.choosing import source_of
from rlm_kernel.window.slices import given_slice

_MOST_CHARS_PER_TOKEN = 16
"""A text of more is taken to have more tokens than are asked for; the counting must not cost more than the text."""
_TRIES = 8


@dataclass(frozen=True, slots=True)
class Window:
    text: str
    tokens: int
    """Of `text`."""
    whole: bool
    """
    Nothing of what was asked for is left out, but for what `preview` shortens by itself, such as a frame within a
    list. What is not whole and empty does not fit at all.
    """
    whole_tokens: int
    """Of all that was asked for; about, where it is not whole."""


def as_text(
    value: object,
    *,
    max_tokens: int | None,
    lines: Slice | None = None,
    chars: Slice | None = None,
    rows: Slice | None = None,
    show: Show = repr,
) -> Window:
    """
    `value`, or a slice of it, in at most `max_tokens`: whole, or head and tail with exact counts between.

    `lines=(120, 180)` are lines 120 to 180, both shown, as an editor numbers them. `chars=(0, 500)` and `rows=(0, 20)`
    are counted from 0, the second not shown, as in Python's slices; of bytes, `chars` are bytes. Negative ones count
    from the end, None is open. Text has lines and chars; frames, arrays, lists, tuples and dicts have rows. A slice
    that begins behind the end, or a kind that the value does not have, is a UsageError. `show` is a `repr` that may
    bound the time of foreign code.
    """
    source = source_of(value, given_slice(lines, chars, rows), show)
    if max_tokens is None:
        text, whole = source.part(sys.maxsize)
        number = estimate_tokens(text)
        return Window(text, number, whole, number)
    text, whole = source.part(max(_MOST_CHARS_PER_TOKEN * max_tokens, source.anyway))
    number = estimate_tokens(text)
    if whole and number <= max_tokens:
        return Window(text, number, True, number)
    whole_tokens = max(number, source.tokens()) if not whole else number
    best, room = "", 3 * max_tokens
    most = 0
    for _ in range(_TRIES):
        text, _whole = source.part(room)
        number = estimate_tokens(text)
        if most < number <= max_tokens:
            best, most = text, number
        if most > max_tokens * 0.85 or room < 2:
            break
        # A little less where it was too much, so that it ends; where it was too little, not all the way up.
        room = int(room * max_tokens / number * 0.95) if number else room // 2
    return Window(best, most, False, max(whole_tokens, max_tokens + 1))
