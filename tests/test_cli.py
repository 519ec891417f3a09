"""`jupyter rlm` as a process, the way a person starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlm_kernel._version import __version__

REPOSITORY = Path(__file__).parents[1]


def jupyter_rlm(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from rlm_kernel.cli.app import main; main()", *arguments],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_bare_it_lists_its_subcommands():
    done = jupyter_rlm()

    assert done.returncode == 0
    assert "\ninstall\n" in done.stdout
    assert "\ndoctor\n" in done.stdout


def test_it_says_its_version():
    done = jupyter_rlm("--version")

    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["--frobnicate"],
        ["install", "--frobnicate"],
        ["install", "--user", "--sys-prefix"],
        ["doctor", "x"],
    ],
)
def test_bad_usage_is_one_line_and_exit_2(arguments):
    done = jupyter_rlm(*arguments)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("jupyter rlm")
    assert done.stderr.count("\n") == 1


def test_install_writes_a_kernelspec_that_names_this_interpreter(tmp_path):
    done = jupyter_rlm("install", f"--prefix={tmp_path}", "--name=rlm-here")

    where = tmp_path / "share" / "jupyter" / "kernels" / "rlm-here"
    assert done.returncode == 0
    assert done.stdout == f"installed kernel rlm-here in {where}\n"
    assert sorted(file.name for file in where.iterdir()) == [
        "kernel.json",
        "logo-32x32.png",
        "logo-64x64.png",
        "logo-svg.svg",
    ]
    shipped = json.loads((REPOSITORY / "kernelspec" / "kernel.json").read_text())
    written = json.loads((where / "kernel.json").read_text())
    assert written == {**shipped, "argv": [sys.executable, *shipped["argv"][1:]]}


def test_install_without_a_place_is_for_the_user_and_may_be_repeated(tmp_path):
    first = jupyter_rlm("install", JUPYTER_DATA_DIR=str(tmp_path))
    second = jupyter_rlm("install", JUPYTER_DATA_DIR=str(tmp_path))

    assert (first.returncode, second.returncode) == (0, 0)
    assert (tmp_path / "kernels" / "rlm" / "kernel.json").is_file()


@pytest.mark.parametrize("options", [["--name=no/such"], ["--prefix=/dev/null"]])
def test_install_where_it_cannot_be_is_one_line_and_exit_2(options, tmp_path):
    done = jupyter_rlm("install", *options, JUPYTER_DATA_DIR=str(tmp_path))

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("jupyter rlm install: ")


def test_doctor_is_0_where_nothing_is_missing_and_1_where_something_is(tmp_path):
    script = tmp_path / "replies.json"
    script.write_text(json.dumps(["one"]))
    jupyter_rlm("install", JUPYTER_DATA_DIR=str(tmp_path))
    kernels_of_this_test = {"JUPYTER_DATA_DIR": str(tmp_path), "JUPYTER_PREFER_ENV_PATH": "0"}

    healthy = jupyter_rlm("doctor", RLM_MODEL=f"scripted:{script}", **kernels_of_this_test)
    ill = jupyter_rlm("doctor", **kernels_of_this_test)

    assert (healthy.returncode, healthy.stderr) == (0, "")
    assert {line[:5] for line in healthy.stdout.splitlines()} == {"ok   "}
    assert (ill.returncode, ill.stderr) == (1, "")
    assert [line for line in ill.stdout.splitlines() if line.startswith("miss ")] == [
        "miss no model is set  ->  "
        "export RLM_MODEL=openai/gpt-5-mini  (in a notebook: %config RLM.model = 'openai/gpt-5-mini')"
    ]


def test_generate_config_names_every_setting(tmp_path):
    done = jupyter_rlm("--generate-config", JUPYTER_CONFIG_DIR=str(tmp_path))

    assert done.returncode == 0
    assert "# c.RLM.max_steps = 30\n" in (tmp_path / "jupyter_rlm_config.py").read_text()
