"""Runs to replay, fork and resume, made by a scripted model that answers by question; what is in their notebooks."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rlm_kernel
from rlm_kernel.errors import RLMError
from rlm_kernel.values import Run
from tests.kernel_process import block

MODEL = """
import json, os, pathlib

SPEC = json.loads(pathlib.Path(__file__).with_name("spec.json").read_text())
SEEN = {}

def longest(table, text):
    return table[max((key for key in table if key in text), key=len)]

def made(item, request):
    if "asked" in SPEC:
        with open(SPEC["asked"], "a") as file:
            file.write(f"{request.agent} {request.purpose} {request.ordinal}\\n")
    if isinstance(item, dict) and "delays" in item:
        return {"reply": item["reply"], "delay_s": item["delays"].get(request.agent, 0)}
    return item

def step(request):
    lines = request.messages[1].content.split("\\n")
    question = lines[2] if len(lines) > 2 else lines[0]
    return made(longest(SPEC["steps"], question)[request.ordinal - 1], request)

def completion(request):
    prompt = request.messages[1].content
    item = longest(SPEC["completions"], prompt)
    if isinstance(item, list):
        SEEN[prompt] = SEEN.get(prompt, 0) + 1
        item = item[SEEN[prompt] - 1]
    return made(item, request)

REPLIES = [{"reply": step, "times": None}]
COMPLETIONS = [{"reply": completion, "times": None}]
"""


@dataclass
class Case:
    """`steps` are the replies to whom has that word in its question; `completions` those to such prompts."""

    steps: dict[str, list[Any]]
    context: Any = None
    completions: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def model(folder: Path, case: Case, *, name: str = "model", asked: Path | None = None) -> str:
    """What goes after `-m`. With `asked`, a line for each request goes there."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    spec = {"steps": case.steps, "completions": case.completions, **({"asked": str(asked)} if asked else {})}
    (place / "spec.json").write_text(json.dumps(spec))
    (place / "model.py").write_text(MODEL)
    return f"scripted:{place / 'model.py'}"


def record(folder: Path, case: Case, **more: Any) -> Path:
    """The trace notebook of that case, whose question is "the whole"; cells run in the current folder."""
    asked = {"model": model(folder, case), "trace_dir": str(folder / "runs"), **case.settings, **more}
    run: Run | None
    try:
        run = rlm_kernel.run("the whole", copy.deepcopy(case.context), **asked)  # which a cell may change
    except RLMError as error:
        run = error.run
    assert run is not None
    assert run.trace is not None
    return run.trace


def shown(path: Path) -> dict[str, list[dict[str, Any]]]:
    """By id, what the cells of the record put out, without the counts of executions."""
    return {
        cell["id"]: [
            {key: joined(value) for key, value in output.items() if key != "execution_count"}
            for output in cell["outputs"]
        ]
        for cell in json.loads(path.read_text())["cells"]
        if cell["cell_type"] == "code" and cell["metadata"].get("rlm", {}).get("kind") == "cell"
    }


def joined(value: Any) -> Any:
    """As the kernel sent it: nbformat keeps texts as lists of lines."""
    if isinstance(value, dict):
        return {key: joined(item) for key, item in value.items()}
    text = isinstance(value, list) and len(value) > 1 and all(str(line).endswith(("\n", "\r")) for line in value[:-1])
    return "".join(value) if text else value[0] if isinstance(value, list) and len(value) == 1 else value


def edited(path: Path, agent: str, step: int, source: str) -> Path:
    """A copy of the notebook with another source in that cell."""
    notebook = json.loads(path.read_text())
    (cell,) = [c for c in notebook["cells"] if c["metadata"]["rlm"] == {"agent": agent, "step": step, "kind": "cell"}]
    cell["source"] = source if agent == "0" else f"%%agent {agent}\n{source}"
    copy = path.with_name("edited.ipynb")
    copy.write_text(json.dumps(notebook))
    return copy


def inserted(path: Path, source: str, above: str, id: str = "mine") -> Path:
    """A copy with a cell of a person's own above that one."""
    notebook = json.loads(path.read_text())
    at = next(n for n, cell in enumerate(notebook["cells"]) if cell["id"] == above)
    cell = {"cell_type": "code", "id": id, "metadata": {}, "source": source, "outputs": [], "execution_count": None}
    notebook["cells"].insert(at, cell)
    copy = path.with_name("inserted.ipynb")
    copy.write_text(json.dumps(notebook))
    return copy


def cli(*words: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """`jupyter rlm` with these words."""
    command = [sys.executable, "-c", "from rlm_kernel.cli.app import main; main()", *words]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **environ}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, env=env)


def ran(word: str) -> str:
    """A line of a cell that leaves a trace of having run."""
    return f"open('ran.txt', 'a').write('{word} ')"


DEEP = Case(
    {
        "whole": [
            block(f"{ran('w1')}\nxs = llm_query_batched([f'part {{i}}' for i in range(3)], contexts=context)\nxs"),
            block(f"{ran('w2')}\nprint(xs)\nFINAL('xs')"),
        ],
        "part": [
            block(f"{ran('p')}\ny = [llm_query('line', context=c) for c in context]\nprint(y)"),
            block("FINAL(sum(y))"),
        ],
        "line": [block(f"{ran('l')}\nn = llm_query(f'note {{context}}')\nn"), block("FINAL(context * 10 + len(n))")],
    },
    [[1, 2], [3, 4], [5]],
    {"note": "noted"},
    {"max_depth": 2},
)

AS_COMPLETED = """
import asyncio
out = []
for first in asyncio.as_completed([allm_query({what}) for c in context]):
    out.append(await first)
    print(out[-1])
"""

POOL = """
from concurrent.futures import ThreadPoolExecutor, as_completed
with ThreadPoolExecutor(8) as pool:
    for done in as_completed([pool.submit(llm_query, 'same', context=c) for c in context]):
        print(done.result())
"""

DELAYS = {"0.1": 0.15, "0.2": 0.05, "0.3": 0.2, "0.4": 0.1}

CASES = {
    "three levels in a batch": DEEP,
    "gather": Case(
        {
            "whole": [
                block(
                    "import asyncio\nr = await asyncio.gather(*[allm_query('square', context=c) for c in context])\nr"
                ),
                block("FINAL(r)"),
            ],
            "square": [block("FINAL(context ** 2)")],
        },
        [1, 2, 3, 4],
    ),
    "sub-agents as they complete": Case(
        {
            "whole": [block(AS_COMPLETED.format(what="'square', context=c")), block("FINAL(out)")],
            "square": [{"reply": block("FINAL(context ** 2)"), "delays": DELAYS}],
        },
        [3, 1, 4, 2],
    ),
    "completions as they complete": Case(
        {"whole": [block(AS_COMPLETED.format(what="f'c{c}'")), block("FINAL(out)")]},
        [3, 1, 4, 2],
        {f"c{n}": {"reply": f"number {n}", "delay_s": n / 20} for n in (1, 2, 3, 4)},
        {"max_depth": 0},
    ),
    "the same question from many threads": Case(
        {
            "whole": [block(POOL), block("FINAL(1)")],
            "same": [{"reply": block("z = context + 100\nprint(z)"), "delays": DELAYS}, block("FINAL(z)")],
        },
        [1, 2, 3, 4],
    ),
    "completions of a form": Case(
        {"whole": [block("n = llm_query('number', schema=int)\nn"), block("FINAL(n)")]},
        1,
        {"number": ["not one", "still not", "42"]},
        {"max_depth": 0},
    ),
    "sub-agents of a form": Case(
        {
            "whole": [
                block("llm_query('number', context=5, schema=int), llm_query('plain', schema=int)"),
                block("FINAL(1)"),
            ],
            "number": [block("FINAL('five')"), block("FINAL(context)")],
            "plain": ["seven", "7"],
        },
        1,
    ),
    "tools": Case(
        {
            "whole": [
                block(
                    "log = []\ndef find(q: str) -> int:\n    'Finds.'\n    log.append(q)\n    return len(q)\n"
                    "llm_query('use', context='abc', tools=[find]), log"
                ),
                block("FINAL(log)"),
            ],
            "use": [block("FINAL(find(context))")],
        },
        1,
    ),
    "errors, stderr and displays": Case(
        {
            "whole": [
                block("import sys\nprint('out'); print('err', file=sys.stderr); print('more')\n1 / 0"),
                block("import pandas as pd\ndf = pd.DataFrame({'a': [1, 2]})\ndisplay(df)\ndf"),
                block(
                    "shown = display('one', display_id=True)\nshown.update('two')\nprint('\\x1b[31mred\\x1b[0m\\rover')"
                ),
                block("print('before')\nundefined_name"),
                block("class Thing: pass\nprint(Thing())\nresult = {'a': 1}\nFINAL_VAR('result')"),
            ]
        },
        [1],
    ),
    "a process of its own": Case(
        {
            "whole": [block("r = llm_query('far', context=6, isolation='process')\nr"), block("FINAL(r)")],
            "far": [block("w = context * 7\nprint('far', w)"), block("FINAL(w)")],
        },
        1,
    ),
    "a sub-agent's plain text": Case(
        {"whole": [block("t = llm_query('say')\nprint(t)"), block("FINAL(t)")], "say": ["Plain words."]}, 1
    ),
    "plain text": Case({"whole": ["The answer is plain."]}),
    "no answer": Case({"whole": ["hm", "hm", "hm"]}, 1),
    "a strike": Case({"whole": ["I think.", block("print(1)"), block("FINAL(2)")]}, 1),
    "max_steps": Case({"whole": [block("print(1)"), block("answer = 3\nanswer")]}, 1, settings={"max_steps": 2}),
    "max_steps of a sub-agent": Case(
        {
            "whole": [block("r = llm_query('slow', context=1, max_steps=2)\nr"), block("FINAL(r)")],
            "slow": [block("answer = 9\nanswer"), block("print('more')")],
        },
        1,
    ),
    "max_calls in the middle of a batch": Case(
        {"whole": [block("r = llm_query_batched(['a1', 'a2', 'a3', 'a4'], return_exceptions=True)\nr")]},
        1,
        {"a": "fine"},
        {"max_depth": 0, "max_calls": 4},
    ),
    "a sub-agent's model fails": Case(
        {
            "whole": [
                block("try:\n    llm_query('bad', context=1)\nexcept Exception as e:\n    print(type(e).__name__, e)"),
                block("llm_query('bad', context=2)"),
                block("FINAL(1)"),
            ],
            "bad": [{"error": {"kind": "server", "message": "boom 500"}}],
        },
        1,
    ),
    "a completion fails": Case(
        {"whole": [block("llm_query_batched(['good', 'bad'], return_exceptions=True)"), block("FINAL(1)")]},
        1,
        {"good": "fine", "bad": {"error": {"kind": "server", "message": "boom"}}},
        {"max_depth": 0},
    ),
    "a model that there is not": Case(
        {
            "whole": [
                block("try:\n    llm_query('part', context=1, model='gpt-4')\nexcept ValueError as e:\n    print(e)"),
                block("llm_query('part', context=1, model='acme')"),
                block("llm_query_batched(['part', 'other'], model='acme', return_exceptions=True)"),
                block("llm_query('part')"),
                block("FINAL(1)"),
            ],
            "part": [block("FINAL(1)")],
        },
        1,
    ),
    "a completion of a model that there is not": Case(
        {
            "whole": [
                block("try:\n    llm_query('part', model='gpt-4')\nexcept ValueError as e:\n    print(e)"),
                block("llm_query('part', model='gpt-4')"),
                block("llm_query_batched(['part', 'other'], model='nobody/acme', return_exceptions=True)"),
                block("llm_query('part')"),
                block("FINAL(1)"),
            ]
        },
        1,
        {"part": "fine"},
        {"max_depth": 0},
    ),
    "a completion is not waited for": Case(
        {
            "whole": [
                block(
                    "import asyncio\ntry:\n    await asyncio.wait_for(allm_query('slowly'), 0.2)\n"
                    "except asyncio.TimeoutError:\n    print('timed out')"
                ),
                block("FINAL(1)"),
            ]
        },
        1,
        {"slowly": {"reply": "late", "delay_s": 5}},
        {"max_depth": 0},
    ),
    "a sub-agent is not waited for": Case(
        {
            "whole": [
                block(
                    "import asyncio\ntry:\n    await asyncio.wait_for(allm_query('slowly', context=1), 0.2)\n"
                    "except asyncio.TimeoutError:\n    print('timed out')"
                ),
                block("FINAL(1)"),
            ],
            "slowly": [{"reply": "late", "delay_s": 5}],
        },
        1,
    ),
    "a sub-agent runs out of its seconds in a cell": Case(
        {
            "whole": [
                block("r = llm_query_batched(['slow'], contexts=[1], return_exceptions=True, max_seconds=0.3)\nlen(r)"),
                block("FINAL(1)"),
            ],
            "slow": [block("n = 0\nimport time\nwhile True: time.sleep(0.01)")],
        },
        1,
    ),
    "a sub-agent that is not waited for until later": Case(
        {
            "whole": [
                block("import asyncio\ntask = asyncio.ensure_future(allm_query('later', context=3))\nprint('started')"),
                block("await task"),
                block("FINAL(1)"),
            ],
            "later": [block("FINAL(context + 1)")],
        },
        1,
    ),
    "the same cell twice": Case(
        {"whole": [*[block(f"{ran('x')}\nn = globals().get('n', 0) + 1\nn")] * 2, block("FINAL(n)")]}, 1
    ),
    "budget and variables": Case({"whole": [block("budget()"), block("SHOW_VARS()"), block("FINAL(1)")]}, 1),
    "objects for context": Case(
        {
            "whole": [
                block("class A: pass\na = A()\nprint(llm_query('sub', context=a) is a)"),
                block("def f(x):\n    return llm_query('sub', context=x)\nf(3)"),
                block("FINAL(f(4))"),
            ],
            "sub": [block("FINAL(context)")],
        },
        1,
    ),
    "a context that is changed": Case(
        {"whole": [block("context.append(4)\ncontext"), block("FINAL(context)")]}, [1, 2, 3]
    ),
}

CHANCE = Case(
    {
        "whole": [
            block("import random\nr = random.random()\nprint(r)"),
            block("q = llm_query(f'part {r}', context=r)\nq"),
            block("print(llm_query(f'about {q}', schema=float))"),
            block("FINAL(r)"),
        ],
        "part": [block("print(context)"), block("FINAL(context)")],
        "about": [block("FINAL(0.5)")],
    },
    1,
)
