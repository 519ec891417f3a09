"""What a store and its views hold, under the one lock of them all; each use is told to the witness."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from rlm_kernel.errors import UsageError
from rlm_kernel.store.entries import Entries, Entry
from rlm_kernel.store.hooks import WITNESS, tell
from rlm_kernel.store.naming import missing, short, type_name
from rlm_kernel.store.sizes import SIZED, Size, shape
from rlm_kernel.values import plain

NOT_GIVEN: Any = object()

_numbers = itertools.count(1)


class Held:
    """Of a store, or of a view: that shares lock, values and entries with what it was made from."""

    __slots__ = ("_entries", "_keys", "_lock", "_values", "above", "number", "read_only")

    _keys: set[str] | None
    """Those that a view lets through; None for all."""
    above: Held | None
    """For a view, what it was made from."""
    number: int
    """The same for a store and its views."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._values: dict[str, object] = {}
        self._entries = Entries()
        self.number = next(_numbers)
        self.above = self._keys = None
        self.read_only = False

    def only(self, keys: tuple[str, ...], read_only: bool) -> Held:
        for key in keys:
            if not isinstance(key, str):
                raise TypeError(f"only takes keys, not {type_name(type(key))}: only('risks', 'clauses'), only(*keys)")
            if key not in self:
                raise self.missing(key)
        view = object.__new__(Held)
        view._lock, view._values, view._entries, view.number = self._lock, self._values, self._entries, self.number
        view.above, view._keys = self, set(keys)
        view.read_only = read_only or self.read_only
        return view

    def missing(self, key: object) -> KeyError:
        return KeyError(
            missing(key, list(self.snapshot()), "the store" if self.above is None else "this view of the store")
        )

    def __getstate__(self) -> tuple[dict[str, object], list[tuple[str, list[Entry]]], bool]:
        """A copy, such as a worker process gets, has nothing to do with this one any more. A view becomes a store."""
        with self._lock:
            held = self.snapshot()
            return held, [(key, self._entries.of(key)) for key in held], self.read_only

    def __setstate__(self, state: tuple[dict[str, object], list[tuple[str, list[Entry]]], bool]) -> None:
        self.__init__()  # type: ignore[misc]
        self._values, entries, self.read_only = state
        for key, kept in entries:
            self._entries.put_back(key, kept)

    # Without telling anybody

    def __contains__(self, key: object) -> bool:
        with self._lock:
            return key in self._values and (self._keys is None or key in self._keys)

    def __len__(self) -> int:
        return len(self._values) if self._keys is None else len(self.snapshot())

    def find(self, key: str) -> Any:
        """NOT_GIVEN where it is not there."""
        with self._lock:
            return self._values.get(key, NOT_GIVEN) if self._keys is None or key in self._keys else NOT_GIVEN

    def newest(self) -> Any:
        """Its key; NOT_GIVEN where there is none."""
        with self._lock:
            return next(filter(self._lets, reversed(self._values)), NOT_GIVEN)

    def snapshot(self) -> dict[str, object]:
        with self._lock:
            if self._keys is None:
                return dict(self._values)
            return {key: value for key, value in self._values.items() if key in self._keys}

    def written(self) -> tuple[dict[str, object], list[Entry]]:
        """All that is held, and the last write of each."""
        with self._lock:
            held = self.snapshot()
            return held, [self._entries.last(key) for key in held]

    def all(self) -> tuple[dict[str, object], dict[str, list[Entry]], list[str]]:
        """The values; the entries of every key, deleted ones too; and the keys that are not let through."""
        with self._lock:
            entries = {key: self._entries.of(key) for key in self._entries.names() if self._lets(key)}
            return self.snapshot(), entries, [key for key in self._values if not self._lets(key)]

    def put_back(self, values: Mapping[str, object], entries: Mapping[str, list[Entry]], away: Collection[str]) -> None:
        """As `store.state.put_back` says. Whoever may not write here may do this."""
        let_go: list[object] = []  # at the end of this function: the end of a value must not happen under our lock
        with self._lock:
            let_go += [self._values.pop(key, None) for key in (*values, *away)]
            after = dict(self._values)
            for key in after:
                del self._values[key]
            self._values.update(values)
            self._values.update(after)
            for key in (*away, *entries):
                self._entries.put_back(key, entries.get(key, ()))
            for key, value in values.items():
                known = self._entries.of(key)
                if not known or known[-1].type is None:
                    self._entries.wrote(key, None, type_name(type(value)), _size(value), None)
            for key in (*values, *entries):
                self._let_through(key)

    def entries(self, key: str) -> list[Entry]:
        with self._lock:
            return self._entries.of(key) if self._lets(key) else []

    def refusal(self, keys: Iterable[str]) -> str | None:
        """Why `put` would not take all of these; None where it would."""
        with self._lock:
            hidden = [short(key) for key in keys if key in self._values and not self._lets(key)]
        if self.read_only:
            return "this view of the store is read-only"
        if not hidden:
            return None
        return (
            f"{', '.join(hidden[:10])} {'is' if len(hidden) == 1 else 'are'} in the store, but not in this view of it"
        )

    # What the witness is told of

    def take(self, key: str) -> Any:
        """NOT_GIVEN where it is not there."""
        with self._lock:
            value = self._values.get(key, NOT_GIVEN) if self._keys is None or key in self._keys else NOT_GIVEN
        if value is not NOT_GIVEN and (witness := WITNESS.get()) is not None:
            tell(witness.took, self.number, (key,))
        return value

    def take_all(self) -> dict[str, object]:
        held = self.snapshot()
        if held and (witness := WITNESS.get()) is not None:
            tell(witness.took, self.number, tuple(held))
        return held

    def take_or_put(self, key: str, default: object) -> Any:
        with self._lock:
            value = self.find(key)
            tell_of = self.put(key, default) if value is NOT_GIVEN else None
        if value is NOT_GIVEN:
            if tell_of is not None:
                tell_of()
            return default
        if (witness := WITNESS.get()) is not None:
            tell(witness.took, self.number, (key,))
        return value

    def put(self, key: str, value: object, note: str | None = None) -> Callable[[], None] | None:
        """Returns how to tell the witness of it, which the caller does when no lock is held."""
        if not isinstance(key, str):
            raise TypeError(f"keys of the store are strings, not {type_name(type(key))}")
        if self.read_only:
            raise UsageError(f"this view of the store is read-only: {short(key)} was not written")
        value = plain(value)
        witness = WITNESS.get()
        name, size = type_name(type(value)), _size(value)
        with self._lock:
            if self._keys is not None and key not in self._keys:
                self._admit(key)
            # Let go at the end of this function: what the end of a value does must not happen under our lock.
            old = self._values.get(key, NOT_GIVEN)
            self._values[key] = value
            self._entries.wrote(key, witness, name, size, note)
        if witness is None:
            return None
        replaced = old is not NOT_GIVEN
        return lambda: tell(witness.wrote, self.number, key, value, replaced)

    def remove(self, *keys: str, took: bool = False) -> Any:
        """The value of the last that was there."""
        if self.read_only:
            raise UsageError(f"this view of the store is read-only: {', '.join(map(short, keys[:3]))} was not deleted")
        witness = WITNESS.get()
        with self._lock:
            there = {key: self._values.pop(key) for key in keys if key in self}
            if there:
                self._entries.deleted(there, witness, self._values)
        if witness is not None and there:
            if took:
                tell(witness.took, self.number, tuple(there))
            tell(witness.deleted, self.number, tuple(there))
        return there.popitem()[1] if there else NOT_GIVEN

    def _lets(self, key: str) -> bool:
        return self._keys is None or key in self._keys

    def _admit(self, key: str) -> None:
        """A new key through a view. It must be new: what a view does not show it must not overwrite."""
        if key in self._values:
            raise UsageError(f"{short(key)} is in the store, but not in this view of it: take another name")
        self._let_through(key)

    def _let_through(self, key: str) -> None:
        view: Held | None = self
        while view is not None and view._keys is not None:
            view._keys.add(key)
            view = view.above


def _size(value: Any) -> Size:
    return len(value) if type(value) in SIZED else shape(value)
