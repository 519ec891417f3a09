"""`jupyter rlm run`: one question from a terminal, asked in a real kernel of its own, as a notebook would ask it."""

from __future__ import annotations

import argparse
import ast
import json
import os
import shutil
import sys
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.manager import KernelManager

from rlm_kernel.cli.command import FAILED, OK, Command
from rlm_kernel.errors import UsageError
from rlm_kernel.trace.file import may_replace

LIMIT, NO_ANSWER, INTERRUPTED, ASKED_WRONGLY = 3, 4, 130, 2
EXIT_CODES = {
    "LimitExceeded": LIMIT,
    "NoAnswer": NO_ANSWER,
    "RunInterrupted": INTERRUPTED,
    "KeyboardInterrupt": INTERRUPTED,
    "UsageError": ASKED_WRONGLY,
}

_OPTIONS = {
    "max-steps": "replies of the model",
    "max-calls": "model calls in the whole run",
    "max-tokens": "tokens of the whole run",
    "max-cost-usd": "US dollars of the whole run",
    "max-seconds": "seconds of the whole run",
}


class Run(Command):
    command = "run"
    description = (
        "Ask one question and print the answer. "
        "Exit codes: 0 answer, 1 error, 2 usage, 3 limit, 4 no answer, 130 interrupted."
    )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("question", help="the question; - reads it from standard input")
        parser.add_argument(
            "-c",
            "--context",
            action="append",
            default=[],
            metavar="PATH",
            help="a file or folder to put into `context`",
        )
        parser.add_argument("-m", "--model", help="the model that answers (RLM_MODEL)")
        parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="copy the trace notebook to this file")
        parser.add_argument("-k", "--kernel", default="rlm", help="the kernel's name (rlm)")
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
        for name, what in _OPTIONS.items():
            parser.add_argument(f"--{name}", help=what)

    def work(self) -> int:
        options = self.options
        question = sys.stdin.read() if options.question == "-" else options.question
        if not question.strip():
            raise UsageError("the question is empty")
        for path in options.context:
            if not Path(path).expanduser().exists():
                raise UsageError(f"-c {path}: no such file or folder")
        if options.output is not None and not options.output.absolute().parent.is_dir():
            raise UsageError(f"-o {options.output}: there is no folder {options.output.absolute().parent}")
        if options.output is not None and not may_replace(options.output):
            raise UsageError(f"-o {options.output} exists and is no trace: give another name, or remove it first")
        with _Kernel(options.kernel) as kernel:
            reply, view = kernel.execute(f"%%rlm {_line(options)}\n{question}", show=not options.json)
            told = kernel.last_run()
        if told is not None and options.output is not None and told["trace"]:
            shutil.copyfile(told["trace"], options.output)
            told["trace"] = str(options.output)
        if reply["status"] == "ok":
            code, failure = OK, None
        else:
            code = EXIT_CODES.get(reply.get("ename", ""), FAILED)
            failure = f"{reply.get('ename', 'error')}: {reply.get('evalue', '')}"
        if options.json:
            print(json.dumps({**(told or {}), "exit_code": code, "error": failure}, indent=1))
        else:
            _print(view, told, failure)
        return code


class _Kernel:
    """A kernel for one question; Ctrl-C goes to it as Stop."""

    def __init__(self, name: str) -> None:
        try:
            KernelSpecManager().get_kernel_spec(name)
        except NoSuchKernel:
            raise UsageError(f"no kernel named {name} is installed: run jupyter rlm install --sys-prefix") from None
        self._manager = KernelManager(kernel_name=name)
        self._name = name

    def __enter__(self) -> _Kernel:
        # Its warnings are for whoever keeps a kernel open to others; this one lives for one question.
        self._manager.start_kernel(cwd=os.getcwd(), extra_arguments=["--log-level=ERROR"])
        self._client = self._manager.client()
        self._client.start_channels()
        try:
            self._client.wait_for_ready(timeout=60)
        except RuntimeError as error:
            self.__exit__()
            raise UsageError(f"the kernel {self._name} does not start: {error}; see jupyter rlm doctor") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()

    def execute(self, code: str, show: bool) -> tuple[dict[str, Any], str]:
        """The reply's content, and the last state of the live view as text."""
        request = self._client.execute(code, allow_stdin=False, store_history=True)
        view, interrupts = "", 0
        progress = show and sys.stderr.isatty()
        while True:
            try:
                if not self._manager.is_alive():
                    return {
                        "status": "error",
                        "ename": "DeadKernel",
                        "evalue": "the kernel died; the journal in .rlm/runs has what was reached",
                    }, view
                message = self._client.get_iopub_msg(timeout=0.5)
            except Empty:
                continue
            except KeyboardInterrupt:
                interrupts += 1
                if interrupts == 3:  # it does not listen
                    return {"status": "error", "ename": "KeyboardInterrupt", "evalue": "gave up waiting"}, view
                self._manager.interrupt_kernel()
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind in ("display_data", "update_display_data") and content.get("transient", {}).get("display_id"):
                view = content["data"].get("text/plain", view)
                if progress:
                    print(f"\r\x1b[K{view.splitlines()[0][:100]}", end="", file=sys.stderr, flush=True)
        if progress:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        while True:
            reply = self._client.get_shell_msg(timeout=60)
            if reply["parent_header"].get("msg_id") == request:
                content = reply["content"]
                assert isinstance(content, dict)
                return content, view

    def last_run(self) -> dict[str, Any] | None:
        """What became of it; None where no run began or the kernel is gone."""
        if not self._manager.is_alive():
            return None
        expression = (
            "__import__('rlm_kernel.outcome', fromlist=['outcome']).as_json(get_ipython()._rlm_workspace.last_run)"
        )
        reply = self._client.execute("", silent=True, user_expressions={"run": expression}, reply=True, timeout=60)
        told = reply["content"]["user_expressions"]["run"]
        if told["status"] != "ok":
            return None
        # The text of a str is its repr.
        found = json.loads(ast.literal_eval(told["data"]["text/plain"]))
        assert found is None or isinstance(found, dict)
        return found


def _line(options: argparse.Namespace) -> str:
    words: list[str] = []
    for path in options.context:
        words += ["-c", _quoted(os.path.join(".", path))]
    if options.model is not None:
        words += ["-m", _quoted(options.model)]
    for name in _OPTIONS:
        value = getattr(options, name.replace("-", "_"))
        if value is not None:
            words += [f"--{name}", _quoted(value)]
    return " ".join(words)


def _quoted(word: str) -> str:
    """As IPython splits a magic's line: quotes are marks around a word, and nothing escapes them."""
    for quote in ('"', "'"):
        if quote not in word:
            return f"{quote}{word}{quote}"
    raise UsageError(f"{word}: rename it; a name with both kinds of quotes cannot be passed on")


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
