"""Text and bytes as a source: the ends are sliced, sampled pieces are counted, and nothing is copied whole."""

from __future__ import annotations

from typing import Any

from rlm_kernel.preview.kinds import is_a
from rlm_kernel.preview.text import HEAD_SHARE, estimate_tokens, join_cut, marker, plain

_COUNTED_ANYWAY = 100_000
"""Characters of a text: one full of terminal sequences may be short without them."""
_SAMPLES = 16
_SAMPLE_CHARS = 4_000


def base_of(value: object) -> Any:
    """str, bytes or bytearray, whose methods are then called past those of a subclass; None for what is no text."""
    return next((base for base in (str, bytes, bytearray) if is_a(value, base)), None)


class Text:
    anyway = _COUNTED_ANYWAY

    def __init__(self, base: Any, value: Any, start: int, stop: int) -> None:
        self._base, self._value, self._start, self._stop = base, value, start, stop

    def part(self, room: int) -> tuple[str, bool]:
        start, stop = self._start, self._stop
        if stop - start <= room:
            return self._clean(start, stop), True
        room = max(0, room - 60)  # for the line between, about
        end = start + int(room * HEAD_SHARE)
        again = stop - (room - int(room * HEAD_SHARE))
        newline = "\n" if self._base is str else b"\n"
        # Some of a head or tail is given up where it can then end at a line's border.
        border = self._base.rfind(self._value, newline, end - (end - start) // 5, end)
        end = border + 1 if border >= 0 else self._whole_character(end, -1)
        border = self._base.find(self._value, newline, again, again + (stop - again) // 5)
        again = border + 1 if border >= 0 else self._whole_character(again, 1)
        what = "characters" if self._base is str else "bytes"
        between = marker(again - end, stop - start, what=what, hint=f"chars=({end}, {again})")
        return join_cut(self._clean(start, end), between, self._clean(again, stop)), False

    def tokens(self) -> int:
        size = self._stop - self._start
        if size <= _SAMPLES * _SAMPLE_CHARS:
            return estimate_tokens(self._clean(self._start, self._stop))
        stride = (size - _SAMPLE_CHARS) / (_SAMPLES - 1)
        starts = [self._start + int(number * stride) for number in range(_SAMPLES)]
        sampled = sum(estimate_tokens(self._clean(start, start + _SAMPLE_CHARS)) for start in starts)
        return round(sampled * size / (_SAMPLES * _SAMPLE_CHARS))

    def _clean(self, start: int, stop: int) -> str:
        piece = self._base.__getitem__(self._value, slice(start, stop))
        return plain(piece if self._base is str else bytes(piece).decode("utf-8", "backslashreplace"))

    def _whole_character(self, at: int, step: int) -> int:
        """Of UTF-8 in bytes: not within a character."""
        for _ in range(3):
            if self._base is str or not self._start < at < self._stop:
                break
            if self._base.__getitem__(self._value, at) & 0xC0 != 0x80:
                break
            at += step
        return at
