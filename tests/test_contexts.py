"""Contexts too large for a trace: described only, or in a file beside it that goes where the notebook goes."""

from __future__ import annotations

from pathlib import Path

import pytest

import rlm_kernel
from rlm_kernel.trace.file import write
from tests.kernel_process import block, script

CONTEXT = "a line of text\n" * 300_000


def record(folder: Path, keep: str) -> rlm_kernel.Run:
    model = script(folder, block("n = context.count('line')\nn"), block("FINAL(n)"))
    return rlm_kernel.run("How many?", CONTEXT, model=model, trace_dir=str(folder / "runs"), keep_context=keep)


def test_a_large_context_lies_beside_and_goes_along_with_the_notebook(tmp_path: Path) -> None:
    run = record(tmp_path, "all")
    assert run.journal is not None
    away = tmp_path / "away"
    away.mkdir()

    write(rlm_kernel.load_trace(run.journal).tree, away / "mine.ipynb", run.journal.parent)

    assert len(list((away / "contexts").iterdir())) == 1
    assert (away / "mine.ipynb").stat().st_size < 100_000
    assert rlm_kernel.replay(away / "mine.ipynb").answer == 300_000


@pytest.mark.parametrize(("size", "letter", "beside"), [(1_000_000, "x", 0), (1_000_001, "x", 1), (600_000, "é", 1)])
def test_a_text_of_more_than_a_megabyte_lies_beside(tmp_path: Path, size: int, letter: str, beside: int) -> None:
    model = script(tmp_path, block("FINAL(len(context))"))

    run = rlm_kernel.run("How?", letter * size, model=model, trace_dir=str(tmp_path / "runs"), keep_context="all")

    assert run.journal is not None
    assert len(list(run.journal.parent.glob("contexts/*"))) == beside
    assert rlm_kernel.replay(run.journal).answer == size


def test_a_file_beside_that_was_changed_is_refused(tmp_path: Path) -> None:
    run = record(tmp_path, "all")
    assert run.journal is not None
    (beside,) = (run.journal.parent / "contexts").iterdir()
    beside.write_bytes(beside.read_bytes()[:-1])

    with pytest.warns(UserWarning, match=r"has been changed since.*mine.ipynb is without its context"):
        write(rlm_kernel.load_trace(run.journal).tree, tmp_path / "mine.ipynb", run.journal.parent)

    with pytest.raises(rlm_kernel.UsageError, match="cannot be read"):
        rlm_kernel.replay(tmp_path / "mine.ipynb")


def test_a_large_context_is_described_only_unless_asked_for(tmp_path: Path) -> None:
    run = record(tmp_path, "small")
    assert run.journal is not None

    assert not (run.journal.parent / "contexts").exists()
    with pytest.raises(rlm_kernel.UsageError, match="context"):
        rlm_kernel.replay(run.journal)
    assert rlm_kernel.replay(run.journal, CONTEXT).answer == 300_000
    with pytest.raises(rlm_kernel.UsageError, match="not what it was"):
        rlm_kernel.replay(run.journal, CONTEXT + "line")


def test_a_small_context_stays_out_where_none_is_to_be_kept(tmp_path: Path) -> None:
    model = script(tmp_path, block("FINAL(len(context))"))

    run = rlm_kernel.run("How?", "secret words", model=model, trace_dir=str(tmp_path), keep_context="none")

    assert run.journal is not None
    (found,) = rlm_kernel.load_trace(run.journal).agents["0"].given
    assert (found.form, found.value, found.sha is not None) == (None, None, True)
