"""What has no reply in a record: it ended there by an error, which is raised again, or was stopped, which is held."""

from __future__ import annotations

import asyncio

from rlm_kernel.errors import LimitExceeded, ModelError, RLMError, RunInterrupted, UsageError
from rlm_kernel.runner.recorded.differences import where_is
from rlm_kernel.trace.nodes import Agent, Failure
from rlm_kernel.values import Request

HELD_S = 30.0
"""How long a request is held that was stopped in the record: what stopped it there will again."""


async def hold(request: Request, below: bool) -> None:
    """What stopped it then will again; nothing in a cell stopped the root, which is not `below` another agent."""
    if request.purpose == "completion" or below:
        await asyncio.sleep(HELD_S)


async def end(request: Request, agent: Agent, below: bool) -> None:
    """Raises what ended the agent in the record, if anything did, in the place of a reply that is not there."""
    if agent.end is not None and agent.end.ending == "limit":
        raise error_of(Failure("limit", agent.end.message or "", ()))
    if agent.end is not None and agent.end.ending == "error" and request.purpose == "step":
        raise error_of(Failure("usage", agent.end.message or "", ()))  # nothing else ends one before it asks
    if agent.end is None or agent.end.ending == "interrupted":
        await hold(request, below)
        raise RunInterrupted(f"{where_is(agent.id, request.ordinal)}: here the recorded run broke off")


def error_of(failure: Failure) -> RLMError:
    """As it was raised then."""
    if failure.kind == "interrupted":
        return RunInterrupted(failure.message)
    if failure.kind == "limit":
        error = LimitExceeded("", 0, 0)
        error.args = (failure.message,)
        return error
    if failure.kind in ("usage", "error"):
        return (UsageError if failure.kind == "usage" else RLMError)(failure.message)
    return ModelError(failure.message, kind=failure.kind, attempts=failure.attempts)
