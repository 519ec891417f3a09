"""
Names that an agent's cells read and its log does not hold: a replay is to ask for them before the first cell.

It is a look at the source, in the order of its lines: which branch is taken is not known, and what a function does is
taken to happen where nothing in the log ever assigns the names that it reads.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from rlm_kernel.trace.importers.parts import Actor
from rlm_kernel.trace.importers.texts import dedented
from rlm_kernel.trace.parsed import parsed

DESCRIPTION = "a value that a cell reads and the log does not hold"
SHELL = frozenset({"In", "Out", "display", "exit", "get_ipython", "open", "quit"})
OURS = frozenset(
    {"llm_query", "llm_query_batched", "allm_query", "rlm_query", "rlm_query_batched", "budget", "FINAL", "FINAL_VAR"}
    | {"SHOW_VARS", "READ", "WRITE", "LIST_CONTEXT"}
)
"""What any namespace is lent, see `rlm_kernel.namespace.LENT`: a layer above and not imported, as that of the next."""
THEIRS = {
    "dspy": frozenset({"SUBMIT"}),
    "fabric-rlm": frozenset({"SUBMIT"}),
    "rlm": frozenset({"answer"}),
    "smolagents": frozenset({"final_answer"}),
}
"""By dialect, what `rlm_kernel.dialects` lends besides."""

_LOOKS = frozenset({"NameError", "dir", "eval", "exec", "globals", "locals", "vars"})
"""A statement with one of these may look whether a name is there, or put it there by the text of it."""
_MAGIC = re.compile(r"\s*%%")
_BRINGS_ANY = re.compile(r"^[ \t]*%(?:load|pylab|run|store)\b", re.MULTILINE)
_WORD = re.compile(r"[^\W\d]\w*")
_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_READS_FIRST = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.For, ast.AsyncFor)
_HOLDS_STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_TYPE_PARAMETERS = ("TypeVar", "ParamSpec", "TypeVarTuple")
"""Which Python has from 3.12 on."""
_NESTS = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def hide_unsaid(root: Actor, dialect: str | None) -> None:
    """Only the root's: what any other has comes from the cell that asked it."""
    lent = SHELL | OURS | THEIRS.get(dialect or "", frozenset())
    look = _Look({*dir(builtins), *lent, *root.given, *root.hidden, *root.tools})
    for turn in root.turns:
        if turn.source is None or not turn.ran:
            continue
        look.at(dedented(turn.source), reads=turn.error is None or turn.error.name != "NameError")
        if look.any_may_be:
            break
    for name in look.missing():
        root.hidden[name] = (root.context if name == "context" else None) or DESCRIPTION


@dataclass(slots=True)
class _Look:
    bound: set[str]
    """Names that are there, as far as was looked."""
    any_may_be: bool = False
    """What is bound from here on is not known."""
    _read: dict[str, None] = field(default_factory=dict)
    _later: dict[str, None] = field(default_factory=dict)
    """Read when a function is called."""

    def missing(self) -> list[str]:
        later = () if self.any_may_be else (name for name in self._later if name not in self.bound)
        return [name for name in dict.fromkeys((*self._read, *later)) if not name.startswith("_")]

    def at(self, source: str, reads: bool) -> None:
        """One cell. Without `reads` it stopped at a name that was not there, and all that it may assign is taken."""
        tree = None if _MAGIC.match(source) else parsed(source)
        if tree is None:
            self.bound |= set(_WORD.findall(source))  # of a magic of its own any word may be a name that it assigns
            return
        self.any_may_be = _BRINGS_ANY.search(source) is not None
        for statement in _in_order(tree):
            names = _names(statement)
            if reads and not names.looks and not self.any_may_be:
                self._read |= dict.fromkeys(sorted(names.read - self.bound))
                self._later |= dict.fromkeys(sorted(names.later - self.bound))
            self.bound |= names.bound
            self.any_may_be |= "*" in names.bound


def _in_order(tree: ast.Module) -> Iterator[ast.AST]:
    """Its statements and those within them, but for bodies of functions and classes."""
    waiting: list[ast.AST] = list(reversed(tree.body))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _DEFINES):
            waiting += reversed([child for child in ast.iter_child_nodes(node) if isinstance(child, _HOLDS_STATEMENTS)])


@dataclass(slots=True)
class _Names:
    read: set[str]
    later: set[str]
    bound: set[str]
    looks: bool


def _names(statement: ast.AST) -> _Names:
    """Of one statement, without those that stand within it."""
    if isinstance(statement, _DEFINES):
        within = list(ast.walk(statement))
        read = _loaded(within)
        outside = {name for node in within if isinstance(node, ast.Global) for name in node.names}
        bound = {statement.name, *outside, *(_words(within) if read & _LOOKS else ())}
        return _Names(set(), set() if read & _LOOKS else read - _bound(within), bound, False)
    if isinstance(statement, ast.Try | ast.TryStar):
        caught = [node for each in statement.handlers if each.type is not None for node in ast.walk(each.type)]
        tried = [node for each in statement.body for node in ast.walk(each)] if "NameError" in _loaded(caught) else []
        return _Names(set(), set(), _loaded(tried), False)
    own = [child for child in ast.iter_child_nodes(statement) if not isinstance(child, _HOLDS_STATEMENTS)]
    within = [statement, *(node for child in own for node in ast.walk(child))]
    nested = [node for node in within if isinstance(node, _NESTS)]
    lambdas = [node for each in nested if isinstance(each, ast.Lambda) for node in ast.walk(each)]
    inside = _bound([node for each in nested for node in ast.walk(each)])
    inside |= {node.target.id for node in within if isinstance(node, ast.NamedExpr)}
    read, bound = _loaded(within), _bound(within)
    if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
        read.add(statement.target.id)
    looks = bool(read & _LOOKS)
    read -= inside if isinstance(statement, _READS_FIRST) else inside | bound
    later = _loaded(lambdas) - _bound(lambdas)
    if isinstance(statement, _LOOPS):  # the next time round it has what its end has assigned
        bound |= _bound(list(ast.walk(statement)))
    return _Names(read - later, later, bound | (_words(within) if looks else set()), looks)


def _loaded(nodes: list[ast.AST]) -> set[str]:
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _words(nodes: list[ast.AST]) -> set[str]:
    texts = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {word for text in texts for word in _WORD.findall(text)}


def _bound(nodes: list[ast.AST]) -> set[str]:
    found: set[str | None] = set()
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.add(name)
            case ast.arg(arg=name) | ast.ExceptHandler(name=name) | ast.MatchAs(name=name) | ast.MatchStar(name=name):
                found.add(name)
            case ast.MatchMapping(rest=name):
                found.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found |= {alias.asname or alias.name.partition(".")[0] for alias in names}
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case _ if type(node).__name__ in _TYPE_PARAMETERS:
                found.add(getattr(node, "name", None))
    return {name for name in found if name is not None}
