"""What every source of text can do, whatever it is a source of."""

from __future__ import annotations

from typing import Protocol

BUILT_ANYWAY = 20_000
"""Characters that a source is built to where building them costs more than slicing."""


class Source(Protocol):
    @property
    def anyway(self) -> int:
        """Characters that it is built to, however few tokens are asked for, to see whether it is whole."""

    def part(self, room: int) -> tuple[str, bool]:
        """Its text in about `room` characters, and whether that is all of it."""

    def tokens(self) -> int:
        """Of the whole, about."""
