"""The rows of a table as a source: a line each, the first and the last where not all fit."""

from __future__ import annotations

import re
import sys

from rlm_kernel import preview
from rlm_kernel.preview import atoms, kinds
from rlm_kernel.preview.brief import brief
from rlm_kernel.preview.kinds import Show, is_a
from rlm_kernel.preview.lines import one_line
from rlm_kernel.preview.text import HEAD_SHARE, clip, estimate_tokens, marker
from rlm_kernel.values import Slice
from rlm_kernel.window.foreign import Remembering
from rlm_kernel.window.slices import span
from rlm_kernel.window.source import BUILT_ANYWAY
from rlm_kernel.window.tables import Table, is_table

_ROW_CHARS = 80
"""What a row may always take; where it is one of few it may take more."""
_ROWS_AT_LEAST = 20
"""So many are shown of many, as long as they are."""
_CHUNK = 64
_COLUMN_CHARS = 40
_RENDERED_CHARS = 200
"""With less room for a cell, the start of it says more than its ends."""
COLUMNS = 40
"""Of a frame that is not shown whole."""


class Rows:
    anyway = BUILT_ANYWAY

    def __init__(self, table: Table, pair: Slice, show: Show) -> None:
        self._table, self._show = table, Remembering(show)
        self._start, self._stop = span("rows", pair, table.total)

    def part(self, room: int) -> tuple[str, bool]:
        table, number = self._table, self._stop - self._start
        if 3 * number * table.columns <= room:  # what cells and the marks between them take at the least
            head = self._header(table.columns, room)
            shown, whole = self._lines(self._start, self._stop, table.columns, room, room)
            text = "\n".join(head + shown)
            if whole and len(shown) == number and len(text) <= room:
                return text, True
        columns = min(table.columns, COLUMNS, max(1, room // _COLUMN_CHARS))
        head = self._header(columns, room // 4)
        room = max(0, room - sum(map(len, head)) - 60)
        each = max(min(_ROW_CHARS, room), room // min(number, _ROWS_AT_LEAST)) if number else 0
        first, _ = self._lines(self._start, self._stop, columns, each, int(room * HEAD_SHARE))
        begun = self._start + max(1, len(first))
        last = self._last(begun, columns, each, room - sum(map(len, first)))
        hidden = number - len(first) - len(last)
        if hidden:
            ends = self._start + len(first), self._stop - len(last)
            first = [*first, marker(hidden, number, what="rows", hint=f"rows={ends}")]
        return "\n".join(head + first + last), False

    def _last(self, begun: int, columns: int, each: int, room: int) -> list[str]:
        """Of the rows from `begun` on those that fit, counted from the end."""
        start = max(begun, self._stop - min(1_000, room // _ROW_CHARS + 1))
        last, taken = self._lines(start, self._stop, columns, each, sys.maxsize)[0], 0
        for index in range(len(last) - 1, -1, -1):
            taken += len(last[index]) + 1
            if taken > room:
                return last[index + 1 :]
        return last

    def tokens(self) -> int:
        number = self._stop - self._start
        columns = min(self._table.columns, COLUMNS)
        sample, _ = self._lines(self._start, min(self._stop, self._start + 20), columns, 4_000, 20_000)
        cells = number * self._table.columns / (len(sample) * columns) if sample and columns else 0
        return round(estimate_tokens("\n".join(sample)) * cells)

    def _header(self, columns: int, room: int) -> list[str]:
        if self._table.header is None:
            return []
        more = self._table.columns - columns
        names = [_cell(name, max(8, room // max(1, columns)), self._show)[0] for name in self._table.header(columns)]
        return [" | ".join(["", *names, *([f"… {more:,} more columns"] if more else [])]).strip()]

    def _lines(self, start: int, stop: int, columns: int, each: int, room: int) -> tuple[list[str], bool]:
        """Rows of at most about `each` characters until `room` is used up, and whether nothing was left out."""
        found: list[str] = []
        whole = columns == self._table.columns
        for at in range(start, stop, _CHUNK):
            for label, cells in self._table.cells(at, min(stop, at + _CHUNK), columns):
                left = max(8, each - len(label)) // max(1, len(cells))
                texts = [_cell(cell, max(8, left - 3 if len(cells) > 1 else left), self._show) for cell in cells]
                whole = whole and all(complete for _, complete in texts)
                line = label + " | ".join(text for text, _ in texts)
                if len(line) > room:
                    return found, False
                room -= len(line) + 1
                found.append(line)
        return found, whole


def _cell(value: object, room: int, show: Show) -> tuple[str, bool]:
    if is_a(value, str):
        shown = clip(value, room)  # type: ignore[arg-type]
        return shown, str.__len__(value) <= room and not shown.endswith("…")  # type: ignore[arg-type]
    if (atom := atoms.atom(value)) is not None:
        return clip(atom, room), len(atom) <= room
    if room < _RENDERED_CHARS and (is_table(value) or not kinds.light(value, room)):
        return (one_line(value, room=room, show=show) if is_table(value) else brief(value, room)), False
    text = re.sub("\n *", " ", preview.render(value, max(_RENDERED_CHARS, room), show=show))
    return clip(text, room), len(text) <= room and not text.endswith("shown only in part]")
