"""
What an importer fills in: an agent, its turns, what its cells asked of others. `building` makes the trace of it.

All that a log does not say stays at its default. Nothing is checked twice: `values` takes strangers' data apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlm_kernel.trace.tree import Tree
from rlm_kernel.values import CellError, Ending, Message, Output, Usage


@dataclass(frozen=True, slots=True)
class Imported:
    tree: Tree
    name: str
    """Of the run, fit for a file's name; unique within its log."""
    complaint: str | None
    """What is missing of it, in one sentence; None where the whole log came in."""

    @property
    def lost(self) -> tuple[str, ...]:
        """What this tool's logs never hold, a sentence each; none of a run of ours, of which the log is an export."""
        return () if self.tree.run is None else tuple(map(str, self.tree.run.origin.get("lost", ())))

    @property
    def tool(self) -> str:
        """Whose run it is."""
        return "rlm_kernel" if self.tree.run is None else str(self.tree.run.origin.get("tool", "rlm_kernel"))


class _Unsaid:
    """No result is in the log; one that is None is another thing."""


UNSAID = _Unsaid()


@dataclass(slots=True)
class Completion:
    """A plain call of a model that a cell made."""

    prompt: str
    text: str | None = None
    """None where it failed, or the log does not say."""
    failure: str | None = None
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0


@dataclass(slots=True)
class Turn:
    """One reply and the one cell that it led to."""

    reply: str | None = None
    """None where the log has none; then there is only what happened beside."""
    source: str | None = None
    """The cell; blank code is none."""
    ran: bool = True
    """False where the log does not say how the cell ended."""
    outputs: tuple[Output, ...] = ()
    error: CellError | None = None
    final: bool = False
    asked: tuple[Message, ...] | None = None
    """The messages that this turn added to the conversation; None where the log has no messages."""
    anew: bool = False
    """`asked` is a whole request, which does not begin with the one before."""
    model: str | None = None
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = "stop"
    model_s: float = 0.0
    cell_s: float = 0.0
    at: str | None = None
    """When the reply had come, as the log writes it."""
    ended: str | None = None
    """When the cell had ended."""
    below: list[Completion | Actor] = field(default_factory=list)
    """What its cell asked for, in order."""
    notes: list[str] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)
    """Fields of the log that have no place here."""


@dataclass(slots=True)
class Actor:
    """An agent of the log."""

    question: str = ""
    model: str = ""
    context: str | None = None
    """The description of its context that the model was given."""
    given: dict[str, Any] = field(default_factory=dict)
    """By name, the JSON values that it found in its namespace, where they stand whole in the log."""
    hidden: dict[str, str] = field(default_factory=dict)
    """By name, the descriptions of those that do not."""
    turns: list[Turn] = field(default_factory=list)
    loose: list[Completion | Actor] = field(default_factory=list)
    """What it asked for in no step that the log tells."""
    result: Any = UNSAID
    ending: Ending | None = None
    """None where the log has no end of it."""
    message: str | None = None
    began: str | None = None
    ended: str | None = None
    tools: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Origin:
    """Of a whole run."""

    tool: str
    lost: list[str]
    dialect: str | None = None
    name: str = ""
    limits: dict[str, float | None] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
