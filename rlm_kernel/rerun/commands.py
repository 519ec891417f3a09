"""
What a person types in a notebook to have a record run once more: `%rlm replay`, `%rlm fork`, `%%rlm --replay`.

Here are their words, which record they name, and the cells of one in the place where the notebook has them.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rlm_kernel import dialects, question
from rlm_kernel.environment.descriptors import descriptors
from rlm_kernel.environment.republish import publish, show
from rlm_kernel.environment.secrets import Redactor
from rlm_kernel.errors import UsageError
from rlm_kernel.rerun import onward
from rlm_kernel.rerun.again import Replay
from rlm_kernel.rerun.named import RUN, find
from rlm_kernel.rerun.needs import prepare
from rlm_kernel.rerun.opened import opened
from rlm_kernel.runner.recorded import Fork, Recorded
from rlm_kernel.settings import OF_A_QUESTION, flags
from rlm_kernel.trace.cells import outputs
from rlm_kernel.trace.events import CellFinished
from rlm_kernel.trace.file import may_replace, write
from rlm_kernel.trace.loading import Trace, load_trace
from rlm_kernel.trace.nodes import Step
from rlm_kernel.trace.safe import one_line

if TYPE_CHECKING:
    from rlm_kernel.workspace import Workspace

_CONTENT = re.compile(r"[0-9a-f]{12}")


class Words(argparse.ArgumentParser):
    """The words after `%rlm NAME`; what is wrong with them is a UsageError."""

    def __init__(self, name: str) -> None:
        super().__init__(prog=f"%rlm {name}", add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; {' '.join(self.format_usage().split())}")

    def of(self, line: str) -> argparse.Namespace:
        words = shlex.shlex(line, posix=True, punctuation_chars=False)
        words.whitespace_split, words.commenters, words.escape = True, "", ""
        try:
            split = list(words)
        except ValueError as error:
            raise UsageError(f"{self.prog}: {error}") from None
        return self.parse_args(split)


def _replay_words() -> Words:
    words = Words("replay")
    words.add_argument("trace", nargs="?", default="")
    words.add_argument("--all", action="store_true")
    words.add_argument("--strict", action="store_true")
    words.add_argument("--rerun", nargs="?", choices=("yes", "no"), const="yes", default="no")
    words.add_argument("-c", "--context", action="append")
    words.add_argument("-o", "--output", type=Path)
    return words


async def replay(workspace: Workspace, line: str) -> None:
    """
    %rlm replay [TRACE] [--all] [--strict] [--rerun yes|no] [-c EXPR|PATH] [-o FILE]

    The cells of that trace, run in this notebook, run with their recorded replies. `--all` runs them here and now,
    and raises Diverged at the first that comes to something else; `-o` writes the notebook as it came.
    """
    options = _replay_words().of(line)
    if options.output is not None and not (options.all and may_replace(options.output)):
        raise UsageError(f"-o {options.output}: goes with --all, and writes over no file that is not a trace")
    trace = load_trace(_path(workspace, options.trace))
    namespace = workspace.shell.user_ns
    if options.context:
        namespace["context"] = question.context_of(options.context, namespace)
    made = Replay(trace, workspace.shell, namespace, strict=options.strict, rerun=options.rerun == "yes")
    for said in prepare(trace, namespace, anew=True):
        made.recorded.differences.note(said)
    workspace.replay = made
    workspace.last, workspace.last_run = made.runner, None
    made.places.taken = not options.all
    if options.all:
        await _replay_all(workspace, made, options.output)
    else:
        _tell(made.recorded.notes)


async def _replay_all(workspace: Workspace, made: Replay, output: Path | None) -> None:
    try:
        with workspace.running():
            workspace.active = made.runner
            diverged = await made.all()
    finally:
        dialects.take_back(workspace.shell.user_ns, made.recorded.dialect)
    if output is not None:
        write(made.as_ran(), output, None if made.trace.path is None else made.trace.path.parent)
    _tell(made.recorded.notes)
    if diverged is not None:
        raise diverged from None


def answered_from(workspace: Workspace, named: str, asked: str, schema: str | None, rerun: bool) -> Recorded:
    """For `%%rlm --replay`: the record whose replies the question of a person's own notebook is answered with."""
    trace = load_trace(_path(workspace, named))
    root = trace.root
    if root is None or not root.steps:
        raise UsageError(f"--replay {named}: no question that a cell with %%rlm asked is in this record")
    if root.question != Redactor().text(asked):
        was = one_line(root.question, 200)
        raise UsageError(f"--replay {named}: the question there is another: {was}; ask that one, or without --replay")
    if root.schema != schema:
        raise UsageError(f"--replay {named}: its answer had {'another' if root.schema else 'no'} form; see --schema")
    namespace = workspace.shell.user_ns
    said = prepare(trace, namespace, anew=True)
    _tell(said)
    return Recorded("replay", [trace], rerun=rerun)


def _fork_words() -> Words:
    words = Words("fork")
    words.add_argument("agent")
    words.add_argument("step", nargs="+", help="step N")
    words.add_argument("--trace", default="")
    words.add_argument("-q", "--question")
    words.add_argument("-o", "--output")
    words.add_argument("--schema")
    words.add_argument("-c", "--context", action="append")
    words.add_argument("--rerun", choices=("ask", "yes", "no"), default="ask")
    for name in OF_A_QUESTION:
        words.add_argument(*flags(name))
    return words


async def fork(workspace: Workspace, line: str) -> object:
    """
    %rlm fork AGENT step N [-m MODEL] [--trace TRACE] [-q QUESTION] [-c EXPR|PATH] [-o VAR] [--schema EXPR]
    [--rerun ask|yes|no] [--models A,B] [--max-steps N] [any other limit]

    The record that this notebook replays, or the last run, again up to that step, and live from there; the answer.
    What is not given is as recorded.
    """
    options = _fork_words().of(line)
    number = options.step[-1]
    if not number.isdigit() or [word.lower() for word in options.step[:-1]] not in ([], ["step"]):
        raise UsageError(f"{' '.join(options.step)!r} is no step: write %rlm fork {options.agent} step 3")
    trace = _to_fork(workspace, options.trace)
    namespace = workspace.shell.user_ns
    if options.context:
        namespace["context"] = question.context_of(options.context, namespace)
    schema = None if options.schema is None else question.schema_of(options.schema, namespace)
    given = {name: value for name in OF_A_QUESTION if (value := getattr(options, name)) is not None}
    with workspace.running():
        return await onward.fork(
            workspace,
            trace,
            Fork(options.agent, int(number)),
            given,
            question=options.question,
            schema=schema,
            output=options.output,
            rerun=options.rerun,
            named=["context"] if options.context else [],
        )


def _to_fork(workspace: Workspace, named: str) -> Trace:
    """Read anew, so that what was edited and saved since counts."""
    if named:
        return load_trace(_path(workspace, named))
    if workspace.replay is not None and workspace.last is workspace.replay.runner:
        path = workspace.replay.trace.path
        return workspace.replay.trace if path is None else load_trace(path)
    last = workspace.last
    return Trace(workspace.tree, None if last is None else last.recorder.path)


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


async def run_step(workspace: Workspace, number: int, source: str) -> None:
    """A cell of the root, where the notebook has it."""
    replaying = workspace.replay
    assert replaying is not None
    with workspace.running(), descriptors.unshown():  # the record has none of what is nobody's
        workspace.active = replaying.runner
        before = len(replaying.tree.log)
        try:
            step = await replaying.step(number, source)
        except BaseException:
            # What it put out comes before what is wrong with it.
            came = [event for _, event in replaying.tree.log[before:] if isinstance(event, CellFinished)]
            for event in came:
                if (event.agent, event.step) == (replaying.root.id, number):
                    publish(workspace.shell, outputs(Step(number, cell=event)))
            raise
    show(workspace.shell, replaying.places.outputs(replaying.root.id, step))


def _path(workspace: Workspace, named: str) -> Path:
    """Of what a person has named; with nothing, or the digits of a notebook's own name, the one that is open."""
    folder = workspace.settings.trace_path
    if named and not (_CONTENT.fullmatch(named) and not Path(named).is_file()):
        return find(named, folder, RUN)
    return opened(folder, named)
