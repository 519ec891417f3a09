"""
The JSONL log of the official rlm package, as its visualizer reads it: a line of metadata, then a line per step.

A sub-agent is a call with `metadata` of its own, as that package nests them; a completion is a call without. Left out
is what the format has no place for: variables (`locals` is empty), pictures, the tools and forms of an answer. Beside
its own keys a step has `usage_summary`, and the metadata `run_id`. Answers are the recorded descriptions. All of it is
in the record that the metadata has too, by which the log comes back as the run that it was, see `carried`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rlm_kernel.trace import words
from rlm_kernel.trace.carried import KEY, carried
from rlm_kernel.trace.cells import readable
from rlm_kernel.trace.exporters.parts import Times, stdout_and_stderr, step_times
from rlm_kernel.trace.nesting import nested
from rlm_kernel.trace.nodes import Agent, Call, Step
from rlm_kernel.trace.tree import Tree
from rlm_kernel.values import Message, Usage

MOST_PROMPT_CHARS = 20_000_000
"""
A step has its whole request again, which grows with the square of the steps. Those beyond this have only what is new.
"""


def official(tree: Tree) -> str:
    """One JSON object a line. Agents that hang nowhere below the root are left out, and counted in the metadata."""
    times, room = step_times(tree), _Room(MOST_PROMPT_CHARS)
    tops = nested(tree, lambda agent, below: _call_of(tree, agent, below, times, room))
    nothing: dict[str, Any] = {"run_metadata": _metadata(tree, None), "iterations": []}
    root = tops[0]["metadata"] if tops else nothing
    head = {"type": "metadata", "timestamp": tree.started_at, **root["run_metadata"]}
    if len(tops) > 1:
        head["left_out_agents"] = len(tops) - 1
    lines = [head, *root["iterations"]]
    record = carried(tree, lines)
    return "".join(json.dumps(line) + "\n" for line in [{**head, KEY: record}, *root["iterations"]])


class _Room:
    def __init__(self, chars: int) -> None:
        self.chars = chars


def _call_of(
    tree: Tree, agent: Agent, below: Mapping[str, dict[str, Any]], times: Times, room: _Room
) -> dict[str, Any]:
    """An agent as its caller's log has it."""
    spent = tree.spent(agent)
    answer = None if agent.end is None else agent.end.answer
    call: dict[str, Any] = readable(
        {
            "root_model": agent.model,
            "prompt": agent.question,
            "response": answer or "",
            "usage_summary": _usage(agent.model, spent.total.calls, spent.total.usage, spent.total.cost_usd),
            "execution_time": spent.total.seconds,
        }
    )
    iterations: list[dict[str, Any]] = []
    request: list[Message] = []
    for step in agent.steps:
        iterations.append(_iteration(agent, step, request, below, times, room))
    if agent.calls or agent.agents:
        iterations.append(_persons_own(agent, len(iterations) + 1, below))
    if iterations and answer is not None:
        iterations[-1]["final_answer"] = readable(answer)
        if agent.steps and (cell := agent.steps[-1].cell) is not None and cell.final:
            for block in iterations[len(agent.steps) - 1]["code_blocks"]:  # one, unless its source is not recorded
                block["result"]["final_answer"] = readable(answer)
    call["metadata"] = {"run_metadata": _metadata(tree, agent), "iterations": iterations}
    if not words.answered(agent):
        call["error"] = readable(words.why_not(agent))
    return call


def _iteration(
    agent: Agent,
    step: Step,
    request: list[Message],
    below: Mapping[str, dict[str, Any]],
    times: Times,
    room: _Room,
) -> dict[str, Any]:
    request += step.new
    size = sum(len(message.content) for message in request)
    prompt = request if size <= room.chars else step.new
    room.chars -= size if prompt is request else 0
    stdout, stderr = stdout_and_stderr(step)
    blocks = []
    if step.source is not None:
        result = {
            "stdout": stdout,
            "stderr": stderr,
            "locals": {},
            "execution_time": 0.0 if step.cell is None else step.cell.seconds,
            "rlm_calls": [],
            "final_answer": None,
        }
        blocks.append({"code": step.source, "result": result})
    seconds = [part.seconds for part in (step.reply, step.cell) if part is not None]
    found: dict[str, Any] = readable(
        {
            "type": "iteration",
            "iteration": step.number,
            "timestamp": times.get((agent.id, step.number)),
            "prompt": [{"role": message.role, "content": message.content} for message in prompt],
            "response": "" if step.reply is None else step.reply.text,
            "code_blocks": blocks,
            "final_answer": None,
            "iteration_time": sum(seconds) if seconds else None,
        }
    )
    if step.reply is not None:
        found["usage_summary"] = readable(_usage(step.reply.model, 1, step.reply.usage, step.reply.usage.cost_usd))
    if step.failure is not None:
        found["error"] = readable(words.failure(step.failure))
    if blocks:
        found["code_blocks"][0]["result"]["rlm_calls"] = _calls(step.calls, step.agents, below)
    return found


def _persons_own(agent: Agent, number: int, below: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What a person's own cells asked, outside any step: a last iteration without a reply."""
    result = {"stdout": "", "stderr": "", "locals": {}, "execution_time": 0.0, "final_answer": None}
    calls = _calls(agent.calls, agent.agents, below)
    block = {"code": "# a person's own cells asked this", "result": {**result, "rlm_calls": calls}}
    empty: dict[str, Any] = {
        "timestamp": None,
        "prompt": [],
        "response": "",
        "final_answer": None,
        "iteration_time": None,
    }
    return {"type": "iteration", "iteration": number, **empty, "code_blocks": [block]}


def _calls(calls: list[Call], agents: list[Agent], below: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [*(_completion(call) for call in calls), *(below[agent.id] for agent in agents if agent.id in below)]


def _completion(call: Call) -> dict[str, Any]:
    reply = call.reply
    usage = Usage() if reply is None else reply.usage
    model = call.model if reply is None else reply.model
    found = {
        "root_model": model,
        "prompt": call.prompt,
        "response": "" if reply is None else reply.text,
        "usage_summary": _usage(model, 0 if reply is None else 1, usage, usage.cost_usd),
        "execution_time": 0.0 if reply is None else reply.seconds,
    }
    if call.failure is not None:
        found["error"] = words.failure(call.failure)
    checked: dict[str, Any] = readable(found)
    return checked


def _usage(model: str, calls: int, usage: Usage, cost_usd: float | None) -> dict[str, Any]:
    tokens = {"total_input_tokens": usage.prompt_tokens, "total_output_tokens": usage.completion_tokens}
    cost = {} if cost_usd is None else {"total_cost": cost_usd}
    return {"model_usage_summaries": {model: {"total_calls": calls, **tokens, **cost}}, **cost}


def _metadata(tree: Tree, agent: Agent | None) -> dict[str, Any]:
    run = tree.run
    limits = {} if run is None else run.limits
    found: dict[str, Any] = readable(
        {
            "root_model": agent.model if agent is not None else None if run is None else run.model,
            "max_depth": limits.get("max_depth"),
            "max_iterations": limits.get("max_steps"),
            "backend": "rlm_kernel",
            "backend_kwargs": {},
            "environment_type": "jupyter" if agent is None or agent.isolation == "thread" else agent.isolation,
            "environment_kwargs": {},
            "other_backends": None,
        }
    )
    if run is not None:
        found["run_id"] = readable(run.run)
    if agent is not None:
        found["agent_id"] = readable(agent.id)
    return found
