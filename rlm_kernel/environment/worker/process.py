"""
A worker process as the one who started it has it.

A thread keeps it: starts it, hands over what it begins with, reads what it says, and sees it off. Another sends, so
that one never waits for the other. What the worker asks for is handed to `serve`, which answers with `reply`.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any

from rlm_kernel.environment.secrets import SECRET_NAME
from rlm_kernel.environment.worker.link import Link, Message, Packed, pack
from rlm_kernel.errors import UsageError, WorkerEnded
from rlm_kernel.values import CellResult

END_WITHIN_S = 2.0
"""For a worker whose link was closed, before it is killed. It gives itself half of that."""

# SIGINT goes to the whole process group of a kernel; a worker hears it when it can do something about it.
_PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = sys.argv[4:]; "
    "from rlm_kernel.environment.worker.main import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if sys.argv[3] else None)"
)

Done = tuple[CellResult, list[str], bool]
"""Of a cell: its result; lent names that it had broken; whether it was stopped from outside."""


class Worker:
    def __init__(
        self,
        name: str,
        setup: Callable[[], Packed],
        serve: Callable[[Message], None],
        context: contextvars.Context,
        max_memory_mb: int | None = None,
    ) -> None:
        """
        Starts at once. `setup` makes the first message, a packed `Setup`, and may raise UsageError; both it and
        `serve` are called on the keeper's thread, in `context`. The environment is ours without what looks like a
        secret, the working directory and the process group are ours too.
        """
        self.ready = _future()
        """Raises UsageError where what it was to begin with cannot be there, WorkerEnded where it did not start."""
        self._setup = setup
        self._serve = serve
        self._max_memory_mb = max_memory_mb
        self._cells: dict[int, Future[Any]] = {}
        self._outbox: queue.SimpleQueue[Callable[[], Message] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Link | None = None
        self._over = False
        self._killed = False
        threads = [
            threading.Thread(target=context.copy().run, args=(work,), name=f"{name} {what}", daemon=True)
            for what, work in (("worker", self._keep), ("to worker", self._send))
        ]
        for thread in threads:
            contextvars.Context().run(thread.start)  # not in that of a cell, whose output it would inherit

    def run(self, step: int, label: str, source: str) -> Future[Done]:
        """A cell. Raises WorkerEnded where the process ends before the cell does."""
        future = _future()
        with self._lock:
            self._cells[step] = future
            over = self._over
        if over:
            self._finish()
        self._outbox.put(lambda: Message("cell", step, step, pack((label, source))))
        return future

    def reply(self, number: int, make: Callable[[], Packed]) -> None:
        """`make` is called on a thread where it may take its time, and raises nothing."""
        self._outbox.put(lambda: Message("reply", number, body=make()))

    def interrupt(self) -> None:
        """Stop the cell that runs, so that its output so far comes back."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """Now, whatever it does. What was waited for ends with WorkerEnded."""
        self._killed = True
        self._signal(signal.SIGKILL)
        self._finish()

    def close(self) -> None:
        """No more work comes. It ends soon, and does not keep anybody waiting for that."""
        with self._lock:
            self._over = True
            link = self._link
        self._outbox.put(None)
        if link is not None:
            link.close()

    def _signal(self, number: int) -> None:
        with self._lock:
            # Not one that was waited for: its number may be another's by now.
            if self._process is not None and self._process.returncode is None:
                self._process.send_signal(number)

    def _keep(self) -> None:
        try:
            self._talk(self._start())
        except OSError as error:
            _settle(self.ready, error=WorkerEnded(f"its worker process could not be started: {error}"))
        except UsageError as error:
            _settle(self.ready, error=error)
        finally:
            self.close()
            if self._process is not None:
                try:
                    self._process.wait(END_WITHIN_S)
                except subprocess.TimeoutExpired:
                    self._signal(signal.SIGKILL)
                    self._process.wait()
            self._finish()

    def _start(self) -> Link:
        ours, theirs = socket.socketpair()
        limit = "" if self._max_memory_mb is None else str(self._max_memory_mb)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), str(os.getpid()), limit, *sys.path],
                env={name: value for name, value in os.environ.items() if not SECRET_NAME.search(name)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        link = Link(ours, alive=lambda: process.poll() is None)
        with self._lock:
            self._process, self._link = process, link
            over = self._over
        if self._killed:
            self._signal(signal.SIGKILL)
        if over:
            link.close()
        return link

    def _talk(self, link: Link) -> None:
        setup = self._setup()
        with contextlib.suppress(OSError):  # where it has ended it may have said why
            link.send(Message("setup", body=setup))
        del setup  # a large context is not held here twice any longer than it must be
        while (message := link.receive()) is not None:
            match message.kind:
                case "ready":
                    _settle(self.ready)
                case "failed":
                    raise UsageError(
                        f"context or tools cannot be loaded in a worker process ({message.open()}): give what can be, "
                        "or isolation='thread'"
                    )
                case "done":
                    with self._lock:
                        future = self._cells.pop(message.number, None)
                    if future is not None:
                        _settle(future, message.open())
                case _:
                    self._serve(message)
            del message

    def _send(self) -> None:
        while (make := self._outbox.get()) is not None:
            message = make()
            with self._lock:
                link = self._link
            if link is None:
                continue
            try:
                link.send(message)
            except OSError:
                continue  # the keeper sees its end too
            finally:
                del make, message

    def _finish(self) -> None:
        with self._lock:
            self._over = True
            waiting = [self.ready, *self._cells.values()]
            self._cells.clear()
        for future in waiting:
            _settle(future, error=self._ended())

    def _ended(self) -> WorkerEnded:
        code = None if self._process is None else self._process.returncode
        if self._killed or code is None:
            return WorkerEnded("its worker process was stopped")
        if code >= 0:
            return WorkerEnded(
                f"its worker process ended with exit code {code}, and what its cells held is gone: a cell, or a "
                "library that it uses, called os._exit"
            )
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        why = (
            "the system ends a process so when memory is short; give it less at a time, or set max_memory_mb"
            if code == -signal.SIGKILL
            else "compiled code that a cell uses crashed"
        )
        return WorkerEnded(f"its worker process was ended by {name}, and what its cells held is gone: {why}")


def _future() -> Future[Any]:
    """Who awaits it may be cancelled; that does not cancel what it stands for."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


def _settle(future: Future[Any], value: object = None, error: Exception | None = None) -> None:
    try:
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
    except InvalidStateError:
        return  # the end and a result may come at once, from two threads; the first one counts
