"""What a person has done to the notebook of a record since: cells edited, put in, taken out, moved; outputs cleared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rlm_kernel.runner.recorded.forked import Fork, as_edited
from rlm_kernel.runner.recorded.lookup import Lookup
from rlm_kernel.trace.changed import Inserted, named
from rlm_kernel.trace.known import Key
from rlm_kernel.trace.loading import Trace
from rlm_kernel.values import CellResult, Reply


class Changes:
    def __init__(self, lookup: Lookup, trace: Trace, fork: Fork | None, on_run: Callable[[], None]) -> None:
        """`trace` is the one that a person may have changed; `on_run` is told when a cell that was put in is to run."""
        self._on_run = on_run
        self._lookup = lookup
        self._trace = trace
        self._fork = fork
        self.edited: dict[Key, str] = {}
        """Sources that are not the recorded ones."""
        for key, source in trace.edited.items():
            if fork is None or fork.runs(key):
                self.edited[key] = source
        self.insert_for_root = True
        """Whether cells that were put among the root's run here; a notebook that is run runs them itself."""
        self.put_out: dict[Inserted, CellResult] = {}
        """What such cells came to."""

    def notes(self, root: bool) -> list[str]:
        """
        What was done to the notebook and is not taken: where the cells of the root stand, which a notebook that is run
        runs itself, or all else.
        """
        trace = self._trace
        removed, moved = (
            [key for key in keys if (key[0] not in self._lookup.below) == root and self._is_taken(key)]
            for keys in (trace.removed, trace.moved)
        )
        said = [] if root else list(trace.notes)
        lost = [] if root else sorted(key for key in trace.lost if self._is_taken(key))
        if lost:
            said.append(f"outputs are in the notebook no longer, and those cells' are not compared: {named(lost)}")
        if len(removed) == 1:
            said.append(
                f"the cell of {named(removed)} is not in the notebook: it runs as recorded; empty it to leave it out"
            )
        elif removed:
            said.append(
                f"the cells of {named(removed)} are not in the notebook: they run as recorded; "
                "empty a cell to leave it out"
            )
        if moved:
            said.append(f"moved in the notebook, and run in the recorded order: {named(moved)}")
        return said

    def _is_taken(self, key: Key) -> bool:
        """Whether the cell of that step is one that the record has before the fork."""
        return self._fork is None or key[0] != self._fork.agent or key[1] < self._fork.step

    def edit(self, key: Key, source: str) -> None:
        """As a notebook has the cell now, which may be as recorded again."""
        if source.strip() == (self._lookup.steps[key].source or "").strip():
            self.edited.pop(key, None)
        else:
            self.edited[key] = source

    def reply(self, key: Key, reply: Reply) -> Reply:
        """Where a person has changed the cell, the conversation is to hold what runs."""
        edited, recorded = self.edited.get(key), self._lookup.steps[key].source
        if edited is None or not recorded:
            return reply
        return replace(reply, text=as_edited(reply.text, recorded, edited))

    def inserted(self, agent: str, step: int | None) -> list[Inserted]:
        """Cells that were put after that step's, to be run now; with None, before the first."""
        if agent not in self._lookup.agents or (agent not in self._lookup.below and not self.insert_for_root):
            return []
        found = [cell for cell in self._trace.inserted if cell.agent == agent and self._after(cell) == step]
        if found:
            self._on_run()
        return found

    def _after(self, cell: Inserted) -> int | None:
        """The step of its own agent that such a cell stands below: one in another's section is above or below all."""
        if cell.after is None or cell.after[0] == cell.agent:
            return None if cell.after is None else cell.after[1]
        ids = [agent.id for agent in self._trace]
        steps = self._lookup.agents[cell.agent].steps
        below = cell.after[0] in ids and cell.agent in ids and ids.index(cell.after[0]) > ids.index(cell.agent)
        return steps[-1].number if below and steps else None
