"""`rlm_kernel.run` in plain Python: the same loop with no kernel around it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.getipython import get_ipython

import rlm_kernel
from tests.kernel_process import block, script


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    stdout, stderr = sys.stdout, sys.stderr
    yield
    sys.stdout, sys.stderr = stdout, stderr


def test_the_context_is_handed_over_and_the_answer_back_by_reference(tmp_path: Path) -> None:
    lock = threading.Lock()

    run = rlm_kernel.run("Give it back.", [lock], model=script(tmp_path, block("x = context[0]"), block("FINAL(x)")))

    assert run.answer is lock
    assert (run.ending, run.steps, run.calls) == ("final", 2, 2)
    assert run.trace is not None
    assert run.trace.exists()
    assert run.usage.prompt_tokens > 2_000


def test_each_run_has_a_namespace_of_its_own(tmp_path: Path) -> None:
    rlm_kernel.run("?", 1, model=script(tmp_path, block("left = 1\nFINAL(1)")))

    run = rlm_kernel.run("?", 1, model=script(tmp_path, block("FINAL('left' in globals())")))

    assert run.answer is False


def test_classes_magics_and_await_work_as_in_a_notebook(tmp_path: Path) -> None:
    code = "%time x = 1\nfiles = !ls\nclass A: pass\nimport asyncio\nawait asyncio.sleep(0)\nFINAL(A.__module__)"

    assert rlm_kernel.run("?", 1, model=script(tmp_path, block(code))).answer == "__main__"


def test_what_cells_print_is_shown_only_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = script(tmp_path, block("print('from the cell')"), block("FINAL(1)"))

    rlm_kernel.run("?", 1, model=model)
    assert capsys.readouterr().out == ""
    rlm_kernel.run("?", 1, model=model, quiet=False)
    assert capsys.readouterr().out == "from the cell\n"


def test_a_limit_raises_with_what_was_reached(tmp_path: Path) -> None:
    model = script(tmp_path, block("answer = [1]"), block("more = 2"))

    with pytest.raises(rlm_kernel.LimitExceeded) as stop:
        rlm_kernel.run("?", 1, model=model, max_steps=2)

    assert (stop.value.limit, stop.value.used, stop.value.allowed) == ("max_steps", 2, 2)
    assert stop.value.run is not None
    assert (stop.value.run.answer, stop.value.run.ending) == ([1], "limit")


def test_max_calls_holds_for_a_batch_and_keeps_what_was_answered(tmp_path: Path) -> None:
    cells = [
        block("got = llm_query_batched(['q'] * 10, return_exceptions=True)\nkinds = [type(g).__name__ for g in got]"),
        block("FINAL(kinds)"),
    ]
    model = script(tmp_path, *cells, completions=[{"reply": "a", "when": "q", "times": None}])

    with pytest.raises(rlm_kernel.LimitExceeded) as stop:
        rlm_kernel.run("?", 1, model=model, max_calls=5, max_depth=0)

    assert stop.value.run is not None
    assert stop.value.run.calls == 5
    journal = stop.value.run.journal.read_text()
    assert journal.count('"call_finished"') == 4
    assert journal.count('"call_failed"') == 6


def test_an_unknown_setting_or_an_empty_question_is_said_at_once(tmp_path: Path) -> None:
    model = script(tmp_path, block("FINAL(1)"))

    with pytest.raises(rlm_kernel.UsageError, match="max_stepps"):
        rlm_kernel.run("?", 1, model=model, max_stepps=3)
    with pytest.raises(rlm_kernel.UsageError, match="empty"):
        rlm_kernel.run(" ", 1, model=model)
    with pytest.raises(rlm_kernel.UsageError, match="no model is set"):
        rlm_kernel.run("?", 1)


def test_in_a_running_loop_it_is_awaited(tmp_path: Path) -> None:
    model = script(tmp_path, block("FINAL(1)"))

    async def go() -> tuple[str, object]:
        with pytest.raises(rlm_kernel.UsageError) as refused:
            rlm_kernel.run("?", 1, model=model)
        return str(refused.value), (await rlm_kernel.arun("?", 1, model=model)).answer

    refused, answer = asyncio.run(go())
    assert "arun" in refused
    assert answer == 1


def test_who_cancels_a_run_gets_a_cancellation_and_a_whole_trace(tmp_path: Path) -> None:
    model = script(tmp_path, {"reply": block("FINAL(1)"), "delay_s": 30})

    async def go() -> None:
        async with asyncio.timeout(0.5):
            await rlm_kernel.arun("?", 1, model=model)

    with pytest.raises(TimeoutError):
        asyncio.run(go())
    (trace,) = (tmp_path / ".rlm" / "runs").glob("*.ipynb")
    assert json.loads(trace.read_text())["metadata"]["rlm"]["ending"] == "interrupted"


def test_an_interrupt_that_was_heard_is_over_for_the_next_run_of_the_same_task(tmp_path: Path) -> None:
    spinning = block("import signal\nsignal.raise_signal(signal.SIGINT)\nwhile True: pass")
    awaiting = block(
        "import asyncio, signal\nasyncio.get_running_loop().call_later(0.1, signal.raise_signal, signal.SIGINT)\n"
        "await asyncio.sleep(30)"
    )
    own = block("raise asyncio.CancelledError('mine')")
    cells = script(tmp_path, block("import asyncio"), own, block("FINAL('went on')"), name="b.json")

    async def go() -> object:
        for stopped in (spinning, awaiting):
            with pytest.raises(rlm_kernel.RunInterrupted):
                await rlm_kernel.arun("?", 1, model=script(tmp_path, stopped, name="a.json"))
        return (await rlm_kernel.arun("?", 1, model=cells)).answer

    assert asyncio.run(go()) == "went on"


def test_a_batch_that_the_budget_holds_back_is_answered_to_the_end(tmp_path: Path) -> None:
    code = "FINAL(len(llm_query_batched(['q'] * 60)))"
    path = tmp_path / "priced.py"
    path.write_text(
        f"PRICE = (1e-6, 1e-5)\nREPLIES = [{block(code)!r}]\n"
        "COMPLETIONS = [{'reply': 'a', 'delay_s': 0.02, 'times': None}]\n"
    )

    run = rlm_kernel.run("?", 1, model=f"scripted:{path}", max_depth=0)

    assert (run.answer, run.calls) == (60, 61)
    assert run.usage.cost_usd is not None
    assert 0 < run.usage.cost_usd < 0.1


def test_a_script_is_what_it_was_after_a_run(tmp_path: Path) -> None:
    before = sys.stdout, sys.stderr, sys.modules["__main__"], sys.displayhook, get_ipython()

    rlm_kernel.run("?", 1, model=script(tmp_path, block("print(1)\nFINAL(get_ipython() is not None)")))

    assert (sys.stdout, sys.stderr, sys.modules["__main__"], sys.displayhook, get_ipython()) == before


def test_a_limit_of_seconds_in_a_thread_does_not_strike_the_main_thread(tmp_path: Path) -> None:
    model = script(tmp_path, block("import time; time.sleep(1.2)"), block("FINAL(1)"))
    ended: list[str] = []

    def work() -> None:
        try:
            rlm_kernel.run("?", 1, model=model, max_seconds=0.5)
        except rlm_kernel.LimitExceeded as limit:
            ended.append(limit.limit)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(1.5)
    thread.join()

    assert ended == ["max_seconds"]


def test_two_runs_at_once_leave_ctrl_c_as_it_was(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    quick = script(tmp_path, block("FINAL(1)"), name="quick.json")
    slow = script(tmp_path, {"reply": block("FINAL(2)"), "delay_s": 0.3}, name="slow.json")

    async def go() -> list[object]:
        runs = await asyncio.gather(rlm_kernel.arun("?", 1, model=quick), rlm_kernel.arun("?", 1, model=slow))
        return [run.answer for run in runs]

    inside = asyncio.run(go())

    assert inside == [1, 2]
    assert signal.getsignal(signal.SIGINT) is before


SCRIPT = """
import sys, rlm_kernel
try:
    rlm_kernel.run("Spin.", 1, model=sys.argv[1], quiet=False)
except rlm_kernel.RunInterrupted as stop:
    print(type(stop).__name__, stop.run.ending, "litellm" in sys.modules)
"""


@pytest.mark.parametrize("cell", ["while True: pass", "import time; time.sleep(60)", "llm_query('slow')"])
def test_ctrl_c_ends_a_script_within_a_second(tmp_path: Path, cell: str) -> None:
    slow = [{"reply": "late", "delay_s": 60}]
    model = script(tmp_path, block(f"print('here', flush=True)\n{cell}"), completions=slow)
    command = [sys.executable, "-c", SCRIPT, model]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "RLM_MAX_DEPTH": "0", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    time.sleep(0.3)

    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=20)[0]

    assert rest == "RunInterrupted interrupted False\n"
    assert time.monotonic() - began < 3  # the end of the interpreter included


def test_no_steps_allowed_is_a_limit_and_asks_nothing(tmp_path: Path) -> None:
    with pytest.raises(rlm_kernel.LimitExceeded) as stop:
        rlm_kernel.run("?", 1, model=script(tmp_path, block("FINAL(1)")), max_steps=0)

    assert stop.value.run is not None
    assert (stop.value.run.calls, stop.value.run.ending) == (0, "limit")
