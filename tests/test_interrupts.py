"""Stop, in every state that a run can be in: back in under a second, the kernel alive, the trace complete."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel_process import STOPPED_WITHIN_S, Cell, KernelProcess, block, kernel_process, script

pytestmark = pytest.mark.kernel

SLOW = {"reply": "late", "delay_s": 60, "times": None}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    with kernel_process(tmp_path_factory.mktemp("interrupts"), RLM_MAX_DEPTH="0") as process:
        yield process


def stop_in(kernel: KernelProcess, *replies: object, when: str, completions: object = ()) -> tuple[Cell, float, dict]:  # type: ignore[type-arg]
    """Ask, press Stop once `when` has been put out, and give the reply, the seconds it took and the trace."""
    model = script(kernel.folder, *replies, completions=completions)
    request = kernel.start(f"%%rlm -m {model}\nWork until you are stopped.")
    kernel.wait_for_output(request, when)
    time.sleep(0.3)  # from the mark to the state that the test is about
    started = time.monotonic()
    kernel.manager.interrupt_kernel()
    cell = kernel.finish(request)
    took = time.monotonic() - started
    path = kernel.value("str(get_ipython()._rlm_workspace.last_run.trace.resolve())")
    return cell, took, json.loads(Path(path).read_text())


STATES = {
    "waiting for the model": ([block("print('here')"), {"reply": "", "delay_s": 60}], ()),
    "sleeping": ([block("print('here')\nimport time; time.sleep(60)")], ()),
    "spinning": ([block("print('here')\nwhile True: pass")], ()),
    "spinning and swallowing exceptions": (
        [block("print('here')\nwhile True:\n    try:\n        while True: pass\n    except Exception: pass")],
        (),
    ),
    "in llm_query": ([block("print('here')\nllm_query('slow')")], [SLOW]),
    "in a batch": ([block("print('here')\nllm_query_batched(['slow'] * 50)")], [SLOW]),
    "awaiting": ([block("print('here')\nimport asyncio; await asyncio.sleep(60)")], ()),
    "awaiting a model": ([block("print('here')\nawait allm_query('slow')")], [SLOW]),
    "spinning in a coroutine": (
        [block("print('here')\nasync def spin():\n    while True: pass\nawait spin()")],
        (),
    ),
    "in a thread that is waited for": (
        [
            block(
                "print('here')\nimport threading, time\n"
                "t = threading.Thread(target=time.sleep, args=(10,)); t.start(); t.join()"
            )
        ],
        (),
    ),
    "in a pool of queries": (
        [
            block(
                "print('here')\nfrom concurrent.futures import ThreadPoolExecutor\n"
                "with ThreadPoolExecutor(4) as pool: list(pool.map(llm_query, ['slow'] * 4))"
            )
        ],
        [SLOW],
    ),
    "spinning in a task": (
        [
            block(
                "print('here')\nimport asyncio\nasync def spin():\n    while True: pass\n"
                "await asyncio.gather(spin(), spin())"
            )
        ],
        (),
    ),
    "asking in a task": (
        [
            block(
                "print('here')\nimport asyncio\nasync def one(n): return llm_query('slow')\n"
                "await asyncio.gather(one(1), one(2))"
            )
        ],
        [SLOW],
    ),
    "formatting a value": (
        [block("class Slow:\n    def _repr_html_(self):\n        import time; time.sleep(30)\nprint('here')\nSlow()")],
        (),
    ),
    "between steps": ([block("print('here')"), *[block("x = 1")] * 2_000], ()),
}


@pytest.mark.parametrize("state", STATES)
def test_stop_ends_a_run_within_a_second(kernel: KernelProcess, state: str) -> None:
    replies, completions = STATES[state]
    if state == "between steps":
        kernel.run("%config RLM.max_steps = None\n%config RLM.max_calls = None")

    cell, took, trace = stop_in(kernel, *replies, when="here", completions=completions)

    assert (cell.status, cell.ename) == ("error", "RunInterrupted")
    assert took < STOPPED_WITHIN_S
    assert trace["metadata"]["rlm"]["ending"] == "interrupted"
    assert any("here" in "".join(c["source"]) for c in trace["cells"] if c["cell_type"] == "code")
    assert kernel.run("'alive'").result == "'alive'"
    kernel.run("%config RLM.max_steps = 30\n%config RLM.max_calls = 200")


def test_a_signal_that_meets_our_own_code_ends_the_run_in_order(kernel: KernelProcess) -> None:
    strike = (
        "import signal\nstruck = []\ndef strike(message):\n    if not struck:\n        struck.append(1)\n"
        "        signal.raise_signal(signal.SIGINT)\n    return message\n"
        "get_ipython().display_pub.register_hook(strike)"  # called where the live view is published
    )
    kernel.run(strike)

    cell = kernel.run(f"%%rlm -m {script(kernel.folder, block('x = 1'), block('FINAL(x)'))}\nGo on.")
    kernel.run("get_ipython().display_pub.unregister_hook(strike)")

    assert (cell.status, cell.ename) == ("error", "RunInterrupted")


def test_stop_while_idle_does_nothing(kernel: KernelProcess) -> None:
    kernel.manager.interrupt_kernel()
    time.sleep(0.3)

    assert kernel.run("'alive'").result == "'alive'"


def test_stop_ends_a_query_in_a_persons_own_cell(kernel: KernelProcess) -> None:
    model = script(kernel.folder, completions=[SLOW])
    kernel.run(f"%config RLM.model = '{model}'")
    request = kernel.start("print('here')\nllm_query('slow')")
    kernel.wait_for_output(request, "here")
    time.sleep(0.3)

    started = time.monotonic()
    kernel.manager.interrupt_kernel()
    cell = kernel.finish(request)

    assert cell.ename == "KeyboardInterrupt"
    assert time.monotonic() - started < STOPPED_WITHIN_S
    assert kernel.run("1 + 1").result == "2"


def test_max_seconds_ends_a_cell_that_swallows_what_stops_it(kernel: KernelProcess) -> None:
    swallow = "import time\nbegan = time.time()\nwhile time.time() - began < 20:\n    try:\n        time.sleep(20)\n"
    model = script(
        kernel.folder,
        block(swallow + "    except BaseException as e:\n        caught = e\n        break\ntime.sleep(20)"),
    )

    cell = kernel.run(f"%%rlm -m {model} --max-seconds 1\nSleep.", timeout_s=15)

    assert cell.ename == "LimitExceeded"


def test_stop_in_the_first_moment_leaves_a_kernel_that_can_be_asked(tmp_path: Path) -> None:
    with kernel_process(tmp_path) as kernel:
        model = script(tmp_path, block("FINAL(1)"))
        for pause_s in (*(n / 1_000 for n in range(30)), 0.1):
            request = kernel.start(f"%%rlm -m {model}\nWhat?")
            time.sleep(pause_s)
            kernel.manager.interrupt_kernel()
            kernel.finish(request)

        assert kernel.run(f"%%rlm -m {model}\nWhat?").result == "1"


def test_stop_in_the_first_moment_of_a_persons_cell_is_answered_too(kernel: KernelProcess) -> None:
    for pause_s in (n / 2_000 for n in range(30)):
        request = kernel.start("import time; time.sleep(0.05)")
        time.sleep(pause_s)
        kernel.manager.interrupt_kernel()

        assert kernel.finish(request).ename in ("KeyboardInterrupt", "")  # "": it came before the kernel had begun


def test_max_seconds_ends_a_spinning_cell(kernel: KernelProcess) -> None:
    model = script(kernel.folder, block("answer = 'so far'\nwhile True: pass"))

    cell = kernel.run(f"%%rlm -m {model} --max-seconds 1\nSpin.")

    assert (cell.status, cell.ename) == ("error", "LimitExceeded")
    assert kernel.value("get_ipython()._rlm_workspace.last_run.answer") == "so far"
