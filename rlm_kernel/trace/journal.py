"""
The journal of a run: events appended to one file, on disk when they have to be. Reading is in `reading`.

Writing and syncing are two steps, because they cost differently: `append` is a few microseconds, `sync` waits for
the disk. Many threads may append and sync at once; those that wait for the disk together share one fdatasync.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Condition
from types import TracebackType
from typing import NamedTuple

from rlm_kernel.errors import TraceError
from rlm_kernel.trace.codec import encode, text_sha, write_line
from rlm_kernel.trace.events import Event

_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # macOS has none


class _End(NamedTuple):
    seq: int
    size: int


class Journal:
    """
    One writer of one file; thread-safe. Every method raises TraceError where the disk does not do its part.

    A write that fails is taken back, so that the file stays whole and a later `append` may succeed. A failed sync
    is for good: what the disk holds is then unknown, and every later call says so.
    """

    def __init__(self, path: Path, fd: int) -> None:
        """For a new, empty file that is open for appending; `create` is the way in."""
        self.path = path
        self._fd: int | None = fd
        self._end = _End(0, 0)
        self._synced = 0
        self._syncing = False
        self._broken: str | None = None
        self._bodies: set[str] = set()
        self._turn = Condition()

    @classmethod
    def create(cls, folder: Path, run: str) -> Journal:
        """Begin `<folder>/<run>.jsonl`, readable by its owner only. The folder must be there, the file must not."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", run):
            raise TraceError(f"{run!r} is no name for a run: use letters, digits, dots, dashes and underscores")
        path = folder / f"{run}.jsonl"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except FileExistsError:
            raise TraceError(f"{path} exists: a run has one writer, give this one another name") from None
        except FileNotFoundError:
            raise TraceError(f"{path} cannot be made: create the folder {folder} first") from None
        except OSError as error:
            raise TraceError(f"{path} cannot be made ({error.strerror}): {_mend(folder)}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sync_folder(folder)
        except BlockingIOError:
            os.close(fd)
            raise TraceError(f"{path} is being written by another process") from None
        except OSError as error:
            os.close(fd)
            raise TraceError(f"{path} cannot be locked or synced ({error.strerror}): {_mend(folder)}") from None
        return cls(path, fd)

    def append(self, *events: Event) -> int:
        """Write the events as one piece; gives the sequence number of the last line, for `sync`. Not on disk yet."""
        with self._turn:
            fd = self._writable()
            lines: list[bytes] = []
            new: dict[str, None] = {}
            seq, at = self._end.seq, datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"

            def body(text: str) -> str:
                nonlocal seq
                sha = text_sha(text)
                if sha not in self._bodies and sha not in new:
                    new[sha] = None
                    seq += 1
                    lines.append(write_line(seq, at, {"type": "body", "sha": sha, "text": text}))
                return sha

            for event in events:
                try:
                    payload = encode(event, body)
                    line = write_line(seq + 1, at, payload)
                except RecursionError:
                    raise TraceError(f"an output in {event.type} nests too deeply to be written down") from None
                seq += 1
                lines.append(line)
            self._write(fd, b"".join(lines), seq)
            self._bodies.update(new)
            return seq

    def sync(self, upto: int | None = None) -> None:
        """Return when everything up to that number (None: all that is written now) is on disk."""
        with self._turn:
            target = self._end.seq if upto is None else upto
            while self._synced < target:
                fd = self._writable()
                if self._syncing:
                    self._turn.wait()  # the one under way may cover us; if not, one of those who wait goes next
                else:
                    self._sync(fd)

    def close(self) -> None:
        """Sync and close; again is harmless."""
        with self._turn:
            while self._syncing:
                self._turn.wait()
            if self._fd is None:
                return
            try:
                if self._broken is None and self._synced < self._end.seq:
                    self._sync(self._fd)
            finally:
                fd, self._fd = self._fd, None
                os.close(fd)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _writable(self) -> int:
        if self._broken is not None:
            raise TraceError(self._broken)
        if self._fd is None:
            raise TraceError(f"{self.path} is closed")
        return self._fd

    def _write(self, fd: int, data: bytes, seq: int) -> None:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
            self._end = _End(seq, self._end.size + len(data))
        except BaseException as error:
            # BaseException: Stop may fall between the write and the count, and a line written twice breaks the file.
            try:
                os.ftruncate(fd, self._end.size)
            except OSError:
                self._broken = f"{self.path} ends in a torn line and cannot be mended: {_mend(self.path.parent)}"
            if isinstance(error, OSError):
                mend = _mend(self.path.parent)
                raise TraceError(f"{self.path} cannot be written ({error.strerror}): {mend}") from None
            raise

    def _sync(self, fd: int) -> None:
        """Called with the lock held; lets it go while the disk works, so that others may append."""
        covers = self._end.seq
        self._syncing = True
        try:
            self._turn.release()
            try:
                _fdatasync(fd)
            finally:
                self._turn.acquire()
            self._synced = covers
        except OSError as error:
            # The kernel reports a lost page once; a second fdatasync would succeed and mean nothing.
            self._broken = f"{self.path} did not reach the disk ({error.strerror}): {_mend(self.path.parent)}"
            raise TraceError(self._broken) from None
        finally:
            self._syncing = False
            self._turn.notify_all()


def is_written(path: Path) -> bool:
    """Whether a process has that journal open for writing."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        raise TraceError(f"{path} cannot be read ({error.strerror}): is the path right?") from None
    return False


def make_folder(folder: Path) -> Path:
    """A folder for journals. One that was missing is made, and ignores itself in git. Raises TraceError."""
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.joinpath(".gitignore").write_text("*\n", encoding="ascii")
    except OSError as error:
        raise TraceError(f"{folder} cannot be made ({error.strerror}): {_mend(folder)}") from None
    return folder


def _mend(folder: Path) -> str:
    return f"free space on the disk of {folder}, make it writable, or work in another folder"


def sync_folder(folder: Path) -> None:
    """A new file's name is on disk only when its folder is. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
