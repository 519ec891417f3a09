"""How many agents of a run have a thread, or a process, at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlm_kernel.runner.agent import Agent

MAX_PROCESSES = 16
"""Worker processes of one depth at once; each takes 40 MB."""


class Rooms:
    """Of one run. `size` is for the agents of one depth."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rooms: dict[tuple[int, str], asyncio.Semaphore] = {}

    def of(self, agent: Agent) -> asyncio.Semaphore:
        """
        For the agents of one depth that have a thread, or a process. Each depth has its own, and an agent waits for
        deeper ones only, so however many there are, none waits for a place that it holds itself.
        """
        size = self._size
        if agent.isolation == "process":
            size = min(size, MAX_PROCESSES)
        return self._rooms.setdefault((agent.depth, agent.isolation), asyncio.Semaphore(size))
