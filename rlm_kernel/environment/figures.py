"""
pyplot's open figures, of which a process has one table: a table for each sub-agent's cell instead.

matplotlib is not safe among threads in general, and this does not make it so. Importing it is left to whoever wants it:
where it is not loaded yet, a finder waits for the module that holds the table.
"""

from __future__ import annotations

import importlib.util
import sys
from collections import OrderedDict
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

from IPython.display import display

from rlm_kernel.environment.apart import APART

_TABLE = "matplotlib._pylab_helpers"
_INLINE = "matplotlib_inline.backend_inline"


class _Figures:
    """In place of `Gcf.figs`, an OrderedDict: that of the cell that runs, or the one that was there."""

    def __init__(self, persons: OrderedDict[Any, Any]) -> None:
        self._persons = persons

    def _here(self) -> OrderedDict[Any, Any]:
        own = APART.get()
        return self._persons if own is None else own.figures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._here(), name)

    def __getitem__(self, number: Any) -> Any:
        return self._here()[number]

    def __setitem__(self, number: Any, manager: Any) -> None:
        self._here()[number] = manager

    def __delitem__(self, number: Any) -> None:
        del self._here()[number]

    def __contains__(self, number: object) -> bool:
        return number in self._here()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._here())

    def __len__(self) -> int:
        return len(self._here())


class _Waiting(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != _TABLE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_divide(module: Any) -> None:
                execute(module)
                _divide(module)

            spec.loader.exec_module = execute_and_divide  # type: ignore[method-assign]
        return spec


def _divide(table: Any) -> None:
    table.Gcf.figs = _Figures(table.Gcf.figs)


def install() -> None:
    """Once, and for the life of the process."""
    if (table := sys.modules.get(_TABLE)) is not None:
        _divide(table)
    else:
        sys.meta_path.insert(0, _Waiting())


def draw(shell: Any) -> None:
    """
    At the end of a sub-agent's cell: its open figures go to its output, where the inline backend would draw them, and
    are closed. An error in drawing is shown as at the end of any cell.
    """
    own = APART.get()
    if own is None or not own.figures:
        return
    import matplotlib  # loaded, for there are figures

    try:
        if matplotlib.is_interactive() and "inline" in matplotlib.get_backend():
            for manager in list(own.figures.values()):
                figure = manager.canvas.figure
                display(figure, metadata=sys.modules[_INLINE]._fetch_figure_metadata(figure))
    except Exception:  # as matplotlib_inline does: a figure that cannot be drawn fails no cell
        shell.showtraceback()
    finally:
        sys.modules[_TABLE].Gcf.destroy_all()
