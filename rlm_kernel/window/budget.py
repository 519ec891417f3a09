"""The budget of what an agent may read, and a read that is charged to it."""

from __future__ import annotations

import threading

from rlm_kernel.errors import ContextBudgetExceeded, UsageError
from rlm_kernel.limits import Limits
from rlm_kernel.namespace.caller import Reading
from rlm_kernel.preview.kinds import Show, is_a
from rlm_kernel.values import Slice
from rlm_kernel.window.fitting import Window, as_text
from rlm_kernel.window.tables import has_rows
from rlm_kernel.window.text import base_of

MAX_TOKENS_PER_READ = Limits().max_tokens_per_read


class ReadBudget:
    """
    What an agent may see of data: what it reads, and what else its cells show. `None` is no limit, 0 is nothing.

    A read is counted when it is made. When its text is then shown, it is not counted again: what was read and is not
    shown yet is credit for whatever is shown next. Any thread may use it.
    """

    def __init__(
        self, max_tokens_per_read: int | None = MAX_TOKENS_PER_READ, max_read_tokens: int | None = None
    ) -> None:
        self.max_tokens_per_read = _limit("max_tokens_per_read", max_tokens_per_read)
        self.max_read_tokens = _limit("max_read_tokens", max_read_tokens)
        self._used = self._unseen = 0
        self._settling = False
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        return self._used

    @property
    def left(self) -> int | None:
        """Tokens, of all reads together."""
        return None if self.max_read_tokens is None else max(0, self.max_read_tokens - self._used)

    @property
    def unseen(self) -> int:
        """Tokens that were read and are not shown yet."""
        return self._unseen

    def charge(self, key: str, tokens: int) -> None:
        """Count a read. Where it does not fit, ContextBudgetExceeded, and nothing is counted."""
        if tokens < 0:
            raise ValueError(f"tokens={tokens}")
        if self.max_tokens_per_read is not None and tokens > self.max_tokens_per_read:
            raise ContextBudgetExceeded(key, tokens, 0, self.max_tokens_per_read)
        with self._lock:
            if self.max_read_tokens is not None and (self._settling or self._used + tokens > self.max_read_tokens):
                hint = "the cell is over, and its output is being counted" if self._settling else ""
                raise ContextBudgetExceeded(key, tokens, self._used, self.max_read_tokens, hint)
            self._used += tokens
            self._unseen += tokens

    def begin(self, used: int, unseen: int) -> None:
        """As it stood at a step that runs again."""
        with self._lock:
            self._used, self._unseen, self._settling = used, unseen, False

    def settle(self) -> tuple[int | None, int]:
        """`left` and `unseen` at the end of a cell. They hold until `show`: who reads meanwhile is refused."""
        with self._lock:
            self._settling = True
            return self.left, self._unseen

    def show(self, tokens: int) -> None:
        """Count what a cell's output shows: no more than `left` and `unseen` together, if the caller sees to it."""
        with self._lock:
            from_reads = min(tokens, self._unseen)
            self._unseen -= from_reads
            self._used += tokens - from_reads
            self._settling = False


def read(
    key: str,
    value: object,
    budget: Reading,
    *,
    max_tokens: int | None = None,
    lines: Slice | None = None,
    chars: Slice | None = None,
    rows: Slice | None = None,
    show: Show = repr,
) -> Window:
    """
    `value` as text, charged to `budget`.

    What was asked for, the whole or a slice, comes whole where it fits. Where it does not: with `max_tokens`, its head
    and tail in so many, or in fewer where the budget has no more; otherwise, and where there is no room for any part of
    it, ContextBudgetExceeded, and nothing is loaded or charged.
    """
    if max_tokens is not None and (not _is_int(max_tokens) or max_tokens < 1):
        raise UsageError(f"max_tokens={max_tokens!r}: give a whole number from 1 up")
    used, left, per_read = budget.used, budget.left, budget.max_tokens_per_read
    allowed = min((limit for limit in (left, per_read) if limit is not None), default=None)
    within = min((limit for limit in (allowed, max_tokens) if limit is not None), default=None)
    window = as_text(value, max_tokens=within, lines=lines, chars=chars, rows=rows, show=show)
    cut_on_purpose = max_tokens is not None and window.text
    if not window.whole and not cut_on_purpose:
        if max_tokens is not None and (allowed is None or max_tokens <= allowed):
            hint = f"max_tokens={max_tokens} has no room for any part of it"
            raise ContextBudgetExceeded(key, window.whole_tokens, 0, max_tokens, hint)
        assert allowed is not None  # else it would be whole
        one_read = left is None or (per_read is not None and per_read <= left)
        limit = per_read if one_read else budget.max_read_tokens
        assert limit is not None
        raise ContextBudgetExceeded(key, window.whole_tokens, 0 if one_read else used, limit, _mends(value, allowed))
    budget.charge(key, window.tokens)
    return window


def _mends(value: object, allowed: int) -> str:
    if allowed < 1:
        return "nothing more can be read; a cell can work on it by its name"
    ends = f"max_tokens={allowed} shows head and tail"
    if base_of(value) is not None:
        return f"{ends}, lines=(1, 40) or chars=(0, {allowed}) a part"
    return f"{ends}, rows=(0, 20) a part" if has_rows(value) else ends


def _limit(name: str, value: int | None) -> int | None:
    if value is not None and (not _is_int(value) or value < 0):
        raise UsageError(f"{name}={value!r}: give a whole number from 0 up, or None for no limit")
    return value


def _is_int(value: object) -> bool:
    return is_a(value, int) and not is_a(value, bool)
