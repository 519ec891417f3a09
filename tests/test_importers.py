"""Other tools' logs as traces. Samples are made up by hand; the real logs are read where they lie beside the tree."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel import replay
from rlm_kernel.cli.import_log import Import
from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.parsing import parse
from rlm_kernel.trace import file
from rlm_kernel.trace.importers import Imported, import_log, texts, values
from rlm_kernel.trace.loading import load_trace
from rlm_kernel.trace.nodes import Agent, Step
from rlm_kernel.trace.notebook import render
from rlm_kernel.values import CellError, Message, messages_sha

REAL = Path(__file__).parents[2] / "shared" / "traces"
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"the logs of other tools are not in {REAL}")


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


PROBE = "Context type:  <class 'str'>\nContext length: {}\nContext:  {}"
USED = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "cached_tokens": 8, "cost": 0.5}


def event(run: str, second: float, kind: str, step: int | None = None, parent: str | None = None, **more: Any) -> Any:
    at = f"2026-02-22T12:00:{second:06.3f}Z"
    row = {
        "level": 30,
        "time": at,
        "run_id": run,
        "parent_run_id": parent,
        "depth": 0,
        "step": step,
        "event_type": kind,
    }
    return {key: value for key, value in row.items() if value is not None} | more


def ran(run: str, second: float, step: int, code: str, output: str, parent: str | None = None, **more: Any) -> Any:
    fields = {"code": code, "output": output, "hasError": False, "reasoning": f"Step {step}.", "usage": USED}
    return event(run, second, "execution_result", step, parent, **fields, **more)


def probe(run: str, second: float, context: str, parent: str | None = None) -> Any:
    return ran(run, second, 0, "probe()", PROBE.format(len(context), context), parent)


def ended(run: str, second: float, step: int, code: str, result: Any, parent: str | None = None) -> list[Any]:
    generated = event(run, second, "code_generated", step, parent, code=code, reasoning="Done.", usage=USED)
    return [generated, event(run, second, "final_result", result=result)]  # without its parent, as it is in real ones


# Ids tell when an agent began, in milliseconds: 1771761600000 is 12:00:00.
ROOT, FIRST, SECOND = "1771761600000-r", "1771761602000-a", "1771761604500-b"
FAST_RLM = lines(
    probe(ROOT, 1, "ask"),
    ran(ROOT, 2, 1, "x = 1", "[EMPTY OUTPUT]"),
    probe(SECOND, 5, "why", ROOT),  # the second began in step 3, the first in step 2
    probe(FIRST, 2.5, "how", ROOT),
    *ended(FIRST, 3, 1, "FINAL('so')", "so", ROOT),
    ran(ROOT, 4, 2, "print(await llm_query('how'))", "[FULL OUTPUT SHOWN]... so\n", new_field={"a": 1}),
    ran(SECOND, 6, 1, "len(context)", "[EMPTY OUTPUT]", ROOT),
    *ended(SECOND, 7, 2, "FINAL(['b'])", ["b"], ROOT),
    ran(ROOT, 8, 3, "y = await llm_query('why')", "[TRUNCATED: Last 3 chars shown].. abc"),
    *ended(ROOT, 9, 4, "FINAL_VAR(y)", {"b": 2}),
)


def official_block(code: str, stdout: str = "", stderr: str = "", final: str | None = None, **more: Any) -> Any:
    result = {"stdout": stdout, "stderr": stderr, "locals": more.pop("locals", {}), "execution_time": 0.25}
    return {"code": code, "result": {**result, "rlm_calls": more.pop("calls", []), "final_answer": final, **more}}


def iteration(number: int, prompt: list[Any], response: str, *blocks: Any, final: str | None = None) -> Any:
    at = f"2026-01-31T12:00:0{number}"
    row = {"type": "iteration", "iteration": number, "timestamp": at, "prompt": prompt, "response": response}
    return {**row, "code_blocks": list(blocks), "final_answer": final, "iteration_time": 1.0}


SYSTEM = {"role": "system", "content": "You are."}
ASKED = {"role": "user", "content": "Answer the following: How long?\n\nYour context is a str of 3 total characters."}
TWO_BLOCKS = "First.\n```repl\nx = 1\n```\nThen\n```repl\nprint(x)\n```"
CHILD = {
    "run_metadata": {"root_model": "small", "max_depth": 1},
    "iterations": [iteration(1, [ASKED], "```repl\nq = 2\n```", official_block("q = 2", locals={"context": "sub"}))],
}
CALLS = [
    {
        "root_model": "small",
        "prompt": "plain",
        "response": "yes",
        "execution_time": 0.5,
        "usage_summary": {
            "model_usage_summaries": {"small": {"total_calls": 1, "total_input_tokens": 3, "total_output_tokens": 4}}
        },
    },
    {"root_model": "small", "prompt": "deep", "response": "deep answer", "metadata": CHILD},
    {"root_model": "small", "prompt": "broken", "error": "no such model", "response": None},
]
OFFICIAL = lines(
    {"type": "metadata", "timestamp": "2026-01-31T12:00:00", "root_model": "big", "max_depth": 1, "max_iterations": 9},
    iteration(
        1,
        [SYSTEM, ASKED],
        TWO_BLOCKS,
        official_block("x = 1", locals={"context": "abc", "x": 1}, strange=[1]),
        official_block(
            "print(x)",
            "1\n",
            "warned\nNameError: name 'y' is not defined",
            locals={"context": "abc", "x": 1},
            calls=CALLS,
        ),
    ),
    iteration(
        2,
        [SYSTEM, ASKED, {"role": "assistant", "content": TWO_BLOCKS}, {"role": "user", "content": "1"}],
        "```repl\nanswer['ready'] = True\n```",
        official_block("answer['ready'] = True", final="3", locals={"context": "abc", "x": 1}),
        final="3",
    ),
)

DSPY = json.dumps(
    {
        "inputs": {"context": "abc", "query": "How long?"},
        "answer": 3,
        "trajectory": [
            {"reasoning": "Look.", "code": "print(len(context))", "output": "3\n", "extra": True},
            {"reasoning": "Slip.", "code": "contxt", "output": "[Error] NameError: name 'contxt' is not defined"},
            {"reasoning": "Done.", "code": "```python\nSUBMIT(answer=3)\n```", "output": "FINAL: {'answer': 3}"},
        ],
        "final_reasoning": "Done.",
    },
    indent=1,
)

SMOLAGENTS = json.dumps(
    {
        "output": 6,
        "state": "success",
        "steps": [
            {"task": "Six?", "task_images": None},
            {"plan": "1. Multiply.", "model_output_message": {},
             "model_input_messages": [{"role": "user", "content": "p"}],
             "timing": {"start_time": 1769860800.0, "end_time": 1769860801.0, "duration": 1.0}},
            {"step_number": 1, "timing": {"start_time": 1769860801.0, "end_time": 1769860803.5, "duration": 2.5},
             "model_input_messages": [{"role": "user", "content": [{"type": "text", "text": "p"}]}],
             "tool_calls": [{"id": "c1", "function": {"name": "python_interpreter", "arguments": "x"}}],
             "model_output": "Thought: times.\n<code>\nprint('a')\n2 * 3\n</code>", "code_action": "print('a')\n2 * 3",
             "observations": "Execution logs:\na\nLast output from code snippet:\n6", "error": None,
             "token_usage": {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}, "is_final_answer": False},
            {"step_number": 2, "timing": {}, "model_output": "```py\nfinal_answer(x)\n```",
             "code_action": "final_answer(x)",
             "observations": None, "action_output": None, "is_final_answer": False,
             "error": {"type": "AgentExecutionError", "message": "Code failed due to: NameError: no x"}},
            {"step_number": 3, "timing": {}, "model_output": "```py\nfinal_answer(6)\n```",
             "code_action": "final_answer(6)",
             "observations": "Execution logs:\nLast output from code snippet:\n6", "action_output": 6,
             "is_final_answer": True, "error": None},
        ],
    }
)  # fmt: skip

CHAT = lines(
    {"model": "m", "messages": [
        SYSTEM,
        {"role": "user", "content": "How long?"},
        {"role": "assistant", "content": "Look.\n```repl\nprint(3)\n```"},
        {"role": "user", "content": "REPL output:\n3\n"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "python", "arguments": "{\"code\": \"1 / 0\"}"}},
            {"id": "t2", "type": "function", "function": {"name": "python", "arguments": "{\"code\": \"4\"}"}}]},
        {"role": "tool", "tool_call_id": "t2", "content": "4"},
        {"role": "tool", "tool_call_id": "t1", "content":
            "Traceback (most recent call last):\n  File \"x\", line 1\nZeroDivisionError: division by zero"},
        {"role": "assistant", "content": "Three."}]},
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "```python\nx\n```"},
                       {"from": "human", "value": "thanks, and now?"}]},
)  # fmt: skip

ATIF = json.dumps(
    {
        "schema_version": "ATIF-v1.7",
        "session_id": "s",
        "agent": {"name": "coder", "version": "2", "model_name": "m"},
        "steps": [
            {"step_id": 1, "source": "user", "message": "How long?", "timestamp": "2026-01-31T12:00:00Z"},
            {"step_id": 2, "source": "agent", "message": "Look.", "reasoning_content": "Hm.",
             "timestamp": "2026-01-31T12:00:05Z", "novel": 1,
             "tool_calls": [{"tool_call_id": "c", "function_name": "python", "arguments": {"code": "print(3)"}},
                            {"tool_call_id": "d", "function_name": "bash", "arguments": {"command": "ls"}},
                            {"tool_call_id": "e", "function_name": "ask", "arguments": {"who": "b"}},
                            {"tool_call_id": "f", "function_name": "llm_query", "arguments": {"prompt": "hm?"}}],
             "observation": {"results": [{"source_call_id": "c", "content": "3\n"},
                                         {"source_call_id": "d", "content": "f"},
                                         {"source_call_id": "f", "content": "yes"},
                                         {"source_call_id": "e", "subagent_trajectory_ref": [{"trajectory_id": "k"}]}]},
             "metrics": {"prompt_tokens": 9, "completion_tokens": 1, "cost_usd": 0.25}},
            {"step_id": 3, "source": "agent", "message": "Three.", "timestamp": "2026-01-31T12:00:07Z"},
        ],
        "subagent_trajectories": [
            {"schema_version": "ATIF-v1.7", "session_id": "s", "trajectory_id": "k", "agent": {"name": "b"}, "steps": [
                {"step_id": 1, "source": "user", "message": "Deeper?"},
                {"step_id": 2, "source": "agent", "message": "No."}]},
            {"schema_version": "ATIF-v1.7", "session_id": "s", "trajectory_id": "l", "steps": []},
        ],
    },
    indent=1,
)  # fmt: skip

MODEL_EVENT = {"event": "model", "timestamp": "2026-01-31T12:00:01Z", "input": [], "input_refs": [[0, 2]], "output": {
    "model": "m-1", "usage": {"input_tokens": 5, "output_tokens": 6, "input_tokens_cache_read": 2}, "time": 1.5,
    "choices": [{"message": {"role": "assistant", "content": "Look."}, "stop_reason": "tool_calls"}]}}  # fmt: skip
SAMPLE = {
    "id": 1, "epoch": 1, "input": "How long?", "target": "3", "scores": {"ok": {"value": "C"}},
    "messages": [SYSTEM, {"role": "user", "content": "How long?"}, {"role": "assistant", "content": "Three."}],
    "attachments": {"abc": "attached output"},
    "events_data": {"messages": [SYSTEM, {"role": "user", "content": "How long?"}], "calls": []},
    "events": [
        MODEL_EVENT,
        {"event": "tool", "function": "python", "arguments": {"code": "print(3)"}, "result": "attachment://abc"},
        {"event": "span_begin", "id": "sp", "type": "agent", "name": "helper"},
        {**MODEL_EVENT, "timestamp": "2026-01-31T12:00:03Z"},
        {"event": "span_end", "id": "sp"},
        {"event": "tool", "function": "bash", "arguments": {"cmd": "ls"}, "result": "",
         "error": {"message": "timed out"}},
        {"event": "score", "score": 1},
    ],
}  # fmt: skip
INSPECT = json.dumps({"version": 2, "status": "success", "eval": {"task": "t", "model": "m"}, "samples": [SAMPLE]})

FABRIC = lines(
    {"metadata": {"max_turns": 2, "signature": "question -> answer"}},
    {"turn": 1, "code": "n = k + 1\nprint(n)", "stdout": "4\n", "stderr": "", "error": None, "submitted": False,
     "state": {"k": 3, "n": 4, "question": "What?"}, "response_text": "n = k + 1\nprint(n)", "duration_s": 0.5,
     "prompt_tokens": 6, "completion_tokens": 2, "lm_call_seconds": 1.5, "turn_type": "normal", "submit_payload": None},
    {"turn": 2, "code": "SUBMIT(answer=n)", "stdout": "", "stderr": "", "error": "ValueError: no", "submitted": True,
     "state": {"k": 3, "n": 4, "question": "What?"}, "response_text": "SUBMIT(answer=n)",
     "submit_payload": {"answer": 4}},
)  # fmt: skip

SAMPLES = {
    "official": OFFICIAL,
    "fast_rlm": FAST_RLM,
    "dspy": DSPY,
    "smolagents": SMOLAGENTS,
    "chat": CHAT,
    "atif": ATIF,
    "inspect": INSPECT,
    "fabric": FABRIC,
}
RUNS = {"chat": 2}


def brought_in(folder: Path, text: str | bytes, name: str = "log.jsonl") -> list[Imported]:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return import_log(path)


def only(folder: Path, text: str) -> Imported:
    (imported,) = brought_in(folder, text)
    return imported


def root(imported: Imported) -> Agent:
    assert imported.tree.root is not None
    return imported.tree.root


def put_out(step: Step) -> list[tuple[str, str]]:
    outputs = step.cell.outputs if step.cell is not None else ()
    return [(output.get("name", "result"), output.get("text") or output["data"]["text/plain"]) for output in outputs]


def beside(step: Step | Agent) -> dict[str, Any]:
    return {key: value for data in step.foreign for key, value in data.items()}


def assert_sound(imported: Imported) -> None:
    """Valid for every notebook reader, read back without loss, and each reply gives its cell."""
    notebook = render(imported.tree)
    nbformat.validate(nbformat.from_dict(notebook))
    for agent in imported.tree.agents.values():
        for step in agent.steps:
            if step.source is not None:
                assert step.reply is not None
                assert parse(step.reply.text).code == step.source


@pytest.mark.parametrize("name", SAMPLES)
def test_each_format_becomes_a_valid_notebook_that_reads_back_whole(name: str, tmp_path: Path):
    imported = brought_in(tmp_path, SAMPLES[name])

    assert len(imported) == RUNS.get(name, 1)
    for at, run in enumerate(imported):
        assert_sound(run)
        assert run.complaint is None
        file.write(run.tree, tmp_path / f"{at}.ipynb")
        again = load_trace(tmp_path / f"{at}.ipynb")
        assert again.complaint is None
        assert again.tree.log == run.tree.log


@pytest.mark.parametrize("name", SAMPLES)
def test_a_format_is_told_by_what_is_in_a_log_and_not_by_its_name(name: str, tmp_path: Path):
    imported = brought_in(tmp_path, SAMPLES[name], "whatever.txt")

    tools = {"official": "rlm", "fast_rlm": "fast-rlm", "atif": "ATIF", "inspect": "Inspect", "fabric": "fabric-rlm"}
    origin = imported[0].tree.run.origin
    assert (origin["kind"], origin["tool"], origin["log"]) == ("import", tools.get(name, name), "whatever.txt")


def test_what_a_tool_does_not_log_is_said(tmp_path: Path):
    for name, sample in SAMPLES.items():
        for run in brought_in(tmp_path, sample):
            assert run.lost, name
            assert all(sentence.endswith(".") for sentence in run.lost)


# fast-rlm


def test_agents_of_fast_rlm_hang_in_the_step_that_was_at_work_when_they_began(tmp_path: Path):
    imported = only(tmp_path, FAST_RLM)

    found = {agent.id: (agent.caller, agent.in_step, agent.question) for agent, _ in imported.tree.walk()}
    assert found == {"0": (None, None, "ask"), "0.1": ("0", 2, "how"), "0.2": ("0", 3, "why")}


def test_the_probe_of_fast_rlm_is_no_step_and_gives_the_context_back(tmp_path: Path):
    agent = root(only(tmp_path, FAST_RLM))

    assert [step.number for step in agent.steps] == [1, 2, 3, 4]
    assert [(each.name, each.form, each.value) for each in agent.given] == [("context", "text", "ask")]
    assert beside(agent)["probe"]["code"] == "probe()"


@pytest.mark.parametrize(
    "shown",
    [
        "Context type:  <class 'str'>\nContext length: 4\nContext:  ask",  # a space at its end was stripped
        "Context type:  <class 'dict'>\nContext length: 8\nContext:  {'a': 1}",
        "Context type:  <class 'str'>\nContext length: 900\nFirst 500 characters of str(context):  h\n---\n"
        "Last 500 characters of str(context):  t",
        "something else",
    ],
)
def test_a_context_that_is_not_whole_in_the_log_is_described_and_not_given(shown: str, tmp_path: Path):
    row = {**probe(ROOT, 1, ""), "output": shown}

    agent = root(only(tmp_path, lines(row, *ended(ROOT, 2, 1, "FINAL(1)", 1))))

    assert [(each.name, each.form, each.value) for each in agent.given] == [("context", None, None)]
    assert agent.given[0].description


def test_outputs_of_fast_rlm_lose_the_tools_own_marks(tmp_path: Path):
    steps = root(only(tmp_path, FAST_RLM)).steps

    assert [put_out(step) for step in steps] == [[], [("stdout", "so\n")], [("stdout", "abc")], []]
    assert beside(steps[1]) == {"new_field": {"a": 1}}
    assert beside(steps[2]) == {"cut": "tail"}
    assert "last 3 characters" in steps[2].notes[0]


def test_the_step_that_ends_an_agent_of_fast_rlm_has_lost_its_output(tmp_path: Path):
    agent = root(only(tmp_path, FAST_RLM))

    last = agent.steps[-1]
    assert last.cell is not None
    assert (last.cell.final, last.cell.outputs, beside(last)) == (True, (), {"output": "lost"})
    assert last.notes == ["What this cell put out is not in the log: it ended the agent."]
    assert (agent.end.ending, agent.end.answer, agent.end.seconds) == ("final", 'dict of 1 items: {"b": 2}', 9.0)
    assert beside(agent)["result"] == {"b": 2}


def test_a_cell_of_fast_rlm_that_raised_says_so(tmp_path: Path):
    told = "Traceback (most recent call last):\n  File \"<exec>\", line 1\nNameError: name 'y' is not defined\n"
    shown = f"[FULL OUTPUT SHOWN]... before\n\nError: {told} "
    printed = f"[FULL OUTPUT SHOWN]... {told}and on\n"

    own = "[FULL OUTPUT SHOWN]... all\nError: none\n"
    rows = [ran(ROOT, 1, 1, "y", shown), ran(ROOT, 2, 2, "show()", printed), ran(ROOT, 3, 3, "say()", own)]
    agent = root(only(tmp_path, lines(*rows)))

    assert agent.steps[0].cell.error == CellError("NameError", "name 'y' is not defined", told.strip())
    assert [step.cell.error for step in agent.steps[1:]] == [None, None]


def test_sub_agents_of_one_step_are_in_the_order_in_which_they_began(tmp_path: Path):
    rows = [probe(SECOND, 6, "later", ROOT), probe(FIRST, 7, "sooner", ROOT), ran(ROOT, 8, 1, "x", "[EMPTY OUTPUT]")]

    step = root(only(tmp_path, lines(*rows))).steps[0]

    assert [(agent.id, agent.question) for agent in step.agents] == [("0.1", "sooner"), ("0.2", "later")]


def test_tokens_and_times_of_fast_rlm_come_over(tmp_path: Path):
    imported = only(tmp_path, FAST_RLM)

    reply = root(imported).steps[0].reply
    assert (reply.usage.prompt_tokens, reply.usage.cached_tokens, reply.usage.cost_usd) == (10, 8, 0.5)
    assert imported.tree.agents["0.2"].began.isoformat() == "2026-02-22T12:00:04.500000+00:00"
    assert (imported.tree.end.ending, imported.tree.end.steps, imported.tree.end.seconds) == ("final", 7, 9.0)


def test_several_roots_of_fast_rlm_are_several_traces(tmp_path: Path):
    imported = brought_in(tmp_path, FAST_RLM + lines(probe("1771761700000-z", 50, "other")))

    assert [(run.name, len(run.tree.agents)) for run in imported] == [("fast-rlm-log-1", 3), ("fast-rlm-log-2", 1)]


def test_an_agent_whose_caller_is_not_in_the_log_is_a_root_and_that_is_said(tmp_path: Path):
    imported = only(tmp_path, lines(probe(FIRST, 1, "how", "gone"), *ended(FIRST, 2, 1, "FINAL(1)", 1, "gone")))

    assert imported.complaint == f"agent {FIRST} was started by gone, of which the log has nothing"
    assert root(imported).notes == [imported.complaint]


def test_agents_that_are_each_others_callers_come_in_once(tmp_path: Path):
    ring = [probe("a", 1, "x", "c"), probe("b", 2, "y", "a"), probe("c", 3, "z", "b"), probe("d", 4, "w", "c")]

    imported = only(tmp_path, lines(*ring))

    assert "its own caller" in imported.complaint
    assert sorted(agent.question for agent in imported.tree.agents.values()) == ["w", "x", "y", "z"]


def test_a_sub_agent_after_the_last_logged_step_hangs_in_one_that_the_log_has_not(tmp_path: Path):
    whole = [probe(ROOT, 1, "ask"), ran(ROOT, 2, 1, "x = 1", "[EMPTY OUTPUT]"), probe(SECOND, 5, "why", ROOT)]

    imported = only(tmp_path, lines(*whole))

    assert imported.tree.agents["0.1"].in_step == 2
    assert root(imported).steps[1].notes == [
        "The log ends before this step was written: of it there is only whom its cell asked."
    ]
    assert root(imported).end is None
    assert_sound(imported)


def test_the_order_of_lines_does_not_matter_to_fast_rlm(tmp_path: Path):
    shuffled = "".join(reversed(FAST_RLM.splitlines(keepends=True)))

    there, here = only(tmp_path, shuffled), only(tmp_path, FAST_RLM)

    assert [agent.id for agent, _ in there.tree.walk()] == [agent.id for agent, _ in here.tree.walk()]
    assert [event for _, event in there.tree.log] == [event for _, event in here.tree.log]


def test_a_chain_of_a_thousand_callers_is_cut_and_said(tmp_path: Path):
    chain = [probe(f"{n}-x", 1, str(n), f"{n - 1}-x" if n else None) for n in range(1000)]

    imported = only(tmp_path, lines(*chain))

    deepest = max(imported.tree.agents.values(), key=lambda agent: agent.depth)
    assert len(imported.tree.agents) < 100
    assert "were left out" in deepest.notes[-1]


def test_a_reply_without_a_cell_is_a_step_without_one(tmp_path: Path):
    generated = event(ROOT, 2, "code_generated", 1, code="", reasoning="I think:\n```\nx\n```\nyes", usage=USED)

    agent = root(only(tmp_path, lines(generated, *ended(ROOT, 3, 2, "FINAL(1)", 1))))

    assert [(step.source, step.reply.text) for step in agent.steps] == [
        (None, "I think:\n```\nx\n```\nyes"),
        ("FINAL(1)", "Done.\n\n```repl\nFINAL(1)\n```"),
    ]


# official rlm


def test_every_block_of_a_reply_that_ran_is_a_cell_of_its_own(tmp_path: Path):
    agent = root(only(tmp_path, OFFICIAL))

    assert [(step.source, put_out(step)) for step in agent.steps] == [
        ("x = 1", []),
        ("print(x)", [("stdout", "1\n"), ("stderr", "warned\nNameError: name 'y' is not defined")]),
        ("answer['ready'] = True", []),
    ]
    assert agent.steps[0].reply.text == TWO_BLOCKS
    assert agent.steps[1].reply.usage.total_tokens == 0
    assert "further block" in agent.steps[1].notes[0]
    assert agent.steps[1].cell.error.name == "NameError"


def test_what_a_cell_of_rlm_asked_for_is_under_its_step(tmp_path: Path):
    imported = only(tmp_path, OFFICIAL)

    step, child = root(imported).steps[1], imported.tree.agents["0.1"]
    assert [(call.prompt, call.reply and call.reply.text, call.status) for call in step.calls] == [
        ("plain", "yes", "done"),
        ("broken", None, "failed"),
    ]
    assert step.calls[0].reply.usage.total_tokens == 7
    assert (child.in_step, child.question, child.model, child.end.answer) == (
        2,
        "deep",
        "small",
        "str of 11 characters: 'deep answer'",
    )
    assert [(each.name, each.value) for each in child.given] == [("context", "sub")]


def test_the_messages_of_rlm_are_kept_as_what_each_request_adds(tmp_path: Path):
    agent = root(only(tmp_path, OFFICIAL))

    assert [len(step.new) for step in agent.steps] == [2, 0, 2]
    assert agent.question == "How long?"
    whole = agent.messages(3)
    assert whole[-1] == Message("user", "1")
    assert agent.steps[2].request_sha == messages_sha(whole)


def test_a_request_that_does_not_begin_with_the_one_before_is_kept_whole_and_said(tmp_path: Path):
    other = [SYSTEM, {"role": "user", "content": "a summary"}]
    log = lines(
        iteration(1, [SYSTEM, ASKED], "```repl\n1\n```", official_block("1")),
        iteration(2, other, "```repl\n2\n```", official_block("2")),
    )

    step = root(only(tmp_path, log)).steps[1]

    assert step.new == (Message("system", "You are."), Message("user", "a summary"))
    assert step.request_sha == messages_sha(step.new)
    assert step.notes == ["This request does not begin with the one before it: the whole of it stands here again."]


def test_variables_of_rlm_that_did_not_change_are_named_and_not_repeated(tmp_path: Path):
    agent = root(only(tmp_path, OFFICIAL))

    assert beside(agent.steps[0]) == {
        "strange": [1],
        "locals": {"context": "abc", "x": 1},
        "iteration_time": 1.0,
    }
    assert beside(agent.steps[1]) == {"locals": {}, "locals_same": ["context", "x"]}


def test_a_context_that_the_first_cell_of_rlm_replaced_is_not_taken_for_the_one_given(tmp_path: Path):
    block = official_block("context = 1", locals={"context": 1})

    imported = only(tmp_path, lines(iteration(1, [ASKED], "```repl\ncontext = 1\n```", block)))

    assert root(imported).given == []
    assert any("context" in sentence for sentence in imported.lost)


@pytest.mark.parametrize(
    ("code", "stderr", "hidden"),
    [
        ("print(len(context))", "", ["a value that a cell reads and the log does not hold"]),
        ("context = [1]\nprint(context)", "", []),
        ("print(1)", "", []),
        ("print(context)", "\nNameError: name 'context' is not defined", []),
    ],
)
def test_a_context_that_a_cell_of_rlm_reads_and_the_log_does_not_have_is_known_to_be_missing(
    code: str, stderr: str, hidden: list[str], tmp_path: Path
):
    block = official_block(code, "1\n", stderr)
    imported = only(tmp_path, lines(iteration(1, [], f"```repl\n{code}\n```", block)))

    assert [given.description for given in root(imported).given if given.name == "context"] == hidden


def of_dspy(*cells: tuple[str, str], **prediction: Any) -> str:
    """A prediction with these cells and what they put out."""
    steps = [{"reasoning": "r", "code": code, "output": output} for code, output in cells]
    return json.dumps({"trajectory": steps, **prediction})


@pytest.mark.parametrize(
    ("log", "name"),
    [
        (json.dumps({"turn": 1, "code": "print(len(q))", "stdout": "3", "submitted": False, "state": {}}), "q"),
        (json.dumps({"messages": [{"role": "assistant", "content": "```python\nq\n```"},
                                  {"role": "user", "content": "Output: 1"}]}), "q"),
        (json.dumps([{"step_number": 1, "model_output": "Code:\n```py\nfinal_answer(search('x'))\n```",
                      "code_action": "final_answer(search('x'))", "timing": {}}]), "search"),
    ],
)  # fmt: skip
def test_what_is_missing_is_told_of_any_format(log: str, name: str, tmp_path: Path):
    assert [given.name for given in root(only(tmp_path, log)).given] == [name]


def test_a_replay_asks_for_what_is_missing_before_the_first_cell(tmp_path: Path):
    imported = only(tmp_path, of_dspy(("print(1)\nopen('ran.txt', 'w')", "2"), ("print(len(q))", "3")))
    file.write(imported.tree, tmp_path / "a.ipynb")

    with pytest.raises(UsageError, match="put a value that a cell reads and the log does not hold into `q` first"):
        replay(tmp_path / "a.ipynb")


def test_a_block_of_rlm_that_our_parser_would_not_find_gets_a_reply_that_gives_it(tmp_path: Path):
    said = "```python\nnot_run()\n```\nbut\n```repl\nrun()\n```"

    step = root(only(tmp_path, lines(iteration(1, [ASKED], said, official_block("run()"))))).steps[0]

    assert parse(step.reply.text).code == "run()"
    assert beside(step)["response"] == said


def test_a_run_of_rlm_that_used_up_its_iterations_ended_at_a_limit(tmp_path: Path):
    rows = [json.loads(line) for line in OFFICIAL.splitlines()]
    rows[0]["max_iterations"] = 1

    imported = only(tmp_path, lines(*rows[:2]))

    assert (root(imported).end.ending, root(imported).end.message) == ("limit", "max_iterations=1 reached")
    assert imported.tree.run.limits == {"max_depth": 1, "max_steps": 1}


def test_two_completions_in_one_log_of_rlm_are_two_traces(tmp_path: Path):
    imported = brought_in(tmp_path, OFFICIAL + OFFICIAL)

    assert [(run.name, root(run).end.ending) for run in imported] == [("rlm-log-1", "final"), ("rlm-log-2", "final")]


def test_a_second_first_iteration_is_another_completion_of_the_same_logger(tmp_path: Path):
    metadata, *rest = OFFICIAL.splitlines(keepends=True)

    imported = brought_in(tmp_path, metadata + "".join(rest + rest))

    assert [(len(root(run).steps), root(run).model) for run in imported] == [(3, "big"), (3, "big")]


# the others


def test_a_trajectory_of_dspy_has_its_inputs_its_errors_and_its_answer(tmp_path: Path):
    imported = only(tmp_path, DSPY)

    agent = root(imported)
    assert [(step.source, put_out(step)) for step in agent.steps] == [
        ("print(len(context))", [("stdout", "3\n")]),
        ("contxt", []),
        ("SUBMIT(answer=3)", []),
    ]
    assert agent.steps[1].cell.error == CellError(
        "NameError", "name 'contxt' is not defined", "NameError: name 'contxt' is not defined"
    )
    assert (beside(agent.steps[2])["submitted"], agent.steps[2].cell.final) == ("{'answer': 3}", True)
    assert beside(agent.steps[0]) == {"extra": True}
    assert (agent.question, beside(agent)["result"]) == ("How long?", {"answer": 3})
    assert [each.name for each in agent.given] == ["context", "query"]
    assert imported.tree.run.dialect == "dspy"


@pytest.mark.parametrize("text", [lines(json.loads(DSPY)["trajectory"]), lines(*json.loads(DSPY)["trajectory"])])
def test_a_bare_trajectory_of_dspy_comes_in_too(text: str, tmp_path: Path):
    agent = root(only(tmp_path, text))

    assert len(agent.steps) == 3
    assert beside(agent)["result"] == "{'answer': 3}"


def test_steps_of_smolagents_are_told_apart_by_their_keys(tmp_path: Path):
    imported = only(tmp_path, SMOLAGENTS)

    agent = root(imported)
    assert agent.question == "Six?"
    assert [(step.source, put_out(step)) for step in agent.steps] == [
        (None, []),
        ("print('a')\n2 * 3", [("stdout", "a\n"), ("result", "6")]),
        ("final_answer(x)", []),
        ("final_answer(6)", []),
    ]
    assert agent.steps[1].reply.text == "Thought: times.\n\n```repl\nprint('a')\n2 * 3\n```"
    assert agent.steps[2].cell.error.name == "NameError"
    assert agent.steps[3].cell.final
    assert (agent.end.answer, agent.end.seconds) == ("int: 6", 3.5)


def test_the_value_of_an_assignment_that_smolagents_shows_is_no_output(tmp_path: Path):
    step = {"step_number": 1, "model_output": "", "code_action": "x = 5"}
    log = lines([{**step, "observations": "Execution logs:\nLast output from code snippet:\n5"}])

    found = root(only(tmp_path, log)).steps[0]

    assert (put_out(found), beside(found)["last_output"]) == ([], "5")


def test_cells_of_a_chat_are_its_fences_and_the_code_of_its_tools(tmp_path: Path):
    first, second = brought_in(tmp_path, CHAT)

    agent = root(first)
    assert [(step.source, put_out(step)) for step in agent.steps[:1]] == [("print(3)", [("stdout", "3\n")])]
    assert [step.source for step in agent.steps] == ["print(3)", "1 / 0", "4", None]
    assert agent.steps[1].cell.error.name == "ZeroDivisionError"
    assert put_out(agent.steps[2]) == [("stdout", "4")]
    assert (agent.end.ending, beside(agent)["result"]) == ("text", "Three.")
    assert root(second).steps[0].cell is None  # what the person said next is no output
    assert beside(root(second))["unanswered"] == ["thanks, and now?"]


def test_the_conversation_of_a_chat_is_what_the_model_was_sent(tmp_path: Path):
    agent = root(brought_in(tmp_path, CHAT)[0])

    sent = agent.messages(4)
    assert [message.role for message in sent] == ["system", "user", "assistant", "user", "assistant", "user", "user"]
    assert agent.steps[3].request_sha == messages_sha(sent)


def test_messages_on_lines_of_their_own_are_one_conversation(tmp_path: Path):
    text = lines(*json.loads(CHAT.splitlines()[0])["messages"])

    assert [step.source for step in root(only(tmp_path, text)).steps] == ["print(3)", "1 / 0", "4", None]


def test_an_atif_trajectory_nests_where_it_refers_to_another(tmp_path: Path):
    imported = only(tmp_path, ATIF)

    agent = root(imported)
    assert [(step.source, put_out(step)) for step in agent.steps] == [
        ("print(3)", [("stdout", "3\n")]),
        ("%%bash\nls", [("stdout", "f")]),
        (None, []),
    ]
    assert {each.id: (each.in_step, each.question) for each in imported.tree.agents.values()} == {
        "0": (None, "How long?"),
        "0.1": (1, "Deeper?"),
        "0.2": (None, ""),
    }
    assert (agent.steps[0].reply.usage.cost_usd, beside(agent.steps[0])["novel"]) == (0.25, 1)
    assert beside(agent.steps[0])["tool_calls"][0]["function_name"] == "ask"
    assert [(call.prompt, call.reply.text) for call in agent.steps[0].calls] == [("hm?", "yes")]
    assert imported.tree.run.versions["coder"] == "2"


def test_atif_trajectories_that_refer_to_each_other_come_in_once(tmp_path: Path):
    row = json.loads(ATIF)
    inner = row["subagent_trajectories"][0]
    inner["subagent_trajectories"] = [inner | {"trajectory_id": "k2"}]
    result = {"subagent_trajectory_ref": [{"trajectory_id": "k"}]}
    inner["steps"][1]["observation"] = {"results": [result]}

    imported = only(tmp_path, json.dumps(row))

    assert [agent.question for agent, _ in imported.tree.walk()] == ["How long?", "Deeper?", "Deeper?", ""]
    assert imported.tree.agents["0.1"].steps[0].notes == ["A sub-agent that this step started stands elsewhere too."]


def test_a_sample_of_inspect_is_walked_by_its_events(tmp_path: Path):
    imported = only(tmp_path, INSPECT)

    agent = root(imported)
    assert [(step.source, put_out(step)) for step in agent.steps] == [
        ("print(3)", [("stdout", "attached output")]),
        ("%%bash\nls", []),
    ]
    assert imported.tree.agents["0.1"].in_step == 1
    assert agent.steps[0].new == (Message("system", "You are."), Message("user", "How long?"))
    assert (agent.steps[0].reply.usage.cached_tokens, agent.steps[0].reply.model) == (2, "m-1")
    assert beside(agent)["sample"]["scores"] == {"ok": {"value": "C"}}
    assert beside(agent)["events"] == [{"event": "score", "score": 1}]
    assert imported.name == "Inspect-t-1-1"


def test_an_archive_of_inspect_is_read_and_a_strange_one_is_refused(tmp_path: Path):
    good, bad = tmp_path / "good.eval", tmp_path / "bad.eval"
    with zipfile.ZipFile(good, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"eval": {"task": "t"}}))
        archive.writestr("samples/1_epoch_1.json", json.dumps(SAMPLE))
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("../../evil.py", "raise SystemExit")

    (imported,) = import_log(good)

    assert [step.source for step in root(imported).steps] == ["print(3)", "%%bash\nls"]
    with pytest.raises(TraceError, match="no log of Inspect"):
        import_log(bad)
    for size in range(0, good.stat().st_size, 7):
        bad.write_bytes(good.read_bytes()[:size])
        with pytest.raises(TraceError):
            import_log(bad)


def test_a_trajectory_of_fabric_rlm_has_the_variables_that_its_first_cell_found(tmp_path: Path):
    agent = root(only(tmp_path, FABRIC))

    assert [(each.name, each.form, each.value) for each in agent.given] == [
        ("k", "json", "3"),
        ("question", "text", "What?"),
    ]
    assert [(step.source, put_out(step)) for step in agent.steps] == [
        ("n = k + 1\nprint(n)", [("stdout", "4\n")]),
        ("SUBMIT(answer=n)", []),
    ]
    assert agent.steps[1].cell.error == CellError("ValueError", "no", "ValueError: no")
    assert beside(agent.steps[1])["state_same"] == ["k", "n", "question"]
    assert (agent.question, beside(agent)["result"]) == ("What?", {"answer": 4})


# replies and outputs


WORDS = st.text(st.sampled_from("ab`~\n\r \t-1.<>/#>") | st.characters(), max_size=40)
PIECES = st.sampled_from(
    [
        "```repl\nx\n```",
        "```",
        "~~~",
        "<think>",
        "</think>",
        "- ```py\n",
        " ```",
        "```text\n",
        "\n",
        "\r",
        "  x = 1",
        "`",
    ]
)
MIXED = st.lists(WORDS | PIECES, max_size=6).map("\n".join)


@settings(max_examples=400, deadline=None)
@given(MIXED, MIXED)
def test_a_reply_that_is_put_together_gives_exactly_its_cell(prose: str, code: str):
    code = texts.dedented(code)

    reply = texts.composed(prose, code)

    assert parse(reply).code == (code if code.strip() else parse(prose).code)


@settings(max_examples=400, deadline=None)
@given(MIXED, MIXED, MIXED)
def test_a_reply_is_left_as_it_came_only_where_it_gives_its_cell(before: str, code: str, after: str):
    code = texts.dedented(code)
    reply = f"{before}\n```repl\n{code}\n```\n{after}"

    if code.strip() and texts.holds(reply, code):
        assert parse(reply).code == code


def test_prose_is_kept_as_it_is_where_that_does_no_harm():
    assert texts.composed("Like:\n```\nQ: a\n```\nso", "x") == "Like:\n```\nQ: a\n```\nso\n\n```repl\nx\n```"
    assert texts.composed("Not\n```python\ny\n```", "x") == "> Not\n> ```python\n> y\n> ```\n\n```repl\nx\n```"


@pytest.mark.parametrize(
    "reply",
    [
        "```repl\nx\n```\n</think>\nmore",  # what a parser may take for thinking
        "<think>\n```repl\nx\n```\n</think>",
        "```\n ```\n```repl\ny\n```\n```\n```repl\nx\n```",  # which fence closes which?
        "```repl\nx\n",
    ],
)
def test_where_it_is_hard_to_tell_what_a_reply_runs_another_is_put_together(reply: str):
    assert not texts.holds(reply, "x")
    assert parse(texts.reply_with(reply, "x")[0]).code == "x"


def test_prose_in_which_it_is_hard_to_tell_what_closes_a_fence_is_quoted():
    assert parse(texts.composed("```\n ```\n```repl\ny\n```", "x")).code == "x"


# bad input


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("\n\n", "holds no JSON object"),
        ("hello\nworld\n", "holds no JSON object"),
        ("[1, 2, 3]", "no log of a known format"),
        ('{"a": 1}\n{"b": 2}\n', "no log of a known format"),
        ("\x80\x04\x95pickle.", "holds no JSON object"),
        ("[" * 100_000, "holds no JSON object"),
        ('{"eval": {}, "status": "error"}', "holds no samples"),
        ('{"metadata": {}}', "no log of a known format"),
    ],
)
def test_what_is_no_log_is_refused_in_one_line(text: str, says: str, tmp_path: Path):
    with pytest.raises(TraceError, match=says) as caught:
        brought_in(tmp_path, text)

    assert "\n" not in str(caught.value)


def test_a_trace_of_ours_needs_no_importing(tmp_path: Path):
    file.write(only(tmp_path, FAST_RLM).tree, tmp_path / "a.ipynb")

    with pytest.raises(UsageError, match="is a trace already"):
        import_log(tmp_path / "a.ipynb")
    with pytest.raises(UsageError, match="is a trace already"):
        brought_in(tmp_path, '{"v":1,"seq":1,"at":"x","type":"run_started","crc":"00000000"}\n')


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path: Path):
    with pytest.raises(TraceError, match="is the path right"):
        import_log(tmp_path / "none.jsonl")
    with pytest.raises(TraceError, match="is the path right"):
        import_log(tmp_path)


def test_junk_between_the_lines_is_left_out_and_said(tmp_path: Path):
    rows = FAST_RLM.splitlines(keepends=True)
    text = "junk\n" + "".join(rows[:4]) + "{half\n\xff\n[]\n" + "".join(rows[4:]) + '{"cut": "of'

    imported = only(tmp_path, text)

    assert imported.complaint == (
        "4 lines of the log are no JSON and were left out (line 1, 6, 7, 18); the last one is cut off; "
        "1 lines are no events"
    )
    assert root(imported).notes == [imported.complaint]
    assert len(imported.tree.agents) == 3


def test_a_log_whose_last_line_is_half_gives_what_was_before_it(tmp_path: Path):
    imported = only(tmp_path, FAST_RLM.rstrip()[:-5])

    assert imported.complaint == "the log's last line (13) is cut off and was left out"
    assert (root(imported).end, len(root(imported).steps)) == (None, 4)
    assert not root(imported).steps[3].cell


@pytest.mark.parametrize("name", SAMPLES)
def test_a_log_cut_at_any_byte_is_a_partial_trace_or_one_clear_error(name: str, tmp_path: Path):
    data = SAMPLES[name].encode()
    came = 0

    for size in range(0, len(data), 1 if len(data) < 1500 else 13):
        try:
            found = brought_in(tmp_path, data[:size])
        except (TraceError, UsageError):
            continue
        came += 1
        for run in found:
            assert_sound(run)

    assert came or "\n" not in SAMPLES[name].rstrip()[:200] or name in ("dspy", "atif")


def spoiled(value: Any, by: Any, at: list[int]) -> Any:
    """The value with its n-th part replaced; `at` counts down."""
    at[0] -= 1
    if at[0] == 0:
        return by
    if isinstance(value, dict):
        return {key: spoiled(item, by, at) for key, item in value.items()}
    return [spoiled(item, by, at) for item in value] if isinstance(value, list) else value


HOSTILE = [
    None, True, -1, 1e308, 10**400, float("nan"), "", "\x1b[31m<script>alert(1)</script>\ud800```repl\n%%bash\n",
    [], {}, [[[]]], [None, {"a": [1]}], {"$body": "x"}, {"role": 1, "content": {"a": 1}}, [{"type": "image"}, 3],
]  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_no_value_in_any_field_is_more_than_an_importer_can_take(name: str, tmp_path: Path):
    text = SAMPLES[name]
    rows = (
        [json.loads(text)]
        if "\n" in text.rstrip() and name in ("dspy", "atif")
        else list(map(json.loads, text.splitlines()))
    )
    parts = sum(1 for _ in _parts(rows))

    for n in range(2, parts + 1):
        by = HOSTILE[n % len(HOSTILE)]
        try:
            found = brought_in(tmp_path, lines(*spoiled(rows, by, [n])))
        except (TraceError, UsageError):
            continue
        for run in found:
            assert_sound(run)


def _parts(value: Any) -> Any:
    yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        yield from _parts(item)


def in_every_text(name: str, change: Callable[[str], str]) -> str:
    """The sample with all its texts changed, but for those by which a format is told."""
    kept = {"event_type", "run_id", "parent_run_id", "type", "role", "source", "event", "from", "schema_version"}

    def everywhere(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: item if key in kept else everywhere(item) for key, item in value.items()}
        if isinstance(value, list):
            return [everywhere(item) for item in value]
        return change(value) if isinstance(value, str) else value

    text = SAMPLES[name]
    rows = [json.loads(text)] if name in ("dspy", "atif") else list(map(json.loads, text.splitlines()))
    return lines(*map(everywhere, rows))


@pytest.mark.parametrize("name", SAMPLES)
def test_markup_and_escapes_in_every_text_are_dead_in_the_notebook(name: str, tmp_path: Path):
    hostile = "\x1b[31m<img src=x onerror=alert(1)>\n# Heading $x$"

    for run in brought_in(tmp_path, in_every_text(name, lambda text: f"{hostile}{text}")):
        assert_sound(run)
        for cell in render(run.tree)["cells"]:
            if cell["cell_type"] == "markdown":
                assert "\x1b" not in cell["source"]
                inside_fence = False
                for line in cell["source"].split("\n"):
                    inside_fence ^= line.startswith("```")
                    assert inside_fence or "<img" not in line


def test_values_that_nest_too_deeply_are_kept_as_text(tmp_path: Path):
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    row = ran(ROOT, 1, 1, "x", "[EMPTY OUTPUT]", odd=deep)

    imported = only(tmp_path, lines(row))

    assert beside(root(imported).steps[0])["odd"].startswith("[[[")
    assert_sound(imported)


RAN = "ran.txt"
TRAP = f"__import__('pathlib').Path({RAN!r}).write_text('ran')"
PICKLED = f"cbuiltins\neval\n(V{TRAP}\ntR."
"""The same as a pickle of the oldest kind, which is text."""
TRAPPED = {"official": 4, "fast_rlm": 7, "dspy": 3, "smolagents": 3, "chat": 0, "atif": 1, "inspect": 1, "fabric": 2}
"""Cells of each sample that have the trap where every text has it in front."""


def test_the_traps_are_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for spring in (lambda: eval(TRAP), lambda: pickle.loads(PICKLED.encode())):
        spring()
        (tmp_path / RAN).unlink()


@pytest.mark.parametrize("name", SAMPLES)
def test_importing_runs_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    alone = [brought_in(tmp_path, in_every_text(name, text)) for text in (lambda _: TRAP, lambda _: PICKLED)]
    in_front = brought_in(tmp_path, in_every_text(name, lambda text: f"{TRAP}\n{text}"))

    for run in [run for runs in (*alone, in_front) for run in runs]:
        file.write(run.tree, tmp_path / "a.ipynb")
        load_trace(tmp_path / "a.ipynb")
    cells = [step.source or "" for run in in_front for agent, _ in run.tree.walk() for step in agent.steps]
    assert sum(TRAP in source for source in cells) == TRAPPED[name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ipynb", "log.jsonl"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_no_log_and_is_not_loaded(protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Trap:
        def __reduce__(self) -> Any:
            return eval, (TRAP,)

    monkeypatch.chdir(tmp_path)
    with pytest.raises(TraceError):
        brought_in(tmp_path, pickle.dumps(Trap(), protocol))

    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_log_is_read_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rlm_kernel.trace.importers.source.MAX_VALUE_BYTES", 2_000)

    assert len(only(tmp_path, FAST_RLM * 10).tree.agents) == 3
    with pytest.raises(TraceError, match="a line of more than"):
        brought_in(tmp_path, FAST_RLM + "x" * 3_000)


def test_an_imported_time_is_utc_and_a_wrong_one_is_none():
    assert values.stamp("2026-01-31T12:00:00+02:00") == "2026-01-31T10:00:00.000Z"
    assert values.stamp("2026-01-31T12:00:00") == "2026-01-31T12:00:00.000Z"
    assert [values.stamp(wrong) for wrong in ("yesterday", None, [], 1e300, True, float("nan"))] == [None] * 6


# the real logs


@real
@pytest.mark.parametrize("path", sorted(REAL.glob("*/*.jsonl")), ids=lambda path: path.stem)
def test_the_real_logs_come_in_whole(path: Path, tmp_path: Path):
    (imported,) = import_log(path)

    assert_sound(imported)
    assert imported.complaint is None
    assert imported.tree.end.ending == "final"
    file.write(imported.tree, tmp_path / "a.ipynb")
    assert load_trace(tmp_path / "a.ipynb").tree.log == imported.tree.log


@real
def test_r_count_has_both_agents_and_both_contexts():
    (imported,) = import_log(next(REAL.glob("fast-rlm/r_count*.jsonl")))

    found = {
        agent.id: (agent.in_step, len(agent.steps), len(agent.given[0].value)) for agent, _ in imported.tree.walk()
    }
    assert found == {"0": (None, 3, 229), "0.1": (1, 1, 138)}
    assert beside(root(imported))["result"]["Strawberry"] == 3


@real
def test_long_contexts_are_described_by_their_length():
    for name, size in (("longbench_hotpot", "67,213"), ("longbench_trec", "48,894"), ("oolong", "44,408")):
        (imported,) = import_log(next(REAL.glob(f"fast-rlm/{name}*.jsonl")))
        (context,) = root(imported).given
        assert (context.form, context.description.startswith(f"str of {size} characters")) == (None, True)


# the command


def command(*args: object) -> int:
    Import.clear_instance()
    with pytest.raises(SystemExit) as ended:
        Import.launch_instance([str(arg) for arg in args])
    return int(ended.value.code or 0)


def test_the_command_writes_a_notebook_for_each_run_and_says_what_was_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "talk.jsonl").write_text(CHAT)
    (tmp_path / "out").mkdir()

    code = command(tmp_path / "talk.jsonl", "-o", tmp_path / "out")

    assert code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["talk-2.ipynb", "talk.ipynb"]
    shown = capsys.readouterr().out
    assert str(tmp_path / "out" / "talk-2.ipynb") in shown
    assert "* The values in the namespace" in shown


def test_the_command_writes_into_the_current_folder_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "run.jsonl").write_text(FAST_RLM)
    monkeypatch.chdir(tmp_path)

    assert command("logs/run.jsonl") == 0
    assert load_trace(tmp_path / "run.ipynb").run == "fast-rlm-run"
    assert command("logs/run.jsonl") == 0  # over the earlier trace


def test_the_command_does_not_write_over_what_is_no_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "talk.jsonl").write_text(CHAT)
    (tmp_path / "talk-2.ipynb").write_text("{}")

    code = command(tmp_path / "talk.jsonl", "-o", tmp_path)

    assert (code, (tmp_path / "talk-2.ipynb").read_text(), (tmp_path / "talk.ipynb").exists()) == (2, "{}", False)
    assert "exists and is no trace" in capsys.readouterr().err


def test_the_command_brings_in_what_it_can_and_ends_with_2_for_what_is_no_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "bad.jsonl").write_text("nothing")
    (tmp_path / "good.jsonl").write_text(FAST_RLM)

    code = command(tmp_path / "bad.jsonl", tmp_path / "good.jsonl", "-o", tmp_path, "--json")

    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert code == 2
    assert [Path(each["notebook"]).name for each in told["notebooks"]] == ["good.ipynb"]
    assert (told["notebooks"][0]["agents"], told["notebooks"][0]["steps"], told["notebooks"][0]["tool"]) == (
        3,
        7,
        "fast-rlm",
    )
    assert len(told["errors"]) == 1
    assert len(shown.err.splitlines()) == 1


def test_two_logs_of_one_name_do_not_overwrite_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.jsonl").write_text(FAST_RLM)

    assert command(tmp_path / "a" / "run.jsonl", tmp_path / "b" / "run.jsonl", "-o", tmp_path) == 2
    assert "another log's of this command" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "run.jsonl").write_text(FAST_RLM)

    assert command(tmp_path / "run.jsonl", "-o", tmp_path / "none") == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_importing_loads_neither_litellm_nor_pandas_nor_inspect(tmp_path: Path):
    (tmp_path / "run.jsonl").write_text(FAST_RLM)
    script = (
        "import sys; from pathlib import Path; from rlm_kernel.trace.importers import import_log; "
        f"import_log(Path({str(tmp_path / 'run.jsonl')!r})); "
        "print(sorted({'litellm', 'pandas', 'inspect_ai', 'pydantic', 'IPython', 'nbformat'} & sys.modules.keys()))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env={**os.environ}, check=True
    )

    assert done.stdout.strip() == "[]"


def test_a_pipe_is_refused_with_what_to_do_instead(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen(["sh", "-c", f"echo '{{}}' > {pipe}"])

    with pytest.raises(TraceError, match="pipe is a pipe, and a log is read more than once: write it into a file"):
        import_log(pipe)

    writer.wait(10)
