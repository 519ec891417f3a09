"""
Before any test: nothing of the person's own set-up, and no key that could cost money.

Done at import, because the kernels that tests start are other processes and inherit this environment.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from jupyter_client.connect import LocalPortCache
from traitlets.config import Application

_home = tempfile.mkdtemp(prefix="rlm-tests-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)

for _name in list(os.environ):
    if _name.startswith("RLM_") or _name.endswith(("_API_KEY", "_API_BASE", "_BASE_URL")):
        del os.environ[_name]
for _name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
    os.environ[_name] = os.path.join(_home, _name.lower())

# jupyter_client chooses ports that are free now, and the kernel takes them a second later: processes that start kernels
# beside each other would now and then choose the same. So each has ports of its own.
if _worker := os.environ.get("PYTEST_XDIST_WORKER"):
    _own, _workers = int(_worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    _find = LocalPortCache.find_available_port

    def _find_own(cache: LocalPortCache, ip: str) -> int:
        while (port := _find(cache, ip)) // 2 % _workers != _own:  # Linux gives odd ones only
            pass
        return port

    LocalPortCache.find_available_port = _find_own  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def no_command_is_left() -> Iterator[None]:
    """An application is the only one of its process; a test that runs a command leaves room for the next."""
    yield
    left = Application._instance
    if left is not None:
        type(left).clear_instance()
