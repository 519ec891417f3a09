"""The answer of an agent: how a record describes it, and what stands for it where a limit ended the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlm_kernel import preview
from rlm_kernel.environment.secrets import Redactor
from rlm_kernel.environment.within import repr_within
from rlm_kernel.errors import SchemaMismatch

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent

ANSWER_CHARS = 4_000
"""Of the description. A replay compares it, so that with another number no long answer would be as it was recorded."""

NOTHING: Any = object()


def described_answer(value: object, redactor: Redactor) -> str:
    return redactor.text(preview.render(value, ANSWER_CHARS, show=repr_within))


def best_so_far(agent: Agent, before: object) -> object:
    """
    A limit takes away the end of the work, not the work: what its variable `answer` holds. NOTHING where there is none,
    it is what stood there `before`, or it has not the form that was asked for.
    """
    best = agent.namespace.get("answer", NOTHING)
    if best is NOTHING or best is before:
        return NOTHING
    try:
        return agent.accept(best)
    except SchemaMismatch:
        return NOTHING
