"""What a string stands for, where a name may be meant."""

from __future__ import annotations

from rlm_kernel.errors import UsageError
from rlm_kernel.namespace.caller import Caller
from rlm_kernel.store import Store, unwatched

NOBODYS = frozenset({"In", "Out", "get_ipython", "exit", "quit", "open", "display"})
"""Names of a namespace that are nobody's variables: FINAL("open") is a word. Lent names are not either."""

_NOTHING = object()


def named(caller: Caller, name: str) -> tuple[object] | None:
    """
    The object of that name, as a tuple of one: a variable's, or of a store in `context`; None where nothing is called
    so. Raises UsageError where they are two objects: either could be the older one.
    """
    found = variable(caller, name)
    if (context := store_with(caller, name)) is None:
        return found
    with unwatched():
        held = context[name]
    if found is not None and found[0] is not held:
        raise UsageError(
            f"{name!r} is a variable here, and another object in the store: give the object, {name} or "
            f"context[{name!r}], in place of its name"
        )
    return (held,)


def store_with(caller: Caller, key: str) -> Store | None:
    context = caller.namespace.get("context")
    return context if isinstance(context, Store) and key in context else None


def variable(caller: Caller, name: str) -> tuple[object] | None:
    if name.isidentifier() and name not in NOBODYS and name in caller.namespace:
        value = caller.namespace[name]
        return None if name != "context" and caller.lent.get(name, _NOTHING) is value else (value,)
    return None
