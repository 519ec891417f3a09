"""`jupyter rlm diff`: two recorded runs side by side. Nothing of them is executed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from typing import Any

from rlm_kernel.cli.command import OK, Command
from rlm_kernel.cli.traces import HELP, load, put, write
from rlm_kernel.trace import words
from rlm_kernel.trace.alignment import Alignment, align
from rlm_kernel.trace.cells import readable
from rlm_kernel.trace.comparing import unified
from rlm_kernel.trace.loading import Trace
from rlm_kernel.trace.nodes import Step, Totals
from rlm_kernel.trace.partings import Parting
from rlm_kernel.trace.safe import one_line
from rlm_kernel.trace.views.terminal import Line, in_columns

DIFFERS = 5
MOST_SHOWN, MOST_AGENTS, MOST_LINES = 20, 20, 12
"""Differences, rows of agents, and lines of one difference, unless all are asked for."""


class Diff(Command):
    command = "diff"
    description = (
        "Align two recorded runs, step by step, and tell where they part. "
        "Exit codes: 0 the same but for times, ids and what it cost, 2 usage, 5 something differs."
    )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("a", metavar="A", help=HELP)
        parser.add_argument("b", metavar="B", help="the other")
        parser.add_argument("--all", action="store_true", help="every difference, and the figures of every step")
        parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")

    def work(self) -> int:
        """
        `--json` prints `same`, `a` and `b` (each path, run, model, complaint), `first` (an item of `differences`, or
        null), `differences` (each agent, a_step, b_step, what, a, b; texts cut), `only_a` and `only_b` (ids of
        agents), `totals` and `agents` (by id, with `steps`), whose figures are pairs `[a, b]`: null where one has none.
        """
        options = self.options
        a, b = load(options.a, self.command), load(options.b, self.command)
        found = align(a.tree, b.tree)
        if options.json:
            write([json.dumps(_data(a, b, found), indent=1) + "\n"])
        else:
            put(_lines(a, b, found, options.all), cut=not options.all)
        return DIFFERS if found.partings else OK


def _lines(a: Trace, b: Trace, found: Alignment, everything: bool) -> Iterator[Line]:
    yield (("dim", f"A  {a.path}"),)
    yield (("dim", f"B  {b.path}"),)
    if found.first is None:
        yield (("good", "the same: every agent, question, cell, output and answer"),)
    else:
        yield (("bad", f"first divergence: {_where(found.first)}"),)
        yield from _sides(found.first, everything)
    yield ()
    yield from in_columns(_totals(a, b), names=1)
    for name, ids in (("A", found.only_left), ("B", found.only_right)):
        if ids:
            shown = ids if everything else ids[:MOST_AGENTS]
            more = f" and {len(ids) - len(shown):,} more" if len(ids) > len(shown) else ""
            yield (("bad", f"only in {name}: "), ("", f"agents {', '.join(one_line(id, 40) for id in shown)}{more}"))
    if len(found.agents) > 1 or everything:
        yield ()
        yield from in_columns(_agents(a, b, found, everything), names=2)
    if everything:
        yield ()
        yield from in_columns(_steps(found), names=3)
    yield from _rest(found, everything)


def _rest(found: Alignment, everything: bool) -> Iterator[Line]:
    """All differences but the first."""
    rest = found.partings[1:]
    shown = rest if everything else rest[: MOST_SHOWN - 1]
    if rest:
        yield ()
        yield (("bold", f"{words.count(len(found.partings), 'difference')}; after the first:"),)
    for parting in shown:
        yield (("bad", _where(parting)),)
        yield from _sides(parting, everything)
    if len(rest) > len(shown):
        yield (("dim", f"… {words.count(len(rest) - len(shown), 'more difference')}: --all shows them"),)


def _where(parting: Parting) -> str:
    left, right = parting.left_step, parting.right_step
    place = f"agent {one_line(parting.agent, 40)}"
    if left is not None and right is not None:
        place += f", step {left}" if left == right else f", step {left} of A and {right} of B"
    elif left is not None or right is not None:
        place += f", step {left} of A" if left is not None else f", step {right} of B"
    return f"{place}: {parting.what}"


def _sides(parting: Parting, everything: bool) -> Iterator[Line]:
    lines = unified(parting.left, parting.right).split("\n")[2:]
    # A text that differs in how its lines end has no line that differs.
    shown = [line for line in lines if not line.startswith("@@")] or [repr(parting.left), repr(parting.right)]
    kept = shown if everything or len(shown) <= MOST_LINES + 1 else shown[:MOST_LINES]
    for line in kept:
        yield (("bad" if line.startswith("-") else "good" if line.startswith("+") else "dim", f"  {line}"),)
    if len(kept) < len(shown):
        yield (("dim", f"  … {words.count(len(shown) - len(kept), 'more line')}"),)


def _totals(a: Trace, b: Trace) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("", "A", "B")]
    for name, figure in _FIGURES.items():
        rows.append((name, *(_shown(name, figure(trace.totals)) for trace in (a, b))))
    models = [words.UNKNOWN if trace.tree.run is None else one_line(trace.tree.run.model, 40) for trace in (a, b)]
    return [*rows, ("model", *models), ("ended", *(one_line(words.ending(trace.tree), 40) for trace in (a, b)))]


def _agents(a: Trace, b: Trace, found: Alignment, everything: bool) -> list[tuple[str, ...]]:
    heads = ("agent", "differs", *(f"{name} {side}" for name in _OWN for side in "AB"))
    differs = {parting.agent for parting in found.partings}
    shown = found.agents if everything else found.agents[:MOST_AGENTS]
    rows = [heads]
    for pair in shown:
        sides = (
            None if pair.left is None else a.spent(pair.left).own,
            None if pair.right is None else b.spent(pair.right).own,
        )
        cells = [_shown(name, None if own is None else _FIGURES[name](own)) for name in _OWN for own in sides]
        rows.append((one_line(pair.id, 40), "yes" if pair.id in differs else "", *cells))
    if len(shown) < len(found.agents):
        rows.append((f"… {len(found.agents) - len(shown):,} more", *[""] * (len(heads) - 1)))
    return rows


def _steps(found: Alignment) -> list[tuple[str, ...]]:
    rows = [("agent", "step A", "step B", *(f"{name} {side}" for name in _OF_STEP for side in "AB"))]
    for pair in found.agents:
        for steps in pair.steps:
            numbers = [words.UNKNOWN if number is None else str(number) for number in steps.numbers]
            sides = (steps.left, steps.right)
            cells = [_shown(name, _of_step(step)[name]) for name in _OF_STEP for step in sides]
            rows.append((one_line(pair.id, 40), *numbers, *cells))
    return rows


_FIGURES: dict[str, Callable[[Totals], float | None]] = {
    "steps": lambda totals: totals.steps,
    "calls": lambda totals: totals.calls,
    "tokens in": lambda totals: totals.usage.prompt_tokens,
    "tokens out": lambda totals: totals.usage.completion_tokens,
    "tokens cached": lambda totals: totals.usage.cached_tokens,
    "cost": lambda totals: totals.cost_usd,
    "seconds": lambda totals: totals.seconds,
}
_OWN = ("steps", "tokens in", "tokens out", "cost", "seconds")
_OF_STEP = ("tokens in", "tokens out", "tokens cached", "cost", "seconds")


def _of_step(step: Step | None) -> dict[str, float | None]:
    if step is None or step.reply is None:
        return dict.fromkeys(_OF_STEP) | {"seconds": None if step is None else words.took_s(step)}
    usage = step.reply.usage
    tokens = {"tokens in": usage.prompt_tokens, "tokens out": usage.completion_tokens}
    return {**tokens, "tokens cached": usage.cached_tokens, "cost": usage.cost_usd, "seconds": words.took_s(step)}


def _shown(name: str, value: float | None) -> str:
    if name == "cost":
        return words.dollars(value)
    if name == "seconds":
        return words.UNKNOWN if value is None else f"{value:,.2f}"
    return words.number(value)


def _data(a: Trace, b: Trace, found: Alignment) -> dict[str, Any]:
    def key(name: str) -> str:
        return {"cost": "cost_usd"}.get(name, name.replace(" ", "_"))

    def figures(left: Totals | None, right: Totals | None) -> dict[str, Any]:
        sides = (left, right)
        return {key(n): [None if each is None else figure(each) for each in sides] for n, figure in _FIGURES.items()}

    agents = []
    for pair in found.agents:
        own = figures(
            None if pair.left is None else a.spent(pair.left).own,
            None if pair.right is None else b.spent(pair.right).own,
        )
        steps = []
        for each in pair.steps:
            left, right = _of_step(each.left), _of_step(each.right)
            steps.append({"numbers": list(each.numbers), **{key(n): [left[n], right[n]] for n in _OF_STEP}})
        agents.append({"id": pair.id, **own, "steps": steps})
    partings = [_parting(parting) for parting in found.partings]
    data: dict[str, Any] = readable(
        {
            "same": not partings,
            "a": _about(a),
            "b": _about(b),
            "first": partings[0] if partings else None,
            "differences": partings,
            "only_a": found.only_left,
            "only_b": found.only_right,
            "totals": figures(a.totals, b.totals),
            "agents": agents,
        }
    )
    return data


def _about(trace: Trace) -> dict[str, Any]:
    model = None if trace.tree.run is None else trace.tree.run.model
    return {"path": str(trace.path), "run": trace.run, "model": model, "complaint": trace.complaint}


def _parting(parting: Parting) -> dict[str, Any]:
    return {
        "agent": parting.agent,
        "a_step": parting.left_step,
        "b_step": parting.right_step,
        "what": parting.what,
        "a": parting.left,
        "b": parting.right,
    }
