"""The same notebook through nbclient and papermill: green where the run recovered, failed where it failed."""

from __future__ import annotations

from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.kernel_process import block, script

pytestmark = pytest.mark.kernel


def notebook(*sources: str) -> nbformat.NotebookNode:
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nb.metadata["kernelspec"] = {"name": "rlm", "display_name": "Python 3 (RLM)", "language": "python"}
    return nb


def recovering(folder: Path) -> nbformat.NotebookNode:
    code = "print('look')\nget_ipython().run_cell('1 / 0')\n1 / 0"
    model = script(folder, block("1 / 0"), block(code), block("FINAL(sum(context))"))
    return notebook("context = [1, 2, 3]", f"%%rlm -m {model} -o total\nWhat is the sum?", "total + 1")


def failing(folder: Path) -> nbformat.NotebookNode:
    return notebook(f"x = 1\n%config RLM.model = '{script(folder, block('y = 1'))}'", "%%rlm --max-steps 1\nWhat is x?")


def test_nbclient_runs_a_notebook_whose_model_recovered(tmp_path: Path) -> None:
    nb = recovering(tmp_path)

    NotebookClient(nb, resources={"metadata": {"path": str(tmp_path)}}).execute()

    assert nb.cells[2].outputs[0]["data"]["text/plain"] == "7"
    views = [o for o in nb.cells[1].outputs if "text/html" in o.get("data", {})]
    assert len(views) == 1
    assert "final" in views[0]["data"]["text/plain"]
    nbformat.validate(nb)


def test_papermill_runs_it_too(tmp_path: Path) -> None:
    nbformat.write(recovering(tmp_path), tmp_path / "in.ipynb")

    done = papermill.execute_notebook(
        str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb"), cwd=str(tmp_path), progress_bar=False
    )

    assert done.cells[2].outputs[0]["data"]["text/plain"] == "7"


def test_a_failed_run_fails_the_execution_by_its_name(tmp_path: Path) -> None:
    nbformat.write(failing(tmp_path), tmp_path / "in.ipynb")

    with pytest.raises(CellExecutionError) as failed:
        NotebookClient(failing(tmp_path), resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (failed.value.ename, failed.value.evalue) == ("LimitExceeded", "max_steps=1 reached (1 used)")
    with pytest.raises(papermill.PapermillExecutionError, match="LimitExceeded"):
        papermill.execute_notebook(
            str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb"), cwd=str(tmp_path), progress_bar=False
        )
