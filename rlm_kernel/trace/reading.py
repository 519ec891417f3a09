"""Reading a journal back: the longest whole prefix, and what was lost. Nothing is ever mended in the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm_kernel.errors import TraceError
from rlm_kernel.trace.codec import BadLine, decode, read_line
from rlm_kernel.trace.events import SCHEMA, Event

_BEGINS = b'{"v":'


@dataclass(frozen=True, slots=True)
class Stamped:
    seq: int
    """The line's number in its file; long texts have lines of their own, so events are not numbered without gaps."""
    at: str
    """UTC, `2026-01-31T12:00:00.123Z`."""
    event: Event


@dataclass(frozen=True, slots=True)
class Reading:
    events: tuple[Stamped, ...]
    lost_bytes: int
    """Bytes after the last whole line."""
    complaint: str | None
    """What is wrong with the first line that is not whole, in one sentence; None where all is well."""


def read(path: Path) -> Reading:
    """
    Every event up to the first line that is torn, damaged or out of order.

    An event of an unknown type is passed over: what a reader must not miss comes with a new schema. Raises TraceError
    where there is no file, it is no journal, or a newer version wrote it.
    """
    events: list[Stamped] = []
    bodies: dict[str, str] = {}
    whole = 0
    complaint = None
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            begins = file.read(len(_BEGINS))
            if not _BEGINS.startswith(begins):
                raise TraceError(f"{path} is not a journal of a run")
            file.seek(0)
            for seq, line in enumerate(file, start=1):
                try:
                    data = _line(path, line, seq)
                    event = _event(data, bodies)
                except BadLine as error:
                    how = "damaged" if line.endswith(b"\n") else "torn"
                    complaint = f"line {seq} is {how}: {error}"
                    break
                if event is not None:
                    events.append(Stamped(seq, data["at"], event))
                whole += len(line)
    except OSError as error:
        raise TraceError(f"{path} cannot be read ({error.strerror}): is the path right?") from None
    return Reading(tuple(events), size - whole, complaint)


def _line(path: Path, line: bytes, seq: int) -> dict[str, Any]:
    data = read_line(line)
    if data["v"] > SCHEMA:
        raise TraceError(
            f"{path} was written by a newer rlm_kernel (trace schema {data['v']}, this one reads up to {SCHEMA}): "
            "upgrade rlm_kernel to read it"
        )
    if data["seq"] != seq:
        raise BadLine(f"it says that it is line {data['seq']}")
    return data


def _event(data: dict[str, Any], bodies: dict[str, str]) -> Event | None:
    if data["type"] != "body":
        return decode(data, bodies)
    sha, text = data.get("sha"), data.get("text")
    if not isinstance(sha, str) or not isinstance(text, str):
        raise BadLine("a stored text without its hash or its text")
    bodies[sha] = text
    return None
