"""
Any object as bounded text for a model's window, and the budget of what may be read into it.

A text costs what is shown of it: of a gigabyte the ends are sliced, sampled pieces are counted, and nothing is copied
whole (finding a line by its number walks to it, and copies nothing). Text is shown as an observation would have it:
terminal sequences removed, control characters and lone surrogates as escapes. Bytes are read as UTF-8, with escapes
for what is none. Frames and arrays become rows, a line each; everything else is shown by the rules of `preview`.
"""

from __future__ import annotations

from rlm_kernel.window.budget import ReadBudget, read
from rlm_kernel.window.fitting import Window, as_text
from rlm_kernel.window.glancing import glance

__all__ = ["ReadBudget", "Window", "as_text", "glance", "read"]
