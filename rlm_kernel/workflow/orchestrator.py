"""
Runs a flow: asks the agents of each state, keeps their results in a store, and goes where the flow allows.

The flow knows no agent and the agents know no flow; what brings them together stands in one call, so that a test
gives other agents for the same flow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rlm_kernel.errors import ModelError, NoAnswer, SchemaMismatch, UsageError
from rlm_kernel.lm.thread import in_a_loop
from rlm_kernel.store import Store, refusal, unwatched
from rlm_kernel.workflow.calling import acall, awaits, call
from rlm_kernel.workflow.checkpoint import Checkpoint, Saved
from rlm_kernel.workflow.course import Rules, course
from rlm_kernel.workflow.flow import Flow, State
from rlm_kernel.workflow.plan import Agents, Follow, plan, retried
from rlm_kernel.workflow.progress import Progress
from rlm_kernel.workflow.record import Record

Place = str | os.PathLike[str] | Checkpoint


_SHOWN_CHARS = 300


@dataclass(frozen=True, slots=True)
class Done:
    """A passage through the whole flow."""

    value: object
    """The result of the state at which it ended."""
    store: Store
    records: tuple[Record, ...]
    """Of each state that it passed, in order; those before a crash included."""

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(record.state for record in self.records)

    def __repr__(self) -> str:
        """No value, which may be of any size."""
        path = " -> ".join(self.path)
        return f"<Done: {path if len(path) <= _SHOWN_CHARS else '… ' + path[-_SHOWN_CHARS:]}>"


class Orchestrator:
    """
    `Orchestrator(flow, {"draft": asks("…"), "check": {"law": f, "style": g}, "print": h})`

    agents      for each state an agent, or several by name, which work side by side; their results are a dict
    returns     for some states the form of the result: a type, a JSON Schema as a dict, or a function of the result
                that raises or returns False where it does not do
    follow      for states that several may follow: one of them, or a function of the result that gives it. An agent
                may say so itself by returning `Next(state, value)`
    retries     how often a failed state is tried again, a number for all or by state; only what failed is asked again
    retry_on    the errors after which it is; others end it at once
    max_visits  how often it may come to a state, a number for all or by state; None for no limit. LimitExceeded
    on_state    called with the Record of each state when it is over, also where it failed or was stopped

    Raises UsageError with all that is wrong.
    """

    def __init__(
        self,
        flow: Flow,
        agents: Agents,
        *,
        returns: Mapping[Any, object] | None = None,
        follow: Follow | None = None,
        retries: int | Mapping[Any, int] = 0,
        retry_on: type[Exception] | Iterable[type[Exception]] = (ModelError, NoAnswer, SchemaMismatch, OSError),
        max_visits: int | Mapping[Any, int] | None = 10,
        on_state: Callable[[Record], None] | None = None,
    ) -> None:
        if not isinstance(flow, Flow):
            raise UsageError(f"an orchestrator runs a Flow, not {type(flow).__name__}")
        work = plan(flow, agents, returns or {}, follow or {}, retries, max_visits)
        self.flow = flow
        self._rules = Rules(flow, work, retried(retry_on), on_state)
        self._told: dict[str, Any] = {
            "returns": returns,
            "follow": follow,
            "retries": retries,
            "retry_on": retry_on,
            "max_visits": max_visits,
            "on_state": on_state,
        }
        self._agents = {flow.name(state): each for state, each in agents.items()}

    def replaced(self, agents: Agents, **told: Any) -> Orchestrator:
        """Another one, with these agents for their states, and with what else is given; see the class."""
        if not isinstance(agents, Mapping):
            raise UsageError(f"agents is a dict with the states as keys, not {type(agents).__name__}")
        if unknown := set(told) - set(self._told):
            raise UsageError(f"an orchestrator has no {', '.join(sorted(unknown))}: there are {', '.join(self._told)}")
        others = {self.flow.name(state): each for state, each in agents.items()}
        return Orchestrator(self.flow, {**self._agents, **others}, **{**self._told, **told})

    def run(
        self,
        store: Mapping[str, object] | None = None,
        goal: str = "",
        *,
        checkpoint: Place | None = None,
        resume: bool = False,
        at: State | None = None,
    ) -> Done:
        """
        From the start to an end, on this thread. `store` holds what the agents are given; a dict is put into a Store.

        With a `checkpoint` (a path) what is reached is written there after each state. With `resume`, it goes on from
        that file where there is one, and runs nothing again that stands in it. `at` is the state to begin with, or to
        go back to. What agents raise comes out with its type, and the state named; the store keeps what was reached.
        Raises UsageError, LimitExceeded (`max_visits`) and InvalidTransition of its own.
        """
        if in_a_loop() and any(awaits(a) and not hasattr(a, "arun") for a in self._workers()):
            raise UsageError("there are agents that await, and a loop is running here: `await orchestrator.arun(...)`")
        held, progress, saved = self._begin(store, goal, checkpoint, resume, at)
        passage = course(self._rules, held, progress, saved)
        for asked in passage:
            with _stops(passage):
                call(asked)
        return self._done(held, progress)

    async def arun(
        self,
        store: Mapping[str, object] | None = None,
        goal: str = "",
        *,
        checkpoint: Place | None = None,
        resume: bool = False,
        at: State | None = None,
    ) -> Done:
        """
        `run` for code that awaits: agents with an `arun`, and coroutine functions, run on this loop; plain functions in
        a thread each, which a cancelled `arun` leaves to themselves.
        """
        held, progress, saved = self._begin(store, goal, checkpoint, resume, at)
        passage = course(self._rules, held, progress, saved)
        for asked in passage:
            with _stops(passage):
                await acall(asked)
        return self._done(held, progress)

    def __repr__(self) -> str:
        return f"<Orchestrator of {self.flow!r}>"

    def _workers(self) -> Iterator[object]:
        for work in self._rules.work.values():
            yield from work.agents.values()

    def _begin(
        self, given: Mapping[str, object] | None, goal: str, place: Place | None, resume: bool, at: State | None
    ) -> tuple[Store, Progress, Saved | None]:
        store = _store_of(given)
        if not isinstance(goal, str):
            raise UsageError(f"goal is a text, not {type(goal).__name__}")
        first = None if at is None else self.flow.name(at)
        if place is None:
            if resume:
                raise UsageError("resume=True needs a checkpoint=path from which to go on")
            return store, self._first(first, goal, store), None
        saved = Saved(place if isinstance(place, Checkpoint) else Checkpoint(place), self.flow, store)
        if not saved.exists():
            progress = self._first(first, goal, store)
            saved.write(progress)  # a place that cannot be written is found before anything is paid for
            return store, progress, saved
        if not resume:
            raise UsageError(f"{saved.path} is there already: go on from it with resume=True, or delete it")
        return store, self._resumed(saved, goal, first, store), saved

    def _first(self, first: str | None, goal: str, store: Store) -> Progress:
        progress = Progress(first or self.flow.start, goal)
        self._check(store, progress)
        return progress

    def _resumed(self, saved: Saved, goal: str, first: str | None, store: Store) -> Progress:
        progress = saved.read(first, goal)
        self._check(store, progress)
        return progress

    def _check(self, store: Store, progress: Progress) -> None:
        """That the store takes what is to come, before anything is paid for."""
        if progress.state is None:
            return
        if (why := refusal(store, self.flow.onward(progress.state))) is not None:
            raise UsageError(
                f"results go into the store under the names of their states, and {why}: give the store itself, or a "
                "view that takes them"
            )

    def _done(self, store: Store, progress: Progress) -> Done:
        with unwatched():
            return Done(store.get(progress.records[-1].state), store, tuple(progress.records))


def _store_of(given: object) -> Store:
    if isinstance(given, Store):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise UsageError(f"the store is a Store, or a dict of what to put into one, not {type(given).__name__}")
    store = Store()
    for key, value in (given or {}).items():
        store[key] = value
    return store


@contextmanager
def _stops(passage: Any) -> Iterator[None]:
    """Stop gets into the passage too, so that it can write down what was reached."""
    try:
        yield
    except BaseException as stop:
        passage.throw(stop)
        raise
