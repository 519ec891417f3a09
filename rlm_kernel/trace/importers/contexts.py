"""Whether the cells of an agent need a context that their log does not hold: a replay is to say so before the first."""

from __future__ import annotations

from rlm_kernel.trace.importers.parts import Actor
from rlm_kernel.trace.varying import names_in, read_first

UNSAID = "of which the log says nothing, but that a cell reads it"


def hide_unsaid(root: Actor) -> None:
    """Only the root's: that of any other comes from the cell that asked it."""
    if "context" in root.given or "context" in root.hidden:
        return
    for turn in root.turns:
        if turn.source is None:
            continue
        missed = turn.error is not None and turn.error.name == "NameError"
        if "context" in read_first(turn.source) and not missed:
            root.hidden["context"] = root.context or UNSAID
            return
        if "context" in names_in(turn.source).assigned:
            return
