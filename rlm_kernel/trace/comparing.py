"""Whether two cells put out the same, and where not: what tells a replay from a divergence, and two runs apart."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rlm_kernel.trace.cells import joined_lines, readable
from rlm_kernel.trace.safe import clip, plain
from rlm_kernel.values import CellError, Output

SHOWN_CHARS = 400
"""Of each side of a difference."""

_WIDGET = "application/vnd.jupyter.widget-view+json"
_RATE = re.compile(r"\[(?:\d++:)++\d\d(?:<[\d:?]++)?+, ++[\d.?]++[^\s\],/]*+/[^\s\],]*+")
"""Of a bar of tqdm: the time that passed, what is left of it, and the rate."""
_COUNTED = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b|(?<=\bThread-)\d+|(?<=<rlm )([^<>\n]*) #\d+(?=>)")
"""Addresses of objects, and what a process counts: its threads, and its cells as tracebacks name them."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What one side has and the other has not, cut to what can be read."""

    what: str
    """`output`, `error`, `source`, or another word for what was compared."""
    recorded: str
    came: str
    hint: str = ""
    """What may be why, and what may be done."""


def canonical(outputs: Iterable[Output]) -> list[tuple[str, Any]]:
    """
    Outputs without what differs though nothing changed: how writes were cut, counts, metadata, frames of tracebacks,
    addresses of objects, the bytes of pictures, names of widgets, times and rates of progress bars.
    """
    found: list[tuple[str, Any]] = []
    for output in outputs:
        output = joined_lines(readable(output))  # one of the two sides was read from JSON
        kind = str(output.get("output_type"))
        if kind == "stream":
            name, text = f"stream {output.get('name')}", str(output.get("text", ""))
            if found and found[-1][0] == name:
                text = found.pop()[1] + text
            if text:
                found.append((name, text))
        elif kind == "error":
            found.append((kind, (str(output.get("ename")), str(output.get("evalue")))))
        else:
            data = output.get("data")
            data = data if isinstance(data, dict) else {}
            found.append((kind, {mime: _seen(mime, value) for mime, value in data.items()}))
    return [(kind, settled) for kind, value in found if (settled := _settled(value)) != ""]


def fingerprint(output: Output) -> str:
    """8 hex digits over what `canonical` keeps of one output."""
    kept = json.dumps(canonical([output]), sort_keys=True, default=repr)
    return hashlib.sha256(kept.encode("ascii")).hexdigest()[:8]


def _seen(mime: str, value: Any) -> Any:
    return "a picture" if mime.startswith("image/") else "a widget" if mime == _WIDGET else value


def _settled(value: Any) -> Any:
    if isinstance(value, str):
        text = plain(value)
        return _COUNTED.sub(lambda found: found[1] or "…", _last_of_bars(text) if _RATE.search(text) else text)
    if isinstance(value, tuple):
        return tuple(map(_settled, value))
    if isinstance(value, dict):
        return {key: _settled(item) for key, item in value.items()}
    return value


def _last_of_bars(text: str) -> str:
    """How often a bar is drawn anew depends on the time: of those in a row the last is kept, without its rate."""
    lines: list[str] = []
    in_a_row: int | None = None  # where the bars begin that only blank lines follow so far
    for line in text.split("\n"):
        bar = _RATE.sub("[…", line).rstrip()
        is_bar = bar != line.rstrip()
        if is_bar:
            if in_a_row is not None:
                del lines[in_a_row:]
            in_a_row = len(lines)
        elif line.strip():
            in_a_row = None
        lines.append(bar if is_bar else line)
    return "\n".join(lines)


def difference(
    recorded: Iterable[Output],
    came: Iterable[Output],
    recorded_error: CellError | None = None,
    came_error: CellError | None = None,
) -> Difference | None:
    """None where a reader would call them the same. Errors are compared by name and message."""
    left, right = canonical(recorded), canonical(came)
    # The error of a cell is told beside its outputs, and may stand among them too.
    before, now = _error(left, recorded_error), _error(right, came_error)
    left, right = _without_errors(left), _without_errors(right)
    if left != right:
        texts = _text(left), _text(right)
        if before != now:  # an error is what one has to know first
            texts = f"{texts[0]}\n{_said(before)}".strip(), f"{texts[1]}\n{_said(now)}".strip()
        # What is read is the same: they differ in their kinds, or in HTML, or in JSON.
        return Difference("output", *apart(*(texts if texts[0] != texts[1] else (_whole(left), _whole(right)))))
    if before != now:
        return Difference("error", *apart(_said(before), _said(now)))
    return None


def lacks_text(recorded: Iterable[Output], came: Iterable[Output]) -> bool:
    """Whether lines that were printed are missing now, and no other came."""
    was, now = (
        Counter(line for kind, text in canonical(outputs) if kind.startswith("stream") for line in text.splitlines())
        for outputs in (recorded, came)
    )
    return now < was


def loose_difference(recorded: str, came: str, tail: bool = False) -> Difference | None:
    """
    Of the log of a tool that keeps one text for all that a cell put out. `tail`: it kept no more than the end.

    Of an error such a text has the frames of that tool's own interpreter: its last line is compared.
    """
    before, now = _settled(recorded).strip(), _settled(came).strip()
    same = now.endswith(before) if tail else now == before
    if not same and "Traceback (most recent call last)" in before:
        same = before.splitlines()[-1:] == now.splitlines()[-1:]
    return None if same else Difference("output", *apart(before, now))


def text_of(outputs: Iterable[Output], error: CellError | None = None) -> str:
    """All that a person reads of them, in order."""
    parts = canonical(outputs)
    text = _text(_without_errors(parts))
    said = _error(parts, error)
    return text if said is None else f"{text.rstrip()}\n{clip(_said(said), SHOWN_CHARS)}".lstrip("\n")


def apart(left: str, right: str) -> tuple[str, str]:
    """Both from a little before where they part, cut to SHOWN_CHARS."""
    at = parting(left, right)
    begin = max(0, left.rfind("\n", 0, max(0, at - 1)) + 1) if at < len(left) or at < len(right) else 0
    begin = begin if at - begin < SHOWN_CHARS // 2 else at - SHOWN_CHARS // 2
    lead = "…" if begin else ""
    return lead + clip(left[begin:], SHOWN_CHARS), lead + clip(right[begin:], SHOWN_CHARS)


def parting(left: str, right: str) -> int:
    """The index of the first character in which they differ."""
    low, high = 0, min(len(left), len(right))
    while low < high:  # by halves: comparing slices is quick, and both may be megabytes
        middle = (low + high + 1) // 2
        if left[:middle] == right[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def unified(left: str, right: str, names: tuple[str, str] = ("recorded", "now"), context: int = 2) -> str:
    """The lines that differ, as `diff -u` shows them."""
    lines = difflib.unified_diff(left.splitlines(), right.splitlines(), *names, lineterm="", n=context)
    return "\n".join(lines)


def _error(parts: list[tuple[str, Any]], error: CellError | None) -> tuple[str, str] | None:
    for kind, value in parts:
        if kind == "error":
            return (value[0], value[1])
    return None if error is None else (error.name, _settled(error.message))


def _without_errors(parts: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [part for part in parts if part[0] != "error"]


def _said(error: tuple[str, str] | None) -> str:
    return "no error" if error is None else f"{error[0]}: {error[1]}"


def _text(parts: list[tuple[str, Any]]) -> str:
    return "\n".join(_one(kind, value) for kind, value in parts)


def _whole(parts: list[tuple[str, Any]]) -> str:
    return json.dumps(parts, ensure_ascii=False, indent=1, sort_keys=True)


def _one(kind: str, value: Any) -> str:
    if isinstance(value, str):
        return value.removesuffix("\n") if kind.startswith("stream") else value
    text = value.get("text/plain")
    return text if isinstance(text, str) else f"<{', '.join(sorted(value)) or kind}>"
