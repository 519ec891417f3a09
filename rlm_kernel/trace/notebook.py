"""
The trace notebook: a run as nbformat 4.5, readable without this package and complete by itself.

Flat cells, nested by headings: a heading for each agent, its sub-agents' sections inside its own, after its steps. A
step is the model's prose, its cell with the real outputs, what its completions cost, and what else there is to say.
All that a model, a cell or a person wrote is escaped wherever it stands in Markdown. What the pages show cut is whole
in `metadata.rlm`, see `record`.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from pathlib import Path
from typing import Any

from rlm_kernel.errors import TraceError
from rlm_kernel.trace import words
from rlm_kernel.trace.cells import Cell, cell_id, code, markdown, readable
from rlm_kernel.trace.events import SCHEMA
from rlm_kernel.trace.markdown import fence, inline, prose
from rlm_kernel.trace.nodes import Agent, Call, Step
from rlm_kernel.trace.record import pack
from rlm_kernel.trace.safe import clip
from rlm_kernel.trace.tree import Tree
from rlm_kernel.values import Output

HEAD_CHARS = 400
"""What the pages show of a completion's prompt and of its reply."""


def render(tree: Tree) -> dict[str, Any]:
    """The notebook as JSON data. Takes any tree, also that of a run without its end."""
    cells = [_title(tree)]
    shown: dict[tuple[str, int], tuple[str, list[Output]]] = {}
    for agent, level in tree.walk():
        cells.append(_heading(agent, level))
        for step in agent.steps:
            for cell in _step(agent, step):
                cells.append(cell)
                if cell["cell_type"] == "code":
                    shown[agent.id, step.number] = (cell["id"], cell["outputs"])
        if agent.calls:
            cells.append(_calls(agent, agent.calls, "calls", None))
        if level:
            cells.append(markdown(cell_id(agent.id, "answer"), _ending(agent), {"agent": agent.id, "kind": "answer"}))
    cells.append(_answer(tree))
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3 (RLM)", "language": "python", "name": "rlm"},
            "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
            "rlm": {**_facts(tree), **pack(tree, shown)},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def may_replace(path: Path) -> bool:
    """Whether nothing is there, or an earlier trace: a person's own notebook is not for us to write over."""
    try:
        return bool(json.loads(path.read_bytes())["metadata"]["rlm"]["run"])
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write(tree: Tree, path: Path) -> None:
    """Put the notebook at `path`, whole or not at all, over what was there. Raises TraceError."""
    data = to_json(render(tree)).encode()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        mend = f"free space on the disk of {path.parent}, make it writable, or give another place"
        raise TraceError(f"{path} cannot be written ({error.strerror}): {mend}") from None
    finally:
        temporary.unlink(missing_ok=True)


def to_json(notebook: dict[str, Any]) -> str:
    """As Jupyter writes it, but for the record: an event a line, or indentation would be half of the file."""
    rlm = dict(notebook["metadata"]["rlm"])
    holes = {secrets.token_hex(16): _lines(rlm[key]) for key in ("bodies", "events")}
    rlm["bodies"], rlm["events"] = holes
    text = json.dumps({**notebook, "metadata": {**notebook["metadata"], "rlm": rlm}}, indent=1, ensure_ascii=False)
    for hole, lines in holes.items():
        text = text.replace(f'"{hole}"', lines, 1)
    return text + "\n"


def _lines(data: dict[str, Any] | list[Any]) -> str:
    def compact(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    if isinstance(data, dict):
        return "{\n" + ",\n".join(f"{compact(key)}:{compact(value)}" for key, value in data.items()) + "\n}"
    return "[\n" + ",\n".join(map(compact, data)) + "\n]"


def _facts(tree: Tree) -> dict[str, Any]:
    totals, run = tree.totals(), tree.run
    facts: dict[str, Any] = {"schema": SCHEMA, "ending": None if tree.end is None else tree.end.ending}
    if run is not None:
        facts |= {"run": run.run, "door": run.door, "model": run.model, "limits": run.limits, "versions": run.versions}
    usage = {name: getattr(totals.usage, name) for name in type(totals.usage).__slots__}
    usage["cost_usd"] = totals.cost_usd
    counts = {"steps": totals.steps, "calls": totals.calls, "seconds": totals.seconds}
    facts["totals"] = {**counts, **usage, "unpriced_calls": totals.unpriced_calls}
    checked: dict[str, Any] = readable(facts)
    return checked


def _title(tree: Tree) -> Cell:
    root, run, totals = tree.root, tree.run, tree.totals()
    question = root.question if root is not None else ""
    usage = totals.usage
    cached = "" if usage.cached_tokens is None else f" ({usage.cached_tokens:,} cached)"
    facts = {
        "Model": run.model if run is not None else words.UNKNOWN,
        "When": (tree.started_at or words.UNKNOWN)[:19].replace("T", " ") + (" UTC" if tree.started_at else ""),
        "Ended": words.ending(tree) if tree.end is not None else "not in this record: cut off, or still going",
        "Work": f"{words.count(totals.steps, 'step')}, {words.count(totals.calls, 'model call')}",
        "Tokens": f"{usage.prompt_tokens:,} in{cached}, {usage.completion_tokens:,} out",
        "Cost": "unknown" if totals.cost_usd is None else words.dollars(totals.cost_usd),
        "Time": words.seconds(totals.seconds),
        "Limits": _pairs(run.limits) if run is not None else words.UNKNOWN,
        "Made with": _pairs(run.versions) if run is not None else words.UNKNOWN,
        "Run": run.run if run is not None else words.UNKNOWN,
    }
    table = "\n".join(f"| {name} | {inline(value, 400)} |" for name, value in facts.items())
    short = inline(question, 100)
    whole = "" if short == inline(question, len(question) + 1) and "\n" not in question else fence(question) + "\n\n"
    source = f"# {short or 'A run without a question'}\n\n{whole}| | |\n|---|---|\n{table}"
    return markdown("title", source, {"agent": root.id if root is not None else None, "kind": "question"})


def _pairs(named: dict[str, Any]) -> str:
    return ", ".join(f"{name} {'none' if value is None else value}" for name, value in named.items())


def _heading(agent: Agent, level: int) -> Cell:
    lines = [f"{'#' * min(6, 2 + level)} Agent {inline(agent.id, 60)}"]
    if level:
        lines.append(fence(clip(agent.question, 4 * HEAD_CHARS)))
    if agent.context is not None:
        lines += ["`context` is", fence(agent.context)]
    return markdown(cell_id(agent.id, "agent"), "\n\n".join(lines), {"agent": agent.id, "kind": "agent"})


def _step(agent: Agent, step: Step) -> list[Cell]:
    cells = []

    def add(what: str, source: str, kind: str) -> None:
        if source:
            id = cell_id(agent.id, f"s{step.number}{what}")
            cells.append(markdown(id, source, {"agent": agent.id, "step": step.number, "kind": kind}))

    before, after = _around(step.reply.text if step.reply is not None else "", step.source)
    add("-text", prose(before), "prose")
    if step.source is not None:
        # Any other agent's cell says whose it is, so that it can be run in that namespace.
        whose = "" if agent.caller is None else f"%%agent {' '.join(agent.id.split())}\n"
        id = cell_id(agent.id, f"s{step.number}")
        rlm = {"agent": agent.id, "step": step.number, "kind": "cell"}
        cells.append(code(id, whose + step.source, step, rlm))
    if step.calls:
        cells.append(_calls(agent, step.calls, f"s{step.number}-calls", step.number))
    add("-more", prose(after), "prose")
    add("-notes", _notes(step), "notes")
    return cells


_OPENS = re.compile(r"[ \t]*(?:(?:[-*+]|[0-9]+[.)])[ \t]+)?(?:`{3,}|~{3,})[^\n]*")
_CLOSES = re.compile(r"[ \t\n]*+(?:`{3,}|~{3,})[ \t]*+(?=\n|$)")


def _around(reply: str, source: str | None) -> tuple[str, str]:
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


def _notes(step: Step) -> str:
    notes = []
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


def _calls(agent: Agent, calls: list[Call], what: str, step: int | None) -> Cell:
    spent = sum(call.reply.usage.total_tokens for call in calls if call.reply is not None)
    summary = f"{words.count(len(calls), 'completion')}, {spent:,} tokens"
    parts = [f"<details><summary>{inline(summary, 200)}</summary>"]
    for call in calls:
        facts = [f"llm_query {call.number}", call.reply.model if call.reply is not None else call.model]
        if call.reply is not None:
            facts += [f"{call.reply.usage.total_tokens:,} tokens", words.dollars(call.reply.usage.cost_usd)]
            facts += [words.seconds(call.reply.seconds)]
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


def _ending(agent: Agent) -> str:
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


def _answer(tree: Tree) -> Cell:
    root = tree.root
    if root is None:
        return markdown("answer", "## Answer\n\nNo agent is in this record.", {"agent": None, "kind": "answer"})
    return markdown("answer", f"## Answer\n\n{_ending(root)}", {"agent": root.id, "kind": "answer"})
