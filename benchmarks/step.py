"""A step beside the model's own time: everything included, the journal on disk, in a real kernel."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

from benchmarks.common import ask, between, block, kernel, median_ms, report, script
from rlm_kernel.trace.tree import fold

STEPS = 60


def scripted() -> None:
    with tempfile.TemporaryDirectory() as folder, kernel() as process:
        replies = [block(f"x = {n}\nprint(x)") for n in range(STEPS)] + [block("FINAL(x)")]
        events = ask(process, script(Path(folder), *replies), "--max-steps none --max-calls none")
        steps = between(events, "asked", "asked")
        report(f"scripted model, {STEPS} steps: a step, median", f"{median_ms(steps):.1f} ms", "<= 5 ms")


def through_litellm() -> None:
    from tests.openai_server import OpenAIServer

    replies = [block(f"x = {n}\nprint(x)") for n in range(STEPS)] + [block("FINAL(x)")]
    with OpenAIServer(replies) as server:
        environ = {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": "not-a-key"}
        with kernel(**environ) as process:
            events = ask(process, "openai/test-model", "--max-steps none --max-calls none --max-cost-usd none")
        ours = between(events, "asked", "asked")
    agent = fold(events).root
    assert agent is not None
    requests = [agent.messages(step.number) for step in agent.steps]
    os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_MODE="PRODUCTION", **environ)
    with OpenAIServer(replies) as server:
        bare = asyncio.run(_bare(server.url, requests))
    own, their = median_ms(ours[5:]), median_ms(bare[5:-1])
    report(
        f"through litellm: a step {own:.1f} ms, a bare streamed call of the same request {their:.1f} ms, more by",
        f"{own - their:.1f} ms",
        "<= 5 ms",
    )


async def _bare(url: str, requests: list) -> list[float]:  # type: ignore[type-arg]
    import litellm

    litellm.suppress_debug_info = True
    took = []
    for messages in requests:
        plain = [{"role": message.role, "content": message.content} for message in messages]
        began = time.perf_counter()
        stream = await litellm.acompletion(
            model="openai/test-model",
            api_base=url,
            messages=plain,
            max_tokens=8_192,
            max_retries=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for _ in stream:
            pass
        took.append(time.perf_counter() - began)
    return took


if __name__ == "__main__":
    scripted()
    through_litellm()
