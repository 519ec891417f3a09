from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel.parsing import Parsed, parse


def test_the_block_runs_and_the_answer_is_the_whole_reply() -> None:
    parsed = parse("First I look.\n\n```repl\nx = 1\nprint(x)\n```\n\nThen I see.")

    assert parsed == Parsed(
        code="x = 1\nprint(x)",
        answer_text="First I look.\n\n```repl\nx = 1\nprint(x)\n```\n\nThen I see.",
        ignored_blocks=0,
    )


def test_a_reply_with_no_block_is_all_answer() -> None:
    assert parse("\n It is 42. \n") == Parsed(None, "It is 42.", 0)


@pytest.mark.parametrize("reply", ["", " ", "\n\n\t \n", "\r\n"])
def test_an_empty_reply_is_nothing_at_all(reply: str) -> None:
    assert parse(reply) == Parsed(None, "", 0)


@pytest.mark.parametrize(
    "info",
    ["repl", "python", "py", "ipython", "ipython3", "python3", "py3", "PYTHON", "Repl", " repl ", "{python}",
     "{.python .numberLines}", 'python title="x.py"', "python {cell=1}"],
)  # fmt: skip
def test_these_info_strings_run(info: str) -> None:
    assert parse(f"```{info}\nx = 1\n```").code == "x = 1"


@pytest.mark.parametrize("info", ["", "text", "bash", "json", "pycon", "python-repl", "markdown", "pythonic", "repl`"])
def test_these_info_strings_do_not_run(info: str) -> None:
    assert parse(f"```{info}\nx = 1\n```").code is None


def test_only_the_first_block_runs_and_the_others_are_counted_and_stay_in_the_answer() -> None:
    reply = "a\n```repl\n1\n```\nb\n```json\n{}\n```\n```python\n2\n```\n~~~py\n3\n~~~"

    assert parse(reply) == Parsed("1", reply, 2)


def test_a_block_in_another_language_is_skipped_whole() -> None:
    assert parse("```json\n{}\n```\n```repl\nx\n```").code == "x"
    assert parse("````markdown\n```python\nnot me\n```\n````\n```repl\nme\n```").code == "me"
    assert parse("```markdown\n```python\nnot me\n```").code is None


def test_a_blank_block_is_passed_over_and_not_counted() -> None:
    parsed = parse("```repl\n```\n```repl\n  \n\n```\n```repl\nx\n```\n```repl\n\n```\n```repl\n")

    assert (parsed.code, parsed.ignored_blocks) == ("x", 0)


def test_a_longer_fence_holds_a_shorter_one() -> None:
    assert parse('````repl\nnote = """\n```\ninner\n```\n"""\n````\nend').code == 'note = """\n```\ninner\n```\n"""'


def test_a_closing_fence_is_of_the_same_kind_at_least_as_long_and_bare() -> None:
    assert parse("~~~repl\na\n```\nb\n~~~").code == "a\n```\nb"
    assert parse("````repl\na\n```\nb\n`````").code == "a\n```\nb"
    assert parse("```repl\na\n```not bare\nb\n```  \t").code == "a\n```not bare\nb"


def test_a_closing_fence_is_indented_by_up_to_three_spaces_more_than_its_surroundings() -> None:
    assert parse("```repl\na\n   ```\nb").code == "a"
    assert parse("```repl\na\n    ```\nb\n```").code == "a\n    ```\nb"
    assert parse("  ```repl\na\n    ```\nb\n  ```").code == "a\n    ```\nb"
    assert parse("10. ```repl\n    a\n    ```\n\nb").code == "a"


def test_fences_indented_by_up_to_three_spaces_count_and_deeper_ones_are_indented_code() -> None:
    assert parse("   ```repl\n   x = 1\n   ```").code == "x = 1"
    assert parse("see\n\n    ```repl\n    x = 1\n    ```").code is None


def test_a_fence_may_stand_as_deep_as_the_list_item_above_it() -> None:
    assert parse("10. Look:\n\n    ```repl\n    if x:\n        y\n    ```\n").code == "if x:\n    y"
    assert parse("- a\n  - b\n\n      ```repl\n      x\n      ```\n  - c\n").code == "x"
    assert parse("1. ```repl\n   x = 1\n   ```\n2. Then.").code == "x = 1"
    assert parse("10. Look\n\nA new paragraph.\n\n    ```repl\n    x\n    ```").code is None


def test_code_keeps_all_white_space_that_its_lines_do_not_share() -> None:
    assert parse("```repl\n\n    if x:\n        y\n   \n    z\n\n```").code == "\nif x:\n    y\n   \nz\n"
    assert parse("- ```repl\nif x:\n  y\n  ```").code == "if x:\n  y"
    assert parse("```repl\n\tx\n    y\n```").code == "\tx\n    y"


def test_an_unclosed_block_counts_to_the_end_unless_the_provider_cut_it_off() -> None:
    reply = "Look:\n```repl\nx = 1\nprint(x)\n"

    assert parse(reply) == Parsed("x = 1\nprint(x)", reply.strip(), 0)
    assert parse(reply, cut_off=True) == Parsed(None, reply.strip(), 0)


def test_a_block_closed_before_the_provider_cut_the_reply_off_runs() -> None:
    parsed = parse("```repl\nx\n```\nand now\n```repl\ny =", cut_off=True)

    assert (parsed.code, parsed.ignored_blocks) == ("x", 1)


def test_an_opening_fence_and_nothing_more_is_no_code() -> None:
    assert parse("So:\n```repl") == Parsed(None, "So:\n```repl", 0)


def test_a_last_line_may_carry_its_own_closing_fence() -> None:
    assert parse("```repl\nprint(1)```\n").code == "print(1)"
    assert parse("```repl\nprint(1)```", cut_off=True).code is None


@pytest.mark.parametrize("tag", ["think", "thinking", "reasoning", "THINK"])
def test_nothing_inside_thinking_runs_or_is_shown(tag: str) -> None:
    parsed = parse(f"<{tag}>\nMaybe\n```repl\nbad()\n```\n</{tag}>\nSo:\n```repl\ngood()\n```")

    assert parsed == Parsed("good()", "So:\n```repl\ngood()\n```", 0)


def test_thinking_in_the_middle_of_a_line_is_thinking_when_it_is_closed() -> None:
    parsed = parse("Sure. <think>\n```repl\nbad()\n```\n</think> Done.")

    assert (parsed.code, parsed.answer_text) == (None, "Sure.  Done.")


def test_thinking_that_never_ends_hides_the_rest() -> None:
    assert parse("<think>\n```repl\nbad()\n```") == Parsed(None, "", 0)
    assert parse("Well.\n <think>\n```repl\nbad()\n```") == Parsed(None, "Well.", 0)
    assert parse("<think>a</think>\n<think>```repl\nbad()\n```").code is None
    assert parse("<think>a</think><think>\n```repl\nbad()\n```").code is None


def test_an_end_of_thinking_without_a_beginning_hides_all_before_it() -> None:
    parsed = parse("Let me try\n```repl\nbad()\n```\nno.</think>\n\nSo:\n```repl\ngood()\n```")

    assert parsed == Parsed("good()", "So:\n```repl\ngood()\n```", 0)
    assert parse("hm\n</think>It is 42.").answer_text == "It is 42."
    assert parse("<think>a<think>b</think>c\n</think>\nd").answer_text == "d"


def test_a_block_may_begin_right_behind_the_end_of_thinking() -> None:
    assert parse("<think>hm</think>```repl\nx\n```") == Parsed("x", "```repl\nx\n```", 0)


def test_talk_about_the_tags_is_no_thinking() -> None:
    assert parse("I look for `<think>` first.\n```repl\nx\n```").code == "x"
    assert parse("Of `<think>x</think>` I keep nothing.").answer_text == "Of `<think>x</think>` I keep nothing."
    assert parse("How many <think> tags?\n```repl\nx\n```").code == "x"
    assert parse("```repl\nx\n```\nThat counts the </think> tags.").code == "x"


def test_inside_a_block_the_tags_are_code() -> None:
    code = 'a = "<think>"\n<think>\nb = text.split("</think>")\n</think>\n</reasoning>'

    assert parse(f"```repl\n{code}\n```").code == code
    assert parse(f"```\n<think>\n```\n```repl\n{code}\n```").code == code


def test_line_ends_of_any_kind_become_newlines() -> None:
    assert parse("a\r\n```repl\r\nx = 1\r\ny = 2\r\n```\r\nb") == parse("a\n```repl\nx = 1\ny = 2\n```\nb")
    assert parse("a\r```repl\rx = 1\r```\r").code == "x = 1"


def test_only_newlines_end_a_line() -> None:
    code = 'x = "\x0b\x0c\x1c\x85\u2028```"'

    assert parse(f"```repl\n{code}\n```").code == code


def test_nuls_colours_and_surrogates_are_handed_on() -> None:
    code = 'x = "\x00\x1b[31m\ud800\U0001f600"'

    assert parse(f"\x1b[1m\x00\n```repl\n{code}\n```").code == code


_MARKUP = st.sampled_from(
    ["```", "````", "~~~", "```repl", "~~~py", "    ```", "  ```python", "- ", "1. ", "<think>", "</think>",
     "<reasoning>", "</reasoning>", "\n", "\r\n", "\r", "\t", "  ", "x = 1", "`", "\x00"]
)  # fmt: skip
_REPLIES = st.lists(_MARKUP | st.text(max_size=5), max_size=40).map("".join)
_PYTHON_LINES = st.lists(st.text(st.characters(exclude_characters="\r\n"), max_size=20), min_size=1, max_size=8)


@given(_REPLIES, st.booleans())
def test_any_reply_is_taken_apart_without_an_error(reply: str, cut_off: bool) -> None:
    parsed = parse(reply, cut_off=cut_off)

    text = reply.replace("\r\n", "\n").replace("\r", "\n")
    assert parsed.code is None or parsed.code.strip()
    assert parsed.code is not None or parsed.ignored_blocks == 0
    assert all(line in text for line in (parsed.code or "").split("\n"))
    assert _words(parsed.code or "") in _words(text)
    assert len(parsed.answer_text) <= len(text)


@given(_PYTHON_LINES, st.sampled_from(["```", "````", "~~~~~"]), st.sampled_from(["", " ", "   "]))
def test_code_without_its_own_fence_comes_back_as_it_was(lines: list[str], fence: str, indent: str) -> None:
    code = "\n".join(["x", *(line for line in lines if fence not in line)])
    block = "\n".join(indent + line for line in f"{fence}repl\n{code}\n{fence}".split("\n"))

    reply = f"Look.\n\n{block}\n\nDone."

    assert parse(reply) == Parsed(code, reply, 0)


_HOSTILE = {
    "newlines": "\n",
    "spaces": " ",
    "backticks": "`",
    "fences": "```\n",
    "blocks": "```repl\nx\n```\n",
    "inline code": "```x``` ",
    "openers in a line": "x <think>",
    "closers": "</think>",
    "closers and spaces": "</think>" + " " * 50,
    "mixed tags": "<think> x <reasoning> </thinking>",
    "list items": "- a\n",
    "blocks in lists": "1. a\n\n   ```py\n   x\n   ```\n\n",
    "indented fences": "      ```repl\n",
    "fences that do not close": "````repl\n```\n",
    "angle brackets": "<",
}


@pytest.mark.parametrize("unit", _HOSTILE.values(), ids=_HOSTILE.keys())
def test_five_hostile_megabytes_take_no_longer_than_a_person_would_forgive(unit: str) -> None:
    reply = unit * (5_000_000 // len(unit))
    started = time.thread_time()

    parse(reply)

    assert time.thread_time() - started < 20  # one second is usual; quadratic time would be hours


def _words(text: str) -> str:
    """Without white space, which is what taking off an indentation changes."""
    return "".join(text.split())
