"""`llm_query` and its kin: what they take is checked here; what a query does is the caller's business."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Unpack

from rlm_kernel import queries
from rlm_kernel.namespace.caller import caller
from rlm_kernel.queries import Failed, Options


def llm_query(prompt: str, context: object = None, **options: Unpack[Options]) -> Any:
    """
    Ask a sub-agent, and get the very object that it passes to FINAL.

    It has a namespace of its own, in which `context` is the object given here, by reference. Without a context it may
    answer in plain text. At the deepest level (`max_depth`) there is one plain completion instead, whose answer is
    text, or with a schema what the text holds; a `context` or `tools` there is a UsageError.

    Options:
        model           another model than the one that is set for this depth
        schema          the form of the answer: a type, or a JSON Schema as a dict
        tools           functions that stand in the sub-agent's namespace under their names; a list, or a dict
        isolation       "process" runs its cells in a worker process, "thread" in this one
        max_steps, max_calls, max_tokens, max_cost_usd, max_seconds     what is left of the caller's holds besides
        max_read_tokens     of data that the sub-agent may see

    Raises ModelError, LimitExceeded, NoAnswer or RunInterrupted, with the sub-agent's id; TypeError or ValueError
    where what is given here is no question, and ContextBudgetExceeded where the question holds more than the sub-agent
    may read, before anything is asked. Where a limit ended it and it had set a variable `answer`, that is returned,
    and a note on stderr says so.
    """
    return _or_raise(*caller().query(queries.one(prompt, context, options)))


def llm_query_batched(
    prompts: Iterable[str],
    contexts: Iterable[object] | None = None,
    *,
    return_exceptions: bool = False,
    **options: Unpack[Options],
) -> list[Any]:
    """
    `llm_query` for many prompts at once, each with its context, answers in the order of the prompts.

    Where some fail, the others are not lost: with `return_exceptions=True` each failure stands in its place;
    otherwise the first is raised, with every result in its `results`.
    """
    answers = caller().query(queries.many(prompts, contexts, options))
    values = [answer.error if isinstance(answer, Failed) else answer for answer in answers]
    if not return_exceptions:
        for answer in answers:
            if isinstance(answer, Failed):
                answer.error.results = values  # type: ignore[attr-defined]
                raise answer.error from None
    return values


async def allm_query(prompt: str, context: object = None, **options: Unpack[Options]) -> Any:
    """`llm_query` for cells that await; `asyncio.gather` over many of them runs them in parallel."""
    return _or_raise(*await caller().aquery(queries.one(prompt, context, options)))


def _or_raise(answer: object) -> Any:
    if isinstance(answer, Failed):
        raise answer.error from None
    return answer
