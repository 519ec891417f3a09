"""
A log as JSON values: one a line, or one for the whole file. Lines are read one at a time, so a log may have any size.

Nothing here knows a format. What is no JSON is passed over and told in `complaint`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from rlm_kernel.errors import TraceError

MAX_VALUE_BYTES = 400_000_000
"""One JSON value takes many times its size to read."""
HEAD = 20
"""So many values are looked at to tell a format."""
_HEAD_LINES = 200


@dataclass(slots=True)
class Log:
    path: Path
    head: list[Any]
    """The first values; the only one, where the file is one value."""
    whole: bool
    """It is one value over many lines."""
    _bad: list[int] = field(default_factory=list)
    _torn: bool = False

    @property
    def name(self) -> str:
        """The file's name alone: a path says more of the machine than a trace should."""
        return self.path.name

    def run_name(self, at: int, of: int) -> str:
        """Of run `at` of so many that it holds."""
        return f"{self.path.stem}-{at}" if of > 1 else self.path.stem

    def rows(self) -> Iterator[Any]:
        """All its values. Raises TraceError where the file cannot be read."""
        self._bad, self._torn = [], False
        if self.whole:
            yield from self.head
            return
        try:
            with self.path.open("rb") as file:
                for number, line in _lines(self.path, file):
                    found, value = _value(line)
                    if found:
                        yield value
                    elif line.strip():
                        self._bad.append(number)
                        self._torn = not line.endswith(b"\n")
        except OSError as error:
            raise _unreadable(self.path, error) from None

    @property
    def complaint(self) -> str | None:
        """What could not be read of it, once `rows` has been gone through; None where all could."""
        if not self._bad:
            return None
        if self._torn and len(self._bad) == 1:
            return f"the log's last line ({self._bad[0]}) is cut off and was left out"
        named = ", ".join(map(str, self._bad[:5])) + (", …" if len(self._bad) > 5 else "")
        cut = "; the last one is cut off" if self._torn else ""
        return f"{len(self._bad)} lines of the log are no JSON and were left out (line {named}){cut}"


Run = tuple[dict[str, Any], list[dict[str, Any]]]
"""The value that held its items, or an empty one, and those."""


def gathered(log: Log, items: Callable[[Any], list[dict[str, Any]]], none: str) -> tuple[list[Run], str | None]:
    """
    A run for each value that holds items; those that are items themselves are one run together. And what is missing:
    `none` says what is wrong with values without any.
    """
    runs: list[Run] = []
    alone: list[dict[str, Any]] = []
    strays = 0
    for row in log.rows():
        found = items(row)
        strays += not found
        if found == [row]:
            alone += found
        elif found:
            runs.append((row if isinstance(row, dict) else {}, found))
    if alone:
        runs.append(({}, alone))
    return runs, "; ".join(filter(None, [log.complaint, f"{strays} values {none}" if strays else None])) or None


def open_log(path: Path) -> Log:
    """Raises TraceError where there is no file, or nothing in it is JSON."""
    try:
        with path.open("rb") as file:
            head, first_is_whole = _head(path, file)
            size = path.stat().st_size
            if not first_is_whole and size <= MAX_VALUE_BYTES:
                file.seek(0)
                found, value = _value(file.read())
                if found:
                    return Log(path, [value], whole=True)
    except OSError as error:
        raise _unreadable(path, error) from None
    if not head:
        empty = "is empty" if size == 0 else "holds no JSON object, whole or one a line"
        raise TraceError(f"{path} {empty}: give a log that another tool wrote")
    return Log(path, head, whole=False)


def _head(path: Path, file: BinaryIO) -> tuple[list[Any], bool]:
    """The first objects that stand on one line, and whether the very first line is one: then it is no whole file."""
    head: list[Any] = []
    first = True
    first_is_whole = False
    for number, line in _lines(path, file):
        if not line.strip():
            continue
        found, value = _value(line)
        if found and isinstance(value, (dict, list)) and value:
            first_is_whole = first_is_whole or first
            head.append(value)
        first = False
        if len(head) >= HEAD or number >= _HEAD_LINES:
            break
    return head, first_is_whole


def _lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := file.readline(MAX_VALUE_BYTES + 1):
        number += 1
        if len(line) > MAX_VALUE_BYTES:
            raise TraceError(f"{path} has a line of more than {MAX_VALUE_BYTES:,} bytes: split it, or leave it out")
        yield number, line


def _value(data: bytes) -> tuple[bool, Any]:
    try:
        return True, json.loads(data.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return False, None


def _unreadable(path: Path, error: OSError) -> TraceError:
    return TraceError(f"{path} cannot be read ({error.strerror or error}): is the path right?")
