"""The tree: the fold of a run's events, whole or torn."""

from __future__ import annotations

import gc
import time

import pytest

from rlm_kernel.errors import UsageError
from rlm_kernel.trace.events import (
    AgentFinished,
    Asked,
    AskFailed,
    CallFailed,
    CallStarted,
    CellFinished,
    CellStarted,
    Event,
)
from rlm_kernel.trace.journal import Journal
from rlm_kernel.trace.nodes import Failure, Spent, Totals
from rlm_kernel.trace.reading import read
from rlm_kernel.trace.tree import Tree, fold
from rlm_kernel.values import CellError, Message, Reply, Usage
from tests.sample_run import (
    USAGE,
    agent_finished,
    agent_started,
    call,
    fenced,
    recursive_run,
    run_started,
    step,
    tree_of,
    whole_run,
)


def statuses(events: list[Event]) -> list[str]:
    return [step.status for step in tree_of(events).agents["0"].steps]


def test_a_whole_run_is_there_step_by_step():
    tree = tree_of(whole_run())

    root = tree.root
    assert root is not None
    assert (root.id, root.question, root.model, root.end.ending, root.end.answer) == (
        "0",
        "How many lines?",
        "scripted:demo.py",
        "final",
        "int: 3",
    )
    assert [(s.number, s.status, s.source is not None, len(s.calls)) for s in root.steps] == [
        (1, "done", True, 0),
        (2, "done", True, 1),
        (3, "done", True, 0),
    ]
    assert root.steps[0].reply == Reply(fenced("contxt[:9]"), USAGE, "demo-1", "stop", 0.1, 0.5, ())
    assert root.steps[0].cell.error.name == "NameError"
    assert root.steps[1].calls[0].reply.text == "No, not many."


def test_the_messages_of_a_step_are_all_that_was_new_up_to_it():
    first = (Message("system", "s"), Message("user", "q"))
    second = (Message("assistant", "a"), Message("user", "o"))
    events = [agent_started(), *step(1, "a", new=first), *step(2, "b", new=second), *step(3, "c", new=())]

    agent = tree_of(events).agents["0"]

    assert [agent.messages(n) for n in (1, 2, 3)] == [first, first + second, first + second]


def test_a_step_that_is_not_there_is_named_with_those_that_are():
    agent = tree_of(whole_run()).agents["0"]

    with pytest.raises(UsageError, match="agent 0 has no step 4: it has steps 1 to 3"):
        agent.messages(4)


def test_totals_add_up_and_one_unknown_price_makes_the_sum_unknown():
    totals = tree_of(whole_run()).totals()

    usage = Usage(prompt_tokens=307, completion_tokens=63, cached_tokens=192, cost_usd=pytest.approx(0.003))
    assert totals == Totals(steps=3, calls=4, usage=usage, unpriced_calls=1, seconds=2.5)
    assert totals.cost_usd is None


def test_a_run_whose_prices_are_all_known_has_a_cost():
    totals = tree_of([agent_started(), *step(1, "a"), *step(2, "b")]).totals()

    assert totals.cost_usd == pytest.approx(0.002)


def test_a_call_that_a_limit_refused_was_never_sent():
    refused = CallFailed(agent="0", step=1, call=2, kind="limit", message="max_calls=1 reached")
    broken = CallFailed(agent="0", step=1, call=1, kind="server", message="500")

    totals = tree_of([agent_started(), *step(1, "a", "x", calls=(refused, broken))]).totals()

    assert totals.calls == 2


@pytest.mark.parametrize(
    ("events", "status"),
    [
        (1, "asking"),
        (2, "done"),
        (3, "running"),
        (4, "done"),
    ],
)
def test_a_step_says_how_far_it_came(events: int, status: str):
    assert statuses([agent_started(), *step(1, "r", "x")[:events]]) == [status]


@pytest.mark.parametrize("events", [1, 3])
def test_what_was_open_when_its_agent_ended_was_interrupted(events: int):
    ended = AgentFinished(agent="0", ending="interrupted", answer=None)

    assert statuses([agent_started(), *step(1, "r", "x")[:events], ended]) == ["interrupted"]


def test_a_cell_that_was_stopped_is_interrupted_and_one_that_raised_is_done():
    stopped = CellError("KeyboardInterrupt", "", "")
    raised = CellError("ValueError", "", "")

    assert statuses([*step(1, "r", "x", error=raised), *step(2, "r", "x", error=stopped)]) == ["done", "interrupted"]


def test_a_model_call_that_failed_is_there_with_its_reason():
    failed = AskFailed(agent="0", step=1, kind="key", message="no key")
    stopped = AskFailed(agent="0", step=2, kind="interrupted", message="")

    tree = tree_of([agent_started(), step(1, "")[0], failed, step(2, "")[0], stopped])

    assert [(s.status, s.failure) for s in tree.agents["0"].steps] == [
        ("failed", Failure("key", "no key", ())),
        ("interrupted", Failure("interrupted", "", ())),
    ]


def test_a_step_that_was_asked_again_keeps_its_messages_and_loses_its_failure():
    failed = AskFailed(agent="0", step=1, kind="connection", message="gone")
    again = Asked(agent="0", step=1, new=(), request_sha="0" * 64)

    agent = tree_of([*step(1, "")[:1], failed, again]).agents["0"]

    assert (agent.steps[0].status, agent.steps[0].failure) == ("asking", None)
    assert agent.messages(1) == (Message("user", "message 1"),)


def test_completions_of_a_persons_own_cell_belong_to_no_step():
    tree = tree_of([agent_started(), *call(1, "p", "t", in_step=None)])

    root = tree.agents["0"]
    assert (root.steps, [(c.number, c.step, c.reply.text) for c in root.calls]) == ([], [(1, None, "t")])


def test_a_batch_may_finish_in_any_order():
    (start_1, end_1), (start_2, end_2) = call(1, "p1", "t1"), call(2, "p2", "t2")

    tree = tree_of([*step(1, "r", "x")[:3], start_1, start_2, end_2, end_1])

    assert [(c.number, c.prompt, c.reply.text) for c in tree.agents["0"].steps[0].calls] == [
        (1, "p1", "t1"),
        (2, "p2", "t2"),
    ]


def test_sub_agents_hang_below_their_caller():
    ids = [("0", None), ("0.1", "0"), ("0.1.1", "0.1"), ("0.2", "0")]

    tree = tree_of([agent_started(agent, caller) for agent, caller in ids])

    assert [(agent.id, level) for agent, level in tree.walk()] == [("0", 0), ("0.1", 1), ("0.1.1", 2), ("0.2", 1)]
    assert [child.id for child in tree.agents["0"].children] == ["0.1", "0.2"]


def test_sub_agents_stand_below_the_step_that_started_them_in_the_order_of_their_ids():
    tree = tree_of(recursive_run())

    root, asked = tree.agents["0"], tree.agents["0.1"]
    assert [agent.id for agent in root.steps[0].agents] == ["0.1", "0.2", "0.3"]
    assert [agent.id for agent in root.agents] == ["0.10"]
    assert [agent.id for agent, _ in tree.walk()] == ["0", "0.1", "0.1.1", "0.2", "0.3", "0.10"]
    assert (asked.caller, asked.in_step, asked.schema, asked.tools, asked.isolation) == (
        "0",
        1,
        "int",
        ("find", "load"),
        "process",
    )


def test_ids_are_sorted_as_numbers_and_other_names_after_them():
    ids = ["0.10", "0.9", "0.1", "0.x"]

    tree = tree_of([agent_started(), *(agent_started(id, "0", in_step=1) for id in ids)])

    assert [agent.id for agent in tree.agents["0"].steps[0].agents] == ["0.1", "0.9", "0.x", "0.10"]


def totals(steps: int, calls: int, seconds: float) -> Totals:
    usage = Usage(100 * steps, 20 * steps, 64 * steps, None, pytest.approx(0.001 * steps)) if steps else Usage()
    return Totals(steps, calls, usage, 0, seconds)


def test_what_an_agent_took_is_told_alone_and_with_those_below_it():
    tree = tree_of(recursive_run())

    # The root was at work from 1 to 28 s, one or more below it from 5 to 22 and from 24 to 27.
    assert {id: tree.spent(agent) for id, agent in tree.agents.items()} == {
        "0": Spent(totals(1, 1, 7.0), totals(4, 5, 27.0)),
        "0.1": Spent(totals(1, 1, 7.0), totals(2, 2, 12.0)),
        "0.1.1": Spent(totals(1, 1, 5.0), totals(1, 1, 5.0)),
        "0.2": Spent(totals(0, 0, 17.0), totals(0, 0, 17.0)),
        "0.3": Spent(totals(0, 1, 13.0), totals(0, 1, 13.0)),
        "0.10": Spent(totals(1, 1, 3.0), totals(1, 1, 3.0)),
    }


def test_one_unknown_price_below_makes_the_sum_above_unknown():
    unpriced = step(1, "a", agent="0.1", usage=Usage(1, 1))

    tree = tree_of([agent_started(), *step(1, "a"), agent_started("0.1", "0", in_step=1), *unpriced])

    spent = tree.spent(tree.agents["0"])
    assert (spent.own.cost_usd, spent.total.cost_usd) == (pytest.approx(0.001), None)


def test_an_agent_that_is_at_work_has_taken_the_time_up_to_the_newest_event():
    tree = tree_of([agent_started(), agent_started("0.1", "0"), *step(1, "a", "x", agent="0.1")])

    spent = [tree.spent(tree.agents[id]) for id in ("0", "0.1")]

    assert [(each.own.seconds, each.total.seconds) for each in spent] == [(1.0, 5.0), (4.0, 4.0)]


def test_seconds_that_the_record_tells_go_before_those_between_its_events():
    finished = AgentFinished(agent="0", ending="final", answer=None, seconds=2.25)

    tree = tree_of([agent_started(), finished])

    assert tree.spent(tree.agents["0"]).total.seconds == 2.25


def test_without_times_there_are_no_seconds():
    tree = Tree()
    for event in recursive_run():
        tree.add(event)

    assert tree.spent(tree.agents["0.1"]).total.seconds is None


@pytest.mark.parametrize(("last", "seconds"), [("no time", None), ("2026-01-31T12:00:04", 4.0)])
def test_a_stamp_of_another_writer_is_taken_as_utc_or_for_none(last: str, seconds: float | None):
    tree = Tree()
    tree.add(agent_started(), "2026-01-31T12:00:00.000Z")
    tree.add(agent_finished(), last)

    assert (tree.spent(tree.agents["0"]).total.seconds, tree.totals().seconds) == (seconds, seconds)


def test_what_was_summed_up_follows_what_is_added():
    tree = tree_of([agent_started(), agent_started("0.1", "0", in_step=1)])
    before = tree.spent(tree.agents["0"]).total.steps

    for event in step(1, "a", agent="0.1"):
        tree.add(event)

    assert (before, tree.spent(tree.agents["0"]).total.steps, tree.totals().steps) == (0, 1, 1)


def test_thousands_of_agents_are_summed_up_in_one_walk():
    events: list[Event] = [agent_started()]
    for n in range(1, 3_001):
        events += [agent_started(f"0.{n}", "0", in_step=1), *step(1, "a", agent=f"0.{n}"), agent_finished(f"0.{n}")]
    tree = tree_of(events)

    gc.collect()
    gc.disable()  # over all that other tests have left, one collection takes longer than the bound
    try:
        begun = time.thread_time()
        spent = [tree.spent(agent) for agent in tree.agents.values()]
        took = time.thread_time() - begun
    finally:
        gc.enable()

    assert took < 0.5  # 15 ms are usual; a walk for each agent takes seconds
    assert spent[0].total.steps == 3_000


def test_agents_in_a_ring_are_each_counted_once():
    ids = [("0", None), ("1", "2"), ("2", "1")]
    events = [event for id, caller in ids for event in (agent_started(id, caller), *step(1, "a", agent=id))]

    tree = tree_of(events)

    assert (tree.totals().steps, tree.spent(tree.agents["1"]).total.steps) == (3, 2)


def test_agents_that_call_each_other_in_a_ring_do_not_hang_the_walk():
    ids = [("0", None), ("1", "2"), ("2", "1"), ("3", "3"), ("0", "0"), ("0", None)]

    tree = tree_of([agent_started(agent, caller) for agent, caller in ids])

    assert [(agent.id, level) for agent, level in tree.walk()] == [("0", 0), ("1", 0), ("2", 1), ("3", 0)]


def test_any_prefix_of_a_run_folds():
    events = whole_run()

    seen = [len(tree_of(events[:n]).agents.get("0", tree_of(events).agents["0"]).steps) for n in range(len(events) + 1)]

    assert seen[-1] == 3


def test_an_event_of_an_agent_that_never_started_is_kept():
    tree = tree_of([CellStarted(agent="0.7", step=2, source="x"), CallStarted(**vars_of_call())])

    assert [(a.id, a.question, [s.number for s in a.steps]) for a in tree.agents.values()] == [("0.7", "", [2, 1])]


def vars_of_call() -> dict:
    return {"agent": "0.7", "step": 1, "call": 1, "prompt": "p", "model": "m", "request_sha": "0" * 64}


def test_the_time_of_a_run_without_its_end_is_what_has_passed_between_its_events():
    tree = Tree()
    tree.add(run_started(), "2026-01-31T12:00:00.000Z")
    tree.add(agent_started(), "2026-01-31T12:00:04.500Z")

    assert (tree.started_at, tree.totals().seconds) == ("2026-01-31T12:00:00.000Z", 4.5)


def test_the_tree_of_a_journal_is_that_of_its_events(tmp_path):
    with Journal.create(tmp_path, "run") as journal:
        journal.append(*whole_run())

    tree = fold(read(journal.path).events)

    assert [event for _, event in tree.log] == whole_run()
    assert tree.agents["0"].steps == tree_of(whole_run()).agents["0"].steps


def test_what_the_cell_left_is_kept_whole():
    finished = CellFinished(agent="0", step=1, outputs=(), seconds=1.0, dropped_chars=5, notes=("mended",), final=True)

    assert tree_of([*step(1, "r", "x")[:3], finished]).agents["0"].steps[0].cell is finished
