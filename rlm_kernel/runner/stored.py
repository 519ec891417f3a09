"""
How a record keeps a store: of each key the value where it is plain and small enough, else why not, its fingerprint, and
who wrote it. No time stands in it, so that the same store is the same text.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rlm_kernel import given, preview
from rlm_kernel.environment.secrets import Redactor
from rlm_kernel.environment.within import repr_within
from rlm_kernel.errors import TraceError
from rlm_kernel.store import Store
from rlm_kernel.store.entries import Entry
from rlm_kernel.store.state import State, made_of, state_of

FORM = "results"

MOST_KEYS = 10_000
"""Of more, nothing is kept but the description and the fingerprint."""
MOST_ENTRIES = 200
"""The newest writes of a key that are kept; each has its number, so that earlier ones show."""
_MOST_GONE = 1_000
_LEAST_LOOKED_AT = 64_000

Wrote = tuple[int, str, int | None, str | None, Any, str | None, str | None, int | None]
"""
Number, who, step, type, size, note, and the run and the person's cell in which it was done; type None for a deletion.
Older records end with the note. `trace.views.earlier` reads them too.
"""


@dataclass(frozen=True, slots=True)
class KeptKey:
    told: str
    """What it was, in one line."""
    sha: str | None = None
    """`fingerprint` of it; None where it is no plain data."""
    form: str | None = None
    value: str | None = None
    left_out: str | None = None
    """Why the value is not kept."""
    entries: Sequence[Wrote] = ()

    def made(self) -> object:
        """Raises TraceError where the value is not kept."""
        if self.form is None or self.value is None:
            raise TraceError(self.left_out or "only its description")
        return given.restore(self.form, self.value)


@dataclass(frozen=True, slots=True)
class KeptStore:
    keys: Mapping[str, KeptKey]
    gone: Mapping[str, Sequence[Wrote]] = field(default_factory=dict)
    """Keys that were deleted, by whom."""
    hidden: Sequence[str] = ()
    view: bool | None = False
    """None in older records, which do not know."""
    read_only: bool = False
    looked_at: int = given.LOOKED_AT
    """What the fingerprint of each key looks at."""

    def made(self, values: Mapping[str, object]) -> Store:
        """A new store, with these values of its keys."""
        return made_of(State(values, self.entries({}), self.hidden, bool(self.view), self.read_only))

    def entries(self, there: Mapping[str, list[Entry]]) -> dict[str, list[Entry]]:
        """To be put back. Those that are there and are the same keep their times."""
        wrote = {**self.gone, **{key: kept.entries for key, kept in self.keys.items() if kept.entries}}
        return {key: _entries(known, there.get(key, [])) for key, known in wrote.items()}

    def text(self) -> str:
        plain = {**asdict(self), "keys": {key: asdict(kept) for key, kept in self.keys.items()}}
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def keep(store: Store, most: int, redactor: Redactor, why: Callable[[object], str]) -> KeptStore | None:
    """
    All its plain values that take `most` bytes together, the small ones first; none with 0. None for too many keys.

    `why` says of a value why it is not kept.
    """
    state = state_of(store)
    if len(state.values) > MOST_KEYS:
        return None
    looked_at = max(_LEAST_LOOKED_AT, given.LOOKED_AT // max(1, len(state.values)))
    keys = {}
    for key, value in state.values.items():
        wrote = [_without_time(entry, redactor) for entry in state.entries.get(key, [])[-MOST_ENTRIES:]]
        keys[key] = _key(value, most, looked_at, redactor, why, wrote)
    left = most
    for key in sorted(keys, key=lambda key: len(keys[key].value or "")):
        left -= len(keys[key].value or "")
        if left < 0:
            found = keys[key]
            keys[key] = KeptKey(found.told, found.sha, left_out=why(state.values[key]), entries=found.entries)
    gone = [key for key in state.entries if key not in state.values][-_MOST_GONE:]
    deleted = {key: [_without_time(entry, redactor) for entry in state.entries[key][-MOST_ENTRIES:]] for key in gone}
    hidden = list(state.hidden)[:MOST_KEYS]
    return KeptStore(keys, deleted, hidden, state.view, state.read_only, looked_at)


def _key(
    value: object,
    most: int,
    looked_at: int,
    redactor: Redactor,
    why: Callable[[object], str],
    wrote: list[Wrote],
) -> KeptKey:
    told = redactor.text(preview.one_line(value, show=repr_within))
    kept = given.keep(value, most) if most else None
    if kept is not None and (secrets := redactor.named_in(given.as_text(kept))):
        # Of a secret there is no fingerprint either.
        return KeptKey(told, left_out=f"it holds a secret of the environment, {', '.join(secrets)}", entries=wrote)
    sha = given.fingerprint(value, looked_at)
    if kept is None:
        return KeptKey(told, sha, left_out=why(value), entries=wrote)
    return KeptKey(told, sha, kept.form, kept.text, None, wrote)


def told_of(kept: KeptStore, keys: Sequence[str]) -> str | None:
    """Why these are not kept; None for none."""
    shown = [f"{key}: {kept.keys[key].left_out}" for key in keys[:10]]
    more = [f"… {len(keys) - 10:,} more"] if len(keys) > 10 else []
    return "; ".join([*shown, *more]) or None


def of_text(text: str) -> KeptStore:
    """Raises TraceError where that is no store that was kept."""
    try:
        plain = json.loads(text)
        keys = {
            str(key): KeptKey(**{**kept, "entries": [_wrote(each) for each in kept["entries"]]})
            for key, kept in plain.pop("keys").items()
        }
        gone = {str(key): [_wrote(each) for each in wrote] for key, wrote in plain.pop("gone").items()}
        return KeptStore(keys, gone, **plain)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise TraceError(f"a store in the record cannot be read: {type(error).__name__}: {error}") from None


def of_older(text: str) -> KeptStore:
    """Of an older record, which had the values alone."""
    store = given.restore("store", text)
    keys = {}
    for key, value in state_of(store).values.items():
        kept = given.keep(value, given.ANY_SIZE)
        if kept is None:
            raise TraceError("a store in the record cannot be read")
        told = preview.one_line(value, show=repr_within)
        keys[key] = KeptKey(told, given.fingerprint(value), kept.form, kept.text)
    return KeptStore(keys, view=None)


def _without_time(entry: Entry, redactor: Redactor) -> Wrote:
    note = None if entry.note is None else redactor.text(entry.note)
    return entry.number, entry.who, entry.step, entry.type, entry.size, note, entry.run, entry.cell


def _wrote(each: Any) -> Wrote:
    number, who, step, kind, size, note, *place = each
    run, cell = place or (None, None)
    shape = tuple(int(one) for one in size) if isinstance(size, list) else size
    known = None if run is None else str(run), None if cell is None else int(cell)
    return int(number), str(who), step, kind, shape, note, *known


def _entries(wrote: Sequence[Wrote], there: list[Entry]) -> list[Entry]:
    now = time.time()
    times = {(each.number, each.type is None): each for each in there}
    found = []
    for number, who, step, kind, size, note, run, cell in wrote:
        known = times.get((number, kind is None))
        made = Entry(number, who, step, now, kind, size, note, run, cell)
        found.append(known if known is not None and known._replace(when=now) == made else made)
    return found
