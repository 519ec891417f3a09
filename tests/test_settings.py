from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict, fields

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Application, Config, Configurable

from rlm_kernel.cli.command import Command
from rlm_kernel.cli.replay import Replay
from rlm_kernel.cli.run import Run
from rlm_kernel.errors import UsageError
from rlm_kernel.limits import Limits, Policy
from rlm_kernel.magics import RLMMagics
from rlm_kernel.rerun.commands import _fork_words
from rlm_kernel.runner.rooms import MAX_PROCESSES
from rlm_kernel.settings import OF_A_QUESTION, RLM, flags


@pytest.fixture(autouse=True)
def config_folder(monkeypatch, tmp_path):
    folder = tmp_path / "jupyter"
    folder.mkdir()
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(folder))
    return folder


def kernel_with(files: dict, command_line: dict) -> Configurable:
    """A configurable below an application, as a kernel is: the application has read its files and its arguments."""
    app = Application()
    app.cli_config = Config({"RLM": command_line})
    app.update_config(Config({"RLM": {**files, **command_line}}))
    return Configurable(parent=app)


def test_without_any_setting_the_limits_are_the_defaults_of_limits():
    settings = RLM.load()

    assert settings.limits() == Limits()
    others = (settings.model, settings.max_parallel, settings.timeout_s, settings.trace_dir, settings.live)
    assert others == (None, 16, 600, ".rlm/runs", True)


def test_every_limit_is_a_setting_and_every_policy_with_the_same_default():
    assert {field.name for field in fields(Limits)} <= set(RLM.class_trait_names(config=True))
    assert RLM().policy() == Policy()


def test_what_one_question_can_have_of_its_own_is_its_models_and_every_limit():
    assert set(OF_A_QUESTION) == {"model", "models", *(field.name for field in fields(Limits))}
    assert [flags("model"), flags("max_cost_usd")] == [("-m", "--model"), ("--max-cost-usd",)]


@pytest.mark.parametrize(
    "parse",
    [
        lambda words: RLMMagics.rlm.parser.parse_args(words),
        lambda words: _fork_words().parse_args(["0", "step", "1", *words]),
        lambda words: with_options_of(Run()).parse_args(["what?", *words]),
        lambda words: with_options_of(Replay()).parse_args(["last", "--fork", "0:1", *words]),
    ],
    ids=["%%rlm", "%rlm fork", "jupyter rlm run", "jupyter rlm replay"],
)
def test_every_door_takes_every_setting_that_one_question_can_have(parse):
    words = [word for n, name in enumerate(OF_A_QUESTION) for word in (flags(name)[-1], str(n))]

    options = parse(words)

    assert {name: getattr(options, name) for name in OF_A_QUESTION} == {
        name: str(n) for n, name in enumerate(OF_A_QUESTION)
    }


def with_options_of(command: Command) -> ArgumentParser:
    parser = ArgumentParser()
    command.add_options(parser)
    return parser


def test_the_help_of_a_setting_says_how_many_worker_processes_there_are_at_most():
    assert f"no more than {MAX_PROCESSES} run at once" in RLM.class_traits()["max_agents"].help


def test_every_setting_says_what_it_is_and_what_it_takes():
    for name, trait in RLM.class_traits(config=True).items():
        assert trait.help, name
        assert trait.metadata["takes"], name


def test_a_call_beats_percent_config_beats_the_environment_beats_a_file(monkeypatch, config_folder):
    (config_folder / "jupyter_rlm_config.py").write_text(
        "c.RLM.max_steps = 1\nc.RLM.max_calls = 1\nc.RLM.max_tokens = 1\nc.RLM.max_output_chars = 1\n"
    )
    monkeypatch.setenv("RLM_MAX_STEPS", "2")
    monkeypatch.setenv("RLM_MAX_CALLS", "2")
    monkeypatch.setenv("RLM_MAX_TOKENS", "2")
    settings = RLM.load()
    settings.update_config(Config({"RLM": {"max_steps": 3, "max_calls": 3}}))

    limits = settings.limits(max_steps=4)

    assert (limits.max_steps, limits.max_calls, limits.max_tokens, limits.max_output_chars) == (4, 3, 2, 1)
    assert settings.max_steps == 3, "a call's argument is for that call"


def test_the_command_line_beats_the_environment_and_the_kernels_own_files_do_not(monkeypatch):
    monkeypatch.setenv("RLM_MAX_STEPS", "2")
    monkeypatch.setenv("RLM_MAX_CALLS", "2")

    settings = RLM.load(parent=kernel_with({"max_calls": 1, "max_tokens": 1}, {"max_steps": 5}))

    assert (settings.max_steps, settings.max_calls, settings.max_tokens) == (5, 2, 1)


def test_a_json_file_is_read_like_a_python_file(config_folder):
    (config_folder / "jupyter_rlm_config.json").write_text('{"RLM": {"model": "scripted:a.py", "max_cost_usd": null}}')

    settings = RLM.load()

    assert settings.model == "scripted:a.py"
    assert settings.max_cost_usd is None


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("RLM_MODEL", "openai/gpt-5-mini", "model", "openai/gpt-5-mini"),
        ("RLM_MAX_STEPS", "none", "max_steps", None),
        ("RLM_MAX_STEPS", "None", "max_steps", None),
        ("RLM_MAX_STEPS", "0", "max_steps", 0),
        ("RLM_MAX_STEPS", "", "max_steps", 30),
        ("RLM_MAX_COST_USD", "0.25", "max_cost_usd", 0.25),
        ("RLM_MAX_SECONDS", "90", "max_seconds", 90.0),
        ("RLM_LIVE", "0", "live", False),
        ("RLM_LIVE", "true", "live", True),
        ("RLM_TRACE_DIR", "~/traces", "trace_dir", "~/traces"),
    ],
)
def test_a_variable_is_read_by_the_kind_of_its_setting(monkeypatch, variable, text, name, value):
    monkeypatch.setenv(variable, text)

    settings = RLM.load()

    assert getattr(settings, name) == value
    assert settings.problems == {}


@pytest.mark.parametrize(
    ("variable", "text", "takes"),
    [
        ("RLM_MAX_STEPS", "many", "a whole number from 0 up, or none for no limit"),
        ("RLM_MAX_STEPS", "-1", "a whole number from 0 up, or none for no limit"),
        ("RLM_MAX_STEPS", "1.5", "a whole number from 0 up, or none for no limit"),
        ("RLM_MAX_COST_USD", "nan", "a number from 0 up, or none for no limit"),
        ("RLM_MAX_COST_USD", "inf", "a number from 0 up, or none for no limit"),
        ("RLM_MAX_PARALLEL", "0", "a whole number from 1 up"),
        ("RLM_MAX_PARALLEL", "none", "a whole number from 1 up"),
        ("RLM_TIMEOUT_S", "0", "a number of seconds above 0"),
        ("RLM_LIVE", "maybe", "true or false"),
    ],
)
def test_a_variable_that_does_not_fit_is_named_with_what_would_at_the_first_use(monkeypatch, variable, text, takes):
    monkeypatch.setenv(variable, text)
    settings = RLM.load()

    with pytest.raises(UsageError) as caught:
        settings.limits()

    assert str(caught.value) == f"{variable}={text!r}: give {takes}"


def test_a_good_value_later_mends_a_bad_one(monkeypatch):
    monkeypatch.setenv("RLM_MAX_STEPS", "many")
    settings = RLM.load()

    assert settings.limits(max_steps=3) == Limits(max_steps=3)
    settings.update_config(Config({"RLM": {"max_steps": 30}}))
    assert settings.limits() == Limits()


def test_a_refused_value_does_not_come_back_with_the_next_assignment():
    settings = RLM.load()
    with pytest.raises(UsageError, match=r"RLM\.max_steps=-1: give a whole number"):
        settings.update_config(Config({"RLM": {"max_steps": -1}}))

    settings.update_config(Config({"RLM": {"max_calls": 7}}))

    assert settings.limits() == Limits(max_calls=7)


def test_a_config_file_that_fails_or_misspells_keeps_no_kernel_from_starting(config_folder):
    (config_folder / "jupyter_rlm_config.py").write_text("c.RLM.max_step = 3\n")
    (config_folder / "jupyter_rlm_config.json").write_text("{")

    settings = RLM.load()

    with pytest.raises(UsageError) as caught:
        settings.check()
    assert f"c.RLM.max_step in {config_folder / 'jupyter_rlm_config.py'}: no such setting" in str(caught.value)
    assert "did you mean max_steps?" in str(caught.value)
    assert f"cannot read {config_folder / 'jupyter_rlm_config.json'}: JSONDecodeError" in str(caught.value)


@pytest.mark.parametrize("text", ["1 / 0", "c.RLM.max_steps = ", "import no_such_module"])
def test_a_config_file_may_raise_anything(config_folder, text):
    (config_folder / "jupyter_rlm_config.py").write_text(text)

    settings = RLM.load()

    with pytest.raises(UsageError, match=r"cannot read .*jupyter_rlm_config\.py: "):
        settings.check()


def test_variables_of_others_that_begin_with_rlm_are_no_settings(monkeypatch):
    monkeypatch.setenv("RLM_LICENSE", "5053@server")

    assert RLM.load().problems == {}


@pytest.mark.parametrize("value", [True, "x", -1, float("nan"), [3]])
def test_an_argument_that_does_not_fit_is_a_usage_error(value):
    with pytest.raises(UsageError, match="max_steps="):
        RLM.load().limits(max_steps=value)


def test_an_argument_nobody_knows_is_a_usage_error():
    with pytest.raises(UsageError, match="max_cost: no such setting; did you mean max_cost_usd"):
        RLM.load().limits(max_cost=1)


def test_a_copy_takes_any_setting_and_leaves_the_original():
    settings = RLM.load()

    copy = settings.replaced(model="scripted:b.py", live=False, max_steps=None)

    assert (copy.model, copy.live, copy.max_steps) == ("scripted:b.py", False, None)
    assert (settings.model, settings.live, settings.max_steps) == (None, True, 30)
    assert asdict(copy.limits()) == {**asdict(settings.limits()), "max_steps": None}


def test_percent_config_sets_shows_and_lists_it():
    shell = InteractiveShell()
    settings = RLM.load()
    shell.configurables.append(settings)

    shell.run_line_magic("config", "RLM.max_steps = 5")

    assert settings.limits() == Limits(max_steps=5)
    assert shell.run_line_magic("config", "RLM.max_steps") == 5
    shell.history_manager.end_session()
