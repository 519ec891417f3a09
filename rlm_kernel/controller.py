"""
The loop of one agent, and nothing else.

`control` is a generator. It yields what it wants done and is sent what came of it, so it does no I/O, starts no
thread and cannot tell a live model from a recorded one. Tests play the model by hand with `next` and `send`.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, replace

from rlm_kernel import preview, prompts
from rlm_kernel.parsing import parse
from rlm_kernel.preview.text import clip
from rlm_kernel.values import CellError, CellResult, Ending, Message, Remaining, Reply

STRIKES = 3
"""Replies in a row with nothing to run, after which the agent is given up."""

MAX_REPLY_CHARS = 200_000
"""Characters of a reply that stay in the conversation, head and tail. The trace keeps the whole."""

NAME_CHARS = 40
"""Of an error's type, which is told however little an agent may see: a longer name could be data."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Wants a `Reply` to these messages. Each request's messages are a prefix of the next one's."""

    step: int
    messages: tuple[Message, ...]
    shown: int = 0
    """Tokens of data that the newest message shows."""


@dataclass(frozen=True, slots=True)
class RunCell:
    """Wants an `Observed`: what running this source came to."""

    step: int
    source: str


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """Wants a `Read`: what a plain text answer stands for, where a form was asked for."""

    text: str


@dataclass(frozen=True, slots=True)
class Read:
    value: object
    mismatch: str | None = None
    """Why it has not the form, and is no answer."""


@dataclass(frozen=True, slots=True)
class Observed:
    result: CellResult
    remaining: Remaining
    read_unseen: int = 0
    """Tokens that were read, and counted, and are not shown yet."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the agent ended by itself. Limits on anything but steps, failures and Stop end it from outside."""

    ending: Ending
    value: object = None
    name: str | None = None
    """The variable that FINAL's string named."""
    message: str | None = None
    """Why there is no answer."""


Wanted = Ask | RunCell | ReadAnswer
Came = Reply | Observed | Read | None


def control(briefing: prompts.Briefing) -> Generator[Wanted, Came, Outcome]:
    """
    Send a `Reply` after an `Ask`, an `Observed` after a `RunCell`, a `Read` after a `ReadAnswer`; what the generator
    returns is the outcome.
    """
    limits = briefing.limits
    messages = [Message("system", prompts.SYSTEM), Message("user", prompts.first_message(briefing))]
    step = strikes = 0
    looked = False
    shown = briefing.read_tokens
    while limits.max_steps is None or step < limits.max_steps:
        step += 1
        reply = yield Ask(step, tuple(messages), shown)
        shown = 0
        assert isinstance(reply, Reply)
        cut_off = reply.finish_reason == "length"
        parsed = parse(reply.text, cut_off=cut_off)
        messages.append(Message("assistant", _kept(reply.text)))
        if parsed.code is None:
            feedback = prompts.CUT_OFF if cut_off else prompts.NO_BLOCK if parsed.answer_text else prompts.EMPTY
            why = "held no code block to run"
            if parsed.answer_text and briefing.may_answer_in_text and not looked and not cut_off:
                if briefing.schema is None:
                    return Outcome("text", parsed.answer_text)
                read = yield ReadAnswer(parsed.answer_text)
                assert isinstance(read, Read)
                if read.mismatch is None:
                    return Outcome("text", read.value)
                feedback, why = prompts.mismatch(read.mismatch), "had not the form that was asked for"
            strikes += 1
            if strikes == STRIKES:
                return Outcome("no_answer", message=f"{STRIKES} replies in a row {why}")
            messages.append(Message("user", feedback))
            continue
        strikes = 0
        looked = True
        observed = yield RunCell(step, parsed.code)
        assert isinstance(observed, Observed)
        result = observed.result
        if result.final is not None:
            return Outcome("final", result.final.value, result.final.name)
        left, unseen = observed.remaining.read_tokens, observed.read_unseen
        seen = preview.observe_within(
            None if left is None else left + unseen,
            result.outputs,
            error=result.error,
            limit=limits.max_output_chars,
            dropped_chars=result.dropped_chars,
        )
        shown = seen.tokens
        then = None if left is None else left - max(0, shown - unseen)
        notice = prompts.notice(replace(observed.remaining, read_tokens=then), limits)
        error, notes = result.error, result.notes
        if error is not None and (seen.cut or error.name not in seen.text):
            notes = (prompts.ended_with(clip(error.name, NAME_CHARS), _line(error, step)), *notes)
        content = prompts.observation(seen.text, ignored_blocks=parsed.ignored_blocks, notes=notes, notice=notice)
        messages.append(Message("user", content))
    return Outcome("limit", message="max_steps")


def _line(error: CellError, step: int) -> int | None:
    """Of the cell, as the traceback begins; None where it does not begin in that cell."""
    head = "Traceback (most recent call last):\n"
    found = re.match(rf"  (?:agent [\d.]+, )?step {step}, line (\d{{1,6}})\b", error.traceback.removeprefix(head))
    return None if found is None else int(found[1])


def _kept(text: str) -> str:
    if not text.strip():
        return prompts.EMPTY_REPLY
    return preview.cut(text, MAX_REPLY_CHARS)
