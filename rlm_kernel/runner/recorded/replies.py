"""What a request is answered with: the reply of the record, or where that has none, a live model's."""

from __future__ import annotations

from rlm_kernel.runner.recorded import endings
from rlm_kernel.runner.recorded.changes import Changes
from rlm_kernel.runner.recorded.differences import Differences, Kind, prefix, where_is
from rlm_kernel.runner.recorded.frontier import Frontier
from rlm_kernel.runner.recorded.lookup import Lookup
from rlm_kernel.runner.recorded.order import Order
from rlm_kernel.trace import comparing
from rlm_kernel.trace.comparing import Difference
from rlm_kernel.trace.nodes import Call, Step
from rlm_kernel.values import Reply, Request, messages_sha


class Replies:
    """Of one run. What is awaited is the loop thread's."""

    def __init__(
        self, kind: Kind, lookup: Lookup, changes: Changes, frontier: Frontier, differences: Differences
    ) -> None:
        self._kind = kind
        self._lookup = lookup
        self._agents, self._steps, self._calls = lookup.agents, lookup.steps, lookup.calls
        self._changes = changes
        self._frontier = frontier
        self._differences = differences
        self.order = lookup.order(lookup.below, lookup.calls) if kind == "replay" else Order()
        """In which what sub-agents come to is handed on."""

    async def reply(self, request: Request) -> Reply | None:
        """For `ReplayModel`: None where a live model is to be asked."""
        agent, number, purpose = request.agent, request.ordinal, request.purpose
        if self._differences.diverged is not None:
            raise self._differences.diverged
        asked = (self._steps if purpose == "step" else self._calls).get((agent, number))
        if asked is None or (asked.reply is None and asked.failure is None):
            if self._kind == "replay":
                recorded = self._agents.get(agent)
                if recorded is not None and (asked is not None or purpose == "step"):
                    await endings.end(request, recorded, agent in self._lookup.below)
            self._leave(request)
            return None
        if self._goes_live(request, asked):
            self._leave(request)
            return None
        if asked.reply is None:
            assert asked.failure is not None
            if asked.failure.kind == "interrupted":
                await endings.hold(request, agent in self._lookup.below)
            await self.order.turn(purpose, agent, number)
            raise endings.error_of(asked.failure)
        await self.order.turn(purpose, agent, number)
        self._compare_prompts(request, asked)
        if purpose == "completion" or self._kind == "replay":
            return asked.reply
        return self._changes.reply((agent, number), asked.reply)

    def _goes_live(self, request: Request, asked: Step | Call) -> bool:
        """Whether a request that the record knows is to be asked all the same."""
        if self._kind == "replay":
            return False
        agent, frontier = request.agent, self._frontier
        if isinstance(asked, Call):
            if not (_same_prompt(asked, request) or frontier.takes_anything(agent, asked.step)):
                return True
            return asked.reply is None and not frontier.settled(agent, asked.step)
        if frontier.is_live(agent, request.ordinal):
            return True
        return asked.reply is None and not frontier.ended(self._agents[agent])

    def _leave(self, request: Request) -> None:
        """What is asked here is not in the record."""
        step = request.ordinal if request.purpose == "step" else None
        where = where_is(request.agent, step)
        if self._kind == "replay":
            newest = comparing.apart("", request.messages[-1].content)[1]
            found = Difference(f"next {request.purpose}", "nothing more was asked", newest)
            raise self._differences.diverge(where, found)
        self._frontier.change()
        if self._frontier.changed:
            # Chance excuses nothing from here on: what is asked next tells of what came.
            varying, own = self._differences.varying, self._frontier.is_own
            self._differences.varying = {key: why for key, why in varying.items() if own(*key)}
        if self._kind == "fork" and not self._frontier.left:
            self._frontier.left = True
            agent = self._agents.get(request.agent)
            if agent is None or step is None:
                said = (
                    f"forked from {self._lookup.trace.run}: the first that the record does not know is asked by {where}"
                )
            else:
                before = tuple(message for each in agent.steps if each.number <= step for message in each.new)
                said = prefix(self._lookup.trace.run, where, before, request.messages)
            self._differences.note(said)
        if step is not None:
            self._frontier.leave(request.agent, step)

    def _compare_prompts(self, request: Request, asked: Step | Call) -> None:
        if not asked.request_sha or asked.request_sha == messages_sha(request.messages):
            return
        if self._kind == "fork" and self._lookup.foreign:
            return
        if isinstance(asked, Call) and not _same_prompt(asked, request):
            found = Difference("prompt", *comparing.apart(asked.prompt, request.messages[-1].content))
            asking = None if asked.step is None else (request.agent, asked.step)
            self._differences.meet(where_is(request.agent, asked.step, asked.number), asking, found)
        elif self._kind == "replay":
            self._differences.note(
                "the prompts of this version are worded otherwise than the recorded ones; the replies are the same"
            )


def _same_prompt(asked: Call, request: Request) -> bool:
    return asked.request_sha == messages_sha(request.messages) or asked.prompt == request.messages[-1].content
