"""What an agent is told at the start, from what is there. Nothing is sent and nothing is recorded."""

from __future__ import annotations

import inspect
import os
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rlm_kernel import preview
from rlm_kernel.environment.secrets import Redactor
from rlm_kernel.environment.within import repr_within
from rlm_kernel.errors import ContextBudgetExceeded
from rlm_kernel.limits import Limits
from rlm_kernel.namespace import LENT, NOBODYS
from rlm_kernel.preview.text import BYTES_PER_TOKEN, estimate_tokens
from rlm_kernel.prompts import Briefing
from rlm_kernel.queries import OF_AGENT, Query
from rlm_kernel.schema import Schema
from rlm_kernel.store import Store
from rlm_kernel.values import PlainText

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent

DESCRIBED_CHARS = 4_000
"""Of a context, for one who may see that much of it."""
HEADING_CHARS = 200
"""Type, size and names, which everybody is told."""

FREE_QUESTION_TOKENS = 500
"""Of a sub-agent's question: an instruction. What is beyond counts as read by it."""

HIDDEN = frozenset({*LENT, *NOBODYS, "context"})
"""What is not told among the variables."""


def brief(
    question: str,
    namespace: Mapping[str, object],
    limits: Limits,
    redactor: Redactor,
    schema: Schema | None = None,
) -> Briefing:
    """Of the root."""
    context = namespace.get("context")
    nothing = context is None or (isinstance(context, Store) and not len(context))
    described = None if nothing else redactor.text(_described(context, limits))
    variables = redactor.text(list_variables(namespace))
    return Briefing(
        redactor.text(question),
        described,
        variables or None,
        limits,
        schema=None if schema is None else redactor.text(schema.told),
    )


def data_in(question: str, limits: Limits) -> int:
    """
    Tokens of a sub-agent's question that count as read by it.

    Raises ContextBudgetExceeded where it may not see so much.
    """
    tokens, allowed = estimate_tokens(question), limits.max_read_tokens
    beyond = max(0, tokens - FREE_QUESTION_TOKENS)
    if allowed is not None and beyond > allowed:
        raise ContextBudgetExceeded(
            "the question",
            tokens,
            0,
            allowed,
            f"a sub-agent's question counts as read beyond {FREE_QUESTION_TOKENS} tokens: hand data over as context=",
        )
    return beyond


def brief_sub_agent(agent: Agent, query: Query, redactor: Redactor) -> Briefing:
    described = None if query.context is None else _described(query.context, agent.limits)
    return Briefing(
        redactor.text(query.prompt),
        None if described is None else redactor.text(described),
        None,
        agent.limits,
        depth=agent.depth,
        own_limits={name: value for name, value in query.limits.items() if name not in OF_AGENT},
        schema=None if agent.schema is None else redactor.text(agent.schema.told),
        tools=redactor.text("\n\n".join(_tool(name, tool) for name, tool in query.tools.items())) or None,
        read_tokens=data_in(query.prompt, agent.limits),
    )


def _described(context: object, limits: Limits) -> str:
    """Of one who may see little, little: what it is told of its context is not counted, but no way around either."""
    most = DESCRIBED_CHARS
    if limits.max_read_tokens is not None:
        most = min(most, max(HEADING_CHARS, BYTES_PER_TOKEN * limits.max_read_tokens))
    return preview.describe(context, limit=most, show=repr_within)


TOOL_CHARS = 1_000
"""Of a tool's signature and of its docstring."""
DEFAULT_CHARS = 100
"""Of the default of one of its parameters."""


def _tool(name: str, tool: object) -> str:
    try:
        found = inspect.signature(tool)  # type: ignore[arg-type]
        signature = str(found.replace(parameters=[_bounded(each) for each in found.parameters.values()]))
    except (TypeError, ValueError):  # a function of C without one
        signature = "(...)"
    head = f"{name}{preview.cut(signature, TOOL_CHARS)}"
    doc = inspect.getdoc(tool)
    return head if not doc else f"{head}\n{textwrap.indent(preview.cut(doc, TOOL_CHARS), '    ')}"


def _bounded(parameter: inspect.Parameter) -> inspect.Parameter:
    """Its default may be an object of any size, and its repr anybody's code."""
    if parameter.default is inspect.Parameter.empty:
        return parameter
    return parameter.replace(default=PlainText(preview.render(parameter.default, DEFAULT_CHARS, show=repr_within)))


def list_variables(namespace: Mapping[str, object]) -> str:
    """A line for each variable of the person's or the model's own; empty where there is none."""
    return preview.variables(namespace, skip=HIDDEN, environ=os.environ, show=repr_within)
