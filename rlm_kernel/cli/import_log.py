"""`jupyter rlm import`: logs of other tools as trace notebooks. Nothing of a log is run."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlm_kernel.cli.command import OK, Command
from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.trace import file, words
from rlm_kernel.trace.importers import FORMATS, Imported, import_log
from rlm_kernel.trace.safe import one_line, plain


class Import(Command):
    command = "import"
    description = (
        f"Bring in logs of other tools as trace notebooks: {', '.join(format.name for format in FORMATS)}. "
        "The format is told by what is in a log. Nothing of it is run."
    )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("logs", nargs="+", type=Path, metavar="LOG", help="a log that another tool wrote")
        parser.add_argument(
            "-o", "--output", type=Path, default=Path(), metavar="DIR", help="the folder of the notebooks (this one)"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    def work(self) -> int:
        """What can be brought in is, and then the first log that cannot decides how it ends."""
        folder: Path = self.options.output
        if not folder.expanduser().is_dir():
            raise UsageError(f"-o {folder}: there is no such folder")
        folder = folder.expanduser()
        written: list[dict[str, Any]] = []
        refused: list[str] = []
        taken: set[Path] = set()
        for log in self.options.logs:
            try:
                for notebook, run in _places(log, folder, taken):
                    file.write(run.tree, notebook)
                    for said in file.copy_contexts(run.tree, log.expanduser().parent, folder):
                        run = replace(run, complaint="; ".join(filter(None, [run.complaint, said])))
                    taken.add(notebook)
                    written.append(_told(log, notebook, run))
                    if not self.options.json:
                        _print(notebook, run)
            except (TraceError, UsageError) as error:
                refused.append(one_line(str(error), 600))
        if self.options.json:
            print(json.dumps({"notebooks": written, "errors": refused}, indent=1))
        if refused:
            for other in refused[1:]:
                print(f"jupyter rlm import: {other}", file=sys.stderr)
            raise UsageError(refused[0])
        return OK


def _places(log: Path, folder: Path, taken: set[Path]) -> list[tuple[Path, Imported]]:
    """Each run with its notebook: all may be written, or none is. Raises TraceError and UsageError."""
    found = import_log(log)
    names = [folder / f"{log.stem}{f'-{at}' if at > 1 else ''}.ipynb" for at in range(1, len(found) + 1)]
    for name in names:
        if name in taken:
            raise UsageError(f"{log}: {name} is another log's of this command; import them into two folders")
        if not file.may_replace(name):
            raise UsageError(f"{name} exists and is no trace: give another folder (-o), or move it away first")
    return list(zip(names, found, strict=True))


def _told(log: Path, notebook: Path, run: Imported) -> dict[str, Any]:
    totals = run.tree.totals()
    return {
        "log": str(log),
        "notebook": str(notebook),
        "tool": run.tool,
        "agents": len(run.tree.agents),
        "steps": totals.steps,
        "lost": list(run.lost),
        "complaint": run.complaint,
    }


def _print(notebook: Path, run: Imported) -> None:
    totals = run.tree.totals()
    sizes = f"{words.count(len(run.tree.agents), 'agent')}, {words.count(totals.steps, 'step')}"
    print(f"{plain(str(notebook))}  {one_line(run.tool, 60)}, {sizes}, {words.ending(run.tree)}")
    if run.complaint is not None:
        print(f"  incomplete: {one_line(run.complaint, 600)}")
    if run.lost:
        print("  not in a log of this tool:")
    for sentence in run.lost:
        print(f"  * {sentence}")
