"""Our errors as values: copied, handed to other processes, and named for the agent that met them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from rlm_kernel.errors import (
    ContextBudgetExceeded,
    Diverged,
    InvalidTransition,
    LimitExceeded,
    ModelError,
    RLMError,
    SchemaMismatch,
    UsageError,
)
from rlm_kernel.values import Attempt

ERRORS: list[RLMError] = [
    RLMError("one"),
    UsageError("two", 3),
    SchemaMismatch("the answer: a list"),
    ModelError("no", kind="server", status=500, attempts=(Attempt("server", 500, 0.5),)),
    LimitExceeded("max_calls", 3, 2, "a hint"),
    Diverged("agent 0, step 1", "output", "a", "b", "a hint"),
    ContextBudgetExceeded("contract", 125, 0, 10, "max_tokens=10"),
    InvalidTransition("a", "b", ("c",)),
    ContextBudgetExceeded("contract", 125, 0, 10).of("0.1"),
]


def _pickled(protocol: int) -> Callable[[RLMError], RLMError]:
    return lambda error: pickle.loads(pickle.dumps(error, protocol))


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, *map(_pickled, range(pickle.HIGHEST_PROTOCOL + 1))])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_copy_of_an_error_is_the_same_error(error: RLMError, make: Callable[[RLMError], RLMError]) -> None:
    made = make(error)

    assert made is not error
    assert (type(made), made.args, str(made), vars(made)) == (type(error), error.args, str(error), vars(error))


def test_a_copy_for_an_agent_leaves_the_error_that_others_have_met_as_it_was() -> None:
    error = LimitExceeded("max_calls", 3, 2)

    first, second = error.of("0.1"), error.of("0.2")

    told = "max_calls=2 reached (3 used)"
    assert [(str(each), each.agent, each.used) for each in (error, first, second)] == [
        (told, None, 3),
        (f"agent 0.1: {told}", "0.1", 3),
        (f"agent 0.2: {told}", "0.2", 3),
    ]
    assert first.of("0") is first


def _refuse() -> None:
    raise InvalidTransition("a", "b", ("c",))


def test_an_error_comes_out_of_a_pool_of_processes_which_goes_on() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        with pytest.raises(InvalidTransition) as raised:
            pool.submit(_refuse).result(60)

        assert raised.value.allowed == ("c",)
        assert pool.submit(len, "ab").result(60) == 2
