"""Results of any size pass from agent to agent by name: counted at a server, through the real litellm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import rlm_kernel
from rlm_kernel import Store
from rlm_kernel.lm.tokens import count
from tests.kernel_process import block
from tests.openai_server import OpenAIServer

LINES = 400_000
"""Of fifty characters and a little: twenty million in all, which is five million tokens."""

MAKE = f"""
lines = [f"entry {{n:06d}} of the ledger, amount {{n % 997:04d}}, settled" for n in range({LINES})]
FINAL("\\n".join(lines))
"""
SORT = """
ledger = context.ledger
late = [line for line in ledger.split("\\n") if int(line[35:39]) > 990]
WRITE("late", late, note="amounts above 990")
FINAL("\\n".join(sorted(ledger.split("\\n"), key=lambda line: line[35:39])))
"""
CELLS = {
    "Review": [
        "WRITE('ledger', llm_query('Make the ledger.', context=context, schema=str))",
        "WRITE('sorted', llm_query('Sort it.', context=context, schema=str))\nREAD('sorted', max_tokens=60)",
        "FINAL(llm_query('Check it.', context=context.only('ledger', 'sorted', 'late', read_only=True)))",
    ],
    "Make": ["READ(context)", MAKE],
    "Sort": ["READ('ledger', lines=(1, 3))", SORT],
    "Check": [
        "READ('late', rows=(0, 3))\nprint(context.ledger[:200_000])",
        "FINAL({'lines': context.sorted.count('\\n') + 1, 'late': context.late, 'text': context.sorted})",
    ],
}


def play(body: dict[str, Any]) -> str:
    messages = body["messages"]
    found = re.match(r"# The question\s+(\w+)", messages[1]["content"])
    assert found is not None
    return block(CELLS[found[1]][len(messages) // 2 - 1])


def test_five_million_tokens_pass_through_three_agents_and_no_request_has_four_thousand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
        server.play(play)
        run = rlm_kernel.run(
            "Review the ledger.", store, model="openai/test-model", trace_dir=str(tmp_path), max_read_tokens=1_000
        )
        sent = [request.body["messages"] for request in server.requests]

    assert run.answer["text"] is store.sorted
    assert run.answer["late"] is store.late
    assert run.answer["lines"] == LINES
    assert len(store.sorted) / 100_000 * count(store.sorted[:100_000]) > 5_000_000
    assert len(sent) == run.calls == 9
    assert max(sum(count(message["content"]) for message in messages) for messages in sent) < 4_000
    used = [
        (agent.id, use.how, use.key)
        for agent in rlm_kernel.load_trace(run.journal or "")
        for step in agent.steps
        for use in step.used
    ]
    assert used == [
        ("0", "write", "ledger"),
        ("0", "write", "sorted"),
        ("0", "read", "sorted"),
        ("0.1", "read", "a Store"),
        ("0.2", "read", "ledger"),
        ("0.2", "take", "ledger"),
        ("0.2", "write", "late"),
        ("0.3", "read", "late"),
        ("0.3", "take", "ledger"),
        ("0.3", "take", "sorted"),
        ("0.3", "take", "late"),
    ]
