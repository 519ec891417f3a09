"""
The outputs of a cell as the bounded text that goes back to the model: the observation.

Ten megabytes of output cost what is shown of them. Lines are found by searching for their ends, from the front and
from the back, and only what is shown is cleaned of colours and of the older states of progress bars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlm_kernel.preview.mime import error_text, output_text
from rlm_kernel.preview.text import (
    BYTES_PER_TOKEN,
    HEAD_SHARE,
    after_sequence,
    before_sequence,
    estimate_tokens,
    fit,
    join_cut,
    marker,
    plain,
)
from rlm_kernel.values import CellError, Output

NOTHING = "(the cell printed nothing; print what you want to see)"
HINT = "keep long values in a variable and print slices of it"
HINT_FROM = 400
"""Characters of limit, from which on the marker has room for the hint."""

_TRIES = 8
"""Of texts with more bytes to a character, each fits better than the one before."""

_ROUNDS = 32
"""Pieces of colours alone that are read in vain before a head or tail is left short."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model sees of a cell's outputs."""

    text: str
    tokens: int
    """Of data in it, as `estimate_tokens` has them."""
    cut: bool
    """Whether there was no room for all that `observe` shows."""


def observe(
    outputs: Sequence[Output], *, error: CellError | None = None, limit: int | None = 8_000, dropped_chars: int = 0
) -> str:
    """
    At most `limit` characters (a limit too small for the marker gives the marker): streams, results, rich outputs
    and errors in their true order. None is no limit.

    What is not shown is counted in characters as they were written, colours and older states included. `dropped_chars`
    are those that nobody kept, from before the last stream output. `error` is added where no output says it. The end
    is always shown, so the last line of a long traceback is.
    """
    pieces = _with_breaks([output_text(output, limit) for output in outputs])
    if error is not None and all(output.get("output_type") != "error" for output in outputs):
        pieces = _with_breaks([*pieces, error_text(error.name, error.message, error.traceback, limit)])
    kept = sum(map(len, pieces))
    gap = _gap(pieces, outputs) if dropped_chars else len(pieces)
    total = kept + dropped_chars
    # The notice at its longest, so that what is left after it is room for the rest.
    room = None if limit is None else limit - (len(_notice(total, total, limit)) + 2 if dropped_chars else 0)
    head = _head(pieces[:gap], room if room is not None else 8 * kept + 8)
    tail = _head(pieces[gap:], room - len(head.text) if room is not None else 8 * kept + 8)
    if head.taken + tail.taken == kept and (room is None or len(head.text) + len(tail.text) <= room):
        if not dropped_chars:
            return head.text.removesuffix("\n") if head.text.strip() else NOTHING
        return join_cut(head.text, _notice(dropped_chars, total, limit), tail.text.removesuffix("\n"))
    assert limit is not None
    room = limit - len(_notice(total, total, limit)) - 2
    if room < 2:
        return marker(total, total)
    below = pieces[gap:] if dropped_chars else pieces
    head = _head(pieces[:gap], int(room * HEAD_SHARE), spare=True)
    tail = _tail(below, room - len(head.text), 0 if dropped_chars else head.taken)
    return join_cut(head.text, _notice(total - head.taken - tail.taken, total, limit), tail.text.removesuffix("\n"))


def observe_within(
    max_tokens: int | None,
    outputs: Sequence[Output],
    *,
    error: CellError | None = None,
    limit: int | None = 8_000,
    dropped_chars: int = 0,
) -> Seen:
    """
    `observe`, in at most `max_tokens` too.

    With room for no more than the marker that says how much there was, that stands there and counts as nothing.
    """
    text = observe(outputs, error=error, limit=limit, dropped_chars=dropped_chars)
    if text is NOTHING:
        return Seen(text, 0, cut=False)
    tokens = estimate_tokens(text)
    if max_tokens is None or tokens <= max_tokens:
        return Seen(text, tokens, cut=False)
    room = BYTES_PER_TOKEN * max_tokens
    for _ in range(_TRIES):
        text = observe(outputs, error=error, limit=room, dropped_chars=dropped_chars)
        tokens = estimate_tokens(text)
        if tokens <= max_tokens:
            return Seen(text, tokens, cut=True)
        room = room * max_tokens // tokens
    return Seen(observe(outputs, error=error, limit=0, dropped_chars=dropped_chars), 0, cut=True)


def _notice(hidden: int, total: int, limit: int | None) -> str:
    return marker(hidden, total, hint=HINT if limit is None or limit >= HINT_FROM else "")


def _with_breaks(pieces: list[str]) -> list[str]:
    """A line break between two where the first does not end with one."""
    found: list[str] = []
    for piece in filter(None, pieces):
        if found and not found[-1].endswith("\n"):
            found.append("\n")
        found.append(piece)
    return found


def _gap(pieces: list[str], outputs: Sequence[Output]) -> int:
    """Where in `pieces` the dropped characters are missing: before the last stream's text, else at the end."""
    last = next((output for output in reversed(outputs) if output.get("output_type") == "stream"), None)
    text = output_text(last, None) if last is not None else ""
    return next((index for index in range(len(pieces) - 1, -1, -1) if text and pieces[index] == text), len(pieces))


@dataclass(frozen=True, slots=True)
class _Shown:
    text: str
    taken: int
    """Characters of the pieces, as written, that the text stands for."""


def _head(pieces: list[str], room: int, *, spare: bool = False) -> _Shown:
    """The start of the pieces. With `spare`, a fifth of the room may stay empty for the sake of a whole last line."""
    enough = room // 5 if spare else 0
    texts: list[str] = []
    taken = 0
    for piece in pieces:
        at = rounds = 0
        by_line = "\r" in piece
        while at < len(piece) and room > enough and rounds < _ROUNDS:
            stop = (piece.find("\n", at) + 1 or len(piece)) if by_line else len(piece)
            state = _last_state(piece, at, stop)
            shown, chars = fit(piece, state, stop, room, clean=plain)
            if state + chars < stop:
                border = piece.rfind("\n", state + chars - chars // 5, state + chars) + 1 if spare else 0
                end = border or before_sequence(piece, state, state + chars)
                shown, chars = plain(piece[state:end]), end - state
            if not chars and state == at:
                break
            rounds = rounds + 1 if not shown else 0
            at = state + chars
            texts.append(shown)
            room -= len(shown)
        taken += at
        if at < len(piece):
            break
    return _Shown("".join(texts), taken)


def _tail(pieces: list[str], room: int, shown_already: int) -> _Shown:
    """The end of the pieces, but for their first `shown_already` characters."""
    enough = room // 5
    texts: list[str] = []
    taken = 0
    left = sum(map(len, pieces)) - shown_already
    for piece in reversed(pieces):
        at, rounds = len(piece), 0
        floor = max(0, len(piece) - left)
        by_line = "\r" in piece
        while at > floor and room > enough and rounds < _ROUNDS:
            start = max(floor, piece.rfind("\n", floor, at - 1) + 1) if by_line else floor
            state = _last_state(piece, start, at)
            shown, chars = fit(piece, state, at, room, clean=plain, from_end=True)
            begin = at - chars
            if begin > state:
                border = piece.find("\n", begin, begin + chars // 5) + 1
                begin = border or after_sequence(piece, begin, at)
                shown = plain(piece[begin:at])
            if begin == at:
                break
            rounds = rounds + 1 if not shown else 0
            at = start if begin == state else begin
            texts.append(shown)
            room -= len(shown)
        taken += len(piece) - at
        left -= len(piece) - at
        if at > 0:
            break
    return _Shown("".join(reversed(texts)), taken)


def _last_state(text: str, start: int, stop: int) -> int:
    """Where in a line the text begins that a terminal would show last: behind the last carriage return before it."""
    end = stop
    while end > start and end > stop - 100 and text[end - 1] in "\r\n":
        end -= 1
    return max(start, text.rfind("\r", start, end) + 1)
