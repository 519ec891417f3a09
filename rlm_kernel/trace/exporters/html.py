"""
A run as one page: no script, nothing from a network, readable in light and in dark.

An agent is a `<details>`, folded below the root, its steps inside it. Every text of the record is escaped; an output is
its plain text, and its picture as a data URI in `<img>`, where a browser runs nothing. HTML, JavaScript and LaTeX of
the record are shown as the plain text that stands beside them, or are named. The policy in the head forbids the rest.
Messages that were sent to a model are left out but for completions: the trace notebook has them.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlm_kernel.trace import words
from rlm_kernel.trace.exporters import html_pieces as pieces
from rlm_kernel.trace.nesting import unfolded
from rlm_kernel.trace.nodes import Agent, Call, State, Step, by_state
from rlm_kernel.trace.safe import in_html, one_line
from rlm_kernel.trace.sections import around
from rlm_kernel.trace.states import state_line
from rlm_kernel.trace.tree import Tree

CALL_CHARS = 20_000
"""Of a completion's prompt and of its reply."""
DEEPEST = 100
"""Agents that stand inside each other; browsers give up on deeper pages, so those below stand beside."""

_STYLE = """
:root { color-scheme: light dark; --line: #8888; --muted: #767676; --good: #1a7f46; --bad: #c0392b; --code: #8881; }
@media (prefers-color-scheme: dark) { :root { --muted: #9a9a9a; --good: #4cc38a; --bad: #ff7b72; --code: #fff1; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.25rem; white-space: pre-wrap; overflow-wrap: anywhere; }
pre { font: 13px/1.45 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0;
  padding: .5rem .7rem; border-left: 3px solid var(--line); }
pre.cell { background: var(--code); border-left-color: #4a90d9; }
pre.error { border-left-color: var(--bad); color: var(--bad); }
pre.answer { border-left-color: var(--good); }
p { white-space: pre-wrap; overflow-wrap: anywhere; margin: .5rem 0; }
img { max-width: 100%; background: #fff; }
summary { cursor: pointer; overflow-wrap: anywhere; }
details.agent { border: 1px solid var(--line); border-radius: 6px; padding: .4rem .8rem; margin: .6rem 0; }
section { margin: 1rem 0 1.4rem; }
h2 { font-size: 1rem; margin: 0; } h2 .muted { font-weight: normal; }
table { border-collapse: collapse; } td { padding: 0 1rem 0 0; vertical-align: top; overflow-wrap: anywhere; }
.muted { color: var(--muted); font-size: 13px; } .good { color: var(--good); } .bad { color: var(--bad); }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def html(tree: Tree) -> str:
    """A whole page, whatever is in the tree, and of a tree that is empty too."""
    root = tree.root
    name = "a run" if tree.run is None else one_line(tree.run.run, 100)
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
        f"<title>{in_html(name)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n",
        f"<h1>{pieces.escaped('' if root is None else root.question, pieces.TEXT_CHARS)}</h1>\n",
        _facts(tree),
    ]
    levels = {agent.id: level for agent, level in tree.walk()}

    def section(agent: Agent) -> Iterator[str | Agent]:
        return _agent(tree, agent, levels, agent is root)

    for top in [agent for agent, level in tree.walk() if level == 0]:
        parts += unfolded(section(top), Agent, section)
    parts.append("</body>\n</html>\n")
    return "".join(parts)


def _facts(tree: Tree) -> str:
    run, totals = tree.run, tree.totals()
    usage = totals.usage
    cached = "" if usage.cached_tokens is None else f" ({usage.cached_tokens:,} cached)"
    rows = {
        "Run": "" if run is None else run.run,
        "Asked": tree.started_at or "",
        "Model": "" if run is None else run.model,
        "Ended": "no end in this record" if tree.end is None else tree.end.ending,
        "Agents": f"{len(tree.agents):,}",
        "Took": words.work(totals),
        "Tokens": f"{usage.prompt_tokens:,} in{cached}, {usage.completion_tokens:,} out",
        "Versions": "" if run is None else ", ".join(f"{name} {version}" for name, version in run.versions.items()),
    }
    lines = (
        f'<tr><td class="muted">{name}</td><td>{pieces.line(said)}</td></tr>' for name, said in rows.items() if said
    )
    return f"<table>{''.join(lines)}</table>\n"


def _agent(tree: Tree, agent: Agent, levels: dict[str, int], opened: bool) -> Iterator[str | Agent]:
    """Its page in pieces; a sub-agent in place of its own."""
    level, spent = levels[agent.id], tree.spent(agent)
    state = words.agent_state(agent)
    mark = f'<span class="{"good" if words.answered(agent) else "bad"}">{pieces.line(state, 40)}</span>'
    question = "" if level == 0 and opened else f": {pieces.line(agent.question, 90)}"
    steps = words.count(spent.own.steps, "step")
    facts = in_html(" · ".join([steps, *words.spent(spent)]))
    head = f"<b>Agent {pieces.line(agent.id, 60)}</b>{question} · {mark}"
    yield f'<details class="agent"{" open" if opened else ""}><summary>{head}'
    yield f' <span class="muted">· {facts}</span></summary>\n'
    # Beyond it browsers flatten what is nested; closed here, those below stand beside.
    flat = level >= DEEPEST
    beside: list[Agent] = []

    def inside(step: Step | None) -> Iterator[str | Agent]:
        for each in _below(agent, step, levels):
            if flat and isinstance(each, Agent):
                beside.append(each)
            else:
                yield each

    yield from _terms(agent, level)
    for step in agent.steps:
        yield _step(step)
        yield from inside(step)
        yield "</section>\n"
    yield _calls(agent.calls)
    yield from inside(None)
    if agent.end is None or not words.answered(agent):
        yield f'<p class="bad">{pieces.line(words.why_not(agent), 2_000)}</p>\n'
    if agent.end is not None and agent.end.answer is not None:
        named = "" if agent.end.name is None else f" (by its name {pieces.line(agent.end.name, 200)})"
        yield f'<div class="muted">answer{named}</div>{pieces.pre(agent.end.answer, "answer")}'
    yield "</details>\n"
    yield from beside


def _below(caller: Agent, step: Step | None, levels: dict[str, int]) -> Iterator[str | Agent]:
    """
    What the step started, or a person's own cell: sub-agents that stand under their caller, and states of workflows
    before those they asked.
    """
    states = [state for state in caller.states if state.step == (None if step is None else step.number)]
    for agent in by_state(caller.agents if step is None else step.agents):
        if levels[agent.id] != levels[caller.id] + 1:  # it hangs in a ring, and is told elsewhere
            continue
        while states and agent.in_state is not None and states[0].number <= agent.in_state:
            yield _state(states.pop(0))
        yield agent
    yield from map(_state, states)


def _state(state: State) -> str:
    failed = state.end is not None and state.end.error is not None
    mark = ' class="bad"' if failed else ""
    return f"<p{mark}><b>{in_html(state_line(state))}</b></p>\n"


def _terms(agent: Agent, level: int) -> Iterator[str]:
    if level:
        yield f"<p>{pieces.escaped(agent.question, CALL_CHARS)}</p>\n"
    rows = {"asked by": words.asked_by(agent), "model": agent.model, "tools": ", ".join(agent.tools)}
    facts = [f"{name} {said}" for name, said in rows.items() if said]
    if facts:
        yield f'<div class="muted">{pieces.line(" · ".join(facts), 1_000)}</div>\n'
    for name, said in (("the form of its answer", agent.schema), ("context", agent.context)):
        if said is not None:
            yield f'<div class="muted">{name}</div>{pieces.pre(said)}'
    yield from (f'<div class="muted">{pieces.line(note, 600)}</div>\n' for note in agent.notes)


def _step(step: Step) -> str:
    """Without its end, before which the sub-agents go that it started."""
    state = words.step_state(step)
    mark = f'<span class="{"good" if state in ("done", "final") else "bad"}">{pieces.line(state, 40)}</span>'
    facts = [words.seconds(words.took_s(step))]
    if step.reply is not None:
        usage = step.reply.usage
        facts += [f"{usage.prompt_tokens:,} tokens in, {usage.completion_tokens:,} out", words.dollars(usage.cost_usd)]
    parts = [
        f'<section><h2>Step {step.number} · {mark} <span class="muted">· {in_html(" · ".join(facts))}</span></h2>\n'
    ]
    before, after = around(step.reply.text if step.reply is not None else "", step.source)
    parts.append(pieces.prose(before))
    if step.source is not None:
        parts.append(pieces.pre(step.source, "cell"))
    parts.append(_calls(step.calls))
    if step.cell is not None:
        parts += [pieces.output(output) for output in step.cell.outputs]
        if step.cell.error is not None:
            error = step.cell.error
            parts.append(pieces.pre(error.traceback or f"{error.name}: {error.message}", "error"))
        if step.cell.dropped_chars:
            parts.append(f'<div class="muted">{step.cell.dropped_chars:,} characters were not kept</div>\n')
    if step.failure is not None:
        parts.append(pieces.pre(words.failure(step.failure), "error"))
    parts.append(pieces.prose(after))
    parts += [f'<div class="muted">{pieces.line(note, 600)}</div>\n' for note in words.notes(step)]
    return "".join(parts)


def _calls(calls: list[Call]) -> str:
    if not calls:
        return ""
    spent = sum(call.reply.usage.total_tokens for call in calls if call.reply is not None)
    told = f"{words.count(len(calls), 'completion')}, {spent:,} tokens"
    return f'<details><summary class="muted">{in_html(told)}</summary>\n{"".join(map(_call, calls))}</details>\n'


def _call(call: Call) -> str:
    facts = [f"llm_query {call.number}", call.model if call.reply is None else call.reply.model]
    if call.reply is not None:
        usage = call.reply.usage
        facts += [f"{usage.total_tokens:,} tokens", words.dollars(usage.cost_usd), words.seconds(call.reply.seconds)]
        answer = pieces.pre(call.reply.text, "answer", CALL_CHARS)
    elif call.failure is not None:
        answer = pieces.pre(words.failure(call.failure), "error", CALL_CHARS)
    else:
        answer = f'<div class="bad">{pieces.line(call.status)}</div>'
    head = f'<div class="muted">{pieces.line(" · ".join(facts), 300)}</div>'
    return f"{head}{pieces.pre(call.prompt, '', CALL_CHARS)}{answer}\n"
