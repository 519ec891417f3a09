"""
A run in a terminal: every agent and step, and what went wrong, as lines of styled text.

A line is made of spans that hold whatever the record holds. `painted` alone turns one into what a terminal gets, so
that safety rests on one function: no code, control character or direction mark of a record passes it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Literal

from rlm_kernel.trace import words
from rlm_kernel.trace.nesting import unfolded
from rlm_kernel.trace.nodes import Agent, Call, Step, by_state
from rlm_kernel.trace.rows import rows
from rlm_kernel.trace.safe import clip, one_line, outputs_text, plain
from rlm_kernel.trace.states import state_line
from rlm_kernel.trace.tree import Tree
from rlm_kernel.trace.views import outline

Style = Literal["", "bold", "dim", "good", "bad", "code"]
Span = tuple[Style, str]
Line = tuple[Span, ...]

CODE_LINES, OUTPUT_LINES = 12, 8
"""Of a cell and of its outputs, unless everything is asked for."""
MOST_SIBLINGS = 20
"""Sub-agents of one step, and completions, unless everything is asked for."""
MOST_CHARS = 20_000_000
"""Of one text, when everything is asked for: the record has the rest."""
DEEPEST = 12
"""Sub-agents below are not indented further."""

TABLE = ("agent", "step", "kind", "model", "in", "out", "cached", "cost", "seconds", "what came")

_SGR: dict[Style, str] = {"bold": "1", "dim": "2", "good": "32", "bad": "31", "code": "36"}
_MARKS = re.compile("[\u061c\u200e\u200f\u2028\u2029\ufff9-\ufffb]")
# Beyond what `plain` takes out: marks that turn a direction alone, ends of lines of another alphabet's, annotations.


def on_screen(text: str) -> str:
    """Of one line: what a terminal shows as it stands, and nothing that it obeys."""
    return _MARKS.sub("", plain(text)).replace("\n", " ").expandtabs(4)


def painted(line: Line, width: int | None = None, colour: bool = False) -> str:
    """Made safe, cut to `width` columns (None: not at all), in colours where asked for."""
    parts, room = [], width
    for style, text in line:
        shown = on_screen(text)
        if room is not None:
            shown, room = _cut(shown, room)
        if shown:
            parts.append(f"\x1b[{_SGR[style]}m{shown}\x1b[0m" if colour and style else shown)
    return "".join(parts).rstrip() if not colour else "".join(parts)


def _cut(text: str, room: int) -> tuple[str, int]:
    """As much as has room, and how many columns remain; none after a cut."""
    if len(text) * 2 < room and text.isascii():
        return text, room - len(text)
    used = 0
    for at, char in enumerate(text):
        wide = 0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if used + wide > room:
            # One column goes to the ellipsis; of a wide character that stood there, both.
            return (text[: max(0, at - 1)] + "…" if room else "", 0)
        used += wide
    return text, room - used


def tree_lines(tree: Tree, everything: bool = False) -> Iterator[Line]:
    """The whole run: every agent where it was asked. Of wide fan-outs the first, unless `everything` is asked for."""
    yield (("bold", outline.run_line(tree, True)),)
    levels = {agent.id: level for agent, level in tree.walk()}

    def page(agent: Agent) -> Iterator[Line | Agent]:
        return _agent(tree, agent, levels[agent.id], everything, levels)

    for top in [agent for agent, level in tree.walk() if level == 0]:
        yield from unfolded(page(top), Agent, page)


def _agent(tree: Tree, agent: Agent, level: int, everything: bool, levels: dict[str, int]) -> Iterator[Line | Agent]:
    margin = "    " * min(level, DEEPEST)
    node = outline.Node(agent, level, 0)
    if level == 0:
        question = clip(agent.question, MOST_CHARS if everything else 2_000).split("\n")
        yield (("bold", f"{margin}agent {one_line(agent.id, 40)}: "), ("", question[0]))
        yield from ((("", f"{margin}    {line}"),) for line in question[1:])
    else:
        yield (("", margin), ("bold", outline.agent_line(tree, agent, True)))
    for term in outline.terms(node):
        yield (("dim", f"{margin}  {term}"),)
    for note in agent.notes:
        yield (("dim", f"{margin}  note: {one_line(note, 600)}"),)
    for step in agent.steps:
        yield from _step(step, margin + "  ", everything)
        yield from _below(agent, step, margin + "  ", everything, levels)
    yield from _calls(agent.calls, margin + "  ", everything)
    yield from _below(agent, None, margin + "  ", everything, levels)
    end = outline.end_line(node)
    style: Style = "good" if words.answered(agent) else "bad"
    yield (("", f"{margin}  "), (style, end or "no end in this record"))
    if agent.end is not None and agent.end.answer is not None:
        most = None if everything else OUTPUT_LINES
        yield from _block(agent.end.answer, f"{margin}    ", "", most)


def _below(
    caller: Agent, step: Step | None, margin: str, everything: bool, levels: dict[str, int]
) -> Iterator[Line | Agent]:
    """What the step started, or a person's own cell: sub-agents, and states of workflows before those they asked."""
    asked = caller.agents if step is None else step.agents
    states = [state for state in caller.states if state.step == (None if step is None else step.number)]
    # One that stands at level 0 hangs in a ring, and is told there.
    agents = by_state([agent for agent in asked if levels[agent.id] > 0])
    shown = agents if everything else agents[:MOST_SIBLINGS]
    for agent in shown:
        while states and agent.in_state is not None and states[0].number <= agent.in_state:
            yield (("", margin), ("bold", state_line(states.pop(0))))
        yield agent
    yield from ((("", margin), ("bold", state_line(state))) for state in states)
    if hidden := agents[len(shown) :]:
        wrong = sum(1 for agent in hidden if not words.answered(agent))
        told = f", {wrong:,} without an answer" if wrong else ""
        yield (("dim", f"{margin}… {words.count(len(hidden), 'more agent')}{told}: --all shows them"),)


def _step(step: Step, margin: str, everything: bool) -> Iterator[Line]:
    state = words.step_state(step)
    style: Style = "good" if state in ("done", "final") else "bad"
    head = outline.headline(step)
    if step.source is not None and head.rstrip("…") in one_line(step.source, 2 * outline.HEAD_CHARS):
        head = ""  # the reply has no prose, and the cell stands below
    begins = f"{margin}step {step.number}{': ' + head if head else ''} · "
    yield (("", begins), (style, one_line(state, 40)), ("dim", outline.step_facts(step, True)))
    if step.source is not None:
        yield from _block(step.source, f"{margin}  | ", "code", None if everything else CODE_LINES)
    yield from _calls(step.calls, margin + "  ", everything)
    if step.cell is not None:
        text = outputs_text(step.cell.outputs, MOST_CHARS if everything else 4_000)
        yield from _block(text, f"{margin}  > ", "", None if everything else OUTPUT_LINES)
    trouble = outline.step_trouble(step, MOST_CHARS if everything else 4_000)
    yield from _block(trouble, f"{margin}  ! ", "bad", None if everything else OUTPUT_LINES)
    yield from ((("dim", f"{margin}  note: {one_line(note, 600)}"),) for note in words.notes(step))


def _block(text: str, margin: str, style: Style, most: int | None) -> Iterator[Line]:
    lines = plain(text[:MOST_CHARS]).rstrip("\n").split("\n")
    if lines == [""]:
        return
    # Of an error the end says what it was, of anything else the beginning.
    hidden = 0 if most is None or len(lines) <= most + 1 else len(lines) - most
    left_out: Line = (("dim", f"{margin}… {words.count(hidden, 'more line')}"),)
    if hidden and style == "bad":
        yield left_out
    kept = lines[hidden:] if style == "bad" else lines[: len(lines) - hidden]
    yield from ((("dim", margin), (style, line)) for line in kept)
    if hidden and style != "bad":
        yield left_out


def _calls(calls: list[Call], margin: str, everything: bool) -> Iterator[Line]:
    shown = calls if everything else calls[:MOST_SIBLINGS]
    for call in shown:
        answer = one_line(outline.call_answer(call), outline.HEAD_CHARS)
        asked = one_line(call.prompt, outline.HEAD_CHARS)
        style: Style = "" if call.failure is None else "bad"
        told = f": {asked}{' → ' + answer if answer else ''}"
        yield (("dim", margin), (style, outline.call_facts(call, True) + told))
    if len(calls) > len(shown):
        hidden = words.count(len(calls) - len(shown), "more completion")
        yield (("dim", f"{margin}… {hidden}: --all shows them"),)


def step_table(tree: Tree) -> list[tuple[str, ...]]:
    """`TABLE`, then a row for each step and completion. Seconds are the model's and the cell's together."""
    found: list[tuple[str, ...]] = [TABLE]
    for row in rows(tree):
        known = [row[key] for key in ("model_s", "cell_s") if row[key] is not None]
        came = row["state"] if row["error"] is None else f"{row['state']}: {row['error']}"
        found.append(
            (
                one_line(row["agent"], 40),
                words.UNKNOWN if row["step"] is None else str(row["step"]),
                row["kind"] if row["kind"] == "step" else f"llm_query {row['number']}",
                one_line(row["model"], 40),
                words.number(row["prompt_tokens"]),
                words.number(row["completion_tokens"]),
                words.number(row["cached_tokens"]),
                words.dollars(row["cost_usd"]),
                f"{sum(known):.2f}" if known else words.UNKNOWN,
                one_line(str(came), 60),
            )
        )
    return found


def in_columns(table: Iterable[tuple[str, ...]], names: int, last_left: bool = False) -> Iterator[Line]:
    """The first row is the heads; the first `names` columns stand to the left, and with `last_left` the last."""
    table = [tuple(map(on_screen, row)) for row in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for number, row in enumerate(table):
        cells = [
            cell.ljust(width) if n < names or (last_left and n == len(row) - 1) else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield (("bold" if number == 0 else "", "  ".join(cells).rstrip()),)
