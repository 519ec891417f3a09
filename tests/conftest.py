"""
Before any test: nothing of the person's own set-up, and no key that could cost money.

Done at import, because the kernels that tests start are other processes and inherit this environment.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import shutil
import socket
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

# jupyter_client chooses ports that are free now, and the kernel takes them a second later: beside others that are given
# free ports, a start would fail now and then. So each worker has ports of its own, of those that nobody is given.
if _worker := os.environ.get("PYTEST_XDIST_WORKER"):
    _first = 10_000 + 2_000 * int(_worker.removeprefix("gw"))
    _ports = itertools.cycle(range(_first, _first + 2_000))

    def _find(cache: LocalPortCache, ip: str) -> int:
        for port in _ports:
            with contextlib.suppress(OSError), socket.socket() as found:
                found.bind((ip, port))
                return port
        raise AssertionError  # a cycle has no end

    LocalPortCache.find_available_port = _find  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def no_command_is_left() -> Iterator[None]:
    """An application is the only one of its process; a test that runs a command leaves room for the next."""
    yield
    left = Application._instance
    if left is not None:
        type(left).clear_instance()
