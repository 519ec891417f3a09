"""The trace notebook as a file: its text, where it may go, and how it gets there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import warnings
from pathlib import Path
from typing import Any

from rlm_kernel.errors import TraceError
from rlm_kernel.trace.journal import sync_folder
from rlm_kernel.trace.notebook import render_all
from rlm_kernel.trace.tree import Tree


def may_replace(path: Path) -> bool:
    """Whether nothing is there, or an earlier trace: a person's own notebook is not for us to write over."""
    try:
        return bool(json.loads(path.read_bytes())["metadata"]["rlm"]["run"])
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write(tree: Tree, path: Path, contexts: Path | None = None) -> None:
    """
    Put the notebook at `path`, whole or not at all, over what was there; those of wide fan-outs before it, beside it.
    A context that lies beside the traces in the folder `contexts` is copied to where the notebook is.

    Raises TraceError.
    """
    for said in [] if contexts is None else copy_contexts(tree, contexts, path.parent):
        warnings.warn(f"{said}; {path.name} is without its context", stacklevel=2)  # the notebook is worth more
    try:
        for name, notebook in reversed(render_all(tree, path.stem).items()):
            put(path.with_name(name), to_json(notebook).encode())
    except OSError as error:
        mend = f"free space on the disk of {path.parent}, make it writable, or give another place"
        raise TraceError(f"{path} cannot be written ({error.strerror}): {mend}") from None


def put(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Whole or not at all, and on the disk when it returns, its name too. Raises OSError."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


BESIDE = "contexts"
"""The folder beside the traces for contexts that are too large for them, each named by its SHA-256 and its form."""
_NAME = re.compile(r"([0-9a-f]{64})\.(text|bytes|json|store|results)")


def put_beside(folder: Path, name: str, data: bytes) -> None:
    """Written once: the name says what is in it. Raises TraceError."""
    path = folder / BESIDE / name
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put(path, data, 0o600)
    except OSError as error:
        raise TraceError(f"{path} cannot be written ({error.strerror})") from None


def copy_contexts(tree: Tree, source: Path, target: Path) -> list[str]:
    """Those that lie beside a trace in the folder `source`, to where `target` has them; why some could not be."""
    if source.absolute() == target.absolute():
        return []
    failed = []
    for agent, _ in tree.walk():
        for found in agent.given:
            if found.form == "file" and found.value is not None:
                try:
                    put_beside(target, found.value, read_beside(source, found.value))
                except TraceError as error:
                    failed.append(str(error))
    return failed


def read_beside(folder: Path, name: str) -> bytes:
    """Raises TraceError where it is not there, has been changed, or `name` is no name that we give."""
    named = _NAME.fullmatch(name)
    if named is None:
        raise TraceError(f"the record names {name[:100]!r} as the file of its context, which is no name of such a file")
    path = folder / BESIDE / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TraceError(f"the context of this trace lies in {path}, which cannot be read ({error.strerror})") from None
    if hashlib.sha256(data).hexdigest() != named[1]:
        raise TraceError(f"{path} has been changed since: its name is not its SHA-256 any more")
    return data


def to_json(notebook: dict[str, Any]) -> str:
    """As Jupyter writes it, but for the record: an event a line, or indentation would be half of the file."""
    rlm = dict(notebook["metadata"]["rlm"])
    holes = {}
    for key in ("bodies", "events"):
        if key in rlm:
            hole = secrets.token_hex(16)
            holes[hole] = _lines(rlm[key])
            rlm[key] = hole
    text = json.dumps({**notebook, "metadata": {**notebook["metadata"], "rlm": rlm}}, indent=1, ensure_ascii=False)
    for hole, lines in holes.items():
        text = text.replace(f'"{hole}"', lines, 1)
    return text + "\n"


def _lines(data: dict[str, Any] | list[Any]) -> str:
    def compact(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    if isinstance(data, dict):
        return "{\n" + ",\n".join(f"{compact(key)}:{compact(value)}" for key, value in data.items()) + "\n}"
    return "[\n" + ",\n".join(map(compact, data)) + "\n]"
