"""
The names that are lent to every namespace: `llm_query` and its kin, `FINAL` and its kin, `READ`, `WRITE` and
`LIST_CONTEXT`, `budget`, `SHOW_VARS`.

The same function objects stand in every namespace. Who is calling is a context variable, set by whoever runs the
cell, so that a thread that the cell starts is the same caller. What a query does is the caller's business.
"""

from __future__ import annotations

from rlm_kernel.namespace.asking import allm_query, llm_query, llm_query_batched
from rlm_kernel.namespace.caller import CALLER, Caller, Checkpoints, StateEnd, present, set_outside_caller
from rlm_kernel.namespace.ending import FINAL
from rlm_kernel.namespace.lending import LENT, lend, mend
from rlm_kernel.namespace.names import NOBODYS

__all__ = [
    "CALLER",
    "FINAL",
    "LENT",
    "NOBODYS",
    "Caller",
    "Checkpoints",
    "StateEnd",
    "allm_query",
    "lend",
    "llm_query",
    "llm_query_batched",
    "mend",
    "present",
    "set_outside_caller",
]
