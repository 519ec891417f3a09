"""
A trace notebook read back: its events, from `metadata.rlm`. `record` packs them; what was done to the cells since is
the business of `changed`.

Nothing of it is executed, and nothing that it says is believed unchecked: what is wrong ends the record there.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlm_kernel.trace.cells import joined_lines
from rlm_kernel.trace.codec import BadLine, decode, decode_value
from rlm_kernel.trace.comparing import fingerprint
from rlm_kernel.trace.events import CellFinished, Event, Replied
from rlm_kernel.trace.known import Cells, Key
from rlm_kernel.trace.safe import one_line
from rlm_kernel.values import Output


@dataclass(slots=True)
class Unpacked:
    events: list[tuple[str | None, Event]] = field(default_factory=list)
    """With their times, up to the first that cannot be read."""
    complaint: str | None = None
    """Why it is not all, in one sentence."""
    lost: dict[Key, int] = field(default_factory=dict)
    """How many of a step's recorded outputs are in its cell no longer: the notebook was run, or edited."""


def unpack(notebook: Mapping[str, Any]) -> Unpacked:
    """Of the JSON of a notebook that has `metadata.rlm.events`; the caller has checked its schema."""
    rlm = notebook["metadata"]["rlm"]
    cells = Cells(notebook)
    found = Unpacked()
    replies: dict[Key, str] = {}
    try:
        bodies = _unescaped(rlm.get("bodies", {}))
        for number, data in enumerate(_unescaped(rlm["events"]), 1):
            try:
                event = _event(data, bodies, replies, cells, found)
            except (BadLine, KeyError, TypeError, ValueError, RecursionError) as error:
                found.complaint = f"event {number} of its record cannot be read: {one_line(str(error), 300)}"
                break
            if isinstance(event, Replied):
                replies[event.agent, event.step] = event.text
            if event is not None:
                at = data.get("at")
                found.events.append((at if isinstance(at, str) else None, event))
    except (BadLine, TypeError, ValueError, RecursionError) as error:
        found.complaint = f"its record cannot be read: {one_line(str(error), 300)}"
    return found


def _event(
    data: Any, bodies: Mapping[str, Any], replies: Mapping[Key, str], cells: Cells, found: Unpacked
) -> Event | None:
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise BadLine("not an event")
    data = dict(data)
    if data["type"] == "cell_started":
        source = data.get("source")
        if isinstance(source, dict) and "$reply" in source:
            begin, end = source["$reply"]
            reply = replies.get((decode_value(data["agent"], bodies), data["step"]))
            if reply is None:
                raise BadLine("its source is a piece of a reply that is not there")
            data["source"] = reply[begin:end]
    if data["type"] != "cell_finished":
        return decode(data, bodies)
    given = data.get("outputs", [])
    places = [output if isinstance(output, dict) and "$output" in output else None for output in given]
    data["outputs"] = [{} if place is not None else output for place, output in zip(places, given, strict=True)]
    event = decode(data, bodies)
    assert isinstance(event, CellFinished)
    key = event.agent, event.step
    outputs: list[Output] = []
    for place, output in zip(places, event.outputs, strict=True):
        shown = output if place is None else _shown(cells, key, place.get("sha"), *place["$output"])
        if shown is None:
            found.lost[key] = found.lost.get(key, 0) + 1
        else:
            outputs.append(shown)
    return dataclasses.replace(event, outputs=tuple(outputs))


def _shown(cells: Cells, key: Key, sha: Any, id: str, n: int, *count: int | None) -> Output | None:
    """
    Output `n` of the cell of that step as the kernel sent it, whichever program has saved the notebook since; None
    where another stands in its place now, as `sha` tells in all but older records.
    """
    cell = cells.of(key, id) or cells.with_id(id) or {}
    outputs = cell.get("outputs")
    outputs = outputs if isinstance(outputs, list) else []
    if not isinstance(n, int) or not 0 <= n < len(outputs) or not isinstance(outputs[n], dict):
        return None
    output = joined_lines(outputs[n])
    if sha is not None and fingerprint(output) != sha:
        return None
    if count:
        output["execution_count"] = count[0]
    elif output.get("output_type") == "execute_result":
        output["execution_count"] = max(0, key[1])  # as it was shown; programs clear it, and count anew
    return output


def _unescaped(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$escaped"}:
            return json.loads(value["$escaped"])
        return {key: _unescaped(item) for key, item in value.items()}
    return [_unescaped(item) for item in value] if isinstance(value, list) else value
