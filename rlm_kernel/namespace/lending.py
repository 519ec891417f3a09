"""The names that are lent, all of them, and how they get into a namespace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlm_kernel.namespace.asking import allm_query, llm_query, llm_query_batched
from rlm_kernel.namespace.caller import caller
from rlm_kernel.namespace.ending import FINAL, FINAL_VAR
from rlm_kernel.namespace.results import LIST_CONTEXT, READ, WRITE
from rlm_kernel.values import PlainText, Remaining


def budget() -> Remaining:
    """What is left of the limits that are set, for the agent that asks; None where there is no limit."""
    return caller().remaining()


def SHOW_VARS() -> str:
    """The variables that exist here: name, type, size, one line each."""
    return PlainText(caller().show_variables())


LENT: dict[str, Any] = {
    "llm_query": llm_query,
    "llm_query_batched": llm_query_batched,
    "allm_query": allm_query,
    "rlm_query": llm_query,
    "rlm_query_batched": llm_query_batched,
    "budget": budget,
    "FINAL": FINAL,
    "FINAL_VAR": FINAL_VAR,
    "SHOW_VARS": SHOW_VARS,
    "READ": READ,
    "WRITE": WRITE,
    "LIST_CONTEXT": LIST_CONTEXT,
}
"""`rlm_query` and `rlm_query_batched` are names that other scaffolds taught the models."""


def lend(namespace: dict[str, Any], names: Mapping[str, Any] = LENT) -> None:
    namespace.update(names)


def mend(namespace: dict[str, Any], names: Mapping[str, Any] = LENT) -> list[str]:
    """Put back what a cell deleted or overwrote; returns the names. `context` is data, and not ours to mend."""
    broken = [name for name, value in names.items() if namespace.get(name) is not value]
    for name in broken:
        namespace[name] = names[name]
    return broken
