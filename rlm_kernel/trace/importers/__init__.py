"""
Other tools' logs as traces. A format is told by what is in a log, never by its name; each has one file here.

An importer has two functions: `fits(head)` looks at the first values of a log, `read(log)` gives its runs. How to
write the next one is in docs/importers.md. Importing never executes, evaluates or unpickles anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.trace.importers import (
    atif,
    dspy,
    fabric_rlm,
    fast_rlm,
    inspect_logs,
    official,
    openai_chat,
    smolagents,
)
from rlm_kernel.trace.importers.parts import Imported
from rlm_kernel.trace.importers.source import Log, open_log

__all__ = ["FORMATS", "Format", "Imported", "import_log"]


@dataclass(frozen=True, slots=True)
class Format:
    name: str
    fits: Callable[[list[Any]], bool]
    """Whether the first values of a log are of this format. Takes any JSON values, never raises."""
    read: Callable[[Log], list[Imported]]


FORMATS = (
    # The narrow ones first: a chat is told by two fields that others may have too.
    Format("rlm", official.fits, official.read),
    Format("fast-rlm", fast_rlm.fits, fast_rlm.read),
    Format("fabric-rlm", fabric_rlm.fits, fabric_rlm.read),
    Format("ATIF", atif.fits, atif.read),
    Format("Inspect", inspect_logs.fits, inspect_logs.read),
    Format("smolagents", smolagents.fits, smolagents.read),
    Format("DSPy", dspy.fits, dspy.read),
    Format("OpenAI chat", openai_chat.fits, openai_chat.read),
)


def import_log(path: Path) -> list[Imported]:
    """
    The runs of a log, at least one. What could not be read is in `complaint` of each.

    Raises TraceError where it is no log of a known format or cannot be read, UsageError where it needs no importing.
    """
    path = path.expanduser()
    if _begins(path) == inspect_logs.ARCHIVE:
        found = inspect_logs.read_archive(path)
    else:
        log = open_log(path)
        _refuse_ours(path, log.head)
        known = next((format for format in FORMATS if format.fits(log.head)), None)
        if known is None:
            names = ", ".join(format.name for format in FORMATS)
            raise TraceError(f"{path} is no log of a known format ({names}): docs/importers.md says how to add one")
        found = known.read(log)
    if not found:
        raise TraceError(f"{path} holds no run: give a log that has at least one step")
    return found


def _begins(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if not file.seekable():
                raise TraceError(f"{path} is a pipe, and a log is read more than once: write it into a file first")
            return file.read(len(inspect_logs.ARCHIVE))
    except OSError as error:
        raise TraceError(f"{path} cannot be read ({error.strerror}): is the path right?") from None


def _refuse_ours(path: Path, head: list[Any]) -> None:
    first = head[0] if isinstance(head[0], dict) else {}
    journal = {"v", "seq", "crc", "type"} <= first.keys()
    notebook = "nbformat" in first and "cells" in first
    if journal or (notebook and "rlm" in (first.get("metadata") or {})):
        raise UsageError(f"{path} is a trace already: open it, or give it to jupyter rlm replay")
    if notebook:
        raise UsageError(f"{path} is a notebook, not a log: give the log that its tool wrote")
