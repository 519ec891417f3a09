"""One nbformat output as plain text: its stream, its text/plain, its traceback, and what else it holds, described."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from typing import Any

from rlm_kernel.preview.text import clip, cut, size
from rlm_kernel.values import Output

_SAYS_NOTHING = re.compile(r"<IPython\.core\.display\.\w+ object>")
_TEXTS = ("text/markdown", "text/latex")
_ALWAYS_TOLD = ("image/", "audio/", "video/", "application/pdf")
"""What a person sees beside the text. Other kinds, HTML above all, say again what their text/plain says."""

_PNG_HEAD_CHARS = 32
"""Base64 characters of the 24 bytes that end with width and height in the IHDR chunk (PNG specification, 11.2.2)."""


def output_text(output: Output, limit: int | None) -> str:
    """Its text as it was written, not cut, but for an error's message that would fill `limit` by itself."""
    kind = output.get("output_type")
    if kind == "stream":
        return _joined(output.get("text", ""))
    if kind == "error":
        traceback = "\n".join(_joined(part) for part in output.get("traceback") or ())
        return error_text(_joined(output.get("ename", "")), _joined(output.get("evalue", "")), traceback, limit)
    return _rich(output.get("data") or {})


def error_text(name: str, message: str, traceback: str, limit: int | None) -> str:
    """The traceback. Of a giant message both ends and the exception's name, so that the name outlives any cut."""
    if limit is None or len(message) <= limit // 5:
        return traceback or f"{name}: {message}"
    frames = traceback[: max(0, traceback.find(f"{name}: {message[:40]}"))]
    return f"{cut(frames, limit // 10)}{name}: {cut(message, limit // 5)}"


def _rich(data: dict[str, Any]) -> str:
    plain = _joined(data.get("text/plain", ""))
    told = [plain] if plain and not _SAYS_NOTHING.fullmatch(plain[:100]) else []
    if not told:
        told = [_joined(data[kind]) for kind in _TEXTS if kind in data][:1]
    for kind, content in data.items():
        if kind != "text/plain" and (kind.startswith(_ALWAYS_TOLD) or (not told and kind not in _TEXTS)):
            told.append(_described(kind, content))
    return "\n".join(told) or plain


def _described(kind: str, content: object) -> str:
    facts = [clip(kind, 80)]
    if isinstance(content, (str, list)):
        text = _joined(content)
        is_base64 = kind.startswith(_ALWAYS_TOLD) and not kind.endswith("xml")
        if kind == "image/png" and (pixels := _png_size(text)):
            facts.append(f"{pixels[0]} x {pixels[1]}")
        chars = len(text) - text.count("\n")
        facts.append(size(chars * 3 // 4 - text[-3:].count("=") if is_base64 else len(text)))
    return f"[{', '.join(facts)}, shown to the person]"


def _png_size(text: str) -> tuple[int, int] | None:
    try:
        head = base64.b64decode(text[:_PNG_HEAD_CHARS], validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(head) < 24 or not head.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def _joined(text: object) -> str:
    """nbformat allows a string or a list of its lines."""
    return "".join(str(line) for line in text) if isinstance(text, list) else str(text)
