"""Where what a cell puts out goes on to, while it runs. What becomes of it there is no affair of the cell's."""

from __future__ import annotations

import logging
from typing import Any, Protocol


class Frontend(Protocol):
    """Where output goes on to, for the person to see."""

    def stream(self, name: str, text: str) -> None: ...

    def end(self) -> None:
        """Nothing more comes of this cell: what was held back of its streams is shown now."""

    def display(
        self, data: dict[str, Any], metadata: dict[str, Any], transient: dict[str, Any], update: bool
    ) -> None: ...


class Shown:
    """What a frontend is shown, until it fails: nobody who puts something out is told of that."""

    def __init__(self, frontend: Frontend | None) -> None:
        self._frontend = frontend

    def stream(self, name: str, text: str) -> None:
        self._show("stream", name, text)

    def end(self) -> None:
        self._show("end")

    def display(self, data: dict[str, Any], metadata: dict[str, Any], transient: dict[str, Any], update: bool) -> None:
        self._show("display", data, metadata, transient, update)

    def _show(self, how: str, *what: Any) -> None:
        if self._frontend is None:
            return
        try:
            getattr(self._frontend, how)(*what)
        except Exception as error:  # closed, or replaced by the person: what is kept here is kept all the same
            self._frontend = None
            logging.getLogger(__name__).warning("output of a cell can no longer be shown: %r", error)
