"""
One passage through a flow as a generator: it yields what agents are to be asked, and finds what they gave in there.

So the same code serves callers that block and callers that await, and a test can play the agents by hand. It writes
the checkpoint after each state, and tells whoever keeps a record when one begins and ends; it starts no thread and
awaits nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from rlm_kernel import namespace
from rlm_kernel.errors import InvalidTransition, LimitExceeded, RLMError, RunInterrupted, UsageError
from rlm_kernel.namespace import Caller
from rlm_kernel.store import Store
from rlm_kernel.workflow.agents import Loads, Next, Task
from rlm_kernel.workflow.calling import Call
from rlm_kernel.workflow.checkpoint import Saved
from rlm_kernel.workflow.flow import Flow, name_of
from rlm_kernel.workflow.plan import Work, judge
from rlm_kernel.workflow.progress import Progress
from rlm_kernel.workflow.record import Record

_E = TypeVar("_E", bound=BaseException)
_SHOWN_CHARS = 1_000
_NOTE_CHARS = 100


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds in every state."""

    flow: Flow
    work: dict[str, Work]
    retry_on: tuple[type[Exception], ...]
    on_state: Callable[[Record], None] | None


def course(rules: Rules, store: Store, progress: Progress, saved: Saved | None) -> Generator[Call, None, None]:
    """Until the end of the flow. `progress` is kept up to date, and at each `yield` is what has been reached."""
    while (state := progress.state) is not None:
        visit = _Visit(rules, store, progress, state)
        try:
            value, next = yield from visit.attempts()
            record = visit.over(value, next)
        except BaseException as error:
            progress.partial = visit.reached()
            told = _told(error, visit)
            if saved is not None:
                try:
                    saved.write(progress, state)
                except Exception as unsaved:  # the reason why it stopped comes first
                    told.add_note(str(unsaved) if isinstance(unsaved, UsageError) else _one(unsaved))
            record = visit.ended(None, error)
            if rules.on_state is not None:
                rules.on_state(record)
            if told is error:
                raise
            raise told from None
        progress.records.append(record)
        progress.state, progress.partial = next, {}
        if saved is not None:
            saved.write(progress, state)
        if rules.on_state is not None:
            rules.on_state(record)


class _Visit:
    def __init__(self, rules: Rules, store: Store, progress: Progress, state: str) -> None:
        self._rules = rules
        self._store = store
        self._progress = progress
        self._state = state
        self._work = rules.work[state]
        self._number = 1 + sum(record.state == state for record in progress.records)
        self._held = {name: self._still(each) for name, each in progress.partial.items() if name in self._work.agents}
        self._asked: Call | None = None
        self._problems: list[str] = []
        self._loads = Loads()
        self._attempt = 0
        self._started_at = time.time()
        self._began = time.monotonic()
        caller = namespace.present()
        self._caller: Caller | None = (
            None if caller is None else caller.begin_state(state, tuple(self._work.agents), self._number)
        )

    def attempts(self) -> Generator[Call, None, tuple[object, str | None]]:
        """The result and the state that follows, or what the last attempt raised."""
        if self._work.max_visits is not None and self._number > self._work.max_visits:
            hint = f"the workflow keeps coming back to {self._state}"
            raise LimitExceeded("max_visits", self._number - 1, self._work.max_visits, hint)
        told: dict[str, str] = {}
        while True:
            self._attempt += 1
            self._asked = Call(
                {
                    name: (agent, self._task(told.get(name)))
                    for name, agent in self._work.agents.items()
                    if name not in self._held
                },
                self._store,
                self._caller,
            )
            if self._asked.agents:
                yield self._asked
            came = self._asked.came
            self._held = self.reached()
            errors = {name: came[name].error for name in self._asked.agents if came[name].error is not None}
            if errors:
                self._again_or_raise(errors)
            else:
                try:
                    return judge(self._rules.flow, self._state, self._work, self._value())
                except Exception as error:
                    errors = dict.fromkeys(self._work.agents, error)
                    if not self._asked.agents:
                        self._attempt = 0  # what the file has does not do, and nobody has been asked yet
                    self._again_or_raise(errors)
                    self._held, self._asked = {}, None  # it is the whole that does not do: all are asked again
            told = {name: str(error)[:_SHOWN_CHARS] for name, error in errors.items()}

    def reached(self) -> dict[str, object]:
        """What agents have given, in the order of the agents."""
        came = {} if self._asked is None else dict(self._asked.came)
        found = {**self._held, **{name: each.value for name, each in came.items() if each.error is None}}
        return {name: found[name] for name in self._work.agents if name in found}

    def over(self, value: object, next: str | None) -> Record:
        by = f", by {', '.join(self._work.agents)}" if self._work.several else ""
        self._store.store(self._state, value, note=f"workflow state{by}"[:_NOTE_CHARS])
        return self.ended(next, None, value)

    def ended(self, next: str | None, error: BaseException | None, value: object = None) -> Record:
        """For whoever watches, and told to whoever keeps the record of the run."""
        record = Record(
            self._state,
            tuple(self._work.agents),
            self._number,
            self._attempt,
            next,
            None if error is None else _one(error),
            tuple(self._problems),
            self._started_at,
            time.monotonic() - self._began,
            tuple((each.key, each.tokens) for each in self._loads.loaded),
            sum(self._loads.typed),
        )
        if self._caller is not None:
            self._caller.end_state(
                value,
                attempts=record.attempts,
                next=record.next,
                error=record.error,
                problems=record.problems,
                loaded=tuple(self._loads.loaded),
                typed_tokens=record.typed_tokens,
                seconds=record.seconds,
            )
            self._caller = None  # it has one end
        return record

    @property
    def place(self) -> str:
        return f"state {self._state}" + (f", after {self._attempt} attempts" if self._attempt > 1 else "")

    def results(self) -> dict[str, object] | None:
        """Of each agent its result or its error; None where there is one agent, and the error is its own."""
        if not self._work.several and not self.reached():
            return None
        came = {} if self._asked is None else self._asked.came
        failed = {name: each.error for name, each in came.items() if each.error is not None}
        found = {**failed, **self.reached()}
        return {name: found[name] for name in self._work.agents if name in found}

    def _still(self, given: object) -> object:
        """What the file has of an agent. A `Next` that was refused stands no longer where it is said what follows."""
        if not isinstance(given, Next):
            return given
        mended = self._work.follow is not None and name_of(given.state) not in self._rules.flow.allowed(self._state)
        return given.value if mended or self._work.several else given

    def _task(self, problem: str | None) -> Task:
        return Task(
            self._state, self._progress.goal, self._number, self._attempt, problem, self._work.form, self._loads
        )

    def _value(self) -> object:
        if self._work.several:
            return dict(self._held)
        (value,) = self._held.values()
        return value

    def _again_or_raise(self, errors: dict[str, Any]) -> None:
        for error in errors.values():
            lasting = isinstance(error, UsageError | RunInterrupted) or not isinstance(error, self._rules.retry_on)
            if lasting or self._attempt > self._work.retries:
                raise error
        self._problems.append("; ".join(dict.fromkeys(map(_one, errors.values()))))


def _one(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}"[:_SHOWN_CHARS] if text else type(error).__name__


def _told(error: _E, visit: _Visit) -> _E:
    """The error with the place in it. One of ours is shown without a traceback or notes, so it is in its message."""
    told = error
    if isinstance(error, RLMError) and not isinstance(error, InvalidTransition):
        told = type(error).__new__(type(error))
        told.__dict__.update(error.__dict__)
        told.args = (f"{visit.place}: {error}", *error.args[1:])
    elif isinstance(error, Exception):
        error.add_note(f"in the workflow's {visit.place}")
    if isinstance(error, Exception) and (results := visit.results()) is not None:
        told.results = results  # type: ignore[attr-defined]
    return told
