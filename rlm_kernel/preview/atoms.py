"""The text of single values whose printing is known to be small: numbers, names of classes, signatures."""

from __future__ import annotations

import datetime
import inspect
import math
import pathlib
import types
from typing import Any

from rlm_kernel.preview import kinds
from rlm_kernel.preview.kinds import is_a
from rlm_kernel.preview.text import clip, visible

MOST_BITS = 14_000
"""Of an int that is printed in full: about 4,200 digits. Python refuses more than 4,300, and the cost is quadratic."""

_PLAIN = (bool, float, complex, type(None), type(...), type(NotImplemented), range)
_DATES = (datetime.date, datetime.datetime, datetime.time, datetime.timedelta)
_BUILTIN_CALLABLES = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)


def atom(obj: Any) -> str | None:
    """What a notebook shows for a small single value; None for what is none."""
    cls = type(obj)
    if cls in _PLAIN or (cls in _DATES and getattr(obj, "tzinfo", None) is None):
        return repr(obj)
    if cls is int:
        return number(obj)
    if is_a(obj, type):
        return kinds.full_name(obj) if kinds.static(cls, "__repr__") is type.__repr__ else None
    if is_a(obj, types.FunctionType, types.BuiltinFunctionType):
        return f"<function {qualified(obj)}{signature(obj)}>"
    if is_a(obj, types.MethodType):
        return f"<bound method {qualified(obj.__func__)} of {kinds.type_name(obj.__self__)} object>"
    if kinds.is_of(obj, "numpy", "number", "bool_"):
        return kinds.tell(obj, repr)
    return None


def number(obj: int) -> str:
    bits = int.bit_length(obj)
    if bits <= MOST_BITS:
        return int.__repr__(obj)
    exponent = math.log10(abs(obj >> (bits - 64))) + (bits - 64) * math.log10(2)
    sign = "-" if obj < 0 else ""
    return f"<int, about {sign}{10 ** (exponent % 1):.3f}e{int(exponent)}, {bits:,} bits>"


def quoted(text: str | bytes, room: int) -> str:
    """The repr of a string or bytes, its end replaced by an ellipsis within the quotes where it is longer."""
    base: Any = str if is_a(text, str) else bytes
    head = base.__getitem__(text, slice(0, max(0, room)))
    shown = visible(repr(head))
    if len(shown) <= room and len(head) == base.__len__(text):
        return shown
    while len(shown) > max(3, room - 1) and head:
        head = head[: max(0, len(head) - max(1, (len(shown) - room + 1) // 6))]
        shown = visible(repr(head))
    return f"{shown[:-1]}…{shown[-1]}"


def qualified(function: Any) -> str:
    """Module and name of a function, as a notebook shows it."""
    if not is_a(function, types.FunctionType, types.BuiltinFunctionType):
        return kinds.type_name(function)
    module = function.__module__
    name = clip(function.__qualname__, 2 * kinds.NAME_CHARS)
    return name if not is_a(module, str) or module == "builtins" else f"{clip(module, kinds.NAME_CHARS)}.{name}"


def name_of(function: Any) -> str:
    inner = function.__func__ if is_a(function, types.MethodType) else function
    named = is_a(inner, types.FunctionType, types.BuiltinFunctionType)
    return clip(inner.__name__, kinds.NAME_CHARS) if named else kinds.type_name(inner)


def signature(obj: object) -> str:
    """`(x, y=1)` of a function, method or class, read without running any code of its own; empty where unknown."""
    function, bound = obj, False
    if is_a(obj, type):
        function, bound = kinds.static(obj, "__init__"), True  # type: ignore[arg-type]
    elif is_a(obj, types.MethodType):
        function, bound = obj.__func__, True  # type: ignore[attr-defined]
    if not is_a(function, types.FunctionType, *(() if bound else _BUILTIN_CALLABLES)):
        return ""
    if is_a(function, types.FunctionType):
        # A copy has no __signature__ and no __wrapped__, either of which may be an object that runs code.
        function = _bare_copy(function)
    try:
        found = inspect.signature(function)  # type: ignore[arg-type]
    except (ValueError, TypeError):  # a builtin that does not say
        return ""
    parameters = [
        parameter.replace(default=_shown(parameter.default), annotation=_annotation(parameter.annotation))
        for parameter in list(found.parameters.values())[bound:][: kinds.MANY_FIELDS]
    ]
    result = _annotation(found.return_annotation) if not is_a(obj, type) else inspect.Signature.empty
    return clip(str(found.replace(parameters=parameters, return_annotation=result)), 400)


def _bare_copy(function: Any) -> types.FunctionType:
    copy = types.FunctionType(function.__code__, {}, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__annotations__ = function.__annotations__ if type(function.__annotations__) is dict else {}
    return copy


class _Words(str):
    """Text that stands for itself where its repr is asked for."""

    def __repr__(self) -> str:
        return str.__str__(self)


def _shown(value: Any) -> Any:
    """A default, short."""
    if value is inspect.Parameter.empty:
        return value
    if is_a(value, str, bytes):
        return _Words(quoted(value, 40))
    if is_a(value, types.FunctionType, types.BuiltinFunctionType):
        return _Words(name_of(value))
    return _Words(clip(atom(value) or "...", 40))


def _annotation(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return value
    if is_a(value, str):
        return _Words(clip(value, 80))
    if is_a(value, type) and not is_a(value, types.GenericAlias):
        return _Words(kinds.class_name(value))
    if is_a(value, types.GenericAlias, types.UnionType) or kinds.full_name(type(value)).startswith("typing."):
        return _Words(clip(kinds.tell(value, repr), 80).replace("typing.", ""))
    return _Words(clip(atom(value) or "...", 80))


def path_text(obj: pathlib.PurePath) -> str:
    """The text of a path, with no method that a subclass may override."""
    return pathlib.PurePath.__str__(obj)
