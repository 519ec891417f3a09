"""
Which cells may put out something else when they run again, though nothing was changed: a look at their source.

A cell varies where it names a clock, chance or the world outside, or reads a variable that such a cell has assigned;
and so does the cell of an agent whose sub-agent's cells vary, and the sub-agent that was asked from such a cell.
It is a look and no proof: what a library does with the time is not seen.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

from rlm_kernel.trace.known import Key
from rlm_kernel.trace.nodes import Agent
from rlm_kernel.trace.parsed import parsed
from rlm_kernel.trace.tree import Tree

_MODULES: dict[str, frozenset[str] | None] = {
    "time": frozenset({"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"})
    | {"process_time", "localtime", "gmtime", "ctime", "asctime", "strftime"},
    "datetime": frozenset({"now", "today", "utcnow"}),
    "random": None,
    "uuid": frozenset({"uuid1", "uuid4", "getnode"}),
    "secrets": None,
    "tempfile": None,
    "os": frozenset(
        {"urandom", "getpid", "getppid", "times", "stat", "listdir", "scandir", "environ", "getenv", "getcwd"}
    ),
    "threading": frozenset({"get_ident", "get_native_id"}),
    "subprocess": None,
    "socket": None,
    "urllib": None,
    "requests": None,
    "httpx": None,
    "aiohttp": None,
    "platform": None,
    "psutil": None,
    # Their bars show times and rates; those of tqdm are told from what is the same each time, see `comparing`.
    "alive_progress": None,
    "rich": frozenset({"progress", "track", "Progress"}),
}
"""Modules, and what of them varies; None for all of it."""
_BUILTINS = frozenset({"id", "hash", "budget"})
_ATTRIBUTES = frozenset({("Path", "cwd"), ("Path", "home"), ("sys", "argv"), ("sys", "path"), ("sys", "executable")})
_CLASSES = frozenset({"datetime", "date"})
_SEEDS = re.compile(r"\b(?:seed\(\s*[^)\s]|Random\(\s*[^)\s]|default_rng\(\s*[^)\s]|RandomState\(\s*[^)\s])")
_MAGIC = re.compile(r"^[ \t]*+(?:[\w, ]++=[ \t]*+)?(?:%{1,2}(?:time|timeit|prun|sx|system|bash|sh)\b|!)", re.MULTILINE)
_FILES = re.compile(
    r"^[ \t]*+(?:[\w, ]++=[ \t]*+)?%{1,2}(?:pwd|cd|pushd|popd|dirs|dhist|ls|ll|mkdir|rmdir|cat|env|set_env"
    r"|writefile|file|pip|conda|script|perl|ruby)\b",
    re.MULTILINE,
)
_CHANGE = frozenset({"append", "appendleft", "extend", "add", "update", "insert", "setdefault"})
"""Methods that put what they are given into what they are called on."""
_DEEPEST = 100
"""Levels of agents; those further below are looked at as if they had no caller."""


@dataclass(frozen=True, slots=True)
class Names:
    loaded: frozenset[str]
    assigned: frozenset[str]
    varying: frozenset[str]
    """What it names that varies by itself: `time.time`, `random`."""
    imported: frozenset[str] = frozenset()
    """Of `assigned`, what an import gave a name to that is the same each time."""


def names_in(source: str) -> Names:
    """Of a cell's source; of one that is no Python (magics, a syntax error) what a look at its text gives."""
    tree = parsed(source) or ast.Module([], [])
    look = _Look()
    # Not by a visitor: that recurses, and a sum of 300 texts is 300 levels deep.
    for node in ast.walk(tree):
        look.at(node)
    varying = set(look.varying)
    if _SEEDS.search(source):
        varying = set(filter(_is_unseeded, varying))
    if _MAGIC.search(source):
        varying.add("a shell command or a timing magic")
    if _FILES.search(source):
        varying.add("a magic of folders, files or the environment")
    found = (look.loaded, look.assigned, varying, look.imported)
    return Names(*map(frozenset, found))


def _is_unseeded(name: str) -> bool:
    """Whether a seed does not make it the same each time: `os.urandom` and `SystemRandom` have none."""
    module, _, what = name.partition(".")
    return module != "random" or what == "SystemRandom"


class _Look:
    """What each node adds; they may come in any order."""

    def __init__(self) -> None:
        self.loaded: set[str] = set()
        self.assigned: set[str] = set()
        self.varying: set[str] = set()
        self.imported: set[str] = set()

    def at(self, node: ast.AST) -> None:
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                self.loaded.add(name)
            case ast.Name(id=name):
                self.assigned.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                self.assigned.add(name)
            case ast.AugAssign(target=ast.Name(id=name)):
                self.loaded.add(name)
            case ast.Subscript(ctx=ast.Store()) | ast.Attribute(ctx=ast.Store()):
                self._changed(node.value)
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=changed, attr=method))) if method in _CHANGE:
                self._changed(changed)
            case ast.Import():
                self._import(node)
            case ast.ImportFrom():
                self._import_from(node)
            case ast.Call(func=ast.Name(id=name)) if name in _BUILTINS:
                self.varying.add(f"{name}()")
        if isinstance(node, ast.Attribute):
            self._attribute(node)

    def _changed(self, place: ast.expr) -> None:
        """`x[0].y = z` and `x.append(z)` put `z` into `x`."""
        while isinstance(place, (ast.Subscript, ast.Attribute)):
            place = place.value
        if isinstance(place, ast.Name) and place.id not in _MODULES:
            self.assigned.add(place.id)

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            module = alias.name.partition(".")[0]
            self.assigned.add(alias.asname or module)
            # Under another name it is not known again where it is used; `datetime` is, by its classes.
            if alias.asname not in (None, module) and module in _MODULES and module != "datetime":
                self.varying.add(alias.name)
            else:
                self.imported.add(alias.asname or module)

    def _import_from(self, node: ast.ImportFrom) -> None:
        module = (node.module or "").partition(".")[0]
        if node.level:
            return
        for alias in node.names:
            self.assigned.add(alias.asname or alias.name)
            if module in _MODULES:
                some = _MODULES[module]
                hidden = alias.name in _CLASSES and alias.asname not in (None, alias.name)
                if some is None or alias.name in some or alias.name == "*" or hidden:
                    self.varying.add(f"{module}.{alias.name}")
                    continue
            self.imported.add(alias.asname or alias.name)

    def _attribute(self, node: ast.Attribute) -> None:
        value = node.value
        owner = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else None
        if (owner, node.attr) in _ATTRIBUTES:
            self.varying.add(f"{owner}.{node.attr}")
        if owner in _CLASSES and node.attr in (_MODULES["datetime"] or ()):
            self.varying.add(f"{owner}.{node.attr}")
        elif owner in _MODULES:
            some = _MODULES[owner]
            if some is None or node.attr in some:
                self.varying.add(f"{owner}.{node.attr}")


def read_first(source: str) -> frozenset[str]:
    """Names that a cell reads and no earlier statement of it has assigned."""
    tree = parsed(source)
    if tree is None:
        return names_in(source).loaded
    read: set[str] = set()
    assigned: set[str] = set()
    for statement in tree.body:
        look = _Look()
        for node in ast.walk(statement):
            look.at(node)
        own = {statement.name} if isinstance(statement, _DEFINES) else set()
        read |= look.loaded - assigned - own
        if not isinstance(statement, ast.If | ast.For | ast.While | ast.Try | ast.With):  # these may not come to it
            assigned |= look.assigned
    return frozenset(read)


_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def varying(tree: Tree, sources: Mapping[Key, str] | None = None) -> dict[Key, tuple[str, ...]]:
    """
    By agent and step, why the cell may vary, in words such as `time.time`; steps that do not vary are left out.

    `sources` are cells that were edited since.
    """
    found: dict[Key, tuple[str, ...]] = {}
    seen: set[str] = set()
    for agent, _ in tree.walk():
        _of_agent(agent, frozenset(), sources or {}, found, seen, 0)
    return found


def _of_agent(
    agent: Agent,
    because: frozenset[str],
    sources: Mapping[Key, str],
    found: dict[Key, tuple[str, ...]],
    seen: set[str],
    level: int,
) -> frozenset[str]:
    """All that makes any of its cells vary. `because` is what its context depends on."""
    if agent.id in seen or level > _DEEPEST:  # seen: by its caller, or a ring in a record that was tampered with
        return frozenset()
    seen.add(agent.id)
    by_name: dict[str, frozenset[str]] = {"context": because} if because else {}
    everything: set[str] = set()
    seeded = False
    for step in agent.steps:
        source = sources.get((agent.id, step.number), step.source)
        if source is None:
            continue
        names = names_in(source)
        own = {name for name in names.varying if not seeded or _is_unseeded(name)}
        own |= {reason for name in names.loaded for reason in by_name.get(name, ())}
        seeded = seeded or (bool(_SEEDS.search(source)) and not own)  # or the seed itself may vary
        for child in step.agents:
            own |= _of_agent(child, frozenset(own), sources, found, seen, level + 1)
        if own:
            found[agent.id, step.number] = tuple(sorted(own))
            everything |= own
        for name in names.assigned:
            if own and name not in names.imported:
                by_name[name] = frozenset(own)
            elif name not in names.loaded:
                by_name.pop(name, None)
    for child in agent.agents:
        everything |= _of_agent(child, frozenset(), sources, found, seen, level + 1)
    return frozenset(everything)
