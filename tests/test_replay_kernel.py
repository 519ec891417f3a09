"""A trace notebook as people run it: in the kernel, by nbclient and nbval, and by `jupyter rlm replay`."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from rlm_kernel.cli.replay import Replay
from rlm_kernel.trace.loading import load_trace
from tests.kernel_process import Cell, KernelProcess, block, kernel_process
from tests.recorded_runs import CASES, CHANCE, DEEP, Case, cli, edited, inserted, model, ran, record, shown
from tests.recorded_values import EACH_KIND, IN_ANY_ORDER, lines, read

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("here")]


def beside(trace: Path, folder: Path, name: str = "trace.ipynb") -> Path:
    """The notebook where a person has put it, away from the journal and the model."""
    copy = folder / name
    copy.write_bytes(trace.read_bytes())
    for file in folder.rglob("spec.json"):
        file.unlink()
    return copy


def execute(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, 4)
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(path.parent)}}).execute()
    return notebook


def run_all(kernel: KernelProcess, path: Path) -> dict[str, Cell]:
    """Every code cell, as Run All does, up to the first that fails where it did not fail in the record."""
    cells = {}
    kernel.run(f"%cd -q {path.parent}\n%reset -f")
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            came = cells[cell["id"]] = kernel.run(cell["source"])
            if came.status == "error" and "raises-exception" not in cell["metadata"].get("tags", []):
                break
    return cells


def outputs(cell: Cell) -> list[dict[str, Any]]:
    return [{key: value for key, value in output.items() if key != "execution_count"} for output in cell.outputs]


def in_place(kernel: KernelProcess, path: Path) -> None:
    """Run All puts out what is recorded, each in its place."""
    cells = run_all(kernel, path)
    assert {id: outputs(cells[id]) if id in cells else None for id in shown(path)} == shown(path)


@pytest.mark.parametrize("name", ["three levels in a batch", "errors, stderr and displays"])
def test_run_all_puts_the_recorded_outputs_in_their_places_and_runs_no_cell_twice(name: str, here: Path) -> None:
    path = beside(record(here, CASES[name]), here)
    marks = here / "ran.txt"
    left = sorted(marks.read_text().split()) if marks.exists() else None
    came = []
    for _ in range(2):
        marks.unlink(missing_ok=True)
        came.append(execute(path))
        assert left == (sorted(marks.read_text().split()) if marks.exists() else None)

    for notebook in came:
        nbformat.write(notebook, here / "came.ipynb")
        assert shown(here / "came.ipynb") == shown(path)
    for notebook in came:
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
    assert came[0] == came[1]


def test_each_kind_of_run_has_its_values_here() -> None:
    assert EACH_KIND.keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_run_puts_out_the_same_in_place_in_one_kernel(
    name: str, kernel: KernelProcess, here: Path
) -> None:
    path = beside(record(here, CASES[name]), here)

    cells = run_all(kernel, path)

    assert {id: outputs(cells[id]) for id in shown(path)} == shown(path)
    came = {id: [read(output) for output in cells[id].outputs] for id in shown(path)}
    assert came.keys() == EACH_KIND[name].keys()
    if name in IN_ANY_ORDER:
        assert lines(came) == lines(EACH_KIND[name])
    else:
        assert came == EACH_KIND[name]


@pytest.mark.parametrize("name", ["three levels in a batch", "a context that is changed", "the same cell twice"])
def test_run_all_once_more_in_the_same_kernel_begins_anew(name: str, kernel: KernelProcess, here: Path) -> None:
    path = beside(record(here, CASES[name]), here)
    kernel.run(f"%cd -q {here}\n%reset -f")
    for _ in range(2):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                came = kernel.run(cell["source"])
                assert outputs(came) == shown(path).get(cell["id"], [])


def test_nbval_fails_where_an_output_was_changed_and_nowhere_else(here: Path) -> None:
    chance = beside(record(here, CHANCE), here, "chance.ipynb")
    good = beside(record(here, DEEP), here)
    notebook = json.loads(good.read_text())
    (cell,) = [cell for cell in notebook["cells"] if cell["id"] == "a0-2-1-s1"]
    cell["outputs"][0]["data"]["text/plain"] = "'noticed'"
    changed = here / "changed.ipynb"
    changed.write_text(json.dumps(notebook))

    command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", "--rootdir", str(here)]
    came = subprocess.run([*command, chance, good, changed], cwd=here, capture_output=True, text=True, timeout=100)

    assert came.returncode == 1
    assert [line for line in came.stdout.splitlines() if line.startswith("FAILED")] == [
        "FAILED changed.ipynb::Cell 11 - \x1b[91mNotebook cell execution failed\x1b[0m"
    ]
    assert re.search(r"^1 failed, [1-9]\d* passed", came.stdout, re.MULTILINE)


def test_nothing_that_could_ask_a_model_is_imported(here: Path) -> None:
    path = inserted(
        beside(record(here, DEEP), here),
        "import sys\n[name in sys.modules for name in ('litellm', 'openai')]",
        "a0-2-agent",
    )

    came = execute(path)

    (cell,) = [cell for cell in came.cells if cell.id == "mine"]
    assert cell.outputs[0]["data"]["text/plain"] == "[False, False]"


def test_an_edited_cell_stops_the_notebook_and_what_follows_until_it_is_mended(
    kernel: KernelProcess, here: Path
) -> None:
    case = Case({"whole": [block("a = 1\na"), block("b = a + 1\nprint(b)"), block(f"{ran('third')}\nFINAL(b)")]}, 1)
    path = beside(record(here, case), here)
    (here / "ran.txt").unlink()
    cells = run_all(kernel, edited(path, "0", 2, "b = a + 2\nprint(b)"))
    assert list(cells) == ["replay", "a0-s1", "a0-s2"]
    wrong = cells["a0-s2"]
    assert wrong.text() == "3\n"
    assert (wrong.ename, wrong.evalue.splitlines()[0]) == ("Diverged", "agent 0, step 2: the output is not as recorded")

    after = kernel.run(f"{ran('third')}\nFINAL(b)")
    assert after.evalue == wrong.evalue
    assert not (here / "ran.txt").exists()

    assert kernel.run("b = a + 1\nprint(b)").status == "ok"
    assert kernel.run(f"{ran('third')}\nFINAL(b)").status == "ok"
    assert (here / "ran.txt").read_text() == "third "


def test_a_cell_that_is_run_once_more_starts_the_same_sub_agents(kernel: KernelProcess, here: Path) -> None:
    path = beside(record(here, DEEP), here)
    first = run_all(kernel, path)["a0-s1"]
    (source,) = [cell["source"] for cell in json.loads(path.read_text())["cells"] if cell["id"] == "a0-s1"]

    again = kernel.run(source)

    assert outputs(again) == outputs(first)


def test_cells_that_a_person_put_into_the_notebook_run_once(kernel: KernelProcess, here: Path) -> None:
    path = record(here, DEEP)
    path = inserted(path, f"{ran('mine')}\nprint('of mine')", "a0-s2")
    path = inserted(path, f"%%agent 0.2\n{ran('within')}\nprint(y)", "a0-2-s2", id="within")
    (here / "ran.txt").unlink()

    cells = run_all(kernel, beside(path, here))

    words = (here / "ran.txt").read_text().split()
    assert (words.count("mine"), words.count("within"), words.count("w2")) == (1, 1, 1)
    assert cells["mine"].text() == "of mine\n"
    assert cells["within"].text() == "[35, 45]\n"


def asked_in(kernel: KernelProcess, folder: Path, case: Case, *cells: str, options: str = "") -> Path:
    """Asks in the kernel, after these cells of the person's; the trace."""
    kernel.run(f"%cd -q {folder}\n%reset -f")
    for cell in cells:
        assert kernel.run(cell).status == "ok"
    kernel.run(f"%%rlm -m {model(folder, case)} -q {options}\nthe whole")
    return max((folder / ".rlm" / "runs").glob("*.ipynb"), key=lambda path: path.stat().st_mtime)


PERSONS = (
    "import statistics as st\nimport pandas as pd\nfactor = 3",
    "frame = pd.DataFrame({'a': [1, 2]})\ndef double(x): return 2 * x",
)


def test_variables_of_the_persons_are_put_back_or_asked_for(kernel: KernelProcess, here: Path) -> None:
    case = Case(
        {"whole": [block("x = st.mean(context) * factor\nx"), block("double(frame.a.sum())"), block("FINAL(x)")]}
    )
    path = beside(asked_in(kernel, here, case, *PERSONS, "context = [1, 2, 3]"), here)

    missing = run_all(kernel, path)["replay"]
    assert missing.ename == "UsageError"
    assert "double is not in the record" in missing.evalue
    assert "frame is not in the record" in missing.evalue
    assert "context" not in missing.evalue

    kernel.run(f"{PERSONS[1]}\nfactor = 4".replace("pd.", "__import__('pandas')."))
    assert "`factor` is not what it was: recorded was int" in kernel.run("%rlm replay").evalue
    kernel.run("del factor")
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            came = kernel.run(cell["source"])
            assert came.status == "ok"
            if cell["id"] in shown(path):
                assert outputs(came) == shown(path)[cell["id"]]


def test_a_run_that_a_persons_own_cell_began_is_answered_in_that_cell(kernel: KernelProcess, here: Path) -> None:
    case = Case({"double": [block("FINAL(context * 2)")]})
    source = f"{ran('own')}\nxs = llm_query_batched(['double'] * 2, [1, 2])\nprint(xs)"
    kernel.run(f"%cd -q {here}\n%reset -f\n%config RLM.model = '{model(here, case)}'")
    assert kernel.run(source).text() == "[2, 4]\n"
    (trace,) = (here / ".rlm" / "runs").glob("*.ipynb")
    path = beside(trace, here)
    (here / "ran.txt").unlink()

    cells = run_all(kernel, path)

    assert cells["a0-person"].text() == "[2, 4]\n"
    assert (here / "ran.txt").read_text() == "own "
    assert {id: outputs(cells[id]) for id in shown(path)} == shown(path)


@pytest.mark.parametrize(
    "replies",
    [
        [block("x = 1\nx"), block("print('begins', flush=True)\nimport time\ntime.sleep(60)")],
        [block("print('begins', flush=True)"), {"reply": "late", "delay_s": 60}],
    ],
    ids=["in a cell", "while asking"],
)
def test_a_run_that_was_stopped_is_shown_up_to_there(replies: list[Any], kernel: KernelProcess, here: Path) -> None:
    kernel.run(f"%cd -q {here}\n%reset -f")
    request = kernel.start(f"%%rlm -m {model(here, Case({'whole': replies}))}\nthe whole")
    kernel.wait_for_output(request, "begins")
    time.sleep(0.2)
    kernel.manager.interrupt_kernel()
    assert kernel.finish(request).ename == "RunInterrupted"
    (trace,) = (here / ".rlm" / "runs").glob("*.ipynb")
    path = beside(trace, here)

    in_place(kernel, path)


def test_replay_all_at_once_writes_the_notebook_as_it_came(kernel: KernelProcess, here: Path) -> None:
    path = beside(record(here, CHANCE), here)
    kernel.run(f"%cd -q {here}\n%reset -f")

    came = kernel.run("%rlm replay trace.ipynb --all -o came.ipynb")

    assert came.status == "ok"
    assert came.text("stderr").count("it depends on random") == 6
    assert shown(here / "came.ipynb").keys() == shown(path).keys()
    assert shown(here / "came.ipynb")["a0-s1"] != shown(path)["a0-s1"]
    assert load_trace(here / "came.ipynb").complaint is None
    (cell,) = [cell for cell in json.loads(path.read_text())["cells"] if cell["id"] == "a0-s4"]
    assert kernel.run("r = 5\n" + cell["source"]).result == "5"
    assert kernel.run("r = 6").status == kernel.run(cell["source"]).status == "ok"  # the person's own now
    assert kernel.value("r") == 6


def test_what_is_told_of_a_replay_is_the_record(kernel: KernelProcess, here: Path) -> None:
    path = beside(record(here, DEEP), here)
    run_all(kernel, path)

    assert kernel.run("%rlm prompt 0.2.1 1").text().count("# The question") == 1
    kernel.run("%rlm trace again.ipynb")
    assert shown(here / "again.ipynb") == shown(path)
    assert load_trace(here / "again.ipynb").content == load_trace(path).content


def test_a_question_of_a_persons_own_notebook_is_answered_from_a_record(kernel: KernelProcess, here: Path) -> None:
    path = beside(record(here, DEEP, max_steps=7), here)
    kernel.run(f"%cd -q {here}\n%reset -f\n%config RLM.max_steps = 1")

    same = kernel.run("%%rlm -q --replay trace.ipynb -o came\nthe whole")
    assert (same.status, same.result) == ("ok", "[40, 80, 55]")
    assert kernel.value("came") == [40, 80, 55]

    assert "no trace in .rlm/runs" in kernel.run("%%rlm -q --replay last\nthe whole").evalue
    other = kernel.run("%%rlm -q --replay trace.ipynb\nthe half")
    assert (other.ename, other.evalue) == (
        "UsageError",
        "--replay trace.ipynb: the question there is another: the whole; ask that one, or without --replay",
    )
    assert "leave out --model" in kernel.run("%%rlm --replay trace.ipynb -m openai/x\nthe whole").evalue
    kernel.run("context = [1]")
    assert "`context` is not what it was" in kernel.run("%%rlm -q --replay trace.ipynb\nthe whole").evalue
    kernel.run("del context")
    edited(path, "0.2.1", 1, "n = 'other'\nn")
    assert kernel.run("%%rlm -q --replay edited.ipynb\nthe whole").ename == "Diverged"
    kernel.run("%config RLM.max_steps = 30")


def test_a_marked_cell_runs_again_in_a_notebook_only_where_that_is_said(kernel: KernelProcess, here: Path) -> None:
    marked = block(f"%rlm no-rerun\n{ran('sent')}\nprint('sent')")
    beside(record(here, Case({"whole": [marked, block("FINAL(1)")]})), here)
    (here / "ran.txt").unlink()
    kernel.run(f"%cd -q {here}\n%reset -f")
    for line in ("%rlm replay trace.ipynb --all {}", "%%rlm -q --replay trace.ipynb {}\nthe whole"):
        assert kernel.run(line.format("")).status == kernel.run(line.format("--rerun no")).status == "ok"
        assert not (here / "ran.txt").exists()

        assert kernel.run(line.format("--rerun yes")).status == "ok"
        assert (here / "ran.txt").read_text() == "sent "
        (here / "ran.txt").unlink()


def test_what_a_library_warns_of_four_agents_at_once_is_the_same_in_every_replay(
    kernel: KernelProcess, here: Path
) -> None:
    (here / "noisy.py").write_text(
        "import random, time, warnings\n\ndef fit(x):\n    time.sleep(random.Random().random() / 20)\n"
        "    warnings.warn('no end')\n    return x + 1\n"
    )
    ask = block("r = llm_query_batched(['part'] * 4, contexts=[1, 2, 3, 4])\nr")
    part = [block("import noisy\nnoisy.fit(context); noisy.fit(context)"), block("FINAL(context)")]
    case = Case({"whole": [ask, block("import noisy\nnoisy.fit(1)"), block("FINAL(r)")], "part": part})
    kernel.run(f"%cd -q {here}\n%reset -f\nimport sys; sys.path[:0] = ['']\nimport noisy; noisy.fit(1)")

    asked = kernel.run(f"%%rlm -q -m {model(here, case)}\nthe whole")

    (path,) = (here / ".rlm" / "runs").glob("*.ipynb")
    told = ["".join(str(output) for output in outs).count("no end") for outs in shown(path).values()]
    assert (asked.status, sorted(told)) == ("ok", [0] * 6 + [2] * 5), asked.evalue
    for _ in range(3):
        assert (came := kernel.run("%rlm replay last --all")).status == "ok", came.evalue
    fresh = cli("replay", str(path), folder=here)
    assert (fresh.returncode, fresh.stdout) == (0, "identical: 11 cells of 5 agents\n"), fresh.stderr


def test_one_cell_of_one_agent_is_told_as_such(here: Path) -> None:
    path = record(here, Case({"whole": [block("FINAL(1)")]}))

    assert cli("replay", str(path), folder=here).stdout == "identical: 1 cell of 1 agent\n"


def test_a_divergence_that_the_last_cell_catches_is_no_answer(kernel: KernelProcess, here: Path) -> None:
    catch = "try:\n    x = llm_query('part', context=1)\nexcept Exception:\n    x = 5\nFINAL(x)"
    path = record(here, Case({"whole": [block(catch)], "part": [block("1"), block("FINAL(5)")]}, 1))
    kernel.run(f"%cd -q {here}\n%reset -f")

    came = kernel.run(f"%%rlm -q --replay {edited(path, '0.1', 1, '2')}\nthe whole")

    assert (came.ename, came.evalue.splitlines()[0]) == ("Diverged", "agent 0.1, step 1: the output is not as recorded")


def test_a_notebook_that_is_not_where_the_kernel_is_is_not_guessed(kernel: KernelProcess, here: Path) -> None:
    path = beside(record(here, DEEP), here)
    content = load_trace(path).content
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    kernel.run(f"%cd -q {elsewhere}\n%reset -f")

    assert "start its kernel in its folder" in kernel.run(f"%rlm replay {content}").evalue
    kernel.run(f"import os\nos.environ['JPY_SESSION_NAME'] = '{path}'")
    assert kernel.run(f"%rlm replay {content}").status == "ok"
    assert kernel.run("del os.environ['JPY_SESSION_NAME']").status == "ok"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%rlm replay missing.ipynb", "there is no file missing.ipynb"),
        ("%rlm replay missing", "there is no file missing, and no trace in .rlm/runs"),
        ("%rlm replay trace.ipynb --rerun maybe", "invalid choice: 'maybe'"),
        ("%rlm replay notes.txt", "notes.txt is neither a journal nor a notebook that can be read"),
        ("%rlm replay --quick", "unrecognized arguments: --quick; usage: %rlm replay"),
        ("%rlm replay trace.ipynb -o x.ipynb", "goes with --all"),
        ("%rlm replay trace.ipynb --all -o notes.txt", "writes over no file that is not a trace"),
        ("%rlm replay trace.ipynb 'a", "No closing quotation"),
        ("%rlm replay trace.ipynb -c missing.txt", "no such file, and as an expression it raises"),
        ("%rlm replay", "the notebook of this record is not found"),
        ("%rlm fork", "the following arguments are required: agent, step"),
        ("%rlm fork 0 step two --trace trace.ipynb", "'step two' is no step: write %rlm fork 0 step 3"),
        ("%rlm fork 7 step 1 --trace trace.ipynb", "there is no agent 7 in the record; it has 0, 0.1"),
        ("%rlm fork 0 step 4 --trace trace.ipynb", "agent 0 has steps 1 to 2: fork at one of these, or at 3 to go on"),
        ("%rlm fork 0 step 0 --trace trace.ipynb", "agent 0 has steps 1 to 2"),
        ("%rlm fork 0 step 1 --trace trace.ipynb -m nothing", "'nothing' does not name a model"),
        ("%rlm fork 0 step 1 --trace trace.ipynb --max-steps few", "max_steps"),
        ("%%rlm --replay missing.ipynb\nthe whole", "there is no file missing.ipynb"),
        ("%%rlm --continue missing", "there is no file missing, and no trace in .rlm/runs"),
        ("%%rlm --continue\n", "no run in .rlm/runs broke off"),
        ("%%rlm --continue\nWhy?", "leave the cell below the line empty"),
        ("%%rlm --continue trace.ipynb", "is neither beside it nor in .rlm/runs"),
        ("%%agent 0.7\n1", "no run yet: ask in a cell that begins with %%rlm"),
    ],
)
def test_each_wrong_use_is_one_line_that_names_the_mend(
    line: str, said: str, recorded_once: Path, fresh: KernelProcess, here: Path
) -> None:
    (here / "trace.ipynb").write_bytes(recorded_once.read_bytes())
    (here / "notes.txt").write_text("mine")
    if line == "%rlm replay":
        (here / "trace.ipynb").unlink()
    fresh.run(f"%cd -q {here}")

    came = fresh.run(line)

    assert came.ename in ("UsageError", "TraceError"), came
    assert said in came.evalue
    assert "\n" not in came.evalue
    assert all(came.evalue.count(f"%rlm {name}") <= 1 for name in ("fork", "replay"))
    assert (here / "notes.txt").read_text() == "mine"


@pytest.fixture(scope="module")
def recorded_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    with contextlib.chdir(folder):  # its cells write where they run, and no test has gone into its folder yet
        return record(folder, DEEP)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    """A kernel in which nothing was asked."""
    with kernel_process(tmp_path_factory.mktemp("fresh"), RLM_LIVE="0") as process:
        yield process


def test_a_sub_agents_cell_before_that_of_its_caller_says_which_to_run(kernel: KernelProcess, here: Path) -> None:
    beside(record(here, DEEP), here)
    kernel.run(f"%cd -q {here}\n%reset -f\n%rlm replay trace.ipynb")

    came = kernel.run("%%agent 0.2\n" + shown_source(here / "trace.ipynb", "a0-2-s1"))

    assert came.evalue == "agent 0.2 did not run yet: run the cell of agent 0, step 1 first, which starts it"


def shown_source(path: Path, id: str) -> str:
    (cell,) = [cell for cell in json.loads(path.read_text())["cells"] if cell["id"] == id]
    return str(cell["source"]).partition("\n")[2]


def test_the_command_replays_and_its_exit_code_says_what_became_of_it(here: Path) -> None:
    path = beside(record(here, DEEP), here)
    edited(path, "0.2.1", 1, "n = 'other'\nn")

    same = cli("replay", "trace.ipynb", folder=here, RLM_MODEL="openai/never-asked")
    other = cli("replay", "edited.ipynb", "--json", folder=here)
    missing = cli("replay", "missing.ipynb", folder=here)
    unread = cli("replay", str(Path(__file__)), folder=here)

    assert (same.returncode, same.stdout) == (0, "identical: 18 cells of 9 agents\n"), same.stderr
    told = json.loads(other.stdout)
    assert (other.returncode, told["identical"], told["divergence"]) == (
        5,
        False,
        {"where": "agent 0.2.1, step 1", "what": "output", "recorded": "'noted'", "came": "'other'"},
    )
    assert missing.returncode == unread.returncode == 2
    assert missing.stderr.startswith("jupyter rlm replay: there is no file missing.ipynb")
    assert "is neither a journal nor a notebook" in unread.stderr
    assert all(done.stderr.count("\n") == 1 for done in (missing, unread))


def test_the_command_shows_a_record_and_runs_nothing(here: Path) -> None:
    beside(record(here, DEEP), here)
    (here / "ran.txt").unlink()

    done = cli("replay", "trace.ipynb", "--show", folder=here)

    assert (done.returncode, "FINAL('xs')" in done.stdout, done.stderr) == (0, True, "")
    assert not (here / "ran.txt").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "openai/x"], "a replay asks no model: a model, limits and --question go with --fork AGENT:STEP"),
        (["--question", "Why?"], "a replay asks no model"),
        (["--fork", "0.2"], "--fork 0.2: give an agent and a step, such as 0.2:3"),
        (["-c", "missing.txt"], "-c missing.txt: no such file or folder"),
        (["-o", "mine.txt"], "-o mine.txt exists and is no trace"),
        (["-o", "no/folder/x.ipynb"], "there is no folder"),
    ],
)
def test_a_wrong_use_of_the_command_starts_no_kernel(words: list[str], said: str, here: Path, capsys: Any) -> None:
    beside(record(here, Case({"whole": [block("FINAL(1)")]}, 1)), here)
    (here / "mine.txt").write_text("mine")

    with pytest.raises(SystemExit) as ended:
        Replay.launch_instance(["trace.ipynb", *words])

    Replay.clear_instance()
    told = capsys.readouterr().err
    assert (ended.value.code, told.count("\n")) == (2, 1)
    assert said in told


def test_run_all_where_the_run_was_asked_puts_the_store_back_as_it_was_before_it(tmp_path: Path) -> None:
    steps = [block("print(sorted(context))"), block("WRITE('k', 1)\ncontext.pop('old')"), block("FINAL(list(context))")]
    with kernel_process(tmp_path) as kernel:
        kernel.run("context.contract, context.old = 'clause', 1\nmine = context")
        kernel.run(f"%%rlm -q -m {model(tmp_path, Case({'whole': steps}))}\nwhole")
        kernel.run("%rlm trace three.ipynb")
        for _ in range(2):
            cells = json.loads((tmp_path / "three.ipynb").read_text())["cells"]
            came = [kernel.run("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
            assert [cell.evalue for cell in came if cell.status == "error"] == []
        assert kernel.run("context is mine, list(context)").result == "(True, ['contract', 'k'])"
