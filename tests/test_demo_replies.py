"""The cells that the demo's recorded model writes, run over the standard library of the Python that runs the test."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import runpy
import sysconfig
import time
from pathlib import Path

import pytest

from rlm_kernel.files import load
from rlm_kernel.parsing import Parsed, parse
from rlm_kernel.prompts import SYSTEM, Briefing, first_message
from rlm_kernel.values import Message, Request

REPLIES = Path(__file__).parent.parent / "notebooks" / "stdlib_replies.py"


class Finished(BaseException):
    pass


class Played:
    """What came of running every reply's cell in one namespace, as the kernel would."""

    def __init__(self) -> None:
        script = runpy.run_path(str(REPLIES))
        self.context = load(Path(sysconfig.get_path("stdlib")))
        self.parsed: list[Parsed] = [
            parse(reply, cut_off=True)  # so that a block without its end is none
            for reply in script["REPLIES"]
            if isinstance(reply, str)
        ]
        self.errors: list[BaseException | None] = []
        self.printed: list[str] = []
        self.prompts: list[str] = []
        self.answers: list[object] = []

        def llm_query(prompt: str) -> str:
            self.prompts.append(prompt)
            first = first_message(Briefing(prompt, None, None, depth=1))
            (sub_agent,) = (reply for reply in script["REPLIES"] if not isinstance(reply, str))
            return sub_agent["reply"](Request((Message("system", SYSTEM), Message("user", first)), agent="0.1"))

        def final(value: object) -> None:
            self.answers.append(value)
            raise Finished

        namespace = {"context": self.context, "llm_query": llm_query, "FINAL": final}
        started = time.monotonic()
        for parsed in self.parsed:
            error: BaseException | None = None
            with contextlib.redirect_stdout(io.StringIO()) as out:
                try:
                    exec(compile(parsed.code, "<cell>", "exec"), namespace)
                except (Exception, Finished) as raised:
                    error = raised
            self.errors.append(error)
            self.printed.append(out.getvalue())
        self.seconds = time.monotonic() - started


@pytest.fixture(scope="module")
def played() -> Played:
    return Played()


def test_each_reply_is_prose_and_one_cell(played: Played) -> None:
    shapes = [(p.answer_text.startswith("```"), p.code is not None, p.ignored_blocks) for p in played.parsed]

    assert shapes == [(False, True, 0)] * 6


def test_one_cell_fails_on_a_real_mistake_and_the_last_one_answers(played: Played) -> None:
    assert [type(error) for error in played.errors] == [*[type(None)] * 2, TypeError, *[type(None)] * 2, Finished]
    assert "between instances of 'dict' and 'dict'" in str(played.errors[2])


def test_all_cells_together_take_no_longer_than_a_person_waits(played: Played) -> None:
    assert played.seconds < 20


def test_no_cell_prints_more_than_an_observation_shows(played: Played) -> None:
    assert max(map(len, played.printed)) < 8_000


def test_the_totals_are_of_this_machine_and_fit_together(played: Played) -> None:
    [answer] = played.answers
    totals = answer["totals"]

    assert totals["modules"] > 100
    assert totals["functions"] > 1_000
    assert 100 < totals["functions_with_gaps"] <= totals["unmentioned"] < totals["parameters"]
    assert totals["functions_with_gaps"] < totals["functions"]
    assert totals["files_that_did_not_parse"] == 0


def test_the_table_has_the_ten_packages_with_the_most_unmentioned_parameters(played: Played) -> None:
    [answer] = played.answers
    unmentioned = [counts["unmentioned"] for counts in answer["by_package"].values()]

    assert len(unmentioned) == 10
    assert unmentioned == sorted(unmentioned, reverse=True)
    assert unmentioned[-1] > 0
    assert not {"test", "idlelib", "lib2to3"} & set(answer["by_package"])


def test_the_worst_offender_takes_parameters_that_its_docstring_truly_never_mentions(played: Played) -> None:
    [answer] = played.answers
    worst = answer["worst"]
    path, _, line = worst["where"].rpartition(":")
    name = worst["name"].rpartition(".")[2]
    [function] = [
        node
        for node in ast.walk(ast.parse(played.context[path]))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.name, node.lineno) == (name, int(line))
    ]
    by_name = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    taken = {a.arg for a in by_name if not a.arg.startswith("_")} - {"self", "cls"}
    docstring = ast.get_docstring(function)

    assert len(worst["never_mentioned"]) >= 5
    assert worst["parameters"] == len(taken)
    assert set(worst["never_mentioned"]) <= taken
    assert [p for p in worst["never_mentioned"] if re.search(rf"(?i)\b{p}\b", docstring)] == []


def test_the_cell_that_checks_the_ranking_finds_what_the_next_reply_says_it_found(played: Played) -> None:
    assert "found after all: none" in played.printed[3]


def test_the_sub_question_carries_signature_and_docstring_and_not_the_library(played: Played) -> None:
    [answer] = played.answers
    [prompt] = played.prompts

    assert answer["worst"]["name"] in prompt
    assert "Docstring:\n" in prompt
    assert len(prompt) < 20_000
    assert answer["worst"]["name"] in answer["worst"]["explanation"]
    assert all(p in answer["worst"]["explanation"] for p in answer["worst"]["never_mentioned"])
