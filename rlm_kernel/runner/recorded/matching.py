"""
Which agent and which completion of a record it is that a cell asks for again.

Those that run side by side ask in any order, so ids are found by what is asked and not by counting.
"""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from rlm_kernel.trace.known import Key
from rlm_kernel.trace.nodes import Agent, Call

Cell = tuple[str, int | None]
"""Who asks: an agent's id and the step whose cell it is, None for a person's own."""


class Matching:
    """Thread-safe. Where `whatever` says so of a cell, what it asks otherwise takes the place of what it asked then."""

    def __init__(
        self, agents: Mapping[str, Agent], calls: Mapping[Key, Call], whatever: Callable[[str, int | None], bool]
    ) -> None:
        self._agents = agents
        self._calls = calls
        self._whatever = whatever
        self._open_agents: defaultdict[Cell, dict[str, Agent]] = defaultdict(dict)
        self._open_calls: defaultdict[Cell, dict[int, Call]] = defaultdict(dict)
        self._agent_numbers: defaultdict[str, itertools.count[int]] = defaultdict(lambda: itertools.count(1))
        self._call_numbers: defaultdict[str, itertools.count[int]] = defaultdict(lambda: itertools.count(1))
        self._lock = threading.Lock()
        self.forget(agents, calls)

    def child(self, caller: str, step: int | None, question: str, context_sha: str | None) -> str:
        """The id of a sub-agent that a cell of `caller` starts: that of the recorded one, or a new one."""

        def same(agent: Agent) -> bool:
            known = None not in (agent.context_sha, context_sha)
            return agent.question == question and (not known or agent.context_sha == context_sha)

        with self._lock:
            here = self._open_agents[caller, step]
            found = next((id for id, agent in here.items() if same(agent)), None)
            if found is None and self._whatever(caller, step):
                found = next(iter(here), None)
            if found is not None:
                del here[found]
                return found
            return next(id for n in self._agent_numbers[caller] if (id := f"{caller}.{n}") not in self._agents)

    def call(self, agent: str, step: int | None, request_sha: str, prompt: str) -> int:
        """The number of a completion, likewise."""
        with self._lock:
            here = self._open_calls[agent, step]
            found = next((n for n, call in here.items() if call.request_sha == request_sha), None)
            if found is None:
                found = next((n for n, call in here.items() if call.prompt == prompt), None)
            if found is None and self._whatever(agent, step):
                found = next(iter(here), None)
            if found is not None:
                del here[found]
                return found
            return next(n for n in self._call_numbers[agent] if (agent, n) not in self._calls)

    def only_completions(self, agent: str, step: int | None) -> bool:
        """Whether all that is left of what that cell asked then are completions."""
        with self._lock:
            return bool(self._open_calls[agent, step]) and not self._open_agents[agent, step]

    def forget(self, agents: Iterable[str], calls: Iterable[Key]) -> None:
        """That they were asked for: they may be once more."""
        with self._lock:
            again, calls_again = set(agents), set(calls)
            # All of a cell's anew, so that they stand in the order of the record.
            for id, agent in self._agents.items():
                here = self._open_agents[agent.caller or "", agent.in_step]
                if id in again or id in here:
                    here[id] = here.pop(id, agent)
            for key, call in self._calls.items():
                open_calls = self._open_calls[key[0], call.step]
                if key in calls_again or key[1] in open_calls:
                    open_calls[key[1]] = open_calls.pop(key[1], call)
