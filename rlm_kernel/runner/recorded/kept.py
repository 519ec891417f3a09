"""Cells that do not run again: those that a person has marked, and those that were stopped in what is replayed."""

from __future__ import annotations

import re

from rlm_kernel.errors import UsageError
from rlm_kernel.runner.recorded.differences import Differences, where_is
from rlm_kernel.trace.known import Key
from rlm_kernel.trace.nodes import Step
from rlm_kernel.values import CellResult

NO_RERUN = re.compile(r"^[ \t]*%rlm[ \t]+no-rerun[ \t]*$", re.MULTILINE)


class Kept:
    """Of one run. Without `rerun`, marked cells do not run."""

    def __init__(self, differences: Differences, replays: bool, rerun: bool) -> None:
        self._differences = differences
        self._replays = replays
        self._rerun = rerun
        self._keys: set[Key] = set()

    def __contains__(self, key: Key) -> bool:
        """Whether what that step's cell came to is from the record."""
        return key in self._keys

    def result(self, agent: str, recorded: Step, source: str, below: bool) -> CellResult | None:
        """
        What is recorded of a cell that is not to run again; None where it is. `below` are those of sub-agents.

        Raises UsageError where its caller needs the object that it gave.
        """
        cell = recorded.cell
        stopped = self._replays and (recorded.status == "interrupted" or cell is None)
        if not stopped and (cell is None or self._rerun or not NO_RERUN.search(source)):
            return None
        where = where_is(agent, recorded.number)
        self._keys.add((agent, recorded.number))
        if cell is None:
            self._differences.note(f"{where} did not run again: its end is not in the record")
            return CellResult((), 0.0)
        if cell.final and below:
            raise UsageError(
                f"{where} gave an answer, which no record holds, and is marked %rlm no-rerun: let it run, --rerun yes"
            )
        if not stopped:
            self._differences.marked.append(where)
        why = "it was stopped then" if stopped else "%rlm no-rerun"
        self._differences.note(f"{where} did not run again ({why}): what it put out is from the record")
        return CellResult(cell.outputs, cell.seconds, cell.error, None, cell.dropped_chars, cell.notes)
