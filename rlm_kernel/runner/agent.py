"""An agent as its cells see it: what stands behind `llm_query` and `SHOW_VARS`."""

from __future__ import annotations

import asyncio
import copy
import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlm_kernel.errors import LimitExceeded, ModelError, RLMError
from rlm_kernel.lm import LanguageModel, thread
from rlm_kernel.prompts import COMPLETION_SYSTEM
from rlm_kernel.runner.briefing import list_variables
from rlm_kernel.runner.calls import Calls
from rlm_kernel.runner.recorder import Recorder
from rlm_kernel.trace import events
from rlm_kernel.values import Message, Request, messages_sha

if TYPE_CHECKING:
    import concurrent.futures


@dataclass(frozen=True, slots=True)
class Results:
    """In the order of the prompts: a text each, or the error in its place."""

    values: list[object]
    written: int
    """The journal's number of the last of them."""


class Agent:
    """One agent at the deepest level: its `llm_query` is a plain completion. Implements `namespace.Caller`."""

    def __init__(
        self,
        id: str,
        namespace: dict[str, Any],
        *,
        calls: Calls,
        recorder: Recorder,
        model: Callable[[str | None], LanguageModel],
        sendable: Callable[[str], str],
    ) -> None:
        self.id = id
        self.namespace = namespace
        self._step: int | None = None
        self.told = 0
        """Messages of the conversation that the journal has already."""
        self._calls = calls
        self._recorder = recorder
        self._model = model
        self._sendable = sendable
        self._ordinals = itertools.count(1)

    def at(self, step: int) -> Agent:
        """This agent as the cell of one step sees it: what the cell starts belongs to that step, however late."""
        caller = copy.copy(self)
        caller._step = step
        return caller

    def query(self, prompts: Sequence[str], *, model: str | None = None) -> list[object]:
        return self.settled(thread.wait(self.start(prompts, model)))

    async def aquery(self, prompts: Sequence[str], *, model: str | None = None) -> list[object]:
        return self.settled(await asyncio.wrap_future(self.start(prompts, model)))

    def show_variables(self) -> str:
        return list_variables(self.namespace) or "(no variables yet)"

    def settled(self, came: Results) -> list[object]:
        """The results, now on disk. Not left to the loop thread, which still has litellm's work for them to do."""
        self._recorder.sync(came.written)
        return came.values

    def start(self, prompts: Sequence[str], model: str | None) -> concurrent.futures.Future[Results]:
        """Asks, and does not wait. Hand to `settled` what comes."""
        return self._calls.start(self._complete_all(prompts, self._model(model), self._step))

    async def _complete_all(self, prompts: Sequence[str], model: LanguageModel, step: int | None) -> Results:
        """All intents are on disk before the first is sent."""
        requests = [
            Request(
                (Message("system", COMPLETION_SYSTEM), Message("user", self._sendable(prompt))),
                purpose="completion",
                agent=self.id,
                ordinal=next(self._ordinals),
            )
            for prompt in prompts
        ]
        if not requests:
            return Results([], 0)
        intents = [
            events.CallStarted(
                agent=self.id,
                step=step,
                call=request.ordinal,
                prompt=request.messages[1].content,
                model=model.name,
                request_sha=messages_sha(request.messages),
            )
            for request in requests
        ]
        written = self._recorder.record(*intents)
        try:
            await self._recorder.on_disk(written)
        except asyncio.CancelledError as stop:
            for request in requests:
                self._failed(request, step, stop)
            raise
        results = await asyncio.gather(*(self._complete(request, model, step) for request in requests))
        return Results([result for _, result in results], max(written for written, _ in results))

    async def _complete(self, request: Request, model: LanguageModel, step: int | None) -> tuple[int, object]:
        """The journal's number of its last event, and the text or the error."""
        try:
            reply = await self._calls.ask(model, request)
        except asyncio.CancelledError as stop:
            self._failed(request, step, stop)
            raise
        except RLMError as error:
            return self._failed(request, step, error)
        if not reply.text:
            return self._failed(request, step, ModelError("the model's reply was empty", kind="empty"))
        if reply.finish_reason == "length":
            warnings.warn(f"the answer of llm_query {request.ordinal} was cut off by max_reply_tokens", stacklevel=2)
        event = events.CallFinished(
            agent=self.id,
            step=step,
            call=request.ordinal,
            **events.of_reply(reply),
        )
        return self._recorder.record(event), reply.text

    def _failed(self, request: Request, step: int | None, error: BaseException) -> tuple[int, object]:
        if isinstance(error, ModelError):
            kind = error.kind
        elif isinstance(error, LimitExceeded):
            kind = "limit"
        else:
            kind = "usage" if isinstance(error, RLMError) else "interrupted"
        event = events.CallFailed(
            agent=self.id,
            step=step,
            call=request.ordinal,
            kind=kind,
            message=str(error) or "stopped while waiting for the model",
            attempts=error.attempts if isinstance(error, ModelError) else (),
        )
        return self._recorder.record(event), error
