"""The trace notebook as a file: its text, where it may go, and how it gets there."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from rlm_kernel.errors import TraceError
from rlm_kernel.trace.notebook import render
from rlm_kernel.trace.tree import Tree


def may_replace(path: Path) -> bool:
    """Whether nothing is there, or an earlier trace: a person's own notebook is not for us to write over."""
    try:
        return bool(json.loads(path.read_bytes())["metadata"]["rlm"]["run"])
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write(tree: Tree, path: Path) -> None:
    """Put the notebook at `path`, whole or not at all, over what was there. Raises TraceError."""
    data = to_json(render(tree)).encode()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        mend = f"free space on the disk of {path.parent}, make it writable, or give another place"
        raise TraceError(f"{path} cannot be written ({error.strerror}): {mend}") from None
    finally:
        temporary.unlink(missing_ok=True)


def to_json(notebook: dict[str, Any]) -> str:
    """As Jupyter writes it, but for the record: an event a line, or indentation would be half of the file."""
    rlm = dict(notebook["metadata"]["rlm"])
    holes = {secrets.token_hex(16): _lines(rlm[key]) for key in ("bodies", "events")}
    rlm["bodies"], rlm["events"] = holes
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
