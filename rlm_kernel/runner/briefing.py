"""What an agent is told at the start, from what is there. Nothing is sent and nothing is recorded."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rlm_kernel import preview
from rlm_kernel.environment.secrets import Redactor
from rlm_kernel.environment.within import repr_within
from rlm_kernel.limits import Limits
from rlm_kernel.namespace import LENT
from rlm_kernel.prompts import Briefing
from rlm_kernel.store import Store

HIDDEN = frozenset({*LENT, "context", "In", "Out", "get_ipython", "exit", "quit", "open", "display"})
"""Names of a namespace that are nobody's variables."""


def brief(question: str, namespace: Mapping[str, object], limits: Limits, redactor: Redactor) -> Briefing:
    context = namespace.get("context")
    nothing = context is None or (isinstance(context, Store) and not len(context))
    described = None if nothing else redactor.text(preview.describe(context, show=repr_within))
    variables = redactor.text(list_variables(namespace))
    return Briefing(redactor.text(question), described, variables or None, limits)


def list_variables(namespace: Mapping[str, object]) -> str:
    """A line for each variable of the person's or the model's own; empty where there is none."""
    return preview.variables(namespace, skip=HIDDEN, environ=os.environ, show=repr_within)
