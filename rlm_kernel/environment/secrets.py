"""
Keys of the environment, kept out of everything that is stored or sent.

A cell can print its environment, and a model may ask it to. What looks like a secret there is replaced by its name
before a text reaches a model or a trace. This guards against accidents; code in the same process is not locked out.
"""

from __future__ import annotations

import os
import re
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
        self._secrets = sorted(
            ((value, name) for name, value in environ.items() if SECRET_NAME.search(name) and len(value) >= MIN_CHARS),
            key=lambda pair: -len(pair[0]),
        )

    def text(self, text: str) -> str:
        for value, name in self._secrets:
            if value in text:
                text = text.replace(value, f"[{name}]")
        return text

    def value(self, value: Any) -> Any:
        if not self._secrets:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.value(item) for item in value)
        return value

    def result(self, result: CellResult) -> CellResult:
        if not self._secrets:
            return result
        error = result.error
        if error is not None:
            error = CellError(error.name, self.text(error.message), self.text(error.traceback))
        return replace(result, outputs=self.value(result.outputs), error=error)
