"""
How many tokens a text is, counted without a network.

Counts come from OpenAI's published BPE tables, run by tiktoken: `o200k_base`, or `cl100k_base` for the GPT-4 and
GPT-3.5 models before GPT-4o. The tables are the ones that ship inside the litellm package; litellm itself is not
imported. For a model of another maker the count is an estimate (often within a third, on mixed scripts further
off); what a provider reports in `usage` is always better. Where the tables or tiktoken are missing, a token is
taken to be four bytes of UTF-8.

This module sets no environment variable: tiktoken's own way to a local table is TIKTOKEN_CACHE_DIR, and a person's
cells would inherit that.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import re
import threading
import types
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from rlm_kernel.values import Message

if TYPE_CHECKING:
    import tiktoken

EXACT_CHARS = 100_000
"""A text up to this length is counted whole, which takes 0.1 s at the very worst."""
SAMPLES = 16
"""A longer one is counted in this many evenly spread pieces, and scaled."""
SAMPLE_CHARS = 4_000

MESSAGE_TOKENS = 4
"""What a role and the marks around a message cost, about; OpenAI's cookbook says 3, others take more."""
REPLY_TOKENS = 3
"""The marks that open the reply."""

REMEMBERED = 20_000
"""Counts kept. A key is two integers and a name, not the text, so this is two or three megabytes."""

_OLDER = re.compile(r"gpt-(3\.?5|4(?![o.\d]))")
_TABLES = ("o200k_base", "cl100k_base")

_counts: dict[tuple[int, int, str], int] = {}
_load_lock = threading.Lock()


def count(text: str, model: str = "") -> int:
    """Tokens of a text; exact for OpenAI's models up to EXACT_CHARS, from there an estimate."""
    table = "cl100k_base" if _OLDER.search(model) else "o200k_base"
    # A str remembers its own hash: the messages of an append-only conversation cost one look-up each.
    key = (len(text), hash(text), table)
    known = _counts.get(key)
    if known is None:
        if len(_counts) >= REMEMBERED:
            _counts.clear()
        known = _counts[key] = _count(text, table)
    return known


def count_messages(messages: Iterable[Message], model: str = "") -> int:
    """Tokens of a prompt. Only messages that were never counted before cost more than a look-up."""
    return sum(count(m.role, model) + count(m.content, model) + MESSAGE_TOKENS for m in messages) + REPLY_TOKENS


def load_tables() -> None:
    """Load both tables now (0.7 s, 100 MB of memory between them), so that no later count has to."""
    for table in _TABLES:
        _encoding(table)


def _count(text: str, table: str) -> int:
    if len(text) <= EXACT_CHARS:
        return _count_exactly(text, table)
    stride = (len(text) - SAMPLE_CHARS) / (SAMPLES - 1)
    starts = [int(i * stride) for i in range(SAMPLES)]
    sampled = sum(_count_exactly(text[start : start + SAMPLE_CHARS], table) for start in starts)
    return round(sampled * len(text) / (SAMPLES * SAMPLE_CHARS))


def _count_exactly(text: str, table: str) -> int:
    encoding = _encoding(table)
    if encoding is None:
        return -(-len(text.encode("utf-8", "surrogatepass")) // 4)
    # encode_ordinary: a text that spells `<|endoftext|>` is text. It takes lone surrogates as U+FFFD.
    return len(encoding.encode_ordinary(text))


def _encoding(table: str) -> tiktoken.Encoding | None:
    with _load_lock:
        return _load(table)


@lru_cache
def _load(table: str) -> tiktoken.Encoding | None:
    # Lazy: 20 ms and a native library that the kernel's start does not need.
    try:
        import tiktoken
        import tiktoken.registry
        import tiktoken_ext.openai_public as public  # type: ignore[import-untyped]
    except ImportError:
        return None
    folder = _folder()
    if folder is None:
        return None

    def read(url: str, expected_hash: str) -> dict[bytes, int]:
        body = (folder / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()).read_bytes()
        if hashlib.sha256(body).hexdigest() != expected_hash:
            raise OSError(f"the table of {url} is damaged")
        pairs = (line.split() for line in body.splitlines() if line)
        return {base64.b64decode(token): int(rank) for token, rank in pairs}

    # tiktoken's definition of an encoding (pattern, special tokens) is a function that downloads the table on its
    # way. The same function, with our reader under the name that it calls, takes the table from the folder.
    definition = types.FunctionType(getattr(public, table).__code__, {**vars(public), "load_tiktoken_bpe": read})
    try:
        encoding = tiktoken.Encoding(**definition())
    except OSError:
        return None
    # litellm counts too, where a provider reports no usage. Found here, no table is loaded twice or downloaded.
    return tiktoken.registry.ENCODINGS.setdefault(table, encoding)


def _folder() -> Path | None:
    """Where litellm keeps tables, named as in tiktoken's cache by the SHA-1 of their URL."""
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "litellm_core_utils" / "tokenizers"
