"""The tables that a store tells of itself, and how they print. They hold no value of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, overload

from rlm_kernel.store.naming import short
from rlm_kernel.store.sizes import Size, size_text

_NOTE_CHARS = 60


@dataclass(frozen=True, slots=True)
class Available:
    """A row of `list_available()`."""

    key: str
    type: str
    size: str
    tokens: int | None
    who: str
    """Of the last write: an agent's id, or `person`."""
    step: int | None
    note: str | None
    preview: str


@dataclass(frozen=True, slots=True)
class Write:
    """A row of `history(key)`."""

    number: int
    """The first write of the name is 1."""
    who: str
    step: int | None
    when: float
    """Seconds since the epoch. Not in the table, which would then differ when a run is replayed."""
    type: str
    size: Size
    note: str | None
    fate: Literal["stands", "overwritten", "deleted"]
    fate_by: str | None
    """Who overwrote or deleted it."""
    run: str | None = None
    """The id of the run in which it was written; None for a person's cell that had asked nothing."""
    cell: int | None = None
    """The number of the person's own cell that wrote it; None for an agent, and where that is not known."""


Row = TypeVar("Row")


class Table(Sequence[Row]):
    """Rows that show as a table where they are a cell's last value. Holds no value of the store."""

    __slots__ = ("_rows",)
    SHOWN = 50
    COLUMNS: ClassVar[dict[str, Callable[[Any], str]]]
    NOTHING: ClassVar[str]

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows: tuple[Row, ...] = tuple(rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def _columns(self) -> dict[str, Callable[[Any], str]]:
        return self.COLUMNS

    def __repr__(self) -> str:
        """Long tables show their first and last rows; a column in which nothing stands is left out."""
        total = len(self._rows)
        if not total:
            return self.NOTHING
        hidden = max(0, total - self.SHOWN)
        first = (total - hidden) * 3 // 5 if hidden else total
        shown = self._rows[:first] + self._rows[first + hidden :]
        columns = [[title, *map(cell, shown)] for title, cell in self._columns().items()]
        columns = [column for column in columns if any(column[1:])]
        widths = [max(map(len, column)) for column in columns]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in zip(*columns, strict=True)
        ]
        if hidden:
            lines.insert(1 + first, f"[... {hidden:,} of {total:,} rows not shown ...]")
        return "\n".join(lines)


def _line(text: str | None) -> str:
    """The start of a note, with nothing in it that breaks or reorders a line."""
    head = (text or "")[: _NOTE_CHARS + 1]
    clean = "".join(char if char.isprintable() else " " for char in head)
    return clean if len(clean) <= _NOTE_CHARS else f"{clean[: _NOTE_CHARS - 1]}…"


def _by(row: Available | Write) -> str:
    return row.who if row.step is None else f"{row.who}, step {row.step}"


class Listing(Table[Available]):
    __slots__ = ()
    NOTHING = "nothing is in the store"
    COLUMNS: ClassVar[dict[str, Callable[[Available], str]]] = {
        "key": lambda row: short(row.key),
        "type": lambda row: short(row.type),
        "size": lambda row: row.size,
        "tokens": lambda row: "" if row.tokens is None else f"{row.tokens:,}",
        "written by": _by,
        "note": lambda row: _line(row.note),
        "preview": lambda row: row.preview,
    }


class History(Table[Write]):
    """
    `run` is that of whoever looks: what it wrote itself is told by its steps alone, so that a run and its replay are
    shown the same.
    """

    __slots__ = ("_named",)
    NOTHING = "no write is remembered"
    COLUMNS: ClassVar[dict[str, Callable[[Write], str]]] = {
        "write": lambda row: str(row.number),
        "by": _by,
        "type": lambda row: short(row.type),
        "size": lambda row: size_text(row.size),
        "note": lambda row: _line(row.note),
        "then": lambda row: row.fate if row.fate_by is None else f"{row.fate} by {row.fate_by}",
    }

    def __init__(self, rows: Sequence[Write], run: str | None = None) -> None:
        super().__init__(rows)
        runs = {row.run for row in rows if row.step is not None}
        several = len(runs) > 1 or (run is not None and bool(runs - {run}))
        self._named = runs - {None, run} if several else set()

    def _columns(self) -> dict[str, Callable[[Any], str]]:
        return {**self.COLUMNS, "by": self._by}

    def _by(self, row: Write) -> str:
        if row.cell is not None:
            return f"{row.who}, cell [{row.cell}]"
        told = "" if row.step is None or row.run not in self._named else f", run {_line(row.run).rpartition('-')[2]}"
        return _by(row) + told
