"""What a string stands for, where a name may be meant."""

from __future__ import annotations

from rlm_kernel.namespace.caller import Caller
from rlm_kernel.store import Store

NOBODYS = frozenset({"In", "Out", "get_ipython", "exit", "quit", "open", "display"})
"""Names of a namespace that are nobody's variables: FINAL("open") is a word. Lent names are not either."""

_NOTHING = object()


def named(caller: Caller, name: str) -> tuple[object] | None:
    """The object of that name, as a tuple of one: of a store in `context`, else a variable's; None if nothing is."""
    context = caller.namespace.get("context")
    if isinstance(context, Store) and name in context:
        return (context[name],)
    return variable(caller, name)


def variable(caller: Caller, name: str) -> tuple[object] | None:
    if name.isidentifier() and name not in NOBODYS and name in caller.namespace:
        value = caller.namespace[name]
        return None if name != "context" and caller.lent.get(name, _NOTHING) is value else (value,)
    return None
