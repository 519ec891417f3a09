"""
Where the lines break: a bracketed group stays on one line where it fits in 79 columns, and else has one item a line.

So the outermost group breaks first and indents grow with the nesting, not with the column, as IPython prints.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WIDTH = 79


@dataclass(slots=True)
class Node:
    """`open`, the parts with `, ` between, `close`. A part is a dict's key with its colon, or nothing, and a value."""

    open: str
    parts: list[tuple[str, Doc]]
    close: str
    width: int = field(init=False)
    """Columns on one line; more than any line has where a value has line breaks of its own."""

    def __post_init__(self) -> None:
        inner = sum(len(key) + _width(doc) + 2 for key, doc in self.parts)
        self.width = min(len(self.open) + max(0, inner - 2) + len(self.close), WIDTH + 1)

    def flat(self) -> str:
        inner = ", ".join(key + (doc if isinstance(doc, str) else doc.flat()) for key, doc in self.parts)
        return self.open + inner + self.close


Doc = str | Node


def _width(doc: Doc) -> int:
    if isinstance(doc, Node):
        return doc.width
    return WIDTH + 1 if "\n" in doc else len(doc)


def lay_out(doc: Doc) -> str:
    out: list[str] = []
    _lay(doc, 0, 0, 0, out)
    return "".join(out)


def _lay(doc: Doc, column: int, indent: int, after: int, out: list[str]) -> int:
    """Writes `doc` from `column` on; `after` columns must stay free behind it. Returns the column reached."""
    if isinstance(doc, str):
        lines = doc.split("\n")
        out.append(("\n" + " " * indent).join(lines))
        return column + len(doc) if len(lines) == 1 else indent + len(lines[-1])
    if column + doc.width + after <= WIDTH:
        out.append(doc.flat())
        return column + doc.width
    out.append(doc.open)
    column += len(doc.open)
    indent += len(doc.open)
    for index, (key, value) in enumerate(doc.parts):
        if index:
            out.append(",\n" + " " * indent)
            column = indent
        out.append(key)
        last = index == len(doc.parts) - 1
        column = _lay(value, column + len(key), indent, len(doc.close) + after if last else 1, out)
    out.append(doc.close)
    return column + len(doc.close)
