"""The states of workflows: where their sections stand in the trace notebook, and what is said of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlm_kernel.trace import words
from rlm_kernel.trace.cells import Cell, cell_id, markdown
from rlm_kernel.trace.markdown import inline
from rlm_kernel.trace.nodes import Agent, Call, State
from rlm_kernel.trace.safe import one_line
from rlm_kernel.trace.sections import HERE, Links, link

MOST_NAMED = 20
"""Of those that a state asked, and of texts that went by value."""
CHARS = 400


def placed(agents: Sequence[tuple[Agent, int]]) -> Iterator[tuple[Agent, State | None, int]]:
    """
    The agents of one notebook, each with None, and between them their states, each with the agent whose workflow it
    is of; and how many headings each stands below.

    A state stands before the first sub-agent that it asked, or else after the state before it. Those that it asked
    stand one heading deeper.
    """
    shown: dict[str, int] = {}
    told: dict[str, int] = {}
    open_ones: list[tuple[Agent, int]] = []

    def states(agent: Agent, last: int | None) -> Iterator[tuple[Agent, State | None, int]]:
        """Those not told yet, up to the one of that number; all for None."""
        for state in agent.states[told.get(agent.id, 0) :]:
            if last is not None and state.number > last:
                return
            told[agent.id] = told.get(agent.id, 0) + 1
            yield agent, state, shown[agent.id] + 1

    for agent, level in agents:
        while open_ones and open_ones[-1][1] >= level:
            yield from states(open_ones.pop()[0], None)
        caller = open_ones[-1][0] if open_ones else None
        shown[agent.id] = level if caller is None else shown[caller.id] + 1
        if caller is not None and caller.states and agent.in_state is not None:
            yield from states(caller, agent.in_state)
            shown[agent.id] += 1
        open_ones.append((agent, level))
        yield agent, None, shown[agent.id]
    while open_ones:
        yield from states(open_ones.pop()[0], None)


def state_cell(agent: Agent, state: State, level: int, links: Links = HERE) -> Cell:
    """Its heading, and what became of it. Without times, which are others in each run."""
    visit = "" if state.visit == 1 else f", visit {state.visit}"
    lines = [f"{'#' * min(6, 2 + level)} State {inline(state.name or words.UNKNOWN, 100)}{visit}"]
    facts = "\n".join(f"| {name} | {value} |" for name, value in _facts(agent, state, links).items())
    lines.append(f"| | |\n|---|---|\n{facts}")
    if state.end is not None:
        lines += [f"* *Tried again after {inline(problem, 600)}*" for problem in state.end.problems]
    rlm = {"agent": agent.id, "step": state.step, "kind": "state"}
    return markdown(cell_id(agent.id, f"state{state.number}"), "\n\n".join(lines), rlm)


def _facts(agent: Agent, state: State, links: Links) -> dict[str, str]:
    """Ready to stand in a table."""
    where = "in a person's cell" if state.step is None else f"in step {state.step}"
    facts = {
        "Run by": f"{link(agent.id, links)} {where}",
        "Agents": inline(_named(state.workers), CHARS),
    }
    asked = [link(child.id, links) for child in agent.children if child.in_state == state.number]
    asked += [f"llm_query {call.number}" for call in calls_in(agent, state)]
    if asked:
        facts["Asked"] = _named(asked)
    end = state.end
    if end is None:
        return {**facts, "Result": "no end in this record"}
    facts["Attempts"] = f"{end.attempts:,}"
    facts["Result"] = inline(words.UNKNOWN if end.result is None else end.result, CHARS)
    if end.error is not None:
        facts["Error"] = inline(end.error, CHARS)
    else:
        facts["Next"] = "none, it is an end" if end.next is None else inline(f"State {end.next}", 200)
    if end.loaded or end.typed_tokens:
        facts["By value"] = inline(by_value(state), CHARS)
    return facts


def calls_in(agent: Agent, state: State) -> list[Call]:
    """The completions that were asked for in it."""
    return [call for call in agent.all_calls if call.in_state == state.number]


def by_value(state: State) -> str:
    """What its agents were given as text, and gave so: `3,400 tokens in (contract 3,400), 210 out`."""
    end = state.end
    if end is None:
        return ""
    named = _named([f"{each.key} {each.tokens:,}" for each in end.loaded if each.key])
    inside = f" ({named})" if named else ""
    return f"{sum(each.tokens for each in end.loaded):,} tokens in{inside}, {end.typed_tokens:,} out"


def _named(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" … and {more:,} more" if more > 0 else "")


def state_line(state: State) -> str:
    """For the views: `state risks, visit 2 · 3 attempts · list, 2 items: … → report`."""
    end, visit = state.end, "" if state.visit == 1 else f", visit {state.visit}"
    parts = [f"state {one_line(state.name or words.UNKNOWN, 60)}{visit}"]
    if end is None:
        return f"{parts[0]} · at work"
    if end.attempts > 1:
        parts.append(words.count(end.attempts, "attempt"))
    if end.loaded or end.typed_tokens:
        parts.append(f"by value {one_line(by_value(state), 90)}")
    if end.error is not None:
        return " · ".join([*parts, one_line(end.error, 90)])
    if end.result is not None:
        parts.append(one_line(end.result, 90))
    return " · ".join(parts) + (" → end" if end.next is None else f" → {one_line(end.next, 60)}")
