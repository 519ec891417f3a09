"""
A run as HTML and as text: the live view of its tree, the table of its agents, that of what its model calls cost, the
graph of who wrote and who read what, what passing by name saved, and what a prefix cache served.

`bundle` and what is called `…_bundle` give the forms of a view at once, by MIME type, as a display takes them. Nothing
here keeps state: a view is drawn anew from the tree.
"""

from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views.agents import agents_html, agents_table, agents_text
from rlm_kernel.trace.views.cache_forms import cache_data, cache_html, cache_tables, cache_text
from rlm_kernel.trace.views.graph import Edge, Graph, graph_of
from rlm_kernel.trace.views.graph_forms import MERMAID, graph_data, graph_text, mermaid
from rlm_kernel.trace.views.graph_nodes import Node
from rlm_kernel.trace.views.savings import Savings, savings_of
from rlm_kernel.trace.views.savings_forms import savings_data, savings_html, savings_table, savings_text
from rlm_kernel.trace.views.tree_html import as_html
from rlm_kernel.trace.views.tree_text import as_text
from rlm_kernel.trace.views.usage import usage_html, usage_table, usage_text

__all__ = [
    "Edge",
    "Graph",
    "Node",
    "Savings",
    "Transfer",
    "agents_bundle",
    "agents_html",
    "agents_table",
    "agents_text",
    "as_html",
    "as_text",
    "bundle",
    "cache_bundle",
    "cache_data",
    "cache_html",
    "cache_tables",
    "cache_text",
    "graph_bundle",
    "graph_data",
    "graph_of",
    "graph_text",
    "mermaid",
    "savings_bundle",
    "savings_data",
    "savings_html",
    "savings_of",
    "savings_table",
    "savings_text",
    "usage_bundle",
    "usage_html",
    "usage_table",
    "usage_text",
]


def bundle(tree: Tree, volatile: bool = True) -> dict[str, str]:
    """The tree. With `volatile=False`, nothing that differs from one run to the next: no run id, no seconds."""
    return {"text/html": as_html(tree, volatile), "text/plain": as_text(tree, volatile)}


def usage_bundle(tree: Tree) -> dict[str, str]:
    return {"text/html": usage_html(tree), "text/plain": usage_text(tree)}


def agents_bundle(tree: Tree) -> dict[str, str]:
    return {"text/html": agents_html(tree), "text/plain": agents_text(tree)}


def graph_bundle(tree: Tree) -> dict[str, str]:
    """No HTML: JupyterLab would show that instead of the drawing."""
    graph = graph_of(tree)
    return {MERMAID: mermaid(graph), "text/plain": graph_text(graph)}


def savings_bundle(tree: Tree) -> dict[str, str]:
    return {"text/html": savings_html(tree), "text/plain": savings_text(tree)}


def cache_bundle(tree: Tree, completion_system: str | None = None) -> dict[str, str]:
    """`completion_system` is the system message of completions, which the record does not hold."""
    return {
        "text/html": cache_html(tree, completion_system),
        "text/plain": cache_text(tree, completion_system),
    }
