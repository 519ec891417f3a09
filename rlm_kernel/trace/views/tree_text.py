"""The tree as indented text, for consoles, `text/plain` and tests of notebooks."""

from __future__ import annotations

from rlm_kernel.trace import words
from rlm_kernel.trace.nodes import Agent, Call, Step
from rlm_kernel.trace.safe import clip, one_line, outputs_text
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views import outline as lines

WHOLE_CHARS = 40_000
SHORT_CHARS = 10_000
CODE_CHARS = 1_500
OUTPUT_CHARS = 800
DEEPEST = 20
"""Sub-agents below are not indented further."""


def as_text(tree: Tree, times: bool = True) -> str:
    """The live view. `times=False` leaves out what differs from one run to the next: the run's id and all seconds."""
    drawn = lines.outline(
        tree,
        lambda step, newest: _step(step, times),
        lambda step: _line(step, times),
        WHOLE_CHARS,
        SHORT_CHARS,
    )
    shown = [lines.run_line(tree, times)]
    ends: list[tuple[int, Agent]] = []
    for agent, level in drawn.agents:
        while ends and ends[-1][0] >= level:
            shown += _end(*ends.pop())
        shown += _agent(agent, level, drawn, times)
        ends.append((level, agent))
    while ends:
        shown += _end(*ends.pop())
    if drawn.more_agents:
        shown.append(f"… {drawn.more_agents:,} more agents")
    return "\n".join(shown)


def _agent(agent: Agent, level: int, drawn: lines.Outline, times: bool) -> list[str]:
    question = clip(agent.question, 500) if level == 0 else one_line(agent.question, lines.HEAD_CHARS)
    body = []
    if agent.context is not None:
        body.append(f"context: {lines.context_line(agent.context)}")
    left_out, steps = drawn.steps_of(agent)
    if left_out:
        body.append(left_out)
    body += [*steps, *_calls(agent.calls, times)]
    margin = _margin(level)
    head = _under(question, f"{margin}agent {one_line(agent.id, 40)}: ")
    return [head, *(_under(text, margin + "  ") for text in body)]


def _end(level: int, agent: Agent) -> list[str]:
    """After an agent's sub-agents, so that the last line of a run is its answer."""
    end = lines.end_line(agent)
    if not end:
        return []
    answer = agent.end.answer if agent.end is not None else None
    text = end if answer is None else f"{end}: {clip(answer, OUTPUT_CHARS)}"
    return [_under(text, _margin(level) + "  ")]


def _step(step: Step, times: bool) -> str:
    parts = [_line(step, times)]
    if step.source is not None:
        parts.append(_under(clip(step.source, CODE_CHARS), "  | ", "  | "))
    parts += [_under(text, "  ") for text in _calls(step.calls, times)]
    if step.cell is not None and (text := outputs_text(step.cell.outputs, OUTPUT_CHARS)):
        parts.append(_under(text, "  > ", "  > "))
    if trouble := lines.step_trouble(step, OUTPUT_CHARS):
        parts.append(_under(trouble, "  ! ", "  ! "))
    return "\n".join(parts)


def _line(step: Step, times: bool) -> str:
    head = lines.headline(step)
    state = one_line(words.step_state(step), 40)
    return f"step {step.number}{': ' + head if head else ''} · {state}{lines.step_facts(step, times)}"


def _calls(calls: list[Call], times: bool) -> list[str]:
    shown = []
    for call in calls[: lines.MOST_CALLS]:
        answer = one_line(lines.call_answer(call), lines.HEAD_CHARS)
        asked = one_line(call.prompt, lines.HEAD_CHARS)
        shown.append(f"{lines.call_facts(call, times)}: {asked}{' → ' + answer if answer else ''}")
    if len(calls) > len(shown):
        shown.append(f"… {len(calls) - len(shown):,} more completions")
    return shown


def _margin(level: int) -> str:
    return "  " * min(level, DEEPEST)


def _under(text: str, first: str, rest: str | None = None) -> str:
    """Each line behind `rest`, the first behind `first`; `rest` is as much blank space where it is not given."""
    rest = " " * len(first) if rest is None else rest
    return first + text.replace("\n", "\n" + rest)
