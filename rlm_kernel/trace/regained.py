"""Outputs that are in their cells no longer, from the journal of the same run beside the notebook."""

from __future__ import annotations

import re
from pathlib import Path

from rlm_kernel.errors import TraceError
from rlm_kernel.trace import reading
from rlm_kernel.trace.events import CellFinished, CellStarted, Event, RunStarted
from rlm_kernel.trace.known import Key
from rlm_kernel.trace.unpacking import Unpacked

_NAME = re.compile(r"[\w-][\w.-]{0,200}")


def regain(found: Unpacked, path: Path) -> None:
    """Puts back what the journal has of `found.lost`, which is of the notebook at `path`."""
    run = next((event.run for _, event in found.events if isinstance(event, RunStarted)), "")
    journal = path.with_name(f"{run}.jsonl") if _NAME.fullmatch(run) else path
    if journal == path or not journal.is_file():
        return
    try:
        kept = [each.event for each in reading.read(journal).events]
    except (OSError, TraceError):
        return
    if next((event.run for event in kept if isinstance(event, RunStarted)), None) != run:
        return
    sources, ours = _sources(kept), _sources([event for _, event in found.events])
    ended = {(event.agent, event.step): event for event in kept if isinstance(event, CellFinished)}
    for at, (time, event) in enumerate(found.events):
        if isinstance(event, CellFinished):
            key = event.agent, event.step
            if key in found.lost and key in ended and sources.get(key) == ours.get(key):
                found.events[at] = time, ended[key]
                del found.lost[key]


def _sources(events: list[Event]) -> dict[Key, str]:
    return {(event.agent, event.step): event.source for event in events if isinstance(event, CellStarted)}
