"""The replies of names.ipynb: results by name, a workflow in a cell, what a child process prints."""


def block(code, prose=""):
    return f"{prose}\n\n```repl\n{code}\n```"


FLOW = """\
from rlm_kernel.workflow import Flow, Orchestrator, asks

review = Orchestrator(
    Flow({"twice": ["report"], "report": []}, start="twice"),
    {
        "twice": lambda task, store: [name for name, count in store["counts"].items() if count > 1],
        "report": asks("Say who comes twice, by {twice}."),
    },
    returns={"twice": list[str], "report": str},
)
review.run(context).path"""

REPLIES = [
    block(
        "import subprocess\nsubprocess.run(['echo', 'from a child'])\n"
        "WRITE('names', ['ann', 'bob', 'ann', 'cleo'], note='as they came')\nLIST_CONTEXT()",
        "What is there gets a name.",
    ),
    block(
        "WRITE('counts', llm_query('Count the names.', context=context.only('names'), max_read_tokens=40))\n"
        "READ('counts'), budget().read_tokens",
        "Somebody else counts.",
    ),
    {"reply": block("READ('names', rows=(0, 2))"), "when": "Count the names"},
    {
        "reply": block("print('x' * 1_000)\nnames = context.names\nlen(names)"),
        "when": lambda r: (r.agent, r.ordinal) == ("0.1", 2),
    },
    {
        "reply": block("FINAL({name: names.count(name) for name in sorted(set(names))})"),
        "when": lambda r: (r.agent, r.ordinal) == ("0.1", 3),
    },
    {"reply": block("FINAL(f'{context.twice[0]} comes twice')"), "when": "Say who comes twice"},
    block(FLOW, "The rest is fixed."),
    block("READ('reprot')"),
    block("FINAL('report')"),
]
