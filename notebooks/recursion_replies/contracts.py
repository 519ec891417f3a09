"""Recorded replies for recursion.ipynb: the first agent, the readers that it sends out, and the one that compares."""

ROOT = [
    """\
I look at what there is: how many contracts, and what one is like.

```repl
print(len(context), "contracts,", sum(map(len, context.values())), "characters")
name, text = next(iter(context.items()))
print(name, "\\n", text[:300])
```""",
    """\
Each contract is read by a sub-agent of its own, all at once. I hand over the text itself and ask for objects back.

```repl
Clause = dict[str, str | int]
names = list(context)
clauses = llm_query_batched(
    ["List the clauses of this contract: their subject, and the number of days in each."] * len(names),
    [context[name] for name in names],
    schema=list[Clause],
)
by_contract = dict(zip(names, clauses))
assert all(len(found) == 3 for found in clauses)
print({name: len(found) for name, found in by_contract.items()})
```""",
    """\
One more sub-agent compares them. It gets the dictionary itself; nobody types a clause.

```repl
question = "Which subjects have different days in different contracts? A dict of subject to days."
conflicts = llm_query(question, context=by_contract)
print(len(conflicts), "subjects differ")
FINAL(conflicts)
```""",
]

READER = [
    """\
The text is mine alone as `context`. The clauses follow one pattern, so this is for code.

```repl
import re
found = re.findall(r"(\\w+) (?:is|are) due within (\\d+) days", context)
clauses = [{"subject": subject.lower(), "days": days} for subject, days in found]
print(clauses[:1])
FINAL([{**clause, "days": int(clause["days"])} for clause in clauses])
```""",
]

COMPARER = [
    """\
`context` is the caller's own dictionary.

```repl
days = {}
for name, clauses in context.items():
    for clause in clauses:
        days.setdefault(clause["subject"], set()).add(clause["days"])
FINAL({subject: sorted(found) for subject, found in days.items() if len(found) > 1})
```""",
]


def reply(request):
    """The words of whichever agent asks."""
    if request.agent == "0":
        return ROOT[request.ordinal - 1]
    question = request.messages[1].content
    return (COMPARER if "Which subjects" in question else READER)[request.ordinal - 1]


REPLIES = [{"reply": reply, "times": None}]
