"""
The recorded model of `make demo`: what it says, and the cells it writes.

    jupyter rlm run "Which public functions accept a parameter that their docstring never mentions? By package, with
        the worst offender explained." -c <folder of the standard library> -m scripted:notebooks/stdlib_replies.py

Recorded are the words and the code only. Every number and name in the answer is computed by the cells from `context`,
so that it differs from one Python to the next. The third reply makes a mistake, as models do, and the fourth mends it.
"""

from __future__ import annotations

from rlm_kernel.values import Request

LOOK = r"""
I will look at what I was given before I decide how to read it: how much there is, what kinds of files, and one of them.

```repl
from collections import Counter

chars = sum(len(text) for text in context.values())
kinds = Counter(path.rpartition(".")[2] if "." in path else "(none)" for path in context)
folders = Counter(path.replace("\\", "/").split("/")[0] for path in context if "/" in path.replace("\\", "/"))

print(f"{len(context):,} files, {chars:,} characters, about {chars // 4:,} tokens")
print("kinds:", kinds.most_common(6))
print("largest folders:", folders.most_common(12))
print(context["textwrap.py"][:700])
```
"""

COLLECT = r'''
Far too much to read, but it is Python, so the syntax tree answers this exactly. What I will count:

* modules that can be imported by a public name, without tests and without the programs that are shipped beside the
  library (IDLE, 2to3, turtle demos);
* functions, and methods of public classes, that have a docstring; where a module has a literal `__all__`, that decides.
  Constructors are left out, since it is the class's docstring that usually describes those;
* parameters by name, without `self` and `cls`, `*args` and `**kwargs`, and names that begin with an underscore;
* as a mention, the name as a whole word anywhere in the docstring, in any case: in doubt for the author.

```repl
import ast
import re

PROGRAMS = {"test", "tests", "idlelib", "lib2to3", "turtledemo"}
BLOCKS = (ast.If, ast.Try, ast.With)


def module_name(path):
    """Dotted name of a public module, or None."""
    parts = path.replace("\\", "/").removesuffix(".py").split("/")
    if parts[-1] == "__init__":
        parts.pop()
    public = parts and all(part.isidentifier() and not part.startswith("_") for part in parts)
    return ".".join(parts) if path.endswith(".py") and public and not PROGRAMS & set(parts) else None


def exported(tree):
    """The names in a literal `__all__`, or None."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            try:
                return set(ast.literal_eval(node.value))
            except ValueError:
                return None  # put together at run time
    return None


def definitions(body, owner, names=None):
    """(qualified name, function, is it a method) of what is public, also inside `if`, `try` and `with`."""
    for node in body:
        if isinstance(node, BLOCKS):
            for part in ("body", "orelse", "finalbody"):
                yield from definitions(getattr(node, part, []), owner, names)
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if node.name not in names if names is not None else node.name.startswith("_"):
                continue
            if isinstance(node, ast.ClassDef):
                for name, function, _ in definitions(node.body, f"{owner}.{node.name}"):
                    yield name, function, True
            else:
                yield f"{owner}.{node.name}", node, False


def parameters(function, is_method):
    arguments = [a.arg for a in function.args.posonlyargs + function.args.args]
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)
    if is_method and not static:
        arguments = arguments[1:]
    arguments += [a.arg for a in function.args.kwonlyargs]
    return [name for name in arguments if not name.startswith("_")]


functions, unparsed, undocumented, modules = {}, [], 0, 0
for path, text in context.items():
    module = module_name(path)
    if module is None:
        continue
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        unparsed.append((path, str(error)))
        continue
    modules += 1
    for name, node, is_method in definitions(tree.body, module, exported(tree)):
        doc = ast.get_docstring(node)
        if not doc:
            undocumented += 1
        elif name not in functions:
            words = {word.lower() for word in re.findall(r"\w+", doc)}
            takes = parameters(node, is_method)
            functions[name] = {
                "name": name, "path": path, "line": node.lineno, "node": node, "doc": doc, "parameters": takes,
                "missing": [p for p in takes if p.lower() not in words],
            }

print(f"{modules} public modules; did not parse: {unparsed or 'none'}")
print(f"{len(functions):,} functions with a docstring, {undocumented:,} without one, which are not judged here")
print(f"{sum(bool(f['missing']) for f in functions.values()):,} never mention at least one parameter")
```
'''

RANK_WRONGLY = r"""
That is the raw material. Now the ranking, the most unmentioned parameters first.

```repl
ranking = sorted(((len(f["missing"]), f) for f in functions.values()), reverse=True)
for count, f in ranking[:10]:
    print(count, "of", len(f["parameters"]), f["name"], f["missing"])
```
"""

RANK = r"""
My mistake: where two counts are equal, Python goes on to compare the dicts. `functions` is still there, so only the
ranking has to be done again, with a key: by count, then by how much of the signature that is, then by name. The table
by package comes with it. And since a number is soon wrong here, I check the first one by a second method and by eye.

```repl
from collections import defaultdict

ranking = sorted(
    functions.values(),
    key=lambda f: (-len(f["missing"]), -len(f["missing"]) / max(1, len(f["parameters"])), f["name"]),
)
for f in ranking[:8]:
    print(f"{len(f['missing']):3} of {len(f['parameters']):2}  {f['name']}")

packages = defaultdict(Counter)
for f in functions.values():
    packages[f["name"].split(".")[0]].update(
        functions=1, with_gaps=bool(f["missing"]), parameters=len(f["parameters"]), unmentioned=len(f["missing"])
    )
by_package = dict(sorted(packages.items(), key=lambda item: (-item[1]["unmentioned"], item[0]))[:10])
print(f"\n{'package':18}{'functions':>10}{'with gaps':>10}{'parameters':>11}{'unmentioned':>12}{'share':>7}")
for package, n in by_package.items():
    share = n["unmentioned"] / max(1, n["parameters"])
    print(f"{package:18}{n['functions']:10}{n['with_gaps']:10}{n['parameters']:11}{n['unmentioned']:12}{share:7.0%}")

worst = ranking[0]
signature = f"{worst['name']}({ast.unparse(worst['node'].args)})"
found_after_all = [p for p in worst["missing"] if re.search(rf"\b{p}\b", worst["doc"], re.IGNORECASE)]
print(f"\n{worst['path']}:{worst['line']}\n{signature}\n\n{worst['doc']}\n")
print("found after all:", found_after_all or "none")
```
"""

EXPLAIN = r"""
The check agrees with the table. What this means for a caller is a matter of reading, not of counting, so I ask it as a
question of its own, with the signature and the docstring and nothing else.

```repl
explanation = llm_query(
    "Here are a function's signature and its whole docstring. Explain in two or three sentences what somebody who has "
    "only this docstring cannot learn.\n\n"
    f"Signature: {signature}\n"
    f"Parameters: {len(worst['parameters'])}\n"
    f"Never mentioned: {', '.join(worst['missing'])}\n\n"
    f"Docstring:\n{worst['doc']}"
)
print(explanation)
```
"""

ANSWER = r"""
I have all three parts: the totals, the packages and the worst offender with its explanation.

```repl
report = {
    "totals": {
        "modules": modules,
        "functions": len(functions),
        "functions_with_gaps": sum(bool(f["missing"]) for f in functions.values()),
        "parameters": sum(len(f["parameters"]) for f in functions.values()),
        "unmentioned": sum(len(f["missing"]) for f in functions.values()),
        "functions_without_docstring": undocumented,
        "files_that_did_not_parse": len(unparsed),
    },
    "by_package": {package: dict(counts) for package, counts in by_package.items()},
    "worst": {
        "name": worst["name"],
        "where": f"{worst['path']}:{worst['line']}",
        "parameters": len(worst["parameters"]),
        "never_mentioned": worst["missing"],
        "explanation": explanation,
    },
}
FINAL(report)
```
"""


def explain(request: Request) -> str:
    """Stands in for a model's words. It knows no function: all that it says of one, it reads in the prompt."""
    prompt, _, _ = request.messages[-1].content.partition("\n\n# What `context` is\n\n")
    head, _, docstring = prompt.partition("\nDocstring:\n")
    told = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
    name = told["Signature"].partition("(")[0]
    missing = told["Never mentioned"].split(", ")
    one = len(missing) == 1
    return (
        f"`{name}` introduces itself with “{docstring.strip().splitlines()[0]}” and leaves {len(missing)} of its "
        f"{told['Parameters']} parameters without a word: {', '.join(missing)}. Whoever has only `help()` sees "
        f"{'its name' if one else 'their names'} and any default in the signature, but not what "
        f"{'it stands' if one else 'they stand'} for, which values are allowed, or what changes when "
        f"{'it is' if one else 'they are'} left out; that is only in the source and the manual."
    )


REPLIES = [
    *(reply.strip() for reply in (LOOK, COLLECT, RANK_WRONGLY, RANK, EXPLAIN, ANSWER)),
    {"when": lambda request: request.agent == "0.1", "reply": explain},  # the sub-agent that `llm_query` asks
]
