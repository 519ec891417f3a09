"""`FINAL` and `FINAL_VAR`: a cell ends its agent with an object."""

from __future__ import annotations

from typing import NoReturn

from rlm_kernel.errors import FinalAnswer
from rlm_kernel.namespace.caller import caller
from rlm_kernel.namespace.names import named
from rlm_kernel.values import Final


def FINAL(value: object, *, literal: bool = False) -> NoReturn:
    """
    End here with this very object as the answer.

    A string that is exactly the name of a variable, or a key of a store in `context`, stands for what it names;
    `literal=True` returns the string itself.
    """
    asks = caller()
    if isinstance(value, str) and not literal and (found := named(asks, value)):
        raise FinalAnswer(Final(asks.accept(found[0]), value))
    raise FinalAnswer(Final(asks.accept(value)))


def FINAL_VAR(name: str) -> NoReturn:
    """End here with the object that the variable `name` holds."""
    asks = caller()
    found = named(asks, name) if isinstance(name, str) else None
    if found is None:
        raise NameError(f"FINAL_VAR takes the name of a variable as a string; there is none called {name!r}"[:300])
    raise FinalAnswer(Final(asks.accept(found[0]), name))
