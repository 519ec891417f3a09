"""
Objects and outputs as bounded text: what a model is told of things it does not see.

Making a preview never costs more than the preview. Nothing here reads, copies, sorts or prints the whole of a large
object, uses up an iterator, or touches a foreign object's attributes; foreign code runs only through `show`, the
function that a caller hands in and that may bound its time. numpy and pandas are recognised, never imported first.
"""

from __future__ import annotations

from rlm_kernel.preview.lines import one_line
from rlm_kernel.preview.objects import describe
from rlm_kernel.preview.outputs import observe, observe_within
from rlm_kernel.preview.render import render
from rlm_kernel.preview.sizes import tokens_of
from rlm_kernel.preview.text import cut, estimate_tokens
from rlm_kernel.preview.variables import variables

__all__ = [
    "cut",
    "describe",
    "estimate_tokens",
    "observe",
    "observe_within",
    "one_line",
    "render",
    "tokens_of",
    "variables",
]
