"""What the iterations of one agent of the official `rlm` package say, and those of the agents in its calls."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rlm_kernel.trace.importers.parts import Actor, Completion, Turn
from rlm_kernel.trace.importers.texts import assigned, composed, dedented, error_of, reply_with, stream
from rlm_kernel.trace.importers.values import (
    changed,
    mapping,
    message,
    number,
    objects,
    rest,
    seconds,
    since,
    text,
    usage,
)
from rlm_kernel.values import Message, Usage

LATER_BLOCK = (
    "A further block of the same reply: it ran after the one before it. Its reply is put together from the code."
)
_QUESTION = (
    re.compile(r"Answer the following: (.*?)\n\nYour context is", re.DOTALL),
    re.compile(r"to answer the prompt: \"?(.*?)\"?\.?\n", re.DOTALL),
)
_ENDED_BY_ERROR = re.compile(r"\n(?P<name>[A-Za-z_]\w*(?:Error|Exception|Interrupt|Exit|Warning|Iteration)): ")


def actor(metadata: dict[str, Any], rows: Iterable[dict[str, Any]]) -> Actor:
    found = Actor(model=text(metadata.get("root_model")), began=metadata.get("timestamp"))
    found.rest = rest(metadata, ("type", "timestamp", "root_model", "iterations"))
    asked: list[Message] = []
    before: dict[str, Any] = {}
    iterations = 0
    for row in rows:
        iterations += 1
        request = [message(item) for item in objects(row.get("prompt"))]
        new, anew = since(asked, request)
        if not found.question:
            found.question = _question(row.get("prompt"), request)
        asked = request or asked
        turns, before = _turns(row, before, found)
        if request:
            turns[0].asked, turns[0].anew = new, anew
        found.turns += turns
        found.ended = row.get("timestamp") or found.ended
        _finish(found, row)
    most = number(metadata.get("max_iterations"))
    if found.ending is None and most is not None and iterations >= most > 0:
        found.ending, found.message = "limit", f"max_iterations={most:g} reached"
    return found


def _question(prompt: Any, request: list[Message]) -> str:
    if isinstance(prompt, str):
        return prompt
    users = [each.content for each in request if each.role == "user"]
    for content in users:
        for pattern in _QUESTION:
            if asked := pattern.search(content):
                return asked[1]
    return users[0] if users else ""


def _turns(row: dict[str, Any], before: dict[str, Any], agent: Actor) -> tuple[list[Turn], dict[str, Any]]:
    """One for each block that ran; the first has the reply."""
    raw = text(row.get("response"))
    blocks = objects(row.get("code_blocks"))
    turns: list[Turn] = []
    for block in blocks:
        turn, before = _block(block, before, agent)
        if not turns:
            turn.at = turn.ended = row.get("timestamp")
            turn.rest |= rest(row, ("type", "iteration", "timestamp", "prompt", "response", "code_blocks"))
            if turn.source is not None and turn.source.strip():
                turn.reply, put_together = reply_with(raw, dedented(turn.source))
                if put_together:
                    turn.rest["response"] = raw
                    turn.notes.append(
                        "The reply has other blocks or marks before the one that ran: it is put together."
                    )
            else:
                turn.reply = raw
        else:
            turn.reply = composed("", dedented(turn.source or ""))
            turn.notes.append(LATER_BLOCK)
        turns.append(turn)
    if not turns:
        kept = rest(row, ("type", "iteration", "timestamp", "prompt", "response", "code_blocks"))
        turns.append(Turn(reply=raw, at=row.get("timestamp"), rest=kept))
    turns[0].usage = _spent(row)
    turns[0].model_s = max(0.0, seconds(row.get("iteration_time")) - sum(turn.cell_s for turn in turns))
    return turns, before


def _block(block: dict[str, Any], before: dict[str, Any], agent: Actor) -> tuple[Turn, dict[str, Any]]:
    result = mapping(block.get("result"))
    out, err = text(result.get("stdout")), text(result.get("stderr"))
    turn = Turn(source=text(block.get("code")), cell_s=seconds(result.get("execution_time")))
    turn.outputs = stream(out) + stream(err, "stderr")
    # The tool puts a newline and `Name: message` after what the cell itself wrote to stderr.
    names = list(_ENDED_BY_ERROR.finditer(err))
    turn.error = error_of(err[names[-1].start() :]) if names else None
    turn.final = result.get("final_answer") is not None
    turn.below = [_asked(call) for call in objects(result.get("rlm_calls", result.get("llm_calls")))]
    turn.rest = rest(block, ("code", "result"))
    turn.rest |= rest(result, ("stdout", "stderr", "execution_time", "rlm_calls", "llm_calls", "locals"))
    named = result.get("locals")
    if isinstance(named, dict):
        if not before:
            _give(agent, named, turn.source or "")
        new, same = changed(named, before)
        turn.rest |= {"locals": new, **({"locals_same": same} if same else {})}
        before = named
    return turn, before


def _give(agent: Actor, named: dict[str, Any], code: str) -> None:
    """The context stands among the variables after the first cell, unless that cell put another there."""
    theirs = assigned(code)
    for name in named:
        if re.fullmatch(r"context(?:_[0-9]+)?", name) and name not in theirs:
            agent.given[name] = named[name]
    if "context" not in agent.given and "context_0" in agent.given:
        agent.given["context"] = agent.given["context_0"]


def _asked(call: dict[str, Any]) -> Completion | Actor:
    prompt, below = call.get("prompt"), mapping(call.get("metadata"))
    model = text(call.get("root_model"))
    if isinstance(below.get("iterations"), list):
        agent = actor(
            {**mapping(below.get("run_metadata")), **rest(below, ("run_metadata",))}, objects(below["iterations"])
        )
        agent.model = model or agent.model
        agent.question = text(prompt) or agent.question
        agent.rest |= rest(call, ("prompt", "root_model", "metadata", "response"))
        if agent.ending in (None, "limit") and isinstance(call.get("response"), str):
            agent.result = call["response"]
            agent.ending = agent.ending or "final"
        if isinstance(call.get("error"), str):
            agent.ending, agent.message = "error", call["error"]
        return agent
    failure = call.get("error")
    answer = call.get("response")
    return Completion(
        text(prompt),
        text(answer) if answer is not None else None,
        text(failure) if failure is not None else None,
        model,
        _spent(call),
        seconds(call.get("execution_time")),
    )


def _spent(row: dict[str, Any]) -> Usage:
    """Of a call; and of an iteration, which has it where this package exported it."""
    summary = mapping(row.get("usage_summary"))
    tokens = [usage(each) for each in mapping(summary.get("model_usage_summaries")).values()]
    return usage(
        {
            "prompt_tokens": sum(each.prompt_tokens for each in tokens) or row.get("prompt_tokens"),
            "completion_tokens": sum(each.completion_tokens for each in tokens) or row.get("completion_tokens"),
            "cost": summary.get("total_cost", tokens[0].cost_usd if len(tokens) == 1 else None),
        }
    )


def _finish(agent: Actor, row: dict[str, Any]) -> None:
    answer = row.get("final_answer")
    if answer is None:
        return
    if isinstance(answer, list) and len(answer) == 2 and all(isinstance(part, str) for part in answer):
        answer = answer[1]  # logs of before 0.1 name the kind of it first
    agent.result, agent.ending = answer, "final"
