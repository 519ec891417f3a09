"""
What a run loaded into the windows of its models, and what it would have loaded had every result gone by value.

A result that goes from one agent to another by reference is a `Transfer`. By value it would stand in its receiver's
conversation, and be sent with each later request of it. What of it was shown in fact is taken off, so that nothing is
counted as saved that was loaded. `ASSUMED` says what else is supposed. A result that an agent of a workflow was given
as text is `Sent`, and stands beside: it saved nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rlm_kernel.trace.nodes import Agent
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views.prices import asked_of, prompt_prices
from rlm_kernel.trace.views.retyped import Retyped, retyped
from rlm_kernel.trace.views.sent import Sent, sent
from rlm_kernel.trace.views.transfers import Transfer, bounded, transfers

ASSUMED = (
    "Assumed: by value, a result stands once in its receiver's conversation and is sent with each later request of it, "
    "and with all of them where it was in the store that the receiver began with; "
    "what was shown of it (its description, what was read, the observation of that step) is taken off; who wrote a "
    "result needs no copy of it, and a person has no window; sizes are about 4 bytes a token; "
    "a prompt token costs what the calls of its receiver's model paid for one on the mean, cached ones among them."
)


@dataclass(frozen=True, slots=True)
class Savings:
    loaded: int
    """Prompt tokens of all calls, as the providers reported them."""
    loaded_once: int
    """With each message counted once: of an agent its longest request, and every completion."""
    loaded_usd: float | None
    """None where it is unknown of one of the models."""
    transfers: tuple[Transfer, ...]
    typed_again: tuple[Retyped, ...]
    sent: tuple[Sent, ...] = ()
    sent_tokens: int = 0
    """
    All that agents of workflows were given as text, their prompts too; estimated, and not in `loaded`. What was filled
    into the questions of sub-agents is there, and so it is not here.
    """
    typed_tokens: int = 0
    """What those answered."""

    @property
    def price_usd(self) -> float | None:
        """Of a prompt token, on the mean."""
        return None if self.loaded_usd is None else self.loaded_usd / self.loaded

    @property
    def saved_usd(self) -> float | None:
        """None where it is unknown of one that saved something."""
        costs = [transfer.saved_usd for transfer in self.transfers if transfer.saved]
        known = [cost for cost in costs if cost is not None]
        return None if self.loaded_usd is None or len(known) < len(costs) else sum(known)

    @property
    def by_value_usd(self) -> float | None:
        saved_usd = self.saved_usd
        return None if self.loaded_usd is None or saved_usd is None else self.loaded_usd + saved_usd

    @property
    def saved(self) -> int:
        return sum(transfer.saved or 0 for transfer in self.transfers)

    @property
    def saved_once(self) -> int:
        return sum(max(0, transfer.tokens - transfer.loaded) for transfer in self.transfers if transfer.tokens)

    @property
    def by_value(self) -> int:
        return self.loaded + self.saved

    @property
    def by_value_once(self) -> int:
        return self.loaded_once + self.saved_once

    @property
    def unknown(self) -> int:
        """Transfers of unknown size, which are in no sum."""
        return sum(transfer.tokens is None for transfer in self.transfers)


def savings_of(tree: Tree) -> Savings:
    prices = prompt_prices(tree)
    loaded, once = _loaded(tree)
    ends = [state.end for agent, _ in tree.walk() for state in agent.states if state.end is not None]
    return Savings(
        loaded,
        once,
        _loaded_usd(tree, prices),
        tuple(transfers(tree, prices)),
        tuple(retyped(tree)),
        tuple(sent(tree)),
        sum(bounded(each.tokens) for end in ends for each in end.loaded if not each.reported),
        sum(bounded(end.typed_tokens) for end in ends),
    )


def _loaded(tree: Tree) -> tuple[int, int]:
    loaded = once = 0
    for agent, _ in tree.walk():
        steps = [bounded(step.reply.usage.prompt_tokens) for step in agent.steps if step.reply is not None]
        calls = [bounded(call.reply.usage.prompt_tokens) for call in agent.all_calls if call.reply is not None]
        loaded += sum(steps) + sum(calls)
        once += max(steps, default=0) + sum(calls)
    return loaded, once


def _loaded_usd(tree: Tree, prices: dict[str, float]) -> float | None:
    tokens: dict[str, int] = {}
    for agent, _ in tree.walk():
        for model, count in _prompts(agent):
            tokens[model] = tokens.get(model, 0) + count
    used = {model: count for model, count in tokens.items() if count}
    return (
        sum(count * prices[model] for model, count in used.items()) if used and used.keys() <= prices.keys() else None
    )


def _prompts(agent: Agent) -> Iterator[tuple[str, int]]:
    for model, asked in asked_of(agent):
        if asked.reply is not None:
            yield model, bounded(asked.reply.usage.prompt_tokens)
