"""The graph of a run as Mermaid source, as indented text and as data; the first two are bounded whatever the run."""

from __future__ import annotations

import re
from typing import Any

from rlm_kernel.trace import words
from rlm_kernel.trace.cells import readable
from rlm_kernel.trace.safe import one_line
from rlm_kernel.trace.views.graph import Edge, Graph
from rlm_kernel.trace.views.graph_nodes import Node

MERMAID = "text/vnd.mermaid"
"""What JupyterLab (from 4.1) and nbconvert draw."""
MOST_EDGES = 300
"""Mermaid refuses a graph of more than 500."""
MOST_CHARS = 45_000
"""Of Mermaid source: 50,000 is what it takes unless its page says otherwise."""
_MOST_STEPS = 6
_MOST_NAMES = 3
# All else in a label is written as `#code;`, which Mermaid shows as that character and never as a sign of its own.
# The colon too: where one stands before a `#`, some lines lose their last semicolon. nbconvert puts the source into a
# page as it is, so it must hold no `<` and no `&`. `direction LR` is a statement wherever in a line it stands.
_UNSAFE = re.compile(r"[^A-Za-z0-9 .,_]|d(?=irection)")
_SHAPES = {"key": ('[("', '")]'), "variable": ('(["', '"])'), "person": ('(("', '"))'), "state": ('{{"', '"}}')}


def mermaid(graph: Graph) -> str:
    """A flowchart. The names of nodes in it are ours alone; labels are text, whatever they hold."""
    ids = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines, drawn, chars = ["flowchart LR"], set[str](), 0
    labels = {node.id: _drawn(ids[node.id], node) for node in graph.nodes}
    edges = 0
    for edge in graph.edges[:MOST_EDGES]:
        ends = [id for id in (edge.source, edge.target) if id in ids and id not in drawn]
        line = f'    {ids.get(edge.source)} -->|"{_escaped(edge_words(edge))}"| {ids.get(edge.target)}'
        added = [*(labels[id] for id in dict.fromkeys(ends)), line]
        chars += sum(map(len, added)) + len(added)
        if chars > MOST_CHARS:
            break
        drawn.update(ends)
        lines += added
        edges += 1
    joined = {id for edge in graph.edges for id in (edge.source, edge.target)}
    alone = [node for node in graph.nodes if node.id not in joined]
    room = max(0, min(MOST_EDGES, (MOST_CHARS - chars) // 600))
    lines += [labels[node.id] for node in alone[:room]]
    if more := _more(len(graph.edges) - edges, len(alone[room:])):
        lines.append(f'    more["{_escaped(more)}"]')
    return "\n".join(lines)


def graph_text(graph: Graph) -> str:
    """Each node, and under it where something went from it."""
    labels = {node.id: node.label for node in graph.nodes}
    below: dict[str, list[Edge]] = {node.id: [] for node in graph.nodes}
    for edge in graph.edges[:MOST_EDGES]:
        below.setdefault(edge.source, []).append(edge)
    joined = {id for edge in graph.edges for id in (edge.source, edge.target)}
    alone = [node for node in graph.nodes if node.id not in joined]
    shown = {node.id for node in alone[:MOST_EDGES]}
    lines = []
    for id, edges in below.items():
        if edges or id in shown:
            lines.append(labels.get(id, one_line(id, 60)))
            lines += [f"  {edge_words(edge)} → {labels.get(edge.target, '')}" for edge in edges]
    if more := _more(len(graph.edges) - MOST_EDGES, len(alone) - MOST_EDGES):
        lines.append(more)
    return "\n".join(lines) or "nothing was written, read or handed over"


def graph_data(graph: Graph) -> dict[str, Any]:
    """
    JSON data, whole; keys may be added, and none changes its meaning.

        nodes   id, kind, label, as `Node`
        edges   source, target (ids of nodes), how, steps (null is a person's own cell), times, tokens, names, as `Edge`
    """
    found: dict[str, Any] = readable(
        {
            "nodes": [{"id": node.id, "kind": node.kind, "label": node.label} for node in graph.nodes],
            "edges": [
                {
                    "source": edge.source,
                    "target": edge.target,
                    "how": edge.how,
                    "steps": list(edge.steps),
                    "times": edge.times,
                    "tokens": edge.tokens,
                    "names": list(edge.names),
                }
                for edge in graph.edges
            ],
        }
    )
    return found


def edge_words(edge: Edge) -> str:
    """`read 3×, 812 tokens, steps 4, 5`; one safe line."""
    what = edge.how if edge.times <= max(1, len(edge.steps)) else f"{edge.how} {edge.times:,}×"
    if edge.names:
        more = "" if len(edge.names) <= _MOST_NAMES else f" and {len(edge.names) - _MOST_NAMES:,} more"
        what += f" as {', '.join(one_line(name, 40) for name in edge.names[:_MOST_NAMES])}{more}"
    parts = [what]
    if edge.tokens:
        parts.append(words.count(edge.tokens, "token"))
    return ", ".join([*parts, *_steps(edge.steps)])


def _steps(steps: tuple[int | None, ...]) -> list[str]:
    numbers = [str(step) for step in steps if step is not None]
    found = []
    if len(numbers) > _MOST_STEPS:
        found.append(f"{len(numbers):,} steps from {numbers[0]} to {numbers[-1]}")
    elif numbers:
        found.append(f"step{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}")
    return [*found, "a person's cell"] if None in steps else found


def _drawn(id: str, node: Node) -> str:
    opened, closed = _SHAPES.get(node.kind, ('["', '"]'))
    return f"    {id}{opened}{_escaped(node.label)}{closed}"


def _escaped(text: str) -> str:
    # An empty label is no label to Mermaid.
    return _UNSAFE.sub(lambda found: f"#{ord(found[0])};", text) or "#32;"


def _more(edges: int, nodes: int) -> str:
    left = [words.count(number, one) for number, one in ((edges, "more edge"), (nodes, "more node")) if number > 0]
    return f"… {', '.join(left)}" if left else ""
