"""
What the syntax tree of a cell says beyond `varying.names_in`: which names its answers went to, what it showed, and
which texts were typed into it. Where the tree leaves a doubt, nothing is said.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

from rlm_kernel.trace.parsed import parsed

ASKS = frozenset({"llm_query", "allm_query", "rlm_query"})
ASKS_MANY = frozenset({"llm_query_batched", "rlm_query_batched"})
_ENDS = frozenset({"FINAL", "FINAL_VAR"})
_PUTS_OUT = frozenset({"print", "display"})
_READS = frozenset({"READ", "read"})
_NAME_CHARS = 80


def answers_to(source: str, agents: int, final: bool) -> list[str] | None:
    """
    The variables that the answers of so many sub-agents went to, in the order in which they were asked, of a cell that
    ran without an error to its end, or to a FINAL. None where another reading is possible.

    No doubt is left by `x = llm_query(...)` for each agent, or one `xs = llm_query_batched(...)`, as statements of
    their own outside of any loop, branch or function, where nothing else in the cell mentions a name that asks.
    """
    tree = parsed(source)
    if tree is None:
        return None
    found: list[tuple[str, str]] = []
    for statement in tree.body:
        if (pair := _assigned_answer(statement)) is not None:
            found.append(pair)
        elif final and _ENDS & set(_names(statement)):
            break  # what follows may not have run
    mentions = [name for name in _names(tree) if name in ASKS | ASKS_MANY]
    if not found or len(mentions) != len(found):
        return None
    if len(found) == 1 and found[0][0] in ASKS_MANY:
        return [found[0][1]] * agents
    single = all(asked in ASKS for asked, _ in found)
    return [name for _, name in found] if single and len(found) == agents else None


def _assigned_answer(statement: ast.stmt) -> tuple[str, str] | None:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            pass
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            pass
        case _:
            return None
    match value:
        case ast.Call(func=ast.Name(id=asked)) | ast.Await(value=ast.Call(func=ast.Name(id=asked))):
            return (asked, name) if asked in ASKS | ASKS_MANY else None
    return None


def shown(source: str) -> tuple[str, ...]:
    """What the cell printed, ended in or passed to FINAL, as far as it has a name: `x`, `context.risks`, `x[:500]`."""
    tree = parsed(source)
    if tree is None:
        return ()
    found: dict[str, None] = {}
    for expression in _put_out(tree):
        found.update(dict.fromkeys(_named(expression)))
    return tuple(found)


def _put_out(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=args) if name in _PUTS_OUT:
                yield from args
            case ast.Call(func=ast.Name(id="FINAL"), args=[value, *_]):
                yield value
            case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(key)), *_]) if name in _ENDS:
                yield ast.Name(id=key, ctx=ast.Load())
    match tree.body[-1:]:
        case [ast.Expr(value=ast.Call(func=ast.Name(id=name)))] if name in _PUTS_OUT | _ENDS:
            return  # of its arguments, not of what it returns
        case [ast.Expr(value=last)]:
            yield last


def _named(expression: ast.expr) -> Iterator[str]:
    match expression:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str(key)), *_]) if (
            name in _READS
        ):
            yield f"context[{key!r}]"[:_NAME_CHARS]
        case ast.Name(id=name):
            yield name[:_NAME_CHARS]
        case ast.Attribute() | ast.Subscript():
            try:
                yield ast.unparse(expression)[:_NAME_CHARS]
            except RecursionError:
                return
        case _:
            called = {id(node.func) for node in ast.walk(expression) if isinstance(node, ast.Call)}
            for node in ast.walk(expression):
                if isinstance(node, ast.Name) and id(node) not in called and not hasattr(builtins, node.id):
                    yield node.id[:_NAME_CHARS]


def literals(source: str, chars: int) -> list[str]:
    """The strings of at least so many characters, the fixed parts of f-strings too, in the order of the text."""
    if len(source) < chars:
        return []
    tree = parsed(source)
    if tree is None:
        return []
    found = [
        (node.lineno, node.col_offset, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) >= chars
    ]
    return [text for _, _, text in sorted(found)]


def _names(tree: ast.AST) -> list[str]:
    return [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
