"""Two runs side by side: which step is which, where they part, and `jupyter rlm diff`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel.cli.diff import Diff
from rlm_kernel.trace import file, matching
from rlm_kernel.trace.alignment import align
from rlm_kernel.trace.events import (
    AgentFinished,
    AgentStarted,
    AskFailed,
    CallFinished,
    CallStarted,
    CellFinished,
    CellStarted,
    Event,
    Given,
    Replied,
    RunFinished,
    RunStarted,
)
from rlm_kernel.trace.matching import match
from rlm_kernel.trace.nodes import Step
from rlm_kernel.trace.partings import Parting
from rlm_kernel.values import CellError, Usage
from tests.sample_run import (
    EVENTS,
    agent_finished,
    agent_started,
    call,
    fenced,
    recursive_run,
    run_started,
    shown,
    step,
    stream,
    tree_of,
    whole_run,
)


def diff(capsys: pytest.CaptureFixture[str], tmp_path: Path, a: list[Event], b: list[Event], *options: str):
    paths = tmp_path / "a.ipynb", tmp_path / "b.ipynb"
    for path, events in zip(paths, (a, b), strict=True):
        file.write(tree_of(events), path)
    with pytest.raises(SystemExit) as ended:
        Diff.launch_instance([*map(str, paths), *options])
    Diff.clear_instance()
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def run_of(*cells: str, first: int = 1) -> list[Event]:
    events: list[Event] = [run_started(), agent_started()]
    for number, source in enumerate(cells, first):
        events += step(number, fenced(source), source, (stream(f"{source} ran\n"),))
    return [*events, agent_finished()]


def changed(events: list[Event], kind: type, **fields: object) -> list[Event]:
    """The last event of that kind with other fields."""
    at = max(at for at, event in enumerate(events) if isinstance(event, kind))
    return [*events[:at], replace(events[at], **fields), *events[at + 1 :]]


def partings(a: list[Event], b: list[Event]) -> list[Parting]:
    return list(align(tree_of(a), tree_of(b)).partings)


def numbers(left: str, right: str) -> list[tuple[int | None, int | None]]:
    sides = [[Step(n, source=source) for n, source in enumerate(side, 1)] for side in (left, right)]
    return [pair.numbers for pair in match(*sides)]


def test_a_step_more_does_not_make_all_that_follow_differ():
    assert numbers("abcd", "axbcd") == [(1, 1), (None, 2), (2, 3), (3, 4), (4, 5)]
    assert numbers("axbcd", "abcd") == [(1, 1), (2, None), (3, 2), (4, 3), (5, 4)]
    assert partings(run_of("a", "b", "c"), run_of("a", "new", "b", "c")) == [
        Parting("0", None, 2, "step", "not there", "new")
    ]


def test_an_edited_step_is_paired_with_what_it_was():
    assert numbers("abc", "axc") == [(1, 1), (2, 2), (3, 3)]
    assert numbers("abcde", "xbyzd") == [(1, 1), (2, 2), (3, 3), (None, 4), (4, 5), (5, None)]


@given(st.text("abc", max_size=12), st.text("abc", max_size=12))
def test_every_step_is_paired_once_in_order_and_as_many_the_same_as_can_be(left, right):
    pairs = numbers(left, right)

    assert [a for a, _ in pairs if a is not None] == list(range(1, len(left) + 1))
    assert [b for _, b in pairs if b is not None] == list(range(1, len(right) + 1))
    longest = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            longest[i + 1][j + 1] = longest[i][j] + 1 if a == b else max(longest[i][j + 1], longest[i + 1][j])
    assert sum(1 for a, b in pairs if a and b and left[a - 1] == right[b - 1]) >= longest[-1][-1]


def test_agents_of_very_many_steps_are_paired_by_their_place(monkeypatch):
    monkeypatch.setattr(matching, "MOST_PAIRS", 5)

    assert numbers("xabcy", "abcdw") == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]


def test_times_ids_tokens_prices_models_and_prose_make_no_difference():
    other = []
    for event in recursive_run():
        if isinstance(event, RunStarted):
            event = replace(event, run="another", model="m", versions={"python": "3.13.0"}, limits={}, door="python")
        elif isinstance(event, AgentStarted):
            event = replace(event, model="m", isolation="thread")
        elif isinstance(event, Replied):
            text = event.text.replace("Deeper", "Further down")
            event = replace(event, text=text, model="m", usage=Usage(1, 2), seconds=9.0, first_token_s=None)
        elif isinstance(event, (CellFinished, AgentFinished)):
            event = replace(event, seconds=9.0)
        other.append(event)

    assert partings(recursive_run(), other) == []


def test_addresses_of_objects_make_no_difference():
    one = [*run_of("a"), agent_finished(answer="<object at 0x7f224346c6c0>")]
    two = [*run_of("a"), agent_finished(answer="<object at 0x7f0000000000>")]

    assert partings(one, two) == []


@pytest.mark.parametrize(
    ("kind", "fields", "what"),
    [
        (AgentStarted, {"question": "Else?"}, "question"),
        (AgentStarted, {"context": "int 1"}, "context"),
        (CellStarted, {"source": "FINAL(n)"}, "cell"),
        (CellFinished, {"outputs": (stream("x"),)}, "output"),
        (CellFinished, {"error": CellError("E", "m", "E: m")}, "error"),
        (CellFinished, {"final": False}, "end"),
        (CallStarted, {"prompt": "is 3 many?"}, "prompt"),
        (CallFinished, {"text": "Yes."}, "completion"),
        (AgentFinished, {"answer": "int: 4"}, "answer"),
        (AgentFinished, {"ending": "limit"}, "ending"),
    ],
)
def test_what_was_asked_run_put_out_or_answered_makes_one(kind, fields, what):
    found = partings(whole_run(), changed(whole_run(), kind, **fields))

    assert [parting.what for parting in found] == [what]


def test_a_context_of_another_content_and_the_same_description_differs():
    one, two = (changed(run_of("a"), AgentStarted, context_sha=sha) for sha in ("1" * 64, "2" * 64))

    assert [parting.what for parting in partings(one, two)] == ["context"]
    assert partings(one, changed(run_of("a"), AgentStarted, context_sha=None)) == []


def test_a_variable_of_a_person_that_is_another_differs():
    one, two = ([*run_of("a"), Given(agent="0", name="df", description="3 rows", sha=sha)] for sha in ("1", "2"))

    assert [(found.what, found.left) for found in partings(one, two)] == [("given", "df: 3 rows")]
    assert [found.right for found in partings(one, run_of("a"))] == ["df: not given"]


@pytest.mark.parametrize("named", ["`df`: ", ""])
def test_older_records_name_every_variable_context_and_that_makes_no_difference(named):
    older, now, other = (
        [*run_of("a"), Given(agent="0", name="df", description=description)]
        for description in ("`context`: 3 rows", f"{named}3 rows", f"{named}4 rows")
    )

    assert partings(older, now) == partings(now, older) == []
    assert [(found.left, found.right) for found in partings(older, other)] == [("df: 3 rows", "df: 4 rows")]


def test_a_step_without_a_cell_is_compared_by_its_reply():
    one, two = ([agent_started(), *step(1, text)] for text in ("Four.", "Five."))

    assert partings(one, two) == [Parting("0", 1, 1, "reply", "Four.", "Five.")]


def test_a_model_call_that_failed_in_one_run_differs():
    one = [agent_started(), *step(1, fenced("f()"), "f()")]

    assert partings(one, [*one, AskFailed(agent="0", step=1, kind="server", message="500")]) == [
        Parting("0", 1, 1, "model call", "no failure", "failed: server")
    ]


def test_what_only_one_run_asked_is_told():
    one = [agent_started(), *step(1, fenced("f()"), "f()", calls=call(1, "a?", "a"))]
    two = [agent_started(), *step(1, fenced("f()"), "f()", calls=(*call(1, "a?", "a"), *call(2, "b?", "b")))]

    assert partings(one, two) == [Parting("0", 1, 1, "prompt", "not asked", "b?")]


def test_an_agent_that_only_one_run_has_is_told_once_and_not_step_by_step():
    without = [event for event in recursive_run() if getattr(event, "agent", "") not in ("0.1", "0.1.1")]

    found = align(tree_of(recursive_run()), tree_of(without))

    assert (found.only_left, found.only_right) == (("0.1", "0.1.1"), ())
    assert [(each.agent, each.what, each.right) for each in found.partings] == [
        ("0.1", "agent", "not there"),
        ("0.1.1", "agent", "not there"),
    ]


def test_the_first_divergence_is_where_the_run_parted_first():
    """The caller's output stands after what its sub-agent did, although the caller comes first in the tree."""
    other = [
        replace(event, source="FINAL(8)") if isinstance(event, CellStarted) and event.agent == "0.1.1" else event
        for event in recursive_run()
    ]
    at = max(at for at, event in enumerate(other) if isinstance(event, CellFinished) and event.agent == "0")
    other[at] = replace(other[at], outputs=(shown("8"),))

    assert [(each.agent, each.what) for each in partings(recursive_run(), other)] == [
        ("0.1.1", "cell"),
        ("0", "output"),
    ]


def test_a_run_that_was_cut_differs_where_it_stops():
    cut = [event for event in whole_run()[:-3] if not (isinstance(event, CellFinished) and event.step == 3)]

    found = partings(whole_run(), cut)

    assert [(each.left_step, each.what, each.right) for each in found] == [
        (3, "end", "not in this record"),
        (None, "ending", "no end in this record"),
        (None, "answer", "none"),
    ]


def test_runs_that_are_the_same_end_with_0(tmp_path, capsys):
    code, out, err = diff(capsys, tmp_path, whole_run(), whole_run())

    assert (code, err) == (0, "")
    assert "the same: every agent, question, cell, output and answer" in out


def test_tokens_alone_are_told_and_end_with_0(tmp_path, capsys):
    other = changed(whole_run(), Replied, usage=Usage(prompt_tokens=999, completion_tokens=1))

    code, out, _ = diff(capsys, tmp_path, whole_run(), other)

    assert code == 0
    assert ["tokens", "in", "307", "1,206"] in [line.split() for line in out.splitlines()]


def test_a_difference_ends_with_5_and_says_agent_step_and_both_sides(tmp_path, capsys):
    other = changed(whole_run(), CellStarted, source="FINAL(n + 2)")

    code, out, _ = diff(capsys, tmp_path, whole_run(), other)

    lines = out.splitlines()
    assert code == 5
    assert lines[2:5] == ["first divergence: agent 0, step 3: cell", "  -FINAL(n + 1)", "  +FINAL(n + 2)"]


def test_many_differences_are_bounded_and_all_shows_them(tmp_path, capsys):
    one, two = run_of(*"abcdefghijklmnopqrstuvwxyz"), run_of(*"ABCDEFGHIJKLMNOPQRSTUVWXYZ")

    _, cut, _ = diff(capsys, tmp_path, one, two)
    _, whole, _ = diff(capsys, tmp_path, one, two, "--all")

    assert "52 differences" in cut
    assert "… 32 more differences: --all shows them" in cut
    assert "agent 0, step 26: output" not in cut
    assert "agent 0, step 26: output" in whole
    assert "--all" not in whole


def test_json_has_the_first_divergence_all_of_them_and_the_figures_of_both(tmp_path, capsys):
    code, out, _ = diff(capsys, tmp_path, run_of("a", "b"), run_of("a", "x", "b"), "--json")

    data = json.loads(out)
    assert code == 5
    assert (data["same"], data["only_a"], data["only_b"]) == (False, [], [])
    assert data["first"] == data["differences"][0]
    assert data["first"] == {
        "agent": "0", "a_step": None, "b_step": 2, "what": "step", "a": "not there", "b": "x",
    }  # fmt: skip
    assert data["totals"]["steps"] == [2, 3]
    assert [each["numbers"] for each in data["agents"][0]["steps"]] == [[1, 1], [None, 2], [2, 3]]
    assert data["agents"][0]["steps"][1]["tokens_in"] == [None, 100]


def test_what_cannot_be_read_is_one_line_and_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        Diff.launch_instance([str(tmp_path / "a.ipynb"), "x"])
    Diff.clear_instance()

    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_agents_in_a_ring_and_very_deep_ones_are_aligned():
    ring = [agent_started("a", "b"), agent_started("b", "a"), agent_started("c", "c")]
    deep = [agent_started(), *(agent_started(f"d{n}", f"d{n - 1}" if n else "0") for n in range(1500))]

    assert partings(ring + deep, ring + deep) == []
    assert len(partings(ring, [*ring, *deep])) == 1501


@settings(deadline=None, max_examples=80)
@given(EVENTS, EVENTS)
def test_any_run_is_the_same_as_itself_and_any_two_are_aligned(one, two):
    assert align(tree_of(one), tree_of(one)).partings == ()

    both, back = align(tree_of(one), tree_of(two)), align(tree_of(two), tree_of(one))

    assert (both.first is None) == (back.first is None)
    assert (both.only_left, both.only_right) == (back.only_right, back.only_left)


@settings(deadline=None, max_examples=15)
@given(events=EVENTS)
def test_any_run_is_shown_beside_another(events):
    from rlm_kernel.cli.diff import _data, _lines
    from rlm_kernel.trace.loading import Trace
    from rlm_kernel.trace.views.terminal import painted

    one, two = Trace(tree_of(events)), Trace(tree_of(whole_run()))
    for a, b in ((one, two), (two, one), (one, one)):
        found = align(a.tree, b.tree)

        assert [painted(line) for line in _lines(a, b, found, True)]
        assert json.dumps(_data(a, b, found), allow_nan=False).encode("utf-8")


def test_the_events_of_a_run_need_no_end():
    assert [
        each.what for each in partings(whole_run(), [e for e in whole_run() if not isinstance(e, RunFinished)])
    ] == []
