"""
Everything that goes wrong here, sorted by who acts next.

    RLMError
    ├── UsageError         the person: something was asked for that cannot be; the message names the mend
    ├── ModelError         the operator: a provider refused, failed or could not be reached
    ├── LimitExceeded      nobody: a limit did its work; `.limit`, `.used`, `.allowed`
    ├── NoAnswer           the person: the model never wrote a cell or an answer
    ├── SchemaMismatch     the model: its answer has not the form that was asked for; the message says where
    ├── WorkerEnded        nobody: the worker process of a sub-agent ended, by its own doing or the system's
    ├── RunInterrupted     nobody: Stop was pressed
    ├── ContextBudgetExceeded   the model: it asked to read more than it may; `.key`, `.tokens`, `.used`, `.allowed`
    ├── InvalidTransition  the person: a workflow was sent where it may not go; `.from_state`, `.to_state`, `.allowed`
    ├── Diverged           the person: a replay came to something else; `.where`, `.what`, `.recorded`, `.came`, `.hint`
    └── TraceError         the person: a journal or a notebook cannot be written or read

    FinalAnswer (BaseException)    no error: how `FINAL` leaves a cell

What a model's own code raises is none of these; that is a value, `CellResult.error`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Self

from rlm_kernel.values import Attempt, Final, Run


class RLMError(Exception):
    """Base of all. `run` holds what was reached, where a run had begun."""

    run: Run | None = None
    agent: str | None = None
    """The sub-agent that ended with it; its id stands at the head of the message too."""

    def of(self, agent: str) -> Self:
        """The same error, as the caller of that sub-agent gets it. A copy: many may have met the very same one."""
        if self.agent is not None:
            return self
        copied = copy.copy(self)
        copied.agent = agent
        copied.args = (f"agent {agent}: {self}", *self.args[1:])
        return copied

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...], dict[str, object]]:
        """For copies and pickles: past `__init__`, which takes what the message was made of, and not the message."""
        return _anew, (type(self), *self.args), self.__dict__

    def _render_traceback_(self) -> list[str]:
        """IPython shows this instead of a traceback: the frames would be ours, and the reader cannot mend those."""
        return [f"{type(self).__name__}: {self}"]


def _anew(kind: type[RLMError], *args: object) -> RLMError:
    return kind.__new__(kind, *args)


class UsageError(RLMError, ValueError):
    pass


class ModelError(RLMError):
    """
    A model call that failed for good.

    `kind` is one of `key`, `unknown_model`, `rate_limit`, `server`, `connection`, `timeout`, `too_long`,
    `refused`, `bad_request`, `empty` (no text came), `exhausted` (a scripted model ran dry).
    """

    def __init__(
        self, message: str, *, kind: str, status: int | None = None, attempts: tuple[Attempt, ...] = ()
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.attempts = attempts


class LimitExceeded(RLMError):
    """`limit` is the name of the setting; `used` and `allowed` are in its unit."""

    def __init__(self, limit: str, used: float, allowed: float, hint: str = "") -> None:
        super().__init__(f"{limit}={_number(allowed)} reached ({_number(used)} used){'; ' + hint if hint else ''}")
        self.limit = limit
        self.used = used
        self.allowed = allowed


class NoAnswer(RLMError):
    pass


class SchemaMismatch(RLMError, ValueError):
    pass


class WorkerEnded(RLMError):
    pass


class RunInterrupted(RLMError):
    pass


class Diverged(RLMError):
    """
    A replay came to something else than was recorded. The message has both.

    `where` is such as `agent 0.2, step 3`; `what` is what differs: `output`, `error`, `question`, `answer`, … `hint` is
    what may be why.
    """

    def __init__(self, where: str, what: str, recorded: str, came: str, hint: str = "") -> None:
        told = f"{where}: the {what} is not as recorded\n--- recorded\n{recorded}\n--- now\n{came}"
        super().__init__(f"{told}\n--- {hint}" if hint else told)
        self.agent = self.where = where  # as `agent`, so that no caller of callers puts its own id before it
        self.what = what
        self.recorded = recorded
        self.came = came
        self.hint = hint


class ContextBudgetExceeded(RLMError):
    """
    A READ, or a question, of more than its reader may still read. Nothing was loaded. `tokens` of `key`, `used` and
    `allowed` so far.
    """

    def __init__(self, key: str, tokens: int, used: int, allowed: int, hint: str = "") -> None:
        mend = f"; {hint}" if hint else ""
        super().__init__(f"{key} has {tokens:,} tokens; {used:,} of {allowed:,} are read already{mend}")
        self.key = key
        self.tokens = tokens
        self.used = used
        self.allowed = allowed


class InvalidTransition(RLMError):
    """A workflow's state cannot be followed by that one."""

    def __init__(self, from_state: str, to_state: str, allowed: tuple[str, ...]) -> None:
        may = ", ".join(allowed) or "none: it is an end"
        super().__init__(f"{from_state} cannot be followed by {to_state}; allowed: {may}")
        self.from_state = from_state
        self.to_state = to_state
        self.allowed = allowed


class TraceError(RLMError):
    pass


class FinalAnswer(BaseException):
    """Derives from BaseException so that a cell's own `except Exception` does not swallow the end of the run."""

    def __init__(self, final: Final) -> None:
        super().__init__("FINAL")
        self.final = final


def _number(value: float) -> str:
    return f"{value:.6g}"
