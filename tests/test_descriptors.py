"""Text that passes Python by: what child processes and compiled code write to the file descriptors themselves."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

import rlm_kernel
from rlm_kernel.environment import routing
from rlm_kernel.environment.bound import MAX_CHARS
from rlm_kernel.environment.execute import execute
from rlm_kernel.environment.sink import Sink
from rlm_kernel.trace.nodes import Agent
from rlm_kernel.values import CellResult
from tests.kernel_process import Cell, KernelProcess, block, kernel_process, script

KEY = "sk-test-0123456789abcdef"


async def cell(shell: InteractiveShell, source: str) -> CellResult:
    return await execute(source, {}, shell=shell, label="step 1", render=repr)


def run(shell: InteractiveShell, source: str) -> CellResult:
    routing.install(shell)  # pytest puts a stream of its own in place for each test
    with shell.builtin_trap:
        return asyncio.run(cell(shell, source))


def texts(outputs: Any) -> list[tuple[str, str]]:
    return [(o.get("name") or o["output_type"], o.get("text") or str(o.get("data"))) for o in outputs]


def test_what_children_write_is_output_of_the_cell_and_in_its_order(shell: InteractiveShell, capfd: Any) -> None:
    source = (
        "import os, subprocess, sys\nprint(1)\nos.system('echo 2')\nprint(3)\n"
        "subprocess.run('echo to two >&2; echo 4; echo more >&2; echo 5', shell=True)\nprint(6)\n"
        "subprocess.run(['echo', '7'], stdout=sys.stdout)\nsubprocess.run(['echo', '8'], stderr=subprocess.STDOUT)\n"
        "print(9, subprocess.run(['echo', 'kept'], capture_output=True).stdout, os.popen('echo read').read())"
    )
    for _ in range(10):
        result = run(shell, source)

        assert texts(result.outputs) == [
            ("stdout", "1\n2\n3\n4\n5\n"),
            ("stderr", "to two\nmore\n"),
            ("stdout", "6\n7\n8\n9 b'kept\\n' read\n\n"),
        ]
    assert capfd.readouterr() == ("", "")


def test_children_of_cells_that_run_at_once_write_to_their_own(shell: InteractiveShell) -> None:
    routing.install(shell)
    results: dict[int, CellResult] = {}

    def one(n: int) -> None:
        source = f"import subprocess\nfor i in range(10): subprocess.run(['echo', '{n}'])"
        results[n] = asyncio.run(cell(shell, source))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {n: texts(results[n].outputs) for n in results} == {n: [("stdout", f"{n}\n" * 10)] for n in range(4)}


FORKED = (
    "import os, subprocess, sys\nprint(1)\nif (pid := os.fork()) == 0:\n    print(2)\n    os.write(1, b'3\\n')\n"
    "    subprocess.run(['echo', '4'])\n    print('to two', file=sys.stderr)\n    os.system('echo 5')\n"
    "    print(6, end='', flush=True)\n    os._exit(0)\nx = os.waitpid(pid, 0)\nprint(7)\n"
    "x = os.spawnlp(os.P_WAIT, 'echo', 'echo', '8')\nprint(9)"
)


def test_what_forked_children_write_is_output_of_the_cell_and_in_its_order(shell: InteractiveShell, capfd: Any) -> None:
    for _ in range(5):
        result = run(shell, FORKED)

        assert texts(result.outputs) == [
            ("stdout", "1\n2\n3\n4\n5\n6"),
            ("stderr", "to two\n"),
            ("stdout", "7\n8\n9\n"),
        ]
    assert capfd.readouterr() == ("", "")


def test_what_forked_children_print_at_once_is_output_line_by_line(shell: InteractiveShell) -> None:
    source = (
        "import multiprocessing, logging, sys, threading\nlog = logging.getLogger('g')\n"
        "log.addHandler(logging.StreamHandler(sys.stdout))\n"
        "def g(n):\n    for i in range(10):\n        print('child', n)\n"
        "        thread = threading.Thread(target=log.error, args=('logged %d', n))\n"
        "        thread.start(); thread.join()\n"
        "print('before')\nfork = multiprocessing.get_context('fork')\n"
        "children = [fork.Process(target=g, args=(n,)) for n in range(4)]\n"
        "for child in children: child.start()\nfor child in children: child.join()\nprint('after')"
    )

    result = run(shell, source)

    assert [name for name, _ in texts(result.outputs)] == ["stdout"]
    first, *lines, last = texts(result.outputs)[0][1].splitlines()
    assert (first, last) == ("before", "after")
    assert sorted(lines) == sorted(f"{said} {n}" for said in ("child", "logged") for n in range(4) for _ in range(10))


def test_forked_children_of_cells_that_run_at_once_write_to_their_own(shell: InteractiveShell) -> None:
    routing.install(shell)
    results: dict[int, CellResult] = {}

    def one(n: int) -> None:
        source = (
            f"import os\nfor i in range(5):\n    if (pid := os.fork()) == 0:\n        print({n}, flush=True)\n"
            f"        os.write(1, b'{n}\\n')\n        os._exit(0)\n    x = os.waitpid(pid, 0)"
        )
        results[n] = asyncio.run(cell(shell, source))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {n: texts(results[n].outputs) for n in results} == {n: [("stdout", f"{n}\n" * 10)] for n in range(4)}


def test_what_a_frontend_holds_back_of_a_late_child_it_shows_when_nothing_more_can_come(
    shell: InteractiveShell,
) -> None:
    seen: list[str] = []

    class Frontend:
        def stream(self, name: str, text: str) -> None:
            seen.append(text)

        def end(self) -> None:
            seen.append("end")

        def display(self, *args: Any) -> None: ...

    source = (
        "import os, time\nif os.fork() == 0:\n    time.sleep(0.4)\n    print('late')\n    os._exit(0)\nprint('now')"
    )
    routing.install(shell)
    sink = Sink(Frontend())
    with shell.builtin_trap:
        asyncio.run(execute(source, {}, shell=shell, label="step 1", render=repr, sink=sink))
    until = time.monotonic() + 10
    while seen.count("end") < 2 and time.monotonic() < until:
        time.sleep(0.01)

    assert seen == ["now\n", "end", "late\n", "end"]


def test_a_child_with_a_terminal_of_its_own_keeps_it(shell: InteractiveShell) -> None:
    source = (
        "import os, pty\npid, end = pty.fork()\nif pid == 0:\n    print(os.isatty(1), flush=True)\n    os._exit(0)\n"
        "print(os.read(end, 100))\nx = os.waitpid(pid, 0)"
    )

    assert texts(run(shell, source).outputs) == [("stdout", "b'True\\r\\n'\n")]


def test_children_of_nobodys_cell_write_where_they_always_did(shell: InteractiveShell, capfd: Any) -> None:
    routing.install(shell)

    ended = os.system("echo mine; exit 3")

    assert (ended, capfd.readouterr().out) == (3 << 8, "mine\n")


def test_a_cells_system_tells_how_the_command_ended_as_ever(shell: InteractiveShell) -> None:
    result = run(shell, "import os\n[os.system('exit 3'), os.system('kill -9 $$'), os.system('true')]")

    assert result.outputs[0]["data"]["text/plain"] == "[768, 9, 0]"


def test_a_child_that_outlives_its_cell_changes_nothing_of_it_and_is_not_stopped(
    shell: InteractiveShell, tmp_path: Path
) -> None:
    mark = tmp_path / "lived"
    result = run(
        shell, f"import subprocess\nsubprocess.Popen('sleep 0.3; echo late; echo x > {mark}', shell=True)\nprint('now')"
    )
    end = time.monotonic() + 10
    while not mark.exists():
        assert time.monotonic() < end
        time.sleep(0.01)

    assert texts(result.outputs)[0] == ("stdout", "now\n")
    assert texts(run(shell, "import time; time.sleep(0.3)\nprint('next')").outputs) == [("stdout", "next\n")]


def test_what_a_child_writes_without_end_is_bounded_and_counted(shell: InteractiveShell) -> None:
    result = run(shell, "import os\nos.system('yes | head -c 12000000')")

    assert len(result.outputs[0]["text"]) < MAX_CHARS + 100
    assert sum(len(o["text"]) for o in result.outputs if o["output_type"] == "stream") < MAX_CHARS + 10_000
    assert result.dropped_chars > 1_900_000


def test_cells_with_children_leave_no_descriptors_behind(shell: InteractiveShell) -> None:
    run(shell, "import os\nos.system('echo 1')")
    before = len(os.listdir("/dev/fd"))

    for _ in range(20):
        run(shell, "import os\nos.system('echo 1')\nif (pid := os.fork()) == 0: os._exit(0)\nx = os.waitpid(pid, 0)")

    assert len(os.listdir("/dev/fd")) <= before


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    with kernel_process(tmp_path_factory.mktemp("kernel"), OPENAI_API_KEY=KEY, RLM_MAX_DEPTH="1") as process:
        yield process


def ask(kernel: KernelProcess, *replies: str, name: str = "replies.json") -> tuple[Cell, Agent]:
    """The person's cell, and the root as it is recorded."""
    came = kernel.run(f"%%rlm -m {script(kernel.folder, *replies, name=name)}\nWhat is it?")
    path = kernel.value("str(get_ipython()._rlm_workspace.last_run.trace.resolve())")
    root = rlm_kernel.load_trace(path).root
    assert root is not None
    for file in (kernel.folder / ".rlm" / "runs").iterdir():
        assert KEY not in file.read_text()
    return came, root


def put_out(agent: Agent, step: int = 1) -> list[tuple[str, str]]:
    recorded = agent.step(step).cell
    assert recorded is not None
    return texts(recorded.outputs)


# In an order that is the same whether the C library buffers or, with PYTHONUNBUFFERED, does not.
COMPILED = (
    "import ctypes, os, sys\nprint('first')\nos.write(1, b'key ' + os.environ['OPENAI_API_KEY'].encode() + b'\\n')\n"
    "ctypes.CDLL(None).puts(b'from C')\nsys.__stdout__.write('past\\n')\nos.write(2, b'to two')\n"
)


@pytest.mark.kernel
def test_in_a_kernel_what_compiled_code_writes_is_output_of_the_one_cell_that_runs(kernel: KernelProcess) -> None:
    came, root = ask(kernel, block(COMPILED + "1 / 0"), block("FINAL(1)"))

    assert put_out(root)[:2] == [
        ("stdout", "first\nkey [OPENAI_API_KEY]\nfrom C\npast\n"),
        ("stderr", "to two"),
    ]
    assert put_out(root)[2][0] == "error"
    assert (came.text(), came.text("stderr")) == ("first\nkey [OPENAI_API_KEY]\nfrom C\npast\n", "to two")
    assert "from C" in root.step(2).new[-1].content


@pytest.mark.kernel
def test_what_a_cell_prints_or_shows_reaches_the_person_without_keys(kernel: KernelProcess) -> None:
    code = "import os\nfrom IPython.display import Markdown, display\nkey = os.environ['OPENAI_API_KEY']\n"

    came, _ = ask(
        kernel,
        block(
            code + "print(key)\nos.system('echo $OPENAI_API_KEY')\nprint('sk-')\nprint('sk-', end='')\n"
            "display(Markdown(key))\nprint('next')\nFINAL(1)"
        ),
    )

    assert came.text() == "[OPENAI_API_KEY]\n" * 2 + "sk-\nsk-next\n"
    assert [o.get("text") for o in came.outputs if o["output_type"] == "stream"][1] == "next\n"
    assert KEY not in json.dumps(came.outputs)


UNWARNED = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n"
"""From Python 3.12 on a fork beside threads, which a kernel has, is warned of."""


@pytest.mark.kernel
@pytest.mark.parametrize(
    "code",
    [
        "print('x sk-test-01', end='', flush=True)\ntime.sleep(0.4)\nprint('23456789abcdef sk-te')",
        "os.system('printf \"x sk-test-01\"; sleep 0.4; echo 23456789abcdef sk-te')",
        "os.write(1, b'x sk-test-01')\ntime.sleep(0.4)\nos.write(1, b'23456789abcdef sk-te\\n')",
        "if os.fork() == 0:\n    print('x', os.environ['OPENAI_API_KEY'], 'sk-te')\n    os._exit(0)\nos.wait()",
    ],
    ids=["printed", "by a child", "past Python", "by a fork"],
)
def test_a_key_that_comes_in_pieces_does_not_reach_the_person(kernel: KernelProcess, code: str) -> None:
    came, root = ask(kernel, block(f"{UNWARNED}import os, time\n{code};"), block("print('sk-')"), block("FINAL(1)"))

    assert came.text() == "x [OPENAI_API_KEY] sk-te\nsk-\n"
    assert put_out(root) == [("stdout", "x [OPENAI_API_KEY] sk-te\n")]


@pytest.mark.kernel
def test_in_a_kernel_what_cannot_be_told_whose_it_is_is_labelled_and_in_no_cells_output(kernel: KernelProcess) -> None:
    below = block(
        "import os, subprocess, time\nsubprocess.run(['echo', context])\ntime.sleep(0.1 if context == 'A' else 0.6)\n"
        "key = os.environ['OPENAI_API_KEY'].encode()\nos.write(1, b'unknown ' + key[:9])\ntime.sleep(0.2)\n"
        "os.write(1, key[9:] + b'\\n')\ntime.sleep(0.1)\nFINAL(context)"
    )
    model = script(kernel.folder, below, below, name="below.json")
    asking = f"llm_query_batched(['one', 'two'], ['A', 'B'], model={model!r})"

    came, root = ask(kernel, block(f"print({asking})"), block("print('alone')"), block("FINAL(1)"))

    assert put_out(root) == [("stdout", "['A', 'B']\n")]
    assert {agent.context_name or agent.question: put_out(agent) for agent in root.children} == {
        "one": [("stdout", "A\n")],
        "two": [("stdout", "B\n")],
    }
    noted = [agent.step(1).cell.notes for agent in (root, *root.children)]  # type: ignore[union-attr]
    assert all("cannot be told whose" in "".join(notes) for notes in noted)
    assert came.text().count("unknown [OPENAI_API_KEY]\n") == 2
    assert came.text().startswith("[from compiled code")
    assert (put_out(root, 2), root.step(2).cell.notes) == ([("stdout", "alone\n")], ())  # type: ignore[union-attr]


@pytest.mark.kernel
def test_in_a_kernel_a_late_child_writes_to_the_person_and_not_into_the_next_cell(kernel: KernelProcess) -> None:
    late = "import os\nif os.fork() == 0:\n    import time; time.sleep(0.5)\n    os.write(1, b'late')\n    os._exit(0)"

    came, root = ask(
        kernel, block(UNWARNED + late), block("import time; time.sleep(1.2)\nprint('next')"), block("FINAL(1)")
    )

    assert [put_out(root, step) for step in (1, 2)] == [[], [("stdout", "next\n")]]
    assert came.text() == "latenext\n"


@pytest.mark.kernel
def test_a_persons_own_text_is_theirs_also_while_a_models_cell_runs(kernel: KernelProcess) -> None:
    kernel.run(
        "import os, subprocess, threading\nbegun, done = threading.Event(), threading.Event()\n"
        "def mine():\n    begun.wait(20)\n    subprocess.run(['echo', 'mine'])\n    os.system('echo mine')\n"
        "    done.set()\n"
        "threading.Thread(target=mine).start()"
    )

    _, root = ask(kernel, block("begun.set()\ncame = done.wait(20)"), block("FINAL(came)"))
    own = kernel.run("import os, time\nos.write(1, b'by number\\n')\nos.system('echo by name')\ntime.sleep(0.5)")

    assert put_out(root) == []
    assert own.text() == "by number\nby name\n"


@pytest.mark.kernel
def test_a_replay_finds_the_same_text_past_python(kernel: KernelProcess) -> None:
    several = "subprocess.run('echo 1; echo 2 >&2; echo 3', shell=True)\nprint('last')"
    cells = (COMPILED + "pass", f"import os, subprocess\nos.system('echo said')\n{several}")
    _, root = ask(kernel, *map(block, cells), block("FINAL(1)"))

    assert put_out(root)[0] == ("stdout", "first\nkey [OPENAI_API_KEY]\nfrom C\npast\n")
    for _ in range(3):
        came = kernel.run("%rlm replay --all --strict")

        assert (came.status, came.evalue) == ("ok", "")


@pytest.mark.kernel
def test_what_is_not_in_the_record_is_not_shown_when_it_runs_again_either(tmp_path: Path) -> None:
    """As pytest runs it, which tells the kernel that it is in a test."""
    pool = (
        "import multiprocessing\ndef g(n): print('child', n)\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool: print(pool.map(g, [1]))"
    )
    unknown = block("import os, time\ntime.sleep(0.2)\nos.write(1, b'unknown\\n')\ntime.sleep(0.2)\nFINAL(1)")
    below = script(tmp_path, unknown, unknown, name="below.json")
    asking = f"llm_query_batched(['one', 'two'], ['A', 'B'], model={below!r})"
    with kernel_process(tmp_path, RLM_MAX_DEPTH="1") as process:
        came, _ = ask(process, *map(block, (COMPILED.replace("OPENAI_API_KEY", "HOME"), pool, asking, "FINAL(1)")))
        process.run("%rlm trace trace.ipynb")

    command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    again = subprocess.run([*command, "trace.ipynb"], cwd=tmp_path, capture_output=True, text=True, timeout=100)

    assert came.text().count("unknown") == 2
    assert again.returncode == 0, again.stdout


@pytest.mark.kernel
def test_a_plain_kernel_has_what_is_written_past_python_also_where_it_watches_no_descriptor(tmp_path: Path) -> None:
    with kernel_process(tmp_path, name="python3", OPENAI_API_KEY=KEY, PYTEST_CURRENT_TEST="as under nbval") as process:
        process.run("%load_ext rlm_kernel")
        _, root = ask(process, block(COMPILED), block("FINAL(1)"))

    assert put_out(root)[0] == ("stdout", "first\nkey [OPENAI_API_KEY]\nfrom C\npast\n")


@pytest.mark.kernel
def test_stop_ends_a_cell_that_waits_for_a_child(kernel: KernelProcess) -> None:
    model = script(kernel.folder, block("import os\nprint('go', flush=True)\nos.system('sleep 30')"))
    request = kernel.start(f"%%rlm -m {model}\nWhat?")
    kernel.wait_for_output(request, "go")
    pressed = time.monotonic()

    kernel.manager.interrupt_kernel()

    assert kernel.finish(request).ename == "RunInterrupted"
    assert time.monotonic() - pressed < 5
