"""
What an exception from a provider means: which kind, whether to try again, after how long, and in which words.

litellm's classes alone do not say it: a refused connection, a dropped one and a body that is no JSON all arrive as
InternalServerError with status 500, a stream that breaks as MidStreamFallbackError. So the whole chain of causes is
read, by class name; that way nothing here imports litellm. How a retry is made is `lm.litellm`'s affair.
"""

from __future__ import annotations

import email.utils
import json
import os
import random
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

MAX_RETRIES = 4
FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
MAX_RETRY_AFTER_S = 120.0
"""A provider that asks for a longer wait is not waited for: the error says so, and the person decides."""

MAX_MESSAGE_CHARS = 300

_NO_ANSWER = {"ConnectError", "ReadError", "WriteError", "CloseError", "RemoteProtocolError", "ServerDisconnectedError"}
_NO_ANSWER |= {"ClientPayloadError", "ClientConnectorError", "ClientOSError", "ProxyError", "EndpointConnectionError"}
_TOO_SLOW = {"APITimeoutError", "TimeoutException", "TimeoutError", "Timeout"}
_BY_STATUS = {401: "key", 403: "key", 402: "rate_limit", 404: "unknown_model", 408: "timeout", 413: "too_long"}
_SAID = {
    "key": "no valid key",
    "unknown_model": "no such model there",
    "rate_limit": "too many requests",
    "server": "the provider failed",
    "connection": "no connection",
    "timeout": "no answer in time",
    "too_long": "the prompt is too long for this model",
    "refused": "the provider refused the content",
    "bad_request": "the request was rejected",
}


class ProviderFailure(Exception):
    """One failed try. `detail` is one short line, without keys and markup."""

    def __init__(
        self, kind: str, detail: str, *, status: int | None = None, retry: bool, retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.status = status
        self.retry = retry
        self.retry_after_s = retry_after_s

    def wait_s(self, tried: int) -> float | None:
        """How long to wait before the next try, after `tried` failed ones; None where there is to be none."""
        if not self.retry or tried > MAX_RETRIES:
            return None
        if self.retry_after_s is None:
            # Half of it at random: the calls of a batch that failed together should not come back together.
            return min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (tried - 1)) * random.uniform(0.5, 1.0)
        if self.retry_after_s > MAX_RETRY_AFTER_S:
            return None
        return self.retry_after_s + random.uniform(0.0, 0.2)

    def sentence(self, model: str, tries: int) -> str:
        """For the person: one line of at most MAX_MESSAGE_CHARS."""
        status = f" (HTTP {self.status})" if self.status is not None else ""
        often = f" after {tries} tries" if tries > 1 else ""
        wait = ""
        if self.retry_after_s is not None and self.retry_after_s > MAX_RETRY_AFTER_S:
            wait = f"; it asks to wait {self.retry_after_s:.0f} s, which is too long to wait here"
        detail = f": {self.detail}" if self.detail else ""
        return _cut(f"{model}: {_SAID[self.kind]}{status}{often}{wait}{detail}")


def classify(error: BaseException) -> ProviderFailure:
    """The meaning of what litellm raised."""
    chain = list(_chain(error))
    names = {cls.__name__ for link in chain for cls in type(link).__mro__}
    answered = bool(names & {"HTTPStatusError", "MaskedHTTPStatusError"})
    exact = {type(link).__name__ for link in chain}
    if not answered:
        if "credentials" in str(error):  # none at all: the SDKs say so before they send anything
            return ProviderFailure("key", _tidy(str(error)), retry=False)
        if "ImportError" in names:  # `pip install boto3`, and the like
            return ProviderFailure("bad_request", _tidy(str(error)), retry=False)
        if names & _TOO_SLOW:
            return ProviderFailure("timeout", _tidy(str(chain[-1])), retry=True)
        if exact & _NO_ANSWER:
            return ProviderFailure("connection", _tidy(str(chain[-1])), retry=True)
    head = next((link for link in chain if type(link).__name__ != "MidStreamFallbackError"), error)
    status = _status(head)
    text = f"{head} {getattr(head, 'body', '')}"
    kind = _kind(names, status, text)
    retry = kind in ("rate_limit", "server", "connection", "timeout") and status != 402
    if kind == "rate_limit" and "insufficient_quota" in text:
        retry = False  # no wait fills an empty account
    return ProviderFailure(
        kind, _tidy(_provider_words(head)), status=status, retry=retry, retry_after_s=_retry_after_s(head)
    )


def redact(text: str) -> str:
    """The text without anything that is, or looks like, a key."""
    for name, value in os.environ.items():
        if len(value) >= 6 and re.search(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", name, re.IGNORECASE):
            text = text.replace(value, "***")
    return re.sub(r"\b(sk-|Bearer\s+|key=)[\w.-]{6,}", r"\1***", text)


def _kind(names: set[str], status: int | None, text: str) -> str:
    if "ContextWindowExceededError" in names or "context_length_exceeded" in text:
        return "too_long"
    if "ContentPolicyViolationError" in names or re.search(r"content_policy_violation|content_filter", text):
        return "refused"
    if "LiteLLMUnknownProvider" in names or "LLM Provider NOT provided" in text:
        return "unknown_model"
    if status == 429:
        return "rate_limit"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status is not None and 400 <= status < 500:
        return "bad_request"
    # A status below 400 here is a body that could not be read.
    return "server"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, down to the first; bounded, since such chains have been seen to be rings."""
    link: Any = error
    for _ in range(12):
        if not isinstance(link, BaseException):
            return
        yield link
        link = getattr(link, "original_exception", None) or link.__cause__ or link.__context__


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return int(status) if isinstance(status, int | str) and str(status).isdigit() else None


def _retry_after_s(error: BaseException) -> float | None:
    """`retry-after-ms`, or `Retry-After` in seconds or as an HTTP date (RFC 9110, 10.2.3)."""
    headers = _headers(error)
    try:
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    except (KeyError, ValueError):
        value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass  # not a number; then it may be a date
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def _headers(error: BaseException) -> dict[str, str]:
    found: dict[str, str] = {}
    for headers in (
        getattr(getattr(error, "response", None), "headers", None),
        getattr(error, "litellm_response_headers", None),
    ):
        if isinstance(headers, Mapping):
            found.update({str(k).lower(): str(v) for k, v in headers.items()})
    return found


def _provider_words(error: BaseException) -> str:
    """What the provider itself said, out of litellm's wrapping."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    if isinstance(message, str):
        return message
    text = str(error)
    start = text.find("{")
    if start >= 0:
        try:
            said, _ = json.JSONDecoder().raw_decode(text[start:])
        except ValueError:
            return text
        inner = said.get("error", said)
        message = inner.get("message") if isinstance(inner, dict) else inner
        if isinstance(message, str):
            return message
    return text


def _tidy(text: str) -> str:
    text = re.sub(r"^(?:(?:litellm\.)?\w*(?:Error|Exception|Timeout)(?: Error)?\s*[:-]\s*)+", "", text)
    text = re.sub(r"(?is)<(script|style|head)\b.*?</\1>|<[^>]*>", " ", text)
    text = text.partition("Traceback (most recent call last)")[0]
    text = re.sub(r" ssl:<.*|[\x00-\x1f\x7f]", " ", text)
    return _cut(redact(" ".join(text.split())))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"
