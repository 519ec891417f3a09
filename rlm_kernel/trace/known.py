"""Which cell of a trace notebook shows which step, though programs strip metadata and give cells other ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlm_kernel.trace.cells import in_one, readable

Key = tuple[str, int]
"""An agent's id and the number of one of its steps."""


class Cells:
    """The code cells of a notebook."""

    def __init__(self, notebook: Mapping[str, Any]) -> None:
        cells = notebook.get("cells")
        self.all: list[Mapping[str, Any]] = [
            cell
            for cell in (cells if isinstance(cells, list) else [])
            if isinstance(cell, dict) and cell.get("cell_type") == "code" and isinstance(cell.get("metadata", {}), dict)
        ]
        self._with_id: dict[str, Mapping[str, Any]] = {}
        self._marked: dict[Key, Mapping[str, Any]] = {}
        for cell in self.all:
            if isinstance(id := cell.get("id"), str):
                self._with_id.setdefault(id, cell)
            if (key := marked(cell)) is not None:
                self._marked.setdefault(key, cell)

    def of(self, key: Key, id: str) -> Mapping[str, Any] | None:
        """
        The cell of that step, by its metadata, and where it has none by the `id` that it was given.

        Jupyter gives a copy the metadata of what was copied, and other programs give every cell another id: of two
        with that metadata it is the one with the id, else the first.
        """
        named, key = self.with_id(id), (readable(key[0]), key[1])
        if named is not None and (is_bare(named) or marked(named) == key):
            return named
        return self._marked.get(key)

    def with_id(self, id: Any) -> Mapping[str, Any] | None:
        return self._with_id.get(id) if isinstance(id, str) else None


def marked(cell: Mapping[str, Any]) -> Key | None:
    """The step whose cell it is by its metadata; the agent as `readable` has it."""
    rlm = _rlm(cell)
    agent, step = rlm.get("agent"), rlm.get("step")
    if rlm.get("kind") == "cell" and isinstance(agent, str) and isinstance(step, int):
        return agent, step
    return None


def is_bare(cell: Mapping[str, Any]) -> bool:
    """Whether nothing in its metadata says what it is of a trace: a person's own, or stripped."""
    return _rlm(cell).get("kind") is None


def text_of(cell: Mapping[str, Any]) -> str:
    return str(in_one(cell.get("source", "")))


def _rlm(cell: Mapping[str, Any]) -> Mapping[str, Any]:
    rlm = cell.get("metadata", {}).get("rlm")
    return rlm if isinstance(rlm, dict) else {}
