"""Which cells may put out something else when they run again: a look at their source, and at who reads what of whom."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlm_kernel.trace.events import Event
from rlm_kernel.trace.notebook import render
from rlm_kernel.trace.varying import Names, names_in, read_first, varying
from tests.sample_run import EVENTS, agent_started, fenced, step, tree_of

Found = dict[tuple[str, int], tuple[str, ...]]


def of_cells(*sources: str) -> dict[int, str]:
    """By number of the step, on what the cells of one agent depend."""
    events: list[Event] = [agent_started()]
    for number, source in enumerate(sources, 1):
        events += step(number, fenced(source), source)
    return {number: ", ".join(why) for (_, number), why in varying(tree_of(events)).items()}


@pytest.mark.parametrize(
    ("source", "on"),
    [
        ("import time\ntime.time()", "time.time"),
        ("import time\nx = time.perf_counter() - time.monotonic()", "time.monotonic, time.perf_counter"),
        ("from time import time\ntime()", "time.time"),
        ("from time import *\ntime()", "time.*"),
        ("import time as t\nt.time()", "time"),
        ("import datetime\ndatetime.datetime.now()", "datetime.now"),
        ("import datetime as dt\ndt.datetime.utcnow()", "datetime.utcnow"),
        ("from datetime import date\ndate.today()", "date.today"),
        ("from datetime import datetime as d\nd.now()", "datetime.datetime"),
        ("from random import choice as pick\npick(xs)", "random.choice"),
        ("np.random.rand(3)", "random.rand"),
        ("rng = np.random.default_rng()", "random.default_rng"),
        ("import uuid\nprint(f'{uuid.uuid4()}')", "uuid.uuid4"),
        ("import os.path, os\nos.getpid()", "os.getpid"),
        ("import os\nos.environ['HOME']", "os.environ"),
        ("import urllib.request\nurllib.request.urlopen(x)", "urllib.request"),
        ("import random as r", "random"),
        ("from requests import get", "requests.get"),
        ("id(x)", "id()"),
        ("def f():\n    return hash('a')", "hash()"),
        ("async def f():\n    return budget()", "budget()"),
        ("!ls", "a shell command or a timing magic"),
        ("x = 1\n  !ls", "a shell command or a timing magic"),
        ("files = !ls", "a shell command or a timing magic"),
        ("%timeit f()", "a shell command or a timing magic"),
        ("took = %time f()", "a shell command or a timing magic"),
        ("%%time\nimport time\ntime.time()", "a shell command or a timing magic, time.time"),
        ("%%bash\ndate", "a shell command or a timing magic"),
        ("if True:\n    %matplotlib inline\n    id(x)", "id()"),
        ("from alive_progress import alive_bar\nwith alive_bar(3): pass", "alive_progress.alive_bar"),
        ("from rich.progress import track\nfor x in track(xs): pass", "rich.track"),
        ("import rich.progress\nfor x in rich.progress.track(xs): pass", "rich.progress"),
        ("%pwd", "a magic of folders, files or the environment"),
        ("here = %pwd", "a magic of folders, files or the environment"),
        ("x = 1\n%cd /tmp", "a magic of folders, files or the environment"),
        ("%ls -l", "a magic of folders, files or the environment"),
        ("%env HOME", "a magic of folders, files or the environment"),
        ("%%writefile f.py\nx = 1", "a magic of folders, files or the environment"),
    ],
)
def test_a_cell_varies_that_names_a_clock_chance_or_the_world(source: str, on: str) -> None:
    assert of_cells(source) == {1: on}


@pytest.mark.parametrize(
    "source",
    [
        "len(context)",
        "import time\ntime.sleep(1)",
        "import time, os, datetime, uuid, threading, random, secrets, requests",
        "import datetime as dt\ndt.timedelta(days=1)",
        "from datetime import date\ndate(2026, 1, 31)",
        "from os import path\npath.join('a', 'b')",
        "import uuid\nuuid.uuid5(uuid.NAMESPACE_DNS, 'x')",
        "'time.time()'  # random",
        "self.id(x), x.hash()",
        "from .random import x",
        "%matplotlib inline\nx != y",
        "%config InlineBackend.figure_format = 'svg'\n%lsmagic",
        "from tqdm import tqdm\nfor x in tqdm(xs): pass",
        "from rich import print\nimport rich\nrich.print(x)",
        "x = 5 % 3\nx",
        "import random\nrandom.seed(7)\nrandom.random()",
        "import random\nrng = random.Random(7)\nrng.random()",
        "rng = np.random.default_rng(seed)",
        "",
        "   \n",
        "def broken(:",
        "nul\0byte",
        "\ud800",
    ],
)
def test_a_cell_does_not_vary_that_names_none_of_them(source: str) -> None:
    assert of_cells(source) == {}


@pytest.mark.parametrize("seeds", ["import random\nrandom.seed(7)\n", "import os\nimport random as r\nr.seed(7)\n"])
def test_a_seed_makes_chance_the_same_each_time_but_not_that_of_the_system(seeds: str) -> None:
    assert of_cells(f"{seeds}os.urandom(8)") == {1: "os.urandom"}
    assert of_cells(f"{seeds}random.SystemRandom().random()") == {1: "random.SystemRandom"}


def test_a_seed_holds_for_the_cells_after_it() -> None:
    cells = ["import random", "print(random.random())", "random.seed(7)", "print(random.random())"]

    assert of_cells(*cells) == {2: "random.random"}
    assert of_cells("import random\nrandom.seed()", "random.random()") == {1: "random.seed", 2: "random.random"}


def test_a_seed_that_varies_seeds_nothing() -> None:
    found = of_cells("import random, time\nrandom.seed(time.time())", "print(random.random())")

    assert found == {1: "time.time", 2: "random.random"}


def test_a_cell_varies_that_reads_a_variable_of_one_that_does() -> None:
    cells = ["import time\nbegan = time.time()", "took = 1 - began", "print(took)", "print(context)"]

    assert of_cells(*cells) == {1: "time.time", 2: "time.time", 3: "time.time"}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ("x = time.time()", "x"),
        ("x += time.time()", "x"),
        ("x, (y, *z) = 1, (2, time.time())", "z"),
        ("x['t'] = time.time()", "x"),
        ("x.t = time.time()", "x"),
        ("x['a'][0].b = time.time()", "x"),
        ("x.append(time.time())", "x"),
        ("x['a'].update(t=time.time())", "x"),
        ("for x in [time.time()]: pass", "x"),
        ("with f(time.time()) as x: pass", "x"),
        ("def x(): return time.time()", "x"),
        ("class x: t = time.time()", "x"),
        ("if (x := time.time()): pass", "x"),
    ],
)
def test_whatever_puts_it_into_a_variable_the_reader_of_that_varies(changes: str, name: str) -> None:
    assert list(of_cells("x = []", f"import time\n{changes}", f"print({name})")) == [2, 3]


def test_a_variable_that_is_assigned_anew_does_not_vary_any_more() -> None:
    varies = "import time\nx = time.time()"

    assert of_cells(varies, "x = 1", "print(x)") == {1: "time.time"}
    assert of_cells(varies, "x += 1", "print(x)") == {1: "time.time", 2: "time.time", 3: "time.time"}
    assert of_cells(varies, "x = x + 1", "print(x)") == {1: "time.time", 2: "time.time", 3: "time.time"}


def test_what_was_imported_beside_a_clock_does_not_vary_with_it() -> None:
    cells = ["import re, time, numpy as np\nfrom json import loads\nprint(time.time())", "loads(re.sub(np.x))"]

    assert of_cells(*cells) == {1: "time.time"}
    assert of_cells("from time import time\nimport re", "re.x", "time()") == {1: "time.time", 3: "time.time"}


def test_a_change_of_the_environment_does_not_make_all_of_os_vary() -> None:
    cells = ["import os", "os.environ['A'] = '1'", "os.path.join('a', 'b')"]

    assert of_cells(*cells) == {2: "os.environ"}


def test_it_goes_to_a_sub_agent_with_its_context_and_comes_back_with_its_answer() -> None:
    events = [
        agent_started(),
        *step(1, fenced("import time\nt = time.time()"), "import time\nt = time.time()"),
        *step(2, fenced("a = llm_query('?', context=t)"), "a = llm_query('?', context=t)"),
        agent_started("0.1", "0", in_step=2),
        *step(1, fenced("print(context)"), "print(context)", agent="0.1"),
        *step(2, fenced("FINAL(1)"), "FINAL(1)", agent="0.1"),
        *step(3, fenced("b = llm_query('?')"), "b = llm_query('?')"),
        agent_started("0.2", "0", in_step=3),
        *step(1, fenced("id(context)"), "id(context)", agent="0.2"),
        *step(2, fenced("FINAL(2)"), "FINAL(2)", agent="0.2"),
        *step(4, fenced("print(b)"), "print(b)"),
        *step(5, fenced("print(context)"), "print(context)"),
    ]

    assert varying(tree_of(events)) == {
        ("0", 1): ("time.time",),
        ("0", 2): ("time.time",),
        ("0.1", 1): ("time.time",),
        ("0", 3): ("id()",),
        ("0.2", 1): ("id()",),
        ("0", 4): ("id()",),
    }


def test_an_edited_cell_is_looked_at_as_it_is_now() -> None:
    tree = tree_of([agent_started(), *step(1, fenced("id(x)"), "id(x)"), *step(2, fenced("len(x)"), "len(x)")])

    assert varying(tree) == {("0", 1): ("id()",)}
    assert varying(tree, {("0", 1): "len(x)", ("0", 2): "hash(x)"}) == {("0", 2): ("hash()",)}


def test_what_a_cell_reads_assigns_and_imports() -> None:
    assert names_in("import os.path as p, json\nfrom re import sub as s\nx = [y for y in rows]\nz.a = x") == Names(
        loaded=frozenset({"rows", "x", "y", "z"}),
        assigned=frozenset({"p", "json", "s", "x", "y", "z"}),
        varying=frozenset({"os.path"}),
        imported=frozenset({"json", "s"}),
    )


@pytest.mark.parametrize(
    "source",
    [
        " + ".join(["'x'"] * 3_000),
        "x" + ".strip()" * 900,
        "(" * 150 + ")" * 150,
        "[" * 10_000,
        "-" * 50_000 + "1",
        "x = 1\n" * 20_000,
        "if x:\n" + "".join(" " * n + "if x:\n" for n in range(1, 90)) + " " * 90 + "y",
        "%" * 100_000,
        "a, " * 50_000 + "= !",
        "\n \n" * 50_000,
        " " * 100_000 + "x",
        "x, " * 50_000,
        "seed(" * 20_000 + " " * 20_000,
    ],
)
def test_no_source_is_too_much(source: str) -> None:
    begun = time.thread_time()

    names_in(source)
    names_in(f"%magic\n{source}")

    assert time.thread_time() - begun < 10  # one second is usual


def test_a_long_sum_is_looked_into_to_its_end() -> None:
    assert names_in("x = " + " + ".join(["'x'"] * 400) + " + str(id(y))").varying == {"id()"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
@given(st.text(max_size=40) | st.text("abx =.()[]{}:'\"#\\\n!%@\t0", max_size=40))
@settings(max_examples=300, deadline=None)
def test_nothing_that_a_model_writes_raises(source: str) -> None:
    names_in(source)


@given(EVENTS)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_record_raises(events: list[Event]) -> None:
    tree = tree_of(events)

    assert set(varying(tree)) <= {(agent.id, step.number) for agent in tree.agents.values() for step in agent.steps}


def test_agents_in_a_ring_and_very_deep_ones_are_looked_at_too() -> None:
    ring = [agent_started("a", "b"), agent_started("b", "a"), *step(1, fenced("id(x)"), "id(x)", agent="b")]
    ids = [f"n{n}" for n in range(1_500)]
    chain = [agent_started(id, above) for id, above in zip(ids, [None, *ids], strict=False)]

    found = varying(tree_of([*ring, *chain, *step(1, fenced("id(x)"), "id(x)", agent="n1499")]))

    assert found == {("b", 1): ("id()",), ("n1499", 1): ("id()",)}
    render(tree_of([*ring, *chain]))


def test_a_look_says_nothing_of_what_is_odd_in_a_cell() -> None:
    code = (
        "import warnings\n"
        "from rlm_kernel.trace.varying import names_in\n"
        "before = list(warnings.filters)\n"
        r"names_in('re.findall(\"\\d\", x)')" + "\n"
        "print(before == list(warnings.filters))"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert (found.stdout, found.stderr) == ("True\n", "")


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("def f():\n    return n\nf()", {"n"}),
        ("import pandas as pd\ndf = pd.DataFrame(rows)\ndf.shape", {"rows"}),
        ("x = x + 1\nx", {"x"}),
        ("if a:\n    b = 1\nb", {"a", "b"}),
        ("x = 1\nprint(x)", {"print"}),
        ("%time f(x", set()),
        ("%matplotlib inline\nx = 1\nprint(x, y)", {"print", "y"}),
        ("files = !ls\nlen(files)", {"len"}),
    ],
)
def test_what_a_cell_reads_before_it_makes_it(source: str, read: set[str]) -> None:
    assert read_first(source) == read


def test_a_statement_that_nests_deeper_than_python_goes_is_looked_at_all_the_same() -> None:
    assert read_first(" + ".join(["x"] * 900)) == {"x"}
