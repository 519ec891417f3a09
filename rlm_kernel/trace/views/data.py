"""A run as one JSON object for programs: what `jupyter rlm show --json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlm_kernel.trace import words
from rlm_kernel.trace.cells import readable
from rlm_kernel.trace.nesting import nested
from rlm_kernel.trace.nodes import Agent, Call, Failure, Step, Totals
from rlm_kernel.trace.tree import Tree
from rlm_kernel.values import Reply


def as_data(tree: Tree) -> dict[str, Any]:
    """
    JSON data; keys may be added, and none changes its meaning. None is unknown or absent; texts are whole.

        run       run, door, model, limits, versions, origin, dialect; null where the record has no beginning
        ending    how the run ended; null where the record has no end
        totals    steps, calls, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, cost_usd,
                  unpriced_calls, seconds
        agents    those that nobody called, each with
            id, depth, caller, in_step (the caller's), question, context (its description), context_sha, model,
            schema, tools, isolation, ending, answer (its description), message, notes
            own, total   as `totals`: without its sub-agents, and with all below it
            steps        each number, state, model, source, outputs (nbformat), error {name, message, traceback},
                         final, reply (the text), failure {kind, message}, finish_reason, prompt_tokens,
                         completion_tokens, cached_tokens, reasoning_tokens, cost_usd, model_s, cell_s, notes, calls
            calls        completions of a person's own cell; these and those of a step have number, status, model,
                         prompt, reply, failure, finish_reason, tokens and cost_usd as a step, model_s
            agents       its sub-agents, in the order of their ids
    """
    run, end = tree.run, tree.end
    names = ("run", "door", "model", "limits", "versions", "origin", "dialect")
    found: dict[str, Any] = readable(
        {
            "run": None if run is None else {name: getattr(run, name) for name in names},
            "ending": None if end is None else end.ending,
            "totals": _totals(tree.totals()),
        }
    )
    return {**found, "agents": nested(tree, lambda agent, below: _agent(tree, agent, below))}


def _agent(tree: Tree, agent: Agent, below: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    spent, end = tree.spent(agent), agent.end
    names = (
        "id", "depth", "caller", "in_step", "question", "context", "context_sha", "model", "schema", "tools",
        "isolation",
    )  # fmt: skip
    found: dict[str, Any] = readable(
        {
            **{name: getattr(agent, name) for name in names},
            "ending": None if end is None else end.ending,
            "answer": None if end is None else end.answer,
            "message": None if end is None else end.message,
            "notes": agent.notes,
            "own": _totals(spent.own),
            "total": _totals(spent.total),
            "steps": [_step(step) for step in agent.steps],
            "calls": [_call(call) for call in agent.calls],
        }
    )
    # Made readable already, each on its own.
    return {**found, "agents": list(below.values())}


def _step(step: Step) -> dict[str, Any]:
    cell = step.cell
    error = None if cell is None else cell.error
    return {
        "number": step.number,
        "state": words.step_state(step),
        "source": step.source,
        "outputs": None if cell is None else cell.outputs,
        "error": None
        if error is None
        else {"name": error.name, "message": error.message, "traceback": error.traceback},
        "final": cell is not None and cell.final,
        **_asked(step.reply, step.failure),
        "cell_s": None if cell is None else cell.seconds,
        "notes": words.notes(step),
        "calls": [_call(call) for call in step.calls],
    }


def _call(call: Call) -> dict[str, Any]:
    asked = _asked(call.reply, call.failure)
    model = asked.pop("model") or call.model
    return {"number": call.number, "status": call.status, "model": model, "prompt": call.prompt, **asked}


def _asked(reply: Reply | None, failure: Failure | None) -> dict[str, Any]:
    usage = None if reply is None else reply.usage
    return {
        "model": None if reply is None else reply.model,
        "reply": None if reply is None else reply.text,
        "failure": None if failure is None else {"kind": failure.kind, "message": failure.message},
        "finish_reason": None if reply is None else reply.finish_reason,
        "prompt_tokens": None if usage is None else usage.prompt_tokens,
        "completion_tokens": None if usage is None else usage.completion_tokens,
        "cached_tokens": None if usage is None else usage.cached_tokens,
        "reasoning_tokens": None if usage is None else usage.reasoning_tokens,
        "cost_usd": None if usage is None else usage.cost_usd,
        "model_s": None if reply is None else reply.seconds,
    }


def _totals(totals: Totals) -> dict[str, Any]:
    usage = totals.usage
    return {
        "steps": totals.steps,
        "calls": totals.calls,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost_usd": totals.cost_usd,
        "unpriced_calls": totals.unpriced_calls,
        "seconds": totals.seconds,
    }
