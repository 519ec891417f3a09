"""What agents took, each alone and with those below it: one pass over the tree, whatever hangs where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from rlm_kernel.trace.nodes import Agent, Call, Spent, Step, Totals
from rlm_kernel.values import Usage


def spent(walked: Sequence[Agent], last: datetime | None) -> dict[str, Spent]:
    """
    By agent's id. `walked` has each agent before those below it; `last` is the time of the record's newest event, up
    to which an agent without an end has worked.
    """
    found: dict[str, Spent] = {}
    for agent in reversed(walked):
        seconds = _seconds(agent, last)
        # In a tampered record agents may hang from each other in a ring; there, one of them is not yet found.
        below = [found[child.id].total for child in agent.children if child.id in found]
        own = _own(agent, _alone(agent, seconds, last) if below else seconds)
        found[agent.id] = Spent(own, added([own, *below], seconds) if below else own)
    return found


def added(parts: Sequence[Totals], seconds: float | None) -> Totals:
    """All but the seconds is summed: parts may have worked side by side."""
    return Totals(
        steps=sum(part.steps for part in parts),
        calls=sum(part.calls for part in parts),
        usage=_usage([part.usage for part in parts]),
        unpriced_calls=sum(part.unpriced_calls for part in parts),
        seconds=seconds,
    )


def _own(agent: Agent, seconds: float | None) -> Totals:
    usages, failed = [], 0
    asked: list[Step | Call] = [*agent.steps, *agent.all_calls]
    for each in asked:
        if each.reply is not None:
            usages.append(each.reply.usage)
        elif each.failure is not None:
            failed += each.failure.kind != "limit"  # what a limit refused was never sent
    return Totals(
        steps=len([step for step in agent.steps if step.reply is not None]),
        calls=len(usages) + failed,
        usage=_usage(usages),
        unpriced_calls=len([usage for usage in usages if usage.cost_usd is None]),
        seconds=seconds,
    )


def _usage(usages: Sequence[Usage]) -> Usage:
    """`limits.add` over all of them; called one by one it would take most of the time of a live view."""
    cached = [usage.cached_tokens for usage in usages if usage.cached_tokens is not None]
    reasoning = [usage.reasoning_tokens for usage in usages if usage.reasoning_tokens is not None]
    cost = [usage.cost_usd for usage in usages if usage.cost_usd is not None]
    return Usage(
        prompt_tokens=sum([usage.prompt_tokens for usage in usages]),
        completion_tokens=sum([usage.completion_tokens for usage in usages]),
        cached_tokens=sum(cached) if cached else None,
        reasoning_tokens=sum(reasoning) if reasoning else None,
        cost_usd=sum(cost) if cost else None,
    )


def _span(agent: Agent, last: datetime | None) -> tuple[datetime, datetime] | None:
    ended = agent.ended or last
    return None if agent.began is None or ended is None else (agent.began, ended)


def _seconds(agent: Agent, last: datetime | None) -> float | None:
    if agent.end is not None and agent.end.seconds is not None:
        return agent.end.seconds
    span = _span(agent, last)
    return None if span is None else (span[1] - span[0]).total_seconds()


def _alone(agent: Agent, seconds: float | None, last: datetime | None) -> float | None:
    """Its seconds without those in which a sub-agent was at work; no span of time is taken away twice."""
    spans = [_span(child, last) for child in agent.children]
    if seconds is None or None in spans:
        return None
    return max(0.0, seconds - _covered_s(span for span in spans if span is not None))


def _covered_s(spans: Iterable[tuple[datetime, datetime]]) -> float:
    covered_s, reached = 0.0, None
    for began, ended in sorted(spans):
        if reached is None or began > reached:
            reached = began
        if ended > reached:
            covered_s += (ended - reached).total_seconds()
            reached = ended
    return covered_s
