"""Which model each agent of a run asks, and what stands for one that a cell has named and there is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from rlm_kernel.errors import UsageError
from rlm_kernel.lm import LanguageModel
from rlm_kernel.values import Price, Reply, Request


class Models:
    """Of one run. Thread-safe."""

    def __init__(self, resolve: Callable[[str | None], LanguageModel], by_depth: Sequence[str]) -> None:
        """`resolve(None)` is the run's model, `resolve(name)` another one. `by_depth` are names, as in `Policy`."""
        self._resolve = resolve
        self._by_depth = by_depth
        self._resolved: dict[str | None, LanguageModel] = {}
        self._resolving = threading.Lock()

    def at(self, depth: int, name: str | None) -> LanguageModel:
        """One object for each name in the whole run. Raises UsageError."""
        if name is None and self._by_depth:
            name = self._by_depth[min(depth, len(self._by_depth) - 1)]
        with self._resolving:
            if name not in self._resolved:
                self._resolved[name] = self._resolve(name)
            return self._resolved[name]

    def asked(self, depth: int, name: str | None) -> LanguageModel:
        """
        The same for what a cell asks. A name that names none is refused when it is asked, with the same error: so the
        refusal is in the record, where a replay, which resolves no name, finds it.
        """
        try:
            return self.at(depth, name)
        except UsageError as error:
            return Refused(name or "", str(error))


class Refused:
    """A LanguageModel that nobody can ask."""

    warms = False

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self._why = why

    async def prepare(self) -> None:
        raise UsageError(self._why)

    def price(self) -> Price | None:
        return None

    async def ask(self, request: Request, on_text: Callable[[str], None] | None = None) -> Reply:
        raise UsageError(self._why)
