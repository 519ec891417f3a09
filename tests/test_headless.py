"""`rlm_kernel.run` in plain Python: the same loop with no kernel around it."""

from __future__ import annotations

import asyncio
import builtins
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.getipython import get_ipython

import rlm_kernel
from tests.kernel_process import STOPPED_WITHIN_S, block, kernel_process, script


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
    assert time.monotonic() - began < 2 * STOPPED_WITHIN_S  # the end of the interpreter included


def test_no_steps_allowed_is_a_limit_and_asks_nothing(tmp_path: Path) -> None:
    with pytest.raises(rlm_kernel.LimitExceeded) as stop:
        rlm_kernel.run("?", 1, model=script(tmp_path, block("FINAL(1)")), max_steps=0)

    assert stop.value.run is not None
    assert (stop.value.run.calls, stop.value.run.ending) == (0, "limit")


def lines_of(folder: Path, program: str, given: str = "") -> list[str]:
    """What a script prints, in a process of its own: pytest has its own ways with warnings and threads."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    env.pop("MPLBACKEND", None)
    (folder / "program.py").write_text(program)
    command = [sys.executable, "program.py"]
    ended = subprocess.run(command, cwd=folder, env=env, input=given, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def in_a_script(folder: Path, *cells: str, before: str = "", after: str = "", given: str = "") -> list[str]:
    """The lines of one that does `before`, runs these cells and prints the answer, and does `after`."""
    model = script(folder, *map(block, cells))
    run = f"print(rlm_kernel.run('?', 1, model={model!r}).answer)"
    return lines_of(folder, f"import builtins, os, sys\nimport rlm_kernel\n{before}\n{run}\n{after}", given)


def replayed(folder: Path) -> list[str]:
    """Twice in one script: the count of cells, and each note."""
    (trace,) = (folder / ".rlm" / "runs").glob("*.ipynb")
    told = f"replayed = rlm_kernel.replay({str(trace)!r})\nprint(replayed.cells, *replayed.notes)\n"
    return lines_of(folder, f"import rlm_kernel\n{told * 2}")


def put_out(folder: Path, step: int = 1) -> tuple[dict[str, Any], ...]:
    """By that step of the one run that is recorded there."""
    (trace,) = (folder / ".rlm" / "runs").glob("*.ipynb")
    root = rlm_kernel.load_trace(trace).root
    assert root is not None
    recorded = root.step(step).cell
    assert recorded is not None
    return recorded.outputs


def test_a_cell_asks_nobody_and_reads_nothing_that_is_given_to_the_script(tmp_path: Path) -> None:
    cell = (
        "import getpass, os, subprocess, sys\nsaid = []\n"
        "for ask in (input, getpass.getpass, breakpoint):\n"
        "    try:\n        ask()\n    except RuntimeError as error:\n        said.append('nobody' in str(error))\n"
        "said.append(sys.stdin.read())\nsaid.append(subprocess.run('cat', stdout=-1).stdout)\n"
        "said.append(os.popen('cat').read())\nFINAL(said)"
    )

    lines = in_a_script(tmp_path, cell, after="print(input(), sys.stdin.read(), end='')", given="mine\nall of it")

    assert lines == ["[True, True, True, '', b'', '']", "mine all of it"]


def test_magics_act_on_the_namespace_of_the_run_and_on_no_other(tmp_path: Path) -> None:
    cells = [
        "x = 2\nimport json",
        "%%time\ny = x + 1",
        "%%capture got\nprint(y)",
        "%%timeit -n1 -r1\nx + y",
        "json.dumps?",
        "who = %who_ls\n%push z = 1" if False else "who = %who_ls",
        "before = got.stdout, y, who, get_ipython().user_ns is globals(), (In, Out, _)",
        "kept = before\n%reset_selective -f ^json$\nleft = 'json' in globals()",
        "%reset -f\nFINAL(('y' in globals(), context, llm_query.__name__, Out))",
    ]
    main = dict(vars(sys.modules["__main__"]))

    run = rlm_kernel.run("?", [1], model=script(tmp_path, *map(block, cells)))

    assert repr(run.answer) == "(False, Store(), 'llm_query', {})"
    assert vars(sys.modules["__main__"]) == main
    text = [output.get("text") for output in put_out(tmp_path, 5)]
    assert "Serialize" in str(text)


def test_what_a_magic_found_is_that_of_its_own_run_also_beside_another(tmp_path: Path) -> None:
    def cells(n: int) -> list[str]:
        return [block(f"x = {n}\nimport asyncio\nawait asyncio.sleep(0.1)"), block("%%time\ny = x"), block("FINAL(y)")]

    async def go() -> list[object]:
        models = [script(tmp_path, *cells(n), name=f"{n}.json") for n in range(3)]
        runs = await asyncio.gather(*(rlm_kernel.arun("?", 1, model=model) for model in models))
        return [run.answer for run in runs]

    assert asyncio.run(go()) == [0, 1, 2]


def test_an_object_of_a_class_of_a_cell_can_be_pickled(tmp_path: Path) -> None:
    cell = "import pickle\nclass A: pass\nFINAL(type(pickle.loads(pickle.dumps(A()))) is A)"
    after = "main = sys.modules['__main__']\nprint(type(main).__name__, hasattr(main, 'A'))"

    assert in_a_script(tmp_path, cell, after=after) == ["True", "module False"]


WIDE = (
    "import pandas as pd\nframe = pd.DataFrame([[n * 1000 for n in range(30)]] * 3)\nprint(frame)\n"
    "print(pd.DataFrame({'a': ['long ' * 30]}))\nframe"
)
LOOK = (
    "import pandas\n"
    "print(pandas.get_option('display.max_columns'), 'MPLBACKEND' in os.environ, hasattr(builtins, '__IPYTHON__'))"
)


@pytest.mark.kernel
def test_a_wide_frame_is_put_out_as_in_a_kernel_whoever_imports_pandas(tmp_path: Path) -> None:
    recorded = []
    for name, before in (("first", "import pandas"), ("later", "")):
        folder = tmp_path / name
        folder.mkdir()
        assert in_a_script(folder, WIDE, "FINAL(1)", before=before, after=LOOK) == ["1", "0 False False"]
        recorded.append(put_out(folder))
    with kernel_process(tmp_path) as kernel:
        kernel.run(f"%%rlm -m {script(tmp_path, block(WIDE), block('FINAL(1)'))}\nWhat?")
    recorded.append(put_out(tmp_path))

    assert "[3 rows x 30 columns]" in recorded[0][0]["text"]
    assert recorded[1] == recorded[0]
    assert recorded[2] == recorded[0]


def test_what_a_script_has_set_for_its_frames_stays(tmp_path: Path) -> None:
    before = "import pandas\npandas.set_option('display.max_columns', 7)\nos.environ['MPLBACKEND'] = 'svg'"
    cell = "import pandas as pd, os\nFINAL((pd.get_option('display.max_columns'), os.environ['MPLBACKEND']))"

    assert in_a_script(tmp_path, cell, before=before, after=LOOK) == ["(7, 'svg')", "7 True False"]


def test_a_figure_is_displayed(tmp_path: Path) -> None:
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nNone"

    lines = in_a_script(tmp_path, plot, "%matplotlib inline\nplt.plot([2, 1]);", "FINAL(1)", after=LOOK)

    assert lines == ["1", "0 False False"]
    assert ["image/png" in output["data"] for step in (1, 2) for output in put_out(tmp_path, step)] == [True, True]


def test_the_last_of_runs_at_once_leaves_no_notebook_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    monkeypatch.delenv("MPLBACKEND", raising=False)
    before = pd.get_option("display.max_columns"), dict(os.environ), set(vars(builtins)), get_ipython()
    pd.set_option("display.max_columns", 0)
    cell = "import pandas as pd\ncontext[0].set()\ncontext[1].wait(30)\nFINAL(pd.get_option('display.max_columns'))"
    seen: list[object] = []
    begun, may_end, nothing = threading.Event(), threading.Event(), threading.Event()
    nothing.set()

    def work(name: str, *events: threading.Event) -> None:
        model = script(tmp_path, block(cell), name=f"{name}.json")
        seen.append(rlm_kernel.run("?", events, model=model).answer)
        seen.append(pd.get_option("display.max_columns"))

    long = threading.Thread(target=work, args=("long", begun, may_end))
    try:
        long.start()
        assert begun.wait(30)
        work("short", nothing, nothing)
        may_end.set()
        long.join()
        assert seen == [20, 20, 20, 0]
    finally:
        pd.set_option("display.max_columns", before[0])
    assert (before[0], dict(os.environ), set(vars(builtins)), get_ipython()) == before


def test_a_run_that_cannot_begin_leaves_no_notebook_behind_either(tmp_path: Path) -> None:
    before = set(vars(builtins)), get_ipython()

    with pytest.raises(rlm_kernel.UsageError):
        rlm_kernel.run("?", 1, model="no-such-kind-of-model:", max_steps=1)

    assert (set(vars(builtins)), get_ipython()) == before


ODD = [
    "import logging, sys, warnings\nprint('e', file=sys.stderr)\nwarnings.warn('careful')\nlogging.warning('w')",
    "import threading\ndef g(): raise ValueError('in a thread')\nt = threading.Thread(target=g); t.start(); t.join()",
    "import asyncio\nasync def f(): return 3\nasyncio.run(f())",
    "f()",
    "import traceback\ntry:\n    1 / 0\nexcept Exception:\n    traceback.print_exc()",
    "x = 1\n_, Out, callable(exit), __doc__, type(__builtins__), '__file__' in globals()",
    "%%capture got\nprint(x)",
    "print(got.stdout, end='1%\\r100%\\n')",
    "input('name? ')",
    "import getpass\ngetpass.getpass()",
    "breakpoint()\nprint('after')",
    "exit()",
    "quit",
    "sys.exit(3)",
    "x?",
    "!echo {x}",
    "%%bash\necho $((1 + 1))",
    "%who",
    "%matplotlib inline",
    "sys.stdout.buffer.write(b'bytes\\n'); sys.stdout.reconfigure(line_buffering=True)\nsys.stdin.readline()",
    "get_ipython().ex('y = x + 1')\ny, get_ipython().user_ns is globals()",
    "import pickle\nclass A: pass\ntype(pickle.loads(pickle.dumps(A())))",
    "open('mine.py', 'w').write('z = 7; print(z)')\n%run mine.py\nz",
    "help(len)\n%debug\n%nosuch",
    "%reset -f\ncontext, 'x' in globals()",
]


@pytest.mark.kernel
def test_what_odd_cells_put_out_in_a_kernel_a_script_puts_out_too(tmp_path: Path) -> None:
    with kernel_process(tmp_path, RLM_MAX_STEPS="100") as kernel:
        kernel.run(f"%%rlm -m {script(tmp_path, *map(block, ODD), block('FINAL(1)'))}\nWhat?")

    assert replayed(tmp_path) == [str(len(ODD) + 1)] * 2


def test_what_names_cells_threads_and_lines_comes_to_the_same_each_time(tmp_path: Path) -> None:
    warned = "import warnings\nwarnings.warn('careful')"

    in_a_script(tmp_path, warned, warned, *ODD[1:5], "FINAL(1)")

    shown = [json.dumps(put_out(tmp_path, step)) for step in range(1, 7)]
    assert ["careful" in text for text in shown[:2]] == [True, True]
    assert ["never awaited" in text for text in shown[3:5]] == [True, True]
    assert "rlm_kernel/" not in "".join(shown)
    assert replayed(tmp_path) == ["7", "7"]
