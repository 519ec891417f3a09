"""What a run was given: kept whole where it is plain and small, known again by its fingerprint, never pickled."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import pickle
import re
import sys
import threading
import time
import tracemalloc
from collections import OrderedDict, UserDict, namedtuple
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel.environment.secrets import Redactor
from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.given import KEPT_BYTES, Kept, fingerprint, keep, restore, whole_fingerprint
from rlm_kernel.runner import stored
from rlm_kernel.runner.findings import Findings
from rlm_kernel.store import Store
from rlm_kernel.store.state import put_back, state_of
from rlm_kernel.trace.events import Given

TEXT = st.text(st.characters(exclude_categories=()), max_size=6)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
KEYS = st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False) | TEXT | st.binary(max_size=2)
PLAIN = st.recursive(
    SCALARS | st.binary(max_size=4) | st.integers(-2, 2) | st.sampled_from([0.0, -0.0, 1.0]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS | st.tuples(KEYS), inner, max_size=3)
        | st.dictionaries(TEXT, inner, max_size=2).map(lambda items: store_of(items))
    ),
)
QUICK = settings(max_examples=150, deadline=None)


def store_of(items: dict[str, Any]) -> Store:
    store = Store()
    store.update(items)
    return store


def exactly(value: Any) -> Any:
    """Of plain data, what two values have in common only where they are the same, types and order and NaN too."""
    if isinstance(value, (list, tuple)):
        return (type(value), [exactly(item) for item in value])
    if isinstance(value, (dict, Store)):
        return (type(value), [(exactly(key), exactly(item)) for key, item in value.items()])
    return (type(value), repr(value))


def back(kept: Kept | None) -> Any:
    assert kept is not None
    return restore(kept.form, kept.text)


# Kept and restored


@given(JSON | st.binary(max_size=20) | st.dictionaries(TEXT, JSON, max_size=3).map(store_of))
@QUICK
def test_small_plain_data_is_kept_and_comes_back_as_it_was(value: Any) -> None:
    assert exactly(back(keep(value))) == exactly(value)


@given(PLAIN)
@QUICK
def test_whatever_is_kept_comes_back_as_it_was(value: Any) -> None:
    kept = keep(value)

    assert kept is None or exactly(back(kept)) == exactly(value)


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        ("line\n\ud800", "text", "line\n\ud800"),
        (b"\x00\xff", "bytes", "AP8="),
        ([1, None, {"a": [True, -0.5]}], "json", '[1,null,{"a":[true,-0.5]}]'),
        (None, "json", "null"),
        (store_of({"b": [1], "a": "x"}), "store", '{"b":[1],"a":"x"}'),
    ],
)
def test_the_form_says_how_the_text_holds_it(value: Any, form: str, text: str) -> None:
    assert keep(value) == Kept(form, text)


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),  # JSON would make a list of it
        [(1, 2)],
        {1: "a"},
        {None: 1},
        {"a": {True: 1}},
        [b"x"],
        {1, 2},
        [object()],
        store_of({"a": store_of({})}),
        range(3),
        bytearray(b"x"),
        complex(1, 2),
        OrderedDict(a=1),
        len,
        json,
        pytest.param(10**5_000, id="int"),  # Python writes no decimals of that many digits
    ],
)
def test_what_would_not_come_back_is_not_kept(value: Any) -> None:
    assert keep(value) is None


def test_it_is_kept_up_to_the_size_that_is_allowed() -> None:
    assert back(keep("x" * 100, 100)) == "x" * 100
    assert keep("x" * 101, 100) is None
    assert back(keep(b"x" * 75, 100)) == b"x" * 75
    assert keep(b"x" * 76, 100) is None
    assert keep([0] * 1_000, 1_000) is None
    assert back(keep([0] * 100, 1_000)) == [0] * 100
    assert keep({"k" * 600: "v" * 600}, 1_000) is None
    assert keep(store_of({"a": "x" * 2_000}), 1_000) is None
    assert keep("x" * (KEPT_BYTES + 1)) is None
    assert back(keep(["x" * 90_000] * 20, 2**62)) == ["x" * 90_000] * 20


@pytest.mark.parametrize(
    "value", ["x" * 900_000, ["x" * 10] * 60_000, {str(n): n for n in range(50_000)}, [1.5] * 90_000]
)
def test_what_is_kept_is_not_much_larger_than_allowed(value: Any) -> None:
    kept = keep(value)

    assert kept is not None
    assert len(kept.text) < 1.5 * KEPT_BYTES


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("json", ""),
        ("json", "{"),
        ("json", "[" * 100_000),
        ("json", "9" * 5_000),
        ("store", "[]"),
        ("store", "1"),
        ("bytes", "é"),
        ("bytes", "A"),
        ("bytes", "A A="),
        ("pickle", base64.b64encode(pickle.dumps(1)).decode()),
        ("", ""),
        ("x\n" * 999, ""),
    ],
)
def test_a_record_that_does_not_hold_what_it_says_is_one_error(form: str, text: str) -> None:
    with pytest.raises(TraceError) as caught:
        restore(form, text)

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_no_record_is_ever_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = pickle.dumps([1])
    monkeypatch.setattr(pickle, "loads", lambda *args: pytest.fail("it was unpickled"))

    assert back(keep(pickled)) == pickled


# Fingerprints


@given(PLAIN, PLAIN)
@QUICK
def test_fingerprints_are_the_same_where_the_values_are_and_nowhere_else(one: Any, other: Any) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (exactly(one) == exactly(other))
    assert fingerprint([one, other]) != fingerprint([[one], other])
    assert fingerprint([[one], other]) != fingerprint([[one, other]])


@given(PLAIN)
@QUICK
def test_a_value_that_was_kept_has_the_fingerprint_of_the_first(value: Any) -> None:
    kept = keep(value)

    assert kept is None or fingerprint(back(kept)) == fingerprint(value)


def test_a_fingerprint_is_the_same_in_every_process_and_version() -> None:
    value = {"a": [1, 2.5, None, True, "é", b"\xff", (float("nan"), "\ud800")]}

    told = b"dict 1;str 1;alist 7;int 1;float 2.5;NoneType None;bool True;str 1;\xc3\xa9bytes 1;\xff"
    told += b"tuple 2;float nan;str 1;\xed\xa0\x80"
    assert fingerprint(value) == hashlib.sha256(told).hexdigest()
    assert fingerprint("") != fingerprint(b"") != fingerprint([]) != fingerprint(())
    assert len({fingerprint(value) for value in (1, 1.0, True, "1", b"1", [1], (1,), {1: 1}, store_of({"1": 1}))}) == 9
    assert fingerprint({"a": 1, "b": 2}) != fingerprint({"b": 2, "a": 1})


def test_texts_that_stand_side_by_side_are_told_apart() -> None:
    alike = [
        ["ab", "c"],
        ["a", "bc"],
        ["abc"],
        ["ab", "", "c"],
        ["a", "b", "c"],
        ["astr 1;b"],
        ["a", "b"],
        ["\ud83d", "\ude00"],
    ]
    alike += [["\ud83d\ude00"], ["\U0001f600"]]  # type: ignore[list-item]

    assert len({fingerprint(value) for value in alike}) == len(alike)


@pytest.mark.parametrize("at", [0, 30_000, 4_999_999])
def test_a_change_in_a_text_of_megabytes_is_seen(at: int) -> None:
    text = "x" * 5_000_000
    assert fingerprint(text) == fingerprint("x" * 5_000_000)

    assert fingerprint(text[:at] + "y" + text[at + 1 :]) != fingerprint(text)


def test_of_what_is_larger_than_it_looks_at_the_ends_and_the_length_count() -> None:
    text = "x" * 10_000

    assert fingerprint(text, 1_000) == fingerprint(text[:5_000] + "y" + text[5_001:], 1_000)
    assert fingerprint(text, 1_000) != fingerprint("y" + text[1:], 1_000)
    assert fingerprint(text, 1_000) != fingerprint(text[1:] + "y", 1_000)
    assert fingerprint(text, 1_000) != fingerprint(text + "x", 1_000)
    rows = [0] * 10_000
    assert fingerprint(rows, 1_000) != fingerprint([1, *rows[1:]], 1_000)
    assert fingerprint(rows, 1_000) != fingerprint([*rows, 0], 1_000)
    assert fingerprint(rows, 1_000) == fingerprint([*rows[1:], 1], 1_000)


def test_the_fingerprint_of_all_is_that_of_the_value_and_says_where_it_was_not_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [{"n": n, "text": "e" * 2_000} for n in range(1_000)]
    assert whole_fingerprint(rows) == (fingerprint(rows), True)
    assert whole_fingerprint({1, 2}) == (None, False)

    monkeypatch.setattr("rlm_kernel.given.LARGEST", 2_000_000)
    assert whole_fingerprint(rows)[1] is False
    assert whole_fingerprint(rows[:990]) == (fingerprint(rows[:990]), True)
    monkeypatch.setattr("rlm_kernel.given.MOST_OBJECTS", 4_000)
    assert whole_fingerprint(rows[:990])[1] is False


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def ring() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def shared(levels: int) -> list[Any]:
    """As many leaves as there are atoms in a hair, in a few bytes: each list holds the one below it twice."""
    value: list[Any] = ["x"]
    for _ in range(levels):
        value = [value, value]
    return value


HUGE = {
    "text": lambda: "é" * 150_000_000,
    "bytes": lambda: bytes(300_000_000),
    "lines": lambda: ["a line of text\n"] * 20_000_000,
    "dict": lambda: dict.fromkeys(range(2_000_000)),
    "shared": lambda: shared(45),
    "ring": ring,
    "deep": lambda: deep(5_000),
    "int": lambda: 1 << 80_000_000,
}


@pytest.mark.parametrize("kind", HUGE)
def test_large_data_takes_a_bounded_time_and_little_memory(kind: str) -> None:
    value = HUGE[kind]()
    begun = time.thread_time()

    assert (fingerprint(value) is None) == (kind in ("ring", "deep", "int"))
    assert keep(value) is None

    assert time.thread_time() - begun < 5
    tracemalloc.start()
    fingerprint(value, 1_000_000)
    keep(value)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_what_is_shared_any_number_of_times_is_not_written_out_though_any_size_is_allowed() -> None:
    begun = time.thread_time()

    assert keep(shared(45), 2**62) is None
    assert keep([[[[["x" * 9] * 999] * 999] * 999] * 999] * 999, 2**62) is None
    assert time.thread_time() - begun < 5
    row = [0, 0, 0]
    assert back(keep([row] * 4)) == [row] * 4
    assert back(keep({"a": row, "b": {"c": row}})) == {"a": row, "b": {"c": row}}


def test_data_that_nests_deeper_than_anybody_nests_it_is_not_looked_at() -> None:
    assert fingerprint(deep(49)) is not None
    assert exactly(back(keep(deep(49)))) == exactly(deep(49))
    for value in (deep(60), deep(100_000), ring()):
        assert (fingerprint(value), keep(value)) == (None, None)


# Hostile objects


def boom(*args: Any, **kwargs: Any) -> NoReturn:
    raise AssertionError("something of the value was called")


METHODS = (
    "__iter__",
    "__len__",
    "__repr__",
    "__str__",
    "__eq__",
    "__hash__",
    "__getitem__",
    "__bool__",
    "__contains__",
)
METHODS += (
    "__getattribute__",
    "items",
    "keys",
    "encode",
    "bit_length",
    "__float__",
    "__int__",
    "__index__",
    "__reduce__",
)


def hostile(base: type, *args: Any) -> Any:
    return type("Hostile", (base,), dict.fromkeys(METHODS, boom))(*args)


@pytest.mark.parametrize("base", [str, bytes, int, float, list, tuple, dict, Store, object, UserDict])
def test_nothing_of_a_value_that_is_no_plain_data_is_called(base: type) -> None:
    value = hostile(base)

    for given_value in (value, [value], {"a": value}, (1, [value]), store_of({"a": value})):
        assert (fingerprint(given_value), keep(given_value)) == (None, None)


def test_what_only_claims_to_be_plain_is_not() -> None:
    class Liar:
        __class__ = str  # type: ignore[assignment]

    point = namedtuple("point", "x y")(1, 2)
    for value in (Liar(), point, [point], OrderedDict(), type("Keys", (str,), {})("x")):
        assert (fingerprint(value), keep(value)) == (None, None)
    assert (fingerprint({Liar(): 1}), keep({Liar(): 1})) == (None, None)


@pytest.mark.parametrize("kind", [dict, Store])
def test_data_that_another_thread_changes_meanwhile_raises_nothing(kind: type) -> None:
    shared_value: Any = kind()
    shared_value.update({str(n): [n] for n in range(2_000)})
    stop = threading.Event()

    def change() -> None:
        n = 0
        while not stop.is_set():
            shared_value[f"new {n % 500}"] = {"n": n}
            shared_value.pop(f"new {(n * 7) % 500}", None)
            n += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(60):
            fingerprint(shared_value)
            kept = keep(shared_value)
            assert kept is None or len(back(kept)) >= 2_000
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)


def test_odd_numbers_come_back() -> None:
    values = [0.1 + 0.2, 5e-324, 1.7e308, -0.0, float("inf"), -float("inf"), 10**300, -(2**63)]

    assert exactly(back(keep(values))) == exactly(values)
    assert math.isnan(back(keep([float("nan")]))[0])


# A store, key by key


def kept_store(store: Store, most: int = KEPT_BYTES) -> stored.KeptStore:
    kept = stored.keep(store, most, Redactor({"MY_API_KEY": "sk-0123456789"}), lambda value: "it is not kept")
    assert kept is not None
    return stored.of_text(kept.text())


def restored(kept: stored.KeptStore) -> Store:
    return kept.made({key: each.made() for key, each in kept.keys.items()})


def all_of(store: Store) -> Any:
    state = state_of(store)
    entries = {key: [each._replace(when=0) for each in of_key] for key, of_key in state.entries.items()}
    return list(state.values.items()), entries, sorted(state.hidden), state.view, state.read_only


def a_store() -> Store:
    store = Store()
    store.store("laws", ["x"], note="from the court")
    store["text"] = "first"
    store["text"] = "é" * 9
    store["gone"] = b"x"
    del store["gone"]
    return store


def test_a_store_comes_back_with_its_notes_its_history_and_what_was_deleted() -> None:
    store = a_store()

    again = restored(kept_store(store))

    assert all_of(again) == all_of(store)
    assert repr(again.history("gone")) == repr(store.history("gone"))
    again["gone"] = 2
    assert [write.number for write in again.history("gone")] == [1, 2]


@pytest.mark.parametrize("read_only", [False, True])
def test_a_view_comes_back_as_the_view_that_it_was(read_only: bool) -> None:
    store = a_store()
    view = store.only("laws", read_only=read_only)

    again = restored(kept_store(view))

    assert all_of(again) == all_of(view)
    assert repr(again) == repr(view)
    with pytest.raises(UsageError) as now:
        again["text"] = 1
    with pytest.raises(UsageError) as then:
        view["text"] = 1
    assert str(now.value) == str(then.value)


def test_no_time_is_in_what_is_kept_of_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = []
    for second in (1.0, 2.0):
        monkeypatch.setattr(time, "time", lambda second=second: second)
        texts.append(stored.keep(a_store(), KEPT_BYTES, Redactor({}), str).text())  # type: ignore[union-attr]

    assert texts[0] == texts[1]


def test_a_value_that_cannot_be_kept_costs_its_key_alone() -> None:
    store = store_of({"odd": object(), "large": "x" * 600, "small": "y" * 300, "key": "sk-0123456789"})

    kept = kept_store(store, 700)

    assert {key: each.value for key, each in kept.keys.items()} == {
        "odd": None,
        "large": None,
        "small": "y" * 300,
        "key": None,
    }
    assert (kept.keys["odd"].sha, kept.keys["key"].sha) == (None, None)  # of a secret there is no fingerprint either
    assert kept.keys["large"].sha == fingerprint("x" * 600)
    assert kept.keys["key"].left_out == "it holds a secret of the environment, MY_API_KEY"


def test_notes_hold_no_secret() -> None:
    store = Store()
    store.store("a", 1, note="use sk-0123456789")

    assert kept_store(store).keys["a"].entries[-1][5] == "use [MY_API_KEY]"


@pytest.mark.parametrize("text", ["", "1", "{}", '{"keys":[]}', '{"keys":{"a":{}},"gone":{}}', "[" * 100_000])
def test_a_record_that_holds_no_store_is_one_error(text: str) -> None:
    with pytest.raises(TraceError):
        stored.of_text(text)


def test_an_older_record_of_a_store_knows_its_keys_too() -> None:
    kept = stored.of_older('{"b":[1],"a":"x"}')

    assert list(restored(kept).items()) == [("b", [1]), ("a", "x")]
    assert (kept.view, kept.keys["a"].sha) == (None, fingerprint("x"))


def found(name: str, value: object, before: str) -> Given:
    (told,) = Findings("0", {name: value}, Redactor({}), "small", None).before(before)
    return told


def test_a_variable_is_described_under_its_own_name() -> None:
    assert found("rows", [1, 2], "len(rows)") == Given(
        agent="0",
        name="rows",
        description="`rows`: list, 2 items\nitems: int\n    [1, 2]",
        sha=fingerprint([1, 2]),
        form="json",
        value="[1,2]",
    )


def test_of_a_store_of_too_many_keys_only_the_description_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MOST_KEYS", 2)
    most, more = store_of({"a": 1, "b": 2}), store_of({"a": 1, "b": 2, "c": 3})

    assert found("results", most, "results.a").form == stored.FORM
    told = found("results", more, "results.a")
    assert (told.form, told.value, told.left_out) == (None, None, "it has more than 2 keys")
    assert (told.what.split("\n")[0], told.sha) == ("Store, 3 items: a, b, c", fingerprint(more))


def test_what_is_put_back_is_in_the_same_store_and_what_others_wrote_stays() -> None:
    store = a_store()
    view, text = store.only("laws", "text"), store["text"]
    kept = kept_store(store)
    store["run"], store["mine"] = 1, 2
    store["text"] = "other"
    del store["laws"]

    put_back(store, {key: each.made() for key, each in kept.keys.items()}, kept.entries({}), ["run"])

    assert list(store.items()) == [("laws", ["x"]), ("text", text), ("mine", 2)]
    assert view["text"] == text
    assert [write.number for write in store.history("text")] == [1, 2]
    store["run"] = 3
    assert [write.number for write in store.history("run")] == [1]


def test_an_entry_of_an_older_record_ends_before_its_run() -> None:
    store = a_store()
    text = kept_store(store).text()
    older = re.sub(r",null,null\]", "]", text)

    assert older != text
    assert all_of(restored(stored.of_text(older))) == all_of(store)


def test_what_was_read_is_kept_as_the_text_in_it() -> None:
    from rlm_kernel.values import PlainText

    kept, within = keep(PlainText("one")), keep([PlainText("one"), "two"])

    assert kept is not None
    assert within is not None
    assert restore(kept.form, kept.text) == "one"
    assert type(restore(kept.form, kept.text)) is str
    assert restore(within.form, within.text) == ["one", "two"]
    assert fingerprint([PlainText("one")]) == fingerprint(["one"])
