"""Plain completions: what `llm_query` is at the deepest level. A prompt goes out and a text comes back."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlm_kernel import prompts
from rlm_kernel.errors import LimitExceeded, ModelError, RLMError, SchemaMismatch
from rlm_kernel.lm import LanguageModel
from rlm_kernel.queries import Failed
from rlm_kernel.schema import Schema
from rlm_kernel.trace import events
from rlm_kernel.values import Message, Request, messages_sha

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent

TRIES = 3
"""For an answer of the form that was asked for."""


@dataclass(frozen=True, slots=True)
class Completion:
    ordinal: int
    prompt: str
    model: LanguageModel
    schema: Schema | None


async def complete_all(agent: Agent, step: int | None, asked: Sequence[Completion]) -> list[object]:
    """A value or `Failed` for each, in order. All intents are on disk before the first is sent."""
    recorder = agent.runner.recorder
    first = [_request(agent, each, _opening(agent, each)) for each in asked]
    written = recorder.record(
        *(_intent(agent, step, each, request) for each, request in zip(asked, first, strict=True))
    )
    try:
        await recorder.on_disk(written)
    except asyncio.CancelledError as stop:
        for each in asked:
            _failed(agent, step, each, stop)
        raise
    return await asyncio.gather(
        *(_complete(agent, step, each, request) for each, request in zip(asked, first, strict=True))
    )


async def _complete(agent: Agent, step: int | None, asked: Completion, request: Request) -> object:
    runner = agent.runner
    for tried in range(1, TRIES + 1):
        try:
            reply = await runner.calls.ask(asked.model, request, agent.ledger)
        except asyncio.CancelledError as stop:
            _failed(agent, step, asked, stop)
            raise
        except RLMError as error:
            return _failed(agent, step, asked, error)
        if not reply.text:
            return _failed(agent, step, asked, ModelError("the model's reply was empty", kind="empty"))
        if reply.finish_reason == "length":
            warnings.warn(f"the answer of llm_query {asked.ordinal} was cut off by max_reply_tokens", stacklevel=2)
        runner.recorder.record(
            events.CallFinished(agent=agent.id, step=step, call=asked.ordinal, **events.of_reply(reply))
        )
        if asked.schema is None:
            return reply.text
        try:
            return asked.schema.read(reply.text)
        except SchemaMismatch as mismatch:
            if tried == TRIES:
                return Failed(SchemaMismatch(f"llm_query {asked.ordinal}, after {TRIES} tries: {mismatch}"))
            # A call of its own, with a number of its own: it costs like one.
            asked = Completion(agent.next_call(), asked.prompt, asked.model, asked.schema)
            said = (Message("assistant", reply.text), Message("user", prompts.mismatch(str(mismatch))))
            request = _request(agent, asked, (*request.messages, *said))
            runner.recorder.record(_intent(agent, step, asked, request))
    raise AssertionError


def _opening(agent: Agent, asked: Completion) -> tuple[Message, ...]:
    form = None if asked.schema is None else asked.schema.told
    text = agent.runner.sendable(prompts.completion(asked.prompt, form))
    return Message("system", prompts.COMPLETION_SYSTEM), Message("user", text)


def _request(agent: Agent, asked: Completion, messages: tuple[Message, ...]) -> Request:
    return Request(messages, purpose="completion", agent=agent.id, ordinal=asked.ordinal)


def _intent(agent: Agent, step: int | None, asked: Completion, request: Request) -> events.CallStarted:
    return events.CallStarted(
        agent=agent.id,
        step=step,
        call=asked.ordinal,
        prompt=request.messages[-1].content,
        model=asked.model.name,
        request_sha=messages_sha(request.messages),
    )


def _failed(agent: Agent, step: int | None, asked: Completion, error: BaseException) -> Failed:
    if isinstance(error, ModelError):
        kind = error.kind
    elif isinstance(error, LimitExceeded):
        kind = "limit"
    else:
        kind = "usage" if isinstance(error, RLMError) else "interrupted"
    agent.runner.recorder.record(
        events.CallFailed(
            agent=agent.id,
            step=step,
            call=asked.ordinal,
            kind=kind,
            message=str(error) or "stopped while waiting for the model",
            attempts=error.attempts if isinstance(error, ModelError) else (),
        )
    )
    return Failed(error) if isinstance(error, RLMError) else Failed(RLMError(str(error)))
