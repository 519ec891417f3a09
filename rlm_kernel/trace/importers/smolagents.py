"""
The steps of a smolagents run: `agent.memory.get_full_steps()`, or the dict of a RunResult around them.

A step has no tag and is told by its keys. Layout: `src/smolagents/memory.py` and `agents.py`, 1.20 and later.
"""

from __future__ import annotations

import re
from typing import Any

from rlm_kernel.trace.importers.building import build
from rlm_kernel.trace.importers.parts import UNSAID, Actor, Imported, Origin, Turn
from rlm_kernel.trace.importers.source import Log, gathered
from rlm_kernel.trace.importers.texts import dedented, ends_in_expression, reply_with, stream
from rlm_kernel.trace.importers.values import code_of, mapping, message, objects, rest, seconds, since, text, usage
from rlm_kernel.values import CellError, Message, Output

LOST = [
    "The price of its replies, and the model's name.",
    "The values that the task was given besides its text.",
    "The runs of managed agents: a call of one stands in its caller's code alone.",
]
_LOGS, _LAST = "Execution logs:\n", "Last output from code snippet:\n"


def fits(head: list[Any]) -> bool:
    return any(any(map(_is_step, _steps(row))) for row in head)


def _steps(row: Any) -> list[dict[str, Any]]:
    """Of a RunResult, of a bare list, of one step on a line by itself."""
    if isinstance(row, dict):
        row = row["steps"] if isinstance(row.get("steps"), list) else [row]
    return [step for step in objects(row) if _is_step(step) or "system_prompt" in step]


def _is_step(row: dict[str, Any]) -> bool:
    action = "step_number" in row and ("model_output" in row or "observations" in row or "code_action" in row)
    return action or ("task" in row and "task_images" in row) or ("plan" in row and "model_output_message" in row)


def read(log: Log) -> list[Imported]:
    """A run for each RunResult or list of steps; steps on lines of their own are one run."""
    runs, complaint = gathered(log, _steps, "hold no steps")
    found = []
    for at, (result, steps) in enumerate(runs, 1):
        root = _actor(result, steps)
        said = [] if any(turn.asked is not None for turn in root.turns) else ["The messages that the model was sent."]
        name = log.run_name(at, len(runs))
        found.append(build(root, Origin("smolagents", [*LOST, *said], "smolagents", name), log.name, complaint))
    return found


def _actor(result: dict[str, Any], steps: list[dict[str, Any]]) -> Actor:
    actor = Actor(rest=rest(result, ("steps", "output", "timing")))
    before: list[Message] = []
    for step in steps:
        if "task" in step:
            actor.question = actor.question or text(step["task"])
            actor.rest |= rest(step, ("task",))
            continue
        if not _is_step(step):
            actor.rest |= rest(step, ())
            continue
        turn = _planned(step) if "plan" in step else _acted(step)
        request = [message(item) for item in objects(step.get("model_input_messages"))]
        if request:
            turn.asked, turn.anew = since(before, request)
            before = request
        actor.turns.append(turn)
        timing = mapping(step.get("timing"))
        actor.began = actor.began or timing.get("start_time")
        actor.ended = timing.get("end_time") or actor.ended
        if step.get("is_final_answer") is True:
            actor.result, actor.ending = step.get("action_output"), "final"
    if result.get("output") is not None and actor.result is UNSAID:
        actor.result = result["output"]
        limited = result.get("state") == "max_steps_error"
        actor.ending = "limit" if limited else "final"
        actor.message = "max_steps reached; the answer was asked for in words" if limited else None
    return actor


def _planned(step: dict[str, Any]) -> Turn:
    turn = _timed(step)
    turn.reply = text(step.get("plan"))
    turn.notes.append("A plan: no cell was asked for.")
    turn.rest = rest(step, ("plan", "timing", "token_usage", "model_input_messages"))
    return turn


def _acted(step: dict[str, Any]) -> Turn:
    turn = _timed(step)
    raw, calls = text(step.get("model_output")), objects(step.get("tool_calls"))
    called = next((code for call in calls if (code := _code(call)) is not None), None)
    action = step.get("code_action")
    turn.source = action if isinstance(action, str) and action.strip() else called
    used = [
        "step_number",
        "timing",
        "token_usage",
        "model_input_messages",
        "model_output",
        "code_action",
        "observations",
    ]
    turn.rest = rest(step, [*used, "error", "is_final_answer", *(["tool_calls"] if called is not None else [])])
    if turn.source is None:
        turn.reply = raw
        if step.get("observations") is not None:
            turn.rest["observations"] = step["observations"]
            turn.notes.append("Tools were called, not code: what they gave back is kept beside.")
    else:
        turn.reply, put_together = reply_with(raw, dedented(turn.source))
        if put_together and raw:
            turn.rest["model_output"] = raw
        turn.outputs = _outputs(turn, text(step.get("observations")))
        turn.final = step.get("is_final_answer") is True
    error = step.get("error")
    if error is not None:
        told = mapping(error)
        kind, said = text(told.get("type")) or "AgentError", text(told.get("message", error))
        if turn.source is not None:
            turn.error = _error(kind, said)
        turn.rest["error"] = error
    return turn


def _timed(step: dict[str, Any]) -> Turn:
    timing = mapping(step.get("timing"))
    took = timing.get("duration")
    turn = Turn(usage=usage(step.get("token_usage")), model_s=seconds(took), at=timing.get("end_time"))
    turn.ended = timing.get("end_time")
    if took is not None:
        turn.notes.append("The seconds are of model and cell together.")
    return turn


def _code(call: dict[str, Any]) -> str | None:
    function = mapping(call.get("function"))
    if function.get("name") not in ("python_interpreter", "python", "execute_code"):
        return None
    arguments = function.get("arguments")
    return code_of(arguments) or (arguments if isinstance(arguments, str) and arguments.strip() else None)


def _outputs(turn: Turn, observed: str) -> tuple[Output, ...]:
    """What was printed, and the value of the last statement: a cell of ours shows that only of an expression."""
    logs, found, last = observed.rpartition(_LAST)
    if not found:
        logs, last = observed, ""
    outputs = stream(logs.removeprefix(_LOGS))
    if found and turn.source is not None and last.strip() not in ("", "None"):
        if ends_in_expression(turn.source) and not re.search(r"\bfinal_answer\s*\(", turn.source.splitlines()[-1]):
            outputs += (
                {
                    "output_type": "execute_result",
                    "data": {"text/plain": last},
                    "metadata": {},
                    "execution_count": None,
                },
            )
        else:
            turn.rest["last_output"] = last
    return outputs


def _error(kind: str, said: str) -> CellError:
    """The tool's own error names Python's at its end: `… due to: NameError: name 'x' is not defined`."""
    inner = re.search(r"due to: ?(?P<name>[A-Za-z_]\w*): ?(?P<message>.*)\Z", said, re.DOTALL)
    return CellError(kind, said, said) if inner is None else CellError(inner["name"], inner["message"].strip(), said)
