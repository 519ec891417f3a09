"""What `routing` puts in front of `sys.stdout` and `sys.stderr` of a process, so that they ask whose output it is."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from rlm_kernel.environment.sink import SINK

# `print` looks up `write` on the stream at each call. As a property whose getter is ContextVar.get itself, the look-up
# happens in C: it gives the writer of the running cell or, where none is set, the default, which is the argument of
# `get`, which is the stream; the stream is callable and writes as it always did. A Python method here would double
# what a million printed lines cost.
STDOUT: ContextVar[Any] = ContextVar("rlm_stdout")
STDERR: ContextVar[Any] = ContextVar("rlm_stderr")
_PATCHED: ContextVar[bool] = ContextVar("rlm_patched", default=False)


class _RoutedStream:
    """Base of the two below; in front of a stream class written in Python, such as ipykernel's OutStream."""

    _writer: ContextVar[Any]

    def __call__(self, text: str) -> Any:
        patched = self.__dict__.get("_patched_write")
        if patched is None or _PATCHED.get():
            return super().write(text)  # type: ignore[misc]
        token = _PATCHED.set(True)  # the patch calls the `write` that it found, which is this very method
        try:
            return patched(text)
        finally:
            _PATCHED.reset(token)

    def _patch(self, write: Any) -> None:
        """IPython replaces `write` for the time of a cell. In a model's cell there is nothing to replace."""
        if SINK.get() is None:
            self.__dict__["_patched_write"] = None if write is self else write

    def flush(self) -> None:
        sink = SINK.get()
        if sink is not None:
            sink.sync()
        super().flush()  # type: ignore[misc]

    def close(self) -> None:
        """In a model's cell the stream is not the cell's to close: the person prints to it too."""
        if SINK.get() is None:
            super().close()  # type: ignore[misc]
        else:
            self.flush()

    @property
    def buffer(self) -> Any:
        """ipykernel's streams have none, and a script's leads past the cell."""
        return super().buffer if SINK.get() is None else _Bytes(self)  # type: ignore[misc]

    @property
    def reconfigure(self) -> Any:
        return super().reconfigure if SINK.get() is None else _leave_as_it_is  # type: ignore[misc]


class _Bytes:
    """What `sys.stdout.buffer` is in a model's cell."""

    def __init__(self, text: Any) -> None:
        self._text = text

    def write(self, data: Any) -> int:
        self._text.write(bytes(data).decode("utf-8", "backslashreplace"))
        return len(data)

    def flush(self) -> None:
        self._text.flush()


def _leave_as_it_is(**options: object) -> None:
    """The stream is not the cell's, and takes any text."""


class RoutedStdout(_RoutedStream):
    write = property(STDOUT.get, _RoutedStream._patch)


class RoutedStderr(_RoutedStream):
    write = property(STDERR.get, _RoutedStream._patch)


class Wrapped:
    """To be adopted in the place of a stream written in C, which cannot be given another class: a script's."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> Any:
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def close(self) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
