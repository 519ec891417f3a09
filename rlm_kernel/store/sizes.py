"""The size of a value, where it can be told without running its code."""

from __future__ import annotations

import sys
from typing import Any

Size = int | tuple[int, ...] | None
"""Characters, bytes or items; the shape of a frame or an array; None for what cannot tell without running its code."""

SIZED = frozenset({str, bytes, bytearray, list, tuple, dict, set, frozenset})
_SHAPED = (("numpy", "ndarray"), ("pandas", "DataFrame"), ("pandas", "Series"), ("polars", "DataFrame"))


def shape(value: Any) -> Size:
    """Of exactly these types, as with SIZED, since a subclass may run code of its own."""
    kind = type(value)
    for module, name in _SHAPED:
        if (found := sys.modules.get(module)) is not None and found.__dict__.get(name) is kind:
            return tuple(map(int, value.shape))
    return None


def size_text(size: Size) -> str:
    if size is None:
        return ""
    return f"{size:,}" if isinstance(size, int) else " x ".join(f"{number:,}" for number in size)
