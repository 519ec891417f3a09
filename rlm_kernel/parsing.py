"""
From a model's reply to the cell it asks for: what runs, what is answer, what was thinking.

Fences follow CommonMark 0.31, section 4.5, with three allowances for how models write: a fence may stand as deep as
the list item above it, a code line at the end of the reply may carry its own closing fence, and a block that is
indented as a whole is taken off its indentation. Whether the code is any good, and what the model is told, is
decided elsewhere. Every regular expression here is possessive or anchored, so that a hostile reply costs linear time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

RUNNABLE = frozenset({"repl", "python", "python3", "py", "py3", "ipython", "ipython3"})
"""First words of an info string, in lower case, that mark a block as a cell."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """One reply taken apart. Line ends are `\\n` throughout, whatever they were."""

    code: str | None
    """The first runnable block that is not blank, without its last line end; None where there is none to run."""
    answer_text: str
    """The whole reply without its thinking, stripped."""
    ignored_blocks: int
    """Runnable, not blank, and after the one that runs: they do not run."""


@dataclass(frozen=True, slots=True)
class _Cell:
    body: str
    closed: bool


_TAGS = "think|thinking|reasoning"
_LINE_START = r"(?:^|(?<=/think>)|(?<=/thinking>)|(?<=/reasoning>))"
_TOKEN = re.compile(
    # A fence at the start of a line, or right behind the end of thinking; maybe on a list item's own line. What
    # follows the backticks may hold no backtick, or it is inline code.
    _LINE_START + r"(?=[ \t]*+[-*+0-9`~])(?P<indent>[ \t]*+)(?P<marker>(?:[-*+]|[0-9]{1,9}[.)])[ \t]++)?"
    r"(?P<fence>`{3,}+(?=[^`\n]*+$)|~{3,}+)(?P<info>[^\n]*+)"
    # Or a tag of thinking that is no inline code, with whether it stands at an edge of its line.
    rf"|(?=[ \t<])(?P<first>{_LINE_START}[ \t]*+)?(?<!`)<(?P<slash>/?)(?P<tag>{_TAGS})>(?!`)(?=(?P<last>[ \t]*+$)?)",
    re.MULTILINE | re.IGNORECASE,
)
_CLOSING_TAG = {tag: re.compile(f"</({tag})>", re.IGNORECASE) for tag in (*_TAGS.split("|"), _TAGS)}
_CLOSING_FENCE = re.compile(r"^([ \t]*+)(`{3,}+|~{3,}+)[ \t]*+$", re.MULTILINE)
_LIST_ITEM_OR_END = re.compile(
    r"^(?P<item>[ \t]*+(?:[-*+]|[0-9]{1,9}[.)])[ \t]{1,4}+)|(?<=\n\n)(?=[^ \t\n])", re.MULTILINE
)
_FIRST_WORD = re.compile(r"[ \t]*+\{?[ \t]*+\.?([\w+#-]*+)")


def parse(reply: str, *, cut_off: bool = False) -> Parsed:
    """
    Take a reply apart. Never raises; time and memory are linear in its length.

    `cut_off` says that the provider ended the reply at its length limit: then an unclosed block is a stump, and does
    not run.

    Nothing inside `<think>`, `<thinking>` or `<reasoning>` runs. A tag that is never closed hides the rest of the
    reply if it begins its line, and is mere text elsewhere. An end tag that was never opened, at an edge of its
    line, hides all before it: some chat templates put the opening tag into the prompt. Inside a fence, tags are code.
    """
    text = reply.replace("\r\n", "\n").replace("\r", "\n")
    last_closing = {tag[1].lower(): tag.start() for tag in _CLOSING_TAG[_TAGS].finditer(text)}
    shown: list[str] = []  # pieces of the reply that are not thinking
    cell: _Cell | None = None
    ignored = 0
    piece = 0  # where the piece not yet in `shown` begins
    list_seen = list_room = 0  # up to where list items were looked for; columns the last one takes before its text
    at = 0

    while token := _TOKEN.search(text, at):
        at = token.end()
        if token["tag"]:
            tag = token["tag"].lower()
            if token["slash"]:
                if token["first"] is not None or token["last"] is not None:
                    shown, cell, ignored, piece = [], None, 0, at
            elif token.start() < last_closing.get(tag, -1):
                shown.append(text[piece : token.start()])
                end = _CLOSING_TAG[tag].search(text, at)
                assert end is not None  # `last_closing` knows of one
                at = piece = end.end()
            elif token["first"] is not None:
                shown.append(text[piece : token.start()])
                at = piece = len(text)
            continue

        if token["marker"] or token["indent"]:
            for found in _LIST_ITEM_OR_END.finditer(text, list_seen, token.start()):
                list_room = _width(found["item"] or "")
            list_seen = token.start()
            indent = _width(token["indent"])
            if indent > list_room + 3:
                continue  # as deep as this it is an indented code block, which shows a fence and is none
            if token["marker"]:
                list_room = indent = indent + _width(token["marker"])
            deepest = (list_room if indent >= list_room else 0) + 3
        else:
            list_room, deepest = 0, 3
        closing = _closing_fence(text, token, deepest)
        at = list_seen = closing.end() if closing else len(text)
        if not _is_runnable(token["info"]):
            continue
        block = _cell(text, token, closing, cut_off)
        if block.closed and not block.body.strip():
            continue
        if cell is not None:
            ignored += bool(block.body.strip())
            continue
        cell = block

    shown.append(text[piece:])
    runs = cell is not None and bool(cell.body.strip()) and (cell.closed or not cut_off)
    return Parsed(
        code=_dedent(cell.body) if cell is not None and runs else None,
        answer_text="".join(shown).strip(),
        ignored_blocks=ignored,
    )


def _closing_fence(text: str, opening: re.Match[str], deepest: int) -> re.Match[str] | None:
    """The line that closes what `opening` opened; it may be indented by up to `deepest` columns."""
    at = opening.end()  # the end of a line, where no fence begins
    while found := _CLOSING_FENCE.search(text, at):
        if found[2].startswith(opening["fence"]) and (not found[1] or _width(found[1]) <= deepest):
            return found
        at = found.end()
    return None


def _is_runnable(info: str) -> bool:
    word = _FIRST_WORD.match(info) if info else None
    return word is not None and word[1].lower() in RUNNABLE


def _cell(text: str, opening: re.Match[str], closing: re.Match[str] | None, cut_off: bool) -> _Cell:
    start = opening.end() + 1
    if closing:
        return _Cell(text[start : max(start, closing.start() - 1)], True)
    body = text[start:].rstrip()
    if body.endswith(opening["fence"]) and not cut_off:
        # No Python ends in a fence: the last line of code carries its own.
        return _Cell(body.rstrip(opening["fence"][0]).rstrip(), True)
    return _Cell(body, False)


def _dedent(code: str) -> str:
    """Take off the white space that all lines share. Unlike `textwrap.dedent`, leaves all other white space alone."""
    lines = code.split("\n")
    margin: str | None = None
    for line in lines:
        if not line.strip():
            continue
        lead = line[: len(line) - len(line.lstrip(" \t"))]
        if margin is None or margin.startswith(lead):
            margin = lead
        elif not lead.startswith(margin):
            return code  # tabs against spaces: not for us to sort out
        if not margin:
            return code
    margin = margin or ""
    return "\n".join(line.removeprefix(margin) for line in lines)


def _width(space: str) -> int:
    return len(space.expandtabs(4))
