"""The kernel: ipykernel's own with the extension loaded before the first cell. What it adds is in `extension`."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import threading
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from traitlets import Type
from zmq import ZMQError

from rlm_kernel import __version__
from rlm_kernel.extension import Stoppable, load
from rlm_kernel.workspace import Workspace

IDLE_S = 0.5
"""After the loop is up; an import of litellm before that would stand on the way to the first reply."""


class RLMKernel(Stoppable, IPythonKernel):
    implementation = "rlm"
    implementation_version = __version__
    banner = f"rlm_kernel {__version__}: put something into `context`, then ask in a cell that begins with %%rlm"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        load(self.shell)

    def start(self) -> None:
        super().start()  # type: ignore[no-untyped-call]
        self.io_loop.call_later(IDLE_S, self._idle)

    def _idle(self) -> None:
        threading.Thread(target=self._warm_up, name="rlm-warm-up", daemon=True).start()

    def _warm_up(self) -> None:
        """The imports that a first `%%rlm` would wait for. What fails here fails there too, and is told there."""
        importlib.import_module("rlm_kernel.magics")
        lm = importlib.import_module("rlm_kernel.lm")
        if model := Workspace.of(self.shell).settings.model:
            lm.warm_up(model)
            if self.shell.execution_count == 1:
                # litellm's objects stay for ever; left out, they slow no collection of garbage. Once the person has
                # run a cell, there may be objects of theirs that must not stay.
                gc.freeze()


class RLMKernelApp(IPKernelApp):
    name = "rlm-kernel"
    kernel_class = Type(RLMKernel, klass="ipykernel.kernelbase.Kernel").tag(config=True)  # type: ignore[assignment]

    def initialize(self, argv: list[str] | None = None) -> None:
        try:
            super().initialize(argv)  # type: ignore[no-untyped-call]
        except ZMQError as error:
            # A client chooses the ports before the kernel takes them, so another process can be first. ipykernel's
            # threads then keep a kernel alive that never answers; of one that has ended, a server starts another.
            self.log.critical("The kernel cannot listen: %s. Start it again: it gets other ports.", error)
            logging.shutdown()
            os._exit(1)

    def init_io(self) -> None:
        # nbval hands it down to the kernels that it starts. Where it is, ipykernel takes the process for one that
        # pytest captures, and leaves the file descriptors alone.
        os.environ.pop("PYTEST_CURRENT_TEST", None)
        super().init_io()  # type: ignore[no-untyped-call]
