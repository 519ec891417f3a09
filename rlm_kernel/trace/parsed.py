"""A cell's source as a syntax tree. Nothing of it is run."""

from __future__ import annotations

import ast
import re
import warnings

_FILENAME = "<a look at a cell>"
_LINE_MAGIC = re.compile(r"^([ \t]*+)([\w, ]++=)?[ \t]*+[%!].*", re.MULTILINE)
# What is odd in a cell Python says when the cell runs, and not again here. For good, and not `catch_warnings` around
# each look: that puts back what another thread has set meanwhile.
warnings.filterwarnings("ignore", category=SyntaxWarning, module=_FILENAME)


def parsed(source: str) -> ast.Module | None:
    """With None in the place of its magics, where it has any; None for what is no Python even so."""
    for text in dict.fromkeys((source, _LINE_MAGIC.sub(r"\1\2None", source))):
        try:
            return ast.parse(text, _FILENAME)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None
