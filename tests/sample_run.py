"""Runs made up for the tests of the trace: builders for events, a whole run, and any events at all."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from rlm_kernel.trace.events import (
    KINDS,
    AgentFinished,
    AgentStarted,
    Asked,
    AskFailed,
    CallFinished,
    CallStarted,
    CellFinished,
    CellStarted,
    Event,
    Loaded,
    Replied,
    RunFinished,
    RunStarted,
    StateFinished,
    StateStarted,
    Used,
)
from rlm_kernel.trace.tree import Tree
from rlm_kernel.values import Attempt, CellError, Message, Output, Usage

USAGE = Usage(prompt_tokens=100, completion_tokens=20, cached_tokens=64, cost_usd=0.001)


def run_started() -> RunStarted:
    return RunStarted(
        run="20260131-120000-abcd",
        door="magic",
        model="scripted:demo.py",
        limits={"max_steps": 30, "max_cost_usd": None},
        versions={"rlm_kernel": "0.1.0", "python": "3.11.7"},
    )


def agent_started(
    agent: str = "0",
    caller: str | None = None,
    question: str = "How many lines?",
    *,
    in_step: int | None = None,
    schema: str | None = None,
    tools: tuple[str, ...] = (),
    isolation: str = "thread",
) -> AgentStarted:
    return AgentStarted(
        agent=agent,
        depth=agent.count("."),
        caller=caller,
        question=question,
        context="str of 12 characters: 'a\\nb\\nc'",
        model="scripted:demo.py",
        step=in_step,
        schema=schema,
        tools=tools,
        isolation=isolation,
    )


def step(
    number: int,
    reply: str,
    source: str | None = None,
    outputs: tuple[Output, ...] = (),
    *,
    agent: str = "0",
    error: CellError | None = None,
    final: bool = False,
    calls: tuple[Event, ...] = (),
    usage: Usage = USAGE,
    new: tuple[Message, ...] | None = None,
) -> list[Event]:
    """Everything that happens in one whole step."""
    asked = Asked(
        agent=agent,
        step=number,
        new=new if new is not None else (Message("user", f"message {number}"),),
        request_sha=f"{number:064d}",
    )
    replied = Replied(
        agent=agent,
        step=number,
        text=reply,
        model="demo-1",
        usage=usage,
        finish_reason="stop",
        first_token_s=0.1,
        seconds=0.5,
    )
    if source is None:
        return [asked, replied]
    finished = CellFinished(agent=agent, step=number, outputs=outputs, seconds=0.25, error=error, final=final)
    return [asked, replied, CellStarted(agent=agent, step=number, source=source), *calls, finished]


def call(number: int, prompt: str, text: str, *, agent: str = "0", in_step: int | None = 1) -> tuple[Event, Event]:
    return (
        CallStarted(
            agent=agent,
            step=in_step,
            call=number,
            prompt=prompt,
            model="scripted:demo.py",
            request_sha=f"{number:064d}",
        ),
        CallFinished(
            agent=agent,
            step=in_step,
            call=number,
            text=text,
            model="demo-1",
            usage=Usage(prompt_tokens=7, completion_tokens=3),
            finish_reason="stop",
            first_token_s=None,
            seconds=0.2,
            attempts=(Attempt("rate_limit", 429, 1.5),),
        ),
    )


def fenced(source: str, before: str = "I look first.") -> str:
    return f"{before}\n\n```repl\n{source}\n```"


def stream(text: str, name: str = "stdout") -> Output:
    return {"output_type": "stream", "name": name, "text": text}


def shown(text: str, count: int | None = None) -> Output:
    return {
        "output_type": "execute_result",
        "data": {"text/plain": text},
        "metadata": {},
        "execution_count": count,
    }


def agent_finished(agent: str = "0", answer: str | None = "int: 3") -> AgentFinished:
    return AgentFinished(agent=agent, ending="final", answer=answer)


def run_finished(steps: int = 3, calls: int = 4) -> RunFinished:
    return RunFinished(ending="final", steps=steps, calls=calls, usage=USAGE, unpriced_calls=1, seconds=2.5)


def whole_run() -> list[Event]:
    """Three steps: one that raised, one with a completion, one that answered."""
    error = CellError("NameError", "name 'contxt' is not defined", "line 1\nNameError: name 'contxt' is not defined")
    raised: Output = {"output_type": "error", "ename": error.name, "evalue": error.message, "traceback": ["line 1"]}
    return [
        run_started(),
        agent_started(),
        *step(1, fenced("contxt[:9]"), "contxt[:9]", (raised,), error=error),
        *step(
            2,
            fenced("n = context.count('\\n')\nprint(llm_query(f'is {n} many?'))\nn + 1", "A typo."),
            "n = context.count('\\n')\nprint(llm_query(f'is {n} many?'))\nn + 1",
            (stream("No, not many.\n"), shown("3", 7)),
            calls=call(1, "is 2 many?", "No, not many.", in_step=2),
        ),
        *step(3, fenced("FINAL(n + 1)", "Now I know."), "FINAL(n + 1)", final=True),
        agent_finished(),
        run_finished(),
    ]


def recursive_run() -> list[Event]:
    """
    The root asks three agents at once, of which the second starts first: 0.1 asks 0.1.1 and answers, 0.2 is stopped,
    0.3 fails. Then a person's own cell asks 0.10.
    """
    cell = step(1, fenced("xs = llm_query_batched(qs, cs)", "I ask."), "xs = llm_query_batched(qs, cs)")
    nested = step(1, fenced("FINAL(llm_query('Why?', context=1))", "Deeper."), "FINAL(llm_query('Why?', context=1))")
    nested = [replace(event, agent="0.1") for event in nested]
    stopped = AgentFinished(agent="0.2", ending="interrupted", answer=None, message="stopped from outside")
    failed = AgentFinished(agent="0.3", ending="error", answer=None, message="the provider has gone")
    return [
        run_started(),
        agent_started(),
        *cell[:3],  # at 2 to 4 s
        agent_started("0.2", "0", "And this?", in_step=1),  # 5 s
        agent_started("0.1", "0", "Which?", in_step=1, schema="int", tools=("find", "load"), isolation="process"),
        agent_started("0.3", "0", "Or that?", in_step=1),
        *nested[:3],  # 8 to 10 s
        agent_started("0.1.1", "0.1", "Why?", in_step=1),  # 11 s
        *step(1, fenced("FINAL(7)", "So."), "FINAL(7)", final=True, agent="0.1.1"),
        agent_finished("0.1.1", "int: 7"),  # 16 s
        nested[3],
        agent_finished("0.1", "int: 7"),  # 18 s
        AskFailed(agent="0.3", step=1, kind="server", message="500"),
        failed,  # 20 s
        step(1, "", agent="0.2")[0],
        stopped,  # 22 s
        cell[3],
        agent_started("0.10", "0", "What now?"),  # 24 s
        *step(1, "Nothing.", agent="0.10"),
        AgentFinished(agent="0.10", ending="text", answer="Nothing."),  # 27 s
        agent_finished(),  # 28 s
        RunFinished(ending="final", steps=4, calls=5, usage=USAGE, unpriced_calls=0, seconds=28.0),
    ]


def state(
    number: int, name: str, *during: Event, visit: int = 1, agents: tuple[str, ...] = ("one",), **end: Any
) -> list[Event]:
    """All of a state of a workflow in the root's first cell; without `end`, it has none."""
    began = StateStarted(agent="0", step=1, number=number, state=name, agents=agents, visit=visit)
    finished = [StateFinished(agent="0", step=1, number=number, **end)] if end else []
    return [began, *during, *finished]


def workflow_run() -> list[Event]:
    """
    A cell that runs a workflow: 0.1 and a completion draft, an agent that takes text checks, 0.2 and 0.4 draft once
    more while 0.3 is asked by a thread outside the workflow, and printing fails.
    """
    cell = step(1, fenced("flow.run(store)", "I run it."), "flow.run(store)")
    asked, answered = call(1, "Short?", "Yes.", in_step=1)

    def sub(id: str, number: int | None) -> list[Event]:
        started = replace(agent_started(id, "0", f"Draft {id}", in_step=1), context=None, state=number)
        return [started, *step(1, fenced("FINAL('x')"), "FINAL('x')", agent=id, final=True), agent_finished(id, "x")]

    loaded = (Loaded("draft", 300), Loaded("draft", 310), Loaded("", 20))
    return [
        run_started(),
        agent_started(),
        *cell[:3],
        *state(
            1,
            "draft",
            *sub("0.1", 1),
            replace(asked, state=1),
            answered,
            attempts=1,
            next="check",
            result="str, 1 char: 'x'",
        ),
        Used(agent="0", step=1, how="write", key="draft", size=300),
        *state(
            2,
            "check",
            agents=("law", "style"),
            attempts=2,
            next="draft",
            result="dict, 2 items",
            problems=("SchemaMismatch: no list",),
            loaded=loaded,
            typed_tokens=40,
        ),
        *state(
            3,
            "draft",
            *sub("0.2", 3),
            *sub("0.3", None),
            *sub("0.4", 3),
            visit=2,
            attempts=1,
            next="print",
            result="str, 1 char: 'x'",
        ),
        *state(4, "print", attempts=1, error="ValueError: no <b>paper</b>"),
        cell[3],
        agent_finished(),
        run_finished(),
    ]


def tree_of(events: list[Event]) -> Tree:
    """One event a second."""
    tree, began = Tree(), datetime(2026, 1, 31, 12, tzinfo=UTC)
    for second, event in enumerate(events):
        tree.add(event, (began + timedelta(seconds=second)).isoformat(timespec="milliseconds"))
    return tree


TEXT = st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(["x" * 1024, "é\ud800" * 900])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXT | st.sampled_from(["$body", "$$", "$float"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def _any(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field. Not by `st.from_type`: texts have lone surrogates here, and NaN would equal nothing."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return st.builds(
            hint, **{name: _any(kind) for name, kind in typing.get_type_hints(hint).items() if name != "type"}
        )
    if origin is typing.Literal:
        return st.sampled_from(inner)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([_any(kind) for kind in inner])
    if origin is tuple:
        return st.lists(_any(inner[0]), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(TEXT | st.just("$body"), _any(inner[1]), max_size=3)
    return {
        str: TEXT,
        bool: st.booleans(),
        int: st.integers(),
        float: st.floats(allow_nan=False),
        type(None): st.none(),
        Any: JSON,
    }[hint]


EVENTS = st.lists(st.one_of([_any(kind) for kind in KINDS.values()]), max_size=6)
