"""The store as its users have it: a mapping, whose keys are attributes too, with a few methods of its own."""

from __future__ import annotations

import itertools
import keyword
import sys
import warnings
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from typing import Any, TypeVar

from rlm_kernel.store.entries import history
from rlm_kernel.store.held import NOT_GIVEN, Held
from rlm_kernel.store.hooks import OURS, WITNESS, read_text
from rlm_kernel.store.listing import listing
from rlm_kernel.store.naming import short, type_name
from rlm_kernel.store.tables import History, Listing
from rlm_kernel.values import Slice

T = TypeVar("T")

_SHOWN_KEYS = 20


class Store(MutableMapping[str, object]):
    """
    A dict of named results, in the order of their first writing, safe to use from many threads.

    A key is any string. One that is an identifier, begins with no underscore and is no method's name can be written
    as an attribute too: `context.contract = text`. `keys`, `values`, `items` and iteration show the store as it was
    when they were asked for, so that a write by another thread does not disturb a loop.
    """

    __slots__ = ("__weakref__", "_held")
    __module__ = "rlm_kernel.store"  # where everybody finds it

    _held: Held

    def __init__(self, results: Mapping[str, object] | None = None) -> None:
        _hold(self, Held())
        if results is not None:
            self.update(results)

    def only(self, *keys: str, read_only: bool = False) -> Store:
        """
        A view of these keys: the same objects, under the same lock. What is written through it is in the store.

        New keys may be written through it; they are then in this view and in all that it was made from. A key that is
        in the store but not in the view cannot be seen, overwritten or deleted through it. A view of a view has no
        more than that view, and is read-only where that is. Raises KeyError for a key that is not there.
        """
        return of_held(self._held.only(keys, read_only))

    def store(self, key: str, value: object, note: str | None = None) -> None:
        """`store[key] = value`, with a word for the others on what it is. The next write of the key drops the note."""
        if not isinstance(note, str | None):
            raise TypeError(f"a note is a string, not {type_name(type(note))}")
        if (tell := self._write(self._held.put, key, value, note)) is not None:
            tell()

    def read(
        self,
        key: str,
        *,
        max_tokens: int | None = None,
        lines: Slice | None = None,
        chars: Slice | None = None,
        rows: Slice | None = None,
    ) -> str:
        """Its text, bounded and counted, for the window of whoever asks; `READ` of the same name says how."""
        value = self._held.find(key)
        if value is NOT_GIVEN:
            raise self._held.missing(key)
        parts: Any = {"max_tokens": max_tokens, "lines": lines, "chars": chars, "rows": rows}
        return read_text(key, value, store=self._held.number, **parts)

    def list_available(self) -> Listing:
        """A row for each key: type, size, tokens, who wrote it last, note, one line of preview."""
        return listing(*self._held.written())

    def history(self, key: str) -> History:
        """Who wrote this key, oldest first, deleted keys included; the values of earlier writes are not kept."""
        if not (entries := self._held.entries(key)):
            raise self._held.missing(key)
        witness = WITNESS.get()
        return history(entries, None if witness is None else witness.run)

    # As a mapping

    def __getitem__(self, key: str) -> object:
        value = self._held.take(key)
        if value is NOT_GIVEN:
            raise self._held.missing(key)
        return value

    def __setitem__(self, key: str, value: object) -> None:
        if (tell := self._write(self._held.put, key, value)) is not None:
            tell()

    def __delitem__(self, key: str) -> None:
        if self._held.remove(key) is NOT_GIVEN:
            raise self._held.missing(key)

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def __iter__(self) -> Iterator[str]:
        return iter(self._held.snapshot())

    def __len__(self) -> int:
        return len(self._held)

    def keys(self) -> KeysView[str]:
        return self._held.snapshot().keys()

    def values(self) -> ValuesView[object]:
        return self._held.take_all().values()

    def items(self) -> ItemsView[str, object]:
        return self._held.take_all().items()

    # What MutableMapping would make of the above reads and then writes, and another thread may come between.

    def get(self, key: str, default: Any = None) -> Any:
        value = self._held.take(key)
        return default if value is NOT_GIVEN else value

    def pop(self, key: str, default: Any = NOT_GIVEN) -> Any:
        value = self._held.remove(key, took=True)
        if value is not NOT_GIVEN:
            return value
        if default is NOT_GIVEN:
            raise self._held.missing(key)
        return default

    def popitem(self) -> tuple[str, object]:
        """The newest, as a dict does."""
        while True:
            key = self._held.newest()
            if key is NOT_GIVEN:
                raise self._held.missing("newest")
            value = self._held.remove(key, took=True)
            if value is not NOT_GIVEN:  # else another thread was faster
                return key, value

    def setdefault(self, key: str, default: Any = None) -> Any:
        return self._write(self._held.take_or_put, key, default)

    def clear(self) -> None:
        self._held.remove(*self)

    def _write(self, how: Callable[..., T], key: str, *what: object) -> T:
        """Where it is the first time that such a key is written, and it is a method's name, that is said."""
        hides = isinstance(key, str) and key in _METHODS and not OURS.get() and not self._held.entries(key)
        came = how(key, *what)
        if hides:
            said = f'`{key}` is a method of the store: read it as context["{key}"]'
            if WITNESS.get() is None:
                warnings.warn(said, stacklevel=3)
            else:
                print(f"note: {said}", file=sys.stderr)  # into the cell, and the same when it runs again
        return came

    # As attributes

    def __getattr__(self, name: str) -> object:
        # Frontends and copiers probe for names with underscores, and must not be handed a result.
        if name.startswith("_"):
            raise AttributeError(f"the store has no attribute {name!r}")
        try:
            return self[name]
        except KeyError as missing:
            raise AttributeError(missing.args[0]) from None

    def __setattr__(self, name: str, value: object) -> None:
        _refuse_own_name(name, f'context["{name}"] = …')
        self[name] = value

    def __delattr__(self, name: str) -> None:
        _refuse_own_name(name, f'del context["{name}"]')
        try:
            del self[name]
        except KeyError as missing:
            raise AttributeError(missing.args[0]) from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(key for key in self if _is_attribute(key))]

    def __reduce__(self) -> tuple[Callable[[Held], Store], tuple[Held]]:
        """For copies and pickles, which have values and history of their own."""
        return of_held, (self._held,)

    def _ipython_key_completions_(self) -> list[str]:
        """What IPython offers behind `context["`."""
        return list(self)

    def __repr__(self) -> str:
        """Keys and types, never a value, which may be of any size."""
        held = self._held.snapshot()
        shown = [f"{short(key)}: {short(type_name(type(held[key])))}" for key in itertools.islice(held, _SHOWN_KEYS)]
        if more := len(held) - len(shown):
            shown.append(f"… {more:,} more")
        if self._held.read_only:
            shown.append("read only")
        return f"Store({', '.join(shown)})" if self._held.above is None else f"Store.only({', '.join(shown)})"


_OWN_NAMES = frozenset(dir(Store))
_METHODS = frozenset(name for name in _OWN_NAMES if not name.startswith("_"))


def store_id(store: Store) -> int:
    """The number by which a witness knows it: the same for a store and all views of it, another for each store."""
    return store._held.number


def refusal(store: Store, keys: Iterable[str]) -> str | None:
    """Why not all of these could be written there now, as a clause; None where they could."""
    return store._held.refusal(keys)


def held_by(store: Store) -> Held:
    return store._held


def of_held(held: Held) -> Store:
    return _hold(object.__new__(Store), held)


def _hold(store: Store, held: Held) -> Store:
    object.__setattr__(store, "_held", held)  # past its own __setattr__, which would store it
    return store


def _is_attribute(key: str) -> bool:
    return key.isidentifier() and not (key.startswith("_") or keyword.iskeyword(key) or key in _OWN_NAMES)


def _refuse_own_name(name: str, mend: str) -> None:
    if name.startswith("_") or name in _OWN_NAMES:
        raise AttributeError(f"{name!r} is a name of the store itself; as a key, write {mend}")
