"""
Where two runs part, agent by agent and step by step: what was asked, run, put out and answered.

Run ids, times, tokens, prices, names of models and the prose around a cell make no difference; `spent` has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rlm_kernel.trace import comparing, words
from rlm_kernel.trace.matching import AgentPair, StepPair
from rlm_kernel.trace.nesting import unfolded
from rlm_kernel.trace.nodes import Agent, Call, Step
from rlm_kernel.trace.safe import clip


@dataclass(frozen=True, slots=True)
class Parting:
    """One difference. Its texts are cut to what can be read, see `comparing.apart`."""

    agent: str
    left_step: int | None
    right_step: int | None
    """Both None for what is of the agent and no step."""
    what: str
    """
    `agent` or `step` (only one run has it), `question`, `context`, `given`, `cell`, `reply` (of a step without a
    cell), `model call`, `prompt` and `completion` (of an `llm_query`), `output`, `error`, `end`, `answer`, `ending`.
    """
    left: str
    right: str


def partings(pairs: Mapping[str, AgentPair]) -> Iterator[Parting]:
    """In the order of the run: what a step's sub-agents did stands before what its cell put out."""
    seen: set[str] = set()

    def once(id: str) -> Iterator[Parting | str]:
        # Those of a tampered record may hang from each other in a ring.
        if id in pairs and id not in seen:
            seen.add(id)
            yield from _of_agent(pairs[id])

    for id in pairs:
        yield from unfolded(once(id), str, once)


def _of_agent(pair: AgentPair) -> Iterator[Parting | str]:
    """Its differences, and the ids of its sub-agents where theirs belong."""
    left, right, id = pair.left, pair.right, pair.id
    if left is None or right is None:
        there = left or right
        assert there is not None
        told = f"{words.count(len(there.steps), 'step')}: {clip(there.question, comparing.SHOWN_CHARS)}"
        sides = (told, "not there") if right is None else ("not there", told)
        yield Parting(id, None, None, "agent", *sides)
        return
    yield from _text(id, (None, None), "question", left.question, right.question)
    shas = left.context_sha, right.context_sha
    if None in shas or shas[0] != shas[1]:
        yield from _text(id, (None, None), "context", left.context or "none", right.context or "none", None not in shas)
    yield from _given(left, right)
    for steps in pair.steps:
        yield from _of_step(id, steps)
    yield from _of_calls(id, (None, None), left.calls, right.calls)
    yield from _below(left.agents, right.agents)
    yield from _text(id, (None, None), "ending", _ending(left), _ending(right))
    yield from _text(id, (None, None), "answer", _final(left), _final(right))


def _of_step(agent: str, pair: StepPair) -> Iterator[Parting | str]:
    left, right, numbers = pair.left, pair.right, pair.numbers
    if left is None or right is None:
        there_or_not = (("not there" if step is None else _shown(step)) for step in (left, right))
        yield Parting(agent, *numbers, "step", *there_or_not)
        return
    if (left.source is None) != (right.source is None):
        yield Parting(agent, *numbers, "cell", _shown(left), _shown(right))
    elif left.source is not None and right.source is not None and left.source != right.source:
        yield Parting(agent, *numbers, "cell", *comparing.apart(left.source, right.source))
    elif left.source is None and left.reply is not None and right.reply is not None:
        yield from _text(agent, numbers, "reply", left.reply.text, right.reply.text)
    yield from _text(agent, numbers, "model call", _asked(left), _asked(right))
    yield from _of_calls(agent, numbers, left.calls, right.calls)
    yield from _below(left.agents, right.agents)
    if left.cell is not None and right.cell is not None:
        found = comparing.difference(left.cell.outputs, right.cell.outputs, left.cell.error, right.cell.error)
        if found is not None:
            yield Parting(agent, *numbers, found.what, found.recorded, found.came)
    yield from _text(agent, numbers, "end", _cell_end(left), _cell_end(right))


def _below(left: Sequence[Agent], right: Sequence[Agent]) -> Iterator[str]:
    yield from dict.fromkeys(agent.id for agent in (*left, *right))


def _of_calls(
    agent: str, numbers: tuple[int | None, int | None], left: Sequence[Call], right: Sequence[Call]
) -> Iterator[Parting]:
    for before, now in zip(left, right, strict=False):
        yield from _text(agent, numbers, "prompt", before.prompt, now.prompt)
        yield from _text(agent, numbers, "completion", _answer(before), _answer(now))
    both = min(len(left), len(right))
    for call in left[both:]:
        yield Parting(agent, *numbers, "prompt", clip(call.prompt, comparing.SHOWN_CHARS), "not asked")
    for call in right[both:]:
        yield Parting(agent, *numbers, "prompt", "not asked", clip(call.prompt, comparing.SHOWN_CHARS))


def _given(left: Agent, right: Agent) -> Iterator[Parting]:
    # `context` has its own line, and stands here too where a replay needs it.
    before = {given.name: given for given in left.given if given.name != "context"}
    now = {given.name: given for given in right.given if given.name != "context"}
    for name in dict.fromkeys([*before, *now]):
        sides = [given[name].what if name in given else "not given" for given in (before, now)]
        shas = [given[name].sha if name in given else None for given in (before, now)]
        if None in shas or shas[0] != shas[1]:
            before_it, now_it = (f"{name}: {side}" for side in sides)
            yield from _text(left.id, (None, None), "given", before_it, now_it, sure=None not in shas)


def _text(
    agent: str, numbers: tuple[int | None, int | None], what: str, left: str, right: str, sure: bool = False
) -> Iterator[Parting]:
    """`sure`: they differ, though their descriptions may not."""
    found = comparing.loose_difference(left, right)
    if found is not None:
        yield Parting(agent, *numbers, what, found.recorded, found.came)
    elif sure:
        shown = clip(left, comparing.SHOWN_CHARS)
        yield Parting(agent, *numbers, what, shown, f"another value of the same description: {shown}")


def _shown(step: Step) -> str:
    return "no cell" if step.source is None else clip(step.source, comparing.SHOWN_CHARS)


def _asked(step: Step) -> str:
    # The message of a failure names requests and times, which differ.
    return "no failure" if step.failure is None else f"failed: {step.failure.kind}"


def _answer(call: Call) -> str:
    if call.reply is not None:
        return call.reply.text
    return "no answer" if call.failure is None else f"failed: {call.failure.kind}"


def _cell_end(step: Step) -> str:
    if step.source is None:
        return "no cell"
    if step.cell is None:
        return "not in this record"
    return "FINAL" if step.cell.final else "the cell ended"


def _final(agent: Agent) -> str:
    return "none" if agent.end is None or agent.end.answer is None else agent.end.answer


def _ending(agent: Agent) -> str:
    return "no end in this record" if agent.end is None else agent.end.ending
