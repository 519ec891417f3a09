"""What the cells of the recorded runs put out, as it stands in their notebooks."""

from __future__ import annotations

import re
from typing import Any

FINALS: list[str] = []
"""A cell that puts out nothing: FINAL is in it."""
NO_MODEL = (
    "'{}' does not name a model: write provider/model or scripted:PATH; set one with %config RLM.model = "
    '"openai/gpt-5-mini", with -m openai/gpt-5-mini, or with RLM_MODEL'
)
NO_PROVIDER = (
    "there is no model provider \"nobody\" for 'nobody/acme'. A model is written provider/model, as in "
    '"openai/gpt-5-mini"; the providers are listed at https://docs.litellm.ai/docs/providers'
)

EACH_KIND: dict[str, dict[str, list[str]]] = {
    "three levels in a batch": {
        "a0-s1": ["is [40, 80, 55]"],
        "a0-s2": ["[40, 80, 55]\n"],
        "a0-1-s1": ["[15, 25]\n"],
        "a0-1-s2": FINALS,
        "a0-1-1-s1": ["is 'noted'"],
        "a0-1-1-s2": FINALS,
        "a0-1-2-s1": ["is 'noted'"],
        "a0-1-2-s2": FINALS,
        "a0-2-s1": ["[35, 45]\n"],
        "a0-2-s2": FINALS,
        "a0-2-1-s1": ["is 'noted'"],
        "a0-2-1-s2": FINALS,
        "a0-2-2-s1": ["is 'noted'"],
        "a0-2-2-s2": FINALS,
        "a0-3-s1": ["[55]\n"],
        "a0-3-s2": FINALS,
        "a0-3-1-s1": ["is 'noted'"],
        "a0-3-1-s2": FINALS,
    },
    "gather": {
        "a0-s1": ["is [1, 4, 9, 16]"],
        "a0-s2": FINALS,
        "a0-1-s1": FINALS,
        "a0-2-s1": FINALS,
        "a0-3-s1": FINALS,
        "a0-4-s1": FINALS,
    },
    "sub-agents as they complete": {
        "a0-s1": ["1\n16\n9\n4\n"],
        "a0-s2": FINALS,
        "a0-1-s1": FINALS,
        "a0-2-s1": FINALS,
        "a0-3-s1": FINALS,
        "a0-4-s1": FINALS,
    },
    "completions as they complete": {
        "a0-s1": ["number 1\nnumber 2\nnumber 3\nnumber 4\n"],
        "a0-s2": FINALS,
    },
    "the same question from many threads": {
        "a0-s1": ["102\n104\n101\n103\n"],
        "a0-s2": FINALS,
        "a0-1-s1": ["101\n"],
        "a0-1-s2": FINALS,
        "a0-2-s1": ["102\n"],
        "a0-2-s2": FINALS,
        "a0-3-s1": ["103\n"],
        "a0-3-s2": FINALS,
        "a0-4-s1": ["104\n"],
        "a0-4-s2": FINALS,
    },
    "a model that there is not": {
        "a0-s1": [f"agent 0.1: {NO_MODEL.format('gpt-4')}\n"],
        "a0-s2": [f"UsageError: agent 0.2: {NO_MODEL.format('acme')}"],
        "a0-s3": [
            f"is [UsageError({'agent 0.3: ' + NO_MODEL.format('acme')!r}),\n"
            f" UsageError({'agent 0.4: ' + NO_MODEL.format('acme')!r})]"
        ],
        "a0-s4": ["is 1"],
        "a0-s5": FINALS,
        "a0-5-s1": FINALS,
    },
    "a completion of a model that there is not": {
        "a0-s1": [NO_MODEL.format("gpt-4") + "\n"],
        "a0-s2": ["UsageError: " + NO_MODEL.format("gpt-4")],
        "a0-s3": [f"is [UsageError({NO_PROVIDER!r}),\n UsageError({NO_PROVIDER!r})]"],
        "a0-s4": ["is 'fine'"],
        "a0-s5": FINALS,
    },
    "completions of a form": {
        "a0-s1": ["is 42"],
        "a0-s2": FINALS,
    },
    "sub-agents of a form": {
        "a0-s1": ["is (5, 7)"],
        "a0-s2": FINALS,
        "a0-1-s1": [
            "SchemaMismatch: the answer has not the form that was asked for:\n"
            "the answer: Input should be a valid integer, unable to parse string as an integer"
        ],
        "a0-1-s2": FINALS,
    },
    "tools": {
        "a0-s1": ["is (3, ['abc'])"],
        "a0-s2": FINALS,
        "a0-1-s1": FINALS,
    },
    "errors, stderr and displays": {
        "a0-s1": ["out\n", "stderr: err\n", "more\n", "ZeroDivisionError: division by zero"],
        "a0-s2": ["shows    a\n0  1\n1  2", "is    a\n0  1\n1  2"],
        "a0-s3": ["shows 'two'", "\x1b[31mred\x1b[0m\rover\n"],
        "a0-s4": ["before\n", "NameError: name 'undefined_name' is not defined"],
        "a0-s5": ["<__main__.Thing object at 0x…>\n"],
    },
    "a process of its own": {
        "a0-s1": ["is 42"],
        "a0-s2": FINALS,
        "a0-1-s1": ["far 42\n"],
        "a0-1-s2": FINALS,
    },
    "a sub-agent's plain text": {
        "a0-s1": ["Plain words.\n"],
        "a0-s2": FINALS,
    },
    "plain text": {},
    "no answer": {},
    "a strike": {
        "a0-s2": ["1\n"],
        "a0-s3": FINALS,
    },
    "max_steps": {
        "a0-s1": ["1\n"],
        "a0-s2": ["is 3"],
    },
    "max_steps of a sub-agent": {
        "a0-s1": [
            "stderr: note: agent 0.1 ended before FINAL, because max_steps=2 reached (2 used); "
            "returned is the value that its variable `answer` had then\n",
            "is 9",
        ],
        "a0-s2": FINALS,
        "a0-1-s1": ["is 9"],
        "a0-1-s2": ["more\n"],
    },
    "max_calls in the middle of a batch": {
        "a0-s1": ["is ['fine', 'fine', 'fine', LimitExceeded('max_calls=4 reached (4 used)')]"],
    },
    "a sub-agent's model fails": {
        "a0-s1": ["ModelError agent 0.1: boom 500\n"],
        "a0-s2": ["ModelError: agent 0.2: boom 500"],
        "a0-s3": FINALS,
    },
    "a completion fails": {
        "a0-s1": ["is ['fine', ModelError('boom')]"],
        "a0-s2": FINALS,
    },
    "a completion is not waited for": {
        "a0-s1": ["timed out\n"],
        "a0-s2": FINALS,
    },
    "a sub-agent is not waited for": {
        "a0-s1": ["timed out\n"],
        "a0-s2": FINALS,
    },
    "a sub-agent runs out of its seconds in a cell": {
        "a0-s1": ["is 1"],
        "a0-s2": FINALS,
        "a0-1-s1": ["KeyboardInterrupt: "],
    },
    "a sub-agent that is not waited for until later": {
        "a0-s1": ["started\n"],
        "a0-s2": ["is 4"],
        "a0-s3": FINALS,
        "a0-1-s1": FINALS,
    },
    "the same cell twice": {
        "a0-s1": ["is 1"],
        "a0-s2": ["is 2"],
        "a0-s3": FINALS,
    },
    "budget and variables": {
        "a0-s1": ["is Remaining(steps=29, calls=199, …)"],
        "a0-s2": ["is (no variables yet)"],
        "a0-s3": FINALS,
    },
    "objects for context": {
        "a0-s1": ["True\n"],
        "a0-s2": ["is 3"],
        "a0-s3": FINALS,
        "a0-1-s1": FINALS,
        "a0-2-s1": FINALS,
        "a0-3-s1": FINALS,
    },
    "a context that is changed": {
        "a0-s1": ["is [1, 2, 3, 4]"],
        "a0-s2": FINALS,
    },
}
IN_ANY_ORDER = ("sub-agents as they complete", "the same question from many threads")
"""Which of those that ask side by side is the first is as it comes."""


def read(output: dict[str, Any]) -> str:
    """What a person reads of one output; without addresses, and what is left of limits that are not set."""
    if output["output_type"] == "stream":
        text = output["text"] if output["name"] == "stdout" else f"stderr: {output['text']}"
    elif output["output_type"] == "error":
        text = f"{output['ename']}: {output['evalue']}"
    else:
        how = "shows" if output["output_type"] == "display_data" else "is"
        text = f"{how} {output['data']['text/plain']}"
    return re.sub(r"(?<=calls=199), .*\)", ", …)", re.sub("0x[0-9a-f]+", "0x…", text))


def lines(cells: dict[str, list[str]]) -> list[str]:
    return sorted(line for texts in cells.values() for text in texts for line in text.splitlines())
