"""
Whose output is it? One context variable decides, for streams, displays, results and tracebacks.

`adopt` gives the living objects of a process (its `sys.stdout`, an IPython shell, its display publisher and hook)
a mixin that asks `SINK` first, so whoever holds a reference to them keeps a good one; and the same code serves our
kernel, a plain ipykernel and a shell in a script. Threads that a cell starts inherit its context, hence its sink.
What is written to the file descriptors themselves passes by here: see `descriptors`.
"""

from __future__ import annotations

import contextvars
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rlm_kernel.environment import children, process, sysnames
from rlm_kernel.environment.descriptors import descriptors
from rlm_kernel.environment.pipes import NAMES
from rlm_kernel.environment.secrets import Pieces, Redactor
from rlm_kernel.environment.shells import PUBLISHER, PersonsTrap, RoutedCompiler, RoutedEvents, RoutedMagics, page
from rlm_kernel.environment.shells import RoutedShell as RoutedShell
from rlm_kernel.environment.sink import SINK, Sink
from rlm_kernel.environment.streams import STDERR, STDOUT, RoutedStderr, RoutedStdout, Wrapped
from rlm_kernel.environment.sysnames import own_streams as own_streams
from rlm_kernel.environment.sysnames import routed


@contextmanager
def captured(sink: Sink) -> Iterator[Sink]:
    """Within it, this context's output goes to `sink`."""
    own = [(SINK, sink), (STDOUT, sink.write_stdout), (STDERR, sink.write_stderr), (PUBLISHER, None)]
    tokens = [(variable, variable.set(value)) for variable, value in (*own, *sysnames.of(sink))]
    try:
        yield sink
    finally:
        for variable, token in tokens:
            variable.reset(token)


def adopt(thing: Any, mixin: type[Any]) -> None:
    """Put `mixin` in front of the class of a living object, once."""
    kind = type(thing)
    if not isinstance(thing, mixin):
        metaclass: Any = type(kind)
        thing.__class__ = metaclass(kind.__name__, (mixin, kind), {})


class RoutedPublisher:
    """In front of a DisplayPublisher."""

    def publish(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        *,
        transient: dict[str, Any] | None = None,
        update: bool = False,
        **kwargs: Any,
    ) -> None:
        sink = SINK.get()
        if sink is None:
            super().publish(data, metadata, transient=transient, update=update, **kwargs)  # type: ignore[misc]
        else:
            sink.display(plain(data), plain(metadata or {}), transient, update)

    def clear_output(self, wait: bool = False) -> None:
        sink = SINK.get()
        if sink is None:
            super().clear_output(wait)  # type: ignore[misc]
        else:
            sink.clear(wait)


class RoutedDisplayHook:
    """In front of a DisplayHook, for a shell that runs a cell within a model's cell: `Out` is the person's."""

    def __call__(self, result: object = None) -> None:
        sink = SINK.get()
        if sink is None:
            super().__call__(result)  # type: ignore[misc]
        elif result is not None:
            data, metadata = self.compute_format_data(result)  # type: ignore[attr-defined]
            sink.result(plain(data), plain(metadata))

    def __setattr__(self, name: str, value: Any) -> None:
        """A shell notes here whose cell it runs, to hand the value to. In a model's cell the value goes to the sink."""
        if name != "exec_result" or SINK.get() is None:
            super().__setattr__(name, value)


class RoutedTextFormatter:
    """In front of the text/plain formatter, so that a model's cell never pays for the `repr` of a gigabyte."""

    def __call__(self, value: object) -> Any:
        render = RENDER.get()
        return super().__call__(value) if render is None else render(value)  # type: ignore[misc]


RENDER: ContextVar[Callable[[object], str] | None] = ContextVar("rlm_render", default=None)
"""How a value becomes text/plain in this context; None is IPython's own way."""


class ShellFrontend:
    """The cell of the person in which a model's cell runs: output goes there, whichever thread brings it."""

    def __init__(self, shell: Any, redactor: Redactor) -> None:
        self._redactor = redactor
        self._pieces = Pieces(redactor)
        self._streams = dict(routed)
        self._publish = shell.display_pub.publish
        self._context = contextvars.copy_context()  # the person's, in which no sink is set

    def stream(self, name: str, text: str) -> None:
        self._write(name, self._pieces.add(name, text))

    def end(self) -> None:
        for name, text in self._pieces.rest():
            self._write(name, text)

    def _write(self, name: str, text: str) -> None:
        if text:
            self._context.run(lambda: self._streams[name].write(_sendable(text)))

    def display(self, data: dict[str, Any], metadata: dict[str, Any], transient: dict[str, Any], update: bool) -> None:
        self.end()
        data = {kind: _sendable(value) if isinstance(value, str) else value for kind, value in data.items()}
        data = self._redactor.value(data)
        self._context.run(self._publish, data, metadata, transient=transient, update=update)


def _sendable(text: str) -> str:
    """A lone surrogate cannot be sent as JSON in UTF-8; the trace has it as it was."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def plain(data: dict[str, Any]) -> dict[str, Any]:
    """A MIME bundle as it stands in a notebook file: bytes as base64, everything else JSON."""
    from ipykernel.jsonutil import encode_images, json_clean  # loaded already in a kernel; a script pays once

    clean: dict[str, Any] = json_clean(encode_images(data))
    return clean


def install(shell: Any) -> None:
    """Make a shell and this process ask whose output it is. Idempotent, and for the life of the process."""
    adopt(shell, RoutedShell)
    adopt(shell.display_pub, RoutedPublisher)
    adopt(shell.displayhook, RoutedDisplayHook)
    adopt(shell.display_formatter.formatters["text/plain"], RoutedTextFormatter)
    adopt(shell.events, RoutedEvents)
    adopt(shell.compile, RoutedCompiler)
    adopt(shell.magics_manager, RoutedMagics)
    adopt(shell.builtin_trap, PersonsTrap)
    adopt(shell.display_trap, PersonsTrap)
    shell.set_hook("show_in_pager", page, 0)
    routed["displayhook"] = shell.displayhook
    if "stdin" not in routed:
        routed["stdin"] = open(os.devnull, encoding="utf-8")  # noqa: SIM115 (for the life of the process)
    process.guard()
    children.guard()
    if SINK.get() is not None:
        return  # a run within a model's cell, which may have streams of its own
    for name, mixin in (("stdout", RoutedStdout), ("stderr", RoutedStderr)):
        stream = getattr(sys, name)
        try:
            adopt(stream, mixin)
        except TypeError:  # a stream of C
            stream = Wrapped(stream)
            adopt(stream, mixin)
        routed[name] = stream
    if all(_writes_to_a_client(routed[name]) for name in NAMES.values()):
        descriptors.claim(lambda name, text: routed[name].write(_sendable(text)))


def _writes_to_a_client(stream: Any) -> bool:
    """And to no descriptor of this process: a kernel's. Whether it also watches one (`watchfd`) is no matter here."""
    return hasattr(stream, "pub_thread") and getattr(stream, "echo", None) is None
