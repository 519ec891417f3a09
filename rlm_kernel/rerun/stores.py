"""A store that a record needs: the one that is there where it is the same but for what the run did, else a new one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from rlm_kernel import preview
from rlm_kernel.environment.within import repr_within
from rlm_kernel.errors import TraceError
from rlm_kernel.given import fingerprint
from rlm_kernel.runner.stored import KeptKey, KeptStore, told_of
from rlm_kernel.store import Store
from rlm_kernel.store.entries import Entry
from rlm_kernel.store.state import State, made_of, put_back, state_of
from rlm_kernel.trace.loading import Trace

_MOST_NAMED = 10
_CONTEXT = 1
"""The number of the root's `context` among the stores of a run, see `Used`."""


@dataclass(slots=True)
class Meeting:
    """Of a recorded store with what stands under its name."""

    wrong: str | None = None
    said: list[str] = field(default_factory=list)
    before_told: str = ""
    """Goes on the last sentence of `said`, where `_rlm_before` is made."""
    before: object = None
    """What stands there now, for `_rlm_before`: a copy where that very store is changed."""
    put: Callable[[], object] = lambda: None
    """Does it; what is to stand there."""
    ours: bool = True
    """Whether nothing of a person's is in what will stand there."""


def written_by(trace: Trace, name: str) -> set[str]:
    """The keys that the run wrote or deleted; of a store that is not its `context`, those of any store."""
    used = (each for agent in trace for each in [*agent.used, *(one for step in agent.steps for one in step.used)])
    return {
        each.key for each in used if each.how in ("write", "delete") and (name != "context" or each.store == _CONTEXT)
    }


def meet_none(name: str, here: object, written: Collection[str]) -> Meeting | None:
    """Where the run found nothing in a store: what it wrote is put away. None where nothing of that is there."""
    if type(here) is not Store or not any(key in written for key in state_of(here).values):
        return None
    return meet(name, KeptStore({}, view=None), here, written, over=False, ours=False)


def meet(name: str, recorded: KeptStore, here: object, written: Collection[str], *, over: bool, ours: bool) -> Meeting:
    """
    `here` is None where nothing is there. With `over` a person's other values make way; `ours` says that `here` is of
    an earlier time that this record ran.
    """
    store = here if type(here) is Store else None
    now = State({}, {}) if store is None else state_of(store)
    values: dict[str, object] = {}
    changed, untold, lacking = [], [], []
    for key, kept in recorded.keys.items():
        if key in now.values and _is_it(key, kept, now, recorded.looked_at, written):
            values[key] = now.values[key]
            if kept.sha is None:
                untold.append(key)
            continue
        if key in now.values and key not in written:
            changed.append(key)
        try:
            values[key] = kept.made()
        except TraceError:
            lacking.append(key)
    touched = any(key in now.values for key in (*recorded.keys, *written))
    another = (here is not None and store is None) or (bool(now.values) and not touched)
    wrong = []
    if (another or changed) and not (over or ours):
        wrong.append(_another(name, recorded, here, changed, now))
    if lacking := [key for key in lacking if key not in changed or not wrong]:
        what = ", ".join(f"{key} ({recorded.keys[key].told})" for key in lacking[:_MOST_NAMED])
        named = ", or name a store that has it with -c" if name == "context" else ""
        why = told_of(recorded, lacking)
        wrong.append(f"{name} is not wholly in the record ({why}): put {what} into `{name}` first{named}")
    if wrong:
        return Meeting("; ".join(wrong))
    meeting = Meeting(before=here, ours=ours or here is None or (store is not None and not now.values))
    if untold and not ours:
        meeting.said.append(f"whether {_named(untold)} in `{name}` is what it was cannot be told")
    other_kind = recorded.view is not None and (now.view, now.read_only) != (recorded.view, recorded.read_only)
    if store is None or another or other_kind or (changed and not ours):
        meeting.put, meeting.ours = lambda: recorded.made(values), True
        if here is not None and (store is None or now.values) and not ours:
            why = f" ({_named(changed)})" if changed else ""
            meeting.said.append(f"`{name}` is not what it was then{why}: the recorded value was put back")
            meeting.before_told = f', and what was here is `_rlm_before["{name}"]`'
        return meeting
    _same_store(name, recorded, store, now, values, written, meeting)
    return meeting


def _same_store(
    name: str,
    recorded: KeptStore,
    store: Store,
    now: State,
    values: dict[str, object],
    written: Collection[str],
    meeting: Meeting,
) -> None:
    away = [key for key in now.values if key in written and key not in values]
    others = [key for key in now.values if key not in values and key not in away]
    entries = {key: wrote for key, wrote in recorded.entries(dict(now.entries)).items() if key not in others}
    forgotten = [*away, *(key for key in now.entries if key in written and key not in values)]
    if others:
        meeting.said.append(f"`{name}` also holds {_named(others)}, which was not in it then")
    again = [key for key, value in values.items() if key not in now.values or now.values[key] is not value]

    def put() -> Store:
        put_back(store, values, entries, forgotten)
        return store

    meeting.put = put
    if now.values and (again or away):
        meeting.before = made_of(now)
        persons = any(key in now.values and key not in written for key in again)
        if persons or not meeting.ours:
            meeting.said.append(f"`{name}` is put back as it was before the run ({_named([*again, *away])})")
            meeting.before_told = f'; as it was here, it is `_rlm_before["{name}"]`'


def _is_it(key: str, kept: KeptKey, now: State, looked_at: int, written: Collection[str]) -> bool:
    value = now.values[key]
    if kept.sha is not None:
        return fingerprint(value, looked_at) == kept.sha
    if key not in written:
        return True  # nobody can tell
    last: Entry = now.entries[key][-1]
    was = kept.entries[-1] if kept.entries else ()
    return last.who == "person" or was[:6] == (last.number, last.who, last.step, last.type, last.size, last.note)


def _another(name: str, recorded: KeptStore, here: Any, changed: list[str], now: State) -> str:
    if not changed:
        was = f"Store, {len(recorded.keys):,} item{'' if len(recorded.keys) == 1 else 's'}"
        shown = preview.one_line(here, show=repr_within)
        return f"`{name}` is not what it was: recorded was {was}, here is {shown}{_mend(name, recorded)}"
    parts = [
        f"`{name}[{key!r}]` is not what it was: recorded was {recorded.keys[key].told}, here is "
        f"{preview.one_line(now.values[key], show=repr_within)}"
        for key in changed[:_MOST_NAMED]
    ]
    return "; ".join(parts) + _mend(name, recorded)


def _mend(name: str, recorded: KeptStore) -> str:
    whole = all(kept.value is not None for kept in recorded.keys.values())
    return f" (del {name}, and the recorded one is put there)" if whole else ""


def _named(keys: list[str]) -> str:
    more = f" and {len(keys) - _MOST_NAMED:,} more" if len(keys) > _MOST_NAMED else ""
    return ", ".join(keys[:_MOST_NAMED]) + more
