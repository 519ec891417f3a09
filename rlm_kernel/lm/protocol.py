"""What the runner asks of a model, whatever is behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rlm_kernel.values import Price, Reply, Request


class LanguageModel(Protocol):
    name: str
    """What the person typed: `openai/gpt-5-mini`, `scripted:replies.py`."""

    warms: bool
    """
    Whether a wide batch should begin with one call that goes ahead: the provider serves a prefix from its cache only
    once a first reply to it has begun, and charges for each call that stores it.
    """

    async def prepare(self) -> None:
        """
        Make `price` and `ask` ready, once and as often as called; slow imports happen here, off the loop.

        Raises ModelError or UsageError where asking could never work: no key, no such provider, no such file.
        """

    def price(self) -> Price | None:
        """What a token costs, after `prepare`; None where nobody knows."""

    async def ask(self, request: Request, on_text: Callable[[str], None] | None = None) -> Reply:
        """
        One reply, retries included. `on_text` is called with pieces of the text as they come, where they do.

        Raises ModelError; cancelling the task cancels the request on the wire.
        """
