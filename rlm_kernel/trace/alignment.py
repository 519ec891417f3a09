"""Two runs side by side: which agent and step of one is which of the other, and where they part."""

from __future__ import annotations

from dataclasses import dataclass

from rlm_kernel.trace.matching import AgentPair, pairs
from rlm_kernel.trace.partings import Parting, partings
from rlm_kernel.trace.tree import Tree


@dataclass(frozen=True, slots=True)
class Alignment:
    agents: tuple[AgentPair, ...]
    """Those of both runs in the order of the left one's walk, then those that only the right has."""
    partings: tuple[Parting, ...]
    """In the order of the run: what a step's sub-agents did stands before what its cell put out."""

    @property
    def first(self) -> Parting | None:
        return self.partings[0] if self.partings else None

    @property
    def only_left(self) -> tuple[str, ...]:
        return tuple(pair.id for pair in self.agents if pair.right is None)

    @property
    def only_right(self) -> tuple[str, ...]:
        return tuple(pair.id for pair in self.agents if pair.left is None)


def align(left: Tree, right: Tree) -> Alignment:
    """Of any two trees, whole or torn, even of two questions; `partings` says what makes no difference."""
    found = pairs(left, right)
    return Alignment(tuple(found.values()), tuple(partings(found)))
