"""`jupyter rlm run`: one question from a terminal, asked in a real kernel of its own, as a notebook would ask it."""

from __future__ import annotations

import argparse
import sys

from rlm_kernel.cli import outcomes
from rlm_kernel.cli.command import Command
from rlm_kernel.cli.kernels import quoted
from rlm_kernel.errors import UsageError


class Run(Command):
    command = "run"
    description = (
        "Ask one question and print the answer. "
        "Exit codes: 0 answer, 1 error, 2 usage, 3 limit, 4 no answer, 130 interrupted."
    )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("question", nargs="?", help="the question; - reads it from standard input")
        parser.add_argument(
            "--resume",
            metavar="RUN",
            help="go on with a broken-off run: its id or its beginning, its journal, or `last`; no reply is paid twice",
        )
        parser.add_argument("--rerun", choices=("yes", "no"), help="run cells with %%rlm no-rerun again, when resuming")
        outcomes.add_context(parser)
        outcomes.add_options(parser)

    def work(self) -> int:
        options = self.options
        resumed = options.resume is not None
        if resumed == (options.question is not None):
            raise UsageError("give a question, or --resume RUN and none" if resumed else "give a question")
        question = sys.stdin.read() if options.question == "-" else options.question or ""
        if not resumed and not question.strip():
            raise UsageError("the question is empty")
        words = [*outcomes.words(options), *outcomes.context_words(options)]
        if resumed:
            words += ["--continue", *([] if options.resume == "last" else [quoted(options.resume)])]
            words += ["--rerun", options.rerun] if options.rerun else []
        return outcomes.ask(f"%%rlm {' '.join(words)}\n{question}", options)
