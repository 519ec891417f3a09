"""
Strangers' data taken apart: every function here takes any JSON value at all, and none raises.

Of what is not as the format says, the nearest thing that is true is taken: text for an object, zero for a word.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from rlm_kernel.trace.safe import clip
from rlm_kernel.values import Message, Role, Usage

ANSWER_CHARS = 4_000
_DEEPEST = 60
_SHELLS = ("bash", "bash_session", "shell", "sh", "terminal")

_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "assistant": "assistant", "gpt": "assistant"}
_ROLES |= {"model": "assistant", "ai": "assistant", "agent": "assistant"}


def text(value: Any) -> str:
    """A text as it is, None as none, content in parts as their texts, all else as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        return "\n".join(filter(None, map(_part, value)))
    return as_json(value)


def _part(part: dict[str, Any]) -> str:
    inner = part.get("text", part.get("content"))
    if isinstance(inner, str):
        return inner
    return f"[{part['type']}]" if isinstance(part.get("type"), str) else as_json(part)


def as_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError, TypeError):
        return f"<{type(value).__name__}>"


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def limit(value: Any) -> float | None:
    """Steps and tokens are counted, and no fractions; JSON of others may say 30.0."""
    found = number(value)
    return int(found) if found is not None and found.is_integer() else found


def seconds(value: Any) -> float:
    return max(0.0, number(value) or 0.0)


def count(value: Any) -> int:
    return max(0, int(number(value) or 0))


def maybe_count(value: Any) -> int | None:
    return None if number(value) is None else count(value)


def usage(value: Any) -> Usage:
    """Under the names that OpenAI, Anthropic and the tools here give to tokens and dollars."""
    data = mapping(value)

    def first(*names: str) -> Any:
        return next((data[name] for name in names if number(data.get(name)) is not None), None)

    cached = first("cached_tokens", "total_cached_tokens", "input_tokens_cache_read")
    reasoning = first("reasoning_tokens")
    if cached is None:
        cached = mapping(data.get("prompt_tokens_details")).get("cached_tokens")
    if reasoning is None:
        reasoning = mapping(data.get("completion_tokens_details")).get("reasoning_tokens")
    return Usage(
        prompt_tokens=count(first("prompt_tokens", "input_tokens", "total_input_tokens")),
        completion_tokens=count(first("completion_tokens", "output_tokens", "total_output_tokens")),
        cached_tokens=maybe_count(cached),
        reasoning_tokens=maybe_count(reasoning),
        cost_usd=number(first("cost", "cost_usd", "total_cost")),
    )


def message(value: Mapping[str, Any]) -> Message:
    """A role that is not one of the three stands as the user's."""
    role = text(value.get("role", value.get("from"))).lower().rpartition(".")[2]
    return Message(_ROLES.get(role, "user"), text(value.get("content", value.get("value"))))


def since(before: list[Message], request: list[Message]) -> tuple[tuple[Message, ...], bool]:
    """What a request adds to the one before; the whole of it and True, where it does not begin with that."""
    if request[: len(before)] == before:
        return tuple(request[len(before) :]), False
    return tuple(request), True


def kept(value: Any) -> Any:
    """JSON data to keep; what nests too deeply to be written again is kept as its text."""
    return as_json(value) if _too_deep(value) else value


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += [each for each in item.values() if isinstance(each, (dict, list))]
            elif isinstance(item, list):
                inner += [each for each in item if isinstance(each, (dict, list))]
        if not inner:
            return False
        level = inner
    return True


def rest(row: Mapping[str, Any], used: Collection[str]) -> dict[str, Any]:
    """What of a record was not taken; a field that is null says nothing."""
    return {key: kept(value) for key, value in row.items() if key not in used and value is not None}


def changed(named: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Values that are new or not as they were, and the names of those that are."""
    new = {name: kept(value) for name, value in named.items() if name not in before or before[name] != value}
    return new, [name for name in named if name not in new]


def described(value: Any) -> str:
    """A result, bounded: its type, its size, its text."""
    if isinstance(value, str):
        return f"str of {len(value):,} characters: {clip(repr(value), ANSWER_CHARS)}"
    size = f" of {len(value):,} items" if isinstance(value, (list, dict)) else ""
    return f"{type(value).__name__}{size}: {clip(as_json(value), ANSWER_CHARS)}"


def time(value: Any) -> datetime | None:
    """An ISO time, or seconds since 1970; UTC where no zone is told."""
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
        stamp = number(value)
        return None if not stamp else datetime.fromtimestamp(stamp, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def stamp(value: Any) -> str | None:
    """As the journal writes a time."""
    found = value if isinstance(value, datetime) else time(value)
    return None if found is None else found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def file_name(*parts: Any) -> str:
    """Letters, digits, dots and dashes, at most 80."""
    joined = "-".join(filter(None, map(text, parts)))
    return re.sub(r"[^A-Za-z0-9._-]+", "-", joined[:200])[:80].strip("-.")


def code_of(arguments: Any) -> str | None:
    """The Python that a tool was called with: `code` or one of its other names, also in JSON within a string."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    data = mapping(arguments)
    return first_text(data.get(name) for name in ("code", "source", "script", "python_code", "python", "cell"))


def cell_of(tool: Any, arguments: Any) -> str | None:
    """The cell that a call of a tool is: its Python, or a shell's command as Jupyter writes one."""
    if text(tool).lower() not in _SHELLS:
        return code_of(arguments)
    command = first_text(mapping(arguments).get(name) for name in ("command", "cmd"))
    return None if command is None else f"%%bash\n{command}"


def first_text(found: Iterable[Any]) -> str | None:
    return next((value for value in found if isinstance(value, str) and value.strip()), None)
