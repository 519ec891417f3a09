"""
What a run was given, for its record: plain data whole where it is small, and a fingerprint by which to know it again.

Plain data is None, bool, int, float, str, bytes, list, tuple and dict, exactly these types, and a `Store` of them.
Of anything else there is a description only. Nothing is ever pickled.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from rlm_kernel.errors import TraceError
from rlm_kernel.store import Store
from rlm_kernel.values import PlainText

KEPT_BYTES = 1_000_000
"""Up to this size a value stands in the trace itself."""

ANY_SIZE = 2**62
LARGEST = 2_000_000_000
"""
Bytes, whatever is asked for: it is in the memory as a text beside the value, and a few lists may stand for any number.
"""

LOOKED_AT = 64_000_000
"""Bytes, and a five-hundredth of that in objects, that a fingerprint looks at: of larger data it tells most changes."""

MOST_OBJECTS = 5_000_000
"""That a fingerprint of all looks at, in some five seconds."""

_DEEPEST = 50
_SHORT = 1_000
"""Characters of a text that is hashed together with what stands around it."""


class _NotPlain(Exception):
    """Something else than plain data, or deeper than anybody nests it."""


def fingerprint(value: object, looked_at: int = LOOKED_AT) -> str | None:
    """
    Hex SHA-256 over types, lengths and contents in their order; None for what is no plain data.

    Of a long text its head and tail are looked at, of a long list what comes first: it takes less than a second.
    """
    return _fingerprint(value, looked_at, max(1_000, looked_at // 500))[0]


def whole_fingerprint(value: object) -> tuple[str | None, bool]:
    """
    The same over all of it, and whether it was so: of what is larger than `LARGEST` and `MOST_OBJECTS`, it was not.

    A gigabyte of text takes a second, and so does a million of objects.
    """
    return _fingerprint(value, LARGEST, MOST_OBJECTS)


def _fingerprint(value: object, looked_at: int, objects: int) -> tuple[str | None, bool]:
    digest = _Digest(looked_at, objects)
    try:
        digest.add(value, 0)
    except (_NotPlain, RuntimeError):  # RuntimeError: another thread changes a dict
        return None, False
    return digest.done(), digest.objects > 0 and digest.bytes >= 0


def _type(value: object) -> type:
    """What was read is the text in it."""
    kind = type(value)
    return str if kind is PlainText else kind


class _Digest:
    def __init__(self, looked_at: int, objects: int) -> None:
        self.bytes = looked_at
        self.objects = objects
        """How many more are looked at; below zero of the bytes, and zero of these, not all was."""
        self._sha = hashlib.sha256()
        self._waiting: list[str] = []
        """Which comes next: a call for many is as dear as one for each."""

    def done(self) -> str:
        self._write()
        return self._sha.hexdigest()

    def add(self, value: object, depth: int) -> None:
        kind = _type(value)
        self.objects -= 1
        if depth > _DEEPEST:
            raise _NotPlain
        if kind is str or kind is bytes:
            self._text(value)  # type: ignore[arg-type]
        elif kind is list or kind is tuple:
            self._told(f"{kind.__name__} {len(value)};")  # type: ignore[arg-type]
            for item in value:  # type: ignore[attr-defined]
                if self.objects <= 0:
                    return
                self.add(item, depth + 1)
        elif kind is dict or kind is Store:
            self._told(f"{kind.__name__} {len(value)};")  # type: ignore[arg-type]
            for key, item in value.items():  # type: ignore[attr-defined]
                if self.objects <= 0:
                    return
                self.add(key, depth + 1)
                self.add(item, depth + 1)
        elif kind is int and value.bit_length() > 10_000:  # type: ignore[attr-defined]
            raise _NotPlain  # Python writes no decimals of that many
        elif value is None or kind is bool or kind is int or kind is float:
            self._told(f"{kind.__name__} {value!r};")
        else:
            raise _NotPlain

    def _text(self, value: str | bytes) -> None:
        size, half = len(value), max(0, self.bytes) // 2
        self.bytes -= size
        self._told(f"{_type(value).__name__} {size};")
        if size <= _SHORT and size <= 2 * half and isinstance(value, str):
            self._waiting.append(value)
            return
        self._write()
        for part in (value,) if size <= 2 * half else (value[:half], value[size - half :]):
            self._pieces(part)

    def _pieces(self, value: str | bytes) -> None:
        """In pieces, so that no second copy of a large text is made."""
        for start in range(0, len(value), 1_000_000):
            piece = value[start : start + 1_000_000]
            self._sha.update(piece if isinstance(piece, bytes) else _encoded(piece))

    def _told(self, words: str) -> None:
        self._waiting.append(words)
        if len(self._waiting) > 1_000:
            self._write()

    def _write(self) -> None:
        self._sha.update(_encoded("".join(self._waiting)))
        self._waiting.clear()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Kept:
    form: str
    """`text`, `bytes` (base64), `json` or `store`."""
    text: str


def keep(value: object, most: int = KEPT_BYTES) -> Kept | None:
    """The value as text, of which `restore` makes it again; None where it is larger than `most` bytes, or not plain."""
    try:
        most = min(most, LARGEST)
        if _size(value, most, 0, {}) > most:
            return None
        if _type(value) is str:
            return Kept("text", str(value))
        if type(value) is bytes:
            return Kept("bytes", base64.b64encode(value).decode("ascii"))
        form, data = ("store", dict(value.items())) if type(value) is Store else ("json", value)
        return Kept(form, json.dumps(data, separators=(",", ":")))
    except (_NotPlain, RuntimeError, ValueError):
        return None


def as_text(kept: Kept) -> str:
    """As secrets stand in it."""
    if kept.form != "bytes":
        return kept.text
    return base64.b64decode(kept.text).decode("utf-8", "replace")


def is_large(value: object) -> bool:
    """Whether `keep` leaves it out for its size."""
    try:
        return _size(value, KEPT_BYTES, 0, {}) > KEPT_BYTES
    except (_NotPlain, RuntimeError):
        return False


def _size(value: object, left: int, depth: int, known: dict[int, int]) -> int:
    """
    About how many bytes it has as JSON; stops counting where that is beyond `left`. Raises _NotPlain.

    `known` are the sizes of lists and dicts by their `id`: one that stands in many places is counted once.
    """
    if id(value) in known:
        return known[id(value)]
    kind = _type(value)
    if depth > _DEEPEST:
        raise _NotPlain
    if kind is str:
        # A character may take four bytes, and six in JSON; what counts is that nothing huge gets in.
        return len(value)  # type: ignore[arg-type]
    if kind is bytes and depth == 0:
        return len(value) * 4 // 3  # type: ignore[arg-type]
    if value is None or kind is bool or kind is float:
        return 8
    if kind is int:
        return int(value.bit_length()) // 3 + 2  # type: ignore[attr-defined]
    if kind is list:
        items = value
    elif kind is dict or (kind is Store and depth == 0):
        if len(value) > left:  # type: ignore[arg-type]
            return len(value)  # type: ignore[arg-type]
        items = [part for pair in value.items() for part in pair]  # type: ignore[attr-defined]
        if any(type(key) is not str for key in items[::2]):
            raise _NotPlain  # JSON would make texts of them
    else:
        raise _NotPlain
    size = 2 * len(items)  # type: ignore[arg-type]
    for item in items:  # type: ignore[attr-defined]
        if size > left:
            return size
        size += _size(item, left - size, depth + 1, known)
    known[id(value)] = size
    return size


def restore(form: str, text: str) -> Any:
    """What `keep` was given. Raises TraceError where the text does not hold it."""
    try:
        if form == "text":
            return text
        if form == "bytes":
            return base64.b64decode(text, validate=True)
        if form in ("json", "store"):
            value = json.loads(text)
            if form == "json":
                return value
            store = Store()
            for key, item in value.items():
                store[key] = item
            return store
    except (ValueError, AttributeError, RecursionError) as error:
        raise TraceError(f"a value in the record cannot be read: {error}") from None
    raise TraceError(f"a value in the record is kept in an unknown form, {form[:40]!r}: upgrade rlm_kernel to read it")
