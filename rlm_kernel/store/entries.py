"""Who wrote each name, and when: without the values, since one reference to an old one would keep gigabytes alive."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from typing import Literal, NamedTuple

from rlm_kernel.store.hooks import Witness
from rlm_kernel.store.sizes import Size
from rlm_kernel.store.tables import History, Write

KEPT_WRITES = 1_000
"""At least so many newest writes of a name are remembered. Each carries its number, so that earlier ones show."""
KEPT_DELETED = 10_000
"""Names that are gone, of which the writes are remembered all the same."""


class Entry(NamedTuple):
    number: int
    who: str
    step: int | None
    when: float
    type: str | None
    """None where this is a deletion; its number is that of the write before."""
    size: Size
    note: str | None
    run: str | None = None
    """In which it was done, see `Witness.run`."""
    cell: int | None = None
    """See `Witness.cell`."""


_Kept = tuple[int, str, int | None, float, str | None, Size, str | None, str | None, int | None]
"""The fields of an Entry: to make one takes a third of the time of a write, so that it is made where it is read."""


_PERSON = ("person", None, None, None)
"""Who writes where nobody looks: a person, outside the kernel."""


class Entries:
    """The writes and deletions of every name. Does no locking: whoever holds it does."""

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[str, list[_Kept]] = {}

    def wrote(self, key: str, witness: Witness | None, kind: str, size: Size, note: str | None) -> None:
        who, step, run, cell = _PERSON if witness is None else _place(witness)
        kept = self._of.get(key)
        if kept is None:
            self._of[key] = [(1, who, step, time.time(), kind, size, note, run, cell)]
            return
        kept.append((kept[-1][0] + 1, who, step, time.time(), kind, size, note, run, cell))
        if len(kept) > 2 * KEPT_WRITES:
            del kept[:-KEPT_WRITES]

    def put_back(self, key: str, entries: Sequence[Entry]) -> None:
        """Then they are all that is remembered of that name."""
        if entries:
            self._of[key] = list(entries)
        else:
            self._of.pop(key, None)

    def names(self) -> list[str]:
        """Deleted ones too."""
        return list(self._of)

    def deleted(self, keys: Iterable[str], witness: Witness | None, held: Collection[str]) -> None:
        """`held` are the names that are left."""
        who, step, run, cell = _PERSON if witness is None else _place(witness)
        for key in keys:
            kept = self._of[key]
            kept.append((kept[-1][0], who, step, time.time(), None, None, None, run, cell))
        if len(self._of) > len(held) + 2 * KEPT_DELETED:
            gone = [key for key in self._of if key not in held]
            for key in gone[:-KEPT_DELETED]:
                del self._of[key]

    def last(self, key: str) -> Entry:
        return Entry._make(self._of[key][-1])

    def of(self, key: str) -> list[Entry]:
        """Oldest first; empty for a name that was never written."""
        return [Entry._make(kept) for kept in self._of.get(key, ())]


def history(entries: list[Entry], run: str | None) -> History:
    """The writes among them, each with what became of it. `run` is that of whoever looks."""
    followers: list[Entry | None] = [*entries[1:], None]
    return History(
        [_write(entry, after) for entry, after in zip(entries, followers, strict=True) if entry.type is not None], run
    )


def _write(entry: Entry, after: Entry | None) -> Write:
    number, who, step, when, kind, size, note, run, cell = entry
    fate: Literal["stands", "overwritten", "deleted"] = "stands"
    if after is not None:
        fate = "deleted" if after.type is None else "overwritten"
    by = None if after is None else after.who
    return Write(number, who, step, when, kind or "", size, note, fate, by, run, cell)


def _place(witness: Witness) -> tuple[str, int | None, str | None, int | None]:
    return witness.who, witness.step, witness.run, witness.cell
