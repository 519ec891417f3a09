"""How numbers and endings read in the notebook and in the views. Unknown is a dash or a word, never zero."""

from __future__ import annotations

from rlm_kernel.trace.nodes import Agent, Call, Failure, Spent, Step, Totals
from rlm_kernel.trace.tree import Tree
from rlm_kernel.values import Reply

UNKNOWN = "–"


def count(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def dollars(cost_usd: float | None) -> str:
    """Four decimals from a cent up, four significant digits below."""
    if cost_usd is None:
        return UNKNOWN
    return f"${cost_usd:.4f}" if cost_usd == 0 or cost_usd >= 0.01 else f"${cost_usd:.3g}"


def seconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f} s" if value < 10 else f"{value:,.1f} s"


def number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def cost(totals: Totals) -> str:
    return "cost unknown" if totals.cost_usd is None else dollars(totals.cost_usd)


def spent(took: Spent) -> list[str]:
    """Tokens, cost, seconds of an agent; what those below it took beside, where it has any."""
    own, total = took.own, took.total

    def both(alone: str, together: str) -> str:
        return alone if total is own else f"{alone}, {together} with those below"

    tokens = both(f"{own.usage.total_tokens:,} tokens", f"{total.usage.total_tokens:,}")
    return [tokens, both(cost(own), cost(total)), both(seconds(own.seconds), seconds(total.seconds))]


def asked_by(agent: Agent) -> str:
    """Whose cell started it; empty for a root."""
    if agent.caller is None:
        return ""
    return f"agent {agent.caller}, " + ("a person's cell" if agent.in_step is None else f"step {agent.in_step}")


def work(totals: Totals, volatile: bool = True) -> str:
    """All that was taken, in one line; with `volatile=False` without the time, which is another in each run."""
    parts = [count(totals.steps, "step"), count(totals.calls, "model call"), f"{totals.usage.total_tokens:,} tokens"]
    return ", ".join([*parts, cost(totals), *([seconds(totals.seconds)] if volatile else [])])


def call(reply: Reply) -> str:
    """What one model call took, without the time."""
    usage = reply.usage
    cached = "" if usage.cached_tokens is None else f" ({usage.cached_tokens:,} cached)"
    price = "cost unknown" if usage.cost_usd is None else dollars(usage.cost_usd)
    return f"{usage.prompt_tokens:,} tokens in{cached}, {usage.completion_tokens:,} out, {price}"


def agent_state(agent: Agent) -> str:
    """How it ended, or else that it has not."""
    return "at work" if agent.end is None else agent.end.ending


def answered(agent: Agent) -> bool:
    return agent.end is not None and agent.end.ending in ("final", "text")


def why_not(agent: Agent) -> str:
    """How it ended, where that is no answer."""
    if agent.end is None:
        return "no end is in this record"
    return f"{agent.end.ending}: {agent.end.message}" if agent.end.message else str(agent.end.ending)


def failure(failed: Failure) -> str:
    return f"{failed.kind}: {failed.message}"


def notes(step: Step) -> list[str]:
    """All that was noted of it, for readers and for the model."""
    return [*step.notes, *(() if step.cell is None else step.cell.notes)]


def ending(tree: Tree) -> str:
    if tree.end is not None:
        return str(tree.end.ending)
    return "running" if tree.log else "empty"


def step_state(step: Step) -> str:
    """One word for what became of a step."""
    if step.failure is not None:
        return step.failure.kind if step.status == "failed" else "interrupted"
    if step.status == "done" and step.cell is not None:
        return "error" if step.cell.error is not None else "final" if step.cell.final else "done"
    return step.status


def took_s(step: Step) -> float | None:
    """Seconds of a step: the model's and the cell's, as far as they are known."""
    known = [part.seconds for part in (step.reply, step.cell) if part is not None]
    return sum(known) if known else None


def tokens(asked: Step | Call) -> int | None:
    return None if asked.reply is None else asked.reply.usage.total_tokens
