"""What a store tells of all that it holds, with a look at the values that is bounded in number and time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rlm_kernel.store import hooks
from rlm_kernel.store.entries import Entry
from rlm_kernel.store.hooks import Glance
from rlm_kernel.store.naming import type_name
from rlm_kernel.store.sizes import size_text
from rlm_kernel.store.tables import Available, Listing

GLANCED_AT = 1_000
GLANCES_S = 2.0
"""A listing looks at so many values for so long; of the others it tells what the store knows by itself."""


def listing(held: Mapping[str, object], last: Sequence[Entry]) -> Listing:
    """`last` are the last writes of the names that are held, in their order."""
    until = time.monotonic() + GLANCES_S
    rows: list[Available] = []
    for (key, value), entry in zip(held.items(), last, strict=True):
        glance = None
        if hooks.glancer is not None and len(rows) < GLANCED_AT and time.monotonic() < until:
            glance = hooks.glancer(value)
        known = glance or Glance(size_text(entry.size))
        name = type_name(type(value))
        rows.append(Available(key, name, known.size, known.tokens, entry.who, entry.step, entry.note, known.preview))
    return Listing(rows)
