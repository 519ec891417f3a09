"""
Who wrote and who read what in a run, and when: agents and results as a small graph, from the record.

What the nodes are is in `graph_nodes`. States of workflows have the answers of their agents, write the result of their
name, and were given as text what went to agents that are in no record. The order rests on ids and numbers, never on
which of several agents was faster.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlm_kernel.trace.events import Used
from rlm_kernel.trace.nodes import Agent, State, Step
from rlm_kernel.trace.safe import one_line
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.varying import Names, names_in
from rlm_kernel.trace.views.contexts import StoresOfStates, has_store, key_of, store_of
from rlm_kernel.trace.views.earlier import earlier
from rlm_kernel.trace.views.graph_nodes import PERSON, Node, Nodes
from rlm_kernel.trace.views.syntax import answers_to

_HOW = {"write": "wrote", "delete": "deleted", "take": "took", "read": "read"}


@dataclass(frozen=True, slots=True)
class Edge:
    source: str
    target: str
    how: str
    """
    `wrote`, `wrote, before this run`, `deleted`, `took` (by reference), `read`, `assigned`, `handed over`, `answer`,
    `as text`.
    """
    steps: tuple[int | None, ...] = ()
    """Those of the agent whose cell did it, in order, each once; None is a person's own cell."""
    times: int = 1
    tokens: int = 0
    """That came into a window by it; 0 for what went by reference."""
    names: tuple[str, ...] = ()
    """Of an answer, the variables of the caller that it was assigned to, where its cell leaves no doubt."""


@dataclass(frozen=True, slots=True)
class Graph:
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()


def graph_of(tree: Tree) -> Graph:
    return _Drawing(tree).graph()


class _Drawing:
    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._walked = list(tree.walk())
        self._nodes = Nodes(tree, self._walked)
        self._stores = StoresOfStates()
        self._edges: dict[tuple[str, str, str], _Edge] = {}
        self._looked: dict[str, Names] = {}
        self._handed: dict[tuple[str, str], int] = {}
        """By the caller's id and its variable, the last step that handed it over."""

    def graph(self) -> Graph:
        answers = self._names_of_answers()
        open_ones: list[tuple[Agent, int]] = []
        for agent, level in self._walked:
            while open_ones and open_ones[-1][1] >= level:
                self._answered(open_ones.pop()[0], answers)
            open_ones.append((agent, level))
            me = self._nodes.agent(agent)
            self._given(agent, me)
            for step in agent.steps:
                for used in step.used:
                    self._used(self._writer(agent, used) or me, (step.number,), used)
            for used in agent.used:
                writer = self._writer(agent, used)
                self._used(writer or self._nodes.person(), (None,) if writer is None else (), used)
            for state in agent.states:
                self._as_text(agent, state)
        while open_ones:
            self._answered(open_ones.pop()[0], answers)
        self._assignments()
        self._earlier()
        # The root of a run that a person's own cells began has done nothing itself.
        there = {self._nodes.agent(agent) for agent, _ in self._walked if agent.steps or not _is_persons(agent)}
        there |= {end for source, target, _ in self._edges for end in (source, target)}
        return Graph(self._nodes.among(there), tuple(edge.done(*key) for key, edge in self._edges.items()))

    def _given(self, agent: Agent, me: str) -> None:
        name = agent.context_name
        if name is None:
            # Of a store that a workflow hands over, what is taken and read is drawn, where something is.
            if agent.context is not None and (agent.in_state is None or not has_store(agent) or not _has_used(agent)):
                self._edge(self._nodes.asker(agent), me, "handed over", _when(agent))
            return
        caller = None if agent.caller is None else self._tree.agents.get(agent.caller)
        if (key := key_of(name, caller)) is not None:
            source = self._nodes.key(store_of(caller), key)
        else:
            owner = PERSON if caller is None else self._nodes.agent(caller)
            source = self._nodes.variable(owner, name)
            if caller is not None and agent.in_step is not None:
                last = self._handed.get((caller.id, name), agent.in_step)
                self._handed[caller.id, name] = max(last, agent.in_step)
        self._edge(source, me, "handed over", _when(agent))

    def _answered(self, agent: Agent, names: dict[str, str]) -> None:
        """After all that its sub-agents did."""
        if agent.end is not None and agent.end.answer is not None:
            self._edge(
                self._nodes.agent(agent), self._nodes.asker(agent), "answer", _when(agent), name=names.get(agent.id)
            )

    def _used(self, who: str, when: tuple[int | None, ...], used: Used) -> None:
        how = _HOW.get(used.how) or one_line(used.how, 20)
        if used.store:
            key = self._nodes.key(used.store, used.key)
        elif used.key.isidentifier():
            key = self._nodes.variable(who, used.key)
        else:  # an object without a name
            return
        source, target = (who, key) if used.how in ("write", "delete") else (key, who)
        self._edge(source, target, how, when, tokens=used.tokens)

    def _writer(self, agent: Agent, used: Used) -> str | None:
        """The state whose result it is."""
        for state in agent.states if used.how == "write" else ():
            if (state.name, state.step) == (used.key, used.step) and state.end is not None and state.end.error is None:
                return self._nodes.state(agent, state)
        return None

    def _as_text(self, agent: Agent, state: State) -> None:
        """What the state's agents were given by value."""
        for each in () if state.end is None else state.end.loaded:
            if each.key:
                target = self._nodes.state(agent, state)
                source = self._nodes.key(self._stores.of(agent, state), each.key)
                self._edge(source, target, "as text", _at(state.step), tokens=each.tokens)

    def _assignments(self) -> None:
        for (caller, name), last in self._handed.items():
            agent, owner = self._tree.agents[caller], self._nodes.agent(self._tree.agents[caller])
            for step in agent.steps:
                if step.number <= last and step.source is not None and name in step.source:
                    if step.source not in self._looked:
                        self._looked[step.source] = names_in(step.source)
                    if name in self._looked[step.source].assigned:
                        self._edge(owner, self._nodes.variable(owner, name), "assigned", (step.number,))

    def _earlier(self) -> None:
        for key, writer in earlier(self._tree).items():
            who = self._nodes.person() if writer.who == PERSON else self._nodes.elsewhere(writer.who, writer.run)
            self._edge(who, self._nodes.key(1, key), "wrote, before this run", ())

    def _edge(
        self,
        source: str,
        target: str,
        how: str,
        steps: tuple[int | None, ...],
        *,
        tokens: int = 0,
        name: str | None = None,
    ) -> None:
        if source == target:  # within what stands together
            return
        edge = self._edges.setdefault((source, target, how), _Edge())
        edge.times += 1
        edge.tokens += tokens
        edge.steps.update(dict.fromkeys(steps))
        if name is not None:
            edge.names[name] = None

    def _names_of_answers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for agent, _ in self._walked:
            for step in agent.steps:
                if step.agents and (names := _names(step)) is not None:
                    found.update(zip((each.id for each in step.agents), names, strict=True))
        return found


class _Edge:
    """One that grows."""

    __slots__ = ("names", "steps", "times", "tokens")

    def __init__(self) -> None:
        self.times = self.tokens = 0
        self.steps: dict[int | None, None] = {}
        self.names: dict[str, None] = {}

    def done(self, source: str, target: str, how: str) -> Edge:
        steps = sorted(self.steps, key=lambda step: (step is None, step or 0))
        return Edge(source, target, how, tuple(steps), self.times, self.tokens, tuple(self.names))


def _when(agent: Agent) -> tuple[int | None, ...]:
    return () if agent.caller is None else _at(agent.in_step) if agent.in_state is not None else (agent.in_step,)


def _has_used(agent: Agent) -> bool:
    """Anything that somebody else may have written."""
    return any(used.store and used.how in ("take", "read") for step in agent.steps for used in step.used)


def _is_persons(agent: Agent) -> bool:
    return agent.caller is None and (agent.end is None or bool(agent.agents or agent.calls or agent.states))


def _at(step: int | None) -> tuple[int | None, ...]:
    """Of a state: whose cell ran it is plain where it was the person's."""
    return () if step is None else (step,)


def _names(step: Step) -> list[str] | None:
    if step.source is None or step.cell is None or step.cell.error is not None or step.calls:
        return None
    return answers_to(step.source, len(step.agents), step.cell.final)
