from __future__ import annotations

import collections
import dataclasses
import itertools
import pathlib
import subprocess
import sys
import time
import tracemalloc
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel.preview import cut, describe, estimate_tokens, one_line, render, variables

PREVIEWS = (one_line, describe, render)
MOST_MEMORY = 3_000_000
"""Bytes that a preview may allocate at its peak; the objects are a hundred times that."""


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = "a"


def bounded(preview: Any, obj: object) -> str:
    """The preview of `obj`, made within the memory and time that a preview may take."""
    started = time.thread_time()
    preview(obj)
    assert time.thread_time() - started < 3  # 0.2 s is usual for the largest; written out, it takes ten
    tracemalloc.start()  # it makes all that allocates many times slower
    try:
        text = preview(obj)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST_MEMORY
    assert type(text) is str
    return text


# cut and estimate_tokens


long_texts = st.builds(lambda part, times: part * times, st.text(alphabet="ab\n\r\x00é"), st.integers(0, 300))


@given(long_texts, st.integers(80, 400))
def test_what_is_cut_is_counted_to_the_character_and_the_limit_holds(text: str, limit: int):
    shown = cut(text, limit)

    assert len(shown) <= limit
    if len(text) <= limit:
        assert shown == text
    else:
        head, rest = shown.split("[... ", 1)
        line, tail = rest.split(" not shown ...]", 1)
        hidden, total = (int(word.replace(",", "")) for word in line.removesuffix(" characters").split(" of "))
        tail = tail.removeprefix("\n")
        kept = hidden + len(head) + len(tail)
        assert total == len(text)
        assert text.endswith(tail)
        # Where the head did not end a line, a break was put before the marker, which is no character of the text.
        assert (kept == total and text.startswith(head)) or (kept == total + 1 and text.startswith(head[:-1]))


def test_a_cut_keeps_whole_lines_where_it_can():
    text = "".join(f"line {number:04}\n" for number in range(1_000))

    shown = cut(text, 500).split("\n")

    whole = [line for line in shown if line and not line.startswith("[")]
    assert whole == [f"line {number:04}" for number in [*range(29), *range(985, 1_000)]]


def test_no_limit_leaves_a_text_whole_and_a_tiny_one_leaves_the_count():
    assert cut("x" * 5_000, None) == "x" * 5_000
    assert cut("x" * 5_000, 0) == "[... 5,000 of 5,000 characters not shown ...]"


def test_tokens_are_bytes_by_four_whatever_is_in_the_text():
    assert estimate_tokens("") == 0
    assert estimate_tokens("abcde") == 2
    assert estimate_tokens("é\udc80") == 2
    assert estimate_tokens("é" * 100_000) == 50_000
    assert estimate_tokens(9) == 3


def test_a_string_that_lies_about_itself_is_cut_by_what_it_is():
    class Liar(str):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, key: object) -> str:
            raise RuntimeError

        def __str__(self) -> str:
            raise RuntimeError

    text = Liar("z" * 10_000)

    assert cut(text, 100).startswith("zzz")
    assert one_line(text).startswith("Liar, 10,000 chars: 'zzz")
    assert estimate_tokens(text) == 2_500


# one_line


@pytest.mark.parametrize(
    ("obj", "line"),
    [
        (None, "None"),
        (3, "int: 3"),
        (True, "bool: True"),
        (0.5, "float: 0.5"),
        ("a\x1b[31m\n\udc80", "str, 8 chars: 'a\\x1b[31m\\n\\udc80'"),
        (b"ab", "bytes, 2 bytes: b'ab'"),
        (bytearray(b"ab"), "bytearray, 2 bytes: bytearray(b'ab')"),
        ([1, [2]], "list, 2 items: [1, [2]]"),
        ((1,), "tuple, 1 item: (1,)"),
        ({"a": {"b": None}}, "dict, 1 item: {'a': {'b': None}}"),
        (set(), "set, 0 items: set()"),
        (Point(1), "Point, 2 fields: x=1, y='a'"),
        (collections.deque([1], 2), "deque, 1 item: deque([1], maxlen=2)"),
        (pathlib.PurePosixPath("a/b"), "PurePosixPath: 'a/b'"),
        (cut, "function: cut(text: str, limit: int | None, *, hint: str = '') -> str"),
        (types, "module: types"),
        ((i for i in "ab"), "generator, not consumed"),
        (object(), "object object"),
    ],
)
def test_a_line_says_type_size_and_start(obj: object, line: str):
    assert one_line(obj) == line


def test_a_line_is_a_line_whatever_the_object():
    for obj in ("word\n" * 100, [["x" * 100] * 100], {"k\n" * 99: 1}, Point("y" * 999), 10**9_999, -(10**5_000)):
        line = one_line(obj)

        assert len(line) <= 120
        assert "\n" not in line


def test_tables_are_told_by_their_columns_and_shapes():
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": range(300), "b": "text", "c": 1.5, "d": None})

    assert one_line(frame) == "DataFrame, 300 x 4: a, b, c, d"
    assert one_line(frame.a[:3]) == "Series, 3 int64: [0, 1, 2]"
    assert one_line(numpy.zeros((2, 3))) == "ndarray, 2 x 3 float64: [0.0, 0.0, 0.0, …]"
    assert "columns: a (int64)" in describe(frame)
    assert "least 0.0, greatest 0.0" in describe(numpy.zeros((2, 3)))


def test_previews_import_neither_numpy_nor_pandas():
    code = (
        "import sys; from rlm_kernel.preview import describe, render, one_line\n"
        "describe([1, {'a': object()}]); render({1: 2}); one_line(3)\n"
        "print(sorted({'numpy', 'pandas', 'pydantic', 'IPython', 'asyncio', 'threading'} & set(sys.modules)))"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert found == "[]\n"


# hostile objects


class Unprintable:
    def __init__(self, raises: BaseException) -> None:
        self.raises = raises

    def __repr__(self) -> str:
        raise self.raises


class Sprung(BaseException):
    pass


class Hostile:
    """Every door of it is a trap."""

    __slots__ = ()

    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise Sprung("class")

    def __getattribute__(self, name: str) -> object:
        raise Sprung(name)

    def __len__(self) -> int:
        raise Sprung("len")

    def __iter__(self) -> Any:
        return itertools.count()

    def __repr__(self) -> str:
        raise Sprung("repr")

    def __eq__(self, other: object) -> bool:
        raise Sprung("eq")

    __hash__ = object.__hash__


def test_a_repr_that_raises_is_told_and_does_not_escape():
    assert render(Unprintable(ValueError("no"))) == "<Unprintable object; its repr raised ValueError: no>"
    assert render(Unprintable(SystemExit())) == "<Unprintable object; its repr raised SystemExit>"
    assert render([Unprintable(SystemExit(3))]) == "[<Unprintable object; its repr raised SystemExit: 3>]"


def test_the_stop_button_goes_through_a_repr():
    with pytest.raises(KeyboardInterrupt):
        render(Unprintable(KeyboardInterrupt()))


def test_a_show_that_returns_no_string_is_told():
    assert render(Unprintable(ValueError()), show=lambda obj: 3) == "<Unprintable object; its repr returned an int>"


def test_a_repr_that_fails_is_not_asked_again_for_ever():
    asked = []

    def slow(obj: object) -> str:
        asked.append(obj)
        raise TimeoutError

    text = render([Unprintable(ValueError()) for _ in range(100)], show=slow)

    assert len(asked) == 3
    assert text.count("Unprintable object") == 100


@pytest.mark.parametrize("preview", PREVIEWS)
def test_no_trap_of_an_object_springs(preview: Any):
    trap = Hostile()
    for obj in (trap, [trap], {"k": trap}, {trap: 1}, Point(trap), types.SimpleNamespace(a=trap)):
        assert "Hostile" in bounded(preview, obj)


@pytest.mark.parametrize("nonsense", [-1, 2.5, "three", 10**30])
def test_a_nonsense_length_is_no_length(nonsense: object):
    class Odd:
        def __len__(self) -> Any:
            return nonsense

    assert one_line(Odd()) == "Odd object"


def test_a_foreign_length_is_asked_within_show():
    class Sized:
        def __len__(self) -> int:
            return 12

    assert one_line(Sized()) == "Sized, 12 items"
    assert one_line(Sized(), show=lambda obj: "too slow") == "Sized object"


def test_fields_that_run_code_are_not_read():
    @dataclasses.dataclass
    class Trap:
        x: int = 1

        def __getattribute__(self, name: str) -> Any:
            raise Sprung(name)

    assert one_line(Trap()) == "Trap, 1 field: x=1"
    assert describe(Trap()) == "`context`: Trap, 1 field\n    Trap(x=1)"


@pytest.mark.parametrize("preview", PREVIEWS)
def test_nothing_that_can_be_read_once_is_read(preview: Any, tmp_path: pathlib.Path):
    (tmp_path / "file").write_text("words")
    generator, iterator = (number for number in range(3)), map(str, range(3))
    with (tmp_path / "file").open() as file:
        for obj in (generator, iterator, file, [generator, file]):
            preview(obj)

        assert (list(generator), list(iterator), file.read()) == ([0, 1, 2], ["0", "1", "2"], "words")


# size


def deep(levels: int) -> list[Any]:
    nest: list[Any] = []
    for _ in range(levels):
        nest = [nest]
    return nest


class Shout(list):  # type: ignore[type-arg]
    def __repr__(self) -> str:
        return f"Shout({list.__repr__(self)})"


MEGABYTE = "x" * 1_000_000
LARGE: dict[str, Any] = {
    "a long list": lambda: [7] * 50_000_000,
    "a long tuple": lambda: (1.5,) * 10_000_000,
    "a long string": lambda: "y" * 1_000_000_000,
    "a long string of controls": lambda: "\x00é" * 50_000_000,
    "long bytes": lambda: b"z" * 300_000_000,
    "a long bytearray": lambda: bytearray(300_000_000),
    "a large dict": lambda: dict.fromkeys(range(1_000_000), "v" * 1_000),
    "its keys": lambda: dict.fromkeys(range(1_000_000)).keys(),
    "a large set": lambda: set(range(1_000_000)),
    "a large counter": lambda: collections.Counter(range(300_000)),
    "a deep list": lambda: deep(100_000),
    "lists of lists of long strings": lambda: [[MEGABYTE] * 1_000] * 1_000,
    "long keys": lambda: {MEGABYTE + str(number): number for number in range(20)},
    "a large int": lambda: 1 << 10_000_000,
    "a record of a long string": lambda: Point(MEGABYTE * 100),
    "a record of a long list": lambda: Point([1] * 10_000_000),
    "many records": lambda: [Point(MEGABYTE) for _ in range(10_000)],
    "an error with a long message": lambda: ValueError(MEGABYTE * 100),
    "a list with a repr of its own": lambda: Shout([1] * 10_000_000),
    "a namespace": lambda: types.SimpleNamespace(text=MEGABYTE * 100),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_preview_costs_no_more_than_the_preview(name: str):
    obj = LARGE[name]()

    assert len(bounded(one_line, obj)) <= 120
    assert len(bounded(describe, obj)) <= 4_000
    assert len(bounded(render, obj)) <= 100_000


def test_giant_cells_of_tables_are_not_printed():
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [MEGABYTE * 10] * 100, "b": 1}, dtype=object)
    array = numpy.array([MEGABYTE, [1] * 1_000_000], dtype=object)
    with pandas.option_context("display.max_rows", None, "display.max_colwidth", None):
        texts = [bounded(render, obj) for obj in (frame, frame.a, frame.set_index("a").index, array)]

    assert max(map(len, texts)) < 3_000
    assert "[100 rows x 2 columns" in texts[0]


def test_lifted_limits_of_the_libraries_do_not_count():
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    array = numpy.arange(1_000_000)
    with pandas.option_context("display.max_rows", None), numpy.printoptions(threshold=sys.maxsize):
        assert len(bounded(render, array)) < 200
        assert len(bounded(render, pandas.Series(array))) < 500
        assert len(bounded(render, numpy.zeros((2,) * 24))) < 20_000


# render


def nests() -> st.SearchStrategy[Any]:
    atoms = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.binary(max_size=20)
    return st.recursive(
        atoms,
        lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=9), inner),
        max_leaves=40,
    )


@given(nests())
def test_small_values_look_as_in_any_notebook(obj: object):
    pretty = pytest.importorskip("IPython.lib.pretty").pretty

    assert render(obj) == pretty(obj)


def test_lines_break_where_they_break_in_any_notebook():
    pretty = pytest.importorskip("IPython.lib.pretty").pretty
    values = [{"k": ["x" * width, [1, (2,)]], "l": 3} for width in range(40, 85)]

    assert [render(value) for value in values] == [pretty(value) for value in values]


def test_common_values_look_as_in_any_notebook():
    pretty = pytest.importorskip("IPython.lib.pretty").pretty
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": range(100), "b": ["word"] * 100})
    values = [
        {3, 1, 2},
        {"b", "a"},
        frozenset(),
        collections.Counter("abracadabra"),
        collections.defaultdict(list, a=[1]),
        collections.deque(range(60)),
        range(3),
        int,
        Point,
        Point.__eq__,
        len,
        ValueError("x"),
        Point(1),
        object(),
        numpy.arange(2_000),
        numpy.eye(3),
        frame,
        frame.head(3),
        frame.b,
        types.SimpleNamespace(a=1),
    ]

    assert [render(value) for value in values] == [pretty(value) for value in values]


def test_a_long_list_shows_both_ends_and_how_many_lie_between():
    lines = render(list(range(5_000)), 400).split("\n")

    assert lines[0] == "[0,"
    assert lines[-2].endswith("4999]")
    assert lines[-1] == "[list, 5,000 items, shown only in part]"
    marked = [line for line in lines if "not shown" in line]
    shown = [line for line in lines[:-1] if "not shown" not in line]
    assert marked == [f" [... {5_000 - len(shown):,} of 5,000 items not shown ...],"]


def test_a_long_string_shows_both_ends_and_how_much_lies_between():
    text = render("a" * 6_000 + "z" * 6_000, 300)

    head, rest = text.split("[... ")
    hidden, tail = rest.split(" of 12,000 characters not shown ...]")
    tail, note = tail.split("\n")
    assert note == "[str, 12,000 chars, shown only in part]"
    assert set(head) == set("'a")
    assert set(tail) == set("'z")
    assert head.count("a") + tail.count("z") + int(hidden.replace(",", "")) == 12_000


def test_one_giant_does_not_starve_its_neighbours():
    text = render({"id": 7, "text": MEGABYTE, "tags": ["a", "b"]}, 1_000)

    assert "'id': 7" in text
    assert "'tags': ['a', 'b']}" in text


def test_what_contains_itself_ends():
    ring: list[Any] = [1]
    ring.append(ring)
    loop: dict[str, Any] = {"long": MEGABYTE}
    loop["self"] = loop

    assert render(ring) == "[1, [...]]"
    assert "'self': {...}" in render(loop, 500)


def test_an_int_beyond_what_python_prints_is_told_by_its_size():
    assert render(-(10**5_000)) == "<int, about -1.000e5000, 16,610 bits>"
    assert render(10**4_000) == "1" + "0" * 4_000


@given(nests(), st.integers(200, 2_000))
def test_a_limit_holds_for_any_nest(obj: object, limit: int):
    assert len(render([obj] * 50, limit)) <= limit


# describe


def test_a_short_text_is_told_whole_with_its_controls_made_visible():
    assert describe("one\ntwo\x00\x1b[31m\udc80\r") == (
        "`context`: str, 15 chars, about 5 tokens\n    one\n    two\\x00\\x1b[31m\\udc80\\r"
    )


def test_a_long_text_is_told_by_head_and_tail():
    text = describe("start " + "x" * 1_000_000 + " end", name="book", limit=500)

    assert text.startswith("`book`: str, 1,000,010 chars, about 250,003 tokens\n    start x")
    assert " of 1,000,010 characters not shown ...]" in text
    assert text.endswith("x end")


def test_a_dict_of_files_is_told_by_its_first_and_last_keys_and_all_its_text():
    files = {f"pkg/mod{number}.py": f"# {number}\n" * number for number in range(500)}

    lines = describe(files).split("\n")

    chars = sum(map(len, files.values()))
    about, tokens = lines[0].split(" strings, ≈ ")
    assert about == f"`context`: dict, 500 items; {chars:,} characters in 500"
    assert int(tokens.removesuffix(" tokens").replace(",", "")) == pytest.approx(chars / 4, rel=0.01)
    assert lines[1] == "keys: str; values: str"
    assert lines[2] == "  'pkg/mod0.py': str, 0 chars: ''"
    assert lines[-1].startswith("  'pkg/mod499.py': str, 2,994 chars: '# 499\\n")
    assert any("of 500 items not shown" in line for line in lines)


def test_the_text_of_too_many_strings_is_estimated_from_a_sample():
    assert "; ≈ 5,000,000 characters in ≈ 50,000 strings, ≈ 1,250,000 tokens" in describe(["w" * 100] * 50_000)


def test_a_nest_is_told_by_its_structure():
    data = {"users": [{"id": number, "name": "n" * 200} for number in range(300)], "meta": {"version": 2}}

    text = describe(data)

    assert "  'users': list, 300 items" in text
    assert "    [0]: dict, 2 items" in text
    assert "    [299]: dict, 2 items" in text
    assert "  'meta': dict, 1 item: {'version': 2}" in text


def test_numbers_are_told_in_two_runs():
    assert describe(list(range(1_000)), limit=400) == (
        "`context`: list, 1,000 items\n"
        "items: int\n"
        "  first: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
        "  [... 978 of 1,000 items not shown ...]\n"
        "  last: 994, 995, 996, 997, 998, 999"
    )


def test_a_file_is_told_by_its_two_ends_and_counted_in_bytes(tmp_path: pathlib.Path):
    path = tmp_path / "large.txt"
    path.write_bytes("é".encode() * 100_000 + b"\xff end")

    text = describe(path, limit=1_000)

    head, rest = text.split("tokens):\n    ")[1].split("\n[... ")
    hidden, tail = rest.split(" of 200,005 bytes not shown ...]\n    ")
    assert set(head) == {"é"}
    assert tail.endswith("é\\udcff end")
    kept = len((head + tail.replace("\\udcff", "\udcff")).encode("utf-8", "surrogateescape"))
    assert int(hidden.replace(",", "")) + kept == 200_005


def test_paths_that_are_no_text_file_are_told_unread(tmp_path: pathlib.Path):
    (tmp_path / "binary").write_bytes(b"\0" * 100)

    assert "it does not exist" in describe(tmp_path / "missing")
    assert "a folder of 1 entry: binary" in describe(tmp_path)
    assert "a file of 100 bytes (100 bytes), not text" in describe(tmp_path / "binary")
    assert "was not opened" in describe(pathlib.Path("/dev/zero"))


def test_other_objects_are_told_by_their_repr_and_attributes():
    class Corpus:
        def __init__(self) -> None:
            self.size = 3

        def __repr__(self) -> str:
            return "<Corpus of 3>"

    assert describe(Corpus()).split("\n")[1:] == ["    <Corpus of 3>", "attributes:", "  size: int: 3"]


# variables


def test_variables_are_a_line_each_without_modules_and_imports():
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec(
        "import json\nfrom collections import Counter\nfrom os.path import join\n"
        "text = 'abc'\n_hidden = 1\nrows = [1, 2]\n"
        "def clean(words, least=3): pass\nclass Doc:\n    def __init__(self, path): pass\n",
        namespace,
    )

    assert variables(namespace, skip={"rows"}) == (
        "text: str, 3 chars: 'abc'\nclean: function: clean(words, least=3)\nDoc: class: __main__.Doc(path)"
    )


@pytest.mark.parametrize("name", ["api_key", "OPENAI_KEY", "token", "authToken", "db_password", "AWS_SECRET", "passwd"])
def test_a_name_that_tells_of_a_secret_is_left_out(name: str):
    assert variables({name: "hunter2"}) == ""


@pytest.mark.parametrize("name", ["monkey", "tokens_used", "keyboard", "author", "secretary", "tokenizer"])
def test_a_name_that_only_sounds_like_one_is_shown(name: str):
    assert variables({name: 1}) == f"{name}: int: 1"


def test_the_value_of_a_secret_is_left_out_under_any_name():
    environ = {"SERVICE_TOKEN": "sk-abcdefghijklmnop", "HOME": "/home/somebody", "SHORT_KEY": "1"}
    namespace = {
        "plain": "sk-abcdefghijklmnop",
        "header": "Bearer sk-abcdefghijklmnop",
        "nested": {"a": ["sk-abcdefghijklmnop"]},
        "torn": ["x" * 60, "sk-abcdefghijklmnop"],
        "home": "/home/somebody",
        "one": "10",
    }

    shown = variables(namespace, environ=environ)

    assert "sk-abc" not in shown
    assert [line.split(":")[0] for line in shown.split("\n")] in (["home", "one"], ["torn", "home", "one"])


def test_variables_beyond_the_limit_are_counted_and_named():
    assert variables({f"v{number}": number for number in range(5)}, limit=2) == (
        "v0: int: 0\nv1: int: 1\nand 3 more: v2, v3, v4"
    )
