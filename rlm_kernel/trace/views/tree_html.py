"""
The tree as HTML that survives an untrusted notebook and a conversion: `<details>`, `<pre><code>`, inline styles.

No class, id, script, style sheet or CSS variable, and no background: the page's own may be dark or light. Every text
is escaped, without exception; see `safe`.
"""

from __future__ import annotations

from rlm_kernel.trace import words
from rlm_kernel.trace.nodes import Agent, Call, Step
from rlm_kernel.trace.safe import clip, in_html, one_line, outputs_text
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views import outline as lines

WHOLE_CHARS = 75_000
SHORT_CHARS = 15_000
CODE_CHARS = 2_000
OUTPUT_CHARS = 2_000
ERROR_CHARS = 1_000

_BLUE, _GREY, _GREEN, _RED = "#4a90d9", "#888888", "#2e9e5b", "#d9534f"
_COLOURS = {"done": _GREEN, "final": _GREEN, "asking": _BLUE, "running": _BLUE}


def as_html(tree: Tree, volatile: bool = True) -> str:
    """The live view, under 200 kB whatever the run. `volatile=False` leaves out the run's id and all seconds."""
    drawn = lines.outline(
        tree,
        lambda step, newest: _step(step, newest, volatile),
        lambda step: f"<div>{_summary(step, volatile)}</div>",
        WHOLE_CHARS,
        SHORT_CHARS,
    )
    parts = [f"<div><b>{in_html(lines.run_line(tree, volatile))}</b></div>"]
    opened: list[tuple[int, Agent]] = []
    for agent, level in drawn.agents:
        while opened and opened[-1][0] >= level:
            parts += _end(*opened.pop())
        parts += _begin(agent, level, drawn, volatile)
        opened.append((level, agent))
    while opened:
        parts += _end(*opened.pop())
    if drawn.more_agents:
        parts.append(_muted(f"… {drawn.more_agents:,} more agents"))
    return f'<div style="border-left: 3px solid {_BLUE}; padding-left: 10px">{"".join(parts)}</div>'


def _begin(agent: Agent, level: int, drawn: lines.Outline, volatile: bool) -> list[str]:
    if level == 0:
        parts = [f"<div>{in_html(clip(agent.question, 500))}</div>"]
    else:
        head = in_html(f"agent {one_line(agent.id, 40)}: {one_line(agent.question, lines.HEAD_CHARS)}")
        parts = [f'<details style="padding-left: 14px"><summary>{head}</summary>']
    if agent.context is not None:
        parts.append(_muted(f"context: {lines.context_line(agent.context)}"))
    left_out, steps = drawn.steps_of(agent)
    if left_out:
        parts.append(_muted(left_out))
    return [*parts, *steps, *_calls(agent.calls, volatile)]


def _end(level: int, agent: Agent) -> list[str]:
    """After the sub-agents, so that the last line of a run is its answer."""
    parts = []
    if end := lines.end_line(agent):
        parts.append(f"<div><b>{in_html(end)}</b></div>")
    if agent.end is not None and agent.end.answer is not None:
        answer = clip(agent.end.answer, OUTPUT_CHARS) if level == 0 else one_line(agent.end.answer, 200)
        parts.append(_pre(answer, _GREEN))
    return parts if level == 0 else [*parts, "</details>"]


def _step(step: Step, newest: bool, volatile: bool) -> str:
    parts = []
    if step.source is not None:
        parts.append(_pre(clip(step.source, CODE_CHARS), _GREY))
    if step.cell is not None:
        parts.append(_pre(outputs_text(step.cell.outputs, OUTPUT_CHARS), _BLUE))
    parts.append(_pre(lines.step_trouble(step, ERROR_CHARS), _RED))
    parts += _calls(step.calls, volatile)
    opened = " open" if newest else ""
    return f"<details{opened}><summary>{_summary(step, volatile)}</summary>{''.join(parts)}</details>"


def _summary(step: Step, volatile: bool) -> str:
    state = words.step_state(step)
    mark = f'<span style="color: {_COLOURS.get(state, _RED)}">{in_html(one_line(state, 40))}</span>'
    head = lines.headline(step)
    begins = in_html(f"step {step.number}{': ' + head if head else ''}")
    return f"{begins} · {mark}{in_html(lines.step_facts(step, volatile))}"


def _calls(calls: list[Call], volatile: bool) -> list[str]:
    shown = []
    for call in calls[: lines.MOST_CALLS]:
        body = _pre(one_line(call.prompt, 200), _GREY) + _pre(one_line(lines.call_answer(call), 200), _BLUE)
        summary = in_html(f"{lines.call_facts(call, volatile)}: {one_line(call.prompt, lines.HEAD_CHARS)}")
        shown.append(f'<details style="padding-left: 14px"><summary>{summary}</summary>{body}</details>')
    if len(calls) > len(shown):
        shown.append(_muted(f"… {len(calls) - len(shown):,} more completions"))
    return shown


def _pre(text: str, colour: str) -> str:
    if not text:
        return ""
    error = f"; color: {_RED}" if colour == _RED else ""
    style = f"border-left: 2px solid {colour}; padding-left: 8px{error}"
    return f'<pre style="{style}"><code>{in_html(text)}</code></pre>'


def _muted(text: str) -> str:
    return f'<div style="color: {_GREY}">{in_html(text)}</div>'
