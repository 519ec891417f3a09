"""Before a record runs again: what it needs of a person's is put back or asked for, and what is missing is said."""

from __future__ import annotations

import ast
import dis
import importlib
import importlib.util
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm_kernel import preview
from rlm_kernel.environment.within import repr_within
from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.given import fingerprint
from rlm_kernel.rerun.machine import other_python, packages
from rlm_kernel.rerun.stores import Meeting, meet, meet_none, written_by
from rlm_kernel.runner.displayed import is_displayed, put_back
from rlm_kernel.runner.findings import restored, restored_store
from rlm_kernel.runner.stored import KeptStore
from rlm_kernel.store import Store
from rlm_kernel.trace.events import Given
from rlm_kernel.trace.loading import Trace
from rlm_kernel.trace.nodes import Agent
from rlm_kernel.trace.varying import names_in

_WITHIN = re.compile(r"%%agent[ \t]+(\S+)")
_NOTHING: Any = object()
_PUT = "_rlm_put_back"
"""The variable that holds, by name, what a record has put into a namespace, and the run that it is of."""


def prepare(
    trace: Trace, namespace: dict[str, Any], *, over: bool = False, anew: bool = False, named: Collection[str] = ()
) -> list[str]:
    """
    Puts the recorded values into the namespace and gives back what a person should know.

    A value of the person's own that is another than the recorded one is put away for that one with `over`, and a
    UsageError without, or where it is of the variables that they have `named` for this; so are values that the record
    does not hold and packages that are not installed: it names all, and then nothing was put anywhere.

    With `anew` the cells are to run in a namespace as they found it: what the root's recorded cells assign is put away,
    into the variable `_rlm_before` as all that the record puts something in the place of.
    """
    said: list[str] = []
    found = [] if trace.root is None else _to_put(trace.root, trace, namespace, over, named, anew, said)
    missing = [*(one.wrong for one in found if one.wrong is not None), *_no_context(trace, namespace)]
    missing += [*_elsewhere(trace), *packages(trace)]
    other = other_python(trace)
    if missing:
        raise UsageError("this record cannot run again here: " + "; ".join([*missing, *other]))
    if anew and trace.root is not None:
        _put_away(trace, namespace, found)
    for one in found:
        namespace[one.name] = value = one.put()
        if one.ours:
            namespace.setdefault(_PUT, {})[one.name] = (trace.run, value)
        if is_displayed(one.name):
            put_back(one.name, value, namespace)
    if trace.complaint is not None:
        said.append(f"the record is not whole: {trace.complaint}")
    run = trace.tree.run
    return said + other + [str(lost) for lost in ([] if run is None else run.origin.get("lost", []))]


def made_anew(trace: Trace, namespace: dict[str, Any]) -> list[str]:
    """What a person should know, before `prepare` does it, of variables that are put away."""
    taken = sorted(_made_by(trace) & set(namespace))
    return [f"{', '.join(taken)}: made anew by the cells; the old values are in _rlm_before"] if taken else []


def _put_away(trace: Trace, namespace: dict[str, Any], found: list[Found]) -> None:
    made = _made_by(trace)
    given = {"context"} if trace.root is None else {"context", *(found.name for found in trace.root.given)}
    before = {name: namespace[name] for name in sorted(made | given) if name in namespace}
    for name in made:
        namespace.pop(name, None)
    for one in found:
        if one.name in before and one.before is not None:
            before[one.name] = one.before
    namespace["_rlm_before"] = before


def _made_by(trace: Trace) -> set[str]:
    """What the cells make themselves, and did not find."""
    given = {"context"} if trace.root is None else {"context", *(found.name for found in trace.root.given)}
    return _assigned_in(trace) - given


def _assigned_in(trace: Trace) -> set[str]:
    """By the root's cells, and a person's own that began the record."""
    steps = [] if trace.root is None else trace.root.steps
    sources = [trace.persons_cell, *(step.source for step in steps)]
    return {name for source in sources if source is not None for name in _assigned(source)}


def _assigned(source: str) -> set[str]:
    """Variables of the namespace, and not of the functions in it."""
    try:
        code = compile(source, "", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return set(names_in(source).assigned)  # with magics in it
    return {str(each.argval) for each in dis.get_instructions(code) if each.opname in ("STORE_NAME", "STORE_GLOBAL")}


@dataclass(frozen=True, slots=True)
class Found:
    """A variable that the record knows of, and is to be put there."""

    name: str
    put: Callable[[], object] = lambda: None
    """What is to stand there."""
    wrong: str | None = None
    """Why nothing can be put there."""
    ours: bool = True
    """Whether nothing of a person's is in what will stand there."""
    before: object = None
    """What a person finds in `_rlm_before`, where that is not what stood there."""


def _to_put(
    root: Agent,
    trace: Trace,
    namespace: dict[str, Any],
    over_all: bool,
    named: Collection[str],
    anew: bool,
    said: list[str],
) -> list[Found]:
    folder = None if trace.path is None else trace.path.absolute().parent
    put = namespace.get(_PUT, {})
    assigned = _assigned_in(trace)
    found: list[Found] = []
    for given in root.given:
        here = namespace.get(given.name, _NOTHING)
        over = over_all and given.name not in named
        if is_displayed(given.name) and (given.value is not None or here == ""):
            here = _NOTHING  # what a shell has put there anyone may put away
        run, value = put.get(given.name, (_NOTHING, None))
        ours = run == trace.run and (here is value or (given.name in assigned and given.name not in named))
        if (store := _store_of(given, folder)) is not None:
            there = None if here is _NOTHING else here
            met = meet(given.name, store, there, written_by(trace, given.name), over=over, ours=ours)
            found.append(_met(given.name, met, anew, said))
            continue
        if not _empty(here) and not ours:
            if given.form == "module" or (given.sha is not None and fingerprint(here) == given.sha):
                continue
            if given.sha is None:
                said.append(f"whether `{given.name}` is what it was cannot be told: {_first_line(given.what)}")
                continue
            if not over or given.value is None:
                found.append(Found(given.name, wrong=_another(given, here, given.name in named)))
                continue
            where = f', and what was here is `_rlm_before["{given.name}"]`' * anew
            said.append(f"`{given.name}` is not what it was then: the recorded value was put back{where}")
        one = _recorded(given, folder)
        if one.wrong is None or _empty(here):
            found.append(one)
    if root.context is None and all(given.name != "context" for given in root.given):
        met_none = meet_none("context", namespace.get("context"), written_by(trace, "context"))
        if met_none is not None:
            found.append(_met("context", met_none, anew, said))
    return found


def _met(name: str, met: Meeting, anew: bool, said: list[str]) -> Found:
    said += [*met.said[:-1], met.said[-1] + met.before_told * anew] if met.said else []
    return Found(name, met.put, met.wrong, met.ours, met.before)


def _store_of(given: Given, folder: Path | None) -> KeptStore | None:
    """None too where it cannot be read: whether what is there is the same, the fingerprint of all of it says."""
    try:
        return restored_store(given, folder)
    except TraceError:
        return None


def _recorded(given: Given, folder: Path | None) -> Found:
    try:
        value = importlib.import_module(given.value or "") if given.form == "module" else restored(given, folder)
        return Found(given.name, lambda: value)
    except ImportError:
        return Found(given.name, wrong=f"the module {given.value} is not installed")
    except TraceError as error:
        named = ", or name it with -c" if given.name == "context" else ""
        put = f"put {_first_line(given.what)} into `{given.name}` first{named}"
        return Found(given.name, wrong=f"{error}: {put}")


def _no_context(trace: Trace, namespace: dict[str, Any]) -> Iterator[str]:
    """A record of another tool's may know of a context, and not hold it."""
    root = trace.root
    if root is None or root.context is None or any(given.name == "context" for given in root.given):
        return
    if _empty(namespace.get("context", _NOTHING)):
        described = _first_line(root.context.removeprefix("`context`: "))
        yield f"the context ({described}) is not in the record: put it into `context`, or name it with -c"


def _elsewhere(trace: Trace) -> Iterator[str]:
    if (within := _WITHIN.match(trace.persons_cell or "")) is not None:
        yield (
            f"it was asked by a cell in the namespace of agent {within[1]} of another run, which is not here: put that "
            f"cell into a notebook of your own, without its line {within[0].strip()}"
        )


def _empty(value: object) -> bool:
    return value is _NOTHING or value is None or (isinstance(value, Store) and not len(value))


def _another(given: Given, value: object, named: bool) -> str:
    here = preview.one_line(value, show=repr_within)
    said = f"`{given.name}` is not what it was: recorded was {_first_line(given.what)}, here is {here}"
    mend = "leave out -c" if named else f"del {given.name}"
    return said if given.value is None else f"{said} ({mend}, and the recorded one is put there)"


def _first_line(described: str) -> str:
    return described.partition("\n")[0][:200]
