"""Who is calling a lent name: a context variable, set by whoever runs a cell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack

from rlm_kernel.errors import UsageError
from rlm_kernel.queries import Query
from rlm_kernel.values import Remaining

if TYPE_CHECKING:
    # Sixteen milliseconds on the way to the kernel's first reply.
    from rlm_kernel.trace.events import Loaded


class Reading(Protocol):
    """What a caller may see of data, in tokens; None is no limit. `window.ReadBudget`, here or in another process."""

    @property
    def max_tokens_per_read(self) -> int | None: ...

    @property
    def max_read_tokens(self) -> int | None: ...

    @property
    def used(self) -> int: ...

    @property
    def left(self) -> int | None: ...

    def charge(self, key: str, tokens: int) -> None:
        """Raises ContextBudgetExceeded."""


class StateEnd(TypedDict):
    """What became of a state of a workflow, as `trace.events.StateFinished` has it."""

    attempts: int
    next: str | None
    error: str | None
    problems: tuple[str, ...]
    loaded: tuple[Loaded, ...]
    typed_tokens: int
    seconds: float


@dataclass(slots=True)
class Checkpoints:
    """
    What workflows have reached, while the cells that run them run again from a record: it begins without any, as far as
    the record goes, so that they do what they did then.
    """

    written: dict[Path, bytes] = field(default_factory=dict)
    """Since the cells run again, by absolute path."""
    as_files: bool = True
    """Whether they are written to their places besides. Of a replay they are not: it leaves what is there alone."""


class Caller(Protocol):
    """The agent whose cell is running, as the lent names see it."""

    namespace: dict[str, Any]
    lent: Mapping[str, Any]
    """What was put there for the agent, tools included."""

    @property
    def reading(self) -> Reading: ...

    @property
    def checkpoints(self) -> Checkpoints | None:
        """None where those of workflows are files and nothing else."""

    def query(self, queries: Sequence[Query]) -> list[object]:
        """One result or `Failed` for each, in their order. Blocks; Stop gets through."""

    def aquery(self, queries: Sequence[Query]) -> Awaitable[list[object]]: ...

    def accept(self, answer: object) -> object:
        """The answer as it may be handed over. Raises SchemaMismatch where it has not the form that was asked for."""

    def show_variables(self) -> str: ...

    def remaining(self) -> Remaining: ...

    def begin_state(self, state: str, agents: tuple[str, ...], visit: int) -> Caller:
        """A workflow in the cell comes to a state: written down. Gives the same caller as it is within that state."""

    def end_state(self, value: object, **told: Unpack[StateEnd]) -> None:
        """Of the state that it is in; `value` is the result, None where there is none."""


CALLER: ContextVar[Caller | None] = ContextVar("rlm_caller", default=None)

_outside: Callable[[], Caller] | None = None


def set_outside_caller(find: Callable[[], Caller]) -> None:
    """Who is asking when no model's cell is running: the person, in a cell of their own."""
    global _outside
    _outside = find


def present() -> Caller | None:
    """Who is calling; None in plain Python, where nobody could ask a model."""
    found = CALLER.get()
    return found if found is not None or _outside is None else _outside()


def caller() -> Caller:
    found = present()
    if found is None:
        raise UsageError("llm_query needs the rlm kernel: choose it for the notebook, or run %load_ext rlm_kernel")
    return found
