"""How much of what a cell puts out is kept: its beginning, a count of the rest, and the end of that."""

from __future__ import annotations

import json
from typing import Any

MAX_CHARS = 10_000_000
"""Characters of output that one cell may put into the trace and the frontend; the rest is counted."""

TAIL_CHARS = 8_000
"""Characters kept of the end of what went beyond the bound: a result is printed last."""


class Bound:
    """Of one cell. Whoever uses it holds a lock."""

    def __init__(self, max_chars: int = MAX_CHARS) -> None:
        self._room = max_chars
        self._tail = ""
        self.dropped = 0
        """Characters that there was no room for, those of `tail` included."""

    @property
    def tail(self) -> str:
        return self._tail[-TAIL_CHARS:]

    def take(self, texts: list[str]) -> str:
        """What there is room for, as one text."""
        try:
            size = sum(map(str.__len__, texts))
        except TypeError:  # somebody wrote something else than text, straight to sys.stdout.write
            texts = [str(text) for text in texts]
            size = sum(map(len, texts))
        if not self._room:
            self._drop(texts, size)
            return ""
        if size > self._room:
            texts = self._split(texts)
        text = "".join(texts)
        self._room -= len(text)
        return text

    def fits(self, data: dict[str, Any]) -> bool:
        """Whether there is room for a bundle of MIME types, which is now taken. It is kept whole or not at all."""
        size = sum(len(value) if isinstance(value, str) else len(json.dumps(value)) for value in data.values())
        if size > self._room:
            self.dropped += size
            return False
        self._room -= size
        return True

    def _split(self, texts: list[str]) -> list[str]:
        """What there is room for; the rest is dropped. No text is copied whole: it may be a gigabyte."""
        room, kept = self._room, []
        for at, text in enumerate(texts):
            if room <= 0:
                self._drop(texts[at:], sum(map(len, texts[at:])))
                break
            kept.append(text[:room])
            if len(text) > room:
                self._drop([text[max(room, len(text) - TAIL_CHARS) :]], len(text) - room)
            room -= len(kept[-1])
        return kept

    def _drop(self, texts: list[str], count: int) -> None:
        self.dropped += count
        last = texts[-200:]  # printed text comes in small pieces; a tail of 200 of them is enough to see how it ended
        self._tail = (self._tail + "".join(text[-TAIL_CHARS:] for text in last))[-TAIL_CHARS:]
