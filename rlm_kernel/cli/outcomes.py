"""What the commands that ask a model share: their options, the kernel that asks, what is printed, the exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from rlm_kernel.cli.command import FAILED, OK, USAGE
from rlm_kernel.cli.kernels import Kernel, quoted
from rlm_kernel.errors import UsageError
from rlm_kernel.settings import OF_A_QUESTION, flags
from rlm_kernel.trace.file import may_replace, write
from rlm_kernel.trace.loading import load_trace
from rlm_kernel.trace.views.terminal import on_screen

LIMIT, NO_ANSWER, DIVERGED, INTERRUPTED = 3, 4, 5, 130
EXIT_CODES = {
    "LimitExceeded": LIMIT,
    "NoAnswer": NO_ANSWER,
    "Diverged": DIVERGED,
    "RunInterrupted": INTERRUPTED,
    "KeyboardInterrupt": INTERRUPTED,
    "UsageError": USAGE,
    "TraceError": USAGE,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="copy the trace notebook to this file")
    parser.add_argument("-k", "--kernel", default="rlm", help="the kernel's name (rlm)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--schema", metavar="EXPR", help="the form of the answer, such as list[str]")
    settings = parser.add_argument_group(
        "settings", "for this question; RLM_MODEL, RLM_MAX_STEPS and so on set them for all"
    )
    for name, what in OF_A_QUESTION.items():
        settings.add_argument(*flags(name), help=what)


def add_context(parser: argparse.ArgumentParser, where: str = "") -> None:
    parser.add_argument(
        "-c",
        "--context",
        action="append",
        default=[],
        metavar="PATH",
        help=f"a file or folder to put into `context`{where}",
    )


def context_words(options: argparse.Namespace) -> list[str]:
    """Of the magic's line: what `add_context` added and was given. Raises UsageError where nothing is there."""
    for path in options.context:
        if not Path(path).expanduser().exists():
            raise UsageError(f"-c {path}: no such file or folder")
    return [word for path in options.context for word in ("-c", quoted(os.path.join(".", path)))]


def words(options: argparse.Namespace) -> list[str]:
    """Of the magic's line: what `add_options` added and was given."""
    given = {flags(name)[-1]: getattr(options, name) for name in OF_A_QUESTION} | {"--schema": options.schema}
    return [word for flag, value in given.items() if value is not None for word in (flag, quoted(value))]


def check_output(output: Path | None) -> None:
    """Raises UsageError where the trace cannot be copied there."""
    if output is None:
        return
    if not output.absolute().parent.is_dir():
        raise UsageError(f"-o {output}: there is no folder {output.absolute().parent}")
    if not may_replace(output):
        raise UsageError(f"-o {output} exists and is no trace: give another name, or remove it first")


def ask(code: str, options: argparse.Namespace) -> int:
    """Runs a cell that asks, tells what came of it, and gives the exit code."""
    check_output(options.output)
    with Kernel(options.kernel) as kernel:
        reply, view = kernel.execute(code, show=not options.json)
        told, notes = kernel.last_run(), kernel.notes
    if told is not None and options.output is not None and told["trace"]:
        write(load_trace(told["journal"]).tree, options.output, Path(told["journal"]).parent)
        told["trace"] = str(options.output)
    status, failure = code_of(reply)
    if options.json:
        print(json.dumps({**(told or {}), "exit_code": status, "error": failure}, indent=1))
    else:
        for note in notes:
            print(on_screen(note), file=sys.stderr)
        _print(view, told, failure)
    return status


def code_of(reply: dict[str, Any]) -> tuple[int, str | None]:
    """The exit code for a reply of the kernel, and its error in words."""
    if reply["status"] == "ok":
        return OK, None
    failure = f"{reply.get('ename', 'error')}: {reply.get('evalue', '')}"
    return EXIT_CODES.get(reply.get("ename", ""), FAILED), failure


def _print(view: str, told: dict[str, Any] | None, failure: str | None) -> None:
    if view:
        print(view.rstrip(), end="\n\n")
    if failure is not None:
        print(failure, file=sys.stderr)
    if told is None:
        return
    if told["answer"] is not None:
        print("best so far:" if failure else "answer:")
        print(told["answer_text"].rstrip(), end="\n\n")
    cost = "cost unknown" if told["cost_usd"] is None else f"${told['cost_usd']:.4f}"
    tokens = f"{told['prompt_tokens']:,} tokens in, {told['completion_tokens']:,} out"
    print(f"cost   {cost}: {told['steps']} steps, {told['calls']} model calls, {tokens}, {told['seconds']:.1f} s")
    print(f"trace  {told['trace']}")
