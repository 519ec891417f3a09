"""What `%rlm NAME` tells: of this notebook's settings, of the last run, and of the runs before it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from IPython.display import FileLink, display

from rlm_kernel import doctor, preview, prompts
from rlm_kernel.environment.within import repr_within
from rlm_kernel.errors import UsageError
from rlm_kernel.trace import views
from rlm_kernel.trace.file import may_replace, write
from rlm_kernel.trace.tree import Tree
from rlm_kernel.workspace import Workspace


def status(workspace: Workspace) -> None:
    """The model, the limits, what `context` is, the last run. Raises UsageError for a setting that cannot be used."""
    settings = workspace.settings
    settings.check()
    limits = ", ".join(f"{name}={value}" for name, value in asdict(settings.limits()).items())
    context = preview.one_line(workspace.shell.user_ns.get("context"), show=repr_within)
    print("model   ", settings.model or 'not set: %config RLM.model = "openai/gpt-5-mini"')
    print(f"limits   {limits}")
    print(f"context  {context}")
    if workspace.active is not None:
        print(f"running  {workspace.active.id}")
    if workspace.last_run is not None:
        print(f"last     {workspace.last_run!r}")


def agents(workspace: Workspace) -> None:
    """Of the last run: who asked whom at which step, with what each took, alone and with those below."""
    display(views.agents_bundle(workspace.tree), raw=True)


def graph(workspace: Workspace) -> None:
    """Who wrote and who read what."""
    display(views.graph_bundle(workspace.tree), raw=True)


def savings(workspace: Workspace) -> None:
    """What passing results by value would have loaded into the models' windows."""
    display(views.savings_bundle(workspace.tree), raw=True)


def cache(workspace: Workspace) -> None:
    """What a provider's prefix cache served, and what it could have."""
    display(views.cache_bundle(workspace.tree, prompts.COMPLETION_SYSTEM), raw=True)


def as_data(workspace: Workspace, name: str) -> None:
    """One of `AS_DATA`, as JSON."""
    print(json.dumps(AS_DATA[name](workspace.tree), indent=1))


def usage(workspace: Workspace) -> None:
    """Tokens, dollars and seconds of each model call of the last run."""
    display(views.usage_bundle(workspace.tree), raw=True)


def trace(workspace: Workspace, file: str = "") -> None:
    """The view of the last run and where its files are; with a name in .ipynb, its notebook written there instead."""
    tree, run = workspace.tree, workspace.last_run
    if file:
        path = Path(file).expanduser()
        if path.suffix != ".ipynb":
            raise UsageError("%rlm trace takes the name of one file that ends in .ipynb, or nothing")
        if not may_replace(path):
            raise UsageError(f"{path} exists and is no trace: give another name, or remove it first")
        journal = None if workspace.last is None else workspace.last.recorder.path
        write(tree, path, None if journal is None else journal.parent)
        display(FileLink(path))
        return
    display(views.bundle(tree), raw=True)
    if run is not None:
        print(f"notebook  {_from_here(run.trace)}")
        print(f"journal   {_from_here(run.journal)}")
        # JupyterLab hides the folder of the traces, and refuses to open what is in it.
        print("To open it in JupyterLab, write it to a file of your own: %rlm trace NAME.ipynb")


def prompt(workspace: Workspace, *words: str) -> None:
    """Exactly what the model was sent, by a step's number, an agent's id or both; else at the root's last step."""
    tree = workspace.tree
    agent = tree.root
    if words and words[0] in tree.agents and (len(words) == 2 or "." in words[0]):
        agent, words = tree.agents[words[0]], words[1:]
    if len(words) > 1 or (words and not words[0].isdigit()):
        raise UsageError("%rlm prompt takes the number of a step, an agent's id before it, or nothing for the last")
    if agent is None or not agent.steps:
        raise UsageError("the last run asked nothing" if agent is None else f"agent {agent.id} asked nothing")
    for message in agent.messages(int(words[0]) if words else agent.steps[-1].number):
        print(f"----- {message.role}\n{message.content}\n")


def runs(workspace: Workspace) -> None:
    """The newest 30 in the folder of the traces, the newest first."""
    folder = workspace.settings.trace_path
    journals = sorted(folder.glob("*.jsonl"), reverse=True)
    if not journals:
        print(f"no runs in {folder}")
    for journal in journals[:30]:
        notebook = journal.with_suffix(".ipynb")
        print(notebook if notebook.exists() else f"{journal} (no notebook: this run did not come to its end)")


def no_rerun(workspace: Workspace) -> None:
    """A mark in a cell, for whoever runs it again."""


def check(workspace: Workspace) -> None:
    """`%rlm doctor`."""
    for finding in doctor.check(workspace.settings):
        print(finding)


COMMANDS: dict[str, Callable[..., None]] = {
    "status": status,
    "agents": agents,
    "graph": graph,
    "savings": savings,
    "cache": cache,
    "usage": usage,
    "trace": trace,
    "prompt": prompt,
    "runs": runs,
    "doctor": check,
    "no-rerun": no_rerun,
}
AS_DATA: dict[str, Callable[[Tree], dict[str, Any]]] = {
    "graph": lambda tree: views.graph_data(views.graph_of(tree)),
    "savings": views.savings_data,
    "cache": lambda tree: views.cache_data(tree, prompts.COMPLETION_SYSTEM),
}
"""Those that take `--json`: one object and nothing else, whose keys these functions document."""
TAKE_A_FILE = frozenset({"trace"})
TAKE_WORDS = frozenset({"prompt"}) | TAKE_A_FILE


def _from_here(path: Path | None) -> str:
    """Short, and the same on every machine where the notebook is stored with its output."""
    return str(path.relative_to(Path.cwd()) if path is not None and path.is_relative_to(Path.cwd()) else path)
