from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from rlm_kernel import doctor
from rlm_kernel.cli.install import install
from rlm_kernel.doctor import Finding
from rlm_kernel.settings import RLM

EXPORT_MODEL = "export RLM_MODEL=openai/gpt-5-mini  (in a notebook: %config RLM.model = 'openai/gpt-5-mini')"


@pytest.fixture(autouse=True)
def only_the_kernels_of_this_test(monkeypatch, tmp_path):
    """Without this, what is installed in the environment that runs the tests would be found."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "path"))
    monkeypatch.setattr("jupyter_core.paths.ENV_JUPYTER_PATH", [])
    monkeypatch.setattr("jupyter_core.paths.SYSTEM_JUPYTER_PATH", [])
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def script(tmp_path) -> str:
    file = tmp_path / "replies.json"
    file.write_text(json.dumps(["```repl\nFINAL(1)\n```"]))
    return f"scripted:{file}"


def check(**settings: object) -> list[Finding]:
    return doctor.check(RLM.load().replaced(**settings))


def about(word: str, findings: list[Finding]) -> Finding:
    [found] = [finding for finding in findings if word in finding.what]
    return found


def test_nothing_is_missing_where_model_kernel_and_folder_are_there(script):
    install("rlm", prefix=None)

    findings = check(model=script)

    assert [finding for finding in findings if not finding.ok] == []
    assert {str(finding)[:5] for finding in findings} == {"ok   "}


def test_without_a_model_it_says_how_to_set_one():
    finding = about("no model", check())

    assert finding == Finding(False, "no model is set", EXPORT_MODEL)
    assert str(finding) == f"miss no model is set  ->  {EXPORT_MODEL}"


def test_a_script_that_is_not_there_is_named():
    finding = about("gone.py", check(model="scripted:gone.py"))

    assert not finding.ok


def test_a_key_that_is_absent_is_named_with_the_command_that_sets_it():
    finding = about("key", check(model="openai/gpt-4o-mini"))

    assert not finding.ok
    assert finding.mend is not None
    assert finding.mend.startswith("export OPENAI_API_KEY=")


def test_a_key_that_is_there_is_not_shown_and_the_price_is(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-real-key")

    findings = check(model="openai/gpt-4o-mini")

    assert about("ready to be asked", findings).ok
    assert about("price", findings).what == (
        "price of openai/gpt-4o-mini: US dollars for a million tokens 0.15 in, 0.6 out"
    )
    assert "sk-not-a-real-key" not in "".join(map(str, findings))


def test_a_provider_that_does_not_exist_is_missing():
    finding = about("opennai", check(model="opennai/gpt-4o-mini"))

    assert not finding.ok


def test_an_unknown_price_is_missing_unless_another_limit_holds(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-real-key")
    unpriced = "openai/of-our-own"

    alone = about("price", check(model=unpriced))
    with_tokens = about("price", check(model=unpriced, max_tokens=1000))
    without_dollars = about("price", check(model=unpriced, max_cost_usd=None))

    assert not alone.ok
    assert alone.what == "price of openai/of-our-own is unknown: max_cost_usd=1 cannot hold"
    assert alone.mend == "export RLM_MAX_TOKENS=500000  (in a notebook: %config RLM.max_tokens = 500000)"
    assert with_tokens.ok
    assert without_dollars.ok


def test_a_kernel_that_is_not_installed_is_missing():
    assert about("kernel named", check()) == Finding(
        False, "no kernel named rlm is installed", "jupyter rlm install --sys-prefix"
    )


def test_a_kernel_that_runs_another_python_is_missing(tmp_path):
    where = install("rlm", prefix=None)
    other = tmp_path / "other"
    os.makedirs(other / "bin")
    (other / "pyvenv.cfg").write_text(f"home = {Path(sys.base_prefix, 'bin')}\n")
    (other / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    spec = json.loads((where / "kernel.json").read_text())

    spec["argv"][0] = str(other / "bin" / "python")
    (where / "kernel.json").write_text(json.dumps(spec))
    elsewhere = about("another Python", check())
    shutil.rmtree(other)
    nowhere = about("does not run", check())

    assert elsewhere.mend == nowhere.mend == "jupyter rlm install --user"


def test_a_trace_folder_that_cannot_be_made_is_missing(tmp_path):
    (tmp_path / "file").write_text("")

    finding = about("traces", check(trace_dir=str(tmp_path / "file" / "runs")))

    assert not finding.ok
    assert f"{tmp_path / 'file'} is a file" in finding.what
    assert not (tmp_path / ".rlm").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_trace_folder_that_is_read_only_is_missing(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)

    assert not about("traces", check(trace_dir=str(closed / "runs"))).ok


def test_a_setting_that_cannot_be_used_is_missing(monkeypatch):
    monkeypatch.setenv("RLM_MAX_STEPS", "many")

    finding = about("RLM_MAX_STEPS", doctor.check(RLM.load()))

    assert finding == Finding(
        False, "RLM_MAX_STEPS='many': give a whole number from 0 up, or none for no limit", "correct it where it is set"
    )
