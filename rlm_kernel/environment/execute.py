"""
Run the source of one cell in a namespace, as a notebook would, and hand back what came of it.

IPython's input transforms, AST transforms and display formatters are used; its `run_cell` is not: a shell runs one
cell at a time, and here a cell runs inside a person's cell (and, for sub-agents, beside others in threads). So the
person's execution count, history and `Out` stay theirs.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import itertools
import linecache
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import CodeType, FunctionType, TracebackType
from typing import Any

from IPython.core.displayhook import DisplayHook

from rlm_kernel.environment import warned
from rlm_kernel.environment.descriptors import descriptors
from rlm_kernel.environment.routing import RENDER, captured, own_streams, plain
from rlm_kernel.environment.sink import Sink
from rlm_kernel.environment.tracebacks import cell_filename, describe_error
from rlm_kernel.errors import FinalAnswer
from rlm_kernel.values import CellError, CellResult, Final

_serial = itertools.count(1)


class _Cells:
    running = 0
    """How many model's cells are running. What is not one of them needs no second interrupt to end."""


cells = _Cells()


class Stopped(BaseException):
    """Stop, in a task that a cell started: asyncio keeps this in the task, and a KeyboardInterrupt it does not."""


class CellInterrupted(BaseException):
    """The cell was stopped from outside. Carries what it had put out until then."""

    def __init__(self, result: CellResult) -> None:
        super().__init__("the cell was interrupted")
        self.result = result


def new_filename(label: str) -> str:
    """For `evaluate`; no other cell has it."""
    return cell_filename(label, next(_serial))


async def execute(
    source: str,
    namespace: dict[str, Any],
    *,
    shell: Any,
    label: str,
    render: Callable[[object], str],
    sink: Sink | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> CellResult:
    """
    `sink`, a new one, is where its output goes; `label` names the cell in tracebacks ("step 3"); `render` turns a value
    into bounded text/plain; `stopped` says whether Stop was pressed before the cell's code began.

    Whatever the cell raises is in the result. Raises CellInterrupted where a KeyboardInterrupt or the cancelling of
    the current task ended it.
    """
    sink = sink or Sink()
    started = time.monotonic()
    error: CellError | None = None
    final: Final | None = None
    interrupted = False
    filename = new_filename(label)
    render_token = RENDER.set(render)
    cells.running += 1
    try:
        descriptors.lend(sink)
        with own_streams(), captured(sink):
            warned.begin()
            try:
                await _run(source, filename, namespace, shell, sink, stopped)
            except FinalAnswer as signal:
                final = signal.final
            except (KeyboardInterrupt, Stopped) as stop:
                interrupted = True
                error = replace(describe_error(stop, filename, label), name="KeyboardInterrupt")
            except asyncio.CancelledError as stop:
                interrupted = _cancelled()
                error = describe_error(stop, filename, label)
            except SystemExit as leave:
                told = f"SystemExit: {leave}\n(the cell ended here; nothing else did)"
                error = CellError("SystemExit", str(leave), told)
            except BaseException as raised:  # a cell may raise anything; it is a value here
                final = _final_in(raised)
                error = None if final is not None else describe_error(raised, filename, label)
                _let_go([], raised.__traceback__, filename)
            final = final or sink.final
            # A figure that is still open is drawn now, as at the end of any cell.
            run_user_code(shell.events.trigger, "post_execute")
            if error is not None:
                sink.error(error.name, error.message, error.traceback)
    finally:
        cells.running -= 1
        RENDER.reset(render_token)
        outputs, dropped = sink.finish()
    result = CellResult(outputs, time.monotonic() - started, error, final, dropped, tuple(sink.notes))
    if interrupted:
        raise CellInterrupted(result)
    return result


async def _run(
    source: str,
    filename: str,
    namespace: dict[str, Any],
    shell: Any,
    sink: Sink,
    stopped: Callable[[], bool],
) -> None:
    value = await evaluate(source, filename, namespace, shell, lambda: run_user_code(_begin, stopped))
    if value is not None:
        data, metadata = run_user_code(shell.display_formatter.format, value)
        if data:
            sink.result(plain(data), plain(metadata))
        held = [value]
        del value
        _let_go(held, None, filename)


async def evaluate(
    source: str, filename: str, namespace: dict[str, Any], shell: Any, ready: Callable[[], object] = lambda: None
) -> object:
    """
    The value of the cell's last expression, None where it is a statement or ends in a semicolon. Raises what it raises.

    `ready` is called once the source has been read, before any of it runs.
    """
    cell = shell.transform_cell(source)
    linecache.cache[filename] = (len(cell), None, cell.splitlines(True), filename)
    tree = shell.transform_ast(ast.parse(cell, filename))
    last: ast.Expression | None = None
    if tree.body and isinstance(tree.body[-1], ast.Expr) and not DisplayHook.semicolon_at_end_of_expression(cell):
        last = ast.Expression(tree.body.pop().value)
    ready()
    await _evaluate(_compile(tree, filename, "exec"), namespace)
    return None if last is None else await _evaluate(_compile(last, filename, "eval"), namespace)


def _let_go(held: list[object], trace: TracebackType | None, filename: str) -> None:
    """
    What a cell leaves behind ends as if in the cell: "coroutine was never awaited" names the place where that happens,
    and the lines of this file differ from version to version.
    """
    nameless = filename.rsplit(" #", 1)[0] + ">"  # no line of the cell's source belongs to it
    code = _drop.__code__.replace(co_filename=nameless, co_firstlineno=1)
    run_user_code(FunctionType(code, {"__builtins__": builtins, "suppress": suppress}), held, trace)


def _drop(held, trace):  # type: ignore[no-untyped-def]
    held.clear()
    while trace is not None:
        with suppress(RuntimeError):  # it is running
            trace.tb_frame.clear()
        trace = trace.tb_next


def _cancelled() -> bool:
    """Was it the cell's own task that was cancelled? A cell that awaits nothing may have none."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and task.cancelling() > 0


def _begin(stopped: Callable[[], bool]) -> None:
    """A Stop before this line was only noted; one after it raises, for from here on it meets user code."""
    if stopped():
        raise KeyboardInterrupt


def _final_in(raised: BaseException) -> Final | None:
    """FINAL in a task of a TaskGroup arrives in a group."""
    while isinstance(raised, BaseExceptionGroup):
        found = raised.subgroup(FinalAnswer)
        if found is None:
            return None
        raised = found.exceptions[0]
    return raised.final if isinstance(raised, FinalAnswer) else None


def _compile(tree: Any, filename: str, mode: str) -> CodeType:
    code: CodeType = compile(tree, filename, mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return code


async def _evaluate(code: CodeType, namespace: dict[str, Any]) -> object:
    value = run_user_code(eval, code, namespace)
    return await value if code.co_flags & inspect.CO_COROUTINE else value


def run_user_code(function: Callable[..., Any], *arguments: object) -> Any:
    """The frame below which everything is the cell's own. `interrupts` looks for it."""
    return function(*arguments)
