"""
An agent as its cells see it: what stands behind `llm_query`, `FINAL`, `budget` and `SHOW_VARS`.

While depth remains, a question becomes a sub-agent (`subagents`), at the deepest level a completion (`completions`).
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Unpack

from rlm_kernel import given
from rlm_kernel.errors import UsageError
from rlm_kernel.limits import Ledger, Limits
from rlm_kernel.lm import LanguageModel, thread
from rlm_kernel.namespace import LENT, Checkpoints, StateEnd
from rlm_kernel.queries import OF_AGENT, Isolation, Query
from rlm_kernel.runner import states
from rlm_kernel.runner.briefing import data_in, list_variables
from rlm_kernel.runner.completions import Completion, complete_all
from rlm_kernel.runner.reading import write_down
from rlm_kernel.runner.scope import Scope
from rlm_kernel.runner.subagents import ask_all
from rlm_kernel.schema import Schema
from rlm_kernel.store import Store, unwatched
from rlm_kernel.values import Message, Remaining
from rlm_kernel.window import ReadBudget

if TYPE_CHECKING:
    import concurrent.futures

    from rlm_kernel.runner.run import Runner


LOOKED_AT = 256_000
"""Bytes of a sub-agent's context that its fingerprint looks at: there may be a thousand of them on one large text."""


@dataclass(frozen=True, slots=True)
class Results:
    """In the order of the questions: a value each, or `Failed`."""

    values: list[object]
    written: int
    """The journal's number of the last event that belongs to them."""
    notes: list[str] = field(default_factory=list)
    """What whoever asked has to know besides."""


class Agent:
    """Implements `namespace.Caller`."""

    def __init__(
        self,
        runner: Runner,
        id: str,
        namespace: dict[str, Any],
        *,
        model: LanguageModel,
        limits: Limits,
        ledger: Ledger,
        depth: int = 0,
        caller: Agent | None = None,
        schema: Schema | None = None,
    ) -> None:
        self.runner = runner
        self.id = id
        self.namespace = namespace
        self.model = model
        self.limits = limits
        self.ledger = ledger
        self.depth = depth
        self.caller = caller
        self.schema = schema
        self.lent: Mapping[str, Any] = LENT
        """What is in the namespace and nobody's variable, the tools of its caller included."""
        self.isolation: Isolation = "thread"
        """Where its cells run. With a process, `namespace` has only what it began with, and its `answer`."""
        self.scope = Scope(ledger)
        self.step: int | None = None
        self.state: int | None = None
        """Of a workflow in its cell, see `at`; None outside."""
        self.sent: tuple[Message, ...] = ()
        """The conversation, as it went to the model and into the journal."""
        self.context_sha: str | None = None
        """`given.fingerprint` of what it was given."""
        self.reading = ReadBudget(limits.max_tokens_per_read, limits.max_read_tokens)
        """What it may see of data."""
        self.context_name: str | None = None
        """What its caller called that."""
        self._calls = itertools.count(1)
        self._children = itertools.count(1)
        self._states = itertools.count(1)

    def at(self, step: int | None) -> Agent:
        """This agent as the cell of one step sees it: what the cell starts belongs to that step, however late."""
        caller = copy.copy(self)
        caller.step = step
        return caller

    @property
    def deepest(self) -> bool:
        return self.limits.max_depth is not None and self.depth >= self.limits.max_depth

    @property
    def checkpoints(self) -> Checkpoints | None:
        recorded = self.runner.recorded
        return None if recorded is None else recorded.checkpoints(self.id, self.step)

    def query(self, queries: Sequence[Query]) -> list[object]:
        if thread.shared().is_current():
            raise UsageError("llm_query cannot wait here, where model calls are made: ask in a cell or in a thread")
        return self.settled(thread.wait(self.start(queries)))

    async def aquery(self, queries: Sequence[Query]) -> list[object]:
        return self.settled(await asyncio.wrap_future(self.start(queries)))

    def settled(self, came: Results) -> list[object]:
        """The results, now on disk. Not left to the loop thread, which still has litellm's work for them to do."""
        self.runner.recorder.sync(came.written)
        for note in came.notes:
            print(note, file=sys.stderr)  # into the cell that asked; a warning could be filtered away
        return came.values

    def start(self, queries: Sequence[Query]) -> concurrent.futures.Future[Results]:
        """
        Asks, and does not wait. Hand to `settled` what comes. Raises UsageError or ContextBudgetExceeded before
        anything is asked.
        """
        write_down()
        recorded = self.runner.recorded
        if recorded is not None and not self.deepest and recorded.completes(self.id, self.step):
            bare = [replace(query, context=None) for query in queries]
            return self.scope.start(self._complete([self._completion(query) for query in bare], self.step))
        if self.deepest:
            completions = [self._completion(query) for query in queries]
            return self.scope.start(self._complete(completions, self.step))
        for query in queries:  # before any of them has an id, which a replay would look for
            data_in(query.prompt, self._limits_for(query))
        with unwatched():
            children = [(self._child(query), query) for query in queries]
        return self.scope.start(self._ask(children, self.step))

    def next_call(self, step: int | None, request_sha: str, prompt: str) -> int:
        """The ordinal of a completion that is about to be asked for."""
        recorded = self.runner.recorded
        return next(self._calls) if recorded is None else recorded.call(self.id, step, request_sha, prompt)

    def _next_child(self, question: str, context_sha: str | None) -> str:
        recorded = self.runner.recorded
        if recorded is None:
            return f"{self.id}.{next(self._children)}"
        return recorded.child(self.id, self.step, self.runner.redactor.text(question), context_sha)

    def accept(self, answer: object) -> object:
        return answer if self.schema is None else self.schema.check(answer)

    def show_variables(self) -> str:
        return list_variables(self.namespace) or "(no variables yet)"

    def remaining(self) -> Remaining:
        remaining = self.ledger.remaining(self.step or 0, self.limits, self.depth)
        return replace(remaining, read_tokens=self.reading.left)

    def begin_state(self, state: str, agents: tuple[str, ...], visit: int) -> Agent:
        return states.begin(self, next(self._states), state, agents, visit)

    def end_state(self, value: object, **told: Unpack[StateEnd]) -> None:
        states.end(self, value, told)

    async def _complete(self, asked: list[Completion], step: int | None) -> Results:
        values, notes = await complete_all(self, step, asked) if asked else ([], [])
        return Results(values, self.runner.recorder.last, notes)

    async def _ask(self, children: list[tuple[Agent, Query]], step: int | None) -> Results:
        values, notes = await ask_all(step, children)
        return Results(values, self.runner.recorder.last, notes)

    def _completion(self, query: Query) -> Completion:
        for what, is_there in (("context", query.context is not None), ("tools", bool(query.tools))):
            if is_there:
                raise UsageError(
                    f"llm_query takes no {what} here: agent {self.id} is at the deepest level (max_depth="
                    f"{self.limits.max_depth}), where it is a plain completion; put what the model must see into the "
                    "prompt, or allow another level"
                )
        model = self.runner.models.asked(self.depth + 1, query.model)
        return Completion(query.prompt, model, _schema(query), self._ledger_for(query))

    def _ledger_for(self, query: Query) -> Ledger:
        """With the limits of this one question, below our own."""
        own: dict[str, Any] = {name: value for name, value in query.limits.items() if name not in OF_AGENT}
        return self.ledger.below(replace(Limits.none(), max_reply_tokens=self.limits.max_reply_tokens, **own))

    def _limits_for(self, query: Query) -> Limits:
        """What is counted for each agent by itself. Nobody lets another see more than they may see themselves."""
        own: dict[str, Any] = {name: value for name, value in query.limits.items() if name in OF_AGENT}
        seen = (own.pop("max_read_tokens", None), self.limits.max_read_tokens)
        most = min((each for each in seen if each is not None), default=None)
        return replace(self.runner.limits, max_read_tokens=most, **own)

    def _child(self, query: Query) -> Agent:
        if taken := {*LENT, "context"} & set(query.tools):
            name = taken.pop()
            raise UsageError(f"{name} is a lent name already: give tools={{'another_name': {name}}}")
        model, schema = self.runner.models.asked(self.depth + 1, query.model), _schema(query)
        context_sha = None if query.context is None else given.fingerprint(query.context, LOOKED_AT)
        id = self._next_child(query.prompt, context_sha)
        limits = self._limits_for(query)
        if self.runner.recorded is not None:
            limits = replace(limits, max_steps=self.runner.recorded.max_steps(id, limits.max_steps))
        child = Agent(
            self.runner,
            id,
            {},
            model=model,
            limits=limits,
            ledger=self._ledger_for(query),
            depth=self.depth + 1,
            caller=self,
            schema=schema,
        )
        child.context_sha = context_sha
        called = _name_of(query.context, self.namespace)
        child.context_name = None if called is None else self.runner.redactor.text(called)
        return child


NAMES_LOOKED_AT = 1_000


def _name_of(value: object, namespace: Mapping[str, Any]) -> str | None:
    """What a namespace, or a store that is its context, calls this very object."""
    if value is None:
        return None
    try:
        for name, held in itertools.islice(list(namespace.items()), NAMES_LOOKED_AT):
            if held is value and not name.startswith("_"):
                return name
    except RuntimeError:  # another thread adds variables
        return None
    context = namespace.get("context")
    if isinstance(context, Store | dict):
        try:
            for key, held in itertools.islice(list(context.items()), NAMES_LOOKED_AT):
                if held is value and isinstance(key, str):
                    return f"context[{key[:100]!r}]"
        except RuntimeError:
            return None
    return None


def _schema(query: Query) -> Schema | None:
    return None if query.schema is None else Schema(query.schema)
