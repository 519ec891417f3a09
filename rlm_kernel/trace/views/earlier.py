"""Who had written, before a run, what it found in its store: what the record keeps of that store says so."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from rlm_kernel.trace.events import AgentStarted, Event, StateFinished, Used
from rlm_kernel.trace.nodes import Agent
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views.contexts import StoresOfStates, key_of, store_of


@dataclass(frozen=True, slots=True)
class Writer:
    who: str
    """`person`, or an agent's id in another run."""
    run: str | None
    """The id of that one; None where it is not known."""


def earlier(tree: Tree) -> dict[str, Writer]:
    """
    By the keys of the first store that were used before anybody in the run wrote them, in order, who had written them
    last. Keys of which the record does not tell are left out.
    """
    keys = dict.fromkeys(key for store, key in _found(tree) if store == 1)
    written = _written(tree.root, keys) if keys and tree.root is not None else {}
    return {key: written[key] for key in keys if key in written}


def _found(tree: Tree) -> Iterator[tuple[int, str]]:
    """Store and key of each use, where no write of the run came before it."""
    written: set[tuple[int, str]] = set()
    stores = StoresOfStates()
    for _, event in tree.log:
        if isinstance(event, Used) and event.how == "write":
            written.add((event.store, event.key))
        else:
            yield from (place for place in _places(tree, stores, event) if place not in written)


def _places(tree: Tree, stores: StoresOfStates, event: Event) -> Iterator[tuple[int, str]]:
    match event:
        case Used():
            yield event.store, event.key
        case AgentStarted(context_name=str(name), caller=str(id)) if id in tree.agents:
            if (key := key_of(name, tree.agents[id])) is not None:
                yield store_of(tree.agents[id]), key
        case StateFinished():
            agent = tree.agents[event.agent]
            state = next(state for state in agent.states if state.number == event.number)
            yield from ((stores.of(agent, state), each.key) for each in event.loaded if each.key)


def _written(root: Agent, keys: Collection[str]) -> dict[str, Writer]:
    """By key, of what was kept of its `context`. What lies in a file beside the trace is not looked at."""
    kept = next((given.value for given in root.given if given.name == "context" and given.form == "results"), None)
    try:
        of = json.loads(kept or "{}").get("keys", {})
        found = {key: _writer(of[key]["entries"]) for key in keys if key in of}
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        return {}  # a tampered record, or one of a later version
    return {key: writer for key, writer in found.items() if writer is not None}


def _writer(entries: Any) -> Writer | None:
    """An older record's entry ends before its run."""
    if not entries:
        return None
    _, who, _, _, _, _, *place = entries[-1]
    run = place[0] if place else None
    return Writer(str(who), None if run is None else str(run))
