"""The loop, played by hand: `next` gives what it wants, `send` what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from rlm_kernel import prompts
from rlm_kernel.controller import Ask, Observed, Outcome, RunCell, control
from rlm_kernel.limits import Limits
from rlm_kernel.prompts import Briefing
from rlm_kernel.values import CellError, CellResult, Final, Message, Remaining, Reply, Usage

FIRST_REQUEST = Path(__file__).parent / "snapshots" / "first_request.txt"

BRIEFING = Briefing("How many?", "list of 3 items", None)


def reply(text: str, finish_reason: str = "stop") -> Reply:
    return Reply(text, Usage(), "m", finish_reason)


def observed(*prints: str, error: CellError | None = None, final: Final | None = None, **more: object) -> Observed:
    outputs = tuple({"output_type": "stream", "name": "stdout", "text": text} for text in prints)
    remaining = more.pop("remaining", Remaining())
    assert isinstance(remaining, Remaining)
    return Observed(CellResult(outputs, 0.1, error, final, **more), remaining)  # type: ignore[arg-type]


def play(briefing: Briefing, *sent: Reply | Observed) -> tuple[list[Ask | RunCell], Outcome | None]:
    """What it wanted, in order, and how it ended, if it did."""
    loop = control(briefing)
    wanted = [next(loop)]
    for value in sent:
        try:
            wanted.append(loop.send(value))
        except StopIteration as end:
            return wanted, end.value
    return wanted, None


def newest(wanted: list[Ask | RunCell]) -> str:
    last = wanted[-1]
    assert isinstance(last, Ask)
    return last.messages[-1].content


def test_a_reply_leads_to_a_cell_and_its_output_to_the_next_request() -> None:
    wanted, outcome = play(BRIEFING, reply("Look.\n```repl\nlen(context)\n```"), observed("3\n"))

    assert wanted[1] == RunCell(1, "len(context)")
    assert "3" in newest(wanted)
    assert outcome is None


def test_FINAL_is_the_outcome_as_the_object_itself() -> None:
    value = object()
    _, outcome = play(BRIEFING, reply("```repl\nFINAL(x)\n```"), observed(final=Final(value, "x")))

    assert outcome is not None
    assert (outcome.ending, outcome.name) == ("final", "x")
    assert outcome.value is value


def test_each_request_is_a_prefix_of_the_next() -> None:
    wanted, _ = play(
        BRIEFING,
        reply("```repl\n1\n```"),
        observed("1"),
        reply("no block"),
        reply(""),
        reply("```repl\n1/0\n```\n```repl\n2\n```"),
        observed(error=CellError("ZeroDivisionError", "division by zero", "ZeroDivisionError: division by zero")),
    )

    asks = [each.messages for each in wanted if isinstance(each, Ask)]
    assert len(asks) == 5
    for before, after in pairwise(asks):
        assert after[: len(before)] == before
        assert [m.role for m in after[len(before) :]] == ["assistant", "user"]
        assert all(m.content for m in after)


def test_the_first_request_is_the_same_bytes_for_ever() -> None:
    """A change here changes every cached prefix and every recorded request: make it on purpose, in the file too."""
    ask = next(control(Briefing("How many?", "list of 3 items", "x: int, 1", Limits())))
    assert isinstance(ask, Ask)

    sent = "".join(f"----- {message.role}\n{message.content}\n" for message in ask.messages)

    assert sent.encode() == FIRST_REQUEST.read_bytes()


def test_the_system_prompt_is_long_enough_for_every_providers_prefix_cache() -> None:
    from rlm_kernel.lm.tokens import count

    assert count(prompts.SYSTEM) >= 1_024


def test_the_prompt_promises_no_name_that_is_not_lent() -> None:
    import re

    from rlm_kernel.namespace import LENT

    promised = set(re.findall(r"`(?:await )?([A-Za-z_]+)\(", prompts.SYSTEM)) | set(
        re.findall(r"\b[A-Z]+(?:_VARS?)?(?=\()", prompts.SYSTEM)
    )
    assert promised
    assert promised <= set(LENT)


def test_further_blocks_do_not_run_and_the_model_is_told() -> None:
    wanted, _ = play(BRIEFING, reply("```repl\na = 1\n```\nthen\n```repl\nb = 2\n```"), observed())

    assert wanted[1] == RunCell(1, "a = 1")
    assert "One further block was in your reply and did not run" in newest(wanted)


@pytest.mark.parametrize(
    ("text", "told"), [("just prose", prompts.NO_BLOCK), ("", prompts.EMPTY), ("  \n", prompts.EMPTY)]
)
def test_a_reply_without_a_cell_is_told_in_one_sentence(text: str, told: str) -> None:
    wanted, _ = play(BRIEFING, reply(text))

    assert newest(wanted) == told


def test_three_such_replies_in_a_row_end_the_run_and_a_cell_between_starts_the_count_again() -> None:
    strikes = [reply("prose")] * 2
    cell = [reply("```repl\n1\n```"), observed("1")]

    _, outcome = play(BRIEFING, *strikes, *cell, *strikes)
    assert outcome is None
    _, outcome = play(BRIEFING, *strikes, *cell, *strikes, reply("prose"))
    assert outcome is not None
    assert outcome.ending == "no_answer"


def test_text_is_the_answer_only_where_nothing_was_given_and_nothing_has_run() -> None:
    bare = Briefing("Two and two?", None, None)

    assert play(bare, reply("Four."))[1] == Outcome("text", "Four.")
    assert play(BRIEFING, reply("Four."))[1] is None
    assert play(Briefing("Two and two?", None, "x: int, 1"), reply("Four."))[1] is None
    assert play(bare, reply("```repl\n1\n```"), observed("1"), reply("Now I shall look on."))[1] is None


def test_half_a_cell_is_not_run_when_the_provider_cut_the_reply_off() -> None:
    wanted, _ = play(BRIEFING, reply("```repl\ndelete(everything", "length"))
    assert newest(wanted) == prompts.CUT_OFF

    wanted, _ = play(BRIEFING, reply("```repl\nx = 1"))
    assert wanted[1] == RunCell(1, "x = 1")


def test_a_cut_off_text_is_no_answer() -> None:
    _, outcome = play(Briefing("Tell me.", None, None), reply("It begins with", "length"))

    assert outcome is None


@pytest.mark.parametrize(("allowed", "asks"), [(0, 0), (1, 1), (3, 3)])
def test_max_steps_is_a_count_of_replies(allowed: int, asks: int) -> None:
    def replies() -> Iterator[Reply | Observed]:
        while True:
            yield reply("```repl\n1\n```")
            yield observed("1")

    loop = control(Briefing("?", "x", None, Limits(max_steps=allowed)))
    given = replies()
    wanted: list[Ask | RunCell] = []
    try:
        wanted.append(next(loop))
        while True:
            wanted.append(loop.send(next(given)))
    except StopIteration as end:
        outcome = end.value

    assert sum(isinstance(each, Ask) for each in wanted) == asks
    assert outcome == Outcome("limit", message="max_steps")


def test_what_is_left_is_told_in_the_newest_message_when_it_is_little() -> None:
    limits = Limits(max_steps=10, max_cost_usd=1.0)
    much, little = Remaining(steps=8, cost_usd=0.9), Remaining(steps=1, cost_usd=0.05)
    cell = reply("```repl\n1\n```")

    wanted, _ = play(Briefing("?", "x", None, limits), cell, observed("1", remaining=much))
    assert "Note:" not in newest(wanted)
    wanted, _ = play(Briefing("?", "x", None, limits), cell, observed("1", remaining=little))
    assert "this is your last step" in newest(wanted)
    assert "$0.0500 is left" in newest(wanted)


def test_an_output_is_cut_to_its_head_and_tail_with_exact_counts() -> None:
    limits = Limits(max_output_chars=1_000)
    text = "start " + "x" * 50_000 + " end"

    wanted, _ = play(Briefing("?", "x", None, limits), reply("```repl\n1\n```"), observed(text))

    told = newest(wanted)
    assert len(told) < 1_200
    assert "start" in told
    assert told.rstrip().endswith("end")
    assert f"{len(text):,}" in told


def test_a_reply_of_five_megabytes_stays_bounded_in_the_conversation() -> None:
    wanted, _ = play(BRIEFING, reply("word " * 1_000_000 + "\n```repl\n1\n```"), observed("1"))

    last = wanted[-1]
    assert isinstance(last, Ask)
    assert isinstance(last.messages[-2], Message)
    assert len(last.messages[-2].content) <= 200_000


def failed(name: str, line: int, step: int = 1) -> CellError:
    at = f"Traceback (most recent call last):\n  step {step}, line {line}, in <module>\n    foudn"
    return CellError(name, "name 'foudn' is not defined", f"{at}\n{name}: name 'foudn' is not defined")


@pytest.mark.parametrize(
    ("left", "printed", "error", "told"),
    [
        (0, "", failed("NameError", 2), "Your cell ended with NameError at line 2."),
        (8, "", failed("NameError", 2), "Your cell ended with NameError at line 2."),
        (15, "NameError " * 50, failed("NameError", 2), "Your cell ended with NameError at line 2."),
        (0, "", failed("NameError", 2, step=3), "Your cell ended with NameError."),
        (0, "", failed("Data" * 50, 1), f"Your cell ended with {'Data' * 9}Dat… at line 1."),
        (0, "", CellError("SystemExit", "1", "SystemExit: step 1, line 7"), "Your cell ended with SystemExit."),
    ],
)
def test_an_error_that_may_not_be_shown_is_told_by_type_and_line(
    left: int, printed: str, error: CellError, told: str
) -> None:
    briefing = Briefing("?", "x", None, Limits(max_read_tokens=100))

    wanted, _ = play(
        briefing, reply("```repl\n1\n```"), observed(printed, error=error, remaining=Remaining(read_tokens=left))
    )

    assert told in newest(wanted).split("\n\n")
    assert "'foudn' is" not in newest(wanted)
    assert isinstance(wanted[-1], Ask)
    assert wanted[-1].shown <= left


def test_an_error_that_is_shown_is_not_told_twice() -> None:
    error = failed("NameError", 2)
    for limits in (Limits(), Limits(max_read_tokens=1_000)):
        left = Remaining(read_tokens=limits.max_read_tokens)
        cell = reply("```repl\n1\n```")

        wanted, _ = play(Briefing("?", "x", None, limits), cell, observed("1\n", error=error, remaining=left))

        assert newest(wanted) == f"Output of your cell:\n\n1\n{error.traceback}"


def test_a_limit_on_outputs_that_leaves_an_error_no_room_does_not_hide_that_it_was_one() -> None:
    limits = Limits(max_output_chars=10)
    error = failed("NameError", 2)

    wanted, _ = play(Briefing("?", "x", None, limits), reply("```repl\n1\n```"), observed(error=error))

    assert newest(wanted).endswith("not shown ...]\n\nYour cell ended with NameError at line 2.")


def test_what_the_question_counts_is_shown_with_the_first_request_and_said_there() -> None:
    limits = Limits(max_read_tokens=3_000)

    first = [next(control(Briefing("?", "x", None, limits, depth=1, read_tokens=each))) for each in (0, 600)]

    assert [each.shown for each in first if isinstance(each, Ask)] == [0, 600]
    told = [each.messages[-1].content for each in first if isinstance(each, Ask)]
    assert "3,000 tokens of data, all of which are left: what you READ counts" in told[0]
    assert "3,000 tokens of data, 2,400 of which are left after your question, which is long: what you READ" in told[1]
    assert "; the rest of this message does not" in told[1]
