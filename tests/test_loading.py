"""A trace read back: nothing is lost, what a person changed is told, and no file whatever makes it fail otherwise."""

from __future__ import annotations

import base64
import builtins
import copy
import importlib.util
import json
import math
import os
import pickle
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import nbformat
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import rlm_kernel
from rlm_kernel.errors import TraceError, UsageError
from rlm_kernel.trace import file, loading, rows
from rlm_kernel.trace.changed import Inserted
from rlm_kernel.trace.codec import text_sha, write_line
from rlm_kernel.trace.events import CellFinished, Event, Replied, RunStarted
from rlm_kernel.trace.journal import Journal
from rlm_kernel.trace.loading import Trace, load_trace
from rlm_kernel.trace.notebook import render
from rlm_kernel.values import CellError, Usage
from tests.sample_run import (
    EVENTS,
    agent_finished,
    agent_started,
    call,
    fenced,
    recursive_run,
    run_started,
    shown,
    step,
    stream,
    tree_of,
    whole_run,
)

Log = list[tuple[str | None, Event]]
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def journal_of(folder: Path, events: list[Event]) -> Path:
    with Journal.create(folder, "run") as journal:
        for event in events:
            journal.append(event)
    return journal.path


def notebook_of(events: list[Event]) -> dict[str, Any]:
    """As a program reads it from its file."""
    found: dict[str, Any] = json.loads(file.to_json(render(tree_of(events))))
    return found


def saved(folder: Path, notebook: Any, name: str = "run.ipynb") -> Path:
    path = folder / name
    path.write_text(json.dumps(notebook), "utf-8")
    return path


def log_of(trace: Trace) -> Log:
    return trace.tree.log


def events_of(trace: Trace) -> list[Event]:
    return [event for _, event in trace.tree.log]


def changes_of(trace: Trace) -> tuple[str | None, dict[tuple[str, int], str], tuple[Inserted, ...]]:
    return trace.complaint, dict(trace.edited), trace.inserted


UNCHANGED = (None, {}, ())


def cell(notebook: dict[str, Any], id: str) -> dict[str, Any]:
    found: dict[str, Any] = next(cell for cell in notebook["cells"] if cell["id"] == id)
    return found


# There and back


@given(EVENTS)
@QUICK
def test_any_journal_becomes_a_notebook_with_the_same_events_and_times(events: list[Event]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        first = load_trace(journal_of(folder, events))
        file.write(first.tree, folder / "run.ipynb")

        second = load_trace(folder / "run.ipynb")

    assert events_of(first) == events
    assert all(at is not None for at, _ in log_of(first))
    assert log_of(second) == log_of(first)
    assert (second.edited, second.inserted) == ({}, ())


@given(EVENTS, st.booleans())
@QUICK
def test_any_notebook_that_another_program_saved_has_lost_nothing(events: list[Event], cleared: bool) -> None:
    tree = tree_of(events)
    with TemporaryDirectory() as name:
        path = Path(name) / "run.ipynb"
        file.write(tree, path)
        found = nbformat.read(path, as_version=4)
        for each in found.cells if cleared else []:
            clear_counts(each)
        nbformat.write(found, path)

        trace = load_trace(path)

    assert log_of(trace) == tree.log
    assert (trace.edited, trace.inserted) == ({}, ())


def clear_counts(cell: dict[str, Any]) -> None:
    if cell["cell_type"] == "code":
        cell["execution_count"] = None
        for output in cell["outputs"]:
            if "execution_count" in output:
                output["execution_count"] = None


OUTPUT_TEXT = st.text("ab\n\r\x0b\u2028é ", max_size=8)
OUTPUTS = st.lists(
    st.one_of(
        st.builds(stream, OUTPUT_TEXT, st.sampled_from(["stdout", "stderr"])),
        st.builds(shown, OUTPUT_TEXT, st.none() | st.integers(0, 4)),
        st.builds(
            lambda mime, content: {"output_type": "display_data", "data": {mime: content}, "metadata": {}},
            st.sampled_from(["text/html", "image/svg+xml", "application/json", "application/x+json", "model/x+json"]),
            OUTPUT_TEXT | st.lists(OUTPUT_TEXT, max_size=2) | st.integers(),
        ),
    ),
    max_size=3,
).map(tuple)


@given(OUTPUTS, st.booleans())
@example(({"output_type": "display_data", "data": {"model/x+json": ["a", "b"]}, "metadata": {}},), False)
@QUICK
def test_outputs_are_as_they_were_though_another_program_saved_them_as_lines(
    outputs: tuple[Any, ...], cleared: bool
) -> None:
    events = [
        run_started(),
        agent_started(),
        *step(1, fenced("x\ny"), "x\ny", outputs),
        *step(3, fenced("z"), "z", outputs),
    ]
    with TemporaryDirectory() as name:
        path = Path(name) / "run.ipynb"
        file.write(tree_of(events), path)
        found = nbformat.read(path, as_version=4)
        for each in found.cells if cleared else []:
            clear_counts(each)
        nbformat.write(found, path)

        trace = load_trace(path)

    assert events_of(trace) == events
    assert changes_of(trace) == UNCHANGED


@pytest.mark.parametrize("run", [whole_run, recursive_run])
def test_a_journal_its_notebook_and_the_notebook_of_that_say_the_same(run: Any, tmp_path: Path) -> None:
    first = load_trace(journal_of(tmp_path, run()))
    file.write(first.tree, tmp_path / "1.ipynb")
    second = load_trace(tmp_path / "1.ipynb")
    file.write(second.tree, tmp_path / "2.ipynb")

    assert (tmp_path / "1.ipynb").read_bytes() == (tmp_path / "2.ipynb").read_bytes()
    assert log_of(second) == log_of(first)
    assert changes_of(first) == changes_of(second) == UNCHANGED
    assert (first.path, first.content) == (tmp_path / "run.jsonl", None)
    assert (second.path, second.content) == (tmp_path / "1.ipynb", second.to_notebook()["metadata"]["rlm"]["content"])


# A file that was cut


@given(EVENTS | st.sampled_from([whole_run(), recursive_run()]), st.data())
@QUICK
def test_a_journal_cut_at_any_byte_gives_all_before_it_and_says_so(events: list[Event], data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = journal_of(folder, events)
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:at])

        first = load_trace(path)
        file.write(first.tree, folder / "run.ipynb")
        second = load_trace(folder / "run.ipynb")

    kept = whole[:at].rfind(b"\n") + 1
    count = sum(json.loads(line)["type"] != "body" for line in whole[:kept].splitlines())
    assert events_of(first) == events[:count]
    if at == 0:
        assert first.complaint is not None
        assert "is empty" in first.complaint
    elif at > kept:
        assert first.complaint is not None
        assert first.complaint.endswith(f"; {at - kept:,} bytes at its end are lost")
        assert " is torn: " in first.complaint
    else:
        assert first.complaint is None or "bytes" not in first.complaint
    assert log_of(second) == log_of(first)


def test_a_notebook_cut_at_any_byte_is_one_error(tmp_path: Path) -> None:
    whole = file.to_json(render(tree_of(whole_run()))).encode()
    path = tmp_path / "run.ipynb"

    for at in [*range(2, 60), *range(60, len(whole) - 2, 97), len(whole) - 2]:
        path.write_bytes(whole[:at])
        with pytest.raises(TraceError, match="neither a journal nor a notebook that can be read") as caught:
            load_trace(path)
        assert "\n" not in str(caught.value)

    path.write_bytes(whole[:-1])  # the newline at its end
    assert events_of(load_trace(path)) == whole_run()


# What a person did to a notebook


def test_an_edited_cell_is_told_with_its_new_source_and_its_recorded_one_stays(tmp_path: Path) -> None:
    notebook = notebook_of(recursive_run())
    cell(notebook, "a0-s1")["source"] = "xs = []"
    cell(notebook, "a0-1-1-s1")["source"] = ["%%agent 0.1.1\n", "y = 8\n", "FINAL(y)"]

    trace = load_trace(saved(tmp_path, notebook))

    assert trace.edited == {("0", 1): "xs = []", ("0.1.1", 1): "y = 8\nFINAL(y)"}
    assert (trace.complaint, trace.inserted) == (None, ())
    assert events_of(trace) == recursive_run()


def test_a_cell_whose_line_of_its_agent_was_taken_away_is_not_edited_and_one_that_lost_its_text_is(
    tmp_path: Path,
) -> None:
    notebook = notebook_of(recursive_run())
    cell(notebook, "a0-1-1-s1")["source"] = "FINAL(7)"
    cell(notebook, "a0-1-s1")["source"] = ""

    assert load_trace(saved(tmp_path, notebook)).edited == {("0.1", 1): ""}


@pytest.mark.parametrize("agent", ["0.1", "0.2\nimport os", "", "two words", "x" * 200, "é", "\ud800"])
def test_a_cell_is_not_edited_whatever_its_agent_is_called(agent: str, tmp_path: Path) -> None:
    events = [run_started(), agent_started(), agent_started(agent, "0")]
    notebook = notebook_of([*events, *step(1, fenced("a\nb"), "a\nb", agent=agent)])
    assert changes_of(load_trace(saved(tmp_path, notebook))) == UNCHANGED

    edited = next(cell for cell in notebook["cells"] if cell["metadata"]["rlm"]["kind"] == "cell")
    edited["source"] = edited["source"].replace("b", "c")

    assert list(load_trace(saved(tmp_path, notebook)).edited) == [(agent, 1)]


@pytest.mark.parametrize("source", ["%%agent 0.1\nx = 1", "%%agent 0.1\n", "%%time\nx", "", " ", "\n\nx\n", "\ud800"])
def test_a_cell_is_not_edited_whatever_its_source_is(source: str, tmp_path: Path) -> None:
    for agent, caller in (("0", None), ("0.1", "0")):
        events = [run_started(), agent_started(agent, caller), *step(1, fenced(source), source, agent=agent)]

        trace = load_trace(saved(tmp_path, notebook_of(events)))

        assert changes_of(trace) == UNCHANGED
        assert events_of(trace) == events


def test_cells_that_a_person_put_in_are_told_with_their_agent_and_what_they_follow(tmp_path: Path) -> None:
    notebook = notebook_of(recursive_run())
    put_in(notebook, "title", "%load_ext rlm_kernel")
    put_in(notebook, "a0-s1", "import re\nre.sub")
    put_in(notebook, "a0-1-s1", "%%agent 0.1\nlen(context)\ncontext[0]")
    put_in(notebook, "answer", ["x = 1\n", "x"])
    put_in(notebook, "answer", " \n ")  # nothing is in it

    trace = load_trace(saved(tmp_path, notebook))

    assert trace.inserted == (
        Inserted("0", "%load_ext rlm_kernel", None),
        Inserted("0", "import re\nre.sub", ("0", 1)),
        Inserted("0.1", "len(context)\ncontext[0]", ("0.1", 1)),
        Inserted("0", "x = 1\nx", ("0.1.1", 1)),
    )
    assert (trace.edited, trace.complaint) == ({}, None)
    assert events_of(trace) == recursive_run()


def put_in(notebook: dict[str, Any], after: str, source: str | list[str], metadata: Any = None) -> None:
    cells = notebook["cells"]
    made = {"cell_type": "code", "id": f"new-{len(cells)}", "metadata": metadata or {}, "source": source}
    cells.insert(cells.index(cell(notebook, after)) + 1, {**made, "outputs": [], "execution_count": None})


def test_markdown_of_a_person_is_theirs_and_nothing_to_tell(tmp_path: Path) -> None:
    notebook = notebook_of(whole_run())
    notebook["cells"].insert(3, {"cell_type": "markdown", "id": "mine", "metadata": {}, "source": "# Mine"})
    cell(notebook, "a0-s1-text")["source"] = "Not what the model wrote."

    assert changes_of(load_trace(saved(tmp_path, notebook))) == UNCHANGED


def test_a_copy_of_a_recorded_cell_is_put_in_and_the_cell_itself_is_not_edited(tmp_path: Path) -> None:
    # Jupyter gives a pasted cell the metadata of the one that was copied, and an id of its own.
    notebook = notebook_of(whole_run())
    copied = cell(notebook, "a0-s1")["metadata"]
    put_in(notebook, "a0-s1", "context[:9]", copied)
    before = notebook["cells"].index(cell(notebook, "a0-s3"))
    third = copy.deepcopy(cell(notebook, "a0-s3"))
    notebook["cells"].insert(before, {**third, "id": "pasted-above", "source": "n"})

    trace = load_trace(saved(tmp_path, notebook))

    assert trace.edited == {}
    assert trace.inserted == (Inserted("0", "context[:9]", ("0", 1)), Inserted("0", "n", ("0", 2)))
    for each in notebook["cells"]:
        each["id"] = f"other-{each['id']}"
    trace = load_trace(saved(tmp_path, notebook))
    assert trace.edited == {("0", 3): "n"}  # nothing tells the first from a copy now, and the first one counts
    assert trace.inserted == (Inserted("0", "context[:9]", ("0", 1)), Inserted("0", "FINAL(n + 1)", ("0", 3)))


def test_a_program_that_gives_cells_other_ids_has_edited_nothing(tmp_path: Path) -> None:
    notebook = notebook_of(whole_run())
    for n, each in enumerate(notebook["cells"]):
        each["id"] = f"cell-{n}"

    trace = load_trace(saved(tmp_path, notebook))

    assert (trace.edited, trace.inserted) == ({}, ())
    assert (trace.complaint, trace.lost, trace.removed, trace.moved) == (None, {}, (), ())
    assert events_of(trace) == whole_run()


def test_outputs_of_an_older_notebook_that_was_run_again_are_those_of_its_cells(tmp_path: Path) -> None:
    notebook = notebook_of(whole_run())
    for event in notebook["metadata"]["rlm"]["events"]:
        for output in event.get("outputs", []):
            del output["sha"]
    again = cell(notebook, "a0-s2")
    again["execution_count"] = 41
    again["outputs"] = [stream(["No, not\n", "at all.\n"]), {**shown("4", 41)}, stream("and more\n")]  # type: ignore[arg-type]

    trace = load_trace(saved(tmp_path, notebook))

    outputs = trace.agents["0"].steps[1].cell.outputs  # type: ignore[union-attr]
    assert outputs == (stream("No, not\nat all.\n"), shown("4", 7))  # its count is recorded, what came besides is not
    assert changes_of(trace) == UNCHANGED


def test_outputs_that_are_gone_are_counted_and_all_else_is_there(tmp_path: Path) -> None:
    notebook = notebook_of(whole_run())
    cell(notebook, "a0-s2")["outputs"].pop()
    notebook["cells"].remove(cell(notebook, "a0-s1"))

    trace = load_trace(saved(tmp_path, notebook))

    assert trace.complaint == "2 recorded outputs are in its cells no longer: it was run again, or edited"
    assert (trace.lost, trace.removed) == ({("0", 1): 1, ("0", 2): 1}, (("0", 1),))
    kept = [each.outputs for each in events_of(trace) if isinstance(each, CellFinished)]
    assert kept == [(), (stream("No, not many.\n"),), ()]
    assert without_outputs(events_of(trace)) == without_outputs(whole_run())


def test_outputs_that_others_have_replaced_are_lost_and_equal_ones_are_not(tmp_path: Path) -> None:
    notebook = notebook_of(whole_run())
    printed, result = cell(notebook, "a0-s2")["outputs"]
    printed["text"] = "0\n"
    result["execution_count"] = 41

    trace = load_trace(saved(tmp_path, notebook))

    assert trace.lost == {("0", 2): 1}
    assert [each.outputs for each in events_of(trace) if isinstance(each, CellFinished)][1] == (shown("3", 7),)


def test_outputs_that_are_gone_come_from_the_journal_of_that_run_beside_the_notebook(tmp_path: Path) -> None:
    events = whole_run()
    assert isinstance(events[0], RunStarted)
    notebook = notebook_of(events)
    for each in notebook["cells"]:
        each.pop("outputs", None)
    journal_of(tmp_path, events).rename(tmp_path / f"{events[0].run}.jsonl")
    trace = load_trace(saved(tmp_path, notebook))
    assert (events_of(trace), trace.lost, trace.complaint) == (events, {}, None)

    (tmp_path / f"{events[0].run}.jsonl").unlink()
    journal_of(tmp_path, [replace(events[0], run="another"), *events[1:]]).rename(tmp_path / f"{events[0].run}.jsonl")
    assert load_trace(tmp_path / "run.ipynb").lost == {("0", 1): 1, ("0", 2): 2}


def test_a_cell_that_is_not_there_is_told_and_one_that_was_emptied_is_edited(tmp_path: Path) -> None:
    notebook = notebook_of(recursive_run())
    notebook["cells"].remove(cell(notebook, "a0-1-1-s1"))
    cell(notebook, "a0-s1")["source"] = ""

    trace = load_trace(saved(tmp_path, notebook))

    assert (trace.removed, trace.moved, trace.edited, trace.inserted) == ((("0.1.1", 1),), (), {("0", 1): ""}, ())
    assert events_of(trace) == recursive_run()


@pytest.mark.parametrize(
    ("order", "told"), [([1, 2, 3], []), ([3, 1, 2], [3]), ([2, 3, 1], [1]), ([1, 3, 2], [3]), ([3, 2, 1], [3, 2])]
)
def test_no_more_cells_are_told_as_moved_than_have_to_be(order: list[int], told: list[int], tmp_path: Path) -> None:
    notebook = notebook_of(whole_run())
    places = [n for n, each in enumerate(notebook["cells"]) if each["metadata"]["rlm"]["kind"] == "cell"]
    cells = [cell(notebook, f"a0-s{step}") for step in order]
    for place, each in zip(places, cells, strict=True):
        notebook["cells"][place] = each

    trace = load_trace(saved(tmp_path, notebook))

    assert (trace.moved, trace.removed, trace.edited) == (tuple(("0", step) for step in told), (), {})


@pytest.mark.parametrize("ids", [True, False])
def test_cells_without_their_metadata_are_those_of_the_record(ids: bool, tmp_path: Path) -> None:
    notebook = notebook_of(recursive_run())
    for n, each in enumerate(notebook["cells"]):
        each["metadata"] = {}
        each["id"] = each["id"] if ids else f"cell-{n}"
    put_in(notebook, "title" if ids else "cell-0", "import re")

    trace = load_trace(saved(tmp_path, notebook))

    assert (trace.edited, trace.removed, trace.moved) == ({}, (), ())
    assert trace.inserted == (Inserted("0", "import re", None),)


def test_an_edited_cell_without_its_metadata_is_known_by_its_id(tmp_path: Path) -> None:
    notebook = notebook_of(whole_run())
    for each in notebook["cells"]:
        each["metadata"] = {}
    cell(notebook, "a0-s1")["source"] = "1"

    trace = load_trace(saved(tmp_path, notebook))

    assert (trace.edited, trace.inserted, trace.removed) == ({("0", 1): "1"}, (), ())


def test_a_persons_cell_without_its_metadata_is_none_that_was_put_in(tmp_path: Path) -> None:
    asked = replace(agent_started(), question="llm_query('who?')")
    notebook = notebook_of([replace(run_started(), door="cell"), asked, *step(1, fenced("1"), "1", agent="0.1")])
    for each in notebook["cells"]:
        each["metadata"] = {}

    assert load_trace(saved(tmp_path, notebook)).inserted == ()


def without_outputs(events: list[Event]) -> list[Event]:
    return [replace(event, outputs=()) if isinstance(event, CellFinished) else event for event in events]


# What is no trace, or a bad one


def refused(path: Path) -> str:
    """The one line that says why."""
    with pytest.raises(TraceError) as caught:
        load_trace(path)
    said = str(caught.value)
    assert "\n" not in said
    assert "\x1b" not in said
    assert len(said) < 1_000
    return said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"hello\nworld\n", "neither a journal nor a notebook"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe", "neither a journal nor a notebook"),
        (b"\x00" * 5_000, "neither a journal nor a notebook"),
        (pickle.dumps({"cells": []}), "neither a journal nor a notebook"),
        (b"[" * 200_000, "neither a journal nor a notebook"),
        (b"1" * 10_000, "neither a journal nor a notebook"),
        (b"[]", "holds no trace"),
        (b"null", "holds no trace"),
        (b'"\\u001b[31m"', "holds no trace"),
        (b'{"metadata": {}, "cells": []}', "holds no trace"),
        (b'{"metadata": {"rlm": {"events": {}}}}', "holds no trace"),
        (b'{"metadata": {"rlm": [1]}}', "holds no trace"),
        (b'{"id": 1}\n{"id": 2}\n', "neither a journal nor a notebook"),
    ],
)
def test_what_is_no_trace_is_one_line_that_says_so(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)

    message = refused(path)

    assert str(path) in message
    assert said in message
    assert ("jupyter rlm import" in message) == (said != "holds no trace")


def test_a_path_that_cannot_be_read_is_said_to_be_one(tmp_path: Path) -> None:
    assert "is the path right?" in refused(tmp_path / "none.ipynb")
    assert "is the path right?" in refused(tmp_path)
    assert "is the path right?" in refused(tmp_path / "none" / "x.ipynb")
    assert "is the path right?" in refused(tmp_path / "nul\0byte")
    assert "is the path right?" in refused(tmp_path / ("x" * 5_000))
    assert "is the path right?" in refused(Path("~nobody-of-that-name/x.ipynb"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert "is no file" in refused(tmp_path / "pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_file_of_somebody_else_is_said_to_be_one(tmp_path: Path) -> None:
    path = saved(tmp_path, notebook_of(whole_run()))
    path.chmod(0)

    assert "Permission denied" in refused(path)


def test_an_empty_file_is_a_run_of_which_nothing_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.touch()

    trace = load_trace(path)

    assert (events_of(trace), list(trace), trace.run, trace.root) == ([], [], None, None)
    assert trace.complaint is not None
    assert "is empty" in trace.complaint


@pytest.mark.parametrize("schema", [2, 99, 10**30, 1.5])
def test_a_newer_schema_is_refused_with_the_mend(schema: Any, tmp_path: Path) -> None:
    notebook = notebook_of(whole_run())
    notebook["metadata"]["rlm"]["schema"] = schema

    assert "upgrade rlm_kernel to read it" in refused(saved(tmp_path, notebook))


def test_a_journal_of_a_newer_schema_is_refused_with_the_mend(tmp_path: Path) -> None:
    path = journal_of(tmp_path, whole_run())
    line = write_line(1, "2026-01-31T12:00:00.000Z", {"type": "noted", "agent": "0", "text": "x"})
    newer = json.loads(line)
    del newer["crc"]
    path.write_bytes(crafted({**newer, "v": 2}))

    assert "upgrade rlm_kernel to read it" in refused(path)


def crafted(data: dict[str, Any]) -> bytes:
    """A line with a checksum that fits, whatever is in it."""
    bare = json.dumps(data, separators=(",", ":")).encode("ascii")
    return bare[:-1] + b',"crc":"%08x"}\n' % crc32(bare)


@pytest.mark.parametrize("schema", [None, "1", [], {}, 0, -1, True, "\x1b[31m\n" * 999])
def test_a_schema_that_is_none_of_ours_is_refused(schema: Any, tmp_path: Path) -> None:
    notebook = notebook_of(whole_run())
    notebook["metadata"]["rlm"]["schema"] = schema

    assert "schema" in refused(saved(tmp_path, notebook))


def test_a_notebook_is_on_the_disk_with_its_name_when_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        synced.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else f"file of {os.fstat(fd).st_size}")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    file.put(tmp_path / "a", b"1234", 0o600)

    assert synced == ["file of 4", "folder"]
    assert [(path.name, path.read_bytes(), path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [
        ("a", b"1234", 0o600)
    ]


def test_a_part_of_a_trace_names_the_whole(tmp_path: Path) -> None:
    part = {"cells": [], "metadata": {"rlm": {"schema": 1, "part_of": "run.ipynb"}}, "nbformat": 4, "nbformat_minor": 5}
    assert "is a part of a trace: load run.ipynb, which has the whole" in refused(saved(tmp_path, part))

    part["metadata"]["rlm"]["part_of"] = "\x1b[31m\n" * 9_999  # type: ignore[index]
    assert "is a part of a trace" in refused(saved(tmp_path, part))


def test_a_notebook_too_large_to_be_read_at_once_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, notebook_of(whole_run()))
    monkeypatch.setattr(loading, "MAX_NOTEBOOK_BYTES", path.stat().st_size)
    assert events_of(load_trace(path)) == whole_run()

    monkeypatch.setattr(loading, "MAX_NOTEBOOK_BYTES", path.stat().st_size - 1)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it was read"))
    assert "load the journal of this run instead" in refused(path)


def test_a_journal_of_50_megabytes_is_read_in_seconds(tmp_path: Path) -> None:
    at, seq = "2026-01-31T12:00:00.000Z", 1
    path = journal_of(tmp_path, [run_started()])
    size = path.stat().st_size
    with path.open("ab") as out:
        for n in range(1, 2_001):
            text = f"{n}: " + "some line of an output\n" * 1_100
            sha = text_sha(text)
            for payload in (
                {"type": "body", "sha": sha, "text": text},
                {
                    "type": "cell_finished",
                    "agent": "0",
                    "step": n,
                    "outputs": [{"output_type": "stream", "name": "stdout", "text": {"$body": sha}}],
                    "seconds": 0.1,
                },
            ):
                seq += 1
                size += out.write(write_line(seq, at, payload))
    assert size > 50_000_000

    begun = time.thread_time()
    trace = load_trace(path)

    assert time.thread_time() - begun < 20
    assert (trace.complaint, len(trace.agents["0"].steps)) == (None, 2_000)


@pytest.mark.parametrize("events", [[], whole_run()[1:]], ids=["none", "all but the first"])
def test_a_record_without_the_beginning_of_its_run_is_told(events: list[Event], tmp_path: Path) -> None:
    notebook = notebook_of(whole_run())
    notebook["metadata"]["rlm"]["events"] = notebook_of(events)["metadata"]["rlm"]["events"] if events else []
    journals = [journal_of(tmp_path, events)] if events else []  # an empty one says that it is empty

    for path in (saved(tmp_path, notebook), *journals):
        assert load_trace(path).complaint == "the beginning of its run is not in the record"


def test_events_in_another_order_end_the_record_with_a_sentence(tmp_path: Path) -> None:
    notebook = notebook_of(whole_run())
    notebook["metadata"]["rlm"]["events"].reverse()

    complaint = load_trace(saved(tmp_path, notebook)).complaint

    assert complaint is not None
    assert complaint.partition(" cannot")[2] == " be read: its source is a piece of a reply that is not there"


def test_an_agent_that_starts_twice_is_told(tmp_path: Path) -> None:
    events = [run_started(), agent_started(), agent_started("0.1", "0", "Which?"), agent_started("0.1", "0", "What?")]

    for trace in (load_trace(journal_of(tmp_path, events)), load_trace(saved(tmp_path, notebook_of(events)))):
        assert trace.complaint == "agent 0.1 starts twice in it, and what is said of the two is mixed"
        assert events_of(trace) == events
        assert [agent.id for agent in trace] == ["0", "0.1"]


def test_agents_that_hang_from_each_other_are_told(tmp_path: Path) -> None:
    events = [
        *[run_started(), agent_started(), agent_started("a", "b"), agent_started("b", "a")],
        *[agent_started("c", "c"), *step(1, fenced("x"), "x", agent="a"), *step(1, fenced("y"), "y", agent="c")],
    ]

    trace = load_trace(saved(tmp_path, notebook_of(events)))

    assert trace.complaint == "agent a hangs from itself in it"
    assert sorted(agent.id for agent in trace) == ["0", "a", "b", "c"]
    assert events_of(trace) == events
    usable(trace)


def test_agents_a_thousand_levels_deep_are_read_and_shown(tmp_path: Path) -> None:
    ids = [f"n{n}" for n in range(1_500)]
    started = [agent_started(id, above) for id, above in zip(ids, [None, *ids], strict=False)]
    asked = [event for id in ids for event in step(1, fenced("x"), "x", agent=id)]

    trace = load_trace(journal_of(tmp_path, [*started, *asked]))

    assert [agent.id for agent in trace] == ids
    usable(trace)


def test_html_and_ansi_in_every_field_change_nothing(tmp_path: Path) -> None:
    text = "<script>alert(1)</script>\x1b[31m\x1b]0;x\x07\n\r\u202e# x"
    error = CellError(text, text, text)
    events = [
        replace(run_started(), run=text, door=text, model=text, versions={text: text}, limits={text: 1.0}),
        agent_started(text, None, text, schema=text, tools=(text,), isolation=text),
        *step(
            1, text, text, (stream(text), shown(text)), agent=text, error=error, calls=call(1, text, text, agent=text)
        ),
        agent_finished(text, text),
    ]

    trace = load_trace(saved(tmp_path, notebook_of(events)))

    assert events_of(trace) == events
    assert changes_of(trace) == UNCHANGED
    usable(trace)


@pytest.mark.parametrize(
    "odd",
    [
        {"$body": []},
        {"$body": {}},
        {"$body": "none" * 9_999},
        {"$float": []},
        {"$" * 9_999: 1},
        {"$tomorrow": 1},
        10**400,
        [[]] * 3,
    ],
)
def test_a_journal_line_that_was_well_written_but_means_nothing_ends_the_record_there(odd: Any, tmp_path: Path) -> None:
    path = journal_of(tmp_path, whole_run())
    head = path.read_bytes().splitlines(keepends=True)[:3]
    said = {"type": "noted", "agent": "0", "text": odd, "step": odd}
    path.write_bytes(b"".join(head) + crafted({"v": 1, "seq": 4, "at": "now", **said}))

    trace = load_trace(path)

    assert len(events_of(trace)) == 3
    assert trace.complaint is not None
    assert trace.complaint.startswith("line 4 is damaged: ")
    assert len(trace.complaint) < 400


def test_a_journal_that_nests_deeper_than_python_goes_is_damaged_there(tmp_path: Path) -> None:
    path = journal_of(tmp_path, whole_run()[:1])
    data = {"v": 1, "seq": 2, "at": "now", "type": "foreign", "agent": "0", "data": {"x": "DEEP"}}
    # Python would not write it either.
    bare = json.dumps(data, separators=(",", ":")).replace('"DEEP"', "[" * 3_000 + "]" * 3_000).encode()
    line = bare[:-1] + b',"crc":"%08x"}\n' % crc32(bare)
    path.write_bytes(path.read_bytes() + line)

    trace = load_trace(path)

    assert events_of(trace) == whole_run()[:1]
    assert trace.complaint is not None
    assert trace.complaint.startswith("line 2 is damaged: ")


# Anything at all inside


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was loaded",))


def test_a_pickle_in_a_trace_is_a_text_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = base64.b64encode(pickle.dumps(Bomb())).decode("ascii") * 9
    notebook = notebook_of([run_started(), agent_started(question=bomb), *step(1, bomb, bomb, (stream(bomb),))])
    path = saved(tmp_path, notebook)
    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, lambda *args, **kwargs: pytest.fail("something was unpickled"))
    monkeypatch.setattr(builtins, "eval", lambda *args: pytest.fail("something was evaluated"))
    monkeypatch.setattr(builtins, "exec", lambda *args: pytest.fail("something was executed"))

    trace = load_trace(path)
    trace.to_notebook()

    assert trace.root is not None
    assert trace.root.question == bomb
    assert bomb in notebook["metadata"]["rlm"]["bodies"].values()


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path to every value in it."""
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


def at(inside: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        inside = inside[key]
    return inside


def everything() -> list[Event]:
    """An event of each kind, with a text long enough for a body."""
    long = "y" * 2_000
    noted = {"agent": "0", "step": 1}
    return [
        *recursive_run()[:-2],
        *step(2, fenced(long), long, (stream(long), shown("3", 7), stream("\ud800")), calls=call(1, long, "\ud800")),
        *[an_event("noted", **noted, text="x"), an_event("foreign", **noted, data={"$x": [1.5, long]})],
        an_event("given", agent="0", name="context", description="str", form="text", value="abc"),
        an_event("call_failed", agent="0", step=None, call=2, kind="server", message="500"),
        *recursive_run()[-2:],
    ]


def an_event(type: str, **fields: Any) -> Event:
    from rlm_kernel.trace.events import KINDS

    event: Event = KINDS[type](**fields)
    return event


WHOLE = notebook_of(everything())
INSIDE = list(places(WHOLE["metadata"]["rlm"]))
ODD = st.sampled_from(
    [
        *[None, True, False, 0, -1, 1.5, 1e308, float("nan"), float("inf"), 10**400, 2**70],
        *["", "x", "0", "0.1", "0.1.1", "\x1b[31m<b>\n", "9" * 5_000],
        *[[], {}, [[]], [None], {"x": {}}, ["0.1", 1], [0, 10**9], [1, -5], ["a0-s2", 0, "x"], [None, None]],
        *[{"$body": "x"}, {"$body": []}, {"$float": "nan"}, {"$float": 1}, {"$reply": [0, 1]}, {"$reply": 1}],
        *[{"$output": ["a0-s2", 0]}, {"$output": ["a0-s2", 99]}, {"$output": 5}, {"$output": [[], 0, 1]}],
        *[{"$escaped": "["}, {"$escaped": "1"}, {"$escaped": 5}, {"$escaped": '"\\ud800"'}, {"$": 1}, {"$$$": 1}],
        *[{"type": "body"}, {"type": []}, {"type": "agent_finished", "agent": "0"}],
    ]
)


@given(st.lists(st.tuples(st.sampled_from(INSIDE), ODD), min_size=1, max_size=3))
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_value_in_the_record_may_be_another_and_it_is_an_error_or_a_trace_that_can_be_used(
    changes: list[tuple[tuple[str | int, ...], Any]],
) -> None:
    notebook = copy.deepcopy(WHOLE)
    for path, value in changes:
        put(notebook["metadata"]["rlm"], path, value)
    load_and_use(notebook)


CELLS = list(places(WHOLE["cells"]))


@given(st.lists(st.tuples(st.sampled_from(CELLS), ODD), min_size=1, max_size=3))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_value_in_a_cell_may_be_another_and_it_is_an_error_or_a_trace_that_can_be_used(
    changes: list[tuple[tuple[str | int, ...], Any]],
) -> None:
    notebook = copy.deepcopy(WHOLE)
    for path, value in changes:
        put(notebook["cells"], path, value)
    load_and_use(notebook)


NUMBERS = {
    (WHOLE["metadata"]["rlm"]["events"][path[1]]["type"], path[-1]): path
    for path in INSIDE
    if path[0] == "events" and len(path) > 2 and isinstance(at(WHOLE["metadata"]["rlm"], path), (int, float))
}
"""A place for each number that an event has."""


@pytest.mark.parametrize("number", [10**400, 10**60, -(10**60), 1e308, -1e308, 1.5, math.inf, math.nan, True])
def test_a_number_of_any_size_in_any_place_is_an_error_or_a_trace_that_can_be_used(number: float) -> None:
    for path in NUMBERS.values():
        notebook = copy.copy(WHOLE)
        notebook["metadata"] = copy.deepcopy(WHOLE["metadata"])
        put(notebook["metadata"]["rlm"], path, number)
        load_and_use(notebook, valid=path[-1] in ("step", "call", "depth"))


@pytest.mark.parametrize(
    ("number", "as_count", "as_seconds"),
    [
        (10**400, "a number of 1,329 bits", "a number of 1,329 bits"),
        (10**60, 10**60, 10**60),
        (-(10**60), -(10**60), -(10**60)),
        (1e308, "a number of 1,024 bits", 1e308),
        (-1e308, "a number of 1,024 bits", -1e308),
        (1.5, 1, 1.5),
        (math.inf, "inf where a count should be", math.inf),
        (math.nan, "nan where a count should be", math.nan),
        (True, 1, 1),
    ],
)
def test_a_number_is_read_as_its_field_has_it_or_ends_the_record_there(
    number: float, as_count: float | str, as_seconds: float | str, tmp_path: Path
) -> None:
    for key, wanted in (("prompt_tokens", as_count), ("seconds", as_seconds)):
        path = NUMBERS["replied", key]
        notebook = copy.deepcopy(WHOLE)
        put(notebook["metadata"]["rlm"], path, number)

        trace = load_trace(saved(tmp_path, notebook))

        at = int(path[1])
        if isinstance(wanted, str):
            assert trace.complaint == f"event {at + 1} of its record cannot be read: {wanted}"
            assert len(trace.tree.log) == at
        else:
            replied = trace.tree.log[at][1]
            assert isinstance(replied, Replied)
            assert repr(replied.seconds if key == "seconds" else replied.usage.prompt_tokens) == repr(wanted)
            assert (trace.complaint, len(trace.tree.log)) == (None, len(WHOLE["metadata"]["rlm"]["events"]))


def put(inside: Any, path: tuple[str | int, ...], value: Any) -> None:
    """A change before it may have taken the place away."""
    *way, last = path
    for key in way:
        if not isinstance(inside, (dict, list)) or (
            key not in inside if isinstance(inside, dict) else not isinstance(key, int) or key >= len(inside)
        ):  # type: ignore[operator]
            return
        inside = inside[key]
    if isinstance(inside, dict) or (isinstance(inside, list) and isinstance(last, int) and last < len(inside)):
        inside[last] = value


def load_and_use(notebook: Any, valid: bool = True) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = saved(folder, notebook)
        try:
            trace = load_trace(path)
        except TraceError:
            refused(path)
            return
        assert trace.complaint is None or ("\n" not in trace.complaint and len(trace.complaint) < 600)
        usable(trace, valid)
        file.write(trace.tree, folder / "again.ipynb")
        again = load_trace(folder / "again.ipynb")
    assert json.dumps([repr(each) for each in log_of(again)]) == json.dumps([repr(each) for each in log_of(trace)])


def usable(trace: Trace, valid: bool = True) -> None:
    """Everything that one does with a trace. Without `valid`, the slow look of nbformat is left out."""
    assert "\n" not in repr(trace)
    assert len(list(trace)) == len(trace.agents)
    assert trace.root is None or trace.root is trace.agents[trace.root.id]
    assert isinstance(trace.totals.steps, int)
    for agent in trace:
        trace.spent(agent)
    notebook = json.loads(json.dumps(trace.to_notebook()))
    if valid:
        nbformat.validate(notebook, relax_add_props=False)
    if importlib.util.find_spec("pandas"):
        trace.to_dataframe()


# The face of it


def test_a_trace_gives_its_agents_in_the_order_of_the_walk(tmp_path: Path) -> None:
    trace = load_trace(journal_of(tmp_path, recursive_run()))

    assert [agent.id for agent in trace] == ["0", "0.1", "0.1.1", "0.2", "0.3", "0.10"]
    assert trace.root is trace.agents["0"]
    assert list(trace.agents) == ["0", "0.2", "0.1", "0.3", "0.1.1", "0.10"]  # as they began
    assert trace.run == "20260131-120000-abcd"
    assert repr(trace) == "<Trace of 20260131-120000-abcd: 6 agents, 4 steps>"


def test_the_sums_of_a_trace_are_those_of_its_tree(tmp_path: Path) -> None:
    trace = load_trace(saved(tmp_path, notebook_of(recursive_run())))

    usage = Usage(prompt_tokens=400, completion_tokens=80, cached_tokens=256, cost_usd=0.004)
    assert (trace.totals.steps, trace.totals.calls, trace.totals.seconds) == (4, 5, 28.0)
    assert (trace.totals.usage, trace.totals.cost_usd, trace.totals.unpriced_calls) == (usage, 0.004, 0)
    spent = trace.spent(trace.agents["0.1"])
    assert (spent.own.steps, spent.total.steps, spent.own.seconds, spent.total.seconds) == (1, 2, 7.0, 12.0)


def test_a_trace_that_is_cut_says_so_in_one_line(tmp_path: Path) -> None:
    path = journal_of(tmp_path, whole_run())
    path.write_bytes(path.read_bytes()[:-30])

    trace = load_trace(path)

    assert repr(trace).startswith("<Trace of 20260131-120000-abcd: 1 agent, 3 steps, cut: line 18 is torn: ")
    assert "\n" not in repr(trace)


def test_a_path_may_be_a_text_and_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal_of(tmp_path, whole_run())
    monkeypatch.setenv("HOME", str(tmp_path))

    assert load_trace("~/run.jsonl").path == tmp_path / "run.jsonl"


def test_a_file_is_told_by_what_is_in_it_and_not_by_its_name(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, whole_run()).rename(tmp_path / "a.ipynb")

    assert events_of(load_trace(journal)) == whole_run()
    assert events_of(load_trace(saved(tmp_path, notebook_of(whole_run()), "b.jsonl"))) == whole_run()


def test_a_notebook_may_begin_with_a_mark_of_its_order_of_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path, notebook_of(whole_run()))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert events_of(load_trace(path)) == whole_run()


def test_a_table_has_a_row_for_each_step_and_each_completion(tmp_path: Path) -> None:
    pytest.importorskip("pandas")

    table = load_trace(journal_of(tmp_path, whole_run())).to_dataframe()

    assert {name: str(kind).replace("str", "object") for name, kind in table.dtypes.items()} == {  # str since pandas 3
        **dict.fromkeys(["agent", "kind", "model", "state", "source", "error"], "object"),
        **dict.fromkeys(["depth", "step", "number", "prompt_tokens", "completion_tokens"], "int64"),
        **dict.fromkeys(["cached_tokens", "cost_usd", "model_s", "cell_s"], "float64"),
    }
    assert list(table.columns) == list(rows.COLUMNS)
    told = table[["agent", "step", "kind", "number", "prompt_tokens", "state", "error"]].astype(object)
    assert told.where(told.notna(), None).values.tolist() == [
        ["0", 1, "step", 1, 100, "error", "NameError"],
        ["0", 2, "step", 2, 100, "done", None],
        ["0", 2, "completion", 1, 7, "done", None],
        ["0", 3, "step", 3, 100, "final", None],
    ]
    assert table["cost_usd"].sum() == pytest.approx(0.003)


def test_a_table_of_a_run_without_steps_has_the_same_columns(tmp_path: Path) -> None:
    pytest.importorskip("pandas")

    empty = load_trace(journal_of(tmp_path, [run_started()])).to_dataframe()

    (tmp_path / "run.jsonl").unlink()
    full = load_trace(journal_of(tmp_path, whole_run())).to_dataframe()
    assert (len(empty), list(empty.columns)) == (0, list(full.columns))


def test_without_pandas_a_table_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = load_trace(journal_of(tmp_path, whole_run()))
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(UsageError, match="a table needs pandas: pip install pandas"):
        trace.to_dataframe()


def test_load_trace_is_public_and_imports_nothing_heavy(tmp_path: Path) -> None:
    path = journal_of(tmp_path, whole_run())
    code = (
        "import sys, rlm_kernel\n"
        f"trace = rlm_kernel.load_trace({str(path)!r})\n"
        "trace.to_notebook()\n"
        "heavy = {'IPython', 'ipykernel', 'pandas', 'nbformat', 'numpy', 'litellm', 'asyncio', 'pickle'}\n"
        "print(trace, sorted(heavy & {*sys.modules}))"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == "<Trace of 20260131-120000-abcd: 1 agent, 3 steps> []\n"
    assert {"Trace", "load_trace"} <= {*rlm_kernel.__all__}
