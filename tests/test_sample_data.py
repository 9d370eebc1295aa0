"""The sample vessels are what their recipes make, are small, and are measured about right."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.plan import RunSettings, plan_run
from msc_vision.batch.run import run_folder
from msc_vision.io.images import content_sha256, open_image
from msc_vision.io.manifest import check_manifest, read_manifest
from msc_vision.synth import synthesise
from msc_vision.vessels import load_catalogue

SAMPLES = Path(__file__).parents[1] / "sample_data"
VESSELS = ("hyperstack-12", "t-75")
FIELD_TOLERANCE, LAYER_TOLERANCE = 6.0, 5.0  # points; narrow gaps are closed, thin processes lost


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pixels(path: Path) -> np.ndarray:
    with open_image(path) as image:
        return image.read()


@pytest.fixture(scope="module", params=VESSELS)
def vessel(request):
    return request.param


@pytest.fixture(scope="module")
def run(vessel, tmp_path_factory):
    """Score a sample vessel as ``make demo`` does."""
    manifest = read_manifest(SAMPLES / vessel / "manifest.csv")
    out = tmp_path_factory.mktemp(vessel) / "run"
    plan = plan_run(manifest, load_catalogue(), load_pipeline("default"), out, settings=RunSettings(workers=2))
    return run_folder(plan), out


def test_the_samples_are_small():
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 15e6


def test_the_recipe_makes_these_pixels_and_this_truth(vessel, tmp_path):
    """Another OpenCV or numpy may round a few pixels another way; a changed drawing changes most of them."""
    synthesise(SAMPLES / "recipes" / f"{vessel}.yaml", tmp_path / vessel)
    for row in rows_of(SAMPLES / vessel / "manifest.csv"):
        kept, new = (pixels(folder / vessel / row["path"]).astype(np.int32) for folder in (SAMPLES, tmp_path))
        assert np.mean(np.abs(kept - new) > 2) < 1e-3
    for name in ("truth.csv", "truth_layers.csv"):
        for kept_row, new_row in zip(rows_of(SAMPLES / vessel / name), rows_of(tmp_path / vessel / name), strict=True):
            assert comparable(new_row) == pytest.approx(comparable(kept_row), abs=0.1)


def comparable(row: dict[str, str]) -> dict[str, float]:
    """The numbers of a row of truth."""
    return {column: float(value) for column, value in row.items() if value.replace(".", "").isdigit()}


def test_manifest_and_truth_agree_with_the_files(vessel):
    folder = SAMPLES / vessel
    manifest = read_manifest(folder / "manifest.csv")
    assert [c for c in check_manifest(manifest, load_catalogue()) if c.severity == "error"] == []
    truth = {row["path"]: row for row in rows_of(folder / "truth.csv")}
    masks = {row["image"]: row["truth"] for row in rows_of(folder / "pairs.csv")}
    for row in manifest.rows:
        assert content_sha256(manifest.image_path(row)) == row.sha256
        if truth[row.path]["is_usable"] == "True":
            labels = cv2.imread(str(folder / masks[row.path]), cv2.IMREAD_UNCHANGED)
            assert labels.shape == pixels(manifest.image_path(row)).shape
            assert 100 * (labels > 0).mean() == pytest.approx(float(truth[row.path]["confluency_percent"]), abs=1e-3)


def test_only_the_spoilt_field_is_rejected(vessel, run):
    summary, _ = run
    spoilt = {row["path"] for row in rows_of(SAMPLES / vessel / "truth.csv") if row["is_usable"] == "False"}
    assert {score.path for score in summary.troubled} == spoilt
    assert summary.n_failed == 0
    assert all("out of focus" in score.reason for score in summary.troubled)


def test_fields_read_near_their_truth(vessel, run):
    import pyarrow.parquet as pq

    _, out = run
    truth = {row["path"]: float(row["confluency_percent"]) for row in rows_of(SAMPLES / vessel / "truth.csv")}
    scored = [row for row in pq.read_table(out / "fields.parquet").to_pylist() if row["status"] == "scored"]
    errors = {row["path"]: row["confluency_percent"] - truth[row["path"]] for row in scored}
    assert {path: error for path, error in errors.items() if abs(error) > FIELD_TOLERANCE} == {}


def test_layers_read_near_their_truth_and_in_its_order(vessel, run):
    summary, _ = run
    truth = [float(row["fields_confluency_percent"]) for row in rows_of(SAMPLES / vessel / "truth_layers.csv")]
    measured = [layer.confluency_percent for layer in summary.layers if layer.confluency_percent is not None]
    assert measured == pytest.approx(truth, abs=LAYER_TOLERANCE)
    assert np.array_equal(np.argsort(measured), np.argsort(truth))
