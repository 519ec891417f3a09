"""
What a person can set, and where from.

A call's argument beats a magic's option beats `%config` beats the environment beats a config file. `RLM.load` reads
the last two; `%config` arrives through `update_config`, once a door has appended the instance to
`shell.configurables`; arguments and options through `limits` and `replaced`.

A value that does not fit must not keep a kernel from starting. It is left out and remembered in `problems`, and the
first use raises. API keys are no settings: providers read them from the environment, and they pass by here unseen.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_config_path
from traitlets import Bool, Enum, Float, Int, List, TraitError, TraitType, Unicode
from traitlets.config import Application, Config, Configurable
from traitlets.config.loader import JSONFileConfigLoader, PyFileConfigLoader

from rlm_kernel.errors import UsageError
from rlm_kernel.limits import Limits, Policy

CONFIG_FILE = "jupyter_rlm_config"
"""`.py` or `.json`, in any folder that `jupyter --paths` lists under config."""

_DEFAULT, _POLICY = Limits(), Policy()


def _limit(kind: Any, default: float | None, help: str) -> Any:
    takes = f"a {'whole ' if kind is Int else ''}number from 0 up, or none for no limit"
    return kind(default, allow_none=True, min=0, help=help).tag(config=True, takes=takes)


class RLM(Configurable):
    """Settings of the kernel and of every run: `%config RLM.<name>`, `RLM_<NAME>` or `c.RLM.<name>`."""

    model = Unicode(
        None, allow_none=True, help="The model that answers: a litellm name (`openai/gpt-5-mini`) or `scripted:PATH`."
    ).tag(config=True, takes="the name of a model, such as openai/gpt-5-mini")

    models = List(
        Unicode(),
        help="A model for each depth, in a text with commas between: the first for the first agent, the last for all "
        "that are deeper. Where there is none, `model` is asked at every depth.",
    ).tag(config=True, takes='names of models, the first agent\'s first: ["openai/gpt-5", "openai/gpt-5-mini"]')

    max_steps = _limit(Int, _DEFAULT.max_steps, "Replies of the model that an agent may take.")
    max_depth = _limit(Int, _DEFAULT.max_depth, "Levels of sub-agents below the first agent.")
    max_calls = _limit(Int, _DEFAULT.max_calls, "Model calls in the whole run: steps and completions.")
    max_tokens = _limit(Int, _DEFAULT.max_tokens, "Prompt and completion tokens of the whole run.")
    max_cost_usd = _limit(
        Float, _DEFAULT.max_cost_usd, "US dollars of the whole run. Holds only where the model's price is known."
    )
    max_seconds = _limit(Float, _DEFAULT.max_seconds, "Wall-clock seconds of the whole run, its cells included.")
    max_output_chars = _limit(
        Int,
        _DEFAULT.max_output_chars,
        "Characters of a cell's outputs that go back to the model; the trace keeps the rest.",
    )
    max_reply_tokens = _limit(
        Int, _DEFAULT.max_reply_tokens, "Tokens of one reply, sent to the provider as its own cap."
    )
    max_tokens_per_read = _limit(Int, _DEFAULT.max_tokens_per_read, "Tokens that one READ may put into a window.")
    max_read_tokens = _limit(
        Int,
        _DEFAULT.max_read_tokens,
        "Tokens that an agent may see of data in all: what it READs, and what else its cells show it.",
    )

    max_parallel = Int(_POLICY.max_parallel, min=1, help="Requests under way at a model at once.").tag(
        config=True, takes="a whole number from 1 up"
    )
    max_agents = Int(
        _POLICY.max_agents,
        min=1,
        help="Sub-agents of one depth whose cells run at once; more wait their turn. Of those in worker processes no "
        "more than 16 run at once, whatever is set here.",
    ).tag(config=True, takes="a whole number from 1 up")
    isolation = Enum(
        ("thread", "process"),
        _POLICY.isolation,
        help="Where the cells of sub-agents run: in threads of the kernel, or each agent's in a worker process, which "
        "costs a copy of its context and can be stopped whatever it does.",
    ).tag(config=True, takes="thread or process")
    max_memory_mb = Int(
        _POLICY.max_memory_mb,
        allow_none=True,
        min=1,
        help="Megabytes that a worker process may take beside what it has at its start.",
    ).tag(config=True, takes="a whole number from 1 up, or none for no limit")
    timeout_s = Float(
        600.0,
        min=0.001,
        help="Seconds of silence after which a request has failed: before the whole reply or, where it is streamed, "
        "before its next piece.",
    ).tag(config=True, takes="a number of seconds above 0")
    keep_context = Enum(
        ("small", "all", "none"),
        "small",
        help="What a trace keeps of the context beside its description, so that it can run again: `small` contexts of "
        "plain data up to a megabyte, in the trace itself; `all`, larger ones in a file beside it; or `none`.",
    ).tag(config=True, takes="small, all or none")
    trace_dir = Unicode(
        ".rlm/runs", help="Folder of the traces; a relative one is below the folder the kernel runs in."
    ).tag(config=True, takes="a folder")
    live = Bool(
        True,
        help="Update the view of a run while it goes. If off, it is published once, at the end, and its text "
        "holds no figure that differs from run to run, so that nbval can compare it.",
    ).tag(config=True, takes="true or false")

    def __init__(self) -> None:
        super().__init__()
        self.problems: dict[str, str] = {}
        """A sentence for each setting, or file, that could not be used; a good value later takes it away."""

    @classmethod
    def load(cls, parent: Configurable | None = None) -> RLM:
        """
        Settings from file, `parent`'s config (the kernel's or a command's, command line included) and environment.

        Never raises for what it reads; see `problems` and `check`.
        """
        settings = cls()
        for path, config in _config_files():
            if isinstance(config, Exception):
                settings.problems[str(path)] = f"cannot read {path}: {type(config).__name__}: {config}"
            else:
                settings._try_section(config, f"c.RLM.{{}} in {path}")
        if parent is not None:
            settings._try_section(parent.config, "c.RLM.{}")
        for name in cls.class_trait_names(config=True):
            variable = f"RLM_{name.upper()}"
            # Other RLM_* variables are left alone: a licence manager of that name has its own.
            if text := os.environ.get(variable, "").strip():
                settings._try(name, text, variable)
        settings._try_section(_command_line(parent), "--RLM.{}")
        return settings

    def check(self) -> None:
        """Raises UsageError where a setting was given that cannot be used."""
        if self.problems:
            raise UsageError("; ".join(self.problems.values()))

    def replaced(self, **overrides: object) -> RLM:
        """
        A copy with the arguments of a call or the options of a magic in place of what is set here.

        Leave out what was not given: None is a value, and means no limit. Text is read as in the environment.
        Raises UsageError for an unknown name or a value that does not fit, and for what `check` finds.
        """
        copy = RLM()
        for name in self.trait_names(config=True):
            setattr(copy, name, getattr(self, name))
        copy.problems = dict(self.problems)
        for name, value in overrides.items():
            copy._assign(name, value, name)
        if "model" in overrides and "models" not in overrides and copy.models:
            copy.models = [copy.model or "", *copy.models[1:]]  # what was asked for now is for the first agent
        copy.check()
        return copy

    def limits(self, **overrides: object) -> Limits:
        """The limits of a run; `overrides` and what it raises are those of `replaced`."""
        settings = self.replaced(**overrides)
        return Limits(**{field.name: getattr(settings, field.name) for field in fields(Limits)})

    def policy(self) -> Policy:
        values = {field.name: getattr(self, field.name) for field in fields(Policy)}
        return Policy(**{**values, "models": tuple(values["models"])})

    @property
    def trace_path(self) -> Path:
        return Path(self.trace_dir).expanduser()

    def update_config(self, config: Config) -> None:
        """What `%config` calls. Unlike traitlets' own it keeps no refused value to trip the next assignment."""
        for name, value in config.get("RLM", {}).items():
            self._assign(name, value, f"RLM.{name}")

    def _try_section(self, config: Config, where: str) -> None:
        for name, value in config.get("RLM", {}).items():
            self._try(name, value, where.format(name))

    def _try(self, name: str, value: object, where: str) -> None:
        try:
            self._assign(name, value, where)
        except UsageError as error:
            self.problems[name] = str(error)

    def _assign(self, name: str, value: object, where: str) -> None:
        traits = self.traits(config=True)
        if name not in traits:
            near = get_close_matches(name, traits, n=1)
            raise UsageError(f"{where}: no such setting" + (f"; did you mean {near[0]}?" if near else ""))
        trait = traits[name]
        try:
            setattr(self, name, _read(trait, value))
        except (TraitError, ValueError):
            shown = str(value) if isinstance(value, str) else value
            raise UsageError(f"{where}={shown!r}: give {trait.metadata['takes']}") from None
        self.problems.pop(name, None)


OF_A_QUESTION = {
    name: str(RLM.class_traits()[name].help) for name in ("model", "models", *(field.name for field in fields(Limits)))
}
"""The settings that one question can have of its own, with what each is. Every door makes its options from these."""


def flags(name: str) -> tuple[str, ...]:
    """Of that setting's option, wherever options are typed; the last is the long one."""
    return (*(("-m",) if name == "model" else ()), f"--{name.replace('_', '-')}")


def _read(trait: TraitType[Any, Any], value: object) -> object:
    """A number or a switch from its text; raises ValueError for what traitlets would let through."""
    if isinstance(value, str):
        text = value.strip()
        if trait.allow_none and text.lower() == "none":
            return None
        if isinstance(trait, List):
            return [name.strip() for name in text.split(",") if name.strip()]
        return text if isinstance(trait, Unicode) else _finite(trait.from_string(text))
    if isinstance(value, bool) and not isinstance(trait, Bool):
        raise ValueError(value)
    return _finite(value)


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(value)
    return value


def _config_files() -> Iterator[tuple[Path, Config | Exception]]:
    """Every config file there is, the most general first, each with its config or with what went wrong."""
    for folder in reversed(jupyter_config_path()):
        for suffix, loader in ((".py", PyFileConfigLoader), (".json", JSONFileConfigLoader)):
            path = Path(folder, CONFIG_FILE + suffix)
            if path.is_file():
                try:
                    yield path, loader(path.name, path=folder).load_config()
                except Exception as error:  # a config file is a program, and may raise anything
                    yield path, error


def _command_line(parent: Configurable | None) -> Config:
    """What was typed on the command line that started `parent`: a person's most explicit word beats the environment."""
    while parent is not None and not isinstance(parent, Application):
        parent = parent.parent
    return Config() if parent is None else parent.cli_config
