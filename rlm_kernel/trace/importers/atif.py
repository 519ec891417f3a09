"""
ATIF, the Agent Trajectory Interchange Format: one JSON object, its sub-agents beside it or within its observations.

Layout: RFC 0001 of harbor-framework/harbor, versions 1.0 to 1.8.
"""

from __future__ import annotations

from typing import Any

from rlm_kernel.trace import carried
from rlm_kernel.trace.importers.building import build
from rlm_kernel.trace.importers.openai_chat import PUT_TOGETHER
from rlm_kernel.trace.importers.parts import Actor, Completion, Imported, Origin, Turn
from rlm_kernel.trace.importers.source import Log
from rlm_kernel.trace.importers.texts import composed, dedented, ends_in_traceback, stream
from rlm_kernel.trace.importers.values import cell_of, kept, limit, mapping, objects, rest, text, usage
from rlm_kernel.values import Message

LOST = [
    "The values in the namespace.",
    "The replies as they came: text and code stand apart, each reply is put together from them.",
    "How long the model and each cell took.",
]
_COMPLETIONS = ("llm_query", "llm_query_batched")
_MAPPED = ("source", "message", "reasoning_content", "tool_calls", "observation", "timestamp", "model_name", "metrics")
_COUNTED = ("prompt_tokens", "completion_tokens", "cached_tokens", "cost_usd")


def fits(head: list[Any]) -> bool:
    return any(_is_trajectory(row) for row in head)


def _is_trajectory(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("steps"), list):
        return False
    return text(row.get("schema_version")).startswith("ATIF") or ("agent" in row and "session_id" in row)


def read(log: Log) -> list[Imported]:
    rows = [row for row in log.rows() if _is_trajectory(row)]
    found = []
    for at, row in enumerate(rows, 1):
        name = log.run_name(at, len(rows))
        complaints = [log.complaint]
        if carried.KEY in (extra := mapping(row.get("extra"))):
            row = _without_record(row)
            tree, why_not = carried.brought_back(extra[carried.KEY], row)
            if tree is not None:
                found.append(Imported(tree, name, log.complaint))
                continue
            complaints.append(why_not)
        root = _Reader(row, complaints).root()
        agent = mapping(row.get("agent"))
        versions = {text(agent["name"]): text(agent.get("version"))} if isinstance(agent.get("name"), str) else {}
        limits = _limits(row) if carried.KEY in versions else {}
        origin = Origin("ATIF", LOST, None, name, limits, versions)
        found.append(build(root, origin, log.name, "; ".join(filter(None, complaints)) or None))
    return found


def _without_record(row: dict[str, Any]) -> dict[str, Any]:
    """As it was when the record was put into it: without an `extra` that was for that alone."""
    extra = carried.without(row["extra"])
    bare = {key: value for key, value in row.items() if key != "extra"}
    return {**bare, "extra": extra} if extra else bare


def _limits(row: dict[str, Any]) -> dict[str, float | None]:
    """Those of our own run, where its record is not to be had: how deep it may ask decides what a cell's call is."""
    run = mapping(mapping(row.get("extra")).get("run"))
    return {name: limit(value) for name, value in mapping(run.get("limits")).items()}


class _Reader:
    """One document. A trajectory is taken once, where it is first referred to, so that none can hold itself."""

    def __init__(self, document: dict[str, Any], complaints: list[str | None]) -> None:
        self._document, self._complaints = document, complaints
        self._waiting: list[tuple[Actor, dict[str, Any]]] = []
        self._named: dict[str, dict[str, Any]] = {}
        self._taken: set[int] = {id(document)}
        self._ours = mapping(document.get("agent")).get("name") == carried.KEY
        """An export of ours that lost its record: what stands in `extra` is known."""

    def root(self) -> Actor:
        root = Actor()
        self._waiting = [(root, self._document)]
        while self._waiting:  # no recursion: documents nest as deep as they like
            self._fill(*self._waiting.pop())
        return root

    def _fill(self, actor: Actor, row: dict[str, Any]) -> None:
        beside = objects(row.get("subagent_trajectories"))
        for each in beside:
            for key in ("session_id", "trajectory_id"):  # a session's id may stand for several; the other wins
                if isinstance(each.get(key), str):
                    self._named[each[key]] = each
        agent = mapping(row.get("agent"))
        actor.model = text(agent.get("model_name"))
        used = ("schema_version", "agent", "steps", "subagent_trajectories")
        actor.rest = rest(row, used) | ({"agent": kept(agent)} if agent else {})
        asked: list[Message] = []
        for step in objects(row.get("steps")):
            actor.began = actor.began or step.get("timestamp")
            actor.ended = step.get("timestamp") or actor.ended
            said = text(step.get("message"))
            if step.get("source") != "agent":
                role = "system" if step.get("source") == "system" else "user"
                asked.append(Message("system" if role == "system" else "user", said))
                if role == "user" and not actor.question:
                    actor.question = said
                if extra := rest(step, ("source", "message", "step_id", "timestamp")):
                    actor.rest.setdefault("steps", []).append(extra)
                continue
            turns = self._turns(step, said)
            turns[0].asked, asked = tuple(asked), [Message("assistant", said)]
            actor.turns += turns
        self._end(actor)
        for each in beside:
            if id(each) not in self._taken:
                actor.loose.append(self._take(each))

    def _end(self, actor: Actor) -> None:
        """The last message without a tool call is the answer; the format has no field for one."""
        if actor.turns and actor.turns[-1].source is None and not actor.turns[-1].rest.get("tool_calls"):
            actor.result, actor.ending = actor.turns[-1].reply, "text"

    def _turns(self, step: dict[str, Any], said: str) -> list[Turn]:
        """A turn for each cell, the first with the reply; what is no cell is kept with the first."""
        results = objects(mapping(step.get("observation")).get("results"))
        prose = "\n\n".join(filter(None, [text(step.get("reasoning_content")), said]))
        turns: list[Turn] = []
        asked: list[Completion | Actor] = []
        others = []
        for call in objects(step.get("tool_calls")):
            mine = [one for one in results if one.get("source_call_id") == call.get("tool_call_id")]
            if not mine and len(results) == 1 and results[0].get("source_call_id") is None:
                mine = results
            answer = "\n".join(text(one.get("content")) for one in mine if one.get("content") is not None)
            prompt = mapping(call.get("arguments")).get("prompt")
            if (code := cell_of(call.get("function_name"), call.get("arguments"))) is not None:
                turn = Turn(source=code, reply=composed("" if turns else prose, dedented(code)), notes=[PUT_TOGETHER])
                turn.outputs, turn.error, turn.ran = stream(answer), ends_in_traceback(answer), bool(mine)
                turn.rest["tool"] = rest(call, ("arguments",))
                self._refer(mine, turn)
                turns.append(turn)
            elif call.get("function_name") in _COMPLETIONS and isinstance(prompt, str):
                asked.append(Completion(prompt, answer if mine else None))
            else:
                others.append(kept(call))
                continue
            results = [one for one in results if one not in mine]
        turns = turns or [Turn(reply=prose)]
        self._refer(results, turns[0])
        turns[0].below = asked + turns[0].below
        turns[0].rest |= {"tool_calls": others} if others else {}
        if results:
            turns[0].rest["observation"] = [rest(one, ("subagent_trajectory_ref",)) for one in results]
        _facts(step, turns[0])
        if self._ours:
            turns[-1].final = mapping(step.get("extra")).get("final") is True
        for turn in turns:
            turn.at = turn.ended = step.get("timestamp")
        return turns

    def _refer(self, results: list[dict[str, Any]], turn: Turn) -> None:
        for result in results:
            given = result.get("subagent_trajectory_ref")
            for ref in objects([given] if isinstance(given, dict) else given):
                keys = (ref.get("trajectory_id"), ref.get("session_id"))
                named = next((self._named[key] for key in keys if isinstance(key, str) and key in self._named), None)
                if named is None or id(named) in self._taken:
                    which = "stands elsewhere too" if named is not None else "is not in the log"
                    turn.notes.append(f"A sub-agent that this step started {which}.")
                    turn.rest.setdefault("subagent_trajectory_ref", []).append(kept(ref))
                else:
                    turn.below.append(self._take(named))

    def _take(self, row: dict[str, Any]) -> Actor:
        self._taken.add(id(row))
        actor = Actor()
        self._waiting.append((actor, row))
        return actor


def _facts(step: dict[str, Any], turn: Turn) -> None:
    metrics = mapping(step.get("metrics"))
    turn.usage = usage(metrics)
    turn.model = text(step.get("model_name")) or None
    turn.rest |= rest(step, _MAPPED)
    turn.rest |= {"metrics": more} if (more := rest(metrics, _COUNTED)) else {}
