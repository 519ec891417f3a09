"""The states of a workflow that runs in an agent's cell, as its record has them."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from rlm_kernel import preview
from rlm_kernel.environment.within import repr_within
from rlm_kernel.namespace import StateEnd
from rlm_kernel.runner.reading import write_down
from rlm_kernel.trace.events import StateFinished, StateStarted

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent


def begin(agent: Agent, number: int, state: str, agents: tuple[str, ...], visit: int) -> Agent:
    """The agent as it is within that state: whom it asks belongs to it."""
    runner = agent.runner
    within = copy.copy(agent)
    within.state = number
    write_down()
    runner.recorder.record(
        StateStarted(
            agent=agent.id,
            step=agent.step,
            number=number,
            state=runner.sendable(state),
            agents=tuple(map(runner.sendable, agents)),
            visit=visit,
        )
    )
    return within


def end(agent: Agent, value: object, told: StateEnd) -> None:
    assert agent.state is not None
    write_down()
    runner = agent.runner
    result = None if value is None else runner.sendable(preview.one_line(value, show=repr_within))
    told["error"] = None if told["error"] is None else runner.sendable(told["error"])
    told["problems"] = tuple(map(runner.sendable, told["problems"]))
    told["next"] = None if told["next"] is None else runner.sendable(told["next"])
    told["loaded"] = tuple(replace(each, key=runner.sendable(each.key)) for each in told["loaded"])
    runner.recorder.record(StateFinished(agent=agent.id, step=agent.step, number=agent.state, result=result, **told))
