"""Stop with sub-agents under way: the whole tree is over in under a second, wherever its agents are."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel_process import STOPPED_WITHIN_S, Cell, KernelProcess, block, kernel_process

pytestmark = pytest.mark.kernel

STATES = {
    "spinning": "while True: pass",
    "spinning and swallowing": "while True:\n    try:\n        while True: pass\n    except Exception: pass",
    "sleeping": "import time; time.sleep(60)",
    "awaiting": "import asyncio; await asyncio.sleep(60)",
    "spinning in a task": "import asyncio\nasync def spin():\n    while True: pass\nawait asyncio.gather(spin())",
    "in a call of C": "import threading; threading.Event().wait(8)",
    "asking": "llm_query('slow')",
    "awaiting a model": "await allm_query('slow')",
    "in a batch of 100": "llm_query_batched(['slow'] * 100)",
}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    with kernel_process(tmp_path_factory.mktemp("stop"), RLM_MAX_CALLS="none", RLM_LIVE="0") as process:
        yield process


def model(kernel: KernelProcess, depth: int, busy: str, width: int = 1) -> str:
    """Agents ask one another down to `depth`; the deepest write a file and do what is `busy`."""
    mark = kernel.folder / "here"
    mark.unlink(missing_ok=True)
    down = f"FINAL(llm_query_batched(['deeper'] * {width}, [1] * {width}))"
    deepest = f"open({str(mark)!r}, 'a').write('.')\n{busy}"
    path = kernel.folder / "script.py"
    path.write_text(
        f"DOWN, DEEPEST = {block(down)!r}, {block(deepest)!r}\n"
        "def reply(request):\n"
        f"    return DEEPEST if request.agent.count('.') == {depth} else DOWN\n"
        "REPLIES = [dict(reply=reply, times=None)]\n"
        "COMPLETIONS = [dict(reply='late', delay_s=60, times=None)]\n"
    )
    return f"scripted:{path}"


def wait_for_marks(kernel: KernelProcess, wanted: int = 1) -> None:
    mark = kernel.folder / "here"
    end = time.monotonic() + 40
    while not (mark.exists() and len(mark.read_text()) >= wanted):
        assert time.monotonic() < end, "the deepest agents did not get to their cells"
        time.sleep(0.02)
    time.sleep(0.3)  # from the mark to the state that the test is about


def stop(kernel: KernelProcess, request: str, mode: str) -> tuple[Cell, float]:
    started = time.monotonic()
    if mode == "signal":
        kernel.manager.interrupt_kernel()
    else:
        client = kernel.client
        client.control_channel.send(client.session.msg("interrupt_request", {}))
    cell = kernel.finish(request)
    return cell, time.monotonic() - started


def trace(kernel: KernelProcess) -> dict[str, Any]:
    path = kernel.value("str(get_ipython()._rlm_workspace.last_run.trace.resolve())")
    found: dict[str, Any] = json.loads(Path(path).read_text())
    return found


@pytest.mark.parametrize("mode", ["signal", "message"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("state", STATES)
def test_stop_ends_the_whole_tree_within_a_second(kernel: KernelProcess, state: str, depth: int, mode: str) -> None:
    scripted = model(kernel, depth, STATES[state])
    request = kernel.start(f"%%rlm -m {scripted} --max-depth {depth}\nGo down.")
    wait_for_marks(kernel)

    cell, took = stop(kernel, request, mode)

    assert (cell.status, cell.ename) == ("error", "RunInterrupted")
    assert took < STOPPED_WITHIN_S
    ends = [event for event in trace(kernel)["metadata"]["rlm"]["events"] if event["type"] == "agent_finished"]
    assert {event["agent"]: event["ending"] for event in ends} == {
        ".".join(["0"] + ["1"] * level): "interrupted" for level in range(depth + 1)
    }
    assert kernel.run("'alive'").result == "'alive'"


@pytest.mark.parametrize("state", ["spinning", "asking", "in a call of C"])
def test_stop_ends_sub_agents_of_a_persons_own_cell(kernel: KernelProcess, state: str) -> None:
    kernel.run(f"%config RLM.model = '{model(kernel, 1, STATES[state])}'")
    request = kernel.start("llm_query_batched(['go'] * 8, [1] * 8)")
    wait_for_marks(kernel, 8)

    cell, took = stop(kernel, request, "signal")

    assert cell.ename == "KeyboardInterrupt"
    assert took < STOPPED_WITHIN_S
    assert kernel.run("1 + 1").result == "2"


def test_a_thread_in_a_call_of_c_is_left_behind_and_touches_nothing(kernel: KernelProcess) -> None:
    scripted = model(kernel, 1, "import threading; threading.Event().wait(2)")
    kernel.run("context = []\nimport threading\nbefore = {t.native_id for t in threading.enumerate()}")
    request = kernel.start(f"%%rlm -m {scripted}\nGo down.")
    wait_for_marks(kernel)

    stop(kernel, request, "signal")
    later = kernel.run("import time; time.sleep(2.5); 'quiet'")

    assert (later.result, later.text(), later.text("stderr")) == ("'quiet'", "", "")
    events = trace(kernel)["metadata"]["rlm"]["events"]
    (end,) = [event for event in events if event["type"] == "agent_finished" and event["agent"] == "0.1"]
    assert "left behind" in end["message"]
    left = "[t.name for t in threading.enumerate() if t.name.startswith('rlm 0') and t.native_id not in before]"
    assert kernel.value(left) == []


def test_eight_spinning_sub_agents_side_by_side_are_stopped(kernel: KernelProcess) -> None:
    scripted = model(kernel, 1, STATES["spinning"], width=8)
    request = kernel.start(f"%%rlm -m {scripted}\nGo down.")
    wait_for_marks(kernel, 8)

    cell, took = stop(kernel, request, "signal")

    assert cell.ename == "RunInterrupted"
    assert took < STOPPED_WITHIN_S


def test_max_seconds_of_one_question_ends_it_and_leaves_the_caller_going(kernel: KernelProcess) -> None:
    path = kernel.folder / "seconds.py"
    ask = block("got = llm_query_batched(['q', 'r'], [0, 1], max_seconds=1, return_exceptions=True)\nFINAL(repr(got))")
    sub = block("answer = 'so far'\nif not context: del answer\nwhile True: pass")
    path.write_text(
        f"REPLIES = [dict(when=lambda r: r.agent == '0', reply={ask!r}), dict(reply={sub!r}, times=None)]\n"
    )

    cell = kernel.run(f"%%rlm -m scripted:{path}\nGo.")

    assert cell.result is not None
    assert "LimitExceeded('agent 0.1: max_seconds=1 reached" in cell.result
    assert cell.result.endswith(", 'so far']\"")


def test_cancelling_one_question_stops_its_sub_agent_alone(kernel: KernelProcess) -> None:
    path = kernel.folder / "cancel.py"
    ask = block(
        "import asyncio\n"
        "async def bounded():\n    try:\n        await asyncio.wait_for(allm_query('spin', context=0), 0.5)\n"
        "    except TimeoutError:\n        return 'cancelled'\n"
        "FINAL(await asyncio.gather(bounded(), allm_query('fine', context=1)))"
    )
    sub = block("import time\nwhile not context: pass\ntime.sleep(1)\nFINAL('fine')")
    path.write_text(
        f"REPLIES = [dict(when=lambda r: r.agent == '0', reply={ask!r}), dict(reply={sub!r}, times=None)]\n"
    )

    cell = kernel.run(f"%%rlm -m scripted:{path}\nGo.")

    assert cell.result == "['cancelled', 'fine']"
