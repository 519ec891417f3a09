"""
What stands in the graph of a run: agents, keys of stores, variables that were handed over or read, the person whose own
cells took part, and states of workflows.

A key is one node in each store. Stores but the first are numbered as the walk comes to them, as the record's numbers
rest on which agent was faster. Many sub-agents of one step are one node.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rlm_kernel.trace.nodes import Agent, State
from rlm_kernel.trace.safe import one_line
from rlm_kernel.trace.tree import Tree

MOST_BESIDE = 12
"""Sub-agents that one step may start and each be a node."""
MOST_OF_PERSON = 40
"""The same of all of a person's own cells, which the record does not tell apart."""
NAME_CHARS = 60
PERSON = "person"


@dataclass(frozen=True, slots=True)
class Node:
    id: str
    kind: str
    """
    `agent` (also one of an earlier run), `agents` (many of one step, with all below them), `key` (of a store),
    `variable` (handed over, or read), `person`, `state` (of a workflow, with all its visits).
    """
    label: str
    """One safe line."""


class Nodes:
    """Of one run. Each is made when it is first asked for, by its id, and the order is that."""

    def __init__(self, tree: Tree, walked: Sequence[tuple[Agent, int]]) -> None:
        """`walked` is what the tree's `walk` gives."""
        self._tree = tree
        self._made: dict[str, Node] = {}
        self._groups: dict[str, Node] = {}
        self._of_agent = self._folded(walked)
        self._stores = {1: 1}

    def among(self, ids: Collection[str]) -> tuple[Node, ...]:
        return tuple(node for id, node in self._made.items() if id in ids)

    def _folded(self, walked: Sequence[tuple[Agent, int]]) -> dict[str, str]:
        """By id of the agents that stand together, their node."""
        found: dict[str, str] = {}
        for caller, _ in walked:
            groups = [(caller.agents, MOST_OF_PERSON), *((step.agents, MOST_BESIDE) for step in caller.steps)]
            for agents, most in groups:
                group = [agent for agent in agents if agent.id not in found]
                if len(group) > most and caller.id not in found:
                    self._fold(group, found)
        return found

    def _fold(self, group: list[Agent], found: dict[str, str]) -> None:
        id = f"agents {group[0].id}"
        waiting, inside = list(group), 0
        while waiting:
            agent = waiting.pop()
            if agent.id not in found:  # a tampered record may have a ring
                found[agent.id] = id
                inside += 1
                waiting += agent.children
        first, last = one_line(group[0].id, 40), one_line(group[-1].id, 40)
        below = f" and {inside - len(group):,} below" if inside > len(group) else ""
        self._groups[id] = Node(id, "agents", f"{len(group):,} agents {first} … {last}{below}")

    def agent(self, agent: Agent) -> str:
        id = self._of_agent.get(agent.id, f"agent {agent.id}")
        if (group := self._groups.get(id)) is not None:
            return self._made.setdefault(id, group).id
        return self._node(id, "agent", id)

    def elsewhere(self, id: str, run: str | None) -> str:
        """An agent of another run."""
        of = "an earlier run" if run is None else f"run {one_line(run.rpartition('-')[2], 20)}"
        return self._node(f"agent {id} of {of}", "agent", f"agent {one_line(id, 20)} of {of}")

    def person(self) -> str:
        return self._node(PERSON, "person", "person")

    def key(self, store: int, key: str) -> str:
        """`store` is as in the record."""
        number, label = self._stores.setdefault(store, len(self._stores) + 1), key if key.strip() else repr(key)
        if number == 1:
            return self._node(f"key {key}", "key", label)
        return self._node(f"store {number} key {key}", "key", f"{one_line(label, 40)} of store {number}")

    def variable(self, owner: str, name: str) -> str:
        return self._node(f"variable {name} of {owner}", "variable", f"{one_line(name, 40)} of {owner}")

    def _node(self, id: str, kind: str, label: str) -> str:
        if id not in self._made:
            self._made[id] = Node(id, kind, one_line(label, NAME_CHARS))
        return id

    def asker(self, agent: Agent) -> str:
        caller = None if agent.caller is None else self._tree.agents.get(agent.caller)
        if caller is not None and (state := _state_of(agent, caller)) is not None:
            return self.state(caller, state)
        return self.person() if caller is None or agent.in_step is None else self.agent(caller)

    def state(self, agent: Agent, state: State) -> str:
        """`agent` is whose cell runs the workflow."""
        me = self.agent(agent)
        label = f"state {state.name}" + ("" if state.step is None else f" of {me}")
        return self._node(f"state {state.name} of {me}", "state", label)


def _state_of(agent: Agent, caller: Agent) -> State | None:
    """In which it was asked."""
    return next((state for state in caller.states if state.number == agent.in_state), None)
