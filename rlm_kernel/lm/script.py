"""
A script of replies: what a file or a list of them may hold, read and checked.

    scripted:replies.json    ["```repl\nFINAL(1)\n```"]     or {"replies": [...], "completions": [...]}
    scripted:replies.py      REPLIES = [...], and as wanted COMPLETIONS = [...],
                             PRICE = (prompt_usd, completion_usd), CHUNK_CHARS = 20

An item is the reply's text, or a dict with `reply` or `error` and any other of KEYS; in Python also a ModelError, or
a function of the Request that returns one of these. Who gets which item is for `lm.scripted` to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rlm_kernel.errors import ModelError, RLMError, UsageError
from rlm_kernel.values import Price, Request, Usage

KEYS = {
    "reply": "the text, or a function of the Request",
    "error": "{kind, message, status} of the ModelError to raise instead",
    "when": "only for a request whose newest user message holds this text or matches it as a regular expression; "
    "in Python also a function of the Request",
    "times": "how often it can be used: 1 where it is absent, null or None for any number",
    "purpose": '"step" or "completion", where it should differ from its list',
    "delay_s": "seconds before the first piece",
    "finish_reason": '"stop" where it is absent',
    "usage": "numbers that replace the counted ones, named as in values.Usage",
}

_USAGE_FIELDS = {field.name for field in fields(Usage)}
_PURPOSES = ("step", "completion")


@dataclass(slots=True)
class Item:
    value: Any
    """Text, ModelError, or a function of the Request that gives an item's value or dict."""
    purpose: str
    when: str | Callable[[Request], bool] | None = None
    left: int | None = 1
    delay_s: float = 0.0
    finish_reason: str = "stop"
    usage: dict[str, Any] | None = None


def item(entry: Any, purpose: str, where: str) -> Item:
    if isinstance(entry, str | ModelError) or callable(entry):
        return Item(entry, purpose)
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is a {type(entry).__name__}; give a text or a dict with one of {', '.join(KEYS)}")
    unknown = [key for key in entry if key not in KEYS]
    if unknown:
        raise UsageError(f"{where} has the key {unknown[0]!r}; known are {', '.join(KEYS)}")
    if ("reply" in entry) == ("error" in entry):
        raise UsageError(f"{where} needs either `reply` or `error`")
    made = Item(
        value=_error(entry["error"], where) if "error" in entry else entry["reply"],
        purpose=entry.get("purpose", purpose),
        when=entry.get("when"),
        left=entry.get("times", 1),
        delay_s=entry.get("delay_s", 0.0),
        finish_reason=entry.get("finish_reason", "stop"),
        usage=entry.get("usage"),
    )
    wrong = [
        key
        for key, fine in (
            ("reply", isinstance(made.value, str | ModelError) or callable(made.value)),
            ("purpose", made.purpose in _PURPOSES),
            ("when", made.when is None or isinstance(made.when, str) or callable(made.when)),
            ("times", made.left is None or (isinstance(made.left, int) and made.left >= 0)),
            ("delay_s", isinstance(made.delay_s, int | float) and made.delay_s >= 0),
            ("finish_reason", isinstance(made.finish_reason, str)),
            ("usage", made.usage is None or (isinstance(made.usage, dict) and made.usage.keys() <= _USAGE_FIELDS)),
        )
        if not fine
    ]
    if wrong:
        raise UsageError(f"{where}: `{wrong[0]}` is {KEYS[wrong[0]]}")
    return made


def _error(told: Any, where: str) -> ModelError:
    if isinstance(told, dict) and told.keys() <= {"kind", "message", "status"}:
        return ModelError(
            str(told.get("message", "scripted")), kind=str(told.get("kind", "server")), status=told.get("status")
        )
    raise UsageError(f"{where}: `error` is {KEYS['error']}")


@dataclass(frozen=True, slots=True)
class Script:
    replies: list[Any]
    """For the steps."""
    completions: list[Any]
    price: Price | None
    """None is an unknown price; where a file gives none, it is zero, since nothing was paid."""
    chunk_chars: int | None


def read(path: str, name: str) -> Script:
    """
    A `.json` or `.py` file, relative to the working directory. A `.py` file is executed in this process.

    UsageError, one line with file and place, where it is missing, does not run or has another shape.
    """
    file = Path(path).expanduser()
    if file.suffix not in (".json", ".py"):
        raise UsageError(f"{name}: a script is a .json or a .py file")
    try:
        source = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        where = f" (the working directory is {Path.cwd()})" if isinstance(error, FileNotFoundError) else ""
        raise UsageError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}{where}") from None
    told = _from_json(source, name) if file.suffix == ".json" else _from_python(source, str(file), name)
    return Script(
        replies=_listed(told, "replies", name),
        completions=_listed(told, "completions", name),
        price=_price(told.get("price", (0.0, 0.0)), name),
        chunk_chars=_chunk_chars(told.get("chunk_chars"), name),
    )


def _from_json(source: str, name: str) -> dict[str, Any]:
    try:
        script = json.loads(source)
    except ValueError as error:
        raise UsageError(f"{name} is not valid JSON: {error}") from None
    if isinstance(script, list):
        return {"replies": script}
    if not isinstance(script, dict) or not script.keys() <= {"replies", "completions", "price", "chunk_chars"}:
        raise UsageError(f"{name}: give a list of replies, or an object of replies, completions, price, chunk_chars")
    return script


def _from_python(source: str, path: str, name: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "__rlm_script__", "__file__": path}
    try:
        # Not runpy: it changes sys.argv and sys.modules for the moment, and the kernel has other threads.
        exec(compile(source, path, "exec"), namespace)
    except SyntaxError as error:
        raise UsageError(f"{name}, line {error.lineno}: {error.msg}") from None
    except RLMError:
        raise
    except (Exception, SystemExit) as error:
        line = _line_in(path, error)
        raise UsageError(f"{name}, line {line}: {type(error).__name__}: {error}") from None
    script = {
        key.lower(): namespace[key] for key in ("REPLIES", "COMPLETIONS", "PRICE", "CHUNK_CHARS") if key in namespace
    }
    if not script.keys() & {"replies", "completions"}:
        raise UsageError(f"{name} defines no list REPLIES (for steps) and none COMPLETIONS")
    return script


def _line_in(path: str, error: BaseException) -> int:
    line, frame = 0, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == path:
            line = frame.tb_lineno
        frame = frame.tb_next
    return line


def _listed(script: dict[str, Any], key: str, name: str) -> list[Any]:
    entries = script.get(key, [])
    if not isinstance(entries, list | tuple):
        raise UsageError(f"{name}: {key} is a {type(entries).__name__}; give a list")
    return list(entries)


def _price(told: Any, name: str) -> Price | None:
    if told is None:
        return None
    if isinstance(told, list | tuple) and len(told) == 2 and all(isinstance(usd, int | float) for usd in told):
        return Price(float(told[0]), float(told[1]))
    raise UsageError(f"{name}: price is two numbers, dollars per prompt token and per completion token, or None")


def _chunk_chars(told: Any, name: str) -> int | None:
    if told is None or (isinstance(told, int) and told > 0):
        return told
    raise UsageError(f"{name}: chunk_chars is a whole number from 1 up, or None")
