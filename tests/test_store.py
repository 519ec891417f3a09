from __future__ import annotations

import gc
import pickle
import re
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel.errors import UsageError
from rlm_kernel.store import WITNESS, Available, Glance, Store, set_glance, set_reader, store_id

pytestmark = pytest.mark.filterwarnings("ignore:.* is a method of the store")


def _store(**entries: object) -> Store:
    store = Store()
    store.update(entries)
    return store


class Loud:
    """Of which anything but a reference is an error."""

    def _refuse(self, *args: object) -> Any:
        raise AssertionError("the store looked at a value")

    __repr__ = __str__ = __len__ = __eq__ = __hash__ = __bool__ = __copy__ = __deepcopy__ = _refuse


def test_a_value_comes_back_as_the_very_object_by_item_and_by_attribute() -> None:
    store, value = Store(), Loud()

    store.contract = value

    assert store.contract is value
    assert store["contract"] is value
    assert next(iter(store.values())) is value
    assert repr(store) == "Store(contract: Loud)"


def test_keys_are_any_string_and_nothing_else() -> None:
    store = Store()
    for key in ("", "two words", "1st", "class", "\x00", "é"):
        store[key] = key

    assert dict(store) == {key: key for key in ("", "two words", "1st", "class", "\x00", "é")}
    with pytest.raises(TypeError, match="keys of the store are strings, not int"):
        store[1] = "one"  # type: ignore[index]
    assert 1 not in store


def test_keys_keep_the_order_of_their_first_writing() -> None:
    store = _store(b=1, a=2)

    store.c = 3
    store.b = 4

    assert list(store.items()) == [("b", 4), ("a", 2), ("c", 3)]


@pytest.mark.parametrize("name", ["keys", "get", "update", "_values", "__class__", "_private"])
def test_a_name_of_the_store_itself_is_a_key_by_item_only(name: str) -> None:
    store = Store()

    with pytest.raises(AttributeError) as refused:
        setattr(store, name, 1)
    store[name] = 2

    assert str(refused.value) == f'{name!r} is a name of the store itself; as a key, write context["{name}"] = …'
    assert store[name] == 2
    assert list(store.keys()) == [name]


def test_names_that_only_the_class_of_the_class_has_are_free() -> None:
    store = Store()

    store.register, store.mro = 1, 2

    assert (store.register, store.mro) == (1, 2)


def test_a_missing_name_is_told_with_those_near_it() -> None:
    store = _store(contract=1, contracts=2, risks=3)

    with pytest.raises(KeyError) as by_item:
        store["contrct"]
    with pytest.raises(AttributeError) as by_attribute:
        _ = store.contrct

    assert by_item.value.args == ("no contrct in the store; near: 'contract', 'contracts'",)
    assert str(by_attribute.value) == by_item.value.args[0]


def test_a_missing_name_with_none_near_it_says_what_there_is() -> None:
    with pytest.raises(KeyError, match="no 'a b' in the store: it is empty"):
        Store()["a b"]
    with pytest.raises(KeyError, match="no zebra in the store, which holds 1 other key"):
        _store(contract=1)["zebra"]
    with pytest.raises(KeyError, match="strings, not int"):
        Store()[0]  # type: ignore[index]


def test_a_missing_name_costs_nothing_worth_noticing_among_many() -> None:
    store = Store()
    store.update({f"{'long' * 50}{i}": i for i in range(200_000)} | {f"key_number_{i}": i for i in range(200_000)})
    started = time.thread_time()

    with pytest.raises(KeyError, match=r"no key_numbr in the store; near: 'key_number_\d+', "):
        store["key_numbr"]
    with pytest.raises(KeyError):
        store["x" * 10_000_000]

    assert time.thread_time() - started < 1


def test_a_name_is_deleted_by_item_and_by_attribute() -> None:
    store = _store(a=1, b=2)

    del store["a"], store.b

    assert len(store) == 0
    with pytest.raises(KeyError, match="no a in the store"):
        del store["a"]
    with pytest.raises(AttributeError, match="no b in the store"):
        del store.b
    with pytest.raises(AttributeError, match=r'write del context\["keys"\]'):
        del store.keys


def test_the_repr_is_bounded_whatever_is_in_it() -> None:
    store = Store()
    store.update({"x" * 1_000_000: Loud(), "two words": "v" * 1_000_000} | {f"k{i}": i for i in range(10_000)})

    text = repr(store)

    assert text.startswith(f"Store({'x' * 40}…: Loud, 'two words': str, k0: int, ")
    assert text.endswith(", k17: int, … 9,982 more)")
    assert len(text) < 500
    assert repr(Store()) == "Store()"


def test_tab_offers_keys_that_can_be_attributes_and_behind_a_bracket_all_of_them() -> None:
    store = _store(contract=1)
    with pytest.warns(match="`keys` is a method"):
        store.update({"two words": 2, "class": 3, "_private": 4, "keys": 5})

    offered = dir(store)

    assert "contract" in offered
    assert offered.count("keys") == 1
    assert not {"two words", "class", "_private"} & set(offered)
    assert store._ipython_key_completions_() == ["contract", "two words", "class", "_private", "keys"]


def test_a_frontend_that_probes_for_its_own_names_gets_no_result_of_an_agent() -> None:
    store = Store()
    store["_repr_html_"] = lambda: "<b>no</b>"

    assert not hasattr(store, "_repr_html_")
    assert not hasattr(store, "_ipython_display_")


def test_a_loop_sees_the_store_as_it_was_when_it_began() -> None:
    store = _store(a=1, b=2)
    seen = []

    for key, value in store.items():
        seen.append((key, value))
        store[key * 2] = value
    for key in store:
        del store[key]

    assert seen == [("a", 1), ("b", 2)]
    assert len(store) == 0


_KEYS = st.sampled_from(["a", "b", "keys", "two words", ""])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("__setitem__"), _KEYS, st.integers()),
        st.tuples(st.just("setdefault"), _KEYS, st.integers()),
        st.tuples(st.just("pop"), _KEYS, st.none()),
        st.tuples(st.just("get"), _KEYS, st.integers()),
        st.tuples(st.sampled_from(["__getitem__", "__delitem__", "__contains__", "pop", "get", "setdefault"]), _KEYS),
        st.tuples(st.just("update"), st.dictionaries(_KEYS, st.integers())),
        st.tuples(st.sampled_from(["popitem", "clear", "__len__"])),
    ),
    max_size=30,
)


@given(_STEPS)
def test_whatever_is_done_to_it_the_store_does_as_a_dict_does(steps: list[tuple[Any, ...]]) -> None:
    store, model = Store(), dict[str, object]()

    for name, *args in steps:
        assert _outcome(store, name, args) == _outcome(model, name, args)

        assert list(store) == list(model)
        assert list(store.keys()) == list(model.keys())
        assert list(store.values()) == list(model.values())
        assert store == model


def test_threads_neither_lose_a_write_nor_trip_over_each_other() -> None:
    store, rounds = Store(), 300

    def work(worker: int) -> int:
        created = 0
        for i in range(rounds):
            store[f"{worker}.{i}"] = i
            created += store.setdefault(f"shared {i}", worker) == worker
            assert all(value is not None for _, value in store.items())
            store.pop(f"{worker}.{i - 1}", None)
            store.get(f"missing {i}")
        return created

    with ThreadPoolExecutor(8) as pool:
        created = sum(pool.map(work, range(8)))

    assert created == rounds
    assert len(store) == rounds + 8


def _outcome(mapping: Any, name: str, args: list[Any]) -> object:
    try:
        return getattr(mapping, name)(*args)
    except KeyError:
        return KeyError


# Names of its own, views, witnesses and history


class Recording:
    """A witness that keeps what it was told, without the values."""

    def __init__(self, who: str = "0.2", step: int | None = 3) -> None:
        self.who, self.step = who, step
        self.run: str | None = None
        self.cell: int | None = None
        self.told: list[tuple[Any, ...]] = []

    def wrote(self, store: int, key: str, value: object, replaced: bool) -> None:
        self.told.append(("wrote", key, replaced))

    def took(self, store: int, keys: tuple[str, ...]) -> None:
        self.told.append(("took", *keys))

    def deleted(self, store: int, keys: tuple[str, ...]) -> None:
        self.told.append(("deleted", *keys))


@pytest.fixture
def witness() -> Iterator[Recording]:
    recording = Recording()
    token = WITNESS.set(recording)
    yield recording
    WITNESS.reset(token)


@pytest.mark.parametrize("name", ["store", "read", "list_available", "only", "history"])
def test_a_key_called_like_a_method_is_refused_as_an_attribute_and_kept_as_a_key(name: str) -> None:
    store = Store()

    with pytest.raises(AttributeError, match=f"{name}.* is a name of the store itself; as a key, write"):
        setattr(store, name, 1)
    store.store(name, 2)

    assert store[name] == 2
    assert callable(getattr(store, name))


def test_a_view_has_the_same_objects_and_no_other_keys() -> None:
    value = Loud()
    store = _store(risks=value, clauses=2, secret=3)

    view = store.only("risks", "clauses")

    assert view.risks is value
    assert list(view) == list(view.keys()) == ["risks", "clauses"]
    assert len(view) == 2
    assert "secret" not in view
    assert view.get("secret") is None
    assert not hasattr(view, "secret")
    assert "secret" not in dir(view)
    assert repr(view) == "Store.only(risks: Loud, clauses: int)"
    with pytest.raises(KeyError, match="no secret in this view of the store, which holds 2 other keys"):
        view["secret"]
    with pytest.raises(KeyError, match="no secret"):
        view.pop("secret")
    with pytest.raises(KeyError, match="no secret"):
        view.history("secret")
    with pytest.raises(KeyError, match="no secret"):
        view.read("secret")


def test_what_is_written_through_a_view_is_in_the_store_and_in_every_view_it_came_from() -> None:
    store = _store(a=1, b=2, c=3)
    view = store.only("a", "b")
    narrow = view.only("a")

    narrow.a = 10
    narrow.new = 4

    assert dict(store) == {"a": 10, "b": 2, "c": 3, "new": 4}
    assert dict(view) == {"a": 10, "b": 2, "new": 4}
    assert dict(narrow) == {"a": 10, "new": 4}
    with pytest.raises(KeyError, match="no b"):
        narrow.only("b")


@pytest.mark.parametrize("write", ["__setitem__", "store", "setdefault", "__setattr__"])
def test_a_view_does_not_overwrite_what_it_does_not_show(write: str) -> None:
    store = _store(a=1, secret=2)

    with pytest.raises(UsageError, match="secret is in the store, but not in this view of it: take another name"):
        getattr(store.only("a"), write)("secret", 3)

    assert store.secret == 2


def test_clearing_a_view_clears_what_it_shows() -> None:
    store = _store(a=1, b=2, c=3)

    store.only("a", "b").clear()

    assert dict(store) == {"c": 3}


@pytest.mark.parametrize(
    "change",
    [
        lambda view: view.__setitem__("a", 2),
        lambda view: view.__setitem__("new", 2),
        lambda view: view.__delitem__("a"),
        lambda view: view.store("a", 2),
        lambda view: view.setdefault("new", 2),
        lambda view: view.pop("a"),
        lambda view: view.popitem(),
        lambda view: view.clear(),
        lambda view: view.update(a=2),
        lambda view: setattr(view, "a", 2),
        lambda view: delattr(view, "a"),
        lambda view: view.only("a").__setitem__("a", 2),
    ],
)
def test_nothing_changes_through_a_view_that_is_read_only(change: Callable[[Store], object]) -> None:
    store = _store(a=1)
    view = store.only("a", read_only=True)

    with pytest.raises(UsageError, match="this view of the store is read-only"):
        change(view)

    assert dict(store) == {"a": 1}
    assert view.setdefault("a", 2) == 1
    assert repr(view) == "Store.only(a: int, read only)"


def test_only_takes_keys_that_are_there() -> None:
    store = _store(risks=1)

    with pytest.raises(KeyError, match="no rsks in the store; near: 'risks'"):
        store.only("rsks")
    with pytest.raises(TypeError, match="only takes keys, not list"):
        store.only(["risks"])  # type: ignore[arg-type]
    assert len(store.only()) == 0


def test_a_witness_is_told_of_every_write_every_value_handed_out_and_every_deletion(witness: Recording) -> None:
    store = Store()

    store["a"] = 1
    store.a = 2
    store.store("b", 3)
    store.setdefault("b")
    store.setdefault("c", 4)
    _ = (
        store["a"],
        store.b,
        store.get("c"),
        store.get("no"),
        hasattr(store, "_x"),
        "a" in store,
        list(store),
        repr(store),
    )
    list(store.items())
    store.pop("a")
    store.only("b").pop("b")
    del store["c"]
    store.clear()

    assert witness.told == [
        ("wrote", "a", False),
        ("wrote", "a", True),
        ("wrote", "b", False),
        ("took", "b"),
        ("wrote", "c", False),
        ("took", "a"),
        ("took", "b"),
        ("took", "c"),
        ("took", "a", "b", "c"),
        ("took", "a"),
        ("deleted", "a"),
        ("took", "b"),
        ("deleted", "b"),
        ("deleted", "c"),
    ]


def test_a_witness_is_told_the_same_number_by_a_store_and_its_views_and_another_by_another() -> None:
    store = _store(a=1)

    assert store_id(store.only("a").only()) == store_id(store)
    assert store_id(Store()) != store_id(store)


def test_a_witness_that_fails_loses_no_result_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Recording):
        def wrote(self, *args: object) -> None:
            raise RuntimeError("no disk")

    token = WITNESS.set(Broken())
    store = _store(a=1)
    WITNESS.reset(token)

    assert store.a == 1
    assert "no disk" in caplog.text


def test_a_witness_is_called_when_no_lock_is_held() -> None:
    store = Store()

    class Waiting(Recording):
        def wrote(self, *args: object) -> None:
            in_thread(lambda: store.get("a"))

        took = deleted = wrote

    def in_thread(work: Callable[[], object]) -> None:
        thread = Thread(target=work, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()

    token = WITNESS.set(Waiting())
    store["a"] = 1
    store.setdefault("b", 1)
    _ = store.a, store.pop("a"), list(store.items())
    WITNESS.reset(token)

    assert dict(store) == {"b": 1}


@pytest.mark.parametrize("change", [lambda store: store.__setitem__("a", 2), lambda store: store.clear()])
def test_a_value_that_ends_when_it_is_overwritten_ends_when_no_lock_is_held(change: Callable[[Store], object]) -> None:
    store, ended = Store(), []

    class Ending:
        def __del__(self) -> None:
            thread = Thread(target=lambda: ended.append(store.get("a")), daemon=True)
            thread.start()
            thread.join(10)
            ended.append(thread.is_alive())

    store.a = Ending()
    change(store)

    assert ended[1] is False


def test_the_history_names_who_wrote_and_what_became_of_it(witness: Recording) -> None:
    store = Store()
    store.store("risks", ["a", "b"], note="first try")
    witness.who, witness.step = "0.3", 1
    store["risks"] = "text"
    del store["risks"]
    token = WITNESS.set(None)
    store.risks = Loud()
    WITNESS.reset(token)

    rows = [
        (row.number, row.who, row.step, row.type, row.size, row.note, row.fate, row.fate_by)
        for row in store.history("risks")
    ]

    assert rows == [
        (1, "0.2", 3, "list", 2, "first try", "overwritten", "0.3"),
        (2, "0.3", 1, "str", 4, None, "deleted", "0.3"),
        (3, "person", None, "Loud", None, None, "stands", None),
    ]
    assert abs(store.history("risks")[0].when - time.time()) < 60
    assert repr(store.history("risks")) == (
        "write  by           type  size  note       then\n"
        "1      0.2, step 3  list  2     first try  overwritten by 0.3\n"
        "2      0.3, step 1  str   4                deleted by 0.3\n"
        "3      person       Loud                   stands"
    )


def written_in(store: Store, *places: tuple[str, int | None, str | None, int | None]) -> None:
    """By whom, at which step, in which run and cell."""
    witness = Recording()
    for place in places:
        witness.who, witness.step, witness.run, witness.cell = place
        token = WITNESS.set(witness)
        store["k"] = 1
        WITNESS.reset(token)


def writers(store: Store) -> list[str]:
    return [re.split("  +", line)[1] for line in repr(store.history("k")).split("\n")[1:]]


def test_the_history_names_the_persons_cells_and_the_runs_where_there_are_several(witness: Recording) -> None:
    one, two = ("0", 1, "20261121-161343-aaaaaa", None), ("0", 1, "20261121-161351-bbbbbb", None)
    alone, both, older = Store(), Store(), Store()
    written_in(alone, one, ("person", None, one[2], 7), ("person", None, None, None), one)
    written_in(both, one, two)
    written_in(older, ("0", 1, None, None), two)

    assert writers(alone) == ["0, step 1", "person, cell [7]", "person", "0, step 1"]
    assert writers(both) == ["0, step 1, run aaaaaa", "0, step 1, run bbbbbb"]
    assert writers(older) == ["0, step 1", "0, step 1, run bbbbbb"]
    assert [(row.run, row.cell) for row in alone.history("k")] == [
        (one[2], None),
        (one[2], 7),
        (None, None),
        (one[2], None),
    ]
    witness.run = two[2]
    assert writers(alone) == ["0, step 1, run aaaaaa", "person, cell [7]", "person", "0, step 1, run aaaaaa"]
    assert writers(both) == ["0, step 1, run aaaaaa", "0, step 1"]  # in a replay, this run has another id


def test_the_history_of_a_key_that_is_gone_is_there_and_of_one_that_never_was_is_not() -> None:
    store = _store(a=1, risks=2)
    del store.a

    assert [row.fate for row in store.history("a")] == ["deleted"]
    with pytest.raises(KeyError, match="no risk in the store; near: 'risks'"):
        store.history("risk")


def test_a_listing_and_a_history_can_be_handed_to_another_process() -> None:
    store = _store(a=1)

    for table in (store.list_available(), store.history("a")):
        assert repr(pickle.loads(pickle.dumps(table))) == repr(table)


def test_the_history_keeps_no_value_alive() -> None:
    class Large:
        pass

    store, value = Store(), Large()
    gone = weakref.ref(value)
    store.a = value
    listing, history = store.list_available(), store.history("a")

    store.a = 1
    del value
    gc.collect()

    assert gone() is None
    assert (len(listing), len(history)) == (1, 1)


def test_the_history_is_bounded_and_says_by_its_numbers_what_it_left_out() -> None:
    store = Store()
    for i in range(5_000):
        store.a = i
    for i in range(50_000):
        store["once"] = i
        store[f"gone {i}"] = i
        del store[f"gone {i}"]

    rows = store.history("a")

    assert 1_000 <= len(rows) <= 2_000
    assert [row.number for row in rows] == list(range(5_000 - len(rows) + 1, 5_001))
    assert len(store.history("gone 49999")) == 1
    with pytest.raises(KeyError):
        store.history("gone 0")
    assert len(repr(rows).splitlines()) == 52


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("text", 4),
        (b"ab", 2),
        ({1: 2}, 1),
        ([], 0),
        (5, None),
        (np.zeros((2, 3)), (2, 3)),
        (pd.DataFrame({"a": [1, 2]}), (2, 1)),
        (type("Mine", (list,), {"__len__": lambda self: 1 / 0})(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_size_of_a_write_is_told_where_no_foreign_code_runs_for_it(value: object, size: object) -> None:
    store = _store(a=value)

    assert store.history("a")[0].size == size


def test_what_is_available_shows_as_a_table_and_is_rows(witness: Recording) -> None:
    store = _store(contract="x" * 12_034)
    store.store("two words", Loud(), note="made by hand,\nnot checked\x1b")
    set_glance(lambda value: Glance("big", 12_345, "xxx…") if isinstance(value, str) else Glance())
    try:
        listing = store.list_available()
    finally:
        set_glance(None)

    assert list(listing) == [
        Available("contract", "str", "big", 12_345, "0.2", 3, None, "xxx…"),
        Available("two words", "Loud", "", None, "0.2", 3, "made by hand,\nnot checked\x1b", ""),
    ]
    assert repr(listing) == (
        "key          type  size  tokens  written by   note                        preview\n"
        "contract     str   big   12,345  0.2, step 3                              xxx…\n"
        "'two words'  Loud                0.2, step 3  made by hand, not checked"
    )
    assert witness.told == [("wrote", "contract", False), ("wrote", "two words", False)]


def test_what_is_available_is_told_without_anybody_to_look_and_bounded() -> None:
    store = Store()
    store.update({f"k{i}": "x" * i for i in range(3_000)})

    text = repr(store.list_available()).splitlines()

    assert text[:2] == ["key    type  size   written by", "k0     str   0      person"]
    assert text[31] == "[... 2,950 of 3,000 rows not shown ...]"
    assert len(text) == 52
    assert repr(store.only("k5").list_available()) == "key  type  size  written by\nk5   str   5     person"
    assert repr(Store().list_available()) == "nothing is in the store"


def test_slow_glances_do_not_hold_up_a_listing() -> None:
    store = Store()
    store.update({f"k{i}": i for i in range(100)})

    def slow(value: object) -> Glance:
        time.sleep(0.5)
        return Glance(preview="seen")

    set_glance(slow)
    try:
        rows = store.list_available()
    finally:
        set_glance(None)

    assert len(rows) == 100
    assert 1 <= sum(row.preview == "seen" for row in rows) <= 5


def test_read_hands_the_object_to_whoever_reads_and_takes_no_reference(
    witness: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlm_kernel.store.hooks.reader", None)  # as before anything that runs cells is there
    store, value, seen = _store(a=1), Loud(), []
    store.b = value
    witness.told.clear()

    with pytest.raises(UsageError, match="read needs the rlm kernel"):
        store.read("b")
    set_reader(lambda *args, **options: seen.append((*args, options)) or "text")  # type: ignore[arg-type,func-returns-value]
    text = store.read("b", max_tokens=5, lines=(1, 2))
    with pytest.raises(KeyError, match="no c in the store"):
        store.read("c")

    assert text == "text"
    [(key, read, options)] = seen
    assert (key, options) == (
        "b",
        {"store": store_id(store), "max_tokens": 5, "lines": (1, 2), "chars": None, "rows": None},
    )
    assert read is value
    assert witness.told == []


def test_a_note_is_text_and_goes_with_the_next_write() -> None:
    store = Store()

    with pytest.raises(TypeError, match="a note is a string, not int"):
        store.store("a", 1, note=5)  # type: ignore[arg-type]
    store.store("a", 1, note="one")
    store.a = 2

    assert [row.note for row in store.history("a")] == ["one", None]
    assert store.list_available()[0].note is None


@given(_STEPS, st.sets(_KEYS), st.booleans())
def test_a_view_does_as_a_dict_of_its_keys_does_and_leaves_the_others_alone(
    steps: list[tuple[Any, ...]], shown: set[str], nested: bool
) -> None:
    store = Store()
    store.update(dict.fromkeys(["hidden", "a", "b", "keys", "two words", ""], 0))
    view = store.only(*shown)
    view = view.only(*shown) if nested else view
    others = {key: 0 for key in store if key not in shown}
    model: dict[str, object] = {key: 0 for key in store if key in shown}

    for name, *args in steps:
        touched = {args[0]} if args and isinstance(args[0], str) else set(args[0]) if args else set()
        writes = name in ("__setitem__", "setdefault", "update")
        if writes and touched & set(others):
            with pytest.raises(UsageError):
                view.update(dict.fromkeys(touched & set(others), 1))
        else:
            assert _outcome(view, name, args) == _outcome(model, name, args)

        assert list(view.items()) == list(model.items())
        assert dict(store) == {**model, **others}


@given(st.lists(_STEPS, min_size=8, max_size=8))
@settings(max_examples=25, deadline=None)
def test_eight_threads_with_views_of_their_own_each_see_a_dict_of_their_own(work: list[list[tuple[Any, ...]]]) -> None:
    store, start = Store(), Barrier(8)

    def mine(worker: int, key: str) -> str:
        return f"{worker}/{key}"

    def play(worker: int) -> None:
        view, model = store.only(), dict[str, object]()
        start.wait()
        for name, *args in work[worker]:
            if args and isinstance(args[0], str):
                args[0] = mine(worker, args[0])
            elif args:
                args[0] = {mine(worker, key): value for key, value in args[0].items()}
            assert _outcome(view, name, args) == _outcome(model, name, args)
            assert list(view.items()) == list(model.items())
        assert {key: value for key, value in store.items() if key.startswith(f"{worker}/")} == model

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(play, range(8)))


class Yielding(str):
    """A key that lets another thread come between wherever a dict looks it up."""

    def __hash__(self) -> int:
        time.sleep(0.00001)
        return str.__hash__(self)


def test_of_shared_keys_every_write_is_in_the_history_once_and_the_last_one_stands() -> None:
    store, rounds, start = Store(), 40, Barrier(8)

    def work(worker: int) -> None:
        witness = Recording(str(worker))
        WITNESS.set(witness)  # of this thread's own context
        for i in range(rounds):
            witness.step = i
            start.wait(10)
            store[Yielding(f"shared {i}")] = store["all"] = (worker, i)
            store.pop("popped", None)
            store["popped"] = (worker, i)

    threads = [Thread(target=work, args=(worker,), daemon=True) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    for i in range(rounds):
        rows = list(store.history(f"shared {i}"))
        assert sorted((row.who, row.step) for row in rows) == [(str(worker), i) for worker in range(8)]
        assert [row.number for row in rows] == list(range(1, 9))
        assert [row.fate for row in rows] == ["overwritten"] * 7 + ["stands"]
        assert (int(rows[-1].who), rows[-1].step) == store[f"shared {i}"]
    every = list(store.history("all"))
    assert [row.number for row in every] == list(range(1, 8 * rounds + 1))
    assert (int(every[-1].who), every[-1].step) == store["all"]
    for worker in range(8):
        assert [row.step for row in every if row.who == str(worker)] == list(range(rounds))
    popped = store.history("popped")
    assert len(popped) == 8 * rounds
    assert [row.fate for row in popped].count("stands") == 1


def test_a_store_begins_with_the_results_of_a_mapping() -> None:
    rows = [1, 2]

    store = Store({"rows": rows, "the text": "a"})

    assert list(store.items()) == [("rows", rows), ("the text", "a")]
    assert store.rows is rows
    with pytest.raises(TypeError, match="keys of the store are strings"):
        Store({1: 2})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.store("items", ["a"]),
        lambda store: store.__setitem__("items", ["a"]),
        lambda store: store.setdefault("items", ["a"]),
        lambda store: store.update({"items": ["a"]}),
    ],
)
def test_a_key_that_is_a_methods_name_is_written_and_its_mend_told_once(write: Callable[[Store], None]) -> None:
    store = _store(risks=1)

    with pytest.warns(match="a method of the store") as told:
        write(store)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(store)
        store["_private"] = store["more items"] = 2

    assert [str(each.message) for each in told] == ['`items` is a method of the store: read it as context["items"]']
    assert store["items"] == ["a"]


@pytest.mark.parametrize("write", ["context.store('items', 1)", "context['items'] = 1"])
def test_that_warning_stands_at_the_line_that_writes(write: str) -> None:
    code = compile(f"\n\n{write}", "<a cell>", "exec")

    with pytest.warns(match="a method of the store") as told:
        exec(code, {"context": Store()})

    assert [(each.filename, each.lineno) for each in told] == [("<a cell>", 3)]
