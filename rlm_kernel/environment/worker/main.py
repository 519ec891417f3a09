"""
The program of a worker process: the cells of one agent, on its main thread, one after the other.

It ends when the link does, and on Linux at once when the thread that started it is gone. A thread of its own stands
beside the cells and reads the link.
"""

from __future__ import annotations

import asyncio
import builtins
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from IPython.display import display
from traitlets.config import Config

from rlm_kernel.environment import routing
from rlm_kernel.environment.descriptors import descriptors
from rlm_kernel.environment.execute import CellInterrupted, execute
from rlm_kernel.environment.interrupts import stoppable
from rlm_kernel.environment.notebooklike import INLINE, NotebookShell
from rlm_kernel.environment.pipes import NAMES
from rlm_kernel.environment.sink import Sink
from rlm_kernel.environment.worker.caller import RemoteCaller, RemoteReading, RemoteWitness, Requests
from rlm_kernel.environment.worker.link import Link, Message, Setup, pack
from rlm_kernel.errors import UsageError
from rlm_kernel.namespace import CALLER, LENT, Checkpoints, lend, mend
from rlm_kernel.store import WITNESS, set_glance, set_reader
from rlm_kernel.values import CellError, CellResult

END_WITHIN_S = 1.0
"""Once the link has ended: for what still runs, and for Python's own end."""

SPARE_BYTES = 64 * 1024 * 1024
"""Beyond the limit on memory, while no cell runs: to tell what became of one that has used it up."""

PR_SET_PDEATHSIG = 1

_STOPPED = CellResult((), 0.0, CellError("KeyboardInterrupt", "stopped", "KeyboardInterrupt: stopped"))
"""Of a cell that was stopped before it began."""


def main(descriptor: int, starter: int, max_memory_mb: int | None) -> None:
    """`starter` is the process that has the other end. It comes with SIGINT ignored."""
    _die_with(starter)
    link = Link(socket.socket(fileno=descriptor))
    _print_to_cells()
    namespace = _make_main()
    shell = _make_shell(namespace)
    memory = Memory(max_memory_mb)
    message = link.receive()
    if message is None:
        return
    try:
        setup: Setup = message.open()
    except BaseException as error:  # of the classes of what was handed over
        link.send(Message("failed", body=pack(f"{type(error).__name__}: {error}")))
        return
    del message  # it may be as large as what was in it
    namespace.update(setup.variables)
    set_reader(setup.reader)
    set_glance(setup.look)
    signal.signal(signal.SIGINT, lambda number, frame: None)  # Stop, when no cell runs
    try:
        link.send(Message("ready"))
    except OSError:
        return  # stopped meanwhile
    import ipykernel.jsonutil  # noqa: F401  # the first result of a cell needs it; now a model is asked

    with shell.builtin_trap:
        asyncio.run(Worker(link, shell, namespace, setup, memory).serve())


class Memory:
    """
    The limit on address space: `max_memory_mb` beyond what the process has when this is made.

    Between cells there is some more, or a cell that has used it up could not be told of, nor the next one begun.
    """

    def __init__(self, max_memory_mb: int | None) -> None:
        self._limits: tuple[tuple[int, int], tuple[int, int]] | None = None
        if max_memory_mb is not None:
            import resource

            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + max_memory_mb * 1024 * 1024
            hard = resource.getrlimit(resource.RLIMIT_AS)[1]
            self._limits = (limit, hard), (limit + SPARE_BYTES, hard)
            self._set, self._kind = resource.setrlimit, resource.RLIMIT_AS
            self.hold()

    def hold(self) -> None:
        if self._limits is not None:
            self._set(self._kind, self._limits[0])

    def spare(self) -> None:
        """Made for a moment in which there is nothing left: it allocates next to nothing, and tries again."""
        while self._limits is not None:
            try:
                self._set(self._kind, self._limits[1])
            except MemoryError:
                continue
            return


class Worker:
    def __init__(
        self,
        link: Link,
        shell: Any,
        namespace: dict[str, Any],
        setup: Setup,
        memory: Memory,
    ) -> None:
        self._link = link
        self._shell = shell
        self._namespace = namespace
        self._setup = setup
        self._best_sent = False
        self._lent = {**LENT, **setup.variables}
        self._memory = memory
        self._requests = Requests(link)
        self._own: set[str] = set()
        self._checkpoints = Checkpoints(as_files=False) if setup.replays else None
        self._cells: asyncio.Queue[Message | None] = asyncio.Queue()

    async def serve(self) -> None:
        """Until the link ends."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name="rlm-link", daemon=True).start()
        while (message := await self._cells.get()) is not None:
            step = message.number
            label, source = message.open()
            stopped = threading.Event()
            task = loop.create_task(self._run(step, label, source, stopped.is_set))
            with stoppable(task, stopped.set):
                await asyncio.wait({task})
            result, interrupted = (_STOPPED, True) if task.cancelled() else task.result()
            self._send_best(step)
            self._link.send(Message("done", step, step, pack((result, mend(self._namespace), interrupted))))
            del message, task, result

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        while (message := self._link.receive()) is not None:
            if message.kind == "cell":
                loop.call_soon_threadsafe(self._cells.put_nowait, message)
            else:
                self._requests.deliver(message)
            del message
        loop.call_soon_threadsafe(self._cells.put_nowait, None)
        time.sleep(END_WITHIN_S)
        os._exit(0)

    async def _run(self, step: int, label: str, source: str, stopped: Callable[[], bool]) -> tuple[CellResult, bool]:
        """What came of the cell, and whether it was stopped from outside."""
        lend(self._namespace)
        setup = self._setup
        reading = RemoteReading(self._requests, step, setup.max_tokens_per_read, setup.max_read_tokens)
        CALLER.set(
            RemoteCaller(
                self._requests, step, self._namespace, self._lent, setup.list_variables, reading, self._checkpoints
            )
        )
        WITNESS.set(RemoteWitness(self._link, setup, step, self._own))
        sink = Sink()  # may start a thread, which waits for ever where there is no memory for it
        self._memory.hold()
        try:
            result = await execute(
                source,
                self._namespace,
                shell=self._shell,
                label=label,
                render=self._setup.render,
                sink=sink,
                stopped=stopped,
            )
        except CellInterrupted as stop:
            return stop.result, True
        except MemoryError:  # there was none left to describe the cell's own error with
            return CellResult((), 0.0, CellError("MemoryError", "", "MemoryError")), False
        finally:
            # Here and not later: asyncio loses what it has no memory to schedule.
            self._memory.spare()
        return result, False

    def _send_best(self, step: int) -> None:
        """`answer`, which counts where a limit ends the agent: by then this process may have been killed."""
        if "answer" not in self._namespace:
            if self._best_sent:
                self._best_sent = False
                self._link.send(Message("best", step, step))
        else:
            self._best_sent = True
            try:
                body = pack(self._namespace["answer"])
            except Exception:  # of its classes; what cannot leave is no answer
                body = None
            self._link.send(Message("best", step, step, body))


def _make_main() -> dict[str, Any]:
    """The namespace of the cells is a module's, so that what they define can be pickled inside the worker too."""
    module = ModuleType("__main__")
    sys.modules["__main__"] = module
    namespace = vars(module)
    namespace.update({"__builtins__": builtins, "display": display, **LENT})
    return namespace


def _make_shell(namespace: dict[str, Any]) -> NotebookShell:
    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    config.InteractiveShell.colors = "nocolor"
    os.environ.setdefault("MPLBACKEND", INLINE)
    shell = NotebookShell.instance(config=config, user_module=sys.modules["__main__"], user_ns=namespace)
    leave = os._exit
    routing.install(shell)
    os._exit = leave  # there is no kernel here that it could end
    shell.magics_manager.register_function(_rlm, "line", "rlm")
    return shell


def _rlm(line: str) -> None:
    """`%rlm no-rerun` is a mark for whoever runs the cell again, and does nothing."""
    if line.split() != ["no-rerun"]:
        asked = f"%rlm {line}".strip()
        raise UsageError(f"{asked}: this cell runs in a worker process, and only %rlm no-rerun needs no kernel")


def _print_to_cells() -> None:
    """What is written to the file descriptors between cells is nobody's, and dropped."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in NAMES:
        os.dup2(nowhere, number)
    os.close(nowhere)
    descriptors.claim(lambda name, text: None)


def _die_with(starter: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != starter:
            os._exit(0)
