"""
A run as one Python file in percent format (jupytext's `# %%`): the root's cells as code, all else as comments.

The file compiles; `python_cells` says what can stand in it of a cell. Sub-agents had namespaces of their own: their
cells are comments, in sections after the root's. Outputs are comments, cut short. Nothing here runs anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlm_kernel.trace import words
from rlm_kernel.trace.exporters.python_cells import MARKS, FileCell, failed_line, file_cell, needed
from rlm_kernel.trace.nodes import Agent, Step
from rlm_kernel.trace.safe import clip, one_line, outputs_text
from rlm_kernel.trace.sections import around
from rlm_kernel.trace.tree import Tree

PROSE_CHARS = 20_000
OUTPUT_CHARS = 1_500
MOST_NAMES = 40


def python(tree: Tree) -> str:
    """A file that compiles, whatever is in the tree: a cell that would keep it from that is a comment, with why."""
    root = tree.root
    cells = (
        {} if root is None else {step.number: file_cell(step.source) for step in root.steps if step.source is not None}
    )
    # Each compiles alone; together they may not (`global x` after `x`), and the file has to.
    while True:
        parts = list(_file(tree, cells))
        failed = failed_line("".join(text for text, _ in parts))
        if failed is None:
            return "".join(text for text, _ in parts)
        number, why = failed
        cells[_at(parts, number)].reason = why


def _at(parts: list[tuple[str, int | None]], line: int) -> int:
    """The number of the step whose cell has that line; the last one's where the line is none's."""
    last = None
    for text, step in parts:
        line -= text.count("\n")
        last = last if step is None else step
        if line <= 0 and last is not None:
            return last
    assert last is not None  # all that is not a cell is comments
    return last


def _file(tree: Tree, cells: dict[int, FileCell]) -> Iterator[tuple[str, int | None]]:
    """The text in pieces; those that are code with the number of their step."""
    root = tree.root
    yield _header(tree, [cell.source for cell in cells.values() if cell.reason is None]), None
    if root is None:
        return
    yield f"# %% [markdown]\n# # Agent {one_line(root.id, 60)}\n#\n{_comment(root.question)}\n", None
    if root.context is not None:
        yield f"#\n# `context` was\n#\n{_comment(root.context)}\n", None
    for step in root.steps:
        before, after = around(step.reply.text if step.reply is not None else "", step.source)
        yield _heading(root, step, before), None
        if step.source is not None:
            yield f"\n# %% step {step.number}\n", None
            cell = cells[step.number]
            yield cell.text + "\n", step.number if cell.reason is None else None
            yield _came(step), None
        if after.strip():
            yield f"\n# %% [markdown]\n{_comment(after.strip())}\n", None
    yield _end(root), None
    for agent, _ in tree.walk():
        if agent is not root:
            yield from ((text, None) for text in _section(agent))


def _header(tree: Tree, sources: list[str]) -> str:
    run = tree.run
    lines = ["The cells of a recorded run, to read and to run part of. Nothing here asks a model."]
    if run is not None:
        lines.append(f"Run {one_line(run.run, 100)}, model {one_line(run.model, 100)}: {words.work(tree.totals())}.")
    names = needed(sources)
    if names:
        shown = ", ".join(names[:MOST_NAMES]) + (" …" if len(names) > MOST_NAMES else "")
        lines += ["", "Before it runs, define what its cells use and the kernel or a person had lent them:", shown]
    lines += ["", "Cells of sub-agents had namespaces of their own. They stand at the end, as comments."]
    return "# %% [markdown]\n" + _comment("\n".join(lines)) + "\n\n"


def _heading(agent: Agent, step: Step, prose: str) -> str:
    facts = [words.step_state(step), words.seconds(words.took_s(step))]
    if (tokens := words.tokens(step)) is not None:
        facts.append(f"{tokens:,} tokens")
    text = f"\n# %% [markdown]\n# ## Step {step.number} · {one_line(' · '.join(facts), 200)}\n"
    if step.failure is not None:
        text += _comment(f"\nThe model call failed: {words.failure(step.failure)}") + "\n"
    return text if not prose.strip() else text + f"#\n{_comment(prose.strip())}\n"


def _came(step: Step) -> str:
    """What a cell asked and put out, as comments."""
    text = ""
    for call in step.calls:
        answer = call.reply.text if call.reply is not None else "no answer"
        text += f"# llm_query {call.number}: {one_line(call.prompt, 90)} → {one_line(answer, 90)}\n"
    for agent in step.agents:
        text += f"# agent {one_line(agent.id, 40)}: {one_line(agent.question, 90)}\n"
    if step.cell is not None:
        shown = outputs_text(step.cell.outputs, OUTPUT_CHARS)
        if step.cell.error is not None:
            error = step.cell.error
            shown = f"{shown}\n{clip(error.traceback or f'{error.name}: {error.message}', OUTPUT_CHARS)}".lstrip("\n")
        if shown:
            text += f"# Out:\n{_comment(shown, '#     ')}\n"
    return text


def _section(agent: Agent) -> Iterator[str]:
    asked = words.asked_by(agent)
    named = f"Agent {one_line(agent.id, 60)}{', asked by ' + one_line(asked, 90) if asked else ''}"
    yield f"\n# %% [markdown]\n# # {named}\n#\n"
    yield f"{_comment(agent.question)}\n"
    for step in agent.steps:
        before, after = around(step.reply.text if step.reply is not None else "", step.source)
        yield _heading(agent, step, before)
        if step.source is not None:
            yield f"\n# %% agent {one_line(agent.id, 60)}, step {step.number}\n{_comment(step.source)}\n"
            yield _came(step)
        if after.strip():
            yield f"\n# %% [markdown]\n{_comment(after.strip())}\n"
    yield _end(agent)


def _end(agent: Agent) -> str:
    text = words.why_not(agent) if agent.end is None or agent.end.message else f"{agent.end.ending}"
    if agent.end is not None and agent.end.answer is not None:
        text += f": {clip(agent.end.answer, PROSE_CHARS)}"
    return f"\n# %% [markdown]\n{_comment(f'Agent {one_line(agent.id, 60)} ended: {text}')}\n"


def _comment(text: str, mark: str = "# ") -> str:
    """Each line of it behind a mark; `plain`, so that none has an end of a line in it that Python would see."""
    lines = MARKS.sub("", clip(text, PROSE_CHARS)).split("\n")
    return "\n".join((mark + line).rstrip() for line in lines)
