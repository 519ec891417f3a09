"""
Makes the golden traces of tests/traces: `python -m tests.make_traces`, after a change of the notebook's form.

Each is a run of a scripted model, whose replies stand beside it. `pytest --nbval tests/traces` runs them again,
cell by cell, with the recorded replies. What stands in `older` was written by the first version, and stays.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import rlm_kernel
from rlm_kernel.trace.file import write

TRACES = Path(__file__).parent / "traces"

RUNS: dict[str, dict[str, Any]] = {
    "counting": {"question": "What is the sum of the numbers?", "context": "12\none\n30\ntwo\n"},
    "family": {
        "question": "Count the leaves.",
        "context": {"oak": ["leaf", "twig"], "ash": ["leaf", "leaf", "root"], "elm": ["bark"]},
        "max_depth": 2,
    },
    "names": {"question": "Who comes twice?", "max_read_tokens": 400},
    "chance": {"question": "What differs every time?"},
}


def main() -> None:
    os.chdir(TRACES)  # so that the model is called scripted:counting.py, wherever the repository is
    with tempfile.TemporaryDirectory() as folder:
        for name, asked in RUNS.items():
            run = rlm_kernel.run(**asked, model=f"scripted:{name}.py", trace_dir=folder)
            assert run.journal is not None
            write(rlm_kernel.load_trace(run.journal).tree, TRACES / f"{name}.ipynb")
            print(f"{name}: {run.answer!r}, {run.steps} steps, {run.calls} calls")


if __name__ == "__main__":
    main()
