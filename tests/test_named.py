"""Which trace a word names: the same for every command and magic."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm_kernel.cli import traces
from rlm_kernel.errors import UsageError
from rlm_kernel.rerun.named import JOURNAL, RUN, find
from tests.kernel_process import KernelProcess, block, kernel_process
from tests.recorded_runs import Case, cli, model


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    for age, name in enumerate(
        ["20260101-aa.jsonl", "20260101-aa.ipynb", "20260102-bb.ipynb", "20260102-bb.0.1.ipynb"]
    ):
        (folder / name).write_text("")
        os.utime(folder / name, (1000 - age, 1000 - age))
    (folder / ".hidden.ipynb").write_text("")
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_run_is_found_by_its_id_by_its_beginning_and_as_the_last(runs: Path) -> None:
    assert find("20260101-aa", runs) == runs / "20260101-aa.jsonl"
    assert find("20260102", runs) == runs / "20260102-bb.ipynb"
    assert find("last", runs) == runs / "20260101-aa.jsonl"


def test_of_two_files_of_a_run_it_is_the_one_that_the_command_is_for(runs: Path) -> None:
    assert find("20260101", runs, RUN) == runs / "20260101-aa.ipynb"
    assert find("2026", runs, JOURNAL) == runs / "20260101-aa.jsonl"
    with pytest.raises(UsageError, match="no run 20260102-bb"):
        find("20260102-bb", runs, JOURNAL)


def test_the_folder_may_be_named_before_the_run(runs: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "nowhere"

    assert find("runs/20260102", elsewhere) == Path("runs/20260102-bb.ipynb")
    assert find("runs/last", elsewhere) == Path("runs/20260101-aa.jsonl")


def test_a_folder_is_the_trace_in_it_where_that_is_one(runs: Path) -> None:
    with pytest.raises(UsageError) as several:
        find("runs", runs)
    assert str(several.value) == ("runs is a folder with 20260101-aa, 20260102-bb: name one of them, runs/20260101-aa")

    for file in runs.glob("20260101-*"):
        file.unlink()
    assert find("runs", runs) == find("runs/", runs) == Path("runs/20260102-bb.ipynb")
    (runs / "20260102-bb.ipynb").unlink()
    (runs / "20260102-bb.0.1.ipynb").unlink()
    with pytest.raises(UsageError, match=r"runs is a folder, and no trace is in it"):
        find("runs/", runs)


def test_a_file_wins_over_a_run_of_that_name_and_a_folder_without_traces_does_not(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "last").write_text("")
    (tmp_path / "20260102").mkdir()

    assert find("last", runs) == Path("last")
    assert find("20260102", runs) == runs / "20260102-bb.ipynb"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026010", "2026010 is the beginning of 20260101-aa, 20260102-bb: write more of the id"),
        ("20260101-ab", "did you mean 20260101-aa"),
        ("zzz", "the newest is 20260102-bb"),
        ("*", "there is no file and no run *"),
        ("", "there is no file and no run"),
        ("a\0b", "there is no file and no run"),
        ("~nobody-here/x", "no trace in ~nobody-here"),
    ],
)
def test_what_names_no_single_run_says_what_is_near(runs: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        find(text, runs)


def test_a_path_that_is_not_there_names_its_neighbours(runs: Path) -> None:
    with pytest.raises(UsageError, match=re.escape("did you mean 20260101-aa.ipynb")):
        find(str(runs / "20260101-ab.ipynb"), runs)


def test_an_empty_folder_of_traces_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no trace in"):
        find("last", tmp_path / "nowhere")


def test_the_commands_look_into_the_folder_that_is_set(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLM_TRACE_DIR", str(runs))

    assert traces.find("20260102") == runs / "20260102-bb.ipynb"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    """With three runs in its folder: of the first two the beginnings are one, the last has met its limit."""
    folder = tmp_path_factory.mktemp("kernel")
    case = Case({"whole": [block("x = 1\nx"), block("FINAL(x)")]})
    with kernel_process(folder, RLM_LIVE="0") as process:
        for name, options in (("20260101-aa", ""), ("20260101-ab", ""), ("20260303-cc", "--max-steps 1")):
            process.run(f"context = [1]\n%config RLM.model = '{model(folder, case)}'")
            process.run(f"%%rlm -q {options}\nthe whole")
            for file in (folder / ".rlm" / "runs").glob("*-*-*"):
                file.rename(file.with_name(f"{name}{file.suffix}"))
        yield process


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("%rlm replay {} --all", None),
        ("%rlm fork 0 step 2 --trace {}", "1"),
        ("%%rlm -q --replay {}\nthe whole", "1"),
    ],
)
def test_every_magic_takes_the_beginning_of_an_id(line: str, answer: str | None, kernel: KernelProcess) -> None:
    kernel.run("%config RLM.trace_dir = '.rlm/runs'")
    came = kernel.run(line.format("20260101-aa"))
    assert (came.status, came.result) == ("ok", answer), came.evalue

    whole = kernel.run(line.format("20260101-a"))
    assert whole.ename == "UsageError"
    assert whole.evalue == "20260101-a is the beginning of 20260101-aa, 20260101-ab: write more of the id"


@pytest.mark.kernel
def test_a_run_goes_on_by_the_beginning_of_its_id(kernel: KernelProcess) -> None:
    several = kernel.run("%%rlm --continue 20260101")
    came = kernel.run("%%rlm -q --continue 202603 --max-steps 5")
    again = cli("run", "--resume", "202603", "--max-steps", "5", folder=kernel.folder)

    assert several.evalue == "20260101 is the beginning of 20260101-aa, 20260101-ab: write more of the id"
    assert (came.status, came.result) == ("ok", "1"), came.evalue
    assert (again.returncode, "answer:\n1\n" in again.stdout) == (0, True), again.stderr
