"""
What one shell has of us: its settings, the run that is going on, the last one, and who asks in the person's own cells.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rlm_kernel import namespace
from rlm_kernel.errors import UsageError
from rlm_kernel.person import OwnCell
from rlm_kernel.settings import RLM
from rlm_kernel.store import WITNESS, unwatched

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
        self._own = OwnCell()
        """What that cell does with named results."""
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
        runner = Runner(
            model,
            self.shell.user_ns,
            shell=self.shell,
            limits=settings.limits(),
            folder=None if replays else settings.trace_path,
            door=door,
            policy=settings.policy(),
            schema=schema,
            keep_context=settings.keep_context,
            recorded=recorded,
            origin=origin,
            cell=self._own.cell if door == "cell" else None,
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
            if not aside:
                self._own.begins(runner.agent)
        return self._asking.agent

    def remaining(self) -> Remaining:
        """Of the run that this cell has going, or of one that it would begin."""
        from rlm_kernel.limits import Ledger

        asking = self._asking
        left = asking.agent.remaining() if asking is not None else Ledger(self.settings.limits()).remaining(0)
        return replace(left, read_tokens=None)  # a person sees what they like

    def end_of_cell(self, result: Any) -> None:
        """The person's cell is over, and with it the run that its `llm_query` began, once its threads are answered."""
        with self._lock:
            runner, self._asking = self._asking, None
        self._own.write_down()
        WITNESS.set(None)
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
        self._own = OwnCell(self.shell.execution_count - 1 if info.store_history else None)
        if self.replay is not None and self.replay.places.is_persons(self.cell):
            self._own.answered_in(self.replay.runner)
        WITNESS.set(self._own)

    def _look(self) -> Sequence[Given]:
        """What the cell finds and a replay of it will need."""
        from rlm_kernel.environment.secrets import Redactor
        from rlm_kernel.runner.findings import Findings

        settings = self.settings
        findings = Findings("0", self.shell.user_ns, Redactor(), settings.keep_context, settings.trace_path)
        with unwatched():
            return findings.before_own(self.cell)
