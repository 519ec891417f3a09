"""
The whole record of a run as JSON data for `metadata.rlm` of its notebook: every event, in order, with its time.

Events are written as `codec` writes them, with a shorter measure of what is long. What the notebook or the record
holds already is named instead of repeated:

    {"$reply": [from, to]}                  in `source` of cell_started: that slice of the same step's reply
    {"$output": [id, n], "sha": S}          in `outputs` of cell_finished: output n of the step's cell, which had that
                                            id; S is its `comparing.fingerprint`, which another in its place has not
    {"$output": [id, n, count], "sha": S}   the same, where the recorded execution_count was another than is shown
    {"$escaped": JSON}                      a value with lone surrogates in it, as ASCII JSON: UTF-8 has none
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from rlm_kernel.trace.codec import encode, encode_value, text_sha
from rlm_kernel.trace.comparing import fingerprint
from rlm_kernel.trace.events import CellFinished, CellStarted, Replied
from rlm_kernel.trace.tree import Tree
from rlm_kernel.values import Output

BODY_CHARS = 256
"""Shorter than in the journal: here each reply stands again in the next request, and a notebook is sent around."""

SHA_DIGITS = 32
"""Of the SHA-256 of a text: enough to tell the texts of one run apart."""

Shown = Mapping[tuple[str, int], tuple[str, list[Output]]]
"""By agent and step: the id of the notebook's cell, and its outputs."""


def pack(tree: Tree, shown: Shown) -> dict[str, Any]:
    """
    `bodies`, the long texts by the first half of their SHA-256, and `events`, each `{"at": ..., "type": ..., fields}`.
    """
    bodies: dict[str, str] = {}

    def body(text: str) -> str:
        sha = text_sha(text)[:SHA_DIGITS]
        bodies[sha] = text
        return sha

    replies: dict[tuple[str, int], str] = {}
    events = []
    for at, event in tree.log:
        bare = event
        if isinstance(event, CellStarted):
            bare = dataclasses.replace(event, source="")
        elif isinstance(event, CellFinished):
            bare = dataclasses.replace(event, outputs=())
        data = encode(bare, body, BODY_CHARS)
        if isinstance(event, Replied):
            replies[event.agent, event.step] = event.text
        elif isinstance(event, CellStarted):
            reply = replies.get((event.agent, event.step), "")
            begins = reply.find(event.source) if event.source else -1
            whole = encode_value(event.source, body, BODY_CHARS) if begins < 0 else None
            data["source"] = {"$reply": [begins, begins + len(event.source)]} if whole is None else whole
        elif isinstance(event, CellFinished):
            cell, outputs = shown.get((event.agent, event.step), ("", []))
            data["outputs"] = [
                _reference(output, cell, n, outputs) or encode_value(output, body, BODY_CHARS)
                for n, output in enumerate(event.outputs)
            ]
        events.append({"at": at, **data})
    return {"bodies": _utf8(bodies), "events": _utf8(events)}


def _reference(output: Output, cell: str, n: int, shown: list[Output]) -> dict[str, Any] | None:
    if n >= len(shown):
        return None
    if output == shown[n]:
        return {"$output": [cell, n], "sha": fingerprint(shown[n])}
    if "execution_count" in output and {**output, "execution_count": shown[n].get("execution_count")} == shown[n]:
        return {"$output": [cell, n, output["execution_count"]], "sha": fingerprint(shown[n])}
    return None


_SURROGATE = re.compile("[\ud800-\udfff]")


def _utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() or not _SURROGATE.search(value) else {"$escaped": json.dumps(value)}
    if isinstance(value, list):
        return [_utf8(item) for item in value]
    if isinstance(value, dict):
        if any(_SURROGATE.search(key) for key in value):
            return {"$escaped": json.dumps(value)}
        return {key: _utf8(item) for key, item in value.items()}
    return value
