"""The savings of a run as a table with what follows from it, as text and as HTML, and as data."""

from __future__ import annotations

from typing import Any

from rlm_kernel.trace import words
from rlm_kernel.trace.cells import readable
from rlm_kernel.trace.safe import one_line
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views.graph_nodes import PERSON
from rlm_kernel.trace.views.savings import ASSUMED, Savings, savings_of
from rlm_kernel.trace.views.sent import Sent
from rlm_kernel.trace.views.table import Row, table_html, table_text
from rlm_kernel.trace.views.transfers import STATE, Transfer

HEADERS = ("from", "to", "what", "step", "tokens", "in window", "requests", "by value", "saved", "saved $")
MOST_ROWS = 50
MOST_TYPED = 20
_NAMES = 4


def savings_table(savings: Savings, most: int | None = None) -> tuple[Row, list[Row]]:
    """
    `HEADERS`, then a row for each transfer, those first that save most, or for the first `most`; those that are alike
    stay in the order of the agents. `tokens` is the whole once, `by value` with each request that would have carried
    it. Unknown is a dash, never 0. After them those that went as text to an agent of a workflow, which saved nothing.
    """
    in_order = sorted(savings.transfers, key=lambda each: -1 if each.saved is None else each.saved, reverse=True)
    return HEADERS, [*map(_row, in_order), *map(_sent_row, savings.sent)][:most]


def savings_text(tree: Tree) -> str:
    headers, rows, after = _parts(savings_of(tree))
    return table_text(headers, rows, _NAMES, after) if rows else "\n".join(after)


def savings_html(tree: Tree) -> str:
    headers, rows, after = _parts(savings_of(tree))
    return table_html(headers, rows, _NAMES, after)


def savings_data(tree: Tree) -> dict[str, Any]:
    """
    JSON data, whole; keys may be added, and none changes its meaning. Tokens are counts, null is unknown.

        loaded, loaded_once         prompt tokens as reported; with each message counted once
        by_value, by_value_once     the same had every result gone by value
        saved, saved_once           the difference
        loaded_usd, saved_usd, by_value_usd     each at the price of the model that it went to
        price_usd                   of a prompt token, on the mean
        unknown                     how many transfers are of unknown size, and in no sum
        transfers   source, target (an agent's id, or `person`), what, name, step, tokens, requests, loaded, carried,
                    by_value, saved, saved_usd
        sent_tokens, typed_tokens   what agents of workflows that take text were given, with prompts, and answered;
                    estimated
        sent        source, agent (whose workflow), step, state, visit, key, tokens, times: results among those, and,
                    `reported`, those that stood in the question of a sub-agent, and so in `loaded`
        typed_again  agent, step, what, tokens, variable, shown_at, start
        assumed     a sentence
    """
    savings = savings_of(tree)
    found: dict[str, Any] = readable(
        {
            **{name: getattr(savings, name) for name in ("loaded", "loaded_once", "by_value", "by_value_once")},
            **{name: getattr(savings, name) for name in ("saved", "saved_once", "price_usd", "unknown")},
            **{name: getattr(savings, name) for name in ("loaded_usd", "by_value_usd", "saved_usd")},
            **{name: getattr(savings, name) for name in ("sent_tokens", "typed_tokens")},
            "transfers": [
                {
                    **{name: getattr(each, name) for name in ("source", "target", "what", "name", "step", "tokens")},
                    **{name: getattr(each, name) for name in ("requests", "loaded", "carried", "by_value", "saved")},
                    "saved_usd": each.saved_usd,
                }
                for each in savings.transfers
            ],
            "sent": [{name: getattr(each, name) for name in each.__slots__} for each in savings.sent],
            "typed_again": [
                {name: getattr(each, name) for name in each.__slots__}  # a flat dataclass
                for each in savings.typed_again
            ],
            "assumed": ASSUMED,
        }
    )
    return found


def _parts(savings: Savings) -> tuple[Row, list[Row], list[str]]:
    headers, rows = savings_table(savings, MOST_ROWS)
    after = []
    if more := len(savings.transfers) + len(savings.sent) - len(rows):
        after.append(f"… {words.count(more, 'more transfer')}, all in the sums")
    return headers, rows, [*after, *_sums(savings), *_beside(savings), *_typed(savings), ASSUMED]


def _row(transfer: Transfer) -> Row:
    named = transfer.what if transfer.name is None else f"{transfer.what} {one_line(transfer.name, 40)}"
    return (
        _who(transfer.source),
        _who(transfer.target),
        named,
        "start" if transfer.step is None else str(transfer.step),
        words.number(transfer.tokens),
        words.number(transfer.loaded),
        words.number(transfer.requests),
        words.number(transfer.by_value),
        words.number(transfer.saved),
        words.dollars(transfer.saved_usd),
    )


def _sent_row(sent: Sent) -> Row:
    """
    All of it in a window, each time in one request; of what was in a question, in as many as its sub-agent made, which
    are unknown.
    """
    unknown = words.UNKNOWN if sent.reported else None
    visit = "" if sent.visit == 1 else f", visit {sent.visit}"
    return (
        _who(sent.source),
        f"state {one_line(sent.state, 40)}{visit}",
        f"text {one_line(sent.key, 40)}",
        "–" if sent.step is None else str(sent.step),
        *[words.number(sent.tokens // sent.times), words.number(sent.tokens), unknown or words.number(sent.times)],
        *[unknown or words.number(sent.tokens), words.number(0), words.UNKNOWN],
    )


def _sums(savings: Savings) -> list[str]:
    lines = [
        f"loaded: {words.count(savings.loaded, 'prompt token')}, {_paid(savings.loaded_usd)}; "
        f"{savings.loaded_once:,} with each message counted once"
    ]
    if savings.unknown and savings.unknown == len(savings.transfers):
        return [*lines, f"by value: unknown, as no size is known of {words.count(savings.unknown, 'transfer')}"]
    least = "at least " if savings.unknown else ""
    share = f", {savings.saved / savings.by_value:.1%} of it" if savings.saved else ""
    lines += [
        f"by value: {least}{words.count(savings.by_value, 'prompt token')}, {_paid(savings.by_value_usd)}; "
        f"{savings.by_value_once:,} with each counted once",
        f"saved: {least}{words.count(savings.saved, 'prompt token')}, {_paid(savings.saved_usd)}{share}",
    ]
    if savings.unknown:
        lines.append(f"of unknown size, and in no sum: {words.count(savings.unknown, 'transfer')}")
    return lines


def _beside(savings: Savings) -> list[str]:
    """The ways of a result side by side, where some went as text."""
    if not savings.sent and not savings.sent_tokens and not savings.typed_tokens:
        return []
    known = [each for each in savings.transfers if each.tokens is not None]
    whole, shown = sum(each.tokens or 0 for each in known), sum(each.loaded for each in known)
    lines = [f"by reference: {words.count(len(known), 'result')} of {whole:,} tokens, {shown:,} of them in a window"]
    if savings.sent_tokens or savings.typed_tokens:
        lines.append(
            f"as text: {_of([each for each in savings.sent if not each.reported])}, all in a window; with prompts "
            f"{savings.sent_tokens:,}, and {savings.typed_tokens:,} answered (estimated, in no sum above)"
        )
    if asked := [each for each in savings.sent if each.reported]:
        lines.append(
            f"in questions: {_of(asked)}, all in a window (estimated; in the sums above, as they were reported)"
        )
    return lines


def _of(sent: list[Sent]) -> str:
    return f"{words.count(sum(each.times for each in sent), 'result')} of {sum(each.tokens for each in sent):,} tokens"


def _paid(cost: float | None) -> str:
    return "cost unknown" if cost is None else words.dollars(cost)


def _typed(savings: Savings) -> list[str]:
    typed = savings.typed_again
    if not typed:
        return ["typed again though a variable held it: nothing that was found"]
    tokens = sum(each.tokens for each in typed)
    lines = [f"typed again though a variable held it: {words.count(len(typed), 'text')}, {tokens:,} tokens"]
    lines += [
        f"  {_who(each.agent)}, step {each.step}, {each.what}: {each.tokens:,} tokens that {each.variable} held, "
        f"shown at step {each.shown_at}: {each.start}"
        for each in typed[:MOST_TYPED]
    ]
    more = len(typed) - MOST_TYPED
    return [*lines, f"  … {more:,} more"] if more > 0 else lines


def _who(id: str) -> str:
    return one_line(id, 40) if id == PERSON or id.startswith(STATE) else f"agent {one_line(id, 40)}"
