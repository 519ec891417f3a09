"""
What the subcommands of `jupyter rlm` share: argparse's options inside a Jupyter application.

Settings (`RLM`) have their own names and sources; here is only what belongs to one command, and the exit codes.
"""

from __future__ import annotations

import argparse
import logging
import sys
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NoReturn

from jupyter_core.application import JupyterApp

from rlm_kernel._version import __version__
from rlm_kernel.errors import UsageError

OK, FAILED, USAGE = 0, 1, 2


class OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


class Command(JupyterApp):
    """A subcommand: `command` is what is typed after `jupyter rlm`; `add_options` and `work` are its own."""

    command: ClassVar[str]
    version = __version__
    options: argparse.Namespace

    def _log_level_default(self) -> int:
        return logging.WARNING  # what went well, a command says itself

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Declare options and arguments; none by default."""

    @abstractmethod
    def work(self) -> int:
        """Do it, by `self.options`, and return the exit code. A UsageError ends in one line and 2."""

    def initialize(self, argv: Sequence[str] | None = None) -> None:
        # JupyterApp's own would read config files; `settings` does, in the same way for every door.
        parser = OneLineParser(prog=f"jupyter rlm {self.command}", description=str(self.description))
        self.add_options(parser)
        self.options = parser.parse_args(argv)

    def start(self) -> None:
        try:
            code = self.work()
        except UsageError as error:
            print(f"jupyter rlm {self.command}: {error}", file=sys.stderr)
            code = USAGE
        self.exit(code)
