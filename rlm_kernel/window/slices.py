"""A slice as it was asked for, checked and counted out: lines, characters or rows."""

from __future__ import annotations

from typing import Any

from rlm_kernel.errors import UsageError
from rlm_kernel.preview.kinds import is_a
from rlm_kernel.values import Slice


def given_slice(lines: object, chars: object, rows: object) -> tuple[str, Slice] | None:
    given = [(kind, pair) for kind, pair in (("lines", lines), ("chars", chars), ("rows", rows)) if pair is not None]
    if not given:
        return None
    if len(given) > 1:
        raise UsageError(f"{' and '.join(kind for kind, _ in given)}: give one of them")
    kind, pair = given[0]
    match pair:
        case (int() | None as first, int() | None as last) if not (is_a(first, bool) or is_a(last, bool)):
            return kind, (first, last)
    raise UsageError(f"{kind} takes two whole numbers: {kind}=(20, 60)")


def span(kind: str, pair: Slice, total: int) -> tuple[int, int]:
    start, stop = (0 if pair[0] is None else pair[0]), (total if pair[1] is None else pair[1])
    start = max(0, start + total) if start < 0 else start
    stop = max(0, stop + total) if stop < 0 else min(stop, total)
    return _checked(kind, pair, start, stop, total)


def _checked(kind: str, pair: Slice, start: int, stop: int, total: int) -> tuple[int, int]:
    if start > total or (start == total and total):
        raise _behind(kind, pair, total)
    if stop < start:
        raise UsageError(f"{kind}={tuple(pair)} ends before it begins")
    return start, stop


def _behind(kind: str, pair: Slice, total: int) -> UsageError:
    there = f"there are {total:,} {kind}" if total != 1 else f"there is 1 {kind[:-1]}"
    return UsageError(f"{kind}={tuple(pair)} begins behind the end: {there}")


def line_span(base: Any, value: Any, pair: Slice) -> tuple[int, int]:
    """Characters from the start of the first line to the end of the last, its line break left out."""
    if 0 in pair:
        raise UsageError(f"lines={tuple(pair)}: lines count from 1")
    newline = "\n" if base is str else b"\n"
    size = base.__len__(value)
    first, last = pair[0] or 1, pair[1]
    if first < 0 or (last or 0) < 0:
        total = _lines_in(base, value)
        first = max(1, first + total + 1) if first < 0 else first
        last = last + total + 1 if last is not None and last < 0 else last
    if last is not None and last < first:
        raise UsageError(f"lines={tuple(pair)} ends before it begins")
    start = 0
    for _ in range(first - 1):
        start = base.find(value, newline, start) + 1
        if not start:
            break
    if (not start and first > 1) or (start == size and size):
        raise _behind("lines", pair, _lines_in(base, value))
    end = size - 1 if base.find(value, newline, max(start, size - 1)) >= 0 else size
    if last is not None:
        at = start - 1
        for _ in range(last - first + 1):
            at = base.find(value, newline, at + 1)
            if at < 0:
                return start, end
        end = at
    return start, end


def _lines_in(base: Any, value: Any) -> int:
    size = int(base.__len__(value))
    newline = "\n" if base is str else b"\n"
    unended = size > 0 and base.find(value, newline, size - 1) < 0
    return int(base.count(value, newline)) + unended
