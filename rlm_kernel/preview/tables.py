"""
numpy arrays and pandas frames, series and indexes, without importing either.

Both libraries shorten their own reprs, but only by count: not a cell that holds a gigabyte, and not at all where a
person has lifted their limits. So the limits are given here anew, and cells are looked at before they are printed.
"""

from __future__ import annotations

import sys
from typing import Any

from rlm_kernel.preview import kinds
from rlm_kernel.preview.brief import brief
from rlm_kernel.preview.kinds import Show, is_of
from rlm_kernel.preview.text import clip, size

ROWS = 60
"""A longer frame or series shows its first and last five rows, as pandas does unless told otherwise."""

ENDS = 5
COLUMNS = 20
CELL_CHARS = 1_000
"""Of a cell that pandas or numpy may format; with a longer one in sight, all cells are shortened before."""

SMALL_ARRAY = 100_000
"""Elements of an array whose least and greatest are worth looking for."""


def heading(obj: Any, show: Show) -> str | None:
    if not _is_table(obj):
        return None
    return kinds.tell(obj, repr, lambda: _heading(obj))


def start(obj: Any, room: int) -> str | None:
    """What one line may say of the content: names of columns, or the first elements."""
    if not _is_table(obj):
        return None
    told = kinds.tell(obj, repr, lambda: _start(obj, room))
    return clip(told, room)


def text(obj: Any, show: Show) -> str | None:
    """What a notebook shows of it, of bounded size; None for other objects."""
    if is_of(obj, "numpy", "ndarray"):
        array = kinds.library("numpy", "ndarray")
        plain = array is not None and kinds.static(type(obj), "__repr__") is kinds.static(array, "__repr__")
        return kinds.tell(obj, show, lambda: _array(obj)) if plain else None
    if is_of(obj, "pandas", "DataFrame"):
        return kinds.tell(obj, show, lambda: _frame(obj))
    if is_of(obj, "pandas", "Series"):
        return kinds.tell(obj, show, lambda: _series(obj))
    if is_of(obj, "pandas", "Index") and not is_of(obj, "pandas", "RangeIndex"):
        return kinds.tell(obj, show, lambda: _index(obj))
    return None


def facts(obj: Any) -> list[str] | None:
    """Lines on what the values are: types of the columns, extremes of a small array; None for other objects."""
    if not _is_table(obj):
        return None
    told = kinds.tell(obj, repr, lambda: "\n".join(_facts(obj)))
    return told.split("\n") if told else []


def _is_table(obj: object) -> bool:
    return is_of(obj, "numpy", "ndarray") or is_of(obj, "pandas", "DataFrame", "Series", "Index")


def _heading(obj: Any) -> str:
    name = kinds.type_name(obj)
    if is_of(obj, "pandas", "DataFrame"):
        return f"{name}, {len(obj.index):,} x {len(obj.columns):,}"
    shape = " x ".join(f"{n:,}" for n in obj.shape[:8]) or "0-dimensional"
    return f"{name}, {shape} {clip(str(obj.dtype) if _names_itself(obj.dtype) else obj.dtype.name, 40)}"


def _names_itself(dtype: Any) -> bool:
    """A structured or categorical dtype prints all its fields or categories."""
    return getattr(dtype, "names", None) is None and kinds.type_name(dtype) != "CategoricalDtype"


def _start(obj: Any, room: int) -> str:
    if is_of(obj, "pandas", "DataFrame"):
        return ", ".join(_label(name) for name in obj.columns[: room // 2])
    if is_of(obj, "numpy", "ndarray") and obj.ndim == 0:
        return brief(obj.item(), room)
    flat = obj[tuple([0] * (obj.ndim - 1))][:20] if is_of(obj, "numpy", "ndarray") and obj.size else obj[:20]
    values = list(flat.tolist())
    shown = ", ".join(brief(value, 30) for value in values)
    more = ", …" if len(values) < obj.shape[-1] or len(obj.shape) > 1 else ""
    return f"[{shown}{more}]"


def _label(value: object) -> str:
    return clip(value, 60) if type(value) is str else brief(value, 60)


def _array(obj: Any) -> str:
    import numpy  # loaded already: the object is of it

    dtype = obj.dtype
    if dtype.hasobject and obj.size <= 1_000 and all(kinds.light(item, CELL_CHARS) for item in obj.ravel().tolist()):
        return repr(obj)
    if dtype.hasobject or dtype.itemsize > CELL_CHARS:
        first = obj[tuple([0] * (obj.ndim - 1))] if obj.ndim > 1 and obj.size else obj
        return f"<{_heading(obj)}: {_start(first, 400) if obj.size else '[]'}>"
    note = ""
    while obj.ndim > 8:  # numpy shows two ends of every dimension, which doubles with each
        obj, note = obj[0], "\n[... only the first along the leading dimensions ...]"
    with numpy.printoptions(threshold=1_000, edgeitems=3 if obj.ndim <= 4 else 1):
        return repr(obj) + note


def _ends(number: int, most: int, each: int) -> list[int] | None:
    """Positions of the rows or columns to show; None for all."""
    return None if number <= most else [*range(each), *range(number - each, number)]


def _frame(frame: Any) -> str:
    rows = _ends(len(frame.index), ROWS, ENDS)
    columns = _ends(len(frame.columns), COLUMNS, COLUMNS // 2)
    part = frame.iloc[slice(None) if rows is None else rows, slice(None) if columns is None else columns]
    cells = [_values(part.iloc[:, position]) for position in range(len(part.columns))]
    labels = _values(part.index)
    if all(_is_small(value) for column in [*cells, labels, part.columns] for value in column):
        shortened = {"max_rows": ROWS, "min_rows": 2 * ENDS, "max_cols": COLUMNS, "show_dimensions": "truncate"}
        return str(frame.to_string(max_colwidth=50, line_width=80, **shortened))
    pandas: Any = sys.modules["pandas"]  # the object is of it

    safe = pandas.DataFrame(
        {position: [_short(value) for value in column] for position, column in enumerate(cells)},
        index=[_short(value) for value in labels],
    )
    safe.columns = [_short(value) for value in part.columns]
    which = "" if rows is None else f"; the first {ENDS} and the last {ENDS} rows shown"
    note = f"[{len(frame.index):,} rows x {len(frame.columns):,} columns{which}; long cells shortened]"
    return f"{safe.to_string(max_colwidth=50, line_width=80)}\n\n{note}"


def _series(series: Any) -> str:
    rows = _ends(len(series.index), ROWS, ENDS)
    part = series if rows is None else series.iloc[rows]
    if all(_is_small(value) for value in [*_values(part), *_values(part.index), series.name]):
        return str(series.to_string(max_rows=ROWS, min_rows=2 * ENDS, name=True, dtype=True, length=rows is not None))
    shown = [
        f"{_short(label)}    {_short(value)}" for label, value in zip(_values(part.index), _values(part), strict=True)
    ]
    if rows is not None:
        shown.insert(ENDS, "...")
    note = f"Name: {_short(series.name)}, Length: {len(series.index):,}, dtype: {series.dtype.name}"
    return "\n".join([*shown, note])


def _index(index: Any) -> str:
    number = len(index)
    part = index if number <= 2 * ENDS else index[[*range(ENDS), *range(number - ENDS, number)]]
    values = [brief(value, 60) for value in _values(part)]
    if number > 2 * ENDS:
        values.insert(ENDS, "...")
    return f"{kinds.type_name(index)}([{', '.join(values)}], dtype='{index.dtype.name}', length={number})"


def _values(column: Any) -> list[object]:
    return list(column.tolist())


def _is_small(value: object) -> bool:
    return kinds.light(value, CELL_CHARS)


def _short(value: object) -> str:
    return clip(value, 50) if type(value) is str else brief(value, 50)


def _facts(obj: Any) -> list[str]:
    if is_of(obj, "pandas", "DataFrame"):
        types = zip(obj.columns[:COLUMNS], obj.dtypes.iloc[:COLUMNS], strict=True)
        more = f", … {len(obj.columns) - COLUMNS:,} more" if len(obj.columns) > COLUMNS else ""
        return [f"columns: {', '.join(f'{_label(name)} ({clip(dtype.name, 40)})' for name, dtype in types)}{more}"]
    if not is_of(obj, "numpy", "ndarray"):
        return []
    found = [f"{size(obj.nbytes)} in memory"]
    if 0 < obj.size <= SMALL_ARRAY and obj.dtype.kind in "iufb":
        found.append(f"least {obj.min()}, greatest {obj.max()}")
    return found
