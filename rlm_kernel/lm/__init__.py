"""
One protocol, many models.

`resolve("openai/gpt-5-mini")` and `resolve("scripted:replies.py")` give a `LanguageModel`. All of a model's
methods are called on the one loop thread of `lm.thread`; importing this package imports no provider.
"""

from __future__ import annotations

from rlm_kernel.lm.protocol import LanguageModel
from rlm_kernel.lm.registry import resolve, warm_up

__all__ = ["LanguageModel", "resolve", "warm_up"]
