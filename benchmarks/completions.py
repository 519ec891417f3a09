"""200 completions of a model that takes 100 ms each: `llm_query_batched` in a kernel against a test server."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import kernel, report, script

CALLS, LATENCY_S, ROUNDS = 200, 0.1, 5
MODEL = "openai/test-model"


@contextlib.contextmanager
def server() -> Iterator[str]:
    """In a process of its own, so that it takes no turn from the kernel's interpreter."""
    command = [sys.executable, "-m", "tests.openai_server", "--latency-s", str(LATENCY_S), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        process.terminate()
        process.wait()


def ours(url: str, parallel: int) -> list[float]:
    return batches(parallel, OPENAI_API_BASE=url, OPENAI_API_KEY="not-a-key", RLM_MODEL=MODEL)


def batches(parallel: int, **environ: str) -> list[float]:
    limits = {"RLM_MAX_PARALLEL": str(parallel), "RLM_MAX_CALLS": "none", "RLM_MAX_COST_USD": "none"}
    with kernel(**limits, **environ) as process:
        process.run("llm_query('warm')", timeout_s=120)
        took = []
        for _ in range(ROUNDS):
            cell = process.run(
                "import time\nbegan = time.perf_counter()\n"
                f"answers = llm_query_batched([f'question {{n}}' for n in range({CALLS})])\n"
                "took = time.perf_counter() - began",
                timeout_s=120,
            )
            assert cell.status == "ok", cell.evalue
            assert process.value("len(answers)") == CALLS
            took.append(process.value("took"))
        return took


BARE = """
import asyncio, os, sys, time
os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_MODE="PRODUCTION")
import litellm
litellm.suppress_debug_info = True
system = sys.stdin.read()
at_once = asyncio.Semaphore(int(sys.argv[4]))
async def ask(n):
    messages = [{"role": "system", "content": system}, {"role": "user", "content": f"question {n}"}]
    async with at_once:
        return await litellm.acompletion(model=sys.argv[1], messages=messages, max_tokens=8192, max_retries=0)
async def go():
    await ask(0)
    for _ in range(int(sys.argv[3])):
        began = time.perf_counter()
        await asyncio.gather(*(ask(n) for n in range(int(sys.argv[2]))))
        print(time.perf_counter() - began)
asyncio.run(go())
"""


def bare(url: str, parallel: int) -> list[float]:
    from rlm_kernel.prompts import COMPLETION_SYSTEM

    environ = {**os.environ, "OPENAI_API_BASE": url, "OPENAI_API_KEY": "not-a-key"}
    command = [sys.executable, "-c", BARE, MODEL, str(CALLS), str(ROUNDS), str(parallel)]
    done = subprocess.run(command, input=COMPLETION_SYSTEM, env=environ, capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def scripted() -> list[float]:
    """The same with no provider and no litellm: what is ours alone."""
    with tempfile.TemporaryDirectory() as folder:
        model = script(Path(folder), completions=[{"reply": "ok", "delay_s": LATENCY_S, "times": None}])
        return batches(16, RLM_MODEL=model)


def main() -> None:
    ideal = CALLS * LATENCY_S / 16
    took = statistics.median(scripted())
    report(
        f"{CALLS} at 100 ms, 16 at once, scripted: {took:.2f} s, ideal {ideal:.2f} s, ratio",
        f"{took / ideal:.2f}",
        "<= 1.2",
    )
    with server() as url:
        own, their = statistics.median(ours(url, 16)), statistics.median(bare(url, 16))
        what = f"the same through litellm: {own:.2f} s (bare litellm with a semaphore {their:.2f} s), ratio to ideal"
        report(what, f"{own / ideal:.2f}", "<= 1.2")
        own, their = statistics.median(ours(url, CALLS)), statistics.median(bare(url, CALLS))
        report(
            f"{CALLS} at once: {own:.2f} s, bare litellm under gather {their:.2f} s, ratio",
            f"{own / their:.2f}",
            "<= 1.1",
        )


if __name__ == "__main__":
    main()
