"""Files as context: text as text, byte for byte; a folder as a dict of path to content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rlm_kernel.errors import UsageError

LEFT_OUT = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})
"""Folders that hold what was installed or made, not what somebody wrote. Hidden ones are left out too."""


def load(path: Path) -> object:
    """
    The content of a file (`str` where it is UTF-8, else `bytes`), or of a folder: `{relative path: content}`.

    Line ends, NULs and byte order marks stay as they are. In a folder, files that are not text are left out.
    Raises UsageError where there is nothing to read.
    """
    path = path.expanduser()
    try:
        if path.is_dir():
            found = {str(file.relative_to(path)): text for file in _walk(path) if (text := _text(file)) is not None}
            if not found:
                raise UsageError(f"{path}: no text file in this folder")
            return found
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content


def load_all(paths: list[Path]) -> object:
    """One path gives its content, several a dict of path to content."""
    if len(paths) == 1:
        return load(paths[0])
    return {str(path): load(path) for path in paths}


def _walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name in LEFT_OUT:
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry)
        elif entry.is_file():
            yield entry


def _text(file: Path) -> str | None:
    try:
        content = file.read_bytes()
    except OSError:
        return None  # unreadable like a picture is: not part of the text of this folder
    if b"\0" in content[:8_192]:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None
