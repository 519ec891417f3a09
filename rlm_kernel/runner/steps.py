"""
The steps of the root agent: what its controller wants, done and written down.

An intent is on disk before it is carried out, and a result before anything is done with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from rlm_kernel import preview, prompts
from rlm_kernel.controller import Ask, Observed, Outcome, RunCell, control
from rlm_kernel.environment.execute import CellInterrupted, execute
from rlm_kernel.environment.routing import ShellFrontend
from rlm_kernel.environment.within import repr_within
from rlm_kernel.errors import LimitExceeded, ModelError, RLMError, RunInterrupted
from rlm_kernel.namespace import CALLER, lend, mend
from rlm_kernel.trace import events
from rlm_kernel.values import CellResult, Ending, Message, Reply, Request, messages_sha

if TYPE_CHECKING:
    from rlm_kernel.runner.run import Runner

T = TypeVar("T")


class Steps:
    def __init__(self, runner: Runner, shell: Any, frontend: bool) -> None:
        """`shell` lends its transforms and formatters; with `frontend`, the person sees what the cells put out."""
        self._agent = runner.agent
        self._model = runner.model
        self._calls = runner.calls
        self._recorder = runner.recorder
        self._redactor = runner.redactor
        self._sendable = runner.sendable
        self._stopping = runner.stopping
        self._shell = shell
        self._frontend = frontend

    async def drive(self, briefing: prompts.Briefing) -> Outcome:
        """How the agent ended by itself. Raises ModelError, LimitExceeded or RunInterrupted where it did not."""
        loop = control(briefing)
        came: Reply | Observed | None = None
        while True:
            try:
                wanted = loop.send(came)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            came = await (self._ask(wanted) if isinstance(wanted, Ask) else self._run_cell(wanted))

    async def _ask(self, wanted: Ask) -> Reply:
        self._stopping.check()
        agent = self._agent
        messages = tuple(Message(message.role, self._sendable(message.content)) for message in wanted.messages)
        request = Request(messages, purpose="step", agent=agent.id, ordinal=wanted.step)
        self._recorder.record(
            events.Asked(
                agent=agent.id,
                step=wanted.step,
                new=messages[agent.told :],
                request_sha=messages_sha(messages),
            )
        )
        agent.told = len(messages)
        self._recorder.sync()
        try:
            reply = await self._wait(self._calls.ask(self._model, request))
        except RLMError as error:
            kind, attempts = (error.kind, error.attempts) if isinstance(error, ModelError) else (ending_of(error), ())
            self._recorder.record(
                events.AskFailed(agent=agent.id, step=wanted.step, kind=kind, message=str(error), attempts=attempts)
            )
            raise
        self._recorder.record(
            events.Replied(
                agent=agent.id,
                step=wanted.step,
                **events.of_reply(reply),
            )
        )
        return reply

    async def _run_cell(self, wanted: RunCell) -> Observed:
        self._stopping.check()
        agent = self._agent
        self._recorder.record(events.CellStarted(agent=agent.id, step=wanted.step, source=wanted.source))
        self._recorder.sync()
        lend(agent.namespace)
        token = CALLER.set(agent.at(wanted.step))
        stopped = False
        try:
            result = await execute(
                wanted.source,
                agent.namespace,
                shell=self._shell,
                label=f"step {wanted.step}",
                render=lambda value: preview.render(value, show=repr_within),
                frontend=ShellFrontend(self._shell) if self._frontend else None,
                stopped=lambda: self._stopping.why is not None,
            )
        except CellInterrupted as stop:
            result, stopped = stop.result, True
        finally:
            CALLER.reset(token)
        result = self._finish_cell(result)
        remaining = self._calls.ledger.remaining(wanted.step)
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
        if stopped or self._stopping.why is not None:
            self._stopping.stop()
            self._stopping.heard()
            raise self._stopping.error()
        return Observed(result, remaining)

    def _finish_cell(self, result: CellResult) -> CellResult:
        result = self._redactor.result(result)
        broken = mend(self._agent.namespace)
        return replace(result, notes=(*result.notes, prompts.restored(broken))) if broken else result

    async def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for the loop thread. Stop, from whichever side, ends as a typed error."""
        future = asyncio.wrap_future(self._calls.start(work))
        try:
            return await future
        except asyncio.CancelledError:
            if self._stopping.why is None:
                raise  # cancelled by whoever awaits this run, which is their business
            self._stopping.heard()
            raise self._stopping.error() from None


def ending_of(error: RLMError) -> Ending:
    if isinstance(error, LimitExceeded):
        return "limit"
    return "interrupted" if isinstance(error, RunInterrupted) else "error"
