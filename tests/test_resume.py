"""Nothing lost, nothing invented: whatever stops a run, resuming it gives the result of an undisturbed one."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

import batch_cases
from batch_cases import cell_image, differing_files, largest_file, plain_score, plan_of, write_images
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.plan import plan_run
from msc_vision.batch.run import recorded_manifest, resume_run, run_folder
from msc_vision.batch.verify import verify_run
from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.vessels import load_catalogue

N_KILLS = 20


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Twenty images of 256 x 256 on two layers, one of them damaged."""
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, 20)
    (folder / "L01" / "field_98.tif").write_bytes((folder / "L01" / "field_00.tif").read_bytes()[:5000])
    return folder


@pytest.fixture(scope="module")
def measured(images, tmp_path_factory):
    """Return a complete run by the real scorer that nothing disturbed."""
    out = tmp_path_factory.mktemp("measured") / "RUN"
    assert run_folder(plan_of(images, out)).n_scored == 20
    return out


@pytest.fixture(scope="module")
def undisturbed(images, tmp_path_factory):
    """Return a complete run that nothing disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "RUN"
    run_folder(plan_of(images, out), scorer=plain_score)
    return out


class Start:
    """A process that has imported everything and waits for the word."""

    def __init__(self, verb: str, images: Path, out: Path) -> None:
        command = [sys.executable, batch_cases.__file__, verb, str(images), str(out), "2"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, **pipes)

    def go(self) -> float:
        assert self.process.stdout.readline() == b"ready\n"
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return time.perf_counter()

    def end(self) -> int:
        self.process.communicate()
        return self.process.returncode


@pytest.mark.slow
def test_killed_at_twenty_random_moments_and_resumed_gives_the_undisturbed_result(images, measured, tmp_path):
    """Each kill hits a run of its own, at a moment drawn over the time that an undisturbed run takes."""
    first = Start("run", images, tmp_path / "timed")
    began = first.go()
    assert first.end() == 0
    whole_s = time.perf_counter() - began
    moments = np.random.default_rng(2024).uniform(0, whole_s, N_KILLS)
    n_killed, states = 0, []
    waiting = Start("run", images, tmp_path / "RUN0")
    for i, moment in enumerate(moments):
        victim, waiting = waiting, Start("run", images, tmp_path / f"RUN{i + 1}")
        began = victim.go()
        time.sleep(max(0.0, moment - (time.perf_counter() - began)))
        victim.process.kill()
        n_killed += victim.end() != 0
        out = tmp_path / f"RUN{i}"
        summary = resume_run(plan_of(images, out))
        states.append(summary.n_done_before)
        assert differing_files(measured, out) == [], f"killed after {moment:.3f} s"
        assert [c for c in verify_run(out) if c.severity == "error"] == []
        shutil.rmtree(out)
    waiting.process.kill()
    waiting.end()
    assert n_killed >= N_KILLS // 2, "the kills came too late to mean anything"
    assert len(set(states)) > 4, f"the kills did not spread over the run: {states}"


def test_killed_again_and_again_it_still_ends(images, undisturbed, tmp_path):
    """Stop after every third field by an error that nothing answers, as often as it takes."""
    out = tmp_path / "RUN"

    class PulledPlug(BaseException):
        pass

    class Unsteady:
        n = 0

        def begin(self, n_fields, n_done_before):
            self.n = 0

        def advance(self, score):
            self.n += 1
            if self.n == 3:
                raise PulledPlug

        def end(self):
            pass

    for _ in range(7):
        with pytest.raises(PulledPlug):
            resume_run(plan_of(images, out), scorer=plain_score, progress=Unsteady())
    resume_run(plan_of(images, out), scorer=plain_score)
    assert differing_files(undisturbed, out) == []


@pytest.fixture
def done(undisturbed, tmp_path):
    """Return a copy of the complete run, which a test may damage."""
    return shutil.copytree(undisturbed, tmp_path / "RUN")


def counting_score(calls):
    def score(task, *, tile_map=map):
        calls.append(task.row.path)
        return plain_score(task)

    return score


def test_a_complete_run_is_left_as_it_is(images, undisturbed, done):
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()}
    summary = resume_run(plan_of(images, done), scorer=counting_score(calls := []))
    assert calls == []
    assert (summary.n_scored, summary.n_failed, summary.state) == (20, 1, "done-with-failures")
    changed = [path.name for path, ns in before.items() if path.stat().st_mtime_ns != ns]
    assert [name for name in changed if not name.startswith("journal")] == []


@pytest.mark.parametrize("damage", ["gone", "bit flipped", "a part is gone"])
def test_labels_that_are_damaged_are_made_again(images, undisturbed, done, damage):
    labels = sorted((done / "labels").iterdir())[3]
    part = largest_file(labels)
    if damage == "gone":
        shutil.rmtree(labels)
    elif damage == "a part is gone":
        part.unlink()
    else:
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 1
        part.write_bytes(content)
    resume_run(plan_of(images, done), scorer=counting_score(calls := []))
    assert len(calls) == 1
    assert differing_files(undisturbed, done) == []


@pytest.mark.parametrize("name", ["fields.parquet", "vessels.json", "hashes.json", "run.json"])
def test_a_table_that_is_gone_is_made_again_without_scoring(images, undisturbed, done, name):
    (done / name).unlink()
    resume_run(plan_of(images, done), scorer=counting_score(calls := []))
    assert calls == []
    assert differing_files(undisturbed, done) == []


def test_objects_that_are_gone_are_made_again(images, undisturbed, done):
    shutil.rmtree(done / "objects.parquet")
    resume_run(plan_of(images, done), scorer=plain_score)
    assert differing_files(undisturbed, done) == []


def test_half_written_files_of_killed_workers_are_removed(images, undisturbed, done):
    (done / "labels" / "x.ome.zarr.tmp-1-ab").mkdir()
    (done / "labels" / "x.ome.zarr.tmp-1-ab" / "zarr.json").touch()
    (done / "fields.parquet.partial").write_bytes(b"PAR1")
    (done / ".work" / "objects").mkdir(parents=True)
    (done / ".work" / "objects" / "x.tmp").touch()
    resume_run(plan_of(images, done), scorer=plain_score)
    assert differing_files(undisturbed, done) == []


def test_fields_that_failed_by_circumstance_are_tried_again(images, undisturbed, tmp_path):
    def short_of_memory(task, *, tile_map=map):
        if task.source.stem in ("field_03", "field_04"):
            raise MemoryError
        return plain_score(task)

    out = tmp_path / "RUN"
    assert run_folder(plan_of(images, out), scorer=short_of_memory).n_failed == 3
    resume_run(plan_of(images, out), scorer=counting_score(calls := []))
    assert sorted(calls) == ["L01/field_04.tif", "L02/field_03.tif"]
    assert differing_files(undisturbed, out) == []


# --- what changed in between -----------------------------------------------------------------------------------------


@pytest.fixture
def own_images(tmp_path):
    """Four images that a test may change."""
    write_images(tmp_path / "images", 4, side=128)
    return tmp_path / "images"


def interrupted_run(folder, out, after=3):
    class Stopping:
        n = 0

        def begin(self, n_fields, n_done_before):
            pass

        def advance(self, score):
            self.n += 1
            if self.n == after:
                raise KeyboardInterrupt

        def end(self):
            pass

    with pytest.raises(KeyboardInterrupt):
        run_folder(plan_of(folder, out, workers=1), scorer=plain_score, progress=Stopping())


def test_an_image_that_changed_is_scored_again(own_images, tmp_path):
    interrupted_run(own_images, tmp_path / "RUN")
    tifffile.imwrite(own_images / "L01" / "field_00.tif", cell_image(77, 128))
    resume_run(plan_of(own_images, tmp_path / "RUN"), scorer=counting_score(calls := []))
    assert "L01/field_00.tif" in calls
    run_folder(plan_of(own_images, tmp_path / "FRESH"), scorer=plain_score)
    assert differing_files(tmp_path / "FRESH", tmp_path / "RUN") == []


def test_a_new_time_stamp_alone_is_no_change(own_images, tmp_path):
    interrupted_run(own_images, tmp_path / "RUN")
    os.utime(own_images / "L01" / "field_00.tif", (1, 1))
    resume_run(plan_of(own_images, tmp_path / "RUN"), scorer=counting_score(calls := []))
    assert len(calls) == 1


def test_an_image_of_a_complete_run_that_changed_is_an_error(own_images, tmp_path):
    run_folder(plan_of(own_images, tmp_path / "RUN"), scorer=plain_score)
    tifffile.imwrite(own_images / "L01" / "field_00.tif", cell_image(77, 128))
    with pytest.raises(InvalidDataError, match=r"field_00.tif has changed since the run .* was complete"):
        resume_run(plan_of(own_images, tmp_path / "RUN"), scorer=plain_score)


def test_a_file_that_was_half_copied_is_scored_once_it_is_whole(own_images, tmp_path):
    late = own_images / "L01" / "field_02.tif"
    whole = late.read_bytes()
    late.write_bytes(whole[:2000])
    assert run_folder(plan_of(own_images, tmp_path / "RUN"), scorer=plain_score).n_failed == 1
    late.write_bytes(whole)
    assert resume_run(plan_of(own_images, tmp_path / "RUN"), scorer=plain_score).state == "done"
    run_folder(plan_of(own_images, tmp_path / "FRESH"), scorer=plain_score)
    assert differing_files(tmp_path / "FRESH", tmp_path / "RUN") == []


def test_the_manifest_of_a_run_is_at_hand_for_resuming_it(own_images, tmp_path):
    assert recorded_manifest(tmp_path / "RUN") is None
    interrupted_run(own_images, tmp_path / "RUN")
    (own_images / "L02" / "late.tif").write_bytes((own_images / "L02" / "field_01.tif").read_bytes())
    manifest = recorded_manifest(tmp_path / "RUN")
    assert len(manifest.rows) == 4
    plan = plan_run(manifest, load_catalogue(), load_pipeline("contrast"), tmp_path / "RUN")
    assert resume_run(plan, scorer=plain_score).n_done_before == 3


def test_another_manifest_is_refused_and_named(own_images, tmp_path):
    interrupted_run(own_images, tmp_path / "RUN")
    (own_images / "L02" / "late.tif").write_bytes((own_images / "L02" / "field_01.tif").read_bytes())
    with pytest.raises(InvalidArgumentError, match=r"cannot be resumed, because this differs: manifest \(was"):
        resume_run(plan_of(own_images, tmp_path / "RUN"), scorer=plain_score)


def test_everything_that_differs_is_named(own_images, tmp_path):
    interrupted_run(own_images, tmp_path / "RUN")
    plan = plan_of(own_images, tmp_path / "RUN")
    other = replace(plan, identity={**plan.identity, "pipeline": "0" * 64, "version of numpy": "0.1"})
    with pytest.raises(InvalidArgumentError, match=r"pipeline \(was .*, is 000000000000…\), version of numpy .*is 0.1"):
        resume_run(other, scorer=plain_score)


def test_other_workers_are_no_difference(own_images, tmp_path):
    interrupted_run(own_images, tmp_path / "RUN")
    assert resume_run(plan_of(own_images, tmp_path / "RUN", workers=4), scorer=plain_score).state == "done"


def test_resuming_a_folder_that_holds_something_else_is_refused(own_images, tmp_path):
    (tmp_path / "RUN").mkdir()
    (tmp_path / "RUN" / "notes.txt").touch()
    with pytest.raises(InvalidArgumentError, match="is no run folder and not empty"):
        resume_run(plan_of(own_images, tmp_path / "RUN"), scorer=plain_score)
