"""The cells of a trace notebook, as plain dicts of nbformat 4.5: their ids, and the outputs that the format allows."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from rlm_kernel.trace.nodes import Step
from rlm_kernel.trace.safe import joined
from rlm_kernel.values import Output

Cell = dict[str, Any]

_AGENT = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_SURROGATE = re.compile("[\ud800-\udfff]")


def cell_id(agent: str, what: str) -> str:
    """`a0-2-s3` for `0.2` and `s3`. An id of another kind, or too long for the format, is hashed."""
    if len(what) > 22:  # a step's number in a record that was tampered with
        what = f"x{_hashed(what)}"
    if _AGENT.fullmatch(agent) and len(agent) <= 40:
        return f"a{agent.replace('.', '-')}-{what}"
    return f"x{_hashed(agent)}-{what}"


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def markdown(id: str, source: str, rlm: dict[str, Any]) -> Cell:
    return {"cell_type": "markdown", "id": id, "metadata": _metadata(rlm), "source": readable(source)}


def code(id: str, source: str, step: Step | None, rlm: dict[str, Any], *tags: str) -> Cell:
    """Without a step it has no outputs: a person's own cell, of which the record has the source only."""
    shown = [] if step is None else outputs(step)
    raised = ["raises-exception"] if any(output["output_type"] == "error" for output in shown) else []
    return {
        "cell_type": "code",
        "execution_count": None if step is None else max(0, step.number),
        "id": id,
        "metadata": _metadata(rlm, *raised, *tags),
        "outputs": shown,
        "source": readable(source),
    }


def outputs(step: Step) -> list[Output]:
    """Those of the cell, as nbformat 4.5 has them; an error that was raised without being shown comes last."""
    if step.cell is None:
        return []
    found = [output for recorded in step.cell.outputs if (output := _output(recorded, max(0, step.number))) is not None]
    error = step.cell.error
    if error is not None and not any(output["output_type"] == "error" for output in found):
        lines = readable(error.traceback).split("\n")
        error_output = {"ename": readable(error.name), "evalue": readable(error.message), "traceback": lines}
        found.append({"output_type": "error", **error_output})
    return found


def readable(value: Any) -> Any:
    """
    JSON data as other programs can read and save it: no lone surrogates (a notebook is UTF-8), null for NaN and
    infinity, `<its type>` for what is no JSON at all. The record has what it was.
    """
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if isinstance(value, (list, tuple)):
        return [readable(item) for item in value]
    if isinstance(value, dict):
        return {readable(str(key)): readable(item) for key, item in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int)) else f"<{type(value).__name__}>"


def _metadata(rlm: dict[str, Any], *tags: str) -> dict[str, Any]:
    return {"rlm": readable(rlm), "tags": ["rlm-generated", *tags]}


def _output(output: Output, count: int) -> Output | None:
    kind = output.get("output_type")
    if kind == "stream":
        name = output.get("name")
        text = readable(joined(output.get("text")))
        return {"output_type": kind, "name": name if name in ("stdout", "stderr") else "stdout", "text": text}
    if kind == "error":
        traceback = output.get("traceback")
        lines = [str(line) for line in traceback] if isinstance(traceback, (list, tuple)) else []
        said = {name: readable(str(output.get(name, ""))) for name in ("ename", "evalue")}
        return {"output_type": kind, **said, "traceback": readable(lines)}
    data, metadata = output.get("data"), output.get("metadata")
    if kind not in ("display_data", "execute_result") or not isinstance(data, dict):
        return None
    bundle = {readable(str(mime)): _content(str(mime), value) for mime, value in data.items()}
    metadata = readable(metadata) if isinstance(metadata, dict) else {}
    counted = {"execution_count": count} if kind == "execute_result" else {}
    return {"output_type": kind, "data": bundle, "metadata": metadata, **counted}


def is_json(mime: str) -> bool:
    """Whether nbformat takes its content as JSON. Any other has text, which may stand there as a list of lines."""
    return mime == "application/json" or (mime.startswith("application/") and mime.endswith("+json"))


def _content(mime: str, value: Any) -> Any:
    if is_json(mime):
        return readable(value)
    if isinstance(value, (list, tuple)):
        value = "".join(map(str, value))
    return readable(value) if isinstance(value, str) else json.dumps(readable(value))


def joined_lines(output: Mapping[str, Any]) -> Output:
    """A copy with texts in one piece: a notebook on disk may hold them as lists of lines."""
    found = dict(output)
    if "text" in found:
        found["text"] = in_one(found["text"])
    if isinstance(found.get("data"), dict):
        found["data"] = {mime: value if is_json(mime) else in_one(value) for mime, value in found["data"].items()}
    return found


def in_one(value: Any) -> Any:
    """A text that nbformat may hold as a list of lines."""
    return "".join(map(str, value)) if isinstance(value, list) else value
