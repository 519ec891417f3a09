"""
The pieces of the page: texts, answers, what cells put out. Each is bounded, and escaped, so that nothing of a record
is ever markup.
"""

from __future__ import annotations

import base64
import binascii
import re

from rlm_kernel.trace.safe import clip, in_html, joined, one_line, outputs_text
from rlm_kernel.values import Output

TEXT_CHARS = 200_000
"""Of one output, cell, answer."""
PICTURE_CHARS = 10_000_000
"""Of one picture in base64; a larger one is named."""

_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_BLANK = re.compile(r"\s+")


def output(output: Output) -> str:
    """An error is left out: it stands once, after all."""
    if output.get("output_type") == "error":
        return ""
    data = output.get("data")
    data = data if isinstance(data, dict) else {}
    pictures = [picture for mime in data if (picture := _picture(str(mime), data[mime]))]
    # Beside its picture, the repr of a figure says nothing.
    text = "" if pictures else outputs_text((output,), TEXT_CHARS)
    return "".join(pictures) + (pre(text, "error" if output.get("name") == "stderr" else "") if text else "")


def _picture(mime: str, value: object) -> str:
    if mime == "image/svg+xml":
        text = joined(value)
        # In <img> an SVG runs no script and fetches nothing.
        encoded = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii") if text else ""
    elif mime in _PICTURES:
        encoded = _BLANK.sub("", joined(value))
        try:
            base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            return ""
    else:
        return ""
    if not encoded or len(encoded) > PICTURE_CHARS:
        return ""
    return f'<img alt="{in_html(mime)}" src="data:{mime};base64,{encoded}">\n'


def prose(text: str) -> str:
    shown = escaped(text, TEXT_CHARS).strip()
    return f"<p>{shown}</p>\n" if shown else ""


def pre(text: str, kind: str = "", chars: int = TEXT_CHARS) -> str:
    # The newline is the parser's: it takes the first one away.
    named = f' class="{kind}"' if kind else ""
    return f"<pre{named}>\n{escaped(text, chars)}</pre>\n"


def escaped(text: str, chars: int) -> str:
    return in_html(clip(text, chars))


def line(text: str, chars: int = 400) -> str:
    return in_html(one_line(text, chars))
