"""
The record of a run inside a log of another format, so that what we export comes back as the run that it was.

It stands under one key of ours and is what a trace notebook has, see `record`. Who changes the log changes what it
says and not the record in it: the record counts only while a hash of all the rest is as it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rlm_kernel.trace.events import SCHEMA
from rlm_kernel.trace.record import pack
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.unpacking import unpack

KEY = "rlm_kernel"
_SO = "brought in is what the log says, which may not run again as it did"


def carried(tree: Tree, log: Any) -> dict[str, Any]:
    """What goes under KEY into `log`, JSON data of which the rest is whole."""
    return {"schema": SCHEMA, "log": _sha(log), **pack(tree, {})}


def without(box: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in box.items() if key != KEY}


def brought_back(record: Any, log: Any) -> tuple[Tree | None, str | None]:
    """
    The run that `record` holds, which stood under KEY in a log that is `log` without it; or None, and why in one
    sentence. It is strangers' data: nothing of it is believed, and nothing raises.
    """
    if not isinstance(record, dict) or not isinstance(schema := record.get("schema"), int) or "events" not in record:
        return None, f"the record of rlm_kernel in it cannot be read: {_SO}"
    if schema > SCHEMA:
        return None, f"the record in it is a newer rlm_kernel's (trace schema {schema}), upgrade to read it: {_SO}"
    if record.get("log") != _sha(log):
        return None, f"it was changed since rlm_kernel exported it: {_SO}"
    found = unpack({"metadata": {"rlm": record}, "cells": []})
    if found.complaint is not None:
        return None, f"{found.complaint}: {_SO}"
    tree = Tree()
    for at, event in found.events:
        tree.add(event, at)
    return tree, None


def _sha(log: Any) -> str | None:
    try:
        text = json.dumps(log, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):  # what no exporter of ours has written
        return None
    return hashlib.sha256(text.encode("ascii")).hexdigest()
