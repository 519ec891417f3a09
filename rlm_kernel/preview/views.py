"""
One face for everything that holds other things: how many, the first few, the last few, and its brackets.

Reading a few never copies, sorts or walks the whole. What has no last (a set) has an empty tail.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rlm_kernel.preview import kinds
from rlm_kernel.preview.kinds import is_a, static
from rlm_kernel.preview.text import clip


@dataclass(frozen=True, slots=True)
class Entry:
    value: object
    key: object = None
    sign: str = ""
    """`: ` after a dict's key, `=` after a field's name (a plain string), empty where there is only a value."""


@dataclass(frozen=True, slots=True)
class View:
    open: str
    close: str
    size: int
    head: Callable[[int], list[Entry]]
    tail: Callable[[int], list[Entry]]
    noun: str = "item"
    own_repr: bool = False
    """Its class has a `repr` of its own: ask that where it is small, and use this view where it is not."""


def view(obj: Any) -> View | None:
    """None for what holds nothing that can be looked at cheaply."""
    cls = type(obj)
    record = kinds.record_fields(obj)
    if record is not None:
        return _record(kinds.class_name(cls), record)
    if is_a(obj, list):
        return _sequence(list, obj, "[", "]")
    if is_a(obj, tuple):
        return _sequence(tuple, obj, "(", ",)" if tuple.__len__(obj) == 1 else ")")
    if is_a(obj, dict):
        return _dict(obj)
    if is_a(obj, set):
        return _bag(set, obj, "{", "}")
    if is_a(obj, frozenset):
        return _bag(frozenset, obj, "frozenset({", "})")
    if is_a(obj, deque):
        size, bound = deque.__len__(obj), deque.__dict__["maxlen"].__get__(obj)
        close = "])" if bound is None else f"], maxlen={bound})"
        return _ends(f"{kinds.class_name(cls)}([", close, size, lambda: deque.__iter__(obj), deque.__reversed__, obj)
    if cls in (type({}.keys()), type({}.values())):
        return _ends(f"{cls.__name__}([", "])", len(obj), lambda: iter(obj), reversed, obj)
    if cls is type({}.items()):
        return _ends("dict_items([", "])", len(obj), lambda: iter(obj), reversed, obj)
    if cls is getattr(sys.modules.get("array"), "array", None) and obj.typecode not in "uw":
        return View(
            f"array('{obj.typecode}', [",
            "])",
            len(obj),
            lambda n: [Entry(value) for value in obj[:n]],
            lambda n: [Entry(value) for value in (obj[-n:] if n else ())],
        )
    return None


def _own(obj: object, *inherited: object) -> bool:
    return static(type(obj), "__repr__") not in inherited


def _record(name: str, record: list[tuple[str, object]]) -> View:
    entries = [Entry(value, field, "=") if field else Entry(value) for field, value in record]
    return View(
        f"{name}(",
        ")",
        len(entries),
        lambda n: entries[:n],
        lambda n: entries[-n:] if n else [],
        noun="field",
        own_repr=True,
    )


def _sequence(base: Any, obj: Any, opening: str, closing: str) -> View:
    own = _own(obj, base.__repr__)
    if own:
        opening, closing = f"{kinds.type_name(obj)}({opening}", f"{closing})"
    size = base.__len__(obj)
    return View(
        opening,
        closing,
        size,
        lambda n: [Entry(value) for value in base.__getitem__(obj, slice(0, n))],
        lambda n: [Entry(value) for value in base.__getitem__(obj, slice(max(0, size - n), size))],
        own_repr=own,
    )


def _dict(obj: Any) -> View:
    opening, closing, own, base = "{", "}", _own(obj, dict.__repr__), dict
    if own:
        opening, closing = f"{kinds.type_name(obj)}({{", "})"
    if type(obj) is defaultdict:
        factory = defaultdict.__dict__["default_factory"].__get__(obj)
        label = kinds.full_name(factory) if is_a(factory, type) else clip(kinds.tell(factory, _bare), 60)
        opening, own = f"defaultdict({label}, {{", False
    elif type(obj) is Counter:
        return _counter(obj)
    elif type(obj) is OrderedDict:
        base, own = OrderedDict, False
    items = base.items(obj)
    return View(
        opening,
        closing,
        dict.__len__(obj),
        lambda n: [Entry(value, key, ": ") for key, value in islice(items, n)],
        lambda n: [Entry(value, key, ": ") for key, value in islice(reversed(items), n)][::-1],
        own_repr=own,
    )


def _counter(obj: Counter[Any]) -> View:
    """The most common first where there are few, as its own repr has it; a large one is not sorted."""
    size = len(obj)
    items: Any = obj.items()
    if size <= 1_000 and all(type(number) in (int, float) for number in obj.values()):
        items = dict(sorted(items, key=lambda item: item[1], reverse=True)).items()
    return View(
        "Counter({" if size else "Counter(",
        "})" if size else ")",
        size,
        lambda n: [Entry(value, key, ": ") for key, value in islice(items, n)],
        lambda n: [Entry(value, key, ": ") for key, value in islice(reversed(items), n)][::-1],
    )


def _bare(obj: object) -> str:
    return "None" if obj is None else f"<{kinds.type_name(obj)}>"


def _bag(base: Any, obj: Any, opening: str, closing: str) -> View:
    own = _own(obj, base.__repr__)
    size = base.__len__(obj)
    if own:
        opening, closing = f"{kinds.type_name(obj)}({{", "})"
    elif size == 0:
        opening, closing = f"{kinds.type_name(obj)}(", ")"
    return View(
        opening,
        closing,
        size,
        lambda n: _in_order(list(islice(base.__iter__(obj), n)), size),
        lambda n: [],
        own_repr=own,
    )


def _in_order(items: list[object], size: int) -> list[Entry]:
    """Sorted where that is cheap and runs nobody's code, as a notebook shows a small set."""
    numbers = all(type(item) in (int, float) for item in items)
    words = all(type(item) is str and len(item) < 1_000 for item in items)
    if len(items) == size and (numbers or words):
        items = sorted(items)  # type: ignore[type-var]
    return [Entry(item) for item in items]


def _ends(
    opening: str,
    closing: str,
    size: int,
    forward: Callable[[], Iterator[object]],
    backward: Callable[[Any], Iterable[object]],
    obj: object,
) -> View:
    return View(
        opening,
        closing,
        size,
        lambda n: [Entry(value) for value in islice(forward(), n)],
        lambda n: [Entry(value) for value in islice(backward(obj), n)][::-1],
    )
