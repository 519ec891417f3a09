"""
One run, from the question to the notebook.

`Runner` has what belongs to a run: its record, its open calls and their ledger, why it was stopped. The variables
are the person's, and what to do next is the controller's.
"""

from __future__ import annotations

import asyncio
import platform
import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeVar

from rlm_kernel import preview, prompts
from rlm_kernel.controller import Ask, Observed, Outcome, RunCell, control
from rlm_kernel.environment import interrupts
from rlm_kernel.environment.execute import CellInterrupted, execute
from rlm_kernel.environment.routing import ShellFrontend
from rlm_kernel.environment.secrets import Redactor
from rlm_kernel.environment.within import repr_within
from rlm_kernel.errors import LimitExceeded, ModelError, NoAnswer, RLMError, RunInterrupted
from rlm_kernel.limits import Ledger, Limits
from rlm_kernel.lm import LanguageModel
from rlm_kernel.namespace import CALLER, lend, mend
from rlm_kernel.runner.agent import Agent
from rlm_kernel.runner.briefing import brief
from rlm_kernel.runner.calls import Calls
from rlm_kernel.runner.deadline import deadline
from rlm_kernel.runner.recorder import Recorder
from rlm_kernel.trace import events
from rlm_kernel.values import CellResult, Ending, Message, Reply, Request, Run, messages_sha

T = TypeVar("T")

_NOTHING: Any = object()

Door = Literal["magic", "cell", "python"]


class Runner:
    """Drives the root agent of one run. Make one for each run; `on_change` is called when there is more to show."""

    def __init__(
        self,
        model: Callable[[str | None], LanguageModel],
        namespace: dict[str, Any],
        *,
        limits: Limits,
        folder: Path,
        door: Door,
        max_parallel: int = 16,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`model(None)` is the run's model, `model(name)` another one; both may raise UsageError."""
        self.id = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(3)
        self.model = model(None)
        self.limits = limits
        self.redactor = Redactor()
        self.recorder = Recorder(folder, self.id, on_change)
        self.calls = Calls(Ledger(limits), max_parallel)
        self.agent = Agent(
            "0",
            namespace,
            calls=self.calls,
            recorder=self.recorder,
            model=lambda name: self.model if name is None else model(name),
            sendable=self._sendable,
        )
        self._started = time.monotonic()
        self._why: Literal["interrupt", "deadline"] | None = None
        self.recorder.record(
            events.RunStarted(
                run=self.id,
                door=door,
                model=self.model.name,
                limits=asdict(limits),
                versions={"rlm_kernel": version("rlm_kernel"), "python": platform.python_version()},
            )
        )

    def stop(self, why: Literal["interrupt", "deadline"] = "interrupt") -> None:
        """End the run from outside, from any thread: open calls are cancelled, and nothing new begins."""
        self._why = self._why or why
        self.calls.stop()

    async def run(self, question: str, *, shell: Any, frontend: bool = True) -> Run:
        """
        The run, once it has an answer. `shell` lends its input transforms and formatters, and the person's output.

        Raises ModelError, LimitExceeded, NoAnswer or RunInterrupted, each with what was reached as its `run`.
        """
        return await interrupts.ours(self._run(question, shell, frontend))

    async def _run(self, question: str, shell: Any, frontend: bool) -> Run:
        namespace = self.agent.namespace
        stale = namespace.get("answer", _NOTHING)
        briefing = brief(question, namespace, self.limits, self.redactor)
        self.open(briefing.question, briefing.context)
        try:
            with deadline(self.limits.max_seconds, lambda: self.stop("deadline")):
                outcome = await self._drive(briefing, shell, frontend)
            failure = _failure(outcome, self.limits)
        except RLMError as error:
            outcome, failure = Outcome(_ending(error), message=str(error)), error
        except asyncio.CancelledError:
            self.close("interrupted", message="cancelled")
            raise
        except BaseException as error:
            # A fault of ours, or of what the person put in our way: the record is closed all the same.
            self.close("error", message=f"{type(error).__name__}: {error}")
            raise
        value = outcome.value
        if failure is not None:
            # The best so far: a limit takes away the end of the work, not the work.
            best = namespace.get("answer", _NOTHING)
            value = None if best is stale or best is _NOTHING else best
        run = self.close(outcome.ending, value, name=outcome.name, message=outcome.message)
        if failure is not None:
            failure.run = run
            raise failure from None
        return run

    def open(self, question: str, context: str | None = None) -> None:
        """Writes down that the agent begins. A person's own cell that asks is an agent too."""
        started = events.AgentStarted(
            agent=self.agent.id,
            depth=0,
            caller=None,
            question=question,
            context=context,
            model=self.model.name,
        )
        self.recorder.record(started)

    def close(
        self, ending: Ending, value: object = None, *, name: str | None = None, message: str | None = None
    ) -> Run:
        """Writes down how it ended, and the notebook. `name` is the variable that FINAL's string named."""
        self.calls.close()
        ledger = self.calls.ledger
        answer = None
        if value is not None:
            answer = self.redactor.text(preview.render(value, 4_000, show=repr_within))
        with self.recorder.lock:
            steps = self.recorder.tree.totals().steps
        seconds = time.monotonic() - self._started
        self.recorder.record(
            events.AgentFinished(
                agent=self.agent.id,
                ending=ending,
                answer=answer,
                name=name,
                message=message,
            ),
            events.RunFinished(
                ending=ending,
                steps=steps,
                calls=ledger.calls,
                usage=ledger.usage,
                unpriced_calls=ledger.unpriced_calls,
                seconds=seconds,
            ),
        )
        trace = self.recorder.close()
        return Run(
            id=self.id,
            ending=ending,
            answer=value,
            steps=steps,
            calls=ledger.calls,
            usage=ledger.total,
            seconds=seconds,
            trace=trace,
            journal=self.recorder.path,
        )

    async def _drive(self, briefing: prompts.Briefing, shell: Any, frontend: bool) -> Outcome:
        loop = control(briefing)
        wanted = next(loop)
        while True:
            try:
                if isinstance(wanted, Ask):
                    wanted = loop.send(await self._ask(wanted))
                else:
                    wanted = loop.send(await self._run_cell(wanted, shell, frontend))
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome

    async def _ask(self, wanted: Ask) -> Reply:
        self._check()
        agent = self.agent
        messages = tuple(Message(message.role, self._sendable(message.content)) for message in wanted.messages)
        request = Request(messages, purpose="step", agent=agent.id, ordinal=wanted.step)
        self.recorder.record(
            events.Asked(
                agent=agent.id,
                step=wanted.step,
                new=messages[agent.told :],
                request_sha=messages_sha(messages),
            )
        )
        agent.told = len(messages)
        self.recorder.sync()
        try:
            reply = await self._wait(self.calls.ask(self.model, request))
        except RLMError as error:
            kind, attempts = (error.kind, error.attempts) if isinstance(error, ModelError) else (_ending(error), ())
            self.recorder.record(
                events.AskFailed(agent=agent.id, step=wanted.step, kind=kind, message=str(error), attempts=attempts)
            )
            raise
        self.recorder.record(
            events.Replied(
                agent=agent.id,
                step=wanted.step,
                text=reply.text,
                model=reply.model,
                usage=reply.usage,
                finish_reason=reply.finish_reason,
                first_token_s=reply.first_token_s,
                seconds=reply.seconds,
                attempts=reply.attempts,
            )
        )
        return reply

    async def _run_cell(self, wanted: RunCell, shell: Any, frontend: bool) -> Observed:
        self._check()
        agent = self.agent
        self.recorder.record(events.CellStarted(agent=agent.id, step=wanted.step, source=wanted.source))
        self.recorder.sync()
        lend(agent.namespace)
        token = CALLER.set(agent.at(wanted.step))
        stopped = False
        try:
            result = await execute(
                wanted.source,
                agent.namespace,
                shell=shell,
                label=f"step {wanted.step}",
                render=lambda value: preview.render(value, show=repr_within),
                frontend=ShellFrontend(shell) if frontend else None,
                stopped=lambda: self._why is not None,
            )
        except CellInterrupted as stop:
            result, stopped = stop.result, True
        finally:
            CALLER.reset(token)
        result = self._finish_cell(result, wanted.step)
        remaining = self.calls.ledger.remaining(wanted.step)
        self.recorder.record(
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
        if stopped or self._why is not None:
            self.stop()
            self._uncancel()
            raise self._how_stopped()
        return Observed(result, remaining)

    def _finish_cell(self, result: CellResult, step: int) -> CellResult:
        result = self.redactor.result(result)
        broken = mend(self.agent.namespace)
        if not broken:
            return result
        return CellResult(
            result.outputs,
            result.seconds,
            result.error,
            result.final,
            result.dropped_chars,
            (*result.notes, prompts.restored(broken)),
        )

    async def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for the loop thread. Stop, from whichever side, ends as a typed error."""
        future = asyncio.wrap_future(self.calls.start(work))
        try:
            return await future
        except asyncio.CancelledError:
            if self._why is None:
                raise  # cancelled by whoever awaits this run, which is their business
            self._uncancel()
            raise self._how_stopped() from None

    def _sendable(self, text: str) -> str:
        return prompts.sendable(self.redactor.text(text))

    def _check(self) -> None:
        if self._why is not None:
            raise self._how_stopped()
        self.calls.ledger.check_time()

    def _how_stopped(self) -> RLMError:
        if self._why == "deadline":
            allowed = self.limits.max_seconds or 0.0
            return LimitExceeded("max_seconds", time.monotonic() - self._started, allowed)
        return RunInterrupted("stopped by an interrupt")

    def _uncancel(self) -> None:
        """The interrupt has been heard; the task goes on to write the trace."""
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()


def _failure(outcome: Outcome, limits: Limits) -> RLMError | None:
    if outcome.ending == "limit":
        allowed = limits.max_steps or 0
        return LimitExceeded("max_steps", allowed, allowed)
    if outcome.ending == "no_answer":
        return NoAnswer(outcome.message or "the model gave no answer")
    return None


def _ending(error: RLMError) -> Ending:
    if isinstance(error, LimitExceeded):
        return "limit"
    if isinstance(error, RunInterrupted):
        return "interrupted"
    return "error"
