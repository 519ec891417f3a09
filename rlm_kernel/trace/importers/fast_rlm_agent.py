"""
What the events of one agent of fast-rlm say, see `fast_rlm`.

Its step 0 is a fixed probe of its context and no reply; a step that ends it has no output.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from rlm_kernel.trace.importers.parts import Actor, Turn
from rlm_kernel.trace.importers.texts import TRACEBACK, composed, dedented, error_of, stream
from rlm_kernel.trace.importers.values import count, kept, rest, text, time, usage

KINDS = ("execution_result", "code_generated", "final_result")
_CUT = re.compile(r"\[TRUNCATED: Last ([0-9]+) chars shown\]\.\. ")
_WHOLE = "[FULL OUTPUT SHOWN]... "
_EMPTY = "[EMPTY OUTPUT]"
_PROBED = re.compile(
    r"Context type:  <class '(?P<type>[\w.]+)'>\nContext length: (?P<size>[0-9]+)\n(?P<shown>.*)", re.DOTALL
)
_HEAD = "First 500 characters of str(context):  "
_TAIL = "\n---\nLast 500 characters of str(context):  "


@dataclass(slots=True)
class Run:
    id: str
    parent: str | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def began(self) -> datetime | None:
        """An id is the milliseconds since 1970 at which the agent started, a dash, and chance."""
        ms = self.id.split("-")[0]
        found = time(int(ms) / 1000) if re.fullmatch(r"[0-9]{12,14}", ms) else None
        return found or min(self._times, default=None)

    @property
    def last(self) -> datetime | None:
        return max(self._times, default=None)

    @property
    def _times(self) -> list[datetime]:
        return [at for row in self.rows if (at := time(row.get("time"))) is not None]


def agent_of(run: Run) -> Actor:
    actor = Actor(began=run.began.isoformat() if run.began is not None else None)
    steps = [row for row in run.rows if row["event_type"] in KINDS[:2]]
    steps.sort(key=lambda row: (count(row.get("step")), row["event_type"] == "execution_result"))
    generated: dict[int, dict[str, Any]] = {}
    for row in steps:
        number = count(row.get("step"))
        if number == 0:
            _probe(actor, row)
        elif row["event_type"] == "code_generated":
            generated[number] = row
        else:
            actor.turns.append(_turn(row, generated.pop(number, None)))
    actor.turns += [_turn(None, row) for row in generated.values()]
    actor.turns.sort(key=lambda turn: turn.rest["step"])
    for row in run.rows:
        if row["event_type"] == "final_result":
            actor.result, actor.ending, actor.ended = row.get("result"), "final", row.get("time")
            actor.rest |= rest(row, ("level", "time", "run_id", "parent_run_id", "depth", "event_type", "result"))
        elif row["event_type"] not in KINDS:
            actor.rest.setdefault("events", []).append(kept(row))
    actor.rest["run_id"] = run.id
    _close(actor, [turn.rest["step"] for turn in actor.turns])
    return actor


def _probe(actor: Actor, row: dict[str, Any]) -> None:
    shown = text(row.get("output"))
    actor.context = shown
    actor.rest["probe"] = rest(row, ("level", "run_id", "parent_run_id", "depth", "event_type", "step"))
    found = _PROBED.fullmatch(shown)
    if found is None:
        actor.hidden["context"] = "unknown: the log's probe of it says neither its type nor its length"
        return
    size, rest_of_it = int(found["size"][:18]), found["shown"]
    if rest_of_it.startswith(_HEAD):
        head, _, tail = rest_of_it.removeprefix(_HEAD).partition(_TAIL)
        actor.question = f"{head} …"
        actor.hidden["context"] = (
            f"{found['type']} of {size:,} characters, "
            f"of which the log has the first {len(head):,} and the last {len(tail):,}"
        )
        return
    value = rest_of_it.removeprefix("Context:  ")
    actor.question = value
    if found["type"] == "str" and len(value) == size:
        actor.given["context"] = value
    else:
        # The probe's output was stripped, and what is no text was only printed.
        actor.hidden["context"] = f"{found['type']} of length {size:,}, of which the log does not hold the whole"


def _turn(result: dict[str, Any] | None, generated: dict[str, Any] | None) -> Turn:
    row = result if result is not None else generated or {}
    code, reasoning = text(row.get("code")), text(row.get("reasoning"))
    source = code if code.strip() else None
    turn = Turn(reply=composed(reasoning, dedented(code)), source=source, usage=usage(row.get("usage")))
    turn.at = turn.ended = row.get("time")
    used = ["level", "time", "run_id", "parent_run_id", "depth", "event_type", "step", "code", "output"]
    turn.rest = {**rest(row, [*used, "hasError", "usage"]), "step": count(row.get("step"))}
    if source is None or reasoning == text(turn.reply)[: len(reasoning)]:
        turn.rest.pop("reasoning", None)  # it stands in the reply as it was
    if row.get("hasError") is True:
        turn.rest["hasError"] = True
    if result is None:
        turn.ran = False
        return turn
    output = text(row.get("output"))
    if cut := _CUT.match(output):
        output = output[cut.end() :]
        turn.rest["cut"] = "tail"
        turn.notes.append(f"Of this output the log has only the last {len(output):,} characters.")
    else:
        output = "" if output == _EMPTY else output.removeprefix(_WHOLE)
    turn.outputs = stream(output)
    # The tool puts `Error: `, the message and a space at the end of what a cell that raised had put out.
    at = max(output.rfind(f"\nError: {TRACEBACK}"), output.rfind(TRACEBACK) if turn.rest.get("cut") else -1)
    at = at if at >= 0 else output.rfind("\nError: ")
    if at >= 0 and output.endswith(" "):
        turn.error = error_of(output[at:].removeprefix("\nError: "))
    return turn


def _close(actor: Actor, numbers: list[int]) -> None:
    """The step that ended the agent is logged before its result; what its cell put out is not logged."""
    if actor.turns and actor.ending == "final":
        last = actor.turns[-1]
        if last.source is not None and not last.ran:
            last.ran = last.final = True
            last.rest["output"] = "lost"
            last.notes.append("What this cell put out is not in the log: it ended the agent.")
    known = sorted({0, *numbers})
    gaps = [(low + 1, high - 1) for low, high in pairwise(known) if high - low > 1][:20]
    if gaps:
        named = ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in gaps)
        actor.notes.append(f"Steps that the log does not have: {named}.")
    for number, turn in enumerate(actor.turns, 1):
        if turn.rest["step"] == number:
            del turn.rest["step"]
