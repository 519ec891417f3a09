"""What an agent was given as its context, as far as the record's names and descriptions tell."""

from __future__ import annotations

import ast

from rlm_kernel.trace.nodes import Agent


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


def has_store(agent: Agent) -> bool:
    """Whether its context is a store, by its description: values of their own, which are drawn as they are used."""
    return (agent.context or "").removeprefix("`context`: ").startswith("Store")
