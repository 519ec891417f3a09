"""Workflows: a flow that is checked, agents that can be swapped, and an orchestrator that loses nothing."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rlm_kernel
from rlm_kernel.errors import (
    InvalidTransition,
    LimitExceeded,
    ModelError,
    RLMError,
    RunInterrupted,
    SchemaMismatch,
    UsageError,
)
from rlm_kernel.given import fingerprint
from rlm_kernel.lm.scripted import ScriptedModel
from rlm_kernel.store import Store
from rlm_kernel.trace.loading import Trace, load_trace
from rlm_kernel.workflow import (
    Checkpoint,
    Flow,
    Next,
    Orchestrator,
    Record,
    Task,
    asks,
    by_value,
    says,
)
from rlm_kernel.workflow.inputs import Input
from tests.kernel_process import block, kernel_process


class Review(Enum):
    CLAUSES = "clauses"
    CONFLICTS = "conflicts"
    RISKS = "risks"
    REPORT = "report"


FLOW = Flow(
    {
        Review.CLAUSES: [Review.CONFLICTS],
        Review.CONFLICTS: [Review.RISKS, Review.CLAUSES],
        Review.RISKS: [Review.REPORT],
        Review.REPORT: [],
    },
    start=Review.CLAUSES,
)


def after_conflicts(found: dict[str, Any]) -> Review:
    return Review.CLAUSES if found["missing"] else Review.RISKS


REVIEW = Orchestrator(
    FLOW,
    {
        Review.CLAUSES: asks("List every clause of {contract}."),
        Review.CONFLICTS: asks("Which of {clauses} conflict? Which does {contract} have besides?"),
        Review.RISKS: {
            "money": asks("What can these conflicts cost? {conflicts}", schema=list[str]),
            "law": asks("Which of {conflicts} would a court strike out?", schema=list[str]),
        },
        Review.REPORT: asks("Write {goal} in one page, from {risks} and {conflicts}."),
    },
    returns={
        Review.CLAUSES: list[str],
        Review.CONFLICTS: {"type": "object", "required": ["missing", "pairs"]},
        Review.REPORT: str,
    },
    follow={Review.CONFLICTS: after_conflicts},
    retries=2,
)


def test_a_review_goes_back_for_a_missing_clause_and_needs_no_model_to_show_it() -> None:
    review = REVIEW.replaced(
        {
            "clauses": says(["1. Pay."], ["1. Pay.", "2. Never pay."]),
            "conflicts": says({"missing": ["2"], "pairs": []}, {"missing": [], "pairs": [[1, 2]]}),
            "risks": {"money": says(["all of it"]), "law": says([])},
            "report": says("Do not sign."),
        }
    )

    done = review.run({"contract": "1. Pay. 2. Never pay."})

    assert done.path == ("clauses", "conflicts", "clauses", "conflicts", "risks", "report")
    assert done.value == "Do not sign."
    assert dict(done.store) == {
        "contract": "1. Pay. 2. Never pay.",
        "clauses": ["1. Pay.", "2. Never pay."],
        "conflicts": {"missing": [], "pairs": [[1, 2]]},
        "risks": {"money": ["all of it"], "law": []},
        "report": "Do not sign.",
    }


# The flow


def test_a_flow_is_drawn_as_one_would_by_hand() -> None:
    assert FLOW.mermaid() == textwrap.dedent(
        """\
        stateDiagram-v2
            [*] --> clauses
            clauses --> conflicts
            conflicts --> risks
            conflicts --> clauses
            risks --> report
            report --> [*]
        """
    )
    assert FLOW.text() == textwrap.dedent(
        """\
        clauses (start) -> conflicts
        conflicts -> risks | clauses
        risks -> report
        report (end)"""
    )
    assert FLOW._repr_mimebundle_() == {"text/vnd.mermaid": FLOW.mermaid(), "text/plain": FLOW.text()}


def test_names_that_mermaid_would_not_take_have_an_alias() -> None:
    flow = Flow({'find "it" <b>': ["end", "state_1"], "end": [], "state_1": []}, start='find "it" <b>')

    assert flow.mermaid() == textwrap.dedent(
        """\
        stateDiagram-v2
            state "find #34;it#34; #60;b#62;" as state_1_
            state "end" as state_2_
            [*] --> state_1_
            state_1_ --> state_2_
            state_1_ --> state_1
            state_2_ --> [*]
            state_1 --> [*]
        """
    )


def test_everything_that_is_wrong_with_a_flow_is_said_at_once() -> None:
    table: dict[Any, Any] = {
        "draft": ["chek", "loop"],
        "check": [],
        "loop": "round",
        "round": ["loop"],
        3: [],
        "odd": 7,
        Review.CLAUSES: [None],
    }

    with pytest.raises(UsageError) as wrong:
        Flow(table, start="darft")

    assert str(wrong.value).splitlines() == [
        "this flow cannot be:",
        "- '3' is no state: give a string that is not empty, or a member of an Enum",
        "- what follows 'odd' is a list of states, not int",
        "- 'None' after 'clauses' is no state",
        "- not in the table: 'Review.CONFLICTS', 'Review.RISKS', 'Review.REPORT'; an end is written with an empty list",
        "- the start 'darft' is no state of the table; near: 'draft'",
        "- 'draft' is followed by 'chek', which is not in the table; near: 'check'",
        "- no end can be reached from 'draft', 'loop', 'round'",
    ]


@pytest.mark.parametrize(
    ("table", "start", "said"),
    [
        ({}, "a", "no states"),
        ({"a": []}, None, "no start: say where it begins, such as start='a'"),
        ({"a": ["b"], "b": ["a"]}, "a", "no end: one state must have nothing after it, such as 'report': []"),
        ({"a": [], "b": []}, "a", "never reached from 'a': 'b'"),
        ({"clauses": [], Review.CLAUSES: []}, "clauses", "two states are called 'clauses'"),
        ({" ": []}, " ", "' ' is no state"),
        ([("a", [])], "a", "a flow is a dict of states and what may follow each, not list"),
    ],
)
def test_what_is_no_flow_is_refused(table: Any, start: Any, said: str) -> None:
    with pytest.raises(UsageError) as wrong:
        Flow(table, start=start)

    assert said in str(wrong.value)


def test_a_flow_of_many_faults_says_so_in_few_words() -> None:
    with pytest.raises(UsageError) as wrong:
        Flow({"start": [], **{"x" * 300 + str(n): [] for n in range(3_000)}}, start="start")

    assert "and 2,990 more" in str(wrong.value)
    assert len(str(wrong.value)) < 1_000


def test_an_invalid_transition_is_typed_and_short() -> None:
    assert FLOW.follow("clauses", Review.CONFLICTS) == "conflicts"
    with pytest.raises(InvalidTransition) as wrong:
        FLOW.follow(Review.CLAUSES, "report")

    assert (wrong.value.from_state, wrong.value.to_state, wrong.value.allowed) == ("clauses", "report", ("conflicts",))
    assert str(wrong.value) == "clauses cannot be followed by report; allowed: conflicts"
    with pytest.raises(UsageError, match="'claus' is no state of this flow; near: 'clauses'"):
        FLOW.allowed("claus")


def test_states_are_named_by_the_string_they_are() -> None:
    class Kind(Enum):
        FIRST = 1
        SECOND = "second one"

    flow = Flow({Kind.FIRST: Kind.SECOND, Kind.SECOND: None}, start=Kind.FIRST)

    assert (flow.states, flow.ends, flow.start) == (("FIRST", "second one"), ("second one",), "FIRST")
    assert flow == Flow({"FIRST": ["second one"], "second one": []}, start="FIRST")


_TABLES = st.dictionaries(
    st.sampled_from("abcdefg"), st.lists(st.sampled_from("abcdefgh"), max_size=4), min_size=1, max_size=7
)


@settings(max_examples=400, deadline=None)
@given(table=_TABLES, start=st.sampled_from("abcdefgh"), seed=st.integers())
def test_what_is_accepted_comes_to_an_end_from_everywhere_and_what_is_refused_does_not(
    table: dict[str, list[str]], start: str, seed: int
) -> None:
    def reached(first: str) -> set[str]:
        found, size = {first}, 0
        while size < len(found):
            size = len(found)
            found |= {target for name in found for target in table.get(name, ())}
        return found

    good = (
        start in table
        and all(target in table for targets in table.values() for target in targets)
        and reached(start) == set(table)
        and all(any(not table[name] for name in reached(each)) for each in table)
    )
    try:
        flow = Flow(table, start=start)
    except UsageError:
        assert not good
        return
    assert good
    chance = random.Random(seed)
    agents = {name: lambda task, store: chance.random() for name in table}
    follow = {name: lambda value, name=name: chance.choice(flow.allowed(name)) for name in table if table[name]}
    done = Orchestrator(flow, agents, follow=follow, max_visits=None).run()
    assert done.path[0] == start
    assert not table[done.path[-1]]
    assert all(b in table[a] for a, b in zip(done.path, done.path[1:], strict=False))


# What agents give, and what follows

ONE = Flow({"one": []}, start="one")
FORK = Flow({"look": ["left", "right"], "left": [], "right": []}, start="look")


def ends(**more: Any) -> dict[str, Any]:
    return {"left": says("l"), "right": says("r"), **more}


def test_a_function_a_coroutine_and_an_object_with_run_are_agents() -> None:
    class Other:
        def run(self, task: Task, store: Store) -> object:
            return (task.state, task.goal, store["x"])

    async def later(task: Task, store: Store) -> object:
        await asyncio.sleep(0)
        return (task.state, task.goal, store["x"])

    for agent in (Other(), later, lambda task, store: (task.state, task.goal, store["x"])):
        orchestrator = Orchestrator(ONE, {"one": agent})  # type: ignore[dict-item]
        assert orchestrator.run({"x": 1}, "all").value == ("one", "all", 1)
        assert asyncio.run(orchestrator.arun({"x": 1}, "all")).value == ("one", "all", 1)


def test_what_follows_is_said_by_the_agent_a_function_or_a_fixed_state() -> None:
    assert Orchestrator(FORK, ends(look=says(Next("right", 5)))).run().store["look"] == 5
    assert Orchestrator(FORK, ends(look=says(5)), follow={"look": "left"}).run().value == "l"
    assert Orchestrator(
        FORK, ends(look=says(5)), follow={"look": lambda n: "right" if n > 3 else "left"}
    ).run().path == (
        "look",
        "right",
    )
    agent_first = Orchestrator(FORK, ends(look=says(Next("right"))), follow={"look": "left"})
    assert agent_first.run().value == "r"


def test_where_nobody_says_what_follows_the_mend_is_named() -> None:
    with pytest.raises(UsageError, match=r"state look: left or right may follow: give follow={'look': …}, or let"):
        Orchestrator(FORK, ends(look=says(5))).run()


@pytest.mark.parametrize("wrong", ["nowhere", "look", None, 7])
def test_a_transition_that_is_not_allowed_is_refused_and_nothing_is_stored(wrong: Any) -> None:
    store = Store()

    with pytest.raises(InvalidTransition) as refused:
        Orchestrator(FORK, ends(look=says(5)), follow={"look": lambda _: wrong}).run(store)

    assert (refused.value.from_state, refused.value.to_state) == ("look", str(wrong))
    assert refused.value.allowed == ("left", "right")
    assert list(store) == []


def test_an_end_has_nothing_after_it() -> None:
    with pytest.raises(InvalidTransition, match="one cannot be followed by one; allowed: none: it is an end"):
        Orchestrator(ONE, {"one": says(Next("one", 1))}).run()


def not_empty(value: list[object]) -> None:
    assert value, "there is nothing in it"


@pytest.mark.parametrize(
    ("form", "bad", "said"),
    [
        (list[int], ["x"], "state one: the answer has not the form that was asked for:\n[0]: Input should be"),
        ({"type": "object"}, [], "state one: the answer has not the form"),
        (not_empty, [], "state one: not_empty says: AssertionError: there is nothing in it"),
        (bool, [], "state one: the answer has not the form"),
        (lambda value: len(value) > 3, [], "state one: <lambda> says no to this list"),
        (lambda value: value.strip(), [], "says: AttributeError: 'list' object has no attribute 'strip'"),
    ],
)
def test_a_result_of_the_wrong_form_is_neither_stored_nor_followed(form: Any, bad: Any, said: str) -> None:
    store = Store()

    with pytest.raises(SchemaMismatch) as wrong:
        Orchestrator(ONE, {"one": says(bad)}, returns={"one": form}).run(store)

    assert said in str(wrong.value)
    assert list(store) == []


def test_a_good_result_is_stored_as_the_very_object() -> None:
    value = [1, 2, 3]

    done = Orchestrator(ONE, {"one": says(value)}, returns={"one": list[int]}).run()

    assert done.value is value
    assert repr(done) == "<Done: one>"
    assert done.store["one"] is value


def test_a_coming_back_without_end_is_stopped() -> None:
    loop = Flow({"a": ["a", "b"], "b": []}, start="a")

    with pytest.raises(LimitExceeded) as stopped:
        Orchestrator(loop, {"a": lambda task, store: Next("a", task.visit), "b": says(1)}, max_visits={"a": 4}).run()

    assert (stopped.value.limit, stopped.value.used, stopped.value.allowed) == ("max_visits", 4, 4)
    assert "the workflow keeps coming back to a" in str(stopped.value)


# Retries


def test_a_state_is_tried_again_as_often_as_told_and_the_agent_hears_why() -> None:
    agent = says(ModelError("busy", kind="server"), ["x"], [1])
    records: list[Record] = []

    done = Orchestrator(ONE, {"one": agent}, returns={"one": list[int]}, retries=2, on_state=records.append).run()

    assert done.value == [1]
    assert [task.attempt for task in agent.tasks] == [1, 2, 3]
    assert [task.problem and task.problem[:20] for task in agent.tasks] == [None, "busy", "the answer has not t"]
    assert (records[0].attempts, records[0].error) == (3, None)
    assert [problem.split(":")[0] for problem in records[0].problems] == ["ModelError", "SchemaMismatch"]


def test_what_is_not_to_be_retried_ends_it_at_once_with_its_own_type_and_traceback() -> None:
    agent = says(ZeroDivisionError("by zero"), 1)
    records: list[Record] = []
    orchestrator = Orchestrator(ONE, {"one": agent}, retries={"one": 5}, on_state=records.append)

    with pytest.raises(ZeroDivisionError) as failed:
        orchestrator.run()

    assert failed.value.__notes__ == ["in the workflow's state one"]
    assert failed.traceback[-1].name == "run"
    assert len(agent.tasks) == 1
    assert (records[0].state, records[0].next, records[0].error) == ("one", None, "ZeroDivisionError: by zero")


@pytest.mark.parametrize("error", [RunInterrupted("Stop"), UsageError("no")])
def test_stop_and_misuse_are_never_retried(error: Exception) -> None:
    agent = says(error, 1)

    with pytest.raises(type(error), match=f"state one: {error}"):
        Orchestrator(ONE, {"one": agent}, retries=3, retry_on=Exception).run()

    assert len(agent.tasks) == 1


def test_an_error_of_ours_keeps_what_it_carries() -> None:
    error = ModelError("gone", kind="connection", status=502)

    with pytest.raises(ModelError) as failed:
        Orchestrator(ONE, {"one": says(error, error)}, retries=1).run()

    assert (str(failed.value), failed.value.kind, failed.value.status) == (
        "state one, after 2 attempts: gone",
        "connection",
        502,
    )


def test_an_agent_that_raises_stop_iteration_ends_like_any_other() -> None:
    empty = iter(())
    for agents in (
        {"one": lambda task, store: next(empty)},
        {"one": {"a": lambda task, store: next(empty), "b": says(1)}},
    ):
        with pytest.raises(RuntimeError, match="the agent raised StopIteration"):
            Orchestrator(ONE, agents).run()  # type: ignore[arg-type]


# Several agents in one state


def test_several_agents_work_at_the_same_time_and_their_results_keep_their_order() -> None:
    meet = threading.Barrier(3, timeout=10)
    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    whose.set("the caller's")

    def slow(task: Task, store: Store) -> object:
        meet.wait()
        time.sleep(0.05)
        return whose.get()

    def fast(task: Task, store: Store) -> object:
        meet.wait()
        return store["x"]

    async def awaited(task: Task, store: Store) -> object:
        await asyncio.to_thread(meet.wait)
        return 3

    orchestrator = Orchestrator(ONE, {"one": {"slow": slow, "fast": fast, "awaited": awaited}})
    for done in (orchestrator.run({"x": 2}), asyncio.run(orchestrator.arun({"x": 2}))):
        assert list(done.value.items()) == [("slow", "the caller's"), ("fast", 2), ("awaited", 3)]  # type: ignore[attr-defined]


def test_one_that_fails_is_asked_again_alone() -> None:
    good, bad = says(1), says(OSError("line down"), 2)

    done = Orchestrator(ONE, {"one": {"good": good, "bad": bad}}, retries=1).run()

    assert list(done.value.items()) == [("good", 1), ("bad", 2)]  # type: ignore[attr-defined]
    assert (len(good.tasks), len(bad.tasks)) == (1, 2)
    assert bad.tasks[1].problem == "line down"


def test_one_that_fails_for_good_does_not_lose_the_others(tmp_path: Path) -> None:
    good, bad = says([1]), says(ValueError("no"), 2)
    orchestrator = Orchestrator(ONE, {"one": {"good": good, "bad": bad}})
    path = tmp_path / "saved.json"

    with pytest.raises(ValueError, match="no") as failed:
        orchestrator.run(checkpoint=path)

    assert {name: str(each) for name, each in failed.value.results.items()} == {"good": "[1]", "bad": "no"}  # type: ignore[attr-defined]
    assert orchestrator.run(checkpoint=path, resume=True).value == {"good": [1], "bad": 2}
    assert (len(good.tasks), len(bad.tasks)) == (1, 2)


def test_what_was_kept_of_one_state_is_not_taken_for_another_whose_agent_has_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    agents = {
        "a": {"law": says("of a"), "money": says(OSError("x"), 1)},
        "b": {"law": says("of b"), "money": says(2)},
        "c": says(3),
    }
    orchestrator = Orchestrator(THREE, agents)
    with pytest.raises(OSError, match="x"):
        orchestrator.run(checkpoint=path)

    assert orchestrator.run(checkpoint=path, resume=True).store["b"] == {"law": "of b", "money": 2}


def test_an_agent_that_ends_everything_does_not_leave_the_others_at_work() -> None:
    told = []

    class End(BaseException):
        pass

    async def waits(task: Task, store: Store) -> object:
        try:
            return await asyncio.sleep(60)
        finally:
            told.append("cancelled")

    async def ends_all(task: Task, store: Store) -> object:
        await asyncio.sleep(0.01)
        raise End

    async def go() -> None:
        with pytest.raises(End):
            await Orchestrator(ONE, {"one": {"waits": waits, "ends": ends_all}}).arun()
        await asyncio.sleep(0.01)
        assert told == ["cancelled"]

    asyncio.run(go())


def test_a_whole_that_does_not_do_is_asked_again_whole(tmp_path: Path) -> None:
    a, b = says(1, 2, 3), says(1, 1, 4)
    path = tmp_path / "saved.json"
    orchestrator = Orchestrator(
        ONE, {"one": {"a": a, "b": b}}, returns={"one": lambda both: both["a"] + both["b"] > 3}, retries=1
    )

    with pytest.raises(SchemaMismatch):
        orchestrator.run(checkpoint=path)

    assert orchestrator.run(checkpoint=path, resume=True).value == {"a": 3, "b": 4}


def test_what_is_found_not_to_do_at_the_resume_is_asked_again_and_hears_why(tmp_path: Path) -> None:
    path, agent = tmp_path / "saved.json", says(["x"], [1])
    orchestrator = Orchestrator(ONE, {"one": agent}, returns={"one": list[int]})
    with pytest.raises(SchemaMismatch) as wrong:
        orchestrator.run(checkpoint=path)

    done = orchestrator.run(checkpoint=path, resume=True)

    assert list(wrong.value.results.values()) == [["x"]]  # type: ignore[attr-defined]
    assert (done.value, done.records[0].attempts, len(done.records[0].problems)) == ([1], 1, 1)
    assert [(task.attempt, task.problem is None) for task in agent.tasks] == [(1, True), (1, False)]


def test_what_was_paid_for_is_kept_where_what_follows_cannot_be_told(tmp_path: Path) -> None:
    path, store, agents = tmp_path / "saved.json", Store(), {"x": says([1]), "y": says("Y")}
    orchestrator = Orchestrator(FORK, ends(look=agents), follow={"look": lambda both: both["missing"]})

    with pytest.raises(KeyError) as failed:
        orchestrator.run(store, checkpoint=path)
    with pytest.raises(KeyError):
        orchestrator.run(store, checkpoint=path, resume=True)
    done = orchestrator.replaced({}, follow={"look": "left"}).run(store, checkpoint=path, resume=True)

    assert failed.value.results == {"x": [1], "y": "Y"}  # type: ignore[attr-defined]
    assert (done.path, done.store["look"]) == (("look", "left"), {"x": [1], "y": "Y"})
    assert [len(agent.tasks) for agent in agents.values()] == [1, 1]


def test_a_next_that_is_refused_keeps_its_value_and_follow_mends_it(tmp_path: Path) -> None:
    path, agent = tmp_path / "saved.json", says(Next("nowhere", [7]))
    orchestrator = Orchestrator(FORK, ends(look=agent))

    with pytest.raises(InvalidTransition) as refused:
        orchestrator.run(checkpoint=path)
    with pytest.raises(InvalidTransition, match="look cannot be followed by nowhere"):
        orchestrator.run(checkpoint=path, resume=True)
    done = orchestrator.replaced({}, follow={"look": "right"}).run(checkpoint=path, resume=True)

    assert refused.value.results == {"Says": Next("nowhere", [7])}  # type: ignore[attr-defined]
    assert (done.path, done.store["look"], len(agent.tasks)) == (("look", "right"), [7], 1)


def test_a_next_that_is_allowed_is_kept_with_its_value(tmp_path: Path) -> None:
    path, agent = tmp_path / "saved.json", says(Next("left", [7]))
    orchestrator = Orchestrator(
        FORK, ends(look=agent), returns={"look": lambda value: 1 / 0}, follow={"look": lambda value: "right"}
    )
    with pytest.raises(ZeroDivisionError):
        orchestrator.run(checkpoint=path)

    done = orchestrator.replaced({}, returns={"look": list}).run(checkpoint=path, resume=True)

    assert (done.path, done.store["look"], len(agent.tasks)) == (("look", "left"), [7], 1)


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (lambda store: store.only("contract", read_only=True), "this view of the store is read-only: give the"),
        (lambda store: store.only("contract"), "b is in the store, but not in this view of it: give the"),
    ],
)
def test_a_store_that_would_not_take_a_result_is_found_before_anybody_is_asked(
    tmp_path: Path, view: Callable[[Store], Store], said: str
) -> None:
    path, store, agent = tmp_path / "saved.json", Store(), says(1)
    store["contract"] = store["b"] = "old"
    orchestrator = Orchestrator(THREE, {"a": agent, "b": says(2), "c": says(3)})

    with pytest.raises(UsageError, match=said):
        orchestrator.run(view(store), checkpoint=path)

    assert (len(agent.tasks), path.exists()) == (0, False)
    assert orchestrator.run(store, checkpoint=path).store["b"] == 2


def test_a_state_that_is_not_reached_from_where_it_begins_may_be_hidden() -> None:
    store = Store()
    store["a"] = store["b"] = 1

    assert Orchestrator(THREE, {"a": says(1), "b": says(2), "c": says(3)}).run(store.only("b"), at="b").value == 3


def test_a_file_whose_results_a_view_does_not_take_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    path, store = tmp_path / "saved.json", Store()
    store["in"] = 1
    orchestrator = Orchestrator(THREE, {"a": says(1), "b": says(2), "c": says(OSError("x"), 3)})
    with pytest.raises(OSError, match="x"):
        orchestrator.run({"in": 1}, checkpoint=path)
    store["b"] = "hidden"

    with pytest.raises(UsageError, match="holds what goes into the store, and b is in the store, but not in this view"):
        orchestrator.run(store.only("in"), checkpoint=path, resume=True)

    assert dict(store) == {"in": 1, "b": "hidden"}


def test_a_result_that_the_store_refuses_after_all_is_kept_and_the_state_has_its_end(tmp_path: Path) -> None:
    path, store, records = tmp_path / "saved.json", Store(), []
    store["contract"] = "x"

    def hides(task: Task, view: Store) -> object:
        store["a"] = "another's"  # where the view does not show it
        return ["paid"]

    orchestrator = Orchestrator(THREE, {"a": hides, "b": says(2), "c": says(3)}, on_state=records.append)
    with pytest.raises(UsageError, match="state a: a is in the store, but not in this view") as refused:
        orchestrator.run(store.only("contract"), checkpoint=path)
    again = orchestrator.replaced({}).run({"contract": "x"}, checkpoint=path, resume=True)

    assert refused.value.results == {"hides": ["paid"]}  # type: ignore[attr-defined]
    assert (records[0].state, records[0].next, records[0].error is None) == ("a", None, False)
    assert (again.store["a"], again.path) == (["paid"], ("a", "b", "c"))


def test_a_text_among_several_that_nobody_reads_is_named_with_the_mend() -> None:
    agents = {"counsel": by_value(lambda text: '["1"]', "Which?"), "clerk": says(["2"]), "free": by_value(str, "x")}
    form = {"properties": {"counsel": {"type": "array"}, "clerk": {"type": "array"}}}

    for returns in (form, dict[str, list[str] | Literal["x"]]):
        with pytest.raises(SchemaMismatch) as wrong:
            Orchestrator(ONE, {"one": agents}, returns={"one": returns}).run()
        assert str(wrong.value).endswith("\ncounsel gave a text: by_value(…, schema=…) reads the JSON in it")
        agents["clerk"] = says(["2"])


def test_one_of_several_cannot_choose_what_follows() -> None:
    with pytest.raises(UsageError, match="one of several agents cannot say what follows"):
        Orchestrator(FORK, ends(look={"a": says(Next("left")), "b": says(1)})).run()


# Checkpoints

THREE = Flow({"a": ["b"], "b": ["c"], "c": []}, start="a")


def test_after_a_failure_nothing_that_was_saved_is_run_again(tmp_path: Path) -> None:
    a, b, c = says({"x": [1, None, "é\ud800"]}), says(KeyError("gone"), 2.5), says(b"\0")
    orchestrator = Orchestrator(THREE, {"a": a, "b": b, "c": c})
    path = tmp_path / "saved.json"

    with pytest.raises(KeyError):
        orchestrator.run({"in": "put"}, "all", checkpoint=path)
    done = orchestrator.run({"in": "put"}, checkpoint=str(path), resume=True)

    assert dict(done.store) == {"in": "put", "a": {"x": [1, None, "é\ud800"]}, "b": 2.5, "c": b"\0"}
    assert [len(agent.tasks) for agent in (a, b, c)] == [1, 2, 1]
    assert done.path == ("a", "b", "c")
    assert c.tasks[0].goal == "all"
    assert path.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_workflow_is_not_run_again(tmp_path: Path) -> None:
    orchestrator = Orchestrator(THREE, {"a": says(1), "b": says(2), "c": says(3)})
    path = tmp_path / "saved.json"
    first = orchestrator.run(checkpoint=path, resume=True)

    again = orchestrator.run(checkpoint=path, resume=True)

    assert (again.value, again.path, again.records) == (3, first.path, first.records)
    with pytest.raises(UsageError, match=r"saved.json is there already: go on from it with resume=True, or delete it"):
        orchestrator.run(checkpoint=path)


def test_what_agents_put_into_the_store_besides_is_saved_too(tmp_path: Path) -> None:
    def a(task: Task, store: Any) -> object:
        store["note"] = "seen"
        store["list"].append(2)  # in place
        del store["gone"]
        return 1

    path = tmp_path / "saved.json"
    inputs: dict[str, Any] = {"list": [1], "gone": 1, "same": [0]}
    orchestrator = Orchestrator(THREE, {"a": a, "b": says(OSError("x"), 2), "c": says(3)})

    with pytest.raises(OSError, match="x"):
        orchestrator.run({**inputs, "list": [1]}, checkpoint=path)
    done = orchestrator.run(inputs, checkpoint=path, resume=True)

    assert dict(done.store) == {"list": [1, 2], "same": [0], "a": 1, "note": "seen", "b": 2, "c": 3}
    assert done.store["same"] is inputs["same"]


def test_what_a_person_has_changed_meanwhile_stays(tmp_path: Path) -> None:
    seen = []
    orchestrator = Orchestrator(
        THREE, {"a": says([1]), "b": says(OSError("x"), 2), "c": lambda task, store: seen.append(store["a"])}
    )
    store, path = Store(), tmp_path / "saved.json"
    with pytest.raises(OSError, match="x"):
        orchestrator.run(store, checkpoint=path)

    store["a"] = [1, "and more"]
    orchestrator.run(store, checkpoint=path, resume=True)

    assert seen == [[1, "and more"]]
    assert json.loads(json.loads(path.read_text())["values"]["a"]["text"]) == [1, "and more"]


def test_other_inputs_than_it_began_with_are_refused(tmp_path: Path) -> None:
    orchestrator = Orchestrator(THREE, {"a": says(1), "b": says(2), "c": says(3)})
    path = tmp_path / "saved.json"
    orchestrator.run({"contract": "old"}, "it", checkpoint=path)

    with pytest.raises(UsageError, match="began with another 'contract' than the store has"):
        orchestrator.run({"contract": "new"}, checkpoint=path, resume=True)
    with pytest.raises(UsageError, match="began with 'contract' in the store: put it there"):
        orchestrator.run({}, checkpoint=path, resume=True)
    with pytest.raises(UsageError, match="began with another goal"):
        orchestrator.run({"contract": "old"}, "that", checkpoint=path, resume=True)


def stopped_at_b(path: Path, given: dict[str, Any], a: Callable[[Task, Any], object] | None = None) -> Orchestrator:
    """What goes on from there, and ends with what the input `x` is then."""
    orchestrator = Orchestrator(
        THREE, {"a": a or says(1), "b": says(OSError("x"), 2), "c": lambda task, store: store["x"]}
    )
    with pytest.raises(OSError, match="x"):
        orchestrator.run(given, checkpoint=path)
    return orchestrator


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x" * 5_000_000, "x" * 2_500_000 + "y" + "x" * 2_499_999),
        (["r"] * 100_000, ["r"] * 50_000 + ["X"] + ["r"] * 49_999),
        ({"rows": [{"n": n} for n in range(20_000)]}, {"rows": [{"n": n - (n == 19_000)} for n in range(20_000)]}),
        ((1, 2), (1, True)),
        ({1, 2}, {1, 2, 3}),
    ],
    ids=["text", "list", "rows", "tuple", "set"],
)
@pytest.mark.filterwarnings("ignore:x .set.", "ignore:.*cannot hold c")
def test_another_input_is_refused_wherever_it_differs_and_the_same_is_taken(
    tmp_path: Path, one: Any, other: Any
) -> None:
    orchestrator = stopped_at_b(tmp_path / "saved.json", {"x": one})

    with pytest.raises(UsageError, match="began with another 'x' than the store has"):
        orchestrator.run({"x": other}, checkpoint=tmp_path / "saved.json", resume=True)
    assert orchestrator.run({"x": one}, checkpoint=tmp_path / "saved.json", resume=True).value is one


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (lambda: [f"row {n}" for n in range(100_000)], lambda rows: rows.__setitem__(50_000, "CHANGED")),
        (lambda: [{"n": [n]} for n in range(20_000)], lambda rows: rows[19_000]["n"].append("CHANGED")),
        (lambda: {"deep": ({"in": [1]},)}, lambda held: held["deep"][0].update(more=1)),
        (lambda: Store(), lambda held: held.store("in", 1)),
    ],
    ids=["list", "rows", "nested", "store"],
)
def test_what_a_state_changed_in_an_input_in_place_is_there_when_it_goes_on(
    tmp_path: Path, make: Callable[[], Any], change: Callable[[Any], None]
) -> None:
    changed = make()
    change(changed)
    orchestrator = stopped_at_b(tmp_path / "saved.json", {"x": make()}, lambda task, store: change(store["x"]))

    assert orchestrator.run({"x": make()}, checkpoint=tmp_path / "saved.json", resume=True).value == changed


@pytest.mark.filterwarnings("ignore:.*cannot hold c")
def test_an_input_that_is_not_known_again_is_told_when_it_begins_and_known_by_its_type_and_size(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    with pytest.warns(UserWarning, match=r"^x \(ndarray\): no plain data, or very large") as told:
        orchestrator = stopped_at_b(path, {"x": numpy.zeros(10), "plain": [1]})
    assert len(told) == 1

    for other in (numpy.zeros(99), [0] * 10):
        with pytest.raises(UsageError, match="began with another 'x' than the store has"):
            orchestrator.run({"x": other, "plain": [1]}, checkpoint=path, resume=True)
    same = numpy.ones(10)
    with pytest.warns(UserWarning, match="what a state changes in it is not seen"):
        assert orchestrator.run({"x": same, "plain": [1]}, checkpoint=path, resume=True).store["x"] is same


def test_large_inputs_cost_a_look_when_it_begins_and_next_to_nothing_at_each_save() -> None:
    rows = [{"n": n, "text": "t" * 50} for n in range(100_000)]
    held = Input(rows)
    begun = time.thread_time()

    assert not any(held.changed() for _ in range(10))

    assert time.thread_time() - begun < 1.0
    rows[99_000]["n"] = 0
    assert held.changed()


def test_a_file_of_an_older_version_goes_on_and_refuses_other_inputs(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    orchestrator = stopped_at_b(path, {"x": [1]})
    data = json.loads(path.read_text())
    data |= {"rlm_workflow": 1, "inputs": {"x": ["list", fingerprint([1])]}}
    path.write_text(json.dumps(data))

    with pytest.raises(UsageError, match="began with another 'x' than the store has"):
        orchestrator.run({"x": [2]}, checkpoint=path, resume=True)
    assert orchestrator.run({"x": [1]}, checkpoint=path, resume=True).value == [1]


@pytest.mark.parametrize(
    "value",
    [(1, "a"), {1: "paid"}, {("a", 2): [None, {3.5: (b"x",)}]}, [(), {"dict": []}], [float("inf"), b"\xff"]],
)
def test_plain_data_that_json_has_no_form_for_is_kept_as_it_was(tmp_path: Path, value: object) -> None:
    orchestrator = stopped_at_b(tmp_path / "saved.json", {"x": 0}, lambda task, store: value)

    done = orchestrator.run({"x": 0}, checkpoint=tmp_path / "saved.json", resume=True)

    assert repr(done.store["a"]) == repr(value)


def test_a_result_that_the_file_cannot_hold_is_told_once_when_it_is_written(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"cannot hold a \(set\), .* Checkpoint\(path, save=…, load=…\)") as told:
        Orchestrator(THREE, {"a": says({1}), "b": says(2), "c": says(3)}).run(checkpoint=tmp_path / "saved.json")

    assert len(told) == 1


def test_in_a_cell_of_a_run_that_is_a_note_which_is_the_same_each_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cell = "from tests.test_workflow import *\nOrchestrator(ONE, {'one': says({1})}).run(checkpoint='c.json')\nFINAL(1)"

    assert in_a_run(monkeypatch, tmp_path, cell, {}) == 1

    (journal,) = (tmp_path / ".rlm" / "runs").glob("*.jsonl")
    assert "note: c.json cannot hold one (set), which is no plain data" in journal.read_text()


@pytest.mark.filterwarnings("ignore:.*cannot hold a")
def test_a_result_that_is_no_plain_data_is_a_clear_error_at_the_resume_and_has_three_mends(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    a = says({1, 2}, {3})
    orchestrator = Orchestrator(
        THREE, {"a": a, "b": lambda task, store: len(store["a"]), "c": says(OSError("x"), OSError("x"), 3, 4)}
    )
    store = Store()
    with pytest.raises(OSError, match="x"):
        orchestrator.run(store, checkpoint=path)
    held = path.read_bytes()
    empty = Store()

    with pytest.raises(UsageError, match=r"saved.json does not hold a: no plain data. Put it into .* at='a'"):
        orchestrator.run(empty, checkpoint=path, resume=True)
    assert list(empty) == []
    assert path.read_bytes() == held

    with pytest.raises(OSError, match="x"):  # it is in this store still
        orchestrator.run(store, checkpoint=path, resume=True)
    path.write_bytes(held)
    done = orchestrator.run(checkpoint=path, resume=True, at="a")
    assert (done.path, done.store["a"], done.store["b"]) == (("a", "b", "c"), {3}, 1)
    assert len(a.tasks) == 2


def test_save_and_load_keep_what_is_no_plain_data(tmp_path: Path) -> None:
    def checkpoint() -> Checkpoint:
        return Checkpoint(
            tmp_path / "saved.json", save=lambda key, value: sorted(value), load=lambda key, data: set(data)
        )

    orchestrator = Orchestrator(THREE, {"a": says({2, 1}), "b": says([1]), "c": says(OSError("x"), 3)})
    with pytest.raises(OSError, match="x"):
        orchestrator.run(checkpoint=checkpoint())

    with pytest.raises(UsageError, match="has a as save= gave it: give Checkpoint"):
        orchestrator.run(checkpoint=tmp_path / "saved.json", resume=True)
    done = orchestrator.run(checkpoint=checkpoint(), resume=True)

    assert (done.store["a"], done.store["b"]) == ({1, 2}, [1])
    with pytest.raises(UsageError, match="save and load go together"):
        Checkpoint("x", save=lambda key, value: 1)
    with pytest.raises(UsageError, match=r"save\('one', …\) gave no plain data"):
        Orchestrator(ONE, {"one": says({1})}).run(
            checkpoint=Checkpoint(tmp_path / "y", save=lambda key, value: value, load=lambda key, data: data)
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no checkpoint of a workflow"),
        ('{"cells": []}', "is no checkpoint of a workflow"),
        ("[1]", "is no checkpoint of a workflow"),
        ('{"rlm_workflow": 99}', "is of another version"),
        ('{"rlm_workflow": 1, "next": "b"}', "is no checkpoint of a workflow"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused_and_left_alone(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "saved.json"
    path.write_text(text)

    with pytest.raises(UsageError, match=said):
        Orchestrator(ONE, {"one": says(1)}).run(checkpoint=path, resume=True)

    assert path.read_text() == text


def test_every_damage_to_a_checkpoint_is_a_typed_error_or_none(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    agents = {"a": says([1]), "b": lambda task, store: store["a"], "c": says(OSError("x"))}
    with pytest.raises(OSError, match="x"):
        Orchestrator(THREE, agents).run({"in": 1}, checkpoint=path)
    whole = path.read_text()
    chance = random.Random(5)
    data = json.loads(whole)
    damaged = [whole[: chance.randrange(len(whole))] for _ in range(30)]
    for key in data:
        damaged += [json.dumps({**data, key: value}) for value in (None, 7, "x", [1], {"a": 1}, [None])]
        damaged.append(json.dumps({name: value for name, value in data.items() if name != key}))

    said = []
    for text in damaged:
        path.write_text(text)
        orchestrator = Orchestrator(THREE, {name: says(*[1] * 5) for name in THREE.states})
        try:
            path_taken = orchestrator.run({"in": 1}, checkpoint=path, resume=True).path
        except RLMError as error:
            said.append(str(error))
        else:
            assert path_taken[-1] == "c", text

    assert len(said) > 50
    assert max(map(len, said)) < 300


def test_a_place_that_cannot_be_written_is_found_before_anything_is_run(tmp_path: Path) -> None:
    agent = says(1)

    with pytest.raises(UsageError, match="cannot be written"):
        Orchestrator(ONE, {"one": agent}).run(checkpoint=tmp_path / "no" / "such" / "folder")

    assert agent.tasks == []


def test_it_can_begin_in_the_middle_with_what_is_in_the_store() -> None:
    a = says(0)

    done = Orchestrator(THREE, {"a": a, "b": lambda task, store: store["a"] + 1, "c": says(3)}).run({"a": 1}, at="b")

    assert (done.path, done.store["b"], a.tasks) == (("b", "c"), 2, [])


KILLED = """
import os, signal, sys
from pathlib import Path
from rlm_kernel.workflow import Flow, Next, Orchestrator, asks

log, point = Path(sys.argv[1]), sys.argv[2]

def effect(task, store):
    with log.open("a") as file:
        file.write(f"{task.state}{task.visit}\\n")
    if point == f"during {task.state}{task.visit}":
        os.kill(os.getpid(), signal.SIGKILL)
    back = task.state == "c" and task.visit == 1
    value = [*store.get(task.state, []), task.visit]
    return Next("b", value) if back else Next("d", value) if task.state == "c" else value

def over(record):
    if point == f"after {record.state}{record.visit}":
        os.kill(os.getpid(), signal.SIGKILL)

if point.startswith("renaming"):
    replace, left = Path.replace, [int(point.split()[1])]
    def killed(self, target):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)
    Path.replace = killed

flow = Flow({"a": ["b"], "b": ["c"], "c": ["b", "d"], "d": []}, start="a")
orchestrator = Orchestrator(flow, {name: effect for name in flow.states}, on_state=over)
done = orchestrator.run({"in": 1}, checkpoint=log.with_name("saved.json"), resume=True)
print(dict(done.store), *done.path)
"""


@pytest.mark.parametrize(
    ("points", "twice"),
    [
        (["after a1"], []),
        (["after b1", "after c1", "after b2", "after c2", "after d1"], []),
        (["during a1"], ["a1"]),
        (["during c1", "after c1", "during d1"], ["c1", "d1"]),
        (["renaming 1"], []),  # the file of the beginning
        (["renaming 3"], ["b1"]),
        (["renaming 2", "renaming 2"], ["a1", "b1"]),
    ],
)
def test_killed_between_two_states_nothing_is_lost_and_nothing_saved_runs_twice(
    tmp_path: Path, points: list[str], twice: list[str]
) -> None:
    log = tmp_path / "log"

    def start(point: str) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-c", KILLED, str(log), point]
        environ = {**os.environ, "PYTHONPATH": str(Path(rlm_kernel.__file__).parents[1])}
        return subprocess.run(arguments, capture_output=True, text=True, timeout=60, env=environ)

    for point in points:
        assert start(point).returncode == -signal.SIGKILL, point
    last = start("")

    assert last.stdout.split("} ")[1].split() == ["a", "b", "c", "b", "c", "d"], last.stderr
    assert last.stdout.startswith("{'in': 1, 'a': [1], 'b': [1, 2], 'c': [1, 2], 'd': [1]}")
    if points != ["renaming 2", "renaming 2"]:
        assert sorted(log.read_text().split()) == sorted(["a1", "b1", "c1", "b2", "c2", "d1", *twice])
    assert start("").stdout == last.stdout


# Stop


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_stop_leaves_what_can_be_resumed(tmp_path: Path, stop: type[BaseException]) -> None:
    path, records = tmp_path / "saved.json", []
    a, b = says([1]), says(stop(), 2)
    orchestrator = Orchestrator(THREE, {"a": a, "b": b, "c": says(3)}, on_state=records.append)

    with pytest.raises(stop):
        orchestrator.run(checkpoint=path)

    assert [(record.state, record.error) for record in records] == [("a", None), ("b", stop.__name__)]
    done = orchestrator.run(checkpoint=path, resume=True)
    assert (dict(done.store), len(a.tasks)) == ({"a": [1], "b": 2, "c": 3}, 1)


def test_a_stop_among_several_keeps_those_that_had_answered(tmp_path: Path) -> None:
    path, go = tmp_path / "saved.json", threading.Event()
    quick = says(1)

    def stopped(task: Task, store: Store) -> object:
        if go.is_set():
            return 2
        time.sleep(0.2)
        go.set()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        return 0

    orchestrator = Orchestrator(ONE, {"one": {"quick": quick, "stopped": stopped}})
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        orchestrator.run(checkpoint=path)

    assert time.monotonic() - began < 4
    assert orchestrator.run(checkpoint=path, resume=True).value == {"quick": 1, "stopped": 2}
    assert len(quick.tasks) == 1


def test_cancelling_reaches_the_agents_and_leaves_what_can_be_resumed(tmp_path: Path) -> None:
    path, told = tmp_path / "saved.json", []

    async def waits(task: Task, store: Store) -> object:
        if told:
            return 2
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise
        return 0

    orchestrator = Orchestrator(THREE, {"a": says(1), "b": {"w": waits, "s": says(5)}, "c": says(3)})

    async def cancelled() -> None:
        running = asyncio.create_task(orchestrator.arun(checkpoint=path))
        await asyncio.sleep(0.2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancelled())

    assert told == ["cancelled"]
    assert asyncio.run(orchestrator.arun(checkpoint=path, resume=True)).store["b"] == {"w": 2, "s": 5}


def test_plain_functions_do_not_hold_up_the_loop() -> None:
    async def beside() -> list[str]:
        order: list[str] = []
        went_on = threading.Event()

        def slow(task: Task, store: Store) -> object:
            went_on.wait(10)
            order.append("slow")
            return 1

        running = asyncio.create_task(Orchestrator(ONE, {"one": slow}).arun())
        await asyncio.sleep(0.05)
        order.append("beside")
        went_on.set()
        await running
        return order

    assert asyncio.run(beside()) == ["beside", "slow"]


def test_in_a_loop_agents_that_await_are_refused_before_anything_runs(recwarn: pytest.WarningsRecorder) -> None:
    first = says(1)

    async def text(prompt: str) -> str:
        return "x"

    class Called:
        async def __call__(self, prompt: str) -> str:
            return "x"

    async def awaited(task: Task, store: Store) -> object:
        return 1

    async def inside() -> None:
        with pytest.raises(UsageError, match=r"await orchestrator.arun\(...\)"):
            Orchestrator(THREE, {"a": first, "b": awaited, "c": says(1)}).run()
        for function in (text, Called()):
            with pytest.raises(UsageError, match=r"await orchestrator.arun\(...\)"):
                Orchestrator(THREE, {"a": first, "b": by_value(function, "x"), "c": says(1)}).run()
        for agent in (lambda task, store: awaited(task, store), by_value(lambda prompt: text(prompt), "x")):
            with pytest.raises(UsageError, match="an agent awaits, and an event loop is running here"):
                Orchestrator(ONE, {"one": agent}).run()
        assert Orchestrator(ONE, {"one": says(4)}).run().value == 4

    asyncio.run(inside())
    gc.collect()

    assert first.tasks == []
    assert [str(each.message) for each in recwarn] == []


# Bad input


def test_everything_that_is_wrong_with_an_orchestrator_is_said_at_once() -> None:
    with pytest.raises(UsageError) as wrong:
        Orchestrator(
            FORK,
            {"look": lambda task: 1, "left": 7, "up": says(1)},  # type: ignore[arg-type, misc, dict-item]
            returns={"look": "no type at all", "rihgt": int},
            follow={"look": "look", "left": "right"},
            retries=-1,
            max_visits={"look": True},
        )

    said = str(wrong.value)
    assert [line for line in said.splitlines() if line.startswith("- ")] == [
        "- agents: 'up' is no state of this flow",
        "- returns: 'rihgt' is no state of this flow; near: 'right'",
        "- retries=-1: give a whole number from 0 up",
        "- max_visits=True: give a whole number from 0 up",
        "- no agent for right",
        "- the agent of look, <lambda>, does not take two arguments: task and store",
        next(line for line in said.splitlines() if line.startswith("- returns of look: schema='no type at all'")),
        "- follow: look cannot be followed by look; allowed: left, right",
        "- the agent of left is a function of a task and a store, or has such a method `run`; int has not",
        "- follow: left cannot be followed by right; allowed: none: it is an end",
    ]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Orchestrator({"a": []}, {}), "an orchestrator runs a Flow, not dict"),  # type: ignore[arg-type]
        (lambda: Orchestrator(ONE, [1]), "agents is a dict with the states as keys, not list"),  # type: ignore[arg-type]
        (lambda: Orchestrator(ONE, {"one": {}}), "no agent for one"),
        (lambda: Orchestrator(ONE, {"one": Store}), "the class Store has not"),  # type: ignore[dict-item]
        (lambda: Orchestrator(ONE, {"one": says(1)}, retry_on="all"), "retry_on is a tuple of exception types"),  # type: ignore[arg-type]
        (lambda: Orchestrator(ONE, {"one": says(1)}, retries=None), "retries=None: give a whole number"),  # type: ignore[arg-type]
        (lambda: Orchestrator(ONE, {"one": says(1)}).run(7), "the store is a Store, or a dict"),  # type: ignore[arg-type]
        (lambda: Orchestrator(ONE, {"one": says(1)}).run(goal=7), "goal is a text, not int"),  # type: ignore[arg-type]
        (lambda: Orchestrator(ONE, {"one": says(1)}).run(resume=True), "resume=True needs a checkpoint=path"),
        (lambda: Orchestrator(ONE, {"one": says(1)}).run(at="on"), "'on' is no state of this flow; near: 'one'"),
        (lambda: Orchestrator(ONE, {"one": says(1)}).replaced({"two": says(1)}), "'two' is no state of this flow"),
        (lambda: Orchestrator(ONE, {"one": says(1)}).replaced({}, retires=2), "an orchestrator has no retires"),
        (lambda: Orchestrator(ONE, {"one": says()}).run(), r"says\(\) has 0 answers and was asked once more, in state"),
        (lambda: by_value("text", "x"), "by_value takes a function of text to text, not str"),  # type: ignore[arg-type]
        (lambda: by_value(str, " "), "by_value takes a prompt"),
        (lambda: asks("x", reads="contract"), "reads is a list of keys of the store"),
        (lambda: by_value(str, "x", schema="nonsense words"), "is no type that can be checked"),
    ],
)
def test_what_cannot_be_is_said_in_one_short_line(make: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as wrong:
        make()

    assert len(str(wrong.value)) < 300


def test_max_visits_of_zero_is_zero() -> None:
    with pytest.raises(LimitExceeded):
        Orchestrator(ONE, {"one": says(1)}, max_visits=0).run()


# By value


def test_another_frameworks_agent_takes_the_same_place_by_value_and_is_counted() -> None:
    asked: list[str] = []

    def framework(text: str) -> str:
        asked.append(text)
        return '```json\n["1. Pay."]\n```'

    async def awaited(text: str) -> str:
        return framework(text)

    contract = "The buyer pays. " * 100
    for function in (framework, awaited):
        agent = by_value(function, 'List {contract} for {goal}, as ["text"].', schema=list[str])
        done = Orchestrator(ONE, {"one": agent}).run({"contract": contract, "other": 1}, "us")
        assert done.value == ["1. Pay."]
        assert asked[-1] == f'List {contract} for us, as ["text"].'
        ((name, tokens), (own, words)) = done.records[0].loaded
        assert (name, own) == ("contract", "")
        assert 300 < tokens < 500
        assert 5 < words < 20
        assert 5 < done.records[0].typed_tokens < 15


def test_an_answer_by_value_that_does_not_fit_goes_back_with_what_was_wrong() -> None:
    asked: list[str] = []

    def framework(text: str) -> str:
        asked.append(text)
        return "7" if len(asked) > 1 else "seven"

    done = Orchestrator(ONE, {"one": by_value(framework, "How many?", schema=int)}, retries=1).run()

    assert done.value == 7
    assert asked[1].startswith("How many?\n\nAn earlier answer was not accepted: the answer has not the form")


def test_a_missing_key_is_named_with_what_is_near() -> None:
    with pytest.raises(KeyError, match="near: 'contract'"):
        Orchestrator(ONE, {"one": by_value(str, "{contrct}")}).run({"contract": "x"})
    with pytest.raises(KeyError, match="near: 'contract'"):
        Orchestrator(ONE, {"one": asks("{contrct}")}).run({"contract": "x"})


# With the real llm_query


def in_a_run(monkeypatch: pytest.MonkeyPatch, folder: Path, cell: str, agents: dict[str, list[str]]) -> Any:
    """The answer of a run whose root writes one cell, in which the workflow is; sub-agents' replies by their ids."""
    monkeypatch.chdir(folder)
    items = [{"when": lambda r: r.agent == "0", "reply": block(cell)}]
    items += [
        {"when": lambda r, id=id: r.agent == id, "reply": block(reply)}
        for id, replies in agents.items()
        for reply in replies
    ]
    model = ScriptedModel(items)
    monkeypatch.setattr("rlm_kernel.headless.resolve", lambda name, **_: model)
    return rlm_kernel.run("Review.", model="scripted:any").answer


SUB_AGENTS = {
    "0.1": ["FINAL([context['contract'][:7]])"],
    "0.2": ["FINAL({'missing': [1], 'pairs': [], 'keys': sorted(context)})"],
    "0.3": ["FINAL(['1. Pay.', '2. Never pay.'])"],
    "0.4": ["FINAL({'missing': [], 'pairs': [context['clauses']], 'keys': sorted(context)})"],
    "0.7": ["FINAL(7)", "FINAL('Do not sign: ' + str(context['risks']))"],
}


@pytest.mark.parametrize("call", ["REVIEW.run(store)", "await REVIEW.arun(store)"])
def test_sub_agents_share_the_store_by_reference_each_with_its_own_keys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: str
) -> None:
    risks = {name: ["FINAL([context['conflicts']['pairs'][0][1]])"] for name in ("0.5", "0.6")}
    cell = (
        "from tests.test_workflow import REVIEW\nfrom rlm_kernel.store import Store\nstore = Store()\n"
        f"store['contract'] = '1. Pay. 2. Never pay.' * 5000\ndone = {call}\n"
        "FINAL((done.path, done.value, done.store['conflicts'], done.store['clauses'],"
        " done.store['conflicts']['pairs'][0] is done.store['clauses']))"
    )

    path, value, conflicts, clauses, same = in_a_run(monkeypatch, tmp_path, cell, {**SUB_AGENTS, **risks})

    assert path == ("clauses", "conflicts", "clauses", "conflicts", "risks", "report")
    assert value == "Do not sign: {'money': ['2. Never pay.'], 'law': ['2. Never pay.']}"
    assert (clauses, conflicts) == (
        ["1. Pay.", "2. Never pay."],
        {"missing": [], "pairs": [clauses], "keys": ["clauses", "contract"]},
    )
    assert same


def test_what_a_sub_agent_is_asked_names_the_large_and_fills_in_the_small(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cell = (
        "from rlm_kernel.workflow import *\n"
        "agent = asks('For {goal}: list {contract} in {language}, {n} of them, as {\"a\": 1} or {other}.',"
        " reads=['contract', 'language', 'n'])\n"
        "flow = Flow({'one': []}, start='one')\n"
        "orchestrator = Orchestrator(flow, {'one': agent}, returns={'one': lambda n: n == 1}, retries=1)\n"
        "given = {'contract': 'x' * 1000, 'language': 'French', 'n': 3, 'hidden': 1}\n"
        "done = orchestrator.run(given, 'us')\nFINAL([done.value, done.records[0].loaded])"
    )
    sub = {"0.1": ["FINAL(sorted(context))"], "0.2": ["FINAL(1)"]}

    told = (("language", 1), ("n", 1))
    assert in_a_run(monkeypatch, tmp_path, cell, sub) == [1, told * 2]
    (state,) = traced(tmp_path).root.states
    assert state.end is not None
    assert [(each.key, each.reported) for each in state.end.loaded] == [("language", True), ("n", True)] * 2

    (journal,) = (tmp_path / ".rlm" / "runs").glob("*.jsonl")
    text = journal.read_text()
    assert "For us: list `context['contract']` in French, 3 of them, as {\\\"a\\\": 1} or {other}." in text
    assert "An earlier answer was not accepted: <lambda> says no to this list" in text
    assert "xxxxxxxxxx" * 50 not in text


class Slow:
    """A form that takes its time to be made, while others ask."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *about: object) -> Any:
        from pydantic_core import core_schema

        time.sleep(0.2)
        return core_schema.any_schema()


@pytest.mark.parametrize("run", ["orchestrator.run()", "await orchestrator.arun()"])
def test_sub_agents_side_by_side_have_their_ids_in_the_order_of_the_agents(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: str
) -> None:
    cell = (
        "from tests.test_workflow import *\n"
        "agents = {'plain': lambda task, store: llm_query('plain'), 'slow': asks('slow', schema=Slow),\n"
        "    'broken': asks('{nothing}'), 'quick': asks('quick'), 'late': asks('late')}\n"
        "orchestrator = Orchestrator(ONE, {'one': agents})\n"
        f"try:\n    {run}\nexcept KeyError as error:\n    FINAL(error.results)"
    )

    answer = in_a_run(monkeypatch, tmp_path, cell, {f"0.{n}": [f"FINAL({n})"] for n in range(1, 5)})

    assert list(answer) == ["plain", "slow", "broken", "quick", "late"]
    assert "no nothing in the store" in str(answer.pop("broken"))
    assert answer == {"slow": 1, "quick": 2, "late": 3, "plain": 4}


# In the trace


def traced(folder: Path) -> Trace:
    """The trace of the one run there, which its notebook and its journal agree on."""
    (path,) = (folder / ".rlm" / "runs").glob("*.ipynb")
    notebook, journal = load_trace(path), load_trace(path.with_suffix(".jsonl"))
    assert [event for _, event in notebook.tree.log] == [event for _, event in journal.tree.log]
    return notebook


FOUR = """\
from tests.test_workflow import REVIEW
from rlm_kernel.workflow import by_value
from rlm_kernel.workflow import asks
law, money = asks("Which of {conflicts}?", schema=list[str]), by_value(lambda text: "none", "Cost? {conflicts}")
others = {"risks": {"law": law, "money": money}, "report": lambda task, store: 7}
review = REVIEW.replaced(others, retries={"report": 1})
try:
    review.run({"contract": "1. Pay."}, goal="us")
except Exception as error:
    FINAL(str(error))
"""


def test_a_run_records_each_state_with_its_agents_its_attempts_its_result_and_what_followed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sub = {**{id: SUB_AGENTS[id] for id in ("0.1", "0.2", "0.3", "0.4")}, "0.5": ["FINAL(['2'])"]}

    answer = in_a_run(monkeypatch, tmp_path, FOUR, sub)

    root = traced(tmp_path).root
    ends = [state.end for state in root.states]
    assert [(state.name, state.visit, state.step) for state in root.states] == [
        ("clauses", 1, 1),
        ("conflicts", 1, 1),
        ("clauses", 2, 1),
        ("conflicts", 2, 1),
        ("risks", 1, 1),
        ("report", 1, 1),
    ]
    assert [(end.attempts, end.next) for end in ends if end is not None] == [
        (1, "conflicts"),
        (1, "clauses"),
        (1, "conflicts"),
        (1, "risks"),
        (1, "report"),
        (2, None),
    ]
    assert [child.in_state for child in root.children] == [1, 2, 3, 4, 5]
    assert root.states[4].workers == ("law", "money")
    assert ends[4] is not None
    assert (ends[4].result, ends[4].loaded[0].key, ends[4].typed_tokens) == (
        "dict, 2 items: {'law': ['2'], 'money': 'none'}",
        "conflicts",
        1,
    )
    assert ends[5] is not None
    assert (ends[5].error is not None and "SchemaMismatch" in ends[5].error, len(ends[5].problems)) == (True, 1)
    assert answer.startswith("state report, after 2 attempts")


def test_a_trace_with_states_replays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sub = {**{id: SUB_AGENTS[id] for id in ("0.1", "0.2", "0.3", "0.4")}, "0.5": ["FINAL(['2'])"]}
    answer = in_a_run(monkeypatch, tmp_path, FOUR, sub)

    again = rlm_kernel.replay(traced(tmp_path))

    assert (again.answer, again.notes) == (answer, ())


def test_workflows_side_by_side_keep_their_agents_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cell = (
        "import asyncio\nfrom rlm_kernel.workflow import *\n"
        "def one(name):\n"
        "    flow = Flow({name: [name + '2'], name + '2': []}, start=name)\n"
        "    return Orchestrator(flow, {name: asks(name), name + '2': asks(name + '2')}).arun()\n"
        "done = await asyncio.gather(one('a'), one('b'))\nllm_query('outside')\nFINAL([each.value for each in done])"
    )
    monkeypatch.chdir(tmp_path)
    model = ScriptedModel([{"when": "Go.", "reply": block(cell)}] + [{"reply": block("FINAL(1)")}] * 5)
    monkeypatch.setattr("rlm_kernel.headless.resolve", lambda name, **_: model)

    rlm_kernel.run("Go.", model="scripted:any")

    root = traced(tmp_path).root
    names = {state.number: state.name for state in root.states}
    asked = sorted((child.question, names.get(child.in_state)) for child in root.children)
    assert asked == [("a", "a"), ("a2", "a2"), ("b", "b"), ("b2", "b2"), ("outside", None)]


def test_completions_of_a_state_belong_to_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cell = (
        "from rlm_kernel.workflow import *\nflow = Flow({'one': ['two'], 'two': []}, start='one')\n"
        "both = {'a': asks('a'), 'b': asks('b')}\n"
        "FINAL(Orchestrator(flow, {'one': lambda task, store: 0, 'two': both}).run().value)"
    )
    monkeypatch.chdir(tmp_path)
    model = ScriptedModel([block(cell)], completions=["x", "x"])
    monkeypatch.setattr("rlm_kernel.headless.resolve", lambda name, **_: model)

    rlm_kernel.run("Go.", model="scripted:any", max_depth=0)

    assert [call.in_state for call in traced(tmp_path).root.all_calls] == [2, 2]


KILLED_IN_A_RUN = """
import os, signal, sys
import rlm_kernel
from rlm_kernel.lm.scripted import ScriptedModel
import rlm_kernel.headless

cell = '''
import os, signal
from rlm_kernel.workflow import *
def over(record):
    if record.state == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
flow = Flow({"a": ["b"], "b": ["c"], "c": []}, start="a")
agents = {"a": asks("a"), "b": asks("b"), "c": asks("c, after {b}")}
FINAL(Orchestrator(flow, agents, on_state=over).run(checkpoint="saved.json", resume=True).path)
'''.replace("KILLED", repr(sys.argv[1]))
model = ScriptedModel([{"when": "Go.", "reply": "```repl\\n" + cell + "```"}] + ["```repl\\nFINAL([1])\\n```"] * 3)
rlm_kernel.headless.resolve = lambda name, **_: model
print(rlm_kernel.run("Go.", model="scripted:any").answer)
"""


def test_a_run_killed_between_two_states_leaves_them_in_its_trace_and_the_next_run_does_the_rest(
    tmp_path: Path,
) -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(rlm_kernel.__file__).parents[1])}

    def start(killed: str) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-c", KILLED_IN_A_RUN, killed]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=60, env=environ, cwd=tmp_path)

    first, second = start("b"), start("")

    left, whole = (
        load_trace(path)
        for path in sorted((tmp_path / ".rlm" / "runs").glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    )
    assert (first.returncode, second.stdout) == (-signal.SIGKILL, "('a', 'b', 'c')\n"), second.stderr
    assert left.complaint is None
    assert [(state.name, state.end and state.end.next) for state in left.root.states] == [("a", "b"), ("b", "c")]
    assert [(state.name, state.end and state.end.result) for state in whole.root.states] == [("c", "list, 1 item: [1]")]


PERSONS = (
    "from rlm_kernel.workflow import *\n"
    "flow = Flow({'plain': ['asked'], 'asked': []}, start='plain')\n"
    "done = Orchestrator(flow, {'plain': lambda task, store: 'x', 'asked': asks('Which?')}).run()\n"
    "llm_query('outside'), llm_query('more')\ndone.value"
)


@pytest.mark.kernel
def test_in_a_persons_own_cell_the_states_and_all_its_questions_are_one_run(tmp_path: Path) -> None:
    with kernel_process(tmp_path, RLM_LIVE="0") as kernel:
        (tmp_path / "words.py").write_text(f"REPLIES = [dict(reply={block('FINAL(7)')!r}, times=None)]\n")
        unrecorded = kernel.run(PERSONS.replace("asks('Which?')", "says(7)").replace("llm_query", "str"))
        kernel.run("%config RLM.model = 'scripted:words.py'")
        recorded = kernel.run(PERSONS)
        root = traced(tmp_path).root
        path = max((tmp_path / ".rlm" / "runs").glob("*.ipynb"))
        cells = {cell["id"]: cell["source"] for cell in json.loads(path.read_text())["cells"]}
        kernel.run(f"%reset -f\n%cd -q {tmp_path}")
        replayed = [kernel.run(cells[id]) for id in ("replay", "a0-person")]

    assert (unrecorded.result, recorded.result, replayed[1].result) == ("7", "7", "7")
    assert [(state.name, state.step, state.end.result) for state in root.states if state.end is not None] == [
        ("plain", None, "str, 1 char: 'x'"),
        ("asked", None, "int: 7"),
    ]
    assert [(child.question, child.in_state) for child in root.children] == [
        ("Which?", 2),
        ("outside", None),
        ("more", None),
    ]
    assert [id for id in cells if id.endswith("agent") or "state" in id or id == "a0-person"] == [
        "a0-agent",
        "a0-person",
        "a0-state1",
        "a0-state2",
        "a0-1-agent",
        "a0-2-agent",
        "a0-3-agent",
    ]


TAKES = (
    "from rlm_kernel.workflow import *\n"
    "flow = Flow({'found': ['told'], 'told': []}, start='found')\n"
    "by_name = {'found': asks('Look.', reads=['text']), 'told': asks('Tell {found}.')}\n"
    "done = Orchestrator(flow, by_name).run(context)"
)


@pytest.mark.kernel
def test_of_what_a_persons_workflow_handed_on_by_name_the_sizes_are_in_the_record(tmp_path: Path) -> None:
    replies = [block("FINAL([context.text] * 2)"), block("len(context.found)"), block("FINAL(len(context.found))")]
    (tmp_path / "words.py").write_text(f"REPLIES = {replies!r}\n")
    with kernel_process(tmp_path, RLM_LIVE="0") as kernel:
        first = kernel.run("context.text = 'clause ' * 200\nREAD('text', chars=(0, 6))")
        kernel.run("%config RLM.model = 'scripted:words.py'")
        ran = kernel.run(TAKES)
        trace = traced(tmp_path)

    assert (first.result, ran.status) == ("clause", "ok")
    assert [(each.how, each.key, each.size) for each in trace.root.used] == [
        ("write", "found", 703),
        ("write", "told", 1),
    ]
    assert [
        (child.id, used.key, used.size) for child in trace.root.children for step in child.steps for used in step.used
    ] == [("0.1", "text", 350), ("0.2", "found", None), ("0.2", "found", None)]


def test_outside_the_kernel_asks_says_what_is_missing() -> None:
    script = (
        "from rlm_kernel.workflow import *\nOrchestrator(Flow({'one': []}, start='one'), {'one': asks('Go.')}).run()"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(rlm_kernel.__file__).parents[1])}

    came = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environ)

    assert "UsageError: state one: llm_query needs the rlm kernel" in came.stderr


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = (
        "import sys, rlm_kernel.workflow; print([m for m in sys.modules if m in ('pydantic', 'IPython', 'tiktoken')])"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(rlm_kernel.__file__).parents[1])}

    came = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environ)

    assert came.stdout.strip() == "[]"


def test_the_page_about_workflows_does_what_it_says() -> None:
    page = (Path(__file__).parents[1] / "docs" / "workflow.md").read_text()
    blocks = [each.split("```")[0] for each in page.split("```python\n")[1:]]
    names: dict[str, Any] = {"__name__": "page"}

    for source in blocks:
        exec(compile(source, "docs/workflow.md", "exec"), names)
    names["test_the_review_goes_back_for_a_missing_clause"]()

    assert len(blocks) == 2
    assert names["flow"] == FLOW


def test_going_back_and_failing_there_can_be_resumed_too(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    a, b, c = says(1, 10), says(2, OSError("x"), 20), says(3, 30)
    orchestrator = Orchestrator(THREE, {"a": a, "b": b, "c": c})
    orchestrator.run(checkpoint=path)

    with pytest.raises(OSError, match="x"):
        orchestrator.run(checkpoint=path, resume=True, at="b")
    done = orchestrator.run(checkpoint=path, resume=True)

    assert (dict(done.store), done.path) == ({"a": 1, "b": 20, "c": 30}, ("a", "b", "c"))
    assert len(a.tasks) == 1


def test_a_checkpoint_of_another_flow_is_refused_where_it_cannot_go_on(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    with pytest.raises(OSError, match="x"):
        Orchestrator(THREE, {"a": says(1), "b": says(OSError("x")), "c": says(3)}).run(checkpoint=path)

    with pytest.raises(UsageError, match=r"saved.json is of another flow: 'a' is no state of this flow: give the"):
        Orchestrator(ONE, {"one": says(1)}).run(checkpoint=path, resume=True)


def test_a_finished_checkpoint_does_not_answer_for_another_flow_nor_for_a_longer_one(tmp_path: Path) -> None:
    path, store = tmp_path / "saved.json", Store()
    Orchestrator(THREE, {"a": says(1), "b": says(2), "c": says(3)}).run(checkpoint=path)
    longer = Orchestrator(
        Flow({"a": ["b"], "b": ["c"], "c": ["d"], "d": []}, start="a"),
        {"a": says(), "b": says(), "c": says(), "d": lambda task, store: store["c"] + 1},
    )

    for at in (None, "one"):
        with pytest.raises(UsageError, match="of another flow: 'a' is no state of this flow: give the flow that it"):
            Orchestrator(ONE, {"one": says(1)}).run(store, checkpoint=path, resume=True, at=at)
    with pytest.raises(UsageError, match="ended with 'c', which is no end of this flow: at='d' goes on from it"):
        longer.run(store, checkpoint=path, resume=True)

    assert list(store) == []
    assert longer.run(store, checkpoint=path, resume=True, at="d").value == 4
    assert longer.run(checkpoint=path, resume=True).path == ("a", "b", "c", "d")


def test_what_followed_in_a_checkpoint_must_be_allowed_still_or_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    with pytest.raises(OSError, match="x"):
        Orchestrator(THREE, {"a": says(1), "b": says(2), "c": says(OSError("x"))}).run(checkpoint=path)
    turned = Orchestrator(
        Flow({"a": ["c"], "c": ["b"], "b": []}, start="a"), {"a": says(10), "b": says(20), "c": says(30)}
    )

    with pytest.raises(UsageError, match="'a' was followed by 'b', which this flow does not allow: at='a' does it"):
        turned.run(checkpoint=path, resume=True)

    assert turned.run(checkpoint=path, resume=True, at="a").path == ("a", "c", "b")


def test_a_disk_that_fills_up_is_told_and_a_failure_before_it_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(task: Task, store: Store) -> object:
        monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        if task.goal:
            raise ZeroDivisionError
        return 1

    store = Store()
    with pytest.raises(UsageError, match="No space left on device"):
        Orchestrator(ONE, {"one": full}).run(store, checkpoint=tmp_path / "a")
    assert dict(store) == {"one": 1}
    monkeypatch.undo()

    with pytest.raises(ZeroDivisionError) as failed:
        Orchestrator(ONE, {"one": full}).run(goal="fail", checkpoint=tmp_path / "b")
    assert "No space left on device" in failed.value.__notes__[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_store_says_who_wrote_a_result() -> None:
    store = Store()

    Orchestrator(ONE, {"one": {"law": says(1), "money": says(2)}}).run(store)

    (row,) = store.list_available()
    assert (row.key, row.note) == ("one", "workflow state, by law, money")
