"""
Whether the code that runs is a sub-agent's cell, which may run beside others, and what is its own then.

A context variable: threads, pools and tasks that the cell starts inherit it. The root's cells run in the person's
namespace and one at a time, so they are not apart.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Apart:
    """What a sub-agent's cell has for itself where the process has one for all."""

    namespace: dict[str, Any]
    hidden: Mapping[str, Any]
    """Names that were lent: `%who` leaves them out while they are what they were, `%reset` puts them back."""

    figures: OrderedDict[Any, Any] = field(default_factory=OrderedDict)
    """pyplot's open figures, by number. They end with the cell."""


APART: ContextVar[Apart | None] = ContextVar("rlm_apart", default=None)
"""None in the root's cells and in the person's."""


@contextmanager
def apart(namespace: dict[str, Any], hidden: Mapping[str, Any] | None = None) -> Iterator[Apart]:
    """Around `execute`: here a sub-agent's cell runs, in `namespace`."""
    own = Apart(namespace, hidden or {})
    token = APART.set(own)
    try:
        yield own
    finally:
        APART.reset(token)
