from __future__ import annotations

import itertools
import sys
import time
import tracemalloc
import types
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel.environment.within import repr_within
from rlm_kernel.errors import ContextBudgetExceeded, UsageError
from rlm_kernel.preview import estimate_tokens
from rlm_kernel.store import Glance, Store, set_glance
from rlm_kernel.window import ReadBudget, Window, as_text, glance, read

LINES = "\n".join(f"line {number}" for number in range(1, 1_001))
FRAME = pd.DataFrame({"a": range(1_000), "b": [f"word {i}" for i in range(1_000)]})


def _text(value: object, max_tokens: int | None = 100, **asked: Any) -> str:
    window = as_text(value, max_tokens=max_tokens, show=repr_within, **asked)
    assert window.tokens == estimate_tokens(window.text)
    assert max_tokens is None or window.tokens <= max_tokens
    assert window.whole
    return window.text


# What fits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("", ""),
        (
            "NUL \x00, half \ud800, \x1b[31mred\x1b[0m, right to left \u202e\r\n",
            "NUL \\x00, half \\ud800, red, right to left \\u202e\n",
        ),
        (b"text \xc3\xa9 and \xff\x00", "text é and \\xff\\x00"),
        (bytearray(b"abc"), "abc"),
        (5, "5"),
        (None, "None"),
        (["a", 1], "['a', 1]"),
        ({"a": [1, 2]}, "{'a': [1, 2]}"),
        (range(10**12), "range(0, 1000000000000)"),
        (pd.DataFrame({"a": [1, 2], "b": ["x\ny", None]}, index=["p", "q"]), "| a | b\np | 1 | x\\ny\nq | 2 | nan"),
        (pd.Series([1.5, 2.0], index=["p", "q"]), "p | 1.5\nq | 2.0"),
        (pd.Index([3, 4]), "[0] 3\n[1] 4"),
        (np.array([1, 2]), "[0] 1\n[1] 2"),
        (np.array([[1, 2], [3, 4]]), "[0] 1 | 2\n[1] 3 | 4"),
        (np.array(7), "array(7)"),
        (pd.DataFrame({"a": []}), "| a"),
        (np.zeros(0), ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_fits_is_shown_whole(value: object, text: str) -> None:
    assert _text(value) == text


def test_a_subclass_of_str_is_read_past_its_own_methods() -> None:
    class Lying(str):
        def _refuse(self, *args: object) -> Any:
            raise AssertionError("its own code ran")

        __len__ = __getitem__ = __str__ = __repr__ = find = count = encode = rfind = _refuse

    assert _text(Lying("abc\ndef"), lines=(2, 2)) == "def"


# What does not


def test_a_long_text_is_cut_to_head_and_tail_and_says_what_is_between() -> None:
    window = as_text(LINES, max_tokens=100)

    head, between, tail = window.text.partition("\n[... ")
    hidden, _, tail = tail.partition(" not shown; chars=")
    ends, _, tail = tail.partition(") ...]\n")
    start, stop = (int(end) for end in ends.strip("(").split(", "))
    assert LINES.startswith(head)
    assert LINES.endswith(tail)
    assert (len(head) + len(between[:1]), len(LINES) - len(tail)) == (start, stop)
    assert hidden == f"{stop - start:,} of {len(LINES):,} characters"
    assert _text(LINES, None, chars=(start, stop)) == LINES[start:stop]
    assert (window.whole, window.whole_tokens, 80 < window.tokens <= 100) == (False, estimate_tokens(LINES), True)


@given(
    st.one_of(
        st.text(max_size=4_000),
        st.binary(max_size=4_000),
        st.lists(st.text(max_size=200), max_size=60),
        st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=8), st.integers(1, 50_000)),
        st.dictionaries(st.text(max_size=10), st.integers() | st.lists(st.floats()), max_size=60),
    ),
    st.integers(0, 300),
    st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_a_window_never_holds_more_tokens_than_it_may(value: Any, max_tokens: int, by_rows: bool) -> None:
    rows = {"rows": (0, None)} if by_rows and isinstance(value, list | dict) else {}

    window = as_text(value, max_tokens=max_tokens, **rows)

    assert window.tokens == estimate_tokens(window.text) <= max_tokens
    assert window.whole == (window.tokens == window.whole_tokens)
    assert window.whole or window.whole_tokens > max_tokens
    assert window.whole == (estimate_tokens(as_text(value, max_tokens=None, **rows).text) <= max_tokens)


@pytest.mark.parametrize(
    "value",
    [
        LINES,
        LINES.encode(),
        [LINES] * 50,
        dict.fromkeys(range(50), LINES),
        FRAME,
        FRAME["b"],
        np.arange(10_000),
        np.zeros((300, 300)),
        np.zeros((30, 30, 30)),
        pd.DataFrame(np.zeros((40, 3_000))),
        list(range(100_000)),
        pd.DataFrame({"long": ["word " * 100_000] * 3}),
        {"deep": [[[LINES]]]},
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("max_tokens", [60, 800])
def test_any_large_object_makes_progress_with_max_tokens(value: object, max_tokens: int) -> None:
    window = as_text(value, max_tokens=max_tokens, show=repr_within)

    assert 0.4 * max_tokens < window.tokens <= max_tokens
    assert not window.whole
    assert window.whole_tokens > max_tokens
    assert any(mark in window.text for mark in ("not shown", "…", "..."))


def test_bytes_are_not_cut_within_a_character() -> None:
    for before in range(3):
        text = as_text(b"x" * before + "€".encode() * 100_000, max_tokens=150).text

        assert "\\x" not in text
        assert text.count("€") > 20


def test_a_frame_is_cut_between_rows_and_says_which() -> None:
    text = as_text(FRAME, max_tokens=100).text.split("\n")

    assert text[:3] == ["| a | b", "0 | 0 | word 0", "1 | 1 | word 1"]
    assert text[-1] == "999 | 999 | word 999"
    [between] = [number for number, line in enumerate(text) if "not shown" in line]
    start, stop = between - 1, 1_000 - (len(text) - between - 1)
    assert text[between] == f"[... {stop - start} of 1,000 rows not shown; rows=({start}, {stop}) ...]"


def test_a_polars_frame_is_read_by_its_own_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    class DataFrame:  # polars is not installed for the tests: these are the four names of it that are used
        height, width, columns = 1_000, 2, ("a", "b")

        def __getitem__(self, key: tuple[slice, slice]) -> types.SimpleNamespace:
            rows, columns = key
            found = [(i, f"word {i}")[columns] for i in range(1_000)[rows]]
            return types.SimpleNamespace(rows=lambda: found)

    module = types.ModuleType("polars")
    module.DataFrame = DataFrame  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "polars", module)

    assert _text(DataFrame(), rows=(998, None)) == "| a | b\n[998] 998 | word 998\n[999] 999 | word 999".replace(
        "| a", "| a"
    )
    assert "rows not shown" in as_text(DataFrame(), max_tokens=100).text
    assert glance(DataFrame()) == Glance("1,000 x 2", None, "a, b")


# Slices


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"lines": (2, 3)}, "b\nc"),
        ({"lines": (1, 1)}, "a"),
        ({"lines": (3, 4)}, "c\nd"),
        ({"lines": (4, 99)}, "d"),
        ({"lines": (4, 4)}, "d"),
        ({"lines": (None, 1)}, "a"),
        ({"lines": (3, None)}, "c\nd"),
        ({"lines": (-2, -1)}, "c\nd"),
        ({"lines": (-99, 1)}, "a"),
        ({"chars": (0, 3)}, "a\nb"),
        ({"chars": (-2, None)}, "d\n"),
        ({"chars": (2, 2)}, ""),
        ({"chars": (5, 10**12)}, "\nd\n"),
        ({"chars": [0, 1]}, "a"),
    ],
)
@pytest.mark.parametrize("of", [str, str.encode, lambda text: bytearray(text.encode())])
def test_lines_count_from_one_with_both_ends_and_chars_as_pythons_slices(asked: Any, text: str, of: Any) -> None:
    assert _text(of("a\nb\nc\nd\n"), **asked) == text


@given(st.text("ab\n", max_size=30), st.integers(-8, 8), st.integers(-8, 8))
def test_lines_are_those_of_split(text: str, first: int, last: int) -> None:
    lines = text.removesuffix("\n").split("\n") if text else []
    begin = first if first > 0 else max(1, len(lines) + 1 + first)
    end = last if last >= 0 else len(lines) + 1 + last

    if 0 in (first, last) or end < begin or begin > max(1, len(lines)):
        with pytest.raises(UsageError):
            as_text(text, max_tokens=None, lines=(first, last))
    else:
        shown = as_text(text, max_tokens=None, lines=(first, last)).text
        assert shown == "\n".join(lines[begin - 1 : end])


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(-15, 15), st.integers(-15, 15))
def test_rows_and_chars_are_those_of_pythons_slices(items: list[int], first: int, last: int) -> None:
    text = "".join(map(str, items))
    start, stop, _ = slice(first, last).indices(len(items))
    for value, kind in ((text, "chars"), (items, "rows"), (np.array(items), "rows")):
        if stop < start or first > len(items) or (first == len(items) and items):
            with pytest.raises(UsageError):
                as_text(value, max_tokens=None, **{kind: (first, last)})  # type: ignore[arg-type]
        else:
            shown = as_text(value, max_tokens=None, **{kind: (first, last)}).text  # type: ignore[arg-type]
            rows = [f"[{number}] {items[number]}" for number in range(start, stop)]
            assert shown == (text[first:last] if kind == "chars" else "\n".join(rows))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([10, "two\nlines", [1]], "[1] two\\nlines\n[2] [1]"),
        ((10, None, 5), "[1] None\n[2] 5"),
        (deque([1, 2, 3]), "[1] 2\n[2] 3"),
        ({"a": 1, "b": "text", "c": {"d": 1}}, "'b': text\n'c': {'d': 1}"),
        (pd.DataFrame({"x": [1, 2, 3]}), "| x\n1 | 2\n2 | 3"),
        (pd.Series([1, 2, 3]), "1 | 2\n2 | 3"),
        (np.arange(6).reshape(3, 2), "[1] 2 | 3\n[2] 4 | 5"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_rows_of_what_has_rows(value: object, text: str) -> None:
    assert _text(value, rows=(1, 3)) == text


@pytest.mark.parametrize(
    ("value", "asked", "said"),
    [
        ("abc", {"rows": (0, 1)}, r"str has no rows: lines=\(1, 40\) or chars=\(0, 2000\)"),
        ([1], {"lines": (1, 2)}, r"list has no lines: rows=\(0, 20\)"),
        (FRAME, {"chars": (1, 2)}, r"DataFrame has no chars: rows=\(0, 20\)"),
        (5, {"rows": (0, 1)}, "int has no rows: read it whole, or with max_tokens"),
        ("abc", {"lines": (0, 2)}, "lines count from 1"),
        ("abc", {"lines": (5, 2)}, r"lines=\(5, 2\) ends before it begins"),
        ("abc\n", {"lines": (2, 2)}, "begins behind the end: there is 1 line"),
        (LINES, {"lines": (1_001, 1_002)}, "begins behind the end: there are 1,000 lines"),
        ("abc", {"chars": (3, 4)}, r"chars=\(3, 4\) begins behind the end: there are 3 chars"),
        ("abc", {"chars": (2, 1)}, "ends before it begins"),
        (FRAME, {"rows": (1_000, None)}, "begins behind the end: there are 1,000 rows"),
        ("abc", {"chars": (0, 1), "lines": (1, 1)}, "lines and chars: give one of them"),
        ("abc", {"chars": 5}, r"chars takes two whole numbers: chars=\(20, 60\)"),
        ("abc", {"chars": (1, 2, 3)}, "chars takes two whole numbers"),
        ("abc", {"lines": (1.0, 2)}, "lines takes two whole numbers"),
        ("abc", {"lines": (True, 2)}, "lines takes two whole numbers"),
        ("abc", {"lines": "12"}, "lines takes two whole numbers"),
    ],
)
def test_a_slice_that_cannot_be_is_refused_with_the_mend(value: object, asked: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        as_text(value, max_tokens=100, show=repr_within, **asked)


# What it costs


@pytest.mark.parametrize("asked", [{}, {"lines": (1, 1)}, {"chars": (-150_000_000, None)}, {"lines": (-1, None)}])
def test_reading_200_mb_costs_what_is_shown(asked: Any) -> None:
    large = "The quick brown fox. " * 10_000_000
    tracemalloc.start()
    started = time.thread_time()
    try:
        window = as_text(large, max_tokens=800, **asked)
        with pytest.raises(ContextBudgetExceeded):
            read("large", large, ReadBudget(), **asked)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 700 < window.tokens <= 800
    assert window.whole_tokens > 30_000_000
    assert peak < 5_000_000
    assert time.thread_time() - started < 5


def test_reading_a_large_list_or_frame_costs_what_is_shown() -> None:
    numbers, frame = list(range(5_000_000)), pd.DataFrame({"a": np.arange(5_000_000)})
    _text(frame[:3])
    tracemalloc.start()
    try:
        for value in (numbers, frame, frame["a"], frame["a"].to_numpy()):
            assert as_text(value, max_tokens=200, rows=(0, None)).whole_tokens > 1_000_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10_000_000


def test_a_frame_of_very_many_columns_is_not_walked_through() -> None:
    wide = pd.DataFrame(np.zeros((4, 300_000)))
    started = time.thread_time()

    window = as_text(wide, max_tokens=200)

    assert "more columns" in window.text
    assert 1_000_000 < window.whole_tokens < 10_000_000
    assert time.thread_time() - started < 2


class Awkward:
    """Whose length raises and whose repr never ends."""

    def __init__(self) -> None:
        self.asked = 0

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __repr__(self) -> str:
        self.asked += 1
        Event().wait(60)
        return ""


def test_an_object_that_never_answers_is_named_and_asked_once() -> None:
    awkward = Awkward()

    text = _text(awkward, 200)

    assert text == "<Awkward object; its repr raised TimeoutError: took more than 1 s>"
    assert awkward.asked == 1
    with pytest.raises(UsageError, match="Awkward has no rows"):
        as_text(awkward, max_tokens=5, rows=(0, 1))


def test_an_object_with_a_long_repr_is_asked_once_and_cut() -> None:
    class Wordy:
        asked = 0

        def __repr__(self) -> str:
            Wordy.asked += 1
            return LINES

    window = as_text(Wordy(), max_tokens=100)

    assert window.text.startswith("line 1\nline 2\n")
    assert 60 < window.tokens <= 100
    assert Wordy.asked == 1


def test_a_frame_of_a_class_that_fails_says_so() -> None:
    class Broken(pd.DataFrame):
        @property
        def iloc(self) -> Any:
            raise RuntimeError("no rows today")

    with pytest.raises(
        UsageError, match="it cannot be read: <Broken object; its repr raised RuntimeError: no rows today>"
    ):
        as_text(Broken({"a": [1]}), max_tokens=50, show=repr_within)


def test_a_dict_that_another_thread_writes_to_can_be_read() -> None:
    value, stop = {f"k{i}": i for i in range(1_000)}, Event()

    def write() -> None:
        for i in itertools.count():
            if stop.is_set():
                return
            value[f"new {i % 5_000}"] = i
            value.pop(f"new {(i + 2_500) % 5_000}", None)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(write)
        try:
            for _ in range(20):
                assert as_text(value, max_tokens=100, rows=(0, 500)).tokens > 50
        finally:
            stop.set()


# The budget


def test_what_fits_is_read_whole_and_charged() -> None:
    budget = ReadBudget(max_tokens_per_read=50, max_read_tokens=100)

    window = read("greeting", "hello world", budget)

    assert window == Window("hello world", 3, True, 3)
    assert (budget.used, budget.left) == (3, 97)


def test_what_does_not_fit_in_one_read_is_refused_before_it_is_loaded_with_two_ways_on() -> None:
    budget = ReadBudget(max_tokens_per_read=50)

    with pytest.raises(ContextBudgetExceeded) as refused:
        read("contract", LINES, budget)

    error = refused.value
    assert (error.key, error.tokens, error.used, error.allowed) == ("contract", estimate_tokens(LINES), 0, 50)
    assert "max_tokens=50 shows head and tail, lines=(1, 40) or chars=(0, 50) a part" in str(error)
    assert budget.used == 0
    assert not read("contract", LINES, budget, max_tokens=50).whole
    assert read("contract", LINES, budget, lines=(1, 10)).whole
    assert read("contract", LINES, budget, chars=(0, 50)).whole
    with pytest.raises(ContextBudgetExceeded, match=r"rows=\(0, 20\) a part"):
        read("frame", FRAME, budget)


def test_a_slice_that_does_not_fit_is_refused_and_with_max_tokens_cut() -> None:
    budget = ReadBudget(max_tokens_per_read=50)

    with pytest.raises(ContextBudgetExceeded):
        read("contract", LINES, budget, lines=(1, 900))

    window = read("contract", LINES, budget, lines=(1, 900), max_tokens=50)
    assert window.text.startswith("line 1\n")
    assert window.text.endswith("line 900")


def test_max_tokens_beyond_what_one_read_may_give_are_cut_to_that() -> None:
    budget = ReadBudget(max_tokens_per_read=50)

    window = read("contract", LINES, budget, max_tokens=500)

    assert not window.whole
    assert 40 < window.tokens <= 50
    assert budget.used == window.tokens
    assert read("short", "hello", budget, max_tokens=500).whole


def test_the_budget_of_all_reads_is_named_when_that_is_what_is_short() -> None:
    budget = ReadBudget(max_tokens_per_read=50, max_read_tokens=52)
    first = read("contract", LINES, budget, max_tokens=50).tokens

    with pytest.raises(ContextBudgetExceeded) as refused:
        read("contract", LINES, budget, max_tokens=50)

    assert (refused.value.used, refused.value.allowed) == (first, 52)
    assert budget.used == first


@pytest.mark.parametrize("budget", [ReadBudget(0), ReadBudget(max_read_tokens=0)])
def test_a_budget_of_nothing_lets_nothing_through(budget: ReadBudget) -> None:
    for asked in ({}, {"max_tokens": 10}, {"chars": (0, 1)}):
        with pytest.raises(ContextBudgetExceeded, match="nothing more can be read"):
            read("contract", LINES, budget, **asked)  # type: ignore[arg-type]

    assert read("empty", "", budget).text == ""
    assert budget.used == 0


def test_without_limits_all_is_read() -> None:
    assert read("contract", LINES, ReadBudget(None)).text == LINES


@pytest.mark.parametrize("max_tokens", [0, -1, 1.5, "5", True])
def test_max_tokens_is_a_whole_number_from_one(max_tokens: Any) -> None:
    with pytest.raises(UsageError, match="give a whole number from 1 up"):
        read("a", "b", ReadBudget(), max_tokens=max_tokens)


@pytest.mark.parametrize("per_read", [2_000, None])
def test_max_tokens_that_have_no_room_for_any_part_say_so(per_read: int | None) -> None:
    with pytest.raises(ContextBudgetExceeded, match="max_tokens=3 has no room for any part of it") as refused:
        read("contract", LINES, ReadBudget(per_read), max_tokens=3)

    error = refused.value
    assert (error.tokens, error.used, error.allowed) == (estimate_tokens(LINES), 0, 3)


@pytest.mark.parametrize("name", ["max_tokens_per_read", "max_read_tokens"])
@pytest.mark.parametrize("value", [-1, 2.5, "2000", False])
def test_a_limit_that_is_none_is_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name}="):
        ReadBudget(**{name: value})


def test_a_charge_that_does_not_fit_counts_nothing() -> None:
    budget = ReadBudget(max_tokens_per_read=8, max_read_tokens=10)
    budget.charge("a", 8)

    with pytest.raises(ContextBudgetExceeded) as over_all:
        budget.charge("b", 3)
    with pytest.raises(ContextBudgetExceeded) as over_one:
        budget.charge("c", 9)
    with pytest.raises(ValueError, match="tokens=-1"):
        budget.charge("d", -1)

    assert (over_all.value.key, over_all.value.tokens, over_all.value.used, over_all.value.allowed) == ("b", 3, 8, 10)
    assert (over_one.value.used, over_one.value.allowed) == (0, 8)
    assert budget.left == 2
    budget.charge("e", 2)
    assert budget.left == 0


def test_what_was_read_is_not_counted_again_when_it_is_shown() -> None:
    budget = ReadBudget(max_read_tokens=100)

    budget.charge("a", 30)
    budget.show(20)
    assert (budget.used, budget.unseen, budget.left) == (30, 10, 70)
    budget.show(25)

    assert (budget.used, budget.unseen, budget.left) == (45, 0, 55)


@given(st.integers(0, 200), st.lists(st.tuples(st.booleans(), st.integers(0, 80)), max_size=30))
def test_no_order_of_reads_and_prints_shows_more_than_is_allowed(allowed: int, work: list[tuple[bool, int]]) -> None:
    budget = ReadBudget(max_tokens_per_read=60, max_read_tokens=allowed)
    shown = read = 0

    for by_reading, tokens in work:
        if by_reading:
            try:
                budget.charge("key", tokens)
            except ContextBudgetExceeded:
                continue
            read += tokens
        else:
            assert budget.left is not None
            fits = min(tokens, budget.left + budget.unseen)
            budget.show(fits)
            shown += fits

        assert max(shown, read) <= budget.used <= min(allowed, shown + read)
        assert budget.unseen == max(0, budget.used - shown)


@given(
    st.integers(0, 200),
    st.lists(st.lists(st.integers(0, 40), max_size=20), min_size=8, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_no_order_of_reads_from_eight_threads_exceeds_the_budget(allowed: int, work: list[list[int]]) -> None:
    budget = ReadBudget(max_tokens_per_read=30, max_read_tokens=allowed)

    def spend(charges: list[int]) -> int:
        spent = 0
        for tokens in charges:
            try:
                budget.charge("key", tokens)
            except ContextBudgetExceeded:
                continue
            spent += tokens
        return spent

    with ThreadPoolExecutor(8) as pool:
        spent = sum(pool.map(spend, work))

    assert budget.used == spent <= allowed
    assert budget.left == allowed - spent


# A glance


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            "word " * 2_000,
            Glance("10,000 chars", 2_500, "'word word word word word word word word word word word wo…'"),
        ),
        (b"ab", Glance("2 bytes", 1, "b'ab'")),
        (["abcd", "efgh"], Glance("2 items", 5, "['abcd', 'efgh']")),
        ([1, 2], Glance("2 items", 3, "[1, 2]")),
        (FRAME, Glance("1,000 x 2", 4_000, "a, b")),
        (None, Glance("", 2, "")),
        (5, Glance("", 1, "5")),
        (Awkward(), Glance("", None, "")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_glance_is_size_tokens_and_one_line(value: object, expected: Glance) -> None:
    assert glance(value, repr_within) == expected


def test_a_store_lists_itself_by_glances() -> None:
    store = Store()
    store.contract = "x" * 4_000
    set_glance(glance)
    try:
        text = repr(store.list_available())
    finally:
        set_glance(None)

    assert text.split("\n")[1] == f"contract  str   4,000 chars  1,000   person      '{'x' * 57}…'"
