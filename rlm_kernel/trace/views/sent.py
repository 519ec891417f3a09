"""Each result that an agent of a workflow was given as text, alone or in what a sub-agent was asked."""

from __future__ import annotations

from dataclasses import dataclass

from rlm_kernel.trace.events import StateFinished, Used
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views.contexts import StoresOfStates
from rlm_kernel.trace.views.graph_nodes import PERSON
from rlm_kernel.trace.views.transfers import bounded, writer_of


@dataclass(frozen=True, slots=True)
class Sent:
    """A result that an agent of a workflow was given as text. Its tokens are estimated."""

    source: str
    """As of a `Transfer`."""
    agent: str
    """Whose workflow it was."""
    step: int | None
    state: str
    visit: int
    key: str
    tokens: int
    """Of all times that it was sent."""
    times: int
    reported: bool = False
    """In the question of a sub-agent: they are in its provider's reports too."""


def sent(tree: Tree) -> list[Sent]:
    """In the order in which the states ended; of each state, a key once."""
    found: list[Sent] = []
    written: dict[tuple[int, str], str] = {}
    stores = StoresOfStates()
    states = {(agent.id, state.number): state for agent, _ in tree.walk() for state in agent.states}
    for _, event in tree.log:
        if isinstance(event, Used):
            if event.how == "write":
                written[event.store, event.key] = writer_of(tree, event)
            elif event.how == "delete":
                written.pop((event.store, event.key), None)
        elif isinstance(event, StateFinished) and (event.agent, event.number) in states:
            state = states[event.agent, event.number]
            by_key: dict[tuple[str, bool], list[int]] = {}
            for each in event.loaded:
                if each.key:
                    by_key.setdefault((each.key, each.reported), []).append(bounded(each.tokens))
            for (key, reported), tokens in by_key.items():
                source = written.get((stores.of(tree.agents[event.agent], state), key), PERSON)
                place = source, event.agent, state.step, state.name, state.visit
                found.append(Sent(*place, key, sum(tokens), len(tokens), reported))
    return found
