"""What a record says of where it was made."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version


def versions() -> dict[str, str]:
    """With a random seed of hashes, a set of texts has no order that stays."""
    seed = os.environ.get("PYTHONHASHSEED", "random") if sys.flags.hash_randomization else "0"
    return {"rlm_kernel": version("rlm_kernel"), "python": platform.python_version(), "hash_seed": seed}
