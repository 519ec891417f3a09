"""What an importer finds to be missing in a log, from the source of its cells."""

from __future__ import annotations

import pytest

from rlm_kernel.dialects import names
from rlm_kernel.namespace import LENT, NOBODYS
from rlm_kernel.trace.importers import unsaid
from rlm_kernel.trace.importers.parts import Actor, Turn
from rlm_kernel.trace.importers.unsaid import DESCRIPTION, hide_unsaid
from rlm_kernel.values import CellError


def cell(source: str, error: str | None = None, **more: bool) -> Turn:
    return Turn(source=source, error=None if error is None else CellError(error, "", ""), **more)


def missing(*turns: Turn, dialect: str | None = "dspy") -> list[str]:
    root = Actor(turns=list(turns))
    hide_unsaid(root, dialect)
    return list(root.hidden)


ASKED_FOR = [
    ("print(len(q))", ["q"]),
    ("q = q.strip()", ["q"]),
    ("q += 1", ["q"]),
    ("for line in q.splitlines():\n    print(line)", ["q"]),
    ("while len(q) > 3:\n    q = q[1:]", ["q"]),
    ("if len(q) > 3:\n    print(r)", ["q", "r"]),
    ("with find(q) as found:\n    print(found)", ["find", "q"]),
    ("def f(n):\n    return n + q\nprint(f(1))", ["q"]),
    ("first = lambda n: n + q", ["q"]),
    ("class A(B):\n    x = q", ["B", "q"]),
    ("print([each for each in q if each in r])", ["q", "r"]),
    ("try:\n    print(q)\nexcept Exception as error:\n    print(error)", ["q"]),
    ("await search(q)", ["q", "search"]),
    ("match q:\n    case [first, *more] if first > r: print(first, more)", ["q", "r"]),
]
AT_HAND = [
    "import json, os.path as p\nfrom re import sub as s\nprint(json, p, s, len, __name__, llm_query, display)",
    "for i, line in enumerate(['a']):\n    if i:\n        print(before)\n    before = line\nprint(i, line)",
    "while True:\n    if n > 1:\n        break\n    n = 2",
    "with open('f') as file, file:\n    print(file)",
    "def f(a, *b, c=1, **d):\n    e = a\n    print(a, b, c, d, e, f, later())\ndef later(): pass",
    "class A:\n    x = 1\n    y = x\nprint(A)",
    "print([a + b for a in [1] for b in [a]], {a: 1 for a in 'a'}, (lambda z: z)(1))",
    "if (m := 1) > 0: print(m)",
    "match [1]:\n    case [first, *more] if first: print(first, more)\n    case {'a': b, **c}: print(b, c)",
    "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    print(error)",
    "try:\n    found\nexcept NameError:\n    found = []\nfound",
    "try:\n    print(found)\nexcept (NameError, KeyError):\n    pass",
    "if 'found' in globals():\n    print(found)",
    "globals()['made'] = 1\nprint(made)",
    "exec('made = 1')\nprint(made)",
    "from math import *\nprint(sqrt(2))",
    "def f():\n    global made\n    made = 1\nf()\nprint(made)",
    "%run script.py\nprint(made)",
    "%%capture made\nprint(1)",
    "print(found if 'found' in globals() else 1)",
    "x = (m := 1) + m",
    "print(_, _1, __name__)",
    "def f[T](x: T) -> T:\n    return x\nprint(f(1))",  # no Python before 3.12
    "SUBMIT(answer=FINAL_VAR)",
    "this is no Python, but unknown",
]


@pytest.mark.parametrize(("source", "found"), ASKED_FOR)
def test_names_that_a_cell_reads_and_nothing_assigns_before_are_missing(source: str, found: list[str]) -> None:
    assert missing(cell(source)) == found


@pytest.mark.parametrize("source", AT_HAND)
def test_names_that_a_cell_makes_itself_or_looks_for_are_not_missing(source: str) -> None:
    assert missing(cell(source)) == []


@pytest.mark.parametrize(
    ("turns", "found"),
    [
        ([cell("q = 1"), cell("print(q)")], []),
        ([cell("print(q)"), cell("q = 1")], ["q"]),
        ([cell("print(q)", "NameError"), cell("q = 1"), cell("print(q)")], []),
        ([cell("q = read()", "KeyError"), cell("print(q)")], ["read"]),
        ([cell("print(q)", ran=False)], []),
        ([cell("q = 1", ran=False), cell("print(q)")], ["q"]),
        ([cell("def f(): return helper()"), cell("def helper(): return 1"), cell("print(f())")], []),
        ([cell("f = lambda: helper()"), cell("def helper(): return 1")], []),
        ([cell("%%capture out\nprint(1)"), cell("print(out.stdout)")], []),
        ([cell("def f(): return sin(1)"), cell("from math import *"), cell("print(f(), cos(1))")], []),
        ([Turn(reply="no cell"), cell("  print(q)")], ["q"]),
    ],
)
def test_a_name_is_missing_where_no_earlier_cell_has_assigned_it(turns: list[Turn], found: list[str]) -> None:
    assert missing(*turns) == found


def test_what_is_known_of_a_name_stays_and_a_context_has_its_description() -> None:
    root = Actor(context="str of 9 characters", given={"q": "abc"}, hidden={"r": "a table"}, tools=("search",))
    root.turns = [cell("print(q, r, search, context, s)")]

    hide_unsaid(root, None)

    assert root.given == {"q": "abc"}
    assert root.hidden == {"r": "a table", "context": "str of 9 characters", "s": DESCRIPTION}


def test_a_name_is_lent_in_the_logs_of_its_own_tool() -> None:
    assert [missing(cell("SUBMIT(1)"), dialect=dialect) for dialect in ("dspy", "fabric-rlm", "rlm", None)] == [
        [],
        [],
        ["SUBMIT"],
        ["SUBMIT"],
    ]


def test_a_cell_of_any_size_and_depth_is_looked_at() -> None:
    assert missing(cell(" + ".join(["x"] * 900))) == ["x"]
    assert missing(cell("if a:\n    pass\n" + "elif a:\n    pass\n" * 500)) == ["a"]
    assert missing(cell("(" * 5_000)) == []


def test_the_names_that_are_lent_are_those_that_an_importer_takes_to_be_there():
    dialects = {"dspy", "fabric-rlm", "fast-rlm", "rlm", "smolagents"}

    assert LENT.keys() == unsaid.OURS
    assert unsaid.SHELL == NOBODYS
    for dialect in dialects | unsaid.THEIRS.keys():
        assert unsaid.THEIRS.get(dialect, set()) == names(dialect).keys() - LENT.keys()
