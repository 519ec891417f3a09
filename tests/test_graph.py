"""The graph of a run: who wrote and who read what, from the record, and its three forms."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel.trace.events import (
    AgentFinished,
    AgentStarted,
    Event,
    Given,
    Loaded,
    StateFinished,
    StateStarted,
    Used,
)
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views import Edge, Graph, Node, graph_bundle, graph_data, graph_of, graph_text, mermaid
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
    tree_of,
    workflow_run,
)


def asked(agent: str, caller: str, in_step: int | None, name: str | None = None) -> AgentStarted:
    context = None if name is None else "list, 3 items"
    return replace(agent_started(agent, caller, in_step=in_step), context=context, context_name=name)


def used(agent: str, number: int | None, how: str, key: str, tokens: int = 0) -> Used:
    return Used(agent=agent, step=number, how=how, key=key, tokens=tokens)


def cell(number: int, source: str, *during: Event, agent: str = "0", final: bool = False) -> list[Event]:
    *before, end = step(number, fenced(source), source, agent=agent, final=final)
    return [*before, *during, end]


def whole(agent: str, *during: Event) -> list[Event]:
    """All of a sub-agent of one step, but its beginning."""
    return [*cell(1, "FINAL(1)", *during, agent=agent, final=True), agent_finished(agent)]


def workflow() -> list[Event]:
    """Agent 0 lists, has the list ranked and checked, and answers; a person wrote the text beforehand."""
    return [
        run_started(),
        replace(agent_started(), context=None),
        used("0", None, "write", "contract"),
        *cell(1, "text = READ('contract')", used("0", 1, "read", "contract", 300)),
        *cell(2, "WRITE('risks', ['a', 'b'])", used("0", 2, "write", "risks")),
        *cell(
            3,
            "ranked = llm_query('Rank', context=context.risks)",
            used("0", 3, "take", "risks"),
            asked("0.1", "0", 3, "context['risks']"),
            *whole("0.1"),
        ),
        *cell(
            4,
            "checked = llm_query('Check', context=ranked)",
            asked("0.2", "0", 4, "ranked"),
            *whole("0.2", used("0.2", 1, "read", "risks", 812)),
        ),
        *cell(5, "READ('contract', lines=(1, 9))", used("0", 5, "read", "contract", 50)),
        *cell(6, "FINAL(checked)", used("0", 6, "delete", "risks"), final=True),
        agent_finished(),
        run_finished(),
    ]


EXPECTED = Graph(
    nodes=(
        Node("agent 0", "agent", "agent 0"),
        Node("key contract", "key", "contract"),
        Node("key risks", "key", "risks"),
        Node("person", "person", "person"),
        Node("agent 0.1", "agent", "agent 0.1"),
        Node("agent 0.2", "agent", "agent 0.2"),
        Node("variable ranked of agent 0", "variable", "ranked of agent 0"),
    ),
    edges=(
        Edge("key contract", "agent 0", "read", (1, 5), 2, 350),
        Edge("agent 0", "key risks", "wrote", (2,)),
        Edge("key risks", "agent 0", "took", (3,)),
        Edge("agent 0", "key risks", "deleted", (6,)),
        Edge("person", "key contract", "wrote", (None,)),
        Edge("key risks", "agent 0.1", "handed over", (3,)),
        Edge("agent 0.1", "agent 0", "answer", (3,), names=("ranked",)),
        Edge("variable ranked of agent 0", "agent 0.2", "handed over", (4,)),
        Edge("key risks", "agent 0.2", "read", (1,), 1, 812),
        Edge("agent 0.2", "agent 0", "answer", (4,), names=("checked",)),
        Edge("agent 0", "person", "answer"),
        Edge("agent 0", "variable ranked of agent 0", "assigned", (3,)),
    ),
)

TEXT_OF_IT = """\
agent 0
  wrote, step 2 → risks
  deleted, step 6 → risks
  answer → person
  assigned, step 3 → ranked of agent 0
contract
  read, 350 tokens, steps 1, 5 → agent 0
risks
  took, step 3 → agent 0
  handed over, step 3 → agent 0.1
  read, 812 tokens, step 1 → agent 0.2
person
  wrote, a person's cell → contract
agent 0.1
  answer as ranked, step 3 → agent 0
agent 0.2
  answer as checked, step 4 → agent 0
ranked of agent 0
  handed over, step 4 → agent 0.2"""


def test_the_graph_of_a_workflow_is_the_one_written_by_hand():
    found = graph_of(tree_of(workflow()))

    assert set(found.nodes) == set(EXPECTED.nodes)
    assert found.edges == EXPECTED.edges


def test_the_graph_as_text():
    text = graph_text(graph_of(tree_of(workflow())))

    assert sorted(text.split("\n")) == sorted(TEXT_OF_IT.split("\n"))
    assert text.startswith("agent 0\n  wrote, step 2 → risks\n")


def test_the_graph_as_mermaid():
    graph = Graph(
        (Node("a", "agent", "agent 0"), Node("k", "key", "risks"), Node("p", "person", "person")),
        (Edge("a", "k", "wrote", (2,)), Edge("k", "a", "read", (3, 4), 5, 812)),
    )

    assert mermaid(graph).split("\n") == [
        "flowchart LR",
        '    n0["agent 0"]',
        '    n1[("risks")]',
        '    n0 -->|"wrote, step 2"| n1',
        '    n1 -->|"read 5#215;, 812 tokens, steps 3, 4"| n0',
        '    n2(("person"))',
    ]


def test_the_graph_as_data_is_json():
    found = graph_data(graph_of(tree_of(workflow())))

    assert json.loads(json.dumps(found)) == found
    assert found["edges"][4] == {
        "source": "person", "target": "key contract", "how": "wrote", "steps": [None], "times": 1, "tokens": 0,
        "names": [],
    }  # fmt: skip


def test_a_bundle_has_the_drawing_and_no_html_that_would_hide_it():
    found = graph_bundle(tree_of(workflow()))

    assert set(found) == {"text/vnd.mermaid", "text/plain"}


def answers(source: str, agents: int = 1, final: bool = False) -> list[tuple[str, ...]]:
    events: list[Event] = []
    for number in range(1, agents + 1):
        events += [asked(f"0.{number}", "0", 1), *whole(f"0.{number}")]
    run = [run_started(), replace(agent_started(), context=None), *cell(1, source, *events, final=final)]
    return [edge.names for edge in graph_of(tree_of(run)).edges if edge.how == "answer"]


@pytest.mark.parametrize(
    "source",
    [
        "x = llm_query('q')",
        "y = 1\nx: list = rlm_query('q', context=y)\nprint(x)",
        "x = await allm_query('q')",
        "%matplotlib inline\nx = llm_query('q')",
    ],
)
def test_an_answer_is_named_by_the_variable_that_it_was_assigned_to(source: str):
    assert answers(source) == [("x",)]


def test_answers_of_one_cell_are_named_in_their_order():
    assert answers("x = llm_query('q')\ny = llm_query('r')", 2) == [("x",), ("y",)]
    assert answers("xs = llm_query_batched(qs)", 3) == [("xs",)] * 3


@pytest.mark.parametrize(
    ("source", "agents"),
    [
        ("x = llm_query('q')[0]", 1),
        ("x = y = llm_query('q')", 1),
        ("if a:\n    x = llm_query('q')\nelse:\n    y = llm_query('q')", 1),
        ("for q in qs:\n    x = llm_query(q)", 1),
        ("def f():\n    x = llm_query('q')\nf()", 1),
        ("x = llm_query('q')\nhelper()", 2),
        ("x = llm_query(llm_query('q'))", 2),
        ("ask = llm_query\nx = llm_query('q')\ny = ask('r')", 2),
        ("x, y = llm_query_batched(qs)", 2),
        ("xs = llm_query_batched(qs)\nllm_query('q')", 3),
        ("x = llm_query('q'", 1),
    ],
)
def test_where_a_cell_leaves_a_doubt_an_answer_has_no_name(source: str, agents: int):
    assert answers(source, agents) == [()] * agents


def test_what_stands_after_a_final_names_no_answer():
    assert answers("helper()\nFINAL(1)\nx = llm_query('q')", final=True) == [()]
    assert answers("x = llm_query('q')\nFINAL(x)", final=True) == [("x",)]


def test_a_cell_that_raised_names_no_answer():
    *before, end = cell(1, "x = llm_query('q')\n1 / 0", asked("0.1", "0", 1), *whole("0.1"))
    raised = replace(end, error=CellError("ZeroDivisionError", "", ""))

    for torn_or_raised in ([], [raised]):
        found = graph_of(tree_of([agent_started(), *before, *torn_or_raised]))

        assert [edge.names for edge in found.edges if edge.how == "answer"] == [()]


def test_an_agent_that_gave_no_answer_has_no_such_edge():
    root = replace(agent_started(), context=None)
    run = [root, asked("0.1", "0", 1), AgentFinished(agent="0.1", ending="error", answer=None)]

    found = graph_of(tree_of(run))

    assert (found.edges, [node.label for node in found.nodes]) == ((), ["agent 0", "agent 0.1"])


def test_an_item_of_a_context_that_is_a_plain_dict_is_no_key_of_a_store():
    root = replace(agent_started(), context="`context`: dict, 3 items")
    run = [root, *cell(1, "llm_query('q', context=context['a'])", asked("0.1", "0", 1, "context['a']"))]

    ends = [edge.source for edge in graph_of(tree_of(run)).edges if edge.target == "agent 0.1"]

    assert ends == ["variable context['a'] of agent 0"]


def test_what_a_persons_own_cell_handed_over_and_got_is_the_persons():
    found = graph_of(tree_of(recursive_run()))

    assert Edge("person", "agent 0.10", "handed over", (None,)) in found.edges
    assert Edge("agent 0.10", "person", "answer", (None,)) in found.edges


def fan_out(agents: int, source: str = "xs = llm_query_batched(qs, [part] * n)") -> list[Event]:
    below: list[Event] = []
    for number in range(1, agents + 1):
        id = f"0.{number}"
        child = [asked(f"{id}.1", id, 1, "part"), *whole(f"{id}.1", used(f"{id}.1", 1, "read", "risks", 10))]
        below += [asked(id, "0", 1, "part"), *cell(1, "x = llm_query('q', context=part)", *child, agent=id)]
        below.append(agent_finished(id))
    return [run_started(), replace(agent_started(), context=None), *cell(1, source, *below), agent_finished()]


def test_many_sub_agents_of_one_step_are_one_node_with_all_below_them():
    found = graph_of(tree_of(fan_out(100)))

    assert [node for node in found.nodes if node.kind.startswith("agent")] == [
        Node("agent 0", "agent", "agent 0"),
        Node("agents 0.1", "agents", "100 agents 0.1 … 0.100 and 100 below"),
    ]
    assert set(found.edges) == {
        Edge("variable part of agent 0", "agents 0.1", "handed over", (1,), 100),
        Edge("variable part of agents 0.1", "agents 0.1", "handed over", (1,), 100),
        Edge("key risks", "agents 0.1", "read", (1,), 100, 1_000),
        Edge("agents 0.1", "agent 0", "answer", (1,), 100, 0, ("xs",)),
        Edge("agent 0", "person", "answer"),
    }


def test_a_dozen_sub_agents_of_one_step_stay_apart():
    assert len([node for node in graph_of(tree_of(fan_out(12))).nodes if node.kind == "agent"]) == 25
    assert len([node for node in graph_of(tree_of(fan_out(13))).nodes if node.kind == "agent"]) == 1


HOSTILE = [
    '"]; click n0 call alert() %%{init: {"theme": "x"}}%%',
    "<img src=x onerror=alert(1)>&lt;",
    "style a:#x;",
    "direction LR\nend\nsubgraph x",
    "`code` **b** ``` \x1b[31mred \x07 \u202e \ud800",
    "",
]
# What our own source consists of: a name of ours, its shape, and within quotes what cannot end them.
LINE = re.compile(
    r'flowchart LR|    (?:n\d+|more)(?:\[\(?"|\(\["|\(\("|\{\{"|\[")(?P<label>[^"]*)(?:"\)?\]|"\]\)|"\)\)|"\}\})'
    r'|    n\d+ -->\|"(?P<edge>[^"]*)"\| n\d+'
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_but_a_label(name: str):
    run = [
        agent_started(name or "0"),
        *step(1, "r", "s", agent=name or "0"),
        used(name or "0", 1, "write", name),
        used(name or "0", 1, name, name),
        replace(agent_started("9", name or "0", in_step=1), context_name=name),
    ]
    graph = graph_of(tree_of(run))

    lines = mermaid(graph).split("\n")

    for line in lines:
        found = LINE.fullmatch(line)
        assert found is not None
        assert re.fullmatch(r"(?:[A-Za-z0-9 .,_]|#\d+;)*", found["label"] or found["edge"] or "")
        assert "direction" not in line
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e\ud800]", graph_text(graph))


def test_a_graph_that_is_too_large_to_draw_is_cut_and_says_so():
    writes = [used("0", 1, "write", f"{'é' * 50}{number}") for number in range(5_000)]
    graph = graph_of(tree_of([agent_started(), *writes]))

    drawn, text = mermaid(graph), graph_text(graph)

    assert len(drawn) < 50_000
    assert re.search(r"more\[\"#8230; 4,\d\d\d more edges\"\]$", drawn)
    assert text.endswith("… 4,701 more edges")
    assert len(graph_data(graph)["edges"]) == 5_001


def test_agents_in_a_ring_are_drawn_once():
    run = [agent_started("1", "2", in_step=1), agent_started("2", "1", in_step=1), agent_finished("1")]

    assert {edge.how for edge in graph_of(tree_of(run)).edges} == {"handed over", "answer"}


def test_many_agents_of_one_step_that_hang_in_a_ring_are_one_node():
    run = [
        agent_started("0", "0.1", in_step=1),
        *(asked(f"0.{n}", "0", 1) for n in range(1, 14)),
        agent_finished("0.2"),
    ]

    assert [node.label for node in graph_of(tree_of(run)).nodes] == ["13 agents 0.1 … 0.13 and 1 below"]


def test_a_result_that_went_as_text_to_an_agent_of_a_workflow_is_drawn_with_its_tokens():
    found = graph_of(tree_of(workflow_run()))

    assert Node("state check of agent 0", "state", "state check of agent 0") in found.nodes
    assert [edge for edge in found.edges if edge.how == "as text"] == [
        Edge("key draft", "state check of agent 0", "as text", (1,), 2, 610)
    ]
    assert '{{"state check of agent 0"}}' in mermaid(found)


def test_what_the_agents_of_a_state_found_goes_by_the_state_to_the_result_of_its_name():
    edges = graph_of(tree_of(workflow_run())).edges

    assert [(edge.source, edge.how, edge.target) for edge in edges if "0.1" in edge.source or edge.how == "wrote"] == [
        ("state draft of agent 0", "wrote", "key draft"),
        ("agent 0.1", "answer", "state draft of agent 0"),
    ]


def persons_workflow() -> list[Event]:
    """In a person's own cell: 0.1 takes the contract from the store that it was handed, and the state ends."""
    child = replace(agent_started("0.1", "0"), context="`context`: Store, 1 item", state=1)
    return [
        run_started(),
        replace(agent_started(), context=None),
        StateStarted(agent="0", step=None, number=1, state="draft", agents=("one",)),
        child,
        *whole("0.1", replace(used("0.1", 1, "take", "contract"), size=500)),
        replace(used("0", None, "write", "draft"), size=9),
        StateFinished(agent="0", step=None, number=1, attempts=1),
        AgentFinished(agent="0", ending="final", answer=None),
    ]


def test_the_workflow_of_a_persons_own_cell_is_drawn_without_the_person():
    assert graph_text(graph_of(tree_of(persons_workflow()))).splitlines() == [
        "state draft",
        "  wrote → draft",
        "agent 0.1",
        "  answer → state draft",
        "contract",
        "  took, step 1 → agent 0.1",
    ]


def of_store(event: Used, store: int) -> Used:
    return replace(event, store=store)


def test_keys_of_different_stores_are_different_and_numbered_in_the_order_of_the_agents():
    run = [
        replace(agent_started(), context=None),
        *cell(1, "x", used("0", 1, "take", "contract"), of_store(used("0", 1, "write", "contract"), 3)),
        *cell(2, "y", of_store(used("0", 2, "read", "contract", 7), 2)),
    ]

    found = graph_of(tree_of(run))

    assert [node for node in found.nodes if node.kind == "key"] == [
        Node("key contract", "key", "contract"),
        Node("store 2 key contract", "key", "contract of store 2"),
        Node("store 3 key contract", "key", "contract of store 3"),
    ]
    assert found.edges == (
        Edge("key contract", "agent 0", "took", (1,)),
        Edge("agent 0", "store 2 key contract", "wrote", (1,)),
        Edge("store 3 key contract", "agent 0", "read", (2,), 1, 7),
    )


def test_a_variable_that_was_read_is_its_agents_own_and_an_object_without_a_name_is_not_drawn():
    def reads(agent: str) -> list[Event]:
        keys = ["text", "a list"]
        return [of_store(used(agent, 1, "read", key, 300), 0) for key in keys]

    run = [
        replace(agent_started(), context=None),
        of_store(used("0", None, "read", "text", 5), 0),
        *cell(1, "x", *(event for id in ("0.1", "0.2") for event in [asked(id, "0", 1), *whole(id, *reads(id))])),
    ]

    found = graph_of(tree_of(run))

    assert [node.label for node in found.nodes if node.kind in ("key", "variable")] == [
        "text of person",
        "text of agent 0.1",
        "text of agent 0.2",
    ]
    assert [edge for edge in found.edges if edge.how == "read"] == [
        Edge("variable text of person", "person", "read", (None,), 1, 5),
        Edge("variable text of agent 0.1", "agent 0.1", "read", (1,), 1, 300),
        Edge("variable text of agent 0.2", "agent 0.2", "read", (1,), 1, 300),
    ]


def test_a_key_that_was_handed_over_is_of_the_callers_store():
    run = [
        replace(agent_started(), context=None),
        replace(asked("0.1", "0", 1, "notes"), context_store=2),
        asked("0.1.1", "0.1", 1, "context['risks']"),
    ]

    edges = graph_of(tree_of(run)).edges

    assert Edge("store 2 key risks", "agent 0.1.1", "handed over", (1,)) in edges


def kept_before(**writers: list[object]) -> Given:
    """What a record keeps of the root's store, where each key was written once, by whom, in which run."""
    keys = {key: {"entries": [[1, who, 1, "list", 2, None, *run]]} for key, (who, *run) in writers.items()}
    return Given(agent="0", name="context", description="Store", form="results", value=json.dumps({"keys": keys}))


def test_who_had_written_before_the_run_what_is_used_in_it_is_drawn():
    run = [
        replace(agent_started(), context=None),
        kept_before(
            contract=["person", None, 3],
            clauses=["0.2", "20261121-161343-abd707", None],
            older=["0"],
            text=["person", None, None],
            handed=["person", None, None],
            anew=["person", None, None],
            unused=["person", None, None],
        ),
        *cell(
            1,
            "x",
            used("0", 1, "take", "clauses"),
            used("0", 1, "write", "clauses"),
            used("0", 1, "write", "anew"),
            used("0", 1, "take", "anew"),
            used("0", 1, "delete", "older"),
            of_store(used("0", 1, "take", "unused"), 2),
            StateStarted(agent="0", step=1, number=1, state="draft", agents=("one",)),
            StateFinished(agent="0", step=1, number=1, attempts=1, loaded=(Loaded("text", 7),)),
            asked("0.1", "0", 1, "context['handed']"),
            *whole("0.1", used("0.1", 1, "read", "contract", 5), used("0.1", 1, "read", "not kept", 5)),
        ),
    ]

    edges = graph_of(tree_of(run)).edges

    assert [edge for edge in edges if edge.how == "wrote, before this run"] == [
        Edge("agent 0.2 of run abd707", "key clauses", "wrote, before this run"),
        Edge("agent 0 of an earlier run", "key older", "wrote, before this run"),
        Edge("person", "key text", "wrote, before this run"),
        Edge("person", "key handed", "wrote, before this run"),
        Edge("person", "key contract", "wrote, before this run"),
    ]


@pytest.mark.parametrize("value", ["", "[", "[1]", '{"keys": [1]}', '{"keys": {"k": {"entries": [[1]]}}}', "[" * 9_999])
def test_what_is_no_store_that_was_kept_has_no_writers(value: str):
    given = Given(agent="0", name="context", description="Store", form="results", value=value)
    run = [replace(agent_started(), context=None), given, *cell(1, "x", used("0", 1, "take", "k"))]

    assert [edge.how for edge in graph_of(tree_of(run)).edges] == ["took"]


def test_an_agent_of_a_state_that_used_nothing_of_its_store_was_handed_it_all_the_same():
    run = [event for event in persons_workflow() if not (isinstance(event, Used) and event.agent == "0.1")]

    edges = graph_of(tree_of(run)).edges

    assert Edge("state draft of agent 0", "agent 0.1", "handed over") in edges
    assert not [edge for edge in graph_of(tree_of(persons_workflow())).edges if edge.how == "handed over"]


def test_what_went_as_text_is_of_the_store_that_the_workflow_writes_into():
    run = [of_store(event, 2) if isinstance(event, Used) else event for event in workflow_run()]

    edges = graph_of(tree_of(run)).edges

    assert [edge.source for edge in edges if edge.how == "as text"] == ["store 2 key draft"]


def test_a_graph_of_nothing():
    assert graph_of(Tree()) == Graph()
    assert mermaid(Graph()) == "flowchart LR"
    assert graph_text(Graph()) == "nothing was written, read or handed over"


@given(EVENTS, st.lists(st.builds(used, TEXT, st.none() | st.integers(), TEXT, TEXT, st.integers()), max_size=3))
@settings(max_examples=150, deadline=None)
def test_whatever_a_record_says_it_is_drawn(events: list[Event], more: list[Event]):
    graph = graph_of(tree_of([*events, *more]))

    assert all(LINE.fullmatch(line) for line in mermaid(graph).split("\n"))
    graph_text(graph).encode()
    json.dumps(graph_data(graph), allow_nan=False).encode()


def large_run() -> list[Event]:
    """A thousand agents, ten steps each; half of them asked one after the other."""
    events: list[Event] = [run_started(), agent_started()]
    for n in range(1, 1_000):
        id = f"0.{n}"
        events += step(n, "r", f"x{n} = llm_query('q', context=part)")[:-1]
        events.append(asked(id, "0", min(n, 500), "part"))
        for number in range(1, 11):
            source = "part = part + 1\nprint(READ('risks'))"
            events += cell(number, source, used(id, number, "read", f"key {number % 3}", 5), agent=id)
        events.append(agent_finished(id))
    return events


def test_the_graph_of_a_thousand_agents_is_drawn_while_a_person_waits():
    tree = tree_of(large_run())
    begun = time.thread_time()

    graph_bundle(tree)

    assert time.thread_time() - begun < 2.0
