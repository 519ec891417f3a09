"""What stands for a stream written in C, which cannot be given another class: the `sys.stdout` of a script."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rlm_kernel.environment.sink import SINK


class Wrapped:
    """To be adopted in its place (`routing`)."""

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

    @property
    def buffer(self) -> Any:
        return self._stream.buffer if SINK.get() is None else _Bytes(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Bytes:
    """What `sys.stdout.buffer` is in a model's cell."""

    def __init__(self, text: Any) -> None:
        self._text = text

    def write(self, data: Any) -> int:
        self._text.write(bytes(data).decode("utf-8", "backslashreplace"))
        return len(data)

    def flush(self) -> None:
        self._text.flush()
