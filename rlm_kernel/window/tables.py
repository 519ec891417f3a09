"""Frames, arrays, lists, tuples and dicts as labelled rows of cells, of which only those asked for are made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rlm_kernel.preview.brief import brief
from rlm_kernel.preview.kinds import is_a, is_of
from rlm_kernel.preview.text import clip

_LABEL_CHARS = 40


@dataclass(frozen=True, slots=True)
class Table:
    """`cells(start, stop, columns)` gives for each row a label and its cells."""

    total: int
    columns: int
    header: Callable[[int], list[object]] | None
    cells: Callable[[int, int, int], list[tuple[str, list[object]]]]


def has_rows(value: object) -> bool:
    return is_a(value, list, tuple, dict, deque) or is_table(value)


def is_table(value: Any) -> bool:
    if is_of(value, "numpy", "ndarray"):
        return len(value.shape) > 0
    return is_of(value, "pandas", "DataFrame", "Series", "Index") or is_of(value, "polars", "DataFrame", "Series")


def table_of_items(value: Any) -> Table:
    if is_a(value, dict):
        pairs = dict.items(value)
        return Table(
            dict.__len__(value),
            1,
            None,
            lambda start, stop, _: [(f"{brief(key, 80)}: ", [item]) for key, item in list(islice(pairs, start, stop))],
        )
    base: Any = next(base for base in (list, tuple, deque) if is_a(value, base))
    if base is deque:
        return _numbered(deque.__len__(value), lambda start, stop: list(islice(deque.__iter__(value), start, stop)))
    return _numbered(base.__len__(value), lambda start, stop: list(base.__getitem__(value, slice(start, stop))))


def table_of(value: Any) -> Table:
    """Of another library's object: by its methods, within `bounded`."""
    if is_of(value, "pandas", "DataFrame"):
        return Table(
            len(value.index), len(value.columns), lambda number: list(value.columns[:number]), _of_frame(value)
        )
    if is_of(value, "pandas", "Series"):
        return Table(len(value.index), 1, None, _of_frame(value.to_frame()))
    if is_of(value, "polars", "DataFrame"):

        def rows(start: int, stop: int, columns: int) -> list[tuple[str, list[object]]]:
            part = value[start:stop, :columns].rows()
            return [(f"[{number}] ", list(row)) for number, row in enumerate(part, start)]

        return Table(value.height, value.width, lambda number: list(value.columns[:number]), rows)
    if is_of(value, "polars", "Series"):
        return _numbered(len(value), lambda start, stop: list(value[start:stop].to_list()))
    if is_of(value, "numpy", "ndarray") and len(value.shape) == 2:

        def cells(start: int, stop: int, columns: int) -> list[tuple[str, list[object]]]:
            return [(f"[{number}] ", row) for number, row in enumerate(value[start:stop, :columns].tolist(), start)]

        return Table(value.shape[0], value.shape[1], None, cells)
    if is_of(value, "numpy", "ndarray") and len(value.shape) > 2:
        return _numbered(len(value), lambda start, stop: list(value[start:stop]))
    return _numbered(len(value), lambda start, stop: list(value[start:stop].tolist()))


def _numbered(total: int, taken: Callable[[int, int], list[object]]) -> Table:
    return Table(
        total,
        1,
        None,
        lambda start, stop, _: [(f"[{number}] ", [item]) for number, item in enumerate(taken(start, stop), start)],
    )


def _of_frame(frame: Any) -> Callable[[int, int, int], list[tuple[str, list[object]]]]:
    def cells(start: int, stop: int, columns: int) -> list[tuple[str, list[object]]]:
        part = frame.iloc[start:stop, :columns]
        by_column = [part.iloc[:, position].tolist() for position in range(columns)]
        labels = part.index.tolist()
        texts = [label if is_a(label, str) else brief(label, _LABEL_CHARS) for label in labels]
        return [
            (f"{clip(label, _LABEL_CHARS)} | ", [column[row] for column in by_column])
            for row, label in enumerate(texts)
        ]

    return cells
