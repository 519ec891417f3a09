"""
A run to look at: the fold of its events.

`Tree.add` is the only thing that changes anything; what hangs from it is for looking. It takes any prefix of a run,
also one that was torn, and an agent or step that is mentioned before it began is there with what is known. One thread
may add while another looks: lists only grow, and a value that is there does not change back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from rlm_kernel.limits import add
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
    Replied,
    RunFinished,
    RunStarted,
)
from rlm_kernel.trace.nodes import Agent, Call, Failure, Status, Step, Totals
from rlm_kernel.trace.reading import Stamped
from rlm_kernel.values import Reply, Usage


class Tree:
    def __init__(self) -> None:
        self.run: RunStarted | None = None
        self.end: RunFinished | None = None
        self.agents: dict[str, Agent] = {}
        self.log: list[tuple[str | None, Event]] = []
        """All that was added, with its time where that was given."""
        self._steps: dict[tuple[str, int], Step] = {}
        self._calls: dict[tuple[str, int], Call] = {}

    def add(self, event: Event, at: str | None = None) -> None:
        self.log.append((at, event))
        match event:
            case RunStarted():
                self.run = event
            case RunFinished():
                self.end = event
                for agent in self.agents.values():
                    _stop_open(agent)
            case AgentStarted():
                self._start(event)
            case AgentFinished():
                agent = self._agent(event.agent)
                agent.end = event
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
                call.prompt, call.model = event.prompt, event.model
            case CallFinished():
                call = self._call(event.agent, event.step, event.call)
                call.reply, call.status = _reply(event), "done"
            case CallFailed():
                call = self._call(event.agent, event.step, event.call)
                call.failure, call.status = _failure(event)

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
                    waiting.extend((child, level + 1) for child in reversed(agent.children))

    def totals(self) -> Totals:
        usage, unpriced, calls, steps = Usage(), 0, 0, 0
        for agent in list(self.agents.values()):
            steps += sum(1 for step in agent.steps if step.reply is not None)
            asked: list[Step | Call] = [*agent.steps, *agent.all_calls]
            for each in asked:
                if each.reply is not None:
                    usage = add(usage, each.reply.usage)
                    unpriced += each.reply.usage.cost_usd is None
                # A call that a limit refused was never sent.
                calls += each.reply is not None or (each.failure is not None and each.failure.kind != "limit")
        return Totals(steps, calls, usage, unpriced, self._seconds())

    @property
    def started_at(self) -> str | None:
        return self.log[0][0] if self.log else None

    def _seconds(self) -> float | None:
        if self.end is not None:
            return self.end.seconds
        first, last = (self.log[0][0], self.log[-1][0]) if self.log else (None, None)
        if first is None or last is None:
            return None
        return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()

    def _start(self, event: AgentStarted) -> None:
        agent = self._agent(event.agent)
        agent.depth, agent.question, agent.context, agent.model = (
            event.depth,
            event.question,
            event.context,
            event.model,
        )
        if event.caller is not None and agent.caller is None:
            agent.caller = event.caller
            self._agent(event.caller).children.append(agent)

    def _agent(self, id: str) -> Agent:
        found = self.agents.get(id)
        if found is None:
            found = self.agents[id] = Agent(id)
        return found

    def _step(self, agent: str, number: int) -> Step:
        step = self._steps.get((agent, number))
        if step is None:
            step = self._steps[agent, number] = Step(number, order=len(self.log))
            self._agent(agent).steps.append(step)
        return step

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


def _reply(event: Replied | CallFinished) -> Reply:
    return Reply(
        event.text,
        event.usage,
        event.model,
        event.finish_reason,
        event.first_token_s,
        event.seconds,
        event.attempts,
    )


def _failure(event: AskFailed | CallFailed) -> tuple[Failure, Status]:
    status: Status = "interrupted" if event.kind == "interrupted" else "failed"
    return Failure(event.kind, event.message, event.attempts), status


def _stop_open(agent: Agent) -> None:
    everything: list[Step | Call] = [*agent.steps, *agent.all_calls]
    for open_one in everything:
        if open_one.status in ("asking", "running"):
            open_one.status = "interrupted"
