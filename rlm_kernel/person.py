"""A person as whoever asks in their own cells, and what such a cell does with named results."""

from __future__ import annotations

import asyncio
import copy
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Unpack

from rlm_kernel import namespace
from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.namespace import LENT, StateEnd

if TYPE_CHECKING:
    from rlm_kernel.queries import Query
    from rlm_kernel.runner import Runner
    from rlm_kernel.runner.agent import Agent
    from rlm_kernel.runner.reading import Watch
    from rlm_kernel.values import Remaining
    from rlm_kernel.window import ReadBudget
    from rlm_kernel.workspace import Workspace


USES_KEPT = 1_000
"""Of results that a cell used before it asked for the first time."""


class OwnCell:
    """
    Implements `store.Witness` for a person's own cell. What it does with named results goes into the record of the run
    that it begins; where it begins none, nobody hears of it.
    """

    who = "person"
    step = None

    def __init__(self, cell: int | None = None) -> None:
        """`cell` is its number, where it has one."""
        self.cell = cell
        self.run: str | None = None
        self._watch: Watch | None = None
        self._before: list[tuple[str, tuple[Any, ...]]] = []

    def begins(self, agent: Agent) -> None:
        from rlm_kernel.runner.reading import Watch

        self.answered_in(agent.runner)
        watch = self._watch = Watch(agent, None)
        for what, about in self._before:
            getattr(watch, what)(*about)
        self._before.clear()

    def answered_in(self, runner: Runner) -> None:
        """Or answered again: then it is the cell that it was."""
        self.run, self.cell = runner.id, runner.cell

    def wrote(self, store: int, key: str, value: object, replaced: bool) -> None:
        self._hear("wrote", store, key, value, replaced)

    def took(self, store: int, keys: tuple[str, ...]) -> None:
        self._hear("took", store, keys)

    def deleted(self, store: int, keys: tuple[str, ...]) -> None:
        self._hear("deleted", store, keys)

    def read(self, store: int, key: str, tokens: int, size: int | None) -> None:
        self._hear("read", store, key, tokens, size)

    def write_down(self) -> None:
        if self._watch is not None:
            self._watch.write_down()

    def _hear(self, what: str, *about: Any) -> None:
        if self._watch is not None:
            getattr(self._watch, what)(*about)
        elif len(self._before) < USES_KEPT:
            self._before.append((what, about))


class Person:
    """Who asks in the person's own cells, for `llm_query` and `FINAL`. A run begins only when something is asked."""

    def __init__(self, workspace: Workspace, namespace: dict[str, Any] | None = None) -> None:
        self._workspace = workspace
        self.namespace: dict[str, Any] = workspace.shell.user_ns if namespace is None else namespace
        self.lent: Mapping[str, Any] = LENT
        self._aside = namespace is not None
        self._within: Agent | None = None
        """Of the run that their cell began, in a state of a workflow."""

    def query(self, queries: Sequence[Query]) -> list[object]:
        from rlm_kernel.lm import thread

        agent, future = self._workspace.ask_as_person(queries, self._aside, self._within)
        return agent.settled(thread.wait(future))

    async def aquery(self, queries: Sequence[Query]) -> list[object]:
        agent, future = self._workspace.ask_as_person(queries, self._aside, self._within)
        return agent.settled(await asyncio.wrap_future(future))

    @property
    def checkpoints(self) -> None:
        """Files: what runs again from a record has its agent for a caller."""

    @property
    def reading(self) -> ReadBudget:
        """A person sees what they like; one read at a time is bounded, as a model's is."""
        from rlm_kernel.window import ReadBudget

        return ReadBudget(self._workspace.settings.max_tokens_per_read)

    def accept(self, answer: object) -> object:
        return answer

    def remaining(self) -> Remaining:
        return self._workspace.remaining()

    def show_variables(self) -> str:
        from rlm_kernel.runner import list_variables

        return list_variables(self.namespace) or "(no variables yet)"

    def begin_state(self, state: str, agents: tuple[str, ...], visit: int) -> Person:
        """Where no run can begin, because no model is set, there is none to write it down for."""
        within = copy.copy(self)
        within._within = None
        with suppress(UsageError, TraceError):
            within._within = self._workspace.begin_state_as_person(state, agents, visit, self._aside, self._within)
        return within

    def end_state(self, value: object, **told: Unpack[StateEnd]) -> None:
        if self._within is not None:
            self._within.end_state(value, **told)


async def step_into(workspace: Workspace, agent: Agent, source: str) -> object:
    """
    A person's cell in the namespace that an agent has left; gives the value of its last expression.

    It is the person's cell in all else: what it puts out is its output, what it raises its error, and what it asks
    with `llm_query` a run of its own.
    """
    from rlm_kernel.environment.apart import apart
    from rlm_kernel.environment.execute import evaluate, new_filename

    if agent.isolation == "process":
        print(f"note: the process of agent {agent.id} is gone; here are its context and tools", file=sys.stderr)
    namespace.mend(agent.namespace)
    token = namespace.CALLER.set(Person(workspace, agent.namespace))
    shell = workspace.shell
    # The root's namespace is the person's.
    alone: AbstractContextManager[object] = (
        nullcontext() if agent.caller is None else apart(agent.namespace, agent.lent)
    )
    try:
        with alone:
            try:
                return await evaluate(source, new_filename(f"agent {agent.id}"), agent.namespace, shell)
            finally:
                shell.events.trigger("post_execute")
    finally:
        namespace.CALLER.reset(token)
