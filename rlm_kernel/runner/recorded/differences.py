"""
What came out otherwise than recorded, found and met.

A replay ends at the first of these, as `Diverged`. A resumed run notes it, for the replies that follow are paid. So
does a fork up to where something runs, or is asked, that the record does not know; from there on it is a live one.
"""

from __future__ import annotations

import ast
import itertools
import json
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

from rlm_kernel.environment.descriptors import descriptors
from rlm_kernel.errors import Diverged
from rlm_kernel.trace import comparing
from rlm_kernel.trace.comparing import Difference
from rlm_kernel.trace.events import AgentStarted, CellFinished
from rlm_kernel.trace.known import Key
from rlm_kernel.trace.nodes import Agent, Step
from rlm_kernel.values import CellResult, Message, Output

PAST_PYTHON = (
    "in a process that is no kernel, what compiled code writes past Python (a library in C, os.write) is not output of "
    "a cell: where that is what is missing, jupyter rlm replay finds it"
)

Kind = Literal["replay", "resume", "fork"]


class Differences:
    """Of one run. Thread-safe. `varying` are the steps that may come out otherwise, and why."""

    def __init__(self, kind: Kind, varying: dict[Key, tuple[str, ...]]) -> None:
        self.diverged: Diverged | None = None
        """The first that a replay met: what it ends with."""
        self.notes: list[str] = []
        """What a person should know, in the order in which it came up."""
        self.marked: list[str] = []
        """Cells that did not run again, by `%rlm no-rerun`."""
        self.varying = varying
        self._kind = kind
        self._lock = threading.RLock()

    def note(self, text: str) -> None:
        with self._lock:
            if text not in self.notes:
                self.notes.append(text)

    def meet(self, where: str, step: Key | None, found: Difference, *, leaves: bool = False) -> bool:
        """
        Whether the record is left here, as a fork's is with `leaves`. `step` is the one whose cell came to it, or asked
        for what differs.

        Raises Diverged in a replay.
        """
        why = () if step is None else self.varying.get(step, ())
        with self._lock:
            if why:
                self.note(f"{where}: the {found.what} is not as recorded, as may be: it depends on {', '.join(why)}")
                return False
            if self._kind == "replay":
                raise self.diverge(where, found)
            if not leaves:
                self.note(
                    f"{where}: the {found.what} is not as recorded, and the replies that follow were made for what is: "
                    f"recorded {found.recorded[:200]!r}, now {found.came[:200]!r}"
                )
            return leaves

    def diverge(self, where: str, found: Difference) -> Diverged:
        with self._lock:
            if self.diverged is None:
                self.diverged = Diverged(where, found.what, found.recorded, found.came, found.hint or self._hint(where))
            return self.diverged

    def _hint(self, where: str) -> str:
        """What may be why, and what may be done."""
        skipped = list(dict.fromkeys(each for each in self.marked if each != where))
        if not skipped:
            return ""
        named = ", ".join(skipped[:5]) + (f" and {len(skipped) - 5:,} more" if len(skipped) > 5 else "")
        return f"{named} did not run again (%rlm no-rerun), which may be why: --rerun yes runs what is marked so"


def of_cell(recorded: Step, result: CellResult, loose: bool) -> Difference | None:
    """`loose` is for the log of another tool, which keeps one text for all that a cell put out, or the half of it."""
    cell = recorded.cell
    assert cell is not None
    if loose:
        found = _in_another_tool(recorded, cell, result)
    else:
        found = comparing.difference(cell.outputs, result.outputs, cell.error, result.error)
        if found is not None and not descriptors.claimed and comparing.lacks_text(cell.outputs, result.outputs):
            found = replace(found, hint=PAST_PYTHON)
    if found is None and cell.final != (result.final is not None):
        said = {True: "FINAL ended it", False: "it ended without FINAL"}
        return Difference("end", said[cell.final], said[not cell.final])
    return found


def _in_another_tool(recorded: Step, cell: CellFinished, result: CellResult) -> Difference | None:
    told = {str(value) for data in recorded.foreign for key, value in data.items() if key in ("output", "cut")}
    if "lost" in told:
        return None
    # Some tell an error in their text and beside it, some show the value of a last expression.
    kept = [comparing.text_of(cell.outputs, error) for error in dict.fromkeys((cell.error, None))]
    printed = [output for output in result.outputs if output["output_type"] != "execute_result"]
    found = None
    for was, outputs in itertools.product(kept, (result.outputs, printed)):
        now = comparing.text_of(outputs, result.error)
        one = comparing.loose_difference(was, now[: len(was)] if "head" in told else now, tail="tail" in told)
        if one is None:
            return None
        found = found or one
    return found


def pictures(outputs: Iterable[Output]) -> list[object]:
    """What `of_cell` does not look into."""
    found = (output.get("data", {}).items() for output in outputs)
    return [value for bundle in found for mime, value in bundle if mime.startswith("image/")]


def of_agent(recorded: Agent, now: AgentStarted | Agent) -> Difference | None:
    """What it was asked, and with what."""
    facts = [
        ("question", recorded.question, now.question),
        ("schema", recorded.schema, now.schema),
        ("list of tools", ", ".join(recorded.tools), ", ".join(now.tools)),
    ]
    shas = recorded.context_sha, now.context_sha
    if None in shas:
        facts.append(("context", recorded.context, now.context))
    elif shas[0] != shas[1]:
        facts.append(("context", f"{recorded.context}\nsha {shas[0]}", f"{now.context}\nsha {shas[1]}"))
    for what, before, after in facts:
        found = comparing.loose_difference(before or "none", after or "none")
        if found is not None:
            return Difference(what, found.recorded, found.came)
    return None


def prefix(run: str | None, where: str, before: tuple[Message, ...], now: tuple[Message, ...]) -> str:
    """How much of its prompt a provider's cache may know from the run before, in a sentence."""
    same = 0
    for old, new in zip(before, now, strict=False):
        if old != new:
            same += comparing.parting(old.content, new.content) if old.role == new.role else 0
            break
        same += len(new.content)
    total = sum(len(message.content) for message in now)
    share = f"{same / total:.1%}" if total else "all"
    return f"forked from {run} at {where}: {share} of that prompt is as it was, {same:,} of {total:,} characters"


def where_is(agent: str, step: int | None, call: int | None = None) -> str:
    parts: list[Any] = [f"agent {agent}"]
    parts += [f"step {step}"] if step else []
    parts += [f"completion {call}"] if call else []
    return ", ".join(parts)


def of_answer(recorded: Agent, value: object, rendered: str) -> Difference | None:
    end = recorded.end
    kept = [data["result"] for data in recorded.foreign if "result" in data]
    if kept:
        same, was, now = _same_answer(kept[0], value), json.dumps(kept[0]), json.dumps(_as_json(value))
        return None if same else Difference("answer", *comparing.apart(was, now))
    found = None if end is None or end.answer is None else comparing.loose_difference(end.answer, rendered)
    return None if found is None else Difference("answer", found.recorded, found.came)


def _same_answer(kept: Any, value: object) -> bool:
    """Some tools name the fields of an answer, some keep no more of it than its text."""
    now = _as_json(value)
    if kept in (now, str(value)):
        return True
    if isinstance(kept, str):
        try:
            kept = ast.literal_eval(kept)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return False
    fields = list(kept.values()) if isinstance(kept, dict) else []
    return now in (kept, fields, fields[0] if len(fields) == 1 else kept)


def _as_json(value: object) -> Any:
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return repr(value)
