"""
Which agent and step of one run is which of another.

Agents are matched by their ids; the steps of an agent by a longest common subsequence of their cells, so that one
step more does not make all that follow differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlm_kernel.trace.nodes import Agent, Step
from rlm_kernel.trace.tree import Tree

MOST_PAIRS = 4_000_000
"""Of cells that are compared to match the steps of one agent; beyond it they are matched by their place."""


@dataclass(frozen=True, slots=True)
class StepPair:
    """One step in both runs, or in the one that has it."""

    left: Step | None
    right: Step | None

    @property
    def numbers(self) -> tuple[int | None, int | None]:
        return (
            None if self.left is None else self.left.number,
            None if self.right is None else self.right.number,
        )


@dataclass(frozen=True, slots=True)
class AgentPair:
    id: str
    left: Agent | None
    right: Agent | None
    steps: tuple[StepPair, ...]
    """Empty where only one run has the agent."""


def pairs(left: Tree, right: Tree) -> dict[str, AgentPair]:
    """By id, those of both runs in the order of the left one's walk, then those that only the right has."""
    order = [agent.id for agent, _ in left.walk()]
    order += [agent.id for agent, _ in right.walk() if agent.id not in left.agents]
    return {id: _pair(id, left.agents.get(id), right.agents.get(id)) for id in order}


def _pair(id: str, left: Agent | None, right: Agent | None) -> AgentPair:
    steps = () if left is None or right is None else tuple(match(left.steps, right.steps))
    return AgentPair(id, left, right, steps)


def match(left: Sequence[Step], right: Sequence[Step]) -> list[StepPair]:
    """Every step of both once, in order. Between cells that are the same, the others are paired by their place."""
    begin = 0
    while begin < min(len(left), len(right)) and left[begin].source == right[begin].source:
        begin += 1
    end = 0
    while end < min(len(left), len(right)) - begin and left[-1 - end].source == right[-1 - end].source:
        end += 1
    inner = left[begin : len(left) - end], right[begin : len(right) - end]
    found = [StepPair(*both) for both in zip(left[:begin], right[:begin], strict=True)]
    at = (0, 0)
    for i, j in [*_common([s.source for s in inner[0]], [s.source for s in inner[1]]), (len(inner[0]), len(inner[1]))]:
        found += _in_gap(inner[0][at[0] : i], inner[1][at[1] : j])
        if i < len(inner[0]) and j < len(inner[1]):
            found.append(StepPair(inner[0][i], inner[1][j]))
        at = (i + 1, j + 1)
    return found + [StepPair(*both) for both in zip(left[len(left) - end :], right[len(right) - end :], strict=True)]


def _common(left: Sequence[str | None], right: Sequence[str | None]) -> list[tuple[int, int]]:
    """The indices of a longest common subsequence; none where that is too much work."""
    if not left or not right or len(left) * len(right) > MOST_PAIRS:
        return []
    # lengths[i][j]: of the longest that begins at i and j or later.
    lengths = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in reversed(range(len(left))):
        row, below = lengths[i], lengths[i + 1]
        for j in reversed(range(len(right))):
            row[j] = below[j + 1] + 1 if left[i] == right[j] else max(below[j], row[j + 1])
    found, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        if left[i] == right[j]:
            found.append((i, j))
            i, j = i + 1, j + 1
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1
    return found


def _in_gap(left: Sequence[Step], right: Sequence[Step]) -> list[StepPair]:
    both = min(len(left), len(right))
    found = [StepPair(*pair) for pair in zip(left[:both], right[:both], strict=True)]
    return found + [StepPair(step, None) for step in left[both:]] + [StepPair(None, step) for step in right[both:]]
