"""
What a run takes from the record of an earlier one.

Three kinds of run ask here:

    replay    every reply is recorded, and so is every end
    resume    recorded as far as it goes, then live
    fork      recorded before the fork and wherever the fork changes nothing, else live

A fork that broke off is resumed from its own record, with what it would still have taken from its own behind that.

What came out otherwise than recorded is the business of `differences`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import replace

from rlm_kernel.lm import LanguageModel
from rlm_kernel.lm.replay import ReplayModel
from rlm_kernel.namespace import Checkpoints
from rlm_kernel.runner.recorded.changes import Changes
from rlm_kernel.runner.recorded.checkpoints import KeptCheckpoints
from rlm_kernel.runner.recorded.differences import (
    Differences,
    Kind,
    of_agent,
    of_cell,
    pictures,
    where_is,
)
from rlm_kernel.runner.recorded.forked import Fork, Forked
from rlm_kernel.runner.recorded.frontier import Frontier
from rlm_kernel.runner.recorded.kept import Kept
from rlm_kernel.runner.recorded.lookup import Lookup
from rlm_kernel.runner.recorded.matching import Matching
from rlm_kernel.runner.recorded.replies import Replies
from rlm_kernel.trace.comparing import Difference
from rlm_kernel.trace.events import AgentStarted
from rlm_kernel.trace.known import Key
from rlm_kernel.trace.loading import Trace
from rlm_kernel.trace.nodes import Step
from rlm_kernel.trace.varying import varying
from rlm_kernel.values import CellResult, Message

HELD_A_KEY = (
    "here a model's reply held a key of the environment: the record has the key's name in brackets instead, and that "
    "is what runs again"
)


class Recorded:
    """Thread-safe, but for what is awaited, which is the loop thread's."""

    def __init__(
        self,
        kind: Kind,
        traces: Sequence[Trace],
        *,
        fork: Fork | None = None,
        forked: Forked | None = None,
        strict: bool = False,
        rerun: bool,
        by_hand: bool = False,
    ) -> None:
        """
        `traces` and `forked` are as `Lookup` takes them. With `strict`, not even a cell that names a clock or chance
        may come out otherwise. Without `rerun`, cells with `%rlm no-rerun` in them are not run; what they put out is
        taken from the record. With `by_hand` the root's cells run where a notebook has them, until `run_root`.
        """
        self.kind = kind
        self.trace = traces[0]
        self.same: set[Key] = set()
        """Steps whose cells came to what is recorded."""
        self._strict = strict
        self._lookup = lookup = Lookup(traces, forked)
        self._agents, self._steps, self._calls = lookup.agents, lookup.steps, lookup.calls
        self.dialect = None if lookup.run is None else lookup.run.dialect
        self._frontier = Frontier(kind, lookup)
        self._forked = forked
        if forked is None:
            self.changes = Changes(lookup, self.trace, fork, self._frontier.change)
        else:
            self.changes = Changes(lookup, forked.trace, forked.at, self._frontier.change)
        if fork is not None:
            self._frontier.leave(fork.agent, fork.step + ((fork.agent, fork.step) in self.changes.edited))
        self._matching = Matching(self._agents, self._calls, self._frontier.takes_anything)
        self.child, self.call = self._matching.child, self._matching.call
        self.differences = Differences(kind, self._varying())
        for said in self.changes.notes(root=False):
            self.differences.note(said)
        if by_hand:
            self.changes.insert_for_root = False
        else:
            self.run_root()
        self._kept = Kept(self.differences, kind == "replay", rerun)
        self._replies = Replies(kind, lookup, self.changes, self._frontier, self.differences)
        self.reply = self._replies.reply
        self._checkpoints = KeptCheckpoints(kind)

    @property
    def notes(self) -> list[str]:
        return self.differences.notes

    def model(self, name: str | None, resolve: Callable[[str | None], LanguageModel]) -> ReplayModel:
        """What is asked in the place of a model: `name`, or where that is not given the one of the record."""
        recorded = None if self._lookup.run is None else self._lookup.run.model
        if self.kind == "replay":
            return ReplayModel(name or recorded or "recorded", self.reply)
        chosen = name or recorded
        return ReplayModel(chosen or "recorded", self.reply, resolve(chosen))

    def limits(self, known: Container[str]) -> dict[str, object]:
        """Those of the recorded run that are known here."""
        run = self._lookup.run
        return {} if run is None else {name: value for name, value in run.limits.items() if name in known}

    def run_root(self) -> None:
        """The root's cells run in the recorded order, with those that were put between them."""
        self.changes.insert_for_root = True
        for said in self.changes.notes(root=True):
            self.differences.note(said)

    def leave(self, agent: str, step: int) -> None:
        """Of a fork, which asks otherwise: from that step on, the record is not for this agent either."""
        self._frontier.change()
        self._frontier.leave(agent, step)

    def begin(self, step: int | None) -> None:
        """Of a replay: the root's cell of that step is about to run, for the first time or once more."""
        self._checkpoints.begin(step)
        agents, calls = self._lookup.asked_by(step)
        self._matching.forget(agents, calls)
        self._replies.order = self._lookup.order(agents, calls)
        self.differences.diverged = None

    def edit(self, agent: str, step: int, source: str) -> None:
        """The source of a cell as a notebook has it now, which may be the recorded one again."""
        self.changes.edit((agent, step), source)
        self.differences.varying = self._varying()

    def started(self, event: AgentStarted) -> None:
        """An agent begins. Raises Diverged where a replay asks it something else."""
        recorded = self._agents.get(event.agent)
        if recorded is None or self._lookup.foreign:
            return
        found = of_agent(recorded, event)
        if found is not None:
            asking = None if event.caller is None or event.step is None else (event.caller, event.step)
            leaves = self._frontier.leaves(event.agent, 0)
            if self.differences.meet(where_is(event.agent, None), asking, found, leaves=leaves):
                self._frontier.leave(event.agent, 1)

    def messages(self, agent: str, step: int, computed: tuple[Message, ...]) -> tuple[Message, ...]:
        """
        The new messages of a step: as they were sent, where what they tell of came out the same. So the prompt is the
        recorded one, to the byte, whatever the words of this version are.
        """
        recorded = self._steps.get((agent, step))
        if recorded is None or recorded.reply is None or self._frontier.is_live(agent, step):
            return computed
        return recorded.new if len(recorded.new) == len(computed) else computed

    async def cell_ended(self, agent: str, step: int) -> None:
        """Returns when it is the turn of a sub-agent's cell."""
        await self._replies.order.turn("cell", agent, step)

    async def agent_ended(self, agent: str) -> None:
        """Returns when it is the turn of what its caller gets."""
        await self._replies.order.turn("end", agent, 0)

    def source(self, agent: str, step: int, source: str) -> str:
        """The source of a cell: as a person has edited it, or as it was recorded."""
        recorded = self._steps.get((agent, step))
        if recorded is None or recorded.source is None or self._frontier.is_live(agent, step):
            return source
        if self.held_a_key(agent, step):
            self.differences.note(f"{where_is(agent, step)}: {HELD_A_KEY}")
        edited = self.changes.edited.get((agent, step))
        if edited is not None:
            self._frontier.change()
        return recorded.source if edited is None else edited

    def held_a_key(self, agent: str, step: int | None) -> bool:
        """Whether the record has another text than what a model replied in that step, or to its cell."""
        recorded = None if step is None else self._steps.get((agent, step))
        return recorded is not None and HELD_A_KEY in recorded.notes and not self._frontier.is_live(agent, step or 0)

    def kept(self, agent: str, step: int, source: str) -> CellResult | None:
        """
        The recorded result of a cell that is not to run again; None where it is.

        Raises UsageError where its caller needs the object that it gave.
        """
        recorded = self._steps.get((agent, step))
        if recorded is None or self._frontier.is_live(agent, step):
            return None
        return self._kept.result(agent, recorded, source, agent in self._lookup.below)

    def came(self, agent: str, step: int, result: CellResult) -> None:
        """A cell is over. Raises Diverged where a replay came to something else."""
        recorded = self._steps.get((agent, step))
        if recorded is None or recorded.cell is None or recorded.status == "interrupted":
            return
        if (agent, step) in self._kept or self._frontier.is_live(agent, step):
            return
        if self.differences.diverged is not None:
            raise self.differences.diverged  # its code has caught it
        lost = (agent, step) in self._lookup.lost
        was, now = _without_outputs(recorded, result) if lost else (recorded, result)
        found = of_cell(was, now, loose=self._lookup.foreign)
        self.same.discard((agent, step))
        exact = found is None and not lost and not recorded.output_lost
        if exact and pictures(recorded.cell.outputs) == pictures(result.outputs):
            self.same.add((agent, step))
        left = leaves = self._frontier.leaves(agent, step)
        if not leaves or (agent, step) not in self.changes.edited:
            where = where_is(agent, step)
            left = found is not None and self.differences.meet(where, (agent, step), found, leaves=leaves)
        if left:
            self._frontier.leave(agent, step + 1)

    def answered(self, agent: str, step: int, found: Difference) -> None:
        """The answer that its last cell gave is another."""
        self.differences.meet(where_is(agent, step), (agent, step), found)

    def completes(self, agent: str, step: int | None) -> bool:
        """Whether what a cell of another tool's asks was a plain completion there, however deep."""
        return self._lookup.foreign and self._matching.only_completions(agent, step)

    def checkpoints(self, agent: str, step: int | None) -> Checkpoints | None:
        """Those of workflows in that cell, where it runs again; None where it runs for the first time."""
        recorded = None if step is None else self._steps.get((agent, step))
        again = recorded is not None and recorded.source is not None and not self._frontier.is_live(agent, step or 0)
        return self._checkpoints.kept if self.kind == "replay" or again else None

    def isolation(self, agent: str) -> str | None:
        """Where the cells of a recorded agent ran."""
        recorded = self._agents.get(agent)
        return None if recorded is None else recorded.isolation

    def max_steps(self, agent: str, now: int | None) -> int | None:
        """`now`, but for an agent that has come to its limit in the record, and its caller has gone on from there."""
        recorded = self._agents.get(agent)
        end = None if recorded is None else recorded.end
        if recorded is None or end is None or not (end.message or "").startswith("max_steps="):
            return now
        return len(recorded.steps) if self._frontier.ended(recorded) else now

    def _varying(self) -> dict[Key, tuple[str, ...]]:
        if self._strict:
            return {}
        found = varying(self.trace.tree, self.changes.edited)
        if self._forked is not None and not self._frontier.changed:
            return {**varying(self._forked.trace.tree, self.changes.edited), **found}
        return found


def _without_outputs(recorded: Step, result: CellResult) -> tuple[Step, CellResult]:
    """Of a cell whose recorded outputs are not all there: its error, and whether it ended, are left to compare."""
    cell = None if recorded.cell is None else replace(recorded.cell, outputs=())
    return replace(recorded, cell=cell), replace(result, outputs=())
