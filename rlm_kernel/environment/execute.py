"""
Run the source of one cell in a namespace, as a notebook would, and hand back what came of it.

IPython's input transforms, AST transforms and display formatters are used; its `run_cell` is not: a shell runs one
cell at a time, and here a cell runs inside a person's cell (and, for sub-agents, beside others in threads). So the
person's execution count, history and `Out` stay theirs.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import itertools
import linecache
import sys
import time
from collections.abc import Callable
from types import CodeType
from typing import Any

from IPython.core.displayhook import DisplayHook

from rlm_kernel.environment.routing import RENDER, captured
from rlm_kernel.environment.sink import Frontend, Sink
from rlm_kernel.environment.tracebacks import cell_filename, describe_error
from rlm_kernel.errors import FinalAnswer
from rlm_kernel.values import CellError, CellResult, Final

_serial = itertools.count(1)


class CellInterrupted(BaseException):
    """The cell was stopped from outside. Carries what it had put out until then."""

    def __init__(self, result: CellResult) -> None:
        super().__init__("the cell was interrupted")
        self.result = result


async def execute(
    source: str,
    namespace: dict[str, Any],
    *,
    shell: Any,
    label: str,
    render: Callable[[object], str],
    frontend: Frontend | None = None,
) -> CellResult:
    """
    `label` names the cell in tracebacks ("step 3"); `render` turns a value into bounded text/plain.

    Whatever the cell raises is in the result. Raises CellInterrupted where a KeyboardInterrupt or the cancelling of
    the current task ended it.
    """
    sink = Sink(frontend)
    started = time.monotonic()
    error: CellError | None = None
    final: Final | None = None
    interrupted = False
    filename = cell_filename(label, next(_serial))
    render_token = RENDER.set(render)
    try:
        with captured(sink):
            try:
                await _run(source, filename, namespace, shell, sink)
            except FinalAnswer as signal:
                final = signal.final
            except KeyboardInterrupt as stop:
                interrupted = True
                error = describe_error(stop, filename, label)
            except asyncio.CancelledError as stop:
                task = asyncio.current_task()
                interrupted = task is not None and task.cancelling() > 0
                error = describe_error(stop, filename, label)
            except SystemExit as leave:
                error = CellError(
                    "SystemExit", str(leave), f"SystemExit: {leave}\n(the cell ended here; nothing else did)"
                )
            except BaseException as raised:
                error = describe_error(raised, filename, label)
            # A figure that is still open is drawn now, as at the end of any cell.
            shell.events.trigger("post_execute")
            if error is not None:
                sink.error(error.name, error.message, error.traceback)
    finally:
        RENDER.reset(render_token)
        outputs, dropped = sink.finish()
    result = CellResult(outputs, time.monotonic() - started, error, final, dropped)
    if interrupted:
        raise CellInterrupted(result)
    return result


async def _run(source: str, filename: str, namespace: dict[str, Any], shell: Any, sink: Sink) -> None:
    cell = shell.transform_cell(source)
    linecache.cache[filename] = (len(cell), None, cell.splitlines(True), filename)
    tree = shell.transform_ast(ast.parse(cell, filename))
    last: ast.Expression | None = None
    if tree.body and isinstance(tree.body[-1], ast.Expr) and not DisplayHook.semicolon_at_end_of_expression(cell):
        last = ast.Expression(tree.body.pop().value)
    await _evaluate(_compile(tree, filename, "exec"), namespace)
    if last is None:
        return
    value = await _evaluate(_compile(last, filename, "eval"), namespace)
    if value is not None:
        data, metadata = shell.display_formatter.format(value)
        if data:
            from ipykernel.jsonutil import encode_images, json_clean

            sink.result(json_clean(encode_images(data)), json_clean(metadata))


def _compile(tree: Any, filename: str, mode: str) -> CodeType:
    code: CodeType = compile(tree, filename, mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return code


async def _evaluate(code: CodeType, namespace: dict[str, Any]) -> object:
    value = run_user_code(code, namespace)
    return await value if code.co_flags & inspect.CO_COROUTINE else value


def run_user_code(code: CodeType, namespace: dict[str, Any]) -> Any:
    """The frame below which everything is the cell's own. `interrupts` looks for it by name."""
    # sys.last_* and the like are left alone: the person's %debug is about the person's cells.
    return eval(code, namespace)


assert sys.version_info >= (3, 11), "Task.cancelling and Runner are used throughout"
