"""What nests made flat, and what is flat nested, without recursion: a tampered record nests as deep as it likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from rlm_kernel.trace.nodes import Agent
from rlm_kernel.trace.tree import Tree

DEEPEST = 20
"""Levels below a top. Readers and writers of JSON recurse, and so does what they are written in."""

T = TypeVar("T")
S = TypeVar("S")
_END: Any = object()


def nested(tree: Tree, make: Callable[[Agent, Mapping[str, T]], T]) -> list[T]:
    """
    What `make` gives for each agent that has no caller, when it is handed what it gave for those right below, by id.

    Agents of a tampered record that hang in a ring, or deeper than DEEPEST, follow at the end, each as a top.
    """
    walked = list(tree.walk())
    made: dict[str, T] = {}
    for agent, level in reversed(walked):
        fits = level % (DEEPEST + 1) < DEEPEST
        below = {c.id: made.pop(c.id) for c in agent.children if fits and c.id in made}
        made[agent.id] = make(agent, below)
    return [made[agent.id] for agent, _ in walked if agent.id in made]


def unfolded(first: Iterator[T | S], kind: type[S], opened: Callable[[S], Iterator[T | S]]) -> Iterator[T]:
    """What `first` gives, and in the place of each thing of that `kind` what `opened` makes of it, and so on down."""
    open_ones = [first]
    while open_ones:
        found: Any = next(open_ones[-1], _END)
        if found is _END:
            open_ones.pop()
        elif isinstance(found, kind):
            open_ones.append(opened(found))
        else:
            yield found
