"""
What is around a cell in a notebook, for the time of a run in a script: so that it puts out the same through every door.

That is IPython's machinery and names; and what libraries look at to tell a notebook from a terminal. pandas fits a
frame to the width of a terminal where it takes itself to be in one; matplotlib opens a window there, or draws nowhere.
Neither is imported for it. What would outlast the run in a library that a cell imports, as the names by which rich and
tqdm know a notebook, is not imitated.
"""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display
from traitlets.config import Config

from rlm_kernel.environment import routing
from rlm_kernel.environment.apart import ROOM, room

INLINE = "module://matplotlib_inline.backend_inline"
TERMINALS, NOTEBOOKS = 0, 20
"""What pandas has for `display.max_columns` by default."""

_made: InteractiveShell | None = None
_within = 0
_around = ExitStack()
_lock = Lock()


class NotebookShell(InteractiveShell):
    """A shell that is in no terminal, for whoever asks as pandas does, which is by whether it has a `kernel`."""

    kernel = None

    def enable_gui(self, gui: Any = None) -> None:
        """For `%matplotlib inline`, which asks for none. There is no loop here that would serve another."""


@contextmanager
def a_shell() -> Iterator[Any]:
    """
    The IPython shell that is there, or one of our own: that is gone with the last run that has it, so that a script
    does not find itself in IPython afterwards.
    """
    global _within
    existing = get_ipython()
    if existing is not None and existing is not _made:
        routing.install(existing)
        yield existing
        return
    with _lock:
        if not _within:
            _enter()
        _within += 1
    try:
        assert _made is not None
        routing.install(_made)
        yield _made
    finally:
        with _lock:
            _within -= 1
            if not _within:
                _around.close()


@contextmanager
def a_namespace(shell: Any, lent: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A new one, with `lent` and what stands in a notebook's before its first cell. Magics act on it."""
    _module, namespace = shell.prepare_user_module()
    inputs: list[str] = [""]
    outputs: dict[int, object] = {}
    hidden = {
        "get_ipython": shell.get_ipython,
        "exit": shell.exiter,
        "quit": shell.exiter,
        "In": inputs,
        "_ih": inputs,
        "Out": outputs,
        "_oh": outputs,
        "_dh": [Path.cwd()],
        **dict.fromkeys(("_", "__", "___", "_i", "_ii", "_iii"), ""),
        **lent,
    }
    namespace |= hidden
    with room(namespace, hidden):
        yield namespace


def _enter() -> None:
    global _made
    with ExitStack() as around:
        around.enter_context(_in_builtins("__IPYTHON__", True))
        around.enter_context(_in_builtins("display", display))
        if _made is None:
            _made = _make_shell()
        for kind in InteractiveShell._walk_mro():
            kind._instance = _made  # type: ignore[assignment]
        around.callback(InteractiveShell.clear_instance)
        around.enter_context(_main())
        around.enter_context(_pandas())
        around.enter_context(_matplotlib())
        _around.push(around.pop_all())


def _make_shell() -> InteractiveShell:
    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    config.InteractiveShell.colors = "nocolor"
    hook, main = sys.displayhook, sys.modules["__main__"]
    try:
        # Its own namespace is nobody's: that of a run stands for it. So no magic meets the script's.
        return NotebookShell(config=config, user_module=ModuleType("__main__"))  # type: ignore[no-untyped-call]
    finally:
        sys.displayhook, sys.modules["__main__"] = hook, main  # pickles of the script's classes depend on the latter


class _Main(ModuleType):
    """The script's `__main__`, in which picklers look for what a cell has defined."""

    def __getattr__(self, name: str) -> Any:
        if (own := ROOM.get()) is None or name not in own.namespace:
            raise AttributeError(f"module '__main__' has no attribute {name!r}")
        return own.namespace[name]


@contextmanager
def _main() -> Iterator[None]:
    main = sys.modules["__main__"]
    if type(main) is not ModuleType:  # somebody's own, who may have reasons
        yield
        return
    main.__class__ = _Main
    try:
        yield
    finally:
        main.__class__ = ModuleType


@contextmanager
def _in_builtins(name: str, value: object) -> Iterator[None]:
    """Where IPython puts it for good."""
    there = name in vars(builtins)
    vars(builtins).setdefault(name, value)
    try:
        yield
    finally:
        if not there:
            vars(builtins).pop(name, None)


@contextmanager
def _pandas() -> Iterator[None]:
    """Its own default is put back, also where a cell has imported it; what the script has set stays."""
    ours = _columns(TERMINALS, NOTEBOOKS) or "pandas" not in sys.modules
    try:
        yield
    finally:
        if ours:
            _columns(NOTEBOOKS, TERMINALS)


def _columns(from_: int, to: int) -> bool:
    pandas = sys.modules.get("pandas")
    if pandas is None or not hasattr(pandas, "set_option"):  # another thread is importing it
        return False
    changes: bool = pandas.get_option("display.max_columns") == from_
    if changes:
        pandas.set_option("display.max_columns", to)
    return changes


@contextmanager
def _matplotlib() -> Iterator[None]:
    """One that the script has loaded keeps its backend; one that a cell loads has that of a notebook, also later."""
    ours = "matplotlib" not in sys.modules and "MPLBACKEND" not in os.environ
    if ours:
        os.environ["MPLBACKEND"] = INLINE
    try:
        yield
    finally:
        if ours and os.environ.get("MPLBACKEND") == INLINE:
            del os.environ["MPLBACKEND"]
