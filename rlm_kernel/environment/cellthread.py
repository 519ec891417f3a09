"""
The thread in which one sub-agent's cells run, one after the other, and how it is stopped from outside.

Code that computes is stopped by an exception put into the thread, code that awaits by cancelling its task. Code that
sits in a C call hears neither before the call returns: such a thread is left behind, with the exception waiting for it.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import queue
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from rlm_kernel.environment.execute import Stopped
from rlm_kernel.environment.interrupts import in_user_code

Work = Callable[[], Coroutine[Any, Any, Any]]


@dataclass(slots=True)
class _Job:
    work: Work
    awaits: bool
    future: Future[Any]
    context: contextvars.Context


class CellThread:
    """
    Starts with the first `submit`. Its asyncio loop is made for the first cell that awaits, and lives as long as the
    thread, so that cells may share tasks. (A loop costs more than a step without one.)
    """

    def __init__(self, name: str, context: contextvars.Context) -> None:
        """Each piece of work runs in a copy of `context`."""
        self._name = name
        self._context = context
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()
        self._sent = False
        """An exception was put into the thread, and may still be on its way."""
        self._running: tuple[int, asyncio.Task[Any] | None] | None = None
        """The thread's number and the task, where there is one, while it can be stopped."""

    def submit(self, work: Work, awaits: bool) -> Future[Any]:
        """
        What `work` returns or raises. Only if it `awaits` is there a running loop. Cancelling the future does nothing:
        see `interrupt`.
        """
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._jobs.put(_Job(work, awaits, future, self._context.copy()))
        if self._thread is None:
            # A daemon: one that was left behind must not keep the process.
            self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
            # Not in the context of whoever asked: what the thread inherits is said above.
            contextvars.Context().run(self._thread.start)
        return future

    def interrupt(self) -> None:
        """Stop what runs, as far as it can be; again is harmless. From any thread."""
        with self._lock:
            if self._running is None:
                return
            ident, task = self._running
            frame = sys._current_frames().get(ident)
            if in_user_code(frame):
                self._sent = True
                _raise_in(ident, Stopped)
            elif task is not None:
                task.get_loop().call_soon_threadsafe(task.cancel)

    def close(self) -> None:
        """No more work comes. The thread ends by itself, at once if it is idle."""
        self._jobs.put(None)

    def _main(self) -> None:
        runner = asyncio.Runner()  # makes its loop when it is asked for
        try:
            while (job := self._jobs.get()) is not None:
                try:
                    result = self._do(runner, job)
                except BaseException as error:  # Stopped above all; it is for whoever waits
                    job.future.set_exception(error)
                else:
                    job.future.set_result(result)
                    del result  # a value of gigabytes must not live on until the next piece of work
                del job
        finally:
            runner.close()

    def _do(self, runner: asyncio.Runner, job: _Job) -> Any:
        loop = runner.get_loop() if job.awaits else None
        task = None if loop is None else loop.create_task(job.work(), context=job.context)
        ident = threading.get_ident()
        self._running = ident, task
        try:
            if loop is None or task is None:
                return job.context.run(_to_the_end, job.work())
            while True:
                try:
                    return loop.run_until_complete(task)
                except Stopped:
                    if task.done():
                        raise
                    # It was meant for the cell and met the loop, a moment after the cell had given way to it.
                    task.cancel()
        finally:
            with self._lock:
                self._running = None
                sent, self._sent = self._sent, False
            if sent:
                _swallow(ident)


def _to_the_end(work: Coroutine[Any, Any, Any]) -> Any:
    """Of a coroutine that awaits nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    work.close()
    raise RuntimeError("a cell without await has awaited")


def _swallow(ident: int) -> None:
    """
    One that is still on its way, in this thread: another takes its place, and is waited for.

    Taking it back with a NULL leaves Python 3.11 with a mark that it never clears, and any profiler or tracer
    then goes round for ever.
    """
    try:
        _raise_in(ident, Stopped)
        while True:
            pass
    except Stopped:
        return


def _raise_in(ident: int, kind: type[BaseException]) -> None:
    """At the thread's next bytecode. (CPython, PyThreadState_SetAsyncExc.)"""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(kind))
