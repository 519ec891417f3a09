"""One cell, run and captured, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import threading
import time
import tracemalloc
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from rlm_kernel.environment import routing
from rlm_kernel.environment.bound import MAX_CHARS
from rlm_kernel.environment.execute import CellInterrupted, execute
from rlm_kernel.environment.sink import Sink
from rlm_kernel.environment.streams import RoutedStdout
from rlm_kernel.environment.within import repr_within
from rlm_kernel.values import CellResult


def run(shell: InteractiveShell, source: str, namespace: dict[str, Any] | None = None, **options: Any) -> CellResult:
    routing.install(shell)  # pytest puts a stream of its own in place for each test

    async def go() -> CellResult:
        return await execute(
            source, {} if namespace is None else namespace, shell=shell, label="step 1", render=repr, **options
        )

    with shell.builtin_trap:
        return asyncio.run(go())


def texts(result: CellResult) -> list[tuple[str, str]]:
    return [(o.get("name") or o["output_type"], o.get("text") or str(o.get("data"))) for o in result.outputs]


def test_streams_results_and_errors_keep_their_order(shell: InteractiveShell) -> None:
    result = run(shell, "import sys\nprint('a')\nprint('b', file=sys.stderr)\nprint('c')\n1/0")

    assert texts(result)[:3] == [("stdout", "a\n"), ("stderr", "b\n"), ("stdout", "c\n")]
    assert result.outputs[3]["ename"] == "ZeroDivisionError"
    assert result.error is not None
    assert result.error.traceback == (
        "Traceback (most recent call last):\n  step 1, line 5, in <module>\n    1/0\n"
        "ZeroDivisionError: division by zero"
    )


def test_the_last_expression_shows_unless_a_semicolon_ends_it(shell: InteractiveShell) -> None:
    assert texts(run(shell, "x = 3\nx")) == [("execute_result", "{'text/plain': '3'}")]
    assert run(shell, "x = 3\nx;").outputs == ()
    assert run(shell, "None").outputs == ()


def test_names_stay_in_the_namespace_and_nowhere_else(shell: InteractiveShell) -> None:
    namespace: dict[str, Any] = {}

    run(shell, "made = 1\ndef f(): return made", namespace)

    assert namespace["f"]() == 1
    assert "made" not in shell.user_ns


def test_an_error_deep_in_a_library_shows_the_cells_frame_and_where_it_was_raised(shell: InteractiveShell) -> None:
    result = run(shell, "import json\ndef read(text):\n    return json.loads(text)\nread('{')")

    assert result.error is not None
    lines = result.error.traceback.splitlines()
    assert lines[1:5] == [
        "  step 1, line 4, in <module>",
        "    read('{')",
        "  step 1, line 3, in read",
        "    return json.loads(text)",
    ]
    assert lines[5].startswith("  (raised in ")
    assert len(lines) == 7


def test_a_syntax_error_names_the_step_and_the_line(shell: InteractiveShell) -> None:
    result = run(shell, "x = 1\ny = = 2")

    assert result.error is not None
    assert "step 1, line 2" in result.error.traceback
    assert "SyntaxError" in result.error.traceback


def test_output_outside_a_cell_goes_where_it_always_went(shell: InteractiveShell, capsys: Any) -> None:
    routing.install(shell)
    print("before")
    run(shell, "print('inside')")
    print("after")

    assert capsys.readouterr().out == "before\nafter\n"


def test_redirecting_inside_a_cell_works(shell: InteractiveShell) -> None:
    result = run(
        shell,
        "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as out: print('caught')\n"
        "print('got', out.getvalue())",
    )

    assert texts(result) == [("stdout", "got caught\n\n")]


def test_a_stream_whose_write_is_replaced_still_ends_where_it_should() -> None:
    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            return super().write(text)

    stream: Any = Stream()
    routing.adopt(stream, RoutedStdout)
    original = stream.write
    seen: list[str] = []

    stream.write = lambda text: (seen.append(text), original(text))[1]
    stream.write("tee")
    stream.write = original
    stream.write(" plain")

    assert (seen, stream.getvalue()) == (["tee"], "tee plain")


def test_threads_pools_and_tasks_of_a_cell_write_to_it(shell: InteractiveShell) -> None:
    result = run(
        shell,
        "import threading, asyncio\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n"
        "with ThreadPoolExecutor() as pool: pool.submit(print, 'pool').result()\n"
        "await asyncio.to_thread(print, 'to_thread')",
    )

    assert texts(result) == [("stdout", "thread\npool\nto_thread\n")]


def test_two_cells_at_once_keep_their_outputs_apart(shell: InteractiveShell) -> None:
    routing.install(shell)
    results: dict[int, CellResult] = {}

    def one(n: int) -> None:
        async def go() -> CellResult:
            source = f"import time\nfor i in range(200):\n    print({n}, end=' ')\n    if i % 50 == 0: time.sleep(0.01)"
            return await execute(source, {}, shell=shell, label="step 1", render=repr)

        results[n] = asyncio.run(go())

    threads = [threading.Thread(target=one, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {n: set(results[n].outputs[0]["text"].split()) for n in results} == {n: {str(n)} for n in range(6)}


def test_output_beyond_the_bound_is_counted_and_its_end_is_kept(shell: InteractiveShell) -> None:
    result = run(shell, "print('x' * 12_000_000)\nprint('the end')")

    first, last = result.outputs
    assert MAX_CHARS < len(first["text"]) < MAX_CHARS + 100
    assert first["text"].endswith(f"{result.dropped_chars:,} characters of output are not kept ...]\n")
    assert last["text"].endswith("the end\n")
    assert result.dropped_chars == 12_000_009 - MAX_CHARS - len(last["text"])


def test_a_huge_print_costs_no_memory_beyond_the_bound(shell: InteractiveShell) -> None:
    namespace = {"text": "x" * 100_000_000}
    tracemalloc.start()

    run(shell, "print(text)", namespace)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000_000


def test_displays_update_in_place_and_clear_output_clears_the_cell_only(shell: InteractiveShell) -> None:
    result = run(
        shell,
        "from IPython.display import display, clear_output\nh = display('first', display_id=True)\nh.update('second')",
    )
    assert [o["data"]["text/plain"] for o in result.outputs] == ["'second'"]

    result = run(shell, "from IPython.display import clear_output\nprint('gone')\nclear_output()\nprint('kept')")
    assert texts(result) == [("stdout", "kept\n")]


def test_what_a_cell_puts_out_reaches_the_frontend_while_it_runs(shell: InteractiveShell) -> None:
    seen: list[str] = []

    class Frontend:
        def stream(self, name: str, text: str) -> None:
            seen.append(text)

        def end(self) -> None: ...

        def display(self, *args: Any) -> None: ...

    cell = "import time\nprint('early')\nend = time.monotonic() + 20\n"
    cell += "while not seen and time.monotonic() < end: time.sleep(0.01)\nprint('late, after', seen)"

    run(shell, cell, {"seen": seen}, sink=Sink(Frontend()))

    assert seen == ["early\n", "late, after ['early\\n']\n"]


def test_a_thread_that_prints_after_its_cell_changes_nothing_of_it(shell: InteractiveShell) -> None:
    seen: list[str] = []

    class Frontend:
        def stream(self, name: str, text: str) -> None:
            seen.append(text)

        def end(self) -> None: ...

        def display(self, *args: Any) -> None: ...

    result = run(
        shell,
        "import threading, time\ndef later():\n    time.sleep(0.3)\n    print('late')\n"
        "threading.Thread(target=later).start()\nprint('now')",
        sink=Sink(Frontend()),
    )
    time.sleep(1.0)

    assert texts(result) == [("stdout", "now\n")]
    assert seen == ["now\n", "late\n"]


def test_cancelling_from_outside_is_an_interrupt_and_the_output_is_kept(shell: InteractiveShell) -> None:
    async def go() -> CellResult:
        source = "import asyncio\nprint('before')\nbegun.set()\nawait asyncio.sleep(30)"
        begun = asyncio.Event()
        task = asyncio.ensure_future(execute(source, {"begun": begun}, shell=shell, label="step 1", render=repr))
        await begun.wait()
        task.cancel()
        with pytest.raises(CellInterrupted) as stop:
            await task
        return stop.value.result

    routing.install(shell)
    assert texts(asyncio.run(go()))[0] == ("stdout", "before\n")


def test_a_cell_that_cancels_its_own_task_has_an_error_and_nothing_else(shell: InteractiveShell) -> None:
    result = run(shell, "import asyncio\nraise asyncio.CancelledError('mine')")

    assert result.error is not None
    assert result.error.name == "CancelledError"


def test_os_exit_is_refused_in_a_cell_and_left_to_a_forked_child(shell: InteractiveShell) -> None:
    result = run(shell, "import os\nos._exit(1)")
    assert result.error is not None
    assert "would end the kernel" in result.error.message

    forked = run(
        shell,
        "import multiprocessing\np = multiprocessing.get_context('fork').Process(target=print)\n"
        "p.start(); p.join()\np.exitcode",
    )
    assert texts(forked)[-1] == ("execute_result", "{'text/plain': '0'}")


def test_a_repr_that_sleeps_is_left_behind() -> None:
    class Slow:
        def __repr__(self) -> str:
            time.sleep(20)
            return "late"

    started = time.monotonic()
    with pytest.raises(TimeoutError):
        repr_within(Slow(), 0.2)
    assert time.monotonic() - started < 5


def test_a_sink_bounds_displays_as_well() -> None:
    sink = Sink(max_chars=1_000)

    sink.display({"text/html": "x" * 2_000})
    sink.write_stdout("after")
    outputs, dropped = sink.finish()

    assert [o["text"] for o in outputs] == ["after\n[... 2,000 characters of output are not kept ...]\n"]
    assert dropped == 2_000


def test_a_surrogate_or_a_nul_is_kept_as_it_is(shell: InteractiveShell) -> None:
    result = run(shell, r"print('\ud800 \x00 \r\n', end='')")

    assert texts(result) == [("stdout", "\ud800 \x00 \r\n")]


def test_nobody_elses_environment_is_touched(shell: InteractiveShell) -> None:
    before = dict(os.environ), os.getcwd(), sys.displayhook

    run(shell, "print(1)\n2")

    assert (dict(os.environ), os.getcwd(), sys.displayhook) == before
    with contextlib.redirect_stdout(io.StringIO()) as out:
        print("x")
    assert out.getvalue() == "x\n"


def test_a_cause_notes_and_a_groups_members_are_told(shell: InteractiveShell) -> None:
    chained = run(shell, "try:\n    {}['k']\nexcept KeyError as e:\n    raise ValueError('no k') from e")
    noted = run(shell, "e = ValueError('bad')\ne.add_note('look at row 3')\nraise e")
    group = run(shell, "raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])")

    assert chained.error is not None
    assert chained.error.traceback.splitlines()[-2:] == ["Cause: KeyError: 'k'", "ValueError: no k"]
    assert noted.error is not None
    assert noted.error.traceback.splitlines()[-2:] == ["ValueError: bad", "look at row 3"]
    assert group.error is not None
    assert group.error.traceback.splitlines()[-2:] == ["  - ValueError: a", "  - KeyError: 'b'"]


def test_a_deep_recursion_is_told_in_a_few_lines(shell: InteractiveShell) -> None:
    result = run(shell, "def f(n): return f(n + 1)\nf(0)")

    assert result.error is not None
    assert result.error.name == "RecursionError"
    assert len(result.error.traceback.splitlines()) < 40
    assert "more frames" in result.error.traceback
