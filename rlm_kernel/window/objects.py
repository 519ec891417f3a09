"""What is neither text nor rows, as a source: shown by the rules of `preview`."""

from __future__ import annotations

from rlm_kernel import preview
from rlm_kernel.preview import kinds, outline
from rlm_kernel.preview.kinds import Show
from rlm_kernel.window.foreign import Remembering
from rlm_kernel.window.source import BUILT_ANYWAY


class Object:
    anyway = BUILT_ANYWAY

    def __init__(self, value: object, show: Show) -> None:
        self._value, self._show = value, Remembering(show)

    def part(self, room: int) -> tuple[str, bool]:
        text = preview.render(self._value, room, show=self._show)
        return text, not text.endswith("shown only in part]")

    def tokens(self) -> int:
        text = outline.text_in(self._value)
        sample = "".join(text.samples)
        size = kinds.length(self._value, self._show) or 0
        return 2 * size + (round(preview.estimate_tokens(sample) * text.chars / len(sample)) if sample else 0)
