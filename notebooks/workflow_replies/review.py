"""
Recorded replies for workflow.ipynb: the agents of four states, told apart by what they are asked.

The cells are real and compute with the real text; what only a reader can judge stands in words.
"""

import re

READER = [
    """\
The contract is one text of several agreements. I find where mine begins and ends, and see what its paragraphs are like.

```repl
lines = context.contract.splitlines()
headings = [number for number, line in enumerate(lines) if line.endswith("-" * 20)]
first = next(number for number in headings if lines[number].startswith("{title}"))
last = next((number for number in headings if number > first), len(lines))
mine = lines[first + 1 : last]
for line in mine:
    print("-", line[:50], "…", line[-10:])
```""",
    """\
A clause is a paragraph that ends with a full stop; a title and a button do not. What each is about, its words tell.

```repl
import re

SUBJECTS = {
    "parties": "is between",
    "grant": "grants Licensee|Permission to use",
    "notice": "retained in|appear in all copies",
    "changes": "summary of the changes",
    "warranty": "NO REPRESENTATIONS|DISCLAIMS ALL WARRANTIES",
    "liability": "LIABLE",
    "termination": "terminate",
    "law": "governed by",
    "names": "trademarks|advertising",
    "acceptance": "agrees to be bound",
}
clauses = [
    {"number": number, "subjects": [s for s, words in SUBJECTS.items() if re.search(words, text)], "text": text}
    for number, text in enumerate([line for line in mine if line.endswith(".")], 1)
]
FINAL(clauses)
```""",
]

CLAUSES = """\
`context.clauses` is a dict, and too long to read whole. Its beginning shows how it is made.

```repl
READ("clauses", max_tokens=150)
```"""

LAW = """\
I take the clauses about the law and keep the places that they name.

```repl
import re

places = "United States|(?:State|Commonwealth) of [A-Z][a-z]+"
law = {}
for name, clauses in context.clauses.items():
    text = " ".join(clause["text"] for clause in clauses if "law" in clause["subjects"])
    law[name] = list(dict.fromkeys(re.findall(f"law of the ({places})", text)))
FINAL(law)
```"""

ENDING = """\
```repl
ending = {
    name: next((clause["number"] for clause in clauses if "termination" in clause["subjects"]), None)
    for name, clauses in context.clauses.items()
}
FINAL(ending)
```"""

DUTIES = """\
```repl
duties = {
    duty: [name for name, clauses in context.clauses.items() if any(duty in clause["subjects"] for clause in clauses)]
    for duty in ("notice", "changes", "names")
}
FINAL(duties)
```"""

CONFLICTS = """\
The conflicts are short enough to be read as they are.

```repl
READ("conflicts")
```"""

DISPUTES = """\
An agreement under more than one law is the worst; none named at all leaves it to the court.

```repl
law = context.conflicts["law"]
several = [name for name, places in law.items() if len(places) > 1]
none = [name for name, places in law.items() if not places]
FINAL([
    {"risk": "more than one law governs", "subject": "law", "in": several, "weight": 3},
    {"risk": "no law is named", "subject": "law", "in": none, "weight": 1},
])
```"""

SHIPPING = """\
A changed copy owes most where a summary of the changes is asked for and the licence ends by itself.

```repl
found = context.conflicts
ends = [name for name, number in found["ending"].items() if number is not None]
FINAL([
    {"risk": "without a summary of the changes the licence ends", "subject": "changes",
     "in": [name for name in found["duties"]["changes"] if name in ends], "weight": 4},
    {"risk": "the notice must be in every copy", "subject": "notice", "in": found["duties"]["notice"], "weight": 2},
])
```"""

REPORT = [
    """\
First the risks that there are.

```repl
READ("risks")
```""",
    """\
The order is for code, and the words of the worst clause are in the store. What to do about it I ask for.

```repl
risks = sorted(
    (risk for found in context.risks.values() for risk in found), key=lambda risk: (-risk["weight"], risk["risk"])
)
worst = risks[0]
words = {
    name: next(clause["text"] for clause in context.clauses[name] if worst["subject"] in clause["subjects"])
    for name in worst["in"]
}
advice = llm_query(f"What should somebody do who ships Python in a product? {worst['risk']}: {', '.join(worst['in'])}")
report = {"advice": advice, "words": words, "risks": [f"{risk['risk']}: {', '.join(risk['in'])}" for risk in risks]}
FINAL(report)
```""",
]

ADVICE = "Ship a list of your changes beside the licence texts, and let nobody merge a patch that is not in it."

STEPS = {
    "List every clause": READER,
    "whose law": [CLAUSES, LAW],
    "how does it end": [CLAUSES, ENDING],
    "what must one do": [CLAUSES, DUTIES],
    "in a dispute": [CONFLICTS, DISPUTES],
    "with a changed copy": [CONFLICTS, SHIPPING],
    "Write the report": REPORT,
}


def reply(request):
    """The words of whichever agent asks."""
    question = request.messages[1].content
    steps = next(steps for words, steps in STEPS.items() if words in question)
    title = re.search('headed "(.+?)"', question)
    text = steps[request.ordinal - 1]
    return text if title is None else text.replace("{title}", title[1])


REPLIES = [{"reply": reply, "times": None}]
COMPLETIONS = [{"reply": ADVICE, "times": None}]
PRICE = (2e-6, 8e-6)  # dollars a token: nothing is paid here, and the tables have something to count
