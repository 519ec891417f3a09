"""What each model call of a run took: one row for a call, and their sum. Unknown is a dash, never 0."""

from __future__ import annotations

from rlm_kernel.trace import words
from rlm_kernel.trace.nodes import Agent, Call, Step
from rlm_kernel.trace.safe import one_line
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views.table import Row, table_html, table_text

HEADERS = ("agent", "call", "model", "in", "out", "cached", "reasoning", "cost", "first token", "seconds", "retries")
MOST_ROWS = 500
"""Of the table in its two forms; `usage_table` gives all."""
_NAMES = 3


def usage_table(tree: Tree) -> tuple[Row, list[Row]]:
    """
    `HEADERS`, then a row for each model call, agent by agent, a completion after the step that asked for it; the last
    row is the sum of the calls that were answered. Tokens are counts, cost is in dollars, times are in seconds.
    """
    rows = []
    for agent, _ in tree.walk():
        for step in agent.steps:
            rows.append(_row(agent, step, f"step {step.number}"))
            rows += [_row(agent, call, f"llm_query {call.number} in step {step.number}") for call in step.calls]
        rows += [_row(agent, call, f"llm_query {call.number}") for call in agent.calls]
    totals = tree.totals()
    usage = totals.usage
    rows.append(
        (
            "total",
            f"{totals.calls:,}",
            "",
            words.number(usage.prompt_tokens),
            words.number(usage.completion_tokens),
            words.number(usage.cached_tokens),
            words.number(usage.reasoning_tokens),
            words.dollars(totals.cost_usd),
            "",
            _seconds(totals.seconds),
            "",
        )
    )
    return HEADERS, rows


def usage_text(tree: Tree) -> str:
    headers, rows, left_out = _bounded(tree)
    return table_text(headers, rows, _NAMES, left_out)


def usage_html(tree: Tree) -> str:
    headers, rows, left_out = _bounded(tree)
    return table_html(headers, rows, _NAMES, left_out)


def _bounded(tree: Tree) -> tuple[Row, list[Row], list[str]]:
    headers, rows = usage_table(tree)
    more = len(rows) - MOST_ROWS
    if more <= 0:
        return headers, rows, []
    return headers, [*rows[: MOST_ROWS - 1], rows[-1]], [f"… {more:,} more calls, all in the sum"]


def _row(agent: Agent, asked: Step | Call, what: str) -> Row:
    who = one_line(agent.id, 40)
    if asked.reply is None:
        model = one_line(asked.model if isinstance(asked, Call) else agent.model, 60)
        retries = "" if asked.failure is None else str(len(asked.failure.attempts))
        became = asked.status if asked.failure is None else one_line(asked.failure.kind, 40)
        return (who, f"{what} ({became})", model, *[words.UNKNOWN] * 7, retries or words.UNKNOWN)
    reply, usage = asked.reply, asked.reply.usage
    return (
        who,
        what,
        one_line(reply.model, 60),
        words.number(usage.prompt_tokens),
        words.number(usage.completion_tokens),
        words.number(usage.cached_tokens),
        words.number(usage.reasoning_tokens),
        words.dollars(usage.cost_usd),
        _seconds(reply.first_token_s),
        _seconds(reply.seconds),
        str(len(reply.attempts)),
    )


def _seconds(value: float | None) -> str:
    return words.UNKNOWN if value is None else f"{value:.2f}"
