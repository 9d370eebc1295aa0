"""A disk that takes nothing more ends a run in one clear line, and costs nothing that was done.

Where this process may mount file systems (root on Linux), the disk is a real one: a small tmpfs, full or read-only.
Everywhere else the system's refusal is raised in the place of the call that would meet it.
"""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from batch_cases import differing_files, plain_score, plan_of, write_images
from msc_vision.batch.journal import Journal
from msc_vision.batch.run import resume_run, run_folder
from msc_vision.batch.store import replacing, write_json
from msc_vision.errors import OutputError


def mount(options, folder):
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder that holds 2 MB, a real file system."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0 or not mount("size=2m", folder):
        pytest.skip("needs to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def images(tmp_path):
    """Eight images of 128 x 128 on two layers."""
    write_images(tmp_path / "images", 8, side=128)
    return tmp_path / "images"


@pytest.fixture
def undisturbed(images, tmp_path):
    """Return a run on a disk with room."""
    run_folder(plan_of(images, tmp_path / "UNDISTURBED"), scorer=plain_score)
    return tmp_path / "UNDISTURBED"


def assert_one_line(err):
    assert "\n" not in str(err.value)
    assert "Traceback" not in str(err.value)


@pytest.mark.parametrize("free_kib", [0, 20, 60, 100, 150, 250], ids=lambda n: f"{n} KiB free")
def test_a_disk_that_fills_up_costs_nothing_that_was_done(images, undisturbed, small_disk, free_kib):
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    ballast.write_bytes(bytes(free - free_kib * 1024))
    with pytest.raises(OutputError, match=r"full|space") as err:
        run_folder(plan_of(images, small_disk / "RUN"), scorer=plain_score)
    assert_one_line(err)
    ballast.unlink()
    resume_run(plan_of(images, small_disk / "RUN"), scorer=plain_score)
    assert differing_files(undisturbed, small_disk / "RUN") == []


def test_a_read_only_disk_is_one_clear_line_and_keeps_what_is_done(images, undisturbed, small_disk):
    """A file that is open for writing keeps a disk from turning read-only, so the run is stopped first."""

    def score(task, *, tile_map=map):
        if task.source.stem == "field_04":
            raise OSError(errno.ENOSPC, "No space left on device", str(task.labels_path))
        return plain_score(task)

    out = small_disk / "RUN"
    with pytest.raises(OutputError, match="No space left"):
        run_folder(plan_of(images, out, workers=1), scorer=score)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        for verb, folder in ((resume_run, out), (run_folder, small_disk / "NEW")):
            with pytest.raises(OutputError, match=r"(?i)read-?only") as err:
                verb(plan_of(images, folder), scorer=plain_score)
            assert_one_line(err)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    with Journal.open(out) as journal:
        assert journal.counts()["scored"] >= 1
    resume_run(plan_of(images, out), scorer=plain_score)
    assert differing_files(undisturbed, out) == []


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "free space on this disk"), (errno.EROFS, "choose another --out"), (errno.EACCES, "writable")],
    ids=["full", "read-only", "forbidden"],
)
def test_a_refusal_at_the_last_step_says_what_to_do(tmp_path, monkeypatch, number, advice):
    def refuse(self, target):
        raise OSError(number, os.strerror(number), str(target))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match=f"vessels.json: cannot be written .*{advice}.*") as err:
        write_json(tmp_path / "vessels.json", {})
    assert_one_line(err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["fields.parquet", "vessels.json", "hashes.json", "run.json"])
def test_a_refusal_while_the_tables_are_written_costs_nothing(images, undisturbed, tmp_path, monkeypatch, name):
    """The rename of one table is refused, as on a disk that fills up in that moment."""
    really = Path.replace

    def refuse(self, target):
        if Path(target).name == name and (tmp_path / "RUN" / "layers.parquet").exists() == (name != "fields.parquet"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return really(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(OutputError, match=f"{name}: cannot be written"):
            run_folder(plan_of(images, tmp_path / "RUN"), scorer=plain_score)
    resume_run(plan_of(images, tmp_path / "RUN"), scorer=plain_score)
    assert differing_files(undisturbed, tmp_path / "RUN") == []


def test_a_file_in_the_way_is_named(images, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        run_folder(plan_of(images, tmp_path / "file" / "RUN"), scorer=plain_score)


def test_what_was_there_stays_when_writing_fails(tmp_path):
    path = tmp_path / "table"
    path.write_text("whole")
    with pytest.raises(OutputError, match="table"), replacing(path) as draft:
        draft.write_text("hal")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "whole"
    assert [p.name for p in tmp_path.iterdir()] == ["table"]


def test_disk_space_is_enough_here(tmp_path):
    """Guard: the tests above mean nothing on a machine whose own disk is full."""
    assert shutil.disk_usage(tmp_path).free > 50 * 2**20
