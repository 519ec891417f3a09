"""
What a prompt token of a run cost on the mean, for each of its models.

A record says of each call what its prompt cost. One that was made before, or of a provider that tells a sum and no
prices, says only what the whole call cost: there the price is found from those sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rlm_kernel.trace.nodes import Agent, Call, Step
from rlm_kernel.trace.tree import Tree
from rlm_kernel.values import Reply

_FIT = 0.02
"""So far the costs of all calls together may be off what the prices found make of them."""
_LEAST_PIVOT = 1e-9
"""Of columns scaled to length 1; below, the calls are too alike to tell the prices apart."""
_MOST = 1e12
"""Tokens or dollars; a record that says more was tampered with."""


def prompt_prices(tree: Tree) -> dict[str, float]:
    """
    Dollars by model, as it was asked for; cached and uncached tokens together. A model whose calls do not tell is
    not in it.
    """
    by_model: dict[str, list[Reply]] = {}
    for agent, _ in tree.walk():
        for model, asked in asked_of(agent):
            if (reply := asked.reply) is not None:
                by_model.setdefault(model, []).append(reply)
    found = ((model, _told(replies), replies) for model, replies in by_model.items())
    prices = ((model, _fitted(replies) if told is None else told) for model, told, replies in found)
    return {model: price for model, price in prices if price is not None}


def asked_of(agent: Agent) -> Iterator[tuple[str, Step | Call]]:
    """Its model calls, each with the model that was asked for: what a provider calls it may change."""
    yield from ((agent.model, step) for step in agent.steps)
    yield from ((call.model, call) for call in agent.all_calls)


def _told(replies: Sequence[Reply]) -> float | None:
    """By those calls of which the record says what the prompt cost."""
    told = [
        (reply.usage.prompt_tokens, reply.prompt_usd)
        for reply in replies
        if _are_sound(reply.usage.prompt_tokens, reply.prompt_usd)
    ]
    tokens = sum(count for count, _ in told)
    return sum(paid or 0.0 for _, paid in told) / tokens if tokens else None


def _fitted(replies: Sequence[Reply]) -> float | None:
    """
    A call costs so much for each uncached, cached and completion token. These three prices are those that fit the
    calls best (least squares); None where they do not fit.
    """
    sound = [reply for reply in replies if _is_sound(reply)]
    prices = _prices(sound) if sound else None
    rows = list(map(_tokens, sound))
    tokens = sum(uncached + cached for uncached, cached, _ in rows)
    if prices is None or not tokens:
        return None
    return sum(uncached * prices[0] + cached * prices[1] for uncached, cached, _ in rows) / tokens


def _is_sound(reply: Reply) -> bool:
    usage = reply.usage
    return _are_sound(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens or 0, usage.cost_usd)


def _are_sound(*counts: float | None) -> bool:
    return all(each is not None and 0 <= each <= _MOST for each in counts)


def _tokens(reply: Reply) -> tuple[float, float, float]:
    usage = reply.usage
    cached = min(usage.cached_tokens or 0, usage.prompt_tokens)
    return float(usage.prompt_tokens - cached), float(cached), float(usage.completion_tokens)


def _prices(replies: Sequence[Reply]) -> tuple[float, float, float] | None:
    """For an uncached, a cached and a completion token."""
    costs = [reply.usage.cost_usd or 0.0 for reply in replies]
    if not any(costs):
        return 0.0, 0.0, 0.0
    rows = [_tokens(reply) for reply in replies]
    lengths = [math.sqrt(sum(row[n] ** 2 for row in rows)) for n in range(3)]
    used = [n for n in range(3) if lengths[n]]
    scaled = [[row[n] / lengths[n] for n in used] for row in rows]
    found = _solved(
        [[math.fsum(row[i] * row[j] for row in scaled) for j in range(len(used))] for i in range(len(used))],
        [math.fsum(row[i] * cost for row, cost in zip(scaled, costs, strict=True)) for i in range(len(used))],
    )
    if found is None:
        return None
    prices = [0.0, 0.0, 0.0]
    for n, value in zip(used, found, strict=True):
        prices[n] = value / lengths[n]
    off = sum(
        abs(sum(count * price for count, price in zip(row, prices, strict=True)) - cost)
        for row, cost in zip(rows, costs, strict=True)
    )
    # Of noise, a price that is nothing may come out a little below it.
    if off > _FIT * sum(costs) or min(prices) < -_FIT * max(prices):
        return None
    return max(0.0, prices[0]), max(0.0, prices[1]), max(0.0, prices[2])


def _solved(matrix: list[list[float]], right: list[float]) -> list[float] | None:
    """Gauss elimination; None where the equations are too much alike."""
    size = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for n in range(size):
        best = max(range(n, size), key=lambda r: abs(rows[r][n]))
        rows[n], rows[best] = rows[best], rows[n]
        if abs(rows[n][n]) < _LEAST_PIVOT:
            return None
        for r in range(size):
            if r != n:
                share = rows[r][n] / rows[n][n]
                rows[r] = [mine - share * other for mine, other in zip(rows[r], rows[n], strict=True)]
    return [rows[n][size] / rows[n][n] for n in range(size)]
