"""
The nouns that travel between the layers: frozen, and with no behaviour but what they hold.

Nothing here knows IPython, asyncio or a provider. A value that a person or a provider hands in is checked
where it comes in, not here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]

Output = dict[str, Any]
"""One nbformat 4.5 output: `stream`, `execute_result`, `display_data` or `error`."""

Slice = tuple[int | None, int | None]
"""What of a text or a table is asked for, `None` for an end: lines as an editor counts them, the rest as Python."""


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


def messages_sha(messages: tuple[Message, ...]) -> str:
    """SHA-256 over the canonical JSON of `[[role, content], ...]`; lone surrogates are kept as JSON escapes."""
    canonical = json.dumps([[m.role, m.content] for m in messages], separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True)
class Usage:
    """What one or many model calls cost. `None` means that nobody told us, never zero."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    """Of the prompt tokens, those that the provider served from its prefix cache."""
    reasoning_tokens: int | None = None
    """Of the completion tokens, those that were thinking."""
    cost_usd: float | None = None

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for one token. A cached prompt token is charged like any other in a reservation."""

    prompt_usd: float
    completion_usd: float

    def most(self, prompt_tokens: int, completion_tokens: int) -> float:
        return prompt_tokens * self.prompt_usd + completion_tokens * self.completion_usd


@dataclass(frozen=True, slots=True)
class Request:
    """One call of a model, as it will be sent."""

    messages: tuple[Message, ...]
    max_reply_tokens: int | None = None
    purpose: Literal["step", "completion"] = "step"
    """A step of an agent, or a plain completion that a cell asked for with `llm_query`."""
    agent: str = "0"
    ordinal: int = 1
    """The step's number within its agent, or the completion's; both count from 1, each on its own."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try at a model call that failed and was followed by another."""

    kind: str
    status: int | None
    waited_s: float
    """How long was waited after it, before the next try."""


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    usage: Usage
    model: str
    """As the provider named it, which may be more exact than what was asked for."""
    finish_reason: str = "stop"
    """`length` means that the provider cut the reply off."""
    first_token_s: float | None = None
    """Seconds to the first token; `None` where the reply was not streamed."""
    seconds: float = 0.0
    attempts: tuple[Attempt, ...] = ()
    """The failed tries before the one that answered."""
    prompt_usd: float | None = None
    """Of `usage.cost_usd`, what the prompt cost; None where that is unknown."""


@dataclass(frozen=True, slots=True)
class CellError:
    """What a cell's code raised. A value, because a model's mistake is not ours."""

    name: str
    message: str
    traceback: str
    """Plain text: the cell's own frames, no colours."""


@dataclass(frozen=True, slots=True)
class Final:
    """What a cell passed to FINAL: the very object."""

    value: object
    name: str | None = None
    """The variable or store key that a string argument named, where that reference was followed."""


@dataclass(frozen=True, slots=True)
class CellResult:
    outputs: tuple[Output, ...]
    """In their true order, neighbouring writes to one stream merged; bounded in size by the environment."""
    seconds: float
    error: CellError | None = None
    final: Final | None = None
    dropped_chars: int = 0
    """Characters of output beyond the bound, counted and not kept (their tail is, in a last stream output)."""
    notes: tuple[str, ...] = ()
    """What the environment mended or refused, one sentence each, for the model and the trace."""


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left of the limits that are set; `None` where there is no limit."""

    steps: int | None = None
    calls: int | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    seconds: float | None = None
    depth: int | None = None
    """Levels of sub-agents that may still come below: 0 where `llm_query` is a plain completion."""
    read_tokens: int | None = None
    """Of data that it may still see, by READ or by what its cells show."""


class PlainText(str):
    """Text that shows as itself, not as a quoted string, when it is a cell's last value."""

    def __repr__(self) -> str:
        return str(self)


def plain(value: object) -> object:
    """What is handed on or kept is the text itself."""
    return str(value) if type(value) is PlainText else value


Ending = Literal["final", "text", "limit", "no_answer", "interrupted", "error"]
"""Why an agent ended: FINAL, a plain text answer, a limit, no usable reply, Stop, a failure of ours or the model's."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is over: a root agent and everything below it."""

    id: str
    ending: Ending
    answer: object
    """What FINAL was given, as that very object; where a limit ended the run, the best that was reached, or None."""
    steps: int
    calls: int
    """Model calls: one per step and one per completion."""
    usage: Usage
    """`usage.cost_usd` is None where the price of any call is unknown."""
    seconds: float
    trace: Path | None
    """The notebook of the run; None where it could not be written."""
    journal: Path | None
    """None for a replay, which writes none."""

    def __repr__(self) -> str:
        return (
            f"<Run {self.id}: {self.ending} after {self.steps} steps and {self.calls} model calls, trace {self.trace}>"
        )
