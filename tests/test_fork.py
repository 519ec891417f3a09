"""A recorded run goes another way from one of its steps: what that changes is asked anew, and nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rlm_kernel
from rlm_kernel.errors import Diverged
from rlm_kernel.trace.loading import Trace, load_trace
from tests.kernel_process import Cell, KernelProcess, block
from tests.recorded_runs import Case, cli, edited, inserted, model, record

pytestmark = pytest.mark.kernel

SUMS = Case(
    {
        "whole": [
            block("x = [llm_query('double', context=c) for c in context]\nx"),
            block("total = sum(x)\nprint(total)"),
            block("FINAL({'sum': total})"),
        ],
        "double": [block("y = context * 2\ny"), block("FINAL(y)")],
    },
    [1, 2, 3],
)
TRIPLE = Case(
    {
        "whole": [
            block("x = [llm_query('double', context=c) for c in context]\nx"),
            block("total = sum(x)\nprint(total)"),
            block("FINAL({'sum': total, 'live': True})"),
        ],
        "double": [block("y = context * 30\ny"), block("FINAL(context * 3)")],
    }
)


@pytest.fixture(autouse=True)
def here(here: Path, kernel: KernelProcess) -> Path:
    kernel.run(f"%reset -f\n%cd -q {here}")
    return here


@pytest.fixture
def live(here: Path) -> str:
    """A model that writes down what it is asked."""
    return model(here, TRIPLE, name="live", asked=here / "asked.txt")


def asked(folder: Path) -> list[str]:
    path = folder / "asked.txt"
    return path.read_text().splitlines() if path.exists() else []


def newest(folder: Path) -> Trace:
    return load_trace(max((folder / ".rlm" / "runs").glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns))


def value(cell: Cell) -> Any:
    assert cell.status == "ok", cell.evalue
    return eval(cell.result or "None")


def test_a_sub_agent_that_goes_another_way_takes_along_what_hangs_on_it_and_nothing_else(
    kernel: KernelProcess, here: Path, live: str
) -> None:
    path = record(here, SUMS)

    came = kernel.run(f"%rlm fork 0.2 step 2 -m {live} --trace {path}")

    assert value(came) == {"sum": 14, "live": True}
    assert asked(here) == ["0.2 step 2", "0 step 2", "0 step 3"]
    fork = newest(here)
    origin = {
        "kind": "fork",
        "run": load_trace(path).run,
        "agent": "0.2",
        "step": 2,
        "trace": f"../../runs/{path.name}",
    }
    assert fork.tree.run is not None
    assert fork.root is not None
    assert fork.tree.run.origin == origin
    (note,) = fork.root.notes
    assert note.startswith(f"forked from {origin['run']} at agent 0.2, step 2: 100.0% of that prompt is as it was")


def test_a_fork_can_be_replayed_and_forked_in_its_turn(kernel: KernelProcess, here: Path, live: str) -> None:
    path = record(here, SUMS)
    kernel.run(f"%rlm fork 0.2 step 2 -m {live} --trace {path}")
    fork = newest(here)
    (here / "asked.txt").unlink()

    assert rlm_kernel.replay(fork).answer == {"sum": 14, "live": True}
    again = kernel.run(f"%rlm fork 0.3 step 2 -m {live} --trace {fork.path}")

    assert value(again) == {"sum": 17, "live": True}
    assert asked(here) == ["0.3 step 2", "0 step 2", "0 step 3"]


@pytest.mark.parametrize(
    ("at", "came", "requests"),
    [
        ("0 step 1", {"sum": 12, "live": True}, ["0 step 1", "0 step 2", "0 step 3"]),
        ("0 step 3", {"sum": 12, "live": True}, ["0 step 3"]),
        ("0.1 step 1", {"sum": 13, "live": True}, ["0.1 step 1", "0.1 step 2", "0 step 2", "0 step 3"]),
    ],
)
def test_it_goes_live_at_the_step_that_was_named(
    at: str, came: dict[str, Any], requests: list[str], kernel: KernelProcess, here: Path, live: str
) -> None:
    path = record(here, SUMS)

    assert value(kernel.run(f"%rlm fork {at} -m {live} --trace {path}")) == came
    assert asked(here) == requests


def test_a_run_that_its_steps_did_not_suffice_goes_on_after_its_last(
    kernel: KernelProcess, here: Path, live: str
) -> None:
    path = record(here, SUMS, max_steps=2)

    came = kernel.run(f"%rlm fork 0 step 3 -m {live} --trace {path} --max-steps 9")

    assert value(came) == {"sum": 12, "live": True}
    assert asked(here) == ["0 step 3"]


@pytest.mark.parametrize(
    ("step", "fork", "came", "requests"),
    [
        (1, "0.2 step 2", {"sum": 14, "live": True}, ["0.2 step 2", "0 step 2", "0 step 3"]),  # before: it counts
        (2, "0.2 step 2", {"sum": 15, "live": True}, ["0 step 2", "0 step 3"]),  # at: it is what runs
        (2, "0.2 step 1", {"sum": 14, "live": True}, ["0.2 step 1", "0.2 step 2", "0 step 2", "0 step 3"]),  # after
    ],
)
def test_an_edited_cell_runs_up_to_the_fork(
    step: int, fork: str, came: dict[str, Any], requests: list[str], kernel: KernelProcess, here: Path, live: str
) -> None:
    path = record(here, SUMS)
    path = edited(path, "0.2", step, {1: "y = context * 2 + 0\ny", 2: "FINAL(y + 3)"}[step])

    assert value(kernel.run(f"%rlm fork {fork} -m {live} --trace {path}")) == came
    assert asked(here) == (["0.2 step 2", *requests[1:]] if step == 1 else requests)
    again = newest(here)
    counted = step == 1 or fork.endswith("2")
    assert ("edited" in again.tree.run.origin) is counted
    if step == 2 and counted:
        assert again.agents["0.2"].step(2).source == "FINAL(y + 3)"
        assert "FINAL(y + 3)" in again.agents["0.2"].step(2).reply.text
        assert again.tree.run.origin["edited"] == ["agent 0.2, step 2"]


def test_a_cell_that_was_put_into_a_sub_agents_record_runs_there(kernel: KernelProcess, here: Path, live: str) -> None:
    path = inserted(record(here, SUMS), "%%agent 0.2\ny = 100", "a0-2-s2")

    came = kernel.run(f"%rlm fork 0 step 3 -m {live} --trace {path}")

    assert value(came) == {"sum": 108, "live": True}
    assert asked(here) == ["0 step 2", "0 step 3"]
    assert "a cell that was put into the record ran here:\ny = 100" in newest(here).agents["0.2"].step(1).notes


def test_another_question_is_for_the_first_agent(kernel: KernelProcess, here: Path, live: str) -> None:
    path = record(here, SUMS)

    came = kernel.run(f"%rlm fork 0 step 3 -m {live} --trace {path} -q 'the whole, anew'")

    assert value(came) == {"sum": 12, "live": True}
    assert asked(here) == ["0 step 1", "0 step 2", "0 step 3"]
    fork = newest(here)
    assert fork.root is not None
    assert fork.root.question == "the whole, anew"
    assert "of that prompt is as it was" in fork.root.notes[0]
    assert "100.0%" not in fork.root.notes[0]


def test_each_depth_may_have_a_model_of_its_own(kernel: KernelProcess, here: Path, live: str) -> None:
    path = record(here, SUMS)
    deeper = model(here, TRIPLE, name="deeper", asked=here / "deeper.txt")

    kernel.run(f"%rlm fork 0.2 step 2 --models {live},{deeper} --trace {path}")

    assert asked(here) == ["0 step 2", "0 step 3"]
    assert (here / "deeper.txt").read_text() == "0.2 step 2\n"


def test_after_run_all_the_notebook_itself_is_forked_as_it_was_saved(
    kernel: KernelProcess, here: Path, live: str
) -> None:
    (here / "trace.ipynb").write_bytes(record(here, SUMS).read_bytes())
    for cell in json.loads((here / "trace.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert kernel.run(cell["source"]).status == "ok"
    edited(here / "trace.ipynb", "0.2", 2, "FINAL(y + 3)").replace(here / "trace.ipynb")

    came = kernel.run(f"found = %rlm fork 0.2 step 2 -m {live}\nfound")

    assert value(came) == {"sum": 15, "live": True}
    assert asked(here) == ["0 step 2", "0 step 3"]


def test_after_a_live_run_it_is_that_which_is_forked(kernel: KernelProcess, here: Path, live: str) -> None:
    kernel.run("context = [1, 2, 3]\nmine = 5")
    kernel.run(f"%%rlm -q -m {model(here, SUMS)}\nthe whole")
    kernel.run("context.append(4)")

    came = kernel.run(f"%rlm fork 0.2 step 2 -m {live} -o kept")

    assert value(came) == {"sum": 14, "live": True}
    assert asked(here) == ["0.2 step 2", "0 step 2", "0 step 3"]
    assert "`context` is not what it was then: the recorded value was put back" in came.text("stderr")
    assert kernel.value("[mine, kept, context]") == [5, {"sum": 14, "live": True}, [1, 2, 3]]


def test_nothing_recorded_is_asked_by_the_command_either(here: Path, live: str) -> None:
    path = record(here, SUMS)

    done = cli("replay", str(path), "--fork", "0.2:2", "-m", live, "--json", folder=here)

    told = json.loads(done.stdout)
    assert (done.returncode, told["answer"]) == (0, {"sum": 14, "live": True})
    assert asked(here) == ["0.2 step 2", "0 step 2", "0 step 3"]
    assert load_trace(told["trace"]).tree.run.origin["kind"] == "fork"


def test_a_failed_call_that_the_run_went_on_from_fails_again_before_the_fork(
    kernel: KernelProcess, here: Path, live: str
) -> None:
    try_it = "try:\n    llm_query('bad', context=1)\nexcept Exception as error:\n    print(error)"
    fails = {"bad": [{"error": {"kind": "server", "message": "boom"}}]}
    path = record(here, Case({"whole": [block(try_it), block("total = 1"), block("FINAL(1)")], **fails}, 1))

    assert value(kernel.run(f"%rlm fork 0 step 3 -m {live} --trace {path}")) == {"sum": 1, "live": True}
    assert asked(here) == ["0 step 3"]


def test_after_the_fork_chance_is_no_reason_to_keep_what_was_said_of_something_else(
    kernel: KernelProcess, here: Path, live: str
) -> None:
    chance = block("import random\nx = [llm_query('double', context=c) for c in context]\nprint(x, random.random())")
    path = record(here, Case({**SUMS.steps, "whole": [chance, *SUMS.steps["whole"][1:]]}, [1, 2, 3]))

    assert value(kernel.run(f"%rlm fork 0.2 step 2 -m {live} --trace {path}")) == {"sum": 14, "live": True}
    assert asked(here) == ["0.2 step 2", "0 step 2", "0 step 3"]


def test_a_form_has_to_be_given_again(kernel: KernelProcess, here: Path, live: str) -> None:
    path = record(here, Case({"whole": [block("total = 2"), block("FINAL(1)")]}, 1), schema=int)

    assert "give it again, --schema" in kernel.run(f"%rlm fork 0 step 2 -m {live} --trace {path}").evalue
    path = record(here, Case({"whole": [block("FINAL(1)")]}, 1), schema=int)
    again = model(here, Case({"whole": [block("FINAL(7)")]}), name="again")
    assert value(kernel.run(f"%rlm fork 0 step 1 -m {again} --trace {path} --schema int")) == 7


def test_a_fork_goes_on_in_the_store_that_is_there_and_what_it_does_not_write_again_is_put_by(
    kernel: KernelProcess, here: Path
) -> None:
    wrote = Case({"whole": [block("WRITE('a', 1)"), block("WRITE('b', 2)\ndel context.old"), block("FINAL(1)")]})
    other = Case({"whole": ["", block("FINAL(sorted(context))")]})
    kernel.run("from rlm_kernel.store import Store\ncontext = mine = Store()")
    kernel.run("context.big, context.old = 'x' * 3_000_000, 0")
    kernel.run(f"%%rlm -q -m {model(here, wrote)}\nwhole")

    came = kernel.run(f"%rlm fork 0 step 2 -m {model(here, other, name='other')}")

    assert value(came) == ["a", "big", "old"]
    assert value(kernel.run("context is mine, list(context), sorted(_rlm_before['context'])")) == (
        True,
        ["big", "old", "a"],
        ["a", "b", "big"],
    )


def changed(path: Path, folder: Path, how: Callable[[list[dict[str, Any]]], object]) -> Path:
    """A copy of the notebook without its journal, whose cells were changed."""
    notebook = json.loads(path.read_text())
    how([cell for cell in notebook["cells"] if cell["cell_type"] == "code"])
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] != "gone"]
    folder.mkdir(exist_ok=True)
    copy = folder / "changed.ipynb"
    copy.write_text(json.dumps(notebook))
    return copy


def test_outputs_that_were_cleared_or_overwritten_are_not_compared_and_ask_nothing_anew(here: Path, live: str) -> None:
    path = record(here, SUMS)

    def cleared(cells: list[dict[str, Any]]) -> None:
        for cell in cells:
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "0\n"}] * (cell["id"] == "a0-1-s1")

    copy = changed(path, here / "elsewhere", cleared)
    replayed = rlm_kernel.replay(copy)
    done = cli("replay", str(copy), "--fork", "0:3", "-m", live, folder=here)

    lost = "; ".join(
        f"agent {id}, step {step}" for id, step in [("0", 1), ("0", 2), ("0.1", 1), ("0.2", 1), ("0.3", 1)]
    )
    told = f"outputs are in the notebook no longer, and those cells' are not compared: {lost}"
    assert (replayed.answer, told in replayed.notes) == ({"sum": 12}, True)
    assert (done.returncode, asked(here)) == (0, ["0 step 3"])
    assert f"note: {told}" in done.stderr.splitlines()


def test_a_cell_whose_outputs_are_gone_still_differs_where_it_fails(here: Path) -> None:
    path = record(here, SUMS)

    def failing(cells: list[dict[str, Any]]) -> None:
        for cell in cells:
            if cell["id"] == "a0-s2":
                cell.update(outputs=[], source="total = 12\n1 / 0")

    with pytest.raises(Diverged) as found:
        rlm_kernel.replay(changed(path, here / "elsewhere", failing))
    assert (found.value.what, found.value.recorded) == ("error", "no error")


def test_an_edited_cell_whose_outputs_are_gone_moves_the_fork(here: Path, live: str) -> None:
    path = record(here, SUMS)

    def edited(cells: list[dict[str, Any]]) -> None:
        for cell in cells:
            if cell["id"] == "a0-s1":
                cell.update(outputs=[], source="x = [1]\nx")

    done = cli("replay", str(changed(path, here / "elsewhere", edited)), "--fork", "0:3", "-m", live, folder=here)

    assert (done.returncode, asked(here)) == (0, ["0 step 2", "0 step 3"])


def test_a_cell_that_was_taken_out_or_moved_is_told_and_runs_as_recorded(here: Path, live: str) -> None:
    path = record(here, SUMS)

    def taken_out(cells: list[dict[str, Any]]) -> None:
        for cell in cells:
            if cell["id"] in ("a0-s2", "a0-2-s1"):
                cell["id"] = "gone"
        at = {cell["id"]: cell for cell in cells}
        first, other = at["a0-1-s1"], at["a0-1-s2"]
        kept = dict(first)
        first.clear()
        first.update(other)
        other.clear()
        other.update(kept)

    copy = changed(path, here / "elsewhere", taken_out)
    replayed = rlm_kernel.replay(copy)
    done = cli("replay", str(copy), "--fork", "0:3", "-m", live, folder=here)
    exported = cli("export", str(copy), "--to", "python", folder=here)

    runs = "is not in the notebook: it runs as recorded; empty it to leave it out"
    told = [
        f"the cell of agent 0.2, step 1 {runs}",
        "moved in the notebook, and run in the recorded order: agent 0.1, step 2",
    ]
    told += [f"the cell of agent 0, step 2 {runs}"]
    assert [note for note in replayed.notes if note in told] == told
    assert [note for note in done.stderr.splitlines() if note[6:] in told] == [f"note: {note}" for note in told]
    assert asked(here) == ["0 step 3"]
    assert "not in the notebook: cells of agent 0, step 2; agent 0.2, step 1" in exported.stderr
    assert "moved in the notebook: the cell of agent 0.1, step 2" in exported.stderr


def test_cells_without_their_metadata_run_once_and_nothing_is_asked_anew(here: Path, live: str) -> None:
    counted = [block("n = globals().get('n', 0) + 1\nprint(n)"), block("FINAL(n)")]
    path = record(here, Case({"whole": counted}, 1))

    def stripped(cells: list[dict[str, Any]]) -> None:
        for cell in cells:
            cell["metadata"] = {}

    copy = changed(path, here / "elsewhere", stripped)

    assert (rlm_kernel.replay(copy).answer, rlm_kernel.replay(copy).notes) == (1, ())
    again = model(here, Case({"whole": counted}), name="again", asked=here / "asked.txt")
    assert cli("replay", str(copy), "--fork", "0:2", "-m", again, folder=here).returncode == 0
    assert asked(here) == ["0 step 2"]


# A fork that is stopped, and goes on

WAIT = "import os, time\nwhile os.path.exists('slow'): open('waits', 'w').close(); time.sleep(0.01)\n"
CHAIN = Case({"whole": [block(f"{WAIT}a = 1\na"), block("b = a + 1\nb"), block("c = b + 1\nc"), block("FINAL(c)")]}, 1)


def stopped(kernel: KernelProcess, folder: Path, code: str) -> None:
    """That cell, stopped where one of the record waits."""
    (folder / "slow").touch()
    request = kernel.start(code)
    end = time.monotonic() + 20
    while not (folder / "waits").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    kernel.manager.interrupt_kernel()
    assert kernel.finish(request).ename == "RunInterrupted"
    (folder / "slow").unlink()
    (folder / "waits").unlink()


def test_a_fork_that_was_stopped_before_it_asked_goes_on_with_what_was_edited_and_asks_no_more(
    kernel: KernelProcess, here: Path
) -> None:
    path = edited(record(here, CHAIN), "0", 2, "b = a + 100\nb")
    live = model(here, CHAIN, name="live", asked=here / "asked.txt")
    stopped(kernel, here, f"%rlm fork 0 step 3 -m {live} --trace {path}")
    stopped(kernel, here, "%%rlm -q --continue")

    came = kernel.run("%%rlm -q --continue")

    assert (value(came), asked(here)) == (102, ["0 step 3", "0 step 4"])
    assert newest(here).root.step(2).source == "b = a + 100\nb"


def test_a_fork_that_was_stopped_goes_on_with_the_replies_that_it_had_not_come_to(
    kernel: KernelProcess, here: Path, live: str
) -> None:
    one_by_one = "x = []\nfor c in context: x.append(llm_query('double', context=c))\nx"
    double = [block(f"if context == 3:\n    exec({WAIT!r})\ny = context * 2\ny"), block("FINAL(y)")]
    case = Case({"whole": [block(one_by_one), *SUMS.steps["whole"][1:]], "double": double}, [1, 2, 3, 4, 5])
    path = edited(record(here, case), "0.4", 2, "FINAL(y + 300)")
    path = inserted(path, "%%agent 0.5\ny = 1000", "a0-5-s2")
    stopped(kernel, here, f"%rlm fork 0.1 step 2 -m {live} --trace {path}")
    assert asked(here) == ["0.1 step 2"]

    came = kernel.run("%%rlm -q --continue")

    assert value(came) == {"sum": 3 + 4 + 6 + 308 + 1000, "live": True}
    assert asked(here) == ["0.1 step 2", "0 step 2", "0 step 3"]


def test_a_fork_that_was_stopped_before_it_asked_does_not_go_on_without_its_record(
    kernel: KernelProcess, here: Path
) -> None:
    path = record(here, CHAIN)
    live = model(here, CHAIN, name="live", asked=here / "asked.txt")
    stopped(kernel, here, f"%rlm fork 0 step 3 -m {live} --trace {path}")
    path.parent.rename(here / "elsewhere")

    came = kernel.run("%%rlm -q --continue")

    assert "is a fork that was stopped before it asked anything" in came.evalue
    assert f"fork again, %rlm fork 0 step 3 --trace {path.stem}" in came.evalue
    assert asked(here) == []


# What comes out otherwise, and not for what the fork changes


def test_what_differs_before_anything_was_changed_is_noted_and_asks_nothing_anew(
    kernel: KernelProcess, here: Path
) -> None:
    (here / "once_told.py").write_text("print('ready')\n")
    ask = "x = llm_query(f'part {len(sys.modules)}', context=1)\nx"
    case = Case(
        {
            "whole": [block("import sys, once_told\n1"), block(ask), block("3"), block("FINAL(x)")],
            "part": [block("FINAL(4)")],
        }
    )
    live = model(here, case, asked=here / "asked.txt")
    kernel.run(f"sys = __import__('sys')\nsys.path.insert(0, {str(here)!r})")
    assert kernel.run(f"%%rlm -q -m {live}\nthe whole").result == "4"
    (here / "asked.txt").unlink()
    kernel.run("import types; sys.modules['one more'] = types.ModuleType('one more')")

    came = kernel.run("%rlm fork 0 step 4")

    assert (came.result, asked(here)) == ("4", ["0 step 4"])
    assert "agent 0, step 1: the output is not as recorded" in came.text("stderr")


def test_what_differs_behind_an_edited_cell_is_asked_anew(kernel: KernelProcess, here: Path) -> None:
    case = Case({"whole": [block("x = [llm_query('part', context=1)]\nx"), block("x"), block("FINAL(x)")]}, 1)
    case.steps["part"] = [block("y = context\ny"), block("y"), block("FINAL(y)")]
    path = edited(record(here, case), "0.1", 1, "import random\ny = random.choice([7])\ny")
    live = model(here, case, name="live", asked=here / "asked.txt")

    assert value(kernel.run(f"%rlm fork 0 step 3 -m {live} --trace {path}")) == [7]
    assert asked(here) == ["0.1 step 2", "0.1 step 3", "0 step 2", "0 step 3"]


def test_a_context_that_is_named_has_to_be_the_recorded_one(kernel: KernelProcess, here: Path, live: str) -> None:
    path = record(here, SUMS)

    came = kernel.run(f"%rlm fork 0 step 3 -m {live} --trace {path} -c [1,2]")

    assert "`context` is not what it was: recorded was list" in came.evalue
    assert "leave out -c, and the recorded one is put there" in came.evalue
    assert asked(here) == []
    assert value(kernel.run(f"%rlm fork 0 step 3 -m {live} --trace {path} -c [1,2,3]")) == {"sum": 12, "live": True}
