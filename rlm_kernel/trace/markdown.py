"""
Untrusted text as Markdown that can do nothing: no HTML, no picture, no heading, no mathematics, no directive.

Renderers differ (JupyterLab, GitHub, nbviewer and VS Code use four), so nothing here rests on how one of them parses.
Each character that could begin something is written as an entity, which every renderer shows as the character and
none takes for syntax. Code is written anew: a fence at the margin between blank lines, longer than any in it, or a
span of one backtick on each side; any other backtick becomes an entity too, so no renderer can pair them otherwise.
What remains is what prose needs: emphasis, lists, quotes, tables, and links to http, https and mailto.
"""

from __future__ import annotations

import re

from rlm_kernel.trace.safe import one_line, plain

_LANGUAGES = frozenset({"bash", "c", "cpp", "css", "diff", "go", "html", "java", "javascript", "js", "json", "julia"})
_LANGUAGES |= {"python", "r", "ruby", "rust", "sh", "sql", "text", "toml", "ts", "typescript", "xml", "yaml"}
# Others are dropped: some renderers run `mermaid`, `math` or `{image}` instead of showing them.
_SAME = {"repl": "python", "py": "python", "python3": "python", "ipython": "python", "markdown": "text", "md": "text"}

_FENCE = re.compile(r"[ \t]*+(?P<marks>`{3,}+|~{3,}+)[ \t]*+(?P<info>[^`]*+)")
_HEADING = re.compile(r"([ \t>*+\-0-9.)]*+)#")
_RULE = re.compile(r"([ \t>]*+)([-=+])([-=+ \t]*+)")
_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_TILDES = re.compile("~{3,}")
_DEAD_LINK = re.compile(r"\]\((?!https?://|mailto:)", re.IGNORECASE)
_IN_TEXT = str.maketrans({"\\": "&#92;", "<": "&lt;", "&": "&amp;", "$": "&#36;", "`": "&#96;"})
_EVERY_MARK = str.maketrans({mark: f"&#{ord(mark)};" for mark in "\\`*_{}[]<>#|$!~&\"'"})
_LONG_LINE = 20_000
# Characters. Looking for pairs of backticks is quadratic in the worst case; no one writes prose in such lines.


def prose(text: str) -> str:
    """A model's own Markdown, as far as it is harmless. Never raises; linear in the length of the text."""
    shown: list[str] = []
    lines = iter(plain(text).split("\n"))
    for line in lines:
        opened = _FENCE.fullmatch(line)
        if opened is None:
            shown.append(_line(line))
            continue
        marks, body = opened["marks"], []
        for inner in lines:
            bare = inner.strip()
            if bare and set(bare) == {marks[0]} and len(bare) >= len(marks):
                break
            body.append(inner)
        shown += ["", fence("\n".join(body), opened["info"]), ""]
    return "\n".join(shown).strip("\n")


def inline(text: str, chars: int) -> str:
    """One line for a heading, a table's cell or a `<summary>`: no mark in it means anything."""
    return one_line(text, chars).translate(_EVERY_MARK)


def fence(text: str, info: str = "") -> str:
    """A block of code whose text is shown as it stands. The caller leaves a blank line before and after."""
    words = info.split()
    language = words[0].lower() if words else ""
    language = _SAME.get(language, language)
    body = plain(text).rstrip("\n")
    longest = max((len(run) for run in re.findall("`+", body)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}{language if language in _LANGUAGES else ''}\n{body}\n{marks}"


def _line(line: str) -> str:
    if len(line) > _LONG_LINE:
        return line.translate(_EVERY_MARK)
    rule = _RULE.fullmatch(line)
    if rule is not None:
        return f"{_text(rule[1])}&#{ord(rule[2])};{rule[3]}"
    heading = _HEADING.match(line)
    begins = ""
    if heading is not None:
        begins, line = heading[1] + "&#35;", line[heading.end() :]
    pieces = _SPAN.split(line)  # text, backticks, code, text, backticks, code, ..., text
    for at in range(0, len(pieces), 3):
        pieces[at] = _text(pieces[at])
        if at + 2 < len(pieces):
            pieces[at + 1], pieces[at + 2] = "", _code(pieces[at + 2])
    return begins + "".join(pieces)


def _text(text: str) -> str:
    text = text.translate(_IN_TEXT).replace("![", "&#33;[").replace("]:", "]&#58;")
    return _DEAD_LINK.sub("]&#40;", _TILDES.sub(lambda run: "&#126;" * len(run[0]), text))


_LIVE = re.compile(r"[`|<$\\]|!\[|\][(:]")


def _code(code: str) -> str:
    """
    What could live on outside a span is written in entities: a bar cuts a table's cell and the span with it, and
    there are renderers that let a bare address before the span reach into it.
    """
    return f"<code>{code.strip().translate(_EVERY_MARK)}</code>" if _LIVE.search(code) else f"`{code}`"
