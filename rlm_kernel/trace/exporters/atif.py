"""
Agent Trajectory Interchange Format, version 1.7 (Harbor's RFC 0001): one JSON object for the run.

An agent is a trajectory, its sub-agents are embedded in its `subagent_trajectories` and referred to by
`trajectory_id`, from the result of the call that started them. A cell is a call of the tool `python`, a completion one
of `llm_query`. `message` is the reply without its cell, `content` all that the cell put out; what the model was shown
of it is the step's `extra.shown`. Fields that the format does not name are in `extra`, since it allows no others; in
that of the first trajectory is the record, by which it comes back as the run that it was, see `carried`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rlm_kernel._version import __version__
from rlm_kernel.trace import words
from rlm_kernel.trace.carried import KEY, carried
from rlm_kernel.trace.cells import readable
from rlm_kernel.trace.exporters.parts import Times, put_out, step_times
from rlm_kernel.trace.nesting import nested
from rlm_kernel.trace.nodes import Agent, Call, Spent, Step, Totals
from rlm_kernel.trace.sections import around
from rlm_kernel.trace.tree import Tree
from rlm_kernel.values import Usage

SCHEMA_VERSION = "ATIF-v1.7"
CELL, COMPLETION, AGENT = "python", "llm_query", "agent"
"""`function_name` of a cell; of a completion; of a sub-agent that the cell started."""


def atif(tree: Tree) -> str:
    """Agents that hang nowhere below the root are embedded in its trajectory, with nothing that refers to them."""
    times = step_times(tree)
    tops = nested(tree, lambda agent, below: _trajectory(tree, agent, below, times))
    if not tops:
        system = {"name": "rlm_kernel", "version": __version__}
        tops = [{"schema_version": SCHEMA_VERSION, "agent": system, "steps": []}]
    root, *others = tops
    if others:
        root["subagent_trajectories"] = [*root.get("subagent_trajectories", []), *others]
    if tree.run is not None:
        run = tree.run
        root["session_id"] = readable(run.run)
        facts = {"door": run.door, "limits": run.limits, "versions": run.versions, "origin": run.origin or None}
        ending = None if tree.end is None else tree.end.ending
        root["extra"] = {**root.get("extra", {}), "run": readable(_known({**facts, "ending": ending}))}
    record = carried(tree, root)
    root["extra"] = {**root.get("extra", {}), KEY: record}
    return json.dumps(root, indent=1) + "\n"


def _trajectory(tree: Tree, agent: Agent, below: Mapping[str, dict[str, Any]], times: Times) -> dict[str, Any]:
    steps: list[dict[str, Any]] = []

    def add(step: dict[str, Any]) -> None:
        steps.append({"step_id": len(steps) + 1, **readable(_known(step))})

    before: dict[str, Any] | None = None
    for step in agent.steps:
        for message in step.new:
            if message.role == "assistant":
                continue  # an earlier step's reply, which stands there
            if message.role == "user" and before is not None and "shown" not in before and "tool_calls" in steps[-1]:
                before["shown"] = readable(message.content)
            else:
                add({"source": message.role, "message": message.content})
        add(_step(agent, step, below, times))
        before = steps[-1]["extra"]
    if not steps:
        add({"source": "user", "message": agent.question})
    if agent.calls or agent.agents:
        add({"source": "system", "message": "Asked by a person's own cells", **_observed(agent, None, below)})
    system = {"name": "rlm_kernel", "version": __version__, "model_name": agent.model or None}
    found = _known(
        {
            "schema_version": SCHEMA_VERSION,
            "trajectory_id": readable(agent.id),
            "agent": readable(_known(system)),
            "steps": steps,
            "final_metrics": readable(_final_metrics(tree.spent(agent), len(steps))),
            "subagent_trajectories": list(below.values()) or None,
        }
    )
    found["extra"] = readable(_known(_facts(agent)))
    return found


def _final_metrics(spent: Spent, steps: int) -> dict[str, Any]:
    """Its own, completions included; with its sub-agents in `extra`, since readers differ on whether they belong."""
    found = {**_summed(spent.own), "total_steps": steps}
    return found if spent.total is spent.own else {**found, "extra": {"with_subagents": _summed(spent.total)}}


def _summed(totals: Totals) -> dict[str, Any]:
    usage = totals.usage
    counts = {"total_prompt_tokens": usage.prompt_tokens, "total_completion_tokens": usage.completion_tokens}
    return _known({**counts, "total_cached_tokens": usage.cached_tokens, "total_cost_usd": totals.cost_usd})


def _facts(agent: Agent) -> dict[str, Any]:
    end = agent.end
    return {
        "question": agent.question,
        "caller": agent.caller,
        "caller_step": agent.in_step,
        "depth": agent.depth,
        "context": agent.context,
        "context_sha": agent.context_sha,
        "schema": agent.schema,
        "tools": list(agent.tools) or None,
        "ending": None if end is None else end.ending,
        "answer": None if end is None else end.answer,
        "message": None if end is None else end.message,
        "notes": agent.notes or None,
    }


def _step(agent: Agent, step: Step, below: Mapping[str, dict[str, Any]], times: Times) -> dict[str, Any]:
    reply = step.reply
    error = None if step.cell is None else step.cell.error
    calls = []
    if step.source is not None:
        calls.append(_tool_call(f"{step.number}", CELL, {"code": step.source}))
    for call in step.calls:
        calls.append(_tool_call(_call_id(step, call), COMPLETION, {"prompt": call.prompt, "model": call.model}))
    for child in step.agents:
        calls.append(_tool_call(f"{step.number}-{child.id}", AGENT, {"prompt": child.question}))
    return {
        "timestamp": times.get((agent.id, step.number)),
        "source": "agent",
        "message": _prose(step),
        "model_name": None if reply is None else reply.model,
        "tool_calls": calls or None,
        **_observed(agent, step, below),
        "metrics": None if reply is None else _metrics(reply.usage),
        "extra": _known(
            {
                "step": step.number,
                "model_s": None if reply is None else reply.seconds,
                "cell_s": None if step.cell is None else step.cell.seconds,
                "error": None if error is None else {"name": error.name, "message": error.message},
                "final": True if step.cell is not None and step.cell.final else None,
                "failure": None if step.failure is None else words.failure(step.failure),
                "completions": [_completion(call) for call in step.calls] or None,
                "notes": words.notes(step) or None,
            }
        ),
    }


def _prose(step: Step) -> str:
    text = "" if step.reply is None else step.reply.text
    return text if step.source is None else "\n\n".join(filter(None, map(str.strip, around(text, step.source))))


def _observed(agent: Agent, step: Step | None, below: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What came of a step's cell and of what it asked; of a person's own cells for None, which made no tool call."""
    results: list[dict[str, Any]] = []
    if step is not None and step.cell is not None:
        results.append({"source_call_id": f"{step.number}", "content": put_out(step)})
    for call in agent.calls if step is None else step.calls:
        answer = call.reply.text if call.reply is not None else _failed(call)
        results.append(_known({"source_call_id": None if step is None else _call_id(step, call), "content": answer}))
    for child in agent.agents if step is None else step.agents:
        value = child.end.answer if child.end is not None and words.answered(child) else words.why_not(child)
        refers = [{"trajectory_id": child.id}] if child.id in below else None
        source = None if step is None else f"{step.number}-{child.id}"
        results.append(_known({"source_call_id": source, "content": value or "", "subagent_trajectory_ref": refers}))
    return {"observation": {"results": results} if results else None}


def _call_id(step: Step, call: Call) -> str:
    return f"{step.number}-llm_query-{call.number}"


def _tool_call(id: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"tool_call_id": id, "function_name": name, "arguments": arguments}


def _completion(call: Call) -> dict[str, Any]:
    reply = call.reply
    if reply is None:
        return {"number": call.number, "failure": _failed(call)}
    return {"number": call.number, "model": reply.model, "seconds": reply.seconds, **_metrics(reply.usage)}


def _failed(call: Call) -> str:
    return "no reply is in this record" if call.failure is None else words.failure(call.failure)


def _metrics(usage: Usage) -> dict[str, Any]:
    counts = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
    return _known({**counts, "cached_tokens": usage.cached_tokens, "cost_usd": usage.cost_usd})


def _known(data: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is unknown: readers that check the format take an absent field more readily than null."""
    return {key: value for key, value in data.items() if value is not None}
