"""Text that passes Python by: what child processes and compiled code write to the file descriptors themselves."""

from __future__ import annotations

import asyncio
import json
import os
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
from rlm_kernel.trace.nodes import Agent
from rlm_kernel.values import CellResult
from tests.kernel_process import Cell, KernelProcess, block, kernel_process, script

KEY = "sk-test-0123456789abcdef"


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    made = InteractiveShell.instance()
    stdout, stderr = sys.stdout, sys.stderr
    routing.install(made)
    yield made
    sys.stdout, sys.stderr = stdout, stderr


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
        run(shell, "import os\nos.system('echo 1')")

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
        kernel, block(code + "print(key)\nos.system('echo $OPENAI_API_KEY')\ndisplay(Markdown(key))\nFINAL(1)")
    )

    assert came.text() == "[OPENAI_API_KEY]\n" * 2
    assert KEY not in json.dumps(came.outputs)


@pytest.mark.kernel
def test_in_a_kernel_what_cannot_be_told_whose_it_is_is_labelled_and_in_no_cells_output(kernel: KernelProcess) -> None:
    below = block(
        "import os, subprocess, time\nsubprocess.run(['echo', context])\n"
        "os.write(1, b'unknown ' + os.environ['OPENAI_API_KEY'].encode())\ntime.sleep(0.3)\nFINAL(context)"
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
    assert came.text().count("unknown [OPENAI_API_KEY]") == 2
    assert came.text().startswith("[from compiled code")
    assert (put_out(root, 2), root.step(2).cell.notes) == ([("stdout", "alone\n")], ())  # type: ignore[union-attr]


@pytest.mark.kernel
def test_in_a_kernel_a_late_child_writes_to_the_person_and_not_into_the_next_cell(kernel: KernelProcess) -> None:
    late = "import os\nif os.fork() == 0:\n    import time; time.sleep(0.5)\n    os.write(1, b'late')\n    os._exit(0)"

    came, root = ask(kernel, block(late), block("import time; time.sleep(1.2)\nprint('next')"), block("FINAL(1)"))

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
def test_stop_ends_a_cell_that_waits_for_a_child(kernel: KernelProcess) -> None:
    model = script(kernel.folder, block("import os\nprint('go', flush=True)\nos.system('sleep 30')"))
    request = kernel.start(f"%%rlm -m {model}\nWhat?")
    kernel.wait_for_output(request, "go")
    pressed = time.monotonic()

    kernel.manager.interrupt_kernel()

    assert kernel.finish(request).ename == "RunInterrupted"
    assert time.monotonic() - pressed < 5
