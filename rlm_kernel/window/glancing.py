"""What a listing of a store says of a value, from a short look at it."""

from __future__ import annotations

from typing import Any

from rlm_kernel.preview import kinds, tokens_of
from rlm_kernel.preview.kinds import Show, is_of
from rlm_kernel.preview.lines import heading, one_line
from rlm_kernel.preview.text import clip
from rlm_kernel.store import Glance
from rlm_kernel.window.rows import COLUMNS

PREVIEW_CHARS = 60


def glance(value: object, show: Show = repr) -> Glance:
    """A row's worth for `Store.list_available`. Tokens are what it would take in a prompt, about."""
    if is_of(value, "polars", "DataFrame"):  # which the preview knows as an object only
        frame: Any = value
        names = kinds.tell(frame, show, lambda: clip(", ".join(map(str, frame.columns[:COLUMNS])), PREVIEW_CHARS))
        return Glance(kinds.tell(frame, show, lambda: f"{frame.height:,} x {frame.width:,}"), None, names)
    about = heading(value, show)
    size = about.partition(", ")[2]
    line = one_line(value, room=len(about) + 2 + PREVIEW_CHARS, show=show)
    return Glance(size, tokens_of(value), line[len(about) + 2 :])
