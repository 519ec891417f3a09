"""How names and types stand in what a store says, and what it says of a name that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

_SHOWN_CHARS = 40
_COMPARED_KEYS = 500
_COMPARED_CHARS = 60
"""A missing name is compared with so many keys of such a length: a typing mistake must not cost a second."""

type_name = type.__dict__["__name__"].__get__  # a metaclass may run code where it is asked for a name


def short(name: str) -> str:
    head = name[:_SHOWN_CHARS]
    text = head if head.isidentifier() else repr(head)
    return text if len(name) <= _SHOWN_CHARS else f"{text}…"


def missing(key: object, keys: Sequence[str], where: str) -> str:
    """That `key` is not among `keys`, and what is near to it. `where` is `the store`, or a view of it."""
    if not isinstance(key, str):
        return f"keys of the store are strings, not {type_name(type(key))}"
    if not keys:
        return f"no {short(key)} in {where}: it is empty"
    if len(key) <= _COMPARED_CHARS:
        comparable = [k for k in keys[-_COMPARED_KEYS:] if len(k) <= _COMPARED_CHARS]
        if close := difflib.get_close_matches(key, comparable):
            return f"no {short(key)} in {where}; near: {', '.join(map(repr, close))}"
    return f"no {short(key)} in {where}, which holds {len(keys):,} other key{'s' if len(keys) > 1 else ''}"
