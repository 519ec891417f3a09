"""What a person writes around the line of `%%rlm`: the question, where its context is, the form of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from re import Match
from typing import Any

from rlm_kernel import files, preview
from rlm_kernel.environment.within import repr_within
from rlm_kernel.errors import UsageError
from rlm_kernel.placeholders import PLACEHOLDER, small_text
from rlm_kernel.runner import HIDDEN
from rlm_kernel.schema import Schema


def fill(question: str, namespace: Mapping[str, object]) -> str:
    """
    `{name}` of an existing variable becomes its text where that is small, and its name where it is not.

    Which braces hold a name, and what is small, is in `placeholders`.
    """

    def put(found: Match[str]) -> str:
        name = found[1]
        if name not in namespace:
            return found[0]
        value = namespace[name]
        text = small_text(value)
        return f"`{name}` ({preview.one_line(value, show=repr_within)})" if text is None else text

    return PLACEHOLDER.sub(put, question)


def context_of(sources: list[str], namespace: dict[str, Any]) -> object:
    """A path that exists is read; anything else is an expression of the person's own."""
    paths = [Path(source).expanduser() for source in sources]
    named = [source for source in sources if source in namespace and source not in HIDDEN]
    if not named and all(path.exists() for path in paths):
        return files.load_all(paths)
    if len(sources) > 1:
        missing = next((source for source, path in zip(sources, paths, strict=True) if not path.exists()), sources[0])
        raise UsageError(f"-c {missing}: no such file; more than one -c takes paths only")
    try:
        return eval(sources[0], namespace)
    except Exception as error:
        raise UsageError(
            f"-c {sources[0]}: no such file, and as an expression it raises {type(error).__name__}: {error}"
        ) from None


def schema_of(source: str, namespace: dict[str, Any]) -> Schema:
    try:
        form = eval(source, namespace)
    except Exception as error:
        raise UsageError(f"--schema {source}: as an expression it raises {type(error).__name__}: {error}") from None
    return Schema(form)
