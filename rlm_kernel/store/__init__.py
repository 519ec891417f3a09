"""
Named results that agents and people share: a mapping of names to objects, with attribute access.

Holds references and never copies. It remembers who wrote each name, but no value that was overwritten or deleted: one
reference would keep gigabytes alive. Renders no value and counts no token: that is handed down by `set_reader` and
`set_glance`, because whoever renders stands above. Who is at work is a context variable, `WITNESS`.
"""

from __future__ import annotations

from rlm_kernel.store.hooks import (
    WITNESS,
    Glance,
    Reader,
    Witness,
    read_text,
    set_glance,
    set_reader,
    unwatched,
)
from rlm_kernel.store.mapping import Store, refusal, store_id
from rlm_kernel.store.tables import Available, History, Listing, Write

__all__ = [
    "WITNESS",
    "Available",
    "Glance",
    "History",
    "Listing",
    "Reader",
    "Store",
    "Witness",
    "Write",
    "read_text",
    "refusal",
    "set_glance",
    "set_reader",
    "store_id",
    "unwatched",
]
