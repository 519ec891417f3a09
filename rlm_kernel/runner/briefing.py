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
from rlm_kernel.limits import Limits
from rlm_kernel.namespace import LENT
from rlm_kernel.prompts import Briefing
from rlm_kernel.queries import Query
from rlm_kernel.schema import Schema
from rlm_kernel.store import Store

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent

HIDDEN = frozenset({*LENT, "context", "In", "Out", "get_ipython", "exit", "quit", "open", "display"})
"""Names of a namespace that are nobody's variables."""


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
    described = None if nothing else redactor.text(preview.describe(context, show=repr_within))
    variables = redactor.text(list_variables(namespace))
    return Briefing(
        redactor.text(question),
        described,
        variables or None,
        limits,
        schema=None if schema is None else redactor.text(schema.told),
        read=None if schema is None else schema.read,
    )


def brief_sub_agent(agent: Agent, query: Query, redactor: Redactor) -> Briefing:
    described = None if query.context is None else preview.describe(query.context, show=repr_within)
    return Briefing(
        redactor.text(query.prompt),
        None if described is None else redactor.text(described),
        None,
        agent.limits,
        depth=agent.depth,
        own_limits={name: value for name, value in query.limits.items() if name != "max_steps"},
        schema=None if agent.schema is None else redactor.text(agent.schema.told),
        read=None if agent.schema is None else agent.schema.read,
        tools=redactor.text("\n\n".join(_tool(name, tool) for name, tool in query.tools.items())) or None,
    )


TOOL_CHARS = 1_000
"""Of a tool's signature and of its docstring."""


def _tool(name: str, tool: object) -> str:
    try:
        signature = str(inspect.signature(tool))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # a function of C without one
        signature = "(...)"
    head = f"{name}{preview.cut(signature, TOOL_CHARS)}"
    doc = inspect.getdoc(tool)
    return head if not doc else f"{head}\n{textwrap.indent(preview.cut(doc, TOOL_CHARS), '    ')}"


def list_variables(namespace: Mapping[str, object]) -> str:
    """A line for each variable of the person's or the model's own; empty where there is none."""
    return preview.variables(namespace, skip=HIDDEN, environ=os.environ, show=repr_within)
