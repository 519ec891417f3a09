"""
The states of a workflow and what may follow what. Pure: it knows no agent, no store and no time.

The table is checked when it is made, and everything that is wrong with it is said at once.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

from rlm_kernel.errors import InvalidTransition, UsageError

State = str | Enum
"""Its name is the string itself; of an Enum's member the value where that is a string, else the member's name."""

_SHOWN = 10
_SHOWN_CHARS = 60
_PLAIN = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_MERMAID_WORDS = frozenset(
    {"as", "class", "classdef", "click", "default", "direction", "end", "note", "state", "style"}
)


class Flow:
    """
    `Flow({"draft": ["check"], "check": ["draft", "print"], "print": []}, start="draft")`

    A state that nothing follows is an end. Every state can be reached from the start, and from every state an end can
    be. Of an Enum all members must stand in the table. Raises UsageError with all that is wrong.
    """

    __slots__ = ("_table", "start")

    start: str
    _table: dict[str, tuple[str, ...]]

    def __init__(self, table: Mapping[Any, Iterable[State] | State | None], *, start: State | None = None) -> None:
        if not isinstance(table, Mapping):
            raise UsageError(f"a flow is a dict of states and what may follow each, not {type(table).__name__}")
        problems: list[str] = []
        self._table = _named(table, problems)
        self.start = _start(start, self._table, problems)
        if self._table:
            problems += _faults(self._table, self.start)
        if problems:
            raise UsageError("this flow cannot be:\n" + "\n".join(f"- {problem}" for problem in problems))

    @property
    def table(self) -> Mapping[str, tuple[str, ...]]:
        """By the name of each state, in the order in which they were given, the names of those that may follow."""
        return MappingProxyType(self._table)

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(self._table)

    @property
    def ends(self) -> tuple[str, ...]:
        return tuple(name for name, targets in self._table.items() if not targets)

    def name(self, state: State) -> str:
        """Raises UsageError where it is no state of this flow."""
        name = name_of(state)
        if name is None or name not in self._table:
            raise UsageError(f"{_short(state)} is no state of this flow{_near(name, self._table)}")
        return name

    def allowed(self, state: State) -> tuple[str, ...]:
        """What may follow it; nothing, where it is an end."""
        return self._table[self.name(state)]

    def onward(self, state: State) -> list[str]:
        """It and all that can be reached from it, in the order of the table."""
        reached = _reached([self.name(state)], self._table)
        return [name for name in self._table if name in reached]

    def follow(self, state: State, next: State) -> str:
        """The name of `next`, where it may follow `state`. Raises InvalidTransition."""
        allowed = self.allowed(state)
        name = name_of(next)
        if name is None or name not in allowed:
            raise InvalidTransition(self.name(state), _cut(str(next) if name is None else name), allowed)
        return name

    def text(self) -> str:
        """A line for each state."""
        lines = []
        for name, targets in self._table.items():
            mark = " (start)" if name == self.start else ""
            lines.append(_cut(name) + mark + (f" -> {' | '.join(map(_cut, targets))}" if targets else " (end)"))
        return "\n".join(lines)

    def mermaid(self) -> str:
        """A state diagram as Mermaid source. Names that Mermaid would not take have an alias there."""
        ids = {name: name if _is_plain(name) else f"state_{number}" for number, name in enumerate(self._table, 1)}
        while len(set(ids.values())) < len(ids):  # a state called state_2 itself
            ids = {name: id if id == name else f"{id}_" for name, id in ids.items()}
        lines = [f'state "{_label(name)}" as {id}' for name, id in ids.items() if id != name]
        lines.append(f"[*] --> {ids[self.start]}")
        for name, targets in self._table.items():
            lines += [f"{ids[name]} --> {ids[target]}" for target in targets] or [f"{ids[name]} --> [*]"]
        return "stateDiagram-v2\n" + "".join(f"    {line}\n" for line in lines)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/vnd.mermaid": self.mermaid(), "text/plain": self.text()}

    def __repr__(self) -> str:
        return f"<Flow {self.start}, {len(self._table)} states>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Flow) and (self.start, self._table) == (other.start, other._table)

    def __hash__(self) -> int:
        return hash((self.start, frozenset(self._table.items())))


def name_of(state: object) -> str | None:
    """None where it can be no state."""
    name: object = state
    if isinstance(state, Enum):
        name = state.value if isinstance(state.value, str) else state.name
    return str(name) if isinstance(name, str) and name.strip() else None


def _named(table: Mapping[Any, Any], problems: list[str]) -> dict[str, tuple[str, ...]]:
    named: dict[str, tuple[str, ...]] = {}
    kinds: dict[type[Enum], None] = {}
    for state, targets in table.items():
        name = name_of(state)
        if name is None:
            problems.append(f"{_short(state)} is no state: give a string that is not empty, or a member of an Enum")
            continue
        if name in named:
            problems.append(f"two states are called {_short(name)}")
        if isinstance(state, Enum):
            kinds[type(state)] = None
        named[name] = _targets(name, targets, problems)
    for kind in kinds:
        missing = [member for member in kind if name_of(member) not in named]
        if missing:
            names = _list(f"{kind.__name__}.{member.name}" for member in missing)
            problems.append(f"not in the table: {names}; an end is written with an empty list")
    if not table:
        problems.append("no states")
    return named


def _targets(name: str, targets: Any, problems: list[str]) -> tuple[str, ...]:
    if targets is None:
        return ()
    if isinstance(targets, str | Enum):
        targets = [targets]
    elif not isinstance(targets, Iterable):
        problems.append(f"what follows {_short(name)} is a list of states, not {type(targets).__name__}")
        return ()
    found: dict[str, None] = {}
    for target in targets:
        if (target_name := name_of(target)) is None:
            problems.append(f"{_short(target)} after {_short(name)} is no state")
        else:
            found[target_name] = None
    return tuple(found)


def _start(start: State | None, table: Mapping[str, object], problems: list[str]) -> str:
    if start is None:
        first = next(iter(table), "")
        problems.append(f"no start: say where it begins, such as start={_short(first)}")
        return ""
    name = name_of(start)
    if name is None or name not in table:
        problems.append(f"the start {_short(start)} is no state of the table{_near(name, table)}")
        return ""
    return name


def _faults(table: dict[str, tuple[str, ...]], start: str) -> list[str]:
    faults = []
    for name, targets in table.items():
        for target in targets:
            if target not in table:
                faults.append(
                    f"{_short(name)} is followed by {_short(target)}, which is not in the table{_near(target, table)}"
                )
    ends = [name for name, targets in table.items() if not targets]
    if not ends:
        faults.append("no end: one state must have nothing after it, such as 'report': []")
    elif trapped := table.keys() - _reached(ends, _backwards(table)):
        faults.append(f"no end can be reached from {_list(name for name in table if name in trapped)}")
    if start and (unreachable := table.keys() - _reached([start], table)):
        faults.append(f"never reached from {_short(start)}: {_list(name for name in table if name in unreachable)}")
    return faults


def _reached(first: Iterable[str], table: Mapping[str, Iterable[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = list(first)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += table.get(name, ())
    return reached


def _backwards(table: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    backwards: dict[str, list[str]] = {}
    for name, targets in table.items():
        for target in targets:
            backwards.setdefault(target, []).append(name)
    return backwards


def _near(name: str | None, table: Iterable[str]) -> str:
    close = difflib.get_close_matches(name[:_SHOWN_CHARS], list(table)[:500]) if name else []
    return f"; near: {', '.join(map(_short, close))}" if close else ""


def _list(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _SHOWN:,} more" if len(every) > _SHOWN else ""
    return ", ".join(map(_short, every[:_SHOWN])) + more


def _short(state: object) -> str:
    return _cut(repr(state if isinstance(state, str) and not isinstance(state, Enum) else str(state)))


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN_CHARS else f"{flat[: _SHOWN_CHARS - 1]}…"


def _is_plain(name: str) -> bool:
    return _PLAIN.fullmatch(name) is not None and len(name) <= _SHOWN_CHARS and name.lower() not in _MERMAID_WORDS


def _label(name: str) -> str:
    """Within quotes; what means something to Mermaid or to HTML is written as an entity of Mermaid's."""
    return "".join(c if c.isalnum() or c in " .,-_()" else f"#{ord(c)};" for c in _cut(name))
