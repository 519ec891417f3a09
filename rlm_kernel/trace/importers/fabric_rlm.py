"""
A fabric-rlm trajectory: a line of metadata, then a line a turn, with the variables as they stood after it.

Layout: the golden trajectories of fabric-rlm-core.
"""

from __future__ import annotations

from typing import Any

from rlm_kernel.trace.importers.building import build
from rlm_kernel.trace.importers.parts import Actor, Imported, Origin, Turn
from rlm_kernel.trace.importers.source import Log
from rlm_kernel.trace.importers.texts import assigned, dedented, error_of, reply_with, stream
from rlm_kernel.trace.importers.values import changed, count, limit, mapping, number, rest, seconds, text, usage

LOST = [
    "The messages that the model was sent, its name, and when things happened.",
    "The value of a last expression: this tool shows only what is printed.",
]


def fits(head: list[Any]) -> bool:
    return any(_is_turn(row) for row in head)


def _is_turn(row: Any) -> bool:
    return isinstance(row, dict) and {"turn", "code", "submitted"} <= row.keys()


def read(log: Log) -> list[Imported]:
    metadata: dict[str, Any] = {}
    turns: list[dict[str, Any]] = []
    strays = 0
    for row in log.rows():
        if _is_turn(row):
            turns.append(row)
        elif isinstance(row, dict) and isinstance(row.get("metadata"), dict):
            metadata = row["metadata"]
        else:
            strays += 1
    turns.sort(key=lambda row: count(row.get("turn")))
    stray = f"{strays} lines are no turns" if strays else None
    complaint = "; ".join(filter(None, [log.complaint, stray])) or None
    limits = {"max_steps": limit(metadata["max_turns"])} if "max_turns" in metadata else {}
    origin = Origin("fabric-rlm", LOST, "fabric-rlm", log.path.stem, limits)
    return [build(_actor(metadata, turns), origin, log.name, complaint)]


def _actor(metadata: dict[str, Any], rows: list[dict[str, Any]]) -> Actor:
    actor = Actor(rest=rest(metadata, ()))
    before: dict[str, Any] = {}
    for row in rows:
        state = mapping(row.get("state"))
        if not actor.turns:
            made = assigned(text(row.get("code")))
            actor.given = {name: value for name, value in state.items() if name not in made}
        turn = _turn(row)
        new, same = changed(state, before)
        turn.rest |= {"state": new, **({"state_same": same} if same else {})}
        before = state
        actor.turns.append(turn)
        if row["submitted"] is True:
            actor.result, actor.ending = row.get("submit_payload"), "final"
    asked = next((actor.given[name] for name in ("question", "task", "query") if name in actor.given), "")
    actor.question = text(asked)
    most = number(metadata.get("max_turns"))
    if actor.ending is None and most is not None and len(rows) >= most:
        actor.ending, actor.message = "limit", f"max_turns={most:g} reached"
    return actor


_USED = (
    "turn",
    "code",
    "stdout",
    "stderr",
    "error",
    "submitted",
    "state",
    "response_text",
    "duration_s",
    "submit_payload",
)
_COUNTED = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "lm_call_seconds",
)


def _turn(row: dict[str, Any]) -> Turn:
    code, raw = text(row.get("code")), text(row.get("response_text"))
    turn = Turn(source=code if code.strip() else None, rest=rest(row, (*_USED, *_COUNTED)))
    turn.reply, put_together = reply_with(raw, dedented(code)) if code.strip() else (raw, False)
    if put_together and raw != code:
        turn.rest["response_text"] = raw
    turn.usage = usage({**row, **mapping(row.get("token_usage"))})
    turn.model_s, turn.cell_s = seconds(row.get("lm_call_seconds")), seconds(row.get("duration_s"))
    turn.outputs = stream(text(row.get("stdout"))) + stream(text(row.get("stderr")), "stderr")
    if row.get("error") is not None:
        error = row["error"]
        turn.error = error_of(text(error))
        turn.rest["error"] = error
    turn.final = row["submitted"] is True
    if turn.final:
        turn.rest |= rest({"submit_payload": row.get("submit_payload")}, ())
    return turn
