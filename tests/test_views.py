"""The views: the same tree as HTML and as text, bounded and escaped, and the table of calls."""

from __future__ import annotations

import time
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel.trace.events import AgentFinished, AskFailed, CallFailed, CallStarted, Event
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views import (
    agents_bundle,
    agents_html,
    agents_table,
    agents_text,
    as_html,
    as_text,
    bundle,
    usage_bundle,
    usage_html,
    usage_table,
    usage_text,
)
from rlm_kernel.values import Attempt, CellError, Usage
from tests.sample_run import (
    agent_finished,
    agent_started,
    call,
    fenced,
    recursive_run,
    run_finished,
    run_started,
    shown,
    state,
    step,
    stream,
    tree_of,
    whole_run,
    workflow_run,
)


class Page(HTMLParser):
    """What a browser would make of it: tags that are balanced, their styles, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.styles: set[str] = set()
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.styles |= {value or "" for name, value in attrs if name == "style"}

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


WHOLE_TEXT = """\
RLM · final · scripted:demo.py · 3 steps · 4 model calls · 370 tokens · cost unknown
agent 0: How many lines?
  context: str of 12 characters: 'a\\nb\\nc'
  step 1: I look first. · error · 120 tokens
    | contxt[:9]
    ! line 1
    ! NameError: name 'contxt' is not defined
  step 2: A typo. · done · 120 tokens
    | n = context.count('\\n')
    | print(llm_query(f'is {n} many?'))
    | n + 1
    llm_query 1 · 10 tokens: is 2 many? → No, not many.
    > No, not many.
    > 3
  step 3: Now I know. · final · 120 tokens
    | FINAL(n + 1)
  final: int: 3"""


def test_a_run_as_text_without_what_changes_from_run_to_run():
    assert as_text(tree_of(whole_run()), times=False) == WHOLE_TEXT


STATES = """\
    state draft · str, 1 char: 'x' → check
        agent 0.1: Draft 0.1
    state check · 2 attempts · by value 630 tokens in (draft 300, draft 310), 40 out · dict, 2 items → draft
    state draft, visit 2 · str, 1 char: 'x' → print
        agent 0.2: Draft 0.2
        agent 0.4: Draft 0.4
    agent 0.3: Draft 0.3
    state print · ValueError: no <b>paper</b>"""


def test_states_of_a_workflow_stand_below_the_step_with_the_agents_that_they_asked():
    text = as_text(tree_of(workflow_run()), times=False)

    lines = [line.split(" · final")[0] for line in text.split("\n")]
    assert "\n".join(line for line in lines if line.lstrip().startswith(("state ", "agent 0."))) == STATES
    assert "state print · ValueError: no &lt;b&gt;paper&lt;/b&gt;" in as_html(tree_of(workflow_run()))


def test_of_a_workflow_of_many_states_the_first_are_shown_and_the_others_counted():
    began, *_, ended = step(1, fenced("x"), "x")
    many = [event for number in range(1, 31) for event in state(number, f"s{number}", attempts=1, next="s")]

    text = as_text(tree_of([agent_started(), began, *many, ended]), times=False)

    assert ("state s24 " in text, "state s25 " in text, "… 6 more states" in text) == (True, False, True)


def test_a_run_as_text_has_its_id_and_its_times():
    first, *rest = as_text(tree_of(whole_run())).split("\n")

    assert first.startswith("RLM 20260131-120000-abcd · ")
    assert first.endswith("cost unknown · 2.50 s")
    assert "  step 3: Now I know. · final · 0.75 s · 120 tokens" in rest


def test_the_two_forms_of_a_bundle_say_the_same():
    tree = tree_of(whole_run())

    found = bundle(tree, volatile=False)

    assert found == {"text/html": as_html(tree, volatile=False), "text/plain": WHOLE_TEXT}
    text = "".join(Page(found["text/html"]).text)
    for line in ("How many lines?", "contxt[:9]", "NameError: name 'contxt' is not defined", "llm_query 1", "int: 3"):
        assert line in text
    assert "20260131" not in found["text/html"]
    assert " s<" not in found["text/html"]


def test_only_the_newest_step_is_open():
    events = [agent_started(), *step(1, "a", "x"), *step(2, "b", "y")]

    html = as_html(tree_of(events))

    assert html.count("<details open>") == 1
    assert html.index("step 1") < html.index("<details open>") < html.index("step 2")


def test_the_page_needs_nothing_that_an_untrusted_notebook_loses():
    page = Page(as_html(tree_of(whole_run())))

    assert set(page.tags) == {"div", "b", "details", "summary", "span", "pre", "code"}
    assert page.attributes == {"style", "open"}
    properties = {rule.split(":")[0].strip() for style in page.styles for rule in style.split(";")}
    assert properties == {"border-left", "padding-left", "color"}
    assert not any("var(" in style or "background" in style for style in page.styles)


CONTROLS = {chr(code) for code in (*range(32), *range(127, 160))} - {"\t", "\n"}
HOSTILE = "<script>alert(1)</script> \"'><img src=x onerror=y> &lt; \x1b[31mred\x1b[0m \x07\x9b1m \ud800 ```"


@given(st.text(st.characters(exclude_categories=()), max_size=40) | st.just(HOSTILE))
@settings(max_examples=60, deadline=None)
def test_hostile_text_in_every_field_is_only_text(text: str):
    tree = tree_of(hostile_run(text))

    for html in (as_html(tree), usage_html(tree), agents_html(tree)):
        page = Page(html)
        assert not {"script", "img", "a", "style"} & set(page.tags)
        assert page.attributes <= {"style", "open"}
        html.encode("utf-8")
        assert not set(html) & CONTROLS
    for plain in (as_text(tree), usage_text(tree), agents_text(tree)):
        plain.encode("utf-8")
        assert "\x1b" not in plain


def hostile_run(text: str) -> list[Event]:
    error = CellError(text, text, text)
    failed = CallFailed(agent="0", step=1, call=2, kind=text, message=text)
    rich: dict[str, Any] = {"output_type": "display_data", "data": {text: text, "image/png": text}, "metadata": {}}
    return [
        run_started(),
        agent_started(question=text),
        *step(1, text, text, (stream(text), rich, shown(text)), error=error, calls=(*call(1, text, text), failed)),
        agent_started(text or "-", "0", text, in_step=1, schema=text, tools=(text,), isolation=text),
        AskFailed(agent=text or "-", step=1, kind=text, message=text),
        AgentFinished(agent="0", ending="error", answer=text, name=text, message=text),
    ]


def test_a_huge_run_has_a_small_view_with_the_newest_step_whole():
    worst = "'" * 100_000
    events = [run_started(), agent_started(question=worst)]
    for n in range(1, 3_000):
        many = [one for k in range(20) for one in call(100 * n + k, worst, worst, in_step=n)] if n % 500 == 0 else []
        error = CellError("E", worst, worst)
        events += step(n, worst, f"n = {n}\n{worst}", (stream(worst),) * 3, error=error, calls=tuple(many))
    for n in range(1, 301):
        lent = {"schema": worst, "tools": (worst,) * 20, "isolation": worst}
        events += [agent_started(f"0.{n}", "0", worst, in_step=3_000 - n // 8, **lent), *step(1, worst, agent=f"0.{n}")]
        events.append(AgentFinished(agent=f"0.{n}", ending="error", answer=worst, name=worst, message=worst))
    tree = tree_of([*events, agent_finished("0", worst)])

    html, text = as_html(tree), as_text(tree)

    Page(html)
    assert len(html.encode()) < 200_000
    assert len(text) < 100_000
    assert "n = 2999" in html
    assert "n = 2999" in text
    assert "earlier steps" in html
    assert html.count("<summary>agent 0.") == 23


def test_a_long_chain_of_agents_has_a_small_view():
    worst = "'\n" * 50_000
    ids = [".".join(["0"] * n) for n in range(1, 61)]
    events: list[Event] = [run_started()]
    for id, caller in zip(ids, [None, *ids], strict=False):
        error = CellError("E", worst, worst)
        events.append(agent_started(id, caller, worst, in_step=None if caller is None else 1, schema=worst))
        events += step(1, worst, worst, (stream(worst),) * 3, agent=id, error=error)
        events.append(AgentFinished(agent=id, ending="error", answer=worst, name=worst, message=worst))
    tree = tree_of(events)

    html, text = as_html(tree), as_text(tree)

    Page(html)
    assert len(html.encode()) < 200_000
    assert len(text) < 100_000
    assert "… 1 more agent" in html
    assert "<details open>" in html  # the root's step is whole, and those far below are not


def test_a_long_output_is_shown_by_head_and_tail():
    text = as_text(tree_of([agent_started(), *step(1, "a", "x", (stream("b" * 5_000 + "e" * 5_000),))]))

    assert "    > bbbb" in text
    assert "… 9,200 characters …" in text
    assert text.endswith("e" * 100)


def test_outputs_without_text_are_named():
    picture = {"output_type": "display_data", "data": {"image/png": "abc", "text/plain": "<Figure>"}, "metadata": {}}
    page = {"output_type": "display_data", "data": {"text/html": "<b>x</b>"}, "metadata": {}}

    text = as_text(tree_of([agent_started(), *step(1, "a", "x", (picture, page))]))

    assert text.endswith("    > [image/png] <Figure>\n    > [text/html]")


def test_a_run_under_way_says_where_it_is():
    events = whole_run()

    states = [as_text(tree_of(events[:n]), times=False).split("\n")[-1] for n in (1, 3, 4, 5)]

    assert states == [
        "RLM · running · scripted:demo.py · 0 steps · 0 model calls · 0 tokens · $0.0000",
        "  step 1 · asking",
        "  step 1: I look first. · done · 120 tokens",
        "    | contxt[:9]",
    ]


def test_a_failed_model_call_is_said_and_why():
    failed = AskFailed(agent="0", step=1, kind="key", message="no key\nset OPENAI_API_KEY")
    ended = AgentFinished(agent="0", ending="error", answer=None, message="no key")

    text = as_text(tree_of([agent_started(), *step(1, "")[:1], failed, ended]), times=False)

    assert text.split("\n")[3:] == [
        "  step 1 · key",
        "    ! key: no key",
        "    ! set OPENAI_API_KEY",
        "  error: no key",
    ]


def test_sub_agents_are_folded_inside_their_caller():
    events = [
        agent_started(),
        *step(1, "ask", "llm_query('?')"),
        agent_started("0.1", "0", "Which?"),
        *step(1, "here", "FINAL(1)", agent="0.1"),
        agent_finished("0.1", "int: 1"),
        agent_finished(),
    ]

    html = as_html(tree_of(events))

    Page(html)
    assert html.index("agent 0.1: Which?") < html.index("int: 1") < html.index("int: 3")


RECURSIVE_TEXT = """\
RLM · final · scripted:demo.py · 6 agents · 4 steps · 5 model calls · 480 tokens · $0.004
agent 0: How many lines?
  context: str of 12 characters: 'a\\nb\\nc'
  step 1: I ask. · done · 120 tokens
    | xs = llm_query_batched(qs, cs)
    agent 0.1: Which? · final · 1 step · 120 tokens, 240 with those below · $0.001, $0.002 with those below
      context: str of 12 characters: 'a\\nb\\nc'
      answer as: int
      tools: find, load
      runs in a process of its own
      step 1: Deeper. · done · 120 tokens
        | FINAL(llm_query('Why?', context=1))
        agent 0.1.1: Why? · final · 1 step · 120 tokens · $0.001
          context: str of 12 characters: 'a\\nb\\nc'
          step 1: So. · final · 120 tokens
            | FINAL(7)
          final: int: 7
      final: int: 7
    agent 0.2: And this? · interrupted · 0 steps · 0 tokens · $0.0000
      context: str of 12 characters: 'a\\nb\\nc'
      step 1 · interrupted
      interrupted: stopped from outside
    agent 0.3: Or that? · error · 0 steps · 0 tokens · $0.0000
      context: str of 12 characters: 'a\\nb\\nc'
      step 1 · server
        ! server: 500
      error: the provider has gone
    agent 0.10: What now? · text · 1 step · 120 tokens · $0.001
      context: str of 12 characters: 'a\\nb\\nc'
      step 1: Nothing. · done · 120 tokens
      text: Nothing.
  final: int: 3"""


def test_sub_agents_stand_below_the_step_that_asked_them():
    assert as_text(tree_of(recursive_run()), times=False) == RECURSIVE_TEXT


def test_the_page_has_each_sub_agent_folded_inside_the_step_that_asked_it():
    html = as_html(tree_of(recursive_run()))

    Page(html)
    places = [html.index(text) for text in ("xs = llm", "agent 0.1: ", "agent 0.1.1: ", "agent 0.3: ", "agent 0.10: ")]
    assert places == sorted(places)
    assert html.count("<details open>") == 1
    assert "120 tokens, 240 with those below · $0.001, $0.002 with those below · 7.00 s, 12.0 s with those" in html


def parallel(ids: list[int], *, finished: bool = True) -> list[Event]:
    """The root's second step asks so many agents; they are at work in the order that is given."""
    events: list[Event] = [run_started(), agent_started(), *step(1, "look", "x"), *step(2, "ask", "y")[:3]]
    events += [agent_started(f"0.{n}", "0", f"Question {n}?", in_step=2) for n in ids]
    for number in (1, 2):
        events += [event for n in ids for event in step(number, f"reply {n}", "print(1)", agent=f"0.{n}")]
    return events + [agent_finished(f"0.{n}", f"int: {n}") for n in ids if finished or n % 4]


def test_a_view_of_parallel_agents_does_not_tell_which_was_faster():
    forward, backward = (tree_of(parallel(ids)) for ids in (list(range(1, 61)), list(range(60, 0, -1))))

    assert bundle(forward, volatile=False) == bundle(backward, volatile=False)


def test_of_many_sub_agents_of_a_step_the_first_are_shown_and_the_others_counted():
    tree = tree_of(parallel(list(range(1, 1_001)), finished=False))

    html, text = as_html(tree), as_text(tree)

    Page(html)
    assert [html.count("<summary>agent 0."), text.count("    agent 0.")] == [8, 8]
    assert "agent 0.7: Question 7? · final · 2 steps" in text
    assert "agent 0.8: Question 8? · at work · 2 steps" in text
    assert "    … 992 more agents, 248 at work" in text.split("\n")
    assert "… 992 more agents, 248 at work" in html


def test_the_agents_of_the_newest_steps_are_shown_first():
    events: list[Event] = [agent_started()]
    for n in range(1, 101):
        events += [*step(n, "ask", "x"), agent_started(f"0.{n}", "0", "?", in_step=n)]

    text = as_text(tree_of(events))

    shown = [line.split()[1] for line in text.split("\n") if line.startswith("    agent ")]
    assert shown == [f"0.{n}:" for n in range(78, 101)]
    assert text.count("… 1 more agent") > 0


def test_agents_in_a_ring_are_shown_once():
    ids = [("0", None), ("1", "2"), ("2", "1")]

    text = as_text(tree_of([agent_started(id, caller, f"I am {id}", in_step=None) for id, caller in ids]))

    assert [text.count(f"I am {id}") for id, _ in ids] == [1, 1, 1]


def drawing_s(tree: Tree) -> float:
    """Of CPU, at best."""
    found = []
    for _ in range(5):
        begun = time.thread_time()
        bundle(tree)
        found.append(time.thread_time() - begun)
    return min(found)


def test_drawing_a_thousand_agents_costs_little_more_than_drawing_thirty():
    thousand, thirty = (tree_of(parallel(list(range(1, number + 1)))) for number in (1_000, 30))

    # 5 times, 3 ms. Were each of them drawn, it would be 40 times.
    assert drawing_s(thousand) < 12 * drawing_s(thirty)


def test_a_view_of_nothing_is_no_error():
    assert (as_text(Tree(), times=False), Page(as_html(Tree())).text) == (
        "RLM · empty · 0 steps · 0 model calls · 0 tokens · $0.0000",
        ["RLM · empty · 0 steps · 0 model calls · 0 tokens · $0.0000"],
    )


def test_drawing_three_hundred_steps_costs_little_more_than_drawing_ten():
    def tree(steps: int) -> Tree:
        events = [run_started(), agent_started()]
        for n in range(1, steps + 1):
            source, out = "x = 1\n" * 40, stream("line\n" * 400)
            events += step(n, fenced(source), source, (out,), calls=call(n, "p", "r", in_step=n))
        return tree_of(events)

    # 5 times, 5 ms. Were each of them drawn whole, it would be 29 times.
    assert drawing_s(tree(300)) < 12 * drawing_s(tree(10))


def test_the_table_has_a_row_for_each_call_and_their_sum():
    headers, rows = usage_table(tree_of(whole_run()))

    assert headers == (
        "agent", "call", "model", "in", "out", "cached", "reasoning", "cost", "first token", "seconds", "retries"
    )  # fmt: skip
    assert rows == [
        ("0", "step 1", "demo-1", "100", "20", "64", "–", "$0.001", "0.10", "0.50", "0"),
        ("0", "step 2", "demo-1", "100", "20", "64", "–", "$0.001", "0.10", "0.50", "0"),
        ("0", "llm_query 1 in step 2", "demo-1", "7", "3", "–", "–", "–", "–", "0.20", "1"),
        ("0", "step 3", "demo-1", "100", "20", "64", "–", "$0.001", "0.10", "0.50", "0"),
        ("total", "4", "", "307", "63", "192", "–", "–", "", "2.50", ""),
    ]


def test_calls_without_a_reply_are_in_the_table_with_what_became_of_them():
    failed = AskFailed(
        agent="0",
        step=1,
        kind="server",
        message="500",
        attempts=(Attempt("server", 500, 1.0), Attempt("server", 500, 2.0)),
    )
    waiting = CallStarted(agent="0", step=None, call=1, prompt="p", model="m", request_sha="0" * 64)

    _, rows = usage_table(tree_of([agent_started(), *step(1, "")[:1], failed, waiting]))

    assert rows == [
        ("0", "step 1 (server)", "scripted:demo.py", *["–"] * 7, "2"),
        ("0", "llm_query 1 (asking)", "m", *["–"] * 8),
        ("total", "1", "", "0", "0", "–", "–", "$0.0000", "", "3.00", ""),
    ]


@pytest.mark.parametrize(
    ("cost_usd", "said"),
    [(0.0, "$0.0000"), (0.0000012, "$1.2e-06"), (0.00123, "$0.00123"), (1.5, "$1.5000"), (None, "–")],
)
def test_a_small_cost_is_not_rounded_to_nothing_and_an_unknown_one_is_not_zero(cost_usd: float | None, said: str):
    _, rows = usage_table(tree_of([agent_started(), *step(1, "a", usage=Usage(1, 1, cost_usd=cost_usd))]))

    assert [row[7] for row in rows] == [said, said]


def test_a_table_of_thousands_of_calls_is_cut_and_its_sum_is_not():
    many = [one for n in range(1, 2_001) for one in call(n, "p", "r", in_step=None)]
    tree = tree_of([agent_started(), *many, agent_finished(), run_finished()])

    text = usage_text(tree).split("\n")

    assert len(text) == 502
    assert (text[-2].split()[:4], text[-1]) == (
        ["total", "2,000", "14,000", "6,000"],
        "… 1,501 more calls, all in the sum",
    )
    assert len(usage_table(tree)[1]) == 2_001


def test_the_table_as_text_and_as_html_has_the_same_cells():
    tree = tree_of(whole_run())

    found = usage_bundle(tree)

    headers, rows = usage_table(tree)
    cells = [cell for row in (headers, *rows) for cell in row if cell]
    assert Page(found["text/html"]).text == cells
    assert found["text/plain"].split("\n")[0].split("  ")[0] == "agent"
    assert all(cell in found["text/plain"] for cell in cells)


def test_the_table_of_agents_says_who_asked_each_and_what_it_took_alone_and_in_all():
    headers, rows = agents_table(tree_of(recursive_run()))

    context = "str of 12 characters: 'a\\nb\\nc'"
    assert headers == (
        "agent", "asked by", "question", "context", "ended", "steps", "calls",
        "tokens self", "tokens total", "cost self", "cost total", "seconds self", "seconds total",
    )  # fmt: skip
    assert [row[3] for row in rows] == [context] * 6
    assert [row[:3] + row[4:] for row in rows] == [
        ("0", "", "How many lines?", "final", "1", "1", "120", "480", "$0.001", "$0.004", "7.00", "27.00"),
        ("0.1", "agent 0, step 1", "Which?", "final", "1", "1", "120", "240", "$0.001", "$0.002", "7.00", "12.00"),
        ("0.1.1", "agent 0.1, step 1", "Why?", "final", "1", "1", "120", "120", "$0.001", "$0.001", "5.00", "5.00"),
        ("0.2", "agent 0, step 1", "And this?", "interrupted", *"0000", "$0.0000", "$0.0000", "17.00", "17.00"),
        ("0.3", "agent 0, step 1", "Or that?", "error", *"0100", "$0.0000", "$0.0000", "13.00", "13.00"),
        ("0.10", "agent 0, a person's cell", "What now?", "text", *"11", *["120"] * 2, *["$0.001"] * 2, *["3.00"] * 2),
    ]


def test_the_table_of_agents_as_text_and_as_html_has_the_same_cells():
    tree = tree_of(recursive_run())

    found = agents_bundle(tree)

    headers, rows = agents_table(tree)
    cells = [cell for row in (headers, *rows) for cell in row if cell]
    assert Page(found["text/html"]).text == cells
    assert all(cell in found["text/plain"] for cell in cells)


def test_a_table_of_a_thousand_agents_is_cut():
    tree = tree_of(parallel(list(range(1, 1_001))))

    text = agents_text(tree).split("\n")

    assert (len(text), text[-1], len(agents_table(tree)[1])) == (502, "… 501 more agents", 1_001)
    assert agents_text(Tree()).split()[0] == "agent"
