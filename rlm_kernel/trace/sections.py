"""The cells of one agent in the trace notebook: its heading, its steps, what it asked of others, how it ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from rlm_kernel.trace import words
from rlm_kernel.trace.cells import Cell, cell_id, code, markdown
from rlm_kernel.trace.markdown import fence, inline, prose
from rlm_kernel.trace.nodes import Agent, Call, Step
from rlm_kernel.trace.safe import clip
from rlm_kernel.trace.tree import Tree

HEAD_CHARS = 400
"""What the pages show of a completion's prompt and of its reply."""
_LINKED = re.compile(r"[0-9]+(?:\.[0-9]+)*")


Links = Mapping[str, str]
"""By agent, the file of the notebook that it is in, where that is another one."""
HERE: Links = {}


def heading(tree: Tree, agent: Agent, level: int, links: Links = HERE) -> Cell:
    """The heading is the agent's id and no more, for `link` to find; what there is to know of it stands below."""
    lines = [f"{'#' * min(6, 2 + level)} Agent {inline(agent.id, 60)}"]
    if level:
        lines.append(fence(clip(agent.question, 4 * HEAD_CHARS)))
    if facts := _facts(tree, agent, level, links):
        lines.append("| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in facts.items()))
    if agent.schema is not None:
        lines += ["Its answer must be", fence(clip(agent.schema, 4 * HEAD_CHARS))]
    if agent.context is not None:
        lines += ["`context` is", fence(agent.context)]
    lines += [f"* *{inline(note, 600)}*" for note in agent.notes]
    return markdown(cell_id(agent.id, "agent"), "\n\n".join(lines), {"agent": agent.id, "kind": "agent"})


def _facts(tree: Tree, agent: Agent, level: int, links: Links) -> dict[str, str]:
    """Ready to stand in a table. Of a root, only what its title does not say already."""
    facts = {}
    if agent.caller is not None:
        where = "in a person's cell" if agent.in_step is None else f"in step {agent.in_step}"
        caller = tree.agents.get(agent.caller)
        states = [] if caller is None or agent.in_state is None else caller.states
        where += "".join(f", state {inline(s.name, 100)}" for s in states if s.number == agent.in_state)
        facts["Asked by"] = f"{link(agent.caller, links)} {where}"
    if level:
        facts["Model"] = inline(agent.model, 400)
    if agent.tools:
        facts["Tools"] = inline(", ".join(agent.tools), 400)
    if agent.isolation != "thread":
        facts["Runs in"] = inline(f"a {agent.isolation} of its own", 100)
    spent = tree.spent(agent)
    if level or agent.children:
        facts["It took"] = inline(words.work(spent.own, volatile=False), 200)
    if agent.children:
        facts["With those below"] = inline(words.work(spent.total, volatile=False), 200)
    return facts


def asked_by(agent: Agent) -> str:
    """Of one of the agents of a wide fan-out: which that is."""
    where = "of a person's own cell" if agent.in_step is None else f"of step {agent.in_step} of agent {agent.caller}"
    return f"The sub-agents {where}"


def link(id: str, links: Links = HERE) -> str:
    """
    To that agent's heading. JupyterLab 4 and nbconvert make a heading's anchor alike: its text with hyphens for spaces.
    Readers that have a rule of their own (VS Code drops the dots) or follow no link in a notebook stay where they are.
    """
    name = f"Agent {inline(id, 60)}"
    file = quote(links[id]) if id in links else ""
    return f"[{name}]({file}#Agent-{id})" if len(id) <= 60 and _LINKED.fullmatch(id) else name


def step_cells(tree: Tree, agent: Agent, step: Step, varies: tuple[str, ...] = (), links: Links = HERE) -> list[Cell]:
    """`varies` is what the cell's outputs depend on besides, see `varying`."""
    cells = []

    def add(what: str, source: str, kind: str) -> None:
        if source:
            id = cell_id(agent.id, f"s{step.number}{what}")
            cells.append(markdown(id, source, {"agent": agent.id, "step": step.number, "kind": kind}))

    before, after = around(step.reply.text if step.reply is not None else "", step.source)
    took = "" if step.reply is None else f"*Step {step.number}: {inline(words.call(step.reply), 200)}*"
    add("-text", "\n\n".join(filter(None, [took, prose(before)])), "prose")
    if step.source is not None:
        # Any other agent's cell says whose it is, so that it can be run in that namespace.
        whose = "" if agent.caller is None else f"%%agent {' '.join(agent.id.split())}\n"
        id = cell_id(agent.id, f"s{step.number}")
        rlm = {"agent": agent.id, "step": step.number, "kind": "cell"}
        tags = ["nbval-ignore-output"] if varies or step.output_lost else []
        cells.append(code(id, whose + step.source, step, rlm, *tags))
    if step.calls:
        cells.append(calls_cell(agent, step.calls, f"s{step.number}-calls", step.number))
    if step.agents:
        cells.append(agents_cell(tree, agent, step.agents, f"s{step.number}-agents", step.number, links))
    add("-more", prose(after), "prose")
    add("-notes", _notes(step, varies), "notes")
    return cells


def agents_cell(
    tree: Tree, caller: Agent, agents: list[Agent], what: str, step: int | None, links: Links = HERE
) -> Cell:
    """Whom it asked: a line for each, and where they are in another notebook, a row."""
    rlm = {"agent": caller.id, "step": step, "kind": "agents"}
    if agents[0].id in links and caller.id not in links:
        rows = "\n".join(_row(tree, agent, links) for agent in agents)
        file = links[agents[0].id]
        head = f"{words.count(len(agents), 'sub-agent')}, in [{inline(file, 200)}]({quote(file)})"
        columns = "| agent | question | ended | answer | steps | tokens | cost |\n|---|---|---|---|--:|--:|--:|"
        table = f"{head}\n\n{columns}\n{rows}"
        return markdown(cell_id(caller.id, what), table, rlm)
    lines = []
    for agent in agents:
        ended = "no end in this record" if agent.end is None else agent.end.ending
        facts = f"{ended} · {words.work(tree.spent(agent).total, volatile=False)}"
        lines.append(f"* {link(agent.id, links)}: {inline(agent.question, 90)} · {inline(facts, 200)}")
    return markdown(cell_id(caller.id, what), "\n".join(lines), rlm)


def _row(tree: Tree, agent: Agent, links: Links) -> str:
    total = tree.spent(agent).total
    ended = "no end in this record" if agent.end is None else agent.end.ending
    answer = words.UNKNOWN if agent.end is None or agent.end.answer is None else agent.end.answer
    texts = [inline(agent.question, 60), inline(ended, 40), inline(answer, 60)]
    figures = [f"{total.steps:,}", f"{total.usage.total_tokens:,}", inline(words.cost(total), 30)]
    return f"| {' | '.join([link(agent.id, links), *texts, *figures])} |"


def calls_cell(agent: Agent, calls: list[Call], what: str, step: int | None) -> Cell:
    spent = sum(call.reply.usage.total_tokens for call in calls if call.reply is not None)
    summary = f"{words.count(len(calls), 'completion')}, {spent:,} tokens"
    parts = [f"<details><summary>{inline(summary, 200)}</summary>"]
    for call in calls:
        facts = [f"llm_query {call.number}", call.reply.model if call.reply is not None else call.model]
        if call.reply is not None:
            facts.append(words.call(call.reply))
            answer = call.reply.text
        elif call.failure is not None:
            facts.append(call.failure.kind)
            answer = call.failure.message
        else:
            facts.append(call.status)
            answer = ""
        parts.append(inline(", ".join(facts), 300))
        parts.append(fence(clip(call.prompt, HEAD_CHARS)))
        parts.append(fence(clip(answer, HEAD_CHARS)) if answer else inline(words.UNKNOWN, 9))
    parts.append("</details>")
    rlm = {"agent": agent.id, "step": step, "kind": "calls"}
    return markdown(cell_id(agent.id, what), "\n\n".join(parts), rlm)


_OPENS = re.compile(r"[ \t]*(?:(?:[-*+]|[0-9]+[.)])[ \t]+)?(?:`{3,}|~{3,})[^\n]*")
_CLOSES = re.compile(r"[ \t\n]*+(?:`{3,}|~{3,})[ \t]*+(?=\n|$)")


def around(reply: str, source: str | None) -> tuple[str, str]:
    """The reply before and after the block that ran; the whole reply where the block cannot be found in it."""
    reply = reply.replace("\r\n", "\n").replace("\r", "\n")
    at = reply.find(source) if source else -1
    while source and at >= 0:
        lead = reply[:at].rstrip(" \t\n")
        line = lead.rfind("\n") + 1
        if _OPENS.fullmatch(lead, line):
            rest = at + len(source)
            closing = _CLOSES.match(reply, rest)
            return reply[:line], reply[closing.end() if closing is not None else rest :]
        at = reply.find(source, at + 1)
    return reply, ""


def _notes(step: Step, varies: tuple[str, ...]) -> str:
    notes = list(step.notes)
    if varies:
        notes.append(f"Its output may differ when it runs again: it depends on {', '.join(varies)}.")
    if step.failure is not None:
        notes.append(f"The model call failed ({step.failure.kind}): {step.failure.message}")
    elif step.reply is None:
        notes.append("No reply is in this record.")
    elif step.source is not None and step.cell is None:
        notes.append("How this cell ended is not in this record.")
    if step.status == "interrupted":
        notes.append("Interrupted here.")
    if step.reply is not None and step.reply.finish_reason == "length":
        notes.append("The provider cut this reply off at its length limit.")
    if step.cell is not None:
        if step.cell.dropped_chars:
            notes.append(f"{step.cell.dropped_chars:,} characters of output were not kept.")
        notes += step.cell.notes
    return "\n".join(f"* *{inline(note, 600)}*" for note in notes)


def person_cell(agent: Agent) -> Cell:
    """A run that a person's own cell began with `llm_query`: the question is that cell."""
    rlm = {"agent": agent.id, "kind": "person"}
    raised = ["raises-exception"] if agent.end is not None and agent.end.ending in ("error", "interrupted") else []
    return code(cell_id(agent.id, "person"), agent.question, None, rlm, "nbval-ignore-output", *raised)


def ending(agent: Agent) -> str:
    end = agent.end
    if end is None:
        return f"Agent {inline(agent.id, 60)}: no end is in this record."
    named = f", by its name {inline(end.name, 200)}" if end.name is not None else ""
    lines = [f"Agent {inline(agent.id, 60)} ended: **{inline(end.ending, 40)}**{named}."]
    if end.message:
        lines.append(inline(end.message, 2_000))
    if end.answer is not None:
        lines.append(fence(end.answer))
    return "\n\n".join(lines)
