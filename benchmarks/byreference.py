"""
Fifty interactions, each with a result of 2,000 tokens of which the next one needs a quarter: tokens sent by reference,
and by the same pipeline that passes results by value. All are run against the test server and counted from its log.

The work is the same in all: fifty times a model is asked with a quarter of the last result and writes 2,000 tokens.
By value the results go through the conversation of whoever coordinates, as the results of tool calls do, and it types
the quarter that the next call needs. By reference it writes cells: the results stay variables. By store they stand
under names, and the quarter is READ: by the cell that asks; or by the worker, which is then a sub-agent that was handed
the store and has two requests in place of one, each with the system prompt.

And an answer of 5,000 words that a variable holds: completion tokens of typing it again, and of FINAL of its name.
"""

from __future__ import annotations

import os
import re
import tempfile
from typing import Any

import rlm_kernel
from benchmarks.common import block, report
from rlm_kernel import Store
from rlm_kernel.prompts import COMPLETION_SYSTEM, SYSTEM
from rlm_kernel.trace.reading import read
from tests.openai_server import OpenAIServer

TIMES = 50
RESULT_CHARS = 8_000  # 2,000 tokens, by the test server's four characters a token
QUARTER = RESULT_CHARS // 4
WORDS = 5_000
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


def by_store(server: OpenAIServer) -> int:
    """Prompt tokens of all requests."""
    cells = [
        f"WRITE('part {part}', llm_query('{TASK} {part}:\\n' + READ('part {part - 1}', chars=(0, {QUARTER}))))"
        for part in range(1, TIMES + 1)
    ]
    steps = iter([block(cell) for cell in [*cells, f"FINAL('part {TIMES}')"]])
    server.play(lambda body: work(body) or next(steps))
    run = rlm_kernel.run(
        "Rework the text in fifty stages.", _begun(), model=MODEL, max_depth=0, max_steps=None, max_calls=None
    )
    assert run.answer == result(TIMES)
    return server.tokens_in


def _begun() -> Store:
    store = Store()
    store["part 0"] = result(0)
    return store


def by_sub_agents(server: OpenAIServer) -> int:
    """Prompt tokens of all requests, those of the sub-agents included."""

    def play(body: dict[str, Any]) -> str:
        first, newest = body["messages"][1]["content"], body["messages"][-1]["content"]
        found = re.search(rf"{TASK} (\d+)\.", first)
        if found is None:
            part = len(body["messages"]) // 2
            if part > TIMES:
                return block(f'FINAL("part {TIMES}")')
            ask = f"llm_query('{TASK} {part}.', context=context.only('part {part - 1}'), schema=str)"
            return block(f"WRITE('part {part}', {ask})")
        part = int(found[1])
        if newest == first:
            return block(f"READ('part {part - 1}', chars=(0, {QUARTER}))")
        assert result(part - 1)[:QUARTER] in newest
        return block(f"FINAL({result(part)!r})")

    server.play(play)
    run = rlm_kernel.run(
        "Rework the text in fifty stages.", _begun(), model=MODEL, max_depth=1, max_steps=None, max_calls=None
    )
    assert run.answer == result(TIMES)
    return server.tokens_in


def typed_and_named(server: OpenAIServer) -> tuple[int, int]:
    """Completion tokens of the same two steps, the answer typed again in the second, and named there."""
    words = " ".join(f"word{number:04d}" for number in range(WORDS))
    spent = []
    for last in (f"FINAL({words!r})", "FINAL('report')"):
        steps = iter([block("report = ' '.join(context)\nprint(report[:200])"), block(last)])
        server.play(lambda body, steps=steps: next(steps))
        run = rlm_kernel.run("Write the report.", words.split(), model=MODEL, max_depth=0, max_reply_tokens=None)
        assert run.answer == words
        spent.append(run.usage.completion_tokens)
    return spent[0], spent[1]


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
        stored = by_store(server)
        handed = by_sub_agents(server)
        typed, named = typed_and_named(server)
    saved = 1 - reference / value
    report(f"by value {value:,} prompt tokens, by reference {reference:,}, fewer", f"{saved:.1%}", ">= 90 %")
    report(f"the whole flow in one cell {whole:,}, fewer", f"{1 - whole / value:.1%}", ">= 98 %")
    report(f"by store {stored:,}, fewer", f"{1 - stored / value:.1%}", ">= 90 %")
    report(f"by sub-agents over one store {handed:,}, fewer", f"{1 - handed / value:.1%}", "none")
    report(
        f"an answer of {WORDS:,} words: typed {typed:,}, by name {named}, fewer", f"{1 - named / typed:.1%}", ">= 95 %"
    )
    what = f"of the agent's prompt tokens an exact-prefix cache serves (ideal, append-only: {ideal(mine):.1%})"
    report(what, f"{cached(mine):.1%}", ">= 90 %")
    report("the same of all prompt tokens, the worker's included", f"{cached([*mine, *theirs]):.1%}", "none")


if __name__ == "__main__":
    main()
