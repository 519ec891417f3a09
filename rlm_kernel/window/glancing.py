"""What a listing of a store says of a value, from a short look at it."""

from __future__ import annotations

from typing import Any

from rlm_kernel.preview import kinds, outline
from rlm_kernel.preview.kinds import Show, is_of
from rlm_kernel.preview.lines import heading, one_line
from rlm_kernel.preview.text import clip, estimate_tokens
from rlm_kernel.store import Glance
from rlm_kernel.window.rows import COLUMNS
from rlm_kernel.window.text import base_of

PREVIEW_CHARS = 60


def glance(value: object, show: Show = repr) -> Glance:
    """A row's worth for `Store.list_available`. Tokens are those of text, its own or of the strings in it."""
    if is_of(value, "polars", "DataFrame"):  # which the preview knows as an object only
        frame: Any = value
        names = kinds.tell(frame, show, lambda: clip(", ".join(map(str, frame.columns[:COLUMNS])), PREVIEW_CHARS))
        return Glance(kinds.tell(frame, show, lambda: f"{frame.height:,} x {frame.width:,}"), None, names)
    about = heading(value, show)
    size = about.partition(", ")[2]
    line = one_line(value, room=len(about) + 2 + PREVIEW_CHARS, show=show)
    base = base_of(value)
    if base is not None:
        found: int | None = estimate_tokens(value if base is str else base.__len__(value))  # type: ignore[arg-type]
    else:
        text = outline.text_in(value, visits=500)
        sample = "".join(text.samples)
        found = round(estimate_tokens(sample) * text.chars / len(sample)) if sample else None
    return Glance(size, found, line[len(about) + 2 :])
