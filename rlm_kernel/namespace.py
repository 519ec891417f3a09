"""
The names that are lent to every namespace: `llm_query` and its kin, `FINAL` and its kin, `SHOW_VARS`.

The same function objects stand in every namespace. Who is calling is a context variable, set by whoever runs the
cell, so that a thread that the cell starts is the same caller. What a query does is the caller's business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any, NoReturn, Protocol

from rlm_kernel.errors import FinalAnswer, UsageError
from rlm_kernel.store import Store
from rlm_kernel.values import Final


class Caller(Protocol):
    """The agent whose cell is running, as the lent names see it."""

    namespace: dict[str, Any]

    def query(self, prompts: Sequence[str], *, model: str | None) -> list[object]:
        """One result or exception for each prompt, in their order. Blocks; Stop gets through."""

    def aquery(self, prompts: Sequence[str], *, model: str | None) -> Awaitable[list[object]]: ...

    def show_variables(self) -> str: ...


CALLER: ContextVar[Caller | None] = ContextVar("rlm_caller", default=None)

_outside: Callable[[], Caller] | None = None


def set_outside_caller(find: Callable[[], Caller]) -> None:
    """Who is asking when no model's cell is running: the person, in a cell of their own."""
    global _outside
    _outside = find


_ABSENT: Any = object()


def llm_query(prompt: str, context: object = _ABSENT, *, model: str | None = None) -> str:
    """
    Ask a language model one question and get its text.

    The model sees the prompt and nothing else: here, at the deepest level, a `context` is a UsageError. Raises
    ModelError where the model cannot be reached, LimitExceeded where the run's budget is spent.
    """
    _no_context(context)
    (answer,) = _caller().query(_prompts([prompt]), model=model)
    return _or_raise(answer)


def llm_query_batched(
    prompts: Sequence[str],
    contexts: object = _ABSENT,
    *,
    model: str | None = None,
    return_exceptions: bool = False,
) -> list[str | Exception]:
    """
    Ask many questions at once, answers in the order of the questions.

    Where some fail, the others are not lost: with `return_exceptions=True` each failure stands in its place;
    otherwise the first is raised, with every result in its `results`.
    """
    _no_context(contexts)
    answers = _caller().query(_prompts(prompts), model=model)
    if not return_exceptions:
        for answer in answers:
            if isinstance(answer, BaseException):
                answer.results = answers  # type: ignore[attr-defined]
                raise answer from None
    return answers  # type: ignore[return-value]


async def allm_query(prompt: str, context: object = _ABSENT, *, model: str | None = None) -> str:
    """`llm_query` for cells that await; `asyncio.gather` over many of them runs them in parallel."""
    _no_context(context)
    (answer,) = await _caller().aquery(_prompts([prompt]), model=model)
    return _or_raise(answer)


def FINAL(value: object, *, literal: bool = False) -> NoReturn:
    """
    End here with this very object as the answer.

    A string that is exactly the name of a variable, or a key of a store in `context`, stands for what it names;
    `literal=True` returns the string itself.
    """
    if isinstance(value, str) and not literal and (found := _named(value)):
        raise FinalAnswer(Final(found[0], value))
    raise FinalAnswer(Final(value))


def FINAL_VAR(name: str) -> NoReturn:
    """End here with the object that the variable `name` holds."""
    found = _named(name) if isinstance(name, str) else None
    if found is None:
        raise NameError(f"FINAL_VAR takes the name of a variable as a string; there is none called {name!r}"[:300])
    raise FinalAnswer(Final(found[0], name))


def SHOW_VARS() -> str:
    """The variables that exist here: name, type, size, one line each."""
    return Listing(_caller().show_variables())


class Listing(str):
    """Text that shows as itself, not as a quoted string, when it is a cell's last value."""

    def __repr__(self) -> str:
        return str(self)


LENT: dict[str, Any] = {
    "llm_query": llm_query,
    "llm_query_batched": llm_query_batched,
    "allm_query": allm_query,
    "rlm_query": llm_query,
    "rlm_query_batched": llm_query_batched,
    "FINAL": FINAL,
    "FINAL_VAR": FINAL_VAR,
    "SHOW_VARS": SHOW_VARS,
}
"""`rlm_query` and `rlm_query_batched` are names that other scaffolds taught the models."""


def lend(namespace: dict[str, Any]) -> None:
    namespace.update(LENT)


def mend(namespace: dict[str, Any]) -> list[str]:
    """Put back what a cell deleted or overwrote; returns the names. `context` is data, and not ours to mend."""
    broken = [name for name, value in LENT.items() if namespace.get(name) is not value]
    for name in broken:
        namespace[name] = LENT[name]
    return broken


def _caller() -> Caller:
    caller = CALLER.get()
    if caller is not None:
        return caller
    if _outside is None:
        raise UsageError("llm_query needs the rlm kernel: choose it for the notebook, or run %load_ext rlm_kernel")
    return _outside()


def _named(name: str) -> tuple[object] | None:
    namespace = _caller().namespace
    context = namespace.get("context")
    if isinstance(context, Store) and name in context:
        return (context[name],)
    if name.isidentifier() and name not in LENT and name in namespace:
        return (namespace[name],)
    return None


def _no_context(context: object) -> None:
    if context is not _ABSENT:
        raise UsageError("llm_query takes only a prompt here: put the text that the model must see into the prompt")


def _prompts(prompts: Sequence[str]) -> list[str]:
    if isinstance(prompts, str | bytes) or not hasattr(prompts, "__iter__"):
        raise TypeError("llm_query_batched takes a list of prompts; for one prompt there is llm_query(prompt)")
    checked = list(prompts)
    for prompt in checked:
        if not isinstance(prompt, str):
            raise TypeError(f"a prompt is a string, not {type(prompt).__name__}; put what is needed into the text")
        if not prompt.strip():
            raise ValueError("the prompt is empty")
    return checked


def _or_raise(answer: object) -> str:
    if isinstance(answer, BaseException):
        raise answer from None
    return answer  # type: ignore[return-value]
