"""A kernel that is killed in the middle: the journal holds all that had happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rlm_kernel.trace.reading import read
from rlm_kernel.trace.tree import fold
from tests.kernel_process import KernelProcess, block, script

pytestmark = pytest.mark.kernel


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (block("print('here')\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)"), "running"),
        ({"reply": "never", "delay_s": 60}, "asking"),
    ],
    ids=["in a cell", "waiting for the model"],
)
def test_a_killed_kernel_leaves_a_journal_of_everything_before(tmp_path: Path, last: object, status: str) -> None:
    folder = tmp_path / ".rlm" / "runs"
    kernel = KernelProcess(tmp_path)
    try:
        kernel.start(f"%%rlm -m {script(tmp_path, block('x = 1'), block('print(x)'), last)}\nGo on.")
        if status == "asking":
            wait_until(lambda: any('"step":3' in file.read_text() for file in folder.glob("*.jsonl")))
            kernel.manager.signal_kernel(9)
        wait_until(lambda: not kernel.manager.is_alive())
    finally:
        kernel.close()

    (journal,) = folder.glob("*.jsonl")
    reading = read(journal)
    tree = fold(reading.events)
    assert reading.complaint is None
    assert tree.root is not None
    assert [step.status for step in tree.root.steps] == ["done", "done", status]
    assert tree.root.steps[1].cell is not None
    assert tree.root.steps[1].cell.outputs[0]["text"] == "1\n"
    assert len(tree.root.messages(3)) == 6
