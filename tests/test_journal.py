"""The journal keeps what was recorded, whatever happens to the process that writes it."""

import dataclasses
import json
import math
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_cases import plan_of, write_images
from msc_vision.batch.execute import Outcome
from msc_vision.batch.journal import FileStamp, Journal, file_stamp, run_lock, score_from_json
from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.records import FieldScore


@pytest.fixture
def tasks(tmp_path):
    """Return the tasks of four small images."""
    write_images(tmp_path / "images", 4, side=64)
    return plan_of(tmp_path / "images", tmp_path / "RUN").tasks


def score_of(task, **values):
    return FieldScore(**({"key": task.key, "path": task.row.path, "status": "rejected", "reason": "blurred"} | values))


def test_what_is_recorded_comes_back_in_manifest_order(tmp_path, tasks):
    stamp = FileStamp(12, 34)
    with Journal.create(tmp_path, tasks, {"state": "running"}) as journal:
        for task in reversed(tasks[:3]):
            score = score_of(task, quality={"focus": 0.1 + 0.2}, flags=("haze", "dust"), notes=("channel 0",))
            journal.record(Outcome(score, attempts=2, elapsed_s=0.5), stamp)
    with Journal.open(tmp_path) as journal:
        entries = list(journal.entries())
        assert journal.counts() == {"pending": 1, "scored": 0, "rejected": 3, "failed": 0}
    assert [entry.score.key for entry in entries] == [task.key for task in tasks[:3]]
    assert entries[0].score == score_of(
        tasks[0], quality={"focus": 0.1 + 0.2}, flags=("haze", "dust"), notes=("channel 0",)
    )
    assert (entries[0].attempts, entries[0].stamp) == (2, stamp)


@given(st.floats(allow_nan=False), st.dictionaries(st.text(max_size=9), st.floats(allow_nan=False), max_size=4))
def test_figures_come_back_to_the_last_bit(value, quality):
    score = FieldScore("k", "p", "scored", confluency_percent=value, quality=quality)
    back = score_from_json(json.dumps(dataclasses.asdict(score)))
    assert back == score
    assert math.copysign(1, back.confluency_percent) == math.copysign(1, value)


def test_a_field_that_is_reopened_is_pending_and_keeps_its_attempts(tmp_path, tasks):
    with Journal.create(tmp_path, tasks, {}) as journal:
        journal.record(Outcome(score_of(tasks[0]), attempts=3), None)
        journal.reopen([tasks[0].key])
        assert journal.counts()["pending"] == 4
        journal.record(Outcome(score_of(tasks[0])), None)
        assert next(journal.entries()).attempts == 4


def test_a_record_survives_the_process(tmp_path, tasks):
    """Exit hard right after recording: nothing is closed, nothing is flushed."""
    with Journal.create(tmp_path, tasks, {}):
        pass
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from msc_vision.batch.journal import Journal\nfrom msc_vision.batch.execute import Outcome\n"
        "from msc_vision.records import FieldScore\n"
        "journal = Journal.open(Path(sys.argv[1]))\n"
        "journal.record(Outcome(FieldScore(sys.argv[2], 'p', 'failed', 'why')), None)\nos._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path, tasks[1].key], check=False).returncode == 9
    with Journal.open(tmp_path) as journal:
        assert [entry.score.reason for entry in journal.entries()] == ["why"]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, InvalidArgumentError, "is not a run folder: it has no journal.sqlite"),
        (b"this is not a database at all, but it is long enough to look like one" * 20, InvalidDataError, "no journal"),
    ],
    ids=["missing", "another file"],
)
def test_what_is_no_journal_is_named(tmp_path, content, error, message):
    if content is not None:
        (tmp_path / "journal.sqlite").write_bytes(content)
    with pytest.raises(error, match=message):
        Journal.open(tmp_path)


def test_a_journal_of_another_layout_is_refused(tmp_path, tasks):
    with Journal.create(tmp_path, tasks, {}) as journal:
        journal.set_meta(schema_version="99")
    with pytest.raises(InvalidArgumentError, match="has layout 99, this version reads 1"):
        Journal.open(tmp_path)


def test_a_journal_that_cannot_grow_says_so_and_stays_readable(tmp_path, tasks):
    """SQLite's own page limit stands for a full disk: the error is the same."""
    with Journal.create(tmp_path, tasks, {}) as journal:
        journal.record(Outcome(score_of(tasks[0])), None)
        journal._connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(OutputError, match=r"journal cannot be written .*full.*--resume"):
            for _ in range(100):
                journal.record(Outcome(score_of(tasks[1], reason="x" * 50_000)), None)
    with Journal.open(tmp_path) as journal:
        assert next(journal.entries()).score.key == tasks[0].key


def test_other_programs_read_it_while_it_is_written(tmp_path, tasks):
    with Journal.create(tmp_path, tasks, {}) as journal:
        journal.record(Outcome(score_of(tasks[0])), None)
        reader = sqlite3.connect(f"file:{tmp_path / 'journal.sqlite'}?mode=ro", uri=True)
        assert reader.execute("SELECT count(*) FROM fields WHERE state = 'rejected'").fetchone() == (1,)
        reader.close()


# --- the lock --------------------------------------------------------------------------------------------------------


def test_a_second_holder_is_refused_and_the_first_is_named(tmp_path, tasks):
    with run_lock(tmp_path), Journal.create(tmp_path, tasks, {}) as journal:
        journal.claim()
        code = (
            "import sys\nfrom pathlib import Path\nfrom msc_vision.batch.journal import run_lock\n"
            "with run_lock(Path(sys.argv[1])): pass\n"
        )
        second = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"another run is at work here (process {os.getpid()} on" in second.stderr


def test_the_lock_of_a_killed_process_is_no_obstacle(tmp_path):
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom msc_vision.batch.journal import run_lock\n"
        "with run_lock(Path(sys.argv[1])): os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    with run_lock(tmp_path):
        pass


# --- stamps ----------------------------------------------------------------------------------------------------------


def test_stamps_see_a_change_of_a_file_or_of_any_part_of_a_folder(tmp_path):
    file, folder = tmp_path / "a.tif", tmp_path / "a.zarr"
    file.write_bytes(b"abc")
    (folder / "c").mkdir(parents=True)
    (folder / "c" / "0").write_bytes(b"abc")
    assert file_stamp(tmp_path / "none") is None
    for whole, part in ((file, file), (folder, folder / "c" / "0")):
        before = file_stamp(whole)
        assert file_stamp(whole) == before
        part.write_bytes(b"abcd")
        assert file_stamp(whole) != before


def test_an_empty_folder_has_a_stamp(tmp_path: Path):
    assert file_stamp(tmp_path) is not None
