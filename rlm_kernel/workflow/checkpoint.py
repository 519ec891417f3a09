"""
What a workflow has reached, as a file: written after each state, whole or not at all, and never pickled.

Kept is what the states wrote to the store, as far as it is plain data (`rlm_kernel.given`). What was given at the
start is not: there is a fingerprint of it, by which it is known again when the workflow goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlm_kernel import namespace
from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.given import fingerprint, keep, restore
from rlm_kernel.store import Store, refusal, unwatched
from rlm_kernel.trace.file import put
from rlm_kernel.workflow.agents import Next
from rlm_kernel.workflow.flow import Flow, name_of
from rlm_kernel.workflow.record import Record

SCHEMA = 1
LARGEST = 2_000_000_000
"""Bytes of one result."""
LOOKED_AT = 4_000_000
"""Bytes of each input that are looked at after every state, to see whether it was changed in place: milliseconds."""

_ABSENT: Any = object()


@dataclass(slots=True)
class Progress:
    state: str | None
    """The one that is next; None at the end."""
    goal: str = ""
    records: list[Record] = field(default_factory=list)
    """Of the states that are done, in order."""
    partial: dict[str, object] = field(default_factory=dict)
    """What some agents of the next state have given already, where others failed."""


class Checkpoint:
    """
    Where a workflow's progress is kept, and how results are that are no plain data.

    `save(key, value)` gives plain data that stands for such a value (it may write a file of its own and give the
    path), and `load(key, data)` makes the value of it again.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        save: Callable[[str, Any], object] | None = None,
        load: Callable[[str, Any], object] | None = None,
    ) -> None:
        if (save is None) != (load is None):
            raise UsageError("save and load go together: one makes plain data of a result, the other the result again")
        self.path = Path(path).expanduser()
        self.save = save
        self.load = load

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r})"


class Saved:
    """The checkpoint of one orchestrator over one store, while it runs. Its looks at the store are no use of it."""

    @unwatched()
    def __init__(self, checkpoint: Checkpoint, flow: Flow, store: Store) -> None:
        self._checkpoint = checkpoint
        self._flow = flow
        self._store = store
        self.path = checkpoint.path
        self._place = checkpoint.path.absolute()
        caller = namespace.present()
        self._again = None if caller is None else caller.checkpoints
        self._inputs = {key: (value, _known_by(value)) for key, value in store.items()}
        self._written: dict[str, tuple[object, str | None]] = {}
        """By key, the value as last seen and the state that wrote it."""

    def exists(self) -> bool:
        return self.path.exists() if self._again is None else self._place in self._again.written

    @unwatched()
    def write(self, progress: Progress, state: str | None = None) -> None:
        """`state` is the one that has just been at work. Raises UsageError where the file cannot be written."""
        values = {key: self._kept(key, value) for key, value in self._changed(state).items()}
        data = {
            "rlm_workflow": SCHEMA,
            "flow": dict(self._flow.table),
            "goal": progress.goal,
            "next": progress.state,
            "records": [record.as_json() for record in progress.records],
            "inputs": {key: known for key, (_, known) in self._inputs.items()},
            "values": {key: {**entry, "state": self._written[key][1]} for key, entry in values.items()},
            "removed": [key for key in self._inputs if key not in self._store],
            "partial": {name: self._given(name, value) for name, value in progress.partial.items()},
        }
        written = json.dumps(data, separators=(",", ":")).encode("ascii")
        if self._again is not None:
            self._again.written[self._place] = written
            if not self._again.as_files:
                return
        try:
            put(self.path, written, 0o600)
        except OSError as error:
            raise UsageError(
                f"the checkpoint {self.path} cannot be written ({error.strerror or error}): give another place"
            ) from None

    @unwatched()
    def read(self, at: str | None, goal: str) -> Progress:
        """
        The progress, and the results put back into the store. With `at` it goes back to that state.

        Raises UsageError, and the store is as it was.
        """
        data = self._load()
        try:
            progress = Progress(data["next"], str(data["goal"]), [Record.of_json(each) for each in data["records"]])
            over = bool(progress.records) and progress.records[-1].next is None
            if not isinstance(progress.state, str) and not (over and progress.state is None):
                raise ValueError("it is not said what is next")
            if goal and goal != progress.goal:
                raise UsageError(f"{self.path} began with another goal: give the same or none, or delete the file")
            if at is not None:
                _rewind(progress, at)
            self._check_inputs(data)
            found, missing = self._values(data, progress)
            if at is None and progress.state is not None:
                progress.partial = {
                    name: self._regiven(name, entry) for name, entry in data["partial"].items() if "form" in entry
                }
            removed = [str(key) for key in data["removed"]]
        except (KeyError, TypeError, ValueError, AttributeError, TraceError) as error:
            if isinstance(error, UsageError):
                raise
            raise self._broken(error) from None
        if missing:
            raise UsageError(f"{self.path} does not hold {_told(missing)}")
        if (why := refusal(self._store, found)) is not None:
            raise UsageError(f"{self.path} holds what goes into the store, and {why}")
        for key in removed:
            self._store.pop(key, None)
        for key, value in found.items():
            self._store[key] = value
        for key, entry in data["values"].items():
            if key in self._store:
                self._written[key] = (self._store[key], entry.get("state"))
        self._inputs = {key: (self._store.get(key, _ABSENT), known) for key, known in data["inputs"].items()}
        return progress

    def _changed(self, state: str | None) -> dict[str, Any]:
        """What is in the store and was not given, or not so."""
        changed = {}
        for key, value in self._store.items():
            given, known = self._inputs.get(key, (_ABSENT, None))
            if key not in self._written and value is given and _known_by(value) == known:
                continue
            seen, by = self._written.get(key, (_ABSENT, None))
            self._written[key] = (value, by if seen is value else state)
            changed[key] = value
        return changed

    def _kept(self, key: str, value: object) -> dict[str, Any]:
        kept = keep(value, LARGEST)
        entry: dict[str, Any] = {"type": type(value).__name__}
        if kept is None and self._checkpoint.save is not None:
            entry["saved"] = True
            kept = keep(self._checkpoint.save(key, value), LARGEST)
            if kept is None:
                raise UsageError(f"save({key!r}, …) gave no plain data: give texts, numbers, lists and dicts")
        return entry if kept is None else {**entry, "form": kept.form, "text": kept.text}

    def _given(self, name: str, value: object) -> dict[str, Any]:
        """Of an agent, which may have said besides what follows."""
        if not isinstance(value, Next):
            return self._kept(name, value)
        return {**self._kept(name, value.value), "next": name_of(value.state) or ""}

    def _regiven(self, name: str, entry: dict[str, Any]) -> object:
        value = self._restored(name, entry)
        return Next(str(entry["next"]), value) if "next" in entry else value

    def _restored(self, key: str, entry: dict[str, Any]) -> object:
        value = restore(entry["form"], entry["text"])
        if not entry.get("saved"):
            return value
        if self._checkpoint.load is None:
            raise UsageError(f"{self.path} has {key} as save= gave it: give Checkpoint(path, save=…, load=…)")
        return self._checkpoint.load(key, value)

    def _load(self) -> Any:
        try:
            data = json.loads(self.path.read_bytes() if self._again is None else self._again.written[self._place])
            schema = data["rlm_workflow"]
        except OSError as error:
            raise UsageError(f"the checkpoint {self.path} cannot be read ({error.strerror or error})") from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._broken(error) from None
        if schema != SCHEMA:
            raise UsageError(f"{self.path} is of another version of rlm_kernel ({str(schema)[:20]}): use that one")
        return data

    def _broken(self, error: Exception) -> UsageError:
        return UsageError(f"{self.path} is no checkpoint of a workflow ({type(error).__name__}): give another file")

    def _check_inputs(self, data: Any) -> None:
        for key, known in data["inputs"].items():
            if key in data["values"] or key in data["removed"]:
                continue
            if key not in self._store:
                raise UsageError(f"{self.path} began with {key!r} in the store: put it there before it goes on")
            if _known_by(self._store[key]) != known:
                raise UsageError(
                    f"{self.path} began with another {key!r} than the store has: give the same, or delete the file"
                )

    def _values(self, data: Any, progress: Progress) -> tuple[dict[str, object], dict[str, str | None]]:
        """What the file gives to the store, and what it should and does not, by key the state that wrote it."""
        found, missing = {}, {}
        states = {record.state for record in progress.records}
        for key, entry in data["values"].items():
            # What a person has put there meanwhile stays.
            if key in self._store and _known_by(self._store[key]) != data["inputs"].get(key):
                continue
            if "form" in entry:
                found[key] = self._restored(key, entry)
            elif entry.get("state") in states:
                missing[key] = entry["state"]
        return found, missing


def _rewind(progress: Progress, at: str) -> None:
    progress.state = at
    visits = [number for number, record in enumerate(progress.records) if record.state == at]
    if visits:
        del progress.records[visits[-1] :]


def _known_by(value: object) -> list[str | None]:
    return [type(value).__name__, fingerprint(value, LOOKED_AT)]


def _told(missing: dict[str, str | None]) -> str:
    state = next(iter(missing.values()))
    names = ", ".join(key if key == by else f"{key} (of state {by})" for key, by in list(missing.items())[:10])
    return (
        f"{names}: no plain data. Put it into the store, run that state again with at={state!r}, "
        "or give Checkpoint(path, save=…, load=…) from the start"
    )
