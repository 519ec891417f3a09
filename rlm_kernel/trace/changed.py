"""What a person has done to the cells of a trace notebook since it was written: edited, put in, taken out, moved."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlm_kernel.trace.cells import cell_id, readable
from rlm_kernel.trace.known import Cells, Key, is_bare, marked, text_of
from rlm_kernel.trace.safe import one_line

MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Inserted:
    """A code cell that is not of the record: a person put it there."""

    agent: str
    source: str
    after: Key | None
    """The last recorded cell above it; None at the top."""


@dataclass(slots=True)
class Changed:
    edited: dict[Key, str] = field(default_factory=dict)
    """Cells whose source is not the recorded one any more, without the line `%%agent`."""
    inserted: list[Inserted] = field(default_factory=list)
    removed: list[Key] = field(default_factory=list)
    """Recorded cells that are not there."""
    moved: list[Key] = field(default_factory=list)
    """The fewest that stand out of the order of their agent's steps."""
    notes: list[str] = field(default_factory=list)
    """What was done that does not count, a sentence each."""


Sources = Mapping[Key, str]


class Comparison:
    """Of notebooks with one record. `persons` is the cell that asked, where a person's own did."""

    def __init__(self, root: str, persons: str | None) -> None:
        self._root = root
        self._persons = persons

    def look(
        self,
        notebook: Mapping[str, Any],
        shown: Sources,
        changed: Changed,
        *,
        elsewhere: Sequence[Sources] = (),
        after: Key | None = None,
    ) -> None:
        """
        Adds to `changed` what was done to the cells of a notebook that shows the steps with these sources, the first
        of them below that `after`. Those `elsewhere` are looked for too, and missed where any of their lot is there.
        """
        cells = Cells(notebook)
        recorded = {key: source for lot in (shown, *elsewhere) for key, source in lot.items()}
        found = self._found(cells, recorded, shown)
        known = {(readable(agent), step) for agent, step in recorded}
        order: list[Key] = []
        for cell in cells.all:
            key, whole = found.get(id(cell)), text_of(cell)
            if key is not None:
                below = _below_its_agent(whole)
                if readable(recorded[key]) not in (whole, below):
                    changed.edited[key] = below
                order.append(key)
                after = key
            elif (is_bare(cell) and not self._is_ours(whole)) or marked(cell) in known:
                agent, source = _of_agent(whole)
                if source.strip():
                    changed.inserted.append(Inserted(self._root if agent is None else agent, source, after))
        met = {(readable(agent), step) for agent, step in order}
        for lot in (shown, *elsewhere):
            gone = [key for key in lot if (readable(key[0]), key[1]) not in met]
            changed.removed += gone if lot is shown or len(gone) < len(lot) else []
        changed.moved += _moved(order, {key: n for n, key in enumerate(recorded)})

    def _found(self, cells: Cells, recorded: Sources, shown: Sources) -> dict[int, Key]:
        """By the identity of a cell, the step that it shows. Where no more is left of it, it is known by its source."""
        found: dict[int, Key] = {}
        for key in recorded:
            cell = cells.of(key, cell_id(key[0], f"s{key[1]}"))
            if cell is not None:
                found.setdefault(id(cell), key)
        bare: dict[str, list[int]] = {}
        for cell in cells.all:
            if id(cell) not in found and is_bare(cell):
                bare.setdefault(text_of(cell), []).append(id(cell))
        there = set(found.values())
        for key, source in shown.items():
            if key not in there and source.strip():
                whose = "" if key[0] == self._root else f"%%agent {' '.join(key[0].split())}\n"
                if same := bare.get(readable(whose + source)):
                    found[same.pop(0)] = key
        return found

    def _is_ours(self, source: str) -> bool:
        """Whether a cell that nothing marks is what makes Run All a replay, or the one that asked."""
        asked = self._persons is not None and source.strip() == self._persons.strip()
        return asked or _REPLAYS.search(source) is not None


_REPLAYS = re.compile(r"^[ \t]*%rlm[ \t]+replay\b", re.MULTILINE)


def _moved(order: Sequence[Key], places: Mapping[Key, int]) -> list[Key]:
    """Of each agent, those that are not in the longest run of its cells that are in order."""
    moved: list[Key] = []
    for agent in dict.fromkeys(key[0] for key in order):
        own = [key for key in order if key[0] == agent]
        tails: list[int] = []
        lengths: list[int] = []
        for key in own:
            at = bisect_left(tails, places[key])
            tails[at : at + 1] = [places[key]]
            lengths.append(at + 1)
        kept: set[Key] = set()
        last = len(places)
        for key, length in zip(reversed(own), reversed(lengths), strict=True):
            if length == len(tails) - len(kept) and places[key] < last:
                kept.add(key)
                last = places[key]
        moved += [key for key in own if key not in kept]
    return moved


def named(keys: Iterable[Key]) -> str:
    """`agent 0, step 3; agent 0.1, step 1; and 4 more`."""
    all_of_them = list(keys)
    parts = [f"agent {one_line(agent, 60)}, step {step}" for agent, step in all_of_them[:MOST_NAMED]]
    more = len(all_of_them) - MOST_NAMED
    return "; ".join([*parts, *([f"and {more:,} more"] if more > 0 else [])])


def _of_agent(source: str) -> tuple[str | None, str]:
    """The agent that a first line `%%agent ID` names, None where none does, and the rest."""
    first, newline, rest = source.partition("\n")
    words = first.split()
    return (words[1], rest) if newline and len(words) == 2 and words[0] == "%%agent" else (None, source)


def _below_its_agent(source: str) -> str:
    """Without a first line `%%agent`, whatever the agent is called."""
    first, newline, rest = source.partition("\n")
    return rest if newline and first.split()[:1] == ["%%agent"] else source
