"""How far a run goes with the record of an earlier one, agent by agent, and what of it the record has gone on from."""

from __future__ import annotations

from collections.abc import Mapping

from rlm_kernel.runner.recorded.differences import Kind
from rlm_kernel.runner.recorded.forked import last_replies
from rlm_kernel.runner.recorded.lookup import Lookup
from rlm_kernel.trace.nodes import Agent


class Frontier:
    def __init__(self, kind: Kind, lookup: Lookup) -> None:
        self.left = False
        """Whether anything was asked that the record does not know."""
        self._kind = kind
        self._forks = kind == "fork" or lookup.behind is not None
        self.changed = lookup.behind is not None and lookup.behind.changed
        """Of a fork: whether anything that the record does not know has run, or was asked."""
        self._agents = lookup.agents
        self._foreign = lookup.foreign
        self._live: dict[str, int] = {}
        """By agent, the first step that is not taken from the record."""
        self._last_reply = last_replies(lookup.steps)
        self._own = {} if kind == "fork" else lookup.replied
        """By agent, the last step with a reply that was made in the very run that goes on."""

    def leave(self, agent: str, step: int) -> None:
        """From that step on, the record is not for this agent."""
        self._live[agent] = min(self._live.get(agent, step), step)

    def change(self) -> None:
        """Something runs, or is asked, that is not in the record: what comes after may come of it."""
        self.changed = self._forks

    def leaves(self, agent: str, step: int) -> bool:
        """
        Whether what that step came to, where it is not as recorded, may come of what the fork changes, so that the
        record has no reply to it. 0 is for what the agent is asked.
        """
        return self.changed and not self.is_own(agent, step + 1)

    def is_own(self, agent: str, step: int) -> bool:
        """Whether the reply of that step is one of the very run that goes on."""
        return step <= self._own.get(agent, 0)

    def is_live(self, agent: str, step: int) -> bool:
        return agent in self._live and step >= self._live[agent]

    def settled(self, agent: str | None, step: int | None) -> bool:
        """Whether the record has a reply that was made for what that step came to, and it is taken."""
        return self._settled(agent, step, self._last_reply)

    def _settled(self, agent: str | None, step: int | None, last: Mapping[str, int]) -> bool:
        seen: set[str] = set()
        while agent is not None and agent in self._agents and agent not in seen:
            seen.add(agent)
            if step is not None and last.get(agent, 0) > step and not self.is_live(agent, step + 1):
                return True
            recorded = self._agents[agent]
            agent, step = recorded.caller, recorded.in_step
        return False

    def ended(self, agent: Agent) -> bool:
        """The same of what an agent came to."""
        return self.settled(agent.caller, agent.in_step)

    def takes_anything(self, agent: str, step: int | None) -> bool:
        """Whether what a cell asks otherwise than recorded is answered from the record all the same."""
        if self._kind == "replay":
            return True
        if self._foreign:  # its prompts are not ours
            return step is None or not self.is_live(agent, step)
        return self._settled(agent, step, self._own if self.changed else self._last_reply)
