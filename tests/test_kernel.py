"""The kernel as a person and a model share it, each test through a real kernel process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.connect import write_connection_file

from tests.kernel_process import KernelProcess, block, kernel_process, script

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    """One kernel for the module: what a test leaves behind is what a notebook leaves behind."""
    with kernel_process(tmp_path_factory.mktemp("kernel"), RLM_MAX_DEPTH="0") as process:
        yield process


def ask(kernel: KernelProcess, *replies: object, question: str = "What is it?", options: str = "", **more: object):  # type: ignore[no-untyped-def]
    model = script(kernel.folder, *replies, completions=more.pop("completions", ()))
    return kernel.run(f"%%rlm -m {model} {options}\n{question}", **more)  # type: ignore[arg-type]


def trace(kernel: KernelProcess) -> dict:  # type: ignore[type-arg]
    path = kernel.value("str(get_ipython()._rlm_workspace.last_run.trace.resolve())")
    return json.loads(Path(path).read_text())  # type: ignore[no-any-return]


def test_the_model_reads_what_the_person_made_and_the_person_what_the_model_made(kernel: KernelProcess) -> None:
    kernel.run("prices = [3, 4, 5]")

    cell = ask(kernel, block("total = sum(prices)"), block("FINAL(total)"))

    assert (cell.status, cell.result) == ("ok", "12")
    assert kernel.run("total + 1").result == "13"


def test_FINAL_hands_over_the_very_object(kernel: KernelProcess) -> None:
    kernel.run("import threading\ncontext = {'big': bytearray(200_000_000), 'lock': threading.Lock()}")

    cell = ask(kernel, block("FINAL(context)"), options="-o got")

    assert cell.result is not None
    assert len(cell.result) < 110_000
    assert kernel.value("got is context") is True
    assert kernel.value("_ is context") is True
    assert kernel.run("'x' * 200_000").result == repr("x" * 200_000)  # a person's own cell shows all


def test_FINAL_of_a_name_returns_what_it_names_and_literal_returns_the_text(kernel: KernelProcess) -> None:
    assert ask(kernel, block("report = [1, 2]\nFINAL('report')")).result == "[1, 2]"
    assert ask(kernel, block("FINAL('report', literal=True)")).result == "'report'"
    assert ask(kernel, block("FINAL_VAR('report')")).result == "[1, 2]"
    assert ask(kernel, block("FINAL('no such name')")).result == "'no such name'"


def test_nothing_after_FINAL_runs_and_except_Exception_does_not_catch_it(kernel: KernelProcess) -> None:
    cell = ask(kernel, block("try:\n    FINAL(1)\nexcept Exception:\n    after = True\nafter = True"))

    assert cell.result == "1"
    assert kernel.value("'after' in globals()") is False


def test_nested_outputs_stand_in_the_trace_in_their_true_order(kernel: KernelProcess) -> None:
    code = (
        "import sys\nprint('one')\nprint('two', file=sys.stderr)\n"
        "from IPython.display import display, HTML\ndisplay(HTML('<b>three</b>'))\nprint('four')\n'five'"
    )
    ask(kernel, block(code), block("FINAL(None)"))

    (cell,) = [c for c in trace(kernel)["cells"] if c["cell_type"] == "code" and "five" in "".join(c["source"])]
    seen = [
        (o["output_type"], o.get("name"), "".join(o["text"]) if "text" in o else "".join(o["data"]["text/plain"]))
        for o in cell["outputs"]
    ]
    assert seen == [
        ("stream", "stdout", "one\n"),
        ("stream", "stderr", "two\n"),
        ("display_data", None, "<IPython.core.display.HTML object>"),
        ("stream", "stdout", "four\n"),
        ("execute_result", None, "'five'"),
    ]


def test_execution_counts_and_history_are_the_persons(kernel: KernelProcess) -> None:
    before = kernel.run("1").execution_count
    assert before is not None

    cell = ask(kernel, block("41 + 1"), block("43"), block("FINAL('done')"))

    assert cell.execution_count == before + 1
    assert kernel.run("2").execution_count == before + 2
    assert kernel.value(f"\"'rlm'\" in In[{before + 1}]") is True
    assert kernel.value(f"Out[{before + 1}]") == "done"
    assert kernel.value("42 in list(Out.values())") is False


def test_top_level_await_works_in_the_models_cell(kernel: KernelProcess) -> None:
    cell = ask(
        kernel,
        block("import asyncio\nawait asyncio.sleep(0.01)\nx = await asyncio.sleep(0, 'slept')"),
        block("FINAL(x)"),
    )

    assert cell.result == "'slept'"


def test_figures_and_frames_of_the_models_cell_arrive(kernel: KernelProcess) -> None:
    kernel.run("%matplotlib inline")

    cell = ask(
        kernel,
        block("import matplotlib.pyplot as plt\nplt.plot([1, 2, 1]);"),
        block("import pandas as pd\npd.DataFrame({'a': [1]})"),
        block("FINAL('drawn')"),
    )

    assert len(cell.displays("image/png")) == 1
    assert any("<table" in html for html in cell.displays("text/html"))


def test_names_that_a_cell_overwrites_are_back_for_the_next_and_the_model_is_told(kernel: KernelProcess) -> None:
    cell = ask(kernel, block("FINAL = 3\ndel llm_query"), block("context = None"), block("FINAL(callable(llm_query))"))
    told = kernel.run("%rlm prompt").text()

    assert cell.result == "True"
    assert "Your cell had overwritten or deleted llm_query, FINAL; the lent function is back in its place." in told
    kernel.run("context = None\nFINAL = 4")
    assert kernel.run("callable(FINAL)").result == "True"


def test_lent_names_are_hidden_and_survive_reset(tmp_path: Path) -> None:
    with kernel_process(tmp_path) as kernel:
        assert kernel.value("get_ipython().run_line_magic('who_ls', '')") == []
        kernel.run("mine = 1\n%reset -f")
        assert kernel.run("FINAL(len(context))").result == "0"
        kernel.run("context = [1]")
        assert kernel.value("get_ipython().run_line_magic('who_ls', '')") == ["context"]


def test_FINAL_ends_a_persons_own_cell_and_is_its_value(kernel: KernelProcess) -> None:
    cell = kernel.run("FINAL([1])\nprint('never')")
    awaited = kernel.run("import asyncio\nawait asyncio.sleep(0)\nFINAL([2])")

    assert (cell.status, cell.result, cell.text()) == ("ok", "[1]", "")
    assert (awaited.status, awaited.result) == ("ok", "[2]")
    assert kernel.run("_").result == "[2]"


def test_a_failing_cell_is_feedback_and_not_an_error_of_the_person(kernel: KernelProcess) -> None:
    cell = ask(kernel, block("1 / 0"), block("FINAL('recovered')"))

    assert (cell.status, cell.result) == ("ok", "'recovered'")
    assert [o for o in cell.outputs if o["output_type"] == "error"] == []


def test_llm_query_in_the_models_cell_and_in_the_persons(kernel: KernelProcess) -> None:
    answers = [{"reply": f"answer {n}", "when": f"question {n}"} for n in range(5)]

    cell = ask(
        kernel,
        block("one = llm_query('question 0')\nmany = llm_query_batched(['question 2', 'question 1'])"),
        block("import asyncio\nrest = await asyncio.gather(allm_query('question 4'), allm_query('question 3'))"),
        block("FINAL([one, *many, *rest])"),
        completions=answers,
    )
    model = script(kernel.folder, completions=[*answers])
    own = kernel.run(f"%config RLM.model = '{model}'\nllm_query('question 3')")

    assert cell.result == "['answer 0', 'answer 2', 'answer 1', 'answer 4', 'answer 3']"
    assert own.result == "'answer 3'"
    assert "question 3" in json.dumps(trace(kernel))


def test_one_failed_item_of_a_batch_does_not_lose_the_others(kernel: KernelProcess) -> None:
    answers = [
        {"reply": "yes", "when": "good", "times": None},
        {"error": {"kind": "server", "message": "the provider is down", "status": 500}, "when": "bad"},
    ]
    cell = ask(
        kernel,
        block("got = llm_query_batched(['good 1', 'bad', 'good 2'], return_exceptions=True)"),
        block("FINAL([x if isinstance(x, str) else (type(x).__name__, str(x)) for x in got])"),
        completions=answers,
    )

    assert cell.result == "['yes', ('ModelError', 'the provider is down'), 'yes']"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("x = = 1", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("exit()", "SystemExit"),
        ("import os; os._exit(1)", "os._exit would end the kernel"),
        (
            "import os, threading\nt = threading.Thread(target=os._exit, args=(1,)); t.start(); t.join()",
            "would end the kernel",
        ),
        ("input('name? ')", "nobody to answer"),
        ("raise KeyError('gone')", "KeyError: 'gone'"),
        ("llm_query('x', context=[1])", "takes no context here"),
        ("llm_query('  ')", "the prompt is empty"),
        ("class Odd:\n    def __repr__(self): raise OSError('no')\nOdd()", "Odd"),
        ("class Odd:\n    def __repr__(self): return 3\nOdd()", "Odd"),
    ],
)
def test_what_goes_wrong_in_a_cell_is_told_to_the_model_and_the_kernel_lives(
    kernel: KernelProcess, code: str, told: str
) -> None:
    cell = ask(kernel, block(code), block("FINAL('alive')"))
    prompt = kernel.run("%rlm prompt")

    assert (cell.status, cell.result) == ("ok", "'alive'")
    assert told in prompt.text().split("----- user")[-1]


def test_a_million_lines_are_bounded_for_the_model_the_person_and_the_trace(kernel: KernelProcess) -> None:
    cell = ask(kernel, block("for i in range(2_000_000): print('line', i)"), block("FINAL('ok')"), timeout_s=100)
    told = kernel.run("%rlm prompt").text().split("----- user")[-1]

    assert len(cell.text()) < 10_100_000
    assert "are not kept" in cell.text()
    assert "line 0\n" in told
    assert "line 1999999" in told
    assert len(told) < 9_000


def test_threads_of_a_cell_write_to_that_cell(kernel: KernelProcess) -> None:
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool:\n    list(pool.map(lambda n: print('from thread', n), range(4)))"
    )
    ask(kernel, block(code), block("FINAL(0)"))

    told = kernel.run("%rlm prompt").text().split("----- user")[-1]
    assert sorted(line for line in told.splitlines() if line.startswith("from")) == [
        f"from thread {n}" for n in range(4)
    ]


def test_output_is_seen_while_the_cell_runs(kernel: KernelProcess) -> None:
    model = script(kernel.folder, block("import time\nprint('early')\ntime.sleep(60)"))
    request = kernel.start(f"%%rlm -m {model}\nWait.")

    kernel.wait_for_output(request, "early", timeout_s=30)

    kernel.manager.interrupt_kernel()
    assert kernel.finish(request).ename == "RunInterrupted"


def test_a_question_may_hold_braces_quotes_and_json(kernel: KernelProcess) -> None:
    kernel.run("limit = 7\ntable = list(range(10_000))")
    question = "Is {\"a\": {limit}} over {limit}, 'said' {nobody}, and {table}?"

    ask(kernel, block("FINAL(1)"), question=question)

    told = kernel.run("%rlm prompt").text()
    assert "Is {\"a\": {limit}} over 7, 'said' {nobody}, and `table` (list" in told


def test_errors_of_the_person_are_one_short_typed_line(kernel: KernelProcess) -> None:
    def failure(code: str) -> tuple[str, str]:
        cell = kernel.run(code)
        assert cell.status == "error"
        return cell.ename, cell.evalue

    model = script(kernel.folder, block("FINAL(1)"))

    kernel.run("%config RLM.model = None")
    assert failure("%%rlm\nWhat?")[0] == "UsageError"
    assert "RLM_MODEL" in failure("%%rlm\nWhat?")[1]
    assert "empty" in failure(f"%%rlm -m {model}\n   ")[1]
    assert "no-such-file" in failure("%%rlm -m scripted:no-such-file.py\nWhat?")[1]
    assert "max_steps" in failure(f"%%rlm -m {model} --max-steps many\nWhat?")[1]
    assert "nowhere" in failure(f"%%rlm -m {model} -c nowhere\nWhat?")[1]
    assert "%rlm status" in failure("%rlm nonsense")[1]


def test_a_limit_ends_the_run_with_what_it_has(kernel: KernelProcess) -> None:
    cell = ask(kernel, block("answer = 'half'"), block("part = 2"), options="--max-steps 2")

    assert (cell.status, cell.ename) == ("error", "LimitExceeded")
    assert cell.evalue.startswith("max_steps=2 reached")
    assert kernel.value("get_ipython()._rlm_workspace.last_run.answer") == "half"
    assert kernel.value("part") == 2
    assert trace(kernel)["metadata"]["rlm"]["ending"] == "limit"


def test_three_replies_without_a_cell_are_no_answer(kernel: KernelProcess) -> None:
    kernel.run("something = 1")
    cell = ask(kernel, "I think", "that", "perhaps")

    assert cell.ename == "NoAnswer"


def test_a_text_is_the_answer_where_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    with kernel_process(tmp_path) as kernel:
        assert ask(kernel, "Four.", question="Two and two?").result == "'Four.'"


def test_an_ordinary_notebook_works_as_ever(kernel: KernelProcess) -> None:
    assert kernel.run("!echo shell").text().strip() == "shell"
    assert kernel.run("%time 1 + 1").result == "2"
    assert kernel.run("import asyncio\nawait asyncio.sleep(0, 'w')").result == "'w'"
    assert "nothing" not in kernel.run("print?").text()
    kernel.client.execute("abcdefg = 1")
    reply = kernel.client.complete("abcde", reply=True, timeout=10)
    assert reply["content"]["matches"] == ["abcdefg"]
    reply = kernel.client.inspect("len", reply=True, timeout=10)
    assert reply["content"]["found"] is True
    info = kernel.client.kernel_info(reply=True, timeout=10)["content"]
    assert (info["implementation"], info["language_info"]["name"]) == ("rlm", "python")
    assert kernel.run("1 / 0").ename == "ZeroDivisionError"


def test_a_person_may_be_asked_for_input(kernel: KernelProcess) -> None:
    request = kernel.start("name = input('who? ')", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=10)
    kernel.client.input("Ada")
    kernel.finish(request)

    assert kernel.value("name") == "Ada"


def test_the_reports_tell_of_the_last_run(kernel: KernelProcess) -> None:
    ask(kernel, block("print('looking')"), block("FINAL(llm_query('why?'))"), completions=["because"])

    assert "prompt tokens" in "".join(kernel.run("%rlm usage").displays("text/plain")).lower() or "in" in "".join(
        kernel.run("%rlm usage").displays("text/plain")
    )
    assert "%rlm trace NAME.ipynb" in kernel.run("%rlm trace").text()
    assert "kept.ipynb" in "".join(kernel.run("%rlm trace kept.ipynb").displays("text/html"))
    assert json.loads((kernel.folder / "kept.ipynb").read_text())["metadata"]["rlm"]["ending"] == "final"
    assert kernel.run("%rlm trace kept.ipynb").status == "ok"
    (kernel.folder / "mine.ipynb").write_text('{"cells": [], "metadata": {}}')
    assert "is no trace" in kernel.run("%rlm trace mine.ipynb").evalue
    assert ".ipynb" in kernel.run("%rlm runs").text()
    assert "max_steps=30" in kernel.run("%rlm").text()
    first = kernel.run("%rlm prompt 1").text()
    assert first.count("----- user") == 1
    assert "You answer a question by writing Python cells" in first


def test_a_dry_run_shows_the_first_request_and_leaves_no_run(kernel: KernelProcess) -> None:
    before = kernel.run("%rlm runs").text()

    cell = ask(kernel, question="What would you see?", options="--dry-run")

    assert "What would you see?" in cell.text()
    assert kernel.run("%rlm runs").text() == before


def test_a_secret_of_the_environment_reaches_neither_model_nor_trace(tmp_path: Path) -> None:
    secret = "sk-test-0123456789abcdef"
    with kernel_process(tmp_path, OPENAI_API_KEY=secret) as kernel:
        cell = ask(
            kernel, block("import os\nkey = os.environ['OPENAI_API_KEY']\nprint(key)\nkey"), block("FINAL(len(key))")
        )

        assert cell.result == str(len(secret))
        assert secret not in kernel.run("%rlm prompt").text()
        assert "[OPENAI_API_KEY]" in kernel.run("%rlm prompt").text()
    for file in (tmp_path / ".rlm" / "runs").iterdir():
        assert secret not in file.read_text()


@pytest.mark.parametrize(
    "last",
    [
        "import os; os.mkdir('sub'); os.chdir('sub')\nFINAL(42)",
        "import shutil; shutil.rmtree('.rlm')\nFINAL(42)",
        "import sys, io; sys.stdout = io.StringIO(); sys.stdout.close()\nFINAL(42)",
        "import sys; sys.stdout = None\nFINAL(42)",
        "%%capture out\nprint(1)\nFINAL(42)",
        "get_ipython().run_cell('FINAL(42)')",
        "import asyncio\nasync def end(): FINAL(42)\nasync with asyncio.TaskGroup() as group: group.create_task(end())",
        "import threading\nthreading.Thread(target=llm_query, args=('slow',)).start()\nFINAL(42)",
    ],
    ids=["chdir", "rmtree", "closed stdout", "no stdout", "capture", "run_cell", "task group", "open call"],
)
def test_the_answer_arrives_whatever_the_last_cell_did(tmp_path: Path, last: str) -> None:
    with kernel_process(tmp_path) as kernel:
        slow = [{"reply": "late", "delay_s": 30}]
        cell = ask(kernel, block("print('before')"), block(last), completions=slow)

        assert (cell.status, cell.result) == ("ok", "42")
        assert trace(kernel)["metadata"]["rlm"]["ending"] == "final"
        assert kernel.run("print('after')").text() == "after\n"
        journal = Path(kernel.value("str(get_ipython()._rlm_workspace.last_run.journal)"))
        if journal.exists():
            events = [json.loads(line)["type"] for line in journal.read_text().splitlines()]
            assert events.count("call_started") == events.count("call_failed")


def test_redirected_output_is_the_cells_own_and_in_its_order(kernel: KernelProcess) -> None:
    code = (
        "import contextlib, io, time\nprint('before')\nwith contextlib.redirect_stdout(io.StringIO()) as kept:\n"
        "    print('inside'); time.sleep(0.5)\nprint('after')\nFINAL(kept.getvalue())"
    )
    cell = ask(kernel, block(code))

    assert cell.result == "'inside\\n'"
    assert cell.text() == "before\nafter\n"


def test_a_pool_that_is_kept_writes_to_whoever_gives_it_work(kernel: KernelProcess) -> None:
    pool = "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\n"
    work = "pool.submit(print, '{}').result()"
    ask(kernel, block(pool + work.format("first")), block(work.format("second")), block("FINAL(0)"))

    told = kernel.run("%rlm prompt").text().split("----- user")
    assert ["first" in told[2], "second" in told[3]] == [True, True]
    assert kernel.run(work.format("mine")).text() == "mine\n"


def test_a_persons_thread_may_go_on_asking_after_its_cell(kernel: KernelProcess) -> None:
    model = script(kernel.folder, completions=[{"reply": "a", "delay_s": 0.3, "times": None}])
    kernel.run(f"%config RLM.model = '{model}'\ngot = []\nimport threading, time")
    kernel.run("t = threading.Thread(target=lambda: [got.append(llm_query('q')) for _ in range(3)]); t.start()")
    for _ in range(4):
        kernel.run("time.sleep(0.1)")

    assert kernel.run("t.join(); got").result == "['a', 'a', 'a']"


def test_the_best_so_far_is_never_an_answer_of_before(kernel: KernelProcess) -> None:
    kernel.run("answer = 'of another day'")

    assert ask(kernel).ename == "ModelError"
    assert kernel.value("get_ipython()._rlm_workspace.last_run.answer") is None


def test_a_forked_process_cannot_ask_and_the_journal_stays_whole(kernel: KernelProcess) -> None:
    code = (
        "import multiprocessing\ndef work(n):\n    try:\n        return llm_query('q')\n    except Exception as e:\n"
        "        return str(e)\nwith multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    got = pool.map(work, range(3))\nFINAL(set(got))"
    )
    cell = ask(kernel, block(code))

    assert cell.result == "{'a forked process cannot ask a model: use llm_query_batched, or threads'}"
    assert trace(kernel)["metadata"]["rlm"]["ending"] == "final"


def test_a_magic_that_would_not_await_is_refused_above_a_question(kernel: KernelProcess) -> None:
    cell = kernel.run(f"%%time\n%%rlm -m {script(kernel.folder, block('FINAL(1)'))}\nWhat?")

    assert cell.ename == "UsageError"
    assert "%%time cannot stand above %%rlm" in cell.evalue


def test_what_a_pager_would_show_is_output_of_the_models_cell(kernel: KernelProcess) -> None:
    ask(kernel, block("len?"), block("FINAL(1)"))

    assert "Return the number of items" in kernel.run("%rlm prompt").text().split("----- user")[-1]


def test_the_extension_does_the_same_in_a_plain_kernel(tmp_path: Path) -> None:
    with kernel_process(tmp_path, name="python3") as kernel:
        assert kernel.run("%load_ext rlm_kernel").status == "ok"
        cell = ask(kernel, block("print('hello')\n1 / 0"), block("FINAL([1])"))

        assert (cell.status, cell.result) == ("ok", "[1]")
        assert "hello" in cell.text()
        assert kernel.run("FINAL('mine')").result == "'mine'"


def test_a_first_cell_that_awaits_and_fails_gets_its_reply(tmp_path: Path) -> None:
    with kernel_process(tmp_path, RLM_MAX_DEPTH="0") as kernel:
        cell = kernel.run("%%rlm --no-such-option\nWhat?", timeout_s=20)

        assert cell.status == "error"


@pytest.mark.parametrize("name", ["graph", "savings", "cache"])
def test_rlm_tells_the_flow_of_results_of_the_last_run(tmp_path: Path, name: str) -> None:
    model = script(
        tmp_path,
        block("context.numbers = [1, 2, 3]\ntotal = llm_query('Sum them.', context=context.numbers)\ntotal"),
        {"reply": block("FINAL(sum(context))"), "when": "Sum them"},
        block("FINAL(total)"),
    )
    with kernel_process(tmp_path) as kernel:
        assert kernel.run(f"%%rlm -m {model} -q\nSum.").result == "6"
        cell = kernel.run(f"%rlm {name}")

    assert cell.status == "ok", cell.evalue
    told = cell.displays("text/plain")[0]
    assert {"graph": "numbers", "savings": "0.1", "cache": "agent"}[name] in told
    assert bool(cell.displays("text/vnd.mermaid")) == (name == "graph")


@pytest.mark.parametrize("port", ["iopub_port", "shell_port"])
def test_a_kernel_whose_port_another_took_ends_and_says_so(tmp_path: Path, port: str) -> None:
    file = tmp_path / "connection.json"
    write_connection_file(str(file))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file.write_text(json.dumps({**json.loads(file.read_text()), port: taken.getsockname()[1]}))
        command = [sys.executable, "-m", "rlm_kernel", "-f", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "The kernel cannot listen: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr
