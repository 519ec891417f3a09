"""The scripted model: who gets which reply, what it counts, and what a broken script says."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time

import pytest

from rlm_kernel.errors import ModelError, UsageError
from rlm_kernel.lm import resolve, tokens
from rlm_kernel.lm.scripted import ScriptedModel
from rlm_kernel.lm.thread import shared, wait
from rlm_kernel.values import Message, Price, Request, Usage


def step(text="go", ordinal=1, agent="0", purpose="step"):
    return Request((Message("system", "s"), Message("user", text)), purpose=purpose, agent=agent, ordinal=ordinal)


def ask(model, request, on_text=None):
    return asyncio.run(model.ask(request, on_text))


def test_replies_come_in_order_and_completions_from_their_own_list():
    model = ScriptedModel(["one", "two"], completions=["side"])

    texts = [ask(model, r).text for r in (step(), step(purpose="completion"), step())]

    assert texts == ["one", "side", "two"]
    assert [r.purpose for r in model.requests] == ["step", "completion", "step"]


def test_a_predicate_answers_its_request_in_whatever_order_the_requests_come():
    script = [
        {"reply": "A", "when": "alpha"},
        {"reply": "B", "when": r"b\w+a"},
        {"reply": "C", "when": is_gamma},
        "rest",
    ]

    def answers(order):
        model = ScriptedModel([], completions=script)

        async def all_at_once():
            return await asyncio.gather(*(model.ask(step(text, purpose="completion")) for text in order))

        return {request: reply.text for request, reply in zip(order, asyncio.run(all_at_once()), strict=True)}

    assert answers(["alpha", "beta", "gamma", "x"]) == answers(["x", "gamma", "beta", "alpha"])
    assert answers(["alpha", "beta", "gamma", "x"]) == {"alpha": "A", "beta": "B", "gamma": "C", "x": "rest"}


def is_gamma(request):
    return request.messages[-1].content == "gamma"


def test_times_says_how_often_a_reply_can_be_used():
    model = ScriptedModel(
        [{"reply": "twice", "when": "x", "times": 2}, {"reply": "always", "when": "x", "times": None}]
    )

    texts = [ask(model, step("x")).text for _ in range(4)]

    assert texts == ["twice", "twice", "always", "always"]


def test_when_it_runs_dry_the_error_names_the_script_the_request_and_the_message():
    model = ScriptedModel(["only"], name="scripted:a.py")
    ask(model, step())

    with pytest.raises(ModelError) as caught:
        ask(model, step("what now?", ordinal=2, agent="0.1"))

    assert caught.value.kind == "exhausted"
    assert str(caught.value) == (
        "scripted:a.py has no reply for step 2 of agent 0.1 (none left). "
        "The newest message begins 'what now?'. Add a reply to REPLIES"
    )


def test_a_reply_that_matches_nothing_is_not_given_away():
    model = ScriptedModel([{"reply": "A", "when": "alpha"}])

    with pytest.raises(ModelError, match="1 left, of which none matches"):
        ask(model, step("beta"))


def test_usage_is_counted_and_the_cache_serves_the_common_messages():
    model = ScriptedModel(["hello world", "hello world"], price=Price(0.001, 0.01))
    first = step("hello world")
    second = Request((*first.messages, Message("assistant", "hello world"), Message("user", "hello")))

    usages = [ask(model, first).usage, ask(model, second).usage]

    prompt = [tokens.count_messages(r.messages) for r in (first, second)]
    assert usages == [
        Usage(prompt[0], 2, cached_tokens=0, cost_usd=pytest.approx(prompt[0] * 0.001 + 0.02)),
        Usage(prompt[1], 2, cached_tokens=prompt[0] - 3, cost_usd=pytest.approx(prompt[1] * 0.001 + 0.02)),
    ]


def test_another_agent_has_a_cache_of_its_own():
    model = ScriptedModel(["a", "b"])

    cached = [ask(model, step(agent=agent)).usage.cached_tokens for agent in ("0", "0.1")]

    assert cached == [0, 0]


def test_usage_and_finish_reason_can_be_told_and_the_price_be_unknown():
    told = {"prompt_tokens": 7, "completion_tokens": 5, "cached_tokens": None, "reasoning_tokens": 4}
    model = ScriptedModel([{"reply": "cut", "finish_reason": "length", "usage": told}], price=None)

    reply = ask(model, step())

    assert (reply.finish_reason, reply.usage, model.price()) == ("length", Usage(7, 5, None, 4, None), None)


def test_errors_delays_and_functions_are_replies_too():
    limited = {"error": {"kind": "rate_limit", "message": "slow down", "status": 429}, "delay_s": 0.05}
    model = ScriptedModel(
        [limited, ModelError("gone", kind="server"), lambda r: f"step {r.ordinal}", lambda r: {"reply": "d"}]
    )
    started = time.monotonic()

    with pytest.raises(ModelError, match="slow down") as caught:
        ask(model, step())
    waited = time.monotonic() - started
    with pytest.raises(ModelError, match="gone"):
        ask(model, step())

    assert (caught.value.kind, caught.value.status, waited >= 0.05) == ("rate_limit", 429, True)
    assert [ask(model, step(ordinal=3)).text, ask(model, step()).text] == ["step 3", "d"]


def test_a_function_that_fails_is_the_authors_error_in_one_line():
    model = ScriptedModel([lambda request: 1 / 0])

    with pytest.raises(UsageError, match="a function for step 1 of agent 0 raised ZeroDivisionError"):
        ask(model, step())


def test_the_text_can_be_streamed_in_pieces():
    model = ScriptedModel(["abcdefg"], chunk_chars=3)
    pieces: list[str] = []

    reply = ask(model, step(), pieces.append)

    assert (pieces, reply.text, reply.first_token_s is not None) == (["abc", "def", "g"], "abcdefg", True)


def test_a_python_script_is_read_and_begins_anew_with_every_resolve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.py").write_text(
        "from rlm_kernel.errors import ModelError\n"
        "REPLIES = ['first', {'reply': lambda r: r.agent, 'delay_s': 0}]\n"
        "COMPLETIONS = ['side']\nPRICE = (0.5, 2)\nCHUNK_CHARS = 4\n"
    )

    models = [resolve("scripted:s.py"), resolve("scripted:s.py")]

    assert [ask(m, step()).text for m in models] == ["first", "first"]
    assert ask(models[0], step()).text == "0"
    assert ask(models[0], step(purpose="completion")).text == "side"
    assert models[0].price() == Price(0.5, 2.0)


def test_a_json_script_is_a_list_or_an_object(tmp_path):
    (tmp_path / "list.json").write_text('["a", {"reply": "b", "times": null}]')
    (tmp_path / "object.json").write_text('{"replies": ["a"], "completions": ["c"], "price": null}')

    listed = resolve(f"scripted:{tmp_path / 'list.json'}")
    whole = resolve(f"scripted:{tmp_path / 'object.json'}")

    assert [ask(listed, step()).text for _ in range(3)] == ["a", "b", "b"]
    assert (ask(whole, step(purpose="completion")).text, whole.price()) == ("c", None)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("none.py", None, "No such file or directory"),
        ("a.txt", "x", "a .json or a .py file"),
        ("a.json", '["a",', "is not valid JSON"),
        ("a.json", '"text"', "give a list of replies"),
        ("a.json", "[3]", "reply 1 is a int"),
        ("a.json", '[{"reply": "a", "wehn": "x"}]', "reply 1 has the key 'wehn'; known are reply, error, when"),
        ("a.json", '[{"when": "x"}]', "needs either `reply` or `error`"),
        ("a.json", '["a", {"reply": "b", "times": -1}]', "reply 2: `times` is how often"),
        ("a.json", '[{"reply": "b", "usage": {"tokens": 1}}]', "`usage` is numbers"),
        ("a.json", '[{"error": "boom"}]', "`error` is {kind, message, status}"),
        ("a.json", '{"replies": {}}', "replies is a dict; give a list"),
        ("a.json", '{"replies": [], "price": 3}', "price is two numbers"),
        ("a.py", "REPLIES = [\n'a'\nx", "line 1: '[' was never closed"),
        ("a.py", "import sys\n\nsys.exit(3)", "line 3: SystemExit: 3"),
        ("a.py", "replies = []", "defines no list REPLIES"),
    ],
)
def test_a_broken_script_says_in_one_line_what_to_mend(tmp_path, file, content, message):
    if content is not None:
        (tmp_path / file).write_text(content)

    with pytest.raises(UsageError) as caught:
        resolve(f"scripted:{tmp_path / file}")

    assert message in str(caught.value)
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", [None, "", "  ", "gpt-5-mini"])
def test_no_model_or_one_without_a_provider_says_how_to_set_one(model):
    with pytest.raises(UsageError) as caught:
        resolve(model)

    assert all(way in str(caught.value) for way in ('%config RLM.model = "openai/gpt-5-mini"', "-m ", "RLM_MODEL"))


def test_the_loop_thread_runs_tasks_in_the_callers_context():
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("of the caller")

    async def look():
        found = variable.get()
        variable.set("of the task")
        return found, threading.current_thread().name

    assert wait(shared().submit(look())) == ("of the caller", "rlm-models")
    assert variable.get() == "of the caller"


def test_an_exception_that_ends_the_wait_cancels_the_task():
    ended = threading.Event()

    async def sleep():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    future = shared().submit(sleep())
    threading.Timer(0.2, lambda: _interrupt(threading.main_thread().ident)).start()
    with pytest.raises(KeyboardInterrupt):
        wait(future)

    assert ended.wait(2)
    assert future.cancelled()


def _interrupt(thread_id):
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(KeyboardInterrupt))


def test_a_task_that_exits_does_not_take_the_other_calls_with_it():
    async def leave():
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        wait(shared().submit(leave()))

    assert wait(shared().submit(asyncio.sleep(0, "still here"))) == "still here"
