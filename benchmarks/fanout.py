"""
Many at once, in a kernel through litellm against the test server at 100 ms: plain completions, and sub-agents of three
steps each. Then what a sub-agent costs by itself, in time and memory, with a scripted model that answers at once.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import block, kernel, report
from benchmarks.completions import LATENCY_S, MODEL, bare, server
from tests.kernel_process import KernelProcess

AGENTS, STEPS = 100, 3
MANY = 400
"""Sub-agents for the figures of one."""

BATCH = """\
import time
began = time.perf_counter()
answers = llm_query_batched({prompts}{contexts}, return_exceptions=True)
took = time.perf_counter() - began
errors = sum(isinstance(answer, Exception) for answer in answers)"""


@contextlib.contextmanager
def in_kernel(parallel: int, depth: int, **environ: str) -> Iterator[KernelProcess]:
    limits = {"RLM_MAX_CALLS": "none", "RLM_MAX_COST_USD": "none", "RLM_MAX_DEPTH": str(depth)}
    with kernel(RLM_MAX_PARALLEL=str(parallel), **limits, **environ) as process:
        loaded = "__import__('rlm_kernel.lm.litellm_setup', fromlist=['x'])._module is not None"
        while environ["RLM_MODEL"] == MODEL and not process.value(loaded):
            time.sleep(0.5)  # a kernel after its first idle moment
        time.sleep(0.5)
        yield process


def batch(process: KernelProcess, count: int, contexts: bool = False) -> float:
    """Seconds of one batch; it must have no error."""
    code = BATCH.format(
        prompts=f"[f'question {{n}}' for n in range({count})]", contexts=f", [[n] for n in range({count})]" * contexts
    )
    cell = process.run(code, timeout_s=300)
    assert cell.status == "ok", cell.evalue
    assert process.value("errors") == 0
    assert process.value("len(answers)") == count
    return float(process.value("took"))


def through_litellm(url: str) -> None:
    environ = {"OPENAI_API_BASE": url, "OPENAI_API_KEY": "not-a-key", "RLM_MODEL": MODEL}
    with in_kernel(16, 0, **environ) as process:
        batch(process, 50)  # the first opens the connections
        for count in (200, 1_000):
            took, ideal = batch(process, count), count * LATENCY_S / 16
            what = f"{count:,} completions, 16 at once: {took:.2f} s, ideal {ideal:.2f} s, ratio"
            report(what, f"{took / ideal:.2f}", "<= 1.25")
    for count in (200, 1_000):
        with in_kernel(200, 0, **environ) as process, bare(url, 200, count) as theirs:
            batch(process, 200), theirs()
            pairs = [(batch(process, count), theirs()) for _ in range(5)]
        own, their = (statistics.median(pair[n] for pair in pairs) for n in (0, 1))
        what = (
            f"{count:,} completions, 200 at once: {count / own:,.0f} a second, bare litellm {count / their:,.0f}, share"
        )
        report(what, f"{their / own:.2f}", "about 1")


def sub_agents(url: str) -> None:
    environ = {"OPENAI_API_BASE": url, "OPENAI_API_KEY": "not-a-key", "RLM_MODEL": MODEL}
    with in_kernel(16, 1, **environ) as process:
        batch(process, 16, contexts=True)
        took = statistics.median(batch(process, AGENTS, contexts=True) for _ in range(3))
        ideal = math.ceil(AGENTS * STEPS / 16) * LATENCY_S
        what = f"{AGENTS} sub-agents of {STEPS} steps, 16 at once: {took:.2f} s, ideal {ideal:.2f} s, ratio"
        report(what, f"{took / ideal:.2f}", "<= 1.25")


def by_themselves() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "replies.py")
        path.write_text(f"REPLIES = [dict(reply={block('FINAL(context)')!r}, times=None)]\n")
        with in_kernel(16, 1, RLM_MODEL=f"scripted:{path}") as process:
            batch(process, 50, contexts=True)
            took = statistics.median(batch(process, MANY, contexts=True) for _ in range(3))
            report(
                f"a sub-agent of one step, of {MANY}, the model's time 0", f"{took / MANY * 1_000:.1f} ms", "<= 5 ms"
            )
        with in_kernel(16, 1, RLM_MODEL=f"scripted:{path}") as process:
            batch(process, 50, contexts=True)
            before = resident_mb(process)
            batch(process, MANY, contexts=True)
            each = (resident_mb(process) - before) / MANY
            report(f"memory of a sub-agent that is over, its namespace alive, of {MANY}", f"{each:.2f} MB", "<= 0.5 MB")


def resident_mb(process: KernelProcess) -> float:
    status = "open('/proc/self/status').read().split('VmRSS:')[1].split()[0]"
    return float(process.value(f"(__import__('gc').collect(), int({status}))[1]")) / 1_000


def main() -> None:
    by_themselves()
    with server() as url:
        through_litellm(url)
    with server("--agent-steps", str(STEPS)) as url:
        sub_agents(url)


if __name__ == "__main__":
    main()
