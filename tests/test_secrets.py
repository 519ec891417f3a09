"""Keys of the environment stand in no record, whatever a model writes; what runs is what it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rlm_kernel
from rlm_kernel.environment.secrets import Pieces, Redactor
from rlm_kernel.errors import Diverged
from rlm_kernel.runner.recorded import HELD_A_KEY
from rlm_kernel.trace.loading import Trace
from tests.kernel_process import block, kernel_process, script
from tests.recorded_runs import Case, record

KEY = "sk-test-0123456789abcdef"


@pytest.fixture(autouse=True)
def here(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    return here


def recorded(here: Path, case: Case) -> Trace:
    """Of which no file has the key."""
    path = record(here, case)
    files = list((here / "runs").iterdir())
    assert len(files) >= 2
    assert [file for file in files if KEY in file.read_text()] == []
    return rlm_kernel.load_trace(path)


def step(trace: Trace, number: int) -> Any:
    assert trace.root is not None
    return trace.root.step(number)


def test_a_key_in_a_reply_is_not_recorded_and_its_cell_runs_as_written(here: Path) -> None:
    code = f"key = {KEY!r}\nimport os\nprint(key == os.environ['SOME_API_KEY'])"

    trace = recorded(here, Case({"whole": [f"I take {KEY}.\n{block(code)}", block("FINAL(1)")]}, 1))

    first = step(trace, 1)
    assert first.cell.outputs == ({"output_type": "stream", "name": "stdout", "text": "True\n"},)
    assert first.source == code.replace(KEY, "[SOME_API_KEY]")
    assert first.reply.text.startswith("I take [SOME_API_KEY].")
    assert first.notes == [HELD_A_KEY]
    assert step(trace, 2).notes == []


def test_a_name_that_is_a_key_is_not_recorded_either(here: Path) -> None:
    asked = f"WRITE({KEY!r}, [7])\nllm_query('below', context=context[{KEY!r}])\nFINAL({KEY!r})"

    trace = recorded(here, Case({"whole": [block(asked)], "below": [block("FINAL(1)")]}, None))

    assert trace.root is not None
    assert trace.root.end is not None
    assert (trace.root.end.name, trace.root.end.answer) == ("[SOME_API_KEY]", "[7]")
    assert trace.root.children[0].context_name == "context['[SOME_API_KEY]']"


def test_a_key_in_a_completion_reaches_the_cell_and_not_the_record(here: Path) -> None:
    asks = "import os\ngot = llm_query('say it')\nprint(os.environ['SOME_API_KEY'] in got)"
    case = Case({"whole": [block(asks), block("FINAL(1)")]}, 1, {"say it": f"it is {KEY}"}, {"max_depth": 0})

    trace = recorded(here, case)

    first = step(trace, 1)
    assert first.cell.outputs[0]["text"] == "True\n"
    assert (first.calls[0].reply.text, first.notes) == ("it is [SOME_API_KEY]", [HELD_A_KEY])


def test_a_replay_runs_what_is_recorded_and_says_that_a_key_is_missing(here: Path) -> None:
    trace = recorded(here, Case({"whole": [block(f"key = {KEY!r}"), block("FINAL(1)")]}, 1))

    came = rlm_kernel.replay(trace)

    assert (came.answer, came.notes) == (1, (f"agent 0, step 1: {HELD_A_KEY}",))


def test_a_replay_that_comes_to_something_else_without_the_key_diverges(here: Path) -> None:
    trace = recorded(here, Case({"whole": [block(f"len({KEY!r})"), block("FINAL(1)")]}, 1))

    with pytest.raises(Diverged) as found:
        rlm_kernel.replay(trace)

    assert (found.value.where, found.value.recorded, found.value.came) == ("agent 0, step 1", "24", "14")


@pytest.mark.kernel
def test_a_resumed_run_says_again_that_a_key_is_missing(here: Path) -> None:
    with kernel_process(here) as kernel:
        kernel.run(f"%%rlm -m {script(here, block(f'key = {KEY!r}'))} --max-steps 1\nWhat?")
        onward = script(here, block("FINAL(len(key))"), name="onward.json")
        came = kernel.run(f"%%rlm --continue -m {onward} --max-steps 5\n")
        path = kernel.value("str(get_ipython()._rlm_workspace.last_run.trace.resolve())")

    trace = rlm_kernel.load_trace(path)
    assert came.result == "14"
    assert step(trace, 1).notes == [HELD_A_KEY]
    assert trace.root is not None
    assert f"agent 0, step 1: {HELD_A_KEY}" in trace.root.notes


OVERLAPPING = {"A_KEY": "abababab", "B_KEY": "ababababcc", "C_KEY": "bccabcabca"}
PARTS = st.sampled_from([*"abc", *OVERLAPPING.values(), "ab" * 9, "\n"])


@given(st.lists(st.lists(PARTS, max_size=4).map("".join), max_size=8))
def test_pieces_are_redacted_as_the_whole(pieces: list[str]) -> None:
    redactor = Redactor(OVERLAPPING)
    shown = Pieces(redactor)

    came = [shown.add("stdout", piece) for piece in pieces]

    assert "".join(came + [text for _, text in shown.rest()]) == redactor.text("".join(pieces))


def test_only_what_may_begin_a_key_is_held_back() -> None:
    shown = Pieces(Redactor({"SOME_API_KEY": KEY}))

    assert [shown.add("stdout", text) for text in ("is", " it\n", "or sk-", "no", KEY, KEY[:-1])] == [
        "i",
        "s it\n",
        "or ",
        "sk-no",
        "[SOME_API_KEY]",
        "",
    ]
    assert (shown.rest(), shown.rest()) == ([("stdout", KEY[:-1])], [])
