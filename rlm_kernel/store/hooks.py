"""Who is told of what is done to a store, and who renders its values: handed down, as whoever renders stands above."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from rlm_kernel.errors import UsageError
from rlm_kernel.values import Slice

_log = logging.getLogger(__name__)


class Witness(Protocol):
    """
    Whoever is at work, and is told what they do. Called in their thread, after the store has done it and holds no
    lock. What these methods raise is logged and goes no further. `store` is the same number for a store and its views.
    """

    @property
    def who(self) -> str:
        """`0.2`, or `person`."""

    @property
    def step(self) -> int | None: ...

    @property
    def run(self) -> str | None:
        """The id of the run that is at work; a person's own cell has none before it asks."""

    @property
    def cell(self) -> int | None:
        """The number of the person's own cell; None for an agent, and where that is not known."""

    def wrote(self, store: int, key: str, value: object, replaced: bool) -> None: ...

    def took(self, store: int, keys: tuple[str, ...]) -> None:
        """By reference. One key, or those of all values where `values()` or `items()` handed them out."""

    def deleted(self, store: int, keys: tuple[str, ...]) -> None: ...

    def read(self, store: int, key: str, tokens: int, size: int | None) -> None:
        """
        Text of a result: so many tokens of about `size`, None where only a part was looked at. `store` is 0 for a
        variable, and for an object in none.
        """

    def write_down(self) -> None:
        """Something else is about to be recorded, that may follow from what was told so far."""


WITNESS: ContextVar[Witness | None] = ContextVar("rlm_witness", default=None)
"""None: nobody looks, and the store takes a write for the person's."""


OURS: ContextVar[bool] = ContextVar("rlm_ours", default=False)
"""Whether it is ourselves who look into a store, or put back what was there: nobody's use of it."""


@contextmanager
def unwatched() -> Iterator[None]:
    """Around what is `OURS`."""
    witness, ours = WITNESS.set(None), OURS.set(True)
    try:
        yield
    finally:
        WITNESS.reset(witness)
        OURS.reset(ours)


class Reader(Protocol):
    """Puts bounded text of a value into the window of whoever asks. Raises ContextBudgetExceeded or UsageError."""

    def __call__(
        self,
        key: str,
        value: object,
        *,
        store: int,
        max_tokens: int | None,
        lines: Slice | None,
        chars: Slice | None,
        rows: Slice | None,
    ) -> str: ...


@dataclass(frozen=True, slots=True)
class Glance:
    """What a listing says of a value: `12,034 chars`, tokens where they are told cheaply, the start in one line."""

    size: str = ""
    tokens: int | None = None
    preview: str = ""


reader: Reader | None = None
glancer: Callable[[object], Glance] | None = None


def set_reader(read: Reader | None) -> None:
    """Who does `store.read(key)`, and `READ`."""
    global reader
    reader = read


def read_text(
    key: str,
    value: object,
    *,
    store: int = 0,
    max_tokens: int | None = None,
    lines: Slice | None = None,
    chars: Slice | None = None,
    rows: Slice | None = None,
) -> str:
    """
    `value` under that name in messages and in the record. Raises as `Reader` does.

    `store` is its number where the name is a key of one; 0 is for a variable, and for an object in none.
    """
    if reader is None:
        raise UsageError("read needs the rlm kernel: choose it for the notebook, or run %load_ext rlm_kernel")
    return reader(key, value, store=store, max_tokens=max_tokens, lines=lines, chars=chars, rows=rows)


def set_glance(glance: Callable[[object], Glance] | None) -> None:
    """Who looks at values for `list_available()`. It must be quick, and raise nothing."""
    global glancer
    glancer = glance


def tell(what: Callable[..., None], *about: object) -> None:
    try:
        what(*about)
    except Exception:  # a record that fails must not take the result with it
        _log.exception("the record of what was done to the store failed")
