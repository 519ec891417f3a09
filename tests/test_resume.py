"""A run that broke off goes on: nothing that was paid is asked again, and what comes out is as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import rlm_kernel
from rlm_kernel import load_trace
from rlm_kernel.trace.comparing import canonical
from rlm_kernel.trace.loading import Trace
from rlm_kernel.values import Message, messages_sha
from tests.kernel_process import Cell, KernelProcess, block, kernel_process
from tests.openai_server import Answer, OpenAIServer
from tests.recorded_runs import Case, cli, model, ran

pytestmark = pytest.mark.kernel

KILLS = int(os.environ.get("KILLS", "4"))
"""Kernels that are killed; fifty take five minutes."""


def replies(body: dict[str, Any]) -> str:
    """Three levels of agents that take four steps each: one, three below it, two below each of these."""
    messages = body["messages"]
    if len(messages) == 2 and "# The question" not in messages[1]["content"]:
        return "noted"  # a plain completion
    question = messages[1]["content"].split("\n")[2]
    step = len(messages) // 2
    level = question.split()[0]
    below = {"whole": "part", "part": "line"}.get(level)
    if step == 1:
        return block(f"{level} = list(context)\nprint({level})")
    if step == 2 and level == "whole":
        return block("came = llm_query_batched([f'part {n}' for n in range(3)], contexts=context)\ncame")
    if step == 2 and below:
        return block(f"came = [llm_query(f'{below} {{n}}', context=n) for n in context]\ncame")
    if step == 2:
        return block("came = [len(llm_query(f'note {context}')), *context]\ncame")
    if step == 3:
        return block("total = sum(came)\nprint('total', total)")
    return block("FINAL(total)")


CONTEXT = "context = [[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9], [10, 11]]]"
ASK = "%%rlm -m openai/test --max-depth 2 -q\nwhole"


def environ(server: OpenAIServer) -> dict[str, str]:
    return {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": "not-a-key", "RLM_MAX_COST_USD": "none"}


def newest(folder: Path) -> Path:
    return max(folder.glob(".rlm/runs/*.jsonl"), key=lambda path: path.stat().st_mtime)


def what_happened(trace: Trace) -> dict[str, Any]:
    """All but times, ids of runs, and where it comes from."""
    return {
        agent.id: {
            "facts": (agent.caller, agent.in_step, agent.question, agent.context, agent.context_sha, agent.model),
            "end": agent.end and (agent.end.ending, agent.end.answer, agent.end.message),
            "steps": [
                (
                    step.number,
                    step.new,
                    step.request_sha,
                    step.status,
                    step.reply
                    and (step.reply.text, step.reply.usage.completion_tokens, step.reply.usage.prompt_tokens),
                    step.source,
                    step.cell and (canonical(step.cell.outputs), step.cell.error, step.cell.final),
                    [(call.number, call.prompt, call.reply and call.reply.text) for call in step.calls],
                )
                for step in agent.steps
            ],
        }
        for agent in sorted(trace, key=lambda agent: agent.id)
    }


def asked(server: OpenAIServer) -> list[str]:
    return [
        messages_sha(tuple(Message(m["role"], m["content"]) for m in logged.body["messages"]))
        for logged in server.requests
    ]


def paid(journal: Path) -> set[str]:
    """The requests whose reply is in that journal."""
    trace = load_trace(journal)
    steps = {step.request_sha for agent in trace for step in agent.steps if step.reply is not None}
    return steps | {call.request_sha for agent in trace for call in agent.all_calls if call.reply is not None}


def kill_after(kernel: KernelProcess, folder: Path, code: str, size: int, known: set[Path]) -> Path:
    """Runs the cell, and kills the kernel as soon as its journal has so many bytes; the journal."""
    kernel.start(code)
    end = time.monotonic() + 30
    while not (begun := set(folder.glob(".rlm/runs/*.jsonl")) - known) or min(begun).stat().st_size < size:
        assert time.monotonic() < end
        time.sleep(0.001)
    kernel.manager.signal_kernel(9)
    while kernel.manager.is_alive():
        time.sleep(0.01)
    (journal,) = begun
    return journal


@pytest.fixture(scope="module")
def server():
    with OpenAIServer(replies, latency_s=0.01) as server:
        yield server


@pytest.fixture(scope="module")
def uninterrupted(server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """What happens where nothing goes wrong, and how many bytes its journal has."""
    folder = tmp_path_factory.mktemp("whole")
    with kernel_process(folder, **environ(server)) as kernel:
        kernel.run(CONTEXT)
        assert kernel.run(ASK).result == "96"  # 66, and five for each of the six notes
        trace = load_trace(newest(folder))
    assert len(trace.agents) == 10
    assert trace.totals.steps == 40
    return what_happened(trace), newest(folder).stat().st_size


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_run_goes_on_and_pays_nothing_twice(
    seed: int, server: OpenAIServer, uninterrupted: tuple[dict[str, Any], int], tmp_path: Path
) -> None:
    whole, size = uninterrupted
    chance = random.Random(seed)
    known: set[Path] = set()
    server.clear()
    already: set[str] = set()
    # Every third resume is killed too, and what it had taken over with it.
    kills = 2 if seed % 3 == 2 else 1
    for attempt in range(kills):
        code = ASK if attempt == 0 else "%%rlm --continue -q"
        with kernel_process(tmp_path, **environ(server)) as kernel:
            if attempt == 0:
                kernel.run(CONTEXT)
            journal = kill_after(kernel, tmp_path, code, chance.randrange(size), known)
        assert not already & set(asked(server))
        known.add(journal)
        already |= paid(journal)
        server.clear()
        if (killed := load_trace(journal)).root is None or killed.tree.end is not None:
            break  # killed before it had begun, or when it was over: there is nothing to go on with

    with kernel_process(tmp_path, **environ(server)) as kernel:
        cell = kernel.run("%%rlm --continue -q")
    begun = [path for path in known if load_trace(path).root is not None]
    if not begun or any(load_trace(path).tree.end is not None for path in known):
        assert "no run" in cell.evalue
        return
    assert cell.status == "ok", cell.evalue
    assert cell.result == "96"
    assert not already & set(asked(server))
    resumed = load_trace(newest(tmp_path))
    assert what_happened(resumed) == whole
    last = max(begun, key=lambda path: path.stat().st_mtime_ns)
    assert resumed.tree.run is not None
    assert resumed.tree.run.origin == {"kind": "resume", "run": last.stem}


@pytest.fixture
def kernel(kernel: KernelProcess, here: Path) -> KernelProcess:
    """One that goes on in the folder of the test, with nothing in its namespace."""
    kernel.run(f"%reset -f\n%cd -q {here}")
    return kernel


STEPS = {
    "whole": [
        block(f"{ran('w1')}\nx = [llm_query('part', context=c) for c in context]\nx"),
        block(f"{ran('w2')}\ntotal = sum(x)\nprint(total)"),
        block("FINAL(total)"),
    ],
    "part": [block("y = context * 2\ny"), block("FINAL(y)")],
}
WHOLE = ["0 step 1", "0.1 step 1", "0.1 step 2", "0.2 step 1", "0.2 step 2", "0 step 2", "0 step 3"]


def with_replies(**changed: list[Any]) -> Case:
    return Case({**STEPS, **changed})


def told(folder: Path) -> list[str]:
    """The requests since it was last asked."""
    path = folder / "asked.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    path.write_text("")
    return lines


def begin(kernel: KernelProcess, folder: Path, case: Case, options: str = "") -> Cell:
    kernel.run("context = [1, 2]")
    return kernel.run(f"%%rlm -q -m {model(folder, case, asked=folder / 'asked.txt')} {options}\nthe whole")


def go_on(kernel: KernelProcess, folder: Path, options: str = "", case: Case | None = None, **more: Any) -> Cell:
    live = model(folder, case or Case(STEPS), name="again", asked=folder / "asked.txt")
    return kernel.run(f"%%rlm -q --continue -m {live} {options}", **more)


def test_a_run_that_reached_its_steps_goes_on_with_more(kernel: KernelProcess, tmp_path: Path) -> None:
    assert begin(kernel, tmp_path, Case(STEPS), "--max-steps 2").evalue == "max_steps=2 reached (2 used)"
    assert told(tmp_path) == WHOLE[:-1]

    enough = go_on(kernel, tmp_path)
    assert enough.evalue == "max_steps=2 reached (2 used)"
    assert go_on(kernel, tmp_path, "--max-steps 5").result == "6"
    assert told(tmp_path) == WHOLE[-1:]


def test_a_run_that_reached_its_calls_goes_on_with_more(kernel: KernelProcess, tmp_path: Path) -> None:
    cell = begin(kernel, tmp_path, Case(STEPS), "--max-calls 4")
    assert "max_calls=4 reached" in cell.evalue
    assert told(tmp_path) == WHOLE[:4]

    assert go_on(kernel, tmp_path, "--max-calls 50").result == "6"
    assert told(tmp_path) == WHOLE[4:]


def test_a_sub_agent_that_ended_at_its_steps_is_not_taken_up_again(kernel: KernelProcess, tmp_path: Path) -> None:
    case = with_replies(part=[block("answer = context * 2\nanswer"), block("answer")])
    begin(kernel, tmp_path, case, "--max-steps 2")
    told(tmp_path)

    assert go_on(kernel, tmp_path, "--max-steps 5").result == "6"
    assert told(tmp_path) == WHOLE[-1:]


@pytest.mark.parametrize("fresh", [False, True], ids=["the same kernel", "another kernel"])
def test_a_run_whose_model_was_lost_goes_on(fresh: bool, kernel: KernelProcess, tmp_path: Path) -> None:
    lost = {"error": {"kind": "connection", "message": "the network is gone"}}
    cell = begin(kernel, tmp_path, with_replies(whole=[STEPS["whole"][0], lost]))
    assert cell.ename == "ModelError"
    told(tmp_path)
    kernel.run("%reset -f" if fresh else "context.append(3)")

    came = go_on(kernel, tmp_path)

    assert (came.status, came.result) == ("ok", "6")
    assert told(tmp_path) == WHOLE[-2:]
    assert ("the recorded value was put back" in came.text("stderr")) is not fresh


def test_what_failed_for_a_sub_agent_is_asked_again_where_nothing_came_of_it(
    kernel: KernelProcess, tmp_path: Path
) -> None:
    lost = {"error": {"kind": "connection", "message": "gone"}}
    begin(kernel, tmp_path, with_replies(whole=[STEPS["whole"][0], lost], part=[STEPS["part"][0], lost]))
    told(tmp_path)

    assert go_on(kernel, tmp_path).result == "6"
    assert told(tmp_path) == ["0.1 step 2", "0.2 step 1", "0.2 step 2", *WHOLE[-2:]]


def test_what_failed_for_a_sub_agent_stays_failed_where_the_run_went_on(kernel: KernelProcess, tmp_path: Path) -> None:
    lost = {"error": {"kind": "server", "message": "gone"}}
    first = block("try:\n    llm_query('part', context=1)\nexcept Exception as error:\n    print(error)")
    begin(kernel, tmp_path, with_replies(whole=[first, block("x = [1]"), lost], part=[lost]))
    told(tmp_path)

    came = go_on(kernel, tmp_path, case=with_replies(whole=["", "", block("FINAL(x)")]))

    assert (came.result, came.text("stderr")) == ("[1]", "")
    assert told(tmp_path) == ["0 step 3"]


def test_what_failed_further_down_stays_failed_too(kernel: KernelProcess, tmp_path: Path) -> None:
    lost = {"error": {"kind": "server", "message": "gone"}}
    catch = "try:\n    llm_query('line', context=1)\nexcept Exception as error:\n    FINAL(str(error)[-4:])"
    replies = {
        "whole": [block("x = llm_query('part', context=1)\nx"), block("x"), lost],
        "part": [block(catch)],
        "line": [lost],
    }
    begin(kernel, tmp_path, with_replies(**replies), "--max-depth 2")
    told(tmp_path)

    came = go_on(kernel, tmp_path, case=with_replies(whole=["", "", block("FINAL(x)")]))

    assert (came.result, came.text("stderr")) == ("'gone'", "")
    assert told(tmp_path) == ["0 step 3"]


SLOW = block("import os, time\nx = [2, 4]\nwhile os.path.exists('slow'): time.sleep(0.01)\ntotal = sum(x)")
LATE = {"reply": "", "delay_s": 60}


@pytest.mark.parametrize(
    ("replies", "last", "left"),
    [
        ({"whole": [STEPS["whole"][0], SLOW]}, "0 step 2", ["0 step 3"]),
        ({"whole": [STEPS["whole"][0], LATE]}, "0 step 2", WHOLE[-2:]),
        ({"part": [STEPS["part"][0], LATE]}, "0.1 step 2", ["0.1 step 2", *WHOLE[3:]]),
    ],
    ids=["in a cell", "while asking", "in a sub-agent"],
)
def test_a_run_that_was_stopped_goes_on(
    replies: dict[str, list[Any]], last: str, left: list[str], kernel: KernelProcess, tmp_path: Path
) -> None:
    (tmp_path / "slow").touch()
    (tmp_path / "asked.txt").touch()
    kernel.run("context = [1, 2]")
    asking = model(tmp_path, with_replies(**replies), asked=tmp_path / "asked.txt")
    request = kernel.start(f"%%rlm -q -m {asking}\nthe whole")
    end = time.monotonic() + 20
    while last not in (tmp_path / "asked.txt").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.3)
    kernel.manager.interrupt_kernel()
    assert kernel.finish(request).ename == "RunInterrupted"
    (tmp_path / "slow").unlink()
    told(tmp_path)

    assert go_on(kernel, tmp_path).result == "6"
    assert told(tmp_path) == left


def test_a_run_may_go_on_more_than_once(kernel: KernelProcess, tmp_path: Path) -> None:
    lost = {"error": {"kind": "connection", "message": "gone"}}
    begin(kernel, tmp_path, with_replies(part=[STEPS["part"][0], lost], whole=[STEPS["whole"][0], lost]))
    first = newest(tmp_path)
    told(tmp_path)
    assert go_on(kernel, tmp_path, case=with_replies(whole=[STEPS["whole"][0], lost])).ename == "ModelError"
    assert told(tmp_path) == ["0.1 step 2", "0.2 step 1", "0.2 step 2", "0 step 2"]

    assert go_on(kernel, tmp_path).result == "6"
    assert told(tmp_path) == WHOLE[-2:]
    # The first once more, by its name: what the later ones paid for is not its own.
    live = model(tmp_path, Case(STEPS), name="again", asked=tmp_path / "asked.txt")
    assert kernel.run(f"%%rlm -q --continue {first.stem} -m {live}").result == "6"
    assert told(tmp_path) == ["0.1 step 2", "0.2 step 1", "0.2 step 2", *WHOLE[-2:]]


def test_a_run_of_another_folder_that_is_stopped_again_pays_nothing_twice(
    kernel: KernelProcess, tmp_path: Path
) -> None:
    begin(kernel, tmp_path, with_replies(whole=[SLOW, *STEPS["whole"]]), "--max-steps 3")
    (tmp_path / ".rlm" / "runs").rename(tmp_path / "other")
    (journal,) = (tmp_path / "other").glob("*.jsonl")
    told(tmp_path)
    (tmp_path / "slow").touch()
    request = kernel.start(f"%%rlm -q --continue other/{journal.name} --max-steps 9")
    while not newest_size(tmp_path):
        time.sleep(0.01)
    time.sleep(0.3)
    kernel.manager.interrupt_kernel()
    assert kernel.finish(request).ename == "RunInterrupted"
    (tmp_path / "slow").unlink()
    assert told(tmp_path) == []

    assert kernel.run("%%rlm -q --continue --max-steps 9").result == "6"
    assert told(tmp_path) == ["0 step 4"]


def newest_size(folder: Path) -> int:
    return max((path.stat().st_size for path in folder.glob(".rlm/runs/*.jsonl")), default=0)


def test_chance_in_a_question_pays_nothing_twice(kernel: KernelProcess, tmp_path: Path) -> None:
    lost = {"error": {"kind": "connection", "message": "gone"}}
    first = block(
        "import random\nx = [llm_query(f'part {random.random()}', context=random.random()) for _ in range(2)]\nx"
    )
    begin(kernel, tmp_path, with_replies(whole=[first, lost]))
    told(tmp_path)
    assert go_on(kernel, tmp_path, case=with_replies(whole=["", block("x"), lost])).ename == "ModelError"
    told(tmp_path)

    came = go_on(kernel, tmp_path, case=with_replies(whole=["", "", block("FINAL(len(x))")]))

    assert came.result == "2"
    assert told(tmp_path) == ["0 step 3"]
    assert "as may be: it depends on random" in came.text("stderr")


def test_a_run_with_a_form_goes_on_with_the_same_form(kernel: KernelProcess, tmp_path: Path) -> None:
    lost = {"error": {"kind": "connection", "message": "gone"}}
    begin(kernel, tmp_path, with_replies(whole=[STEPS["whole"][0], lost]), "--schema int")

    assert "give it again, --schema" in go_on(kernel, tmp_path).evalue
    assert "was asked for another form" in go_on(kernel, tmp_path, "--schema list[int]").evalue
    assert go_on(kernel, tmp_path, "--schema int").result == "6"


MARKED = with_replies(
    whole=[
        block(f"%rlm no-rerun\n{ran('sent')}\nx = 5\nprint('sent')"),
        {"error": {"kind": "connection", "message": "gone"}},
    ]
)
AFTER = with_replies(whole=["", block("FINAL(globals().get('x'))")])


@pytest.mark.parametrize(
    ("options", "answer", "result", "sent"),
    [
        ("--rerun yes", None, "5", "sent sent "),
        ("--rerun no", None, None, "sent "),
        ("", "y", "5", "sent sent "),
        ("", "n", None, "sent "),
    ],
)
def test_a_marked_cell_runs_again_as_the_person_says(
    options: str, answer: str | None, result: str | None, sent: str, kernel: KernelProcess, tmp_path: Path
) -> None:
    begin(kernel, tmp_path, MARKED)
    kernel.run("%reset -f")
    answering = threading.Thread(target=lambda: answer_with(kernel, answer))
    if answer is not None:
        answering.start()

    came = go_on(kernel, tmp_path, options, AFTER, allow_stdin=answer is not None)

    if answer is not None:
        answering.join()
    assert (came.status, came.result) == ("ok", result)
    assert (tmp_path / "ran.txt").read_text() == sent


def answer_with(kernel: KernelProcess, text: str | None) -> None:
    message = kernel.client.get_stdin_msg(timeout=30)
    assert "marked %rlm no-rerun: agent 0, step 1. Run them again?" in message["content"]["prompt"]
    kernel.client.input(text)


def test_without_an_answer_nothing_runs(kernel: KernelProcess, tmp_path: Path) -> None:
    begin(kernel, tmp_path, MARKED)
    told(tmp_path)

    came = go_on(kernel, tmp_path, "", AFTER)

    assert came.evalue.startswith("marked %rlm no-rerun: agent 0, step 1: say --rerun yes, or --rerun no")
    assert told(tmp_path) == []
    assert (tmp_path / "ran.txt").read_text() == "sent "


def test_a_context_that_is_not_in_the_record_has_to_be_the_one_that_it_was(
    kernel: KernelProcess, tmp_path: Path
) -> None:
    lost = {"error": {"kind": "connection", "message": "gone"}}
    kernel.run("%config RLM.keep_context = 'none'")
    begin(kernel, tmp_path, with_replies(whole=[STEPS["whole"][0], lost]))
    kernel.run("%config RLM.keep_context = 'small'\ncontext.append(3)")
    told(tmp_path)

    assert "`context` is not what it was: recorded was list" in go_on(kernel, tmp_path).evalue
    assert "`context` is not what it was: recorded was list" in go_on(kernel, tmp_path, "-c [1,2,3]").evalue
    assert told(tmp_path) == []
    assert go_on(kernel, tmp_path, "-c [1,2]").result == "6"


def test_a_context_that_is_named_has_to_be_the_one_of_the_run(kernel: KernelProcess, tmp_path: Path) -> None:
    begin(kernel, tmp_path, Case(STEPS), "--max-steps 2")
    told(tmp_path)

    assert "`context` is not what it was" in go_on(kernel, tmp_path, "--max-steps 5 -c [1,2,3]").evalue
    assert told(tmp_path) == []
    assert go_on(kernel, tmp_path, "--max-steps 5").result == "6"


def test_what_cannot_go_on_is_said_in_one_line(kernel: KernelProcess, tmp_path: Path) -> None:
    begin(kernel, tmp_path, Case(STEPS))
    ended = newest(tmp_path)
    assert f"{ended.stem} came to its answer" in kernel.run(f"%%rlm --continue {ended.stem}").evalue
    assert "no run in .rlm/runs broke off" in kernel.run("%%rlm --continue").evalue

    kernel.run(f"%config RLM.model = '{model(tmp_path, Case(STEPS))}'")
    kernel.run("llm_query('part', context=1)\n1 / 0")
    own = newest(tmp_path)
    assert "in a person's own cell: run that cell again" in kernel.run(f"%%rlm --continue {own.stem}").evalue

    text = ended.read_bytes().split(b"\n")
    (ended.parent / "empty.jsonl").write_bytes(text[0] + b"\n")
    assert "breaks off before anything was asked" in kernel.run("%%rlm --continue empty").evalue


def test_a_run_that_is_still_going_on_is_left_alone(kernel: KernelProcess, tmp_path: Path) -> None:
    slow = with_replies(whole=[{"reply": STEPS["whole"][0], "delay_s": 60}])
    with kernel_process(tmp_path) as other:
        request = other.start(f"%%rlm -q -m {model(tmp_path, slow)}\nthe whole")
        end = time.monotonic() + 20
        while not list((tmp_path / ".rlm").glob("runs/*.jsonl")):
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(0.2)
        going = newest(tmp_path)

        assert "is still going on in another process" in kernel.run(f"%%rlm --continue {going.stem}").evalue
        told = f"no run in .rlm/runs broke off: {going.stem} is still going on in another process"
        assert kernel.run("%%rlm --continue").evalue == told
        begin(kernel, tmp_path, Case(STEPS))
        others = "; of the newest, 1 came to an answer or went on as another run"
        assert kernel.run("%%rlm --continue").evalue == told + others
        assert request


def test_the_command_goes_on_with_the_last_that_broke_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lost = with_replies(whole=[STEPS["whole"][0], {"error": {"kind": "connection", "message": "gone"}}])
    with pytest.raises(rlm_kernel.ModelError):
        rlm_kernel.run("the whole", [1, 2], model=model(tmp_path, lost))
    live = model(tmp_path, Case(STEPS), name="again", asked=tmp_path / "asked.txt")

    done = cli("run", "--resume", "last", "-m", live, "--json", folder=tmp_path)

    assert (done.returncode, json.loads(done.stdout)["answer"]) == (0, 6), done.stderr
    assert told(tmp_path) == WHOLE[-2:]


def test_a_network_that_failed_is_asked_again_for_what_it_did_not_answer(tmp_path: Path, server: OpenAIServer) -> None:
    def failing(body: dict[str, Any]) -> str | Answer:
        return Answer(status=401, text="no") if len(body["messages"]) > 4 else replies(body)

    server.play(failing)
    with kernel_process(tmp_path, **environ(server)) as kernel:
        kernel.run(CONTEXT)
        cell = kernel.run(ASK)
        assert cell.ename == "ModelError"
        already = paid(newest(tmp_path))
        server.play(replies)
        came = kernel.run("%%rlm --continue -q")
        assert (came.status, came.result) == ("ok", "96")
    assert already
    assert not already & set(asked(server))


# A store that is there when a run goes on


@pytest.mark.parametrize("repeats", [100, 200_000])
def test_a_run_that_wrote_to_the_store_goes_on_in_that_very_store(tmp_path: Path, repeats: int) -> None:
    first = Case({"whole": [block("WRITE('a', 1)\nLIST_CONTEXT()"), block("WRITE('b', 2)")]})
    then = Case({"whole": ["", "", block("FINAL(sorted(context))")]})
    with kernel_process(tmp_path) as kernel:
        kernel.run(f"context.store('contract', 'clause; ' * {repeats}, note='as signed')\nmine = context")
        kernel.run(f"%%rlm --max-steps 2 -q -m {model(tmp_path, first)}\nwhole")
        kernel.run("context.by_hand = 'meanwhile'")

        came = kernel.run(f"%%rlm --continue --max-steps 9 -q -m {model(tmp_path, then, name='then')}")

        assert (came.status, came.result) == ("ok", "['a', 'b', 'by_hand', 'contract']"), came.evalue
        asked = "context is mine, [row.note for row in context.list_available()], len(context.history('a'))"
        assert kernel.run(asked).result == "(True, ['as signed', None, None, None], 1)"
        assert kernel.run("sorted(_rlm_before['context'])").result == "['a', 'b', 'by_hand', 'contract']"


def test_a_store_in_which_a_person_changed_what_the_run_was_given_makes_way_and_the_note_says_where_it_is(
    tmp_path: Path,
) -> None:
    first = Case({"whole": [block("WRITE('a', context.x)"), block("1")]})
    then = Case({"whole": ["", "", block("FINAL(context.x)")]})
    with kernel_process(tmp_path) as kernel:
        kernel.run("context.x = 'then'\nmine = context")
        kernel.run(f"%%rlm --max-steps 2 -q -m {model(tmp_path, first)}\nwhole")
        kernel.run("context.x = 'now'")

        came = kernel.run(f"%%rlm --continue --max-steps 9 -q -m {model(tmp_path, then, name='then')}")

        assert came.result == "'then'"
        told = "".join(output["text"] for output in came.outputs if output["output_type"] == "stream")
        assert '(x): the recorded value was put back, and what was here is `_rlm_before["context"]`' in told
        assert kernel.run("_rlm_before['context'] is mine, mine.x").result == "(True, 'now')"


def test_what_a_run_wrote_into_an_empty_store_is_not_there_when_it_begins_again(tmp_path: Path) -> None:
    first = Case({"whole": [block("WRITE('a', len(context))"), block("1")]})
    then = Case({"whole": ["", "", block("FINAL((context.a, len(context.history('a'))))")]})
    with kernel_process(tmp_path) as kernel:
        kernel.run(f"mine = context\n%config RLM.model = {model(tmp_path, first)!r}")
        kernel.run("%%rlm --max-steps 2 -q\nwhole")
        assert kernel.run("context.a").result == "0"

        came = kernel.run(f"%%rlm --continue --max-steps 9 -q -m {model(tmp_path, then, name='then')}")

        assert (came.result, kernel.run("context is mine").result) == ("(0, 1)", "True")
