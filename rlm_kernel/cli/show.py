"""`jupyter rlm show`: a recorded run in a terminal. Nothing of it is executed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from rlm_kernel import prompts
from rlm_kernel.cli.command import OK, Command
from rlm_kernel.cli.traces import HELP, load, put, write
from rlm_kernel.errors import UsageError
from rlm_kernel.trace import words
from rlm_kernel.trace.loading import Trace
from rlm_kernel.trace.views import (
    agents_table,
    cache_data,
    cache_text,
    graph_data,
    graph_of,
    graph_text,
    savings_data,
    savings_text,
)
from rlm_kernel.trace.views.data import as_data
from rlm_kernel.trace.views.terminal import Line, in_columns, step_table, tree_lines
from rlm_kernel.trace.views.troubles import troubles


class Show(Command):
    command = "show"
    description = "Show a recorded run: its tree, or a table of it, or what went wrong. Nothing of it is executed."

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("trace", metavar="TRACE", help=HELP)
        parser.add_argument("--all", action="store_true", help="the whole tree, without cutting anything short")
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--table", action="store_true", help="a row for each step and completion")
        form.add_argument("--agents", action="store_true", help="a row for each agent")
        form.add_argument("--errors", action="store_true", help="only what went wrong")
        form.add_argument("--graph", action="store_true", help="who wrote and who read which result")
        form.add_argument("--savings", action="store_true", help="what passing results by value would have loaded")
        form.add_argument("--cache", action="store_true", help="what a provider's cache served, and could have")
        parser.add_argument(
            "--json", action="store_true", help="one JSON object and nothing else; also of --graph, --savings, --cache"
        )

    def work(self) -> int:
        """
        `--json` prints what `views.data.as_data`, `graph_data`, `savings_data` or `cache_data` document and, beside it,
        `complaint`: why the record is not whole, null where it is. Exit code 0, whatever went wrong in the run.
        """
        options = self.options
        trace = load(options.trace, self.command)
        tree = trace.tree
        if options.json:
            write([json.dumps({"complaint": trace.complaint, **self._data(trace)}, indent=1) + "\n"])
        elif options.graph:
            put(_plain(graph_text(graph_of(tree))), cut=False)
        elif options.savings:
            put(_plain(savings_text(tree)), cut=False)
        elif options.cache:
            put(_plain(cache_text(tree, prompts.COMPLETION_SYSTEM)), cut=False)
        elif options.table:
            put(in_columns([*step_table(trace.tree), _total(trace)], names=4, last_left=True))
        elif options.agents:
            headers, rows = agents_table(trace.tree)
            put(in_columns([headers, *rows], names=5))
        elif options.errors:
            put(_errors(trace), cut=not options.all)
        else:
            put(tree_lines(trace.tree, options.all), cut=not options.all)
        return OK

    def _data(self, trace: Trace) -> dict[str, Any]:
        options, tree = self.options, trace.tree
        if options.table or options.agents or options.errors:
            raise UsageError("--json goes by itself, or with --graph, --savings or --cache")
        if options.graph:
            return graph_data(graph_of(tree))
        if options.savings:
            return savings_data(tree)
        return cache_data(tree, prompts.COMPLETION_SYSTEM) if options.cache else as_data(tree)


def _plain(text: str) -> Iterator[Line]:
    for line in text.splitlines():
        yield (("", line),)


def _total(trace: Trace) -> tuple[str, ...]:
    totals = trace.totals
    usage = totals.usage
    return (
        "total",
        f"{totals.steps:,}",
        words.count(totals.calls, "call"),
        "",
        words.number(usage.prompt_tokens),
        words.number(usage.completion_tokens),
        words.number(usage.cached_tokens),
        words.dollars(totals.cost_usd),
        words.UNKNOWN if totals.seconds is None else f"{totals.seconds:,.2f}",
        words.ending(trace.tree),
    )


def _errors(trace: Trace) -> Iterator[Line]:
    found = 0
    for trouble in troubles(trace.tree):
        found += 1
        step = "" if trouble.step is None else f", step {trouble.step}"
        yield (("bold", f"agent {trouble.agent}{step}"), ("dim", f" · {trouble.what}: "), ("bad", trouble.why))
    if not found:
        yield (("good", "nothing went wrong"),)
