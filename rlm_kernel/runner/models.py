"""Which model each agent of a run asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from rlm_kernel.lm import LanguageModel


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
