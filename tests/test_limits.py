"""The ledger: reserved before, settled after, never overshot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel.errors import LimitExceeded, UsageError
from rlm_kernel.limits import SMALLEST_REPLY, Ledger, Limits
from rlm_kernel.values import Price, Remaining, Usage

PRICE = Price(1e-5, 1e-4)


def spent(prompt: int, completion: int, price: Price | None = PRICE) -> Usage:
    cost = price.most(prompt, completion) if price is not None else None
    return Usage(prompt, completion, cost_usd=cost)


@given(
    st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 9_000), st.booleans()), max_size=60),
    st.floats(0, 3),
    st.integers(0, 200_000),
    st.integers(0, 40),
)
def test_no_order_of_calls_overshoots_dollars_tokens_or_calls(
    wanted: list[tuple[int, int, bool]], dollars: float, tokens: int, calls: int
) -> None:
    ledger = Ledger(Limits(max_cost_usd=dollars, max_tokens=tokens, max_calls=calls))
    under_way = []
    for prompt, completion, finish_one in wanted:
        try:
            granted = ledger.reserve(prompt, PRICE)
        except LimitExceeded:
            granted = None
        if granted is not None:
            assert granted.max_reply_tokens is not None
            under_way.append((granted, spent(prompt, min(completion, granted.max_reply_tokens))))
        if finish_one and under_way:
            ledger.settle(*under_way.pop(0))
    for each in under_way:
        ledger.settle(*each)

    assert (ledger.usage.cost_usd or 0) <= dollars + 1e-9
    assert ledger.usage.total_tokens <= tokens
    assert ledger.calls <= calls


def test_a_call_waits_while_others_may_give_back_and_the_last_takes_what_is_left() -> None:
    ledger = Ledger(Limits(max_cost_usd=0.25, max_reply_tokens=1_000))
    first, second = ledger.reserve(100, PRICE), ledger.reserve(100, PRICE)
    assert first is not None
    assert second is not None

    assert ledger.reserve(100, PRICE) is None  # a stump now, a whole reply when the others have settled
    ledger.settle(first, spent(100, 10))
    third = ledger.reserve(100, PRICE)
    assert third is not None
    assert third.max_reply_tokens == 1_000

    ledger.settle(second, spent(100, 1_000))
    ledger.settle(third, spent(100, 1_000))
    last = ledger.reserve(100, PRICE)
    assert last is not None
    assert last.max_reply_tokens == 449  # with nobody left to wait for
    ledger.settle(last, spent(100, 449))
    with pytest.raises(LimitExceeded, match="max_cost_usd"):
        ledger.reserve(100, PRICE)


def test_an_unknown_price_is_unknown_and_not_nothing() -> None:
    ledger = Ledger(Limits())
    for price in (PRICE, None):
        granted = ledger.reserve(10, price)
        assert granted is not None
        ledger.settle(granted, spent(10, 10, price))

    assert ledger.total.cost_usd is None
    assert ledger.total.prompt_tokens == 20
    assert ledger.unpriced_calls == 1


def test_a_failed_call_counts_as_a_call_and_costs_nothing() -> None:
    ledger = Ledger(Limits(max_calls=1))
    granted = ledger.reserve(10, PRICE)
    assert granted is not None
    ledger.settle(granted, None)

    assert (ledger.calls, ledger.total) == (1, Usage(cost_usd=0.0))
    with pytest.raises(LimitExceeded, match="max_calls=1"):
        ledger.reserve(10, PRICE)


@pytest.mark.parametrize("limit", ["max_calls", "max_tokens", "max_cost_usd", "max_seconds"])
def test_none_is_no_limit_and_zero_is_zero(limit: str) -> None:
    everything = {"max_calls": None, "max_tokens": None, "max_cost_usd": None, "max_seconds": None}

    assert Ledger(Limits(**everything)).reserve(10**6, PRICE) is not None
    with pytest.raises(LimitExceeded) as refused:
        Ledger(Limits(**{**everything, limit: 0})).reserve(10, PRICE)
    assert (refused.value.limit, refused.value.allowed) == (limit, 0)


def test_a_free_model_is_held_by_tokens_and_never_by_dollars() -> None:
    free = Price(0, 0)

    assert Ledger(Limits(max_cost_usd=0)).reserve(10, free) is not None
    granted = Ledger(Limits(max_tokens=100 + SMALLEST_REPLY)).reserve(100, free)
    assert granted is not None
    assert granted.max_reply_tokens == SMALLEST_REPLY


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_a_limit_that_is_no_amount_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match="max_cost_usd"):
        Limits(max_cost_usd=value)


def test_what_is_left_is_told_of_the_limits_that_are_set() -> None:
    ledger = Ledger(Limits(max_steps=10, max_calls=5, max_cost_usd=1.0, max_tokens=None))
    granted = ledger.reserve(100, PRICE)
    assert granted is not None
    ledger.settle(granted, spent(100, 100))

    left = ledger.remaining(steps_used=4)

    assert left == Remaining(steps=6, calls=4, tokens=None, cost_usd=pytest.approx(1.0 - 0.011), seconds=None, depth=1)
