"""Named results as agents use them: each use of a store, and each text that is read, goes into the record."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rlm_kernel import preview, prompts
from rlm_kernel.environment.within import repr_within
from rlm_kernel.store import WITNESS, Store, set_glance, set_reader, store_id, unwatched
from rlm_kernel.trace.events import Used
from rlm_kernel.window.reader import look, read_for_caller

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent


_GONE: Any = object()

StoreId = int | tuple[str, int]
"""`store_id` of a store; of one in an agent's worker process, the agent's id and what is `store_id` there."""


class Stores:
    """
    Numbers the stores of a run as they are first seen. `store_id` counts those of the whole process, and another run
    of the same cells would be told others.
    """

    def __init__(self) -> None:
        self.sized: set[tuple[StoreId, str]] = set()
        """Keys whose size the record knows."""
        self._numbers: dict[StoreId, int] = {}
        self._lock = threading.Lock()

    def number(self, store: StoreId) -> int:
        """0 stands for none, and stays it."""
        with self._lock:
            return 0 if store == 0 else self._numbers.setdefault(store, len(self._numbers) + 1)

    def number_of(self, value: object) -> int | None:
        """None where it is no store."""
        return self.number(store_id(value)) if isinstance(value, Store) else None


class Watch:
    """
    Implements `store.Witness` for one cell of an agent; without a step, for the person's own that is the root.

    Uses are written down together, when the cell ends and before it asks somebody, so that they stand before what
    follows from them and cost the cell next to nothing.
    """

    def __init__(self, agent: Agent, step: int | None) -> None:
        self.who = agent.id if step is not None else "person"
        self.step = step
        self.run = agent.runner.id
        self.cell = agent.runner.cell if step is None else None
        self._agent = agent.id
        self._runner = agent.runner
        self._namespace = agent.namespace
        self._taken: set[tuple[StoreId, str]] = set()
        self._pending: list[Used] = []
        self._lock = threading.Lock()
        self._over = False

    def wrote(self, store: int, key: str, value: object, replaced: bool) -> None:
        self.has_written(store, key, preview.tokens_of(value), preview.one_line(value, show=repr_within), replaced)

    def has_written(self, store: StoreId, key: str, size: int | None, description: str, replaced: bool) -> None:
        """Where the value itself is in another process."""
        self._runner.stores.sized.add((store, key))
        self._note("write", store, key, size=size, description=description, replaced=replaced)

    def took(self, store: StoreId, keys: tuple[str, ...]) -> None:
        """Once in a cell: a loop over a result is one use of it."""
        for key in keys:
            if (store, key) not in self._taken:
                self._taken.add((store, key))
                self._note("take", store, key, size=self._size(store, key))

    def deleted(self, store: StoreId, keys: tuple[str, ...]) -> None:
        for key in keys:
            self._note("delete", store, key)

    def read(self, store: StoreId, key: str, tokens: int, size: int | None) -> None:
        self._note("read", store, key, tokens=tokens, size=self._size(store, key) if size is None else size)

    def write_down(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, []
            if pending:
                texts = self._runner.redactor.value([text for used in pending for text in (used.key, used.description)])
                said = [prompts.sendable(text) for text in texts]
                pairs = zip(said[::2], said[1::2], strict=True)
                self._runner.recorder.record(
                    *(
                        replace(used, key=key, description=text)
                        for used, (key, text) in zip(pending, pairs, strict=True)
                    )
                )

    def close(self) -> None:
        """The cell is over; what a thread of it does later is written down at once."""
        self._over = True
        self.write_down()

    def _size(self, store: StoreId, key: str) -> int | None:
        """Once in a run, of what was written before it; else the record has it from whoever wrote it."""
        context, sized = self._namespace.get("context"), self._runner.stores.sized
        if (store, key) in sized or not isinstance(context, Store) or store_id(context) != store:
            return None
        with unwatched():
            value = context.get(key, _GONE)
        if value is _GONE:  # with the taking, or it is not in this view of the store
            return None
        sized.add((store, key))
        return preview.tokens_of(value)

    def _note(self, how: str, store: StoreId, key: str, **told: Any) -> None:
        number = self._runner.stores.number(store)
        self._pending.append(Used(agent=self._agent, step=self.step, how=how, key=key, store=number, **told))
        if self._over:
            self.write_down()


def write_down() -> None:
    """What the cell that is running did so far, before what follows from it."""
    if (witness := WITNESS.get()) is not None:
        witness.write_down()


set_reader(read_for_caller)
set_glance(look)
