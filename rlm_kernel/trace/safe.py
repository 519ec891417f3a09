"""
Text that a model or its cells wrote, made fit to be shown: no control codes, bounded length, no HTML.

Everything here takes hostile text. Each cut is made before the work, so that a text of 10 MB costs what is shown of it.
"""

from __future__ import annotations

import html
import re
from typing import Any

from rlm_kernel.values import Output

_ANSI = re.compile(r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]?|\][^\x07\x1b]*+(?:\x07|\x1b\\)?|[@-Z\\^_])|\x9b[0-?]*+[ -/]*+[@-~]?")
_CONTROL = re.compile(
    # C0 but tab and newline, C1, and the marks that turn the direction of the text that follows them.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def plain(text: str) -> str:
    """Without ANSI codes, control characters and lone surrogates; every line end is a newline."""
    if text.isascii() and text.isprintable():
        return text
    text = _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _SURROGATE.sub("\ufffd", _CONTROL.sub("", text))


def clip(text: str, chars: int, total: int | None = None) -> str:
    """
    `plain` text of about `chars` characters: head, how much is left out, tail.

    `total` is the true length where `text` itself is only the beginning and the end of what it stands for.
    """
    total = len(text) if total is None else total
    if total <= chars:
        return plain(text)
    head = chars * 2 // 3
    return f"{plain(text[:head])}\n… {total - chars:,} characters …\n{plain(text[head - chars :])}"


def one_line(text: str, chars: int) -> str:
    """`plain`, white space folded, cut with an ellipsis."""
    # Twice as much: folding takes some away. What would fold to less than that is not worth a second look.
    line = " ".join(plain(text[: chars * 2]).split())
    return line if len(line) <= chars and len(text) <= chars * 2 else line[: chars - 1].rstrip() + "…"


def in_html(text: str) -> str:
    """For element content and quoted attributes; the text should be `plain` already."""
    return html.escape(text, quote=True)


def outputs_text(outputs: tuple[Output, ...], chars: int) -> str:
    """What a cell's outputs say, as `clip` cuts it; errors are left out, pictures and their kin are named."""
    texts: list[str] = []
    for output in outputs:
        text = _output_text(output)
        if texts and text and not texts[-1].endswith("\n"):
            texts.append("\n")
        texts.append(text)
    total = sum(map(len, texts))
    if total > chars:
        # Joining all would copy megabytes to show a screenful: what `clip` will keep is enough, with its true count.
        ends = "".join(_first(texts, chars)) + "".join(_last(texts, chars))
        return clip(ends, chars, total).rstrip("\n")
    return plain("".join(texts)).rstrip("\n")


def _first(texts: list[str], chars: int) -> list[str]:
    kept = []
    for text in texts:
        if chars <= 0:
            break
        kept.append(text[:chars])
        chars -= len(text)
    return kept


def _last(texts: list[str], chars: int) -> list[str]:
    kept: list[str] = []
    for text in reversed(texts):
        if chars <= 0:
            break
        kept.insert(0, text[-chars:])
        chars -= len(text)
    return kept


def _output_text(output: Output) -> str:
    if output.get("output_type") == "stream":
        return joined(output.get("text"))
    data = output.get("data")
    if not isinstance(data, dict):
        return ""
    mimes = [one_line(str(mime), 60) for mime in data]
    text = joined(data.get("text/plain"))
    named = [f"[{mime}]" for mime in mimes if not text or mime.startswith(("image/", "video/", "audio/"))]
    return " ".join([*named, text] if text else named)


def joined(text: Any) -> str:
    """nbformat's multi-line string: a string or a list of them."""
    if isinstance(text, str):
        return text
    return "".join(part for part in text if isinstance(part, str)) if isinstance(text, list) else ""
