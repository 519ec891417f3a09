"""
What a run that is replayed had spent, and read: `budget()` says what it said then, and no limit is met but as recorded.
"""

from __future__ import annotations

from rlm_kernel import preview
from rlm_kernel.limits import Ledger, Limits, Reservation, add
from rlm_kernel.trace.events import AskFailed, CallFailed, CallFinished, CellStarted, Replied
from rlm_kernel.trace.loading import Trace
from rlm_kernel.values import Price, Usage
from rlm_kernel.window import ReadBudget

Spent = tuple[int, Usage, int]
"""Calls, what they took, and how many of them are without a price."""


class Told(Ledger):
    """Counts what is taken and refuses nothing: where a limit was reached, the record says so."""

    def below(self, limits: Limits) -> Ledger:
        return Told(limits, self)

    def reserve(self, prompt_tokens: int, price: Price | None) -> Reservation:
        for ledger in self._up():
            ledger._open_calls += 1
        return Reservation(0, None, self.limits.max_reply_tokens)

    def check_time(self) -> None:
        pass

    def begin(self, spent: Spent) -> None:
        self.calls, self.usage, self.unpriced_calls = spent


def spent_before(trace: Trace) -> dict[int, Spent]:
    """By the root's steps, what the whole run had spent when their cells began."""
    found: dict[int, Spent] = {}
    calls, usage, unpriced = 0, Usage(cost_usd=0.0), 0
    for _, event in trace.tree.log:
        if isinstance(event, Replied | CallFinished):
            calls, usage, unpriced = calls + 1, add(usage, event.usage), unpriced + (event.usage.cost_usd is None)
        elif isinstance(event, AskFailed | CallFailed):
            calls += event.kind not in ("limit", "usage")
        elif isinstance(event, CellStarted) and trace.root is not None and event.agent == trace.root.id:
            found[event.step] = calls, usage, unpriced
    return found


def read_before(trace: Trace, limits: Limits) -> dict[int, tuple[int, int]]:
    """By the root's steps, tokens of data that it had seen, or read and not seen, when their cells began."""
    found: dict[int, tuple[int, int]] = {}
    budget = ReadBudget(None, limits.max_read_tokens)
    for step in () if trace.root is None else trace.root.steps:
        found[step.number] = budget.used, budget.unseen
        for used in step.used:
            if used.how == "read":
                budget.begin(budget.used + used.tokens, budget.unseen + used.tokens)
        if (cell := step.cell) is not None:
            seen = preview.observe_within(
                None if budget.left is None else budget.left + budget.unseen,
                cell.outputs,
                error=cell.error,
                limit=limits.max_output_chars,
                dropped_chars=cell.dropped_chars,
            )
            budget.show(seen.tokens)
    return found
