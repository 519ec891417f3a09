"""
Inspect's evaluation logs: `.json` as `inspect log dump` writes it, `.eval` archives. A run for each sample.

Archives whose members are deflated are read here; newer ones need inspect_ai, which reads them all. Layout: log
version 2 of UKGovernmentBEIS/inspect_ai.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.trace.importers.building import build
from rlm_kernel.trace.importers.openai_chat import PUT_TOGETHER, conversation
from rlm_kernel.trace.importers.parts import Actor, Imported, Origin, Turn
from rlm_kernel.trace.importers.source import MAX_VALUE_BYTES, Log
from rlm_kernel.trace.importers.texts import composed, dedented, error_of, stream
from rlm_kernel.trace.importers.values import (
    cell_of,
    file_name,
    kept,
    mapping,
    message,
    objects,
    rest,
    seconds,
    since,
    text,
    usage,
)
from rlm_kernel.values import Message

LOST = [
    "The values in the namespace of its tools.",
    "The replies as they came, where a tool was called with code: those are put together.",
]
ARCHIVE = b"PK\x03\x04"
_ATTACHED = "attachment://"


def fits(head: list[Any]) -> bool:
    return any(isinstance(row, dict) and isinstance(row.get("eval"), dict) and "status" in row for row in head)


def read(log: Log) -> list[Imported]:
    found = []
    for row in log.rows():
        if fits([row]):
            samples = objects(row.get("samples"))
            found += [_sample(row["eval"], sample, log.name, log.complaint) for sample in samples]
    if not found:
        raise TraceError(f"{log.path} holds no samples: dump it with its samples (inspect log dump)")
    return found


def read_archive(path: Path) -> list[Imported]:
    """An `.eval` file. Raises TraceError and UsageError, each naming the mend."""
    mend = f"inspect log dump {path.name} > {path.stem}.json, and import that"
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            if not any(name.startswith("samples/") for name in members):
                raise TraceError(f"{path} is an archive, but no log of Inspect with samples in it")
            if any(info.file_size > MAX_VALUE_BYTES for info in members.values()):
                raise TraceError(f"{path} has a sample of more than {MAX_VALUE_BYTES:,} bytes: leave it out")
            header = next((members[name] for name in ("header.json", "_journal/start.json") if name in members), None)
            evaluation = mapping(mapping(_member(archive, header)).get("eval")) if header is not None else {}
            samples = [_member(archive, info) for name, info in members.items() if name.startswith("samples/")]
    except NotImplementedError:
        return _with_inspect(path, mend)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RecursionError) as error:
        raise TraceError(f"{path} cannot be read as an archive ({error}): {mend}") from None
    return [_sample(evaluation, sample, path.name, None) for sample in objects(samples)]


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    return json.loads(archive.read(info))


def _with_inspect(path: Path, mend: str) -> list[Imported]:
    try:
        from inspect_ai.log import read_eval_log  # type: ignore[import-not-found]
    except ImportError:
        raise UsageError(
            f"{path} is packed with zstd, which needs inspect_ai: pip install inspect_ai; or {mend}"
        ) from None
    whole = read_eval_log(str(path), resolve_attachments=True).model_dump(mode="json")
    return [_sample(mapping(whole.get("eval")), sample, path.name, None) for sample in objects(whole.get("samples"))]


def _sample(evaluation: dict[str, Any], sample: dict[str, Any], log: str, complaint: str | None) -> Imported:
    attached = mapping(sample.get("attachments"))
    pools = mapping(sample.get("events_data"))
    messages = _whole(objects(sample.get("messages")), attached)
    pool = pools.get("messages") or sample.get("message_pool")
    events = _whole(objects(sample.get("events")), attached)
    steps = any(event.get("event") == "model" for event in events)
    root = _Walk(events, _whole(objects(pool), attached)).root() if steps else conversation(objects(messages))
    asked = _whole(sample.get("input"), attached)
    root.question = _question(asked) or root.question
    root.model = text(evaluation.get("model")) or root.model
    if root.ending is None and messages and root.turns and mapping(messages[-1]).get("role") == "assistant":
        root.result, root.ending = text(mapping(messages[-1]).get("content")), "text"
    for name, ending in (("limit", "limit"), ("error", "error")):
        if sample.get(name) is not None:
            root.ending = "limit" if ending == "limit" else "error"
            root.message = text(mapping(sample[name]).get("message", mapping(sample[name]).get("type")))
    used = ("messages", "events", "attachments", "events_data", "message_pool", "input")
    root.rest |= {"sample": rest(sample, used), "eval": kept(evaluation)}
    name = file_name(evaluation.get("task"), sample.get("id"), sample.get("epoch"))
    return build(root, Origin("Inspect", LOST, None, name), log, complaint)


def _question(asked: Any) -> str:
    users = [message(each).content for each in objects(asked) if each.get("role") == "user"]
    return users[0] if users else text(asked)


def _whole(value: Any, attached: dict[str, Any], depth: int = 0) -> Any:
    """With the attachments in their places."""
    if isinstance(value, str):
        found = attached.get(value.removeprefix(_ATTACHED)) if value.startswith(_ATTACHED) else None
        return value if found is None else found
    if depth > 40:
        return kept(value)
    if isinstance(value, list):
        return [_whole(item, attached, depth + 1) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item, attached, depth + 1) for key, item in value.items()}
    return value


class _Walk:
    """Through the events of a sample. A span of an agent is a sub-agent of whichever is open around it."""

    def __init__(self, events: list[dict[str, Any]], pool: list[dict[str, Any]]) -> None:
        self._events, self._pool = events, pool
        self._root = Actor()
        self._open: list[tuple[str | None, Actor]] = [(None, self._root)]
        self._before: dict[int, list[Message]] = {}

    def root(self) -> Actor:
        for event in self._events:
            kind = event.get("event")
            agent = self._open[-1][1]
            agent.began = agent.began or event.get("timestamp")
            agent.ended = event.get("timestamp") or agent.ended
            if kind == "span_begin" and event.get("type") == "agent" and self._root.turns:
                self._begin(agent, event)
            elif kind == "span_end":
                self._end(text(event.get("id")))
            elif kind == "model":
                agent.turns.append(self._reply(agent, event))
            elif kind == "tool":
                self._tool(agent, event)
            elif kind not in ("span_begin", "state", "sample_init", "step", "store"):
                agent.rest.setdefault("events", []).append(kept(event))
        return self._root

    def _begin(self, caller: Actor, event: dict[str, Any]) -> None:
        below = Actor(question=text(event.get("name")), began=event.get("timestamp"))
        (caller.turns[-1].below if caller.turns else caller.loose).append(below)
        self._open.append((text(event.get("id")), below))

    def _end(self, id: str) -> None:
        if any(opened == id for opened, _ in self._open[1:]):
            while self._open[-1][0] != id:
                self._open.pop()
            _, agent = self._open.pop()
            if agent.turns and agent.turns[-1].source is None:
                agent.result, agent.ending = agent.turns[-1].reply, "text"

    def _reply(self, agent: Actor, event: dict[str, Any]) -> Turn:
        output = mapping(event.get("output"))
        choice = next(iter(objects(output.get("choices"))), {})
        said = text(mapping(choice.get("message")).get("content"))
        request = [message(each) for each in self._input(event)]
        turn = Turn(
            reply=said, usage=usage(output.get("usage")), model=text(output.get("model", event.get("model"))) or None
        )
        before = self._before.get(id(agent), [])
        turn.asked, turn.anew = since(before, request)
        self._before[id(agent)] = request
        turn.model_s = seconds(output.get("time", event.get("working_time")))
        turn.at = event.get("completed", event.get("timestamp"))
        turn.finish_reason = text(choice.get("stop_reason")) or "stop"
        turn.rest = rest(event, ("event", "input", "input_refs", "output", "call", "timestamp", "tools", "span_id"))
        agent.model = agent.model or text(event.get("model"))
        return turn

    def _input(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from objects(event.get("input"))
        refs = event.get("input_refs")
        for ref in refs if isinstance(refs, list) else []:
            begin, end = ref if isinstance(ref, list) and len(ref) == 2 else (ref, None)
            if isinstance(begin, int) and 0 <= begin < len(self._pool):
                yield from self._pool[begin : end if isinstance(end, int) else begin + 1]

    def _tool(self, agent: Actor, event: dict[str, Any]) -> None:
        code = cell_of(event.get("function"), event.get("arguments"))
        if code is None or not agent.turns:
            agent.rest.setdefault("events", []).append(kept(event))
            return
        turn = agent.turns[-1]
        if turn.source is not None:
            turn = Turn(reply="")
            agent.turns.append(turn)
        turn.source, turn.reply = code, composed(text(turn.reply), dedented(code))
        turn.notes.append(PUT_TOGETHER)
        turn.outputs = stream(text(event.get("result")))
        error = mapping(event.get("error"))
        turn.error = error_of(text(error.get("message"))) if error else None
        turn.cell_s = seconds(event.get("working_time"))
        turn.ended = event.get("completed", event.get("timestamp"))
        turn.rest["tool"] = rest(event, ("event", "arguments", "result", "timestamp", "completed", "events", "span_id"))
