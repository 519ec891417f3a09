"""What a prefix cache served of each prompt of a run, and what it could have served."""

from __future__ import annotations

import json
import time
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel.trace.events import Asked, CallFinished, CallStarted, Event, Replied
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views import cache_bundle, cache_data, cache_html, cache_tables, cache_text
from rlm_kernel.trace.views.cache import calls_of, summed
from rlm_kernel.trace.views.cache_forms import NOTE
from rlm_kernel.values import Message, Usage, messages_sha
from tests.sample_run import EVENTS, TEXT, agent_started, run_started, tree_of
from tests.test_graph import large_run
from tests.test_views import Page

SYSTEM = Message("system", "s" * 60)


def turn(
    number: int,
    *new: Message,
    agent: str = "0",
    prompt: int = 100,
    cached: int | None = None,
    first_s: float | None = None,
) -> list[Event]:
    return [
        Asked(agent=agent, step=number, new=new, request_sha=""),
        Replied(
            agent=agent,
            step=number,
            text="r",
            model="demo-1",
            usage=Usage(prompt, 5, cached),
            finish_reason="stop",
            first_token_s=first_s,
            seconds=1.0,
        ),
    ]


def completion(number: int, prompt: str, system: str = "S" * 10, *, model: str = "m", tokens: int = 50) -> list[Event]:
    sha = messages_sha((Message("system", system), Message("user", prompt)))
    return [
        CallStarted(agent="0", step=1, call=number, prompt=prompt, model=model, request_sha=sha),
        CallFinished(
            agent="0",
            step=1,
            call=number,
            text="a",
            model="demo-1",
            usage=Usage(tokens, 5),
            finish_reason="stop",
            first_token_s=None,
            seconds=1.0,
        ),
    ]


def user(chars: int, letter: str = "u") -> Message:
    return Message("user", letter * chars)


def two_agents() -> list[Event]:
    return [
        run_started(),
        agent_started(),
        *turn(1, SYSTEM, user(40), prompt=100, cached=0, first_s=2.0),
        *turn(2, Message("assistant", "r" * 20), user(80), prompt=400, cached=256, first_s=0.5),
        agent_started("0.1", "0", in_step=2),
        *turn(1, SYSTEM, user(20, "v"), agent="0.1", prompt=80),
        *turn(2, user(20), agent="0.1", prompt=100, cached=40, first_s=9.0),
    ]


def prefixes(events: list[Event], system: str | None = None) -> list[int | None]:
    return [call.prefix_tokens for call in calls_of(tree_of(events), system)]


def test_a_prefix_is_what_an_earlier_request_began_with_in_whole_messages():
    assert prefixes(two_agents()) == [0, 400 * 100 // 200, 80 * 60 // 80, 100 * 80 // 100]


def test_a_message_that_only_begins_alike_is_no_part_of_a_prefix():
    events = [agent_started(), *turn(1, SYSTEM, user(40)), agent_started("1"), *turn(1, SYSTEM, user(41), agent="1")]

    assert prefixes(events) == [0, 100 * 60 // 101]


def test_where_one_message_differs_what_follows_is_no_prefix():
    tail = user(40)
    first = [agent_started(), *turn(1, SYSTEM, user(10, "a"), tail)]

    assert prefixes([*first, agent_started("1"), *turn(1, SYSTEM, user(10, "b"), tail, agent="1")])[1] == 6_000 // 110
    assert prefixes([*first, agent_started("1"), *turn(1, tail, SYSTEM, agent="1")])[1] == 0


def test_another_model_has_another_cache():
    other = replace(agent_started("1"), model="other")

    assert prefixes([agent_started(), *turn(1, SYSTEM), other, *turn(1, SYSTEM, agent="1")]) == [0, 0]


def test_the_role_of_a_message_and_its_borders_count():
    first = [agent_started(), *turn(1, Message("user", "ab"), Message("user", "c"))]

    for other in ((Message("system", "ab"),), (Message("user", "a"), Message("user", "bc"))):
        assert prefixes([*first, agent_started("1"), *turn(1, *other, agent="1")])[1] == 0


def test_of_completions_only_the_same_request_is_known_to_have_its_prefix():
    events = [agent_started(), *completion(1, "p" * 40), *completion(2, "q" * 40), *completion(3, "p" * 40)]

    assert prefixes(events)[1:] == [None, None, 50]
    assert prefixes([*events, *completion(4, "p" * 40, model="other")])[4] is None


def test_a_system_message_of_completions_counts_where_the_hash_tells_that_it_was_sent():
    events = [agent_started(), *completion(1, "p" * 40), *completion(2, "q" * 40), *completion(3, "p" * 40, "T" * 10)]

    assert prefixes(events, "S" * 10)[1:] == [0, 50 * 10 // 50, None]


def test_sums_leave_out_what_is_unknown_and_times_are_medians_of_cold_and_warm_calls():
    calls = calls_of(tree_of([*two_agents(), *turn(3, user(1), prompt=90, cached=0, first_s=1.0)]))

    total = summed(calls)

    assert (total.calls, total.prompt_tokens, total.cached_tokens) == (5, 770, 296)
    assert (total.cold_s, total.warm_s) == (1.5, 0.5)
    assert [call.warmth for call in calls] == ["cold", "warm", "cold", "", ""]


def test_the_cache_as_text():
    assert cache_text(tree_of(two_agents())).split("\n") == [
        "agent  calls   in  cached  prefix allows  first token cold  first token warm",
        "0          2  500     256            200              2.00              0.50",
        "0.1        2  180      40            140                 –                 –",
        "total      4  680     296            340              2.00              0.50",
        "",
        "agent  call    model    in  cached  prefix allows  first token",
        "0      step 1  demo-1  100       0              0         2.00",
        "0      step 2  demo-1  400     256            200         0.50",
        "0.1    step 1  demo-1   80       –             60            –",
        "0.1    step 2  demo-1  100      40             80         9.00",
        NOTE,
    ]


def test_a_call_without_an_answer_has_dashes():
    events = [agent_started(), *turn(1, SYSTEM)[:1], *completion(1, "p")[:1]]

    agents, calls = cache_tables(tree_of(events))

    model = "scripted:demo.py"
    assert calls[1:] == [("0", "step 1", model, *"––––"), ("0", "llm_query 1 in step 1", "m", *"––––")]
    assert agents[1:] == [("0", "2", "0", *"––––"), ("total", "2", "0", *"––––")]


def test_the_text_the_page_and_the_data_say_the_same():
    tree = tree_of(two_agents())

    found, data = cache_bundle(tree), cache_data(tree)

    cells = [cell for table in cache_tables(tree) for row in table for cell in row]
    assert Page(found["text/html"]).text == [*cells, NOTE]
    assert found["text/plain"] == cache_text(tree)
    assert json.loads(json.dumps(data)) == data
    assert (data["total"]["cached_tokens"], data["agents"][1]["prefix_tokens"]) == (296, 140)
    assert (data["calls"][1]["kind"], data["calls"][1]["warmth"]) == ("step", "warm")


def test_long_tables_are_cut_and_their_sums_are_not():
    text = cache_text(tree_of(large_run())).split("\n")

    assert len(text) == 1 + 200 + 1 + 1 + 1 + 1 + 300 + 1 + 1
    assert text[201].split()[:2] == ["total", "10,989"]
    assert text[202] == "… 800 more agents, all in the sum"
    assert text[-2] == "… 10,689 more calls, all in the sums"


def test_hostile_names_are_but_text():
    name = "<script>alert(1)</script>\x1b[31m\u202e\ud800\n| x"
    tree = tree_of([replace(agent_started(name), model=name), *turn(1, user(3), agent=name)[:1]])

    assert set(Page(cache_html(tree)).tags) == {"table", "thead", "tbody", "tr", "th", "td", "div"}
    assert not any(char in cache_text(tree) for char in "\x1b\u202e\ud800")
    json.dumps(cache_data(tree), ensure_ascii=False).encode()


def test_the_cache_of_nothing():
    assert cache_text(Tree()).split("\n")[1].split() == ["total", "0", "0", *"––––"]


@given(EVENTS, st.none() | TEXT)
@settings(max_examples=150, deadline=None)
def test_whatever_a_record_says_its_cache_is_told(events: list[Event], system: str | None):
    tree = tree_of(events)

    Page(cache_html(tree, system))
    cache_text(tree, system).encode()
    json.dumps(cache_data(tree, system), allow_nan=False).encode()
    for call in calls_of(tree, system):
        assert call.prefix_tokens is None or 0 <= call.prefix_tokens <= (call.prompt_tokens or 0)


def test_the_cache_of_a_thousand_agents_is_told_while_a_person_waits():
    tree = tree_of(large_run())
    begun = time.thread_time()

    cache_text(tree)

    assert time.thread_time() - begun < 5.0


def test_a_long_conversation_is_read_once_and_not_for_each_of_its_requests():
    events = [agent_started(), *(each for n in range(1, 5_001) for each in turn(n, user(1_000)))]
    tree = tree_of(events)
    begun = time.thread_time()

    found = calls_of(tree)

    assert time.thread_time() - begun < 2.0
    assert found[-1].prefix_tokens == 99
