"""
What is built is what is needed: the wheel, made from the sdist, in an environment that has never seen the checkout.

Its dependencies are lent by the environment that runs the tests, through a path file. To download them would take
minutes and prove nothing about this package; that pip resolves them, `make test` has shown on its way here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from rlm_kernel._version import __version__
from tests.kernel_process import block, script

REPOSITORY = Path(__file__).parents[1]
KERNELSPEC = {"kernel.json", "logo-32x32.png", "logo-64x64.png", "logo-svg.svg"}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, REPOSITORY, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    return built / f"rlm_kernel-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory) -> Path:
    """The bin folder of a virtual environment with the wheel in it."""
    environment = tmp_path_factory.mktemp("fresh")
    venv.create(environment)
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=environment)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=environment).strip()
    # A path in such a file is only appended, so that an editable install of the lender stays out of sight.
    Path(site, "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


def test_the_sdist_holds_what_building_and_testing_need(built):
    with tarfile.open(built / f"rlm_kernel-{__version__}.tar.gz") as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}

    assert {"pyproject.toml", "README.md", "LICENSE", "kernelspec/kernel.json", "tests/test_wheel.py"} <= names
    assert not [name for name in names if name.startswith((".venv", ".rlm", ".git/")) or name.endswith(".pyc")]


def test_the_wheel_holds_the_package_and_its_kernelspec_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()

    shared = f"rlm_kernel-{__version__}.data/data/share/jupyter/kernels/rlm/"
    assert {name.removeprefix(shared) for name in names if name.startswith(shared)} == KERNELSPEC
    modules = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "rlm_kernel").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    tops = {name.split("/")[0] for name in names}
    assert tops == {"rlm_kernel", f"rlm_kernel-{__version__}.data", f"rlm_kernel-{__version__}.dist-info"}


def test_installing_the_wheel_is_all_it_takes_for_jupyter_to_list_the_kernel(fresh, tmp_path):
    listed = json.loads(run(fresh / "python", "-m", "jupyter_client.kernelspecapp", "list", "--json", cwd=tmp_path))

    spec = listed["kernelspecs"]["rlm"]
    assert Path(spec["resource_dir"]) == fresh.parent / "share" / "jupyter" / "kernels" / "rlm"
    assert spec["spec"]["display_name"] == "Python 3 (RLM)"
    assert spec["spec"]["argv"] == ["python", "-m", "rlm_kernel", "-f", "{connection_file}"]


def test_the_installed_command_writes_a_kernelspec_from_the_wheels_own_copy(fresh, tmp_path):
    run(fresh / "jupyter-rlm", "install", f"--prefix={tmp_path}", cwd=tmp_path)

    where = tmp_path / "share" / "jupyter" / "kernels" / "rlm"
    assert {file.name for file in where.iterdir()} == KERNELSPEC
    assert json.loads((where / "kernel.json").read_text())["argv"][0] == str(fresh / "python")


def test_install_over_the_kernelspec_of_the_wheel_names_the_interpreter(fresh, tmp_path):
    run(fresh / "jupyter-rlm", "install", "--sys-prefix", cwd=tmp_path)

    where = fresh.parent / "share" / "jupyter" / "kernels" / "rlm"
    assert {file.name for file in where.iterdir()} == KERNELSPEC
    assert json.loads((where / "kernel.json").read_text())["argv"][0] == str(fresh / "python")


@pytest.mark.kernel
def test_the_installed_command_asks_a_question_in_the_installed_kernel(fresh, tmp_path):
    model = script(tmp_path, block("import rlm_kernel\nFINAL(rlm_kernel.__file__)"))

    said = run(fresh / "jupyter-rlm", "run", "Where are you?", "-m", model, "--json", cwd=tmp_path)

    assert Path(json.loads(said)["answer"]).is_relative_to(fresh.parent)
