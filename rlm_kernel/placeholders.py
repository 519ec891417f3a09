"""`{name}` in what is asked: where one stands, and what text a small value has there. Pure, and loads nothing."""

from __future__ import annotations

import re

SMALL_CHARS = 500
"""A value whose text is at most this long is filled into a question; a larger one is named."""
_SMALL_BITS = 1_000
# Of an int: some 300 digits, and none so long that Python refuses to write it.

PLACEHOLDER = re.compile(r"(?<!\{)\{([A-Za-z_]\w*)\}(?!\})")
"""Everything else in braces, JSON above all, is left as it stands. The name is group 1."""


def small_text(value: object) -> str | None:
    """What is filled in for the value; None where it is to be named."""
    if isinstance(value, str):
        return value if len(value) <= SMALL_CHARS else None
    if isinstance(value, float) or (isinstance(value, int) and value.bit_length() < _SMALL_BITS):
        return str(value)
    return None
