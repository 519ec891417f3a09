"""Runs made up for the tests of the trace: builders for events, a whole run, and any events at all."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

from hypothesis import strategies as st

from rlm_kernel.trace.events import (
    KINDS,
    AgentFinished,
    AgentStarted,
    Asked,
    CallFinished,
    CallStarted,
    CellFinished,
    CellStarted,
    Event,
    Replied,
    RunFinished,
    RunStarted,
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


def agent_started(agent: str = "0", caller: str | None = None, question: str = "How many lines?") -> AgentStarted:
    return AgentStarted(
        agent=agent,
        depth=agent.count("."),
        caller=caller,
        question=question,
        context="str of 12 characters: 'a\\nb\\nc'",
        model="scripted:demo.py",
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


def tree_of(events: list[Event]) -> Tree:
    tree = Tree()
    for second, event in enumerate(events):
        tree.add(event, f"2026-01-31T12:00:{second % 60:02d}.000Z")
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
