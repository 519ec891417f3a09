"""Sub-agents whose cells run in a worker process of their own: `isolation="process"`."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rlm_kernel
from rlm_kernel.errors import LimitExceeded, UsageError, WorkerEnded
from rlm_kernel.store import Store
from rlm_kernel.trace.reading import read
from rlm_kernel.trace.views.savings import savings_of
from rlm_kernel.values import Run
from tests.kernel_process import STOPPED_WITHIN_S, block, kernel_process, script
from tests.test_recursion import events, run

__all__ = ["run"]

Asks = Callable[..., Run]


@pytest.fixture
def ask(run: Asks) -> Asks:
    """The answer of a run is what its first agent's `code` calls `got`; the cells of agent 0.1 are given."""

    def go(code: str, *cells: Any, agents: Any = None, completions: Any = (), **settings: Any) -> Run:
        code = code if "got =" in code else f"got = {code}"
        below = [cell if isinstance(cell, dict) else block(cell) for cell in cells]
        replies = {"0": [block(f"{code}\nFINAL(got)")], "0.1": below, **(agents or {})}
        return run(replies, settings.pop("context", 1), completions, **{"isolation": "process", **settings})

    return go


CAUGHT = "try:\n    {}\nexcept Exception as error:\n    got = error"


def gone(pid: int, within_s: float) -> bool:
    """No process of that number, or one that has ended and nobody has waited for."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False


def test_a_copy_goes_in_and_an_object_comes_out_of_another_process(ask: Asks) -> None:
    cell = "import os\ncontext.append(os.getpid())\nFINAL({'it': context})"

    result: Any = ask("llm_query('Look.', context=(mine := [1, 2])), mine", cell)

    answer, mine = result.answer
    assert mine == [1, 2]
    assert answer["it"][:2] == [1, 2]
    assert answer["it"][2] != os.getpid()


def test_one_call_can_have_a_process_while_the_setting_says_threads(ask: Asks) -> None:
    code = "llm_query('Go.', context=1, isolation='process')"

    result = ask(code, "import os\nFINAL(os.getpid())", isolation="thread")

    assert result.answer != os.getpid()


def test_instances_of_the_callers_classes_come_back_as_such_and_new_classes_too(ask: Asks) -> None:
    code = "class A: pass\ngot = llm_query('Go.', context=A())\ngot = (isinstance(got[0], A), got[1].x)"

    result = ask(code, "class B:\n    x = 7", "FINAL((context, B()))")

    assert result.answer == (True, 7)


def test_tools_and_lent_names_are_there_and_magics_act_on_the_agents_names(ask: Asks) -> None:
    code = "def double(x): return 2 * x\ngot = llm_query('Go.', context=4, tools=[double])"
    cells = ["%time made = double(context)\nprint(SHOW_VARS())", "files = !echo one\nFINAL((made, list(files)))"]

    result = ask(code, *cells)

    assert result.answer == (8, ["one"])
    first = events(result, "cell_finished")[0]
    assert "made: int" in "".join(output.get("text", "") for output in first.outputs)


def test_prints_displays_results_and_errors_are_recorded_as_from_a_thread(run: Asks) -> None:
    cell = (
        "import sys\nprint('out')\nprint('err', file=sys.stderr)\n"
        "display({'text/html': '<b>x</b>'}, raw=True)\nprint('more')\nllm_query = None\n1 / 0"
    )
    agents = {
        "0": [block("FINAL(llm_query('Go.', context=1))")],
        "0.1": [block(cell), block("3 + 4"), block("print(budget().depth)"), block("FINAL(1)")],
    }

    threads, processes = [
        events(run(agents, 1, isolation=isolation), "cell_finished") for isolation in ("thread", "process")
    ]

    assert [(c.outputs, c.error, c.notes, c.final) for c in processes] == [
        (c.outputs, c.error, c.notes, c.final) for c in threads
    ]
    assert processes[0].error.name == "ZeroDivisionError"
    assert "llm_query" in processes[0].notes[0]


def test_what_child_processes_and_compiled_code_write_is_output_of_the_cell(ask: Asks) -> None:
    cell = "import os, subprocess\nsubprocess.run(['echo', 'from a child'])\nos.write(2, b'to two')"

    result = ask("llm_query('Go.', context=1)", cell, "FINAL(1)")

    outputs = events(result, "cell_finished")[0].outputs
    assert {"output_type": "stream", "name": "stdout", "text": "from a child\n"} in outputs
    assert {"output_type": "stream", "name": "stderr", "text": "to two"} in outputs


def test_a_worker_asks_sub_agents_and_completions_in_the_one_trace(ask: Asks) -> None:
    down = "got = llm_query('deeper', context=context)\nFINAL([got, budget().calls])"
    deepest = "FINAL([context, *llm_query_batched(['a', 'b'])])"

    result = ask(
        "llm_query('Go.', context=7)",
        down,
        agents={"0.1.1": [block(deepest)]},
        completions=[{"when": "a", "reply": "A"}, {"when": "b", "reply": "B"}],
        max_depth=2,
        max_calls=10,
    )

    assert result.answer == [[7, "A", "B"], 5]
    assert [(e.agent, e.caller, e.step) for e in events(result, "agent_started")] == [
        ("0", None, None),
        ("0.1", "0", 1),
        ("0.1.1", "0.1", 1),
    ]
    assert [(e.agent, e.step, e.prompt) for e in events(result, "call_started")] == [
        ("0.1.1", 1, "a"),
        ("0.1.1", 1, "b"),
    ]


def test_threads_and_tasks_of_a_worker_ask_side_by_side(ask: Asks) -> None:
    cell = (
        "import asyncio\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool: one = list(pool.map(llm_query, ['q'] * 4))\n"
        "two = await asyncio.gather(*[allm_query('q') for _ in range(4)])\nFINAL((one, two))"
    )
    slow = {"reply": "a", "when": "q", "times": None, "delay_s": 0.5}

    result = ask("llm_query('Go.', context=1)", cell, completions=[slow])

    assert result.answer == (["a"] * 4, ["a"] * 4)
    calls = [stamped.event.type for stamped in read(result.journal).events if stamped.event.type.startswith("call_")]
    for four in (calls[:8], calls[8:]):  # one after another, each would have ended before the next began
        assert four[:2] == ["call_started"] * 2


def test_a_failure_below_reaches_the_cell_with_its_type_and_data(ask: Asks) -> None:
    cell = "try: llm_query('q')\nexcept Exception as error: FINAL((type(error).__name__, error.kind, error.status))"
    failing = {"error": {"kind": "refused", "message": "no", "status": 403}}

    result = ask("llm_query('Go.', context=1)", cell, completions=[failing])

    assert result.answer == ("ModelError", "refused", 403)


def test_what_a_caller_has_cancelled_is_not_asked_any_longer(ask: Asks) -> None:
    cell = (
        "import asyncio\ntry:\n    async with asyncio.timeout(0.2): await allm_query('slow')\n"
        "except TimeoutError: FINAL(llm_query('quick'))"
    )
    completions = [{"when": "slow", "reply": "s", "delay_s": 60}, {"when": "quick", "reply": "q", "delay_s": 0.5}]

    began = time.monotonic()
    result = ask("llm_query('Go.', context=1)", cell, completions=completions)

    assert result.answer == "q"
    calls = [stamped.event for stamped in read(result.journal).events if stamped.event.type.startswith("call_")]
    assert [(call.call, call.type) for call in calls if call.type != "call_started"] == [
        (1, "call_failed"),
        (2, "call_finished"),
    ]
    assert time.monotonic() - began < 20


def test_a_context_or_tool_without_a_pickle_is_refused_before_a_model_is_paid(ask: Asks) -> None:
    code = CAUGHT.format("import threading; llm_query('Go.', context=[threading.Lock()])")

    result = ask(code, "FINAL(1)")

    assert isinstance(result.answer, UsageError)
    assert str(result.answer).startswith("agent 0.1: context cannot be handed to a worker process (TypeError: ")
    assert "isolation='thread'" in str(result.answer)
    assert [event.agent for event in events(result, "replied")] == ["0"]


def test_an_answer_that_cannot_leave_is_an_error_in_the_cell_and_the_agent_goes_on(ask: Asks) -> None:
    result = ask("llm_query('Go.', context=1)", "FINAL(n for n in 'ab')", "FINAL(list('ab'))")

    assert result.answer == ["a", "b"]
    error = events(result, "cell_finished")[0].error
    assert error.name == "TypeError"
    assert error.message.startswith("the answer, of type generator, cannot leave the worker process (cannot pickle ")
    assert error.traceback.count("\n") == 3


def test_an_answer_of_the_wrong_form_is_an_error_in_the_cell_and_the_agent_goes_on(ask: Asks) -> None:
    result = ask("llm_query('Go.', context=1, schema=list[int])", "FINAL('seven')", "FINAL(('7', 8))")

    assert result.answer == [7, 8]
    assert events(result, "cell_finished")[0].error.name == "SchemaMismatch"


def test_os_exit_ends_the_agent_with_one_short_error_and_nothing_else(ask: Asks) -> None:
    code = CAUGHT.format("llm_query('Go.', context=1)")

    result = ask(code, "print('before')\nimport os; os._exit(9)")

    assert isinstance(result.answer, WorkerEnded)
    assert str(result.answer).startswith("agent 0.1: its worker process ended with exit code 9, ")
    assert [event.ending for event in events(result, "agent_finished")] == ["error", "final"]
    assert events(result, "cell_finished")[0].error.name == "WorkerEnded"


def test_a_worker_that_ended_is_noticed_while_a_child_of_it_lives_on(ask: Asks) -> None:
    code = CAUGHT.format("llm_query('Go.', context=1)")
    cell = "import os, time\nif os.fork() == 0:\n    time.sleep(20)\n    os._exit(0)\nos._exit(3)"

    began = time.monotonic()
    result = ask(code, cell)

    assert "exit code 3" in str(result.answer)
    assert time.monotonic() - began < 15


def test_an_end_that_was_caught_ends_the_agent_when_it_is_raised_later(ask: Asks) -> None:
    cells = ["try: FINAL(7)\nexcept BaseException as end: kept = end", "raise kept"]

    assert ask("llm_query('Go.', context=1)", *cells).answer == 7


def test_what_a_sub_agent_of_a_worker_answers_must_be_able_to_get_there(ask: Asks) -> None:
    down = (
        "got = llm_query_batched(['x', 'y'], return_exceptions=True, isolation='thread')\nFINAL((str(got[0]), got[1]))"
    )
    agents = {"0.1.1": [block("FINAL(n for n in 'ab')")], "0.1.2": [block("FINAL('well')")]}

    answer: Any = ask("llm_query('Go.', context=1)", down, agents=agents, max_depth=2).answer

    assert answer[0].startswith("the answer, of type generator, cannot be handed to a worker process (")
    assert answer[1] == "well"


def test_a_store_and_a_limit_cross_over_and_back(ask: Asks) -> None:
    code = (
        "from rlm_kernel.store import Store\nstore = Store()\nstore.x = [1]\n"
        "got = llm_query('Go.', context=store)\ngot = (type(got[0]) is Store, got[0].x, got[1].limit)"
    )
    cell = "try: llm_query('q', max_tokens=1)\nexcept Exception as error: FINAL((context, error))"

    assert ask(code, cell, completions=["a"], max_depth=2).answer == (True, [1], "max_tokens")


def test_what_a_worker_writes_into_its_copy_of_a_store_is_its_own_under_its_agents_id(ask: Asks) -> None:
    store = Store()
    store["contract"], store["date"] = "clause " * 1_000, "May"
    code = "got = llm_query_batched(['a', 'b'], [context, context])"
    cells = [
        "WRITE('risks', ['one'])\nLIST_CONTEXT()",
        "x = 'abc'\nprint(READ('x'), READ('contract', chars=(0, 9)))\ncontext['date'] = 'June'\nREAD('date')",
        "del context['contract']\nFINAL((context.history('date')[-1].who, context['risks']))",
    ]

    run = ask(code, *cells, agents={"0.2": [block("FINAL(WRITE('risks', 1) or context['risks'])")]}, context=store)

    trace = rlm_kernel.load_trace(run.journal or "")
    assert run.answer == [("0.1", ["one"]), 1]
    assert dict(store) == {"contract": "clause " * 1_000, "date": "May"}
    listed = trace.agents["0.1"].step(2).new[-1].content
    assert "0.1, step 1" in listed
    assert "worker" not in listed
    (own,) = {each.store for each in trace.agents["0.1"].step(1).used}
    (other,) = {each.store for each in trace.agents["0.2"].step(1).used}
    assert {own, other} == {2, 3}
    assert [
        (step.number, each.how, each.key, each.store) for step in trace.agents["0.1"].steps for each in step.used
    ] == [
        (1, "write", "risks", own),
        (2, "read", "x", 0),
        (2, "read", "contract", 1),
        (2, "write", "date", own),
        (2, "read", "date", own),
        (3, "take", "risks", own),
    ]
    written = trace.agents["0.1"].step(1).used[0]
    assert (written.description, written.size, written.replaced) == ("list, 1 item: ['one']", 3, False)
    assert not any(each.replaced for step in trace.agents["0.1"].steps for each in step.used)
    results = [each for each in savings_of(trace.tree).transfers if each.what == "result"]
    assert [(each.source, each.target, each.name) for each in results] == [("person", "0.1", "contract")]


def test_a_crash_and_a_kill_are_named(ask: Asks) -> None:
    code = CAUGHT.format("llm_query('Go.', context=1)")

    crash = ask(code, "import ctypes; ctypes.string_at(0)").answer
    killed = ask(code, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)").answer

    assert "ended by SIGSEGV" in str(crash)
    assert "ended by SIGKILL" in str(killed)
    assert "memory is short" in str(killed)


def test_a_loop_in_c_ends_at_max_seconds_with_the_best_so_far(ask: Asks) -> None:
    code = "got = llm_query('Go.', context=1, max_seconds=1.5)"

    began = time.monotonic()
    result = ask(code, "answer = ['so far']", "sum(range(10**11))")

    assert result.answer == ["so far"]
    assert time.monotonic() - began < 20
    assert [event.ending for event in events(result, "agent_finished")] == ["limit", "final"]
    assert events(result, "cell_finished")[1].error.name == "KeyboardInterrupt"


@pytest.mark.parametrize(
    "busy",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "import asyncio; await asyncio.sleep(60)",
        "import subprocess; subprocess.run(['sleep', '60'])",
        "llm_query('slow')",
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool: list(pool.map(llm_query, ['slow'] * 4))",
    ],
)
def test_a_cell_is_stopped_whatever_it_does_with_what_it_had_printed(ask: Asks, busy: str) -> None:
    code = CAUGHT.format("llm_query('Go.', context=1, max_seconds=3)")  # its worker has to start in them too
    slow = {"reply": "a", "when": "slow", "times": None, "delay_s": 60}

    began = time.monotonic()
    result = ask(code, f"print('here')\n{busy}", completions=[slow])

    assert isinstance(result.answer, LimitExceeded)
    stopped = events(result, "cell_finished")[0]
    assert stopped.outputs[0] == {"output_type": "stream", "name": "stdout", "text": "here\n"}
    assert stopped.error.name in ("KeyboardInterrupt", "CancelledError", "RunInterrupted")
    assert time.monotonic() - began < 20


def test_a_memory_bomb_is_an_error_of_its_cell_and_the_agent_goes_on(ask: Asks) -> None:
    cells = [
        "x = bytearray(10**9)",
        "y = []\nwhile True: y.append(' ' * 1000 + str(len(y)))",
        "del y",
        "FINAL(len(context))",
    ]

    result = ask("llm_query('Go.', context=[1, 2])", *cells, max_memory_mb=200)

    assert result.answer == 2
    assert [cell.error and cell.error.name for cell in events(result, "cell_finished")[:3]] == [
        "MemoryError",
        "MemoryError",
        None,
    ]


def test_a_context_that_does_not_fit_is_refused(ask: Asks) -> None:
    code = CAUGHT.format("llm_query('Go.', context=bytearray(300_000_000))")

    result = ask(code, "FINAL(1)", max_memory_mb=100)

    assert isinstance(result.answer, UsageError)
    assert "MemoryError" in str(result.answer)


def test_secrets_of_the_environment_are_not_there(ask: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-1234567890")
    monkeypatch.setenv("PLAIN", "plain")

    result = ask(
        "llm_query('Go.', context=1)", "import os\nFINAL((os.environ.get('SOME_API_KEY'), os.environ['PLAIN']))"
    )

    assert result.answer == (None, "plain")


def test_a_worker_may_change_its_directory_and_its_environment(ask: Asks, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    cell = "import os\nos.chdir('below')\nos.environ['MINE'] = 'x'\nFINAL((os.getcwd()[-5:], os.environ['MINE']))"

    assert ask("llm_query('Go.', context=1)", cell).answer == ("below", "x")
    assert Path.cwd() == tmp_path
    assert "MINE" not in os.environ


def test_a_batch_of_processes_comes_back_in_order(ask: Asks) -> None:
    sub = {"reply": block("import os\nFINAL((context * 2, os.getpid()))"), "times": None}

    answers: Any = ask("llm_query_batched(['double'] * 4, list(range(4)))", agents={r"re:0\.\d+": [sub]}).answer

    assert [answer[0] for answer in answers] == [0, 2, 4, 6]
    assert len({answer[1] for answer in answers}) == 4


def test_the_process_is_gone_after_its_agent_and_has_ended_in_order(ask: Asks, tmp_path: Path) -> None:
    cell = "import os\nfile = open('left.txt', 'w')\nn = file.write('not closed')\nFINAL(os.getpid())"

    pid = ask("llm_query('Go.', context=1)", cell).answer

    assert isinstance(pid, int)
    assert gone(pid, 5)
    assert (tmp_path / "left.txt").read_text() == "not closed"
    for thread in threading.enumerate():
        if thread.name.startswith("rlm 0.1"):
            thread.join(5)
            assert not thread.is_alive()


SPIN = "import os\nopen('pid', 'w').write(str(os.getpid()))\nsum(range(10**11))"


def _pid(folder: Path) -> int:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if (folder / "pid").exists() and (text := (folder / "pid").read_text()):
            return int(text)
        time.sleep(0.05)
    raise AssertionError("no worker began")


@pytest.mark.kernel
def test_stop_ends_a_kernels_workers_whatever_they_do_and_the_kernel_lives(tmp_path: Path) -> None:
    model = script(tmp_path, block(SPIN))

    with kernel_process(tmp_path) as kernel:
        request = kernel.start(f"%config RLM.model = '{model}'\nllm_query('Go.', context=1, isolation='process')")
        pid = _pid(tmp_path)
        began = time.monotonic()
        kernel.manager.interrupt_kernel()
        cell = kernel.finish(request)

        assert time.monotonic() - began < STOPPED_WITHIN_S
        assert cell.ename in ("KeyboardInterrupt", "RunInterrupted")
        assert gone(pid, 20)
        assert kernel.value("1 + 1") == 2


@pytest.mark.kernel
@pytest.mark.skipif(
    not os.path.exists("/proc/self/stat"), reason="only Linux ends a process with the one it belongs to"
)
def test_a_worker_dies_with_a_kernel_that_was_killed(tmp_path: Path) -> None:
    model = script(tmp_path, block(SPIN))

    with kernel_process(tmp_path) as kernel:
        kernel.start(f"%config RLM.model = '{model}'\nllm_query('Go.', context=1, isolation='process')")
        pid = _pid(tmp_path)
        os.kill(kernel.manager.provisioner.pid, signal.SIGKILL)  # type: ignore[union-attr]

        assert gone(pid, 5)


def test_the_mark_for_whoever_runs_a_cell_again_does_nothing_in_a_worker(ask: Asks) -> None:
    model = "llm_query('Go.', context=context)"

    assert ask(model, "%rlm no-rerun\nx = 5", "FINAL(x)").answer == 5


@pytest.mark.parametrize("words", ["usage", "", "no-rerun please"])
def test_what_needs_the_kernel_says_so_in_a_worker(ask: Asks, words: str) -> None:
    cell = (
        f"try:\n    get_ipython().run_line_magic('rlm', {words!r})\nexcept ValueError as error:\n    FINAL(str(error))"
    )

    told = ask("llm_query('Go.', context=context)", cell).answer

    assert (
        told == f"{f'%rlm {words}'.strip()}: this cell runs in a worker process, and only %rlm no-rerun needs no kernel"
    )


def test_a_warning_is_told_in_each_cell_of_a_worker_that_causes_it(ask: Asks, here: Path) -> None:
    (here / "noisy.py").write_text("import warnings\ndef fit(): warnings.warn('no end')\n")
    fit = f"import sys; sys.path[:0] = [{str(here)!r}]\nimport noisy\nnoisy.fit(); noisy.fit()"

    got = ask("llm_query('Go.', context=context)", fit, fit, "FINAL(1)")

    assert got.journal is not None
    agent = rlm_kernel.load_trace(got.journal).agents["0.1"]
    shown = [str(step.cell.outputs) for step in agent.steps[:2] if step.cell is not None]
    assert [text.count("UserWarning: no end") for text in shown] == [1, 1]
