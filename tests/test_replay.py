"""A recorded run runs again without a model: what comes out is what came out, and what does not is said."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import rlm_kernel
from rlm_kernel import dialects
from rlm_kernel.errors import Diverged, UsageError
from rlm_kernel.namespace import LENT
from rlm_kernel.runner.recorded.order import Order
from rlm_kernel.store import Store
from rlm_kernel.store.entries import Entry
from rlm_kernel.store.state import State, made_of
from rlm_kernel.trace.events import CellFinished, RunStarted
from rlm_kernel.trace.importers import import_log
from rlm_kernel.trace.loading import Trace
from rlm_kernel.trace.tree import Tree
from tests.kernel_process import block
from tests.recorded_runs import CASES, CHANCE, DEEP, Case, cli, edited, inserted, model, ran, record, shown

# No kernel, but threads whose order a machine with other work would not keep.
pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("here")]


def forget_the_models(folder: Path) -> None:
    for file in folder.rglob("spec.json"):
        file.unlink()


@pytest.mark.parametrize("name", CASES)
def test_a_run_comes_to_the_same_each_time(name: str, here: Path) -> None:
    trace = rlm_kernel.load_trace(record(here, CASES[name]))
    forget_the_models(here)
    marks = here / "ran.txt"
    left = sorted(marks.read_text().split()) if marks.exists() else None
    for _ in range(5):
        marks.unlink(missing_ok=True)

        came = rlm_kernel.replay(trace)

        assert left == (sorted(marks.read_text().split()) if marks.exists() else None)
        assert [note for note in came.notes if "did not run again" not in note] == []


def diverged(trace: Path | Trace, **options: Any) -> Diverged:
    with pytest.raises(Diverged) as found:
        rlm_kernel.replay(trace, **options)
    return found.value


def test_an_edited_cell_of_the_first_agent_ends_the_replay_where_it_stands(here: Path) -> None:
    case = Case({"whole": [block("a = 1\na"), block("b = a + 1\nb"), block(f"{ran('third')}\nFINAL(b)")]}, 1)
    path = edited(record(here, case), "0", 2, "b = a + 2\nb")
    (here / "ran.txt").unlink()

    found = diverged(path)

    assert (found.where, found.what, found.recorded, found.came) == ("agent 0, step 2", "output", "2", "3")
    assert not (here / "ran.txt").exists()


def test_an_edited_cell_of_a_sub_agent_ends_the_replay_with_its_own_name(here: Path) -> None:
    path = edited(record(here, DEEP), "0.2.1", 1, "n = 'other'\nn")
    (here / "ran.txt").unlink()

    found = diverged(path)

    assert (found.where, found.what, found.recorded, found.came) == (
        "agent 0.2.1, step 1",
        "output",
        "'noted'",
        "'other'",
    )
    assert "w2" not in (here / "ran.txt").read_text()


def test_a_marked_cell_that_ends_the_run_is_not_run_again_either(here: Path) -> None:
    path = record(here, Case({"whole": [block(f"%rlm no-rerun\n{ran('sent')}\nFINAL(1)")]}, 1))

    assert rlm_kernel.replay(path).answer is None
    assert rlm_kernel.replay(path, rerun=True).answer == 1
    assert (here / "ran.txt").read_text() == "sent sent "


def test_an_edit_that_changes_nothing_ends_nothing(here: Path) -> None:
    path = edited(record(here, DEEP), "0.2.1", 1, "n = 'no' + 'ted'\nn")

    assert rlm_kernel.replay(path).answer == [40, 80, 55]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What a library says, `from words import said`, until the next version of it."""

    def version(text: str) -> None:
        module = types.ModuleType("words")
        module.said = text  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "words", module)

    return version


SAID = Case({"whole": [block("from words import said\nprint(said)"), block("FINAL(1)")]}, 1)


def test_an_output_that_comes_otherwise_is_told_with_what_was_recorded(here: Path, says: Callable[[str], None]) -> None:
    says("won")
    path = record(here, SAID)
    says("one")

    found = diverged(path)

    assert (found.where, found.recorded, found.came) == ("agent 0, step 1", "won", "one")


def test_lines_that_are_missing_in_a_script_may_have_been_written_past_python(
    here: Path, says: Callable[[str], None]
) -> None:
    says("from C\none")
    path = record(here, SAID)
    says("one")
    missing = diverged(path)
    says("won")
    other = diverged(path)

    assert (missing.recorded, missing.came) == ("from C\none", "one")
    assert "past Python" in missing.hint
    assert "jupyter rlm replay" in missing.hint
    assert other.hint == ""


def test_code_that_catches_the_divergence_of_its_sub_agent_hides_nothing(here: Path) -> None:
    catch = "try:\n    x = llm_query('part', context=1)\nexcept Exception:\n    x = 5\nprint('on')"
    case = Case(
        {"whole": [block(catch), block(ran("w2")), block("FINAL(1)")], "part": [block("1"), block("FINAL(5)")]}, 1
    )
    path = edited(record(here, case), "0.1", 1, "2")
    (here / "ran.txt").unlink()

    assert diverged(path).where == "agent 0.1, step 1"
    assert not (here / "ran.txt").exists()


def test_a_sub_agent_that_is_asked_something_else_is_a_divergence(here: Path) -> None:
    case = Case(
        {
            "whole": [block("x = [1, 2]"), block("llm_query('part', context=x)"), block("FINAL(1)")],
            "part": [block("FINAL(5)")],
        },
        1,
    )
    path = record(here, case)

    asked = diverged(edited(path, "0", 2, "llm_query('part two', context=x)"))
    given = diverged(edited(path, "0", 1, "x = [1, 3]"))
    more = diverged(edited(path, "0", 2, "[llm_query('part', context=x) for _ in range(2)]"))
    formed = diverged(edited(path, "0", 2, "llm_query('part', context=x, schema=int)"))

    assert (asked.where, asked.what, asked.recorded, asked.came) == ("agent 0.1", "question", "part", "part two")
    assert (given.where, given.what) == ("agent 0.1", "context")
    assert (more.where, more.what, more.recorded) == ("agent 0.2, step 1", "next step", "nothing more was asked")
    assert (formed.where, formed.what, formed.recorded) == ("agent 0.1", "schema", "none")


def test_another_answer_is_a_divergence(here: Path) -> None:
    path = record(here, Case({"whole": [block("FINAL({'a': 1})")]}, 1))

    found = diverged(edited(path, "0", 1, "FINAL({'a': 2})"))
    unended = diverged(edited(path, "0", 1, "x = 2"))

    assert (found.where, found.what) == ("agent 0, step 1", "answer")
    assert (unended.what, unended.recorded, unended.came) == ("end", "FINAL ended it", "it ended without FINAL")


def test_what_depends_on_chance_may_come_out_otherwise_and_that_is_noted(here: Path) -> None:
    path = record(here, CHANCE)

    came = rlm_kernel.replay(path)

    assert isinstance(came.answer, float)
    assert [note.split(": ")[0] for note in came.notes] == [
        "agent 0, step 1",
        "agent 0.1",
        "agent 0.1, step 1",
        "agent 0, step 2",
        "agent 0.2",
        "agent 0, step 4",
    ]
    assert all("it depends on random" in note for note in came.notes)


def test_strict_lets_chance_through_no_more_than_anything(here: Path) -> None:
    assert diverged(record(here, CHANCE), strict=True).where == "agent 0, step 1"


def test_a_cell_that_is_marked_runs_again_only_where_that_is_asked_for(here: Path) -> None:
    path = record(here, Case({"whole": [block(f"%rlm no-rerun\n{ran('sent')}\nprint('sent')"), block("FINAL(1)")]}, 1))
    (here / "ran.txt").unlink()

    came = rlm_kernel.replay(path)
    assert came.notes == ("agent 0, step 1 did not run again (%rlm no-rerun): what it put out is from the record",)
    assert not (here / "ran.txt").exists()

    assert rlm_kernel.replay(path, rerun=True).notes == ()
    assert (here / "ran.txt").read_text() == "sent "


def test_what_depends_on_a_marked_cell_that_did_not_run_says_how_to_run_it(here: Path) -> None:
    marked = block(f"%rlm no-rerun\n{ran('sent')}\nx = 5")
    path = record(here, Case({"whole": [marked, block("y = x + 1\ny"), block("FINAL(y)")]}, 1))

    found = diverged(path)

    assert found.where == "agent 0, step 2"
    assert found.hint == (
        "agent 0, step 1 did not run again (%rlm no-rerun), which may be why: --rerun yes runs what is marked so"
    )
    assert str(found).endswith(f"\n--- {found.hint}")
    assert rlm_kernel.replay(path, rerun=True).answer == 6


@pytest.mark.parametrize(
    ("context", "name"),
    [(["a key: sk-to-be-hidden"], "MY_API_KEY"), (b"sk-to-be-hidden", "MY_API_KEY"), (['q"u\\o'], "MY_TOKEN")],
)
def test_a_context_with_a_secret_says_that_this_is_why_it_is_not_kept(
    context: Any, name: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "sk-to-be-hidden")
    monkeypatch.setenv("MY_TOKEN", 'q"u\\o' * 2)
    context = ['q"u\\o' * 2] if name == "MY_TOKEN" else context
    path = record(here, Case({"whole": [block("n = len(context)\nn"), block("FINAL(n)")]}, context))

    said = refused(path)

    assert f"context is not in the record (it holds a secret of the environment, {name}): put " in said
    assert said.endswith("into `context` first, or name it with -c")
    assert rlm_kernel.replay(path, context=context).answer == len(context)


@pytest.mark.parametrize(
    ("source", "above", "came"),
    [
        ("b = 10", "a0-s3", 10),  # after step 2
        ("a = 10", "a0-s1", 2),  # before the first, which overwrites it
        ("%%agent 0.1\ny = 10", "a0-1-s2", 10),
        ("%%agent 0.2\nz = 10", "a0-2-s1", 10),
    ],
)
def test_a_cell_that_a_person_put_into_the_record_runs_there(source: str, above: str, came: int, here: Path) -> None:
    case = Case(
        {
            "whole": [
                block("a = 1"),
                block("b = a + 1\nr = llm_query_batched(['first', 'second'], contexts=[1, 2])"),
                block("FINAL((b, r))"),
            ],
            "first": [block("y = 1"), block("FINAL(y)")],
            "second": [block("y = globals().get('z', 0)"), block("FINAL(y)")],
        },
        1,
    )
    path = inserted(record(here, case), source, above)

    if came == 10:
        assert "10" in diverged(path).came
    else:
        assert rlm_kernel.replay(path).answer == (2, [1, 0])


def refused(trace: Path | Trace, **options: Any) -> str:
    with pytest.raises(UsageError) as found:
        rlm_kernel.replay(trace, **options)
    return str(found.value)


COUNT = {"whole": [block(f"{ran('one')}\nlen(context)"), block("FINAL(context[:3])")]}
LARGE = "lorem " * 900_000


@pytest.mark.parametrize("keep", ["small", "none"])
def test_a_context_that_the_record_does_not_hold_is_asked_for_before_the_first_cell(keep: str, here: Path) -> None:
    path = record(here, Case(COUNT, LARGE), keep_context=keep)
    (here / "ran.txt").unlink()

    why = {"small": "it is larger than 1,000,000 bytes, and the setting keep_context was not 'all'"}
    why["none"] = "the setting keep_context was 'none'"
    put = "put str, 5,400,000 chars, about 1,350,000 tokens into `context` first"
    assert f"context is not in the record ({why[keep]}): {put}" in refused(path)
    assert "`context` is not what it was: recorded was str, 5,400,000" in refused(path, context=LARGE[:-1] + "!")
    assert not (here / "ran.txt").exists()
    assert rlm_kernel.replay(path, context=LARGE).answer == "lor"


def test_a_reply_that_came_before_those_of_many_others_is_not_held_back_by_them(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = block("FINAL(llm_query_batched([f'part {n:02}' for n in range(17)]))")
    late = {f"part {n:02}": {"reply": str(n), "delay_s": 0.5 if n < 16 else 0} for n in range(17)}
    case = Case({"whole": [ask]}, None, late, {"max_parallel": 17, "max_depth": 0})
    trace = rlm_kernel.load_trace(record(here, case))
    monkeypatch.setattr("rlm_kernel.runner.recorded.order.TURN_S", 20.0)  # what it would cost to be held back
    began = time.monotonic()

    came = rlm_kernel.replay(trace)

    assert came.answer == [str(n) for n in range(17)]
    assert time.monotonic() - began < 20


def test_a_store_of_very_many_keys_is_asked_for_and_not_put_back_without_its_notes(here: Path) -> None:
    store = Store()
    store.update({f"key {number}": number for number in range(10_001)})
    path = record(here, Case({"whole": [block("context.history('key 1')"), block("FINAL(len(context))")]}, store))

    why = "context is not in the record (it has more than 10,000 keys): put Store, 10,001 items"
    assert why in refused(path)
    assert rlm_kernel.replay(path, context=store).answer == 10_001


def test_a_large_context_that_was_kept_lies_beside_the_trace_and_is_checked(here: Path) -> None:
    path = record(here, Case(COUNT, LARGE), keep_context="all")
    (beside,) = (path.parent / "contexts").iterdir()
    assert rlm_kernel.replay(path).answer == "lor"

    beside.write_text(LARGE[:-1] + "!")
    changed = refused(path)
    beside.unlink()
    gone = refused(path)

    assert "has been changed since" in changed
    assert "cannot be read (No such file or directory)" in gone
    assert rlm_kernel.replay(path, context=LARGE).answer == "lor"


def test_data_that_cannot_be_compared_is_asked_for_and_taken_as_it_is(here: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    path = record(here, Case({"whole": [block("context.a.sum()"), block("FINAL(context.shape)")]}, frame))

    why = "it is no plain data that JSON can hold"
    assert f"context is not in the record ({why}): put DataFrame" in refused(path)
    came = rlm_kernel.replay(path, context=frame)
    assert came.answer == (2, 1)
    assert "whether `context` is what it was cannot be told" in came.notes[0]
    assert diverged(path, context=frame * 2).where == "agent 0, step 1"


def test_a_sub_agents_cell_below_the_sections_of_others_runs_after_its_last(here: Path) -> None:
    case = Case(
        {
            "whole": [block("r = llm_query_batched(['part'] * 2, [1, 2])\nr"), block("FINAL(r)")],
            "part": [block("y = context\nFINAL(y)")],
        },
        1,
    )
    path = inserted(record(here, case), "%%agent 0.1\nopen('ran.txt', 'a').write(f'{y} ')", "answer")

    assert rlm_kernel.replay(path).answer == [1, 2]
    assert (here / "ran.txt").read_text() == "1 "


def test_what_does_not_come_is_waited_for_once() -> None:
    async def come() -> float:
        order = Order([("cell", "0.1", number) for number in range(1, 102)], patience_s=0.1)
        began = time.monotonic()
        for number in range(2, 102):
            await order.turn("cell", "0.1", number)
        return time.monotonic() - began

    assert 0.1 <= asyncio.run(come()) < 5  # for each of them it would be ten


def test_everything_that_is_missing_is_named_at_once_and_nothing_runs(here: Path) -> None:
    tried = "try:\n    import not_needed\nexcept ImportError:\n    pass\n"
    cells = ["import not_here_either", f"{tried}len(context)", f"%pwd\n{tried}"]
    path = record(here, Case({"whole": [block(cell) for cell in [*cells, "FINAL(1)"]]}, LARGE))
    journal = path.with_suffix(".jsonl")
    trace = rlm_kernel.load_trace(journal)
    tree = Tree()
    for _, event in trace.tree.log:
        if isinstance(event, RunStarted):
            event = replace(event, versions={**event.versions, "python": "3.2.1"})
        if isinstance(event, CellFinished) and event.step == 1:
            event = replace(event, error=None, outputs=())
        tree.add(event)

    said = refused(Trace(tree))

    assert said.startswith("this record cannot run again here: context is not in the record")
    assert "the package not_here_either is not installed (agent 0, step 1 imports it)" in said
    assert "recorded with Python 3.2.1" in said
    assert "not_needed" not in said


def test_a_module_that_a_cell_writes_is_no_missing_package(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(here))
    write = "open('made_here.py', 'w').write('x = 5')\nimport importlib\nimportlib.invalidate_caches()"
    path = record(here, Case({"whole": [block(write), block("import made_here\nFINAL(made_here.x)")]}, 1))
    (here / "made_here.py").unlink()
    sys.modules.pop("made_here")

    assert rlm_kernel.replay(path).answer == 5


def test_what_was_read_of_a_damaged_record_runs_and_it_is_said_that_it_is_not_all(here: Path) -> None:
    path = record(here, DEEP).with_suffix(".jsonl")
    whole = path.read_bytes()
    for part in (0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * part)])

        came = rlm_kernel.replay(path)

        assert came.notes[0].startswith("the record is not whole")
        assert "agent 0, step 1 did not run again: its end is not in the record" in came.notes or part == 0.9


def imported(folder: Path, *rows: dict[str, Any]) -> Trace:
    log = folder / "log.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = import_log(log)
    return Trace(found.tree)


def official(*cells: tuple[str, str, list[tuple[str, str]]], answer: str | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"type": "metadata", "root_model": "m", "max_iterations": 9}]
    for number, (code, printed, asked) in enumerate(cells, 1):
        calls = [{"root_model": "m", "prompt": prompt, "response": response} for prompt, response in asked]
        last = answer if number == len(cells) else None
        result = {"stdout": printed, "stderr": "", "locals": {}, "rlm_calls": calls, "final_answer": last}
        block_of = {"code": code, "result": result}
        rows.append(
            {
                "type": "iteration",
                "iteration": number,
                "prompt": [{"role": "user", "content": "q"}],
                "response": f"```repl\n{code}\n```",
                "code_blocks": [block_of],
                "final_answer": last,
            }
        )
    return rows


def test_cells_of_the_official_tool_find_its_names(here: Path) -> None:
    asks = "x = llm_query('one', 'gpt-x')\nys = llm_query_batched(['two', 'three'])\nprint(x, ys)"
    ends = "answer['content'] = x\nanswer['ready'] = True\nprint('goes on')"
    asked = [("one", "1"), ("two", "2"), ("three", "3")]

    by_answer = imported(here, *official((asks, "1 ['2', '3']\n", asked), (ends, "goes on\n", []), answer="1"))
    by_name = imported(here, *official(("n = 14", "", []), ("FINAL_VAR('n')\nprint('on')", "on\n", []), answer="14"))

    assert rlm_kernel.replay(by_answer).answer == "1"
    assert rlm_kernel.replay(by_name).answer == "14"


def test_cells_of_dspy_fabric_and_smolagents_find_their_names(here: Path) -> None:
    dspy = {
        "trajectory": [
            {"reasoning": "r", "code": "n = 3\nprint(n)", "output": "3\n"},
            {"reasoning": "r", "code": "SUBMIT(n, 'a')", "output": "FINAL: {'count': 3, 'name': 'a'}"},
        ]
    }
    steps = [
        {
            "step_number": 1,
            "model_output": "<code>\nx = 6\nx\n</code>",
            "code_action": "x = 6\nx",
            "observations": "Execution logs:\nLast output from code snippet:\n6",
        },
        {
            "step_number": 2,
            "model_output": "<code>\nfinal_answer(x)\n</code>",
            "code_action": "final_answer(x)",
            "observations": "Execution logs:\nLast output from code snippet:\n6",
            "action_output": 6,
            "is_final_answer": True,
        },
    ]
    quiet = {"turn": 1, "code": "7 + 1", "submitted": False, "submit_payload": None, "stdout": ""}
    fabric = {
        "turn": 2,
        "code": "SUBMIT(answer=8)",
        "submitted": True,
        "submit_payload": {"answer": 8},
        "stdout": "",
    }

    assert rlm_kernel.replay(imported(here, dspy)).answer == [3, "a"]
    assert rlm_kernel.replay(imported(here, {"steps": steps, "output": 6})).answer == 6
    assert rlm_kernel.replay(imported(here, quiet, fabric)).answer == {"answer": 8}


def test_the_names_of_a_tool_are_in_its_traces_only(here: Path) -> None:
    case = Case(
        {"whole": [block(f"{name}") for name in ("SUBMIT", "final_answer", "answer")]}, 1, settings={"max_steps": 3}
    )
    trace = rlm_kernel.load_trace(record(here, case))
    assert trace.root is not None
    assert [step.cell and step.cell.error and step.cell.error.name for step in trace.root.steps] == ["NameError"] * 3

    namespace: dict[str, Any] = {"llm_query": dialects.names("rlm")["llm_query"], **dialects.names("dspy"), "mine": 1}
    dialects.take_back(namespace, "dspy")
    assert namespace == {"llm_query": dialects.names("rlm")["llm_query"], "mine": 1}
    dialects.take_back(namespace, "rlm")
    assert namespace == {"llm_query": LENT["llm_query"], "mine": 1}


def test_a_log_whose_context_is_lost_is_refused_before_its_first_cell(here: Path) -> None:
    rows = [
        {
            "level": 30,
            "time": "2026-01-01T00:00:00Z",
            "run_id": "1-a",
            "depth": 0,
            "event_type": "execution_result",
            "step": 0,
            "code": "print(len(context))",
            "output": "[FULL OUTPUT SHOWN]... Context type: <class 'str'>\nContext length: 9000",
        },
        {
            "level": 30,
            "time": "2026-01-01T00:00:01Z",
            "run_id": "1-a",
            "depth": 0,
            "event_type": "code_generated",
            "step": 1,
            "code": f"{ran('one')}\nFINAL(1)",
        },
        {
            "level": 30,
            "time": "2026-01-01T00:00:02Z",
            "run_id": "1-a",
            "depth": 0,
            "event_type": "final_result",
            "result": 1,
        },
    ]
    trace = imported(here, *rows)

    assert "name it with -c" in refused(trace)
    assert not (here / "ran.txt").exists()


def test_a_first_answer_that_had_not_its_form_is_refused_again(here: Path) -> None:
    case = Case({"whole": [block("FINAL('x')"), block("FINAL([1, 2])")]}, None, settings={"schema": list[int]})

    again = rlm_kernel.replay(record(here, case))

    assert (again.answer, again.notes) == ([1, 2], ())


def test_a_cell_that_raises_now_is_said_to_raise(here: Path) -> None:
    case = Case({"whole": [block("print(len(context))"), block("FINAL(1)")]}, [1, 2])

    found = diverged(edited(record(here, case), "0", 1, "print(len(7))"))

    assert found.came == "TypeError: object of type 'int' has no len()"


FLOW = """
from rlm_kernel.workflow import Flow, Orchestrator, asks
flow = Flow({"read": ["check"], "check": []}, start="read")
fails = [True]
def check(task, store):
    if fails.pop():
        raise RuntimeError("no")
    return store["read"] + 1
o = Orchestrator(flow, {"read": asks("part", schema=int), "check": check})
"""
WITH_CHECKPOINTS = [
    block(f"{FLOW}o.run(checkpoint='ck.json')"),
    block("fails = [False]\no.run(checkpoint='ck.json', resume=True).value"),
    block("o.run(checkpoint='ck.json')"),
    block("FINAL(1)"),
]


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_workflows_find_the_checkpoints_that_they_found_then_and_leave_those_that_are_there(
    isolation: str, here: Path
) -> None:
    whole = [block(f"llm_query('flow', context=1, isolation='{isolation}')"), block("FINAL(1)")]
    case = Case({"whole": whole, "flow": WITH_CHECKPOINTS, "part": [block("FINAL(1)")]}, 1, settings={"max_depth": 2})
    trace = rlm_kernel.load_trace(record(here, case))
    (flow,) = (agent for agent in trace if agent.question == "flow")
    raised = [None if step.cell is None or step.cell.error is None else step.cell.error.name for step in flow.steps]
    assert raised == ["RuntimeError", None, "UsageError", None]
    (here / "ck.json").write_text("a person's own")

    for _ in range(2):
        assert rlm_kernel.replay(trace).notes == ()

    assert (here / "ck.json").read_text() == "a person's own"


def test_a_fork_begins_without_checkpoints_and_writes_them(here: Path) -> None:
    settings = {"max_depth": 1}
    path = record(here, Case({"whole": WITH_CHECKPOINTS, "part": [block("FINAL(1)")]}, 1, settings=settings))
    (here / "ck.json").write_text("of the first run")
    look = block("print(open('ck.json').read()[:13], o.run(checkpoint='ck.json', resume=True).value)\nFINAL(2)")
    live = model(here, Case({"whole": [look] * 4}), name="live")

    done = cli("replay", str(path), "--fork", "0:3", "-m", live, folder=here)

    assert done.returncode == 0, done.stderr
    (forked,) = (here / ".rlm" / "runs").glob("*.ipynb")
    assert shown(forked)["a0-s3"] == [{"output_type": "stream", "name": "stdout", "text": '{"rlm_workflo 2\n'}]


def test_a_model_that_there_is_not_is_none_of_those_that_a_fork_asks(here: Path) -> None:
    path = record(here, CASES["a model that there is not"])

    done = cli("replay", str(path), "--fork", "0:4", folder=here)

    assert done.returncode == 0, done.stderr


# A store


def test_a_store_replays_with_its_notes_its_history_and_as_the_view_that_it_was(here: Path) -> None:
    store = Store()
    store.store("laws", "x" * 50, note="from the court")
    store["laws"] = "y"
    store.store("notes", [1], note="by hand")
    looks = block("LIST_CONTEXT()"), block("context.history('laws')"), block("print(context)\nFINAL(list(context))")
    path = record(here, Case({"whole": list(looks)}, store.only("notes", "laws", read_only=True)))

    replayed = rlm_kernel.replay(path)

    assert (replayed.answer, replayed.notes) == (["laws", "notes"], ())


def test_a_history_with_writes_of_two_runs_is_shown_the_same_by_a_replay(here: Path) -> None:
    before = Entry(1, "0", 1, 0.0, "int", None, None, "20261121-161343-abd707")
    store = made_of(State({"laws": 1}, {"laws": [before]}))
    cells = block("WRITE('laws', 2)\ncontext.history('laws')"), block("FINAL(1)")

    path = record(here, Case({"whole": list(cells)}, store))

    root = rlm_kernel.load_trace(path).root
    assert root is not None
    assert re.findall("0, step 1.*?  ", root.steps[1].new[-1].content) == ["0, step 1, run abd707  ", "0, step 1  "]
    assert rlm_kernel.replay(path).cells == 2


def test_a_value_of_a_store_that_is_not_in_the_record_is_named_and_can_be_given(here: Path) -> None:
    store = Store()
    store.frame, store.laws = pd.DataFrame({"a": [1]}), "x"
    path = record(here, Case({"whole": [block("print(context.laws, len(context.frame))"), block("FINAL(1)")]}, store))
    with pytest.raises(UsageError, match=r"not wholly in the record \(frame: it is no plain data.*: put frame \(DataF"):
        rlm_kernel.replay(path)
    given = Store()
    given["frame"] = store.frame

    assert rlm_kernel.replay(path, given).answer == 1
    given["laws"] = "other"
    with pytest.raises(UsageError, match=r"`context\['laws'\]` is not what it was"):
        rlm_kernel.replay(path, given)


def test_what_ended_an_agent_before_it_asked_ends_it_again(here: Path) -> None:
    trace = rlm_kernel.load_trace(record(here, CASES["a model that there is not"]))
    for agent in ("0.1", "0.2"):
        trace.agents[agent].steps.clear()

    assert rlm_kernel.replay(trace).notes == ()


def test_a_key_for_the_name_of_a_model_is_not_in_the_record(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "sk-of-a-person-123")
    ask = "import os\ntry:\n    llm_query('part', model=os.environ['MY_API_KEY'])\nexcept ValueError:\n    print('no')"

    path = record(here, Case({"whole": [block(ask), block("FINAL(1)")]}, 1))

    assert all("sk-of-a-person-123" not in file.read_text() for file in path.parent.iterdir())
