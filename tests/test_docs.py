"""That README and the pages say what is so, where a test can tell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import nbformat
import pytest

import rlm_kernel
from rlm_kernel.settings import RLM
from rlm_kernel.values import Ending
from tests.kernel_process import block
from tests.recorded_runs import Case, model

REPOSITORY = Path(__file__).parents[1]


def test_the_lines_about_traces_in_python_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    case = Case({"whole": [block("FINAL(llm_query('double', context=7))")], "double": [block("FINAL(context * 2)")]})
    page = (REPOSITORY / "docs" / "replay.md").read_text()
    section = page.split("## In Python\n")[1].split("\n## ")[0]
    source = section.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {"rlm_kernel": rlm_kernel, "nbformat": nbformat}
    names["run"] = rlm_kernel.run("the whole", model=model(tmp_path, case))

    exec(compile(source, "docs/replay.md", "exec"), names)

    assert names["run"].answer == 14
    assert names["trace"].complaint is None
    assert names["agent"].caller == "0"
    nbformat.validate(names["notebook"])
    assert set(re.findall(r"ending: ([a-z_, ]+)", source)[0].replace(" or", ",").split(", ")) == set(get_args(Ending))


def test_readme_names_every_setting() -> None:
    limits = (REPOSITORY / "README.md").read_text().split("## Limits\n")[1].split("\n## ")[0]

    assert [name for name in RLM.class_trait_names(config=True) if f"`{name}" not in limits] == []
