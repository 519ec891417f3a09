"""Sub-agents as a person meets them: through a real kernel, with scripted words, or a server that misbehaves."""

from __future__ import annotations

import ast
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel.trace.loading import load_trace
from rlm_kernel.trace.reading import read
from tests.kernel_process import STOPPED_WITHIN_S, Cell, KernelProcess, block, kernel_process
from tests.openai_server import Answer, OpenAIServer

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    with kernel_process(tmp_path_factory.mktemp("recursion"), RLM_MAX_CALLS="none", RLM_LIVE="0") as process:
        yield process


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KernelProcess, OpenAIServer]]:
    with (
        OpenAIServer() as server,
        kernel_process(
            tmp_path_factory.mktemp("served"),
            OPENAI_API_BASE=server.url,
            OPENAI_API_KEY="none",
            RLM_MODEL="openai/m",
            RLM_LIVE="0",
        ) as process,
    ):
        yield process, server


def script(kernel: KernelProcess, body: str) -> str:
    path = kernel.folder / "script.py"
    path.write_text("def block(code):\n    return '```repl\\n' + code + '\\n```'\n" + body)
    return f"scripted:{path}"


def ask(kernel: KernelProcess, root: list[str], body: str = "", options: str = "", completions: str = "[]") -> Cell:
    """`root` are the root's cells; `body` defines `sub(request)`, which writes every sub-agent's cells."""
    steps = [block(cell) for cell in root]
    body += f"\nSTEPS = iter({steps!r})\nCOMPLETIONS = {completions}\n"
    body += "REPLIES = [dict(reply=lambda r: next(STEPS) if r.agent == '0' else block(sub(r)), times=None)]\n"
    return kernel.run(f"%%rlm -m {script(kernel, body)} {options}\nGo.")


def value_of(cell: Cell) -> Any:
    assert cell.result is not None, cell.evalue
    return ast.literal_eval(cell.result)


def events(kernel: KernelProcess, kind: str) -> list[Any]:
    path = kernel.value("str(get_ipython()._rlm_workspace.last_run.journal.resolve())")
    return [stamped.event for stamped in read(Path(path)).events if stamped.event.type == kind]


def spoken(kernel: KernelProcess) -> int:
    """Completion tokens of the last run."""
    return int(kernel.value("get_ipython()._rlm_workspace.last_run.usage.completion_tokens"))


def test_fifty_fruits_reach_the_person_and_no_model_typed_the_dictionary(kernel: KernelProcess) -> None:
    sub = "def sub(request):\n    return \"names = [f'fruit {n}' for n in range(50)]\\nFINAL(names)\""
    root = [
        "fruits = llm_query('List fifty fruits.', schema=list[str])\nassert len(set(fruits)) == 50",
        "letters = {fruit: len(fruit) for fruit in fruits}\nassert sum(letters.values()) > 300\nFINAL(letters)",
    ]

    cell = ask(kernel, root, sub)
    person = kernel.run("letters['fruit 49'], len(letters), fruits[0]")

    assert cell.status == "ok"
    assert person.result == "(8, 50, 'fruit 0')"
    assert not any("fruit 49" in event.text for event in events(kernel, "replied"))


def test_three_categories_at_once_are_composed_by_reference(kernel: KernelProcess) -> None:
    sub = "def sub(request):\n    return \"name, count = context\\nFINAL({f'{name} {n}': n for n in range(count)})\""
    root = [
        "names = ['fruit', 'bird', 'river']\n"
        "found = llm_query_batched([f'List {name}s.' for name in names], [(name, count) for name in names])\n"
        "assert all(isinstance(each, dict) and len(each) == count for each in found)",
        "FINAL(dict(zip(names, found)))",
    ]
    typed = {}

    for length in (5, 5_000):
        kernel.run(f"count = {length}")
        cell = ask(kernel, root, sub, options="-o atlas")
        typed[length] = spoken(kernel)

        assert cell.status == "ok"
        assert kernel.value("[list(atlas), len(atlas['river'])]") == [["fruit", "bird", "river"], length]
        assert kernel.value("atlas['bird'] is found[1]")
    assert typed[5] == typed[5_000]


def test_a_running_summary_over_ten_chunks_goes_in_order(kernel: KernelProcess) -> None:
    sub = "def sub(request):\n    return 'so_far, chunk = context\\nFINAL(so_far + [sum(chunk)])'"
    root = [
        "summary = []\nfor n in range(10):\n"
        "    summary = llm_query('Add this chunk.', context=(summary, range(n * 10, n * 10 + 10)))\nFINAL(summary)"
    ]

    cell = ask(kernel, root, sub)

    assert value_of(cell) == [sum(range(n * 10, n * 10 + 10)) for n in range(10)]


def test_a_map_over_a_hundred_chunks_runs_in_parallel_and_in_order(kernel: KernelProcess) -> None:
    sub = "def sub(request):\n    return 'FINAL(max(context))'"
    root = [
        "chunks = [range(n, n + 7) for n in range(100)]\n"
        "FINAL(llm_query_batched(['Find the maximum.'] * 100, chunks) == [n + 6 for n in range(100)])"
    ]

    assert ask(kernel, root, sub).result == "True"


def test_an_answer_of_200_000_tokens_is_composed_by_reference(kernel: KernelProcess) -> None:
    sub = "def sub(request):\n    return \"FINAL(f'chapter {context} ' + 'word ' * 20_000)\""
    root = ["chapters = llm_query_batched(['Write it.'] * 10, list(range(10)))", "FINAL('\\n'.join(chapters))"]

    cell = ask(kernel, root, sub, options="-o book")

    assert cell.status == "ok"
    assert kernel.value("[len(book), book.count('chapter')]") == [1_000_000 + 10 * len("chapter 0 ") + 9, 10]
    assert spoken(kernel) < 1_000


def test_a_persons_own_cell_asks_a_sub_agent_and_steps_into_it_afterwards(kernel: KernelProcess) -> None:
    body = (
        'REPLIES = [dict(reply=block(\'with_x = [c for c in context if "x" in c]\\ndef tally():\\n'
        "    return len(with_x)'), when=lambda r: r.ordinal == 1), dict(reply=block('FINAL(with_x)'))]\n"
    )
    kernel.run(f"%config RLM.model = '{script(kernel, body)}'\nwords = ['ax', 'b', 'xc']")

    cell = kernel.run("got = llm_query('Which have an x?', context=words)\ngot")
    inside = kernel.run("%%agent 0.1\nprint(context is get_ipython().user_ns['context'])\ntally()")
    by_reference = kernel.run("get_ipython()._rlm_workspace.last.agents['0.1'].namespace['with_x'] is got")
    outside = kernel.run("'with_x' in globals(), 'tally' in globals()")

    assert cell.result == "['ax', 'xc']"
    assert (inside.text(), inside.result) == ("True\n", "2")
    assert by_reference.result == "True"
    assert outside.result == "(False, False)"


def test_stepping_in_is_an_ordinary_cell(kernel: KernelProcess) -> None:
    ask(kernel, ["FINAL(llm_query('?', context=[1]))"], "def sub(request):\n    return 'x = 1\\nFINAL(x)'")

    awaited = kernel.run("%%agent 0.1\nimport asyncio\nawait asyncio.sleep(0)\ny = x + 1\ny")
    failed = kernel.run("%%agent 0.1\n1 / 0")
    final = kernel.run("%%agent 0.1\nFINAL('y')")
    who = kernel.run("%%agent 0.1\n%who")
    unknown = kernel.run("%%agent 0.7\n1")

    assert awaited.result == "2"
    assert (failed.status, failed.ename) == ("error", "ZeroDivisionError")
    assert final.result == "2"
    assert sorted(who.text().split()) == ["asyncio", "x", "y"]
    assert (unknown.ename, "0, 0.1" in unknown.evalue) == ("UsageError", True)


def test_the_agents_of_a_run_are_listed_and_each_prompt_can_be_read(kernel: KernelProcess) -> None:
    sub = "def sub(request):\n    return 'FINAL(context)'"
    ask(kernel, ["FINAL(llm_query_batched(['first', 'second'], [1, 2]))"], sub)

    listed = "".join(kernel.run("%rlm agents").displays("text/plain"))
    prompt = kernel.run("%rlm prompt 0.2 1").text()

    assert "0.1" in listed
    assert "second" in listed
    assert prompt.startswith("----- system")
    assert "# The question\n\nsecond" in prompt


def test_the_outputs_of_eight_agents_side_by_side_never_mix(kernel: KernelProcess) -> None:
    body = (
        "import random\nPARTS = ['print(mark)', 'print(mark, file=sys.stderr)', 'display(mark)',\n"
        "    't = threading.Thread(target=print, args=(mark,)); t.start(); t.join()',\n"
        "    'with ThreadPoolExecutor(2) as pool: list(pool.map(print, [mark] * 3))',\n"
        "    'await asyncio.to_thread(print, mark)', 'time.sleep(0.01)',\n"
        "    'with contextlib.redirect_stdout(io.StringIO()): print(\"hidden\")']\n"
        "HEAD = 'import sys, threading, asyncio, time, io, contextlib\\n'"
        "'from concurrent.futures import ThreadPoolExecutor\\nmark = f\"mark-{context}-\"\\n'\n"
        "def sub(request):\n"
        "    if request.ordinal == 4: return 'FINAL(mark)'\n"
        "    chosen = random.Random(request.agent + str(request.ordinal)).choices(PARTS, k=12)\n"
        "    return HEAD + '\\n'.join(chosen) + ('\\nraise ValueError(mark)' if request.ordinal == 2 else '\\nmark')\n"
    )

    cell = ask(kernel, ["FINAL(llm_query_batched(['go'] * 8, list(range(8))))", "print('mine')"], body)

    assert value_of(cell) == [f"mark-{n}-" for n in range(8)]
    assert (cell.text(), cell.text("stderr")) == ("", "")
    for event in events(kernel, "cell_finished"):
        if event.agent != "0":
            text = json.dumps(event.outputs)
            others = {f"mark-{n}-" for n in range(8)} - {f"mark-{int(event.agent.split('.')[1]) - 1}-"}
            assert not [mark for mark in others if mark in text], event.agent
            assert "hidden" not in text
            assert "mark-" in text or not event.outputs


def test_one_ledger_counts_what_the_server_counts_under_faults(served: tuple[KernelProcess, OpenAIServer]) -> None:
    kernel, server = served
    fate = random.Random(7)

    def play(body: dict[str, Any]) -> Answer:
        if fate.random() < 0.1:
            return Answer(status=fate.choice([429, 500]), text="not now", headers={"Retry-After": "0"})
        first = body["messages"][-1]["content"]
        if "You are the first agent" in first:
            return Answer(text=block("got = llm_query_batched(['q'] * 30, [[n] for n in range(30)])"))
        if "You are a sub-agent" in first:
            return Answer(text=block("FINAL(llm_query(f'say {context}'))"))
        return Answer(text="said" if first.startswith("say") else block("FINAL(got)"))

    server.play(play)
    cell = kernel.run("%%rlm\nGo.", timeout_s=90)
    run = kernel.value(
        "(lambda run: [run.calls, run.usage.prompt_tokens, run.usage.completion_tokens])"
        "(get_ipython()._rlm_workspace.last_run)"
    )
    failed = sum(len(e.attempts) for kind in ("replied", "call_finished") for e in events(kernel, kind))

    assert value_of(cell) == ["said"] * 30
    assert run == [62, server.tokens_in, server.tokens_out]
    assert server.counts()["calls"] == 62 + failed
    assert failed > 0
    assert server.counts()["max_in_flight"] <= 16


def test_sixteen_at_once_are_sixteen_at_the_model_for_agents_at_every_depth(
    served: tuple[KernelProcess, OpenAIServer],
) -> None:
    kernel, server = served

    def play(body: dict[str, Any]) -> Answer:
        first = body["messages"][1]["content"]
        width = 4 if "Theirs are plain completions" in first else 0
        down = f"FINAL(llm_query_batched(['q'] * {width}, [1] * {width}))" if width else "FINAL(1)"
        if "You are the first agent" in first:
            down = "FINAL(llm_query_batched(['q'] * 12, [1] * 12))"
        return Answer(text=block(down), company=0 if width or "12" in down else 9, latency_s=0.3)

    server.play(play)
    cell = kernel.run("%%rlm --max-depth 2\nGo.", timeout_s=90)

    assert value_of(cell) == [[1, 1, 1, 1]] * 12
    assert server.counts()["calls"] == 1 + 12 + 48
    assert 8 < server.counts()["max_in_flight"] <= 16


def test_the_server_sees_the_requests_of_stopped_sub_agents_cancelled(
    served: tuple[KernelProcess, OpenAIServer],
) -> None:
    kernel, server = served

    def play(body: dict[str, Any]) -> Answer:
        first = body["messages"][1]["content"]
        if "You are the first agent" in first:
            return Answer(text=block("llm_query_batched(['q'] * 8, [1] * 8)"))
        return Answer(text="late", latency_s=60)

    server.play(play)
    request = kernel.start("%%rlm\nGo.")
    assert server.wait_until(lambda s: len(s.requests) == 9, 30)
    pressed = time.monotonic()
    kernel.manager.interrupt_kernel()
    cell = kernel.finish(request)
    took = time.monotonic() - pressed

    assert cell.ename == "RunInterrupted"
    assert server.wait_until(lambda s: sum(r.disconnected for r in s.requests) == 8, 10)
    assert took < STOPPED_WITHIN_S


def test_a_question_in_a_subshell_beside_a_run_is_answered_or_refused_and_nothing_hangs(kernel: KernelProcess) -> None:
    client = kernel.client
    client.control_channel.send(client.session.msg("create_subshell_request"))
    subshell = client.get_control_msg(timeout=10)["content"]["subshell_id"]
    sub = "def sub(request):\n    return 'import time; time.sleep(0.5 + len(context) / 50); FINAL(context)'"
    steps = [block("FINAL(llm_query('a', context='in the main shell'))")]
    body = f"{sub}\nSTEPS = iter({steps!r})\n"
    body += "REPLIES = [dict(reply=lambda r: next(STEPS) if r.agent == '0' else block(sub(r)), times=None)]\n"
    model = script(kernel, body)
    kernel.run(f"%config RLM.model = '{model}'")

    main = kernel.start(f"%%rlm -m {model}\nGo.")
    message = client.session.msg("execute_request", {"code": "llm_query('b', context='beside')", "silent": False})
    message["header"]["subshell_id"] = subshell
    client.shell_channel.send(message)
    replies = {}
    while len(replies) < 2:
        reply = client.get_shell_msg(timeout=20)
        replies[reply["parent_header"]["msg_id"]] = reply["content"]
    assert [content["status"] for content in replies.values()] == ["ok", "ok"], replies
    outputs = {}
    while main not in outputs or message["header"]["msg_id"] not in outputs:
        seen = client.get_iopub_msg(timeout=10)
        if seen["msg_type"] == "execute_result":
            outputs[seen["parent_header"]["msg_id"]] = seen["content"]["data"]["text/plain"]

    assert outputs[main] == "'in the main shell'"
    assert outputs[message["header"]["msg_id"]] == "'beside'"


def test_a_profiler_works_after_a_run_with_sub_agents(kernel: KernelProcess) -> None:
    ask(kernel, ["FINAL(llm_query('?', context=1))"], "def sub(request):\n    return 'FINAL(context)'")

    cell = kernel.run("import cProfile\nprofile = cProfile.Profile()\nprofile.runcall(sorted, [2, 1])", timeout_s=20)

    assert cell.result == "[1, 2]"


def test_what_a_forked_child_of_a_sub_agents_cell_prints_is_output_of_that_cell(kernel: KernelProcess) -> None:
    code = (
        "import multiprocessing\ndef work(n):\n    print('from child', n, flush=True)\n"
        "p = multiprocessing.get_context('fork').Process(target=work, args=(7,)); p.start(); p.join()\n"
        "print('from the cell')\nFINAL(p.exitcode)"
    )

    cell = ask(kernel, ["FINAL(llm_query('?', context=1))"], f"def sub(request):\n    return {code!r}")

    assert cell.result == "0"
    assert cell.text() == ""
    written = kernel.value("str(get_ipython()._rlm_workspace.last_run.journal.resolve())")
    (sub_agents,) = load_trace(written).agents["0.1"].steps
    assert sub_agents.cell is not None
    assert "".join(output["text"] for output in sub_agents.cell.outputs) == "from child 7\nfrom the cell\n"
