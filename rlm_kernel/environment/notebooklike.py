"""
What libraries look at to tell a notebook from a terminal, so that a cell puts out the same through every door.

pandas fits a frame to the width of a terminal where it takes itself to be in one; matplotlib opens a window there, or
draws nowhere. Neither is imported for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from IPython.core.interactiveshell import InteractiveShell

INLINE = "module://matplotlib_inline.backend_inline"
COLUMNS = 20
"""Of a frame, as pandas shows it in a notebook by default."""

_within = 0
_restore: dict[str, object] = {}


class NotebookShell(InteractiveShell):
    """A shell that is in no terminal, for whoever asks as pandas does, which is by whether it has a `kernel`."""

    kernel = None


@contextmanager
def notebooklike() -> Iterator[None]:
    """
    For the time of a run in a script. pandas' own default is put back after it; one that the script set stays. A
    matplotlib that the script loaded keeps its backend; one that a cell loads has that of a notebook, also later.
    """
    global _within
    if not _within:
        _enter()
    _within += 1
    try:
        yield
    finally:
        _within -= 1
        if not _within:
            _leave()


def _enter() -> None:
    pandas = sys.modules.get("pandas")
    if pandas is not None and pandas.get_option("display.max_columns") == 0:
        pandas.set_option("display.max_columns", COLUMNS)
        _restore["pandas"] = pandas
    if "matplotlib" not in sys.modules and "MPLBACKEND" not in os.environ:
        os.environ["MPLBACKEND"] = INLINE
        _restore["matplotlib"] = INLINE


def _leave() -> None:
    pandas = sys.modules.get("pandas")
    if _restore.pop("pandas", None) is pandas is not None and pandas.get_option("display.max_columns") == COLUMNS:
        pandas.set_option("display.max_columns", 0)
    if _restore.pop("matplotlib", None) and os.environ.get("MPLBACKEND") == INLINE:
        del os.environ["MPLBACKEND"]
