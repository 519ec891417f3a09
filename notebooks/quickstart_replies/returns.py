"""Recorded replies for the first question of quickstart.ipynb: which product comes back most, and why."""

REPLIES = [
    """\
I look first: what one letter is like, and how many there are.

```repl
print(f"{len(context):,} letters, {sum(map(len, context)):,} characters")
for letter in context[::400]:
    print("-", letter)
```""",
    """\
Every letter names its product after "my". That part is for code; the reason is for a reader.

```repl
import re
from collections import Counter, defaultdict

letters_about = defaultdict(list)
for letter in context:
    letters_about[re.search(r"my (\\w+)", letter).group(1)].append(letter)

returned = Counter({name: sum("send it back" in text for text in found) for name, found in letters_about.items()})
share = {name: n / len(letters_about[name]) for name, n in returned.items()}
worst = max(share, key=share.get)
print({name: f"{value:.0%}" for name, value in share.items()}, "worst:", worst)
```""",
    """\
The figures are exact. Now I let a model read a sample of the letters about the worst one, all pieces at once.

```repl
sample = [text for text in letters_about[worst] if "send it back" in text][:6]
ask = "In at most three words, why does this customer return it?\\n\\n"
reasons = llm_query_batched([ask + text for text in sample])
by_reason = Counter(reasons)
by_reason
```""",
    """\
```repl
answer = {"product": worst, "returned": round(share[worst], 3), "letters": len(letters_about[worst])}
FINAL(answer | {"reasons": dict(by_reason)})
```""",
]


def reason(request):
    """Stands for a model that reads one letter; it sees the question and nothing else."""
    letter = request.messages[-1].content
    return "stopped working" if "stopped" in letter else "too loud" if "noise" in letter else "did not fit"


# What `llm_query` asks is a sub-agent. One that was given no context may answer in text, and then it is one call.
REPLIES.append({"reply": reason, "when": lambda request: request.agent != "0", "times": None})
