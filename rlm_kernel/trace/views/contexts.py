"""What an agent was given as its context, and a workflow as its store, as far as the record tells."""

from __future__ import annotations

import ast

from rlm_kernel.trace.nodes import Agent, State


def key_of(name: str, caller: Agent | None) -> str | None:
    """The key that `context['key']` names; None for a variable, and for an item of a context that is a plain dict."""
    if not (name.startswith("context[") and name.endswith("]")) or len(name) > 2_000:
        return None
    if caller is not None and (caller.context or "").removeprefix("`context`: ").startswith("dict"):
        return None
    try:
        key = ast.literal_eval(name[len("context[") : -1])
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    return key if isinstance(key, str) else None


def store_of(agent: Agent | None) -> int:
    """The number of the store in its `context`. The root's is the first that there is."""
    return 1 if agent is None or agent.context_store is None else agent.context_store


def has_store(agent: Agent) -> bool:
    """Whether its context is a store, by its description: values of their own, which are drawn as they are used."""
    return (agent.context or "").removeprefix("`context`: ").startswith("Store")


class StoresOfStates:
    """Which store a workflow is in: the one that its states write their results into, under their names."""

    def __init__(self) -> None:
        self._found: dict[str, dict[tuple[int | None, str | None], int]] = {}

    def of(self, agent: Agent, state: State) -> int:
        """`agent` is whose cell runs it. Of a state that wrote nothing, the store of another one of the same cell."""
        if agent.id not in self._found:
            found = self._found[agent.id] = {}
            states = {(each.step, each.name) for each in agent.states}
            for used in (*agent.used, *(used for step in agent.steps for used in step.used)):
                if used.how == "write" and (used.step, used.key) in states:
                    found[used.step, used.key] = found[used.step, None] = used.store
        found = self._found[agent.id]
        return found.get((state.step, state.name)) or found.get((state.step, None)) or store_of(agent)
