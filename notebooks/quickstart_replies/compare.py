"""Recorded replies for the second question of quickstart.ipynb: it builds on what is in the notebook already."""

REPLIES = [
    """\
`share` is there already, from the question before.

```repl
ranking = sorted(share.items(), key=lambda item: -item[1])
gap = ranking[0][1] / ranking[-1][1]
print(f"{gap:.1f} times", above)
```""",
    """\
The person's threshold is in `threshold`, so I use the variable.

```repl
above = [name for name, value in ranking if value > threshold]
FINAL(above)
```""",
]
