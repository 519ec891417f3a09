"""Cells of sub-agents that run beside each other: what a process has one of is each one's own, or refused."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import os
import pickle
import random
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

from rlm_kernel.environment import routing
from rlm_kernel.environment.apart import apart
from rlm_kernel.environment.execute import execute
from rlm_kernel.values import CellResult
from tests.kernel_process import kernel_process


@pytest.fixture
def shell(shell: InteractiveShell) -> Iterator[Any]:
    routing.install(shell)  # pytest puts a stream of its own in place for each test
    with shell.builtin_trap:
        yield shell


def run(
    shell: Any, source: str, namespace: dict[str, Any] | None = None, hidden: Mapping[str, Any] | None = None
) -> CellResult:
    """As a sub-agent's cell, on this thread."""
    own: dict[str, Any] = {"__name__": "__main__"} if namespace is None else namespace
    with apart(own, hidden):
        return asyncio.run(execute(source, own, shell=shell, label="step 1", render=repr))


def at_once(shell: Any, sources: list[str]) -> list[CellResult]:
    """Each in a thread and a namespace of its own."""
    results: dict[int, CellResult] = {}
    ready = threading.Barrier(len(sources))

    def one(n: int) -> None:
        ready.wait()
        results[n] = run(shell, sources[n])

    threads = [threading.Thread(target=one, args=(n,)) for n in range(len(sources))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[n] for n in range(len(sources))]


def texts(result: CellResult) -> list[tuple[str, str]]:
    """What a result holds, one entry for each run of stream text; the times that `%%time` tells are left out."""
    told: list[tuple[str, str]] = []
    for output in result.outputs:
        kind = output.get("name") or output["output_type"]
        text = output.get("text") or output.get("evalue") or output["data"].get("text/html", output["data"])
        if isinstance(text, dict):
            text = text["text/plain"]
        if output["output_type"] == "stream":
            lines = text.splitlines(keepends=True)
            text = "".join(line for line in lines if not line.startswith(TIMES))
        add(told, kind, text)
    return told


def add(told: list[tuple[str, str]], kind: str, text: str) -> None:
    if told and told[-1][0] == kind and kind in ("stdout", "stderr"):
        told[-1] = (kind, told[-1][1] + text)
    elif text:
        told.append((kind, text))


TIMES = ("CPU times", "Wall time", "Parser ", "Compiler ")

BEGIN = """
import contextlib, io, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from IPython.display import HTML, display
"""

PIECES: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "print": ("print('TAG')", [("stdout", "TAG\n")]),
    "stderr": ("print('TAG', file=sys.stderr)", [("stderr", "TAG\n")]),
    "display": ("display(HTML('TAG'))", [("display_data", "TAG")]),
    "pause": ("time.sleep(0.003)", []),
    "thread": ("t = threading.Thread(target=print, args=('TAG',)); t.start(); t.join()", [("stdout", "TAG\n")]),
    "pool": ("with ThreadPoolExecutor(2) as p: p.submit(print, 'TAG').result()", [("stdout", "TAG\n")]),
    "redirect": (
        "with contextlib.redirect_stdout(io.StringIO()) as b:\n    print('TAG')\n    time.sleep(0.002)\n"
        "    t = threading.Thread(target=print, args=('too',)); t.start(); t.join()\nprint(b.getvalue())",
        [("stdout", "TAG\ntoo\n\n")],
    ),
    "nested": (
        "with contextlib.redirect_stderr(io.StringIO()) as b:\n    with contextlib.redirect_stderr(io.StringIO()):\n"
        "        print('lost', file=sys.stderr)\n    sys.stderr.write('TAG')\nprint(b.getvalue())",
        [("stdout", "TAG\n")],
    ),
    "tee": (
        "class Tee:\n    def __init__(self, one): self.one = one\n"
        "    def write(self, text): return self.one.write(text.upper())\n    def flush(self): self.one.flush()\n"
        "sys.stdout = Tee(sys.stdout); print('tag', flush=True); sys.stdout = sys.stdout.one",
        [("stdout", "TAG\n")],
    ),
    "assign": (
        "sys.stdout = io.StringIO(); print('lost'); sys.stdout = sys.__stdout__; print('TAG')",
        [("stdout", "TAG\n")],
    ),
    "capture": (
        "get_ipython().run_cell_magic('capture', 'c', \"print('TAG')\\ndisplay(HTML('x'))\\ntime.sleep(0.002)\\n7\")\n"
        "print(c.stdout, [sorted(o.data) for o in c.outputs])",
        [("stdout", "TAG\n [['text/html', 'text/plain'], ['text/plain']]\n")],
    ),
    "time": ("get_ipython().run_cell_magic('time', '', \"print('TAG')\")", [("stdout", "TAG\n")]),
    "cell": (
        "get_ipython().run_cell(\"print('TAG')\\n'TAG'\")",
        [("stdout", "TAG\n"), ("execute_result", "'TAG'")],
    ),
}


def a_cell(rng: random.Random, name: str) -> tuple[str, list[tuple[str, str]]]:
    """A source and what its outputs are."""
    source, told = [BEGIN], list[tuple[str, str]]()
    for n, kind in enumerate(rng.choices(list(PIECES), k=14)):
        tag = f"{name}-{n}-{kind}".upper()
        code, outputs = PIECES[kind]
        source.append(code.replace("TAG", tag).replace("'tag'", f"'{tag.lower()}'") + ";")
        for stream, text in outputs:
            add(told, stream, text.replace("TAG", tag))
    if rng.random() < 0.5:
        source.append(f"raise ValueError('{name}')")
        told.append(("error", name))
    else:
        source.append(f"'{name}'")
        told.append(("execute_result", f"'{name}'"))
    return "\n".join(source), told


@pytest.mark.parametrize("seed", range(12))
def test_what_parallel_cells_put_out_never_mixes_and_leaves_the_process_as_it_was(shell: Any, seed: int) -> None:
    rng = random.Random(seed)
    cells = [a_cell(rng, f"{seed}.{n}") for n in range(8)]
    names = ("stdout", "stderr", "displayhook", "excepthook")
    before = [sys.__dict__[name] for name in names], shell.display_pub, shell.execution_count, dict(shell.user_ns)
    history = len(shell.history_manager.outputs)

    results = at_once(shell, [source for source, _ in cells])

    assert [texts(result) for result in results] == [told for _, told in cells]
    assert ([sys.__dict__[name] for name in names], shell.display_pub, shell.execution_count) == before[:3]
    assert [getattr(sys, name) for name in names] == before[0]
    assert dict(shell.user_ns) == before[3]
    assert len(shell.history_manager.outputs) == history


def test_an_override_that_a_cell_leaves_behind_ends_with_it(shell: Any) -> None:
    first = run(shell, "import io, sys\nsys.stdout = io.StringIO()\nprint('gone')\nkept = sys.stdout.getvalue()\nkept")

    assert texts(first) == [("execute_result", "'gone\\n'")]
    assert texts(run(shell, "print('seen')")) == [("stdout", "seen\n")]


def test_a_threads_own_redirect_leaves_its_cell_alone(shell: Any) -> None:
    result = run(
        shell,
        "import contextlib, io, threading\nheld, go = threading.Event(), threading.Event()\nbuffer = io.StringIO()\n"
        "def away():\n    with contextlib.redirect_stdout(buffer):\n        held.set(); go.wait(5); print('away')\n"
        "t = threading.Thread(target=away); t.start(); held.wait(5)\nprint('here'); go.set(); t.join()\n"
        "buffer.getvalue()",
    )

    assert texts(result) == [("stdout", "here\n"), ("execute_result", "'away\\n'")]


def test_a_patched_stdout_is_put_back_though_it_was_read_from_the_dict_of_sys(shell: Any) -> None:
    result = run(
        shell,
        "import io\nfrom unittest import mock\n"
        "with mock.patch('sys.stdout', new_callable=io.StringIO) as out: print('caught')\nprint(out.getvalue())",
    )

    assert texts(result) == [("stdout", "caught\n\n")]


def test_the_persons_streams_are_theirs_while_a_cell_runs(shell: Any) -> None:
    found, result = sys.stdout, list[CellResult]()
    code = "import threading, time\nrunning.set(); go.wait(5)\nprint('cell')"
    running, go = threading.Event(), threading.Event()
    namespace: dict[str, Any] = {"running": running, "go": go}
    thread = threading.Thread(target=lambda: result.append(run(shell, code, namespace)))
    thread.start()
    running.wait(5)

    with contextlib.redirect_stdout(io.StringIO()) as persons:
        print("person")
        with mock.patch("sys.stdout", new=io.StringIO()) as patched:
            print("patched")
        go.set()
        thread.join()
        print("still", flush=True)

    assert (persons.getvalue(), patched.getvalue()) == ("person\nstill\n", "patched\n")
    assert texts(result[0]) == [("stdout", "cell\n")]
    assert sys.stdout is found
    assert sys.__dict__["stdout"] is found


def test_a_sys_that_knows_whose_cell_it_is_still_pickles() -> None:
    assert pickle.loads(pickle.dumps(sys)) is sys


def test_the_working_directory_stays_and_the_mend_is_told(shell: Any, tmp_path: Path) -> None:
    before = os.getcwd()
    sources = [
        f"import os\nos.chdir({str(tmp_path)!r})",
        f"%cd {tmp_path}",
        f"import contextlib\nwith contextlib.chdir({str(tmp_path)!r}): pass",
        f"import os\nos.fchdir(os.open({str(tmp_path)!r}, os.O_RDONLY))",
    ]

    results = [run(shell, source) for source in sources]

    assert [result.error and result.error.name for result in results] == ["RuntimeError"] * 4
    assert all("absolute paths" in result.error.message and "cwd=" in result.error.message for result in results)  # type: ignore[union-attr]
    assert os.getcwd() == before


def test_a_forked_child_may_go_where_it_likes(shell: Any) -> None:
    result = run(shell, "import os, subprocess\nsubprocess.run(['pwd'], preexec_fn=lambda: os.chdir('/')).returncode")

    assert texts(result) == [("stdout", "/\n"), ("execute_result", "0")]


@pytest.mark.parametrize(
    "change",
    [
        "os.environ['RLM_X'] = '1'",
        "os.environ.update(RLM_X='1')",
        "os.environ.setdefault('RLM_X', '1')",
        "os.environ |= {'RLM_X': '1'}",
        "del os.environ['PATH']",
        "os.environ.pop('PATH')",
        "os.environ.clear()",
        "os.putenv('RLM_X', '1')",
        "os.unsetenv('PATH')",
        "get_ipython().run_cell_magic('time', '', \"os.environ['RLM_X'] = '1'\\n1\"); 1/0",
    ],
)
def test_the_environment_is_read_and_not_changed(shell: Any, change: str) -> None:
    before = dict(os.environ)

    result = run(shell, f"import os\nassert os.environ['PATH']\n{change}")

    told = "".join(str(output.get("text", "")) + str(output.get("evalue", "")) for output in result.outputs)
    assert result.error is not None
    assert "env={**os.environ, ...}" in told
    assert dict(os.environ) == before


def test_a_library_may_set_a_default_for_itself(shell: Any, tmp_path: Path) -> None:
    (tmp_path / "sets_default.py").write_text("import os\nos.environ.setdefault('RLM_LIBRARY', 'yes')\n")
    sys.path.insert(0, str(tmp_path))
    try:
        result = run(shell, "import os, sets_default\nos.environ['RLM_LIBRARY']")
    finally:
        sys.path.remove(str(tmp_path))
        os.environ.pop("RLM_LIBRARY", None)

    assert texts(result) == [("execute_result", "'yes'")]


def test_the_roots_cells_change_directory_and_environment_as_ever(shell: Any, tmp_path: Path) -> None:
    before = os.getcwd()
    source = f"import os\nos.chdir({str(tmp_path)!r})\nos.environ['RLM_ROOT'] = '1'\nos.getcwd()"
    try:
        result = asyncio.run(execute(source, {}, shell=shell, label="step 1", render=repr))
        assert (texts(result), os.environ["RLM_ROOT"]) == ([("execute_result", repr(str(tmp_path)))], "1")
    finally:
        os.chdir(before)
        os.environ.pop("RLM_ROOT", None)


def test_magics_act_on_the_sub_agents_namespace_and_never_on_the_persons(shell: Any, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from_script = 2\n")
    own: dict[str, Any] = {"__name__": "__main__", "lent": print}
    persons = dict(shell.user_ns)

    run(shell, f"%time timed = 1\n%run {script}\nget_ipython().push({{'pushed': 3}})\nx = !echo 4", own)
    who = run(shell, "%who", own, hidden={"lent": print})

    assert {name: own[name] for name in ("timed", "from_script", "pushed")} == {
        "timed": 1,
        "from_script": 2,
        "pushed": 3,
    }
    assert list(own["x"]) == ["4"]
    assert texts(who)[0][1].split() == ["from_script", "pushed", "timed", "x"]
    assert run(shell, "get_ipython().user_ns is globals()", own).outputs[0]["data"]["text/plain"] == "True"
    assert dict(shell.user_ns) == persons


def test_reset_clears_what_the_sub_agent_made_and_puts_back_what_was_lent(shell: Any) -> None:
    shell.user_ns["of_the_person"] = 1
    own: dict[str, Any] = {"__name__": "__main__", "context": None, "made": 1}
    persons = dict(shell.user_ns)

    result = run(shell, "%reset -f", own, hidden={"context": "lent"})

    assert result.error is None
    assert {name: value for name, value in own.items() if name != "__builtins__"} == {
        "__name__": "__main__",
        "context": "lent",
    }
    assert dict(shell.user_ns) == persons
    del shell.user_ns["of_the_person"]


def test_a_namespace_is_assigned_to_the_shell_as_ever(shell: Any) -> None:
    before, other = shell.user_ns, dict[str, Any]()

    run(shell, "get_ipython().user_ns = {'mine': 1}")
    assert shell.user_ns is before
    shell.user_ns = other
    try:
        assert shell.user_ns is other
    finally:
        shell.user_ns = before


def test_a_cell_within_a_cell_leaves_what_the_shell_notes_of_the_persons_cells_alone(shell: Any) -> None:
    called, own = list[str](), dict[str, Any]()
    persons = shell.displayhook.exec_result = ExecutionResult(None)
    before = shell.compile.flags, shell.execution_count, dict(shell.history_manager.outputs)
    shell.events.register("pre_run_cell", hook := lambda info: called.append("hook"))
    try:
        result = run(
            shell,
            "%%capture out\nfrom __future__ import annotations\nimport sys\nsys.stdout.write('once')\n"
            "get_ipython().run_cell('def f(): return g()\\ndef g(): return 5\\nf()', store_history=True)",
            own,
        )
        exec_result = shell.displayhook.exec_result
    finally:
        shell.events.unregister("pre_run_cell", hook)
        shell.displayhook.exec_result = None

    assert (result.outputs, own["out"].stdout) == ((), "once")
    assert own["out"].outputs[0].data == {"text/plain": "5"}
    assert (called, exec_result) == ([], persons)
    assert (shell.compile.flags, shell.execution_count, dict(shell.history_manager.outputs)) == before


def test_a_cell_in_capture_may_wait_for_another_in_capture(shell: Any) -> None:
    def ask() -> str:
        answers: list[CellResult] = []
        source = "%%capture inner\nprint('inner')"
        thread = threading.Thread(target=contextvars.Context().run, args=(lambda: answers.append(run(shell, source)),))
        thread.start()
        thread.join(20)
        return str(answers[0].error)

    own: dict[str, Any] = {"ask": ask}
    run(shell, "%%capture outer\nprint('outer')\nasked = ask()", own)

    assert (own["asked"], own["outer"].stdout) == ("None", "outer\n")


def test_a_sleeping_thread_of_a_cell_can_be_stopped_and_sleeps_as_long_as_it_says(shell: Any) -> None:
    import ctypes

    class Wake(BaseException): ...

    own: dict[str, Any] = {}
    result: list[CellResult] = []
    thread = threading.Thread(target=lambda: result.append(run(shell, "import time\ntime.sleep(30)", own)))
    started = time.monotonic()
    thread.start()
    time.sleep(0.3)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Wake))
    thread.join(10)

    assert time.monotonic() - started < 15
    assert result[0].error is not None
    assert result[0].error.name == "Wake"
    slept = "import time\nfrom time import sleep\nt = time.monotonic()\nsleep(1.05)\ntook = time.monotonic() - t\ntook"
    took = float(at_once(shell, [slept])[0].outputs[0]["data"]["text/plain"])
    assert 1.05 <= took < 5  # in slices: were each as long as the whole, 11


def test_sleep_stays_a_function_that_pickles_binds_to_no_class_and_refuses_nonsense() -> None:
    class Uses:
        sleep: Any = time.sleep

    assert pickle.loads(pickle.dumps(time.sleep)) is time.sleep
    Uses().sleep(0)
    with pytest.raises(ValueError, match="non-negative"):
        time.sleep(-1)


FIGURES = """
import asyncio, threading
from rlm_kernel.environment.apart import apart
from rlm_kernel.environment.execute import execute
shell, results = get_ipython(), {{}}
SOURCE = '''
import matplotlib.pyplot as plt
get_ipython().run_cell("plt.figure(); plt.plot([0, 1]); None")
for n in range(COUNT): plt.figure(); plt.plot([1, 2, 3])
open_now = plt.get_fignums()
'''
def one(n):
    own = {{"COUNT": n, "__name__": "__main__"}}
    with apart(own):
        cell = asyncio.run(execute(SOURCE, own, shell=shell, label="step 1", render=repr))
    results[n] = (own.get("open_now"), [sorted(o.get("data", o)) for o in cell.outputs], str(cell.error))
{before}
threads = [threading.Thread(target=one, args=(n,)) for n in range(1, 5)]
[t.start() for t in threads]
[t.join() for t in threads]
left = __import__("matplotlib.pyplot").pyplot.get_fignums()
"""


@pytest.mark.parametrize("before", ["", "import matplotlib.pyplot as plt; plt.figure(7); plt.plot([3, 2])"])
def test_figures_are_drawn_in_the_cell_that_made_them(tmp_path: Path, before: str) -> None:
    with kernel_process(tmp_path, MPLBACKEND="module://matplotlib_inline.backend_inline") as kernel:
        cell = kernel.run(FIGURES.format(before=before))
        results, left = kernel.value("results"), kernel.value("left")

    assert results == {
        str(n): [list(range(1, n + 1)), [["image/png", "text/plain"]] * (n + 1), "None"] for n in range(1, 5)
    }
    assert left == ([7] if before else [])
    assert len(cell.displays("image/png")) == (1 if before else 0)


def test_doctest_works_in_a_models_cell(shell: InteractiveShell) -> None:
    code = (
        "import doctest\ndef f():\n    '''\n    >>> f()\n    3\n    '''\n    return 3\n"
        "doctest.run_docstring_examples(f, {'f': f}); 'right'"
    )

    result = run(shell, code)

    assert [output["output_type"] for output in result.outputs] == ["execute_result"]


def test_a_cell_that_closes_its_stdout_closes_nobodys(shell: InteractiveShell, capsys: Any) -> None:
    result = run(shell, "import sys\nwith sys.stdout as out:\n    out.write('report')")
    after = run(shell, "print('still here')")

    assert "".join(output["text"] for output in result.outputs) == "report"
    assert "".join(output["text"] for output in after.outputs) == "still here\n"
    assert not sys.stdout.closed


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A library that warns, by itself and from C code; and Python's own way with warnings, not pytest's."""
    lib = ModuleType("warned_lib")
    code = "import warnings, numpy\n\ndef fit(): warnings.warn('no end')\n\ndef part(): numpy.float64(1) / 0\n"
    exec(compile(code, "/lib.py", "exec"), vars(lib))
    monkeypatch.setitem(sys.modules, "warned_lib", lib)

    def show(message: warnings.WarningMessage) -> None:
        sys.stderr.write(f"{message.category.__name__} {message.lineno}\n")

    with warnings.catch_warnings():
        warnings.resetwarnings()
        monkeypatch.setattr(warnings, "_showwarnmsg_impl", show)
        yield lib


BOTH = [("stderr", "UserWarning 3\nRuntimeWarning 5\n")]


def test_each_of_many_cells_at_once_is_told_each_warning_once(shell: InteractiveShell, warned: ModuleType) -> None:
    warned.fit()
    warned.part()
    source = "import warned_lib, warnings\nfor _ in range(9):\n    warned_lib.fit()\n    warned_lib.part()"
    filters = source + "\n    with warnings.catch_warnings(record=True): pass\n    break"
    default = f"import warnings\nwarnings.simplefilter('default')\n{source}"
    switched = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        results = [result for _ in range(30) for result in at_once(shell, [source, default, filters, source])]
    finally:
        sys.setswitchinterval(switched)

    assert [texts(result) for result in results] == [BOTH] * 120


def test_outside_a_models_cell_a_warning_is_told_once_as_ever_and_after_it_in_one(
    shell: InteractiveShell, warned: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    run(shell, "1")

    for _ in range(3):
        warned.fit()
        warned.part()

    assert capsys.readouterr().err == BOTH[0][1]
    assert texts(run(shell, "import warned_lib\nwarned_lib.fit()\nwarned_lib.part()")) == BOTH


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("fit()\nwarnings.simplefilter('always')\nfit(); fit()", "UserWarning 3\n" * 3),
        ("warnings.simplefilter('ignore')\nfit()", ""),
        ("warnings.filterwarnings('ignore', 'no')\nfit()", ""),
        ("warnings.filterwarnings('ignore', 'other')\nfit()", "UserWarning 3\n"),
        ("warnings.filterwarnings('ignore', module='warned_lib')\nfit()", ""),
        ("warnings.filterwarnings('ignore', module='other')\nfit()", "UserWarning 3\n"),
        ("warnings.simplefilter('once')\nfit(); fit()", "UserWarning 3\n"),
        ("warnings.simplefilter('module')\nfit(); fit()", "UserWarning 3\n"),
        ("warnings.simplefilter('error')\ntry: fit()\nexcept UserWarning as e: print(e, file=sys.stderr)", "no end\n"),
        ("warnings.warn('a')\nwarnings.warn('a')", "UserWarning 3\nUserWarning 4\n"),
        ("for n in 1, 2: warnings.warn(DeprecationWarning(n))", "DeprecationWarning 3\n" * 2),
        (
            "fit()\nfor _ in 1, 2:\n    with warnings.catch_warnings(record=True) as log: fit(); fit()\n"
            "    print(len(log), file=sys.stderr)",
            "UserWarning 3\n1\n1\n",
        ),
        ("import pytest\nwith pytest.warns(UserWarning): fit()\nwith pytest.warns(UserWarning): fit()", ""),
        ("import unittest\nwith unittest.TestCase().assertWarns(UserWarning): fit()", ""),
        ("import threading\nt = threading.Thread(target=fit); t.start(); t.join(); fit()", "UserWarning 3\n"),
        (
            "warnings.resetwarnings()\nfit()\nprint([m and m.pattern for _, m, *_ in warnings.filters])",
            "UserWarning 3\n",
        ),
    ],
)
def test_filters_do_in_a_models_cell_what_they_do(
    shell: InteractiveShell, warned: ModuleType, source: str, told: str
) -> None:
    begin = "import sys, warnings\nfrom warned_lib import fit\n"

    result = run(shell, begin + source)

    assert result.error is None
    assert "".join(text for kind, text in texts(result) if kind == "stderr") == told


def test_a_warning_that_is_an_error_names_the_library_that_warned(shell: InteractiveShell, warned: ModuleType) -> None:
    result = run(shell, "import warnings, warned_lib\nwarnings.simplefilter('error')\nwarned_lib.part()")

    assert result.error is not None
    assert result.error.name == "RuntimeWarning"
    assert "(raised in /lib.py, line 5, in part)" in result.error.traceback


def test_filters_are_copied_as_python_has_them(shell: InteractiveShell) -> None:
    """To the workers of a pool of processes, say."""
    result = run(
        shell, "import pickle, warnings\n[f[1].pattern for f in pickle.loads(pickle.dumps(warnings.filters[:1]))]"
    )

    assert texts(result) == [("execute_result", "['(?!)']")]
