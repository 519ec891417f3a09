from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel.store import Store


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
