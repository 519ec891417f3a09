"""
An OpenAI-compatible `/v1/chat/completions` on 127.0.0.1, with faults on order.

Two uses. In a test: `with OpenAIServer(["first", Answer(status=500)]) as server:` runs it in a thread and loop of its
own; `server.url` is the API base, `server.requests` what came in. In a benchmark, as a process of its own:

    python -m tests.openai_server --port 0 --latency-s 0.1 --text "ok" [--echo | --agent-steps 3]

prints its URL on the first line; `GET /log` returns the counts as JSON, `DELETE /log` sets them to zero.

It leaves out tools, images and embeddings. A token is four characters here. `cached_tokens` is what an exact-prefix
cache of whole messages would serve, over all requests so far. A POST to any other path is logged and answered 404.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

Fault = Literal[
    "drop",  # the connection is cut before a byte is answered
    "drop_mid_stream",  # half of the text, then the connection is cut
    "end_mid_stream",  # half of the text, then a clean end without finish_reason, usage or [DONE]
    "error_mid_stream",  # half of the text, then an error object
    "stall_mid_stream",  # half of the text, then silence
    "null",  # content is null
    "tool_calls",  # no content, one tool call
    "garbage",  # 200, and a body that is neither JSON nor SSE
]


@dataclass(frozen=True, slots=True)
class Answer:
    """How one request is answered. A `status` other than 200 gives an error body of `text`, `code` and `headers`."""

    text: str = "ok"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    code: str | None = None
    fault: Fault | None = None
    finish_reason: str = "stop"
    latency_s: float | None = None
    """Before the first byte; None takes the server's own."""
    company: int = 0
    """Not before so many requests were under way at once, or twenty seconds have passed."""
    chunk_pause_s: float = 0.0
    """Between the pieces of a stream."""
    reasoning: str = ""
    """Sent as `reasoning_content` before the text, and counted in `reasoning_tokens`."""
    usage: dict[str, Any] | None = None
    """In place of the counted usage. `{}` sends none at all."""
    html: bool = False
    """The error body is `text` itself, as text/html."""


Script = str | Answer | Sequence[str | Answer] | Callable[[dict[str, Any]], str | Answer]


@dataclass(slots=True)
class Logged:
    path: str
    body: dict[str, Any]
    authorization: str
    started: float
    """By `time.monotonic`."""
    ended: float | None = None
    disconnected: bool = False
    """The client went away before the answer was complete."""


def echo(body: dict[str, Any]) -> str:
    """The newest message, for tests of order."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def agent_of(steps: int) -> Callable[[dict[str, Any]], str]:
    """The replies of an agent that looks at its context until its last step, and then gives it back."""

    def reply(body: dict[str, Any]) -> str:
        last = len(body["messages"]) >= 2 * steps
        return f"I look.\n```repl\n{'FINAL(context)' if last else 'print(context)'}\n```"

    return reply


class OpenAIServer:
    """A list of answers is used in order, and its last one from then on."""

    def __init__(self, script: Script = "ok", *, latency_s: float = 0.0, chunk_chars: int = 400, port: int = 0) -> None:
        self.script = script
        self.latency_s = latency_s
        self.chunk_chars = chunk_chars
        self.port = port
        self.requests: list[Logged] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self.tokens_in = 0
        self.tokens_out = 0
        self._answered = 0
        self._prefixes: set[int] = set()
        self._loop = asyncio.new_event_loop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def play(self, script: Script) -> None:
        """From now on another script, and a log that begins with it."""
        self.script = script
        self.clear()

    def clear(self) -> None:
        self.requests.clear()
        self.max_in_flight = self.tokens_in = self.tokens_out = self._answered = 0
        self._prefixes.clear()

    def counts(self) -> dict[str, int]:
        return {
            "calls": len(self.requests),
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "disconnects": sum(r.disconnected for r in self.requests),
        }

    def wait_until(self, condition: Callable[[OpenAIServer], bool], timeout_s: float = 5.0) -> bool:
        """True as soon as the condition holds; False when it did not in time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if condition(self):
                return True
            time.sleep(0.01)
        return condition(self)

    def __enter__(self) -> OpenAIServer:
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner = asyncio.run_coroutine_threadsafe(self.start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def start(self) -> web.AppRunner:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/log", self._log)
        app.router.add_delete("/log", self._reset)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_post("/{path:.*}", self._elsewhere)
        # handler_cancellation: a handler that waits learns at once that its client went away.
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, backlog=2048)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner

    async def _log(self, _: web.Request) -> web.Response:
        return web.json_response(self.counts())

    async def _reset(self, _: web.Request) -> web.Response:
        self.clear()
        return web.json_response(self.counts())

    async def _elsewhere(self, request: web.Request) -> web.Response:
        self._note(request, await request.json())
        return web.json_response({"error": {"message": f"no such path {request.path}"}}, status=404)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        logged = self._note(request, body)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            return await self._answer(request, body, self._next(body))
        except (asyncio.CancelledError, ConnectionResetError):
            logged.disconnected = True
            raise
        finally:
            self.in_flight -= 1
            logged.ended = time.monotonic()

    def _note(self, request: web.Request, body: dict[str, Any]) -> Logged:
        logged = Logged(request.path, body, request.headers.get("Authorization", ""), time.monotonic())
        self.requests.append(logged)
        return logged

    def _next(self, body: dict[str, Any]) -> Answer:
        if callable(self.script):
            answer = self.script(body)
        elif isinstance(self.script, str | Answer):
            answer = self.script
        else:
            answer = self.script[min(self._answered, len(self.script) - 1)]
        self._answered += 1
        return Answer(answer) if isinstance(answer, str) else answer

    async def _answer(self, request: web.Request, body: dict[str, Any], answer: Answer) -> web.StreamResponse:
        end = time.monotonic() + 20
        while self.max_in_flight < answer.company and time.monotonic() < end:
            await asyncio.sleep(0.01)
        await asyncio.sleep(self.latency_s if answer.latency_s is None else answer.latency_s)
        if answer.fault == "drop":
            return _cut(request)
        if answer.fault == "garbage":
            return web.Response(text="\x00\x01 this is not JSON <html>")
        if answer.status != 200:
            if answer.html:
                return web.Response(
                    status=answer.status, text=answer.text, content_type="text/html", headers=answer.headers
                )
            error = {"message": answer.text, "type": "test_error", "code": answer.code}
            return web.json_response({"error": error}, status=answer.status, headers=answer.headers)
        usage = answer.usage if answer.usage is not None else self._usage(body, answer)
        self.tokens_in += usage.get("prompt_tokens", 0)
        self.tokens_out += usage.get("completion_tokens", 0)
        if body.get("stream"):
            return await self._stream(request, body, answer, usage)
        return web.json_response(_whole(body, answer, usage))

    async def _stream(
        self, request: web.Request, body: dict[str, Any], answer: Answer, usage: dict[str, Any]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **answer.headers})
        await response.prepare(request)

        async def send(event: dict[str, Any]) -> None:
            await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")

        def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
            choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
            return {**_head(body, "chat.completion.chunk"), "choices": choices}

        if answer.reasoning:
            await send(chunk({"role": "assistant", "reasoning_content": answer.reasoning}))
        message = _message(answer)
        text = message["content"] or ""
        pieces = [text[i : i + self.chunk_chars] for i in range(0, len(text), self.chunk_chars)]
        broken = answer.fault is not None and answer.fault.endswith("_mid_stream")
        if broken:
            pieces = [text[: len(text) // 2]]
        for piece in pieces:
            await send(chunk({"role": "assistant", "content": piece}))
            await asyncio.sleep(answer.chunk_pause_s)
        if answer.fault == "drop_mid_stream":
            await asyncio.sleep(0.02)  # or the cut would overtake the text
            return _cut(request)
        if answer.fault == "stall_mid_stream":
            await asyncio.sleep(3600)
        if answer.fault == "error_mid_stream":
            await send({"error": {"message": "the model fell over", "type": "server_error", "code": 500}})
        if broken:
            return response
        if "tool_calls" in message:
            call = {"index": 0, **message["tool_calls"][0]}
            await send(chunk({"role": "assistant", "content": None, "tool_calls": [call]}))
        await send(chunk({}, answer.finish_reason))
        if usage and (body.get("stream_options") or {}).get("include_usage"):
            await send({**_head(body, "chat.completion.chunk"), "choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response

    def _usage(self, body: dict[str, Any], answer: Answer) -> dict[str, Any]:
        prompt = cached = 0
        prefix = 0
        for message in body["messages"]:
            content = message["content"]
            content = content if isinstance(content, str) else json.dumps(content)
            prompt += len(content) // 4 + 1
            prefix = hash((prefix, message["role"], content))
            if prefix in self._prefixes:
                cached = prompt
            self._prefixes.add(prefix)
        reasoning = len(answer.reasoning) // 4
        completion = len(answer.text) // 4 + 1 + reasoning
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _head(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": body.get("model", "")}


def _message(answer: Answer) -> dict[str, Any]:
    if answer.fault == "null":
        return {"role": "assistant", "content": None}
    if answer.fault == "tool_calls":
        function = {"name": "search", "arguments": "{}"}
        return {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        }
    return {"role": "assistant", "content": answer.text}


def _whole(body: dict[str, Any], answer: Answer, usage: dict[str, Any]) -> dict[str, Any]:
    message = _message(answer)
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    choices = [{"index": 0, "message": message, "finish_reason": answer.finish_reason}]
    whole = {**_head(body, "chat.completion"), "choices": choices}
    return {**whole, "usage": usage} if usage else whole


def main() -> None:
    parser = argparse.ArgumentParser(description="An OpenAI-compatible test server.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-s", type=float, default=0.0)
    parser.add_argument("--text", default="ok")
    parser.add_argument("--chunk-chars", type=int, default=400)
    parser.add_argument("--agent-steps", type=int, help="play agents that take so many steps")
    parser.add_argument("--echo", action="store_true", help="reply with the newest message")
    options = parser.parse_args()
    script: Script = echo if options.echo else options.text
    if options.agent_steps is not None:
        script = agent_of(options.agent_steps)
    server = OpenAIServer(
        script,
        latency_s=options.latency_s,
        chunk_chars=options.chunk_chars,
        port=options.port,
    )

    async def serve() -> None:
        await server.start()
        print(server.url, flush=True)
        await asyncio.Event().wait()

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
