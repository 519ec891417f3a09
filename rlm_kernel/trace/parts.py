"""
Which agents a notebook shows, and which a linked one.

A cell that starts hundreds of sub-agents would make a notebook that no browser opens. So a wide fan-out is a table in
the notebook of the run, and a notebook of its own beside it. The record is whole in the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rlm_kernel.trace.nodes import Agent
from rlm_kernel.trace.tree import Tree

WIDE = 50
"""Sub-agents of one cell beyond which they have a notebook of their own."""


@dataclass(slots=True)
class Part:
    """`agents` with how deep they hang, in the order in which they are shown."""

    name: str
    """What its file's name has after the run's; empty for the first."""
    agents: list[tuple[Agent, int]] = field(default_factory=list)


def parts(tree: Tree) -> tuple[list[Part], dict[str, str]]:
    """The first is that of the run. And by agent, the name of the part that it is in."""
    found = {"": Part("")}
    where: dict[str, str] = {}
    counts: dict[tuple[str | None, int | None], int] = {}
    for agent, _ in tree.walk():
        counts[agent.caller, agent.in_step] = counts.get((agent.caller, agent.in_step), 0) + 1
    for agent, level in tree.walk():
        name = "" if agent.caller is None else where.get(agent.caller, "")
        if agent.caller is not None and counts[agent.caller, agent.in_step] > WIDE:
            step = "" if agent.in_step is None else f"-s{agent.in_step}"
            name = f"{name}.{len(found)}" if not _plain(agent.caller) else f".{agent.caller}{step}"
        where[agent.id] = name
        found.setdefault(name, Part(name)).agents.append((agent, level))
    return list(found.values()), where


def _plain(id: str) -> bool:
    """Whether an agent's id may stand in the name of a file."""
    return len(id) <= 40 and all(part.isascii() and part.isdigit() for part in id.split("."))
