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
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from rlm_kernel import preview, prompts
from rlm_kernel.controller import Outcome
from rlm_kernel.environment import interrupts
from rlm_kernel.environment.secrets import Redactor
from rlm_kernel.environment.within import repr_within
from rlm_kernel.errors import LimitExceeded, NoAnswer, RLMError
from rlm_kernel.limits import Ledger, Limits
from rlm_kernel.lm import LanguageModel
from rlm_kernel.runner.agent import Agent
from rlm_kernel.runner.briefing import brief
from rlm_kernel.runner.calls import Calls
from rlm_kernel.runner.deadline import deadline
from rlm_kernel.runner.recorder import Recorder
from rlm_kernel.runner.steps import Steps, ending_of
from rlm_kernel.runner.stopping import Stopping
from rlm_kernel.trace import events
from rlm_kernel.values import Ending, Run

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
        self.stopping = Stopping(self.calls)
        self.agent = Agent(
            "0",
            namespace,
            calls=self.calls,
            recorder=self.recorder,
            model=lambda name: self.model if name is None else model(name),
            sendable=self.sendable,
        )
        self.recorder.record(
            events.RunStarted(
                run=self.id,
                door=door,
                model=self.model.name,
                limits=asdict(limits),
                versions={"rlm_kernel": version("rlm_kernel"), "python": platform.python_version()},
            )
        )

    def stop(self) -> None:
        """Stop was pressed; from any thread."""
        self.stopping.stop()

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
            with deadline(self.limits.max_seconds, lambda: self.stopping.stop("deadline")):
                outcome = await Steps(self, shell, frontend).drive(briefing)
            failure = _failure(outcome, self.limits)
        except RLMError as error:
            outcome, failure = Outcome(ending_of(error), message=str(error)), error
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

    def sendable(self, text: str) -> str:
        """As it may go to a model and into the record: no secret of the environment, nothing that cannot be sent."""
        return prompts.sendable(self.redactor.text(text))

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
        seconds = time.monotonic() - ledger.started
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


def _failure(outcome: Outcome, limits: Limits) -> RLMError | None:
    if outcome.ending == "limit":
        allowed = limits.max_steps or 0
        return LimitExceeded("max_steps", allowed, allowed)
    if outcome.ending == "no_answer":
        return NoAnswer(outcome.message or "the model gave no answer")
    return None
