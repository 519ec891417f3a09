"""`jupyter rlm replay`: a recorded run once more, in a kernel of its own, with its replies and no model."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from rlm_kernel.cli import outcomes, traces
from rlm_kernel.cli.command import OK, Command
from rlm_kernel.cli.kernels import Kernel, quoted
from rlm_kernel.errors import UsageError
from rlm_kernel.rerun.named import RUN
from rlm_kernel.trace.views import as_text
from rlm_kernel.trace.words import count

_FORK = re.compile(r"([0-9]+(?:\.[0-9]+)*):([0-9]+)")


class Replay(Command):
    command = "replay"
    description = (
        "Run every cell of a recorded run again, with the recorded replies and no model, and stop at the first that "
        "comes to something else. With --fork, a model is asked from that step on. "
        "Exit codes: 0 identical, 1 error, 2 usage, 5 diverged; with --fork those of jupyter rlm run."
    )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("trace", help=traces.HELP)
        parser.add_argument("--show", action="store_true", help="print the recorded run, and run nothing")
        parser.add_argument("--strict", action="store_true", help="also where a cell depends on a clock or on chance")
        parser.add_argument(
            "--rerun", choices=("yes", "no"), default="no", help="run cells with %%rlm no-rerun too (no)"
        )
        outcomes.add_context(parser, ", where the record does not hold it")
        parser.add_argument("--fork", metavar="AGENT:STEP", help="go on live from this step, such as 0.2:3")
        parser.add_argument("--question", help="with --fork, another question for the first agent")
        outcomes.add_options(parser)

    def work(self) -> int:
        options = self.options
        if options.show:
            traces.write([as_text(traces.load(options.trace, self.command).tree), "\n"])
            return OK
        path = traces.find(options.trace, RUN)
        outcomes.check_output(options.output)
        context = outcomes.context_words(options)
        if options.fork is not None:
            return self._fork(path, context)
        if options.question is not None or outcomes.words(options):
            raise UsageError("a replay asks no model: a model, limits and --question go with --fork AGENT:STEP")
        words = [quoted(str(path)), "--all", *context]
        words += ["--strict"] if options.strict else []
        words += ["--rerun", options.rerun]
        words += ["-o", quoted(str(options.output))] if options.output is not None else []
        # Without a model, so that nothing is loaded that could ask one.
        with Kernel(options.kernel, RLM_MODEL="", RLM_MODELS="") as kernel:
            reply, _ = kernel.execute(f"%rlm replay {' '.join(words)}", show=False)
            told = kernel.last_replay() or {}
        code, failure = outcomes.code_of(reply)
        if options.json:
            print(json.dumps({**told, "exit_code": code, "error": failure}, indent=1))
            return code
        for note in told.get("notes", []):
            print(f"note: {note}", file=sys.stderr)
        if failure is not None:
            print(failure, file=sys.stderr)
        else:
            print(f"identical: {count(told['cells'], 'cell')} of {count(told['agents'], 'agent')}")
        return code

    def _fork(self, path: Path, context: list[str]) -> int:
        options = self.options
        found = _FORK.fullmatch(options.fork)
        if found is None:
            raise UsageError(f"--fork {options.fork}: give an agent and a step, such as 0.2:3")
        words = [found[1], "step", found[2], "--trace", quoted(str(path)), *context, *outcomes.words(options)]
        words += ["--rerun", options.rerun]
        words += ["--question", quoted(options.question)] if options.question is not None else []
        return outcomes.ask(f"%rlm fork {' '.join(words)}", options)
