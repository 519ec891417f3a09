"""A real rlm kernel in a process of its own, for tests: run a cell, look at what came back, press Stop."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.manager import KernelManager

STOPPED_WITHIN_S = 3.0
"""
A run is over within a second of Stop: that is the promise, and its waits in the code make half of it. Thrice that is
for a machine that is slow or has other work, and what Stop must not wait for lasts longer still.
"""


@dataclass
class Cell:
    """What a frontend would have after a cell: outputs in order, with display updates applied."""

    status: str = ""
    ename: str = ""
    evalue: str = ""
    execution_count: int | None = None
    outputs: list[dict[str, Any]] = field(default_factory=list)
    expressions: dict[str, Any] = field(default_factory=dict)

    def text(self, name: str = "stdout") -> str:
        return "".join(o["text"] for o in self.outputs if o["output_type"] == "stream" and o["name"] == name)

    @property
    def result(self) -> str | None:
        found = [o["data"].get("text/plain") for o in self.outputs if o["output_type"] == "execute_result"]
        return found[-1] if found else None

    def displays(self, mime: str) -> list[Any]:
        return [o["data"][mime] for o in self.outputs if o["output_type"] == "display_data" and mime in o["data"]]


class KernelProcess:
    def __init__(self, folder: Path, name: str = "rlm", **environ: str) -> None:
        self.folder = folder
        self.manager = KernelManager(kernel_name=name)
        env = {**os.environ, "RLM_LIVE": "1", **environ}
        self.manager.start_kernel(cwd=str(folder), env=env)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()

    def start(self, code: str, **options: Any) -> str:
        """Sends a cell and returns at once."""
        return str(self.client.execute(code, **{"allow_stdin": False, **options}))

    def finish(self, request: str, timeout_s: float = 60) -> Cell:
        """Waits for the reply and for the kernel to be idle again."""
        cell = Cell()
        displays: dict[str, dict[str, Any]] = {}
        end = time.monotonic() + timeout_s
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.1, end - time.monotonic()))
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind == "stream":
                last = cell.outputs[-1] if cell.outputs else None
                if last and last.get("name") == content["name"]:
                    last["text"] += content["text"]
                else:
                    cell.outputs.append({"output_type": "stream", **content})
            elif kind in ("display_data", "execute_result"):
                output = {"output_type": kind, "data": content["data"], "metadata": content["metadata"]}
                cell.outputs.append(output)
                if name := content.get("transient", {}).get("display_id"):
                    displays[name] = output
            elif kind == "update_display_data":
                if name := displays.get(content["transient"]["display_id"]):  # else wait_for_output has read it
                    name["data"] = content["data"]
            elif kind == "error":
                cell.outputs.append({"output_type": "error", **content})
        while True:
            reply = self.client.get_shell_msg(timeout=max(0.1, end - time.monotonic()))
            if reply["parent_header"].get("msg_id") == request:
                break
        content = reply["content"]
        cell.status, cell.execution_count = content["status"], content.get("execution_count")
        cell.ename, cell.evalue = content.get("ename", ""), content.get("evalue", "")
        cell.expressions = content.get("user_expressions", {})
        return cell

    def run(self, code: str, timeout_s: float = 60, **options: Any) -> Cell:
        return self.finish(self.start(code, **options), timeout_s)

    def value(self, expression: str) -> Any:
        """The JSON value of an expression in the person's namespace."""
        cell = self.run("", user_expressions={"it": f"__import__('json').dumps({expression})"}, silent=True)
        got = cell.expressions["it"]
        assert got["status"] == "ok", got
        return json.loads(eval(got["data"]["text/plain"]))

    def wait_for_output(self, request: str, wanted: str, timeout_s: float = 30) -> None:
        """Until `wanted` stands in some output of that cell. The messages seen are gone for `finish`."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            with contextlib.suppress(Empty):
                message = self.client.get_iopub_msg(timeout=0.2)
                if message["parent_header"].get("msg_id") == request and wanted in json.dumps(message["content"]):
                    return
        raise AssertionError(f"{wanted!r} was not put out within {timeout_s} s")


def script(folder: Path, *replies: Any, completions: Any = (), name: str = "replies.json") -> str:
    """A scripted model of these replies; returns what goes after `-m`."""
    path = folder / name
    path.write_text(json.dumps({"replies": list(replies), "completions": list(completions)}))
    return f"scripted:{path}"


def block(code: str, prose: str = "") -> str:
    return f"{prose}\n```repl\n{code}\n```"


@contextlib.contextmanager
def kernel_process(folder: Path, **options: Any) -> Iterator[KernelProcess]:
    process = KernelProcess(folder, **options)
    try:
        yield process
    finally:
        process.close()
