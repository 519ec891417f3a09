"""A kernel for one command: started where the command was, asked, and gone with it. Ctrl-C goes to it as Stop."""

from __future__ import annotations

import ast
import json
import os
import sys
from queue import Empty
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.manager import KernelManager

from rlm_kernel.errors import UsageError


class Kernel:
    """For `with`."""

    def __init__(self, name: str, **environ: str) -> None:
        """`environ` goes before the environment of this process."""
        try:
            KernelSpecManager().get_kernel_spec(name)
        except NoSuchKernel:
            raise UsageError(f"no kernel named {name} is installed: run jupyter rlm install --sys-prefix") from None
        self._manager = KernelManager(kernel_name=name)
        self._name = name
        self._environ = {**os.environ, **environ}
        self.notes: list[str] = []

    def __enter__(self) -> Kernel:
        # Its warnings are for whoever keeps a kernel open to others; this one lives for one question.
        self._manager.start_kernel(cwd=os.getcwd(), env=self._environ, extra_arguments=["--log-level=ERROR"])
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
        """The reply's content, and the last state of the live view as text. What it noted is in `notes` then."""
        request = self._client.execute(code, allow_stdin=False, store_history=True)
        view, said, interrupts = "", "", 0
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
            if kind == "stream" and content["name"] == "stderr":
                said += content["text"]
            if kind in ("display_data", "update_display_data") and content.get("transient", {}).get("display_id"):
                view = content["data"].get("text/plain", view)
                if progress:
                    print(f"\r\x1b[K{view.splitlines()[0][:100]}", end="", file=sys.stderr, flush=True)
        self.notes = [line for line in said.splitlines() if line.startswith("note: ")]
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
        return self._json("import_module('rlm_kernel.outcome').as_json({workspace}.last_run)")

    def last_replay(self) -> dict[str, Any] | None:
        """The same of a replay."""
        return self._json("import_module('json').dumps({workspace}.replay and {workspace}.replay.report())")

    def _json(self, expression: str) -> dict[str, Any] | None:
        """The value of an expression that gives JSON; `{workspace}` in it is what the shell has of us."""
        if not self._manager.is_alive():
            return None
        expression = expression.replace("{workspace}", "get_ipython()._rlm_workspace")
        whole = f"__import__('importlib').{expression}"
        reply = self._client.execute("", silent=True, user_expressions={"it": whole}, reply=True, timeout=60)
        told = reply["content"]["user_expressions"]["it"]
        if told["status"] != "ok":
            return None
        # The text of a str is its repr.
        found = json.loads(ast.literal_eval(told["data"]["text/plain"]))
        assert found is None or isinstance(found, dict)
        return found


def quoted(word: str) -> str:
    """As IPython splits a magic's line: quotes are marks around a word, and nothing escapes them."""
    for quote in ('"', "'"):
        if quote not in word:
            return f"{quote}{word}{quote}"
    raise UsageError(f"{word}: rename it; a name with both kinds of quotes cannot be passed on")
