"""
From what an importer filled in to a trace: ids, step numbers, events in the order of a run, times where there are any.

The order is ours: what a cell asked for stands between its start and its end. Sub-agents that worked side by side
stand one after the other, so times need not rise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from rlm_kernel._version import __version__
from rlm_kernel.trace import events as ev
from rlm_kernel.trace.importers.parts import UNSAID, Actor, Completion, Imported, Origin, Turn
from rlm_kernel.trace.importers.texts import dedented
from rlm_kernel.trace.importers.unsaid import hide_unsaid
from rlm_kernel.trace.importers.values import as_json, described, file_name, kept, stamp, time
from rlm_kernel.trace.nesting import unfolded
from rlm_kernel.trace.safe import clip
from rlm_kernel.trace.tree import Tree
from rlm_kernel.values import Message

DEEPEST = 60
"""Agents below agents; deeper ones are left out, and their caller says so."""
UNKNOWN_MODEL = "unknown"
_GIVEN_CHARS = 400

Stamped = tuple[str | None, ev.Event]


@dataclass(frozen=True, slots=True)
class _Below:
    actor: Actor
    id: str
    caller: str | None
    step: int | None


def build(root: Actor, origin: Origin, log: str, complaint: str | None) -> Imported:
    """`log` is the file's name; `complaint` is noted on the root too. What the root's cells lack is made `hidden`."""
    hide_unsaid(root, origin.dialect)
    tree = Tree()
    name = file_name(origin.tool, origin.name or log)
    began = stamp(root.began)
    tree.add(
        ev.RunStarted(
            run=name,
            door="import",
            model=root.model or UNKNOWN_MODEL,
            limits=origin.limits,
            versions={**origin.versions, "imported by rlm_kernel": __version__},
            origin={"kind": "import", "tool": origin.tool, "log": log, "lost": list(dict.fromkeys(origin.lost))},
            dialect=origin.dialect,
        ),
        began,
    )
    for at, event in _walk(root):
        tree.add(event, at)
    if complaint is not None:
        tree.add(ev.Noted(agent="0", text=complaint), None)
    if root.ending is not None:
        totals = tree.totals()
        end = tree.agents["0"].end
        tree.add(
            ev.RunFinished(
                ending=root.ending,
                steps=totals.steps,
                calls=totals.calls,
                usage=totals.usage,
                unpriced_calls=totals.unpriced_calls,
                seconds=(end.seconds if end is not None else None) or 0.0,
            ),
            stamp(root.ended),
        )
    return Imported(tree, name, complaint)


def _walk(root: Actor) -> Iterator[Stamped]:
    """Depth first and without recursion: a log may nest as deep as it likes."""
    return unfolded(_agent(_Below(root, "0", None, None)), _Below, _agent_or_note)


def _agent_or_note(below: _Below) -> Iterator[Stamped | _Below]:
    if below.id.count(".") <= DEEPEST:
        return _agent(below)
    note = f"a sub-agent {DEEPEST} levels down, and all below it, were left out: no trace nests that deep"
    return iter([(None, ev.Noted(agent=below.caller or "0", text=note))])


def _agent(below: _Below) -> Iterator[Stamped | _Below]:
    actor, id = below.actor, below.id
    yield (
        stamp(actor.began),
        ev.AgentStarted(
            agent=id,
            depth=id.count("."),
            caller=below.caller,
            question=actor.question,
            context=actor.context,
            model=actor.model or UNKNOWN_MODEL,
            step=below.step,
            tools=actor.tools,
        ),
    )
    for name, value in actor.given.items():
        form, whole = ("text", value) if isinstance(value, str) else ("json", as_json(kept(value)))
        short = clip(described(value), _GIVEN_CHARS)
        yield None, ev.Given(agent=id, name=name, description=short, form=form, value=whole)
    for name, description in actor.hidden.items():
        yield None, ev.Given(agent=id, name=name, description=description)
    numbers = _Numbers(actor, id)
    for number, turn in enumerate(actor.turns, 1):
        yield from _turn(turn, id, number, numbers)
    for asked in actor.loose:
        yield from numbers.ask(asked, None)
    for note in actor.notes:
        yield None, ev.Noted(agent=id, text=note)
    data = dict(actor.rest)
    if actor.result is not UNSAID:
        data["result"] = kept(actor.result)
    if data:
        yield None, ev.Foreign(agent=id, data=data)
    if actor.ending is not None:
        began, ended = time(actor.began), time(actor.ended)
        yield (
            stamp(actor.ended),
            ev.AgentFinished(
                agent=id,
                ending=actor.ending,
                answer=None if actor.result is UNSAID else described(actor.result),
                message=actor.message,
                seconds=None if began is None or ended is None else max(0.0, (ended - began).total_seconds()),
            ),
        )


class _Numbers:
    """Gives an agent's sub-agents and completions their numbers, and hashes its conversation as it grows."""

    def __init__(self, actor: Actor, id: str) -> None:
        self._actor, self._id = actor, id
        self._agents = self._calls = 0
        self._conversation = hashlib.sha256(b"[")
        self._messages = 0

    @property
    def model(self) -> str:
        return self._actor.model or UNKNOWN_MODEL

    def ask(self, asked: Completion | Actor, step: int | None) -> Iterator[Stamped | _Below]:
        if isinstance(asked, Actor):
            self._agents += 1
            yield _Below(asked, f"{self._id}.{self._agents}", self._id, step)
            return
        self._calls += 1
        id, call, model = self._id, self._calls, asked.model or self.model
        yield (
            None,
            ev.CallStarted(agent=id, step=step, call=call, prompt=asked.prompt, model=model, request_sha=""),
        )
        if asked.failure is not None:
            yield None, ev.CallFailed(agent=id, step=step, call=call, kind="server", message=asked.failure)
        elif asked.text is not None:
            yield (
                None,
                ev.CallFinished(
                    agent=id,
                    step=step,
                    call=call,
                    text=asked.text,
                    model=model,
                    usage=asked.usage,
                    finish_reason="stop",
                    first_token_s=None,
                    seconds=asked.seconds,
                ),
            )

    def request_sha(self, new: tuple[Message, ...], anew: bool) -> str:
        """`values.messages_sha` of all so far, without going through all of them at each step."""
        if anew:
            self._conversation, self._messages = hashlib.sha256(b"["), 0
        for message in new:
            lead = "," if self._messages else ""
            pair = json.dumps([message.role, message.content], separators=(",", ":"))
            self._conversation.update(f"{lead}{pair}".encode("ascii"))
            self._messages += 1
        whole = self._conversation.copy()
        whole.update(b"]")
        return whole.hexdigest()


def _turn(turn: Turn, id: str, number: int, numbers: _Numbers) -> Iterator[Stamped | _Below]:
    at, ended = stamp(turn.at), stamp(turn.ended)
    if turn.asked is not None:
        sha = numbers.request_sha(turn.asked, turn.anew)
        yield None, ev.Asked(agent=id, step=number, new=turn.asked, request_sha=sha)
        if turn.anew:
            text = "This request does not begin with the one before it: the whole of it stands here again."
            yield None, ev.Noted(agent=id, text=text, step=number)
    if turn.reply is not None:
        yield (
            at,
            ev.Replied(
                agent=id,
                step=number,
                text=turn.reply,
                model=turn.model or numbers.model,
                usage=turn.usage,
                finish_reason=turn.finish_reason,
                first_token_s=None,
                seconds=turn.model_s,
            ),
        )
    source = None if turn.source is None or not turn.source.strip() else dedented(turn.source)
    data = dict(turn.rest)
    if source is not None:
        yield at, ev.CellStarted(agent=id, step=number, source=source)
        if source != turn.source:
            data["code"] = turn.source
    for asked in turn.below:
        yield from numbers.ask(asked, number)
    if source is not None and turn.ran:
        yield (
            ended,
            ev.CellFinished(
                agent=id, step=number, outputs=turn.outputs, seconds=turn.cell_s, error=turn.error, final=turn.final
            ),
        )
    for note in turn.notes:
        yield None, ev.Noted(agent=id, text=note, step=number)
    if data:
        yield None, ev.Foreign(agent=id, data=data, step=number)
