"""`READ`, `WRITE` and `LIST_CONTEXT`: named results, as an agent and a person use them."""

from __future__ import annotations

import difflib
import itertools
from typing import Any

from rlm_kernel import store
from rlm_kernel.errors import UsageError
from rlm_kernel.namespace.caller import Caller, caller
from rlm_kernel.namespace.names import named, store_with
from rlm_kernel.store import Store
from rlm_kernel.values import Slice

_COMPARED = 1_000
"""Names with which one that there is not is compared."""
_LABEL_CHARS = 40


def READ(
    what: object,
    *,
    max_tokens: int | None = None,
    lines: Slice | None = None,
    chars: Slice | None = None,
    rows: Slice | None = None,
    literal: bool = False,
) -> str:
    """
    Text of a result, a variable or any object for your own window, counted against what you may read.

    `what` is a key of the store in `context`, the name of a variable, or the object itself; with `literal=True` a
    string is itself. What was asked for comes whole where it fits: the whole, or lines=(120, 180), counted from 1 with
    both ends, chars=(0, 2000), rows=(0, 20). With `max_tokens`, what is longer comes as its head and tail.

    Raises ContextBudgetExceeded before anything is loaded, KeyError for a name that there is not, UsageError.
    """
    parts: Any = {"max_tokens": max_tokens, "lines": lines, "chars": chars, "rows": rows}
    asks = caller()
    if isinstance(what, str) and not literal:
        found = named(asks, what)
        if (context := store_with(asks, what)) is not None:
            return context.read(what, **parts)
        if found is not None:
            return store.read_text(what, found[0], **parts)
        _check_is_text(asks, what)
    return store.read_text(f"a {type(what).__name__}"[:_LABEL_CHARS], what, **parts)


def WRITE(key: str, value: object, note: str | None = None) -> None:
    """Put an object into the store in `context` under a name, for everyone who was handed the store."""
    _store("WRITE", "keep the value in a variable, or have whoever called you hand on context=context").store(
        key, value, note
    )


def LIST_CONTEXT() -> store.Listing:
    """What the store in `context` holds: key, type, size, tokens, who wrote it, one line of preview."""
    return _store("LIST_CONTEXT", "SHOW_VARS() lists the variables").list_available()


def _store(name: str, mend: str) -> Store:
    context = caller().namespace.get("context")
    if not isinstance(context, Store):
        held = "nothing" if context is None else f"a {type(context).__name__}"
        raise UsageError(f"{name} needs a Store in `context`, which holds {held}: {mend}")
    return context


def _check_is_text(asks: Caller, text: str) -> None:
    """Raises KeyError where a string looks like a name that there is not: read as text it would be the name itself."""
    if len(text) > _LABEL_CHARS or "\n" in text:
        return
    context = asks.namespace.get("context")
    keys = list(itertools.islice(context, _COMPARED)) if isinstance(context, Store) else []
    names = [name for name in itertools.islice(list(asks.namespace), _COMPARED) if not name.startswith("_")]
    near = difflib.get_close_matches(text, [*keys, *names], cutoff=0.75)
    if near or text.isidentifier():
        told = f"; near: {', '.join(map(repr, near))}" if near else ""
        raise KeyError(f"no key or variable {text!r}{told}; READ(text, literal=True) reads a string itself")
