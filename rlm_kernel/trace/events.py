"""
The events of a trace: one thing that happened, one small class.

An event is flat and small. Text that repeats or is long is not in it but is named by its hash (`sha`, hex SHA-256
of the UTF-8 bytes, lone surrogates passed through): the journal writes the body once, before the first event that
names it. What every event carries besides (schema version, sequence number, time, checksum) belongs to the
journal's line and not to the event.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, get_args

from rlm_kernel.values import Attempt, CellError, Ending, Message, Output, Remaining, Reply, Usage

SCHEMA = 1
"""Raised when a reader of the older version would misread the newer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    type: ClassVar[str] = "run_started"
    run: str
    door: str
    """Where it was asked: `magic`, `cell` (a person's cell that called `llm_query`), `python`."""
    model: str
    limits: dict[str, float | None]
    versions: dict[str, str]
    origin: dict[str, Any] = field(default_factory=dict)
    """
    Where it does not begin anew: `kind` (`fork`, `resume`, `import`) and what there is to say of it, see docs/trace.md.
    """
    dialect: str | None = None
    """The tool whose names the namespaces lend beside our own, see `dialects`; None for ours alone."""
    cell: int | None = None
    """The number of the person's own cell that began it; None where another door did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStarted:
    type: ClassVar[str] = "agent_started"
    agent: str
    depth: int
    caller: str | None
    """The agent that started it; None for the root."""
    question: str
    context: str | None
    """The description of `context` that the model was given; None where there was no context."""
    model: str
    step: int | None = None
    """The caller's step whose cell started it; None for the root, and where a person's own cell did."""
    schema: str | None = None
    """The form that its answer must have, as it was told; None for any."""
    tools: tuple[str, ...] = ()
    """Names of the functions that were lent to it."""
    isolation: str = "thread"
    """Where its cells run: `thread`, or `process` for a worker process of its own."""
    context_sha: str | None = None
    """`given.fingerprint` of its context; None where there is none, or it is no plain data."""
    context_name: str | None = None
    """The variable of its caller, or the key of a store there, that held this very object; None where none did."""
    context_store: int | None = None
    """Where its context is a store, which one, as in `Used`; None for the root, and in older records."""
    context_tokens: int | None = None
    """About how many tokens the context would take in a prompt, see `preview.tokens_of`; None where that is unknown."""
    state: int | None = None
    """The number of the caller's `StateStarted` in which it was asked; None outside a workflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What an agent found in its namespace and a replay needs: its `context`, or a variable that a cell reads first."""

    type: ClassVar[str] = "given"
    agent: str
    name: str
    description: str
    sha: str | None = None
    """`given.fingerprint` of the value; None where it is no plain data."""
    form: str | None = None
    """
    How `value` holds it: `json`, `text`, `bytes` (base64) or `results` (a store; `store` in older records); `module`
    where it is the name of a module, `file` where it is that of a file beside the trace. None where nothing is kept.
    """
    value: str | None = None
    left_out: str | None = None
    """Why the value is not kept, as a sentence without its full stop; None where it is, and in older records."""

    @property
    def what(self) -> str:
        """The description without the name before it, which in older records is `context` for every variable."""
        return self.description.removeprefix(f"`{self.name}`: ").removeprefix("`context`: ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The intent to ask a model, on disk before it is sent. `new` are the messages since this agent's last Asked."""

    type: ClassVar[str] = "asked"
    agent: str
    step: int
    new: tuple[Message, ...]
    request_sha: str
    """`values.messages_sha` over all messages of the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replied:
    type: ClassVar[str] = "replied"
    agent: str
    step: int
    text: str
    model: str
    usage: Usage
    finish_reason: str
    first_token_s: float | None
    seconds: float
    attempts: tuple[Attempt, ...] = ()
    prompt_usd: float | None = None
    """Of `usage.cost_usd`, what the prompt cost; None where that is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskFailed:
    type: ClassVar[str] = "ask_failed"
    agent: str
    step: int
    kind: str
    message: str
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CellStarted:
    type: ClassVar[str] = "cell_started"
    agent: str
    step: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFinished:
    type: ClassVar[str] = "cell_finished"
    agent: str
    step: int
    outputs: tuple[Output, ...]
    seconds: float
    error: CellError | None = None
    final: bool = False
    dropped_chars: int = 0
    notes: tuple[str, ...] = ()
    remaining: Remaining = field(default_factory=Remaining)
    """What was left when it ended: part of what the model is told next, so recorded and not recomputed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted:
    """A plain completion that a cell asked for with `llm_query`."""

    type: ClassVar[str] = "call_started"
    agent: str
    step: int | None
    """The step whose cell made it; None for a person's own cell."""
    call: int
    """Counts the completions of this agent from 1, in the order of the arguments where they are a batch."""
    prompt: str
    model: str
    request_sha: str
    state: int | None = None
    """As in `AgentStarted`, of the agent that asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFinished:
    type: ClassVar[str] = "call_finished"
    agent: str
    step: int | None
    call: int
    text: str
    model: str
    usage: Usage
    finish_reason: str
    first_token_s: float | None
    seconds: float
    attempts: tuple[Attempt, ...] = ()
    prompt_usd: float | None = None
    """As in `Replied`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailed:
    type: ClassVar[str] = "call_failed"
    agent: str
    step: int | None
    call: int
    kind: str
    """A ModelError's kind, `limit`, `usage` (a UsageError), `error` (any other) or `interrupted`."""
    message: str
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """A named result of a store was written, taken by reference, or read into a model's window; or a variable read."""

    type: ClassVar[str] = "used"
    agent: str
    step: int | None
    """The step whose cell did it; None for a person's own cell."""
    how: str
    """`write`, `delete`, `take` or `read`."""
    key: str
    """Of the store; in none, the name of the variable, or what the object is: `a list`."""
    store: int = 1
    """
    Which of the run's stores, counted from 1 as they are first seen, the root's `context` before all; 0 where it was a
    variable, or an object in no store. Older records do not tell them apart: there it is 1.
    """
    tokens: int = 0
    """That came into a window: those of the text that was read; 0 for a reference."""
    size: int | None = None
    """About how many tokens the whole value would take; None where that is unknown."""
    description: str = ""
    """Of a value that was written, in one line."""
    replaced: bool = False
    """Written over an earlier value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateStarted:
    """A workflow comes to a state."""

    type: ClassVar[str] = "state_started"
    agent: str
    """Whose cell runs the workflow."""
    step: int | None
    """The step of that cell; None for a person's own."""
    number: int
    """Counts the states of this agent's workflows from 1, as they begin."""
    state: str
    agents: tuple[str, ...]
    """What its agents are called, functions and other frameworks' among them."""
    visit: int = 1
    """How often this passage has come to it."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A text that an agent of a workflow was given by value."""

    key: str
    """Of the store; empty for the words of the prompt itself."""
    tokens: int
    reported: bool = False
    """Filled into what a sub-agent was asked: those tokens are in the usage of its requests too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFinished:
    """It is over: with a result, or with an error."""

    type: ClassVar[str] = "state_finished"
    agent: str
    step: int | None
    number: int
    attempts: int
    next: str | None = None
    """The state that follows; None at an end, and where it failed."""
    result: str | None = None
    """One line on the value; None where there is none."""
    error: str | None = None
    problems: tuple[str, ...] = ()
    """What the attempts before came to."""
    loaded: tuple[Loaded, ...] = ()
    """What agents were given by value; what is handed over by reference loads nothing."""
    typed_tokens: int = 0
    """Of the answers that those agents gave as text."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What a reader of the record has to know of a step or an agent, and no cell put out."""

    type: ClassVar[str] = "noted"
    agent: str
    text: str
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """What the log of another tool says and this record has no field for: kept as it was."""

    type: ClassVar[str] = "foreign"
    agent: str
    data: dict[str, Any]
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFinished:
    type: ClassVar[str] = "agent_finished"
    agent: str
    ending: Ending
    answer: str | None
    """The bounded description of the value, never the value; None where there is none."""
    name: str | None = None
    """The variable that FINAL's string named, where the reference was followed."""
    message: str | None = None
    """Why it ended otherwise than with an answer, in one line."""
    seconds: float | None = None
    """Wall clock from its start; None in a record of before there were sub-agents."""
    answer_tokens: int | None = None
    """About how many tokens the answer would take in a prompt; None where that is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    type: ClassVar[str] = "run_finished"
    ending: Ending
    steps: int
    calls: int
    usage: Usage
    unpriced_calls: int
    seconds: float


def of_reply(reply: Reply) -> dict[str, Any]:
    """What `Replied` and `CallFinished` say of a model's reply."""
    return {field.name: getattr(reply, field.name) for field in fields(reply)}


Event = (
    RunStarted
    | AgentStarted
    | Given
    | Asked
    | Replied
    | AskFailed
    | CellStarted
    | CellFinished
    | CallStarted
    | CallFinished
    | CallFailed
    | Used
    | StateStarted
    | StateFinished
    | Noted
    | Foreign
    | AgentFinished
    | RunFinished
)

KINDS: dict[str, type[Any]] = {kind.type: kind for kind in get_args(Event)}
