"""Whether two cells put out the same: what a reader would not call a difference is none, and every other is shown."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel.trace.comparing import (
    SHOWN_CHARS,
    Difference,
    canonical,
    difference,
    loose_difference,
    text_of,
    unified,
)
from rlm_kernel.values import CellError, Output
from tests.sample_run import JSON, shown, stream

QUICK = settings(max_examples=150, deadline=None)


def raised(name: str = "ValueError", message: str = "bad", *frames: str) -> Output:
    return {"output_type": "error", "ename": name, "evalue": message, "traceback": list(frames)}


def display(data: Any, metadata: Any = None) -> Output:
    return {"output_type": "display_data", "data": data, "metadata": metadata or {}}


@pytest.mark.parametrize(
    ("recorded", "came"),
    [
        ((), ()),
        ((stream("a"), stream("b\n"), stream("c")), (stream("ab\nc"),)),
        ((stream("a"), stream("", "stderr"), stream("b")), (stream("ab"),)),
        ((stream(""),), ()),
        ((stream("\x1b[0m"),), ()),
        ((stream("\x1b[31mred\x1b[0m\r\n"),), (stream("red\n"),)),
        ((stream("\x1b[3"), stream("1mred")), (stream("red"),)),
        ((shown("3", 7),), (shown("3", None),)),
        ((shown("<f at 0x7f00aa11bb22>"),), (shown("<f at 0x10ffee998877>"),)),
        ((stream(["a\n", "b"]),), (stream("a\nb"),)),  # type: ignore[arg-type]
        ((display({"text/html": ["<b>\n", "x"]}),), (display({"text/html": "<b>\nx"}),)),
        ((display({"image/png": "iVBOR", "text/plain": "x"}),), (display({"image/png": "other", "text/plain": "x"}),)),
        ((display({"text/plain": "x"}, {"a": 1}),), (display({"text/plain": "x"}, {"b": 2}),)),
        ((raised("E", "m", "frame 1"),), (raised("E", "m", "frame 1", "frame 2"),)),
        ((display({"application/json": [1, [2], None]}),), (display({"application/json": (1, (2,), math.nan)}),)),
        ((display({"1": "<object>"}),), (display({1: object()}),)),
        ((shown("\ufffd"),), (shown("\ud800"),)),
    ],
)
def test_what_differs_though_nothing_changed_is_no_difference(
    recorded: tuple[Output, ...], came: tuple[Output, ...]
) -> None:
    assert difference(recorded, came) is None
    assert difference(came, recorded) is None


@pytest.mark.parametrize(
    ("recorded", "came", "told"),
    [
        ((stream("a\n"),), (stream("b\n"),), ("a", "b")),
        ((stream("a"),), (), ("a", "")),
        ((), (shown("3"),), ("", "3")),
        ((stream("one\ntwo\nthree"),), (stream("one\n2\nthree"),), ("one\ntwo\nthree", "one\n2\nthree")),
        ((stream("1\n2\n3\n4"),), (stream("1\n2\n3\n5"),), ("…3\n4", "…3\n5")),
        ((display({"image/png": "x"}),), (display({"image/svg+xml": "x"}),), ("<image/png>", "<image/svg+xml>")),
        ((display({}),), (), ("<display_data>", "")),
    ],
)
def test_a_difference_shows_both_sides_from_where_they_part(
    recorded: tuple[Output, ...], came: tuple[Output, ...], told: tuple[str, str]
) -> None:
    assert difference(recorded, came) == Difference("output", *told)


@pytest.mark.parametrize(
    ("recorded", "came"),
    [
        ((stream("x"),), (stream("x", "stderr"),)),
        ((shown("x"),), (display({"text/plain": "x"}),)),
        ((stream("x"),), (shown("x"),)),
        ((stream("x\n"),), (stream("x"),)),
        ((display({"text/plain": "x", "text/html": "a"}),), (display({"text/plain": "x", "text/html": "b"}),)),
        ((display({"application/json": {"a": 1}}),), (display({"application/json": {"a": 2}}),)),
        ((display({"text/plain": "x", "text/html": "a"}),), (display({"text/plain": "x"}),)),
        ((stream("a"), stream("b", "stderr"), stream("c")), (stream("ac"), stream("b", "stderr"))),
    ],
)
def test_what_reads_alike_and_is_not_the_same_shows_in_what_it_differs(
    recorded: tuple[Output, ...], came: tuple[Output, ...]
) -> None:
    found = difference(recorded, came)

    assert found is not None
    assert found.what == "output"
    assert found.recorded != found.came


def test_errors_are_compared_by_name_and_message_wherever_they_stand() -> None:
    error = CellError("ValueError", "bad at 0x7f00aa11bb22", "Traceback …")
    again = CellError("ValueError", "bad at 0x123456789abc", "")

    assert difference([stream("a")], [stream("a"), raised("ValueError", "bad at 0x1234567")], error) is None
    assert difference([], [], error, again) is None
    assert difference([raised()], [raised()], CellError("ValueError", "bad", ""), None) is None
    assert difference([], [raised()]) == Difference("error", "no error", "ValueError: bad")
    assert difference([raised()], [raised("KeyError")]) == Difference("error", "ValueError: bad", "KeyError: bad")
    both = Difference("output", "a\nValueError: bad", "b\nKeyError: bad")
    assert difference([stream("a"), raised()], [stream("b"), raised("KeyError")]) == both


def test_where_long_messages_part_is_shown() -> None:
    found = difference([raised("E", "x" * 3_000 + "y" + "x" * 3_000)], [raised("E", "x" * 6_001)])

    assert found is not None
    assert "xyx" in found.recorded
    assert "y" not in found.came
    assert len(found.recorded) < SHOWN_CHARS + 60


TEXTS = st.text("ab\n\r\x1b[0m é", max_size=12) | st.text("ab\n", min_size=300, max_size=900)
ANY_OUTPUT = st.one_of(
    st.builds(stream, TEXTS, st.sampled_from(["stdout", "stderr"])),
    st.builds(shown, TEXTS, st.none() | st.integers(0, 3)),
    st.builds(display, st.dictionaries(st.sampled_from(["text/plain", "text/html", "application/json"]), JSON | TEXTS)),
    st.builds(raised, TEXTS, TEXTS),
)
OUTPUTS = st.lists(ANY_OUTPUT, max_size=4)
ERRORS = st.none() | st.builds(CellError, TEXTS, TEXTS, TEXTS)


@given(OUTPUTS, ERRORS)
@QUICK
def test_nothing_differs_from_itself(outputs: list[Output], error: CellError | None) -> None:
    assert difference(outputs, outputs, error, error) is None
    text = text_of(outputs)
    assert loose_difference(text, text) is None
    assert loose_difference(text[-5:], text, tail=True) is None


@given(OUTPUTS, OUTPUTS, ERRORS, ERRORS)
@QUICK
def test_a_difference_goes_both_ways_shows_different_sides_and_no_more_than_can_be_read(
    recorded: list[Output], came: list[Output], before: CellError | None, now: CellError | None
) -> None:
    found = difference(recorded, came, before, now)
    back = difference(came, recorded, now, before)

    assert (found is None) == (back is None)
    if found is not None and back is not None:
        assert (found.what, found.recorded, found.came) == (back.what, back.came, back.recorded)
        assert found.recorded != found.came
        assert max(len(found.recorded), len(found.came)) < SHOWN_CHARS + 60


@given(st.lists(TEXTS, max_size=5))
@QUICK
def test_how_writes_were_cut_makes_no_difference(pieces: list[str]) -> None:
    assert difference([stream(piece) for piece in pieces], [stream("".join(pieces))]) is None


HOSTILE = st.one_of(JSON, st.builds(object), st.binary(max_size=3), st.dictionaries(st.integers() | st.none(), JSON))


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["output_type", "text", "name", "data", "metadata", "ename"]), HOSTILE)
        | st.builds(
            lambda kind, value: {"output_type": kind, "text": value, "data": value, "ename": value},
            *[st.sampled_from(["stream", "error", "display_data", "execute_result", "of_tomorrow"]), HOSTILE],
        ),
        max_size=3,
    )
)
@QUICK
def test_no_output_whatever_raises(outputs: list[Any]) -> None:
    difference(outputs, [stream("x")])
    text_of(outputs)
    assert canonical(outputs) == canonical(outputs)
    assert difference(outputs, outputs) is None


def test_megabytes_are_compared_in_a_moment() -> None:
    text = "a line of an output\n" * 100_000
    begun = time.thread_time()

    found = difference([stream(text + "x")], [stream(text + "y")])

    assert time.thread_time() - begun < 5
    assert found is not None
    assert (found.recorded[-2:], found.came[-2:]) == ("\nx", "\ny")


def test_the_text_of_outputs_is_what_a_person_reads() -> None:
    outputs = [stream("a\n"), stream("b\n", "stderr"), shown("3", 1), display({"image/png": "x"}), raised("E", "m")]

    assert text_of(outputs) == "a\nb\n3\n<image/png>\nE: m"
    assert text_of([], CellError("E", "m", "t")) == "E: m"
    assert text_of([raised("E", "m")], CellError("E", "m", "t")) == "E: m"
    assert text_of([]) == ""


def test_a_log_with_one_text_for_all_is_compared_as_one() -> None:
    assert loose_difference("a\nb", "a\nb\n") is None
    assert loose_difference("  \x1b[1ma at 0x7f00aa11bb22", "a at 0x112233") is None
    assert loose_difference("a", "b") == Difference("output", "a", "b")
    assert loose_difference("b", "a\nb", tail=True) is None
    assert loose_difference("a\nb", "b", tail=True) == Difference("output", "a\nb", "b")
    assert loose_difference("", "anything", tail=True) is None


def test_of_an_error_in_such_a_log_the_last_line_is_compared() -> None:
    recorded = 'x\nTraceback (most recent call last):\n  File "<string>", line 3\nKeyError: 7\n'

    assert loose_difference(recorded, "KeyError: 7") is None
    assert loose_difference(recorded, "frames\nKeyError: 7") is None
    assert loose_difference(recorded, "KeyError: 8") is not None
    assert loose_difference(recorded, "") is not None


def test_lines_that_differ_are_shown_as_diff_shows_them() -> None:
    assert unified("a\nb\nc\nd", "a\nB\nc\nd", context=1) == "--- recorded\n+++ now\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c"
    assert unified("a", "a") == ""


BAR = "\r  0%|          | 0/3 [00:00<?, ?it/s]\r100%|██████████| 3/3 [00:00<00:00, 61380.06it/s]\n"
SLOW = (
    "\r  0%|          | 0/3 [00:00<?, ?it/s]\r 33%|███▎      | 1/3 [00:01<00:02,  1.20s/it]"
    "\r100%|██████████| 3/3 [00:03<00:00,  1.10s/it]\n"
)


@pytest.mark.parametrize(
    ("recorded", "came"),
    [
        (BAR, SLOW),
        (f"begin\n{BAR}end\n", f"begin\n{SLOW}end\n"),
        ("\rx: 0.00B [00:00, ?B/s]\rx: 2.00B [00:00, 9.77kB/s]\n", "\rx: 2.00B [01:02:03, 33.3B/s]\n"),
        (f"\n{BAR}\x1b[A\n\r        \x1b[A", f"\n{SLOW}\n{SLOW}\x1b[A\n\r        \x1b[A"),
        ("\r3/3 [00:00<00:00, 9.77it/s, loss=1]", "\r3/3 [00:01<00:00, 1.50s/it, loss=1]"),
    ],
)
def test_of_a_progress_bar_its_times_its_rate_and_how_often_it_was_drawn_are_no_difference(
    recorded: str, came: str
) -> None:
    assert difference([stream(recorded, "stderr")], [stream(came, "stderr")]) is None


@pytest.mark.parametrize(
    ("recorded", "came"),
    [
        (BAR, SLOW.replace("3/3", "3/4")),
        (f"{BAR}\nfirst\n{BAR}", f"{BAR}\nother\n{BAR}"),
        ("\r3/3 [00:00<00:00, 9.77it/s, loss=1]", "\r3/3 [00:01<00:00, 1.50s/it, loss=2]"),
        (BAR, ""),
        ("at [00:01]", "at [00:02]"),
    ],
)
def test_of_a_progress_bar_all_else_is(recorded: str, came: str) -> None:
    assert difference([stream(recorded, "stderr")], [stream(came, "stderr")]) is not None


def test_the_name_of_a_widget_is_no_difference() -> None:
    mime = "application/vnd.jupyter.widget-view+json"
    first, second = ({mime: {"model_id": id}, "text/plain": "IntProgress()"} for id in ("a1", "b2"))

    assert difference([display(first)], [display(second)]) is None


@pytest.mark.parametrize("text", ["[" * 300_000, "[00:00, " + "1" * 300_000, "[" + "1:" * 200_000, BAR * 20_000])
def test_no_text_is_too_much_to_look_for_bars_in(text: str) -> None:
    begun = time.thread_time()

    canonical([stream(text)])

    assert time.thread_time() - begun < 5
