"""
What the HTML and the text view have in common: which agents and steps are shown, how fully, and the lines over them.

A view is bounded whatever the run. The newest step is always whole; of the older ones the bodies go first, then the
lines, and what is left out is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from rlm_kernel.trace import words
from rlm_kernel.trace.nodes import Agent, Call, Step
from rlm_kernel.trace.safe import clip, one_line
from rlm_kernel.trace.tree import Tree

MOST_AGENTS = 40
MOST_CALLS = 8
"""Completions of one step that are shown; the rest is counted."""
HEAD_CHARS = 90
"""Of a prompt, a reply, a question of a sub-agent."""


def context_line(description: str) -> str:
    """The first line of a context's description, which says its type and size; the rest stands in the notebook."""
    return one_line(description.split("\n", 1)[0].removeprefix("`context`: "), 200)


@dataclass(frozen=True, slots=True)
class Outline:
    agents: list[tuple[Agent, int]]
    """Those that are shown, in order, with how deep they hang."""
    steps: dict[tuple[str, int], str]
    """The drawn steps by agent and number; those that had no room are not in it."""
    more_agents: int

    def steps_of(self, agent: Agent) -> tuple[str, list[str]]:
        """How many of its steps are left out, in words, empty where none is; and the others, drawn."""
        shown = [self.steps[agent.id, step.number] for step in agent.steps if (agent.id, step.number) in self.steps]
        more = len(agent.steps) - len(shown)
        return f"… {words.count(more, 'earlier step')}" if more else "", shown


def outline(
    tree: Tree, whole: Callable[[Step, bool], str], short: Callable[[Step], str], chars: int, short_chars: int
) -> Outline:
    """
    Draw steps, newest first: `whole(step, newest)` up to `chars` in sum, then `short(step)` up to `short_chars` more.

    A step is cut to far less than `chars`, so the newest is always whole.
    """
    walked = list(islice(tree.walk(), MOST_AGENTS))
    newest_first = sorted(
        ((step, agent) for agent, _ in walked for step in agent.steps), key=lambda pair: pair[0].order, reverse=True
    )
    drawn: dict[tuple[str, int], str] = {}
    for n, (step, agent) in enumerate(newest_first):
        if chars > 0:
            text = whole(step, n == 0)
            chars -= len(text)
            if chars >= 0:
                drawn[agent.id, step.number] = text
                continue
        text = short(step)
        short_chars -= len(text)
        if short_chars < 0:
            break
        drawn[agent.id, step.number] = text
    return Outline(walked, drawn, len(tree.agents) - len(walked))


def run_line(tree: Tree, volatile: bool) -> str:
    totals = tree.totals()
    parts = [
        f"RLM {one_line(tree.run.run, 60)}" if volatile and tree.run is not None else "RLM",
        one_line(words.ending(tree), 40),
    ]
    if tree.run is not None:
        parts.append(one_line(tree.run.model, 80))
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


def end_line(agent: Agent) -> str:
    """How an agent ended, without its answer; empty while it works."""
    if agent.end is None:
        return ""
    named = f" ({one_line(agent.end.name, HEAD_CHARS)})" if agent.end.name is not None else ""
    why = f": {one_line(agent.end.message, 300)}" if agent.end.message else ""
    return f"{one_line(agent.end.ending, 40)}{named}{why}"
