"""
What an orchestrator was told, checked: for each state its agents, the form of its result, what follows, how often.

Everything that is wrong is said at once. Nothing is called here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rlm_kernel.errors import InvalidTransition, SchemaMismatch, UsageError
from rlm_kernel.schema import Schema
from rlm_kernel.workflow.agents import Agent, ByValue, Function, Next, name_of
from rlm_kernel.workflow.calling import function_of
from rlm_kernel.workflow.flow import Flow, State

Worker = Agent | Function
Agents = Mapping[Any, Worker | Mapping[str, Worker]]
Follow = Mapping[Any, State | Callable[[Any], State]]


@dataclass(frozen=True, slots=True)
class Work:
    """Of one state."""

    agents: dict[str, object]
    several: bool
    """Then the result is a dict of theirs, by their names."""
    accept: Callable[[object], object]
    """The result as it is stored. Raises SchemaMismatch."""
    form: object
    """The same for an agent: a type or JSON Schema of its own result; None where there is none."""
    follow: str | Callable[[Any], State] | None
    retries: int
    max_visits: int | None


def plan(
    flow: Flow,
    agents: Agents,
    returns: Mapping[Any, object],
    follow: Follow,
    retries: int | Mapping[Any, int],
    max_visits: int | Mapping[Any, int] | None,
) -> dict[str, Work]:
    problems: list[str] = []
    tables: dict[str, dict[str, Any]] = {
        "agents": _by_state(flow, "agents", agents, problems),
        "returns": _by_state(flow, "returns", returns, problems),
        "follow": _by_state(flow, "follow", follow, problems),
        "retries": _numbers(flow, "retries", retries, problems),
        "max_visits": _numbers(flow, "max_visits", max_visits, problems),
    }
    if without := [state for state in flow.states if state not in tables["agents"]]:
        problems.append(f"no agent for {', '.join(without[:10])}")
    work = {}
    for state in flow.states:
        given = tables["agents"].get(state)
        workers = _workers(state, given, problems) if given is not None else {}
        form = tables["returns"].get(state)
        accept = _acceptance(state, form, problems)
        next = _following(flow, state, tables["follow"].get(state), problems)
        repeats, visits = tables["retries"].get(state) or 0, tables["max_visits"].get(state)
        several = isinstance(given, Mapping)
        own = None if several or _is_function(form) else form
        work[state] = Work(workers, several, accept, own, next, repeats, visits)
    if problems:
        raise UsageError("this workflow cannot be:\n" + "\n".join(f"- {problem}" for problem in problems))
    return work


def judge(flow: Flow, state: str, work: Work, value: object) -> tuple[object, str | None]:
    """The result to be stored and the state that follows. Raises what says that it cannot be so."""
    chosen: Any = None
    if isinstance(value, Next):
        chosen, value = value.state, value.value
    elif work.several and isinstance(value, dict) and any(isinstance(each, Next) for each in value.values()):
        raise UsageError("one of several agents cannot say what follows: give follow={state: function of the results}")
    value = _accepted(work, value)
    allowed = flow.allowed(state)
    if chosen is None and callable(work.follow):
        chosen = work.follow(value)
    elif chosen is None:
        chosen = work.follow
    if chosen is not None:
        return value, flow.follow(state, chosen)
    if callable(work.follow):
        raise InvalidTransition(state, "None", allowed)
    if len(allowed) > 1:
        may = " or ".join(allowed)
        raise UsageError(f"{may} may follow: give follow={{{state!r}: …}}, or let the agent return Next(state, value)")
    return value, allowed[0] if allowed else None


def _accepted(work: Work, value: object) -> object:
    try:
        return work.accept(value)
    except SchemaMismatch as mismatch:
        said = str(mismatch)
        gave = [
            name for name, agent in work.agents.items() if _unread(work, agent, name, value) and f"[{name!r}]" in said
        ]
        if not gave:
            raise
        hint = f"{', '.join(gave)} gave a text: by_value(…, schema=…) reads the JSON in it"
        raise SchemaMismatch(f"{said}\n{hint}") from None


def _unread(work: Work, agent: object, name: str, value: object) -> bool:
    """Of several agents none knows the form of its own, so that a text stays a text."""
    texts = value if work.several and isinstance(value, dict) else {}
    return isinstance(agent, ByValue) and agent.schema is None and isinstance(texts.get(name), str)


def _by_state(flow: Flow, what: str, table: Any, problems: list[str]) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        problems.append(f"{what} is a dict with the states as keys, not {type(table).__name__}")
        return {}
    found = {}
    for state, value in table.items():
        try:
            found[flow.name(state)] = value
        except UsageError as unknown:
            problems.append(f"{what}: {unknown}")
    return found


def _numbers(flow: Flow, what: str, given: Any, problems: list[str]) -> dict[str, int]:
    found = _by_state(flow, what, given, problems) if isinstance(given, Mapping) else dict.fromkeys(flow.states, given)
    for number in {id(n): n for n in found.values() if n is not None or what == "retries"}.values():
        if type(number) is not int or number < 0:
            problems.append(f"{what}={number!r}: give a whole number from 0 up"[:200])
    return found


def _workers(state: str, given: object, problems: list[str]) -> dict[str, object]:
    named: dict[Any, Any] = dict(given) if isinstance(given, Mapping) else {name_of(given): given}
    if not named:
        problems.append(f"no agent for {state}")
    for name, agent in named.items():
        if not isinstance(name, str):
            problems.append(f"the agents of {state} have names that are strings, not {type(name).__name__}")
        if not callable(function_of(agent)) or isinstance(agent, type):
            problems.append(
                f"the agent of {state} is a function of a task and a store, or has such a method `run`; "
                f"{'the class ' + agent.__name__ if isinstance(agent, type) else type(agent).__name__} has not"
            )
        elif not _takes_two(function_of(agent)):
            problems.append(f"the agent of {state}, {name_of(agent)}, does not take two arguments: task and store")
    return named


def _takes_two(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # a builtin that does not tell
        return True
    return True


def _acceptance(state: str, form: Any, problems: list[str]) -> Callable[[object], object]:
    if form is None:
        return lambda value: value
    if _is_function(form):
        return functools.partial(_passes, form)
    try:
        return Schema(form).check
    except UsageError as error:
        problems.append(f"returns of {state}: {error}")
        return lambda value: value


def _is_function(form: object) -> bool:
    """Not a type, of which many can be called too."""
    return callable(form) and not isinstance(form, type) and type(form).__module__ not in _TYPES


_TYPES = ("types", "typing", "typing_extensions")


def _passes(check: Callable[[object], object], value: object) -> object:
    name = getattr(check, "__name__", type(check).__name__)
    try:
        passed = check(value)
    except (ValueError, TypeError, AssertionError, LookupError, AttributeError) as error:
        raise SchemaMismatch(f"{name} says: {type(error).__name__}: {error}"[:1_000]) from None
    if passed is False:
        raise SchemaMismatch(f"{name} says no to this {type(value).__name__}")
    return value


def _following(flow: Flow, state: str, given: Any, problems: list[str]) -> str | Callable[[Any], State] | None:
    if given is None:
        return None
    if callable(given) and not isinstance(given, type):
        return given  # type: ignore[no-any-return]
    try:
        return flow.follow(state, given)
    except InvalidTransition as invalid:
        problems.append(f"follow: {invalid}")
        return None


def retried(kinds: Any) -> tuple[type[Exception], ...]:
    found = tuple(kinds) if isinstance(kinds, Iterable) and not isinstance(kinds, str) else (kinds,)
    if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in found):
        raise UsageError("retry_on is a tuple of exception types, such as (ModelError, ValueError)")
    return found
