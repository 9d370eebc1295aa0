"""What a field is beyond its cells: the same in one piece or in tiles, nothing in µm without a pixel size."""

import numpy as np
import pytest
import tifffile

from msc_vision.batch.describe import DESCRIBED_COLUMNS
from msc_vision.batch.field import FieldTask, Tiling, score_field
from msc_vision.batch.low_attachment import is_low_attachment
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.io.labels import read_aggregates, read_labels
from msc_vision.morphology.orientation import ORDER_FEATURES
from msc_vision.morphology.profile import PROFILE_TRAITS
from msc_vision.records import ManifestRow
from msc_vision.report.crops import place_box
from msc_vision.synth import FieldSettings, render_field

PIXEL_UM = 1.3


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    settings = {
        "height_px": 1100,
        "width_px": 1500,
        "pixel_size_um": PIXEL_UM,
        "confluency_percent": 55,
        "cells": {"aggregates": {"per_mm2": 8, "diameter_um": 130}},
    }
    path = tmp_path_factory.mktemp("describe") / "field.tif"
    tifffile.imwrite(path, render_field(FieldSettings.model_validate(settings), 3).image)
    return path


def described(image, out, *, pixel_size_um=PIXEL_UM, tiling=None, recipe="default"):
    out.mkdir()
    row = ManifestRow(image.name, "V1", "t-75", 1, pixel_size_um=pixel_size_um)
    task = FieldTask(
        "f", image, row, load_pipeline(recipe), out / "f.ome.zarr", out / "f.npy", tiling=tiling or Tiling()
    )
    return score_field(task), np.load(out / "f.npy"), out / "f.ome.zarr"


@pytest.fixture(scope="module")
def whole(image, tmp_path_factory):
    return described(image, tmp_path_factory.mktemp("whole") / "out")


def test_tiles_change_nothing_of_cells_aggregates_and_figures(image, whole, tmp_path):
    score, objects, labels = described(image, tmp_path / "t", tiling=Tiling(whole_px=1, tile_px=1024))
    assert score == whole[0]
    assert objects.tobytes() == whole[1].tobytes()
    np.testing.assert_array_equal(read_aggregates(labels), read_aggregates(whole[2]))


def test_cells_and_aggregates_are_rows_of_one_table(whole):
    score, objects, labels = whole
    assert objects.dtype == DESCRIBED_COLUMNS
    assert score.n_objects == len(objects)
    cells, aggregates = (objects[objects["kind"] == kind] for kind in ("cell", "aggregate"))
    assert read_labels(labels)[1].max() == len(cells) > 100
    assert read_aggregates(labels).max() == len(aggregates) > 5
    assert np.isnan(cells["equivalent_diameter_um"]).all()
    assert np.isnan(aggregates["length_um"]).all()
    inner = cells[cells["is_measured"]]
    assert np.isfinite(inner["length_um"]).all()
    np.testing.assert_allclose(inner["width_um"] * inner["length_um"], inner["area_um2"])
    piled = np.bincount(read_labels(labels)[1][read_aggregates(labels) > 0], minlength=len(cells) + 1)[1:]
    assert cells["in_aggregate"][2 * piled >= cells["area_px"]].all()
    assert not (cells["in_aggregate"] & cells["is_measured"]).any()
    sizes = np.bincount(read_aggregates(labels).ravel())[1:]
    np.testing.assert_array_equal(sizes, aggregates["area_px"])


def test_the_profile_and_the_findings_are_there(whole):
    score, objects, _ = whole
    assert {trait.name for trait in PROFILE_TRAITS} <= set(score.morphology)
    named = {feature.name for feature in ORDER_FEATURES}
    assert {name for name in named if not name.startswith("defects")} <= set(score.morphology)  # these need more area
    assert all(np.isfinite(value) for value in (*score.morphology.values(), *score.findings.values()))
    assert score.findings["aggregates_per_cm2"] > 100
    assert score.contamination in {"suspect", "no visual sign", "not assessable"}
    assert score.contamination_note
    measured = objects[objects["is_measured"]]
    mean = np.average(np.log(measured["area_um2"]), weights=measured["border_weight"])
    assert score.morphology["cells_area_um2_mean"] == pytest.approx(mean)


def test_without_a_pixel_size_nothing_is_said_in_micrometres(image, tmp_path):
    score, objects, _ = described(image, tmp_path / "u", pixel_size_um=None)
    assert score.status == "scored"
    assert not any("um" in name or "mm2" in name or "cm2" in name for name in score.morphology)
    assert not any("cm2" in name for name in score.findings)
    assert score.contamination == "not assessable"
    assert "The size of a pixel is not known" in score.contamination_note
    for name in ("area_um2", "length_um", "width_um", "equivalent_diameter_um"):
        assert np.isnan(objects[name]).all()
    assert not objects["is_measured"].any()


def test_patches_of_local_contrast_are_no_cells(image, tmp_path):
    """Without the network touching cells are not told apart, so there is no shape of cells to speak of."""
    score, objects, labels = described(image, tmp_path / "c", recipe="contrast")
    assert (score.morphology, score.findings, score.contamination) == ({}, {}, None)
    assert "length_um" not in objects.dtype.names
    assert read_aggregates(labels).max() == 0


def test_a_suspect_field_says_where_the_signs_are(tmp_path):
    settings = {
        "height_px": 700,
        "width_px": 700,
        "pixel_size_um": PIXEL_UM / 2,
        "confluency_percent": 15,
        "contamination": {"kind": "dots", "amount": 0.8},
    }
    path = tmp_path / "dots.tif"
    tifffile.imwrite(path, render_field(FieldSettings.model_validate(settings), 9).image)
    score, _, _ = described(path, tmp_path / "d", pixel_size_um=PIXEL_UM / 2)
    assert score.contamination == "suspect"
    assert "dots" in score.contamination_note
    sign, (y0, y1, x0, x1) = place_box(score.contamination_places[0])
    assert sign == "dots"
    assert 0 <= y0 < y1 <= 700  # in pixels of the image, two of which make one that is worked on
    assert 0 <= x0 < x1 <= 700
    assert any(place_box(one)[1][1] > 350 or place_box(one)[1][3] > 350 for one in score.contamination_places)


def test_a_field_without_aggregates_stores_no_picture_of_them(tmp_path):
    settings = FieldSettings(height_px=400, width_px=400, pixel_size_um=PIXEL_UM, confluency_percent=30)
    path = tmp_path / "sparse.tif"
    tifffile.imwrite(path, render_field(settings, 5).image)
    score, objects, labels = described(path, tmp_path / "s")
    assert score.findings["aggregates_per_cm2"] == 0
    assert set(objects["kind"]) == {"cell"}
    assert not (labels / "labels" / "aggregates").exists()


# --- ultra-low attachment ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("surface", "expected"),
    [
        ("ULA", True),
        ("Ultra-Low Attachment", True),
        ("Corning ULA plate", True),
        ("CellBIND", False),
        ("insulated", False),
        (None, False),
    ],
)
def test_surfaces_on_which_spheroids_form_are_known_by_name(surface, expected):
    assert is_low_attachment(surface) is expected


def test_spheroids_have_diameters_and_no_confluency(tmp_path):
    settings = {
        "height_px": 900,
        "width_px": 900,
        "pixel_size_um": PIXEL_UM,
        "confluency_percent": 12,
        "cells": {"aggregates": {"per_mm2": 5, "diameter_um": 180, "diameter_spread": 0.1, "compactness": 1.0}},
    }
    path = tmp_path / "ula.tif"
    field = render_field(FieldSettings.model_validate(settings), 7)
    tifffile.imwrite(path, field.image)
    row = ManifestRow(path.name, "V1", "t-75", 1, pixel_size_um=PIXEL_UM, surface="ULA")
    score = score_field(FieldTask("f", path, row, load_pipeline("default"), tmp_path / "f.ome.zarr", None))
    assert (score.status, score.confluency_percent) == ("rejected", None)
    assert score.reason.startswith("Ultra-low attachment surface: confluency is not applicable;")
    assert score.findings["n_spheroids"] >= 2
    assert score.findings["spheroid_diameter_mean_um"] == pytest.approx(180, rel=0.2)
    assert not (tmp_path / "f.ome.zarr").exists()
    large = score_field(
        FieldTask("f", path, row, load_pipeline("default"), None, None, tiling=Tiling(whole_px=1, tile_px=1024))
    )
    assert "the field is too large" in large.reason
