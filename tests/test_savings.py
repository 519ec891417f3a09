"""What a run saved by passing results by name, and what was typed again though a variable held it."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel.trace.events import AgentFinished, AgentStarted, AskFailed, Event, Loaded, Replied, StateFinished, Used
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views import savings_bundle, savings_data, savings_html, savings_of, savings_table, savings_text
from rlm_kernel.trace.views.prices import prompt_prices
from rlm_kernel.trace.views.retyped import Retyped, retyped
from rlm_kernel.trace.views.savings import ASSUMED
from rlm_kernel.trace.views.sent import Sent
from rlm_kernel.trace.views.transfers import Transfer
from rlm_kernel.values import Message, Usage
from tests.sample_run import (
    EVENTS,
    TEXT,
    agent_started,
    call,
    fenced,
    run_started,
    step,
    stream,
    tree_of,
    workflow_run,
)
from tests.test_graph import large_run, persons_workflow
from tests.test_views import Page


def began(agent: str = "0", in_step: int | None = None, tokens: int | None = None, **more: str | None) -> AgentStarted:
    caller = agent.rpartition(".")[0] or None
    context = more.get("context", None if tokens is None else "d" * 40)
    base = replace(agent_started(agent, caller, in_step=in_step), context=context, context_tokens=tokens)
    return replace(base, context_name=more.get("name"))


def turn(
    number: int,
    *during: Event,
    agent: str = "0",
    told: str = "",
    prompt: int = 100,
    source: str = "x",
    usage: Usage | None = None,
) -> list[Event]:
    """A step of a request that had so many tokens, and that told so much since the one before."""
    *before, end = step(
        number,
        fenced(source),
        source,
        agent=agent,
        usage=usage or Usage(prompt_tokens=prompt, completion_tokens=10),
        new=(Message("user", told),),
    )
    return [*before, *during, end]


def ended(agent: str, tokens: int | None, answer: str | None = "list", name: str | None = None) -> AgentFinished:
    return AgentFinished(agent=agent, ending="final", answer=answer, name=name, answer_tokens=tokens)


def used(agent: str, number: int | None, how: str, key: str, tokens: int = 0, size: int | None = None) -> Used:
    return Used(agent=agent, step=number, how=how, key=key, tokens=tokens, size=size)


def run() -> list[Event]:
    """A person's contract of 5,000 tokens goes to 0; 0.1 is given 1,000 and answers 300; 0.2 reads 50 of 400."""
    return [
        run_started(),
        began(tokens=5_000),
        *turn(1, prompt=200),
        *turn(2, began("0.1", 2, 1_000, name="part"), *turn(1, agent="0.1", prompt=150), ended("0.1", 300), prompt=300),
        *turn(
            3,
            used("0", 3, "write", "risks", size=400),
            began("0.2", 3),
            *turn(1, used("0.2", 1, "read", "risks", 50), agent="0.2", prompt=100),
            *turn(2, used("0.2", 2, "take", "risks"), agent="0.2", told="o" * 40, prompt=180),
            *turn(3, agent="0.2", prompt=190),
            ended("0.2", None, name="best"),
            told="y" * 80,
            prompt=400,
        ),
        *turn(4, prompt=500),
    ]


def test_each_result_that_went_by_name_is_told_with_what_it_would_have_loaded():
    assert savings_of(tree_of(run())).transfers == (
        Transfer("person", "0", "context", None, None, 5_000, 4, 10, 40),
        Transfer("0.1", "0", "answer", None, 2, 300, 2, 20, 40),
        Transfer("0.2", "0", "answer", "best", 3, None, 1),
        Transfer("0", "0.1", "context", "part", None, 1_000, 1, 10, 10),
        Transfer("0", "0.2", "result", "risks", 1, 400, 2, 50, 100),
    )


def test_the_sums_are_what_providers_reported_and_what_would_have_come_on_top():
    found = savings_of(tree_of(run()))

    saved = (5_000 * 4 - 40) + (300 * 2 - 40) + (1_000 - 10) + (400 * 2 - 100)
    once = 4_990 + 280 + 990 + 350
    assert (found.loaded, found.loaded_once) == (2_020, 500 + 150 + 190)
    assert (found.saved, found.by_value, found.unknown) == (saved, 2_020 + saved, 1)
    assert (found.saved_once, found.by_value_once) == (once, 840 + once)


def test_the_savings_as_text():
    assert savings_text(tree_of(run())).split("\n") == [
        "from       to         what          step   tokens  in window  requests  by value   saved  saved $",
        "person     agent 0    context       start   5,000         10         4    20,000  19,960        –",
        "agent 0    agent 0.1  context part  start   1,000         10         1     1,000     990        –",
        "agent 0    agent 0.2  result risks  1         400         50         2       800     700        –",
        "agent 0.1  agent 0    answer        2         300         20         2       600     560        –",
        "agent 0.2  agent 0    answer best   3           –          0         1         –       –        –",
        "loaded: 2,020 prompt tokens, cost unknown; 840 with each message counted once",
        "by value: at least 24,230 prompt tokens, cost unknown; 7,450 with each counted once",
        "saved: at least 22,210 prompt tokens, cost unknown, 91.7% of it",
        "of unknown size, and in no sum: 1 transfer",
        "typed again though a variable held it: nothing that was found",
        ASSUMED,
    ]


def test_the_text_the_page_and_the_data_say_the_same():
    tree = tree_of(run())

    found, data = savings_bundle(tree), savings_data(tree)

    headers, rows = savings_table(savings_of(tree))
    cells = [cell for row in (headers, *rows) for cell in row]
    assert Page(found["text/html"]).text == [*cells, *found["text/plain"].split("\n")[6:]]
    assert json.loads(json.dumps(data)) == data
    assert (data["saved"], data["saved_usd"], data["transfers"][3]["tokens"]) == (22_210, None, 1_000)


def test_where_no_size_is_known_nothing_is_said_to_be_saved():
    text = savings_text(tree_of([began(context="an object"), *turn(1), *turn(2)]))

    assert "by value: unknown, as no size is known of 1 transfer" in text
    assert "saved:" not in text


def test_a_completion_is_loaded_once():
    found = savings_of(tree_of([began(), *turn(1, *call(1, "q", "a"), prompt=100)]))

    assert (found.loaded, found.loaded_once) == (107, 107)


def test_who_wrote_a_result_needs_no_copy_of_it_and_a_person_has_no_window():
    events = [began(), *turn(1, used("0", 1, "write", "x", size=9), used("0", 1, "take", "x")), *turn(2)]

    assert savings_of(tree_of([*events, used("0", None, "take", "x"), began("0.1"), ended("0.1", 5)])).transfers == ()


def test_a_result_is_copied_again_only_after_it_was_written_again():
    write, take = used("0", None, "write", "x", size=100), used("0", 1, "take", "x")
    events = [began(), write, *turn(1, take, take, replace(write, size=70), take), *turn(2)]

    found = savings_of(tree_of(events)).transfers

    assert [(one.tokens, one.requests) for one in found] == [(100, 1), (70, 1)]


def test_what_an_observation_showed_is_not_saved():
    events = [began(), *turn(1, began("0.1", 1), ended("0.1", 30)), *turn(2, told="o" * 400), *turn(3, told="")]

    found = savings_of(tree_of(events)).transfers

    assert found == (Transfer("0.1", "0", "answer", None, 1, 30, 2, 30, 60),)
    assert found[0].saved == 0


def test_a_request_that_a_limit_refused_carried_nothing():
    refused = [
        *step(2, "", agent="0", new=(Message("user", "m"),))[:1],
        AskFailed(agent="0", step=2, kind="limit", message="max_calls"),
    ]

    found = savings_of(tree_of([began(tokens=500), *turn(1), *refused])).transfers

    assert [one.requests for one in found] == [1]


# Prices


def priced(*calls: tuple[int, int | None, int, float | None]) -> Tree:
    """Steps with so many prompt, cached and completion tokens, and what they cost."""
    usages = [Usage(prompt, completion, cached, None, cost) for prompt, cached, completion, cost in calls]
    return tree_of([began(), *(each for n, usage in enumerate(usages, 1) for each in turn(n, usage=usage))])


def test_the_price_of_a_prompt_token_is_found_without_that_of_completions():
    tree = priced((100, None, 50, 100e-6 + 50 * 5e-6), (300, None, 20, 300e-6 + 20 * 5e-6), (900, None, 20, 1_000e-6))

    assert prompt_prices(tree) == {"scripted:demo.py": pytest.approx(1e-6)}


def test_the_price_of_a_prompt_token_is_what_cached_and_uncached_ones_cost_on_the_mean():
    def cost(prompt: int, cached: int, completion: int) -> float:
        return (prompt - cached) * 2e-6 + cached * 0.2e-6 + completion * 8e-6

    calls = [(100, 0, 10), (300, 90, 30), (700, 290, 5), (900, 690, 44)]

    found = prompt_prices(priced(*((p, c, o, cost(p, c, o)) for p, c, o in calls)))

    uncached, cached = 100 + 210 + 410 + 210, 90 + 290 + 690
    assert found == {"scripted:demo.py": pytest.approx((uncached * 2e-6 + cached * 0.2e-6) / (uncached + cached))}


@pytest.mark.parametrize(
    "calls",
    [
        [(100, None, 20, None)],
        [(100, None, 20, 0.001)],
        [(100, None, 20, 0.001), (200, None, 40, 0.002)],
        [(100, None, 20, 0.001), (200, None, 20, 0.009), (300, None, 20, 0.0001), (10, None, 90, 0.02)],
        [(100, None, 20, 1.0), (100, None, 20, 2.0), (50, None, 100, 3.0)],
        [(300, None, 100, 0.3), (2_100, None, 700, 2.1), (3_300, None, 1_100, 3.3)],
        [(100, None, 20, float("inf")), (200, None, 10, 0.1)],
    ],
)
def test_a_price_that_the_costs_do_not_tell_is_unknown(calls: list[tuple[int, int | None, int, float | None]]):
    assert prompt_prices(priced(*calls)) == {}


def test_a_model_that_costs_nothing_has_a_price_and_one_of_no_known_cost_has_none():
    assert prompt_prices(priced((100, None, 20, 0.0))) == {"scripted:demo.py": 0.0}
    assert "$0.0000" not in savings_text(priced((100, None, 20, None)))
    assert "loaded: 100 prompt tokens, $0.0000" in savings_text(priced((100, None, 20, 0.0)))


def test_dollars_are_told_where_the_price_is_known():
    tree = priced((100, None, 50, 100e-6 + 50 * 5e-6), (300, None, 20, 300e-6 + 20 * 5e-6))

    assert "loaded: 400 prompt tokens, $0.0004;" in savings_text(tree)


def recorded(model: str, agent: str, prompt: int, prompt_usd: float | None, cost: float | None) -> list[Event]:
    """An agent of one step, of which the record says what its prompt cost."""
    start, *rest = [replace(began(agent), model=model), *turn(1, agent=agent, usage=Usage(prompt, 10, cost_usd=cost))]
    return [start, *(replace(each, prompt_usd=prompt_usd) if isinstance(each, Replied) else each for each in rest)]


def test_where_the_record_says_what_prompts_cost_that_is_what_counts():
    tree = tree_of([*recorded("a", "0", 100, 0.3, 99.0), *recorded("a", "0.1", 300, 0.1, None)])

    assert prompt_prices(tree) == {"a": pytest.approx(0.4 / 400)}


def test_each_transfer_saves_at_the_price_of_the_model_that_it_went_to():
    dear = [began(tokens=1_000), *recorded("dear", "0", 100, 0.1, 0.2)[1:]]
    cheap = [replace(began("0.1", 1, 500), model="cheap"), *recorded("cheap", "0.1", 50, 0.0005, 0.001)[1:]]
    dear[0] = replace(dear[0], model="dear")

    found = savings_of(tree_of([*dear, *cheap]))

    assert [each.saved_usd for each in found.transfers] == [pytest.approx(990 * 0.001), pytest.approx(490 * 0.00001)]
    assert found.loaded_usd == pytest.approx(0.1005)
    assert found.saved_usd == pytest.approx(990 * 0.001 + 490 * 0.00001)
    assert found.by_value_usd == pytest.approx(0.1005 + 990 * 0.001 + 490 * 0.00001)


def test_a_model_of_unknown_price_makes_the_sums_in_dollars_unknown():
    known = [replace(began(tokens=1_000), model="known"), *recorded("known", "0", 100, 0.1, 0.2)[1:]]

    found = savings_of(tree_of([*known, *recorded("unknown", "0.1", 50, None, None)]))

    assert (found.loaded_usd, found.price_usd, found.saved_usd) == (None, None, None)
    assert [each.saved_usd for each in found.transfers] == [pytest.approx(0.99)]


# By value, beside


def test_what_went_as_text_stands_beside_what_went_by_reference():
    found = savings_of(tree_of(workflow_run()))

    assert found.sent == (Sent("0", "0", 1, "check", 1, "draft", 610, 2),)
    assert (found.sent_tokens, found.typed_tokens) == (630, 40)
    assert [row for row in savings_table(found)[1] if row[1].startswith("state")] == [
        ("agent 0", "state check", "text draft", "1", "305", "610", "2", "610", "0", "–")
    ]
    assert "as text: 2 results of 610 tokens, all in a window; with prompts 630, and 40 answered" in savings_text(
        tree_of(workflow_run())
    )
    assert savings_data(tree_of(workflow_run()))["sent"][0]["tokens"] == 610


def of_questions() -> list[Event]:
    """The workflow run with what went as text in questions of sub-agents."""
    events: list[Event] = []
    for event in workflow_run():
        if isinstance(event, StateFinished):
            event = replace(event, loaded=tuple(replace(each, reported=True) for each in event.loaded), typed_tokens=0)
        events.append(event)
    return events


def test_what_stood_in_a_question_is_a_row_and_counted_once_by_who_reported_it():
    found = savings_of(tree_of(of_questions()))

    assert found.sent == (Sent("0", "0", 1, "check", 1, "draft", 610, 2, True),)
    assert (found.sent_tokens, found.typed_tokens) == (0, 0)
    assert found.by_value == savings_of(tree_of(workflow_run())).by_value
    assert [row for row in savings_table(found)[1] if row[1].startswith("state")] == [
        ("agent 0", "state check", "text draft", "1", "305", "610", "–", "–", "0", "–")
    ]
    told = savings_text(tree_of(of_questions()))
    assert "in questions: 2 results of 610 tokens, all in a window (estimated; in the sums above" in told
    assert "as text:" not in told
    assert savings_data(tree_of(of_questions()))["sent"][0]["reported"] is True


@pytest.mark.parametrize("reported", [True, False])
def test_a_result_that_stood_in_the_question_of_who_took_it_saved_nothing(reported: bool):
    events: list[Event] = []
    for event in persons_workflow():
        if isinstance(event, StateFinished):
            event = replace(event, loaded=(Loaded("contract", 490, reported),))
        events.append(event)

    (found,) = savings_of(tree_of(events)).transfers

    assert (found.loaded, found.saved) == ((500, 0) if reported else (0, 500 * found.requests))


def test_what_was_in_the_store_that_an_agent_began_with_would_have_been_in_all_its_requests():
    (found,) = savings_of(tree_of(persons_workflow())).transfers

    assert (found.source, found.target, found.what, found.name) == ("person", "0.1", "result", "contract")
    assert (found.tokens, found.requests, found.saved) == (500, 1, 500)


def test_a_size_that_one_use_told_is_known_of_all_whichever_was_written_down_first():
    other = [began("0.2"), *turn(1, Used(agent="0.2", step=1, how="take", key="contract"), agent="0.2")]
    events = persons_workflow()

    for log in (
        [*events[:-1], *other, *turn(2, agent="0.2")],
        [*events[:3], *other, *turn(2, agent="0.2"), *events[3:]],
    ):
        found = savings_of(tree_of(log)).transfers

        assert {(each.target, each.tokens, each.requests) for each in found} == {("0.1", 500, 1), ("0.2", 500, 1)}


def test_what_is_read_of_a_variable_or_of_another_store_changes_no_figure_of_a_result():
    other = [began("0.2"), *turn(1, Used(agent="0.2", step=1, how="read", key="contract", tokens=1, size=1, store=0))]
    third = turn(2, Used(agent="0.2", step=2, how="take", key="contract", size=2, store=2), agent="0.2")

    found = savings_of(tree_of([*persons_workflow()[:-1], *other, *third, *turn(3, agent="0.2")])).transfers

    assert [(each.source, each.target, each.name, each.tokens) for each in found] == [
        ("person", "0.1", "contract", 500),
        ("person", "0.2", "contract", 2),
    ]


def test_a_read_of_a_part_does_not_make_the_whole_smaller():
    part = Used(agent="0.1", step=1, how="read", key="contract", tokens=3, size=3)
    *events, end, last = persons_workflow()

    (found,) = savings_of(tree_of([*events, end, part, last])).transfers

    assert (found.tokens, found.loaded) == (500, 3)


def test_only_what_was_in_the_store_that_an_agent_began_with_would_have_been_in_its_first_request():
    def requests(store: int) -> list[int]:
        context = replace(began("0.1", 1, context="`context`: Store, 1 item"), context_store=2)
        uses = Used(agent="0.1", step=2, how="take", key="contract", size=100, store=store)
        below = [*turn(1, agent="0.1"), *turn(2, uses, agent="0.1"), *turn(3, agent="0.1")]
        return [each.requests for each in savings_of(tree_of([began(), *turn(1, context, *below)])).transfers]

    assert (requests(2), requests(1)) == ([3], [1])


@pytest.mark.parametrize("store", [1, 2])
def test_what_went_as_text_was_written_into_the_store_of_its_workflow(store: int):
    events: list[Event] = []
    for event in workflow_run():
        if isinstance(event, Used):
            events += [replace(event, store=store), replace(event, agent="0.1", store=3 - store)]
        else:
            events.append(event)

    assert [each.source for each in savings_of(tree_of(events)).sent] == ["0"]


def test_a_text_that_nobody_wrote_in_the_run_came_from_the_person():
    events = [event for event in workflow_run() if not isinstance(event, Used)]

    assert [each.source for each in savings_of(tree_of(events)).sent] == ["person"]


# What was typed again

SHOWN = "The parties agree that the second clause is void, unless both of them have signed the annex before May."


def typed(*cells: tuple[str, str]) -> list[Retyped]:
    """Each cell with what it put out; the next request tells that."""
    events: list[Event] = [began()]
    told = "The question"
    for number, (source, output) in enumerate(cells, 1):
        new = (Message("user", told),)
        events += step(number, fenced(source), source, (stream(output),), new=new)
        told = f"Output of your cell:\n\n{output}"
    return retyped(tree_of(events))


@pytest.mark.parametrize(
    ("source", "variable"),
    [
        ("print(clause)", "clause"),
        ("x = 1\nclause", "clause"),
        ("print('Clause:', context.clauses[2])", "context.clauses[2]"),
        ("print(f'{clause}!', len(clause))", "clause"),
        ("READ('clause')", "context['clause']"),
        ("print(context.read('clause', lines=(1, 2)))", "context['clause']"),
        ("FINAL(clause)", "clause"),
        ("FINAL_VAR('clause')", "clause"),
    ],
)
def test_a_literal_that_repeats_what_was_shown_names_what_would_have_done(source: str, variable: str):
    found = typed((source, SHOWN), (f"FINAL({SHOWN!r})", ""))

    assert found == [Retyped("0", 2, "literal", 26, variable, 1, SHOWN[:59] + "…")]


@pytest.mark.parametrize(
    "again",
    [
        f"FINAL('''{SHOWN.replace(' is', chr(10) + '   is')}''')",
        f"FINAL(f'{SHOWN} {{n}}')",
        f"FINAL('My answer, in short, is this one: {SHOWN}')",
        f"%time FINAL(1)\nx = {SHOWN!r}",
    ],
)
def test_white_space_and_what_stands_around_do_not_hide_it(again: str):
    assert [one.variable for one in typed(("clause", repr(SHOWN)), (again, ""))] == ["clause"]


def test_escapes_of_a_repr_do_not_hide_it():
    text = SHOWN.replace(", ", ",\n").replace("annex", "'annex'").replace("void", '"void"')

    assert len(typed(("clause", repr(text)), (f"FINAL({text!r})", ""))) == 1


@pytest.mark.parametrize(
    ("source", "again"),
    [
        ("print(clause)", "FINAL(clause)"),
        ("print(clause)", f"FINAL({SHOWN[:79]!r})"),
        ("print(clause)", f"FINAL({(SHOWN[:79] + 'and so on' * 9)!r})"),
        (f"print({SHOWN!r})", f"FINAL({SHOWN!r})"),
        ("compute()", f"FINAL({SHOWN!r})"),
        ("print(clause", f"FINAL({SHOWN!r})"),
    ],
)
def test_what_is_short_or_held_by_no_known_variable_is_not_told(source: str, again: str):
    assert typed((source, SHOWN), (again, "")) == []


def test_what_another_agent_was_shown_or_what_was_shown_later_is_not_typed_again():
    first = step(1, "r", f"x = {SHOWN!r}", agent="0.1")
    events = [began(), *turn(1, source="print(y)"), *turn(2, told=SHOWN), *first]

    assert retyped(tree_of(events)) == []
    assert typed((f"x = {SHOWN!r}", ""), ("print(x)", SHOWN)) == []


def test_a_plain_text_answer_that_repeats_what_was_shown_is_told():
    answer = [*step(2, f"It is: {SHOWN}", new=(Message("user", SHOWN),))]
    end = AgentFinished(agent="0", ending="text", answer=SHOWN)

    found = retyped(tree_of([began(), *turn(1, source="print(clause)"), *answer, end]))

    assert [(one.what, one.step, one.shown_at, one.tokens) for one in found] == [("text answer", 2, 1, 26)]


def test_pieces_that_were_shown_apart_are_counted_together():
    other = "".join(f"{number} sheep in the meadow, " for number in range(10))

    found = typed(("a", SHOWN), ("b", other), (f"FINAL({(SHOWN + ' Besides: ' + other)!r})", ""))

    assert [(one.variable, one.tokens) for one in found] == [("a", -(-(len(SHOWN) + len(other)) // 4))]


def test_texts_typed_again_are_listed_with_their_variable():
    events = [began(), *turn(1, source="print(clause)"), *turn(2, told=SHOWN, source=f"FINAL({SHOWN!r})")]

    lines = savings_text(tree_of(events)).split("\n")

    assert lines[-3:-1] == [
        "typed again though a variable held it: 1 text, 26 tokens",
        f"  agent 0, step 2, literal: 26 tokens that clause held, shown at step 1: {SHOWN[:59]}…",
    ]


# Hostile, torn and large


def test_hostile_names_are_but_text():
    name = "<script>alert(1)</script>\x1b[31m\u202e\ud800\n| x"
    events = [began(), *turn(1, used("0", 1, "take", name, size=9), began("0.1", 1, 100, name=name)), *turn(2)]
    tree = tree_of(events)

    assert set(Page(savings_html(tree)).tags) == {"table", "thead", "tbody", "tr", "th", "td", "div"}
    assert not any(char in savings_text(tree) for char in "\x1b\u202e\ud800")
    json.dumps(savings_data(tree), ensure_ascii=False).encode()


def test_many_transfers_are_cut_to_those_that_save_most():
    events = [began(), *(began(f"0.{n}", 1, n) for n in range(1, 101))]
    for n in range(1, 101):
        events += turn(1, agent=f"0.{n}")

    lines = savings_text(tree_of(events)).split("\n")

    assert lines[1].split()[:4] == ["agent", "0", "agent", "0.100"]
    assert lines[51] == "… 50 more transfers, all in the sums"


def test_agents_in_a_ring_are_counted_once():
    ring = [
        replace(agent_started("1", "2", in_step=1), context_tokens=9),
        replace(agent_started("2", "1", in_step=1), context_tokens=9),
    ]

    assert len(savings_of(tree_of(ring)).transfers) == 2


def test_the_savings_of_nothing():
    assert savings_text(Tree()).startswith("loaded: 0 prompt tokens, cost unknown; 0 with each message counted once\n")
    Page(savings_html(Tree()))


@given(EVENTS, st.lists(st.builds(used, TEXT, st.none() | st.integers(), TEXT, TEXT, st.integers()), max_size=3))
@settings(max_examples=150, deadline=None)
def test_whatever_a_record_says_its_savings_are_told(events: list[Event], more: list[Event]):
    tree = tree_of([*events, *more])

    found = savings_of(tree)

    assert found.by_value >= found.loaded >= 0
    Page(savings_html(tree))
    savings_text(tree).encode()
    json.dumps(savings_data(tree), allow_nan=False).encode()


def test_the_savings_of_a_thousand_agents_are_told_while_a_person_waits():
    tree = tree_of(large_run())
    begun = time.thread_time()

    savings_text(tree)

    assert time.thread_time() - begun < 2.0


def test_long_texts_that_are_alike_take_time_for_their_length_only():
    text = "a" * 300_000 + "b"
    again = ["x", f"x = {('a' * 300_000)!r}", f"x = {('ab' * 150_000)!r}", f"x = {('a' * 79 + 'b') * 3_000!r}"]
    events = [began(), *(e for n, source in enumerate(again, 1) for e in turn(n, told=text, source=source))]
    begun = time.thread_time()

    found = retyped(tree_of(events))

    assert time.thread_time() - begun < 5.0
    assert found[0].variable == "x"
