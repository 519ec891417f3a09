"""How far a workflow has come, and whether a flow can go on from there."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlm_kernel.workflow.flow import Flow
from rlm_kernel.workflow.record import Record


@dataclass(slots=True)
class Progress:
    state: str | None
    """The one that is next; None at the end."""
    goal: str = ""
    records: list[Record] = field(default_factory=list)
    """Of the states that are done, in order."""
    partial: dict[str, object] = field(default_factory=dict)
    """What some agents of the next state have given already, where others failed."""

    def rewind(self, at: str) -> None:
        """To before the last visit of that state, or, where there was none, to it with all that was done before."""
        self.state = at
        visits = [number for number, record in enumerate(self.records) if record.state == at]
        if visits:
            del self.records[visits[-1] :]

    def misfit(self, flow: Flow, at: str | None) -> str | None:
        """
        Why it is none of this flow, with the mend; None where it may be. With `at` a person has said what comes next,
        and then it counts only that the states are there, not what followed what.
        """
        passed = [record.state for record in self.records]
        if gone := [name for name in (*passed, self.state) if name is not None and name not in flow.states]:
            return f"{gone[0]!r} is no state of this flow: give the flow that it began with, or another file"
        if at is not None:
            return None
        for record in self.records:
            if record.next is not None and record.next not in flow.allowed(record.state):
                followed = f"there {record.state!r} was followed by {record.next!r}, which this flow does not allow"
                return f"{followed}: at={record.state!r} does it again from there"
        if self.state is None and (onward := flow.allowed(passed[-1])):
            over = f"there it ended with {passed[-1]!r}, which is no end of this flow"
            return f"{over}: at={onward[0]!r} goes on from it"
        return None
