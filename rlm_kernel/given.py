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
_LARGEST = 2_000_000_000
"""Whatever is asked for: it is in the memory as a text beside the value, and a few lists may stand for any number."""

LOOKED_AT = 64_000_000
"""Bytes, and a five-hundredth of that in objects, that a fingerprint looks at: of larger data it tells most changes."""

_DEEPEST = 50


class _NotPlain(Exception):
    """Something else than plain data, or deeper than anybody nests it."""


def fingerprint(value: object, looked_at: int = LOOKED_AT) -> str | None:
    """
    Hex SHA-256 over types, lengths and contents in their order; None for what is no plain data.

    Of a long text its head and tail are looked at, of a long list what comes first: it takes less than a second.
    """
    digest = _Digest(looked_at)
    try:
        digest.add(value, 0)
    except (_NotPlain, RuntimeError):  # RuntimeError: another thread changes a dict
        return None
    return digest.sha.hexdigest()


def _type(value: object) -> type:
    """What was read is the text in it."""
    kind = type(value)
    return str if kind is PlainText else kind


class _Digest:
    def __init__(self, looked_at: int) -> None:
        self.sha = hashlib.sha256()
        self._bytes = looked_at
        self._objects = max(1_000, looked_at // 500)

    def add(self, value: object, depth: int) -> None:
        kind = _type(value)
        self._objects -= 1
        if depth > _DEEPEST:
            raise _NotPlain
        if kind is str or kind is bytes:
            self._text(value)  # type: ignore[arg-type]
        elif kind is list or kind is tuple:
            self._head(kind, len(value))  # type: ignore[arg-type]
            for item in value:  # type: ignore[attr-defined]
                if self._objects <= 0:
                    return
                self.add(item, depth + 1)
        elif kind is dict or kind is Store:
            self._head(kind, len(value))  # type: ignore[arg-type]
            for key, item in value.items():  # type: ignore[attr-defined]
                if self._objects <= 0:
                    return
                self.add(key, depth + 1)
                self.add(item, depth + 1)
        elif kind is int and value.bit_length() > 10_000:  # type: ignore[attr-defined]
            raise _NotPlain  # Python writes no decimals of that many
        elif value is None or kind is bool or kind is int or kind is float:
            self.sha.update(f"{kind.__name__} {value!r};".encode())
        else:
            raise _NotPlain

    def _head(self, kind: type, size: int) -> None:
        self.sha.update(f"{kind.__name__} {size};".encode())

    def _text(self, value: str | bytes) -> None:
        self._head(_type(value), len(value))
        half = max(0, self._bytes) // 2
        for part in (value,) if len(value) <= 2 * half else (value[:half], value[len(value) - half :]):
            self._pieces(part)
        self._bytes -= len(value)

    def _pieces(self, value: str | bytes) -> None:
        """In pieces, so that no second copy of a large text is made."""
        for start in range(0, len(value), 1_000_000):
            piece = value[start : start + 1_000_000]
            self.sha.update(piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class Kept:
    form: str
    """`text`, `bytes` (base64), `json` or `store`."""
    text: str


def keep(value: object, most: int = KEPT_BYTES) -> Kept | None:
    """The value as text, of which `restore` makes it again; None where it is larger than `most` bytes, or not plain."""
    try:
        most = min(most, _LARGEST)
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


def is_large(value: object, most: int = KEPT_BYTES) -> bool:
    """Whether `keep` leaves it out for its size."""
    try:
        return _size(value, most, 0, {}) > most
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
