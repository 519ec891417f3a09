"""The notebook of a wide fan-out: what is edited there counts, and alone it says which one it belongs to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import rlm_kernel
from rlm_kernel.errors import Diverged, TraceError
from rlm_kernel.trace import file
from rlm_kernel.trace.changed import Inserted
from rlm_kernel.trace.loading import load_trace
from tests.kernel_process import KernelProcess, block
from tests.recorded_runs import Case, inserted, model, record
from tests.sample_run import agent_finished, agent_started, fenced, run_started, step, tree_of

pytestmark = pytest.mark.kernel

WIDE = Case(
    {
        "whole": [
            block("xs = llm_query_batched(['double'] * 51, list(range(51)))\nsum(xs)"),
            block("FINAL(sum(xs))"),
        ],
        "double": [block("y = context * 2\ny"), block("FINAL(y)")],
    }
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded"), WIDE)


@pytest.fixture
def run(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The notebook of a run and that of its fan-out, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    for path in recorded.parent.glob(f"{recorded.stem}*.ipynb"):
        shutil.copy(path, tmp_path)
    return tmp_path / recorded.name, tmp_path / f"{recorded.stem}.0-s1.ipynb"


def edit(path: Path, id: str, source: str) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    (cell,) = [cell for cell in notebook["cells"] if cell["id"] == id]
    cell["source"] = source
    path.write_text(json.dumps(notebook), "utf-8")


def run_all(kernel: KernelProcess, path: Path) -> list[tuple[str, str]]:
    """By id, what went wrong in the cells, up to the first that fails; and how many ran."""
    kernel.run(f"%cd -q {path.parent}\n%reset -f")
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            came = kernel.run(cell["source"])
            if came.status == "error":
                return [(cell["id"], came.evalue)]
    return []


def test_cells_as_they_were_recorded_are_no_edits(run: tuple[Path, Path]) -> None:
    trace = load_trace(run[0])

    assert (dict(trace.edited), trace.inserted, trace.complaint) == ({}, (), None)


def test_an_edited_cell_of_the_fan_out_is_an_edit_of_the_run(run: tuple[Path, Path]) -> None:
    whole, part = run
    edit(part, "a0-7-s1", "%%agent 0.7\ny = context * 3\ny")
    edit(whole, "a0-s2", "FINAL(1)")

    trace = load_trace(whole)

    assert trace.edited == {("0", 2): "FINAL(1)", ("0.7", 1): "y = context * 3\ny"}
    assert trace.complaint is None


def test_a_cell_that_was_put_into_the_fan_out_is_one_of_the_run(run: tuple[Path, Path]) -> None:
    whole, part = run
    inserted(part, "%%agent 0.7\ny = 1", above="a0-7-s2").replace(part)
    inserted(part, "print(1)", above="replay").replace(part)

    assert load_trace(whole).inserted == (Inserted("0", "print(1)", ("0", 1)), Inserted("0.7", "y = 1", ("0.7", 1)))


def test_a_fan_out_of_a_fan_out_is_looked_at_too(tmp_path: Path) -> None:
    events = [run_started(), agent_started()]
    for caller in ("0", "0.1"):
        events += step(1, fenced("go()"), "go()", agent=caller)
        for n in range(1, 52):
            events += [agent_started(f"{caller}.{n}", caller, in_step=1)]
            events += step(1, fenced("1"), "1", agent=f"{caller}.{n}") if (caller, n) != ("0", 1) else []
            events += [agent_finished(f"{caller}.{n}")]
    file.write(tree_of(events), tmp_path / "run.ipynb")

    edit(tmp_path / "run.0.1-s1.ipynb", "a0-1-51-s1", "%%agent 0.1.51\n2")

    assert load_trace(tmp_path / "run.ipynb").edited == {("0.1.51", 1): "2"}


def test_edits_are_found_where_the_first_notebook_has_another_name(run: tuple[Path, Path]) -> None:
    whole, part = run
    edit(part, "a0-7-s1", "%%agent 0.7\n1")
    whole = whole.rename(whole.with_name("mine.ipynb"))

    assert load_trace(whole).edited == {("0.7", 1): "1"}


def test_the_fan_out_of_a_copy_beside_is_not_that_of_another(run: tuple[Path, Path]) -> None:
    whole, part = run
    edit(part, "a0-7-s1", "%%agent 0.7\n1")
    copy = whole.with_name("copy.ipynb")
    shutil.copy(whole, copy)

    told = f"{part.name} belongs to {whole.name}: what is edited in it is not taken here"
    assert (load_trace(copy).edited, load_trace(copy).notes) == ({}, (told,))
    assert (load_trace(whole).edited, load_trace(whole).notes) == ({("0.7", 1): "1"}, ())
    assert told in rlm_kernel.replay(copy).notes


def test_a_copy_beside_a_fan_out_as_it_was_recorded_needs_no_word(run: tuple[Path, Path]) -> None:
    copy = run[0].with_name("copy.ipynb")
    shutil.copy(run[0], copy)

    assert (load_trace(copy).notes, load_trace(copy).removed) == ((), ())


def test_a_cell_that_was_taken_out_of_the_fan_out_is_told(run: tuple[Path, Path]) -> None:
    whole, part = run
    notebook = json.loads(part.read_text("utf-8"))
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] != "a0-7-s1"]
    part.write_text(json.dumps(notebook), "utf-8")

    assert (load_trace(whole).removed, load_trace(whole).edited) == ((("0.7", 1),), {})


def test_agents_of_a_fan_out_may_stand_in_the_first_notebook(run: tuple[Path, Path]) -> None:
    whole, part = run
    part.unlink()
    notebook = load_trace(whole).to_notebook()
    whole.write_text(json.dumps(notebook), "utf-8")
    assert (load_trace(whole).removed, load_trace(whole).inserted) == ((), ())

    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] != "a0-7-s1"]
    whole.write_text(json.dumps(notebook), "utf-8")
    assert load_trace(whole).removed == (("0.7", 1),)


def test_the_notebook_of_another_record_is_none_of_its_parts(run: tuple[Path, Path]) -> None:
    whole, part = run
    edit(part, "a0-7-s1", "%%agent 0.7\n1")
    notebook = json.loads(part.read_text("utf-8"))
    notebook["metadata"]["rlm"]["content"] = "0" * 12
    part.write_text(json.dumps(notebook), "utf-8")

    assert load_trace(whole).edited == {}


def test_a_fan_out_that_is_gone_is_not_missed_and_one_that_cannot_be_read_is_told(run: tuple[Path, Path]) -> None:
    whole, part = run
    part.write_text("{", "utf-8")
    told = load_trace(whole).complaint
    part.unlink()

    assert told is not None
    assert told.startswith(f"{part.name} cannot be read (Expecting property name")
    assert told.endswith("): what was edited in it is not known")
    assert load_trace(whole).complaint is None
    assert len(load_trace(whole).agents) == 52


def test_a_replay_runs_the_edited_cell_of_the_fan_out(run: tuple[Path, Path]) -> None:
    whole, part = run
    assert rlm_kernel.replay(whole).cells == 104

    edit(part, "a0-7-s1", "%%agent 0.7\ny = context * 3\ny")
    with pytest.raises(Diverged) as found:
        rlm_kernel.replay(whole)

    diverged = found.value
    assert (diverged.where, diverged.recorded, diverged.came) == ("agent 0.7, step 1", "12", "18")


def test_a_fork_runs_the_edited_cell_of_the_fan_out(run: tuple[Path, Path], kernel: KernelProcess) -> None:
    whole, part = run
    edit(part, "a0-7-s1", "%%agent 0.7\ny = context * 3\ny")
    live = model(whole.parent, WIDE, name="live")
    kernel.run(f"%cd -q {whole.parent}\n%reset -f")

    came = kernel.run(f"%rlm fork 0 step 2 --trace {whole.name} -m {live}")

    assert (came.status, came.result) == ("ok", str(2 * sum(range(51)) + 6))
    (journal,) = (whole.parent / ".rlm" / "runs").glob("*.jsonl")
    forked = load_trace(journal).tree.run
    assert forked is not None
    assert forked.origin["edited"] == ["agent 0.7, step 1"]


def test_run_all_in_the_fan_out_runs_the_record_of_the_run(run: tuple[Path, Path], kernel: KernelProcess) -> None:
    _, part = run

    assert run_all(kernel, part) == []
    assert kernel.run("%%agent 0.7\ny").result == "12"


def test_run_all_in_the_fan_out_alone_names_the_notebook_that_it_belongs_to(
    run: tuple[Path, Path], kernel: KernelProcess
) -> None:
    whole, part = run
    whole.unlink()

    told = f"{part.name} is a part of {whole.name}, which has the record and is not found"
    assert run_all(kernel, part) == [("replay", f"{told}: put {whole.name} beside it, and run it again")]


def test_loading_the_fan_out_names_the_notebook_that_it_belongs_to(run: tuple[Path, Path]) -> None:
    whole, part = run
    with pytest.raises(TraceError) as there:
        load_trace(part)
    whole.unlink()
    with pytest.raises(TraceError) as gone:
        load_trace(part)

    told = f"{part} is a part of a trace: load {whole.name}, which has the whole"
    assert str(there.value) == told
    assert str(gone.value) == f"{told}, and put it into this folder: it is not here"
