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
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.connect import LocalPortCache
from traitlets.config import Application, Config

from rlm_kernel.environment import routing
from tests.kernel_process import KernelProcess, kernel_process

_home = tempfile.mkdtemp(prefix="rlm-tests-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)

for _name in list(os.environ):
    if _name.startswith("RLM_") or _name.endswith(("_API_KEY", "_API_BASE", "_BASE_URL")):
        del os.environ[_name]
for _name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
    os.environ[_name] = os.path.join(_home, _name.lower())

# A shell that starts the tests in the background has them ignore Ctrl-C, and what they start with them.
signal.signal(signal.SIGINT, signal.default_int_handler)

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


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which is the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    """One for the tests of a module, which go on in a folder of their own or leave nothing that counts."""
    with kernel_process(tmp_path_factory.mktemp("kernel"), RLM_LIVE="0") as process:
        yield process


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    """IPython in this process, as in a kernel; for one module alone, since whoever finds a shell behaves otherwise."""
    config = Config()
    config.HistoryManager.enabled = False
    made = InteractiveShell.instance(config=config)
    stdout, stderr = sys.stdout, sys.stderr
    routing.install(made)
    yield made
    sys.stdout, sys.stderr = stdout, stderr
    InteractiveShell.clear_instance()
