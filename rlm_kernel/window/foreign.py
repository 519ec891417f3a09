"""Code of other libraries and of objects themselves: asked once, and within the time of `show`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rlm_kernel.errors import UsageError
from rlm_kernel.preview import kinds
from rlm_kernel.preview.kinds import Show
from rlm_kernel.preview.text import clip
from rlm_kernel.window.source import BUILT_ANYWAY, Source

Told = TypeVar("Told")


class Remembering:
    """What `show` said of an object, so that one which is slow to answer is asked once and not for each try."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._said: dict[int, tuple[object, object]] = {}

    def __call__(self, value: object) -> object:
        if id(value) not in self._said:
            try:
                said: object = self._show(value)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # as `preview` has it: a repr may raise SystemExit
                said = error
            self._said[id(value)] = value, said  # with the value, so that no other gets its id
        said = self._said[id(value)][1]
        if isinstance(said, BaseException):
            raise said
        return said


class Bounded:
    """A source that runs another library's code, within the time of `show`."""

    anyway = BUILT_ANYWAY

    def __init__(self, source: Source, value: object, show: Show) -> None:
        self._source, self._value, self._show = source, value, show

    def part(self, room: int) -> tuple[str, bool]:
        return bounded(self._value, self._show, lambda: self._source.part(room))

    def tokens(self) -> int:
        return bounded(self._value, self._show, lambda: self._source.tokens())


def bounded(value: object, show: Show, ask: Callable[[], Told]) -> Told:
    """What `ask` returns, asked within `show`. Raises UsageError where the object fails to tell."""
    came: list[Told] = []
    refused: list[UsageError] = []

    def asked() -> str:
        try:
            came.append(ask())
        except UsageError as error:  # ours, of a slice
            refused.append(error)
        return ""

    told = kinds.tell(value, show, asked)
    if refused:
        raise refused[0]
    if not came:
        raise UsageError(f"it cannot be read: {clip(told, 300)}")
    return came[0]
