"""
Named results that agents and people share: a mapping of names to objects, with attribute access.

Holds references and never copies. Says nothing of who wrote what, and renders no value.
"""

from __future__ import annotations

import difflib
import itertools
import keyword
import threading
from collections.abc import ItemsView, Iterator, KeysView, MutableMapping, ValuesView
from typing import Any

_NOT_GIVEN: Any = object()
_SHOWN_KEYS = 20
_SHOWN_CHARS = 40
_COMPARED_KEYS = 500
_COMPARED_CHARS = 60
"""A missing name is compared with so many keys of such a length: a typing mistake must not cost a second."""


class Store(MutableMapping[str, object]):
    """
    A dict of named results, in the order of their first writing, safe to use from many threads.

    A key is any string. One that is an identifier, begins with no underscore and is no method's name can be written
    as an attribute too: `context.contract = text`. `keys`, `values`, `items` and iteration show the store as it was
    when they were asked for, so that a write by another thread does not disturb a loop.
    """

    __slots__ = ("__weakref__", "_lock", "_values")

    _lock: threading.RLock
    _values: dict[str, object]

    def __init__(self) -> None:
        # Past our own __setattr__, which would store them.
        object.__setattr__(self, "_lock", threading.RLock())
        object.__setattr__(self, "_values", {})

    # As a mapping

    def __getitem__(self, key: str) -> object:
        with self._lock:
            value = self._values.get(key, _NOT_GIVEN)
        if value is _NOT_GIVEN:
            raise KeyError(self._missing(key))
        return value

    def __setitem__(self, key: str, value: object) -> None:
        if not isinstance(key, str):
            raise TypeError(f"keys of the store are strings, not {type(key).__name__}")
        with self._lock:
            self._values[key] = value

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def __contains__(self, key: object) -> bool:
        with self._lock:
            return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._snapshot())

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> KeysView[str]:
        return self._snapshot().keys()

    def values(self) -> ValuesView[object]:
        return self._snapshot().values()

    def items(self) -> ItemsView[str, object]:
        return self._snapshot().items()

    # What MutableMapping would make of the above reads and then writes, and another thread may come between.

    def get(self, key: str, default: Any = None) -> Any:
        with self._lock:
            return self._values.get(key, default)

    def pop(self, key: str, default: Any = _NOT_GIVEN) -> Any:
        with self._lock:
            value = self._values.pop(key, default)
        if value is _NOT_GIVEN:
            raise KeyError(self._missing(key))
        return value

    def popitem(self) -> tuple[str, object]:
        """The newest, as a dict does."""
        with self._lock:
            return self._values.popitem()

    def setdefault(self, key: str, default: Any = None) -> Any:
        with self._lock:
            if key not in self._values:
                self[key] = default
            return self._values[key]

    def clear(self) -> None:
        with self._lock:
            self._values.clear()

    # As attributes

    def __getattr__(self, name: str) -> object:
        # Frontends and copiers probe for names with underscores, and must not be handed a result.
        if name.startswith("_"):
            raise AttributeError(f"the store has no attribute {name!r}")
        with self._lock:
            value = self._values.get(name, _NOT_GIVEN)
        if value is _NOT_GIVEN:
            raise AttributeError(self._missing(name))
        return value

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

    def _ipython_key_completions_(self) -> list[str]:
        """What IPython offers behind `context["`."""
        return list(self)

    def __repr__(self) -> str:
        """Keys and types, never a value, which may be of any size."""
        held = self._snapshot()
        shown = [f"{_short(key)}: {_short(type(held[key]).__name__)}" for key in itertools.islice(held, _SHOWN_KEYS)]
        if more := len(held) - len(shown):
            shown.append(f"… {more:,} more")
        return f"Store({', '.join(shown)})"

    def _snapshot(self) -> dict[str, object]:
        with self._lock:
            return dict(self._values)

    def _missing(self, key: object) -> str:
        if not isinstance(key, str):
            return f"keys of the store are strings, not {type(key).__name__}"
        keys = list(self)
        if not keys:
            return f"no {_short(key)} in the store: it is empty"
        if len(key) <= _COMPARED_CHARS:
            comparable = [k for k in keys[-_COMPARED_KEYS:] if len(k) <= _COMPARED_CHARS]
            if close := difflib.get_close_matches(key, comparable):
                return f"no {_short(key)} in the store; near: {', '.join(map(repr, close))}"
        return f"no {_short(key)} in the store, which holds {len(keys):,} other key{'s' if len(keys) > 1 else ''}"


_OWN_NAMES = frozenset(dir(Store))


def _is_attribute(key: str) -> bool:
    return key.isidentifier() and not (key.startswith("_") or keyword.iskeyword(key) or key in _OWN_NAMES)


def _refuse_own_name(name: str, mend: str) -> None:
    if name.startswith("_") or name in _OWN_NAMES:
        raise AttributeError(f"{name!r} is a name of the store itself; as a key, write {mend}")


def _short(name: str) -> str:
    head = name[:_SHOWN_CHARS]
    text = head if head.isidentifier() else repr(head)
    return text if len(name) <= _SHOWN_CHARS else f"{text}…"
