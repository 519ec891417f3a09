"""Sub-agents: objects by reference down and up, names and limits of their own; in a plain process."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rlm_kernel
from rlm_kernel.errors import LimitExceeded, NoAnswer
from rlm_kernel.lm.scripted import ScriptedModel
from rlm_kernel.lm.tokens import count
from rlm_kernel.trace.reading import read
from rlm_kernel.values import Request, Run
from tests.kernel_process import block

Agents = dict[str, list[Any]]


def scripted(monkeypatch: pytest.MonkeyPatch, agents: Agents, completions: Any = (), **more: Any) -> ScriptedModel:
    """A model whose replies are given by agent; `re:` before an id makes it a pattern."""

    def of(wanted: str) -> Callable[[Request], bool]:
        pattern = wanted.removeprefix("re:") if wanted.startswith("re:") else re.escape(wanted)
        return lambda request: re.fullmatch(pattern, request.agent) is not None

    def item(wanted: str, reply: Any) -> dict[str, Any]:
        return {"when": of(wanted), **(reply if isinstance(reply, dict) else {"reply": reply})}

    items = [item(wanted, reply) for wanted, replies in agents.items() for reply in replies]
    model = ScriptedModel(items, completions=completions, **more)
    monkeypatch.setattr("rlm_kernel.headless.resolve", lambda name, **_: model)
    return model


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Run]:
    monkeypatch.chdir(tmp_path)

    def go(agents: Agents, context: object = None, completions: Any = (), **settings: Any) -> Run:
        price = {"price": settings.pop("price")} if "price" in settings else {}
        go.model = scripted(monkeypatch, agents, completions, **price)  # type: ignore[attr-defined]
        return rlm_kernel.run("Go.", context, model="scripted:any", **settings)

    return go


def events(run: Run, kind: str) -> list[Any]:
    return [stamped.event for stamped in read(run.journal).events if stamped.event.type == kind]


def test_an_object_goes_down_and_comes_back_as_itself(run: Callable[..., Run]) -> None:
    context = {"lock": threading.Lock(), "big": bytearray(50_000_000), "numbers": (n for n in range(3))}
    ask = block("got = llm_query('Look.', context=context)\nFINAL((got, got[0] is context))")
    back = block("FINAL((context, context['lock'], context['numbers']))")

    (got, same), *_ = [run({"0": [ask], "0.1": [back]}, context).answer]

    assert same
    assert got[0] is context
    assert got[1] is context["lock"]
    assert list(got[2]) == [0, 1, 2]


def test_a_sub_agent_sees_nothing_of_its_caller_but_what_it_was_given(run: Callable[..., Run]) -> None:
    ask = block("secret = 'hidden'\nnames = llm_query('What is there?', context=1, tools=[len, {'x': 1}.get][:1])")
    look = block("FINAL(sorted(n for n in globals() if not n.startswith('__')))")

    answer = run({"0": [ask, block("FINAL(names)")], "0.1": [look]}).answer

    lent = ["FINAL", "FINAL_VAR", "SHOW_VARS", "allm_query", "budget", "llm_query", "llm_query_batched"]
    lent += ["READ", "WRITE", "LIST_CONTEXT"]
    assert answer == sorted([*lent, "rlm_query", "rlm_query_batched", "context", "display", "get_ipython", "len"])


def test_magics_in_a_sub_agent_act_on_its_own_names(run: Callable[..., Run]) -> None:
    ask = block("mine = 'of the caller'\nllm_query('Go.', context=1)\nFINAL((mine, 'made' in globals()))")
    sub = block("%time made = 3\nimport io\n%who\nget_ipython().user_ns['more'] = 4\nFINAL((made, more))")

    assert run({"0": [ask], "0.1": [sub]}).answer == ("of the caller", False)


def test_a_batch_comes_back_in_order_each_with_its_own_context(run: Callable[..., Run]) -> None:
    ask = block("FINAL(llm_query_batched(['double'] * 40, list(range(40))))")
    sub = {"reply": block("import time, random\ntime.sleep(random.random() / 50)\nFINAL(context * 2)"), "times": None}

    assert run({"0": [ask], r"re:0\.\d+": [sub]}).answer == [n * 2 for n in range(40)]


def test_awaited_sub_agents_run_side_by_side(run: Callable[..., Run]) -> None:
    ask = block(
        "import asyncio, threading\nmeet = threading.Barrier(3, timeout=10)\n"
        "FINAL(await asyncio.gather(*[allm_query('meet', context=meet) for _ in range(3)]))"
    )
    sub = {"reply": block("FINAL(context.wait() >= 0)"), "times": 3}

    assert run({"0": [ask], r"re:0\.\d": [sub]}).answer == [True, True, True]


def test_recursion_goes_as_deep_as_it_may_and_then_asks_for_text(run: Callable[..., Run]) -> None:
    down = {"reply": block("FINAL([llm_query('deeper', context=context)])"), "times": None}
    last = block("FINAL(llm_query('a word'))")

    result = run({"0": [down], "0.1": [down], "0.1.1": [down], "0.1.1.1": [last]}, 7, ["text"], max_depth=3)

    assert result.answer == [[["text"]]]
    assert [(e.agent, e.caller, e.depth, e.step) for e in events(result, "agent_started")] == [
        ("0", None, 0, None),
        ("0.1", "0", 1, 1),
        ("0.1.1", "0.1", 2, 1),
        ("0.1.1.1", "0.1.1", 3, 1),
    ]


def test_at_the_deepest_level_a_context_is_a_clear_error_and_the_prompt_says_so(run: Callable[..., Run]) -> None:
    cells = [
        block("try:\n    llm_query('x', context=1)\nexcept Exception as error:\n    told = str(error)"),
        block("FINAL(told)"),
    ]

    result = run({"0": cells}, max_depth=0)

    assert "agent 0 is at the deepest level (max_depth=0)" in result.answer
    asked = events(result, "asked")[0]
    assert "there is no `context` to pass to them" in asked.new[1].content


def test_without_a_context_a_plain_text_is_the_answer_for_one_call(run: Callable[..., Run]) -> None:
    result = run({"0": [block("FINAL(llm_query('Say it.'))")], "0.1": ["It is so."]})

    assert (result.answer, result.calls) == ("It is so.", 2)


def test_an_answer_of_the_wrong_form_goes_back_with_the_errors_and_nothing_is_lost(run: Callable[..., Run]) -> None:
    ask = block("FINAL(llm_query('Ages?', context=1, schema=dict[str, int]))")
    sub = [block("ages = {'Ada': 'old'}\nFINAL(ages)"), block("ages['Ada'] = 36\nFINAL(ages)")]

    result = run({"0": [ask], "0.1": sub})

    assert result.answer == {"Ada": 36}
    first = next(e for e in events(result, "cell_finished") if e.agent == "0.1")
    assert first.error.name == "SchemaMismatch"
    assert "['Ada']: Input should be a valid integer" in first.error.message


def test_a_text_answer_and_a_completion_are_read_as_the_form_that_was_asked_for(run: Callable[..., Run]) -> None:
    ask = block("FINAL(llm_query('Three primes?', schema=list[int]))")
    sub = ["no list", block("FINAL(llm_query('Three primes?', schema=list[int]))")]

    result = run({"0": [ask], "0.1": sub}, completions=["two", "```json\n[2, 3, 5]\n```"])

    assert (result.answer, result.calls) == ([2, 3, 5], 5)


def test_a_form_that_is_never_met_ends_in_one_short_error(run: Callable[..., Run]) -> None:
    cells = [
        block("try:\n    llm_query('?', schema=int)\nexcept Exception as error:\n    told = repr(error)"),
        block("FINAL(told)"),
    ]

    answer = run({"0": cells, "0.1": ["none", "of", "these"]}).answer

    assert answer == "NoAnswer('agent 0.1: 3 replies in a row had not the form that was asked for')"


def test_tools_are_lent_by_reference_and_told_by_signature_and_docstring(run: Callable[..., Run]) -> None:
    ask = block(
        "seen = []\ndef note(what: str, *, times: int = 1) -> None:\n    'Keeps what was said.'\n"
        "    seen.append(what)\n"
        "llm_query('Tell.', context=1, tools=[note])\nFINAL(seen)"
    )

    result = run({"0": [ask], "0.1": [block("note('hello')\nFINAL(None)")]})

    assert result.answer == ["hello"]
    first = events(result, "asked")[1].new[1].content
    assert "note(what: str, *, times: int = 1) -> None\n    Keeps what was said." in first


def test_another_model_by_call_and_by_depth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    replies = {
        "big": [block("FINAL([llm_query('a'), llm_query('b', model='other/one')])")],
        "small": ["from small"],
        "other/one": ["from other"],
    }
    models = {name: ScriptedModel(texts, name=name) for name, texts in replies.items()}
    monkeypatch.setattr("rlm_kernel.headless.resolve", lambda name, **_: models[name])

    assert rlm_kernel.run("Go.", models=["big", "small"]).answer == ["from small", "from other"]


def test_the_second_sub_agents_request_shares_a_long_prefix_with_the_first(run: Callable[..., Run]) -> None:
    ask = block("FINAL(llm_query_batched(['one', 'two'], [1, 2]))")
    run({"0": [ask], "0.1": [block("FINAL(1)")], "0.2": [block("FINAL(2)")]})
    requests = [r for r in run.model.requests if r.agent != "0"]  # type: ignore[attr-defined]

    one, two = ("".join(f"{m.role}\n{m.content}\n" for m in r.messages) for r in requests)

    shared = next(n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
    assert count(one[:shared]) >= 1_024


@pytest.mark.parametrize("warms", [True, False])
def test_one_call_goes_ahead_of_a_wide_batch_where_the_provider_rewards_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, warms: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[float] = []

    def reply(request: Request) -> str:
        if request.agent == "0":
            return block("FINAL(llm_query_batched(['q'] * 5, [1] * 5))")
        asked.append(time.monotonic())
        return block("FINAL(1)")

    big = ScriptedModel([reply], name="big")
    small = ScriptedModel([{"reply": reply, "delay_s": 1, "times": None}], name=f"small {warms}")
    small.warms = warms
    monkeypatch.setattr("rlm_kernel.headless.resolve", lambda name, **_: big if name == "big" else small)

    assert rlm_kernel.run("Go.", models=["big", "small"]).answer == [1] * 5

    waited = [moment - asked[0] >= 1 for moment in asked]
    assert waited == [False, *[warms] * 4]


@pytest.mark.parametrize(("depth", "max_depth"), [(0, 0), (0, 1), (1, 1), (1, 2), (0, None)])
def test_a_prompt_promises_exactly_the_names_of_its_level(depth: int, max_depth: int | None) -> None:
    from rlm_kernel.limits import Limits
    from rlm_kernel.namespace import LENT
    from rlm_kernel.prompts import SYSTEM, Briefing, first_message

    first = first_message(Briefing("Q", "a list", None, Limits(max_depth=max_depth), depth))
    level = first.partition("# At your level")[2].partition("\n\n# ")[0]

    assert set(re.findall(r"`(\w+)[`(]", SYSTEM + first)) <= {*LENT, "context", "answer", "repl"}
    assert ("plain completions here" in level) == (depth == max_depth)


def test_the_failure_of_one_leaves_the_others_alone(run: Callable[..., Run]) -> None:
    cells = [
        block("got = llm_query_batched(['a', 'b', 'c'], [1, 2, 3], return_exceptions=True)"),
        block("FINAL([got[0], repr(got[1]), got[2]])"),
    ]
    agents = {"0": cells, "0.1": [block("FINAL('one')")], "0.2": ["?", "?", "?"], "0.3": [block("FINAL('three')")]}

    answer = run(agents).answer

    assert answer == ["one", "NoAnswer('agent 0.2: 3 replies in a row held no code block to run')", "three"]


def test_an_error_that_all_of_a_batch_meet_has_each_ones_own_id(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    cells = [
        block("got = llm_query_batched(['q', 'r'], model='openai/x', return_exceptions=True)"),
        block("FINAL([(type(each).__name__, each.kind, str(each)[:10]) for each in got])"),
    ]
    root = ScriptedModel(cells)
    resolve = rlm_kernel.headless.resolve
    monkeypatch.setattr("rlm_kernel.headless.resolve", lambda name, **k: root if name == "m" else resolve(name, **k))

    assert rlm_kernel.run("Go.", model="m").answer == [("ModelError", "key", f"agent 0.{n}:") for n in (1, 2)]


def test_an_exception_as_an_answer_is_an_answer(run: Callable[..., Run]) -> None:
    ask = block("got = llm_query('Find the error.', context=1)\nFINAL(repr(got))")

    assert run({"0": [ask], "0.1": [block("FINAL(ValueError('found'))")]}).answer == "ValueError('found')"


def test_a_sub_agent_that_meets_its_limit_gives_its_best_so_far_marked_so(run: Callable[..., Run]) -> None:
    ask = block("best = llm_query('Count.', context=1, max_steps=2)")
    sub = {"reply": block("answer = globals().get('answer', 0) + 1"), "times": None}

    result = run({"0": [ask, block("FINAL(best)")], "0.1": [sub]})

    assert result.answer == 2
    stderr = "".join(o["text"] for o in events(result, "cell_finished")[-2].outputs if o.get("name") == "stderr")
    assert "agent 0.1 ended before FINAL, because max_steps=2 reached" in stderr
    end = events(result, "agent_finished")[0]
    assert (end.agent, end.ending, end.answer) == ("0.1", "limit", "2")


def test_without_a_best_so_far_a_limit_is_an_error_with_the_agents_id(run: Callable[..., Run]) -> None:
    cells = [
        block("try:\n    llm_query('Count.', context=1, max_calls=2)\nexcept Exception as e:\n    told = repr(e)"),
        block("FINAL(told)"),
    ]
    sub = {"reply": block("pass"), "times": None}

    assert run({"0": cells, "0.1": [sub]}).answer == "LimitExceeded('agent 0.1: max_calls=2 reached (2 used)')"


def test_a_batch_of_200_cannot_overshoot_the_calls_or_the_dollars_of_the_run(run: Callable[..., Run]) -> None:
    cells = [
        block("got = llm_query_batched(['q'] * 200, [1] * 200, return_exceptions=True)"),
        block("FINAL([type(g).__name__ for g in got])"),
    ]
    sub = {"reply": block("FINAL('ok')"), "times": None}

    with pytest.raises(LimitExceeded) as calls:
        run({"0": cells, r"re:0\.\d+": [sub]}, max_calls=50)
    with pytest.raises(LimitExceeded) as dollars:
        run({"0": cells, r"re:0\.\d+": [sub]}, max_cost_usd=0.1, max_calls=None, price=rlm_price())

    assert calls.value.run is not None
    assert calls.value.run.calls == 50
    assert dollars.value.run is not None
    assert dollars.value.run.usage.cost_usd is not None
    assert 0.05 < dollars.value.run.usage.cost_usd <= 0.1


def rlm_price() -> Any:
    from rlm_kernel.values import Price

    return Price(1e-6, 1e-6)


def test_an_agent_that_asks_itself_for_ever_stops_with_the_chain_of_ids(run: Callable[..., Run]) -> None:
    down = {"reply": block("FINAL(llm_query('again', context=context))"), "times": None}

    with pytest.raises(LimitExceeded) as stop:
        run({r"re:0(\.1)*": [down]}, 1, max_depth=None, max_calls=12)

    assert stop.value.run is not None
    assert stop.value.run.calls == 12
    assert "0.1.1.1.1.1.1.1.1.1.1.1" in str(stop.value)


def test_two_hundred_agents_that_wait_for_their_own_do_not_lock_each_other_out(run: Callable[..., Run]) -> None:
    ask = block("FINAL(sum(llm_query_batched(['q'] * 60, [2] * 60)))")
    middle = {"reply": block("FINAL(sum(llm_query_batched(['q'] * context, [1] * context)))"), "times": None}
    leaf = {"reply": block("FINAL(context)"), "times": None}
    agents = {"0": [ask], r"re:0\.\d+": [middle], r"re:0\.\d+\.\d+": [leaf]}

    result = run(agents, max_depth=2, max_calls=None, max_parallel=2, max_agents=3)

    assert result.answer == 120


def test_budget_tells_what_is_left(run: Callable[..., Run]) -> None:
    ask = block("FINAL((budget(), llm_query('?', context=1, max_calls=5)))")

    mine, theirs = run({"0": [ask], "0.1": [block("FINAL(budget())")]}).answer

    assert (mine.steps, mine.calls, mine.depth) == (29, 199, 1)
    assert (theirs.steps, theirs.calls, theirs.depth) == (29, 4, 0)


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("llm_query_batched(['a', 'b'], [1])", "2 prompts and 1 contexts: give one context for each prompt"),
        ("llm_query('a', schema=3)", "schema=3 is no type that can be checked"),
        ("llm_query('a', tools=[lambda: 1])", "a tool needs a name that a cell can call"),
        ("llm_query('a', tools={'FINAL': len})", "FINAL is a lent name already"),
        ("llm_query('a', temperature=1)", "llm_query has no option temperature"),
        ("llm_query('a', isolation='box')", "give 'thread' or 'process'"),
        ("llm_query('a', max_steps=-1)", "give a number from 0 up"),
        ("llm_query('a', model=3)", "model is a name"),
        ("llm_query_batched(['a'], 'text')", "contexts is a list with one context for each prompt"),
    ],
)
def test_what_cannot_be_asked_is_said_at_once(run: Callable[..., Run], cell: str, told: str) -> None:
    cells = [block(f"try:\n    {cell}\nexcept Exception as error:\n    told = str(error)"), block("FINAL(told)")]

    result = run({"0": cells})

    assert told in result.answer
    assert result.calls == 2


def test_a_sub_agent_may_spoil_its_own_names_and_nobody_elses(run: Callable[..., Run]) -> None:
    ask = block("got = llm_query('Go.', context=[1])\nFINAL((got, callable(llm_query), context))")
    sub = [
        block("del context, llm_query\nFINAL = 3"),
        block(
            "import threading, time\ndef late():\n    time.sleep(0.2)\n    print('late')\n"
            "threading.Thread(target=late).start()\nFINAL('mended')"
        ),
    ]

    result = run({"0": [ask], "0.1": sub}, "of the root")
    time.sleep(0.4)

    assert result.answer == ("mended", True, "of the root")
    notes = [note for e in events(result, "cell_finished") for note in e.notes]
    assert any("llm_query" in note and "FINAL" in note for note in notes)
    assert "late" not in str([e.outputs for e in events(result, "cell_finished")])


def test_a_hundred_megabytes_of_print_stay_bounded(run: Callable[..., Run]) -> None:
    ask = block("FINAL(llm_query('Print.', context=1))")

    result = run({"0": [ask], "0.1": [block("print('x' * 100_000_000)"), block("FINAL('done')")]})

    assert result.answer == "done"
    assert max(len(m.content) for e in events(result, "asked") for m in e.new) < 40_000


def test_a_thousand_questions_in_one_batch(run: Callable[..., Run]) -> None:
    ask = block("FINAL(len(set(llm_query_batched([f'q {n}' for n in range(1_000)]))))")
    texts = {"reply": lambda request: request.agent, "times": None}

    result = run({"0": [ask], r"re:0\.\d+": [texts]}, max_calls=None)

    assert (result.answer, result.calls) == (1_000, 1_001)


def test_what_a_sub_agent_left_running_is_cut_off_from_the_run(run: Callable[..., Run]) -> None:
    ask = block("told = []\nllm_query('Go.', context=told)\nimport time\nwhile not told: time.sleep(0.05)\nFINAL(told)")
    sub = block(
        "import threading, time\ndef later():\n    time.sleep(0.2)\n    try:\n        llm_query('late')\n"
        "    except Exception as error:\n        context.append(str(error))\n"
        "threading.Thread(target=later).start()\nFINAL(1)"
    )

    assert run({"0": [ask], "0.1": [sub]}).answer == ["the run that this code belongs to is over"]


def test_no_answer_and_its_run(run: Callable[..., Run]) -> None:
    with pytest.raises(NoAnswer):
        run({"0": ["?", "?", "?"]}, 1)


def test_an_interrupt_that_a_cell_raises_itself_is_its_own_agents_end_alone(run: Callable[..., Run]) -> None:
    cells = [
        block("got = llm_query_batched(['a', 'b'], [1, 2], return_exceptions=True)"),
        block("FINAL([repr(each) for each in got])"),
    ]
    agents = {"0": cells, "0.1": [block("FINAL('fine')")], "0.2": [block("raise KeyboardInterrupt")]}

    result = run(agents)

    assert result.answer == ["'fine'", "RunInterrupted('agent 0.2: its own cell raised an interrupt')"]
    ends = {e.agent: e.ending for e in events(result, "agent_finished")}
    assert ends == {"0": "final", "0.1": "final", "0.2": "interrupted"}


VALIDATED = (
    "from pydantic import BaseModel, field_validator\n"
    "class Word(BaseModel):\n    text: str\n    @field_validator('text')\n    @classmethod\n"
    "    def check(cls, v):\n        CHECK\n        return v\n"
)


def test_a_form_may_ask_a_model_itself(run: Callable[..., Run]) -> None:
    code = VALIDATED.replace("CHECK", "assert llm_query('good?') == 'yes'")

    ask = block(code + "FINAL(llm_query('?', schema=Word).text)")

    assert run({"0": [ask], "0.1": ['{"text": "a"}']}, completions=["yes"]).answer == "a"


def test_a_form_whose_check_raises_anything_is_not_met(run: Callable[..., Run]) -> None:
    code = VALIDATED.replace("CHECK", "{}['none']")
    ask = [
        block(code + "got = llm_query_batched(['?'] * 2, schema=Word, return_exceptions=True)"),
        block("FINAL([repr(each)[:60] for each in got])"),
    ]
    text = {"reply": '{"text": "a"}', "times": None}

    deep = run({"0": ask, r"re:0\.\d": [text]}).answer
    flat = run({"0": ask}, None, [text], max_depth=0).answer

    assert deep == [f"NoAnswer('agent 0.{n}: 3 replies in a row had not the form that"[:60] for n in (1, 2)]
    assert all(each.startswith("SchemaMismatch(") for each in flat)


@pytest.mark.parametrize(
    ("schema", "value", "wanted"),
    [
        ("list[int]", "[1.0, 2.0]", [1, 2]),
        ("dict[str, int]", "{'a': True}", {"a": 1}),
        ("tuple[int, ...]", "(1.0,)", (1,)),
    ],
)
def test_what_a_form_converts_is_handed_over_converted(
    run: Callable[..., Run], schema: str, value: str, wanted: object
) -> None:
    ask = block(f"FINAL(llm_query('?', context=1, schema={schema}))")

    assert repr(run({"0": [ask], "0.1": [block(f"FINAL({value})")]}).answer) == repr(wanted)


@pytest.mark.parametrize("word", ["open", "exit", "display", "len", "closed"])
def test_a_word_that_is_nobodys_variable_is_an_answer(run: Callable[..., Run], word: str) -> None:
    ask = block("FINAL(llm_query('Open or closed?', context=1, tools=[len]), literal=True)")

    assert run({"0": [ask], "0.1": [block(f"FINAL({word!r})")]}).answer == word


def test_a_completion_has_the_limits_that_it_was_given(run: Callable[..., Run]) -> None:
    cells = [
        block(
            "got = []\nfor limits in (dict(max_calls=0), dict(max_seconds=0.2)):\n"
            "    got += llm_query_batched(['q'], return_exceptions=True, **limits)"
        ),
        block("FINAL([repr(each)[:30] for each in got])"),
    ]

    answer = run({"0": cells}, None, [{"reply": "late", "delay_s": 3, "times": None}], max_depth=0).answer

    assert answer == ["LimitExceeded('max_calls=0 reached"[:30], "LimitExceeded('max_seconds=0.2 reached"[:30]]


def test_a_frame_or_an_empty_dict_as_context_at_the_deepest_level_is_the_same_clear_error(
    run: Callable[..., Run],
) -> None:
    cells = [
        block(
            "import numpy\ntold = []\nfor given in ({}, numpy.zeros(3)):\n    try:\n"
            "        llm_query('x', context=given)\n    except Exception as error:\n"
            "        told.append(str(error)[:31])"
        ),
        block("FINAL(told)"),
    ]

    assert run({"0": cells}, max_depth=0).answer == ["llm_query takes no context here"] * 2


def test_a_tool_called_answer_is_no_best_so_far(run: Callable[..., Run]) -> None:
    cells = [
        block(
            "def answer(): return 1\ntry:\n    got = llm_query('?', context=1, tools=[answer], max_steps=1)\n"
            "except Exception as error:\n    got = type(error).__name__"
        ),
        block("FINAL(got)"),
    ]

    assert run({"0": cells, "0.1": [block("pass")]}).answer == "LimitExceeded"


def test_calls_that_were_never_sent_do_not_count(run: Callable[..., Run]) -> None:
    ask = block(
        "import asyncio\nasync def one():\n    try:\n        await asyncio.wait_for(allm_query('q'), 0.3)\n"
        "    except TimeoutError:\n        pass\n"
        "await asyncio.gather(*[one() for _ in range(40)])\nawait asyncio.sleep(0.3)\nFINAL(budget().calls)"
    )
    late = {"reply": "late", "delay_s": 5, "times": None}

    left = run({"0": [ask]}, None, [late], max_depth=0, max_parallel=4).answer

    sent = len(run.model.requests)  # type: ignore[attr-defined]
    assert left == 200 - sent
    assert sent < 30


def test_every_start_in_the_journal_has_its_end_however_it_was_cut_off(run: Callable[..., Run]) -> None:
    ask = block(
        "import asyncio, random\nluck = random.Random(4)\nasync def one(n):\n    try:\n"
        "        await asyncio.wait_for(allm_query('q', context=n), luck.random() / 10)\n"
        "    except TimeoutError:\n        pass\nawait asyncio.gather(*[one(n) for n in range(40)])\nFINAL(1)"
    )
    cell = block("import time; time.sleep(0.01)\nllm_query_batched(['c'] * 3)\nx = 1")
    sub = {"reply": cell, "times": None, "delay_s": 0.01}
    completion = {"reply": "c", "delay_s": 0.02, "times": None}

    result = run({"0": [ask], r"re:0\.\d+": [sub]}, 1, [completion], max_calls=None)

    happened = [stamped.event for stamped in read(result.journal).events]
    for kind, ends, number in (
        ("agent_started", {"agent_finished"}, "agent"),
        ("asked", {"replied", "ask_failed"}, "step"),
        ("cell_started", {"cell_finished"}, "step"),
        ("call_started", {"call_finished", "call_failed"}, "call"),
    ):
        starts = {(event.agent, getattr(event, number)) for event in happened if event.type == kind}
        over = {(event.agent, getattr(event, number)) for event in happened if event.type in ends}
        assert starts == over, kind


def test_the_seconds_of_one_run_are_no_interrupt_of_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    cells = {
        "A.": block("import asyncio; await asyncio.sleep(5)"),
        "B.": block("import asyncio; await asyncio.sleep(1)"),
    }

    def reply(request: Request) -> str:
        question = request.messages[1].content.split("\n")[2]
        return cells[question] if request.ordinal == 1 else block("FINAL('B is fine')")

    monkeypatch.setattr(
        "rlm_kernel.headless.resolve", lambda name, **_: ScriptedModel([{"reply": reply, "times": None}])
    )

    async def both() -> list[Any]:
        short = rlm_kernel.arun("A.", model="m", max_seconds=0.4)
        return await asyncio.gather(short, rlm_kernel.arun("B.", model="m"), return_exceptions=True)

    first, second = asyncio.run(both())

    assert isinstance(first, LimitExceeded)
    assert second.answer == "B is fine"


def test_a_run_that_is_cancelled_from_outside_is_cancelled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    scripted(monkeypatch, {"0": [block("import asyncio; await asyncio.sleep(5)")]})

    async def bounded() -> None:
        await asyncio.wait_for(rlm_kernel.arun("Go.", model="m"), 0.4)

    with pytest.raises(TimeoutError):
        asyncio.run(bounded())
