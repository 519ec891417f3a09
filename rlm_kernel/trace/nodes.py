"""What a tree of a run is made of: agents, their steps, the completions of those. `tree` fills them in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from rlm_kernel.errors import UsageError
from rlm_kernel.trace.events import AgentFinished, CellFinished, Given, StateFinished, Used
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
    request_sha: str = ""
    status: Status = "asking"
    reply: Reply | None = None
    failure: Failure | None = None
    in_state: int | None = None
    """Of a workflow of the agent that asks; None outside."""


@dataclass(slots=True)
class State:
    """A state of a workflow that an agent's cell ran, or a person's own."""

    number: int
    step: int | None
    name: str = ""
    workers: tuple[str, ...] = ()
    """What its agents are called, those without a model among them."""
    visit: int = 1
    end: StateFinished | None = None
    """None while its agents are at work, and where the record stops before."""


@dataclass(slots=True)
class Step:
    number: int
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
    agents: list[Agent] = field(default_factory=list)
    """The sub-agents that its cell started, in the order of their ids: parallel ones start in any."""
    used: list[Used] = field(default_factory=list)
    """What its cell did with named results, in order."""
    notes: list[str] = field(default_factory=list)
    """What a reader has to know besides; what the environment told the model is in `cell.notes`."""
    foreign: list[dict[str, Any]] = field(default_factory=list)
    """What another tool's log says of it besides."""

    @property
    def output_lost(self) -> bool:
        """Whether another tool's log does not say what the cell put out."""
        return any(data.get("output") == "lost" for data in self.foreign)


@dataclass(slots=True)
class Agent:
    id: str
    depth: int = 0
    caller: str | None = None
    in_step: int | None = None
    """The caller's step whose cell started it; None for a root, and where a person's own cell did."""
    in_state: int | None = None
    """The number of the caller's state of a workflow in which it was asked; None outside."""
    question: str = ""
    context: str | None = None
    model: str = ""
    schema: str | None = None
    """The form that its answer must have, as it was told; None for any."""
    tools: tuple[str, ...] = ()
    isolation: str = "thread"
    """Where its cells run: `thread` or `process`."""
    context_sha: str | None = None
    context_name: str | None = None
    """What its caller called its context."""
    context_store: int | None = None
    """Which store that is; None where it is none, for a root, and in older records."""
    context_tokens: int | None = None
    used: list[Used] = field(default_factory=list)
    """What a person's own cells did with named results."""
    given: list[Given] = field(default_factory=list)
    """What it found in its namespace: `context`, and variables that its cells read first."""
    notes: list[str] = field(default_factory=list)
    foreign: list[dict[str, Any]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    """Completions that a person's own cell asked for, outside any step."""
    agents: list[Agent] = field(default_factory=list)
    """Sub-agents that a person's own cell started, outside any step."""
    children: list[Agent] = field(default_factory=list)
    """All its sub-agents, those of its steps too, in the order of their ids."""
    states: list[State] = field(default_factory=list)
    """Of the workflows that its cells ran, in the order in which they began."""
    began: datetime | None = None
    """When the record says that it started; None where it says nothing of that."""
    ended: datetime | None = None
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


def by_id(agent: Agent) -> tuple[tuple[int, str], ...]:
    """Sorts `0.10` after `0.9`. Shorter numbers are smaller ones, so that no id need be a number."""
    return tuple((len(part), part) for part in agent.id.split("."))


def by_state(agents: list[Agent]) -> list[Agent]:
    """In the order they have, but those of one state of a workflow together, where its first one stands."""
    first: dict[int, int] = {}
    places: list[tuple[int, Agent]] = []
    for n, agent in enumerate(agents):
        places.append((n if agent.in_state is None else first.setdefault(agent.in_state, n), agent))
    return [agent for _, agent in sorted(places, key=lambda each: each[0])] if first else agents


@dataclass(frozen=True, slots=True)
class Totals:
    steps: int
    calls: int
    """Model calls that were sent: one per step and one per completion, failed ones too."""
    usage: Usage
    unpriced_calls: int
    seconds: float | None
    """Wall clock; None where the record does not say."""

    @property
    def cost_usd(self) -> float | None:
        """None where any call's price is unknown."""
        return None if self.unpriced_calls else self.usage.cost_usd or 0.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What an agent took."""

    own: Totals
    """Without its sub-agents. The seconds are those in which none of them was at work."""
    total: Totals
    """With all below it. The seconds are its wall clock, not the sum of what ran side by side."""
