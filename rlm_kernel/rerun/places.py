"""A record in a notebook that runs again: which of its cells the notebook runs, and what is shown in their places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlm_kernel.errors import UsageError
from rlm_kernel.trace.cells import cell_id, outputs, readable
from rlm_kernel.trace.events import CellFinished
from rlm_kernel.trace.nodes import Agent, Step
from rlm_kernel.values import CellResult, Output

if TYPE_CHECKING:
    from rlm_kernel.rerun.again import Replay


class Places:
    """Of one replay."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self.taken = False
        """Whether cells that a person runs run here, where they are of the record."""
        self._shown: set[tuple[str, int]] = set()
        """Cells of sub-agents that were shown in their place."""

    def is_persons(self, source: str) -> bool:
        """Whether that is the person's own cell that asked, in a run that no `%%rlm` began."""
        own = self._replay.trace.persons_cell
        return self.taken and own is not None and source.strip() == own.strip()

    def step_of(self, source: str, id: str | None) -> int | None:
        """The root's step whose cell that is, by the cell's id where the client tells it, else by its source."""
        root = self._replay.root
        steps = [step for step in root.steps if step.source is not None and self.taken]
        for step in steps:
            if id is not None and id == cell_id(root.id, f"s{step.number}"):
                return step.number
        same = [step.number for step in steps if self._is(root.id, step, source)]
        return next((number for number in same if number not in self._replay.ran), same[0] if same else None)

    def below(self, agent: str, source: str) -> list[Output] | None:
        """
        What a sub-agent's cell put out when it ran inside its caller's; None for one that has not run there.

        Raises UsageError where it did not run yet.
        """
        replay = self._replay
        for cell, result in replay.recorded.changes.put_out.items():
            if cell.agent == agent and cell.source.strip() == source.strip():
                return _outputs_of(result)
        recorded = replay.trace.agents.get(agent)
        steps = [] if recorded is None else [step for step in recorded.steps if self._is(agent, step, source)]
        if not steps:
            return None
        ran = replay.tree.agents.get(agent)
        came = {} if ran is None else {step.number: step for step in ran.steps if step.cell is not None}
        here = [came[step.number] for step in steps if step.number in came]
        if not here:
            raise UsageError(
                f"agent {agent} did not run yet: run the cell of {_caller(recorded)} first, which starts it"
            )
        found = next((step for step in here if (agent, step.number) not in self._shown), here[0])
        self._shown.add((agent, found.number))
        return self.outputs(agent, found)

    def outputs(self, agent: str, step: Step) -> list[Output]:
        """
        Of a cell that has run. What came to the same is shown as it is recorded: addresses and their like change with
        every run, and a notebook would with them.
        """
        replay = self._replay
        as_recorded = (agent, step.number) in replay.recorded.same
        return outputs(replay.trace.agents[agent].step(step.number) if as_recorded else step)

    def _is(self, agent: str, step: Step, source: str) -> bool:
        known = step.source, self._replay.recorded.changes.edited.get((agent, step.number))
        return any(was is not None and readable(was).strip() == source.strip() for was in known)


def _outputs_of(result: CellResult) -> list[Output]:
    """Of a cell that is no step: as a notebook has those of one."""
    event = CellFinished(agent="", step=0, outputs=result.outputs, seconds=result.seconds, error=result.error)
    return outputs(Step(0, cell=event))


def _caller(agent: Agent | None) -> str:
    if agent is None or agent.caller is None:
        return "the agent above"
    return f"agent {agent.caller}" + ("" if agent.in_step is None else f", step {agent.in_step}")
