"""
The trace notebook: a run as nbformat 4.5, readable without this package and complete by itself.

Flat cells, nested by headings: a section for each agent, see `sections`, its sub-agents' inside its own, after its
steps. All that a model, a cell or a person wrote is escaped wherever it stands in Markdown. What the pages show cut is
whole in `metadata.rlm`, see `record`.
"""

from __future__ import annotations

from typing import Any

from rlm_kernel.trace import sections, words
from rlm_kernel.trace.cells import Cell, cell_id, markdown, readable
from rlm_kernel.trace.events import SCHEMA
from rlm_kernel.trace.markdown import fence, inline
from rlm_kernel.trace.record import pack
from rlm_kernel.trace.tree import Tree
from rlm_kernel.values import Output


def render(tree: Tree) -> dict[str, Any]:
    """The notebook as JSON data. Takes any tree, also that of a run without its end."""
    cells = [_title(tree)]
    shown: dict[tuple[str, int], tuple[str, list[Output]]] = {}
    for agent, level in tree.walk():
        cells.append(sections.heading(tree, agent, level))
        for step in agent.steps:
            for cell in sections.step_cells(tree, agent, step):
                cells.append(cell)
                if cell["cell_type"] == "code":
                    shown[agent.id, step.number] = (cell["id"], cell["outputs"])
        if agent.calls:
            cells.append(sections.calls_cell(agent, agent.calls, "calls", None))
        if agent.agents:
            cells.append(sections.agents_cell(tree, agent, agent.agents, "agents", None))
        if level:
            rlm = {"agent": agent.id, "kind": "answer"}
            cells.append(markdown(cell_id(agent.id, "answer"), sections.ending(agent), rlm))
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
        **({"Agents": f"{len(tree.agents):,}"} if len(tree.agents) > 1 else {}),
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


def _answer(tree: Tree) -> Cell:
    root = tree.root
    if root is None:
        return markdown("answer", "## Answer\n\nNo agent is in this record.", {"agent": None, "kind": "answer"})
    return markdown("answer", f"## Answer\n\n{sections.ending(root)}", {"agent": root.id, "kind": "answer"})
