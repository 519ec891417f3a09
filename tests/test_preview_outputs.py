from __future__ import annotations

import base64
import re
import struct
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel.preview import observe
from rlm_kernel.values import CellError, Output

MARKER = re.compile(r"\[\.\.\. ([\d,]+) of ([\d,]+) characters not shown.*?\.\.\.\]")


def stream(text: str, name: str = "stdout") -> Output:
    return {"output_type": "stream", "name": name, "text": text}


def result(data: dict[str, Any]) -> Output:
    return {"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": 1}


def failure(name: str, message: str, *traceback: str) -> Output:
    return {"output_type": "error", "ename": name, "evalue": message, "traceback": list(traceback)}


def counts(shown: str) -> tuple[int, int]:
    """The numbers of the one marker: hidden, total."""
    ((hidden, total),) = MARKER.findall(shown)
    return int(hidden.replace(",", "")), int(total.replace(",", ""))


def test_outputs_are_told_in_their_true_order():
    png = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 640, 480) + b"x" * 23_000).decode()
    outputs = (
        stream("before"),
        stream("warned\n", "stderr"),
        {"output_type": "display_data", "data": {"image/png": png, "text/plain": "<Figure>"}, "metadata": {}},
        result({"text/plain": "  a\n0 1", "text/html": "<table>"}),
        failure("ValueError", "no", "\x1b[31mTraceback\x1b[0m", "\x1b[1mValueError\x1b[0m: no"),
    )

    assert observe(outputs) == (
        "before\nwarned\n<Figure>\n[image/png, 640 x 480, 23 kB, shown to the person]\n"
        "  a\n0 1\nTraceback\nValueError: no"
    )


def test_rich_outputs_say_what_their_text_does_not():
    outputs = (
        result({"text/plain": "<IPython.core.display.HTML object>", "text/html": "<b>" * 400}),
        result({"text/plain": "<IPython.core.display.Markdown object>", "text/markdown": "# Title"}),
        result({"application/json": {"a": 1}}),
        result({"image/png": "no base64!"}),
        result({"text/plain": ["two\n", "lines"]}),
    )

    assert observe(outputs) == (
        "[text/html, 1.2 kB, shown to the person]\n# Title\n[application/json, shown to the person]\n"
        "[image/png, 7 bytes, shown to the person]\ntwo\nlines"
    )


@pytest.mark.parametrize("outputs", [(), (stream(""),), (stream(" \n"),), (stream("\x1b[0m\r"),)])
def test_no_output_is_said_in_a_sentence(outputs: tuple[Output, ...]):
    assert observe(outputs) == "(the cell printed nothing; print what you want to see)"


def test_an_error_is_told_once_whether_or_not_an_output_says_it():
    error = CellError("KeyError", "'a'", "Traceback\nKeyError: 'a'")

    assert observe((stream("x\n"),), error=error) == "x\nTraceback\nKeyError: 'a'"
    assert observe((failure("KeyError", "'a'", "TB", "KeyError: 'a'"),), error=error) == "TB\nKeyError: 'a'"


def test_progress_bars_show_their_last_state():
    bar = "".join(f"\r{percent}%|##" for percent in range(101)) + "\n"

    assert observe((stream("begin\r\n" + bar + "end\r\n"),)) == "begin\n100%|##\nend"


@pytest.mark.parametrize("limit", range(200, 240))
def test_a_cut_tears_no_colour(limit: int):
    shown = observe((stream("\x1b[38;5;196mred\x1b[0m " * 1_000),), limit=limit)

    head, _, _, tail = MARKER.split(shown)
    assert "red red".startswith(head.strip()[:7])
    assert not set(head + tail) - set("red \n")


def test_controls_are_visible_and_colours_gone():
    text = "\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07 \x00 \udc80"

    assert observe((stream(text),)) == "red link \\x00 \\udc80"


def test_a_long_output_keeps_head_and_tail_with_the_count_and_a_hint():
    shown = observe((stream("".join(f"{number:09}\n" for number in range(100_000))),), limit=1_000)

    lines = shown.split("\n")
    marked = [line for line in lines if line.startswith("[")]
    assert len(shown) <= 1_000
    assert (lines[0], lines[-1]) == ("000000000", "000099999")
    assert all(len(line) == 9 for line in lines if line not in marked)
    assert marked == [
        f"[... {1_000_000 - 10 * (len(lines) - 1):,} of 1,000,000 characters not shown; "
        "keep long values in a variable and print slices of it ...]"
    ]


def test_an_error_at_the_end_survives_any_amount_of_output_before_it():
    shown = observe(
        (stream("noise\n" * 1_000_000), failure("ValueError", "why", "frame", "ValueError: why")), limit=500
    )

    assert shown.endswith("noise\nframe\nValueError: why")


@pytest.mark.parametrize("message", ["m" * 1_000_000, "line\n" * 100_000])
def test_an_error_with_a_giant_message_keeps_its_name(message: str):
    tail = failure("ValueError", message, "Traceback", f"ValueError: {message}")

    shown = observe((stream("noise\n" * 10_000), tail), limit=1_000)

    assert len(shown) <= 1_000
    assert f"\nValueError: {message[:5]}" in shown


def test_characters_that_nobody_kept_are_counted_where_they_are_missing():
    outputs = (stream("head\n"), result({"text/plain": "1"}), stream("tail\n"))

    assert observe(outputs, dropped_chars=12_345) == (
        "head\n1\n[... 12,345 of 12,357 characters not shown; "
        "keep long values in a variable and print slices of it ...]\ntail"
    )
    assert observe(outputs, dropped_chars=12_345, limit=None).startswith("head\n1\n[... 12,345 of 12,357")


def test_head_and_tail_do_not_meet_across_what_nobody_kept():
    shown = observe((stream("a\n" * 50), stream("z\n" * 5_000)), dropped_chars=1_000, limit=600)

    head, tail = MARKER.split(shown)[0], MARKER.split(shown)[-1]
    assert (set(head), set(tail)) == (set("a\n"), set("z\n"))
    assert counts(shown) == (11_100 - len(head) - len(tail.strip("\n")) - 1, 11_100)


def test_a_limit_of_nothing_leaves_the_count_and_no_limit_leaves_all():
    assert observe((stream("x" * 100),), limit=0) == "[... 100 of 100 characters not shown ...]"
    assert observe((stream("x\n" * 100_000),), limit=None) == ("x\n" * 100_000)[:-1]


texts = st.lists(
    st.builds(lambda part, times: part * times, st.text(alphabet="abc\n", max_size=9), st.integers(0, 90)), max_size=6
)


@given(texts, st.integers(120, 500), st.integers(0, 50))
def test_the_count_is_exact_and_the_limit_holds(parts: list[str], limit: int, dropped: int):
    outputs = tuple(stream(part, "stderr" if index % 2 else "stdout") for index, part in enumerate(parts))
    parts = [part for part in parts if part]
    written = "".join(part if part.endswith("\n") else f"{part}\n" for part in parts[:-1]) + "".join(parts[-1:])

    shown = observe(outputs, limit=limit, dropped_chars=dropped)

    assert len(shown) <= limit
    if "not shown" in shown:
        head, tail = MARKER.split(shown)[0], MARKER.split(shown)[-1].removeprefix("\n")
        hidden, total = counts(shown)
        # The line break that the marker needs and the last one of all, which is not shown, may each differ by one.
        assert abs(hidden + len(head) + len(tail) - total) <= 2
        assert total == len(written) + dropped
        assert written.startswith(head.removesuffix("\n"))
        assert written.endswith((tail, f"{tail}\n"))
        assert hidden >= dropped
    elif written.strip():
        assert (shown, dropped) == (written.removesuffix("\n"), 0)


@given(st.lists(st.sampled_from(["\r", "\n", "\r\n", "\x1b[31m", "\x1b", "ab", "\x00", "é", "]8;"]), max_size=300))
def test_any_mixture_of_controls_stays_bounded_and_clean(parts: list[str]):
    shown = observe((stream("".join(parts)),), limit=200)

    assert len(shown) <= 200
    assert not set(shown) & {"\r", "\x1b", "\x00"}


@pytest.mark.parametrize(
    "text",
    [
        "a line of text\n" * 700_000,
        "x" * 10_000_000,
        "\x1b[31mred\x1b[0m\n" * 700_000,
        "".join(f"\r{number}" for number in range(1_000_000)),
        "\r" * 10_000_000,
        "\x1b[" * 5_000_000,
        "\x1b[0m" * 2_500_000,
        "\r\n" * 5_000_000,
        "\x00" * 10_000_000,
    ],
    ids=["lines", "one line", "colours", "progress", "returns", "broken colours", "only colours", "empty", "controls"],
)
def test_ten_megabytes_cost_what_is_shown_of_them(text: str):
    output = stream(text)
    started = time.thread_time()
    observe((output,))
    took = time.thread_time() - started
    tracemalloc.start()  # it makes all that allocates many times slower
    try:
        shown = observe((output,))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(shown) <= 8_000
    assert peak < 2_000_000
    assert took < 1
