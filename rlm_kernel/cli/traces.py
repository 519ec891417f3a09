"""What the commands on traces share: which file a word names, reading it, and printing what is safe to print."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.rerun import named
from rlm_kernel.settings import RLM
from rlm_kernel.trace import words
from rlm_kernel.trace.changed import named as named_steps
from rlm_kernel.trace.loading import Trace, load_trace
from rlm_kernel.trace.views.terminal import Line, on_screen, painted

HELP = "a journal, trace notebook or folder of one; a run's id or its beginning; or `last`"


def find(text: str, suffixes: Sequence[str] = named.READ) -> Path:
    """The file that `text` names, with the folder of traces that is set. Raises UsageError."""
    return named.find(text, RLM.load().trace_path, suffixes)


def load(text: str, command: str) -> Trace:
    """
    The trace that `text` names. What is not there of it is told on stderr. A TraceError becomes a UsageError: both are
    one line and exit code 2.
    """
    try:
        trace = load_trace(find(text))
    except TraceError as error:
        raise UsageError(on_screen(str(error))) from None
    for complaint in _complaints(trace):
        print(f"jupyter rlm {command}: {on_screen(f'{trace.path}: {complaint}')}", file=sys.stderr)
    return trace


def _complaints(trace: Trace) -> Iterable[str]:
    if trace.complaint is not None:
        yield f"not the whole record: {trace.complaint}"
    if trace.edited or trace.inserted:
        changed = [words.count(len(trace.edited), "edited cell")] if trace.edited else []
        changed += [f"{words.count(len(trace.inserted), 'cell')} of a person's own"] if trace.inserted else []
        yield f"it has {' and '.join(changed)}, which the record does not know: this is the record"
    for keys, done in ((trace.removed, "not in the notebook"), (trace.moved, "moved in the notebook")):
        if keys:
            cells = "the cell" if len(keys) == 1 else "cells"
            yield f"{done}: {cells} of {named_steps(keys)}; this is the record, which has it as it was"
    yield from trace.notes


def put(lines: Iterable[Line], cut: bool = True) -> None:
    """On stdout: in colours on a terminal that has them, cut to its width. What nobody reads any more is left."""
    tty = sys.stdout.isatty()
    colour = tty and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    width = _width() if cut and tty else None
    write(f"{painted(line, width, colour)}\n" for line in lines)


def write(texts: Iterable[str]) -> None:
    """As they are, but for characters that stdout's encoding has not. Ends the process quietly where a pipe is shut."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        for text in texts:
            sys.stdout.write(text if text.isascii() else text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would flush once more on its way out, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
