"""200 completions of a model that takes 100 ms each: `llm_query_batched` in a kernel against a test server."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.common import kernel, report, script
from rlm_kernel.prompts import COMPLETION_SYSTEM

CALLS, LATENCY_S, ROUNDS = 200, 0.1, 15
MODEL = "openai/test-model"


@contextlib.contextmanager
def server(*options: str) -> Iterator[str]:
    """In a process of its own, so that it takes no turn from the kernel's interpreter."""
    command = [sys.executable, "-m", "tests.openai_server", "--latency-s", str(LATENCY_S), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def in_kernel(parallel: int, **environ: str) -> Iterator[Callable[[], float]]:
    """Seconds of one batch in a kernel, at each call."""
    limits = {"RLM_MAX_PARALLEL": str(parallel), "RLM_MAX_CALLS": "none", "RLM_MAX_COST_USD": "none"}
    limits["RLM_MAX_DEPTH"] = "0"  # where `llm_query` is a completion
    with kernel(**limits, **environ) as process:
        loaded = "__import__('rlm_kernel.lm.litellm_setup', fromlist=['x'])._module is not None"
        while environ["RLM_MODEL"] == MODEL and not process.value(loaded):
            time.sleep(0.5)  # a kernel after its first idle moment
        time.sleep(0.5)
        process.run("llm_query('warm')", timeout_s=120)

        def batch() -> float:
            cell = process.run(
                "import time\nbegan = time.perf_counter()\n"
                f"answers = llm_query_batched([f'question {{n}}' for n in range({CALLS})])\n"
                "took = time.perf_counter() - began",
                timeout_s=120,
            )
            assert cell.status == "ok", cell.evalue
            assert process.value("len(answers)") == CALLS
            return float(process.value("took"))

        yield batch


BARE = """
import asyncio, os, sys, time
os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_MODE="PRODUCTION")
import litellm
litellm.suppress_debug_info = True
model, calls, parallel, system = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
at_once = asyncio.Semaphore(parallel)
async def ask(n):
    messages = [{"role": "system", "content": system}, {"role": "user", "content": f"question {n}"}]
    async with at_once:
        return await litellm.acompletion(model=model, messages=messages, max_tokens=8192, max_retries=0)
async def go():
    await ask(0)
    while await asyncio.to_thread(sys.stdin.readline):
        began = time.perf_counter()
        await asyncio.gather(*(ask(n) for n in range(calls)))
        print(time.perf_counter() - began, flush=True)
asyncio.run(go())
"""


@contextlib.contextmanager
def bare(url: str, parallel: int, calls: int = CALLS) -> Iterator[Callable[[], float]]:
    """The same with litellm alone, in a process of its own."""
    environ = {**os.environ, "OPENAI_API_BASE": url, "OPENAI_API_KEY": "not-a-key"}
    command = [sys.executable, "-c", BARE, MODEL, str(calls), str(parallel), COMPLETION_SYSTEM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, text=True) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def batch() -> float:
            stdin.write("go\n")
            stdin.flush()
            return float(stdout.readline())

        yield batch
        stdin.close()


def side_by_side(url: str, parallel: int) -> tuple[float, float]:
    """Medians of ours and of bare litellm, in turn, so that both meet the same moments of the machine."""
    environ = {"OPENAI_API_BASE": url, "OPENAI_API_KEY": "not-a-key", "RLM_MODEL": MODEL}
    with in_kernel(parallel, **environ) as ours, bare(url, parallel) as theirs:
        ours(), theirs()  # the first opens the connections
        pairs = [(ours(), theirs()) for _ in range(ROUNDS)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def main() -> None:
    ideal = CALLS * LATENCY_S / 16
    with tempfile.TemporaryDirectory() as folder:
        model = script(Path(folder), completions=[{"reply": "ok", "delay_s": LATENCY_S, "times": None}])
        with in_kernel(16, RLM_MODEL=model) as ours:
            took = statistics.median(ours() for _ in range(ROUNDS))
    what = f"{CALLS} at 100 ms, 16 at once, scripted: {took:.2f} s, ideal {ideal:.2f} s, ratio"
    report(what, f"{took / ideal:.2f}", "<= 1.2")
    with server() as url:
        own, their = side_by_side(url, 16)
        what = f"the same through litellm: {own:.2f} s (bare litellm with a semaphore {their:.2f} s), ratio to ideal"
        report(what, f"{own / ideal:.2f}", "<= 1.2")
        own, their = side_by_side(url, CALLS)
        report(
            f"{CALLS} at once: {own:.2f} s, bare litellm under gather {their:.2f} s, ratio",
            f"{own / their:.2f}",
            "<= 1.1",
        )


if __name__ == "__main__":
    main()
