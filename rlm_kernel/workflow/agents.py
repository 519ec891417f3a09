"""
Who does the work of a state: anything that gives a value for a task and a store.

`asks` is a sub-agent that gets a part of the store by reference; `by_value` any function of text to text; `says` the
agent of a test. Plain functions and coroutine functions of the same two arguments are agents as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Unpack

from rlm_kernel import namespace, queries
from rlm_kernel.errors import UsageError
from rlm_kernel.lm import tokens
from rlm_kernel.placeholders import PLACEHOLDER, small_text
from rlm_kernel.queries import Options
from rlm_kernel.schema import Schema
from rlm_kernel.store import Store, unwatched
from rlm_kernel.trace.events import Loaded
from rlm_kernel.workflow.flow import State


@dataclass(slots=True)
class Loads:
    """What went by value, as the agents of a state tell it. Appended to from many threads."""

    loaded: list[Loaded] = field(default_factory=list)
    typed: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Task:
    state: str
    goal: str = ""
    """What the whole workflow was asked to do, where that was said."""
    visit: int = 1
    attempt: int = 1
    problem: str | None = None
    """What was wrong with the attempt before, for an agent that can do better."""
    form: object = None
    """The type or JSON Schema that the result must have, where that was said and one agent gives it."""
    loads: Loads = field(default_factory=Loads, repr=False, compare=False)

    def sent(self, key: str, text: str, *, reported: bool = False) -> None:
        """
        Tell that this text, the value of `key`, went into a model's window: see `Record.loaded`.

        `reported` where the record of the run has that request itself, as of `llm_query`: no sum counts it twice.
        """
        self.loads.loaded.append(Loaded(key, tokens.count(text), reported))

    def typed(self, text: str) -> None:
        """Tell that a model wrote this text as its answer."""
        self.loads.typed.append(tokens.count(text))


@dataclass(frozen=True, slots=True)
class Next:
    """What an agent returns to say itself which state follows; `value` is the result."""

    state: State
    value: object = None


class Agent(Protocol):
    def run(self, task: Task, store: Store, /) -> object:
        """The result of the state, something to await that gives it, or `Next`. What it raises may be retried."""


Function = Callable[[Task, Store], object]


class Asks:
    """See `asks`. `run` blocks, so that Stop gets through; `arun` awaits."""

    def __init__(self, prompt: str, reads: tuple[str, ...], options: Options) -> None:
        self.prompt = prompt
        self.reads = reads
        self.options = options

    def run(self, task: Task, store: Store) -> object:
        return namespace.llm_query(*self._question(task, store), **self._with_form(task))

    async def arun(self, task: Task, store: Store) -> object:
        return await namespace.allm_query(*self._question(task, store), **self._with_form(task))

    def _with_form(self, task: Task) -> Options:
        """So that a wrong answer goes back to the sub-agent that gave it, its work intact, and not to a new one."""
        if task.form is None or self.options.get("schema") is not None:
            return self.options
        return {**self.options, "schema": task.form}

    def _question(self, task: Task, store: Store) -> tuple[str, object]:
        with unwatched():  # what it hands on it has not used itself
            small = {name: small_text(store[name]) for name in self.reads}
        for name, text in small.items():
            if text is not None and name in PLACEHOLDER.findall(self.prompt):
                task.sent(name, text, reported=True)
        known = {name: f"`context[{name!r}]`" if text is None else text for name, text in small.items()}
        prompt = _fill(self.prompt, {"goal": task.goal, **known})
        if task.problem is not None:
            prompt += f"\n\nAn earlier answer was not accepted: {task.problem}"
        return prompt, store.only(*self.reads) if self.reads else None

    def __repr__(self) -> str:
        return f"asks({self.prompt[:60]!r})"


def asks(prompt: str, *, reads: Iterable[str] | None = None, **options: Unpack[Options]) -> Asks:
    """
    A sub-agent, asked with `llm_query`; its `context` is a view of the store with the keys of `reads`, by reference.

    `{clauses}` in the prompt becomes the text of that value where it is small, else its name in `context`; `{goal}` is
    what the workflow was asked to do. Without `reads` they are the names in braces. `options` are those of
    `llm_query`: tools, model, limits, and a schema where it is not what the state `returns`. It asks where `llm_query`
    can be called: in a cell of the rlm kernel, or of a run.
    """
    queries.one(prompt, None, options)  # a wrong word is told now, not when the state is reached
    return Asks(prompt, _reads(prompt, reads), options)


class _Later:
    """What is read of an answer that is awaited. Where nobody can await it, it can be closed with what it is of."""

    def __init__(self, said: Awaitable[object], read: Callable[[object], object]) -> None:
        self._said = said
        self._read = read

    def __await__(self) -> Generator[Any, None, object]:
        return self._read((yield from self._said.__await__()))

    def close(self) -> None:
        if isinstance(self._said, Coroutine):
            self._said.close()


class ByValue:
    """See `by_value`."""

    def __init__(
        self, function: Callable[[str], object], prompt: str, reads: tuple[str, ...], schema: Schema | None = None
    ) -> None:
        self.function = function
        self.prompt = prompt
        self.reads = reads
        self.schema = schema
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def run(self, task: Task, store: Store) -> object:
        said = self.function(self._text(task, store))
        return (
            _Later(said, lambda answer: self._read(task, answer))
            if isinstance(said, Awaitable)
            else self._read(task, said)
        )

    def _text(self, task: Task, store: Store) -> str:
        with unwatched():  # what goes out as text is told as that
            values = {name: _text_of(store[name]) for name in self.reads}
        for name, text in values.items():
            if name in PLACEHOLDER.findall(self.prompt):
                task.sent(name, text)
        problem = "" if task.problem is None else f"\n\nAn earlier answer was not accepted: {task.problem}"
        task.sent("", _fill(self.prompt, {"goal": task.goal, **dict.fromkeys(values, "")}) + problem)
        return _fill(self.prompt, {"goal": task.goal, **values}) + problem

    def _read(self, task: Task, said: object) -> object:
        schema = Schema(task.form) if self.schema is None and task.form is not None else self.schema
        if isinstance(said, str):
            task.typed(said)
            return said if schema is None else schema.read(said)
        return said if schema is None else schema.check(said)


def by_value(
    function: Callable[[str], object], prompt: str, *, reads: Iterable[str] | None = None, schema: object = None
) -> ByValue:
    """
    An agent of any framework that takes a text and gives a text, or something to await that gives one.

    `{clauses}` in the prompt becomes the whole text of that value. With a `schema`, or what the state `returns`, the
    answer is the JSON in its text.
    What was sent and what was typed is counted, see `Record.loaded`.
    """
    if not callable(function):
        raise UsageError(f"by_value takes a function of text to text, not {type(function).__name__}")
    if not isinstance(prompt, str) or not prompt.strip():
        raise UsageError("by_value takes a prompt: a text with the names of what it needs in braces")
    return ByValue(function, prompt, _reads(prompt, reads), None if schema is None else Schema(schema))


class Says:
    """See `says`."""

    def __init__(self, values: tuple[object, ...]) -> None:
        self._values = values
        self._lock = threading.Lock()
        self.tasks: list[Task] = []
        """What it was asked, in order."""

    def run(self, task: Task, store: Store) -> object:
        with self._lock:
            number = len(self.tasks)
            self.tasks.append(task)
        if number >= len(self._values):
            raise UsageError(f"says() has {len(self._values)} answers and was asked once more, in state {task.state}")
        value = self._values[number]
        if isinstance(value, BaseException):
            raise value
        return value


def says(*values: object) -> Says:
    """An agent without a model: gives these one after the other; an exception is raised."""
    return Says(values)


def name_of(agent: object) -> str:
    """For records: the name of a function, the beginning of what a sub-agent is asked, or the type."""
    if isinstance(agent, Asks):
        return repr(agent)
    return str(getattr(agent, "__name__", None) or type(agent).__name__)


def _reads(prompt: str, reads: Iterable[str] | None) -> tuple[str, ...]:
    if reads is None:
        return tuple(dict.fromkeys(name for name in PLACEHOLDER.findall(prompt) if name != "goal"))
    if isinstance(reads, str) or not isinstance(reads, Iterable):
        raise UsageError("reads is a list of keys of the store, such as reads=['contract']")
    names = tuple(dict.fromkeys(reads))
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise UsageError(f"reads is a list of keys of the store, which are strings, not {type(wrong[0]).__name__}")
    return names


def _fill(prompt: str, texts: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: texts.get(found[1], found[0]), prompt)


def _text_of(value: object) -> str:
    """A text as it is, plain data as JSON, the rest as `str` has it."""
    import json

    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)
