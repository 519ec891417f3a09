"""What a path points at, told by a look at its two ends: a file is never read whole, a folder never listed whole."""

from __future__ import annotations

import os
import pathlib
import re
import stat
from itertools import islice

from rlm_kernel.preview import atoms
from rlm_kernel.preview.text import HEAD_SHARE, block, clip, estimate_tokens, fit, indenter, marker, size

MOST_ENTRIES = 1_000
"""Of a folder, counted; a larger one has "more than"."""

NAMES_SHOWN = 20
INDENT = "    "

_TORN_START = re.compile("^[\udc80-\udcbf]{1,3}")
_TORN_END = re.compile("[\udcc2-\udcf4][\udc80-\udcbf]{0,2}$")
"""A character that was cut in two where the file was."""


def describe_path(path: pathlib.PurePath, room: int) -> list[str]:
    """Lines of about `room` characters in all. A pipe or a device is not opened: reading it may block or use it up."""
    text = atoms.path_text(path)
    if not issubclass(type(path), pathlib.Path):
        return [f"path: {clip(text, 300)} (a pure path; the disk was not asked)"]
    lines = [f"path: {clip(text, 300)}"]
    try:
        found = os.stat(text)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        missing = isinstance(error, FileNotFoundError)
        return [*lines, "it does not exist" if missing else f"it cannot be looked at: {type(error).__name__}"]
    try:
        if stat.S_ISDIR(found.st_mode):
            return lines + _folder(text)
        if stat.S_ISREG(found.st_mode):
            return lines + _file(text, found.st_size, room)
    except OSError as error:
        return [*lines, f"it cannot be read: {clip(error.strerror or type(error).__name__, 100)}"]
    return [*lines, "it is neither a file nor a folder, and was not opened"]


def _folder(text: str) -> list[str]:
    with os.scandir(text) as entries:
        names = [entry.name for entry in islice(entries, MOST_ENTRIES + 1)]
    shown = sorted(names)[:NAMES_SHOWN] if len(names) <= MOST_ENTRIES else names[:NAMES_SHOWN]
    number = "1 entry" if len(names) == 1 else f"{len(names):,} entries"
    if len(names) > MOST_ENTRIES:
        number = f"more than {MOST_ENTRIES:,} entries"
    more = ", …" if len(names) > len(shown) else ""
    return [f"a folder of {number}" + (f": {', '.join(clip(name, 60) for name in shown)}{more}" if shown else "")]


def _file(text: str, total: int, room: int) -> list[str]:
    ends = max(64, room)
    with open(text, "rb") as file:
        if total <= 2 * ends:
            first, last = file.read(2 * ends), b""
        else:
            first = file.read(int(ends * HEAD_SHARE))
            file.seek(total - (ends - int(ends * HEAD_SHARE)))
            last = file.read(ends)
    if b"\0" in first + last:
        return [f"a file of {size(total)} ({total:,} bytes), not text; it starts with {atoms.quoted(first, 60)}"]
    about = f"a text file of {size(total)} ({total:,} bytes, about {estimate_tokens(total):,} tokens):"
    head = first.decode("utf-8", "surrogateescape")  # what is no UTF-8 can so be counted back into bytes
    if not last:
        return [about, *block(head, room)]
    tail = _TORN_START.sub("", last.decode("utf-8", "surrogateescape"))
    head = _TORN_END.sub("", head)
    room -= 80
    clean = indenter(INDENT)
    above, taken = fit(head, 0, len(head), int(room * HEAD_SHARE), clean=clean)
    head = head[:taken]
    below, taken = fit(tail, 0, len(tail), room - int(room * HEAD_SHARE), clean=clean, from_end=True)
    tail = tail[len(tail) - taken :]
    hidden = total - len((head + tail).encode("utf-8", "surrogateescape"))
    return [about, *(INDENT + above).split("\n"), marker(hidden, total, what="bytes"), *(INDENT + below).split("\n")]
