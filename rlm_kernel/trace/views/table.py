"""A table as text and as HTML. Its first columns are names, to the left; the rest are figures, to the right."""

from __future__ import annotations

from collections.abc import Sequence

from rlm_kernel.trace.safe import in_html

Row = tuple[str, ...]


def table_text(headers: Row, rows: Sequence[Row], names: int, after: Sequence[str] = ()) -> str:
    """`names` is how many columns are names; the lines `after` stand below."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    lines = []
    for row in (headers, *rows):
        left = [cell.ljust(width) for cell, width in zip(row[:names], widths[:names], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(row[names:], widths[names:], strict=True)]
        lines.append("  ".join(left + right).rstrip())
    return "\n".join([*lines, *after])


def table_html(headers: Row, rows: Sequence[Row], names: int, after: Sequence[str] = ()) -> str:
    """The same; every text is escaped."""

    def line(tag: str, row: Row) -> str:
        # Many columns of figures would squeeze a question to a word a line.
        styles = ("text-align: left; min-width: 5em" if n < names else "text-align: right" for n in range(len(row)))
        cells = (f'<{tag} style="{s}">{in_html(cell)}</{tag}>' for cell, s in zip(row, styles, strict=True))
        return f"<tr>{''.join(cells)}</tr>"

    body = "".join(line("td", row) for row in rows)
    table = f"<table><thead>{line('th', headers)}</thead><tbody>{body}</tbody></table>"
    return table + "".join(f"<div>{in_html(text)}</div>" for text in after)
