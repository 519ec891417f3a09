"""
A model whose replies are written down beforehand: for tests, demonstrations, and people's tests of their own.

What a script may hold is in `lm.script`. The reply cap is left out: a reply longer than `max_reply_tokens` is given
whole, so that a test sees what it wrote.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from rlm_kernel.errors import ModelError, UsageError
from rlm_kernel.lm import script, tokens
from rlm_kernel.values import Message, Price, Reply, Request, Usage

FREE = Price(0.0, 0.0)


class ScriptedModel:
    """
    `replies` answer the steps, `completions` the plain completions.

    Items with a `when` are looked at first, in their order, and answer whichever request they match; the others
    are used up in order. So parallel calls that each match a `when` of their own get the same replies in every
    run; replies in order go to the calls in the order in which these arrive.

    Usage is counted by `lm.tokens`; `cached_tokens` is what an exact-prefix cache would have served: the messages
    that the previous request of the same agent and purpose began with too. The price is zero unless one is given,
    since nothing was paid; with None it is unknown. `chunk_chars` cuts what `on_text` gets into pieces.
    """

    def __init__(
        self,
        replies: Iterable[Any],
        *,
        completions: Iterable[Any] = (),
        name: str = "scripted",
        price: Price | None = FREE,
        chunk_chars: int | None = None,
    ) -> None:
        self.name = name
        self.warms = False
        self.requests: list[Request] = []
        self._price = price
        self._chunk_chars = chunk_chars
        self._items = [script.item(entry, "step", f"{name}: reply {i}") for i, entry in enumerate(replies, 1)]
        self._items += [script.item(e, "completion", f"{name}: completion {i}") for i, e in enumerate(completions, 1)]
        self._previous: dict[tuple[str, str], tuple[Message, ...]] = {}
        self._preparing: asyncio.Task[int] | None = None
        self._prepared = False

    @classmethod
    def from_file(cls, path: str) -> ScriptedModel:
        """
        From a `.json` or `.py` file, as `lm.script.read` reads it; UsageError where it cannot.
        """
        name = f"scripted:{path}"
        read = script.read(path, name)
        return cls(
            read.replies,
            completions=read.completions,
            name=name,
            price=read.price,
            chunk_chars=read.chunk_chars,
        )

    async def prepare(self) -> None:
        if not self._prepared:
            if self._preparing is None or self._preparing.done():
                # Loads the table, half a second, off the loop.
                self._preparing = asyncio.create_task(asyncio.to_thread(tokens.count, ""))
            await asyncio.shield(self._preparing)  # one for all: threads of their own would mix up their order
            self._prepared = True

    def price(self) -> Price | None:
        return self._price

    async def ask(self, request: Request, on_text: Callable[[str], None] | None = None) -> Reply:
        """ModelError of kind `exhausted` where no item is left that fits the request."""
        started = time.monotonic()
        # All that decides is done before the first await: calls that start in order are answered in order.
        self.requests.append(request)
        cached = self._cached_tokens(request)
        item = self._take(request)
        if callable(item.value):
            item = self._called(item, request)
        value = item.value
        if item.delay_s:
            await asyncio.sleep(item.delay_s)
        if isinstance(value, ModelError):
            # A copy: one that is raised twice would carry the first one's traceback.
            raise ModelError(str(value), kind=value.kind, status=value.status, attempts=value.attempts)
        first_token_s = time.monotonic() - started if request.purpose == "step" else None
        if on_text is not None:
            size = self._chunk_chars or max(1, len(value))
            for start in range(0, len(value), size):
                on_text(value[start : start + size])
                await asyncio.sleep(0)
        usage, told = self._usage(request, value, cached, item.usage or {}), item.usage or {}
        priced = None if "cost_usd" in told else self._price
        return Reply(
            text=value,
            usage=usage,
            prompt_usd=None if priced is None else usage.prompt_tokens * priced.prompt_usd,
            model=self.name,
            finish_reason=item.finish_reason,
            first_token_s=first_token_s,
            seconds=time.monotonic() - started,
        )

    def _take(self, request: Request) -> script.Item:
        left = [item for item in self._items if item.purpose == request.purpose and item.left != 0]
        fits = (item for item in left if item.when is not None and _matches(item.when, request))
        item = next(fits, None) or next((item for item in left if item.when is None), None)
        if item is None:
            others = f"{len(left)} left, of which none matches" if left else "none left"
            listed = "REPLIES" if request.purpose == "step" else "COMPLETIONS"
            raise ModelError(
                f"{self.name} has no reply for {request.purpose} {request.ordinal} of agent {request.agent} "
                f"({others}). The newest message begins {_newest(request)[:80]!r}. Add a reply to {listed}",
                kind="exhausted",
            )
        if item.left is not None:
            item.left -= 1
        return item

    def _called(self, item: script.Item, request: Request) -> script.Item:
        """The item with what its function gave for the request; a dict from the function replaces all of it."""
        where = f"{self.name}: a function for {request.purpose} {request.ordinal} of agent {request.agent}"
        try:
            made = item.value(request)
        except ModelError as error:
            made = error
        except Exception as error:  # of the script's author, who gets it in one line
            raise UsageError(f"{where} raised {type(error).__name__}: {error}") from None
        if isinstance(made, dict):
            item = script.item(made, request.purpose, where)
            made = item.value
        if not isinstance(made, str | ModelError):
            raise UsageError(f"{where} gave a {type(made).__name__}; give a text, a dict or a ModelError")
        return replace(item, value=made)

    def _cached_tokens(self, request: Request) -> int:
        key = (request.agent, request.purpose)
        before = self._previous.get(key, ())
        self._previous[key] = request.messages
        same = 0
        while same < min(len(before), len(request.messages)) and before[same] == request.messages[same]:
            same += 1
        return tokens.count_messages(request.messages[:same]) - tokens.REPLY_TOKENS

    def _usage(self, request: Request, text: str, cached: int, told: dict[str, Any]) -> Usage:
        counted = Usage(tokens.count_messages(request.messages), tokens.count(text), cached_tokens=cached)
        usage = replace(counted, **told)
        if "cost_usd" in told or self._price is None:
            return usage
        return replace(usage, cost_usd=self._price.most(usage.prompt_tokens, usage.completion_tokens))


def _newest(request: Request) -> str:
    return next((m.content for m in reversed(request.messages) if m.role == "user"), "")


def _matches(when: str | Callable[[Request], bool], request: Request) -> bool:
    if callable(when):
        return bool(when(request))
    text = _newest(request)
    if when in text:
        return True
    try:
        return re.search(when, text) is not None
    except re.error:
        return False  # then it was meant as text, and as text it is not there
