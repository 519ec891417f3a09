"""What a tree of a run is made of: agents, their steps, the completions of those. `tree` fills them in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rlm_kernel.errors import UsageError
from rlm_kernel.trace.events import AgentFinished, CellFinished
from rlm_kernel.values import Attempt, Message, Reply, Usage

Status = Literal["asking", "running", "done", "failed", "interrupted"]
"""
Of a step: waiting for the model, its cell runs, over, the model call failed, stopped. A cell that raised is `done`:
the step did its work, and `step.cell.error` says how. Of a call: all but `running`.
"""


@dataclass(frozen=True, slots=True)
class Failure:
    """A model call that failed for good."""

    kind: str
    message: str
    attempts: tuple[Attempt, ...]


@dataclass(slots=True)
class Call:
    """A plain completion."""

    number: int
    step: int | None
    prompt: str = ""
    model: str = ""
    status: Status = "asking"
    reply: Reply | None = None
    failure: Failure | None = None


@dataclass(slots=True)
class Step:
    number: int
    order: int
    """Where its first event stands in the run: larger is later, over all agents."""
    new: tuple[Message, ...] = ()
    """The messages that this step added to the conversation."""
    request_sha: str = ""
    status: Status = "asking"
    reply: Reply | None = None
    failure: Failure | None = None
    source: str | None = None
    """The cell; None where the reply had none, or before it ran."""
    cell: CellFinished | None = None
    """What came of the cell: outputs, error, notes, seconds."""
    calls: list[Call] = field(default_factory=list)


@dataclass(slots=True)
class Agent:
    id: str
    depth: int = 0
    caller: str | None = None
    question: str = ""
    context: str | None = None
    model: str = ""
    steps: list[Step] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    """Completions that a person's own cell asked for, outside any step."""
    children: list[Agent] = field(default_factory=list)
    end: AgentFinished | None = None
    """Ending, description of the answer, and why; None while it works, and where the record stops before."""

    def step(self, number: int) -> Step:
        """Raises UsageError where there is no such step."""
        for step in self.steps:
            if step.number == number:
                return step
        have = f"has steps 1 to {self.steps[-1].number}" if self.steps else "has taken no step"
        raise UsageError(f"agent {self.id} has no step {number}: it {have}")

    def messages(self, step: int) -> tuple[Message, ...]:
        """Exactly what the model was sent at that step. Raises UsageError where there is no such step."""
        last = self.step(step)
        return tuple(message for each in self.steps if each.number <= last.number for message in each.new)

    @property
    def all_calls(self) -> list[Call]:
        """All completions, those of its steps first."""
        return [*(call for step in self.steps for call in step.calls), *self.calls]


@dataclass(frozen=True, slots=True)
class Totals:
    steps: int
    calls: int
    """Model calls that were sent: one per step and one per completion, failed ones too."""
    usage: Usage
    unpriced_calls: int
    seconds: float | None
    """Wall clock of the run; None where the record does not say."""

    @property
    def cost_usd(self) -> float | None:
        """None where any call's price is unknown."""
        return None if self.unpriced_calls else self.usage.cost_usd or 0.0
