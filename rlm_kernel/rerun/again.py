"""
A recorded run that runs again: each of its cells in its namespace, with the recorded replies and no model.

The root's cells are run one by one, by whoever wants them: a notebook's Run All, or `all`. Those of sub-agents run
inside the cell that started them, as they did.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NoReturn

from rlm_kernel.controller import RunCell
from rlm_kernel.environment.execute import CellInterrupted
from rlm_kernel.environment.sink import Sink
from rlm_kernel.errors import Diverged, SchemaMismatch, UsageError
from rlm_kernel.limits import Limits, Policy
from rlm_kernel.namespace import Caller
from rlm_kernel.rerun.places import Places
from rlm_kernel.runner import Runner
from rlm_kernel.runner.agent import Agent
from rlm_kernel.runner.answers import described_answer
from rlm_kernel.runner.cell import run_cell
from rlm_kernel.runner.hands import MainHands
from rlm_kernel.runner.recorded import Recorded
from rlm_kernel.runner.recorded.differences import of_answer
from rlm_kernel.runner.scope import Scope
from rlm_kernel.runner.spent import Told, read_before, spent_before
from rlm_kernel.runner.steps import Steps
from rlm_kernel.schema import Schema
from rlm_kernel.trace.comparing import Difference
from rlm_kernel.trace.events import CellFinished, Replied, of_reply
from rlm_kernel.trace.loading import Trace
from rlm_kernel.trace.nodes import Agent as RecordedAgent
from rlm_kernel.trace.nodes import Step
from rlm_kernel.trace.tree import Tree
from rlm_kernel.values import Final, Usage
from rlm_kernel.window import ReadBudget


class Replay:
    """`needs.prepare` comes first. All of it is for the main thread of a kernel, or of a script."""

    def __init__(
        self, trace: Trace, shell: Any, namespace: dict[str, Any], *, strict: bool = False, rerun: bool = False
    ) -> None:
        """Raises UsageError where there is nothing to run."""
        if trace.root is None or trace.tree.run is None:
            raise UsageError(f"{trace.path} holds no run: its beginning is not in the record")
        self.trace = trace
        self.root: RecordedAgent = trace.root
        self.recorded = Recorded("replay", [trace], strict=strict, rerun=rerun, by_hand=True)
        limits = replace(limits_of(trace), max_seconds=None)
        self._spent = spent_before(trace)
        self._read = read_before(trace, limits)
        self._begun = 0
        self.ran: set[int] = set()
        """The root's steps whose cells have run."""
        self.places = Places(self)
        self.answer: Final | None = None
        self.runner = Runner(
            lambda name: self.recorded.model(name, _nobody),
            namespace,
            shell=shell,
            limits=limits,
            folder=None,
            door="replay",
            policy=Policy(),
            recorded=self.recorded,
            cell=trace.tree.run.cell,
        )
        self._ledger = self.runner.agent.ledger = Told(self.runner.limits)
        self._account = self.runner.agent.reading
        self.runner.agent.scope = Scope(self._ledger)
        self.runner.open(self.root.question, self.root.context)

    @property
    def tree(self) -> Tree:
        """Of what ran so far."""
        return self.runner.recorder.tree

    async def step(self, number: int, source: str | None = None) -> Step:
        """
        Runs the root's cell of that step; `source` as a notebook has it now. What came of it.

        Raises Diverged where it came to something else, or an earlier cell did and was not run again since;
        RunInterrupted; UsageError where there is no such cell.
        """
        recorded = self.root.step(number)
        if recorded.source is None:
            raise UsageError(f"step {number} of agent {self.root.id} has no cell")
        differences = self.recorded.differences
        if differences.diverged is not None and self._begun < number:
            raise differences.diverged
        if source is not None:
            self.recorded.edit(self.root.id, number, source)
        agent = self._begin(number)
        agent.schema = _as_refused(recorded)
        if recorded.reply is not None:
            self.runner.recorder.record(Replied(agent=agent.id, step=number, **of_reply(recorded.reply)))
        observed = await Steps(agent, MainHands(agent, None)).run_cell(RunCell(number, recorded.source))
        if differences.diverged is not None:
            raise differences.diverged  # the model's code has caught it
        self.ran.add(number)
        if observed.result.final is not None:
            self.answer = observed.result.final
            self._compare_answer(number)
        assert self.tree.root is not None
        return self.tree.root.step(number)

    async def all(self) -> Diverged | None:
        """
        The person's own cell that began it, if one did, and every cell of the root, in order, up to the first that
        comes to something else; that is returned. What the person's own puts out is not in the record.
        """
        agent = self._begin(0)
        self.recorded.run_root()
        try:
            await Steps(agent, MainHands(agent, None)).insert(None)
            if self.trace.persons_cell is not None:
                await self._persons(self.trace.persons_cell)
            for step in self.root.steps:
                if step.source is not None:
                    await self.step(step.number)
        except Diverged:
            pass
        finally:
            agent.scope.close()
        return self.recorded.differences.diverged

    async def _persons(self, source: str) -> None:
        """Raises Diverged where it ends otherwise, or asks less."""
        end, differences = self.root.end, self.recorded.differences
        where = "the person's own cell"
        if end is None or end.ending == "interrupted":
            differences.note(f"{where} did not run again: it was stopped then")
            return
        try:
            result = await run_cell(self.runner.agent, None, source, Sink())
        except CellInterrupted:
            raise MainHands(self.runner.agent, None).stopped() from None
        if differences.diverged is not None:
            raise differences.diverged  # its code has caught it
        now = "error" if result.error is not None else "final"
        if now != end.ending:
            came = "it raised no error" if result.error is None else f"{result.error.name}: {result.error.message}"
            recorded = "it raised an error" if result.error is None else "it raised no error"
            raise differences.diverge(where, Difference("end", recorded, came))
        asked = {*self.trace.agents, *_calls(self.root)} - {*self.tree.agents, *_calls(self.tree.agents[self.root.id])}
        if asked:
            raise differences.diverge(where, Difference("asking", f"it asked {_listed(asked)}", "it did not"))

    def _begin(self, number: int) -> Agent:
        """The root, as it stood before that step; 0 is a person's own cell."""
        self.recorded.begin(number or None)
        self._begun = number
        agent = self.runner.agent
        self._ledger.begin(self._spent.get(number, (0, Usage(cost_usd=0.0), 0)))
        if number:
            agent.reading = self._account
            agent.reading.begin(*self._read.get(number, (0, 0)))
        else:
            agent.reading = ReadBudget(self.runner.limits.max_tokens_per_read)  # a person sees what they like
        if agent.scope.closed or agent.scope.why is not None:
            agent.scope = Scope(agent.ledger)
        return agent

    def person(self) -> Caller:
        """Who asks in that cell."""
        return self._begin(0)

    def as_ran(self) -> Tree:
        """The record with the outputs that came now in the place of the recorded ones."""
        now = {(event.agent, event.step): event for _, event in self.tree.log if isinstance(event, CellFinished)}
        tree = Tree()
        for at, event in self.trace.tree.log:
            if isinstance(event, CellFinished):
                key = event.agent, event.step
                if (ran := now.get(key)) is not None and key not in self.recorded.same:
                    event = replace(event, outputs=ran.outputs, error=ran.error)
            tree.add(event, at)
        return tree

    def report(self) -> dict[str, Any]:
        """What became of it, as JSON."""
        found = self.recorded.differences.diverged
        cells = sum(event.type == "cell_finished" for _, event in self.tree.log)
        return {
            "run": self.trace.run,
            "cells": cells,
            "agents": len(self.tree.agents),
            "identical": found is None,
            "divergence": None
            if found is None
            else {"where": found.where, "what": found.what, "recorded": found.recorded, "came": found.came},
            "notes": list(self.recorded.notes),
        }

    def _compare_answer(self, number: int) -> None:
        assert self.answer is not None
        value = self.answer.value
        found = of_answer(self.root, value, described_answer(value, self.runner.redactor))
        if found is not None:
            self.recorded.answered(self.root.id, number, found)


class _Refused(Schema):
    """The form of the answer is not in the record, but that a cell's answer had not that form is."""

    def __init__(self, message: str) -> None:
        self._message = message

    def check(self, answer: object) -> object:
        raise SchemaMismatch(self._message)


def _as_refused(step: Step) -> Schema | None:
    error = None if step.cell is None else step.cell.error
    return _Refused(error.message) if error is not None and error.name == "SchemaMismatch" else None


def _calls(agent: RecordedAgent) -> Iterator[str]:
    return (f"completion {call.number}" for call in agent.calls)


def _listed(asked: set[str]) -> str:
    found = sorted(name if name.startswith("completion") else f"agent {name}" for name in asked)
    return ", ".join(found[:5]) + (f" and {len(found) - 5:,} more" if len(found) > 5 else "")


def _nobody(name: str | None) -> NoReturn:
    raise AssertionError("a replay asks no model")


def limits_of(trace: Trace) -> Limits:
    """As they are recorded; what this version does not know is left out."""
    told = {} if trace.tree.run is None else trace.tree.run.limits
    known = {name: told[name] for name in Limits.__slots__ if name in told}
    return Limits(**known)  # type: ignore[arg-type]
