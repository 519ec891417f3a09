"""Checkpoints of workflows in cells that run again: what the cells before have written, and nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from rlm_kernel.namespace import Checkpoints
from rlm_kernel.runner.recorded.differences import Kind


class KeptCheckpoints:
    """Of one run. A fork and a resumed run, which go on, write the files too."""

    def __init__(self, kind: Kind) -> None:
        self.kept = Checkpoints(as_files=kind != "replay")
        self._before: dict[int | None, dict[Path, bytes]] = {}

    def begin(self, step: int | None) -> None:
        """The root's cell of that step runs, for the first time or once more: then it finds what it found."""
        self.kept.written = dict(self._before.setdefault(step, dict(self.kept.written)))
