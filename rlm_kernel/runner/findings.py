"""What a run finds of a person's and a replay will need: its context, and the variables that the cells read first."""

from __future__ import annotations

import base64
import dis
import hashlib
import types
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlm_kernel import given, preview
from rlm_kernel.environment.secrets import Redactor
from rlm_kernel.environment.within import repr_within
from rlm_kernel.errors import TraceError
from rlm_kernel.runner.briefing import HIDDEN
from rlm_kernel.store import Store
from rlm_kernel.trace import file
from rlm_kernel.trace.events import Given
from rlm_kernel.trace.varying import names_in, read_first


class Findings:
    """
    Of one run, or of a cell that may begin one. `keep` is the setting `keep_context`; `folder` is that of the journal,
    None for a run without one.
    """

    def __init__(
        self, agent: str, namespace: Mapping[str, Any], redactor: Redactor, keep: str, folder: Path | None
    ) -> None:
        self._agent = agent
        self._namespace = namespace
        self._redactor = redactor
        self._keep = keep
        self._folder = folder
        self._persons = {name for name in namespace if name not in HIDDEN and not name.startswith("_")}

    def context(self) -> tuple[Given, ...]:
        """None where nothing was put into it."""
        value = self._namespace.get("context")
        if value is None or (isinstance(value, Store) and not len(value)):
            return ()
        return (self._given("context", value, large=self._keep == "all"),)

    def before(self, source: str) -> tuple[Given, ...]:
        """To be called before each cell of the root. The person's variables that none of its cells has read so far."""
        names = names_in(source)
        read = self._with_functions(self._persons & read_first(source))
        self._persons -= names.loaded | names.assigned | read
        return tuple(self._given(name, self._namespace[name]) for name in sorted(read) if name in self._namespace)

    def before_own(self, source: str) -> tuple[Given, ...]:
        """The same of a person's own cell, which has been told nothing of a context: it is one more variable."""
        context = self.context() if "context" in read_first(source) else ()
        return (*context, *self.before(source))

    def _with_functions(self, names: set[str]) -> set[str]:
        """And the variables that functions of the person's among them read, and those in these."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                value = self._namespace.get(name)
                if type(value) is types.FunctionType and value.__globals__ is self._namespace:
                    waiting += self._persons & _globals_of(value.__code__)
        return found

    def _given(self, name: str, value: object, large: bool = False) -> Given:
        told = Given(
            agent=self._agent,
            name=name,
            description=self._redactor.text(preview.describe(value, show=repr_within)),
        )
        if isinstance(value, types.ModuleType):
            return replace(told, form="module", value=value.__name__)
        if self._keep == "none" and name == "context":
            why = "the setting keep_context was 'none'"
            return replace(told, sha=given.fingerprint(value), left_out=why)
        kept = given.keep(value)
        if kept is None and large:
            kept = given.keep(value, 2**62)
        if kept is not None and (secrets := self._redactor.named_in(_as_text(kept))):
            # Of a secret there is no fingerprint either.
            return replace(told, left_out=f"it holds a secret of the environment, {', '.join(secrets)}")
        told = replace(told, sha=given.fingerprint(value))
        if kept is None:
            return replace(told, left_out=_why_not(name, value))
        if len(kept.text) <= 2 * given.KEPT_BYTES:
            return replace(told, form=kept.form, value=kept.text)
        beside = self._beside(kept)
        lost = "it is large, and could not be written beside the trace" if beside is None else None
        return replace(told, form="file", value=beside, left_out=lost)

    def _beside(self, kept: given.Kept) -> str | None:
        if self._folder is None:
            return None
        data = kept.text.encode("utf-8", "surrogatepass")
        name = f"{hashlib.sha256(data).hexdigest()}.{kept.form}"
        try:
            file.put_beside(self._folder, name, data)
        except TraceError:
            return None  # the description and the fingerprint are there
        return name


def _globals_of(code: types.CodeType) -> set[str]:
    read = {str(each.argval) for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = (_globals_of(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return read.union(*inner)


def _as_text(kept: given.Kept) -> str:
    """As secrets stand in it."""
    if kept.form != "bytes":
        return kept.text
    return base64.b64decode(kept.text).decode("utf-8", "replace")


def _why_not(name: str, value: object) -> str:
    if not given.is_large(value):
        return "it is no plain data that JSON can hold"
    most = f"it is larger than {given.KEPT_BYTES:,} bytes"
    return f"{most}, and the setting keep_context was not 'all'" if name == "context" else most


def restored(found: Given, folder: Path | None) -> Any:
    """
    The value of a `Given`. `folder` is that of the trace.

    Raises TraceError where the record does not hold it, or the file beside it is gone or another.
    """
    if found.form is None or found.value is None:
        why = "only its description" if found.left_out is None else found.left_out
        raise TraceError(f"{found.name} is not in the record ({why})")
    if found.form != "file":
        return given.restore(found.form, found.value)
    if folder is None:
        raise TraceError(f"{found.name} lies in a file beside the trace, and this trace is in no file")
    data = file.read_beside(folder, found.value)
    return given.restore(found.value.rpartition(".")[2], data.decode("utf-8", "surrogatepass"))
