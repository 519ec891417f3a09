"""The log of another tool as a notebook under nbval: it passes, and fails where an output was changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel.trace import file
from rlm_kernel.trace.importers import import_log

pytestmark = pytest.mark.kernel

REAL = Path(__file__).parents[2] / "shared" / "traces"
REAL_LOGS = ["fast-rlm/r_count_2026-02-22T14-56-34-865Z.jsonl", "fabric-rlm/arithmetic.jsonl"]

CHAT = [
    "How many?",
    "```python\nx = 2 + 2\nprint(x)\n```",
    "Output:\n4\n",
    "```python\nprint('unseen')\nx + 1\n```",
    "Thanks.",  # no output: how that cell ended is not in the log
    "```python\nprint(x)\nx\n```",
    "Output:\n4\n4",
    "```python\nprint('unseen, too')\n```",
]
PREDICTION = [
    {"reasoning": "Add.", "code": "x = 2 + 2\nprint(x)", "output": "4"},
    {"reasoning": "Done.", "code": "print('unseen')\nSUBMIT(answer=x)", "output": "FINAL: {'answer': 4}"},
]


def notebook_of(log: Path, folder: Path, name: str) -> Path:
    (imported,) = import_log(log)
    file.write(imported.tree, folder / name)
    return folder / name


def with_another_output(path: Path) -> tuple[Path, str]:
    """
    A copy in which the first output is another, and how nbval names its cell. It is in a folder of its own: by what it
    says of itself it is the first one.
    """
    notebook: dict[str, Any] = json.loads(path.read_text("utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    at = next(n for n, cell in enumerate(cells) if cell["outputs"])
    cells[at]["outputs"][0]["text"] = "something else\n"
    changed = path.parent / "changed" / path.name
    changed.parent.mkdir(exist_ok=True)
    changed.write_text(json.dumps(notebook), "utf-8")
    return changed, f"changed/{path.name}::Cell {at}"


def failed_and_changed(folder: Path, *notebooks: Path) -> tuple[list[str], list[str]]:
    """The cells at which nbval fails, of the notebooks and of a copy of each with one output changed; those cells."""
    changed = dict(map(with_another_output, notebooks))
    command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder)]

    came = subprocess.run(
        [*command, *notebooks, *changed], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )

    told = [line.split(" - ")[0].removeprefix("FAILED ") for line in came.stdout.splitlines() if "FAILED" in line]
    return sorted(told), sorted(changed.values())


def test_nbval_passes_where_a_log_has_lost_outputs_and_finds_one_that_was_changed(tmp_path: Path) -> None:
    roles = ["user", "assistant"] * (len(CHAT) // 2)
    messages = [{"role": role, "content": text} for role, text in zip(roles, CHAT, strict=True)]
    logs = {"chat": {"messages": messages}, "prediction": PREDICTION}
    notebooks = []
    for name, log in logs.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(log), "utf-8")
        notebooks.append(notebook_of(tmp_path / f"{name}.json", tmp_path, f"{name}.ipynb"))

    failed, changed = failed_and_changed(tmp_path, *notebooks)

    assert failed == changed


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the logs of other tools are not in {REAL}")
def test_nbval_passes_on_real_logs_and_finds_an_output_that_was_changed(tmp_path: Path) -> None:
    notebooks = [notebook_of(REAL / log, tmp_path, f"{at}.ipynb") for at, log in enumerate(REAL_LOGS)]

    failed, changed = failed_and_changed(tmp_path, *notebooks)

    assert failed == changed
