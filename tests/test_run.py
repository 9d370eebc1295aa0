"""A run from images to a complete run folder, and everything that must not stop it."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from batch_cases import differing_files, manifest_of, plain_score, plan_of, result_bytes, write_images
from msc_vision.batch.field import Tiling
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.plan import (
    FieldSize,
    MemoryModel,
    RunSettings,
    check_memory,
    estimate_peak_memory,
    field_key,
    plan_run,
)
from msc_vision.batch.progress import PlainProgress, duration
from msc_vision.batch.run import RunInterruptedError, resume_run, run_folder
from msc_vision.batch.verify import verify_run
from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.io.images import content_sha256
from msc_vision.records import Manifest, ManifestRow
from msc_vision.vessels import load_catalogue


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Six images of 256 x 256 on two layers."""
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    """Return a complete run of the six images, by one worker."""
    out = tmp_path_factory.mktemp("run") / "RUN"
    run_folder(plan_of(images, out, workers=1), scorer=plain_score)
    return out


def test_a_run_folder_holds_what_the_design_says(finished):
    names = {path.name for path in finished.iterdir()}
    assert names - {".lock"} == {
        "run.json", "journal.sqlite", "manifest.csv", "fields.parquet", "objects.parquet", "layers.parquet",
        "vessels.json", "hashes.json", "labels",
    }  # fmt: skip
    assert verify_run(finished) == ()


def test_fields_are_in_manifest_order_with_score_and_quality(images, finished):
    table = pq.read_table(finished / "fields.parquet")
    assert table.column("path").to_pylist() == [row.path for row in manifest_of(images).rows]
    assert {"confluency_percent", "quality_mean_level", "labels", "image_sha256"} <= set(table.column_names)
    assert all((finished / name / "zarr.json").is_file() for name in table.column("labels").to_pylist())


def test_objects_are_read_back_by_vessel_and_layer(finished):
    objects = pq.read_table(finished / "objects.parquet")
    fields = pq.read_table(finished / "fields.parquet")
    assert {"key", "label", "area_px", "vessel_id", "layer"} == set(objects.column_names)
    assert objects.num_rows == sum(fields.column("n_objects").to_pylist())
    one = pq.read_table(finished / "objects.parquet", filters=[("layer", "=", 2)])
    on_layer_2 = [row["n_objects"] for row in fields.to_pylist() if row["layer"] == 2]
    assert one.num_rows == sum(on_layer_2)


def test_layers_and_vessel_follow_from_the_fields(finished):
    (vessel,) = json.loads((finished / "vessels.json").read_text())["vessels"]
    fields = pq.read_table(finished / "fields.parquet").to_pylist()
    assert vessel["measured_layers"] == [1, 2]
    for layer in vessel["layers"]:
        mine = [row["confluency_percent"] for row in fields if row["layer"] == layer["layer"]]
        assert layer["confluency_percent"] == pytest.approx(sum(mine) / len(mine))


@pytest.fixture(scope="module")
def measured(images, tmp_path_factory):
    """Return a complete run of the six images by the real scorer, one worker."""
    out = tmp_path_factory.mktemp("measured") / "RUN"
    assert run_folder(plan_of(images, out, workers=1)).n_scored == 6
    assert max(pq.read_table(out / "fields.parquet").column("confluency_percent").to_pylist()) > 1
    return out


@pytest.mark.parametrize(
    "settings",
    [
        {"workers": 2},
        {"workers": 4},
        pytest.param({"workers": 2, "scheduler": "processes"}, marks=pytest.mark.slow),
    ],
    ids=["2 threads", "4 threads", "2 processes"],
)
def test_how_a_run_is_executed_does_not_show_in_the_result(images, measured, tmp_path, settings):
    run_folder(plan_of(images, tmp_path / "RUN", **settings))
    assert differing_files(measured, tmp_path / "RUN") == []


@pytest.mark.slow
def test_how_large_fields_are_tiled_does_not_show_in_the_result(tmp_path):
    """Two fields of 2500 x 2500, whole and in tiles of three sizes."""
    write_images(tmp_path / "images", 2, side=2500)
    whole = tmp_path / "WHOLE"
    assert run_folder(plan_of(tmp_path / "images", whole)).n_scored == 2
    for tile_px in (1024, 2048, 3072):
        out = tmp_path / f"TILED{tile_px}"
        run_folder(plan_of(tmp_path / "images", out, tiling=Tiling(whole_px=1, tile_px=tile_px)))
        assert differing_files(whole, out) == [], tile_px


def test_one_bad_file_costs_one_field_and_is_named(images, tmp_path):
    folder = tmp_path / "images"
    write_images(folder, 4)
    good = (folder / "L01" / "field_00.tif").read_bytes()
    bad = {
        "empty": b"",
        "cut": good[: len(good) // 2],
        "text": b"not an image at all",
        "bug": good,
        "hungry": good,
    }
    for stem, content in bad.items():
        (folder / "L02" / f"{stem}.tif").write_bytes(content)
    tifffile.imwrite(folder / "L02" / "flat.tif", np.full((64, 64), 7, np.uint16))
    summary = run_folder(plan_of(folder, tmp_path / "RUN"), scorer=plain_score)
    assert (summary.n_scored, summary.n_failed, summary.state) == (4, 6, "done-with-failures")
    reasons = {Path(score.path).stem: score.reason for score in summary.troubled}
    assert set(reasons) == {*bad, "flat"}
    assert "0 bytes" in reasons["empty"]
    assert "Out of memory" in reasons["hungry"]
    assert "ZeroDivisionError" in reasons["bug"]
    rows = pq.read_table(tmp_path / "RUN" / "fields.parquet").to_pylist()
    assert all((row["confluency_percent"] is None) == (row["status"] == "failed") for row in rows)
    assert [complaint for complaint in verify_run(tmp_path / "RUN") if complaint.severity == "error"] == []


def test_raw_images_are_not_written_to(images, finished):
    assert {p.suffix for p in images.rglob("*") if p.is_file()} == {".tif"}
    rows = pq.read_table(finished / "fields.parquet").to_pylist()
    assert all(content_sha256(images / row["path"]) == row["image_sha256"] for row in rows)


def test_a_run_folder_is_not_written_over(images, finished):
    before = result_bytes(finished)
    with pytest.raises(InvalidArgumentError, match="holds a run already; add --resume"):
        run_folder(plan_of(images, finished), scorer=plain_score)
    assert result_bytes(finished) == before


def test_a_folder_with_other_things_is_refused(images, tmp_path):
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(InvalidArgumentError, match=r"not empty \(it holds thesis.docx\)"):
        run_folder(plan_of(images, tmp_path), scorer=plain_score)


def test_a_second_run_in_a_busy_folder_is_refused(images, tmp_path):
    out = tmp_path / "RUN"
    met = []

    def intruding_score(task, *, tile_map=map):
        with pytest.raises(OutputError, match=r"another run is at work here \(process \d+ on") as info:
            resume_run(plan_of(images, out), scorer=plain_score)
        met.append(info)
        return plain_score(task)

    run_folder(plan_of(images, out), scorer=intruding_score)
    assert len(met) == 6
    assert verify_run(out) == ()


def test_stopping_from_the_keyboard_says_how_to_go_on(images, finished, tmp_path):
    class Stopping:
        n = 0

        def begin(self, n_fields, n_done_before):
            pass

        def advance(self, score):
            self.n += 1
            if self.n == 3:
                raise KeyboardInterrupt

        def end(self):
            pass

    out = tmp_path / "RUN"
    with pytest.raises(RunInterruptedError, match=r"Stopped with 3 of 6 fields done.*--resume"):
        run_folder(plan_of(images, out), progress=Stopping(), scorer=plain_score)
    assert json.loads((out / "run.json").read_text())["state"] == "interrupted"
    summary = resume_run(plan_of(images, out), scorer=plain_score)
    assert summary.n_done_before == 3
    assert differing_files(finished, out) == []


def test_opencv_threads_are_as_before(images, tmp_path):
    before = cv2.getNumThreads()
    run_folder(plan_of(images, tmp_path / "RUN"), scorer=plain_score)
    assert cv2.getNumThreads() == before


# --- planning --------------------------------------------------------------------------------------------------------


def row(**values):
    return ManifestRow(**({"path": "a.tif", "vessel_id": "V1", "vessel_type": "cellstack-2", "layer": 1} | values))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "lists no field"),
        ([row(layer=3)], "row 1 \\(a.tif\\): layer 3, but cellstack-2 has 1 to 2"),
        ([row(), row(path="./a.tif")], "is listed 2 times"),
        ([row(), row(path="b.tif", vessel_type="t-75")], "vessel V1 is said to be cellstack-2 and t-75"),
        ([row(), row(path="b.tif", vessel_id="v1")], "vessels V1 and v1 differ only in case"),
    ],
    ids=["empty", "layer the vessel lacks", "listed twice", "two types", "case only"],
)
def test_a_manifest_that_contradicts_itself_is_refused(tmp_path, rows, message):
    with pytest.raises(InvalidDataError, match=message):
        plan_run(Manifest(tmp_path, tuple(rows)), load_catalogue(), load_pipeline("contrast"), tmp_path / "RUN")


def test_an_unknown_vessel_is_refused_before_the_start(tmp_path):
    manifest = Manifest(tmp_path, (row(vessel_type="cellstak-2"),))
    with pytest.raises(InvalidArgumentError, match="Did you mean"):
        plan_run(manifest, load_catalogue(), load_pipeline("contrast"), tmp_path / "RUN")


def test_a_run_does_not_go_into_a_raw_image(tmp_path):
    manifest = Manifest(tmp_path, (row(path="a.zarr"),))
    with pytest.raises(InvalidArgumentError, match="lies in the image"):
        plan_run(manifest, load_catalogue(), load_pipeline("contrast"), tmp_path / "a.zarr" / "RUN")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"path": "L01/A1.tif"}, "v1-l01-a1-"),
        ({"vessel_id": "Flask Ünï/7:b", "path": "x.tif"}, "flask-uni-7-b-l01-x-"),
        ({"vessel_id": "CON", "path": "nul"}, "con-l01-nul-"),
        ({"vessel_id": "培養", "path": "x.tif"}, "l01-x-"),
        ({"vessel_id": "V" * 200, "path": "x.tif"}, "v" * 60 + "-"),
    ],
    ids=["plain", "accents and slashes", "names Windows keeps", "no Latin letters", "long"],
)
def test_keys_are_legal_file_names_everywhere(values, expected):
    key = field_key(row(**values))
    assert key[: -len("0123456789")] == expected
    assert len(key) <= 71


def test_keys_differ_where_the_names_do_not():
    keys = {field_key(row(path=path)) for path in ("a/x.tif", "b/x.tif", "a/X.tif", "a/x.png")}
    assert len({key.casefold() for key in keys}) == 4


MODEL = MemoryModel(base_bytes=2**29, per_working_px=0, native_copies=1, surroundings=1)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (2**30, "needs about 2.50 GiB but the memory limit is 1.00 GiB: use at most 1 workers instead of 4"),
        (2 * 2**30, "use at most 3 workers instead of 4"),
        (2**29, "even one worker needs 1.00 GiB, so raise the limit or free memory"),
    ],
)
def test_a_run_that_needs_too_much_memory_is_refused_with_what_to_do(limit, message):
    sizes = [FieldSize(2**14, 2**14)]  # half a GiB each
    settings = RunSettings(workers=4, tiling=Tiling(whole_px=2**28))
    with pytest.raises(InvalidArgumentError, match=message):
        check_memory(sizes, replace(settings, memory_limit_bytes=limit), MODEL)
    with pytest.raises(InvalidArgumentError, match="free memory is"):
        check_memory(sizes, settings, MODEL, available=lambda: limit)


def test_peak_memory_of_large_images_follows_from_tile_and_workers():
    """A strip as wide as the image is read at a time, so width counts, but the number of fields does not.

    Height counts only as far as a strip is never thinner than one overview row: a tenth for ten times the height.
    """

    def peak(height, *, n=1, workers=2, tile_px=2048):
        settings = RunSettings(workers=workers, tiling=Tiling(tile_px=tile_px))
        return estimate_peak_memory([FieldSize(height, 30_000)] * n, settings, MemoryModel())

    assert peak(30_000) == peak(30_000, n=50)
    assert peak(300_000) < 1.1 * peak(30_000)
    assert peak(30_000, workers=4) > peak(30_000) > peak(30_000, tile_px=1024)
    assert peak(30_000) < 1.5 * 10**9


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"workers": 0}, "at least 1"),
        ({"scheduler": "mpi"}, "Unknown scheduler 'mpi'; use threads, processes"),
        ({"memory_limit_bytes": 0}, "more than 0"),
        ({"retries": -1}, "0 or more"),
    ],
    ids=["no workers", "scheduler", "no memory", "retries"],
)
def test_settings_that_cannot_work_are_refused(values, message):
    with pytest.raises(InvalidArgumentError, match=message):
        RunSettings(**values)


# --- progress --------------------------------------------------------------------------------------------------------


def test_plain_progress_says_rate_time_left_and_failures(images, tmp_path):
    stream = StringIO()
    ticks = iter(range(1000))
    run_folder(
        plan_of(images, tmp_path / "RUN", workers=1),
        progress=PlainProgress(stream, clock=lambda: float(next(ticks))),
        scorer=plain_score,
    )
    lines = stream.getvalue().splitlines()
    assert lines[0] == "Scoring 6 fields."
    assert lines[-1].startswith("6/6 fields (100 %)")
    assert all("MP/s" in line and "left" in line for line in lines[1:])


@pytest.mark.parametrize(("seconds", "text"), [(7.6, "8 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_durations_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_the_library_is_silent(images, tmp_path, capsys):
    run_folder(plan_of(images, tmp_path / "RUN"), scorer=plain_score)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
