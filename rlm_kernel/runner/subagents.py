"""
A sub-agent from its question to its answer, as a task on the loop thread.

What it ends with, a value or an error, is the caller's. It stops its own scope when it ends, however it ends.
"""

from __future__ import annotations

import asyncio
import builtins
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from IPython.core.getipython import get_ipython
from IPython.display import display

from rlm_kernel import preview
from rlm_kernel.controller import Outcome
from rlm_kernel.errors import RLMError
from rlm_kernel.prompts import Briefing
from rlm_kernel.queries import Failed, Query
from rlm_kernel.runner.answers import NOTHING, best_so_far, described_answer
from rlm_kernel.runner.briefing import brief_sub_agent
from rlm_kernel.runner.endings import ending_of, failure_of, out_of_time
from rlm_kernel.runner.hands import ThreadHands
from rlm_kernel.runner.steps import Steps
from rlm_kernel.runner.worker_hands import ProcessHands
from rlm_kernel.trace import events
from rlm_kernel.values import Ending

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent


async def ask_all(step: int | None, children: Sequence[tuple[Agent, Query]]) -> tuple[list[object], list[str]]:
    """
    What each came to, in order, and what there is to say of them; the failure of one leaves the others alone.

    `step` is the caller's, whose cell asks.
    """
    asked = [SubAgent(agent, step, query) for agent, query in children]
    # Each contains its own failure. One that is cancelled is waited for, so that its end is written down.
    values = await asyncio.gather(*(each.answer() for each in asked), return_exceptions=True)
    return list(values), [each.note for each in asked if each.note]


class SubAgent:
    def __init__(self, agent: Agent, step: int | None, query: Query) -> None:
        """`step` is the caller's, whose cell asks."""
        self.note = ""
        self._agent = agent
        self._step = step
        self._query = query
        self._began = time.monotonic()
        self._started = self._finished = False
        policy = agent.runner.policy
        recorded = agent.runner.recorded
        was = None if recorded is None else recorded.isolation(agent.id)
        agent.isolation = query.isolation or ("process" if was == "process" else policy.isolation)
        if agent.isolation == "process":
            self._hands: ThreadHands = ProcessHands(agent, query, policy.max_memory_mb)
        else:
            self._hands = ThreadHands(agent)
        lends = agent.runner.lends
        agent.lent = {**lends, **query.tools, "context": query.context, "display": display, "get_ipython": get_ipython}
        agent.namespace.update({"__name__": "__main__", "__builtins__": builtins, **agent.lent})

    async def answer(self) -> object:
        """The value, or `Failed`. Raises CancelledError where it was stopped, once that is written down."""
        agent = self._agent
        agent.runner.agents[agent.id] = agent
        try:
            try:
                outcome, failure = await self._end()
            finally:
                await agent.scope.aclose()
            return await self._conclude(outcome, failure)
        except asyncio.CancelledError:
            self._finish("interrupted", message="stopped from outside")
            raise
        except Exception as error:  # of ours; neither the caller's cell nor the rest of a batch is the place for it
            message = f"{type(error).__name__}: {error}"
            self._finish("error", message=message)
            return Failed(RLMError(message).of(agent.id))
        finally:
            self._hands.close()

    async def _end(self) -> tuple[Outcome, RLMError | None]:
        """How it ended, and as which error where without an answer."""
        agent = self._agent
        try:
            async with asyncio.timeout(agent.ledger.remaining(0).seconds):
                outcome = await self._drive()
        except TimeoutError:
            limit = out_of_time(agent.ledger)
            return Outcome("limit", message=str(limit)), limit
        except RLMError as error:
            return Outcome(ending_of(error), message=str(error)), error
        return outcome, failure_of(outcome, agent.limits)

    async def _drive(self) -> Outcome:
        agent, query = self._agent, self._query
        runner = agent.runner
        briefing = await self._hands.do(lambda: brief_sub_agent(agent, query, runner.redactor), query.context is None)
        self._start(briefing)
        await self._hands.prepare()
        return await Steps(agent, self._hands).drive(briefing)

    def _start(self, briefing: Briefing) -> None:
        agent = self._agent
        self._started = True
        started = events.AgentStarted(
            agent=agent.id,
            depth=agent.depth,
            caller=agent.caller.id if agent.caller is not None else None,
            question=briefing.question,
            context=briefing.context,
            model=agent.runner.sendable(agent.model.name),
            step=self._step,
            state=None if agent.caller is None else agent.caller.state,
            schema=briefing.schema,
            tools=tuple(self._query.tools),
            isolation=agent.isolation,
            context_sha=agent.context_sha,
            context_name=agent.context_name,
            context_store=agent.runner.stores.number_of(self._query.context),
            context_tokens=None if self._query.context is None else preview.tokens_of(self._query.context),
        )
        agent.runner.recorder.record(started)
        if agent.runner.recorded is not None:
            agent.runner.recorded.started(started)

    async def _conclude(self, outcome: Outcome, failure: RLMError | None) -> object:
        """After the agent's end: what its caller gets, written down."""
        agent = self._agent
        value = outcome.value
        if outcome.ending == "limit" and failure is not None:
            value = await self._hands.do(self._best, self._hands.unused)
        described = None
        if value is not None and value is not NOTHING:
            described = await self._hands.do(
                lambda: described_answer(value, agent.runner.redactor), self._hands.unused or isinstance(value, str)
            )
        tokens = None if described is None else preview.tokens_of(value)
        if agent.runner.recorded is not None:
            await agent.runner.recorded.agent_ended(agent.id)
        message = None if failure is None else str(failure)
        self._finish(outcome.ending, described, outcome.name, message, tokens)
        if failure is None:
            return value
        if outcome.ending == "limit" and value is not NOTHING:
            self.note = (
                f"note: agent {agent.id} ended before FINAL, because {failure}; returned is the value that its "
                "variable `answer` had then"
            )
            return value
        return Failed(failure.of(agent.id))

    def _best(self) -> object:
        if self._hands.unused:
            return NOTHING
        return best_so_far(self._agent, self._agent.lent.get("answer", NOTHING))

    def _finish(
        self,
        ending: Ending,
        answer: str | None = None,
        name: str | None = None,
        message: str | None = None,
        answer_tokens: int | None = None,
    ) -> None:
        runner = self._agent.runner
        if self._finished:
            return
        self._finished = True
        if not self._started:  # it ended while its context was being described
            self._start(Briefing(runner.redactor.text(self._query.prompt), None, None))
        if self._hands.left_behind:
            message = f"{message}; its thread sits in a call that cannot be stopped, and was left behind"
        runner.recorder.record(
            events.AgentFinished(
                agent=self._agent.id,
                ending=ending,
                answer=answer,
                name=None if name is None else runner.redactor.text(name),
                message=None if message is None else runner.sendable(message),
                seconds=time.monotonic() - self._began,
                answer_tokens=answer_tokens,
            )
        )
