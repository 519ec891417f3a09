"""
What one shell has of us: its settings, the run that is going on, the last one, and who asks in the person's own cells.
"""

from __future__ import annotations

import asyncio
import copy
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

from rlm_kernel import namespace
from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.namespace import LENT, StateEnd
from rlm_kernel.settings import RLM

if TYPE_CHECKING:
    from concurrent.futures import Future

    from rlm_kernel.lm import LanguageModel
    from rlm_kernel.queries import Query
    from rlm_kernel.rerun.again import Replay
    from rlm_kernel.runner import Runner
    from rlm_kernel.runner.agent import Agent, Results
    from rlm_kernel.runner.recorded import Recorded
    from rlm_kernel.runner.run import Door
    from rlm_kernel.schema import Schema
    from rlm_kernel.trace.events import Given
    from rlm_kernel.trace.tree import Tree
    from rlm_kernel.values import Ending, Remaining, Run
    from rlm_kernel.window import ReadBudget

_ASKS = re.compile(r"\A(?!%%(?:rlm|agent)\b)(?s:.*)\ba?(?:llm|rlm)_query")

# What drives a run is imported by the first run, or in an idle moment before it: this module stands on the way to
# the kernel's first reply.


class Workspace:
    """One per shell. `Workspace.of(shell)` finds it."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.settings = RLM.load(parent=shell)
        self.active: Runner | None = None
        """The run that a `%%rlm` has going."""
        self.last: Runner | None = None
        """The run to which `%rlm` and its kin refer, over or not."""
        self.last_run: Run | None = None
        self.replay: Replay | None = None
        """The record whose cells, run in this notebook, run with their recorded replies."""
        self._asking: Runner | None = None
        self._running = False
        self.cell = ""
        """The source of the person's cell that is running, or ran last."""
        self._found: Sequence[Given] | None = None
        """What that cell found, where its source says that it may ask."""
        self._lock = threading.Lock()

    @classmethod
    def of(cls, shell: Any) -> Workspace:
        found = getattr(shell, "_rlm_workspace", None)
        if found is None:
            raise UsageError("rlm_kernel is not loaded here: run %load_ext rlm_kernel, or choose the rlm kernel")
        assert isinstance(found, Workspace)
        return found

    @property
    def tree(self) -> Tree:
        if self.last is None:
            raise UsageError("no run yet: ask in a cell that begins with %%rlm")
        if self.replay is not None and self.replay.runner is self.last:
            return self.replay.as_ran()
        return self.last.recorder.tree

    def runner(
        self,
        settings: RLM,
        door: Door,
        on_change: Callable[[], None] = lambda: None,
        schema: Schema | None = None,
        recorded: Recorded | None = None,
        origin: dict[str, Any] | None = None,
    ) -> Runner:
        from rlm_kernel.lm import resolve
        from rlm_kernel.runner import Runner

        def model(name: str | None) -> LanguageModel:
            if recorded is None:
                return resolve(name or settings.model, timeout_s=settings.timeout_s)
            return recorded.model(name or settings.model, lambda name: resolve(name, timeout_s=settings.timeout_s))

        replays = recorded is not None and recorded.kind == "replay"
        policy = settings.policy()
        runner = Runner(
            model,
            self.shell.user_ns,
            shell=self.shell,
            limits=settings.limits(),
            folder=None if replays else settings.trace_path,
            door=door,
            # Replies come in the order of the record, for which none may hold back another.
            policy=replace(policy, max_parallel=100_000) if replays else policy,
            schema=schema,
            keep_context=settings.keep_context,
            recorded=recorded,
            origin=origin,
            on_change=on_change,
        )
        self.last, self.last_run = runner, None
        return runner

    @contextmanager
    def running(self) -> Iterator[None]:
        """One `%%rlm` at a time, in the main shell: two would write to one namespace without knowing of each other."""
        if threading.current_thread() is not threading.main_thread():
            raise UsageError("%%rlm runs in the main shell only: in a subshell Stop would not reach it")
        if self._running:
            raise UsageError("a %%rlm is still going on in this kernel: wait for it, or press Stop")
        self._running = True
        try:
            yield
        finally:
            self._running = False
            self.active = None

    @contextmanager
    def asking_again(self, source: str) -> Iterator[None]:
        """Around a person's own cell: where it is the one that the record began with, it is answered from there."""
        if self.replay is None or not self.replay.places.is_persons(source):
            yield
            return
        token = namespace.CALLER.set(self.replay.person())
        try:
            yield
        finally:
            namespace.CALLER.reset(token)

    def stop(self) -> None:
        """Stop was pressed. Harmless when nothing runs."""
        for runner in (self.active, self._asking):
            if runner is not None:
                runner.stop()

    def ask_as_person(
        self, queries: Sequence[Query], aside: bool = False, within: Agent | None = None
    ) -> tuple[Agent, Future[Results]]:
        """
        For a person's own cell, which is a run from its first question to its end, and its threads' last answer. The
        first state of a workflow begins it too.

        Where it is asked `aside`, from within an agent of the last run, that one stays the last. `within` is the
        asking agent in a state of a workflow.
        """
        with self._lock:
            agent = self._person(aside) if within is None else within
            return agent, agent.start(queries)

    def begin_state_as_person(
        self, state: str, agents: tuple[str, ...], visit: int, aside: bool, within: Agent | None
    ) -> Agent:
        with self._lock:
            return (within or self._person(aside)).begin_state(state, agents, visit)

    def _person(self, aside: bool) -> Agent:
        """As an agent of the run of this cell, which begins now where it has not. The lock is held."""
        if self._asking is None:
            last = self.last, self.last_run
            runner = self.runner(self.settings.replaced(), "cell")
            if aside:
                self.last, self.last_run = last
            # What an agent of another run has in its namespace is not the person's to put back.
            found = () if aside else self._look() if self._found is None else self._found
            runner.open_for_person(self.cell, found)
            self._asking = runner
        return self._asking.agent

    def remaining(self) -> Remaining:
        """Of the run that this cell has going, or of one that it would begin."""
        from rlm_kernel.limits import Ledger

        asking = self._asking
        return asking.agent.remaining() if asking is not None else Ledger(self.settings.limits()).remaining(0)

    def end_of_cell(self, result: Any) -> None:
        """The person's cell is over, and with it the run that its `llm_query` began, once its threads are answered."""
        with self._lock:
            runner, self._asking = self._asking, None
        if runner is None:
            return
        error = None if result is None else result.error_in_exec
        interrupted = isinstance(error, KeyboardInterrupt | asyncio.CancelledError)
        ending: Ending = "final" if error is None else "interrupted" if interrupted else "error"

        def close() -> None:
            run = runner.close(ending)
            if self.last is runner:
                self.last_run = run

        runner.agent.scope.when_idle(close)

    def start_of_cell(self, info: Any) -> None:
        self.cell = str(info.raw_cell)
        namespace.mend(self.shell.user_ns)
        # As it is before the cell changes anything. One that asks by a function of the person's own says nothing of
        # it: of that, what is there when it asks is what is known.
        self._found = self._look() if _ASKS.search(self.cell) else None

    def _look(self) -> Sequence[Given]:
        """What the cell finds and a replay of it will need."""
        from rlm_kernel.environment.secrets import Redactor
        from rlm_kernel.runner.findings import Findings

        settings = self.settings
        findings = Findings("0", self.shell.user_ns, Redactor(), settings.keep_context, settings.trace_path)
        return findings.before_own(self.cell)


class Person:
    """Who asks in the person's own cells, for `llm_query` and `FINAL`. A run begins only when something is asked."""

    def __init__(self, workspace: Workspace, namespace: dict[str, Any] | None = None) -> None:
        self._workspace = workspace
        self.namespace: dict[str, Any] = workspace.shell.user_ns if namespace is None else namespace
        self.lent: Mapping[str, Any] = LENT
        self._aside = namespace is not None
        self._within: Agent | None = None
        """Of the run that their cell began, in a state of a workflow."""

    def query(self, queries: Sequence[Query]) -> list[object]:
        from rlm_kernel.lm import thread

        agent, future = self._workspace.ask_as_person(queries, self._aside, self._within)
        return agent.settled(thread.wait(future))

    async def aquery(self, queries: Sequence[Query]) -> list[object]:
        agent, future = self._workspace.ask_as_person(queries, self._aside, self._within)
        return agent.settled(await asyncio.wrap_future(future))

    @property
    def reading(self) -> ReadBudget:
        """A person sees what they like; one read at a time is bounded, as a model's is."""
        from rlm_kernel.window import ReadBudget

        return ReadBudget(self._workspace.settings.max_tokens_per_read)

    def accept(self, answer: object) -> object:
        return answer

    def remaining(self) -> Remaining:
        return self._workspace.remaining()

    def show_variables(self) -> str:
        from rlm_kernel.runner import list_variables

        return list_variables(self.namespace) or "(no variables yet)"

    def begin_state(self, state: str, agents: tuple[str, ...], visit: int) -> Person:
        """Where no run can begin, because no model is set, there is none to write it down for."""
        within = copy.copy(self)
        within._within = None
        with suppress(UsageError, TraceError):
            within._within = self._workspace.begin_state_as_person(state, agents, visit, self._aside, self._within)
        return within

    def end_state(self, value: object, **told: Unpack[StateEnd]) -> None:
        if self._within is not None:
            self._within.end_state(value, **told)


async def step_into(workspace: Workspace, agent: Agent, source: str) -> object:
    """
    A person's cell in the namespace that an agent has left; gives the value of its last expression.

    It is the person's cell in all else: what it puts out is its output, what it raises its error, and what it asks
    with `llm_query` a run of its own.
    """
    from rlm_kernel.environment.apart import apart
    from rlm_kernel.environment.execute import evaluate, new_filename

    if agent.isolation == "process":
        print(f"note: the process of agent {agent.id} is gone; here are its context and tools", file=sys.stderr)
    namespace.mend(agent.namespace)
    token = namespace.CALLER.set(Person(workspace, agent.namespace))
    shell = workspace.shell
    # The root's namespace is the person's.
    alone: AbstractContextManager[object] = (
        nullcontext() if agent.caller is None else apart(agent.namespace, agent.lent)
    )
    try:
        with alone:
            try:
                return await evaluate(source, new_filename(f"agent {agent.id}"), agent.namespace, shell)
            finally:
                shell.events.trigger("post_execute")
    finally:
        namespace.CALLER.reset(token)
