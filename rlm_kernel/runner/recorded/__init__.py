"""
What a run takes from the record of an earlier one, and whether it comes to the same.

`record` is what the runner asks, `replies` what it has for a request; `lookup` has the record by agent and number,
`matching` and `order` tell which of those that run side by side is meant, `changes` what a person edited, `frontier`
where the record ends for whom, `forked` what a fork that broke off has still to take, `kept` which cells do not run,
`endings` what is raised or held where there is no reply, `differences` what came out otherwise and how that is met.
"""

from rlm_kernel.runner.recorded.forked import Fork, Forked
from rlm_kernel.runner.recorded.kept import NO_RERUN
from rlm_kernel.runner.recorded.record import HELD_A_KEY, Recorded

__all__ = ["HELD_A_KEY", "NO_RERUN", "Fork", "Forked", "Recorded"]
