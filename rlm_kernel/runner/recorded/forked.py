"""Where a fork goes another way than its record, and of one that broke off, what it would still have taken from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rlm_kernel.runner.recorded.differences import of_agent
from rlm_kernel.trace import comparing
from rlm_kernel.trace.known import Key
from rlm_kernel.trace.loading import Trace
from rlm_kernel.trace.nodes import Agent, Call, Step


@dataclass(frozen=True, slots=True)
class Fork:
    """From this step of this agent on, the model is asked; from the next, where a person has edited this one's cell."""

    agent: str
    step: int

    def runs(self, key: Key) -> bool:
        """Whether a cell that was edited there is run: after the fork it is not for the model that is asked."""
        return key[0] != self.agent or key[1] <= self.step


@dataclass(frozen=True, slots=True)
class Forked:
    """What a fork was made from."""

    trace: Trace
    """With `edited` and `inserted` as they were then."""
    at: Fork


class Behind:
    """What is left of it for a fork that broke off, of which `agents`, `steps` and `calls` are the record."""

    def __init__(
        self, forked: Forked, agents: Mapping[str, Agent], steps: Mapping[Key, Step], calls: Mapping[Key, Call]
    ) -> None:
        trace, at = forked.trace, forked.at
        self.agents = {agent.id: agent for agent in trace}
        self.calls = {(agent.id, call.number): call for agent in trace for call in agent.all_calls}
        self._edited = {key: source for key, source in trace.edited.items() if at.runs(key)}
        self._until: dict[str, int] = {}
        """By agent, the first step that is not taken from there."""
        self._leave(at.agent, at.step + ((at.agent, at.step) in self._edited))
        for agent, step in self._edited:
            self._leave(agent, step + 1)
        recorded = {(agent.id, step.number): step for agent in trace for step in agent.steps}
        self.changed = bool(trace.inserted) or self._asked(recorded, steps, calls)
        """Whether anything that it does not know had run, or had been asked."""
        root = trace.root
        if root is not None and root.id in agents and of_agent(root, agents[root.id]) is not None:
            self.changed = True
        if self.changed:
            self._leave_where_other(recorded, agents, steps)
        self.steps = {key: step for key, step in recorded.items() if key[1] < self._until.get(key[0], key[1] + 1)}

    def _leave(self, agent: str, step: int) -> None:
        self._until[agent] = min(self._until.get(agent, step), step)

    def _asked(self, recorded: Mapping[Key, Step], steps: Mapping[Key, Step], calls: Mapping[Key, Call]) -> bool:
        found = any(key in self._edited for key in steps)
        for key, step in steps.items():
            if step.reply is None:
                continue
            was = recorded.get(key)
            if was is None or was.reply is None or self._as_edited(key, was) != step.reply.text:
                self._leave(*key)
                found = True
        for key, call in calls.items():
            known = self.calls.get(key)
            if call.reply is not None and (known is None or known.reply is None or known.reply.text != call.reply.text):
                found = True
        return found

    def _as_edited(self, key: Key, step: Step) -> str:
        assert step.reply is not None
        edited = self._edited.get(key)
        return step.reply.text if edited is None else as_edited(step.reply.text, step.source, edited)

    def _leave_where_other(
        self, recorded: Mapping[Key, Step], agents: Mapping[str, Agent], steps: Mapping[Key, Step]
    ) -> None:
        for id, agent in agents.items():
            if id in self.agents and of_agent(self.agents[id], agent) is not None:
                self._leave(id, 1)
        replied = last_replies(steps)
        for key, step in steps.items():
            was = recorded.get(key)
            stopped = step.cell is None or step.status == "interrupted"
            if was is None or was.cell is None or stopped or replied.get(key[0], 0) > key[1]:
                continue
            assert step.cell is not None
            if comparing.difference(was.cell.outputs, step.cell.outputs, was.cell.error, step.cell.error) is not None:
                self._leave(key[0], key[1] + 1)


def as_edited(reply: str, recorded: str | None, edited: str) -> str:
    """The text of a reply with the source that a person has put in the place of its cell's."""
    if not recorded:
        return reply
    return reply.replace(recorded, edited, 1) if recorded in reply else f"{reply}\n\n```repl\n{edited}\n```"


def last_replies(steps: Mapping[Key, Step]) -> dict[str, int]:
    """By agent, the last step that has a reply."""
    found: dict[str, int] = {}
    for (id, number), step in steps.items():
        if step.reply is not None:
            found[id] = max(number, found.get(id, 0))
    return found
