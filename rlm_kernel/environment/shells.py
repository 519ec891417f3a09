"""
An IPython shell, and what it has one of, in front of which a model's cell must not stand in the person's way.

In a sub-agent's cell, and in a run that has a namespace of its own, that stands for the shell's, so that magics act on
it. Several cells may be in `run_cell` at once (`%%capture`); there is no lock, because one may wait for another.
"""

from __future__ import annotations

import ast
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from threading import RLock
from typing import Any

from IPython.core.error import TryNext

from rlm_kernel.environment import figures, process
from rlm_kernel.environment.apart import APART, ROOM
from rlm_kernel.environment.sink import SINK

PUBLISHER: ContextVar[Any] = ContextVar("rlm_publisher", default=None)
"""The display publisher that a model's cell put in place of the shell's, as `%%capture` does."""


def page(shell: Any, data: Any, start: int = 0, screen_lines: int = 0, pager_cmd: Any = None) -> None:
    """`name?` in a model's cell: there is no pager to look into, so the text is the cell's output."""
    sink = SINK.get()
    if sink is None:
        raise TryNext
    sink.write_stdout(data if isinstance(data, str) else str(data.get("text/plain", data)))


class RoutedShell:
    """In front of an IPython shell: what a model's cell must not do to the person's."""

    @property
    def user_ns(self) -> Any:
        own = ROOM.get()
        return super().user_ns if own is None else own.namespace  # type: ignore[misc]

    @user_ns.setter
    def user_ns(self, namespace: dict[str, Any]) -> None:
        own = ROOM.get()
        if own is None:
            super(RoutedShell, type(self)).user_ns.fset(self, namespace)  # type: ignore[misc]
        else:
            ROOM.set(replace(own, namespace=namespace))

    @property
    def user_global_ns(self) -> Any:
        own = ROOM.get()
        return super().user_global_ns if own is None else own.namespace  # type: ignore[misc]

    @property
    def user_ns_hidden(self) -> Any:
        own = ROOM.get()
        return self.__dict__["user_ns_hidden"] if own is None else dict(own.hidden)

    @user_ns_hidden.setter
    def user_ns_hidden(self, hidden: dict[str, Any]) -> None:
        self.__dict__["user_ns_hidden"] = hidden

    @property
    def display_pub(self) -> Any:
        return PUBLISHER.get() or self.__dict__["display_pub"]

    @display_pub.setter
    def display_pub(self, publisher: Any) -> None:
        if SINK.get() is None:
            self.__dict__["display_pub"] = publisher
        else:
            PUBLISHER.set(None if publisher is self.__dict__["display_pub"] else publisher)

    def reset(self, new_session: bool = True, aggressive: bool = False) -> None:
        own = ROOM.get()
        if own is None:
            super().reset(new_session, aggressive)  # type: ignore[misc]
            return
        for name in [name for name in own.namespace if not (name.startswith("__") and name.endswith("__"))]:
            del own.namespace[name]
        own.namespace.update(own.hidden)

    def _tee(self, channel: Any) -> AbstractContextManager[None]:
        """IPython keeps what a cell prints in its history, for ever."""
        tee: AbstractContextManager[None] = nullcontext() if SINK.get() is not None else super()._tee(channel)  # type: ignore[misc]
        return tee

    async def run_cell_async(self, raw_cell: str, *args: Any, **kwargs: Any) -> Any:
        if ROOM.get() is not None:
            args, kwargs = (), {**kwargs, "store_history": False}
        return await super().run_cell_async(raw_cell, *args, **kwargs)  # type: ignore[misc]

    def _showtraceback(self, etype: Any, evalue: Any, stb: list[str]) -> None:
        sink = SINK.get()
        if sink is None:
            super()._showtraceback(etype, evalue, stb)  # type: ignore[misc]
        else:
            # A magic such as %%time shows errors by itself. As an IOPub `error` it would fail the person's cell.
            sink.write_stderr("\n".join(stb) + "\n")

    def ask_exit(self) -> None:
        if SINK.get() is not None:
            raise SystemExit("exit and quit end a kernel; a cell just ends where it ends")
        super().ask_exit()  # type: ignore[misc]


class RoutedEvents:
    """In front of a shell's EventManager: a sub-agent's cell calls none of the person's hooks, off their thread."""

    def trigger(self, event: str, *args: Any, **kwargs: Any) -> None:
        if APART.get() is None:
            super().trigger(event, *args, **kwargs)  # type: ignore[misc]
        elif event == "post_execute":
            figures.draw(self.shell)  # type: ignore[attr-defined]


class RoutedCompiler:
    """In front of a shell's CachingCompiler: what `__future__` gives to the cells to come is noted for the person's."""

    def ast_parse(self, *args: Any, **kwargs: Any) -> Any:
        with process.parsing:
            return super().ast_parse(*args, **kwargs)  # type: ignore[misc]

    @property
    def flags(self) -> int:
        flags: int = self.__dict__["flags"]
        return flags if ROOM.get() is None else flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    @flags.setter
    def flags(self, flags: int) -> None:
        if ROOM.get() is None:
            self.__dict__["flags"] = flags


_finding = RLock()


class RoutedMagics:
    """In front of a MagicsManager: it loads a magic when one is first looked for, and two at once get none."""

    def find(self, *what: Any) -> Any:
        with _finding:
            return super().find(*what)  # type: ignore[misc]


_trapping = RLock()


class PersonsTrap:
    """
    In front of a shell's BuiltinTrap and DisplayTrap. These count who is within, and are set for the person's cell
    around a model's; what runs in the latter leaves them as they are.
    """

    def __enter__(self) -> Any:
        if SINK.get() is not None:
            return self
        with _trapping:
            return super().__enter__()  # type: ignore[misc]

    def __exit__(self, *error: Any) -> Any:
        if SINK.get() is not None:
            return False
        with _trapping:
            return super().__exit__(*error)  # type: ignore[misc]
