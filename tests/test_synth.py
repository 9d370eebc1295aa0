"""Synthetic fields: what the truth says is what was drawn, and the seed decides all of it."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError, OutputError
from msc_vision.io.images import open_image
from msc_vision.io.manifest import check_manifest, draft_manifest, read_manifest
from msc_vision.synth import FieldSettings, load_recipe, render_field, render_vessel, synthesise
from msc_vision.synth.culture_settings import CellSettings, KindShares
from msc_vision.synth.image_settings import BackgroundSettings, OpticsSettings
from msc_vision.synth.optics import phase_contrast
from msc_vision.synth.recipe import grid_positions
from msc_vision.vessels import load_catalogue

SPREAD = KindShares(spindle=1, stellate=0.6, flattened=0, rounded=0)
RECIPE = {
    "description": "two layers of a small vessel",
    "vessel_id": "CS2-A",
    "vessel_type": "cellstack-2",
    "seed": 3,
    "file_format": "ome-tiff",
    "layers": [
        {"layer": 1, "confluency_percent": 60, "n_fields": 2},
        {"layer": 2, "confluency_percent": 20, "n_fields": 1},
    ],
    "settings": {"height_px": 256, "width_px": 320, "pixel_size_um": 1.24},
    "odd_fields": [{"layer": 1, "field": 2, "is_usable": False, "settings": {"optics": {"defocus_um": 9}}}],
}


def small(confluency_percent: float, **changes: object) -> FieldSettings:
    return FieldSettings(
        height_px=320, width_px=384, pixel_size_um=1.3, confluency_percent=confluency_percent, **changes
    )


def write_recipe(folder: Path, **changes: object) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE | changes), encoding="utf-8")
    return path


@pytest.mark.parametrize("wanted", [0, 3, 35, 70, 92, 100])
def test_truth_covers_what_was_wanted(wanted):
    field = render_field(small(wanted), seed=5)
    one_cell_percent = 100 * 2100 / (320 * 384 * 1.3**2)
    assert abs(field.confluency_percent - wanted) <= (0 if wanted in (0, 100) else one_cell_percent)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), wanted=st.floats(0, 100), bits=st.sampled_from([8, 12, 16]))
def test_any_field_is_consistent(seed, wanted, bits):
    field = render_field(
        FieldSettings(height_px=128, width_px=160, confluency_percent=wanted, bit_depth=bits), seed=seed
    )
    assert field.image.shape == field.labels.shape == (128, 160)
    assert field.image.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert field.labels.dtype == np.int32
    assert field.image.max() < 2**bits
    np.testing.assert_array_equal(field.foreground, field.labels > 0)
    assert abs(field.confluency_percent - wanted) <= 100 * 2100 / (128 * 160)  # one cell


def test_seed_decides_everything():
    one, same, other = (render_field(small(40), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.image, same.image)
    np.testing.assert_array_equal(one.labels, same.labels)
    assert np.count_nonzero(one.labels != other.labels) > 0.2 * one.labels.size


def test_cells_have_the_size_of_mesenchymal_stromal_cells():
    """Spread area 1,800 to 2,800 µm² and 45 to 200 µm from tip to tip, on cells that touch no other and no edge."""
    areas, lengths = [], []
    for seed in range(5):
        field = render_field(FieldSettings(confluency_percent=6, cells=CellSettings(shares=SPREAD)), seed)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(field.foreground.astype(np.uint8))
        for i, (x, y, width, height, area) in enumerate(stats[1:], start=1):
            is_inside = x > 0 and y > 0 and x + width < 1024 and y + height < 1024
            if is_inside and np.unique(field.labels[labels == i]).size == 1:
                (_, size, _) = cv2.minAreaRect(np.argwhere(labels == i).astype(np.float32))
                areas.append(area)
                lengths.append(max(size))
    assert len(areas) > 30
    assert 1800 < np.median(areas) < 2800
    assert np.percentile(lengths, 5) > 45
    assert np.percentile(lengths, 95) < 200


def test_more_cells_cover_more():
    counts = [np.unique(render_field(small(wanted), seed=9).labels).size for wanted in (5, 30, 60, 90)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] / 5


@pytest.mark.parametrize(
    ("phase", "darker"), [(0.2, True), (2.6, False)], ids=["flat cell is dark", "rounded cell is bright"]
)
def test_phase_contrast_of_a_disc(phase, darker):
    """A disc of 12 µm:  bare | halo | disc.  Thin is dark in a bright halo, thick is bright."""
    distance = np.hypot(*np.mgrid[-64:64, -64:64])
    light = phase_contrast((phase * (distance < 6)).astype(np.float32), OpticsSettings(), 1.0)
    inside, rim, far = light[distance < 4].mean(), light[(distance > 7) & (distance < 9)].mean(), light[0, 0]
    assert far == pytest.approx(1, abs=0.01)
    assert (inside < 0.9) if darker else (inside > 1.5)
    assert not darker or rim > 1.02


def test_bare_surface_is_even_and_debris_is_no_foreground():
    field = render_field(small(0, background=BackgroundSettings(debris_per_mm2=400)), seed=2)
    assert not field.foreground.any()
    assert field.image.std() > 0


def test_defocus_takes_detail_away():
    sharp, blurred = (
        render_field(small(60, optics=OpticsSettings(defocus_um=um)), seed=4).image.astype(np.float32) for um in (0, 8)
    )
    assert cv2.Laplacian(blurred, cv2.CV_32F, ksize=5).std() < 0.5 * cv2.Laplacian(sharp, cv2.CV_32F, ksize=5).std()


def test_vessel_on_disk_is_a_checked_manifest_with_truth(tmp_path):
    manifest = synthesise(write_recipe(tmp_path), tmp_path / "out")
    assert check_manifest(read_manifest(tmp_path / "out" / "manifest.csv"), load_catalogue()) == ()
    assert [row.path for row in manifest.rows] == [
        "L01/CS2-A_L01_F01.ome.tif",
        "L01/CS2-A_L01_F02.ome.tif",
        "L02/CS2-A_L02_F01.ome.tif",
    ]
    truth = list(csv.DictReader((tmp_path / "out" / "truth.csv").open()))
    for row, said in zip(manifest.rows, truth, strict=True):
        with open_image(manifest.image_path(row)) as image:
            assert image.info.pixel_size_um == pytest.approx(1.24)
            assert image.read().shape == (256, 320)
        labels = cv2.imread(str(tmp_path / "out" / "labels" / f"{Path(row.path).name[:-8]}.png"), cv2.IMREAD_UNCHANGED)
        assert 100 * (labels > 0).mean() == pytest.approx(float(said["confluency_percent"]), abs=1e-3)
        assert np.unique(labels[labels > 0]).size == int(said["n_cells"])
    layers = list(csv.DictReader((tmp_path / "out" / "truth_layers.csv").open()))
    assert [layer["n_usable_fields"] for layer in layers] == ["1", "1"]
    assert layers[0]["fields_confluency_percent"] == truth[0]["confluency_percent"]


def test_a_time_course_keeps_its_places_and_fills_up(tmp_path):
    growth = {"doubling_time_h": 24, "lag_h": 0, "capacity_percent": 105}
    path = write_recipe(
        tmp_path,
        layers=[{"layer": 1, "confluency_percent": 20, "n_fields": 2}],
        odd_fields=[],
        field_spread=0,
        time_course={"times_h": [0, 24, 240], "growth": growth},
        context={"acquired_at": "2025-03-14T09:30:00+01:00"},
    )
    manifest = synthesise(path, tmp_path / "out")
    complaints = check_manifest(read_manifest(tmp_path / "out" / "manifest.csv"), load_catalogue())
    assert [complaint for complaint in complaints if complaint.severity == "error"] == []
    assert [row.acquired_at for row in manifest.rows[::2]] == [
        "2025-03-14T09:30:00+01:00",
        "2025-03-15T09:30:00+01:00",
        "2025-03-24T09:30:00+01:00",
    ]
    assert len({(row.y_um, row.x_um) for row in manifest.rows}) == 2
    layers = list(csv.DictReader((tmp_path / "out" / "truth_layers.csv").open()))
    wanted = [float(layer["confluency_percent"]) for layer in layers]
    assert wanted == pytest.approx([20, 105 / (1 + (105 / 20 - 1) / 2), 100], abs=0.01)
    got = [float(layer["fields_confluency_percent"]) for layer in layers]
    assert got == pytest.approx(wanted, abs=2)


def test_cells_are_listed_with_kind_and_area(tmp_path):
    synthesise(write_recipe(tmp_path), tmp_path / "out")
    cells = list(csv.DictReader((tmp_path / "out" / "truth_cells.csv").open()))
    first = [cell for cell in cells if cell["path"] == "L01/CS2-A_L01_F01.ome.tif"]
    labels = cv2.imread(str(tmp_path / "out" / "labels" / "CS2-A_L01_F01.png"), cv2.IMREAD_UNCHANGED)
    mask = cv2.imread(str(tmp_path / "out" / "labels" / "foreground" / "CS2-A_L01_F01.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask > 0, labels > 0)
    assert {cell["kind"] for cell in first} <= {"spindle", "stellate", "flattened", "rounded"}
    areas = np.bincount(labels.ravel())[1:] * 1.24**2
    assert [float(cell["area_um2"]) for cell in first] == pytest.approx(areas.tolist(), abs=0.06)


def test_a_draft_of_the_folder_finds_the_fields_and_not_the_labels(tmp_path):
    manifest = synthesise(write_recipe(tmp_path), tmp_path / "out")
    drafted, _ = draft_manifest(tmp_path / "out", load_catalogue(), vessel_type="cellstack-2")
    assert [(row.path, row.layer) for row in drafted.rows] == [(row.path, row.layer) for row in manifest.rows]


@pytest.mark.parametrize("file_format", ["ome-tiff", "tiff", "png"])
def test_the_same_recipe_gives_the_same_files(tmp_path, file_format):
    path = write_recipe(tmp_path, file_format=file_format)
    one, other = synthesise(path, tmp_path / "one"), synthesise(path, tmp_path / "other")
    assert [row.sha256 for row in one.rows] == [row.sha256 for row in other.rows]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vessel_type": "hyperstak-12"}, "Did you mean"),
        ({"layers": [{"layer": 3, "confluency_percent": 1, "n_fields": 1}], "odd_fields": []}, "has 2 layers"),
        ({"layers": [{"layer": 1, "confluency_percent": 101, "n_fields": 1}]}, "less than or equal to 100"),
        ({"layers": [{"layer": 1, "confluency_percent": 1, "n_fields": 1}] * 2}, "each layer once"),
        ({"odd_fields": [{"layer": 2, "field": 2, "settings": {"bit_depth": 8}}]}, "layer 2 field 2"),
        ({"odd_fields": [{"layer": 2, "field": 1, "settings": {"blur": 8}}]}, "blur"),
        ({"settings": {"hight_px": 256}}, "did you mean height_px"),
        ({"settings": {"cells": {"phaze": 0.1}}}, "did you mean phase"),
        ({"settings": {"cells": {"shares": {"spindle": 0, "stellate": 0, "flattened": 0, "rounded": 0}}}}, "above 0"),
        ({"time_course": {"times_h": [24, 0]}}, "have to rise"),
        ({"time_course": {"times_h": [0]}, "context": {"acquired_at": "monday"}}, "is the time of 0 h"),
        ({"vessel_id": "../escape"}, "vessel_id"),
    ],
    ids=[
        "vessel",
        "layer",
        "over 100 %",
        "layer twice",
        "no such field",
        "no such setting",
        "typo",
        "typo deeper",
        "no cells",
        "times fall",
        "no time",
        "id is a path",
    ],
)
def test_wrong_recipes_say_what_is_wrong(tmp_path, changes, message):
    with pytest.raises(InvalidArgumentError, match=message):
        load_recipe(write_recipe(tmp_path, **changes), load_catalogue())


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [", "no YAML"), ("7", "recipe"), (None, "cannot be read")],
    ids=["broken", "number", "missing"],
)
def test_files_that_are_no_recipe(tmp_path, content, message):
    path = tmp_path / "r.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        load_recipe(path, load_catalogue())
    assert "r.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    with pytest.raises(InvalidArgumentError, match="not empty"):
        synthesise(write_recipe(tmp_path), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_an_impossible_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        render_vessel(
            load_recipe(write_recipe(tmp_path), load_catalogue()), tmp_path / "file" / "out", catalogue=load_catalogue()
        )


@given(n=st.integers(1, 60), y=st.floats(0, 0.99), x=st.floats(0, 0.99))
def test_fields_lie_on_the_layer_and_never_twice_in_one_place(n, y, x):
    places = grid_positions(n, 500.0, (y, x))
    assert len(set(places)) == n
    assert all(0 <= v <= 500**0.5 * 1e4 for place in places for v in place)
