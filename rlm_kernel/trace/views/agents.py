"""The agents of a run: who asked each what, how it ended and what it took, alone and with those below it."""

from __future__ import annotations

from itertools import islice

from rlm_kernel.trace import words
from rlm_kernel.trace.nodes import Agent, Totals
from rlm_kernel.trace.safe import one_line
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views.outline import context_line
from rlm_kernel.trace.views.table import Row, table_html, table_text

HEADERS = (
    "agent", "asked by", "question", "context", "ended", "steps", "calls",
    "tokens self", "tokens total", "cost self", "cost total", "seconds self", "seconds total",
)  # fmt: skip
MOST_ROWS = 500
"""Of the table in its two forms; `agents_table` gives all."""
_NAMES = 5


def agents_table(tree: Tree, most: int | None = None) -> tuple[Row, list[Row]]:
    """
    `HEADERS`, then a row for each agent, or for the first `most`: a caller before its sub-agents, those by their ids.

    `self` is without its sub-agents, `total` with all below it; steps and calls are its own. The seconds in total are
    its wall clock, those of itself the ones in which none of its sub-agents was at work. Unknown is a dash, never 0.
    """
    return HEADERS, [_row(tree, agent) for agent, _ in islice(tree.walk(), most)]


def agents_text(tree: Tree) -> str:
    return table_text(*_bounded(tree))


def agents_html(tree: Tree) -> str:
    return table_html(*_bounded(tree))


def _bounded(tree: Tree) -> tuple[Row, list[Row], int, list[str]]:
    headers, rows = agents_table(tree, MOST_ROWS)
    more = len(tree.agents) - len(rows)
    return headers, rows, _NAMES, [f"… {more:,} more agents"] if more else []


def _row(tree: Tree, agent: Agent) -> Row:
    spent = tree.spent(agent)
    own, total = spent.own, spent.total
    return (
        one_line(agent.id, 40),
        one_line(words.asked_by(agent), 60),
        one_line(agent.question, 60),
        "" if agent.context is None else context_line(agent.context, 60),
        one_line(words.agent_state(agent), 40),
        f"{own.steps:,}",
        f"{own.calls:,}",
        f"{own.usage.total_tokens:,}",
        f"{total.usage.total_tokens:,}",
        words.dollars(own.cost_usd),
        words.dollars(total.cost_usd),
        _seconds(own),
        _seconds(total),
    )


def _seconds(totals: Totals) -> str:
    return words.UNKNOWN if totals.seconds is None else f"{totals.seconds:,.2f}"
