"""Plain completions: what `llm_query` is at the deepest level. A prompt goes out and a text comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlm_kernel import prompts
from rlm_kernel.errors import ModelError, RLMError, SchemaMismatch
from rlm_kernel.limits import Ledger
from rlm_kernel.lm import LanguageModel
from rlm_kernel.queries import Failed
from rlm_kernel.runner.endings import kind_of, out_of_time
from rlm_kernel.schema import Schema
from rlm_kernel.trace import events
from rlm_kernel.values import Message, Request, messages_sha

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent

TRIES = 3
"""For an answer of the form that was asked for."""


@dataclass(frozen=True, slots=True)
class Completion:
    prompt: str
    model: LanguageModel
    schema: Schema | None
    ledger: Ledger


async def complete_all(agent: Agent, step: int | None, asked: Sequence[Completion]) -> tuple[list[object], list[str]]:
    """
    A value or `Failed` for each, in order, and what there is to say of them.

    All intents are on disk before the first is sent; each has an end in the journal, however it ends.
    """
    recorder = agent.runner.recorder
    calls = [_Call(agent, step, each) for each in asked]
    written = recorder.record(*(call.intent() for call in calls))
    try:
        await recorder.on_disk(written)
        values = await asyncio.gather(*(call.answer() for call in calls))
    except asyncio.CancelledError as stop:
        for call in calls:
            if not call.ended:
                call.failed(stop)
        raise
    return list(values), [call.note for call in calls if call.note]


class _Call:
    """One completion; with a schema, as many model calls as it takes, each recorded as its own."""

    def __init__(self, agent: Agent, step: int | None, asked: Completion) -> None:
        self.ended = False
        self.note = ""
        self._agent = agent
        self._step = step
        self._asked = asked
        form = None if asked.schema is None else asked.schema.told
        text = agent.runner.sendable(prompts.completion(asked.prompt, form))
        self._messages: tuple[Message, ...] = (Message("system", prompts.COMPLETION_SYSTEM), Message("user", text))
        self._ordinal = self._next()

    def _next(self) -> int:
        return self._agent.next_call(self._step, messages_sha(self._messages), self._messages[-1].content)

    def intent(self) -> events.CallStarted:
        return events.CallStarted(
            agent=self._agent.id,
            step=self._step,
            state=self._agent.state,
            call=self._ordinal,
            prompt=self._messages[-1].content,
            model=self._agent.runner.sendable(self._asked.model.name),
            request_sha=messages_sha(self._messages),
        )

    async def answer(self) -> object:
        ledger, schema = self._asked.ledger, self._asked.schema
        try:
            async with asyncio.timeout(ledger.remaining(0).seconds):
                text = await self._ask()
                if schema is None:
                    return text
                for _ in range(1, TRIES):
                    try:
                        # Off the loop thread: a schema may bring code of the person's own.
                        return await asyncio.to_thread(schema.read, text)
                    except SchemaMismatch as mismatch:
                        self._again(text, mismatch)
                    text = await self._ask()
                return await asyncio.to_thread(schema.read, text)
        except TimeoutError:
            return self.failed(out_of_time(ledger))
        except SchemaMismatch as mismatch:
            return Failed(SchemaMismatch(f"llm_query {self._ordinal}, after {TRIES} tries: {mismatch}"))
        except RLMError as error:
            return self.failed(error)
        except Exception as error:  # of ours; the others of the batch are not to suffer from it
            return self.failed(RLMError(f"{type(error).__name__}: {error}"))

    def _again(self, text: str, mismatch: SchemaMismatch) -> None:
        """The next try is a call of its own: it costs like any other."""
        told, wrong = self._agent.runner.sendable(text), self._agent.runner.sendable(prompts.mismatch(str(mismatch)))
        self._messages += (Message("assistant", told), Message("user", wrong))
        self._ordinal = self._next()
        self.ended = False
        self._agent.runner.recorder.record(self.intent())

    async def _ask(self) -> str:
        asked, agent = self._asked, self._agent
        request = Request(self._messages, purpose="completion", agent=agent.id, ordinal=self._ordinal)
        reply = await agent.runner.calls.ask(asked.model, request, asked.ledger)
        if not reply.text:
            raise ModelError("the model's reply was empty", kind="empty")
        if reply.finish_reason == "length":
            self.note = f"note: the answer of llm_query {self._ordinal} was cut off by max_reply_tokens"
        agent.runner.record_reply(
            events.CallFinished(agent=agent.id, step=self._step, call=self._ordinal, **events.of_reply(reply))
        )
        self.ended = True
        return reply.text

    def failed(self, error: BaseException) -> Failed:
        if not self.ended:
            self.ended = True
            self._agent.runner.recorder.record(
                events.CallFailed(
                    agent=self._agent.id,
                    step=self._step,
                    call=self._ordinal,
                    kind=kind_of(error),
                    message=self._agent.runner.sendable(str(error)) or "stopped while waiting for the model",
                    attempts=error.attempts if isinstance(error, ModelError) else (),
                )
            )
        return Failed(error if isinstance(error, RLMError) else RLMError(str(error)))
