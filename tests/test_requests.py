"""The whole way: a real kernel, the real litellm, and an OpenAI-compatible server on 127.0.0.1 that misbehaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.kernel_process import Cell, KernelProcess, block, kernel_process
from tests.openai_server import Answer, OpenAIServer

pytestmark = pytest.mark.kernel

MODEL = "openai/test-model"
FINISH = block("FINAL('done')")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KernelProcess, OpenAIServer]]:
    with (
        OpenAIServer() as server,
        kernel_process(
            tmp_path_factory.mktemp("requests"),
            OPENAI_API_BASE=server.url,
            OPENAI_API_KEY="sk-not-a-key-0123456789",
            RLM_MODEL=MODEL,
            RLM_MAX_DEPTH="0",  # what `llm_query` sends here is a completion; tests/test_recursion.py has the rest
        ) as kernel,
    ):
        yield kernel, server


def ask(served: tuple[KernelProcess, OpenAIServer], *answers: Any, question: str = "What is it?") -> Cell:
    kernel, server = served
    server.play(list(answers))
    return kernel.run(f"%%rlm\n{question}", timeout_s=90)


def sent(served: tuple[KernelProcess, OpenAIServer]) -> list[list[dict[str, str]]]:
    return [request.body["messages"] for request in served[1].requests]


def test_each_request_on_the_wire_is_the_last_one_and_two_messages_more(served: Any) -> None:
    cell = ask(served, block("print(1)"), "no cell", block("1 / 0"), FINISH)

    assert (cell.status, cell.result) == ("ok", "'done'")
    conversations = sent(served)
    assert [len(messages) for messages in conversations] == [2, 4, 6, 8]
    for before, after in pairwise(conversations):
        assert json.dumps(after).startswith(json.dumps(before)[:-1])


def test_steps_are_streamed_and_their_time_to_first_token_and_usage_are_recorded(served: Any) -> None:
    kernel, server = served
    cell = ask(served, block("FINAL(llm_query('a word?'))"), "word")

    assert cell.result == "'word'"
    assert [bool(request.body.get("stream")) for request in server.requests] == [True, False]
    path = kernel.value("str(get_ipython()._rlm_workspace.last_run.journal.resolve())")
    events = [json.loads(line) for line in Path(path).read_text().splitlines()]
    (replied,) = [event for event in events if event["type"] == "replied"]
    assert replied["first_token_s"] > 0
    assert replied["usage"]["prompt_tokens"] > 1_000
    assert "cost_usd" not in replied["usage"] or replied["usage"]["cost_usd"] is None
    assert "cost unknown" in "".join(cell.displays("text/plain"))


@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        (Answer(status=429, text="slow down", headers={"Retry-After": "0"}), 2),
        (Answer(status=500, text="<html>oops</html>"), 2),
        (Answer(fault="drop"), 2),
        (Answer(text=FINISH, fault="drop_mid_stream"), 2),
    ],
    ids=["429", "500", "dropped", "dropped in the middle"],
)
def test_a_passing_fault_is_tried_again_and_recorded(served: Any, fault: Answer, tries: int) -> None:
    kernel, server = served

    cell = ask(served, fault, FINISH)

    assert (cell.status, cell.result) == ("ok", "'done'")
    assert len(server.requests) == tries
    usage = "".join(kernel.run("%rlm usage").displays("text/plain"))
    assert usage.splitlines()[1].split()[-1] == "1"  # the column of retries


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(status=401, text="Incorrect API key provided"), "key"),
        (Answer(status=400, text="bad parameter"), "bad parameter"),
        (Answer(status=404, text="no such model"), "no such model"),
    ],
)
def test_a_refusal_is_one_short_typed_line_and_is_not_tried_again(served: Any, answer: Answer, told: str) -> None:
    kernel, server = served

    cell = ask(served, answer)

    assert (cell.status, cell.ename) == ("error", "ModelError")
    assert told in cell.evalue
    assert len(cell.evalue) < 500
    assert "sk-not-a-key" not in json.dumps(cell.outputs)
    assert len(server.requests) == 1
    assert kernel.run("1 + 1").result == "2"


def test_an_unknown_provider_is_named(served: Any) -> None:
    cell = served[0].run("%%rlm -m nosuchprovider/model\nWhat?", timeout_s=60)

    assert cell.ename == "UsageError"
    assert "nosuchprovider" in cell.evalue


@pytest.mark.parametrize(
    "odd",
    [
        Answer(text=""),
        Answer(fault="null"),
        Answer(fault="tool_calls"),
        Answer(text="```repl\nprint('never", finish_reason="length"),
        Answer(text="\x1b[31mred\x1b[0m <script>alert(1)</script> " * 40_000),
    ],
    ids=["empty", "null", "tool calls", "cut off", "ansi and html"],
)
def test_an_odd_reply_is_feedback_and_the_run_goes_on(served: Any, odd: Answer) -> None:
    kernel, server = served
    kernel.run("something = 1")

    cell = ask(served, odd, FINISH)

    assert (cell.status, cell.result) == ("ok", "'done'")
    assert len(server.requests) == 2
    html = "".join(cell.displays("text/html"))
    assert "<script" not in html
    assert "\x1b" not in html


def test_text_that_is_hard_to_send_arrives(served: Any) -> None:
    kernel, server = served
    kernel.run(r"context = 'lone \ud800 nul \x00 crlf \r\n end'")

    cell = ask(
        served,
        block("print(context)\nassert llm_query('about ' + context) == 'heard'\nFINAL(context)"),
        "heard",
        question='{"json": "{context}", \'q\': [1]}',
    )

    assert cell.status == "ok", cell.evalue
    assert kernel.value(r"_ == 'lone \ud800 nul \x00 crlf \r\n end'") is True
    assert len(server.requests) == 2


def test_a_batch_keeps_its_order_and_never_has_more_than_sixteen_under_way(served: Any) -> None:
    kernel, server = served
    server.play(lambda body: Answer(text=body["messages"][-1]["content"], company=16, latency_s=0.2))

    cell = kernel.run(
        "answers = llm_query_batched([f'q {n}' for n in range(60)])\nanswers == [f'q {n}' for n in range(60)]"
    )

    assert cell.result == "True"
    assert server.counts()["max_in_flight"] == 16


def test_stop_ends_the_request_on_the_wire(served: Any) -> None:
    kernel, server = served
    server.play(Answer(text="late", latency_s=30))
    request = kernel.start("%%rlm\nWait.")
    assert server.wait_until(lambda it: len(it.requests) == 1)

    kernel.manager.interrupt_kernel()
    cell = kernel.finish(request)

    assert cell.ename == "RunInterrupted"
    assert server.wait_until(lambda it: it.requests[0].disconnected)
