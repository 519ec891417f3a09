"""What a cell reads of earlier results: `_`, `__`, `___`, `_3` and `Out[3]`, which IPython keeps for a person."""

from __future__ import annotations

import ast
import dis
import re
import types
from collections.abc import Mapping
from typing import Any

from IPython.core.getipython import get_ipython

from rlm_kernel.trace.parsed import parsed

_NAME = re.compile(r"_{1,3}|_[0-9]{1,9}")
_ALL = frozenset({"Out", "_oh"})
_READS = frozenset({"LOAD_NAME", "LOAD_GLOBAL"})
_STORES = frozenset({"STORE_NAME", "STORE_GLOBAL"})


class Displayed:
    """Of one run: model's cells make none, so what is there at its beginning is there in all of them."""

    def __init__(self) -> None:
        self._met: set[str] = set()

    def before(self, source: str, namespace: Mapping[str, Any]) -> dict[str, object]:
        """What this cell reads, by name, and no cell so far has read or made. All of `Out` where it takes no number."""
        read, made = _names(source)
        found = {name: value for name in sorted(read - self._met) if (value := _value(name, namespace)) is not None}
        self._met |= read | made
        return found


def is_displayed(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def put_back(name: str, value: object, namespace: dict[str, Any]) -> None:
    """As if a cell of the person's had come to it. A shell keeps `_` up to date only where it has put it there."""
    namespace[name] = value
    shell = get_ipython()
    if name.strip("_"):
        out = namespace.setdefault("Out", {})
        if isinstance(out, dict):
            out[int(name[1:])] = value
    elif shell is not None and shell.user_ns is namespace:
        setattr(shell.displayhook, name, value)


def _value(name: str, namespace: Mapping[str, Any]) -> object:
    out = namespace.get("Out")
    if name == "Out":
        return out or None
    value = namespace.get(name)
    if value is None and name.strip("_") and isinstance(out, dict):
        value = out.get(int(name[1:]))
    return None if isinstance(value, str) and value == "" else value  # as it is before the first result


def _names(source: str) -> tuple[set[str], set[str]]:
    """What it reads before it has made it, and what it makes."""
    if "_" not in source and "Out" not in source:
        return set(), set()
    tree = parsed(source)
    if tree is None:
        return set(), set()
    numbered = [node for node in ast.walk(tree) if _number(node) is not None]
    read = {f"_{_number(node)}" for node in numbered}
    entries = {id(node.value) for node in numbered if isinstance(node, ast.Subscript)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in _ALL and id(node) not in entries:
            read.add("Out")
    made: set[str] = set()
    try:
        code = compile(tree, "", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return read, made
    # By instructions, and not by names in the tree: `_` is also what nobody needs, in loops and comprehensions.
    later: set[str] = set()
    for each in dis.get_instructions(code):
        name = str(each.argval)
        if isinstance(each.argval, types.CodeType):
            later |= _read_in(each.argval)
        elif each.opname in _STORES:
            made.add(name)
        elif each.opname in _READS and name not in made and is_displayed(name):
            read.add(name)
    read |= later - made
    return (read - {"Out"} if made & _ALL else read), made


def _read_in(code: types.CodeType) -> set[str]:
    """By functions, which may be called when the cell has made more."""
    read = {str(each.argval) for each in dis.get_instructions(code) if each.opname in _READS}
    inner = (_read_in(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return {name for name in read.union(*inner) if is_displayed(name)}


def _number(node: ast.AST) -> int | None:
    """Of `Out[3]`."""
    match node:
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=number), ctx=ast.Load()):
            return number if name in _ALL and type(number) is int and 0 <= number < 10**9 else None
    return None
