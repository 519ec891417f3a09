"""Named results as agents use them: each use of a store goes into the record."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rlm_kernel import preview, prompts
from rlm_kernel.environment.within import repr_within
from rlm_kernel.store import WITNESS, Store, set_glance, set_reader, unwatched
from rlm_kernel.trace.events import Used
from rlm_kernel.window.reader import look, read_for_caller

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent


class Watch:
    """
    Implements `store.Witness` for one cell of an agent.

    Uses are written down together, when the cell ends and before it asks somebody, so that they stand before what
    follows from them and cost the cell next to nothing.
    """

    def __init__(self, agent: Agent, step: int | None) -> None:
        self.who = agent.id
        self.step = step
        self._runner = agent.runner
        self._namespace = agent.namespace
        self._taken: set[str] = set()
        self._pending: list[Used] = []
        self._lock = threading.Lock()
        self._over = False

    def wrote(self, store: int, key: str, value: object, replaced: bool) -> None:
        described = preview.one_line(value, show=repr_within)
        self._runner.sized.add(key)
        self._note("write", key, size=preview.tokens_of(value), description=described, replaced=replaced)

    def took(self, store: int, keys: tuple[str, ...]) -> None:
        """Once in a cell: a loop over a result is one use of it."""
        for key in keys:
            if key not in self._taken:
                self._taken.add(key)
                self._note("take", key, size=self._size(key))

    def deleted(self, store: int, keys: tuple[str, ...]) -> None:
        for key in keys:
            self._note("delete", key)

    def read(self, key: str, tokens: int, size: int) -> None:
        self._note("read", key, tokens=tokens, size=size)

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

    def _size(self, key: str) -> int | None:
        """Once in a run, of what was written before it; else the record has it from whoever wrote it."""
        context = self._namespace.get("context")
        if key in self._runner.sized or not isinstance(context, Store):
            return None
        self._runner.sized.add(key)
        with unwatched():
            return preview.tokens_of(context.get(key))

    def _note(self, how: str, key: str, **told: Any) -> None:
        self._pending.append(Used(agent=self.who, step=self.step, how=how, key=key, **told))
        if self._over:
            self.write_down()


def write_down() -> None:
    """What the cell that is running did so far, before what follows from it."""
    if (witness := WITNESS.get()) is not None:
        witness.write_down()


set_reader(read_for_caller)
set_glance(look)
