"""Named results in cells of a model: bounded reads, and each use of the store in the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rlm_kernel
from rlm_kernel.store import Store
from rlm_kernel.trace.views import graph_text, mermaid
from rlm_kernel.trace.views.graph import graph_of
from rlm_kernel.trace.views.savings import savings_of
from tests.kernel_process import block, script


def uses(trace: rlm_kernel.Trace) -> list[tuple[Any, ...]]:
    return [
        (agent.id, step.number, used.how, used.key, used.replaced)
        for agent in trace
        for step in agent.steps
        for used in step.used
    ]


def test_what_cells_do_with_named_results_is_in_the_record(here: Path) -> None:
    contract = Store()
    contract["contract"] = "clause " * 2_000
    replies = [
        block("context.store('clauses', context.contract.split()[:3], note='the first')"),
        block("for _ in range(100):\n    context.clauses[0]\nn = llm_query('How many?', context=context)\nn"),
        {"reply": block("context['count'] = len(context.clauses)\nFINAL(context['count'])"), "when": "How many"},
        block("print(context.read('contract', max_tokens=50))\ncontext.list_available()"),
        block("FINAL('clauses')"),
    ]

    run = rlm_kernel.run("Review it.", contract, model=script(here, *replies))

    trace = rlm_kernel.load_trace(run.journal or "")
    assert run.answer == ["clause"] * 3
    assert uses(trace) == [
        ("0", 1, "take", "contract", False),
        ("0", 1, "write", "clauses", False),
        ("0", 2, "take", "clauses", False),
        ("0", 3, "read", "contract", False),
        ("0", 4, "take", "clauses", False),
        ("0.1", 1, "take", "clauses", False),
        ("0.1", 1, "write", "count", False),
        ("0.1", 1, "take", "count", False),
    ]
    assert contract.history("count")[0].who == "0.1"
    read = trace.agents["0"].step(3).used[0]
    assert 0 < read.tokens <= 50
    assert read.size == 3_500
    shown = trace.agents["0"].step(3).cell
    assert shown is not None
    assert "clauses" in shown.outputs[-1]["data"]["text/plain"]
    assert "wrote" in graph_text(graph_of(trace.tree))
    assert mermaid(graph_of(trace.tree)).startswith("flowchart")


def test_a_read_of_too_much_says_the_ways_on_and_loads_nothing(here: Path) -> None:
    contract = Store()
    contract["contract"] = "clause " * 20_000
    replies = [block("context.read('contract')"), block("FINAL(context.read('contract', chars=(0, 6)))")]

    run = rlm_kernel.run("Review it.", contract, model=script(here, *replies))

    error = rlm_kernel.load_trace(run.journal or "").agents["0"].step(1).cell
    assert error is not None
    assert error.error is not None
    assert error.error.name == "ContextBudgetExceeded"
    assert "max_tokens" in error.error.message
    assert run.answer == "clause"


def outputs(run: rlm_kernel.Run, step: int, agent: str = "0") -> str:
    cell = rlm_kernel.load_trace(run.journal or "").agents[agent].step(step).cell
    assert cell is not None
    assert cell.error is None, cell.error
    return "".join("".join(output.get("text") or output["data"]["text/plain"]) for output in cell.outputs)


def failed(run: rlm_kernel.Run, step: int, agent: str = "0") -> tuple[str, str]:
    cell = rlm_kernel.load_trace(run.journal or "").agents[agent].step(step).cell
    assert cell is not None
    assert cell.error is not None
    return cell.error.name, cell.error.message


def said(run: rlm_kernel.Run, step: int, agent: str = "0") -> str:
    """The newest message before that step's reply."""
    return rlm_kernel.load_trace(run.journal or "").agents[agent].step(step).new[-1].content


def test_READ_takes_a_key_a_variable_or_an_object(here: Path) -> None:
    store = Store()
    store["the contract"] = "one\ntwo\nthree\nfour\n"
    replies = [
        block("READ('the contract', lines=(2, 3))"),
        block("short = 'word'\nlisted = [10, 20, 30, 40]\nprint(READ('listed', rows=(1, 3)))"),
        block("print(READ(short, literal=True), READ({'a': 1}), READ(b'bytes'), READ('a text of more than a word'))"),
        block("FINAL(READ('listed'))"),
    ]

    run = rlm_kernel.run("Read.", store, model=script(here, *replies))

    assert outputs(run, 1) == "two\nthree"
    assert outputs(run, 2) == "[1] 20\n[2] 30\n"
    assert outputs(run, 3) == "word {'a': 1} bytes a text of more than a word\n"
    assert run.answer == "[10, 20, 30, 40]"
    assert [use[2:4] for use in uses(rlm_kernel.load_trace(run.journal or ""))] == [
        ("read", "the contract"),
        ("read", "listed"),
        ("read", "a str"),
        ("read", "a dict"),
        ("read", "a bytes"),
        ("read", "a str"),
        ("read", "listed"),
    ]


@pytest.mark.parametrize(
    ("cell", "error"),
    [
        ("READ('contarct')", ("KeyError", "near: 'contract'")),
        ("READ('nothing_like_it')", ("KeyError", "no key or variable 'nothing_like_it'")),
        ("READ('contract', lines=(0, 2))", ("UsageError", "lines count from 1")),
        ("READ('contract', chars=(-1, -3))", ("UsageError", "ends before it begins")),
        ("READ('contract', max_tokens=0)", ("UsageError", "max_tokens=0")),
        ("READ('contract', max_tokens=-5)", ("UsageError", "max_tokens=-5")),
        ("READ('contract', rows=(0, 2))", ("UsageError", "has no rows")),
        ("context.read('contarct')", ("KeyError", "near: 'contract'")),
        ("context = [1]\nWRITE('x', 1)", ("UsageError", "WRITE needs a Store in `context`, which holds a list")),
        ("context = None\nLIST_CONTEXT()", ("UsageError", "which holds nothing: SHOW_VARS()")),
        ("WRITE(1, 2)", ("TypeError", "keys of the store are strings")),
    ],
)
def test_what_cannot_be_read_or_written_is_one_short_error(here: Path, cell: str, error: tuple[str, str]) -> None:
    store = Store()
    store["contract"] = "one\ntwo"
    replies = [block(cell), block("FINAL(1)")]

    run = rlm_kernel.run("Read.", store, model=script(here, *replies))

    name, message = failed(run, 1)
    assert (name, error[1] in message) == (error[0], True), message
    assert len(message) < 300
    assert dict(store) == {"contract": "one\ntwo"}


def test_what_raises_when_it_is_looked_at_is_read_and_listed_all_the_same(here: Path) -> None:
    code = (
        "class Odd:\n    def __len__(self): raise RuntimeError('no length')\n"
        "    def __repr__(self): raise RuntimeError('no repr')\nWRITE('odd', Odd())\n"
    )
    replies = [block(code), block("print(READ('odd'))\nLIST_CONTEXT()"), block("FINAL('odd')")]

    run = rlm_kernel.run("Read.", Store(), model=script(here, *replies))

    assert type(run.answer).__name__ == "Odd"
    assert "no repr" in outputs(run, 2).splitlines()[0]
    assert "odd" in outputs(run, 2).splitlines()[-1]


def test_WRITE_and_LIST_CONTEXT_are_the_stores_own(here: Path) -> None:
    store = Store()
    replies = [
        block("WRITE('risks', ['a', 'b'], note='of the first part')\nLIST_CONTEXT()"),
        block("FINAL('risks')"),
    ]

    run = rlm_kernel.run("Write.", store, model=script(here, *replies))

    assert run.answer is store.risks
    [row] = store.list_available()
    assert (row.key, row.type, row.who, row.step, row.note) == ("risks", "list", "0", 1, "of the first part")
    assert "of the first part" in outputs(run, 1)


def test_a_gigabyte_is_read_as_its_ends(here: Path) -> None:
    store = Store()
    store["much"] = bytes(1_000_000_000)
    replies = [block("READ('much')"), block("print(len(READ('much', max_tokens=100)))"), block("FINAL(1)")]

    run = rlm_kernel.run("Read.", store, model=script(here, *replies))

    name, message = failed(run, 1)
    assert name == "ContextBudgetExceeded"
    assert "0 of 2,000 are read already" in message
    assert int(outputs(run, 2)) <= 400


def test_what_a_cell_prints_counts_with_what_it_reads_and_neither_goes_past_the_limit(here: Path) -> None:
    store = Store()
    store["contract"] = "clause " * 20_000
    replies = [
        block("print(budget().read_tokens)\ntext = READ('contract', max_tokens=400)\nprint(budget().read_tokens)"),
        block("print(text)"),
        block("print(budget().read_tokens)"),
        block("print(context.contract[:4000])"),
        block("print(context.contract[:4000])"),
        block("context.contract[0:20]"),
        block("READ('contract', max_tokens=10)"),
        block("FINAL(len(context.contract))"),
    ]

    run = rlm_kernel.run("Read.", store, model=script(here, *replies), max_read_tokens=1_000)

    trace = rlm_kernel.load_trace(run.journal or "")
    before, after = map(int, outputs(run, 1).split())
    assert before == 1_000
    assert 600 <= after < 650
    assert after - 10 < int(outputs(run, 3)) <= after  # the text that was read is not counted again
    assert "In all you can see 1,000 tokens of data, all of which are left" in said(run, 1)
    assert "characters not shown" in said(run, 5)
    assert len(said(run, 5)) < 4 * after + 200
    assert "0 tokens of data are left for you to see" in said(run, 6)
    for step in (6, 7):
        assert said(run, step).count("clause") == 0
    assert failed(run, 7)[0] == "ContextBudgetExceeded"
    assert run.answer == 140_000
    seen = sum(len(step.new[-1].content) for step in trace.agents["0"].steps[1:])
    assert seen < 4 * 1_000 + 8 * 250  # and what is said around it


def test_an_error_of_a_cell_counts_too_and_a_cell_that_shows_nothing_does_not(here: Path) -> None:
    replies = [block("x = 1"), block("raise ValueError('y' * 8_000)"), block("print(1)"), block("FINAL(x)")]

    run = rlm_kernel.run("Read.", [1], model=script(here, *replies), max_read_tokens=200)

    left = [
        step.cell.remaining.read_tokens
        for step in rlm_kernel.load_trace(run.journal or "").agents["0"].steps
        if step.cell
    ]
    assert left[:2] == [200, 200]
    assert left[2] is not None
    assert 0 < left[2] < 200
    assert "characters not shown" in said(run, 3)
    assert left[3:] == [left[2] - 1]


def test_a_limit_of_nothing_lets_a_model_work_by_name_alone(here: Path) -> None:
    store = Store()
    store["contract"] = "clause " * 20_000
    replies = [block("print(context.contract)"), block("READ('contract', chars=(0, 1))"), block("FINAL('contract')")]

    run = rlm_kernel.run("Read.", store, model=script(here, *replies), max_read_tokens=0)

    assert run.answer is store.contract
    assert "clause" not in said(run, 2)
    assert failed(run, 2)[0] == "ContextBudgetExceeded"


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_sub_agent_has_its_own_account(here: Path, isolation: str) -> None:
    store = Store()
    store["contract"] = "clause " * 1_000
    ask = f"llm_query('Look.', context=context, max_read_tokens=300, isolation={isolation!r})"
    replies = [
        block(f"print(READ('contract', chars=(0, 2_000)))\ngot = {ask}\nprint(got, budget().read_tokens)"),
        block("print(READ('contract', max_tokens=250))\nprint(budget().read_tokens)"),
        block("print(READ('contract'))"),
        block("FINAL([len(context.contract), sorted(context)])"),
        block("FINAL(got)"),
    ]

    run = rlm_kernel.run("Read.", store, model=script(here, *replies), max_read_tokens=1_000, isolation="thread")

    assert run.answer == [7_000, ["contract"]]
    assert "[7000, ['contract']] 500" in outputs(run, 1)
    assert "In all you can see 300 tokens of data" in said(run, 1, "0.1")
    left = int(outputs(run, 1, "0.1").split()[-1])
    assert 50 <= left < 80
    name, message = failed(run, 2, "0.1")
    assert name == "ContextBudgetExceeded"
    assert f"of 300 are read already; max_tokens={left - 1} shows head and tail" in message
    trace = rlm_kernel.load_trace(run.journal or "")
    assert [use[2:4] for use in uses(trace) if use[0] == "0.1"] == [("read", "contract"), ("take", "contract")]


def test_a_replay_can_read_as_much_as_the_run_could(here: Path) -> None:
    store = Store()
    store["contract"] = "clause " * 2_000
    replies = [
        block("READ('contract', max_tokens=200)"),
        block("print('word ' * 400)"),
        block("budget().read_tokens"),
        block("READ('contract', chars=(0, 1_000))"),
        block("FINAL(READ('contract', chars=(0, 6)))"),
    ]
    run = rlm_kernel.run("Read.", store, model=script(here, *replies), max_read_tokens=720)

    again = rlm_kernel.replay(run.trace or "", store, strict=True)

    assert failed(run, 4)[0] == "ContextBudgetExceeded"
    assert (again.answer, again.cells) == ("clause", 5)


def test_a_name_of_two_objects_is_refused_and_the_object_taken(here: Path) -> None:
    store = Store()
    store["report"] = "the first"
    replies = [
        block("report = 'the second'\nFINAL('report')"),
        block("READ('report')"),
        block("same = context['report']\nprint(READ('same'), READ('report', literal=True))\nWRITE('same', same)"),
        block("print(READ('same'))\nFINAL_VAR('report')"),
    ]

    run = rlm_kernel.run("Report.", store, model=script(here, *replies))

    for step in (1, 2):
        assert failed(run, step) == (
            "UsageError",
            "'report' is a variable here, and another object in the store: give the object, report or "
            "context['report'], in place of its name",
        )
    assert outputs(run, 3) == "the first report\n"
    assert run.answer == "the second"


def test_what_was_read_is_kept_as_plain_text(here: Path) -> None:
    store = Store()
    store["contract"] = "one\ntwo"
    replies = [
        block("WRITE('part', READ('contract', lines=(1, 1)))\nn = llm_query('Type?', context=READ('contract'))"),
        {"reply": block("FINAL((type(context).__name__, context))"), "when": "Type?"},
        block("FINAL((type(context.part).__name__, n))"),
    ]

    run = rlm_kernel.run("Read.", store, model=script(here, *replies))

    assert run.answer == ("str", ("str", "one\ntwo"))
    assert type(rlm_kernel.run("Read.", store, model=script(here, block("FINAL(READ('part'))"))).answer) is str


def test_max_tokens_beyond_what_is_left_gives_what_is_left(here: Path) -> None:
    store = Store()
    store["contract"] = "clause " * 20_000
    replies = [
        block("print(len(READ('contract', max_tokens=3_000)))"),
        block("READ('contract', max_tokens=5_000)"),
        block("FINAL(1)"),
    ]

    run = rlm_kernel.run("Read.", store, model=script(here, *replies), max_read_tokens=2_300)

    assert 7_000 < int(outputs(run, 1)) <= 8_000
    assert 800 < len(outputs(run, 2)) <= 4 * 400


def test_nobody_lets_another_see_more_than_they_may(here: Path) -> None:
    store = Store()
    store["contract"] = "clause " * 20_000
    replies = [
        block("a = llm_query('More.', context=context, max_read_tokens=1_000_000)"),
        {"reply": block("b = llm_query('Less.', context=context, max_read_tokens=300)"), "when": "More."},
        {"reply": block("c = llm_query('As much.', context=context)"), "when": "Less."},
        {"reply": block("FINAL(budget().read_tokens)"), "when": "As much."},
        block("FINAL((budget().read_tokens, c))"),
        block("FINAL((budget().read_tokens, b))"),
        block("FINAL(a)"),
    ]

    run = rlm_kernel.run("Look.", store, model=script(here, *replies), max_read_tokens=500, max_depth=4)

    assert run.answer == (500, (300, 300))


LONG = 4 * 600
"""Characters of a question that has a hundred tokens more than are free."""


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_what_a_question_holds_beyond_an_instruction_counts_as_read_by_who_is_asked(here: Path, isolation: str) -> None:
    question = f"('Look.' + 'x' * {LONG - 5})"
    replies = [
        block(f"got = llm_query({question}, context=1, max_read_tokens=300)"),
        block("left = budget().read_tokens\ntry:\n    READ('y' * 1_000)\nexcept Exception as e:\n    print(e.used)"),
        block("FINAL((left, budget().read_tokens))"),
        block("FINAL((got, llm_query('Short.' + 'x' * 1_994, context=1), budget().read_tokens))"),
        {"reply": block("FINAL(budget().read_tokens)"), "when": "Short."},
    ]

    run = rlm_kernel.run("Read.", 1, model=script(here, *replies), max_read_tokens=1_000, isolation=isolation)

    assert run.answer == ((200, 199), 1_000, 1_000)
    assert outputs(run, 1, "0.1") == "100\n"
    assert "300 tokens of data, 200 of which are left after your question, which is long" in said(run, 1, "0.1")
    assert "1,000 tokens of data, all of which are left:" in said(run, 1, "0.2")
    assert rlm_kernel.replay(run.trace or "", 1, strict=True).answer == run.answer


def test_a_question_of_more_than_may_be_read_is_refused_before_anybody_is_asked(here: Path) -> None:
    context = "clause " * 4_000
    replies = [
        block("llm_query('Look: ' + context, context=5)"),
        block("llm_query_batched(['a', 'Look: ' + context], return_exceptions=True)"),
        block(
            "from rlm_kernel.errors import RLMError\ntry:\n    llm_query('a' + context, max_read_tokens=3)\n"
            "except RLMError as e:\n    print(e.key, e.tokens, e.used, e.allowed)"
        ),
        block("FINAL(llm_query('a', context=context))"),
        {"reply": block("FINAL(len(context))"), "when": "# The question\n\na\n"},
    ]

    run = rlm_kernel.run("Read.", context, model=script(here, *replies), max_read_tokens=6_000)

    assert run.answer == 28_000
    for step in (1, 2):
        assert failed(run, step) == (
            "ContextBudgetExceeded",
            "the question has 7,002 tokens; 0 of 6,000 are read already; a sub-agent's question counts as read beyond "
            "500 tokens: hand data over as context=",
        )
    assert outputs(run, 3) == "the question 7001 0 3\n"
    assert list(rlm_kernel.load_trace(run.journal or "").agents) == ["0", "0.1"]
    assert rlm_kernel.replay(run.trace or "", context, strict=True).answer == 28_000


def test_a_misspelt_name_in_the_last_cells_of_who_has_read_all_is_told_to_be_an_error(here: Path) -> None:
    store = Store({"contract": "clause " * 20_000})
    replies = [block("READ('contract', max_tokens=100)"), block("x = 1\nlen(foudn)"), block("FINAL(x)")]

    run = rlm_kernel.run("Read.", store, model=script(here, *replies), max_read_tokens=100)

    told = said(run, 3).split("\n\n")
    assert told[2] == "Your cell ended with NameError at line 2."
    assert "foudn" not in said(run, 3)
    assert rlm_kernel.replay(run.trace or "", store, strict=True).cells == 3


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_an_agent_is_told_once_that_a_key_is_a_method_of_the_store(here: Path, isolation: str) -> None:
    note = 'note: `items` is a method of the store: read it as context["items"]\n'
    replies = [
        block("n = llm_query('Write.', context=context)"),
        {"reply": block("WRITE('items', [1])"), "when": "Write."},
        block("WRITE('items', [2])"),
        block("FINAL(context['items'])"),
        block("FINAL(n)"),
    ]

    run = rlm_kernel.run("Go.", Store(), model=script(here, *replies), isolation=isolation)

    assert run.answer == [2]
    assert [outputs(run, step, "0.1") for step in (1, 2)] == [note, ""]
    assert rlm_kernel.replay(run.trace or "", Store(), strict=True).answer == [2]


def test_who_may_see_little_is_told_little_of_the_context(here: Path) -> None:
    run = rlm_kernel.run("Look.", "clause " * 500, model=script(here, block("FINAL(1)")), max_read_tokens=0)

    first = said(run, 1)
    assert "`context`: str, 3,500 chars" in first
    assert first.count("clause") < 15
    assert "all of which are left: what you READ counts, and what else your cells show; this message does not" in first


def test_a_thread_that_reads_while_the_cell_ends_does_not_exceed_the_limit(here: Path) -> None:
    store = Store()
    store["contract"] = "clause " * 20_000
    code = (
        "import threading, time\nfrom rlm_kernel.errors import ContextBudgetExceeded\nread = []\n"
        "def go():\n    for _ in range(400):\n        try:\n"
        "            read.append(len(READ('contract', max_tokens=20)))\n"
        "        except ContextBudgetExceeded:\n            pass\n        time.sleep(0.001)\n"
        "threading.Thread(target=go).start()\nprint('word ' * 1_000)"
    )
    replies = [block(code), block("import time\ntime.sleep(0.5)"), block("FINAL((sum(read), budget().read_tokens))")]

    run = rlm_kernel.run("Read.", store, model=script(here, *replies), max_read_tokens=500)

    characters, left = run.answer
    assert left >= 0
    assert characters / 4 + len(said(run, 2)) / 4 <= 500 - left + 80


def drawn(run: rlm_kernel.Run) -> list[str]:
    """Who wrote and read which keys and variables."""
    edges = graph_of(rlm_kernel.load_trace(run.journal or "").tree).edges
    return sorted(f"{each.source} {each.how} {each.target}" for each in edges if each.how in ("wrote", "took", "read"))


def test_a_variable_an_object_and_a_private_store_are_not_keys_of_the_store(here: Path) -> None:
    store = Store()
    store["text"] = "x" * 40_000
    replies = [
        block("got = llm_query_batched(['First.', 'Second.'], [context, context])"),
        {"reply": block("n = len(context.text)\nREAD([1, 2])\nFINAL(n)"), "when": "First"},
        {
            "reply": block(
                "from rlm_kernel import Store\nnotes = Store()\nnotes['text'] = 'mine'\n"
                "text = 'one'\nprint(notes.read('text'))\ncontext.read('text', chars=(0, 9))\ndel notes['text']\n"
                "context = notes\nprint(READ('text'))\nFINAL(1)"
            ),
            "when": "Second",
        },
        block("FINAL(got)"),
    ]

    run = rlm_kernel.run("Look.", store, model=script(here, *replies))

    trace = rlm_kernel.load_trace(run.journal or "")
    assert run.answer == [40_000, 1]
    assert [(each.how, each.key, each.store) for each in trace.agents["0.1"].step(1).used] == [
        ("take", "text", 1),
        ("read", "a list", 0),
    ]
    assert [(each.how, each.key, each.store) for each in trace.agents["0.2"].step(1).used] == [
        ("write", "text", 2),
        ("read", "text", 2),
        ("read", "text", 1),
        ("delete", "text", 2),
        ("read", "text", 0),
    ]
    assert [trace.agents[id].context_store for id in ("0", "0.1", "0.2")] == [None, 1, 1]
    assert drawn(run) == [
        "agent 0.2 wrote store 2 key text",
        "key text read agent 0.2",
        "key text took agent 0.1",
        "store 2 key text read agent 0.2",
        "variable text of agent 0.2 read agent 0.2",
    ]
    found = savings_of(trace.tree).transfers
    assert [(each.source, each.target, each.name, each.tokens) for each in found if each.what == "result"] == [
        ("person", "0.1", "text", 10_000),
        ("person", "0.2", "text", 10_000),
    ]


def test_stores_are_numbered_in_each_run_anew(here: Path) -> None:
    code = "from rlm_kernel import Store\nnotes = Store()\nnotes.a = 1\ncontext.only('b').read('b')\nFINAL(1)"
    for _ in range(2):
        store = Store()
        store["b"] = "text"

        run = rlm_kernel.run("Look.", store, model=script(here, block(code)))

        used = rlm_kernel.load_trace(run.journal or "").agents["0"].step(1).used
        assert [(each.key, each.store) for each in used] == [("a", 2), ("b", 1)]


def test_the_record_has_the_size_of_a_whole_result_once_and_none_where_it_is_not_there(here: Path) -> None:
    store = Store()
    store["a"] = store["b"] = "text" * 1_000
    replies = [
        block("READ('a', chars=(0, 4))\ncontext.a"),
        block("whole, context = context, context.only('a')\nwhole.b"),
        block("context = whole\ncontext.pop('a')\ncontext.b\nFINAL(1)"),
    ]

    run = rlm_kernel.run("Look.", store, model=script(here, *replies))

    steps = rlm_kernel.load_trace(run.journal or "").agents["0"].steps
    assert [[(each.how, each.key, each.size) for each in step.used] for step in steps] == [
        [("read", "a", 1_000), ("take", "a", None)],
        [("take", "b", None)],
        [("take", "a", None), ("delete", "a", None), ("take", "b", 1_000)],
    ]
