"""What several formats need of a run: when its steps were, what its cells put out as text."""

from __future__ import annotations

from rlm_kernel.trace.events import Asked, Replied
from rlm_kernel.trace.nodes import Step
from rlm_kernel.trace.safe import joined, outputs_text
from rlm_kernel.trace.tree import Tree

MOST_CHARS = 10_000_000
"""Of the outputs of one cell."""

Times = dict[tuple[str, int], str]


def step_times(tree: Tree) -> Times:
    """When each step's reply came, or else was asked for, by agent and step, as the record has it."""
    times: Times = {}
    for at, event in tree.log:
        if at is not None and isinstance(event, (Asked, Replied)):
            times[event.agent, event.step] = at
    return times


def stdout_and_stderr(step: Step) -> tuple[str, str]:
    """What a cell put out in two texts: results and displays count as printed, an error as written to stderr."""
    if step.cell is None:
        return "", ""
    printed: list[str] = []
    complained: list[str] = []
    for output in step.cell.outputs:
        kind = output.get("output_type")
        if kind == "stream":
            (complained if output.get("name") == "stderr" else printed).append(joined(output.get("text")))
        elif kind != "error":
            if printed and not printed[-1].endswith("\n"):
                printed.append("\n")
            printed.append(outputs_text((output,), MOST_CHARS) + "\n")
    if step.cell.error is not None:
        complained.append("\n" if not complained or not complained[-1].endswith("\n") else "")  # as that tool does
        complained.append(step.cell.error.traceback or f"{step.cell.error.name}: {step.cell.error.message}")
    return "".join(printed), "".join(complained)


def put_out(step: Step) -> str:
    """The same in one text, in its order; the error of the cell once, at the end."""
    if step.cell is None:
        return ""
    texts: list[str] = []
    for output in step.cell.outputs:
        kind = output.get("output_type")
        if kind != "error":
            if texts and not texts[-1].endswith("\n"):
                texts.append("\n")
            texts.append(joined(output.get("text")) if kind == "stream" else outputs_text((output,), MOST_CHARS))
    if step.cell.error is not None:
        if texts and not texts[-1].endswith("\n"):
            texts.append("\n")
        texts.append(step.cell.error.traceback or f"{step.cell.error.name}: {step.cell.error.message}")
    return "".join(texts)
