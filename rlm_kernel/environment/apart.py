"""
What a cell has for itself where the process, or its shell, has one for all.

Context variables: threads, pools and tasks that the cell starts inherit them. Where the root's cells run in the
person's namespace, and one at a time, they have nothing for themselves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Room:
    """A namespace that stands for the shell's, so that magics act on it."""

    namespace: dict[str, Any]
    hidden: Mapping[str, Any]
    """Names that were lent: `%who` leaves them out while they are what they were, `%reset` puts them back."""


ROOM: ContextVar[Room | None] = ContextVar("rlm_room", default=None)
"""None where it is the shell's own: in the person's cells, and in the root's in a notebook."""


@dataclass(frozen=True, slots=True)
class Apart:
    """What a sub-agent's cell, which may run beside others, has besides."""

    figures: OrderedDict[Any, Any] = field(default_factory=OrderedDict)
    """pyplot's open figures, by number. They end with the cell."""


APART: ContextVar[Apart | None] = ContextVar("rlm_apart", default=None)
"""None in the root's cells and in the person's."""


@contextmanager
def room(namespace: dict[str, Any], hidden: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Around whatever runs in `namespace` through a shell whose own is another."""
    token = ROOM.set(Room(namespace, hidden or {}))
    try:
        yield
    finally:
        ROOM.reset(token)


@contextmanager
def apart(namespace: dict[str, Any], hidden: Mapping[str, Any] | None = None) -> Iterator[Apart]:
    """Around `execute`: here a sub-agent's cell runs, in `namespace`."""
    own = Apart()
    token = APART.set(own)
    try:
        with room(namespace, hidden):
            yield own
    finally:
        APART.reset(token)
