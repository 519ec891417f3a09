"""Text of ours as the value of a cell."""

from __future__ import annotations


class Listing(str):
    """Text that shows as itself, not as a quoted string, when it is a cell's last value."""

    def __repr__(self) -> str:
        return str(self)
