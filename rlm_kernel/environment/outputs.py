"""The outputs of one cell, in order, as a notebook has them: cleared, updated by their ids, streams in one piece."""

from __future__ import annotations

from typing import Any

from rlm_kernel.values import Output


class Outputs:
    """Whoever uses it holds a lock."""

    def __init__(self) -> None:
        self._all: list[Output] = []
        self._display_ids: dict[str, list[Output]] = {}
        self._clear_next = False

    def all(self) -> tuple[Output, ...]:
        return tuple(self._all)

    def display(self, data: dict[str, Any], metadata: dict[str, Any], display_id: str | None, update: bool) -> None:
        """One more with that id; with `update`, those there are with it show this instead."""
        if update:
            for earlier in self._display_ids.get(display_id, []) if display_id else []:
                earlier["data"], earlier["metadata"] = data, metadata
            return
        output = {"output_type": "display_data", "data": data, "metadata": metadata}
        self.append(output)
        if display_id:
            self._display_ids.setdefault(display_id, []).append(output)

    def clear(self, wait: bool) -> None:
        """With `wait`, when the next one comes."""
        if wait:
            self._clear_next = True
        else:
            self._all.clear()

    def append(self, output: Output) -> None:
        """Text of a stream goes on the end of the output before, where that is of the same stream."""
        if self._clear_next:
            self._all.clear()
            self._clear_next = False
        last = self._all[-1] if self._all else None
        if output["output_type"] == "stream" and last is not None and last.get("name") == output["name"]:
            last["text"] += output["text"]
        else:
            self._all.append(output)

    def append_apart(self, output: Output) -> None:
        """As one of its own, whatever is before it."""
        self._all.append(output)
