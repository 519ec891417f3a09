"""
A run to look at: the fold of its events.

`Tree.add` is the only thing that changes anything; what hangs from it is for looking. It takes any prefix of a run,
also one that was torn, and an agent or step that is mentioned before it began is there with what is known. One thread
may add while another looks: lists only grow, and a value that is there does not change back.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from rlm_kernel.trace import sums
from rlm_kernel.trace.events import (
    AgentFinished,
    AgentStarted,
    Asked,
    AskFailed,
    CallFailed,
    CallFinished,
    CallStarted,
    CellFinished,
    CellStarted,
    Event,
    Foreign,
    Given,
    Noted,
    Replied,
    RunFinished,
    RunStarted,
    StateFinished,
    StateStarted,
    Used,
)
from rlm_kernel.trace.nodes import Agent, Call, Failure, Spent, State, Status, Step, Totals, by_id, by_state
from rlm_kernel.trace.reading import Stamped
from rlm_kernel.values import Reply


class Tree:
    def __init__(self) -> None:
        self.run: RunStarted | None = None
        self.end: RunFinished | None = None
        self.agents: dict[str, Agent] = {}
        self.log: list[tuple[str | None, Event]] = []
        """All that was added, with its time where that was given."""
        self._steps: dict[tuple[str, int], Step] = {}
        self._calls: dict[tuple[str, int], Call] = {}
        self._states: dict[tuple[str, int], State] = {}
        self._spent: tuple[int, dict[str, Spent]] = (-1, {})

    def add(self, event: Event, at: str | None = None) -> None:
        match event:
            case RunStarted():
                self.run = event
            case RunFinished():
                self.end = event
                for agent in self.agents.values():
                    _stop_open(agent)
            case AgentStarted():
                self._start(event, at)
            case AgentFinished():
                agent = self._agent(event.agent)
                agent.end, agent.ended = event, _time(at)
                _stop_open(agent)
            case Asked():
                step = self._step(event.agent, event.step)
                # Asked again after a failure or a resume: only what is new was written again.
                step.new += event.new
                step.request_sha = event.request_sha
                step.status, step.failure = "asking", None
            case Replied():
                step = self._step(event.agent, event.step)
                step.reply, step.status = _reply(event), "done"
            case AskFailed():
                step = self._step(event.agent, event.step)
                step.failure, step.status = _failure(event)
            case CellStarted():
                step = self._step(event.agent, event.step)
                step.source, step.status = event.source, "running"
            case CellFinished():
                step = self._step(event.agent, event.step)
                stopped = event.error is not None and event.error.name in ("KeyboardInterrupt", "RunInterrupted")
                step.cell, step.status = event, "interrupted" if stopped else "done"
            case CallStarted():
                call = self._call(event.agent, event.step, event.call)
                call.prompt, call.model, call.request_sha = event.prompt, event.model, event.request_sha
                call.in_state = event.state
            case CallFinished():
                call = self._call(event.agent, event.step, event.call)
                call.reply, call.status = _reply(event), "done"
            case CallFailed():
                call = self._call(event.agent, event.step, event.call)
                call.failure, call.status = _failure(event)
            case Given():
                self._agent(event.agent).given.append(event)
            case StateStarted():
                state = self._state(event)
                state.name, state.workers, state.visit = event.state, event.agents, event.visit
            case StateFinished():
                self._state(event).end = event
            case Used():
                self._of(event).used.append(event)
            case Noted():
                self._of(event).notes.append(event.text)
            case Foreign():
                self._of(event).foreign.append(event.data)
        # Last, because what was summed up is known by the length of the log.
        self.log.append((at, event))

    @property
    def root(self) -> Agent | None:
        return next(iter(self.agents.values()), None)

    def walk(self) -> Iterator[tuple[Agent, int]]:
        """Every agent once, after its caller, with how deep it hangs; those without a caller at 0."""
        agents = list(self.agents.values())
        seen: set[str] = set()
        # The second round finds those of a tampered record that hang from each other in a ring.
        for first in [*(agent for agent in agents if agent.caller is None), *agents]:
            waiting = [(first, 0)]
            while waiting:
                agent, level = waiting.pop()
                if agent.id not in seen:
                    seen.add(agent.id)
                    yield agent, level
                    waiting.extend((child, level + 1) for child in reversed(by_state(agent.children)))

    def totals(self) -> Totals:
        """Of the whole run."""
        spent = self._spent_of_all()
        return sums.added([each.own for each in spent.values()], self._seconds())

    def spent(self, agent: Agent) -> Spent:
        """What one of its agents took, alone and with those below. All are summed in one walk, once for a change."""
        # One that is being added at this moment is not among them yet.
        return self._spent_of_all().get(agent.id) or sums.spent([agent], None)[agent.id]

    @property
    def started_at(self) -> str | None:
        return self.log[0][0] if self.log else None

    def _seconds(self) -> float | None:
        if self.end is not None:
            return self.end.seconds
        first, last = (_time(self.log[0][0]), _time(self.log[-1][0])) if self.log else (None, None)
        return None if first is None or last is None else (last - first).total_seconds()

    def _spent_of_all(self) -> dict[str, Spent]:
        version = len(self.log)
        if self._spent[0] != version:
            last = _time(self.log[-1][0]) if self.log else None
            self._spent = version, sums.spent([agent for agent, _ in self.walk()], last)
        return self._spent[1]

    def _start(self, event: AgentStarted, at: str | None) -> None:
        agent = self._agent(event.agent)
        agent.depth, agent.question, agent.context = event.depth, event.question, event.context
        agent.model, agent.schema, agent.tools = event.model, event.schema, event.tools
        agent.context_name, agent.context_tokens = event.context_name, event.context_tokens
        agent.context_store = event.context_store
        agent.isolation, agent.context_sha, agent.began = event.isolation, event.context_sha, _time(at)
        if event.caller is not None and agent.caller is None:
            agent.caller, agent.in_step, agent.in_state = event.caller, event.step, event.state
            caller = self._agent(event.caller)
            insort(caller.children, agent, key=by_id)
            insort(caller.agents if event.step is None else self._step(caller.id, event.step).agents, agent, key=by_id)

    def _of(self, event: Used | Noted | Foreign) -> Agent | Step:
        return self._agent(event.agent) if event.step is None else self._step(event.agent, event.step)

    def _agent(self, id: str) -> Agent:
        found = self.agents.get(id)
        if found is None:
            found = self.agents[id] = Agent(id)
        return found

    def _step(self, agent: str, number: int) -> Step:
        step = self._steps.get((agent, number))
        if step is None:
            step = self._steps[agent, number] = Step(number)
            self._agent(agent).steps.append(step)
        return step

    def _state(self, event: StateStarted | StateFinished) -> State:
        state = self._states.get((event.agent, event.number))
        if state is None:
            state = self._states[event.agent, event.number] = State(event.number, event.step)
            insort(self._agent(event.agent).states, state, key=lambda each: each.number)
        return state

    def _call(self, agent: str, step: int | None, number: int) -> Call:
        call = self._calls.get((agent, number))
        if call is None:
            call = self._calls[agent, number] = Call(number, step)
            (self._agent(agent).calls if step is None else self._step(agent, step).calls).append(call)
        return call


def fold(events: Iterable[Stamped]) -> Tree:
    """The tree of a journal that was read."""
    tree = Tree()
    for stamped in events:
        tree.add(stamped.event, stamped.at)
    return tree


def _time(at: str | None) -> datetime | None:
    """None where it says no time: a journal's checksum tells that it is whole, not that it was well written."""
    if at is None:
        return None
    try:
        time = datetime.fromisoformat(at)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _reply(event: Replied | CallFinished) -> Reply:
    return Reply(
        event.text,
        event.usage,
        event.model,
        event.finish_reason,
        event.first_token_s,
        event.seconds,
        event.attempts,
        event.prompt_usd,
    )


def _failure(event: AskFailed | CallFailed) -> tuple[Failure, Status]:
    status: Status = "interrupted" if event.kind == "interrupted" else "failed"
    return Failure(event.kind, event.message, event.attempts), status


def _stop_open(agent: Agent) -> None:
    everything: list[Step | Call] = [*agent.steps, *agent.all_calls]
    for open_one in everything:
        if open_one.status in ("asking", "running"):
            open_one.status = "interrupted"
