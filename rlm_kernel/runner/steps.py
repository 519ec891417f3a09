"""
The steps of an agent: what its controller wants, done and written down.

An intent is on disk before it is carried out, and a result before anything is done with it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rlm_kernel.controller import Ask, Came, Observed, Outcome, Read, RunCell, control
from rlm_kernel.environment.execute import CellInterrupted
from rlm_kernel.errors import ModelError, RLMError, SchemaMismatch
from rlm_kernel.prompts import Briefing
from rlm_kernel.runner.endings import kind_of
from rlm_kernel.runner.hands import Hands
from rlm_kernel.trace import events
from rlm_kernel.values import CellError, CellResult, Message, Reply, Request, messages_sha

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent


class Steps:
    def __init__(self, agent: Agent, hands: Hands) -> None:
        self._agent = agent
        self._hands = hands
        self._runner = agent.runner
        self._recorder = agent.runner.recorder

    async def drive(self, briefing: Briefing) -> Outcome:
        """How the agent ended by itself. Raises ModelError, LimitExceeded or RunInterrupted where it did not."""
        await self.insert(None)
        loop = control(briefing)
        came: Came = None
        while True:
            try:
                wanted = loop.send(came)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            if isinstance(wanted, Ask):
                came = await self._ask(wanted)
            elif isinstance(wanted, RunCell):
                came = await self.run_cell(wanted)
            else:
                came = await self._hands.do(partial(self._read, wanted.text), False)

    def _read(self, text: str) -> Read:
        schema = self._agent.schema
        assert schema is not None
        try:
            return Read(schema.read(text))
        except SchemaMismatch as mismatch:
            return Read(None, str(mismatch))

    async def _ask(self, wanted: Ask) -> Reply:
        agent, runner = self._agent, self._runner
        agent.scope.check()
        agent.reading.show(wanted.shown)
        # What was sent stays as it was, also where more secrets are known now: each request is a prefix of the next.
        fresh = wanted.messages[len(agent.sent) :]
        new = tuple(Message(message.role, runner.sendable(message.content)) for message in fresh)
        if runner.recorded is not None:
            new = runner.recorded.messages(agent.id, wanted.step, new)
        messages = agent.sent = (*agent.sent, *new)
        request = Request(messages, purpose="step", agent=agent.id, ordinal=wanted.step)
        self._recorder.record(
            events.Asked(
                agent=agent.id,
                step=wanted.step,
                new=new,
                request_sha=messages_sha(messages),
            )
        )
        try:
            await self._hands.on_disk()
            reply = await self._hands.wait(runner.calls.ask(agent.model, request, agent.ledger))
        except asyncio.CancelledError:
            why = "stopped while waiting for the model"
            self._recorder.record(events.AskFailed(agent=agent.id, step=wanted.step, kind="interrupted", message=why))
            raise
        except RLMError as error:
            kind, attempts = kind_of(error), error.attempts if isinstance(error, ModelError) else ()
            why = runner.sendable(str(error))
            self._recorder.record(
                events.AskFailed(agent=agent.id, step=wanted.step, kind=kind, message=why, attempts=attempts)
            )
            raise
        runner.record_reply(events.Replied(agent=agent.id, step=wanted.step, **events.of_reply(reply)))
        return reply

    async def insert(self, step: int | None) -> None:
        """The cells that a person put into a record after that step's; the model is not told what they put out."""
        recorded = self._runner.recorded
        if recorded is None:
            return
        for cell in recorded.changes.inserted(self._agent.id, step):
            result = await self._hands.run(step or 0, cell.source)
            recorded.changes.put_out[cell] = result
            wrong = "" if result.error is None else f", and raised {result.error.name}: {result.error.message}"
            said = f"a cell that was put into the record ran here{wrong}:\n{cell.source}"
            self._recorder.record(events.Noted(agent=self._agent.id, step=step, text=self._runner.sendable(said)))

    async def run_cell(self, wanted: RunCell) -> Observed:
        agent, recorded = self._agent, self._runner.recorded
        agent.scope.check()
        source = wanted.source if recorded is None else recorded.source(agent.id, wanted.step, wanted.source)
        found = () if agent.caller is not None else self._runner.findings.before(source)
        shown = self._runner.redactor.text(source)
        self._recorder.record(*found, events.CellStarted(agent=agent.id, step=wanted.step, source=shown))
        stopped = False
        kept = None if recorded is None else recorded.kept(agent.id, wanted.step, source)
        try:
            await self._hands.on_disk()
            result = kept or await self._hands.run(wanted.step, source)
        except CellInterrupted as stop:
            result, stopped = stop.result, True
        except asyncio.CancelledError:
            error = CellError("KeyboardInterrupt", "", "KeyboardInterrupt: stopped before it began")
            result, stopped = CellResult((), 0.0, error), True
        left, unseen = agent.reading.settle()
        remaining = replace(agent.at(wanted.step).remaining(), read_tokens=left)
        self._recorder.record(
            events.CellFinished(
                agent=agent.id,
                step=wanted.step,
                outputs=result.outputs,
                seconds=result.seconds,
                error=result.error,
                final=result.final is not None,
                dropped_chars=result.dropped_chars,
                notes=result.notes,
                remaining=remaining,
            )
        )
        if stopped or agent.scope.why is not None:
            raise self._hands.stopped()
        if recorded is not None:
            recorded.came(agent.id, wanted.step, result)
            await self.insert(wanted.step)
            if agent.caller is not None:
                await recorded.cell_ended(agent.id, wanted.step)
        return Observed(result, remaining, unseen)
