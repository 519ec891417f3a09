"""The agents, steps and completions of a record by their ids, also where it is one of several that went on in turn."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rlm_kernel.runner.recorded.forked import Behind, Forked, last_replies
from rlm_kernel.runner.recorded.order import Order, order_of
from rlm_kernel.trace.known import Key
from rlm_kernel.trace.loading import Trace
from rlm_kernel.trace.nodes import Agent, Call, Step


class Lookup:
    def __init__(self, traces: Sequence[Trace], forked: Forked | None = None) -> None:
        """
        The newest first: where it has nothing, those after it are asked, from which it was made. `forked` is what the
        last of them is a fork of.
        """
        self.trace = traces[0]
        self.agents: dict[str, Agent] = {}
        self.steps: dict[Key, Step] = {}
        self.calls: dict[Key, Call] = {}
        for trace in reversed(traces):
            for agent in trace:
                self.agents[agent.id] = agent
                _merge(self.steps, {(agent.id, step.number): step for step in agent.steps})
                _merge(self.calls, {(agent.id, call.number): call for call in agent.all_calls})
        self.replied = last_replies(self.steps)
        """By agent, the last step that the traces have a reply of."""
        self.lost = set(self.trace.lost)
        """Steps whose recorded outputs are not all there."""
        self.behind: Behind | None = None
        if forked is not None:
            self._put_behind(forked)
        run, root = self.trace.tree.run, self.trace.root
        self.run = run
        self.foreign = _is_foreign(self.trace) or (forked is not None and _is_foreign(forked.trace))
        """Whether it is the record of another tool, whose prompts are not ours."""
        self.below = {id for id in self.agents if root is None or id != root.id}
        """Ids of all agents but the root."""

    def _put_behind(self, forked: Forked) -> None:
        self.behind = behind = Behind(forked, self.agents, self.steps, self.calls)
        for key, step in behind.steps.items():
            own = self.steps.get(key)
            if own is None or own.cell is None or own.status == "interrupted":
                self.steps[key] = step
                if key in forked.trace.lost:
                    self.lost.add(key)
        self.agents = {**behind.agents, **self.agents}
        self.calls = {**behind.calls, **{key: call for key, call in self.calls.items() if self._tells(key, call)}}

    def _tells(self, key: Key, call: Call) -> bool:
        assert self.behind is not None
        return call.reply is not None or key not in self.behind.calls

    def asked_by(self, step: int | None) -> tuple[set[str], set[Key]]:
        """The agents and completions that the root's cell of that step, or a cell of theirs, asked for."""
        root = self.trace.root
        assert root is not None
        agents: set[str] = set()
        waiting = [child for child in root.children if child.in_step == step]
        while waiting:
            agent = waiting.pop()
            if agent.id not in agents:
                agents.add(agent.id)
                waiting += agent.children
        calls = {key for key, call in self.calls.items() if key[0] in agents}
        return agents, calls | {(root.id, call.number) for call in root.all_calls if call.step == step}

    def order(self, agents: Collection[str], calls: Collection[Key]) -> Order:
        return order_of((event for _, event in self.trace.tree.log), agents, calls)


def _is_foreign(trace: Trace) -> bool:
    run = trace.tree.run
    return run is not None and run.origin.get("kind") == "import"


def _merge(known: dict[Key, Step] | dict[Key, Call], newer: Mapping[Key, Step] | Mapping[Key, Call]) -> None:
    """What is newer counts, but for one without a reply where there was one."""
    for key, asked in newer.items():
        if asked.reply is not None or key not in known or known[key].reply is None:
            known[key] = asked  # type: ignore[assignment]
