"""
Keys of the environment, kept out of everything that is stored or sent.

A cell can print its environment, and a model may ask it to. What looks like a secret there is replaced by its name
before a text reaches a model or a trace. This guards against accidents; code in the same process is not locked out.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rlm_kernel.values import CellError, CellResult

SECRET_NAME = re.compile(r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE)
MIN_CHARS = 8
"""Shorter values are words (`true`, `none`) more often than keys."""


class Redactor:
    """Replaces the values of secret environment variables by `[NAME]`, in strings however nested."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._known: dict[str, str] = {}
        self._secrets: list[tuple[str, str]] = []
        self._seen: Mapping[Any, Any] = {}
        self._look()

    def _look(self) -> None:
        """Again each time: a cell may load more of them, from a file, and what it takes away stays a secret."""
        # os.environ decodes itself at each look, which takes 0.03 ms; what it holds is compared undecoded.
        held = getattr(self._environ, "_data", self._environ)
        if held == self._seen:
            return
        self._seen = dict(held)
        found = {
            value: name
            for name, value in list(self._environ.items())
            if SECRET_NAME.search(name) and len(value) >= MIN_CHARS
        }
        if not found.keys() <= self._known.keys():
            self._known |= found
            self._secrets = sorted(self._known.items(), key=lambda pair: -len(pair[0]))

    def text(self, text: str) -> str:
        self._look()
        return self._replaced(text)

    def _replaced(self, text: str) -> str:
        for value, name in self._secrets:
            if value in text:
                text = text.replace(value, f"[{name}]")
        return text

    def settled(self, text: str) -> int:
        """How much of a text is redacted alike whatever follows; what is left may be the beginning of a secret."""
        self._look()
        cut = min((_beginning(value, text) for value, _ in self._secrets), default=len(text))
        while split := [at for value, _ in self._secrets if (at := _across(value, text, cut)) >= 0]:
            cut = min(split)
        return cut

    def named_in(self, text: str) -> list[str]:
        """The secrets that stand in a text, by their names; also as JSON writes them."""
        self._look()
        return sorted({name for value, name in self._secrets if value in text or json.dumps(value)[1:-1] in text})

    def result(self, result: CellResult) -> CellResult:
        self._look()
        if not self._secrets:
            return result
        error = result.error
        if error is not None:
            error = CellError(*(self._replaced(each) for each in (error.name, error.message, error.traceback)))
        return replace(result, outputs=self._value(result.outputs), error=error)

    def value(self, value: Any) -> Any:
        """Strings, however nested in dicts, lists and tuples."""
        self._look()
        return self._value(value) if self._secrets else value

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._replaced(value)
        if isinstance(value, dict):
            return {self._replaced(str(key)): self._value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._value(item) for item in value)
        return value


def _beginning(value: str, text: str) -> int:
    """Where that begins which is the end of the text and the beginning, not the whole, of the value."""
    at = text.find(value[0], max(0, len(text) - len(value) + 1))
    while at >= 0 and not value.startswith(text[at:]):
        at = text.find(value[0], at + 1)
    return len(text) if at < 0 else at


def _across(value: str, text: str, cut: int) -> int:
    """Where the value begins that stands on both sides of the cut; -1 where it does not."""
    return text.find(value, max(0, cut - len(value) + 1), cut + len(value) - 1) if cut < len(text) else -1


class Pieces:
    """
    A text that comes piece by piece, redacted as the whole would be: what may be the beginning of a secret is held back
    until more comes or `rest` is asked for. Thread-safe.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, name: str, text: str) -> str:
        """What of the stream of that name can be shown now."""
        with self._lock:
            text = self._held.pop(name, "") + text
            cut = self._redactor.settled(text)
            if cut < len(text):
                self._held[name] = text[cut:]
            return self._redactor.text(text[:cut])

    def rest(self) -> list[tuple[str, str]]:
        """Name and text of what was held back, for nothing follows it."""
        with self._lock:
            held, self._held = self._held, {}
            return [(name, self._redactor.text(text)) for name, text in held.items()]
