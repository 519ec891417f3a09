"""
Names in `sys` of which a process has one, made so that every model's cell has its own.

Python code reads and assigns them through `_Name`, a descriptor on the class of `sys`: in a model's cell an assignment
(`redirect_stdout`, `%%capture`, `sys.stdout = f`) holds in its context only, and ends with the cell. A thread that
the cell starts begins with what the cell has; what it assigns itself holds for itself.

The interpreter's own reads (`print`, the value of an expression) pass no descriptor: they take the entry in the
module's dict. A switch stands there for as long as any model's cell runs. Python code never gets to see it, so nothing
that was put in place by Python code can write back into it.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from rlm_kernel.environment.sink import SINK, Sink

_UNSET = object()

# As in `routing`: a property whose getter is ContextVar.get finds the writer of a printed line in C.
_OUT: ContextVar[Any] = ContextVar("rlm_print_stdout")
_ERR: ContextVar[Any] = ContextVar("rlm_print_stderr")
_WRITERS = {"stdout": _OUT, "stderr": _ERR}

routed: dict[str, Any] = {}
"""
What a cell begins with, by name: the process's stdout, stderr and displayhook that ask whose output they carry, and an
empty stdin.
"""

_lock = threading.RLock()
_running = 0


class _Switch:
    """Stands in the dict of `sys`. `found` is what everybody else has there, `before` what that replaced."""

    def __init__(self, name: str, found: Any) -> None:
        self._name = name
        self.found = self.before = found


def _same(attribute: str) -> property:
    return property(lambda switch: getattr(getattr(sys, switch._name), attribute))


class _Stream(_Switch):
    def __call__(self, text: str) -> Any:
        """The person's print, while a cell runs elsewhere: the argument of ContextVar.get is its default."""
        return None if self.found is None else self.found.write(text)

    # What C code asks of a stream. A `__getattr__` for all of it would make every look-up of `write` slower.
    flush, fileno, isatty, encoding, errors, buffer = map(
        _same, ("flush", "fileno", "isatty", "encoding", "errors", "buffer")
    )


class _Stdout(_Stream):
    write = property(_OUT.get)


class _Stderr(_Stream):
    write = property(_ERR.get)


class _Hook(_Switch):
    def __call__(self, value: object) -> None:
        sys.displayhook(value)


_SWITCHES: dict[str, type[_Switch]] = {"stdout": _Stdout, "stderr": _Stderr, "displayhook": _Hook}


def give_to_forked(streams: dict[str, Any]) -> None:
    """In a forked child, where locks may be held for ever: everybody prints to these, as if no cell ran."""
    for name, stream in streams.items():
        if isinstance(switch := sys.__dict__.get(name), _Stream):
            switch.found = stream
            _WRITERS[name].set(switch)
        else:
            sys.__dict__[name] = stream


class _Name:
    def __init__(self, name: str) -> None:
        self._name = name
        self.own: ContextVar[Any] = ContextVar(f"rlm_sys_{name}", default=_UNSET)

    def __get__(self, module: Any, kind: type | None = None) -> Any:
        if module is None:
            return self
        own = self.own.get()
        if own is not _UNSET:
            return own
        if SINK.get() is not None and self._name in routed:
            return routed[self._name]
        try:
            there = module.__dict__[self._name]
        except KeyError:
            raise AttributeError(f"module 'sys' has no attribute {self._name!r}") from None
        return there.found if isinstance(there, _Switch) else there

    def __set__(self, module: Any, value: Any) -> None:
        sink = SINK.get()
        if isinstance(value, _Switch):
            # From somebody who has read the dict of `sys`, as unittest.mock does, and puts back what was there.
            value = value.before if sink is None else routed[self._name]
        if sink is not None:
            self._set_own(module, value, sink)
            return
        with _lock:
            there = module.__dict__.get(self._name)
            if isinstance(there, _Switch):
                there.found, there.before = value, there.found
            else:
                module.__dict__[self._name] = value

    def __delete__(self, module: Any) -> None:
        self.__set__(module, None)

    def _set_own(self, module: Any, value: Any, sink: Sink) -> None:
        back = [routed.get(self._name)]
        if self._name in _WRITERS:  # sys.__displayhook__ prints: doctest puts it in place to get at the text
            back.append(getattr(module, f"__{self._name}__", None))
        puts_back = value is not None and any(value is one for one in back)
        writer = _WRITERS.get(self._name)
        if writer is not None:
            writer.set(
                getattr(sink, f"write_{self._name}") if puts_back else _NOWHERE if value is None else value.write
            )
        self.own.set(_UNSET if puts_back else value)


def _NOWHERE(text: str) -> None:
    """`print` where `sys.stdout` is None."""


class _Sys(ModuleType):
    stdin = _Name("stdin")  # what a person types, or pipes into a script, is for them
    stdout = _Name("stdout")
    stderr = _Name("stderr")
    displayhook = _Name("displayhook")
    excepthook = _Name("excepthook")  # a shell swaps it for the time of each cell that it runs

    def __reduce__(self) -> Any:
        """Picklers know modules by their exact class."""
        return importlib.import_module, ("sys",)


def install() -> None:
    """Idempotent, and for the life of the process."""
    sys.__class__ = _Sys


def of(sink: Sink) -> list[tuple[ContextVar[Any], Any]]:
    """The context variables of a cell that puts out into `sink`, each with what it begins with."""
    names = [vars(_Sys)[name].own for name in ("stdin", "stdout", "stderr", "displayhook", "excepthook")]
    return [(_OUT, sink.write_stdout), (_ERR, sink.write_stderr), *((own, _UNSET) for own in names)]


@contextmanager
def own_streams() -> Iterator[None]:
    """While any cell is within it, what the interpreter prints goes by context. The last one puts all back."""
    global _running
    with _lock:
        _running += 1
        if _running == 1:
            for name, switch in _SWITCHES.items():
                sys.__dict__[name] = switch(name, sys.__dict__.get(name))
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if not _running:
                for name in _SWITCHES:
                    there = sys.__dict__.get(name)
                    if isinstance(there, _Switch):
                        sys.__dict__[name] = there.found
