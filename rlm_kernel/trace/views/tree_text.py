"""The tree as indented text, for consoles, `text/plain` and tests of notebooks."""

from __future__ import annotations

from rlm_kernel.trace import words
from rlm_kernel.trace.nodes import Call, State, Step
from rlm_kernel.trace.safe import clip, one_line, outputs_text
from rlm_kernel.trace.states import state_line
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views import outline as lines

WHOLE_CHARS = 40_000
SHORT_CHARS = 10_000
CODE_CHARS = 1_500
OUTPUT_CHARS = 800
DEEPEST = 10
"""Sub-agents below are not indented further."""


def as_text(tree: Tree, times: bool = True) -> str:
    """The live view. `times=False` leaves out what differs from one run to the next: the run's id and all seconds."""
    tops, more = lines.outline(
        tree,
        lambda node, step: _under(_step(step, times), _margin(node.level) + "  "),
        lambda node, step: _under(_line(step, times), _margin(node.level) + "  "),
        WHOLE_CHARS,
        SHORT_CHARS,
    )
    shown = [lines.run_line(tree, times)]
    for node in tops:
        shown += _agent(tree, node, times)
    if more:
        shown.append(f"… {more:,} more agents")
    return "\n".join(shown)


def _agent(tree: Tree, node: lines.Node, times: bool) -> list[str]:
    agent, margin = node.agent, _margin(node.level)
    if node.level == 0:
        shown = [_under(clip(agent.question, 500), f"{margin}agent {one_line(agent.id, 40)}: ")]
    else:
        shown = [margin + lines.agent_line(tree, agent, times)]
    shown += [f"{margin}  {text}" for text in (*lines.terms(node), node.left_out) if text]
    for step in agent.steps:
        if (drawn := node.steps.get(step.number)) is not None:
            shown += [drawn.text, *_below(tree, node, step, times)]
    shown += [f"{margin}  {text}" for text in _calls(agent.calls, times)]
    shown += _below(tree, node, None, times)
    if end := _end(node):
        shown.append(_under(end, margin + "  "))
    return shown


def _below(tree: Tree, node: lines.Node, step: Step | None, times: bool) -> list[str]:
    shown = []
    for each in node.under(step):
        if isinstance(each, State):
            shown.append(_margin(node.level + 1) + state_line(each))
        else:
            shown += _agent(tree, each, times)
    more = node.more(step)
    return [*shown, _margin(node.level + 1) + more] if more else shown


def _end(node: lines.Node) -> str:
    """After an agent's sub-agents, so that the last line of a run is its answer."""
    line, end = lines.end_line(node), node.agent.end
    if end is None or end.answer is None:
        return line
    return f"{line}: {clip(end.answer, OUTPUT_CHARS) if node.level == 0 else one_line(end.answer, lines.HEAD_CHARS)}"


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
    return "    " * min(level, DEEPEST)


def _under(text: str, first: str, rest: str | None = None) -> str:
    """Each line behind `rest`, the first behind `first`; `rest` is as much blank space where it is not given."""
    rest = " " * len(first) if rest is None else rest
    return first + text.replace("\n", "\n" + rest)
