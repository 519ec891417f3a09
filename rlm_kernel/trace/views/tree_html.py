"""
The tree as HTML that survives an untrusted notebook and a conversion: `<details>`, `<pre><code>`, inline styles.

No class, id, script, style sheet or CSS variable, and no background: the page's own may be dark or light. Every text
is escaped, without exception; see `safe`.
"""

from __future__ import annotations

from rlm_kernel.trace import words
from rlm_kernel.trace.nodes import Call, State, Step
from rlm_kernel.trace.safe import clip, in_html, one_line, outputs_text
from rlm_kernel.trace.states import state_line
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views import outline as lines

WHOLE_CHARS = 60_000
SHORT_CHARS = 12_000
CODE_CHARS = 2_000
OUTPUT_CHARS = 2_000
ERROR_CHARS = 1_000

_BLUE, _GREY, _GREEN, _RED = "#4a90d9", "#888888", "#2e9e5b", "#d9534f"
_COLOURS = {"done": _GREEN, "final": _GREEN, "asking": _BLUE, "running": _BLUE}


def as_html(tree: Tree, volatile: bool = True) -> str:
    """The live view, under 200 kB whatever the run. `volatile=False` leaves out the run's id and all seconds."""
    tops, more = lines.outline(
        tree,
        lambda node, step: _step(node, step, volatile),
        lambda node, step: f"<div>{_summary(step, volatile)}",
        WHOLE_CHARS,
        SHORT_CHARS,
    )
    parts = [f"<div><b>{in_html(lines.run_line(tree, volatile))}</b></div>"]
    for node in tops:
        parts += _agent(tree, node, volatile)
    if more:
        parts.append(_muted(f"… {more:,} more agents"))
    return f'<div style="border-left: 3px solid {_BLUE}; padding-left: 10px">{"".join(parts)}</div>'


def _agent(tree: Tree, node: lines.Node, volatile: bool) -> list[str]:
    agent = node.agent
    if node.level == 0:
        parts = [f"<div>{in_html(clip(agent.question, 500))}</div>"]
    else:
        head = in_html(lines.agent_line(tree, agent, volatile))
        parts = [f'<details style="padding-left: 14px"><summary>{head}</summary>']
    parts += map(_muted, lines.terms(node))
    if node.left_out:
        parts.append(_muted(node.left_out))
    for step in agent.steps:
        if (drawn := node.steps.get(step.number)) is not None:
            parts += [drawn.text, *_below(tree, node, step, volatile), "</details>" if drawn.whole else "</div>"]
    parts += _calls(agent.calls, volatile)
    parts += _below(tree, node, None, volatile)
    parts += _end(node)
    return parts if node.level == 0 else [*parts, "</details>"]


def _below(tree: Tree, node: lines.Node, step: Step | None, volatile: bool) -> list[str]:
    parts = []
    for each in node.under(step):
        if isinstance(each, State):
            parts.append(f'<div style="padding-left: 14px">{in_html(state_line(each))}</div>')
        else:
            parts += _agent(tree, each, volatile)
    more = node.more(step)
    return [*parts, _muted(more)] if more else parts


def _end(node: lines.Node) -> list[str]:
    """After the sub-agents, so that the last line of a run is its answer."""
    parts, end = [], node.agent.end
    if line := lines.end_line(node):
        parts.append(f"<div><b>{in_html(line)}</b></div>")
    if end is not None and end.answer is not None:
        answer = clip(end.answer, OUTPUT_CHARS) if node.level == 0 else one_line(end.answer, lines.HEAD_CHARS)
        parts.append(_pre(answer, _GREEN))
    return parts


def _step(node: lines.Node, step: Step, volatile: bool) -> str:
    """Without its end, before which the sub-agents go that it started."""
    parts = []
    if step.source is not None:
        parts.append(_pre(clip(step.source, CODE_CHARS), _GREY))
    if step.cell is not None:
        parts.append(_pre(outputs_text(step.cell.outputs, OUTPUT_CHARS), _BLUE))
    parts.append(_pre(lines.step_trouble(step, ERROR_CHARS), _RED))
    parts += _calls(step.calls, volatile)
    # Only the root's: which of several sub-agents has the newest step changes from one moment to the next.
    opened = " open" if node.level == 0 and step is node.agent.steps[-1] else ""
    return f"<details{opened}><summary>{_summary(step, volatile)}</summary>{''.join(parts)}"


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
