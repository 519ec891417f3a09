"""`FINAL` and `FINAL_VAR`: a cell ends its agent with an object."""

from __future__ import annotations

from typing import NoReturn

from rlm_kernel.errors import FinalAnswer
from rlm_kernel.namespace.caller import Caller, caller
from rlm_kernel.namespace.names import named, store_with, variable
from rlm_kernel.values import Final, plain


def FINAL(value: object, *, literal: bool = False) -> NoReturn:
    """
    End here with this very object as the answer.

    A string that is exactly the name of a variable, or a key of a store in `context`, stands for what it names;
    `literal=True` returns the string itself. Raises UsageError where the name is that of two objects.
    """
    asks = caller()
    if isinstance(value, str) and not literal and (found := named(asks, value)):
        raise FinalAnswer(Final(asks.accept(_taken(asks, value, found[0])), value))
    raise FinalAnswer(Final(asks.accept(plain(value))))


def FINAL_VAR(name: str) -> NoReturn:
    """End here with the object that the variable `name` holds."""
    asks = caller()
    found = (variable(asks, name) or named(asks, name)) if isinstance(name, str) else None
    if found is None:
        raise NameError(f"FINAL_VAR takes the name of a variable as a string; there is none called {name!r}"[:300])
    raise FinalAnswer(Final(asks.accept(_taken(asks, name, found[0])), name))


def _taken(asks: Caller, name: str, value: object) -> object:
    """A result of the store is taken, where it is that; whoever watches is told."""
    store = store_with(asks, name)
    return plain(value if store is None or variable(asks, name) is not None else store[name])
