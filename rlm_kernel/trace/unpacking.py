"""
A trace notebook read back: its events from `metadata.rlm`, and what was done to its cells since. `record` packs them.

Nothing of it is executed, and nothing that it says is believed unchecked: what is wrong ends the record there.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlm_kernel.trace.cells import cell_id, is_json, readable
from rlm_kernel.trace.codec import BadLine, decode, decode_value
from rlm_kernel.trace.events import CellFinished, CellStarted, Event, Replied
from rlm_kernel.trace.safe import one_line
from rlm_kernel.values import Output

Key = tuple[str, int]
"""An agent's id and the number of one of its steps."""


@dataclass(frozen=True, slots=True)
class Inserted:
    """A code cell that is not of the record: a person put it there."""

    agent: str
    source: str
    after: Key | None
    """The last recorded cell above it; None at the top."""


@dataclass(slots=True)
class Unpacked:
    events: list[tuple[str | None, Event]] = field(default_factory=list)
    """With their times, up to the first that cannot be read."""
    complaint: str | None = None
    """Why it is not all, in one sentence."""
    edited: dict[Key, str] = field(default_factory=dict)
    """Cells whose source is not the recorded one any more, without the line `%%agent`."""
    inserted: list[Inserted] = field(default_factory=list)
    lost_outputs: int = 0
    """Recorded outputs that are in their cells no longer: the notebook was run, or edited."""


def unpack(notebook: Mapping[str, Any]) -> Unpacked:
    """Of the JSON of a notebook that has `metadata.rlm.events`; the caller has checked its schema."""
    rlm = notebook["metadata"]["rlm"]
    cells = {cell["id"]: cell for cell in _code_cells(notebook) if isinstance(cell.get("id"), str)}
    found = Unpacked()
    replies: dict[Key, str] = {}
    recorded: dict[Key, str] = {}
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
            if isinstance(event, CellStarted):
                recorded[event.agent, event.step] = event.source
            if event is not None:
                at = data.get("at")
                found.events.append((at if isinstance(at, str) else None, event))
    except (BadLine, TypeError, ValueError, RecursionError) as error:
        found.complaint = f"its record cannot be read: {one_line(str(error), 300)}"
    compare(notebook, recorded, found)
    return found


def _event(
    data: Any, bodies: Mapping[str, Any], replies: Mapping[Key, str], cells: Mapping[str, Any], found: Unpacked
) -> Event | None:
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise BadLine("not an event")
    data = dict(data)
    if data["type"] == "cell_started":
        source = data.get("source")
        if isinstance(source, dict) and "$reply" in source:
            begin, end = source["$reply"]
            data["source"] = replies[decode_value(data["agent"], bodies), data["step"]][begin:end]
    if data["type"] != "cell_finished":
        return decode(data, bodies)
    places = [output.get("$output") if isinstance(output, dict) else None for output in data.get("outputs", [])]
    data["outputs"] = [
        {} if place is not None else output for place, output in zip(places, data.get("outputs", []), strict=True)
    ]
    event = decode(data, bodies)
    assert isinstance(event, CellFinished)
    outputs: list[Output] = []
    for place, output in zip(places, event.outputs, strict=True):
        shown = output if place is None else _shown(cells, event.step, *place)
        if shown is None:
            found.lost_outputs += 1
        else:
            outputs.append(shown)
    return dataclasses.replace(event, outputs=tuple(outputs))


def _shown(cells: Mapping[str, Any], step: int, cell: str, n: int, *count: int | None) -> Output | None:
    """Output `n` of that cell as the kernel sent it, whichever program has saved the notebook since."""
    outputs = cells.get(cell, {}).get("outputs", [])
    if not isinstance(n, int) or not 0 <= n < len(outputs) or not isinstance(outputs[n], dict):
        return None
    output = joined_lines(outputs[n])
    if count:
        output["execution_count"] = count[0]
    elif output.get("output_type") == "execute_result":
        output["execution_count"] = max(0, step)  # as it was shown; programs clear it, and count anew
    return output


def joined_lines(output: Mapping[str, Any]) -> Output:
    """A copy with texts in one piece: a notebook on disk may hold them as lists of lines."""
    found = dict(output)
    if "text" in found:
        found["text"] = _text(found["text"])
    if isinstance(found.get("data"), dict):
        found["data"] = {mime: value if is_json(mime) else _text(value) for mime, value in found["data"].items()}
    return found


def _text(value: Any) -> Any:
    return "".join(map(str, value)) if isinstance(value, list) else value


def source_of(cell: Mapping[str, Any]) -> tuple[str | None, str]:
    """The agent that the cell names in a first line `%%agent ID`, None where it names none, and the rest of it."""
    source = _text_of(cell)
    first, newline, rest = source.partition("\n")
    words = first.split()
    return (words[1], rest) if newline and len(words) == 2 and words[0] == "%%agent" else (None, source)


def _text_of(cell: Mapping[str, Any]) -> str:
    return str(_text(cell.get("source", "")))


def _below_its_agent(source: str) -> str:
    """Without a first line `%%agent`, whatever the agent is called."""
    first, newline, rest = source.partition("\n")
    return rest if newline and first.split()[:1] == ["%%agent"] else source


def compare(
    notebook: Mapping[str, Any], recorded: Mapping[Key, str], found: Unpacked, after: Key | None = None
) -> None:
    """
    Adds to `found` what was done to the cells of a notebook, which shows those `recorded`; of others it says nothing.
    The first of them stands below that `after`.
    """
    root = next((event.agent for _, event in found.events if hasattr(event, "agent")), "0")
    keys = {(readable(agent), step): (agent, step) for agent, step in recorded}
    cells = list(_code_cells(notebook))
    ids = [cell.get("id") for cell in cells]
    met: set[Key] = set()
    for cell in cells:
        agent, source = source_of(cell)
        rlm = cell.get("metadata", {}).get("rlm")
        rlm = rlm if isinstance(rlm, dict) else {}
        key = _key(rlm, keys)
        named = None if key is None else cell_id(key[0], f"s{key[1]}")
        # Jupyter gives a copy the metadata of what was copied, and other programs give every cell another id.
        if key is not None and key not in met and (named not in ids or cell.get("id") == named):
            met.add(key)
            whole = _text_of(cell)
            below = _below_its_agent(whole)
            if readable(recorded[key]) not in (whole, below):
                found.edited[key] = below
            after = key
        elif (rlm.get("kind") is None or key is not None) and source.strip():
            found.inserted.append(Inserted(root if agent is None else agent, source, after))


def _key(rlm: Mapping[str, Any], keys: Mapping[Any, Key]) -> Key | None:
    """Of the recorded cell that this metadata is of."""
    agent, step = rlm.get("agent"), rlm.get("step")
    known = rlm.get("kind") == "cell" and isinstance(agent, str) and isinstance(step, int)
    return keys.get((agent, step)) if known else None


def _code_cells(notebook: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    cells = notebook.get("cells")
    for cell in cells if isinstance(cells, list) else []:
        if isinstance(cell, dict) and cell.get("cell_type") == "code" and isinstance(cell.get("metadata", {}), dict):
            yield cell


def _unescaped(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$escaped"}:
            return json.loads(value["$escaped"])
        return {key: _unescaped(item) for key, item in value.items()}
    return [_unescaped(item) for item in value] if isinstance(value, list) else value
