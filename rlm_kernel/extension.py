"""
What makes an IPython shell an RLM environment; `%load_ext rlm_kernel` does it to a plain one, our kernel to its own.

The shell gets the lent names and `context`, the magics, the routing of output and a `%%rlm` that is awaited.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from IPython.core.magic import no_var_expand

from rlm_kernel import namespace
from rlm_kernel.environment import process, routing
from rlm_kernel.environment.interrupts import Patience, stoppable
from rlm_kernel.environment.sink import SINK
from rlm_kernel.errors import FinalAnswer, UsageError
from rlm_kernel.namespace import LENT
from rlm_kernel.person import Person
from rlm_kernel.store import Glance, Store, set_glance, set_reader
from rlm_kernel.workspace import Workspace


class Shell(routing.RoutedShell):
    """In front of an IPython shell: the lent names live through `%reset`, and FINAL ends a person's cell in peace."""

    def init_user_ns(self) -> None:
        super().init_user_ns()  # type: ignore[misc]
        fill(self)

    def should_run_async(self, raw_cell: str, **kwargs: Any) -> bool:
        return _replayed(self, raw_cell) is not None or bool(super().should_run_async(raw_cell, **kwargs))  # type: ignore[misc]

    async def run_cell_async(self, raw_cell: str, *args: Any, **kwargs: Any) -> Any:
        step = _replayed(self, raw_cell)
        if step is not None:
            kwargs |= {"transformed_cell": f"await get_ipython()._rlm_run_step({step})"}
            kwargs["preprocessing_exc_tuple"] = None
        with Workspace.of(self).asking_again(raw_cell):
            result = await super().run_cell_async(raw_cell, *args, **kwargs)
        if isinstance(result.error_in_exec, FinalAnswer):
            if (sink := SINK.get()) is not None:
                sink.final = result.error_in_exec.final  # a cell within a model's cell: that one ends the run
                return result
            value = result.error_in_exec.final.value
            result.error_in_exec = None
            self.last_execution_succeeded = True
            with self.builtin_trap, self.display_trap:  # type: ignore[attr-defined]
                hook = self.displayhook  # type: ignore[attr-defined]
                hook.exec_result = result
                hook(value)
                hook.exec_result = None
        return result

    async def _rlm_run_step(self, step: int) -> None:
        from rlm_kernel.rerun import commands

        workspace = Workspace.of(self)
        await commands.run_step(workspace, step, workspace.cell)

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        if not isinstance((exc_tuple or sys.exc_info())[1], FinalAnswer):
            super().showtraceback(exc_tuple, *args, **kwargs)  # type: ignore[misc]


def _replayed(shell: Any, raw_cell: str) -> int | None:
    """The step of the record that a cell is, where the notebook is a record that runs again."""
    replay = Workspace.of(shell).replay
    if replay is None:
        return None
    kernel = getattr(shell, "kernel", None)
    metadata = {} if kernel is None else kernel.get_parent().get("metadata", {})
    return replay.places.step_of(raw_cell, metadata.get("cellId"))


def fill(shell: Any) -> None:
    """Lend the names and, where there is none, an empty `context`; none of them shows in `%who`."""
    namespace.lend(shell.user_ns)
    shell.user_ns.setdefault("context", Store())
    shell.user_ns_hidden.update({name: shell.user_ns[name] for name in (*LENT, "context")})


def _hand_down_reading() -> None:
    """For `READ` and `LIST_CONTEXT` in a person's first cells: what renders is imported when it is first asked for."""

    def read(key: str, value: object, **parts: Any) -> str:
        from rlm_kernel.window.reader import read_for_caller

        return read_for_caller(key, value, **parts)

    def look(value: object) -> Glance:
        from rlm_kernel.window.reader import look

        return look(value)

    set_reader(read)
    set_glance(look)


def _register_magics(shell: Any) -> None:
    """
    `%rlm` and `%%rlm` that put the real ones in their place when first used: these take long to import.

    IPython's own lazy magics are spent by one import that was interrupted.
    """

    @no_var_expand
    def cell(line: str, body: str) -> Any:
        become_real()
        return shell.find_cell_magic("rlm")(line, body)

    @no_var_expand
    def agent(line: str, body: str) -> Any:
        become_real()
        return shell.find_cell_magic("agent")(line, body)

    @no_var_expand
    def plain(line: str) -> Any:
        become_real()
        return shell.find_line_magic("rlm")(line)

    def become_real() -> None:
        from rlm_kernel.magics import RLMMagics

        shell.register_magics(RLMMagics(shell))

    shell.register_magic_function(cell, "cell", "rlm")
    shell.register_magic_function(agent, "cell", "agent")
    shell.register_magic_function(plain, "line", "rlm")


_AWAITED = ("get_ipython().run_cell_magic('rlm',", "get_ipython().run_cell_magic('agent',")
_AWAITED_LINE = re.compile(
    r"^(\s*(?:[A-Za-z_][\w\s,.]*=\s*)?)(get_ipython\(\)\.run_line_magic\('rlm', ['\"](?:replay|fork)\b)"
)
_NO_BODY = re.compile(r"''\)(\n?)$")
_AROUND = re.compile(r"get_ipython\(\)\.run_cell_magic\('(time|timeit|capture|prun)', .*?, ['\"]%%(rlm|agent)\b")


def await_rlm(lines: list[str]) -> list[str]:
    """
    IPython awaits no magic; ours have to be, so that the loop stays free for Stop, comms and subshells.

    A magic around it would not await it either. That is said here, where the cell is still text.
    """
    if lines and (around := _AROUND.match(lines[0])):
        mend = "%rlm usage has the times, -q shows the answer only" if around[2] == "rlm" else "put it inside the cell"
        raise UsageError(f"%%{around[1]} cannot stand above %%{around[2]}: {mend}")
    if lines and lines[0].startswith(_AWAITED):
        # IPython refuses a cell magic without a body; %%rlm --continue needs none, and else we say it better.
        first = _NO_BODY.sub(r"'\\n')\1", lines[0])
        return ["await " + first, *lines[1:]]
    return [_AWAITED_LINE.sub(r"\1await \2", line) for line in lines]


class Stoppable:
    """In front of an IPythonKernel: Stop reaches a run wherever it is, and a model's cell cannot ask the person."""

    shell: Any
    _patience: Patience | None = None

    @contextmanager
    def _cancel_on_sigint(self, future: asyncio.Future[Any]) -> Iterator[None]:
        with stoppable(future, Workspace.of(self.shell).stop):
            yield

    def pre_handler_hook(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # a subshell: no signal arrives there
        if self.get_parent().get("header", {}).get("msg_type") != "execute_request":  # type: ignore[attr-defined]
            super().pre_handler_hook()  # type: ignore[misc]
            return
        self._patience = Patience()
        self.saved_sigint_handler = signal.signal(signal.SIGINT, self._patience)

    def post_handler_hook(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if (patience := getattr(self, "_patience", None)) is not None:
            self._patience = None
            patience.over()
        super().post_handler_hook()  # type: ignore[misc]

    async def interrupt_request(self, stream: Any, ident: Any, parent: Any) -> None:
        Workspace.of(self.shell).stop()
        await super().interrupt_request(stream, ident, parent)  # type: ignore[misc]

    def raw_input(self, prompt: str = "") -> Any:
        if SINK.get() is not None:
            raise RuntimeError(process.NO_INPUT)
        return super().raw_input(prompt)  # type: ignore[misc]

    def getpass(self, prompt: str = "", stream: Any = None, **more: Any) -> Any:
        if SINK.get() is not None:
            raise RuntimeError(process.NO_INPUT)
        return super().getpass(prompt, stream, **more)  # type: ignore[misc]


def load(shell: Any) -> Workspace:
    """Idempotent. Everything here is quick: it stands on the way to the kernel's first reply."""
    if getattr(shell, "_rlm_workspace", None) is not None:
        return Workspace.of(shell)
    routing.adopt(shell, Shell)
    routing.install(shell)
    workspace = shell._rlm_workspace = Workspace(shell)
    fill(shell)
    _hand_down_reading()
    person = Person(workspace)
    namespace.set_outside_caller(lambda: person)
    shell.configurables.append(workspace.settings)
    shell.input_transformers_post.append(await_rlm)
    shell.events.register("pre_run_cell", workspace.start_of_cell)
    shell.events.register("post_run_cell", workspace.end_of_cell)
    _register_magics(shell)
    if not hasattr(shell, "_last_traceback"):
        # ipykernel 7.4 reads it after a first cell that was awaited and failed, and never sends a reply without it.
        shell._last_traceback = None
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:
        routing.adopt(kernel, Stoppable)
    return workspace
