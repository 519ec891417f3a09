"""
What was in the store as a workflow began: known again when it goes on, and seen where a state changes it in place.

Plain data is known by a fingerprint of all of it, anything else by its type and its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlm_kernel.given import fingerprint, whole_fingerprint
from rlm_kernel.store import Store
from rlm_kernel.store.sizes import SIZED, shape

_LOOKED_AT_ONCE = 4_000_000


class Input:
    """A value of the store, as it is now."""

    __slots__ = ("_before", "known", "value", "whole")

    def __init__(self, value: Any) -> None:
        sha, self.whole = whole_fingerprint(value)
        size = len(value) if type(value) in SIZED else shape(value)
        self.value = value
        self.known = {
            "type": type(value).__name__,
            "sha": sha,
            "size": list(size) if isinstance(size, tuple) else size,
        }
        # Comparing costs a tenth of another fingerprint, and comes after each state.
        self._before = _copied(value, {}) if self.whole else value

    def is_known(self, by: object) -> bool:
        """Whether it is what a file says that a workflow began with."""
        if isinstance(by, list):  # as files of schema 1 say it: they looked at no more
            return by == [self.known["type"], fingerprint(self.value, _LOOKED_AT_ONCE)]
        return self.known == by

    def changed(self) -> bool:
        """In place, meanwhile. False too where that is unknown, since it was not `whole`."""
        if self._before is self.value:
            return False
        try:
            return bool(self._before != self.value)
        except RuntimeError:  # another thread is changing it
            return True


def unsure(inputs: Mapping[str, Input]) -> str | None:
    """A warning of those that are not known in full."""
    names = [f"{key} ({each.known['type']})" for key, each in inputs.items() if not each.whole]
    if not names:
        return None
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return (
        f"{', '.join(names[:10])}{more}: no plain data, or very large. Whether it is the same when the workflow goes "
        "on is told by its type and size alone, and by its beginning; and what a state changes in it is not seen"
    )


_FIXED = frozenset({type(None), bool, int, float, str, bytes})


def _copied(value: Any, made: dict[int, Any]) -> Any:
    """What can be changed in place is a copy; the rest is shared, so that comparing does not look into it."""
    kind = type(value)
    if kind not in (list, tuple, dict, Store):
        return value
    if id(value) in made:
        return made[id(value)]
    if kind in (dict, Store):
        copy: Any = {key: _copied(each, made) for key, each in list(value.items())}
    elif _FIXED.issuperset(map(type, value)):
        copy = value[:]
    else:
        copy = kind([_copied(each, made) for each in value])
    made[id(value)] = copy
    return copy
