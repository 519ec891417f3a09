"""
A question as `llm_query` was given it: checked as far as its words go, before anything is asked or spent.

What it means, a sub-agent or a completion, is for the agent that asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from rlm_kernel.errors import RLMError
from rlm_kernel.limits import Limits
from rlm_kernel.values import plain

Isolation = Literal["thread", "process"]
Tools = Iterable[Callable[..., Any]] | Mapping[str, Callable[..., Any]]

OF_AGENT = ("max_steps", "max_read_tokens")
"""Limits that are counted for each agent by itself, and in no ledger."""
LIMITS = (*OF_AGENT, "max_calls", "max_tokens", "max_cost_usd", "max_seconds")
"""Those that one question can have of its own."""


class Options(TypedDict, total=False):
    """What `llm_query` takes besides a prompt and a context; see there."""

    model: str | None
    schema: object
    tools: Tools | None
    isolation: Isolation | None
    max_steps: int | None
    max_read_tokens: int | None
    max_calls: int | None
    max_tokens: int | None
    max_cost_usd: float | None
    max_seconds: float | None


@dataclass(frozen=True, slots=True)
class Query:
    prompt: str
    context: object = None
    """None is no context."""
    model: str | None = None
    schema: object = None
    tools: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    isolation: Isolation | None = None
    limits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """The result of a question that was not answered. Not the bare error: an answer may be an exception too."""

    error: RLMError


def one(prompt: object, context: object, options: Options) -> list[Query]:
    """Raises TypeError or ValueError with the mend."""
    return _queries([(_prompt(prompt), context)], options)


def many(prompts: Iterable[object], contexts: Iterable[object] | None, options: Options) -> list[Query]:
    """Raises TypeError or ValueError with the mend."""
    return _queries(_pairs(prompts, contexts), options)


def _queries(pairs: list[tuple[str, object]], options: Options) -> list[Query]:
    if unknown := set(options) - set(Options.__annotations__):
        raise TypeError(f"llm_query has no option {', '.join(sorted(unknown))}: there are {', '.join(_KNOWN)}")
    model, schema, isolation = options.get("model"), options.get("schema"), options.get("isolation")
    if model is not None and not isinstance(model, str):
        raise TypeError(f"model is a name such as 'openai/gpt-5-mini', not {type(model).__name__}")
    if isolation not in (None, "thread", "process"):
        raise ValueError(f"isolation={isolation!r}: give 'thread' or 'process'")
    tools, limits = _tools(options.get("tools")), _limits(options)
    return [Query(prompt, plain(context), model, schema, tools, isolation, limits) for prompt, context in pairs]


_KNOWN = tuple(Options.__annotations__)


def _prompt(prompt: object) -> str:
    if not isinstance(prompt, str):
        raise TypeError(f"a prompt is a string, not {type(prompt).__name__}; put what is needed into the text")
    if not prompt.strip():
        raise ValueError("the prompt is empty")
    return prompt


def _pairs(prompts: Iterable[object], contexts: Iterable[object] | None) -> list[tuple[str, object]]:
    if isinstance(prompts, str | bytes) or not hasattr(prompts, "__iter__"):
        raise TypeError("llm_query_batched takes a list of prompts; for one prompt there is llm_query(prompt)")
    checked = [_prompt(prompt) for prompt in prompts]
    if contexts is None:
        return [(prompt, None) for prompt in checked]
    if isinstance(contexts, str | bytes | Mapping) or not hasattr(contexts, "__iter__"):
        raise TypeError("contexts is a list with one context for each prompt: to give all the same, [context] * n")
    given = list(contexts)
    if len(given) != len(checked):
        raise ValueError(f"{len(checked)} prompts and {len(given)} contexts: give one context for each prompt")
    return list(zip(checked, given, strict=True))


def _tools(tools: object) -> dict[str, Callable[..., Any]]:
    if tools is None:
        return {}
    named = dict(tools) if isinstance(tools, Mapping) else {}
    if not named:
        if callable(tools) or not isinstance(tools, Iterable):
            raise TypeError("tools is a list of functions, or a dict of names and functions")
        for tool in tools:
            name = getattr(tool, "__name__", "")
            if name in named:
                raise ValueError(f"two tools are called {name!r}: give tools={{'one_name': f, 'another_name': g}}")
            named[name] = tool
    for name, tool in named.items():
        if not callable(tool):
            raise TypeError(f"a tool is a function, not {type(tool).__name__}")
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"a tool needs a name that a cell can call, not {name!r}: give tools={{'name': function}}")
    return named


def _limits(options: Options) -> dict[str, float]:
    limits = {name: value for name in LIMITS if (value := options.get(name)) is not None}
    try:
        Limits(**limits)  # type: ignore[arg-type]
    except TypeError:
        name, value = next((name, value) for name, value in limits.items() if not isinstance(value, int | float))
        raise TypeError(f"{name}={value!r}: give a number from 0 up") from None
    return limits  # type: ignore[return-value]
