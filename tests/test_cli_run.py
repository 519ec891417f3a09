"""`jupyter rlm run`, as typed: what it prints, and the exit codes that a script relies on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from rlm_kernel.limits import Limits
from rlm_kernel.settings import flags
from rlm_kernel.trace.loading import load_trace
from tests.kernel_process import block, script

pytestmark = pytest.mark.kernel


def rlm(folder: Path, *arguments: str, command: str = "run", **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "jupyter", "rlm", command, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **environ},
    )


def done(process: subprocess.Popen[str], stdin: str | None = None) -> tuple[int, str, str]:
    out, err = process.communicate(stdin, timeout=60)
    return process.returncode, out, err


def test_an_answer_is_printed_with_the_run_its_cost_and_its_trace(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a b.txt").write_bytes(b"one\r\ntwo\x00")
    (tmp_path / "letters" / "c.txt").write_text("three")
    model = script(tmp_path, block("print(sorted(context))", "I look first."), block("FINAL({'n': len(context)})"))

    code, out, err = done(rlm(tmp_path, "How many?", "-c", "letters", "-m", model, "-o", "trace.ipynb"))

    assert (code, err) == (0, "")
    for wanted in ("step 1: I look first.", "['c.txt']", "answer:\n{'n': 1}", "cost   $0.0000: 2 steps", "trace  "):
        assert wanted in out
    assert json.loads((tmp_path / "trace.ipynb").read_text())["nbformat"] == 4


def test_several_paths_are_a_dict_and_a_file_alone_is_its_text(tmp_path: Path) -> None:
    for name in ("a.txt", "b c.txt"):
        (tmp_path / name).write_bytes(name.encode() + b"\r\n")
    model = script(tmp_path, block("FINAL(context)"))

    one = json.loads(done(rlm(tmp_path, "?", "-c", "b c.txt", "-m", model, "--json"))[1])
    both = json.loads(done(rlm(tmp_path, "?", "-c", "a.txt", "-c", "b c.txt", "-m", model, "--json"))[1])

    assert one["answer"] == "b c.txt\r\n"
    assert both["answer"] == {"a.txt": "a.txt\r\n", "b c.txt": "b c.txt\r\n"}


@pytest.mark.parametrize(
    ("replies", "options", "code", "error"),
    [
        ([block("FINAL(1)")], [], 0, None),
        ([], [], 1, "ModelError"),
        ([block("x = 1")], ["--max-steps", "1"], 3, "LimitExceeded"),
        ([block("x = 1"), "prose", "prose", "prose"], [], 4, "NoAnswer"),
        ([block("x = 1")], ["--max-steps", "many"], 2, "UsageError"),
    ],
)
def test_exit_codes(tmp_path: Path, replies: list[str], options: list[str], code: int, error: str | None) -> None:
    model = script(tmp_path, *replies)

    returned, out, _ = done(rlm(tmp_path, "-", "-m", model, "--json", *options), stdin="What is it?\n")

    told = json.loads(out)
    assert (returned, told["exit_code"]) == (code, code)
    assert (told["error"] or "").split(":")[0] == (error or "")


def test_every_limit_that_is_given_is_the_runs_in_a_fork_too(tmp_path: Path) -> None:
    asked = {field.name: 1_000 + n for n, field in enumerate(fields(Limits))}
    words = [word for name, value in asked.items() for word in (flags(name)[-1], str(value))]
    model = script(tmp_path, block("FINAL(1)"))

    first = json.loads(done(rlm(tmp_path, "?", "-m", model, "--json", *words))[1])
    words[1] = "2000"
    other = done(rlm(tmp_path, first["journal"], "--fork", "0:1", "--json", *words, command="replay"))

    assert load_trace(first["journal"]).tree.run.limits == asked  # type: ignore[union-attr]
    forked = load_trace(json.loads(other[1])["journal"]).tree.run
    assert forked.limits == {**asked, "max_steps": 2_000}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["  "], "the question is empty"),
        (["?", "-c", "nowhere"], "-c nowhere: no such file or folder"),
        (["?", "-o", "no/such/folder.ipynb"], "there is no folder"),
        (["?", "--kernel", "no-such-kernel"], "jupyter rlm install"),
        ([], "question"),
    ],
)
def test_what_was_asked_wrongly_is_one_line_and_two(tmp_path: Path, arguments: list[str], told: str) -> None:
    code, out, err = done(rlm(tmp_path, *arguments))

    assert (code, out) == (2, "")
    assert told in err
    assert len(err.strip().splitlines()) == 1


def test_ctrl_c_stops_the_run_and_the_kernel_is_gone(tmp_path: Path) -> None:
    model = script(tmp_path, block("open('here', 'w').close()\nwhile True: pass"))
    process = rlm(tmp_path, "Spin.", "-m", model, "--json")
    deadline = time.monotonic() + 30
    while not (tmp_path / "here").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)

    process.send_signal(signal.SIGINT)
    code, out, _ = done(process)

    assert code == 130
    assert json.loads(out)["ending"] == "interrupted"
