"""The real litellm against a server on 127.0.0.1."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from rlm_kernel.errors import ModelError, UsageError
from rlm_kernel.lm import failures, resolve, tokens
from rlm_kernel.lm.thread import shared, wait
from rlm_kernel.values import Message, Price, Request, Usage
from tests.openai_server import Answer, OpenAIServer, echo

KEY = "a-key-of-no-known-shape-0123"
MODEL = "openai/test-model"


@pytest.fixture
def at(monkeypatch):
    """Point litellm at a server."""

    def point(server):
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", server.url)

    return point


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch):
    monkeypatch.setattr(failures, "FIRST_BACKOFF_S", 0.02)


def step(text="go", **options):
    return Request((Message("system", "be brief"), Message("user", text)), **options)


def completion(text="go", **options):
    return step(text, purpose="completion", **options)


def ask(request, on_text=None, *, model=MODEL, timeout_s=20.0):
    return wait(shared().submit(resolve(model, timeout_s=timeout_s).ask(request, on_text)))


def failing(script, at, request=None, **options):
    with OpenAIServer(script) as server:
        at(server)
        with pytest.raises(ModelError) as caught:
            ask(request or step(), **options)
    return caught.value, server


@pytest.mark.parametrize("model", [MODEL, "hosted_vllm/test-model"])
@pytest.mark.parametrize("request_", [step(), completion()], ids=["streamed", "whole"])
def test_a_reply_comes_with_its_usage(at, model, request_):
    with OpenAIServer(Answer("hello world", reasoning="let me think")) as server:
        at(server)
        replies = [ask(request_, model=model) for _ in range(2)]

    assert [r.text for r in replies] == ["hello world"] * 2
    assert [r.usage for r in replies] == [Usage(4, 6, 0, 3, None), Usage(4, 6, 4, 3, None)]
    assert {(r.model, r.finish_reason, r.attempts) for r in replies} == {("test-model", "stop", ())}
    assert [bool(r.body.get("stream")) for r in server.requests] == [request_.purpose == "step"] * 2


def test_a_step_is_streamed_and_its_first_token_timed(at):
    pieces: list[str] = []
    with OpenAIServer(Answer("abcdef", latency_s=0.1, chunk_pause_s=0.1), chunk_chars=2) as server:
        at(server)
        ask(step())
        reply = ask(step(), pieces.append)

    assert (pieces, reply.text) == (["ab", "cd", "ef"], "abcdef")
    assert 0.1 <= reply.first_token_s < reply.seconds - 0.15


def test_the_request_carries_the_messages_and_the_cap_and_nothing_else_of_ours(at):
    with OpenAIServer() as server:
        at(server)
        ask(completion("héllo\r\n\0", max_reply_tokens=77))

    assert server.requests[0].body == {
        "model": "test-model",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "héllo\r\n\0"}],
        "max_tokens": 77,
    }
    assert server.requests[0].authorization == f"Bearer {KEY}"


def test_usage_that_is_not_told_is_counted(at):
    with OpenAIServer(Answer("hello world", usage={})) as server:
        at(server)
        reply = ask(completion())

    assert reply.usage == Usage(tokens.count_messages(completion().messages), 2)


@pytest.mark.parametrize("request_", [step(), completion()], ids=["streamed", "whole"])
def test_a_known_model_has_a_price_and_a_cost_with_the_cache_in_it(at, request_):
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    usage["prompt_tokens_details"] = {"cached_tokens": 400}
    with OpenAIServer(Answer(usage=usage)) as server:
        at(server)
        model = resolve("openai/gpt-4o-mini")
        reply = wait(shared().submit(model.ask(request_)))

    assert model.price() == Price(1.5e-07, 6e-07)
    assert reply.usage.cost_usd == pytest.approx(600 * 1.5e-07 + 400 * 0.75e-07 + 100 * 6e-07)
    assert reply.prompt_usd == pytest.approx(600 * 1.5e-07 + 400 * 0.75e-07)


def test_an_unmapped_model_has_no_price_and_no_cost(at):
    with OpenAIServer() as server:
        at(server)
        model = resolve(MODEL)
        reply = wait(shared().submit(model.ask(step())))

    assert (model.price(), reply.usage.cost_usd, reply.prompt_usd) == (None, None, None)


@pytest.mark.parametrize("header", ["seconds", "milliseconds", "date"])
def test_a_429_is_waited_for_as_long_as_it_asks(at, header):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    asked = {"seconds": ("Retry-After", "1"), "milliseconds": ("retry-after-ms", "700"), "date": ("Retry-After", later)}
    with OpenAIServer([Answer("slow down", status=429, headers=dict([asked[header]])), "ok"]) as server:
        at(server)
        reply = ask(step())

    first, second = server.requests
    least_s = {"seconds": 1.0, "milliseconds": 0.7, "date": 0.5}[header]
    assert second.started - first.started >= least_s
    assert (reply.text, [(a.kind, a.status) for a in reply.attempts]) == ("ok", [("rate_limit", 429)])
    assert reply.attempts[0].waited_s >= least_s
    assert reply.seconds >= least_s


def test_a_wait_of_minutes_is_an_error_that_says_so(at):
    error, server = failing(Answer("later", status=429, headers={"Retry-After": "3600"}), at)

    assert len(server.requests) == 1
    assert error.kind == "rate_limit"
    assert "asks to wait 3600 s" in str(error)


@pytest.mark.parametrize("model", [MODEL, "hosted_vllm/test-model"])
def test_an_empty_account_is_not_asked_again(at, model):
    error, server = failing(Answer("no money", status=429, code="insufficient_quota"), at, model=model)

    assert (len(server.requests), error.kind, error.status) == (1, "rate_limit", 429)


@pytest.mark.parametrize(
    ("answer", "attempt"),
    [
        (Answer("boom", status=500), ("server", 500)),
        (Answer("busy", status=503), ("server", 503)),
        (Answer("late", status=408), ("timeout", 408)),
        (Answer(fault="drop"), ("connection", None)),
        (Answer(fault="garbage"), None),
    ],
    ids=["500", "503", "408", "drop", "garbage"],
)
@pytest.mark.parametrize("model", [MODEL, "hosted_vllm/test-model"])
@pytest.mark.parametrize("request_", [step(), completion()], ids=["streamed", "whole"])
def test_what_may_pass_is_tried_again(at, answer, attempt, model, request_):
    with OpenAIServer([answer, "ok"]) as server:
        at(server)
        reply = ask(request_, model=model)

    assert (reply.text, len(server.requests), len(reply.attempts)) == ("ok", 2, 1)
    if attempt is not None:
        assert (reply.attempts[0].kind, reply.attempts[0].status) == attempt


@pytest.mark.parametrize("model", [MODEL, "hosted_vllm/test-model"])
@pytest.mark.parametrize("fault", ["drop_mid_stream", "end_mid_stream", "error_mid_stream", "stall_mid_stream"])
def test_nothing_of_a_broken_stream_is_kept(at, fault, model):
    pieces: list[str] = []
    with OpenAIServer([Answer("abcdefgh", fault=fault), "whole"]) as server:
        at(server)
        reply = ask(step(), pieces.append, model=model, timeout_s=1.0 if fault == "stall_mid_stream" else 20.0)

    assert (reply.text, reply.finish_reason, len(reply.attempts)) == ("whole", "stop", 1)
    assert pieces == ["abcd", "", "whole"]


def test_it_gives_up_after_four_retries_and_tells_them(at):
    error, server = failing(Answer("boom", status=500), at)

    assert len(server.requests) == 5
    assert str(error) == f"{MODEL}: the provider failed (HTTP 500) after 5 tries: boom"
    assert [a.kind for a in error.attempts] == ["server"] * 4


@pytest.mark.parametrize("model", [MODEL, "hosted_vllm/test-model"])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer("bad parameter", status=400), "bad_request"),
        (Answer("pay", status=402), "rate_limit"),
        (Answer("who are you", status=401), "key"),
        (Answer("not you", status=403), "key"),
        (Answer("no such model", status=404, code="model_not_found"), "unknown_model"),
        (Answer("big", status=413), "too_long"),
        (Answer("maximum context length is 10 tokens", status=400, code="context_length_exceeded"), "too_long"),
        (Answer("rejected", status=400, code="content_policy_violation"), "refused"),
        (Answer("unprocessable", status=422), "bad_request"),
    ],
    ids=["400", "402", "401", "403", "404", "413", "context", "policy", "422"],
)
def test_a_4xx_is_never_repeated(at, answer, kind, model):
    error, server = failing(answer, at, model=model)

    assert (len(server.requests), error.kind, error.status) == (1, kind, answer.status)
    assert str(error).startswith(f"{model}: ")
    assert str(error).endswith(f": {answer.text}")
    assert error.__context__ is None


def test_an_error_holds_neither_the_key_nor_a_page_of_html(at):
    leaking = Answer(f"Incorrect API key provided: {KEY}", status=401)
    page = Answer("<html><head><style>b{}</style></head><body><h1>Bad</h1>\n" + "gateway " * 500, status=502, html=True)

    said = [str(failing(answer, at)[0]) for answer in (leaking, page)]

    assert KEY not in said[0]
    assert "***" in said[0]
    assert "<" not in said[1]
    assert "Bad gateway" in said[1]
    assert max(map(len, said)) <= 300
    assert "\n" not in said[1]


def test_a_refused_connection_says_so(monkeypatch):
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    with pytest.raises(ModelError) as caught:
        ask(completion())

    assert (caught.value.kind, caught.value.status, len(caught.value.attempts)) == ("connection", None, 4)
    assert "Connect call failed ('127.0.0.1', 9)" in str(caught.value)


@pytest.mark.parametrize("request_", [step(), completion()], ids=["streamed", "whole"])
def test_silence_ends_in_a_timeout(at, request_):
    error, server = failing(Answer(latency_s=30), at, request_, timeout_s=0.3)

    assert (error.kind, len(server.requests)) == ("timeout", 5)


def test_a_slow_stream_is_not_a_silent_one(at):
    with OpenAIServer(Answer("abcdefgh", chunk_pause_s=0.3), chunk_chars=1) as server:
        at(server)
        reply = ask(step(), timeout_s=2.0)

    assert (reply.text, reply.attempts) == ("abcdefgh", ())


@pytest.mark.parametrize("fault", ["null", "tool_calls"])
@pytest.mark.parametrize("request_", [step(), completion()], ids=["streamed", "whole"])
def test_a_reply_without_text_is_an_empty_one(at, fault, request_):
    with OpenAIServer(Answer(fault=fault)) as server:
        at(server)
        reply = ask(request_)

    assert (reply.text, reply.attempts) == ("", ())


def test_a_reply_that_was_cut_off_says_length(at):
    with OpenAIServer(Answer("cut", finish_reason="length")) as server:
        at(server)
        reasons = [ask(step()).finish_reason, ask(completion()).finish_reason]

    assert reasons == ["length", "length"]


def test_a_reply_of_five_megabytes_arrives_whole(at):
    text = "".join(f"{i:07d} " for i in range(655_360))
    with OpenAIServer(text, chunk_chars=65_536) as server:
        at(server)
        replies = [ask(step()), ask(completion())]

    assert [r.text == text for r in replies] == [True, True]


@pytest.mark.parametrize("answer", [Answer(latency_s=30), Answer("abcdefgh", fault="stall_mid_stream")], ids=str)
@pytest.mark.parametrize("model", [MODEL, "hosted_vllm/test-model"])
@pytest.mark.parametrize("request_", [step(), completion()], ids=["streamed", "whole"])
def test_cancelling_closes_the_connection(at, answer, model, request_):
    if request_.purpose == "completion":
        answer = Answer(latency_s=30)
    with OpenAIServer(answer) as server:
        at(server)
        future = shared().submit(resolve(model).ask(request_))
        assert server.wait_until(lambda s: len(s.requests) == 1)
        time.sleep(0.2)
        future.cancel()
        gone = server.wait_until(lambda s: s.requests[0].disconnected)

    assert gone
    assert len(server.requests) == 1


def test_cancelling_while_it_waits_for_the_next_try_ends_the_wait(at):
    with OpenAIServer(Answer("later", status=429, headers={"Retry-After": "60"})) as server:
        at(server)
        future = shared().submit(resolve(MODEL).ask(step()))
        assert server.wait_until(lambda s: len(s.requests) == 1)
        time.sleep(0.2)
        started = time.monotonic()
        future.cancel()

        assert wait(shared().submit(asyncio.sleep(0, "the loop is free"))) == "the loop is free"
    assert time.monotonic() - started < 20
    assert future.cancelled()


def test_fifty_at_once_come_back_each_to_its_own(at):
    async def all_at_once():
        model = resolve("hosted_vllm/test-model")
        return await asyncio.gather(*(model.ask(completion(f"number {i}")) for i in range(50)))

    with OpenAIServer(lambda body: Answer(echo(body), company=50)) as server:
        at(server)
        replies = wait(shared().submit(all_at_once()))

    assert [r.text for r in replies] == [f"number {i}" for i in range(50)]
    assert server.max_in_flight == 50


def test_an_error_in_on_text_is_the_callers_and_closes_the_connection(at):
    def broken(piece):
        raise ZeroDivisionError("in the view")

    with OpenAIServer(Answer("abcdefgh", fault="stall_mid_stream")) as server:
        at(server)
        with pytest.raises(ZeroDivisionError, match="in the view"):
            ask(step(), broken)
        gone = server.wait_until(lambda s: s.requests[0].disconnected, timeout_s=2.0)

    assert gone
    assert len(server.requests) == 1


def test_an_unknown_provider_is_named_with_its_neighbours():
    with pytest.raises(UsageError) as caught:
        wait(shared().submit(resolve("openia/gpt-5-mini").prepare()))

    assert str(caught.value).startswith(
        "there is no model provider \"openia\" for 'openia/gpt-5-mini'; did you mean openai"
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", [None, ""], ids=["absent", "empty"])
def test_a_missing_key_is_named_before_anything_is_sent(monkeypatch, key):
    monkeypatch.delenv("OPENAI_API_BASE", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)

    with pytest.raises(ModelError) as caught:
        wait(shared().submit(resolve("openai/gpt-5-mini").ask(step())))

    assert caught.value.kind == "key"
    assert "export OPENAI_API_KEY=..." in str(caught.value)


def test_a_server_of_ones_own_needs_no_key(at, monkeypatch):
    with OpenAIServer() as server:
        at(server)
        monkeypatch.delenv("OPENAI_API_KEY")
        reply = ask(step())

    assert (reply.text, server.requests[0].authorization) == ("ok", "Bearer none")


def test_a_protocol_without_an_address_is_not_sent_to_openai(monkeypatch):
    monkeypatch.delenv("HOSTED_VLLM_API_BASE", raising=False)

    with pytest.raises(UsageError, match="export HOSTED_VLLM_API_BASE="):
        wait(shared().submit(resolve("hosted_vllm/test-model").prepare()))


def test_claude_is_sent_marks_for_its_cache_and_the_messages_stay_ours(at, monkeypatch):
    with OpenAIServer() as server:
        monkeypatch.setenv("ANTHROPIC_API_BASE", server.url.removesuffix("/v1"))
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        request = step()
        with pytest.raises(ModelError) as caught:
            ask(request, model="anthropic/claude-sonnet-4-5")

    mark = {"cache_control": {"type": "ephemeral"}}
    body = server.requests[0].body
    assert caught.value.kind == "unknown_model"
    assert body["system"] == [{"type": "text", "text": "be brief", **mark}]
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "go", **mark}]}]
    assert request == step()


def test_a_process_that_used_it_has_its_environment_unchanged_and_ends_in_silence(at, tmp_path):
    (tmp_path / ".env").write_text("OPENAI_API_BASE=http://127.0.0.1:9/v1\nPLANTED=1\n")
    code = (
        "import os, sys, threading; before = dict(os.environ)\n"
        "from rlm_kernel.lm import resolve\n"
        "from rlm_kernel.lm.litellm_setup import import_quietly\n"
        "from rlm_kernel.lm.thread import shared, wait\n"
        "from rlm_kernel.values import Message, Request\n"
        f"model = resolve({MODEL!r})\n"
        "assert 'litellm' not in sys.modules\n"
        "threading.Thread(target=import_quietly).start()\n"
        "request = Request((Message('user', 'go'),))\n"
        "print(wait(shared().submit(model.ask(request))).text, 'litellm' in sys.modules)\n"
        "assert dict(os.environ) == before, set(os.environ) ^ set(before)\n"
    )
    with OpenAIServer(Answer("answered", usage={})) as server:
        at(server)
        environment = {**os.environ, "PYTHONPATH": os.getcwd()}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60
        )

    assert (done.returncode, done.stdout, done.stderr) == (0, "answered True\n", "")


def test_the_server_runs_as_a_process_of_its_own(at):
    import json
    import urllib.request

    command = [sys.executable, "-m", "tests.openai_server", "--latency-s", "0.01", "--text", "from afar"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            at(type("Remote", (), {"url": url}))
            reply = ask(completion())
            with urllib.request.urlopen(url.removesuffix("/v1") + "/log") as response:
                log = json.load(response)
        finally:
            process.terminate()

    assert reply.text == "from afar"
    assert log == {"calls": 1, "tokens_in": 4, "tokens_out": 3, "in_flight": 0, "max_in_flight": 1, "disconnects": 0}
