"""
How the agents of a state are called: one after nothing, several side by side; for code that blocks and for code that
awaits. What an agent raises is a value here; Stop is not, and goes on up.

Sub-agents get their ids in the order in which they are asked. Those of `asks` are asked in the order of the agents, on
one loop, and before any plain function begins: nobody waits for anybody's question, which might never come.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

from rlm_kernel.errors import UsageError
from rlm_kernel.lm import thread
from rlm_kernel.namespace import CALLER, Caller
from rlm_kernel.store import Store
from rlm_kernel.workflow.agents import Asks, ByValue, Task


@dataclass(frozen=True, slots=True)
class Came:
    value: object = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What is to be asked, by the agents' names; `came` is filled as they answer, in whatever order."""

    agents: dict[str, tuple[object, Task]]
    store: Store
    caller: Caller | None = None
    """As whom they ask: whoever runs the workflow, within the state; None where nobody could ask a model."""
    came: dict[str, Came] = field(default_factory=dict)


def function_of(agent: Any) -> Callable[..., object]:
    """Its `run`, or the agent itself where it is a plain function."""
    run = getattr(agent, "run", None)
    return run if callable(run) else agent  # type: ignore[no-any-return]


def awaits(agent: object) -> bool:
    """Whether it is known before the call that it gives something to await."""
    function = agent.function if isinstance(agent, ByValue) else function_of(agent)
    return any(map(inspect.iscoroutinefunction, (function, getattr(function, "__call__", None))))  # noqa: B004


def call(asked: Call) -> None:
    """
    One agent on this thread, where Stop finds it; several in threads, which inherit this context: those of `asks`
    share one, every other has its own.
    """

    def one(name: str, agent: object, task: Task) -> None:
        asked.came[name] = _came(agent, task, asked.store)

    with _as(asked.caller):
        if len(asked.agents) == 1:
            ((name, each),) = asked.agents.items()
            one(name, *each)
            return
        ask = [name for name, (agent, _) in asked.agents.items() if type(agent) is Asks]
        futures = [_asking(asked, ask)] if ask else []
        futures += [_in_thread(one, name, *each) for name, each in asked.agents.items() if name not in ask]
        for future in futures:
            thread.wait(future)


def _asking(asked: Call, names: list[str]) -> Future[None]:
    """Returns once each has asked, or failed before it could; the future is done when all have their answers."""
    begun: Future[None] = Future()
    begun.set_running_or_notify_cancel()

    async def one(name: str) -> None:
        try:
            asked.came[name] = await _acame(*asked.agents[name], asked.store)
        except asyncio.CancelledError:  # the question was, from outside
            asked.came[name] = Came(error=CancelledError())

    async def together() -> None:
        tasks = [asyncio.ensure_future(one(name)) for name in names]
        await asyncio.sleep(0)  # each gets as far as to its question, and awaits the answer
        begun.set_result(None)
        await asyncio.gather(*tasks)

    def go() -> None:
        try:
            asyncio.run(together())
        finally:
            if not begun.done():
                begun.set_result(None)

    answered = _in_thread(go)
    thread.wait(begun)
    return answered


@contextmanager
def _as(caller: Caller | None) -> Iterator[None]:
    if caller is None:
        yield
        return
    token = CALLER.set(caller)
    try:
        yield
    finally:
        CALLER.reset(token)


def _came(agent: object, task: Task, store: Store) -> Came:
    try:
        value = function_of(agent)(task, store)
        if isinstance(value, Awaitable):
            value = _settle(value)
        return Came(value)
    except Exception as error:
        return Came(error=_speakable(error))


def _settle(value: Awaitable[object]) -> object:
    async def wait() -> object:
        return await value

    if not thread.in_a_loop():
        return asyncio.run(wait())
    if callable(close := getattr(value, "close", None)):  # so that nobody is told that it was never awaited
        close()
    raise UsageError("an agent awaits, and an event loop is running here already: use `await orchestrator.arun(...)`")


async def acall(asked: Call) -> None:
    """Agents that await on this loop; plain functions in a thread each, so that the loop goes on."""

    async def one(name: str, agent: object, task: Task) -> None:
        asked.came[name] = await _acame(agent, task, asked.store)

    with _as(asked.caller):
        ordered = sorted(asked.agents.items(), key=lambda each: not _on_the_loop(each[1][0]))
        tasks = [asyncio.ensure_future(one(name, *each)) for name, each in ordered]
    try:
        await asyncio.gather(*tasks)
    finally:
        for each in tasks:
            each.cancel()


def _on_the_loop(agent: object) -> bool:
    return callable(getattr(agent, "arun", None)) or awaits(agent)


async def _acame(agent: object, task: Task, store: Store) -> Came:
    arun = getattr(agent, "arun", None)
    try:
        if callable(arun):
            return Came(await arun(task, store))
        function = function_of(agent)
        if inspect.iscoroutinefunction(function):
            return Came(await function(task, store))
        value = await asyncio.wrap_future(_in_thread(function, task, store))
        return Came(await value if isinstance(value, Awaitable) else value)
    except Exception as error:
        return Came(error=_speakable(error))


def _in_thread(function: Callable[..., Any], *arguments: object) -> Future[Any]:
    """A daemon: after Stop nobody waits for it."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    context = copy_context()

    def go() -> None:
        try:
            result = context.run(function, *arguments)
        except BaseException as error:
            future.set_exception(error if not isinstance(error, Exception) else _speakable(error))
        else:
            future.set_result(result)

    threading.Thread(target=go, name="rlm-workflow", daemon=True).start()
    return future


def _speakable(error: Exception) -> Exception:
    """No future and no generator can carry a StopIteration, which `next` of an empty iterator raises."""
    if isinstance(error, StopIteration | StopAsyncIteration):
        spoken = RuntimeError(f"the agent raised {type(error).__name__}")
        spoken.__cause__ = error
        return spoken
    return error
