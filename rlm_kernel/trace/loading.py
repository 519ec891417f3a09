"""`load_trace`: a run from its file, a journal or a notebook. Nothing of it is executed, and nothing is unpickled."""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.trace import linked, reading, words
from rlm_kernel.trace.changed import Changed, Inserted
from rlm_kernel.trace.events import SCHEMA, AgentStarted
from rlm_kernel.trace.known import Key
from rlm_kernel.trace.nodes import Agent, Spent, Totals
from rlm_kernel.trace.notebook import render
from rlm_kernel.trace.regained import regain
from rlm_kernel.trace.rows import COLUMNS, rows
from rlm_kernel.trace.safe import one_line
from rlm_kernel.trace.tree import Tree, fold
from rlm_kernel.trace.unpacking import Unpacked, unpack

MAX_NOTEBOOK_BYTES = linked.MAX_BYTES
"""A notebook is one JSON value, which takes many times its size to read. A journal may have any size."""

_JOURNAL = b'{"v":'


@dataclass(frozen=True, slots=True)
class Trace:
    """
    A recorded run. Iterating gives its agents, each after its caller; an agent has `steps`, `calls` and `children`,
    see `rlm_kernel.trace.nodes`.
    """

    tree: Tree
    path: Path | None = None
    complaint: str | None = None
    """Why this is not the whole of it, or not to be trusted, in one sentence; None where all is well."""
    edited: Mapping[Key, str] = field(default_factory=dict)
    """By agent and step, the source of a notebook's cell that is not as it was recorded."""
    inserted: tuple[Inserted, ...] = ()
    """Cells that a person put between those of the record."""
    content: str | None = None
    """The 12 digits by which a trace notebook names itself; None for a journal."""
    removed: tuple[Key, ...] = ()
    """Steps whose cells are not in the notebook."""
    moved: tuple[Key, ...] = ()
    """Steps whose cells do not stand where they were among those of their agent."""
    lost: Mapping[Key, int] = field(default_factory=dict)
    """How many outputs of a step are in its cell no longer: what is recorded of them is not all."""
    notes: tuple[str, ...] = ()
    """What was done to the notebook that does not count, a sentence each."""

    @property
    def run(self) -> str | None:
        return None if self.tree.run is None else self.tree.run.run

    @property
    def root(self) -> Agent | None:
        return self.tree.root

    @property
    def persons_cell(self) -> str | None:
        """The source of the person's own cell that asked, in a run that no `%%rlm` began."""
        run = self.tree.run
        return None if self.root is None or run is None or run.door != "cell" else self.root.question

    @property
    def agents(self) -> Mapping[str, Agent]:
        return self.tree.agents

    @property
    def totals(self) -> Totals:
        """Steps, model calls, tokens, dollars and seconds of the whole run."""
        return self.tree.totals()

    def spent(self, agent: Agent) -> Spent:
        """The same of one agent: its own, and with all below it."""
        return self.tree.spent(agent)

    def __iter__(self) -> Iterator[Agent]:
        return (agent for agent, _ in self.tree.walk())

    def __repr__(self) -> str:
        run = "a run without a name" if self.run is None else one_line(self.run, 80)
        size = f"{words.count(len(self.agents), 'agent')}, {words.count(self.totals.steps, 'step')}"
        cut = "" if self.complaint is None else f", cut: {self.complaint}"
        return f"<Trace of {run}: {size}{cut}>"

    def to_notebook(self) -> dict[str, Any]:
        """As JSON data of nbformat 4.5."""
        return render(self.tree)

    def to_dataframe(self) -> Any:
        """A row for each step and each completion, see `trace.rows`. Raises UsageError without pandas."""
        try:
            import pandas as pd  # type: ignore[import-untyped]
        except ImportError:
            raise UsageError("a table needs pandas: pip install pandas") from None
        return pd.DataFrame(rows(self.tree), columns=COLUMNS)


def load_trace(path: str | Path) -> Trace:
    """
    From a journal (`.jsonl`) or a trace notebook (`.ipynb`), told apart by what is in them.

    What can be read of a damaged one is there, and `complaint` says what is not. Raises TraceError where there is no
    trace at all, or a newer version wrote it.
    """
    try:
        path = Path(path).expanduser()
        size, head = _first_look(path)
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL in it; RuntimeError: nobody's home
        why = error.strerror if isinstance(error, OSError) else error
        raise TraceError(f"{one_line(str(path), 300)} cannot be read ({why}): is the path right?") from None
    return _of_journal(path, size) if _JOURNAL.startswith(head) else _of_notebook(path, size)


def _first_look(path: Path) -> tuple[int, bytes]:
    """Its size and how it begins."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # a pipe might be waited for for ever
        raise TraceError(f"{path} is no file: give a journal (.jsonl) or a trace notebook (.ipynb)")
    with path.open("rb") as file:
        return status.st_size, file.read(len(_JOURNAL))


def _of_journal(path: Path, size: int) -> Trace:
    read = reading.read(path)
    tree = fold(read.events)
    complaint = None if size else "it is empty: its run has only begun, or was over before anything was on disk"
    if read.complaint is not None:
        complaint = f"{read.complaint}; {read.lost_bytes:,} bytes at its end are lost"
    return Trace(tree, path, complaint or _oddity(tree))


def _of_notebook(path: Path, size: int) -> Trace:
    if size > MAX_NOTEBOOK_BYTES:
        raise TraceError(f"{path} has {size:,} bytes, too many for a notebook: load the journal of this run instead")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TraceError(f"{path} cannot be read ({error.strerror}): is the path right?") from None
    try:
        notebook = json.loads(data)
    except (ValueError, RecursionError, MemoryError) as error:
        raise TraceError(
            f"{path} is neither a journal nor a notebook that can be read ({error}): a log of another tool is brought "
            "in with jupyter rlm import"
        ) from None
    rlm = _metadata(notebook)
    if rlm is None:
        raise TraceError(f"{path} holds no trace: give a journal (.jsonl) or a trace notebook (.ipynb)")
    if "part_of" in rlm:
        whole = one_line(str(rlm["part_of"]), 300)
        gone = "" if _beside(path, whole) else ", and put it into this folder: it is not here"
        raise TraceError(f"{path} is a part of a trace: load {whole}, which has the whole{gone}")
    schema = rlm.get("schema")
    if not isinstance(schema, (int, float)) or isinstance(schema, bool) or schema < 1:
        raise TraceError(f"{path} does not say which schema it has: what wrote or edited it was not rlm_kernel")
    if schema > SCHEMA:
        raise TraceError(
            f"{path} was written by a newer rlm_kernel (trace schema {schema}, this one reads up to {SCHEMA}): "
            "upgrade rlm_kernel to read it"
        )
    found = unpack(notebook)
    if found.lost:
        regain(found, path)
    tree = Tree()
    for at, event in found.events:
        tree.add(event, at)
    content = rlm.get("content")
    content = content if isinstance(content, str) else None
    changed = Changed()
    unknown = linked.look(path, notebook, tree, content, changed)
    return Trace(
        tree,
        path,
        found.complaint or unknown or _lost(found) or _oddity(tree),
        changed.edited,
        tuple(changed.inserted),
        content,
        tuple(changed.removed),
        tuple(changed.moved),
        found.lost,
        tuple(changed.notes),
    )


def _beside(path: Path, name: str) -> bool:
    try:
        return path.with_name(name).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _metadata(notebook: Any) -> dict[str, Any] | None:
    if not isinstance(notebook, dict) or not isinstance(notebook.get("metadata"), dict):
        return None
    rlm = notebook["metadata"].get("rlm")
    whole = isinstance(rlm, dict) and ("part_of" in rlm or isinstance(rlm.get("events"), list))
    return rlm if whole else None


def _oddity(tree: Tree) -> str | None:
    """What no run of ours leaves behind, so that somebody wrote it."""
    if tree.run is None:
        return "the beginning of its run is not in the record"
    starts = Counter(event.agent for _, event in tree.log if isinstance(event, AgentStarted))
    for agent in starts:
        if starts[agent] > 1:
            return f"agent {one_line(agent, 60)} starts twice in it, and what is said of the two is mixed"
    for found, level in tree.walk():
        if not level and found.caller is not None:  # not below any that has no caller
            return f"agent {one_line(found.id, 60)} hangs from itself in it"
    return None


def _lost(found: Unpacked) -> str | None:
    if not found.lost:
        return None
    return f"{sum(found.lost.values())} recorded outputs are in its cells no longer: it was run again, or edited"
