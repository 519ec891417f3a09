from __future__ import annotations

import pytest

from rlm_kernel.placeholders import PLACEHOLDER, small_text
from rlm_kernel.question import fill


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        ("x" * 500, "x" * 500),
        ("x" * 501, None),
        (7, "7"),
        (1 - 2**999, str(1 - 2**999)),
        (2**999, None),
        (0.5, "0.5"),
        (True, "True"),
        (None, None),
        ([1], None),
        (b"x", None),
    ],
    ids=lambda value: f"{value!r:.12}",
)
def test_what_is_filled_in_is_a_short_text_or_a_number(value: object, text: str | None) -> None:
    assert small_text(value) == text


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{a} and {_b2}", ["a", "_b2"]),
        ("{{a}} {{a} {a}}", []),
        ('{"a": 1} {} {0} {a.b} {a!r} {a b}', []),
        ("x{a}y", ["a"]),
    ],
)
def test_a_name_in_single_braces_is_a_placeholder_and_nothing_else_is(text: str, names: list[str]) -> None:
    assert PLACEHOLDER.findall(text) == names


def test_a_question_has_small_values_and_names_large_and_missing_ones() -> None:
    values = {"year": 2024, "text": "of old", "long": "x" * 501, "rows": [1, 2]}

    filled = fill('{text} {year} {long} {rows} {missing} {"year": 1}', values)

    assert filled.startswith("of old 2024 `long` (str, 501 chars: ")
    assert filled.endswith(' `rows` (list, 2 items: [1, 2]) {missing} {"year": 1}')
