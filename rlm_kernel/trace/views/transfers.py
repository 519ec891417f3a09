"""Each result that went from one agent of a run to another by reference."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from rlm_kernel.trace.events import AgentStarted, Used
from rlm_kernel.trace.nodes import Agent, Step
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views.contexts import has_store, key_of, store_of
from rlm_kernel.trace.views.graph_nodes import PERSON
from rlm_kernel.trace.views.retyped import estimated, observation

_MOST = 10**15
"""Tokens; a record that says more was tampered with."""


STATE = "state "
"""Before the name of one, where no agent's id stands: those are numbers and dots."""


@dataclass(slots=True)
class Transfer:
    source: str
    """An agent's id; `state NAME` of a person's workflow; `person`, also for what was there before the run."""
    target: str
    """An agent's id."""
    what: str
    """`context`, `answer`, `result` (of a store)."""
    name: str | None
    """The key or variable; of an answer, the variable that FINAL named."""
    step: int | None
    """The receiver's step that it came in; None for a context, which is there from the start."""
    tokens: int | None
    """Of the whole; None where that is unknown."""
    requests: int
    """Of the receiver's conversation that would have carried it."""
    loaded: int = 0
    """Tokens of it that came into the window in fact."""
    carried: int = 0
    """The same, once for each request that carried them."""
    price_usd: float | None = None
    """Of a prompt token of its receiver; None where that is unknown."""

    @property
    def by_value(self) -> int | None:
        """Tokens of all those requests together."""
        return None if self.tokens is None else self.tokens * self.requests

    @property
    def saved(self) -> int | None:
        return None if self.by_value is None else max(0, self.by_value - self.carried)

    @property
    def saved_usd(self) -> float | None:
        return None if self.saved is None or self.price_usd is None else self.saved * self.price_usd


def transfers(tree: Tree, prices: Mapping[str, float]) -> list[Transfer]:
    """In the order of the walk: of each agent its context, then what came by its steps. `prices` by model."""
    found = _Ledger(tree).transfers()
    for transfer in found:
        transfer.price_usd = prices.get(tree.agents[transfer.target].model)
    return found


class _Ledger:
    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._sent = {agent.id: _sent(agent) for agent, _ in tree.walk()}
        self._steps = {(agent.id, step.number): step for agent, _ in tree.walk() for step in agent.steps}
        self._asked_with = _asked_with(tree)
        self._results = self._of_store()

    def transfers(self) -> list[Transfer]:
        came: dict[str, list[Transfer]] = {}
        for agent, _ in self._tree.walk():
            answer = self._answer(agent)
            if answer is not None:
                came.setdefault(answer.target, []).append(answer)
        for result in self._results:
            came.setdefault(result.target, []).append(result)
        found = []
        for agent, _ in self._tree.walk():
            if (context := self._context(agent)) is not None:
                found.append(context)
            here = sorted(came.get(agent.id, []), key=lambda each: each.step or 0)
            self._take_off(here)
            found += here
        return found

    def _later(self, agent: str, step: int) -> int:
        sent = self._sent.get(agent, [])
        return len(sent) - bisect_right(sent, step)

    def _context(self, agent: Agent) -> Transfer | None:
        if (agent.context is None and agent.context_tokens is None) or has_store(agent):
            return None  # a store is names; what is taken and read of it are results
        source = PERSON if agent.caller is None or agent.in_step is None else agent.caller
        name, requests = agent.context_name, len(self._sent[agent.id])
        caller = None if agent.caller is None else self._tree.agents.get(agent.caller)
        if name is not None and (key := key_of(name, caller)) is not None:
            name = key
        found = Transfer(source, agent.id, "context", name, None, _size(agent.context_tokens), requests)
        _load(found, estimated(agent.context or ""), requests)
        return found

    def _answer(self, agent: Agent) -> Transfer | None:
        end = agent.end
        if end is None or end.answer is None or agent.caller is None or agent.in_step is None:
            return None
        requests = self._later(agent.caller, agent.in_step)
        tokens = _size(end.answer_tokens)
        return Transfer(agent.id, agent.caller, "answer", end.name, agent.in_step, tokens, requests)

    def _of_store(self) -> list[Transfer]:
        """What agents took or read that others had written: once for each agent and each writing of a key."""
        found: dict[tuple[str, int, str, int], Transfer] = {}
        uses, sizes = self._uses()
        for event, writer, since, in_first in uses:
            if writer != event.agent and event.step is not None:
                later = self._later(event.agent, event.step)
                requests = len(self._sent.get(event.agent, [])) if in_first else later
                size = _size(sizes.get((event.store, event.key, since)))
                fresh = Transfer(writer, event.agent, "result", event.key, event.step, size, requests)
                one = found.setdefault((event.agent, event.store, event.key, since), fresh)
                if one is fresh and size and in_first and event.key in self._asked_with.get(event.agent, ()):
                    _load(one, size, requests)
                _load(one, event.tokens, later)
        return list(found.values())

    def _uses(self) -> tuple[list[tuple[Used, str, int, bool]], dict[tuple[int, str, int], int]]:
        """
        Each with who had written the key, when (a number, -1 for before the run), and whether it was in the store that
        the agent began with, so that by value it would have stood in its first request. And the sizes of what was
        written, by store, key and that number: the largest that was told, as in older records a read of a part tells
        that of the part. Of agents side by side the first to be written down need not be the one that told.
        """
        uses: list[tuple[Used, str, int, bool]] = []
        sizes: dict[tuple[int, str, int], int] = {}
        written: dict[tuple[int, str], tuple[int, str]] = {}
        began: dict[str, int] = {}
        for number, (_, event) in enumerate(self._tree.log):
            if isinstance(event, AgentStarted):
                began[event.agent] = number
            if not isinstance(event, Used) or not event.store:
                continue  # a variable is its agent's own
            place = event.store, event.key
            if event.how == "write":
                written[place] = number, writer_of(self._tree, event)
            since, writer = written.get(place, (-1, PERSON))
            if event.size is not None:
                sizes[*place, since] = max(event.size, sizes.get((*place, since), 0))
            if event.how == "delete":
                written.pop(place, None)
            elif event.how != "write":
                agent = self._tree.agents[event.agent]
                in_first = has_store(agent) and store_of(agent) == event.store
                there = in_first and since < began.get(event.agent, -1)
                uses.append((event, writer, since, there))
        return uses, sizes

    def _take_off(self, came: list[Transfer]) -> None:
        """Of what came in the same step, as much as its observation may have shown: nothing is saved by that."""
        read: dict[int, int] = {}
        for transfer in came:
            if transfer.step is not None:
                read[transfer.step] = read.get(transfer.step, 0) + transfer.loaded
        left = {step: self._shown(came[0].target, step) - tokens for step, tokens in read.items()}
        for transfer in came:
            if transfer.step is not None and transfer.tokens is not None:
                before = transfer.loaded
                _load(transfer, left[transfer.step], transfer.requests)
                left[transfer.step] -= transfer.loaded - before

    def _shown(self, agent: str, step: int) -> int:
        """Tokens of what the agent was told of that step's cell."""
        after = self._steps.get((agent, step + 1))
        return 0 if after is None else estimated(observation(after))


def _asked_with(tree: Tree) -> dict[str, set[str]]:
    """
    Of each agent that a state asked, the keys whose text stood in what that state asked: all of its requests carried
    it. Which of several agents of one state was asked with it, the record does not say.
    """
    found: dict[str, set[str]] = {}
    for agent, _ in tree.walk():
        keys = {
            state.number: {each.key for each in state.end.loaded if each.reported}
            for state in agent.states
            if state.end is not None
        }
        found.update({child.id: keys.get(child.in_state, set()) for child in agent.children if child.in_state})
    return found


def writer_of(tree: Tree, write: Used) -> str:
    """As of a `Transfer`. In a person's own cell a workflow writes what its states come to."""
    if write.step is not None:
        return write.agent
    of = tree.agents.get(write.agent)
    names = {state.name for state in of.states if state.step is None} if of is not None else set()
    return f"{STATE}{write.key}" if write.key in names else PERSON


def _load(transfer: Transfer, tokens: int, requests: int) -> None:
    """It was shown so much of it, which so many requests carried; never more than all of it."""
    room = _MOST if transfer.tokens is None else max(0, transfer.tokens - transfer.loaded)
    tokens = min(bounded(tokens), room)
    transfer.loaded += tokens
    transfer.carried += tokens * requests


def _sent(agent: Agent) -> list[int]:
    """The steps whose requests went out, in order."""
    return sorted(step.number for step in agent.steps if _went_out(step))


def _went_out(step: Step) -> bool:
    return step.reply is not None or (bool(step.new) and (step.failure is None or step.failure.kind != "limit"))


def bounded(tokens: int) -> int:
    return min(max(0, tokens), _MOST)


def _size(tokens: int | None) -> int | None:
    return None if tokens is None else bounded(tokens)
