"""What a reply took and what it cost: as the provider told through litellm, else counted, and priced by the table."""

from __future__ import annotations

from typing import Any

from rlm_kernel.lm import tokens
from rlm_kernel.values import Price, Request, Usage


class Meter:
    """Of one model. What is `told` is the usage of litellm's response, or None."""

    def __init__(self, litellm: Any, name: str, price: Price | None) -> None:
        self._litellm = litellm
        self._name = name
        self.price = price

    def usage(self, request: Request, text: str, told: Any, cost_usd: float | None) -> Usage:
        """The provider's numbers; where it gave none, counted by `lm.tokens`."""
        if not _tells(told):
            prompt, completion = tokens.count_messages(request.messages, self._name), tokens.count(text, self._name)
            cost_usd = None if self.price is None else self.price.most(prompt, completion)
            return Usage(prompt, completion, cost_usd=cost_usd)
        return Usage(
            prompt_tokens=told.prompt_tokens or 0,
            completion_tokens=told.completion_tokens or 0,
            cached_tokens=getattr(getattr(told, "prompt_tokens_details", None), "cached_tokens", None),
            reasoning_tokens=getattr(getattr(told, "completion_tokens_details", None), "reasoning_tokens", None),
            cost_usd=cost_usd if cost_usd is not None else self._cost_usd(told),
        )

    def prompt_usd(self, usage: Usage, told: Any) -> float | None:
        """Of what the call cost, the prompt's share by litellm's table, the cache in it (0.1 ms)."""
        if usage.cost_usd is None or self.price is None:
            return None
        if not _tells(told):
            return usage.prompt_tokens * self.price.prompt_usd
        prompt_usd, completion_usd = self._litellm.cost_per_token(model=self._name, usage_object=told)
        listed_usd = float(prompt_usd + completion_usd)
        if not listed_usd:
            return None if usage.cost_usd else 0.0
        return usage.cost_usd * float(prompt_usd) / listed_usd

    def _cost_usd(self, told: Any) -> float | None:
        reported = getattr(told, "cost", None)  # OpenRouter says what it charged
        if isinstance(reported, int | float) and not isinstance(reported, bool):
            return float(reported)
        if self.price is None:
            return None
        response = self._litellm.ModelResponse(model=self._name, usage=told)
        return float(self._litellm.completion_cost(completion_response=response, model=self._name))


def _tells(usage: Any) -> bool:
    return usage is not None and bool(usage.prompt_tokens or usage.completion_tokens)
