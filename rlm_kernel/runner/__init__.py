"""
Drives a run: asks the model, runs the cells, records what happens, spends the budget, stops when told.

The controller says what it wants; here it is done.
"""

from __future__ import annotations

from rlm_kernel.runner.briefing import HIDDEN, brief, list_variables
from rlm_kernel.runner.run import Runner

__all__ = ["HIDDEN", "Runner", "brief", "list_variables"]
