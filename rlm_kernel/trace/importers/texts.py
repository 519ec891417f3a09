"""
Replies put together so that they give their cell back, and outputs taken out of what tools wrote around them.

`rlm_kernel.parsing` finds the first runnable block of a reply. It is a layer above and not imported; that each reply
made here gives exactly its code is what the tests of the importers check.
"""

from __future__ import annotations

import ast
import re

from rlm_kernel.trace.parsed import parsed
from rlm_kernel.values import CellError, Output

_TAG = re.compile(r"</?(?:think|thinking|reasoning)>", re.IGNORECASE)
_ANY_FENCE = re.compile(r"^[ \t]*(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t]+)?(?:`{3,}|~{3,})", re.MULTILINE)
_DEAD_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*(?:text|txt|json|bash|sh|sql|html|xml|yaml|csv|diff)?[ \t]*")
_LIVE_FENCE = re.compile(r"^(`{3,})(?:repl|python3?|py)[ \t]*\n", re.MULTILINE)
_RAISED = re.compile(r"(?P<name>[A-Za-z_][\w.]*)(?::(?P<message>.*))?", re.DOTALL)
TRACEBACK = "Traceback (most recent call last)"


def newlines(source: str) -> str:
    """Python takes all three line ends for one; so does a reply when it is parsed."""
    return source.replace("\r\n", "\n").replace("\r", "\n")


def dedented(code: str) -> str:
    """With one line end, without the white space that all its lines share: as a cell is taken out of a reply."""
    lines = newlines(code).split("\n")
    margin: str | None = None
    for line in lines:
        if line.strip():
            lead = line[: len(line) - len(line.lstrip(" \t"))]
            if margin is None or margin.startswith(lead):
                margin = lead
            elif not lead.startswith(margin):
                return "\n".join(lines)
    return "\n".join(line.removeprefix(margin or "") for line in lines)


def composed(prose: str, code: str | None) -> str:
    """A reply of prose and one block. What in the prose could be taken for a block or for thinking is quoted."""
    if code is None or not code.strip():
        return prose
    lead = newlines(prose).rstrip()
    if not harmless(lead):
        lead = "\n".join(f"> {line}" for line in _TAG.sub(r"`\g<0>`", lead).split("\n"))
    marks = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    block = f"{marks}repl\n{code}\n{marks}"
    return f"{lead}\n\n{block}" if lead else block


def harmless(prose: str) -> bool:
    """Whether a block after it is the first that runs: its own are closed and marked as something else."""
    if _TAG.search(prose):
        return False
    open_fence = ""
    for line in newlines(prose).split("\n"):
        if open_fence:
            bare = line.rstrip(" \t")
            if bare.startswith(open_fence) and set(bare) == {open_fence[0]}:
                open_fence = ""
            elif _ANY_FENCE.match(line):
                return False  # whether it closes anything is for a parser to say
        elif dead := _DEAD_FENCE.fullmatch(line):
            open_fence = dead[1]
        elif _ANY_FENCE.match(line):
            return False
    return not open_fence


def holds(reply: str, code: str) -> bool:
    """Whether the first block of this reply that runs is exactly that code. False also where it is hard to tell."""
    reply = newlines(reply)
    opening = _LIVE_FENCE.search(reply)
    if opening is None or dedented(code) != code or not harmless(reply[: opening.start()]):
        return False
    marks = opening[1]
    closing = re.compile(rf"\n[ \t]*{marks}`*[ \t]*(?=\n|\Z)")
    end = closing.search(reply, opening.end() - 1)
    if end is None or _TAG.search(reply, end.end()):
        return False
    return reply[opening.end() : end.start()] == code


def reply_with(raw: str, code: str) -> tuple[str, bool]:
    """The reply as it came, where it gives that code; or one put together of what stands before it, and True."""
    if holds(raw, code):
        return raw, False
    at = raw.find(code)
    before = raw[:at] if at >= 0 else ("" if code.strip() in raw else raw)
    before = re.sub(r"(?:```+\w*|~~~+\w*|<code>|<python>)\s*\Z", "", before)
    return composed(before, code), True


def stream(text: str, name: str = "stdout") -> tuple[Output, ...]:
    return ({"output_type": "stream", "name": name, "text": text},) if text else ()


def error_of(told: str) -> CellError:
    """From `Name: message`, from a traceback that ends so, or from any words."""
    whole = told.strip()
    if (at := told.rfind(TRACEBACK)) >= 0:
        lines = told[at:].split("\n")[1:]
        while lines and (not lines[0].strip() or lines[0][0] in " \t"):
            lines.pop(0)
        told = "\n".join(lines)
    found = _RAISED.fullmatch(told.strip())
    if found is None:
        return CellError("Error", told.strip(), whole)
    return CellError(found["name"].rpartition(".")[2] or "Error", (found["message"] or "").strip(), whole)


def ends_in_traceback(text: str) -> CellError | None:
    """The error of an output whose last line ends a traceback; one that was shown and outlived is none."""
    at = text.rfind(TRACEBACK)
    if at < 0:
        return None
    error = error_of(text[at:])
    last = text.rstrip().rpartition("\n")[2]
    return error if re.match(rf"(?:[\w.]+\.)?{re.escape(error.name)}(?::|\Z)", last) else None


def assigned(code: str) -> set[str]:
    """Names that a cell puts into its namespace, as far as its text tells."""
    tree = parsed(code)
    return (
        set()
        if tree is None
        else {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    )


def ends_in_expression(code: str) -> bool:
    tree = parsed(code)
    return tree is not None and bool(tree.body) and isinstance(tree.body[-1], ast.Expr)
