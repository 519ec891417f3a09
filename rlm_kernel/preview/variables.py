"""
The variables of a person's namespace, a line each, without what looks like a secret.

A secret is known by the variable's name, or by its value, where that is the value of an environment variable with
such a name. That is care, not a guarantee: a key under an innocent name is shown like any other text.
"""

from __future__ import annotations

import re
import types
from collections.abc import Collection, Mapping
from typing import Any

from rlm_kernel.preview import kinds
from rlm_kernel.preview.kinds import Show, is_a
from rlm_kernel.preview.lines import one_line
from rlm_kernel.preview.text import clip

_WORD = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
SECRET_WORDS = frozenset(
    {"key", "apikey", "token", "secret", "secrets", "password", "passwords", "passwd", "pwd", "passphrase"}
    | {"credential", "credentials", "cred", "creds", "auth", "authorization", "bearer"}
)

SHORTEST_SECRET = 8
"""A shorter value of the environment is only compared whole: `1` is in everything."""

TELLING_CHARS = 12
"""So much of a secret's start gives it away, since a line may end within it."""

MORE_NAMES = 200


def variables(
    namespace: Mapping[str, object],
    *,
    skip: Collection[str] = (),
    limit: int = 40,
    environ: Mapping[str, str] | None = None,
    show: Show = repr,
) -> str:
    """
    `name: type, size: start` a line, in the order of the namespace, `limit` lines and then the names of the rest.

    Left out: names in `skip` or with a leading underscore, modules, secrets, and functions and classes that were not
    written in this namespace. Empty where nothing is left. `environ` is asked for the values of secrets.
    """
    secrets = [value for name, value in (environ or {}).items() if value and looks_secret(name)]
    home = namespace.get("__name__", "__main__")
    names = [name for name in list(namespace) if is_a(name, str) and not name.startswith("_") and name not in skip]
    lines: list[str] = []
    rest: list[str] = []
    for name in names:
        value = namespace.get(name)
        if looks_secret(name) or _is_brought_in(value, home) or _holds_secret(value, secrets):
            continue
        if len(lines) >= limit:
            rest.append(name)
            continue
        line = f"{clip(name, kinds.NAME_CHARS)}: {one_line(value, show=show)}"
        if not any(secret[:TELLING_CHARS] in line for secret in secrets if len(secret) >= SHORTEST_SECRET):
            lines.append(line)
    if rest:
        lines.append(f"and {len(rest):,} more: {clip(', '.join(rest[:MORE_NAMES]), MORE_NAMES)}")
    return "\n".join(lines)


def looks_secret(name: str) -> bool:
    """By a whole word of it: `api_key`, `OPENAI_KEY` and `authToken`, but not `monkey` or `tokens_used`."""
    return any(word.lower() in SECRET_WORDS for word in _WORD.findall(name[:1_000]))


def _is_brought_in(value: Any, home: object) -> bool:
    if is_a(value, types.ModuleType, types.BuiltinFunctionType):
        return True
    if is_a(value, types.FunctionType):
        return bool(value.__module__ != home)
    return is_a(value, type) and kinds.module_of(value) != home


def _holds_secret(value: Any, secrets: list[str]) -> bool:
    """Looks at no more of a string than can come to be shown."""
    if not is_a(value, str):
        return False
    start = str.__getitem__(value, slice(0, 4_096))
    return any(start == secret or (len(secret) >= SHORTEST_SECRET and secret in start) for secret in secrets)
