"""All of a store at one moment, to be made again from it or put back into it; nobody is told of either."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from rlm_kernel.store.entries import Entry
from rlm_kernel.store.held import Held
from rlm_kernel.store.mapping import Store, held_by, of_held


@dataclass(frozen=True, slots=True)
class State:
    values: Mapping[str, object]
    entries: Mapping[str, list[Entry]]
    """Of every key that is remembered, deleted ones too."""
    hidden: Collection[str] = ()
    """What a view does not let through."""
    view: bool = False
    read_only: bool = False


def state_of(store: Store) -> State:
    held = held_by(store)
    values, entries, hidden = held.all()
    return State(values, entries, hidden, held.above is not None, held.read_only)


def made_of(state: State) -> Store:
    """A store of its own, or a view of one in which the hidden keys are there, without their values."""
    held = Held()
    for key in state.hidden:
        held.put(key, None)
    held.put_back(state.values, state.entries, ())
    if state.view:
        held = held.only(tuple(state.values), state.read_only)
        held.put_back({}, state.entries, ())  # of the deleted ones too
    held.read_only = state.read_only
    return of_held(held)


def put_back(
    store: Store, values: Mapping[str, object], entries: Mapping[str, list[Entry]], away: Collection[str]
) -> None:
    """
    `values` come first, in their order, and each of `entries` is then all that is remembered of its key; the keys
    `away` are gone, with what was remembered of them unless `entries` has it. Others stay as they are.
    """
    held_by(store).put_back(values, entries, away)
