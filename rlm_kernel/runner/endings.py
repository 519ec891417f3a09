"""How an agent or a request ended, as an error and as the trace's word for it."""

from __future__ import annotations

from rlm_kernel.controller import Outcome
from rlm_kernel.errors import LimitExceeded, ModelError, NoAnswer, RLMError, RunInterrupted, UsageError
from rlm_kernel.limits import Ledger, Limits
from rlm_kernel.values import Ending


def failure_of(outcome: Outcome, limits: Limits) -> RLMError | None:
    """Where an agent ended by itself and without an answer: what its caller is told."""
    if outcome.ending == "limit":
        allowed = limits.max_steps or 0
        return LimitExceeded("max_steps", allowed, allowed)
    if outcome.ending == "no_answer":
        return NoAnswer(outcome.message or "the model gave no answer")
    return None


def out_of_time(ledger: Ledger) -> LimitExceeded:
    """Which limit on seconds it was, of all up to the root."""
    try:
        ledger.check_time()
    except LimitExceeded as limit:
        return limit
    allowed = ledger.limits.max_seconds or 0.0
    return LimitExceeded("max_seconds", allowed, allowed)  # the clock of asyncio was a moment ahead of ours


def ending_of(error: RLMError) -> Ending:
    if isinstance(error, LimitExceeded):
        return "limit"
    return "interrupted" if isinstance(error, RunInterrupted) else "error"


def kind_of(error: BaseException) -> str:
    """The word for why a request came to no reply. What is not ours has stopped it."""
    match error:
        case ModelError():
            return error.kind
        case LimitExceeded():
            return "limit"
        case UsageError():
            return "usage"
        case RLMError() if not isinstance(error, RunInterrupted):
            return "error"
    return "interrupted"
