"""
One run, from the question to the notebook.

`Runner` has what belongs to a run: its record, its open calls and their ledger, why it was stopped. The variables
are the person's, and what to do next is the controller's.
"""

from __future__ import annotations

import asyncio
import contextvars
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from rlm_kernel import dialects, preview, prompts
from rlm_kernel.controller import Outcome
from rlm_kernel.environment import interrupts
from rlm_kernel.environment.routing import ShellFrontend
from rlm_kernel.environment.secrets import Redactor
from rlm_kernel.errors import LimitExceeded, RLMError
from rlm_kernel.limits import Ledger, Limits, Policy
from rlm_kernel.lm import LanguageModel
from rlm_kernel.namespace import LENT
from rlm_kernel.runner.agent import Agent
from rlm_kernel.runner.answers import NOTHING, best_so_far, described_answer
from rlm_kernel.runner.briefing import brief
from rlm_kernel.runner.calls import Calls
from rlm_kernel.runner.deadline import deadline
from rlm_kernel.runner.endings import ending_of, failure_of
from rlm_kernel.runner.findings import Findings
from rlm_kernel.runner.hands import MainHands
from rlm_kernel.runner.models import Models
from rlm_kernel.runner.reading import Stores
from rlm_kernel.runner.recorded import HELD_A_KEY, Recorded
from rlm_kernel.runner.recorder import Recorder
from rlm_kernel.runner.rooms import Rooms
from rlm_kernel.runner.steps import Steps
from rlm_kernel.runner.versions import versions
from rlm_kernel.schema import Schema
from rlm_kernel.trace import events
from rlm_kernel.trace.events import CallFinished, Noted, Replied
from rlm_kernel.values import Ending, Run

Door = Literal["magic", "cell", "python", "replay"]


class Runner:
    """Drives the root agent of one run. Make one for each run; `on_change` is called when there is more to show."""

    def __init__(
        self,
        resolve: Callable[[str | None], LanguageModel],
        namespace: dict[str, Any],
        *,
        shell: Any,
        limits: Limits,
        folder: Path | None,
        door: Door,
        policy: Policy,
        schema: Schema | None = None,
        keep_context: str = "small",
        recorded: Recorded | None = None,
        origin: dict[str, Any] | None = None,
        cell: int | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """
        `shell` lends its input transforms and formatters, and the person's output. `resolve(None)` is the run's
        model, `resolve(name)` another one; both may raise UsageError. Without a `folder` nothing is written. `recorded`
        is what it takes from an earlier run, and `origin` what its own record says of that. `cell` is the number of
        the person's own cell that begins it.
        """
        self.id = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(3)
        self.cell = cell
        self.shell = shell
        self.limits = limits
        self.redactor = Redactor()
        self.policy = policy
        self.recorded = recorded
        self.lends = LENT if recorded is None else {**LENT, **dialects.names(recorded.dialect)}
        """What stands in every namespace and is nobody's variable."""
        self.models = Models(resolve, policy.models)
        model = self.models.at(0, None)
        self.context = contextvars.copy_context()
        """The person's, in which no cell of a model runs: what the cells of sub-agents begin with."""
        self.recorder = Recorder(folder, self.id, on_change)
        # Replies of a record come in its order, for which none may hold back another.
        replays = recorded is not None and recorded.kind == "replay"
        self.calls = Calls(None if replays else policy.max_parallel)
        self.rooms = Rooms(policy.max_agents)
        self.agent = Agent(self, "0", namespace, model=model, limits=limits, ledger=Ledger(limits), schema=schema)
        self.agents: dict[str, Agent] = {"0": self.agent}
        """By id, with their namespaces, also when they are over."""
        self.stores = Stores()
        self.findings = Findings("0", namespace, self.redactor, keep_context, folder)
        self.recorder.record(
            events.RunStarted(
                run=self.id,
                door=door,
                model=model.name,
                limits=asdict(limits),
                versions=versions(),
                origin=origin or {},
                dialect=None if recorded is None else recorded.dialect,
                cell=cell,
            )
        )

    def stop(self) -> None:
        """Stop was pressed; from any thread."""
        self.agent.scope.stop()

    async def run(self, question: str, *, frontend: bool = True) -> Run:
        """
        The run, once it has an answer. With `frontend`, the person sees what the root's cells put out.

        Raises ModelError, LimitExceeded, NoAnswer or RunInterrupted, each with what was reached as its `run`.
        """
        return await interrupts.ours(self._run(question, frontend))

    async def _run(self, question: str, frontend: bool) -> Run:
        agent = self.agent
        stale = agent.namespace.get("answer", NOTHING)
        briefing = brief(question, agent.namespace, self.limits, self.redactor, agent.schema)
        self.open(briefing.question, briefing.context, briefing.schema)
        hands = MainHands(agent, ShellFrontend(self.shell, self.redactor) if frontend else None)
        try:
            with deadline(self.limits.max_seconds, lambda: agent.scope.stop("deadline")):
                outcome = await Steps(agent, hands).drive(briefing)
            failure = failure_of(outcome, self.limits)
        except RLMError as error:
            self._name_the_chain(error)
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
            best = best_so_far(agent, stale)
            value = None if best is NOTHING else best
        run = self.close(outcome.ending, value, name=outcome.name, message=outcome.message)
        if failure is not None:
            failure.run = run
            raise failure from None
        return run

    def _name_the_chain(self, error: RLMError) -> None:
        """A limit that sub-agents of sub-agents have used up: how far down they went."""
        deepest = max(self.agents.values(), key=lambda agent: agent.depth)
        if isinstance(error, LimitExceeded) and deepest.depth > 1:
            error.args = (f"{error}; its agents went down to {deepest.id}",)

    def sendable(self, text: str) -> str:
        """As it may go to a model and into the record: no secret of the environment, nothing that cannot be sent."""
        return prompts.sendable(self.redactor.text(text))

    def record_reply(self, event: Replied | CallFinished) -> None:
        """Without keys: what runs, or reaches a cell, is the reply as it came; what is kept is this."""
        kept = replace(event, text=self.redactor.text(event.text))
        noted: tuple[Noted, ...] = ()
        if kept.text != event.text or (self.recorded is not None and self.recorded.held_a_key(event.agent, event.step)):
            noted = (Noted(agent=event.agent, step=event.step, text=HELD_A_KEY),)
        self.recorder.record(kept, *noted)

    def open_for_person(self, cell: str, found: Sequence[events.Given]) -> None:
        """Writes down that a person's own cell asks, which is an agent too, and what it found."""
        self.open(self.sendable(cell))
        self.recorder.record(*found)

    def open(self, question: str, context: str | None = None, schema: str | None = None) -> None:
        """Writes down that the agent begins."""
        self.stores.number_of(self.agent.namespace.get("context"))  # so that it is the first
        started = events.AgentStarted(
            agent=self.agent.id,
            depth=0,
            caller=None,
            question=question,
            context=context,
            model=self.agent.model.name,
            schema=schema,
        )
        if context is None:
            self.recorder.record(started)
            return
        found = self.findings.context()
        self.agent.context_sha = found[0].sha if found else None
        self.recorder.record(replace(started, context_sha=self.agent.context_sha), *found)

    def close(
        self, ending: Ending, value: object = None, *, name: str | None = None, message: str | None = None
    ) -> Run:
        """Writes down how it ended, and the notebook. `name` is the variable that FINAL's string named."""
        self.agent.scope.close()
        ledger = self.agent.ledger
        answer = None if value is None else described_answer(value, self.redactor)
        with self.recorder.lock:
            steps = self.recorder.tree.totals().steps
        seconds = time.monotonic() - ledger.started
        notes = [] if self.recorded is None else self.recorded.notes
        self.recorder.record(
            *(events.Noted(agent=self.agent.id, text=self.sendable(note)) for note in notes),
            events.AgentFinished(
                agent=self.agent.id,
                ending=ending,
                answer=answer,
                name=None if name is None else self.redactor.text(name),
                message=None if message is None else self.sendable(message),
                seconds=seconds,
                answer_tokens=None if value is None else preview.tokens_of(value),
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
