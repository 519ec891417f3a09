"""
Chats as OpenAI's API has them: a conversation a line, a message a line, or one file; ShareGPT's names too.

A cell is the first fenced block of a reply that is Python, or the code that a tool was called with. What follows in
the conversation says what it put out.
"""

from __future__ import annotations

import re
from typing import Any

from rlm_kernel.trace.importers.building import build
from rlm_kernel.trace.importers.parts import Actor, Imported, Origin, Turn
from rlm_kernel.trace.importers.source import Log, gathered
from rlm_kernel.trace.importers.texts import composed, dedented, ends_in_traceback, reply_with, stream
from rlm_kernel.trace.importers.values import code_of, mapping, message, objects, rest, text, usage
from rlm_kernel.values import Message

LOST = [
    "The values in the namespace: a chat says in words, if at all, what there was to look at.",
    "Which block of a reply ran: the first one that is Python is taken for the cell.",
    "When things happened and how long they took; messages of a tool stand as the user's.",
]
PUT_TOGETHER = "The model called a tool with code: this reply is put together from what it said and that code."
_LISTS = ("messages", "conversations", "conversation")
_CELL = re.compile(
    r"^(?P<marks>`{3,})(?P<language>repl|python3?|py|ipython)[ \t]*\n(?P<code>.*?)\n?^[ \t]*(?P=marks)`*[ \t]*$",
    re.DOTALL | re.MULTILINE,
)
_LEAD = re.compile(
    r"\A\s*(?:(?:repl|code|cell|execution|observed|tool|standard|your code'?s?)\s+)*"
    r"(?:stdout|outputs?|observation|results?|logs)[ \t]*(?:\([^)\n]*\))?:[ \t]*\n*",
    re.IGNORECASE,
)


def fits(head: list[Any]) -> bool:
    return any(_messages(row) for row in head)


def _is_message(row: Any) -> bool:
    if not isinstance(row, dict) or row.get("type", "message") not in ("message", None) or "agent" in row:
        return False
    role = row.get("role", row.get("from"))
    return isinstance(role, str) and ("content" in row or "value" in row or "tool_calls" in row)


def _messages(row: Any) -> list[dict[str, Any]]:
    """Of a conversation, of a bare list, of one message on a line by itself."""
    if _is_message(row):
        return [row]
    if isinstance(row, dict):
        row = next((row[name] for name in _LISTS if isinstance(row.get(name), list)), None)
    return [item for item in row if _is_message(item)] if isinstance(row, list) else []


def read(log: Log) -> list[Imported]:
    """A run for each conversation; messages on lines of their own are one conversation."""
    runs, complaint = gathered(log, _messages, "are no messages")
    imported = []
    for at, (row, messages) in enumerate(runs, 1):
        root = conversation(messages)
        root.model = text(row.get("model")) or root.model
        root.rest |= rest(row, (*_LISTS, "model"))
        name = log.run_name(at, len(runs))
        imported.append(build(root, Origin("chat", LOST, None, name), log.name, complaint))
    return imported


def conversation(messages: list[dict[str, Any]]) -> Actor:
    """An agent from its conversation: one turn for each of its replies, or for each code that a reply called for."""
    actor = Actor()
    asked: list[Message] = []
    open_cells: list[Turn] = []
    answers: dict[str, Turn] = {}
    for at, each in enumerate(messages):
        said = message(each)
        if said.role != "assistant":
            if said.role == "user" and not actor.question and not actor.turns:
                actor.question = said.content
            _observe(each, said.content, open_cells, answers)
            asked.append(said)
            continue
        turns = _replied(each, said.content, answers)
        turns[0].asked, asked = tuple(asked), []
        actor.turns += turns
        # What the model said is part of the next request, whatever stands in the log before that.
        asked.append(Message("assistant", said.content or text(turns[0].reply)))
        open_cells = [turn for turn in turns if turn.source is not None]
        if at == len(messages) - 1 and not open_cells and not each.get("tool_calls"):
            actor.result, actor.ending = said.content, "text"
    for turn in actor.turns:
        if turn.source is not None and not turn.ran and turn is not actor.turns[-1]:
            turn.rest["output"] = "lost"
            turn.notes.append("What this cell put out is not in the log.")
    if asked and asked[0].role == "assistant":
        asked = asked[1:]
    if asked:
        actor.rest["unanswered"] = [each.content for each in asked]
    return actor


def _replied(each: dict[str, Any], said: str, answers: dict[str, Turn]) -> list[Turn]:
    common = rest(each, ("role", "from", "content", "value", "tool_calls", "usage", "model"))
    model, spent = text(each.get("model")) or None, usage(each.get("usage"))
    calls = objects(each.get("tool_calls"))
    if isinstance(each.get("function_call"), dict):
        calls.append({"function": each["function_call"]})
    prose = said or text(each.get("reasoning_content"))
    turns: list[Turn] = []
    others = []
    for call in calls:
        function = mapping(call.get("function", call))
        code = code_of(function.get("arguments", function.get("input")))
        if code is None:
            others.append(call)
            continue
        turn = Turn(source=code, ran=False, reply=composed("" if turns else prose, dedented(code)), model=model)
        turn.notes.append(PUT_TOGETHER)
        turn.rest["tool"] = rest(call, ("function",)) | rest(function, ("arguments",))
        turns.append(turn)
        if isinstance(call.get("id"), str):
            answers[call["id"]] = turn
    if not turns:
        block = _CELL.search(said)
        turn = Turn(reply=said, model=model)
        if block is not None and block["code"].strip():
            turn.source, turn.ran = block["code"], False
            turn.reply, put_together = reply_with(said, dedented(block["code"]))
            turn.rest |= {"content": said} if put_together else {}
            turn.rest |= {"fence": block["language"]}
        turns.append(turn)
    turns[0].usage = spent
    turns[0].rest |= common | ({"tool_calls": others} if others else {})
    return turns


def _observe(each: dict[str, Any], said: str, open_cells: list[Turn], answers: dict[str, Turn]) -> None:
    """A tool's message belongs to its call; a person's to the one open cell, where it reads like an output."""
    tool = text(each.get("role", each.get("from"))).lower() in (
        "tool",
        "function",
        "observation",
        "tool-response",
        "ipython",
    )
    turn = answers.get(text(each.get("tool_call_id"))) or next((cell for cell in open_cells if not cell.ran), None)
    if turn is None or turn.ran:
        return
    lead = _LEAD.match(said)
    likely = lead is not None or "Traceback (most recent" in said or turn.rest.get("fence") == "repl"
    if not tool and not likely:
        return
    output = said[lead.end() :] if lead is not None else said
    turn.ran, turn.outputs, turn.error = True, stream(output), ends_in_traceback(output)
    if not tool:
        turn.notes.append("What the user said next is taken for what this cell put out.")
