"""
The trace notebook: a run as nbformat 4.5, readable without this package and complete by itself.

Flat cells, nested by headings: a section for each agent, see `sections`, its sub-agents' inside its own, after its
steps. All that a model, a cell or a person wrote is escaped wherever it stands in Markdown. What the pages show cut is
whole in `metadata.rlm`, see `record`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from rlm_kernel.trace import sections, words
from rlm_kernel.trace.cells import Cell, cell_id, code, markdown, readable
from rlm_kernel.trace.events import SCHEMA
from rlm_kernel.trace.markdown import fence, inline
from rlm_kernel.trace.nodes import Agent
from rlm_kernel.trace.parts import Part, parts
from rlm_kernel.trace.record import pack
from rlm_kernel.trace.states import placed, state_cell
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.varying import varying
from rlm_kernel.values import Output


def render(tree: Tree, part_names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """
    The notebook as JSON data, with all agents in it. Takes any tree, also that of a run without its end.

    `part_names` are the files of the parts that are not in it, by their names in `parts`; see `render_all`.
    """
    found, where = parts(tree) if part_names is not None else ([Part("", list(tree.walk()))], {})
    cells = [_title(tree)]
    if root := tree.root:
        cells.append(_replay(tree, root))
    shown: dict[tuple[str, int], tuple[str, list[Output]]] = {}
    links = {id: part_names[name] for id, name in where.items() if name and part_names is not None}
    cells += _sections(tree, found[0], links, shown)
    cells.append(_answer(tree))
    return _notebook(cells, {**_facts(tree), **pack(tree, shown)})


def render_all(tree: Tree, name: str) -> dict[str, dict[str, Any]]:
    """By file name, the notebook of the run, `name`.ipynb, and those of its wide fan-outs."""
    names = {part.name: f"{name}{part.name}.ipynb" for part in parts(tree)[0]}
    notebooks = {names[""]: render(tree, names)}
    found, where = parts(tree)
    for part in found[1:]:
        links = {id: names[other] for id, other in where.items() if other != part.name}
        first = part.agents[0][0]
        link = f"[{inline(name, 200)}]({quote(names[''])})"
        facts = _facts(tree)
        note = f"Sub-agents of {sections.link(first.caller or '', links)}. The run is in {link}."
        cells = [
            markdown(
                "title", f"# {inline(sections.asked_by(first), 200)}\n\n{note}", {"agent": None, "kind": "question"}
            ),
            _replay(tree, first, "--all"),
            *_sections(tree, part, links, {}),
        ]
        kept: dict[str, Any] = {key: facts[key] for key in ("schema", "run", "content") if key in facts}
        notebooks[names[part.name]] = _notebook(cells, {**kept, "part_of": names[""]})
    return notebooks


def _sections(
    tree: Tree, part: Part, links: Mapping[str, str], shown: dict[tuple[str, int], tuple[str, list[Output]]]
) -> list[Cell]:
    """`links` are the files of agents that are not in this one; `shown` gets where the outputs of the steps are."""
    cells = []
    varies = varying(tree)
    for agent, state, level in placed(part.agents):
        if state is not None:
            cells.append(state_cell(agent, state, level, links))
            continue
        cells.append(sections.heading(tree, agent, level, links))
        if tree.run is not None and tree.run.door == "cell" and agent is tree.root:
            cells.append(sections.person_cell(agent))
        for step in agent.steps:
            for cell in sections.step_cells(tree, agent, step, varies.get((agent.id, step.number), ()), links):
                cells.append(cell)
                if cell["cell_type"] == "code":
                    shown[agent.id, step.number] = (cell["id"], cell["outputs"])
        if agent.calls:
            cells.append(sections.calls_cell(agent, agent.calls, "calls", None))
        if agent.agents:
            cells.append(sections.agents_cell(tree, agent, agent.agents, "agents", None, links))
        if level:
            rlm = {"agent": agent.id, "kind": "answer"}
            cells.append(markdown(cell_id(agent.id, "answer"), sections.ending(agent), rlm))
    return cells


def _notebook(cells: list[Cell], rlm: dict[str, Any]) -> dict[str, Any]:
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3 (RLM)", "language": "python", "name": "rlm"},
            "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
            "rlm": rlm,
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _facts(tree: Tree) -> dict[str, Any]:
    totals, run = tree.totals(), tree.run
    facts: dict[str, Any] = {"schema": SCHEMA, "ending": None if tree.end is None else tree.end.ending}
    if run is not None:
        facts |= {"run": run.run, "door": run.door, "model": run.model, "limits": run.limits, "versions": run.versions}
        facts |= {"origin": run.origin, "dialect": run.dialect}
    facts["at"] = tree.started_at
    facts["content"] = content(tree)
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
        "Ended": words.ending(tree) if tree.end is not None else "not in this record: cut off, or still going",
        **({"Agents": f"{len(tree.agents):,}"} if len(tree.agents) > 1 else {}),
        "Work": f"{words.count(totals.steps, 'step')}, {words.count(totals.calls, 'model call')}",
        "Tokens": f"{usage.prompt_tokens:,} in{cached}, {usage.completion_tokens:,} out",
        "Cost": "unknown" if totals.cost_usd is None else words.dollars(totals.cost_usd),
        "Limits": _pairs(run.limits) if run is not None else words.UNKNOWN,
        "Made with": _pairs(run.versions) if run is not None else words.UNKNOWN,
    }
    table = "\n".join(f"| {name} | {inline(value, 400)} |" for name, value in facts.items())
    short = inline(question, 100)
    whole = "" if short == inline(question, len(question) + 1) and "\n" not in question else fence(question) + "\n\n"
    source = f"# {short or 'A run without a question'}\n\n{whole}| | |\n|---|---|\n{table}"
    return markdown("title", source, {"agent": root.id if root is not None else None, "kind": "question"})


def _replay(tree: Tree, root: Agent, *more: str) -> Cell:
    """What makes Run All a replay. Its name for the record says nothing of when and where that was made."""
    line = " ".join(["%rlm replay", content(tree), *more])
    source = f"# Run All runs every cell of this record again, with the recorded replies.\n{line}"
    return code("replay", source, None, {"agent": root.id, "kind": "replay"}, "nbval-ignore-output")


def content(tree: Tree) -> str:
    """12 hex digits that name what was asked, replied and run, whenever that was."""
    digest = hashlib.sha256()
    for agent, _ in tree.walk():
        replies = [call.reply for call in agent.all_calls]
        told = [agent.id, agent.question, *(call.text for call in replies if call is not None)]
        for step in agent.steps:
            told += ["" if step.reply is None else step.reply.text, step.source or ""]
        digest.update(json.dumps(told).encode("ascii"))
    return digest.hexdigest()[:12]


def _pairs(named: dict[str, Any]) -> str:
    return ", ".join(f"{name} {'none' if value is None else value}" for name, value in named.items())


def _answer(tree: Tree) -> Cell:
    root = tree.root
    if root is None:
        return markdown("answer", "## Answer\n\nNo agent is in this record.", {"agent": None, "kind": "answer"})
    return markdown("answer", f"## Answer\n\n{sections.ending(root)}", {"agent": root.id, "kind": "answer"})
