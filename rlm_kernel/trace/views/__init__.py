"""
A run as HTML and as text: the live view of its tree, the table of its agents, and that of what its model calls cost.

`bundle`, `agents_bundle` and `usage_bundle` give both forms at once, by MIME type, as a display takes them. Nothing
here keeps state: a view is drawn anew from the tree, in a few milliseconds whatever the run.
"""

from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views.agents import agents_html, agents_table, agents_text
from rlm_kernel.trace.views.tree_html import as_html
from rlm_kernel.trace.views.tree_text import as_text
from rlm_kernel.trace.views.usage import usage_html, usage_table, usage_text

__all__ = [
    "agents_bundle",
    "agents_html",
    "agents_table",
    "agents_text",
    "as_html",
    "as_text",
    "bundle",
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
