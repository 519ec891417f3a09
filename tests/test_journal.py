"""The journal: what is written comes back, whatever happens to the file; writers share the disk and fail openly."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import stat
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlm_kernel.errors import TraceError
from rlm_kernel.trace import journal as journal_module
from rlm_kernel.trace.codec import write_line
from rlm_kernel.trace.events import CallFailed, CellFinished, CellStarted, Event, Used
from rlm_kernel.trace.journal import Journal, make_folder
from rlm_kernel.trace.reading import Reading, read
from tests.sample_run import EVENTS, run_started, stream, whole_run


def written(folder: Path, events: list[Event]) -> tuple[Path, bytes]:
    with Journal.create(folder, "run") as journal:
        for event in events:
            journal.append(event)
    return journal.path, journal.path.read_bytes()


def events_in(reading: Reading) -> list[Event]:
    return [stamped.event for stamped in reading.events]


@given(EVENTS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_events_come_back_as_they_were(events: list[Event]) -> None:
    with TemporaryDirectory() as folder:
        path, data = written(Path(folder), events)

        reading = read(path)

    assert (events_in(reading), reading.lost_bytes, reading.complaint) == (events, 0, None)
    assert data.isascii()


@given(EVENTS, st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_file_cut_at_any_byte_gives_the_longest_whole_prefix(events: list[Event], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path, whole = written(Path(folder), events)
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])

        reading = read(path)

    kept = whole[:cut].rfind(b"\n") + 1
    count = sum(json.loads(line)["type"] != "body" for line in whole[:kept].splitlines())
    assert (events_in(reading), reading.lost_bytes) == (events[:count], cut - kept)
    assert (reading.complaint is None) == (cut == kept)


@given(st.integers(0, 10**9), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_is_found_and_what_stood_before_it_is_kept(position: int, change: int) -> None:
    events = whole_run()
    with TemporaryDirectory() as folder:
        path, whole = written(Path(folder), events)
        position %= len(whole)
        path.write_bytes(whole[:position] + bytes([whole[position] ^ change]) + whole[position + 1 :])

        try:
            reading = read(path)
        except TraceError:
            assert position < 5  # the file no longer begins like a journal
            return

    intact = whole[:position].count(b"\n")
    assert reading.complaint is not None
    assert events_in(reading) == events[:intact]
    assert reading.lost_bytes == len(whole) - (whole[:position].rfind(b"\n") + 1)


def test_nan_and_infinity_are_kept_and_the_file_is_strict_json(tmp_path: Path) -> None:
    odd = {"output_type": "display_data", "data": {"application/json": [math.nan, math.inf, -math.inf]}, "metadata": {}}

    path, data = written(tmp_path, [CellFinished(agent="0", step=1, outputs=(odd,), seconds=0.0)])

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    json.loads(data, parse_constant=refuse)
    (event,) = events_in(read(path))
    assert isinstance(event, CellFinished)
    assert repr(event.outputs[0]["data"]["application/json"]) == "[nan, inf, -inf]"


def test_what_no_json_holds_is_named_by_its_type_and_does_not_stop_the_run(tmp_path: Path) -> None:
    odd = {"data": {1: object(), (2,): b"x", "big": 10**9999}}

    path, _ = written(tmp_path, [CellFinished(agent="0", step=1, outputs=(odd,), seconds=0.0)])

    (event,) = events_in(read(path))
    assert isinstance(event, CellFinished)
    assert event.outputs == ({"data": {"1": "<object>", "<tuple>": "<bytes>", "big": "<int of 33216 bits>"}},)


def test_a_value_that_holds_itself_is_refused_and_the_journal_goes_on(tmp_path: Path) -> None:
    ring: dict[str, Any] = {}
    ring["ring"] = ring
    journal = Journal.create(tmp_path, "run")

    with pytest.raises(TraceError, match="nests too deeply"):
        journal.append(CellFinished(agent="0", step=1, outputs=(ring,), seconds=0.0))
    journal.append(run_started())
    journal.close()

    assert events_in(read(journal.path)) == [run_started()]


def test_a_long_text_is_stored_once_by_its_hash(tmp_path: Path) -> None:
    long = "y" * 5_000

    path, data = written(tmp_path, [CellStarted(agent="0", step=n, source=long) for n in (1, 2, 3)])

    lines = [json.loads(line) for line in data.splitlines()]
    assert [line["type"] for line in lines] == ["body", "cell_started", "cell_started", "cell_started"]
    assert [line["source"] for line in lines[1:]] == [{"$body": lines[0]["sha"]}] * 3
    assert [stamped.seq for stamped in read(path).events] == [2, 3, 4]


def test_the_checksum_is_that_of_the_line_without_it(tmp_path: Path) -> None:
    _, data = written(tmp_path, [run_started()])

    line = data.rstrip(b"\n")
    claimed = json.loads(line)["crc"]
    bare = line.replace(b',"crc":"%s"' % claimed.encode(), b"")
    assert f"{crc32(bare):08x}" == claimed
    assert json.loads(bare)["at"].endswith("Z")


def test_append_gives_the_number_of_the_last_line(tmp_path: Path) -> None:
    with Journal.create(tmp_path, "run") as journal:
        numbers = [journal.append(run_started()), journal.append(stream_event("z" * 2_000), run_started())]

    assert numbers == [1, 4]


def stream_event(text: str) -> CellFinished:
    return CellFinished(agent="0", step=1, outputs=(stream(text),), seconds=0.1)


def test_an_event_of_a_type_that_is_not_known_yet_is_passed_over(tmp_path: Path) -> None:
    path, data = written(tmp_path, [run_started()])
    path.write_bytes(data + write_line(2, "2026-01-31T12:00:00.000Z", {"type": "of_tomorrow", "more": 1}))

    reading = read(path)

    assert (events_in(reading), reading.lost_bytes) == ([run_started()], 0)


def test_an_event_of_an_older_record_is_read_without_a_field_that_is_gone(tmp_path: Path) -> None:
    used = {"type": "used", "agent": "0", "step": 1, "how": "write", "key": "laws", "note": "by hand", "size": 2}
    path = tmp_path / "older.jsonl"
    path.write_bytes(write_line(1, "2026-01-31T12:00:00.000Z", used))

    reading = read(path)

    assert events_in(reading) == [Used(agent="0", step=1, how="write", key="laws", size=2)]
    assert (reading.complaint, reading.lost_bytes) == (None, 0)


def test_a_line_out_of_order_ends_what_is_whole(tmp_path: Path) -> None:
    path, data = written(tmp_path, [run_started(), run_started()])
    first, second = data.splitlines(keepends=True)
    path.write_bytes(first + second + second)

    reading = read(path)

    assert (len(reading.events), reading.lost_bytes) == (2, len(second))
    assert reading.complaint == "line 3 is damaged: it says that it is line 2"


def test_a_newer_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path, data = written(tmp_path, [run_started()])
    line = b'{"v":2' + data[6 : -len(b',"crc":"00000000"}\n')] + b"}"
    path.write_bytes(line[:-1] + b',"crc":"%08x"}\n' % crc32(line))

    with pytest.raises(TraceError, match=r"newer rlm_kernel .* upgrade"):
        read(path)


@pytest.mark.parametrize("content", [b"hello", b'{"cells": []}', b"\x80\x04pickle"])
def test_what_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)

    with pytest.raises(TraceError, match="not a journal"):
        read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"nothing.jsonl cannot be read"):
        read(tmp_path / "nothing.jsonl")


def test_only_the_owner_may_read_a_journal(tmp_path: Path) -> None:
    path, _ = written(tmp_path, [])

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_writer_is_kept_out(tmp_path: Path) -> None:
    with Journal.create(tmp_path, "run") as journal:
        with pytest.raises(TraceError, match="one writer"):
            Journal.create(tmp_path, "run")

        with journal.path.open("ab") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("run", ["../x", "a/b", "", ".hidden", "a\nb"])
def test_a_run_cannot_be_named_out_of_its_folder(tmp_path: Path, run: str) -> None:
    with pytest.raises(TraceError, match="no name for a run"):
        Journal.create(tmp_path, run)


def test_a_missing_folder_is_named_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"create the folder .*gone first"):
        Journal.create(tmp_path / "gone", "run")


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "run")
    journal.close()
    journal.close()

    with pytest.raises(TraceError, match="is closed"):
        journal.append(run_started())


def test_short_writes_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:7]))

    path, _ = written(tmp_path, whole_run())

    assert events_in(read(path)) == whole_run()


def test_a_full_disk_is_named_and_the_journal_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    journal = Journal.create(tmp_path, "run")
    journal.append(run_started())
    with monkeypatch.context() as full:
        tries = iter([10])

        def fills_up(fd: int, data: bytes) -> int:
            for room in tries:
                return write(fd, bytes(data)[:room])
            raise OSError(errno.ENOSPC, "No space left on device")

        full.setattr(os, "write", fills_up)
        with pytest.raises(TraceError, match=r"run.jsonl cannot be written .No space left on device.: free space"):
            journal.append(stream_event("w" * 2_000))
    journal.append(stream_event("w" * 2_000))
    journal.close()

    reading = read(journal.path)
    assert (events_in(reading), reading.complaint) == ([run_started(), stream_event("w" * 2_000)], None)


def test_a_stop_in_the_middle_of_a_write_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    journal = Journal.create(tmp_path, "run")
    with monkeypatch.context() as stopped:

        def stop(fd: int, data: bytes) -> int:
            write(fd, data)
            raise KeyboardInterrupt

        stopped.setattr(os, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            journal.append(run_started())
    journal.append(run_started())
    journal.close()

    reading = read(journal.path)
    assert (events_in(reading), reading.complaint) == ([run_started()], None)


def test_those_who_wait_for_the_disk_share_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, entered, go = [], threading.Event(), threading.Event()

    def slow(fd: int) -> None:
        counted.append(fd)
        entered.set()
        go.wait(10)

    monkeypatch.setattr(journal_module, "_fdatasync", slow)
    journal = Journal.create(tmp_path, "run")
    waiting = [threading.Thread(target=lambda: journal.sync(journal.append(run_started()))) for _ in range(20)]
    waiting[0].start()
    assert entered.wait(10)
    for thread in waiting[1:]:
        thread.start()
    deadline = time.monotonic() + 10
    while journal._end.seq < 20 and time.monotonic() < deadline:
        time.sleep(0.001)
    go.set()
    for thread in waiting:
        thread.join(10)

    assert (journal._synced, len(counted)) == (20, 2)


def test_sync_waits_for_no_more_than_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    monkeypatch.setattr(journal_module, "_fdatasync", counted.append)
    journal = Journal.create(tmp_path, "run")
    first = journal.append(run_started())
    journal.sync(first)
    journal.append(run_started())

    journal.sync(first)

    assert len(counted) == 1


def test_a_failed_sync_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.create(tmp_path, "run")
    journal.append(run_started())
    with monkeypatch.context() as failing:

        def fail(fd: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        failing.setattr(journal_module, "_fdatasync", fail)
        with pytest.raises(TraceError, match="did not reach the disk"):
            journal.sync()

    with pytest.raises(TraceError, match="did not reach the disk"):
        journal.append(run_started())


def test_many_threads_may_append_at_once(tmp_path: Path) -> None:
    def fill(agent: int) -> None:
        for number in range(50):
            failed = CallFailed(agent=str(agent), step=1, call=number, kind="server", message="m" * (number * 50))
            journal.sync(journal.append(failed))

    with Journal.create(tmp_path, "run") as journal:
        threads = [threading.Thread(target=fill, args=(agent,)) for agent in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    reading = read(journal.path)
    assert (len(reading.events), reading.complaint) == (400, None)


def test_a_folder_that_is_made_here_ignores_itself_in_git(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / ".rlm" / "runs")

    assert (folder, (folder / ".gitignore").read_text()) == (tmp_path / ".rlm" / "runs", "*\n")
    assert make_folder(folder) == folder


def test_a_folder_of_the_persons_own_is_left_as_it_is(tmp_path: Path) -> None:
    make_folder(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(TraceError, match="runs cannot be made"):
        make_folder(tmp_path / "file" / "runs")
