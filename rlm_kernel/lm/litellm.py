"""
Any provider's model, through litellm: `openai/gpt-5-mini`, `anthropic/…`, `hosted_vllm/…`.

litellm maps providers, shapes and prices. Left aside are its retries, cache, budget and callbacks; the retries are
here, because each of them must be counted and because litellm repeats what must not be repeated. How litellm is
imported and what it is asked before the first call is in `lm.litellm_setup`, what its errors mean in `lm.failures`,
what a reply cost in `lm.litellm_usage`, and when one of many calls starts in `lm.pacing`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any

from rlm_kernel.errors import ModelError
from rlm_kernel.lm import pacing
from rlm_kernel.lm.failures import ProviderFailure, classify
from rlm_kernel.lm.litellm_setup import check_key, check_provider, load, price_of, wants_cache_points
from rlm_kernel.lm.litellm_usage import Meter
from rlm_kernel.values import Attempt, Price, Reply, Request

_FOREVER_S = 7 * 24 * 3600.0
"""litellm reads None as its own default of ten minutes."""


class LiteLLMModel:
    """`timeout_s` is the longest silence in one try: until the whole reply, or in a stream until the next piece."""

    def __init__(self, name: str, *, timeout_s: float | None = 600.0) -> None:
        self.name = name
        self.warms = wants_cache_points(name)
        self._timeout_s = timeout_s
        self._litellm: Any = None
        self._preparing: asyncio.Task[None] | None = None
        self._options: dict[str, Any] = {}
        self._meter: Meter | None = None

    async def prepare(self) -> None:
        """UsageError for an unknown provider, ModelError of kind `key` where a key is needed and absent."""
        if self._litellm is None:
            if self._preparing is None or self._preparing.done():
                self._preparing = asyncio.create_task(asyncio.to_thread(self._prepare))
            await asyncio.shield(self._preparing)  # one for all: the calls of a first batch come together

    def price(self) -> Price | None:
        return None if self._meter is None else self._meter.price

    async def ask(self, request: Request, on_text: Callable[[str], None] | None = None) -> Reply:
        """
        One reply. Steps are streamed where few calls are under way. Others are not, so their `first_token_s` is None:
        200 completions at once take 2.0 s streamed against 1.0 s whole, 100 sub-agents of three steps 3.7 s against
        2.2 s (100 ms latency, two cores; litellm's work for each chunk).

        A stream that breaks is asked for again from the start and nothing of it is kept; `on_text("")` then says
        that the pieces so far are void. Retried are 429, 408, 5xx, timeouts and broken connections; no other 4xx.
        """
        await self.prepare()
        started = time.monotonic()
        attempts: list[Attempt] = []
        while True:
            try:
                with pacing.counted():
                    if request.purpose == "step" and pacing.are_few():
                        reply = await self._ask_streamed(request, on_text)
                    else:
                        reply = await self._ask_whole(request)
            except ProviderFailure as caught:
                failure = caught
            else:
                return replace(reply, seconds=time.monotonic() - started, attempts=tuple(attempts))
            # Out of the `except`, so that the provider's exception is no context of ours.
            wait_s = failure.wait_s(len(attempts) + 1)
            if wait_s is None:
                message = failure.sentence(self.name, len(attempts) + 1)
                raise ModelError(message, kind=failure.kind, status=failure.status, attempts=tuple(attempts))
            attempts.append(Attempt(failure.kind, failure.status, wait_s))
            if on_text is not None and request.purpose == "step":
                on_text("")
            await asyncio.sleep(wait_s)

    def _prepare(self) -> None:
        litellm = load()
        provider = self.name.partition("/")[0]
        check_provider(litellm, self.name, provider)
        options: dict[str, Any] = {
            "model": self.name,
            "max_retries": 0,
            "timeout": self._timeout_s or _FOREVER_S,
        }
        if check_key(litellm, self.name, provider):
            options["api_key"] = "none"  # the OpenAI client refuses to start without any
        if self.warms:
            options["cache_control_injection_points"] = [
                {"location": "message", "role": "system"},
                {"location": "message", "index": -1},
            ]
        self._meter = Meter(litellm, self.name, price_of(litellm, self.name))
        self._options = options
        self._litellm = litellm

    def _arguments(self, request: Request) -> dict[str, Any]:
        arguments = {**self._options, "messages": [{"role": m.role, "content": m.content} for m in request.messages]}
        if request.max_reply_tokens is not None:
            arguments["max_tokens"] = request.max_reply_tokens
        return arguments

    async def _ask_whole(self, request: Request) -> Reply:
        with _provider_failures(self._timeout_s):
            await pacing.spread()
            async with asyncio.timeout(self._timeout_s):
                response = await self._litellm.acompletion(**self._arguments(request))
        choice = response.choices[0] if response.choices else None
        text = (choice.message.content if choice else None) or ""
        cost, told = response._hidden_params.get("response_cost"), getattr(response, "usage", None)
        assert self._meter is not None  # prepared
        usage = self._meter.usage(request, text, told, cost)
        return Reply(
            text=text,
            usage=usage,
            model=response.model or self.name,
            finish_reason=(choice.finish_reason if choice else None) or "stop",
            prompt_usd=self._meter.prompt_usd(usage, told),
        )

    async def _ask_streamed(self, request: Request, on_text: Callable[[str], None] | None) -> Reply:
        started = time.monotonic()
        pieces: list[str] = []
        first_token_s = usage = None
        finish_reason, model = "stop", self.name
        async with aclosing(self._chunks(request)) as chunks:
            async for chunk in chunks:
                usage = getattr(chunk, "usage", None) or usage
                model = chunk.model or model
                if not chunk.choices:
                    continue
                choice = chunk.choices[0]
                finish_reason = choice.finish_reason or finish_reason
                piece = choice.delta.content
                if piece:
                    if first_token_s is None:
                        first_token_s = time.monotonic() - started
                    pieces.append(piece)
                    if on_text is not None:
                        on_text(piece)
        text = "".join(pieces)
        assert self._meter is not None  # prepared
        counted = self._meter.usage(request, text, usage, None)
        return Reply(
            text=text,
            usage=counted,
            model=model,
            finish_reason=finish_reason,
            first_token_s=first_token_s,
            prompt_usd=self._meter.prompt_usd(counted, usage),
        )

    async def _chunks(self, request: Request) -> AsyncGenerator[Any, None]:
        """A generator, so that what `on_text` raises is not taken for the provider's."""
        loop = asyncio.get_running_loop()
        with _provider_failures(self._timeout_s):
            async with asyncio.timeout(self._timeout_s) as silence:
                stream = await self._litellm.acompletion(
                    **self._arguments(request),
                    stream=True,
                    stream_options={"include_usage": True},
                    drop_params=True,  # the stream_options, where a provider sends usage unasked
                )
                async with aclosing(stream):  # on the way out by an exception this closes the connection
                    async for chunk in stream:
                        if self._timeout_s is not None:
                            silence.reschedule(loop.time() + self._timeout_s)
                        yield chunk
        # litellm invents a `stop` for a stream that just ended. What the provider sent is remembered here.
        if stream.received_finish_reason is None and stream.intermittent_finish_reason is None:
            raise ProviderFailure("connection", "the stream ended before the reply was complete", retry=True)


@contextmanager
def _provider_failures(timeout_s: float | None) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise ProviderFailure("timeout", f"nothing came for {timeout_s:g} s", retry=True) from None
    except Exception as error:  # litellm's exceptions have no base of their own, and it lets others through
        raise classify(error) from None
