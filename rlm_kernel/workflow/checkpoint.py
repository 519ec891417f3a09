"""
What a workflow has reached, as a file: written after each state, whole or not at all, and never pickled.

Kept is what the states wrote to the store, as far as it is plain data (`kept`). What was given at the start is not:
there is a fingerprint of it (`inputs`), by which it is known again when the workflow goes on.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlm_kernel import namespace
from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.store import Store, refusal, unwatched
from rlm_kernel.trace.file import put
from rlm_kernel.workflow.agents import Next
from rlm_kernel.workflow.flow import Flow, name_of
from rlm_kernel.workflow.inputs import Input, unsure
from rlm_kernel.workflow.kept import kept, restored
from rlm_kernel.workflow.progress import Progress
from rlm_kernel.workflow.record import Record

SCHEMA = 2
_READ = (1, SCHEMA)
"""1 knew inputs by less, and held fewer kinds of results."""

_ABSENT: Any = object()


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
        self._caller = namespace.present()
        self._again = None if self._caller is None else self._caller.checkpoints
        self._inputs = {key: Input(value) for key, value in store.items()}
        self._began: dict[str, Any] = {key: each.known for key, each in self._inputs.items()}
        """By what the inputs are known, as the file has it."""
        self._written: dict[str, tuple[object, str | None]] = {}
        """By key, the value as last seen and the state that wrote it."""
        self._missed: set[str] = set()
        """What is not in the file, and that was said."""

    def exists(self) -> bool:
        return self.path.exists() if self._again is None else self._place in self._again.written

    @unwatched()
    def write(self, progress: Progress, state: str | None = None) -> None:
        """`state` is the one that has just been at work. Raises UsageError where the file cannot be written."""
        if state is None:
            self._tell(unsure(self._inputs))
        values = {key: self._kept(key, value) for key, value in self._changed(state).items()}
        data = {
            "rlm_workflow": SCHEMA,
            "flow": dict(self._flow.table),
            "goal": progress.goal,
            "next": progress.state,
            "records": [record.as_json() for record in progress.records],
            "inputs": self._began,
            "values": {key: {**entry, "state": self._written[key][1]} for key, entry in values.items()},
            "removed": [key for key in self._began if key not in self._store],
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
                progress.rewind(at)
            if (why := progress.misfit(self._flow, at)) is not None:
                raise UsageError(f"{self.path} is of another flow: {why}")
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
        self._began = data["inputs"]
        self._inputs = {key: each for key, each in self._inputs.items() if key in self._began}
        self._tell(unsure({key: each for key, each in self._inputs.items() if key not in self._written}))
        return progress

    def _changed(self, state: str | None) -> dict[str, Any]:
        """What is in the store and was not given, or not so."""
        changed = {}
        for key, value in self._store.items():
            given = self._inputs.get(key)
            if key not in self._written and given is not None and value is given.value and not given.changed():
                continue
            seen, by = self._written.get(key, (_ABSENT, None))
            self._written[key] = (value, by if seen is value else state)
            changed[key] = value
        return changed

    def _kept(self, key: str, value: object) -> dict[str, Any]:
        found = kept(value)
        entry: dict[str, Any] = {"type": type(value).__name__}
        if found is None and self._checkpoint.save is not None:
            entry["saved"] = True
            found = kept(self._checkpoint.save(key, value))
            if found is None:
                raise UsageError(f"save({key!r}, …) gave no plain data: give texts, numbers, lists and dicts")
        if found is None:
            self._tell_missed(key, entry["type"])
            return entry
        return {**entry, "form": found.form, "text": found.text}

    def _tell_missed(self, key: str, kind: str) -> None:
        """Now, and not only after a crash, when what was paid for is gone."""
        if key not in self._missed:
            self._missed.add(key)
            self._tell(
                f"{self.path} cannot hold {key} ({kind}), which is no plain data: another process cannot go on "
                "with it. Give Checkpoint(path, save=…, load=…), or return texts, numbers, lists, tuples and dicts"
            )

    def _tell(self, said: str | None) -> None:
        if said is not None and self._caller is None:
            warnings.warn(said, stacklevel=2)
        elif said is not None:
            print(f"note: {said}", file=sys.stderr)  # into the cell, and the same when it runs again

    def _given(self, name: str, value: object) -> dict[str, Any]:
        """Of an agent, which may have said besides what follows."""
        if not isinstance(value, Next):
            return self._kept(name, value)
        return {**self._kept(name, value.value), "next": name_of(value.state) or ""}

    def _regiven(self, name: str, entry: dict[str, Any]) -> object:
        value = self._restored(name, entry)
        return Next(str(entry["next"]), value) if "next" in entry else value

    def _restored(self, key: str, entry: dict[str, Any]) -> object:
        value = restored(entry["form"], entry["text"])
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
        if schema not in _READ:
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
            if not self._inputs[key].is_known(known):
                raise UsageError(
                    f"{self.path} began with another {key!r} than the store has: give the same, or delete the file"
                )

    def _values(self, data: Any, progress: Progress) -> tuple[dict[str, object], dict[str, str | None]]:
        """What the file gives to the store, and what it should and does not, by key the state that wrote it."""
        found, missing = {}, {}
        states = {record.state for record in progress.records}
        for key, entry in data["values"].items():
            # What a person has put there meanwhile stays.
            if key in self._inputs and not self._inputs[key].is_known(data["inputs"].get(key)):
                continue
            if "form" in entry:
                found[key] = self._restored(key, entry)
            elif entry.get("state") in states:
                missing[key] = entry["state"]
        return found, missing


def _told(missing: dict[str, str | None]) -> str:
    state = next(iter(missing.values()))
    names = ", ".join(key if key == by else f"{key} (of state {by})" for key, by in list(missing.items())[:10])
    return (
        f"{names}: no plain data. Put it into the store, run that state again with at={state!r}, "
        "or give Checkpoint(path, save=…, load=…) from the start"
    )
