"""
Facts about an object that are safe to ask for, whatever the object.

An object may lie about its class, run code on any attribute, raise anything. So facts come from `type(obj)` and the
class dictionaries, never from `obj.x`. Only two questions run an object's own code: its `repr` and its Python
`__len__`, and both go through `show`, the function handed down from the runner, which bounds their time.
"""

from __future__ import annotations

import sys
import types
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from rlm_kernel.preview.text import clip

Show = Callable[[object], object]
"""An object to its text, as `repr`. May raise, and may return what is no string."""

NAME_CHARS = 60
MANY_FIELDS = 200

_mro = type.__dict__["__mro__"].__get__
_namespace = type.__dict__["__dict__"].__get__
_name = type.__dict__["__name__"].__get__
_module = type.__dict__["__module__"].__get__
_missing = object()
_CONTAINERS = (list, tuple, dict, set, frozenset, deque)


def is_a(obj: object, *classes: type) -> bool:
    """`isinstance` that asks only the true type: `__class__` may be a property that lies or raises."""
    return issubclass(type(obj), classes)


def class_name(cls: type) -> str:
    return clip(_name(cls), NAME_CHARS)


def type_name(obj: object) -> str:
    return class_name(type(obj))


def static(cls: type, name: str) -> Any:
    """What the class dictionaries hold under `name`, no descriptor run; `None` where nothing does."""
    for base in _mro(cls):
        found = _namespace(base).get(name, _missing)
        if found is not _missing:
            return found
    return None


def module_of(cls: type) -> str | None:
    """The name of the module that a class says it is from; None where it says nothing or nonsense."""
    try:
        module = _module(cls)
    except AttributeError:  # somebody has deleted it
        return None
    return module if type(module) is str else None


def full_name(cls: type) -> str:
    """With the module, but for builtins, as a notebook shows a class."""
    module = module_of(cls)
    return class_name(cls) if module in (None, "builtins") else f"{clip(str(module), NAME_CHARS)}.{class_name(cls)}"


def library(module: str, name: str) -> type | None:
    """A class of a library that somebody else imported. Where nobody did, no object can be of it."""
    found = sys.modules.get(module)
    cls = found.__dict__.get(name) if is_a(found, types.ModuleType) else None
    return cls if is_a(cls, type) else None


def is_of(obj: object, module: str, *names: str) -> bool:
    return any(cls is not None and is_a(obj, cls) for cls in (library(module, name) for name in names))


def tell(obj: object, show: Show, ask: Callable[[], str] | None = None) -> str:
    """
    What `show` says of `obj`, or in its place one line on why it said nothing.

    With `ask`, what that returns, asked within `show` all the same so that its time is bounded.
    """
    try:
        text = show(obj if ask is None else _Asked(ask))
    except KeyboardInterrupt:
        raise  # the Stop button, not the object's doing
    except BaseException as raised:  # a repr may raise SystemExit, and it would end the kernel
        return f"<{type_name(obj)} object; its repr raised {complaint(raised)}>"
    if not is_a(text, str):
        return f"<{type_name(obj)} object; its repr returned {_article(type_name(text))}>"
    return text  # type: ignore[return-value]


class _Asked:
    """A question in the shape of an object: its repr is the answer."""

    __slots__ = ("ask",)

    def __init__(self, ask: Callable[[], str]) -> None:
        self.ask = ask

    def __repr__(self) -> str:
        return self.ask()


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def complaint(raised: BaseException) -> str:
    """Type and message of an exception, without running its `__str__`."""
    arguments = BaseException.__dict__["args"].__get__(raised)
    message = ", ".join(
        clip(item, 200) if type(item) is str else str(item)
        for item in arguments[:3]
        if type(item) is str or (type(item) is int and item.bit_length() < 64)
    )
    return type_name(raised) + (f": {message}" if message else "")


def length(obj: Any, show: Show) -> int | None:
    """`len(obj)`, or None where it has none or fails to tell."""
    for base in (str, bytes, bytearray, *_CONTAINERS):
        if is_a(obj, base):
            return _size(base, obj)
    how = static(type(obj), "__len__")
    if how is None or is_a(obj, type):
        return None
    bounded = show if is_a(how, types.FunctionType) else repr
    told = tell(obj, bounded, lambda: str(len(obj)))
    return int(told) if len(told) < 20 and told.isdecimal() else None


def _size(base: Any, obj: Any) -> int:
    """Of the builtin that `obj` derives from, whatever its class says."""
    return int(base.__len__(obj))


def fields(obj: object, names: list[str] | None = None) -> list[tuple[str, object]]:
    """
    Instance attributes from `__dict__` and slots, no property run; at most MANY_FIELDS.

    With `names`, those only and in that order, leaving out any that could be read only by running code.
    """
    where = static(type(obj), "__dict__")
    held = where.__get__(obj) if is_a(where, types.GetSetDescriptorType, types.MemberDescriptorType) else {}
    held = held if type(held) is dict else {}
    if names is None:
        slots = [
            name
            for base in reversed(_mro(type(obj)))
            for name, entry in _namespace(base).items()
            if is_a(entry, types.MemberDescriptorType) and not name.startswith("__")
        ]
        names = slots + list(islice(held, MANY_FIELDS))
    found = []
    for name in names[:MANY_FIELDS]:
        entry = static(type(obj), name)
        if is_a(entry, types.MemberDescriptorType):
            try:
                found.append((name, entry.__get__(obj)))
            except AttributeError:
                continue  # a slot that nobody has filled
        elif name in held and not is_a(entry, property):
            found.append((name, held[name]))
    return found


def record_fields(obj: Any) -> list[tuple[str, object]] | None:
    """
    The fields of an object whose `repr` a library wrote and which would print them all: dataclasses, named tuples,
    pydantic and attrs models, SimpleNamespace, exceptions. None for anything else.
    """
    cls = type(obj)
    how = static(cls, "__repr__")
    if is_a(obj, tuple):
        names = static(cls, "_fields")
        if type(names) is tuple and all(type(name) is str for name in names) and len(names) == tuple.__len__(obj):
            return list(zip(names[:MANY_FIELDS], tuple.__getitem__(obj, slice(0, MANY_FIELDS)), strict=True))
        return None
    if how is BaseException.__repr__:
        return [("", item) for item in BaseException.__dict__["args"].__get__(obj)[:MANY_FIELDS]]
    if is_a(obj, types.SimpleNamespace) and how is types.SimpleNamespace.__repr__:
        return fields(obj)
    declared = static(cls, "__dataclass_fields__")
    if type(declared) is dict and generated(how):
        return fields(obj, [name for name, field in islice(declared.items(), MANY_FIELDS) if _is_shown(field)])
    model = library("pydantic.main", "BaseModel")
    if model is not None and is_a(obj, model) and how is static(model, "__repr__"):
        return fields(obj)
    if static(cls, "__attrs_attrs__") is not None and generated(how):
        return fields(obj)
    return None


def generated(how: Any) -> bool:
    """Whether a `__repr__` was compiled by a library from a template, as dataclasses and attrs do."""
    wrapped = how.__dict__.get("__wrapped__", how) if is_a(how, types.FunctionType) else None
    return type(wrapped) is types.FunctionType and wrapped.__code__.co_filename.startswith("<")


def _is_shown(field: object) -> bool:
    return bool(getattr(field, "repr", True)) and getattr(getattr(field, "_field_type", None), "name", "") == "_FIELD"


def light(obj: object, budget: int = 10_000) -> bool:
    """
    Whether all that builtin containers and records hold below `obj` prints in about `budget` characters.

    Foreign objects below it count as small: what their `repr` costs nobody can know without calling it.
    """
    waiting: list[tuple[object, int]] = [(obj, 0)]
    while waiting:
        item, depth = waiting.pop()
        budget -= 2
        if is_a(item, str, bytes, bytearray):
            budget -= length(item, repr) or 0
        elif is_a(item, int):
            budget -= int.bit_length(item) // 3  # type: ignore[arg-type]
        elif (record := record_fields(item)) is not None:
            waiting += [(value, depth + 1) for _, value in record]
            budget -= sum(len(name) for name, _ in record)
        elif is_a(item, *_CONTAINERS):
            number = length(item, repr) or 0
            budget -= number
            if budget >= 0:
                waiting += [(value, depth + 1) for value in _items(item)]
        if budget < 0 or depth > 60:
            return False
    return True


def _items(obj: Any) -> list[object]:
    if is_a(obj, dict):
        return [*dict.keys(obj), *dict.values(obj)]
    base = next(base for base in _CONTAINERS if is_a(obj, base))
    return [*base.__iter__(obj)]
