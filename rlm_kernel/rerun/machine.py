"""What a record was made with, and this Python has not: told before its first cell runs again."""

from __future__ import annotations

import ast
import importlib.util
import platform
import sys

from rlm_kernel.trace.loading import Trace
from rlm_kernel.trace.parsed import parsed


def other_python(trace: Trace) -> list[str]:
    run = trace.tree.run
    python = "" if run is None else str(run.versions.get("python", ""))
    here = platform.python_version()
    if not python or python.split(".")[:2] == here.split(".")[:2]:
        return []
    return [f"recorded with Python {python}, and this is {here}: outputs may differ"]


def packages(trace: Trace) -> list[str]:
    """Those that a recorded cell imported, and this environment has not."""
    failed = ("ModuleNotFoundError", "ImportError")
    missing: dict[str, str] = {}
    sources = [step.source for agent in trace for step in agent.steps if step.source is not None]
    cells = [] if trace.persons_cell is None else [("the person's own cell", trace.persons_cell)]
    for agent in trace:
        for step in agent.steps:
            if step.source is not None and not (step.cell and step.cell.error and step.cell.error.name in failed):
                cells.append((f"agent {agent.id}, step {step.number}", step.source))
    for where, cell in cells:
        for name in sorted(_imports(cell)):
            written = any(f"{name}.py" in source for source in sources)  # by a cell, to be imported
            if not written and name not in sys.modules and not _findable(name):
                missing.setdefault(name, where)
    return [f"the package {name} is not installed ({where} imports it)" for name, where in missing.items()]


def _imports(source: str) -> set[str]:
    """Top-level modules, without those that a cell only tries to import."""
    tree = parsed(source)
    found: set[str] = set()
    waiting: list[ast.AST] = [] if tree is None else [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
        tried = node.body if isinstance(node, ast.Try) and node.handlers else []
        waiting += [child for child in ast.iter_child_nodes(node) if child not in tried]
    return found - {""}


def _findable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
