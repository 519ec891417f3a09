"""What goes on live from a record: `%rlm fork` from a step of it, `%%rlm --continue` from where it broke off."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rlm_kernel import dialects
from rlm_kernel.asking import ask
from rlm_kernel.environment.secrets import Redactor
from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.lm import resolve
from rlm_kernel.rerun.named import JOURNAL, LAST, find
from rlm_kernel.rerun.needs import made_anew, prepare
from rlm_kernel.rerun.origin import chain, of_fork, of_resume
from rlm_kernel.runner.recorded import NO_RERUN, Fork, Recorded
from rlm_kernel.schema import Schema
from rlm_kernel.trace import journal
from rlm_kernel.trace.loading import Trace, load_trace

if TYPE_CHECKING:
    from rlm_kernel.workspace import Workspace

LOOKED_AT = 50
"""Runs that `--continue` without a name looks at, the newest first."""

Rerun = Literal["ask", "yes", "no"]


async def fork(
    workspace: Workspace,
    trace: Trace,
    at: Fork,
    given: Mapping[str, object],
    *,
    question: str | None = None,
    schema: Schema | None = None,
    output: str | None = None,
    rerun: Rerun = "ask",
    named: Collection[str] = (),
) -> object:
    """
    The run again, with the recorded replies up to that step, and a model's from there; the answer.

    `given` are the settings that were asked for; the others are as recorded. Variables that were `named` for this are
    to be as recorded; others are put back.
    """
    root = trace.root
    if root is None or not root.steps or trace.tree.run is None:
        raise UsageError("this record has no step to fork at: nothing in it was asked by a cell with %%rlm")
    agent = trace.agents.get(at.agent)
    if agent is None:
        known = ", ".join(list(trace.agents)[:20])
        raise UsageError(f"there is no agent {at.agent} in the record; it has {known}")
    last = agent.steps[-1].number if agent.steps else 0
    if not 1 <= at.step <= last + 1:
        raise UsageError(f"agent {at.agent} has steps 1 to {last}: fork at one of these, or at {last + 1} to go on")
    recorded = Recorded("fork", [trace], fork=at, rerun=_rerun(workspace, [trace], rerun))
    origin = of_fork(trace, at, recorded.changes.edited, workspace.settings.trace_path)
    text = root.question if question is None else question
    if text != root.question or (schema is not None and Redactor().text(schema.told) != root.schema):
        recorded.leave(root.id, 1)  # its first prompt tells of both
    return await _go_on(workspace, [trace], recorded, origin, text, given, schema, output, named, quiet=False)


async def resume(
    workspace: Workspace,
    which: str,
    given: Mapping[str, object],
    *,
    schema: Schema | None = None,
    output: str | None = None,
    quiet: bool = False,
    rerun: Rerun = "ask",
    named: Collection[str] = (),
) -> object:
    """
    A run that broke off, from its journal: what was replied is not asked again. The answer.

    `which` is a run as `find` takes it; with nothing or `last`, the newest that came to no answer. `named` is as for
    a fork.
    """
    settings = workspace.settings
    path = _journal(settings.trace_path, which) if which not in ("", LAST) else _newest(settings.trace_path)
    if journal.is_written(path):
        raise UsageError(f"{path.stem} is still going on in another process: stop it there, or wait for its end")
    traces, forked = chain(load_trace(path), settings.trace_path)
    trace = traces[0]
    if trace.root is None or trace.tree.run is None:
        raise UsageError(f"{path} breaks off before anything was asked: ask again")
    if trace.tree.run.door == "cell":
        raise UsageError(f"{trace.run} was asked by llm_query in a person's own cell: run that cell again")
    if trace.tree.end is not None and trace.tree.end.ending in ("final", "text"):
        raise UsageError(f"{trace.run} came to its answer: there is nothing to go on with; see %rlm fork")
    if schema is not None and Redactor().text(schema.told) != trace.root.schema:
        raise UsageError(f"{trace.run} was asked for {'another' if trace.root.schema else 'no'} form of its answer")
    behind = traces if forked is None else [*traces, forked.trace]
    recorded = Recorded("resume", traces, forked=forked, rerun=_rerun(workspace, behind, rerun))
    origin = of_resume(trace, settings.trace_path)
    text = trace.root.question
    return await _go_on(workspace, behind, recorded, origin, text, given, schema, output, named, quiet=quiet)


async def _go_on(
    workspace: Workspace,
    traces: Sequence[Trace],
    recorded: Recorded,
    origin: dict[str, Any],
    text: str,
    given: Mapping[str, object],
    schema: Schema | None,
    output: str | None,
    named: Collection[str],
    *,
    quiet: bool,
) -> object:
    """`traces` are what it takes from, the newest first."""
    trace = traces[0]
    root, run = trace.root, trace.tree.run
    assert root is not None
    assert run is not None
    if schema is None and root.schema is not None:
        raise UsageError(f"its answer had to be of a form: give it again, --schema {root.schema.splitlines()[0][:80]}")
    namespace = workspace.shell.user_ns
    settings = workspace.settings
    models = [] if "model" in given else _models(trace)
    recorded_ones = {"model": run.model, "models": models, **recorded.limits(settings.traits(config=True))}
    if any(found.form == "file" for one in traces if one.root is not None for found in one.root.given):
        recorded_ones["keep_context"] = "all"  # what goes on is to be whole by itself too
    settings = settings.replaced(**{**recorded_ones, **given})
    asked: list[str | None] = [*settings.models] or [settings.model]
    for name in asked:
        resolve(name, timeout_s=settings.timeout_s)  # what cannot be asked is said before anything is taken away
    away = made_anew(trace, namespace)
    said = _prepare(traces, namespace, named)
    # Where a run is resumed, what it had assigned is its own.
    for note in [*(away if recorded.kind == "fork" else []), *said]:
        print(f"note: {note}", file=sys.stderr)
    try:
        return await ask(
            workspace,
            text,
            settings,
            schema=schema,
            quiet=quiet,
            output=output,
            recorded=recorded,
            origin=origin,
        )
    finally:
        dialects.take_back(namespace, recorded.dialect)
        for note in recorded.notes:
            print(f"note: {note}", file=sys.stderr)


def _prepare(traces: Sequence[Trace], namespace: dict[str, Any], named: Collection[str]) -> list[str]:
    """What was begun last had perhaps not come to the cells that read the rest."""
    said: list[str] = []
    before: dict[str, object] = {}
    for trace in reversed(traces):
        said += prepare(trace, namespace, over=True, anew=True, named=named)
        before = {**namespace["_rlm_before"], **before}
    namespace["_rlm_before"] = before
    return list(dict.fromkeys(said))


def _models(trace: Trace) -> list[str]:
    """A model for each depth that replied, as that was; none where it was one for all."""
    found: dict[int, str] = {}
    for agent in trace:
        if any(step.reply is not None for step in agent.steps):
            found.setdefault(agent.depth, agent.model)
        for call in agent.all_calls:
            if call.reply is not None:
                found.setdefault(agent.depth + 1, call.model)
    return [found[depth] for depth in sorted(found)] if len(set(found.values())) > 1 else []


def _rerun(workspace: Workspace, traces: Sequence[Trace], rerun: Rerun) -> bool:
    """Whether marked cells run once more. They may have sent a mail: nobody but the person can say."""
    marked = [
        f"agent {agent.id}, step {step.number}"
        for trace in traces
        for agent in trace
        for step in agent.steps
        if step.cell is not None and step.source is not None and NO_RERUN.search(step.source)
    ]
    if not marked or rerun != "ask":
        return rerun == "yes"
    what = f"marked %rlm no-rerun: {', '.join(dict.fromkeys(marked))}"
    try:
        answer = input(f"{what}. Run them again? [y]es, [n]o: what they put out is taken from the record, [q]uit ")
    except Exception:  # a client that cannot ask, each in its own way
        answer = "quit"
    if answer.strip().lower()[:1] not in ("y", "n"):
        raise UsageError(f"{what}: say --rerun yes, or --rerun no to take what they put out from the record")
    return answer.strip().lower().startswith("y")


def _journal(folder: Path, named: str) -> Path:
    path = find(named, folder, JOURNAL)
    if path.suffix != ".ipynb":
        return path
    run = load_trace(path).run
    for journal_path in (path.with_name(f"{run}.jsonl"), folder / f"{run}.jsonl"):
        if journal_path.is_file():
            return journal_path
    raise UsageError(f"{named}: the journal of this run, {run}.jsonl, is neither beside it nor in {folder}")


def _newest(folder: Path) -> Path:
    went_on: set[object] = set()
    going: list[str] = []
    others = 0
    newest = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in newest[:LOOKED_AT]:
        try:
            trace = load_trace(path)
        except TraceError:
            continue
        run, end = trace.tree.run, trace.tree.end
        if trace.root is not None and run is not None and run.origin.get("kind") == "resume":
            went_on.add(run.origin.get("run"))
        broke_off = end is None or end.ending not in ("final", "text")
        if broke_off and journal.is_written(path):
            going.append(path.stem)
        elif trace.root is not None and broke_off and trace.run not in went_on:
            return path
        else:
            others += 1
    told = [f"{run} is still going on in another process" for run in going]
    if others:
        told.append(f"of the newest, {others:,} came to an answer or went on as another run")
    raise UsageError(f"no run in {folder} broke off: {'; '.join(told) or 'none is there'}")
