"""A run in the formats of others, and `jupyter rlm export`."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rlm_kernel import replay
from rlm_kernel.cli.export import Export
from rlm_kernel.cli.import_log import Import
from rlm_kernel.errors import UsageError
from rlm_kernel.trace import file
from rlm_kernel.trace.comparing import text_of
from rlm_kernel.trace.events import (
    AgentFinished,
    AgentStarted,
    AskFailed,
    CallFailed,
    CellFinished,
    Event,
    Given,
    RunStarted,
)
from rlm_kernel.trace.exporters import FORMATS, export, format_of, official
from rlm_kernel.trace.importers import Imported, import_log
from rlm_kernel.trace.loading import load_trace
from rlm_kernel.trace.nodes import Agent
from rlm_kernel.trace.safe import plain
from rlm_kernel.trace.tree import Tree
from rlm_kernel.values import CellError, Message
from tests.make_traces import RUNS
from tests.sample_run import (
    EVENTS,
    agent_finished,
    agent_started,
    call,
    fenced,
    recursive_run,
    run_finished,
    run_started,
    shown,
    step,
    stream,
    tree_of,
    whole_run,
    workflow_run,
)

REPOSITORY = Path(__file__).parents[1]
HOSTILE = (
    "</pre></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'\x1b[31m\u202e\ud800\x00\r#\n*/ '''\"\"\""
)
RING = [agent_started("a", "b"), agent_started("b", "a"), agent_started("c", "c")]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def display(**data: Any) -> dict[str, Any]:
    bundle = {name.replace("_", "/", 1): value for name, value in data.items()}
    return {"output_type": "display_data", "data": bundle, "metadata": {}}


def one_cell(source: str, *outputs: dict[str, Any], reply: str | None = None, **fields: Any) -> list[Event]:
    events = step(1, fenced(source) if reply is None else reply, source, outputs, **fields)
    return [run_started(), agent_started(), *events, agent_finished(), run_finished()]


def hostile_run() -> list[Event]:
    error = CellError(HOSTILE, HOSTILE, HOSTILE)
    outputs = (
        stream(HOSTILE, HOSTILE),
        {"output_type": "display_data", "data": {HOSTILE: HOSTILE, "image/png": HOSTILE}, "metadata": {}},
        display(text_html=HOSTILE, image_jpeg='" onerror="x', text_plain=HOSTILE),
        {"output_type": HOSTILE, "data": HOSTILE},
    )
    named = replace(run_started(), run=HOSTILE, model=HOSTILE, door=HOSTILE, versions={HOSTILE: HOSTILE})
    started = AgentStarted(
        agent=HOSTILE, depth=0, caller=None, question=HOSTILE, context=HOSTILE, model=HOSTILE, schema=HOSTILE,
        tools=(HOSTILE,), isolation=HOSTILE,
    )  # fmt: skip
    failed = CallFailed(agent=HOSTILE, step=1, call=1, kind=HOSTILE, message=HOSTILE)
    new = (Message("user", HOSTILE),)
    return [
        named,
        started,
        *step(1, HOSTILE, HOSTILE, outputs, agent=HOSTILE, error=error, calls=(failed,), new=new),
        agent_started("sub", HOSTILE, HOSTILE, in_step=1),
        *step(1, HOSTILE, HOSTILE, outputs, agent="sub", calls=call(1, HOSTILE, HOSTILE, agent="sub")),
        AskFailed(agent=HOSTILE, step=2, kind=HOSTILE, message=HOSTILE),
        AgentFinished(agent=HOSTILE, ending="error", answer=HOSTILE, name=HOSTILE, message=HOSTILE),
    ]


def written(events: list[Event], to: str) -> str:
    return export(tree_of(events), to)


def lines_of(events: list[Event]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(events, "rlm-jsonl").splitlines()]


# The official package's JSONL


def test_official_has_a_line_of_metadata_and_one_for_each_step_of_the_root():
    head, *steps = lines_of(whole_run())

    assert list(head.pop("rlm_kernel")) == ["schema", "log", "bodies", "events"]
    assert head == {
        "type": "metadata",
        "timestamp": "2026-01-31T12:00:00.000+00:00",
        "root_model": "scripted:demo.py",
        "max_depth": None,
        "max_iterations": 30,
        "backend": "rlm_kernel",
        "backend_kwargs": {},
        "environment_type": "jupyter",
        "environment_kwargs": {},
        "other_backends": None,
        "run_id": "20260131-120000-abcd",
        "agent_id": "0",
    }
    assert [(each["type"], each["iteration"], each["final_answer"]) for each in steps] == [
        ("iteration", 1, None),
        ("iteration", 2, None),
        ("iteration", 3, "int: 3"),
    ]
    assert [each["code_blocks"][0]["result"]["final_answer"] for each in steps] == [None, None, "int: 3"]
    assert [message["content"] for message in steps[2]["prompt"]] == ["message 1", "message 2", "message 3"]
    assert steps[1]["code_blocks"][0] == {
        "code": "n = context.count('\\n')\nprint(llm_query(f'is {n} many?'))\nn + 1",
        "result": {
            "stdout": "No, not many.\n3\n",
            "stderr": "",
            "locals": {},
            "execution_time": 0.25,
            "rlm_calls": [
                {
                    "root_model": "demo-1",
                    "prompt": "is 2 many?",
                    "response": "No, not many.",
                    "usage_summary": {
                        "model_usage_summaries": {
                            "demo-1": {"total_calls": 1, "total_input_tokens": 7, "total_output_tokens": 3}
                        }
                    },
                    "execution_time": 0.2,
                }
            ],
            "final_answer": None,
        },
    }
    assert steps[0]["code_blocks"][0]["result"]["stderr"].endswith("NameError: name 'contxt' is not defined")


def test_official_nests_a_sub_agent_in_the_call_that_started_it():
    _, first, persons = lines_of(recursive_run())

    calls = first["code_blocks"][0]["result"]["rlm_calls"]
    below = calls[0]["metadata"]["iterations"][0]["code_blocks"][0]["result"]["rlm_calls"]
    assert [(each["prompt"], each["response"], each.get("error")) for each in calls] == [
        ("Which?", "int: 7", None),
        ("And this?", "", "interrupted: stopped from outside"),
        ("Or that?", "", "error: the provider has gone"),
    ]
    assert [each["prompt"] for each in below] == ["Why?"]
    assert calls[0]["usage_summary"]["model_usage_summaries"]["scripted:demo.py"]["total_calls"] == 2
    assert [each["prompt"] for each in persons["code_blocks"][0]["result"]["rlm_calls"]] == ["What now?"]


def test_official_has_what_its_visualizer_reads_of_every_line():
    for events in (whole_run(), recursive_run(), hostile_run(), [agent_started()]):
        for line in lines_of(events)[1:]:
            assert line.keys() >= {"iteration", "timestamp", "prompt", "response", "code_blocks", "final_answer"}
            for block in line["code_blocks"]:
                assert block["result"].keys() >= {"stdout", "stderr", "locals", "execution_time", "rlm_calls"}


def test_official_repeats_requests_only_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(sys.modules[official.__module__], "MOST_PROMPT_CHARS", 30)

    _, *steps = lines_of(whole_run())

    assert [len(each["prompt"]) for each in steps] == [1, 2, 1]


# ATIF


def trajectories(row: dict[str, Any]) -> list[dict[str, Any]]:
    found, waiting = [], [row]
    while waiting:
        found.append(waiting.pop(0))
        waiting += found[-1].get("subagent_trajectories", [])
    return found


ALLOWED = {
    "trajectory": "schema_version session_id trajectory_id agent steps notes final_metrics continued_trajectory_ref "
    "subagent_trajectories extra",
    "step": "step_id timestamp source message model_name reasoning_effort reasoning_content tool_calls observation "
    "metrics is_copied_context llm_call_count extra",
    "call": "tool_call_id function_name arguments extra",
    "result": "source_call_id content subagent_trajectory_ref extra",
    "metrics": "prompt_tokens completion_tokens cached_tokens cost_usd extra",
    "final": "total_prompt_tokens total_completion_tokens total_cached_tokens total_cost_usd total_steps extra",
}


def check_atif(row: dict[str, Any]) -> None:
    """What the RFC and the models of its authors ask: they refuse any other field."""

    def only(data: dict[str, Any], kind: str) -> None:
        assert data.keys() <= set(ALLOWED[kind].split())

    for each in trajectories(row):
        only(each, "trajectory")
        assert each["schema_version"] == "ATIF-v1.7"
        assert each["agent"]["name"]
        assert each["agent"]["version"]
        only(each.get("final_metrics", {}), "final")
        assert [one["step_id"] for one in each["steps"]] == list(range(1, len(each["steps"]) + 1))
        embedded = [child["trajectory_id"] for child in each.get("subagent_trajectories", [])]
        for one_step in each["steps"]:
            only(one_step, "step")
            assert isinstance(one_step["message"], str)
            assert one_step["source"] in ("system", "user", "agent")
            assert one_step["source"] == "agent" or not one_step.keys() & {"model_name", "tool_calls", "metrics"}
            only(one_step.get("metrics", {}), "metrics")
            calls = one_step.get("tool_calls", [])
            for one in calls:
                only(one, "call")
                assert isinstance(one["arguments"], dict)
            ids = [one["tool_call_id"] for one in calls]
            assert len(ids) == len(set(ids))
            for result in one_step.get("observation", {"results": []})["results"]:
                only(result, "result")
                assert result.get("source_call_id") in [*ids, None]
                for ref in result.get("subagent_trajectory_ref", []):
                    assert ref["trajectory_id"] in embedded


def test_atif_has_a_step_for_each_message_and_reply_with_call_result_and_metrics():
    row = json.loads(written(whole_run(), "atif"))

    check_atif(row)
    assert row["session_id"] == "20260131-120000-abcd"
    assert [(each["source"], each["message"]) for each in row["steps"]] == [
        ("user", "message 1"),
        ("agent", "I look first."),
        ("agent", "A typo."),
        ("agent", "Now I know."),
    ]
    step = row["steps"][2]
    assert step["tool_calls"] == [
        {
            "tool_call_id": "2",
            "function_name": "python",
            "arguments": {"code": "n = context.count('\\n')\nprint(llm_query(f'is {n} many?'))\nn + 1"},
        },
        {
            "tool_call_id": "2-llm_query-1",
            "function_name": "llm_query",
            "arguments": {"prompt": "is 2 many?", "model": "scripted:demo.py"},
        },
    ]
    assert step["observation"]["results"] == [
        {"source_call_id": "2", "content": "No, not many.\n3"},
        {"source_call_id": "2-llm_query-1", "content": "No, not many."},
    ]
    assert step["metrics"] == {"prompt_tokens": 100, "completion_tokens": 20, "cached_tokens": 64, "cost_usd": 0.001}
    assert step["extra"]["shown"] == "message 3"
    assert row["final_metrics"] == {
        "total_prompt_tokens": 307, "total_completion_tokens": 63, "total_cached_tokens": 192, "total_steps": 4,
    }  # fmt: skip


def test_atif_embeds_sub_agents_and_refers_to_them_from_the_call_that_started_them():
    row = json.loads(written(recursive_run(), "atif"))

    check_atif(row)
    refs = [
        (result.get("source_call_id"), [ref["trajectory_id"] for ref in result["subagent_trajectory_ref"]])
        for each in row["steps"]
        for result in each.get("observation", {"results": []})["results"]
        if "subagent_trajectory_ref" in result
    ]
    assert refs == [("1-0.1", ["0.1"]), ("1-0.2", ["0.2"]), ("1-0.3", ["0.3"]), (None, ["0.10"])]
    assert [each["trajectory_id"] for each in trajectories(row)] == ["0", "0.1", "0.2", "0.3", "0.10", "0.1.1"]
    assert row["final_metrics"]["extra"]["with_subagents"]["total_prompt_tokens"] == 400


def test_atif_of_hostile_runs_and_of_rings_keeps_to_the_format():
    for events in (hostile_run(), RING, [agent_started()]):
        check_atif(json.loads(written(events, "atif")))
    assert len(trajectories(json.loads(written(RING, "atif")))) == 3


# HTML


class Page(HTMLParser):
    """Its tags and text, and whether every tag is closed by its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "table", "tr", "td", "details", "summary"}
TAGS |= {"section", "div", "span", "b", "p", "pre", "img"}


def check_page(text: str) -> Page:
    page = Page(text)
    assert page.open == []
    assert {tag for tag, _ in page.tags} <= TAGS
    for tag, attributes in page.tags:
        assert attributes.keys() <= {"class", "open", "alt", "src", "lang", "charset", "name", "content", "http-equiv"}
        assert (
            re.match("data:image/(png|jpeg|gif|webp|svg[+]xml);base64,[A-Za-z0-9+/=]+$", attributes.get("src") or "")
            or tag != "img"
        )
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert text.encode("utf-8")
    return page


def test_the_page_shows_the_states_of_a_workflow_before_the_agents_that_they_asked() -> None:
    text = written(workflow_run(), "html")

    heads = re.findall(r"^(?:state .*|Agent \S+(?=:))", check_page(text).text, re.MULTILINE)
    assert heads == [
        "state draft · str, 1 char: 'x' → check",
        "Agent 0.1",
        "state check · 2 attempts · by value 630 tokens in (draft 300, draft 310), 40 out · dict, 2 items → draft",
        "state draft, visit 2 · str, 1 char: 'x' → print",
        "Agent 0.2",
        "Agent 0.4",
        "Agent 0.3",
        "state print · ValueError: no <b>paper</b>",
    ]
    assert '<p class="bad"><b>state print' in text


def test_the_page_has_every_question_cell_output_answer_and_what_it_cost():
    page = check_page(written(recursive_run(), "html"))

    for said in (
        "How many lines?",
        "xs = llm_query_batched(qs, cs)",
        "Why?",
        "FINAL(7)",
        "int: 7",
        "$0.001",
        "server: 500",
    ):
        assert said in page.text
    assert [("open" in attributes) for tag, attributes in page.tags if tag == "details"] == [True, *[False] * 5]


def test_of_an_output_the_page_has_the_picture_or_the_text_and_nothing_that_lives():
    svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    outputs = (
        display(image_png=f"{PIXEL[:9]}\n{PIXEL[9:]}", text_plain="<Figure>"),
        {"output_type": "display_data", "data": {"image/svg+xml": [svg]}, "metadata": {}},
        display(text_html="<table><script>alert(1)</script></table>", text_plain="  a\n0 1"),
        {"output_type": "display_data", "data": {"application/javascript": "alert(1)"}, "metadata": {}},
    )

    text = written(one_cell("f()", *outputs), "html")

    page = check_page(text)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == ["image/png", "image/svg+xml"]
    assert images[0]["src"] == f"data:image/png;base64,{PIXEL}"
    assert "  a\n0 1" in page.text
    assert "<Figure>" not in page.text
    assert "[application/javascript]" in page.text
    assert "alert" not in text


def test_no_text_of_the_record_becomes_a_tag_of_the_page():
    page = check_page(written(hostile_run(), "html"))

    assert page.text.count("<script>alert(1)</script>") > 15
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_the_policy_of_the_page_forbids_scripts_and_network():
    page = check_page(written(whole_run(), "html"))

    (policy,) = [each["content"] for tag, each in page.tags if tag == "meta" and each.get("http-equiv")]
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy
    assert "http" not in policy


def test_agents_that_hang_very_deep_stand_beside_and_not_inside():
    deep = [agent_started(), *(agent_started(f"d{n}", f"d{n - 1}" if n else "0") for n in range(300))]

    text = written(deep, "html")

    check_page(text)
    deepest = level = 0
    for tag in re.findall("</?details", text):
        level += 1 if tag == "<details" else -1
        deepest = max(deepest, level)
    assert text.count("<details") == 301
    assert deepest <= 120


# Python


def cells_of(text: str) -> list[str]:
    """Code of each cell `# %% step n` without its comments."""
    compile(text, "x", "exec")
    found = []
    for cell in re.split("^# %% ", text, flags=re.MULTILINE)[1:]:
        if cell.startswith("step "):
            found.append("\n".join(line for line in cell.split("\n")[1:] if line and not line.startswith("#")))
    return found


def test_the_cells_of_the_root_are_code_in_their_order():
    assert cells_of(written(whole_run(), "python")) == [
        "contxt[:9]",
        "n = context.count('\\n')\nprint(llm_query(f'is {n} many?'))\nn + 1",
        "FINAL(n + 1)",
    ]


def test_the_header_says_which_names_have_to_be_defined_and_that_nothing_is_asked():
    text = written(whole_run(), "python")

    assert "Nothing here asks a model." in text
    assert "\n# context, contxt, llm_query, FINAL\n" in text


def test_a_name_that_a_cell_makes_need_not_be_defined():
    source = "import os.path as p\nfor i in context:\n    def f(a): return a + i + missing\ntry: pass\nexcept E as e: e"

    assert "\n# context, missing, E\n" in written(one_cell(source), "python")


def test_lines_of_ipython_are_comments_and_the_rest_of_their_cell_is_code():
    source = "%matplotlib inline\nx = 1\nfor y in []:\n    !ls\nfiles = !ls\nx?\ntext = '''\n%not a magic\n'''"

    (cell,) = cells_of(written(one_cell(source), "python"))

    assert cell == (
        "pass  # %matplotlib inline\nx = 1\nfor y in []:\n    pass  # !ls\npass  # files = !ls\npass  # x?\n"
        "text = '''\n%not a magic\n'''"
    )


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("x = (", "SyntaxError: '(' was never closed"),
        ("x = await f()", "it awaits, outside of any function"),
        ("%%bash\nls", "%%bash is for IPython"),
        ("x = '\u202e'", "it has control characters or marks of direction"),
        ("x = '\x00'", "it has control characters or marks of direction"),
        ("return 1", "SyntaxError: 'return' outside function"),
        ("(" * 5000, "SyntaxError: too many nested parentheses"),
    ],
)
def test_a_cell_that_cannot_be_code_is_a_comment_with_the_reason(source, reason):
    text = written(one_cell(source), "python")

    assert cells_of(text) == [""]
    assert f"# This cell is a comment: {reason}\n# {plain(source).splitlines()[0][:50]}" in text


def test_lines_that_end_otherwise_are_lines():
    assert cells_of(written(one_cell("x = 1\r\ny = 2\rz = 3\n"), "python")) == ["x = 1\ny = 2\nz = 3"]


def test_a_cell_that_times_itself_is_code():
    assert cells_of(written(one_cell("%%time\nx = 1"), "python")) == ["pass  # %%time\nx = 1"]


def test_cells_that_do_not_compile_together_still_make_a_file_that_does():
    events = [agent_started()]
    for number, source in enumerate(["from __future__ import annotations\nx = 1", "global x\nx = 2", "y = 3"], 1):
        events += step(number, fenced(source), source)

    assert cells_of(written(events, "python")) == [
        "pass  # from __future__ import annotations\nx = 1",
        "",
        "y = 3",
    ]


def test_nothing_that_is_not_a_cell_of_the_root_is_code():
    hostile = "x\rimport os\x0cimport os\u2028import os\n'''\nimport os"
    events = [
        run_started(),
        replace(agent_started("0", None, hostile), context=hostile),
        *step(1, fenced("f()", hostile), "f()", (stream(hostile),), calls=call(1, hostile, hostile)),
        agent_started("0.1", "0", hostile, in_step=1),
        *step(1, fenced("import os\rimport os", hostile), "import os\rimport os", agent="0.1"),
        AgentFinished(agent="0", ending="error", answer=hostile, message=hostile),
    ]

    tree = ast.parse(written(events, "python"))

    assert [ast.unparse(node) for node in tree.body] == ["f()"]


# All of them


@pytest.mark.parametrize("to", FORMATS)
@settings(deadline=None, max_examples=60)
@given(events=EVENTS)
@example(events=[])
@example(events=hostile_run())
@example(events=RING)
@example(events=[agent_started("a", "b", in_step=1), agent_started("b", "a", in_step=1)])
@example(events=[*recursive_run(), *RING])
def test_any_events_at_all_make_valid_output(to, events):
    text = written(events, to)

    text.encode("utf-8")
    if to == "rlm-jsonl":
        rows = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
        assert rows[0]["type"] == "metadata"
    elif to == "atif":
        assert json.loads(text, parse_constant=pytest.fail)["schema_version"] == "ATIF-v1.7"
    elif to == "html":
        check_page(text)
    else:
        compile(text, "x", "exec")


LINES = ["x = 1", "%ls", "!ls", "for a in b:", "    x", "'''", '"', "\\", "await f()", "global x", "(", ")", "x?", "\r"]
LINES += ["# %% a", "from __future__ import annotations", "class A:", "  !x", "%%time", "%%bash", "é = 'é'", "yield"]


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(LINES), max_size=7).map("\n".join), st.text(max_size=20))
def test_any_cells_make_a_file_that_compiles(one, two):
    events = [agent_started(), *step(1, fenced(one), one), *step(2, fenced(two), two), *step(3, one, "x = 1")]

    assert "x = 1" in cells_of(written(events, "python"))[-1]


@pytest.mark.parametrize("to", FORMATS)
def test_a_thousand_agents_are_written(to):
    events = [agent_started(), *step(1, fenced("go()"), "go()")]
    for n in range(1, 1001):
        events += [agent_started(f"0.{n}", "0", f"question {n}", in_step=1), agent_finished(f"0.{n}")]

    assert "question 1000" in written(events, to)


def shape(tree: Tree) -> list[tuple[str | None, list[tuple[Any, ...]]]]:
    """Of each agent that has steps, in the order of the walk: source, text of the outputs and tokens of each."""

    def of(agent: Agent) -> list[tuple[Any, ...]]:
        return [
            (each.source, plain(text_of(each.cell.outputs)).strip() if each.cell is not None else "")
            for each in agent.steps
            if each.source is not None and not each.source.startswith("# a person's own")
        ]

    return [(agent.caller, of(agent)) for agent, _ in tree.walk()]


def ran() -> list[Event]:
    """Two levels, and nothing of a person's own, for which other tools have no place."""
    events = [event for event in recursive_run() if getattr(event, "agent", "") != "0.10"]
    return [
        replace(event, outputs=(stream("to read\n"), shown("3"))) if isinstance(event, CellFinished) else event
        for event in events
    ]


IMPORTABLE = {"rlm-jsonl": "log.jsonl", "atif": "log.json"}
GOLDEN = REPOSITORY / "tests" / "traces"


def brought_back(folder: Path, text: str, to: str) -> Imported:
    path = folder / IMPORTABLE[to]
    path.write_text(text, encoding="utf-8")
    (imported,) = import_log(path)
    return imported


@pytest.mark.parametrize("to", IMPORTABLE)
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(events=EVENTS)
@example(events=[])
@example(events=whole_run())
@example(events=recursive_run())
@example(events=hostile_run())
@example(events=RING)
@example(events=[*recursive_run(), *RING])
@example(events=[agent_started(), CellFinished(agent="0", step=1, outputs=(), seconds=0, final=True), agent_finished()])
def test_what_is_exported_comes_back_as_the_run_that_it_was(tmp_path, to, events):
    tree = tree_of(events)

    imported = brought_back(tmp_path, export(tree, to), to)

    assert imported.tree.log == tree.log
    assert (imported.complaint, imported.lost, imported.tool) == (None, (), "rlm_kernel")


@pytest.mark.parametrize("to", IMPORTABLE)
@pytest.mark.parametrize("name", RUNS)
def test_a_golden_trace_that_went_through_another_format_runs_again_the_same(tmp_path, to, name):
    trace = load_trace(GOLDEN / f"{name}.ipynb")
    file.write(brought_back(tmp_path, export(trace.tree, to), to).tree, tmp_path / f"{name}.ipynb")

    first, again = replay(trace), replay(tmp_path / f"{name}.ipynb")

    assert load_trace(tmp_path / f"{name}.ipynb").tree.log == trace.tree.log
    assert (again.answer, again.cells) == (first.answer, first.cells)


@pytest.mark.parametrize("to", IMPORTABLE)
def test_the_record_of_another_tools_run_keeps_its_origin(tmp_path, to):
    origin = {"kind": "import", "tool": "fast-rlm", "log": "log.jsonl", "lost": ["The replies."]}
    started = replace(run_started(), origin=origin, dialect="fast-rlm")
    tree = tree_of([started, *whole_run()[1:]])

    imported = brought_back(tmp_path, export(tree, to), to)

    assert (imported.tool, imported.lost, imported.tree.run) == ("fast-rlm", ("The replies.",), started)


def changed(text: str, to: str, change: Callable[[dict[str, Any]], object]) -> str:
    """With another record, handed to `change`, in the log."""
    if to == "atif":
        row = json.loads(text)
        change(row["extra"])
        return json.dumps(row)
    head, *steps = text.splitlines()
    row = json.loads(head)
    change(row)
    return "\n".join([json.dumps(row), *steps])


NO_RERUN = "brought in is what the log says, which may not run again as it did"


@pytest.mark.parametrize("to", IMPORTABLE)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda box: box.update(rlm_kernel=7), f"the record of rlm_kernel in it cannot be read: {NO_RERUN}"),
        (lambda box: box["rlm_kernel"].pop("events"), f"the record of rlm_kernel in it cannot be read: {NO_RERUN}"),
        (
            lambda box: box["rlm_kernel"].update(schema=2),
            f"the record in it is a newer rlm_kernel's (trace schema 2), upgrade to read it: {NO_RERUN}",
        ),
        (
            lambda box: box["rlm_kernel"]["events"][1].update(type=7),
            f"event 2 of its record cannot be read: not an event: {NO_RERUN}",
        ),
        (lambda box: box.update(mine=1), f"it was changed since rlm_kernel exported it: {NO_RERUN}"),
    ],
)
def test_a_log_that_is_not_as_it_was_exported_is_taken_for_what_it_says(tmp_path, to, change, said):
    imported = brought_back(tmp_path, changed(written(ran(), to), to, change), to)

    assert imported.complaint == said
    assert shape(imported.tree) == shape(tree_of(ran()))
    assert imported.tree.run.dialect is None


def stripped(events: list[Event], to: str) -> str:
    return changed(written(events, to), to, lambda box: box.pop("rlm_kernel"))


@pytest.mark.parametrize("to", IMPORTABLE)
def test_without_its_record_a_log_of_ours_has_the_same_agents_cells_and_outputs(tmp_path, to):
    imported = brought_back(tmp_path, stripped(ran(), to), to)

    assert imported.complaint is None
    assert shape(imported.tree) == shape(tree_of(ran()))


@pytest.mark.parametrize("to", IMPORTABLE)
def test_without_its_record_a_log_of_ours_says_before_the_first_cell_that_it_has_no_context(tmp_path, to):
    trace = load_trace(GOLDEN / "counting.ipynb")
    log = stripped([event for _, event in trace.tree.log], to)
    file.write(brought_back(tmp_path, log, to).tree, tmp_path / "counting.ipynb")

    with pytest.raises(UsageError, match="this record cannot run again here: context is not in the record") as found:
        replay(tmp_path / "counting.ipynb")

    assert "or name it with -c" in str(found.value)


@pytest.mark.parametrize("to", IMPORTABLE)
@pytest.mark.parametrize("name", sorted({*RUNS} - {"names"}))  # it began with an empty store, which is none to give
def test_without_its_record_a_log_of_ours_runs_again_with_its_context(tmp_path, to, name):
    trace = load_trace(GOLDEN / f"{name}.ipynb")
    log = stripped([event for _, event in trace.tree.log], to)
    file.write(brought_back(tmp_path, log, to).tree, tmp_path / "a.ipynb")

    first, again = replay(trace), replay(tmp_path / "a.ipynb", RUNS[name].get("context"))

    assert (again.answer, again.cells) == (first.answer, first.cells)


def test_tokens_come_back_where_the_format_has_a_place_for_them(tmp_path):
    atif = brought_back(tmp_path, stripped(ran(), "atif"), "atif")
    rlm = brought_back(tmp_path, stripped(whole_run(), "rlm-jsonl"), "rlm-jsonl")

    usages = [each.reply.usage for agent, _ in atif.tree.walk() for each in agent.steps if each.source is not None]
    assert usages == [e.reply.usage for a, _ in tree_of(ran()).walk() for e in a.steps if e.source is not None]
    assert [each.reply.usage.total_tokens for each in rlm.tree.agents["0"].all_calls] == [10]


# The command


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        Export.launch_instance([str(argument) for argument in arguments])
    Export.clear_instance()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def brought_in(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        Import.launch_instance(list(arguments))
    Import.clear_instance()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def trace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "some.ipynb"
    file.write(tree_of(whole_run()), path)
    return path


def test_the_format_is_guessed_from_the_suffix(trace, tmp_path, capsys):
    for name, begins in {
        "a.py": "# %% [markdown]",
        "a.html": "<!DOCTYPE html>",
        "a.json": "{",
        "a.jsonl": '{"type": "m',
    }.items():
        assert run(capsys, trace, "-o", name) == (0, f"{name}\n", "")
        assert (tmp_path / name).read_text().startswith(begins)
    assert format_of("a.txt") is None


def test_without_a_file_it_stands_in_this_folder_named_after_the_run(trace, tmp_path, capsys):
    assert run(capsys, trace, "--to", "atif") == (0, "20260131-120000-abcd.trajectory.json\n", "")
    assert json.loads((tmp_path / "20260131-120000-abcd.trajectory.json").read_text())["trajectory_id"] == "0"


@pytest.mark.parametrize("name", IMPORTABLE.values())
def test_a_context_that_lies_beside_a_trace_goes_along_there_and_back(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    for folder in ("traces", "logs", "back"):
        (tmp_path / folder).mkdir()
    context = b"x" * 5_000
    beside = f"{hashlib.sha256(context).hexdigest()}.text"
    file.put_beside(tmp_path / "traces", beside, context)
    at_first = Given(agent="0", name="context", description="str", form="file", value=beside)
    file.write(tree_of([*whole_run()[:2], at_first, *whole_run()[2:]]), tmp_path / "traces" / "a.ipynb")

    exported = run(capsys, "traces/a.ipynb", "-o", f"logs/{name}")
    imported = brought_in(capsys, f"logs/{name}", "-o", "back")
    (tmp_path / "logs" / "contexts" / beside).unlink()
    (tmp_path / "back" / "contexts" / beside).unlink()
    without = brought_in(capsys, f"logs/{name}", "-o", "back")

    told = "back/log.ipynb  rlm_kernel, 1 agent, 3 steps, final\n"
    assert exported == (0, f"logs/{name}\n", "")
    assert imported == (0, told, "")
    path = Path("logs", "contexts", beside)
    assert without == (
        0,
        f"{told}  incomplete: the context of this trace lies in {path}, which cannot be read "
        "(No such file or directory)\n",
        "",
    )


def test_a_page_is_written_without_the_contexts_beside_the_trace(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pages").mkdir()
    beside = f"{hashlib.sha256(b'x').hexdigest()}.text"
    file.put_beside(tmp_path, beside, b"x")
    at_first = Given(agent="0", name="context", description="str", form="file", value=beside)
    file.write(tree_of([*whole_run()[:2], at_first, *whole_run()[2:]]), tmp_path / "a.ipynb")

    assert run(capsys, "a.ipynb", "-o", "pages/a.html") == (0, "pages/a.html\n", "")
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["a.html"]


def test_what_a_record_calls_itself_is_no_path(tmp_path, monkeypatch, capsys):
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    hostile = [replace(e, run="../../x\0/..") if isinstance(e, RunStarted) else e for e in whole_run()]
    file.write(tree_of(hostile), tmp_path / "t.ipynb")

    assert run(capsys, tmp_path / "t.ipynb", "--to", "python") == (0, "x.py\n", "")
    assert [found.name for found in inner.iterdir()] == ["x.py"]


def test_no_file_is_written_over_without_force(trace, tmp_path, capsys):
    (tmp_path / "a.py").write_text("mine")

    code, out, err = run(capsys, trace, "-o", "a.py")

    assert (code, out, (tmp_path / "a.py").read_text()) == (2, "", "mine")
    assert err == "jupyter rlm export: a.py exists: give another name with -o, or --force\n"
    assert run(capsys, trace, "-o", "a.py", "--force")[0] == 0
    assert (tmp_path / "a.py").read_text().startswith("# %%")


def test_not_even_with_force_is_the_trace_itself_written_over(trace, capsys):
    before = trace.read_bytes()

    code, _, err = run(capsys, trace, "--to", "html", "-o", trace, "--force")

    assert (code, trace.read_bytes()) == (2, before)
    assert "is the trace itself" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which format? --to rlm-jsonl, atif, html, python"),
        (["-o", "a.txt"], "which format?"),
        (["-o", "nowhere/a.py"], "there is no folder"),
        (["--to", "html", "-o", "."], "is a folder"),
        (["--to", "pdf"], "invalid choice"),
    ],
)
def test_bad_usage_is_one_line_and_2(trace, capsys, arguments, said):
    code, out, err = run(capsys, trace, *arguments)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_dash_is_stdout_and_nothing_else_is_there(trace):
    script = "import sys; from rlm_kernel.cli.export import Export; Export.launch_instance(sys.argv[1:])"

    done = subprocess.run(
        [sys.executable, "-c", script, str(trace), "--to", "atif", "-o", "-"],
        capture_output=True, timeout=60, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == written(whole_run(), "atif")


def test_of_a_damaged_trace_what_is_there_is_written_and_the_rest_is_told(trace, capsys):
    data = json.loads(trace.read_bytes())
    data["metadata"]["rlm"]["events"][-3] = {"type": 7}
    trace.write_text(json.dumps(data))

    code, out, err = run(capsys, trace, "--to", "python")

    assert (code, out) == (0, "20260131-120000-abcd.py\n")
    assert "not the whole record" in err


def test_an_unknown_format_is_an_error_of_usage():
    with pytest.raises(UsageError, match="no format is named pdf"):
        export(tree_of(whole_run()), "pdf")
