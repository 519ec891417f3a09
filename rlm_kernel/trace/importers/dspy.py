"""
A DSPy trajectory of `dspy.RLM` and its kin: a list of `{reasoning, code, output}`, alone or within its prediction.

Layout: `dspy/predict/rlm.py` and `dspy/primitives/repl_types.py` of stanfordnlp/dspy, 3.1 to 3.4.
"""

from __future__ import annotations

import re
from typing import Any

from rlm_kernel.trace.importers.building import build
from rlm_kernel.trace.importers.parts import Actor, Imported, Origin, Turn
from rlm_kernel.trace.importers.source import Log, gathered
from rlm_kernel.trace.importers.texts import composed, dedented, error_of, stream
from rlm_kernel.trace.importers.values import mapping, objects, rest, text, usage

LOST = [
    "The replies as they came: each is put together from its reasoning and its code.",
    "The messages that the model was sent, its name, tokens and prices, and all times.",
    "What cells asked of other models, and what those said.",
    "What the last cell put out: in its place the log has what it submitted.",
]
_FINAL = "FINAL: "
_NOTHING = re.compile(r"\(no output(?: - did you forget to print\?)?\)")
_TRUNCATED = re.compile(r"\n?\.\.\. ?\(truncated[^)\n]*\)\s*\Z")
_LISTS = ("trajectory", "repl_trajectory")


def fits(head: list[Any]) -> bool:
    return any(_steps(row) for row in head)


def _steps(row: Any) -> list[dict[str, Any]]:
    """Of a prediction, of a bare list, of one step on a line by itself."""
    if isinstance(row, dict):
        for name in _LISTS:
            inner = row.get(name)
            inner = inner.get("entries") if isinstance(inner, dict) else inner
            if found := _steps(inner if isinstance(inner, list) else None):
                return found
        return [row] if _is_step(row) else []
    return objects(row) if isinstance(row, list) and any(map(_is_step, objects(row))) else []


def _is_step(row: dict[str, Any]) -> bool:
    return isinstance(row.get("code"), str) and "output" in row and "reasoning" in row and "run_id" not in row


def read(log: Log) -> list[Imported]:
    """A run for each prediction, or each list; steps on lines of their own are one run."""
    runs, complaint = gathered(log, _steps, "hold no trajectory")
    found = []
    for at, (prediction, steps) in enumerate(runs, 1):
        root = _actor(prediction, steps)
        inputs = [] if root.given else ["The inputs, its context among them: a trajectory has only what came out."]
        name = log.run_name(at, len(runs))
        found.append(build(root, Origin("dspy", [*LOST, *inputs], "dspy", name), log.name, complaint))
    return found


def _actor(prediction: dict[str, Any], steps: list[dict[str, Any]]) -> Actor:
    actor = Actor(rest=rest(prediction, (*_LISTS, "inputs", "input")))
    inputs = mapping(prediction.get("inputs", prediction.get("input")))
    actor.given = dict(inputs)
    actor.question = text(
        next((inputs[name] for name in ("query", "question", "prompt", "task") if name in inputs), "")
    )
    actor.turns = [_turn(step) for step in steps]
    last = actor.turns[-1]
    if last.final:
        told = {"trajectory", "repl_trajectory", "final_reasoning", "history", "inputs", "input", "reasoning"}
        fields = {name: value for name, value in prediction.items() if name not in told}
        actor.result = fields or text(steps[-1].get("output")).removeprefix(_FINAL)
        actor.ending = "final"
    elif prediction.get("final_reasoning") == "Extract forced final output":
        actor.ending, actor.message = "limit", "the iterations ran out; the answer was drawn from what was there"
    return actor


def _turn(step: dict[str, Any]) -> Turn:
    code, reasoning, output = text(step.get("code")), text(step.get("reasoning")), text(step.get("output"))
    source = _unfenced(code)
    turn = Turn(reply=composed(reasoning, dedented(source)), source=source, usage=usage(step.get("usage")))
    turn.rest = rest(step, ("code", "reasoning", "output", "usage"))
    if source != code:
        turn.rest["code_as_written"] = code
    if reasoning and not text(turn.reply).startswith(reasoning.rstrip()):
        turn.rest["reasoning"] = reasoning
    if output.startswith(_FINAL):
        turn.final = True
        turn.rest["output"] = "lost"
        turn.rest["submitted"] = output.removeprefix(_FINAL)
        turn.notes.append("What this cell put out is not in the log: it ended the agent.")
        return turn
    if _NOTHING.fullmatch(output.strip()):
        output = ""
    if cut := _TRUNCATED.search(output):
        output = output[: cut.start()]
        turn.rest["cut"] = "head"
        turn.notes.append(f"Of this output the log has only the first {len(output):,} characters.")
    turn.error = error_of(output.removeprefix("[Error] ")) if output.startswith("[Error] ") else None
    turn.outputs = () if turn.error is not None else stream(output)
    return turn


def _unfenced(code: str) -> str:
    """The tool takes a fence around a cell away before it runs it, and some of its logs have it still."""
    found = re.fullmatch(r"\s*```(?:python|py|python3|py3)?[ \t]*\n(.*?)\n?```\s*", code, re.DOTALL)
    return found[1] if found is not None and "```" not in found[1] else code
