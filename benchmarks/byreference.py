"""
Fifty interactions, each with a result of 2,000 tokens of which the next one needs a quarter: tokens sent by reference,
and by the same pipeline that passes results by value. Both are run against the test server and counted from its log.

The work is the same in both: fifty times a model is asked with a quarter of the last result and writes 2,000 tokens.
By value the results go through the conversation of whoever coordinates, as the results of tool calls do, and it types
the quarter that the next call needs. By reference it writes cells: the results stay variables.
"""

from __future__ import annotations

import os
import re
import tempfile
from typing import Any

import rlm_kernel
from benchmarks.common import block, report
from rlm_kernel.prompts import COMPLETION_SYSTEM, SYSTEM
from rlm_kernel.trace.reading import read
from tests.openai_server import OpenAIServer

TIMES = 50
RESULT_CHARS = 8_000  # 2,000 tokens, by the test server's four characters a token
QUARTER = RESULT_CHARS // 4
TASK = "Rework this piece for the next stage, part"
MODEL = "openai/test-model"


def result(part: int) -> str:
    """What the worker writes: text that is different for each part."""
    return "".join(f"part {part:02d} line {line:03d} of the text; " for line in range(RESULT_CHARS // 32))[
        :RESULT_CHARS
    ]


def work(body: dict[str, Any]) -> str | None:
    """The worker's reply, where this request is for it."""
    found = re.match(rf"{TASK} (\d+):", body["messages"][-1]["content"])
    return None if found is None else result(int(found[1]))


def by_value(server: OpenAIServer) -> int:
    """The coordinator's conversation has every result in it; gives the prompt tokens of all requests."""
    import litellm

    def play(body: dict[str, Any]) -> str:
        if (text := work(body)) is not None:
            return text
        # The coordinator names the next call, and types what it needs of the last result.
        return f"CALL part {len(body['messages']) // 2}\n{body['messages'][-1]['content'][:QUARTER]}"

    server.play(play)
    conversation = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Begin with: " + result(0)}]
    for part in range(1, TIMES + 1):
        call = ask(litellm, conversation)
        prompt = f"{TASK} {part}:\n{call.partition(chr(10))[2]}"
        answer = ask(litellm, [{"role": "system", "content": COMPLETION_SYSTEM}, {"role": "user", "content": prompt}])
        conversation += [{"role": "assistant", "content": call}, {"role": "user", "content": answer}]
    return server.tokens_in


def ask(litellm: Any, messages: list[dict[str, str]]) -> str:
    return str(litellm.completion(model=MODEL, messages=messages).choices[0].message.content)


def by_reference(server: OpenAIServer, cells: list[str]) -> tuple[int, list[Any], list[Any]]:
    """Prompt tokens of all requests; the usages of the agent's steps and of the worker's calls, as the run has them."""
    steps = iter(block(cell) for cell in cells)
    server.play(lambda body: work(body) or next(steps))
    run = rlm_kernel.run(
        "Rework the text in fifty stages.", result(0), model=MODEL, max_depth=0, max_steps=None, max_calls=None
    )
    assert run.answer == result(TIMES)
    events = [stamped.event for stamped in read(run.journal).events]
    mine = [event.usage for event in events if event.type == "replied"]
    theirs = [event.usage for event in events if event.type == "call_finished"]
    assert (len(mine), len(theirs)) == (len(cells), TIMES)
    assert sum(usage.prompt_tokens for usage in [*mine, *theirs]) == server.tokens_in
    return server.tokens_in, mine, theirs


def cached(usages: list[Any]) -> float:
    return sum(usage.cached_tokens or 0 for usage in usages) / sum(usage.prompt_tokens for usage in usages)


def ideal(usages: list[Any]) -> float:
    """Of an append-only conversation each request can find all of the one before it in the cache."""
    prompts = [usage.prompt_tokens for usage in usages]
    return sum(prompts[:-1]) / sum(prompts)


def main() -> None:
    one = f"piece = llm_query(f'{TASK} {{part}}:\\n' + piece[:{QUARTER}])"
    stepwise = ["part, piece = 1, context\n" + one]
    stepwise += [f"part = {part}\n{one}" for part in range(2, TIMES + 1)] + ["FINAL(piece)"]
    flow = [f"piece = context\nfor part in range(1, {TIMES + 1}):\n    {one}\nprint(len(piece))", "FINAL(piece)"]
    with OpenAIServer() as server, tempfile.TemporaryDirectory() as folder:
        os.environ.update(
            OPENAI_API_BASE=server.url,
            OPENAI_API_KEY="not-a-key",
            RLM_TRACE_DIR=folder,
            LITELLM_LOCAL_MODEL_COST_MAP="True",
            LITELLM_MODE="PRODUCTION",
        )
        value = by_value(server)
        reference, mine, theirs = by_reference(server, stepwise)
        whole, _, _ = by_reference(server, flow)
    saved = 1 - reference / value
    report(f"by value {value:,} prompt tokens, by reference {reference:,}, fewer", f"{saved:.1%}", ">= 90 %")
    report(f"the whole flow in one cell {whole:,}, fewer", f"{1 - whole / value:.1%}", ">= 98 %")
    what = f"of the agent's prompt tokens an exact-prefix cache serves (ideal, append-only: {ideal(mine):.1%})"
    report(what, f"{cached(mine):.1%}", ">= 90 %")
    report("the same of all prompt tokens, the worker's included", f"{cached([*mine, *theirs]):.1%}", "none")


if __name__ == "__main__":
    main()
