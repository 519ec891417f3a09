"""A run that a person's own cell began with `llm_query`: what it needs is in its record, and it replays by itself."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import rlm_kernel
from rlm_kernel import prompts
from rlm_kernel.errors import Diverged, UsageError
from rlm_kernel.trace.loading import Trace, load_trace
from rlm_kernel.trace.views import cache_data, graph_data, graph_of, graph_text, savings_data
from tests.kernel_process import Cell, KernelProcess, block, kernel_process
from tests.recorded_runs import Case, cli, model

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("here")]

CASE = Case({"double": [block("y = context * 2\ny"), block("FINAL(y)")]}, completions={"note": "noted"})
SECRET = "sk-of-a-person-123"
GRAPH = """\
person
  wrote, a person's cell → whole
  wrote, a person's cell → twice
  wrote, before this run → contract
contract
  took, a person's cell → person
  handed over, a person's cell → agent 0.1
twice
  took, a person's cell → person
  read, 2 tokens, a person's cell → person
agent 0.1
  answer, a person's cell → person"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    with kernel_process(tmp_path_factory.mktemp("kernel"), RLM_LIVE="0", MY_API_KEY=SECRET) as process:
        yield process


def asked(
    kernel: KernelProcess, here: Path, before: str, own: str, settings: str = "", case: Case = CASE
) -> tuple[Cell, Path]:
    """
    What a person's cell put out after the cell `before`, whose number is `{n}` in it, and its trace, which lies away
    from the model.
    """
    kernel.run(f"%cd -q {here}\n%reset -f\n%config RLM.model = '{model(here, case)}'\n{settings}")
    ran = kernel.run(before)
    assert ran.status == "ok"
    came = kernel.run(own.replace("{n}", str(ran.execution_count)))
    (trace,) = (here / ".rlm" / "runs").glob("*.ipynb")
    shutil.copy(trace, here / "trace.ipynb")
    shutil.rmtree(here / "model")
    return came, here / "trace.ipynb"


def given(path: Path) -> dict[str, object]:
    trace = load_trace(path)
    assert trace.root is not None
    return {found.name: json.loads(found.value) if found.value else found.left_out for found in trace.root.given}


def run_all(path: Path) -> str:
    """What the person's cell puts out in a fresh kernel."""
    notebook = nbformat.read(path, 4)
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(path.parent)}}).execute()
    (own,) = [cell for cell in notebook.cells if cell.id == "a0-person"]
    return "".join(output.get("text", "") for output in own.outputs)


OWN = "data.append(factor)\nxs = [llm_query('double', context=d) for d in data]\nfactor += 1\nprint(xs, factor)"


def test_it_replays_in_a_fresh_kernel_by_the_command_and_in_python(kernel: KernelProcess, here: Path) -> None:
    came, path = asked(kernel, here, "factor = 3\ndata = [1, 2]\nother = 7", OWN)
    assert came.text() == "[2, 4, 6] 4\n"

    assert given(path) == {"data": [1, 2], "factor": 3}  # as they were before the cell changed them
    assert run_all(path) == came.text()
    done = cli("replay", "trace.ipynb", folder=here)
    assert (done.returncode, done.stdout) == (0, "identical: 6 cells of 4 agents\n"), done.stderr
    assert rlm_kernel.replay(path).cells == 6


def test_run_all_once_more_in_the_same_kernel_begins_anew(kernel: KernelProcess, here: Path) -> None:
    came, path = asked(kernel, here, "factor = 3\ndata = [1, 2]", OWN)
    kernel.run("%reset -f")
    for _ in range(2):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                ran = kernel.run(cell["source"])
                assert ran.status == "ok", ran.evalue
                assert cell["id"] != "a0-person" or ran.text() == came.text()


@pytest.mark.parametrize(
    ("before", "own", "found"),
    [
        ("a = 1", "await allm_query('double', context=a)", {"a": 1}),
        ("context = [1]", "llm_query('double', context=context)", {"context": [1]}),
        ("a = 1\nb = 2", "a = 5\nllm_query('double', context=a)", {}),
        ("a = [1]", "%%time\nllm_query('double', context=a)", {"a": [1]}),
        ("import math", "llm_query('double', context=math.pi)", {"math": "math"}),
    ],
)
def test_what_a_cell_reads_first_is_kept(
    before: str, own: str, found: dict[str, object], kernel: KernelProcess, here: Path
) -> None:
    _, path = asked(kernel, here, before, own)
    trace = load_trace(path)
    assert trace.root is not None

    assert {each.name for each in trace.root.given} == found.keys()
    assert "math" in found or given(path) == found
    assert rlm_kernel.replay(path).cells == 2


@pytest.mark.parametrize("read", ["_", "_{n}", "Out[{n}]", "_oh[{n}]", "[_ for x in [1]][0]", "(lambda: _)()"])
def test_an_earlier_result_that_a_cell_reads_is_kept_and_put_back(read: str, kernel: KernelProcess, here: Path) -> None:
    own = f"y = {read}\nprint(llm_query('double', context=y), [_ for _ in range(2)])"
    came, path = asked(kernel, here, "41", own)

    assert came.text() == "82 [0, 1]\n"
    assert list(given(path).values()) == [41]
    assert run_all(path) == came.text()
    assert rlm_kernel.replay(path).cells == 2


def test_the_shell_keeps_its_last_result_up_to_date_after_one_was_put_back(kernel: KernelProcess, here: Path) -> None:
    _, path = asked(kernel, here, "41", "llm_query('double', context=_)")
    kernel.run("%reset -f")

    assert kernel.run(f"%rlm replay {path.name}").status == "ok"

    assert kernel.run("print(_)").text() == "41\n"
    kernel.run("5")
    assert kernel.run("print(_)").text() == "5\n"


@pytest.mark.parametrize(
    ("before", "own", "said"),
    [
        ("object()", "llm_query('double', context=len([_]))", "_ is not in the record (it is no plain data that"),
        ("41", "llm_query('double', context=list(Out.values())[-1])", "`Out` is not what it was: recorded was dict"),
    ],
)
def test_an_earlier_result_that_cannot_be_put_back_is_asked_for_before_the_cell(
    before: str, own: str, said: str, kernel: KernelProcess, here: Path
) -> None:
    asked(kernel, here, before, own)

    done = cli("replay", "trace.ipynb", folder=here)

    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    "own", ["for _ in range(2): pass\nprint(_)", "print([_ for _ in range(2)])", "first, _ = 1, 2\nprint(_)"]
)
def test_a_name_for_what_nobody_needs_is_no_earlier_result(own: str, kernel: KernelProcess, here: Path) -> None:
    _, path = asked(kernel, here, "object()", f"{own}\nllm_query('double', context=1)")

    assert given(path) == {}


def test_what_a_persons_function_reads_is_needed_too(kernel: KernelProcess, here: Path) -> None:
    before = "table = [1]\nunused = 2\ndef below(n): return [*table, n]\n"
    before += "def ask(n): return llm_query('double', context=below(n))"
    _, path = asked(kernel, here, before, "print(ask(2))")

    assert given(path) == {
        "ask": "it is no plain data that JSON can hold",
        "below": "it is no plain data that JSON can hold",
        "table": [1],
    }
    done = cli("replay", "trace.ipynb", folder=here)
    assert done.returncode == 2
    assert "put function: ask(n) into `ask` first; below is not in the record" in done.stderr


def test_what_is_not_kept_is_named_with_its_reason_and_the_mend(kernel: KernelProcess, here: Path) -> None:
    before = f"large = 'x' * 1_000_001\nthing = object()\nkey = ['{SECRET}']\nraw = b'{SECRET}'"
    _, path = asked(kernel, here, before, "llm_query('double', context=[len(large), thing and 1, len(key), len(raw)])")

    said = cli("replay", "trace.ipynb", folder=here).stderr

    assert "large is not in the record (it is larger than 1,000,000 bytes): put str, 1,000,001 chars" in said
    assert "thing is not in the record (it is no plain data that JSON can hold): put object" in said
    for name in ("key", "raw"):
        assert f"{name} is not in the record (it holds a secret of the environment, MY_API_KEY): put" in said
    assert SECRET not in path.read_text()
    assert all(SECRET not in file.read_text() for file in (here / ".rlm" / "runs").iterdir())


def test_a_key_in_the_cell_itself_is_not_in_its_record(kernel: KernelProcess, here: Path) -> None:
    came, path = asked(kernel, here, "a = 1", f"key = '{SECRET}'\nprint(llm_query('double', context=a))")

    assert SECRET not in path.read_text()
    assert run_all(path) == came.text() == "2\n"


def test_an_error_in_the_cell_is_part_of_it(kernel: KernelProcess, here: Path) -> None:
    came, path = asked(kernel, here, "a = 1", "print(llm_query('double', context=a))\n1 / 0")
    assert came.ename == "ZeroDivisionError"

    assert run_all(path) == "2\n"
    assert rlm_kernel.replay(path).cells == 2


def other(path: Path, was: str, now: str) -> Trace:
    """The record with another source of the person's cell."""
    trace = load_trace(path)
    assert trace.root is not None
    assert was in trace.root.question
    trace.root.question = trace.root.question.replace(was, now)
    return trace


@pytest.mark.parametrize(
    ("now", "where", "said"),
    [
        ("[]", "the person's own cell", "it asked agent 0.1, agent 0.2"),
        ("[1, 1/0]", "the person's own cell", "ZeroDivisionError: division by zero"),
        ("[1, 3]", "agent 0.2", "int"),
        ("[1, 2, 3]", "agent 0.3", "nothing more was asked"),
    ],
)
def test_a_cell_that_asks_otherwise_is_a_divergence(
    now: str, where: str, said: str, kernel: KernelProcess, here: Path
) -> None:
    _, path = asked(kernel, here, "a = 0", "print([llm_query('double', context=d + a) for d in [1, 2]])")

    with pytest.raises(Diverged) as found:
        rlm_kernel.replay(other(path, "[1, 2]", now))

    assert found.value.where.startswith(where)
    assert said in str(found.value)


def test_a_cell_within_an_agent_of_another_run_says_what_it_lacks(kernel: KernelProcess, here: Path) -> None:
    first = "%config RLM.max_depth = 2\nxs = llm_query('double', context=1)"
    kernel.run(f"%cd -q {here}\n%reset -f\n%config RLM.model = '{model(here, CASE)}'\n{first}")
    (before,) = (here / ".rlm" / "runs").glob("*.ipynb")
    kernel.run("%%agent 0.1\nllm_query('double', context=y)")
    (path,) = {*(here / ".rlm" / "runs").glob("*.ipynb")} - {before}

    with pytest.raises(UsageError, match=r"in the namespace of agent 0\.1 of another run, which is not here"):
        rlm_kernel.replay(path)


def test_a_trace_is_written_to_a_name_with_spaces(kernel: KernelProcess, here: Path) -> None:
    asked(kernel, here, "a = 1", "llm_query('double', context=a)")

    for line in ("my trace.ipynb", "'its trace.ipynb'", '"the trace.ipynb"'):
        assert kernel.run(f"%rlm trace {line}").status == "ok"

    assert {path.name for path in here.glob("* *.ipynb")} == {"my trace.ipynb", "its trace.ipynb", "the trace.ipynb"}
    assert "ends in .ipynb" in kernel.run("%rlm trace my trace").evalue


def test_what_a_persons_own_cell_does_with_named_results_is_in_the_record_of_its_run(
    kernel: KernelProcess, here: Path
) -> None:
    before = "from rlm_kernel import Store\ncontext = Store()\ncontext.contract = 'clause ' * 200"
    own = (
        "for _ in range(3):\n    context.contract\n"
        "WRITE('whole', 1)\n"
        "context.store('twice', llm_query('double it', context=context.contract))\n"
        "n = len(context['twice'])\nprint(n, READ('twice', chars=(0, 6)))"
    )

    came, path = asked(kernel, here, before, own)
    after = kernel.run("context.after = 1")

    trace = load_trace(path)
    assert (came.text(), after.status) == ("2800 clause\n", "ok")
    assert trace.root is not None
    assert [(used.how, used.key, used.step, used.tokens) for used in trace.root.used] == [
        ("take", "contract", None, 0),
        ("write", "whole", None, 0),
        ("write", "twice", None, 0),
        ("take", "twice", None, 0),
        ("read", "twice", None, 2),
    ]
    assert [(used.key, used.size) for used in trace.root.used if used.how == "write"] == [("whole", 1), ("twice", 700)]
    assert graph_text(graph_of(trace.tree)) == GRAPH
    assert run_all(path) == "2800 clause\n"


LOOKS = Case({"look": [block("WRITE('k', 3)\ncontext.history('k')"), block("FINAL(str(context.history('k')))")]})


def test_who_wrote_a_result_is_told_with_the_cell_and_a_replay_is_shown_the_same(
    kernel: KernelProcess, here: Path
) -> None:
    own = "context.k = 2\nprint(llm_query('look', context=context))"
    kernel.run("'a cell more, so that a fresh kernel counts otherwise'")
    came, path = asked(kernel, here, "from rlm_kernel import Store\ncontext = Store()\ncontext.k = 1", own, case=LOOKS)
    assert came.execution_count is not None

    told = kernel.run("context.history('k')").result

    at = came.execution_count
    writers = [re.split("  +", line)[1] for line in came.text().splitlines()[1:]]
    assert writers == [f"person, cell [{at - 1}]", f"person, cell [{at}]", "0.1, step 1"]
    assert told == came.text().rstrip("\n")
    trace = load_trace(path)
    assert trace.tree.run is not None
    assert trace.tree.run.cell == at
    assert rlm_kernel.replay(path).cells == 2
    assert run_all(path) == came.text()


def test_the_reports_of_a_run_are_json_as_well(kernel: KernelProcess, here: Path) -> None:
    _, path = asked(kernel, here, "a = 1", "llm_query('double', context=a)")
    tree = load_trace(path).tree

    for name, data in (
        ("graph", graph_data(graph_of(tree))),
        ("savings", savings_data(tree)),
        ("cache", cache_data(tree, prompts.COMPLETION_SYSTEM)),
    ):
        assert json.loads(kernel.run(f"%rlm {name} --json").text()) == json.loads(json.dumps(data))
    assert "%rlm graph takes --json or nothing" in kernel.run("%rlm graph --html").evalue
    assert "%rlm usage takes no argument" in kernel.run("%rlm usage --json").evalue
