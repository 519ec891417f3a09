"""What stands behind `llm_query` and its kin in a worker: each is a request over the link, and a wait for its reply."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from rlm_kernel.environment.worker.link import HANDED, Link, Message, Packed, Setup, pack
from rlm_kernel.errors import UsageError
from rlm_kernel.queries import Query
from rlm_kernel.store import Store, store_id
from rlm_kernel.values import Remaining

if TYPE_CHECKING:
    from rlm_kernel.namespace import Checkpoints, StateEnd


@dataclass(frozen=True, slots=True)
class Held:
    """Stands for an answer that the other process has accepted and holds."""

    number: int


class Requests:
    """Those under way. The reader of the link hands in what comes."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._numbers = itertools.count(1)
        self._open: dict[int, Future[Message]] = {}
        self._process = os.getpid()

    def send(self, kind: str, step: int, body: Packed | None = None) -> tuple[int, Future[Message]]:
        """Its number and its reply. Cancelling the reply's future cancels what was asked for."""
        if os.getpid() != self._process:
            # A fork has the socket of its parent, and would read the parent's replies.
            raise UsageError("a forked process cannot ask a model: use llm_query_batched, or threads")
        number = next(self._numbers)
        reply: Future[Message] = Future()
        self._open[number] = reply
        self._link.send(Message(kind, number, step, body))
        return number, reply

    def ask(self, kind: str, step: int, body: Packed | None = None) -> tuple[int, Any]:
        number, reply = self.send(kind, step, body)
        try:
            return number, opened(reply.result())
        except BaseException:
            self.cancel(number, reply)
            raise

    def cancel(self, number: int, reply: Future[Message]) -> None:
        if reply.cancel():
            self._open.pop(number, None)
            self._link.send(Message("cancel", number))

    def deliver(self, message: Message) -> None:
        reply = self._open.pop(message.number, None)
        if reply is not None and reply.set_running_or_notify_cancel():
            reply.set_result(message)


def opened(reply: Message) -> Any:
    """Raises the error that came instead of a value."""
    well, value = reply.open()
    if not well:
        raise value from None
    return value


class RemoteReading:
    """Implements `namespace.caller.Reading`: the account is kept in the other process, with all that is shown."""

    def __init__(
        self, requests: Requests, step: int, max_tokens_per_read: int | None, max_read_tokens: int | None
    ) -> None:
        self.max_tokens_per_read = max_tokens_per_read
        self.max_read_tokens = max_read_tokens
        self._requests = requests
        self._step = step

    @property
    def used(self) -> int:
        used: int = self._requests.ask("read so far", self._step)[1]
        return used

    @property
    def left(self) -> int | None:
        return None if self.max_read_tokens is None else max(0, self.max_read_tokens - self.used)

    def charge(self, key: str, tokens: int) -> None:
        self._requests.ask("charge", self._step, pack((key, tokens)))


class RemoteWitness:
    """
    Implements `store.Witness` for a cell: what it does with stores is told to the other process.

    The store that the agent was handed is a copy here. What its cells write into it stays here, and is told as of
    another store; only what they have left as it came is of the store over there, which is told as `HANDED`.
    """

    def __init__(self, link: Link, setup: Setup, step: int, own: set[str]) -> None:
        """`own` are the keys of that copy that cells of the agent have written. It is added to."""
        self.who = setup.agent
        self.step = step
        self.run = setup.run
        self.cell = None
        self._link = link
        self._setup = setup
        self._own = own
        context = setup.variables.get("context")
        self._copy = store_id(context) if isinstance(context, Store) else None
        self._taken: set[tuple[int, str]] = set()

    def wrote(self, store: int, key: str, value: object, replaced: bool) -> None:
        if store == self._copy:
            replaced = replaced and key in self._own
            self._own.add(key)
        self._tell("wrote", store, key, self._setup.tokens_of(value), self._setup.one_line(value), replaced)

    def deleted(self, store: int, keys: tuple[str, ...]) -> None:
        """What it was handed is there all the same, over there."""
        if own := tuple(key for key in keys if self._of(store, key) == store):
            self._tell("deleted", store, own)

    def took(self, store: int, keys: tuple[str, ...]) -> None:
        """Once in a cell, as there."""
        fresh = {(self._of(store, key), key) for key in keys} - self._taken
        self._taken |= fresh
        for of in {of for of, _ in fresh}:
            self._tell("took", of, tuple(key for key in keys if (of, key) in fresh))

    def read(self, store: int, key: str, tokens: int, size: int | None) -> None:
        self._tell("read", self._of(store, key), key, tokens, size)

    def write_down(self) -> None: ...

    def _of(self, store: int, key: str) -> int:
        return HANDED if store == self._copy and key not in self._own else store

    def _tell(self, what: str, *about: object) -> None:
        self._link.send(Message(what, step=self.step, body=pack(about)))


class RemoteCaller:
    """Implements `namespace.Caller` for the cell of one step."""

    def __init__(
        self,
        requests: Requests,
        step: int,
        namespace: dict[str, Any],
        lent: Mapping[str, Any],
        list_variables: Callable[[Mapping[str, object]], str],
        reading: RemoteReading,
        checkpoints: Checkpoints | None,
    ) -> None:
        self.namespace = namespace
        self.lent = lent
        self.reading = reading
        self.checkpoints = checkpoints
        self._requests = requests
        self._step = step
        self._list_variables = list_variables

    def query(self, queries: Sequence[Query]) -> list[object]:
        return _answers(self._requests.ask("query", self._step, _packed(queries))[1])

    async def aquery(self, queries: Sequence[Query]) -> list[object]:
        number, reply = self._requests.send("query", self._step, _packed(queries))
        try:
            return _answers(opened(await asyncio.wrap_future(reply)))
        except BaseException:
            self._requests.cancel(number, reply)
            raise

    def accept(self, answer: object) -> object:
        try:
            body = pack(answer)
        except MemoryError:
            raise
        except Exception as error:
            raise TypeError(
                f"the answer, of type {type(answer).__name__}, cannot leave the worker process ({error}): give FINAL "
                "something that can be pickled, such as a list in place of a generator"
            ) from None
        return Held(self._requests.ask("accept", self._step, body)[0])

    def show_variables(self) -> str:
        return self._list_variables(self.namespace) or "(no variables yet)"

    def remaining(self) -> Remaining:
        remaining: Remaining = self._requests.ask("remaining", self._step)[1]
        return remaining

    def begin_state(self, state: str, agents: tuple[str, ...], visit: int) -> RemoteCaller:
        """The states of a workflow in a worker are not in the record; whom it asks is."""
        return self

    def end_state(self, value: object, **told: Unpack[StateEnd]) -> None:
        pass


def _packed(queries: Sequence[Query]) -> Packed:
    try:
        return pack(list(queries))
    except MemoryError:
        raise
    except Exception as error:
        raise UsageError(
            f"context, tools or schema cannot leave the worker process ({type(error).__name__}: {error}): give what "
            "can be pickled"
        ) from None


def _answers(came: tuple[list[object], list[str]]) -> list[object]:
    values, notes = came
    for note in notes:
        print(note, file=sys.stderr)
    return values
