"""What stands behind `READ`: text for the window of whoever's cell asks, and what a listing says of a value."""

from __future__ import annotations

from functools import partial

from rlm_kernel.environment.within import repr_within
from rlm_kernel.namespace import present
from rlm_kernel.store import WITNESS
from rlm_kernel.values import PlainText, Slice
from rlm_kernel.window.budget import ReadBudget, read
from rlm_kernel.window.glancing import glance


def read_for_caller(
    key: str,
    value: object,
    *,
    store: int,
    max_tokens: int | None,
    lines: Slice | None,
    chars: Slice | None,
    rows: Slice | None,
) -> str:
    """Implements `store.Reader`. In plain Python, where nobody asks, each read is bounded by itself."""
    caller = present()
    text = read(
        key,
        value,
        ReadBudget() if caller is None else caller.reading,
        max_tokens=max_tokens,
        lines=lines,
        chars=chars,
        rows=rows,
        show=repr_within,
    )
    if (witness := WITNESS.get()) is not None:
        whole = lines is None and chars is None and rows is None
        witness.read(store, key, text.tokens, text.whole_tokens if whole else None)
    return PlainText(text.text)


look = partial(glance, show=repr_within)
"""For `store.set_glance`."""
