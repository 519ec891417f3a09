"""
What the HTML and the text view have in common: which agents and steps are shown, how fully, and the lines over them.

A view is bounded whatever the run. The newest step of the root is always whole; of the others the bodies go first,
then the lines, and what is left out is counted. Which are shown rests on ids and numbers alone, never on which of
several agents was faster, so that a run that is done again looks the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rlm_kernel.trace import words
from rlm_kernel.trace.nodes import Agent, Call, State, Step, by_state
from rlm_kernel.trace.safe import clip, one_line
from rlm_kernel.trace.tree import Tree

MOST_AGENTS = 24
MOST_CALLS = 8
"""Completions of one step that are shown, and sub-agents; the rest is counted."""
MOST_STATES = 24
"""Of one step."""
HEAD_CHARS = 90
"""Of a prompt, a reply, a question of a sub-agent."""


def context_line(description: str, chars: int) -> str:
    """The first line of a context's description, which says its type and size; the rest stands in the notebook."""
    return one_line(description.split("\n", 1)[0].removeprefix("`context`: "), chars)


@dataclass(frozen=True, slots=True)
class Drawn:
    text: str
    whole: bool
    """Whether it has its body, or is but a line."""


@dataclass(slots=True)
class Node:
    """An agent that is shown."""

    agent: Agent
    level: int
    """How deep it hangs; 0 for the root."""
    age: int
    """Of the root's step that it hangs below; 0 is the newest."""
    steps: dict[int, Drawn] = field(default_factory=dict)
    """By number, oldest first; those that had no room are not in it."""
    below: dict[int | None, list[Node]] = field(default_factory=dict)
    """Its shown sub-agents by the step that started them; None for a person's own cell."""

    def under(self, step: Step | None) -> Iterator[State | Node]:
        """What hangs below a step: each state before those that it asked. Of more states than are shown, the first."""
        number = None if step is None else step.number
        states = [state for state in self.agent.states if state.step == number][:MOST_STATES]
        at = 0
        for node in self.below.get(number, []):
            while at < len(states) and node.agent.in_state is not None and states[at].number <= node.agent.in_state:
                yield states[at]
                at += 1
            yield node
        yield from states[at:]

    @property
    def left_out(self) -> str:
        """How many of its steps, in words; empty where none is."""
        more = len(self.agent.steps) - len(self.steps)
        return f"… {words.count(more, 'earlier step')}" if more else ""

    def more(self, step: Step | None) -> str:
        """How many of the sub-agents and states that the step started are left out, in words."""
        asked = self.agent.agents if step is None else step.agents
        number = None if step is None else step.number
        hidden = asked[len(self.below.get(number, [])) :]
        busy = sum(1 for agent in hidden if agent.end is None)
        states = sum(1 for state in self.agent.states if state.step == number) - MOST_STATES
        parts = [words.count(states, "more state")] if states > 0 else []
        parts += [words.count(len(hidden), "more agent")] if hidden else []
        parts += [f"{busy:,} at work"] if busy else []
        return f"… {', '.join(parts)}" if parts else ""


def outline(
    tree: Tree, whole: Callable[[Node, Step], str], short: Callable[[Node, Step], str], chars: int, short_chars: int
) -> tuple[list[Node], int]:
    """
    The agents that nobody called, with what is shown below them, and how many of them are left out.

    Steps are drawn newest first, a caller's before those below it: `whole` up to `chars` in sum, then `short` up to
    `short_chars` more. A step is cut to far less than `chars`, so the newest is always whole.
    """
    tops = [agent for agent, level in tree.walk() if level == 0]
    nodes = [Node(agent, 0, 0) for agent in tops[:MOST_AGENTS]]
    shown = _with_those_below(nodes)
    drawn: dict[tuple[str, int], Drawn] = {}
    for node, step in _newest_first(shown):
        if chars > 0:
            text = whole(node, step)
            chars -= len(text)
            if chars >= 0:
                drawn[node.agent.id, step.number] = Drawn(text, True)
                continue
        text = short(node, step)
        short_chars -= len(text)
        if short_chars < 0:
            break
        drawn[node.agent.id, step.number] = Drawn(text, False)
    for node in shown:
        found = ((step.number, drawn.get((node.agent.id, step.number))) for step in node.agent.steps)
        node.steps = {number: each for number, each in found if each is not None}
    return nodes, len(tops) - len(nodes)


def _with_those_below(nodes: list[Node]) -> list[Node]:
    """Hangs sub-agents below, level by level and newest steps first, while there is room. Gives all that are shown."""
    shown, waiting = list(nodes), deque(nodes)
    seen = {node.agent.id for node in nodes}
    while waiting:
        node = waiting.popleft()
        own: list[tuple[int | None, list[Agent]]] = [(None, node.agent.agents)]
        started = own + [(step.number, step.agents) for step in reversed(node.agent.steps)]
        for age, (number, agents) in enumerate(started):
            # A tampered record may let agents hang from each other in a ring.
            fresh = [agent for agent in by_state(agents)[:MOST_CALLS] if agent.id not in seen]
            here = fresh[: MOST_AGENTS - len(shown)]
            if here:
                seen.update(agent.id for agent in here)
                root_age = node.age if node.level else max(0, age - 1)
                deeper = node.level + 1
                node.below[number] = [
                    Node(agent, deeper + (agent.in_state is not None and bool(node.agent.states)), root_age)
                    for agent in here
                ]
                shown += node.below[number]
                waiting += node.below[number]
    return shown


def _newest_first(shown: list[Node]) -> list[tuple[Node, Step]]:
    """By the root's step, newest first; within it the caller's before those below, and of each agent the newest."""
    aged = [
        ((age if node.level == 0 else node.age, node.level, age), node, step)
        for node in shown
        for age, step in enumerate(reversed(node.agent.steps))
    ]
    return [(node, step) for _, node, step in sorted(aged, key=lambda each: each[0])]


def run_line(tree: Tree, volatile: bool) -> str:
    totals = tree.totals()
    parts = [
        f"RLM {one_line(tree.run.run, 60)}" if volatile and tree.run is not None else "RLM",
        one_line(words.ending(tree), 40),
    ]
    if tree.run is not None:
        parts.append(one_line(tree.run.model, 80))
    if len(tree.agents) > 1:
        parts.append(words.count(len(tree.agents), "agent"))
    parts += [words.count(totals.steps, "step"), words.count(totals.calls, "model call")]
    parts += [f"{totals.usage.total_tokens:,} tokens", words.cost(totals)]
    if volatile and totals.seconds is not None:
        parts.append(words.seconds(totals.seconds))
    return " · ".join(parts)


def step_facts(step: Step, volatile: bool) -> str:
    """What stands at the end of a step's line; a leading dot parts it from what goes before."""
    facts = []
    if volatile and (seconds := words.took_s(step)) is not None:
        facts.append(words.seconds(seconds))
    if (tokens := words.tokens(step)) is not None:
        facts.append(f"{tokens:,} tokens")
    return "".join(f" · {fact}" for fact in facts)


def headline(step: Step) -> str:
    """The first words of a reply that are no fence: prose, or else code."""
    if step.reply is None:
        return ""
    for line in step.reply.text[:4_000].split("\n"):
        bare = line.strip()
        if bare and not bare.startswith(("```", "~~~", "<think")):
            return one_line(bare.lstrip("#>*- "), HEAD_CHARS)
    return one_line(step.source, HEAD_CHARS) if step.source is not None else ""


def call_facts(call: Call, volatile: bool) -> str:
    """Who was asked, and what it took."""
    facts = [f"llm_query {call.number}"]
    if call.reply is None:
        facts.append(one_line(call.failure.kind, 40) if call.failure is not None else call.status)
    else:
        facts += [f"{call.reply.usage.total_tokens:,} tokens"]
        if volatile:
            facts.append(words.seconds(call.reply.seconds))
    return " · ".join(facts)


def agent_line(tree: Tree, agent: Agent, volatile: bool) -> str:
    """Of a sub-agent: who, what it was asked, how far it is, and what it took."""
    spent = tree.spent(agent)
    parts = [f"agent {one_line(agent.id, 40)}: {one_line(agent.question, HEAD_CHARS)}"]
    parts += [one_line(words.agent_state(agent), 40), words.count(spent.own.steps, "step")]
    facts = words.spent(spent)
    return " · ".join([*parts, *(facts if volatile else facts[:-1])])


def terms(node: Node) -> list[str]:
    """What an agent was given beside its question."""
    agent, chars = node.agent, HEAD_CHARS if node.level else 200
    given = [] if agent.context is None else [f"context: {context_line(agent.context, chars)}"]
    if agent.schema is not None:
        given.append(f"answer as: {one_line(agent.schema, chars)}")
    if agent.tools:
        given.append(f"tools: {one_line(', '.join(agent.tools[:20]), chars)}")
    return given if agent.isolation == "thread" else [*given, f"runs in a {one_line(agent.isolation, 40)} of its own"]


def call_answer(call: Call) -> str:
    if call.reply is not None:
        return call.reply.text
    return call.failure.message if call.failure is not None else ""


def step_trouble(step: Step, chars: int) -> str:
    """The error of a step, of its cell or of its model call, as bounded text; empty where there is none."""
    if step.failure is not None:
        return clip(f"{step.failure.kind}: {step.failure.message}", chars)
    if step.cell is not None and step.cell.error is not None:
        error = step.cell.error
        return clip(error.traceback or f"{error.name}: {error.message}", chars)
    return ""


def end_line(node: Node) -> str:
    """How an agent ended, without its answer; empty while it works."""
    end = node.agent.end
    if end is None:
        return ""
    named = f" ({one_line(end.name, HEAD_CHARS)})" if end.name is not None else ""
    why = f": {one_line(end.message, HEAD_CHARS if node.level else 300)}" if end.message else ""
    return f"{one_line(end.ending, 40)}{named}{why}"
