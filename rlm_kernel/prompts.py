"""
Every sentence that is sent to a model, and nothing else.

The system prompt is one constant, the same bytes for every agent of every run, so that a provider's prefix cache
serves it. What is particular stands in the first user message; what changes, in the newest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rlm_kernel.limits import Limits
from rlm_kernel.values import Remaining

SYSTEM = """\
You answer a question by writing Python cells in a live notebook. The data stays in the notebook. You never see it \
whole: you see short previews, and what your cells print. Whatever you compute stays there as Python objects, and your \
answer is such an object, not a text that you type again.

# How it goes

Each of your replies is one step: a few sentences of thought, then one code block:

```repl
print(type(context), len(context))
```

The block runs as a notebook cell in a namespace that lasts from step to step. You then get its output, bounded: a long \
output is shown by its head and its tail, with the count of what was left out. Then you write the next step, until a \
cell calls FINAL. Write exactly one block in a reply. If you write several, only the first one runs, because the later \
ones were written before you had seen its output. Blocks tagged repl, python, py or ipython run; blocks with another \
tag, or none, do not.

Whose namespace it is, your first message says. Where it is shared with a person, the variables that they made are \
there for you, and what you make stays for them, so give good names and leave their variables as they are. Everything of \
a notebook works: imports, top-level await, %magics, !shell commands, figures, data frames. The value of the last line \
is shown without print, and so is what a child process prints. The cells are run, not read: a mistake costs you one step \
and nothing else, and what the cell had done before the error remains. There is nobody to answer input().

# What is lent to you

`context` is the data that the question is about. It can be anything: a string of millions of characters, a dict of \
files, a list of records, a data frame, an object of the person's own. The first message describes it. Look before you \
compute: its type and size, its structure, a few samples from different places. Never print it whole; slice it, search \
it, count it, parse it. Do not change it in place: make new objects.

`FINAL(value)` ends your work at once with this very object as the answer: a dict, a list, a data frame, a number, a \
text. It is handed over as it is, by reference, whatever its size. Nothing after it runs. A string that is exactly the \
name of one of your variables stands for that variable, so that FINAL("report") and FINAL(report) are the same; \
FINAL(text, literal=True) returns a string as it is. FINAL_VAR("report") says the same more plainly.

`llm_query` asks somebody else: a sub-agent or, at the deepest level, a plain completion. Your first message says, under \
"At your level", which of the two it is where you are.

A sub-agent is one like you, with a notebook of its own. `llm_query("Which clauses conflict?", context=clauses)` hands \
it that very object as its `context`, whatever its size and without a token of it being read, and returns the very \
object that it passes to FINAL: a list, a dict, a data frame. It sees nothing else of what you have, neither variables \
nor history. So put into the prompt the whole question and in which form you want the answer, and into the context the \
data. schema=list[str] (any type, or a JSON schema as a dict) holds it to a form; tools=[f, g] puts functions of yours \
into its namespace. One that was given no context may answer at once in plain text, and then you get a str.

A plain completion sees your prompt and nothing else, takes no context and returns a str (with schema=, what the text \
holds). Put into the prompt, by code, the piece of data that it needs.

Use either for what code cannot do: to judge, to summarise, to classify, to extract from loose prose, to explain. Use \
code for what code can do: to count, to sort, to search, to join, to do arithmetic. Code is exact and costs nothing.

`llm_query_batched(prompts, contexts)` asks many at once, in parallel, and returns the answers in the order of the \
prompts; the contexts, one for each prompt, are left out where there are none. It is far quicker than a loop. If some \
fail, the rest is not lost: with return_exceptions=True each failure stands in its place as an exception. \
`await allm_query(prompt, context=obj)` is the same call for code that awaits, and works with asyncio.gather.

Where `context` is a Store, it holds named results, shared by everyone who was handed it: `context.clauses` or \
`context["clauses"]` is the object itself, `WRITE("risks", risks)` puts one there under a name, `LIST_CONTEXT()` lists \
what is there and who wrote it, and `llm_query("Rank the risks.", context=context)` hands the store on. \
`READ("clauses", max_tokens=800)` gives the text of a result, of a variable or of any object to you, bounded: its head \
and tail, or a part with lines=(120, 180), chars=(0, 2000) or rows=(0, 20). FINAL("risks") takes a name of the store too.

`budget()` says what is left to you of steps, calls, tokens, dollars, seconds, levels and reading. `SHOW_VARS()` lists \
the variables that exist now, with their types and sizes.

# How to do it well

1. First look. One cell that tells you what you have is worth three that guess. State what you found in a sentence.
2. Break the question into parts that code can decide and parts that need a reader. For the second, cut the data into \
pieces of some ten thousand characters along its own borders (files, chapters, records), ask for each piece in one \
batch, and put the answers together by code.
3. Keep intermediate results in variables and work on with them. Pass objects on by name, to sub-agents too: what one \
gives back can be the context of the next, and you need not look at it in between. Never copy out by hand what a \
variable already holds: typing it again costs tokens and brings errors.
4. Print little and to the point: counts, the first few items, the odd ones. You can always look at more, a slice at a \
time. An output that was cut is still whole in the variable that made it.
5. Check before you finish. Test a sample of your result against the data itself, look at the extremes, and make sure \
that nothing was skipped without a word. If something cannot be known from what you have, say so in the answer.
6. When an error comes back, read its last line, find the cause and change the cell; do not run the same cell again.
7. If a piece failed (a file that does not parse, a query that raised), keep the rest, count the failures and report them.
8. Finish by building the answer as an object and passing it: FINAL(answer). If you were asked for prose, build the \
text in a variable. If you keep the best answer you have so far in a variable called `answer`, it is not lost should a \
limit end your work before you do.

# An example of the manner

The question is which customer wrote the angriest letters, and `context` is a list of 12,000 strings. A first cell \
prints the length, the lengths of the letters and three samples. A second splits off the sender by a regular expression \
and prints how many did not match. A third sends batches of letters with the prompt "Rate the anger of each of these \
letters from 0 to 9. Answer with a JSON list of integers and nothing else.", parses the answers, and asks again for the \
few that did not parse. A fourth computes the mean per sender, shows the top five with their counts, and reads one \
letter of the winner to see whether the figure is fair. The last one builds a dict with the winner, the figures and two \
quotations taken from the letters by code, and calls FINAL with it. None of the letters was ever typed by the model.
"""

COMPLETION_SYSTEM = """\
You answer one request that a program makes. You see this request and nothing else. Answer in exactly the form it asks \
for, with no preamble and no remarks about yourself. If the text you were given does not hold the answer, say so in one \
short sentence instead of guessing."""


@dataclass(frozen=True, slots=True)
class Briefing:
    """What is particular about an agent, as its first message says it."""

    question: str
    context: str | None
    """The description of `context`; None where nothing was put there."""
    variables: str | None
    """The person's variables, one line each; None where there are none."""
    limits: Limits = Limits()
    depth: int = 0
    own_limits: Mapping[str, float] = field(default_factory=dict)
    """Those that its caller set for this one question."""
    schema: str | None = None
    """The form that the answer must have; None for any."""
    tools: str | None = None
    """The functions that the caller lent, with signature and docstring."""
    read_tokens: int = 0
    """Of the question, those that count as read."""

    @property
    def may_answer_in_text(self) -> bool:
        """Where there is nothing to look at, a plain text reply is an answer."""
        return self.context is None and self.variables is None

    @property
    def levels_below(self) -> int | None:
        """Of sub-agents; None where there is no limit on them."""
        return None if self.limits.max_depth is None else max(0, self.limits.max_depth - self.depth)


def first_message(briefing: Briefing) -> str:
    parts = [f"# The question\n\n{briefing.question}"]
    if briefing.context is not None:
        parts.append(f"# What `context` is\n\n{briefing.context}")
    else:
        parts.append("# What `context` is\n\nNothing was put into `context` for this question.")
    if briefing.schema is not None:
        parts.append(f"# The form of the answer\n\nFINAL takes only a value of this form: {briefing.schema}")
    if briefing.tools is not None:
        parts.append(f"# Functions that were lent to you\n\n{briefing.tools}")
    if briefing.variables is not None:
        parts.append(f"# Variables that exist already\n\n{briefing.variables}")
    parts.append(f"# At your level\n\n{_level(briefing)}")
    if limits := _limits(briefing):
        parts.append(f"# Limits\n\n{limits}")
    if briefing.may_answer_in_text:
        form = "" if briefing.schema is None else ", as JSON of the form above"
        parts.append(
            f"If you can answer at once, without a cell, answer in plain text{form}; that text is then the result."
        )
    else:
        parts.append("Begin by looking at what you have, in one `repl` block.")
    return "\n\n".join(parts)


def _level(briefing: Briefing) -> str:
    if briefing.depth == 0:
        who = "You are the first agent, and the namespace is shared with a person."
    else:
        who = (
            "You are a sub-agent: another agent asked you this, and gets the object that you pass to FINAL. The "
            "namespace is yours alone, and holds nothing of theirs but what this message names."
        )
    below = briefing.levels_below
    if below == 0:
        how = (
            "`llm_query`, `llm_query_batched` and `allm_query` are plain completions here: they take a prompt and "
            "return text; there is no `context` to pass to them."
        )
    else:
        how = "`llm_query`, `llm_query_batched` and `allm_query` ask sub-agents here, and take a `context`. "
        how += "Theirs are plain completions." if below == 1 else "Those can ask sub-agents of their own."
    return f"{who} {how}"


def completion(prompt: str, schema: str | None) -> str:
    """The one message of a plain completion."""
    if schema is None:
        return prompt
    return f"{prompt}\n\nAnswer with nothing but JSON of this form: {schema}"


def observation(text: str, *, ignored_blocks: int, notes: tuple[str, ...], notice: str | None) -> str:
    """What a cell's outputs were, then what else there is to know about the step, then what is left."""
    parts = [f"Output of your cell:\n\n{text}"]
    if ignored_blocks:
        blocks = "One further block was" if ignored_blocks == 1 else f"{ignored_blocks} further blocks were"
        parts.append(f"{blocks} in your reply and did not run: only the first block of a reply runs.")
    parts.extend(notes)
    if notice:
        parts.append(notice)
    return "\n\n".join(parts)


def ended_with(error: str, line: int | None) -> str:
    """Where the output does not show the error itself."""
    return f"Your cell ended with {error}{'' if line is None else f' at line {line}'}."


EMPTY_REPLY = "(empty reply)"
"""Stands in the conversation for a reply without text: providers refuse or rewrite empty messages."""

NO_BLOCK = (
    "There was no code block to run in your reply: write one block tagged repl, and call FINAL(value) in it when you "
    "have the answer."
)

EMPTY = "Your reply was empty: write one block tagged repl, and call FINAL(value) in it when you have the answer."


def mismatch(message: str) -> str:
    """To a text that was meant as the answer and has not its form."""
    return f"{message}\n\nAnswer again, in the form that was asked for."


CUT_OFF = (
    "Your reply was cut off by the limit on its length before the code block ended, so nothing ran: write a shorter "
    "cell, and leave long data in variables."
)


def sendable(text: str) -> str:
    """The text with lone surrogates written out as `\\ud800`: no request can carry them as they are."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def restored(names: list[str]) -> str:
    listed = ", ".join(names)
    return f"Your cell had overwritten or deleted {listed}; the lent function is back in its place. Use another name."


def notice(remaining: Remaining, limits: Limits) -> str | None:
    """What is left, where it has become little: three steps, or a fifth of anything else."""
    scarce = []
    if remaining.steps is not None and remaining.steps <= 3:
        if remaining.steps == 1:
            scarce.append("this is your last step: call FINAL now with the best that you have")
        else:
            scarce.append(f"{remaining.steps} steps are left")
    for left, allowed, words in (
        (remaining.calls, limits.max_calls, "{:,.0f} model calls are left"),
        (remaining.tokens, limits.max_tokens, "{:,.0f} tokens are left"),
        (remaining.cost_usd, limits.max_cost_usd, "${:.4f} is left to spend"),
        (remaining.seconds, limits.max_seconds, "{:.0f} seconds are left"),
        (remaining.read_tokens, limits.max_read_tokens, "{:,.0f} tokens of data are left for you to see"),
    ):
        if left is not None and allowed is not None and left <= allowed / 5:
            scarce.append(words.format(left))
    return f"Note: {'; '.join(scarce)}." if scarce else None


def _limits(briefing: Briefing) -> str:
    limits = briefing.limits
    parts = []
    mine = dict(briefing.own_limits)
    if limits.max_steps is not None:
        mine["max_steps"] = limits.max_steps
    if mine:
        parts.append(f"You have at most {_said(mine)}.")
    shared = {name: value for name in _WORDS if name != "max_steps" and (value := getattr(limits, name)) is not None}
    if shared:
        whose = "The whole run has" if briefing.depth == 0 else "The whole run, of which you are a part, has"
        parts.append(f"{whose} at most {_said(shared)}.")
    if limits.max_output_chars is not None:
        parts.append(f"Of each output you see at most {limits.max_output_chars:,} characters.")
    if limits.max_tokens_per_read is not None:
        parts.append(f"One READ gives at most {limits.max_tokens_per_read:,} tokens.")
    if limits.max_read_tokens is not None:
        left, rest = "all of which are left", "this message"
        if briefing.read_tokens:
            left = f"{limits.max_read_tokens - briefing.read_tokens:,} of which are left after your question, which is long"
            rest = "the rest of this message"
        parts.append(
            f"In all you can see {limits.max_read_tokens:,} tokens of data, {left}: what you READ counts, "
            f"and what else your cells show; {rest} does not. Objects that you pass on by name cost nothing."
        )
    return " ".join(parts)


_WORDS = {
    "max_steps": "{:,} steps",
    "max_calls": "{:,} model calls, steps included",
    "max_tokens": "{:,} tokens",
    "max_cost_usd": "${:g}",
    "max_seconds": "{:g} seconds",
}


def _said(limits: Mapping[str, float]) -> str:
    return ", ".join(words.format(limits[name]) for name, words in _WORDS.items() if name in limits)
