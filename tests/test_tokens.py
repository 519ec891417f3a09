"""Token counts: where they come from, and that no text breaks or delays them."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from rlm_kernel.lm import tokens
from rlm_kernel.values import Message


def test_a_known_text_has_the_count_of_the_published_table():
    counted = (tokens.count("hello world", "openai/gpt-5-mini"), tokens.count("漢字仮名交じり文", "openai/gpt-4o"))

    assert counted == (2, 9)


def test_the_older_models_are_counted_with_their_own_table():
    text = "漢字仮名交じり文"

    counted = {m: tokens.count(text, m) for m in ("openai/gpt-4", "azure/gpt-35-turbo", "openai/gpt-4.1", "gpt-4o")}

    assert counted == {"openai/gpt-4": 10, "azure/gpt-35-turbo": 10, "openai/gpt-4.1": 9, "gpt-4o": 9}


@pytest.mark.parametrize("text", ["", "\ud800 alone", "<|endoftext|>", "\0\r\n", "a\u0301" * 10])
def test_no_text_is_refused(text):
    counted = tokens.count(text)

    assert 0 <= counted <= len(text) * 3


def test_a_prompt_costs_its_messages_and_their_marks():
    messages = (Message("system", "hello world"), Message("user", "hello world"))

    counted = tokens.count_messages(messages, "")

    assert counted == 2 * (1 + 2 + tokens.MESSAGE_TOKENS) + tokens.REPLY_TOKENS


@pytest.mark.parametrize("text", ["a", " ", "\ud800", "漢字", "the quick brown fox "])
def test_a_text_of_ten_million_characters_is_counted_in_a_moment(text):
    long = (text * 10_000_000)[:10_000_000]
    tokens.count("")
    started = time.thread_time()

    counted = tokens.count(long)

    exact = tokens.count(long[: tokens.EXACT_CHARS]) * len(long) / tokens.EXACT_CHARS
    assert counted == pytest.approx(exact, rel=0.05)
    assert time.thread_time() - started < 2.0


def test_a_conversation_that_grows_is_not_counted_again_from_the_start(monkeypatch):
    counted: list[str] = []
    exactly = tokens._count_exactly
    monkeypatch.setattr(tokens, "_count_exactly", lambda text, table: counted.append(text) or exactly(text, table))
    messages = tuple(Message("user", f"growing {i}") for i in range(50))

    for length in range(1, 51):
        tokens.count_messages(messages[:length])

    assert [text for text in counted if text.startswith("growing")] == [m.content for m in messages]


def test_without_the_tables_a_token_is_four_bytes(monkeypatch):
    monkeypatch.setattr(tokens, "_folder", lambda: None)
    tokens._load.cache_clear()
    tokens._counts.clear()

    counted = (tokens.count("12345678"), tokens.count("123456789"), tokens.count("\ud800"))

    tokens._load.cache_clear()
    tokens._counts.clear()
    assert counted == (2, 3, 1)


def test_counting_imports_no_litellm_and_leaves_the_environment_alone():
    code = (
        "import os, sys; before = dict(os.environ)\n"
        "from rlm_kernel.lm import tokens\n"
        "assert 'tiktoken' not in sys.modules\n"
        "assert tokens.count('hello world') == 2\n"
        "assert 'litellm' not in sys.modules and dict(os.environ) == before\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))

    assert (done.returncode, done.stderr) == (0, "")
