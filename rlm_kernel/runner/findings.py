"""What a run finds of a person's and a replay will need: its context, and the variables that the cells read first."""

from __future__ import annotations

import dis
import functools
import hashlib
import types
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlm_kernel import given, preview
from rlm_kernel.environment.secrets import Redactor
from rlm_kernel.environment.within import repr_within
from rlm_kernel.errors import TraceError
from rlm_kernel.runner import stored
from rlm_kernel.runner.briefing import HIDDEN
from rlm_kernel.runner.displayed import Displayed
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
        self._displayed = Displayed()
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
        found = {name: self._namespace[name] for name in sorted(read) if name in self._namespace}
        found |= self._displayed.before(source, self._namespace)
        return tuple(self._given(name, value) for name, value in found.items())

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
            description=self._redactor.text(preview.describe(value, name=name, show=repr_within)),
        )
        if isinstance(value, types.ModuleType):
            return replace(told, form="module", value=value.__name__)
        if type(value) is Store and (told_of := self._store(told, name, value, large)) is not None:
            return told_of
        if self._keep == "none" and name == "context":
            return replace(told, sha=given.fingerprint(value), left_out=_KEEP_NONE)
        kept = given.keep(value)
        if kept is None and large:
            kept = given.keep(value, given.ANY_SIZE)
        if kept is not None and (secrets := self._redactor.named_in(given.as_text(kept))):
            # Of a secret there is no fingerprint either.
            return replace(told, left_out=_of_secrets(secrets))
        told = replace(told, sha=given.fingerprint(value))
        if type(value) is Store:
            return replace(told, left_out=f"it has more than {stored.MOST_KEYS:,} keys")
        if kept is None:
            return replace(told, left_out=_why_not(name, value))
        return self._with(told, kept)

    def _store(self, told: Given, name: str, value: Store, large: bool) -> Given | None:
        """None where it has too many keys."""
        most = given.ANY_SIZE if large else given.KEPT_BYTES
        why: Callable[[object], str] = functools.partial(_why_not, name)
        if self._keep == "none" and name == "context":
            most, why = 0, lambda value: _KEEP_NONE
        kept = stored.keep(value, most, self._redactor, why)
        if kept is None:
            return None
        text = kept.text()
        if secrets := self._redactor.named_in(text):  # in the name of a key
            return replace(told, left_out=_of_secrets(secrets))
        lost = [key for key, each in kept.keys.items() if each.left_out is not None]
        if not any(each.sha is None for each in kept.keys.values()):
            told = replace(told, sha=given.fingerprint(value))
        found = self._with(replace(told, left_out=stored.told_of(kept, lost)), given.Kept(stored.FORM, text))
        return self._store(told, name, value, large=False) if large and found.value is None else found

    def _with(self, told: Given, kept: given.Kept) -> Given:
        if _fits(kept):
            return replace(told, form=kept.form, value=kept.text)
        beside = self._beside(kept)
        lost = "it is large, and could not be written beside the trace" if beside is None else told.left_out
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


def _fits(kept: given.Kept) -> bool:
    """Into the trace itself. What `given.keep` finds small may be longer in JSON, and bytes are in base64."""
    if kept.form != "text":
        return len(kept.text) <= 2 * given.KEPT_BYTES
    return len(kept.text) <= given.KEPT_BYTES and len(kept.text.encode("utf-8", "surrogatepass")) <= given.KEPT_BYTES


def _globals_of(code: types.CodeType) -> set[str]:
    read = {str(each.argval) for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = (_globals_of(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return read.union(*inner)


_KEEP_NONE = "the setting keep_context was 'none'"


def _why_not(name: str, value: object) -> str:
    if not given.is_large(value):
        return "it is no plain data that JSON can hold"
    most = f"it is larger than {given.KEPT_BYTES:,} bytes"
    return f"{most}, and the setting keep_context was not 'all'" if name == "context" else most


def _of_secrets(names: list[str]) -> str:
    return f"it holds a secret of the environment, {', '.join(names)}"


def restored(found: Given, folder: Path | None) -> Any:
    """
    The value of a `Given`. `folder` is that of the trace.

    Raises TraceError where the record does not hold it, or the file beside it is gone or another.
    """
    form, text = _held(found, folder)
    if form == stored.FORM:
        kept = stored.of_text(text)
        return kept.made({key: each.made() for key, each in kept.keys.items()})
    return given.restore(form, text)


def restored_store(found: Given, folder: Path | None) -> stored.KeptStore | None:
    """None where it was no store. Raises TraceError as `restored` does."""
    form, text = _held(found, folder)
    if form == stored.FORM:
        return stored.of_text(text)
    return stored.of_older(text) if form == "store" else None


def _held(found: Given, folder: Path | None) -> tuple[str, str]:
    """Form and text."""
    if found.form is None or found.value is None:
        why = "only its description" if found.left_out is None else found.left_out
        raise TraceError(f"{found.name} is not in the record ({why})")
    if found.form != "file":
        return found.form, found.value
    if folder is None:
        raise TraceError(f"{found.name} lies in a file beside the trace, and this trace is in no file")
    data = file.read_beside(folder, found.value)
    return found.value.rpartition(".")[2], data.decode("utf-8", "surrogatepass")
