"""`jupyter rlm show`, and how every command on traces finds one."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel.cli.show import Show
from rlm_kernel.cli.traces import put, write
from rlm_kernel.trace import file
from rlm_kernel.trace.events import AgentFinished, AgentStarted, CallFailed, CellFinished, Event
from rlm_kernel.trace.journal import Journal
from rlm_kernel.trace.nesting import DEEPEST, nested
from rlm_kernel.trace.views.data import as_data
from rlm_kernel.trace.views.terminal import in_columns, on_screen, painted, step_table, tree_lines
from rlm_kernel.trace.views.troubles import Trouble, troubles
from rlm_kernel.values import CellError
from tests.sample_run import (
    EVENTS,
    TEXT,
    agent_finished,
    agent_started,
    fenced,
    recursive_run,
    run_finished,
    run_started,
    step,
    stream,
    tree_of,
    whole_run,
    workflow_run,
)

REPOSITORY = Path(__file__).parents[1]
HOSTILE = "<script>alert(1)</script>\x1b[31m\x1b]0;title\x07\u202etxt\u2066\u200f\ud800\x00\r\n\x9b2J`$x$`"
RING = [agent_started("a", "b"), agent_started("b", "a"), agent_started("c", "c")]


def notebook(folder: Path, events: list[Event], name: str = "run.ipynb") -> Path:
    path = folder / name
    file.write(tree_of(events), path)
    return path


def journal(folder: Path, events: list[Event], name: str = "run") -> Path:
    with Journal.create(folder, name) as opened:
        opened.append(*events)
        return opened.path


def show(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        Show.launch_instance([str(argument) for argument in arguments])
    Show.clear_instance()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def text_of(events: list[Event], everything: bool = False) -> str:
    return "\n".join(painted(line) for line in tree_lines(tree_of(events), everything))


def test_each_state_of_a_workflow_is_a_line_above_those_that_it_asked():
    lines = text_of(workflow_run()).split("\n")

    assert [line.strip().partition(" · ")[0] for line in lines if re.match(r"\s+(state|agent) ", line)] == [
        "state draft",
        "agent 0.1: Draft 0.1",
        "state check",
        "state draft, visit 2",
        "agent 0.2: Draft 0.2",
        "agent 0.4: Draft 0.4",
        "agent 0.3: Draft 0.3",
        "state print",
    ]


def test_the_tree_has_agents_steps_cells_outputs_errors_and_completions_in_order():
    assert text_of(whole_run()).split("\n") == [
        "RLM 20260131-120000-abcd · final · scripted:demo.py · 3 steps · 4 model calls · 370 tokens · cost unknown"
        " · 2.50 s",
        "agent 0: How many lines?",
        "  context: str of 12 characters: 'a\\nb\\nc'",
        "  step 1: I look first. · error · 0.75 s · 120 tokens",
        "    | contxt[:9]",
        "    ! line 1",
        "    ! NameError: name 'contxt' is not defined",
        "  step 2: A typo. · done · 0.75 s · 120 tokens",
        "    | n = context.count('\\n')",
        "    | print(llm_query(f'is {n} many?'))",
        "    | n + 1",
        "    llm_query 1 · 10 tokens · 0.20 s: is 2 many? → No, not many.",
        "    > No, not many.",
        "    > 3",
        "  step 3: Now I know. · final · 0.75 s · 120 tokens",
        "    | FINAL(n + 1)",
        "  final",
        "    int: 3",
    ]  # fmt: skip


def test_a_sub_agent_stands_below_the_step_that_asked_it():
    lines = text_of(recursive_run()).split("\n")

    asked = lines.index("    | xs = llm_query_batched(qs, cs)")
    assert lines[asked + 1].startswith("    agent 0.1: Which? · final · 1 step")
    assert any(line.startswith("        agent 0.1.1: Why?") for line in lines)
    assert "      error: the provider has gone" in lines


def test_long_texts_and_wide_batches_are_cut_and_all_shows_them():
    events = [run_started(), agent_started()]
    events += step(1, fenced("\n".join("x" * 30)), "\n".join("x" * 30), (stream("a\n" * 30 + "last"),))
    events += [agent_started(f"0.{n}", "0", f"question {n}?", in_step=1) for n in range(1, 31)]

    cut, whole = text_of(events), text_of(events, everything=True)

    assert "    | … 18 more lines" in cut
    assert "    > … 23 more lines" in cut
    assert "… 10 more agents, 10 without an answer: --all shows them" in cut
    assert "last" not in cut
    assert "question 30?" not in cut
    assert "last" in whole
    assert "question 30?" in whole
    assert "--all" not in whole


def test_of_a_long_error_the_end_is_shown():
    error = CellError("E", "why", "\n".join(f"frame {n}" for n in range(30)) + "\nE: why")

    text = text_of([agent_started(), *step(1, fenced("f()"), "f()", error=error)])

    assert "    ! … 23 more lines\n    ! frame 23\n" in text
    assert "    ! E: why" in text


def test_a_reply_without_prose_does_not_say_its_cell_twice():
    text = text_of([agent_started(), *step(1, fenced("print(1)", ""), "print(1)")])

    assert text.count("print(1)") == 1


def test_who_wants_no_colours_gets_none(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name, value, expected in (
        ("NO_COLOR", "1", "no\n"),
        ("TERM", "dumb", "no\n"),
        ("X", "1", "\x1b[31mno\x1b[0m\n"),
    ):
        with monkeypatch.context() as patched:
            patched.delenv("NO_COLOR", raising=False)
            patched.setenv("TERM", "xterm")
            patched.setenv(name, value)
            patched.setattr(sys, "stdout", Terminal())
            put([(("bad", "no"),)])
            assert sys.stdout.getvalue() == expected


def test_a_line_is_cut_to_the_width_of_the_terminal_in_columns():
    assert painted((("", "abcdef"),), 6) == "abcdef"
    assert painted((("", "abcdef"),), 5) == "abcd…"
    assert painted((("bold", "ab"), ("", "cdef")), 5) == "abcd…"
    assert painted((("", "日本語"),), 5) == "日…"
    assert painted((("", "a\tb\nc"),)) == "a   b c"
    assert painted((("bad", "no"), ("", "")), 9, colour=True) == "\x1b[31mno\x1b[0m"


@given(st.lists(TEXT, max_size=3), st.none() | st.integers(0, 30), st.booleans())
def test_whatever_a_line_holds_a_terminal_gets_only_what_is_to_be_seen(texts, width, colour):
    shown = painted(tuple(("bad", text) for text in texts), width, colour)

    bare = re.sub("\x1b\\[31m|\x1b\\[0m", "", shown) if colour else shown
    assert not [char for char in bare if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
    assert not re.search("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", bare)
    assert "\n" not in bare


def test_hostile_text_in_every_field_reaches_no_terminal(tmp_path, capsys):
    error = CellError(HOSTILE, HOSTILE, HOSTILE)
    outputs = (stream(HOSTILE), {"output_type": "display_data", "data": {HOSTILE: HOSTILE}, "metadata": {}})
    started = AgentStarted(
        agent=HOSTILE, depth=0, caller=None, question=HOSTILE, context=HOSTILE, model=HOSTILE, schema=HOSTILE,
        tools=(HOSTILE,), isolation=HOSTILE,
    )  # fmt: skip
    failed = CallFailed(agent=HOSTILE, step=1, call=1, kind=HOSTILE, message=HOSTILE)
    ended = AgentFinished(agent=HOSTILE, ending="error", answer=HOSTILE, name=HOSTILE, message=HOSTILE)
    its_step = step(1, HOSTILE, HOSTILE, outputs, agent=HOSTILE, error=error, calls=(failed,))
    path = journal(tmp_path, [run_started(), started, *its_step, ended])

    for form in ((), ("--all",), ("--table",), ("--agents",), ("--errors",), ("--json",)):
        code, out, err = show(capsys, path, *form)

        assert (code, err) == (0, "")
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200f\u202e\u2066\ud800]", out)


def test_colours_are_for_terminals_alone(tmp_path):
    path = notebook(tmp_path, whole_run())
    command = [
        sys.executable,
        "-c",
        "import sys; from rlm_kernel.cli.show import Show; Show.launch_instance(sys.argv[1:])",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm"}
    ours, theirs = pty.openpty()

    piped = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=60, env=environment)
    with subprocess.Popen([*command, str(path)], stdout=theirs, env=environment):
        os.close(theirs)
        seen = b""
        while True:
            try:
                seen += (more := os.read(ours, 65536))
            except OSError:
                break
            if not more:
                break
    os.close(ours)

    assert "\x1b" not in piped.stdout
    assert b"\x1b[31merror\x1b[0m" in seen


def test_a_pipe_that_is_shut_ends_it_without_a_word(tmp_path):
    path = notebook(tmp_path, [run_started(), agent_started(), *step(1, fenced("x" * 9), "x\n" * 200_000)])
    script = "import sys; from rlm_kernel.cli.show import Show; Show.launch_instance(sys.argv[1:])"
    line = f'"{sys.executable}" -c "{script}" "{path}" --all | head -1'

    done = subprocess.run(
        line, shell=True, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )

    assert done.stdout.startswith("RLM 20260131-120000-abcd")
    assert done.stderr == ""


def test_an_encoding_that_lacks_a_character_gets_a_question_mark(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))

    write(["a · b\n"])

    assert raw.getvalue() == b"a ? b\n"


def test_the_table_has_a_row_for_each_step_and_completion_and_their_sum(tmp_path, capsys):
    code, out, _ = show(capsys, notebook(tmp_path, whole_run()), "--table")

    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["agent", "step", "kind", "model", "in", "out", "cached", "cost", "seconds", "what", "came"],
        ["0", "1", "step", "demo-1", "100", "20", "64", "$0.001", "0.75", "error:", "NameError"],
        ["0", "2", "step", "demo-1", "100", "20", "64", "$0.001", "0.75", "done"],
        ["0", "2", "llm_query", "1", "demo-1", "7", "3", "–", "–", "0.20", "done"],
        ["0", "3", "step", "demo-1", "100", "20", "64", "$0.001", "0.75", "final"],
        ["total", "3", "4", "calls", "307", "63", "192", "–", "2.50", "final"],
    ]


def test_the_table_of_agents_has_all_of_them(tmp_path, capsys):
    _, out, _ = show(capsys, notebook(tmp_path, recursive_run()), "--agents")

    assert [line.split()[0] for line in out.splitlines()] == ["agent", "0", "0.1", "0.1.1", "0.2", "0.3", "0.10"]


def test_errors_tell_what_went_wrong_where_and_the_exit_code_stays_0(tmp_path, capsys):
    code, out, _ = show(capsys, notebook(tmp_path, recursive_run()), "--errors")

    assert code == 0
    assert out.splitlines() == [
        "agent 0.2 · ending: interrupted: stopped from outside",
        "agent 0.3, step 1 · model call: server: 500",
        "agent 0.3 · ending: error: the provider has gone",
    ]


def test_of_a_cell_that_raised_the_last_line_of_the_traceback_is_told():
    assert list(troubles(tree_of(whole_run()))) == [Trouble("0", 1, "cell", "NameError: name 'contxt' is not defined")]


def test_limits_failed_completions_and_what_has_no_end_are_told_too():
    refused = CallFailed(agent="0", step=1, call=1, kind="limit", message="max_calls=1 reached")
    broken = CallFailed(agent="0", step=1, call=2, kind="server", message="500")
    events = [agent_started(), *step(1, fenced("f()"), "f()", calls=(refused, broken))]
    limit = AgentFinished(agent="0", ending="limit", answer=None, message="max_steps=1 reached (1 used)")
    torn = [event for event in events if not isinstance(event, CellFinished)]

    assert [(found.what, found.why) for found in troubles(tree_of([*events, limit]))] == [
        ("limit", "llm_query 1: limit: max_calls=1 reached"),
        ("completion", "llm_query 2: server: 500"),
        ("limit", "max_steps=1 reached (1 used)"),
    ]
    assert [found.what for found in troubles(tree_of(torn))] == ["limit", "completion", "no end", "no end"]


def test_a_run_that_only_a_persons_cells_began_needs_no_end_of_its_root():
    assert list(troubles(tree_of([run_started(), agent_started(), run_finished()]))) == []


def test_where_nothing_went_wrong_it_says_so(tmp_path, capsys):
    events = [agent_started(), *step(1, fenced("FINAL(1)"), "FINAL(1)", final=True), agent_finished()]

    assert show(capsys, notebook(tmp_path, events), "--errors")[1] == "nothing went wrong\n"


def test_json_is_one_object_with_agents_nested_and_the_same_keys_in_all(tmp_path, capsys):
    _, out, _ = show(capsys, notebook(tmp_path, recursive_run()), "--json")

    data = json.loads(out)
    (root,) = data["agents"]
    assert list(data) == ["complaint", "run", "ending", "totals", "agents"]
    assert [(each["id"], each["in_step"], [below["id"] for below in each["agents"]]) for each in root["agents"]] == [
        ("0.1", 1, ["0.1.1"]),
        ("0.2", 1, []),
        ("0.3", 1, []),
        ("0.10", None, []),
    ]
    assert list(root["agents"][1]) == list(root)
    assert root["agents"][2]["steps"][0]["failure"] == {"kind": "server", "message": "500"}
    assert root["total"]["prompt_tokens"] == data["totals"]["prompt_tokens"] == 400


def test_agents_too_deep_or_in_a_ring_are_all_in_the_json():
    deep = [agent_started(), *(agent_started(f"d{n}", f"d{n - 1}" if n else "0") for n in range(500))]
    tree = tree_of([*deep, *RING])

    text = json.dumps(as_data(tree))

    assert text.count('"caller"') == 504
    assert nested(tree, lambda agent, below: 1 + max(below.values(), default=0))[0] == DEEPEST + 1


def test_agents_in_a_ring_are_each_shown_once():
    text = text_of(RING)

    for line in ("agent a: ", "agent b: ", "agent c: "):
        assert text.count(line) == 1


def test_a_thousand_agents_are_shown():
    events = [agent_started(), *step(1, fenced("go()"), "go()")]
    events += [agent_started(f"0.{n}", "0", f"q{n}", in_step=1) for n in range(1, 1001)]

    assert text_of(events).count("agent 0.") == 20
    assert "980 more agents" in text_of(events)
    assert text_of(events, everything=True).count("agent 0.") == 1000


def test_of_a_damaged_trace_it_shows_what_is_there_and_says_on_stderr_what_is_not(tmp_path, capsys):
    path = journal(tmp_path, whole_run())
    path.write_bytes(path.read_bytes()[:-300])

    code, out, err = show(capsys, path)

    assert code == 0
    assert "step 3" in out
    assert err.count("\n") == 1
    assert re.search(r"not the whole record: line \d+ is torn: .*; \d+ bytes at its end are lost", err)


def test_a_cell_that_a_person_edited_is_told(tmp_path, capsys):
    path = notebook(tmp_path, whole_run())
    data = json.loads(path.read_bytes())
    next(cell for cell in data["cells"] if cell["id"] == "a0-s3")["source"] = "FINAL('mine')"
    path.write_text(json.dumps(data))

    _, out, err = show(capsys, path)

    assert "FINAL(n + 1)" in out
    assert "1 edited cell" in err


def test_cells_that_a_person_put_in_are_told(tmp_path, capsys):
    path = notebook(tmp_path, whole_run())
    data = json.loads(path.read_bytes())
    own = {"cell_type": "code", "metadata": {}, "source": "1", "outputs": [], "execution_count": None}
    data["cells"][-1:-1] = [{**own, "id": f"mine{n}"} for n in range(3)]
    path.write_text(json.dumps(data))

    _, _, err = show(capsys, path)

    assert "it has 3 cells of a person's own, which the record does not know" in err


def newer() -> bytes:
    line = b'{"v":9,"seq":1,"at":"2026-01-31T12:00:00.000Z","type":"x"'
    return line + b',"crc":"%08x"}\n' % zlib.crc32(line + b"}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not a trace", "neither a journal nor a notebook"),
        (b"{}", "holds no trace"),
        (newer(), "written by a newer rlm_kernel"),
        (b'{"metadata":{"rlm":{"schema":9,"events":[]}}}', "written by a newer rlm_kernel"),
    ],
)
def test_what_is_no_trace_or_a_newer_one_is_one_line_and_exit_2(tmp_path, capsys, content, said):
    path = tmp_path / "x.ipynb"
    path.write_bytes(content)

    code, out, err = show(capsys, path)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("jupyter rlm show: ")
    assert said in err


@settings(deadline=None, max_examples=60)
@given(EVENTS)
def test_any_events_at_all_are_shown_in_every_form(events):
    tree = tree_of(events)

    lines = [*tree_lines(tree), *tree_lines(tree, True), *in_columns(step_table(tree), 4, True)]
    list(troubles(tree))
    text = json.dumps(as_data(tree), allow_nan=False)

    for line in lines:
        shown = painted(line)
        assert on_screen(shown).rstrip() == shown
    assert json.loads(text.encode("utf-8"))["agents"] is not None
