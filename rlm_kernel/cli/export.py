"""`jupyter rlm export`: a recorded run in the formats of others. Nothing of it is executed."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from rlm_kernel.cli.command import OK, Command
from rlm_kernel.cli.traces import HELP, load, write
from rlm_kernel.errors import UsageError
from rlm_kernel.trace.exporters import FORMATS, export, format_of
from rlm_kernel.trace.file import copy_contexts, put
from rlm_kernel.trace.loading import Trace
from rlm_kernel.trace.views.terminal import on_screen

STDOUT = "-"


class Export(Command):
    command = "export"
    description = "Write a recorded run in another format. Nothing of it is executed."

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        formats = "; ".join(f"{name}: {each.what}" for name, each in FORMATS.items())
        parser.add_argument("trace", metavar="TRACE", help=HELP)
        parser.add_argument(
            "--to", choices=FORMATS, help=f"the format, where the suffix of FILE does not say. {formats}"
        )
        parser.add_argument(
            "-o", "--output", metavar="FILE", help="where to (in this folder, named after the run); - for stdout"
        )
        parser.add_argument("--force", action="store_true", help="write over FILE")

    def work(self) -> int:
        options = self.options
        to = options.to or (format_of(options.output) if options.output else None)
        if to is None:
            raise UsageError(f"which format? --to {', '.join(FORMATS)}")
        if options.output == STDOUT:
            write([export(load(options.trace, self.command).tree, to)])
            return OK
        given = None if options.output is None else _checked(Path(options.output).expanduser(), options.force)
        trace = load(options.trace, self.command)
        path = given if given is not None else _checked(_named_after(trace, FORMATS[to].suffix), options.force)
        if trace.path is not None and path.exists() and path.samefile(trace.path):
            raise UsageError(f"{path} is the trace itself: give another name")
        _replace(path, export(trace.tree, to))
        print(path)
        if FORMATS[to].whole and trace.path is not None:
            for said in copy_contexts(trace.tree, trace.path.parent, path.absolute().parent):
                print(f"jupyter rlm export: {on_screen(said)}", file=sys.stderr)
        if trace.complaint is not None:
            print(f"jupyter rlm export: {path} has what there is of it", file=sys.stderr)
        return OK


def _checked(path: Path, force: bool) -> Path:
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file in it")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {path.absolute().parent}")
    if not force and os.path.lexists(path):
        raise UsageError(f"{path} exists: give another name with -o, or --force")
    return path


def _named_after(trace: Trace, suffix: str) -> Path:
    """In the current folder: what a record calls itself is no path."""
    name = trace.run or (trace.path.stem if trace.path is not None else "")
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:100].strip(".-")
    return Path(f"{safe or 'run'}{suffix}")


def _replace(path: Path, text: str) -> None:
    try:
        put(path, text.encode("utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): give another place with -o") from None
