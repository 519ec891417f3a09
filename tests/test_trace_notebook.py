"""The trace notebook: valid, readable, complete by itself, and harmless whatever a model wrote."""

from __future__ import annotations

import json
import math
import os
import re
import stat
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rlm_kernel.errors import TraceError
from rlm_kernel.trace import file, notebook
from rlm_kernel.trace.events import AskFailed, CellFinished, Event, Loaded, Noted, RunStarted, StateStarted
from rlm_kernel.trace.markdown import fence, inline, prose
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.unpacking import unpack
from rlm_kernel.values import CellError, Message, Remaining, Usage
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
    state,
    step,
    stream,
    tree_of,
    whole_run,
    workflow_run,
)


def cells_of(events: list[Event]) -> dict[str, dict[str, Any]]:
    return {cell["id"]: cell for cell in notebook.render(tree_of(events))["cells"]}


def sources(events: list[Event]) -> list[tuple[str, str]]:
    return [(id, cell["source"]) for id, cell in cells_of(events).items()]


def took(step: int) -> str:
    """The line above each step's prose."""
    return f"*Step {step}: 100 tokens in (64 cached), 20 out, &#36;0.001*"


def test_a_run_reads_from_top_to_bottom():
    assert sources(whole_run())[1:] == [
        (
            "replay",
            "# Run All runs every cell of this record again, with the recorded replies.\n%rlm replay 5fcd057a8ebc",
        ),
        ("a0-agent", "## Agent 0\n\n`context` is\n\n```\nstr of 12 characters: 'a\\nb\\nc'\n```"),
        ("a0-s1-text", f"{took(1)}\n\nI look first."),
        ("a0-s1", "contxt[:9]"),
        ("a0-s2-text", f"{took(2)}\n\nA typo."),
        ("a0-s2", "n = context.count('\\n')\nprint(llm_query(f'is {n} many?'))\nn + 1"),
        (
            "a0-s2-calls",
            "<details><summary>1 completion, 10 tokens</summary>\n\n"
            "llm&#95;query 1, demo-1, 7 tokens in, 3 out, cost unknown\n\n"
            "```\nis 2 many?\n```\n\n```\nNo, not many.\n```\n\n</details>",
        ),
        ("a0-s3-text", f"{took(3)}\n\nNow I know."),
        ("a0-s3", "FINAL(n + 1)"),
        ("answer", "## Answer\n\nAgent 0 ended: **final**.\n\n```\nint: 3\n```"),
    ]


def test_the_title_is_the_question_and_below_it_are_the_facts():
    title = cells_of(whole_run())["title"]["source"]

    assert title == (
        "# How many lines?\n\n| | |\n|---|---|\n"
        "| Model | scripted:demo.py |\n"
        "| Ended | final |\n"
        "| Work | 3 steps, 4 model calls |\n"
        "| Tokens | 307 in (192 cached), 63 out |\n"
        "| Cost | unknown |\n"
        "| Limits | max&#95;steps 30, max&#95;cost&#95;usd none |\n"
        "| Made with | rlm&#95;kernel 0.1.0, python 3.11.7 |"
    )


def test_cells_have_their_real_outputs_and_the_number_of_their_step():
    cells = cells_of(whole_run())

    assert cells["a0-s1"]["outputs"] == [
        {
            "output_type": "error",
            "ename": "NameError",
            "evalue": "name 'contxt' is not defined",
            "traceback": ["line 1"],
        }
    ]
    assert cells["a0-s2"]["outputs"] == [stream("No, not many.\n"), shown("3", 2)]
    assert [cells[f"a0-s{n}"]["execution_count"] for n in (1, 2, 3)] == [1, 2, 3]
    assert cells["a0-s2"]["metadata"] == {
        "rlm": {"agent": "0", "step": 2, "kind": "cell"},
        "tags": ["rlm-generated"],
    }
    assert cells["a0-s1"]["metadata"] == {
        "rlm": {"agent": "0", "step": 1, "kind": "cell"},
        "tags": ["rlm-generated", "raises-exception"],
    }


def test_an_error_that_no_output_shows_is_shown():
    error = CellError("ValueError", "bad", "line 1\nValueError: bad")

    cell = cells_of([agent_started(), *step(1, fenced("x"), "x", (stream("1\n"),), error=error)])["a0-s1"]

    assert cell["outputs"] == [
        stream("1\n"),
        {"output_type": "error", "ename": "ValueError", "evalue": "bad", "traceback": ["line 1", "ValueError: bad"]},
    ]


@pytest.mark.parametrize(
    ("reply", "source", "before", "after"),
    [
        ("a\n\n```repl\nx\n```\n\nb", "x", "a", "b"),
        ("x marks it\n```python\nx\n```", "x", "x marks it", ""),
        ("a\r\n\r\n```repl\r\nx\r\ny\r\n```\r\nb", "x\ny", "a", "b"),
        ("a\n````repl\n```\ninner\n```\n````\nb", "```\ninner\n```", "a", "b"),
        ("a\n```repl\nx", "x", "a", ""),
        ("a\n```repl\nx```", "x", "a", ""),
        ("a\n```repl\nx\n```\n```repl\ny\n```", "x", "a", "```python\ny\n```"),
        ("x is nowhere in a block", "x", "x is nowhere in a block", ""),
    ],
)
def test_prose_is_the_reply_without_the_block_that_ran(reply: str, source: str, before: str, after: str):
    cells = cells_of([agent_started(), *step(1, reply, source)])

    found = [cells[id]["source"] if id in cells else "" for id in ("a0-s1-text", "a0-s1-more")]
    assert found == [f"{took(1)}\n\n{before}" if before else took(1), after]


def test_a_sub_agents_cells_say_whose_they_are_and_stand_inside_their_callers_section():
    events = [
        agent_started(),
        *step(1, fenced("llm_query('?')"), "llm_query('?')"),
        agent_started("0.1", "0", "Which?"),
        *step(1, fenced("FINAL(1)"), "FINAL(1)", agent="0.1"),
        agent_finished("0.1", "int: 1"),
        agent_started("0.1.1", "0.1", "Why?"),
        agent_finished(),
    ]

    found = sources(events)

    assert [id for id, _ in found] == [
        "title",
        "replay",
        "a0-agent",
        "a0-s1-text",
        "a0-s1",
        "a0-agents",
        "a0-1-agent",
        "a0-1-s1-text",
        "a0-1-s1",
        "a0-1-agents",
        "a0-1-answer",
        "a0-1-1-agent",
        "a0-1-1-answer",
        "answer",
    ]
    assert [id for id, _ in sources(recursive_run()) if id.endswith(("-agent", "-agents"))] == [
        "a0-agent",
        "a0-s1-agents",
        "a0-agents",
        "a0-1-agent",
        "a0-1-s1-agents",
        "a0-1-1-agent",
        "a0-2-agent",
        "a0-3-agent",
        "a0-10-agent",
    ]
    assert dict(found)["a0-1-s1"] == "%%agent 0.1\nFINAL(1)"
    assert dict(found)["a0-1-agent"].startswith("### Agent 0.1\n\n```\nWhich?\n```")
    assert dict(found)["a0-1-1-agent"].startswith("#### Agent 0.1.1\n")


def test_the_heading_of_a_sub_agent_says_who_asked_it_for_what_and_what_it_took():
    found = dict(sources(recursive_run()))

    assert found["a0-1-agent"] == (
        "### Agent 0.1\n\n```\nWhich?\n```\n\n"
        "| | |\n|---|---|\n"
        "| Asked by | [Agent 0](#Agent-0) in step 1 |\n"
        "| Model | scripted:demo.py |\n"
        "| Tools | find, load |\n"
        "| Runs in | a process of its own |\n"
        "| It took | 1 step, 1 model call, 120 tokens, &#36;0.001 |\n"
        "| With those below | 2 steps, 2 model calls, 240 tokens, &#36;0.002 |\n\n"
        "Its answer must be\n\n```\nint\n```\n\n"
        "`context` is\n\n```\nstr of 12 characters: 'a\\nb\\nc'\n```"
    )
    assert "| Asked by | [Agent 0](#Agent-0) in a person's cell |" in found["a0-10-agent"]
    assert "| With those below | 4 steps, 5 model calls, 480 tokens, &#36;0.004 |" in found["a0-agent"]
    assert "| Agents | 6 |" in found["title"]


def test_a_step_lists_the_agents_that_it_asked():
    events = recursive_run()

    found = dict(sources(events))

    assert found["a0-s1-agents"] == (
        "* [Agent 0.1](#Agent-0.1): Which? · final · 2 steps, 2 model calls, 240 tokens, &#36;0.002\n"
        "* [Agent 0.2](#Agent-0.2): And this? · interrupted · 0 steps, 0 model calls, 0 tokens, &#36;0.0000\n"
        "* [Agent 0.3](#Agent-0.3): Or that? · error · 0 steps, 1 model call, 0 tokens, &#36;0.0000"
    )
    assert found["a0-agents"].startswith("* [Agent 0.10](#Agent-0.10): What now? · text · 1 step,")
    torn = dict(sources(events[:9]))
    assert "[Agent 0.1](#Agent-0.1): Which? · no end in this record · " in torn["a0-s1-agents"]
    assert recorded(notebook.render(tree_of(events))) == events


def test_a_link_to_an_agent_is_the_anchor_that_readers_make_of_its_heading():
    strings = pytest.importorskip("nbconvert.filters.strings")
    found = dict(sources(recursive_run()))

    anchors = {
        strings._convert_header_id(source.split("\n")[0].lstrip("# "))
        for id, source in found.items()
        if id.endswith("-agent")
    }

    linked = {link for source in found.values() for link in re.findall(r"\]\(#([^)]*)\)", source)}
    assert linked == anchors


def test_each_state_of_a_workflow_is_a_section_with_the_agents_that_it_asked_below_it():
    found = [(id, source.split("\n", 1)[0]) for id, source in sources(workflow_run()) if source.startswith("#")]

    assert [each for each in found if each[0] not in ("title", "replay")] == [
        ("a0-agent", "## Agent 0"),
        ("a0-state1", "### State draft"),
        ("a0-1-agent", "#### Agent 0.1"),
        ("a0-state2", "### State check"),
        ("a0-state3", "### State draft, visit 2"),
        ("a0-2-agent", "#### Agent 0.2"),
        ("a0-4-agent", "#### Agent 0.4"),
        ("a0-3-agent", "### Agent 0.3"),
        ("a0-state4", "### State print"),
        ("answer", "## Answer"),
    ]


def test_a_state_says_who_ran_it_how_often_it_was_tried_and_what_came_of_it():
    cells = cells_of(workflow_run())

    def facts(number: int) -> dict[str, str]:
        rows = [line[2:-2].split(" | ") for line in cells[f"a0-state{number}"]["source"].split("\n") if " | " in line]
        return dict(rows[1:])

    assert facts(1) == {
        "Run by": "[Agent 0](#Agent-0) in step 1",
        "Agents": "one",
        "Asked": "[Agent 0.1](#Agent-0.1), llm_query 1",
        "Attempts": "1",
        "Result": "str, 1 char: &#39;x&#39;",
        "Next": "State check",
    }
    assert facts(2) == {
        "Run by": "[Agent 0](#Agent-0) in step 1",
        "Agents": "law, style",
        "Attempts": "2",
        "Result": "dict, 2 items",
        "Next": "State draft",
        "By value": "630 tokens in (draft 300, draft 310), 40 out",
    }
    assert cells["a0-state2"]["source"].endswith("* *Tried again after SchemaMismatch: no list*")
    assert facts(4)["Error"] == "ValueError: no &#60;b&#62;paper&#60;/b&#62;"
    assert "state draft |" in cells["a0-2-agent"]["source"]
    assert cells["a0-state2"]["metadata"]["rlm"] == {"agent": "0", "step": 1, "kind": "state"}


def test_a_state_whose_end_is_not_in_the_record_says_so():
    began = [event for event in workflow_run() if not (isinstance(event, StateStarted) and event.number > 1)]
    cut = began[: next(n for n, event in enumerate(began) if event.type == "state_finished")]

    assert "| Result | no end in this record |" in cells_of(cut)["a0-state1"]["source"]


def test_headings_go_no_deeper_than_markdown_has_them():
    ids = [".".join(["0"] + ["1"] * n) for n in range(8)]
    events = [agent_started(id, id.rpartition(".")[0] or None) for id in ids]

    headings = [cell["source"].split()[0] for cell in cells_of(events).values() if cell["source"].startswith("##")]

    assert headings == ["##", "###", "####", "#####", "######", "######", "######", "######", "##"]


@given(EVENTS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_events_make_a_valid_notebook_that_gives_them_back(events: list[Event]):
    text = file.to_json(notebook.render(tree_of(events)))
    text.encode("utf-8")
    found = json.loads(text, parse_constant=pytest.fail)

    nbformat.validate(found, relax_add_props=False)
    assert recorded(found) == events


def test_outputs_that_the_notebook_shows_are_not_in_its_record_again():
    long = "z" * 50_000
    image = {"output_type": "display_data", "data": {"image/png": "iVBOR" * 9_000}, "metadata": {}}
    events = [agent_started(), *step(1, fenced("show()"), "show()", (stream(long), image, shown("3", 9)))]

    text = file.to_json(notebook.render(tree_of(events)))

    assert (text.count(long), text.count("iVBOR" * 9_000)) == (1, 1)
    assert recorded(json.loads(text)) == events


def recorded(found: dict[str, Any]) -> list[Event]:
    """Every event, from nothing but the notebook, which is whole and as it was written."""
    read = unpack(found)
    assert (read.complaint, read.lost) == (None, {})
    return [event for _, event in read.events]


def test_a_notebook_of_an_ordinary_run_is_hardly_larger_than_its_text():
    events: list[Event] = [run_started(), agent_started()]
    new: tuple[Message, ...] = (Message("system", "You answer by writing cells. " * 150), Message("user", "How many?"))
    text = 0
    for n in range(1, 13):
        source = "\n".join(f"rows_{k} = [line for line in context.split() if 'error {k}' in line]" for k in range(9))
        reply = fenced(source, f"In step {n} I look at the lines with an error. " * 8)
        output = "\n".join(f"{n}-{k}: connection lost after {k * n} seconds" for k in range(60))
        events += step(n, reply, source, (stream(output),), new=new)
        text += len(reply) + len(output) + sum(len(message.content) for message in new if message.role != "assistant")
        new = (Message("assistant", reply), Message("user", f"Output of your cell:\n{output}"))
    events += [agent_finished(), run_finished()]

    size = len(file.to_json(notebook.render(tree_of(events))))

    assert size < 1.5 * text


@pytest.mark.parametrize("events", range(len(whole_run())))
def test_a_run_that_was_cut_off_still_opens(events: int):
    found = notebook.render(tree_of(whole_run()[:events]))

    nbformat.validate(found)
    assert "not in this record" in found["cells"][0]["source"]


def test_what_a_cell_left_out_failed_or_was_told_stands_below_it():
    finished = CellFinished(agent="0", step=1, outputs=(), seconds=0.1, dropped_chars=12_345, notes=("`FINAL` mended",))
    failed = AskFailed(agent="0", step=2, kind="rate_limit", message="come *back* later")

    found = dict(sources([agent_started(), *step(1, fenced("x"), "x")[:3], finished, step(2, "")[0], failed]))

    assert found["a0-s1-notes"] == "* *12,345 characters of output were not kept.*\n* *&#96;FINAL&#96; mended*"
    assert found["a0-s2-notes"] == "* *The model call failed (rate&#95;limit): come &#42;back&#42; later*"


def test_nothing_that_differs_between_equal_runs_stands_outside_the_metadata():
    first = notebook.render(tree_of(recursive_run()))
    second = notebook.render(at_another_time(recursive_run()))

    assert {**first, "metadata": None} == {**second, "metadata": None}
    assert first["metadata"]["rlm"]["run"] != second["metadata"]["rlm"]["run"]
    assert first["metadata"]["rlm"]["at"] != second["metadata"]["rlm"]["at"]
    assert first["metadata"]["rlm"]["totals"]["seconds"] != second["metadata"]["rlm"]["totals"]["seconds"]


def test_an_edit_of_one_cell_is_the_only_difference_that_two_equal_runs_show():
    first = cells_of(recursive_run())
    edited = {cell["id"]: cell for cell in notebook.render(at_another_time(recursive_run()))["cells"]}

    edited["a0-1-1-s1"]["source"] = "%%agent 0.1.1\nFINAL(8)"

    assert [id for id, cell in first.items() if cell != edited[id]] == ["a0-1-1-s1"]
    assert list(first) == list(edited)


def at_another_time(events: list[Event]) -> Tree:
    """The same run, a day later, under another name, with every duration another."""
    tree, began = Tree(), datetime(2026, 2, 1, 9, 30, tzinfo=UTC)
    for n, event in enumerate(events):
        changes: dict[str, Any] = {"run": "20260201-093000-ffff"} if isinstance(event, RunStarted) else {}
        for name in ("seconds", "first_token_s"):
            if hasattr(event, name):
                changes[name] = 17.25 + n
        if isinstance(event, CellFinished):
            changes["remaining"] = Remaining(seconds=1.5 * n)
        tree.add(replace(event, **changes), (began + timedelta(seconds=3.7 * n)).isoformat())
    return tree


def test_facts_that_vary_stand_in_the_metadata_of_the_notebook():
    rlm = notebook.render(tree_of(whole_run()))["metadata"]["rlm"]

    assert {name: value for name, value in rlm.items() if name not in ("bodies", "events")} == {
        "schema": 1,
        "ending": "final",
        "run": "20260131-120000-abcd",
        "door": "magic",
        "model": "scripted:demo.py",
        "limits": {"max_steps": 30, "max_cost_usd": None},
        "versions": {"rlm_kernel": "0.1.0", "python": "3.11.7"},
        "origin": {},
        "dialect": None,
        "at": "2026-01-31T12:00:00.000+00:00",
        "content": "5fcd057a8ebc",
        "totals": {
            "steps": 3,
            "calls": 4,
            "seconds": 2.5,
            "prompt_tokens": 307,
            "completion_tokens": 63,
            "cached_tokens": 192,
            "reasoning_tokens": None,
            "cost_usd": None,
            "unpriced_calls": 1,
        },
    }


def test_run_all_begins_with_the_cell_that_makes_it_a_replay():
    replaying = cells_of(recursive_run())["replay"]

    assert replaying["metadata"] == {
        "rlm": {"agent": "0", "kind": "replay"},
        "tags": ["rlm-generated", "nbval-ignore-output"],
    }
    assert (replaying["cell_type"], replaying["execution_count"], replaying["outputs"]) == ("code", None, [])
    assert "replay" not in cells_of([run_started()])  # nobody to replay


def test_the_name_of_a_replay_is_another_where_anything_that_it_runs_or_answers_is():
    usual = step(1, fenced("x"), "x", calls=call(1, "?", "!"))
    runs = (
        [agent_started(), *usual],
        [agent_started(question="Why?"), *usual],
        [agent_started("1"), *[replace(event, agent="1") for event in usual]],
        [agent_started(), *step(1, fenced("x", "Then."), "x", calls=call(1, "?", "!"))],
        [agent_started(), *step(1, fenced("x"), "y", calls=call(1, "?", "!"))],
        [agent_started(), *step(1, fenced("x"), "x", calls=call(1, "?", "no"))],
        [agent_started(), *usual, *step(2, "x")],
    )

    names = [notebook.content(tree_of(run)) for run in runs]

    assert len(set(names)) == len(runs)
    assert all(re.fullmatch("[0-9a-f]{12}", name) for name in names)


def test_what_a_step_took_is_told_where_the_model_wrote_no_prose():
    unpriced = Usage(prompt_tokens=1_234, completion_tokens=5)

    found = cells_of([agent_started(), *step(1, "```repl\nx\n```", "x", usage=unpriced)])

    assert found["a0-s1-text"]["source"] == "*Step 1: 1,234 tokens in, 5 out, cost unknown*"
    assert found["a0-s1-text"]["metadata"]["rlm"] == {"agent": "0", "step": 1, "kind": "prose"}
    assert "a0-s1-text" not in cells_of([agent_started(), step(1, "x")[0]])  # no reply yet


def test_a_cell_whose_output_may_vary_is_marked_and_a_note_says_on_what_it_depends():
    began = "import time\nbegan = time.time()"
    events = [
        agent_started(),
        *step(1, fenced(began), began),
        *step(2, fenced("len(context)"), "len(context)", (shown("3", 2),)),
        *step(3, fenced("print(began)\n1/0"), "print(began)\n1/0", error=CellError("ZeroDivisionError", "", "")),
    ]

    found = cells_of(events)

    tags = {id: cell["metadata"]["tags"][1:] for id, cell in found.items() if cell["metadata"]["rlm"]["kind"] == "cell"}
    assert tags == {
        "a0-s1": ["nbval-ignore-output"],
        "a0-s2": [],
        "a0-s3": ["raises-exception", "nbval-ignore-output"],
    }
    notes = {id: cell["source"] for id, cell in found.items() if id.endswith("-notes")}
    told = "* *Its output may differ when it runs again: it depends on time.time.*"
    assert notes == {"a0-s1-notes": told, "a0-s3-notes": told}


def test_a_run_that_a_persons_cell_began_shows_that_cell():
    question = "answer = llm_query('How many?', context=rows)\nprint(answer)"
    events = [replace(run_started(), door="cell"), agent_started(question=question), agent_started("0.1", "0")]

    found = cells_of(events)

    assert list(found)[:4] == ["title", "replay", "a0-agent", "a0-person"]
    assert found["a0-person"] == {
        "cell_type": "code",
        "execution_count": None,
        "id": "a0-person",
        "metadata": {"rlm": {"agent": "0", "kind": "person"}, "tags": ["rlm-generated", "nbval-ignore-output"]},
        "outputs": [],
        "source": question,
    }
    assert [id for id in cells_of(recursive_run()) if "person" in id] == []
    assert recorded(notebook.render(tree_of(events))) == events


def test_notes_of_an_agent_stand_below_its_heading_and_those_of_a_step_below_its_cell():
    events = [
        agent_started(),
        Noted(agent="0", text="its *context* is not in the log"),
        *step(1, fenced("x"), "x"),
        Noted(agent="0", step=1, text="the log has no <output>"),
        Noted(agent="0", step=1, text="nor its time"),
    ]

    found = cells_of(events)

    assert found["a0-agent"]["source"].endswith("```\n\n* *its &#42;context&#42; is not in the log*")
    assert found["a0-s1-notes"]["source"] == "* *the log has no &#60;output&#62;*\n* *nor its time*"
    assert recorded(notebook.render(tree_of(events))) == events


def test_two_renderings_of_one_run_are_the_same_bytes():
    first, second = (file.to_json(notebook.render(tree_of(whole_run()))) for _ in range(2))

    assert first == second


def test_ids_of_other_tools_cannot_break_the_format_or_begin_a_line_of_code():
    events = [agent_started()]
    for id in ("0.1", "0-1", "x" * 200, "0.2\nimport os", "é", ""):
        events += [agent_started(id, "0", in_step=1), *step(1, fenced("x"), "x", agent=id)]

    found = notebook.render(tree_of(events))

    nbformat.validate(found, relax_add_props=False)
    ids = [cell["id"] for cell in found["cells"]]
    assert len(ids) == len(set(ids))
    assert "%%agent 0.2 import os\nx" in [cell["source"] for cell in found["cells"]]
    assert [cell["source"].count("](#") for cell in found["cells"] if cell["id"] == "a0-s1-agents"] == [1]


def test_outputs_that_the_format_forbids_are_mended_and_recorded_as_they_were():
    odd = (
        {"output_type": "stream", "name": "log", "text": ["a", "b"], "extra": 1},
        {"output_type": "display_data", "data": {"text/html": 3, "application/json": [math.inf]}, "transient": {}},
        {"output_type": "of_tomorrow"},
    )
    events = [*step(1, fenced("x"), "x", odd)]

    found = notebook.render(tree_of(events))

    nbformat.validate(found, relax_add_props=False)
    assert next(cell for cell in found["cells"] if cell["id"] == "a0-s1")["outputs"] == [
        {"output_type": "stream", "name": "stdout", "text": "ab"},
        {"output_type": "display_data", "data": {"text/html": "3", "application/json": [None]}, "metadata": {}},
    ]
    assert recorded(json.loads(file.to_json(found))) == events


def test_writing_replaces_the_file_at_once_and_leaves_nothing_else(tmp_path: Path):
    path = tmp_path / "run.ipynb"
    path.write_text("old")
    with path.open() as reader:
        file.write(tree_of(whole_run()), path)

        assert reader.read() == "old"  # never written in place: who has it open sees no half of it
    assert [file.name for file in tmp_path.iterdir()] == ["run.ipynb"]
    nbformat.validate(nbformat.read(path, as_version=4))


def test_a_new_notebook_has_the_permissions_of_any_new_file(tmp_path: Path):
    mask = os.umask(0o022)
    try:
        file.write(Tree(), tmp_path / "run.ipynb")
    finally:
        os.umask(mask)

    assert stat.S_IMODE((tmp_path / "run.ipynb").stat().st_mode) == 0o644


def test_a_failed_write_keeps_the_old_file_and_names_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "run.ipynb"
    path.write_text("old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TraceError, match=r"run\.ipynb cannot be written \(No space left on device\): free space"):
        file.write(Tree(), path)

    assert ([file.name for file in tmp_path.iterdir()], path.read_text()) == (["run.ipynb"], "old")


def test_nothing_slow_is_imported():
    code = "import sys, rlm_kernel.trace.file, rlm_kernel.trace.views; print({'nbformat', 'IPython'} & {*sys.modules})"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "set()"


# Text of a model in Markdown.


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain **bold** and *this*, `code[0]`, a_b", "plain **bold** and *this*, `code[0]`, a_b"),
        ("- one\n- two\n\n1. a\n2. b\n\n> quoted", "- one\n- two\n\n1. a\n2. b\n\n> quoted"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "| a | b |\n|---|---|\n| 1 | 2 |"),
        ("see [it](https://x.org/a?b=1)", "see [it](https://x.org/a?b=1)"),
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("![x](http://evil/p.png)", "&#33;[x](http://evil/p.png)"),
        ("[x](javascript:alert(1))", "[x]&#40;javascript:alert(1))"),
        ("[x]: http://evil 'y'", "[x]&#58; http://evil 'y'"),
        ("# Plan\n> ## more\n- # item", "&#35; Plan\n> &#35;# more\n- &#35; item"),
        ("title\n===\nother\n---", "title\n&#61;==\nother\n&#45;--"),
        ("---\njupyter: x\n---", "&#45;--\njupyter: x\n&#45;--"),
        ("it costs $5 and $10", "it costs &#36;5 and &#36;10"),
        ("`a | b` and `<b>`", "<code>a &#124; b</code> and <code>&#60;b&#62;</code>"),
        ("a ` b", "a &#96; b"),
        ("\x1b[31mred\x1b[0m\x07", "red"),
        ("a\n```\n![x](y)\n```\nb", "a\n\n```\n![x](y)\n```\n\nb"),
        ("~~~{image} http://evil\nx", "```\nx\n```"),
        ("```mermaid\nx\n```", "```\nx\n```"),
        ("```repl\nx\n```", "```python\nx\n```"),
    ],
)
def test_prose_stays_readable_and_can_do_nothing(text: str, safe: str):
    assert prose(text) == safe


def test_a_fence_is_longer_than_any_in_it():
    assert fence("a\n`````\nb") == "``````\na\n`````\nb\n``````"


def test_a_line_of_untrusted_text_means_nothing():
    assert inline("*a* | <b>\n# [c](d) `e`", 100) == ("&#42;a&#42; &#124; &#60;b&#62; &#35; &#91;c&#93;(d) &#96;e&#96;")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.found.add(tag)
        self.found |= {f"{tag} {name}" for name in values if name not in ("href", "class", "start", "style", "title")}
        if not (values.get("href") or "http:").lower().startswith(("http:", "https:", "mailto:")):
            self.found.add(f"{tag} {values['href']}")

    def handle_comment(self, data: str) -> None:
        self.found.add("comment")


HARMLESS = {"p", "strong", "em", "ul", "ol", "li", "blockquote", "code", "pre", "a", "br", "del", "hr"}
HARMLESS |= {"table", "thead", "tbody", "tr", "th", "td"}
PIECES = ("![x](http://evil/i)", "![a]", "[a]", "![", "](http://evil/i)", "[a](javascript:x)", "[a]:", "http://evil")
PIECES += ("<img src=http://evil>", "<script>", "<!--", "-->", "<details>", "</code>", "</pre>", "<http://evil>", "<a")
PIECES += ("`", "``", "```", "~~~", "\\", "\\`", "|", "|---|---|", "#", "##", "===", "---", "+++", "-", "*", ">", "1.")
PIECES += ("$", "$$", "\\begin{x}", "```{image}", "&#33;", "&lt;", "href='http://evil'>", "text", "    ", "\t", " ")
PIECES += ("\n", "\n", "\n\n", "\r", "\x0b", "\u2028", "\x1b[0m")
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@given(HOSTILE)
@example("~~~ `\n```\n~~~\n![x](http://evil)\n```")
@example("| `a | b ![x](http://evil)` |\n|---|---|")
@example("\\`<img src=x>`")
@example("[http://x`](javascript:x)`")
@example("- ```\n  ![x](http://evil)\n  ```\n![y](http://evil)")
@settings(max_examples=400, deadline=None)
def test_no_renderer_makes_anything_but_prose_of_hostile_text(text: str):
    markdown_it = pytest.importorskip("markdown_it")
    mistune = pytest.importorskip("mistune")
    plugins = ["table", "strikethrough", "url", "footnotes", "task_lists", "def_list", "math"]
    renderers = (
        markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").render,
        mistune.create_markdown(escape=False, plugins=plugins),
    )

    for render in renderers:
        tags = Tags()
        tags.feed(render(prose(text)))
        assert tags.found <= HARMLESS


OURS = {"h1", "h2", "h3", "details", "summary", "a #Agent-0", "a #Agent-0.1"}


@given(HOSTILE)
@settings(max_examples=100, deadline=None)
def test_hostile_text_in_every_field_makes_no_page_do_anything(text: str):
    markdown_it = pytest.importorskip("markdown_it")
    cells = notebook.render(tree_of(hostile_run(text)))["cells"]
    render = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").render

    outline = []
    for cell in cells:
        if cell["cell_type"] == "markdown":
            tags = Tags()
            tags.feed(render(cell["source"]))
            outline += sorted(tag for tag in tags.found if tag in ("h1", "h2", "h3", "h4", "h5", "h6"))
            assert tags.found <= HARMLESS | OURS
    assert outline == ["h1", "h2", "h3", "h3", "h2"]


def hostile_run(text: str) -> list[Event]:
    error = CellError(text, text, text)
    return [
        agent_started(question=text),
        *step(1, text, "x", (stream(text),), error=error, calls=call(1, text, text)),
        Noted(agent="0", text=text),
        Noted(agent="0", step=1, text=text),
        agent_started("0.1", "0", text, in_step=1, schema=text, tools=(text,), isolation=text),
        *step(1, text, agent="0.1"),
        agent_finished("0.1", text),
        *state(
            1, text, agents=(text,), attempts=1, next=text, result=text, problems=(text,), loaded=(Loaded(text, 1),)
        ),
        agent_finished("0", text),
    ]


def test_prose_of_megabytes_takes_no_longer_than_its_length():

    begun = time.thread_time()
    for hostile in (
        "`" * 1_000_000,
        "`a" * 500_000,
        "> " * 500_000,
        "[" * 1_000_000,
        "\x1b]" * 500_000,
        "- \n" * 300_000,
    ):
        prose(hostile)

    assert time.thread_time() - begun < 20
