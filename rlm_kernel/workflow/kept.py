"""Results as text in a checkpoint: plain data, also what JSON has no form for (tuples, keys that are no texts)."""

from __future__ import annotations

import base64
import json
from typing import Any

from rlm_kernel.given import LARGEST, Kept, keep, restore, whole_fingerprint

_FORM = "coded"


def kept(value: object) -> Kept | None:
    """None where it is no plain data, or larger than anybody keeps."""
    if (found := keep(value, LARGEST)) is not None:
        return found
    if not whole_fingerprint(value)[1]:
        return None
    try:
        return Kept(_FORM, json.dumps(_coded(value), separators=(",", ":")))
    except (TypeError, ValueError, RuntimeError):
        return None


def restored(form: str, text: str) -> Any:
    """Raises TraceError, ValueError, TypeError, KeyError or AttributeError where the text does not hold it."""
    return _decoded(json.loads(text)) if form == _FORM else restore(form, text)


def _coded(value: Any) -> Any:
    """Lists and leaves as they are, all else a dict of what it is and what it holds."""
    kind = type(value)
    if kind is list:
        return [_coded(each) for each in value]
    if kind is tuple:
        return {"tuple": [_coded(each) for each in value]}
    if kind is dict:
        return {"dict": [[_coded(key), _coded(each)] for key, each in value.items()]}
    if kind is bytes:
        return {"bytes": base64.b64encode(value).decode("ascii")}
    return value


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "tuple":
        return tuple(map(_decoded, held))
    if kind == "bytes":
        return base64.b64decode(held, validate=True)
    if kind != "dict":
        raise ValueError(f"an unknown form, {kind[:40]!r}")
    return {_decoded(key): _decoded(each) for key, each in held}
