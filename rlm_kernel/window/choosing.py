"""Which source of text an object has, and whether it has the slice that is asked for."""

from __future__ import annotations

from rlm_kernel.errors import UsageError
from rlm_kernel.preview import kinds
from rlm_kernel.preview.kinds import Show
from rlm_kernel.values import Slice
from rlm_kernel.window.foreign import Bounded, bounded
from rlm_kernel.window.objects import Object
from rlm_kernel.window.rows import Rows
from rlm_kernel.window.slices import line_span, span
from rlm_kernel.window.source import Source
from rlm_kernel.window.tables import has_rows, is_table, table_of, table_of_items
from rlm_kernel.window.text import Text, base_of


def source_of(value: object, asked: tuple[str, Slice] | None, show: Show) -> Source:
    kind, pair = asked or ("", (None, None))
    base = base_of(value)
    if base is not None:
        if kind == "rows":
            raise UsageError(f"{kinds.type_name(value)} has no rows: lines=(1, 40) or chars=(0, 2000)")
        total = base.__len__(value)
        start, stop = line_span(base, value, pair) if kind == "lines" else span("chars", pair, total)
        return Text(base, value, start, stop)
    if kind in ("lines", "chars"):
        mend = "rows=(0, 20)" if has_rows(value) else "read it whole, or with max_tokens"
        raise UsageError(f"{kinds.type_name(value)} has no {kind}: {mend}")
    if is_table(value):
        return bounded(value, show, lambda: Bounded(Rows(table_of(value), pair, show), value, show))
    if kind == "rows":
        if not has_rows(value):
            raise UsageError(f"{kinds.type_name(value)} has no rows: read it whole, or with max_tokens")
        return Rows(table_of_items(value), pair, show)
    return Object(value, show)
