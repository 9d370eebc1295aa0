"""One field from file to score: every outcome has a reason, tiles equal the whole, nothing is invented."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
import zarr

from msc_vision.batch.field import FieldTask, Tiling, score_field
from msc_vision.batch.pipeline import load_pipeline, recipe_text, shipped_pipelines
from msc_vision.errors import InvalidArgumentError, OutputError
from msc_vision.io.images import content_sha256
from msc_vision.io.labels import is_within_judgeable, read_judgeable, read_labels
from msc_vision.records import ManifestRow
from msc_vision.resources import resource_path
from test_contrast import field as draw_field


@pytest.fixture(scope="module")
def spindles():
    """24 spindles on bare plastic, 700 x 640, 16 bit."""
    return draw_field(np.random.default_rng(11), 24, shape=(700, 640))[0]


def task_for(tmp_path, image, name="field.tif", **row):
    path = tmp_path / name
    if name.endswith(".tif"):
        tifffile.imwrite(path, image)
    elif name.endswith(".png"):
        cv2.imwrite(str(path), image)
    values = {"path": name, "vessel_id": "V", "vessel_type": "t-75", "layer": 1, "pixel_size_um": 1.24} | row
    return FieldTask(
        key="V-L01",
        source=path,
        row=ManifestRow(**values),
        pipeline=load_pipeline("contrast"),
        labels_path=tmp_path / "out" / "V-L01.ome.zarr",
        objects_path=tmp_path / "out" / "V-L01.npy",
    )


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path


def test_a_field_is_scored_with_labels_and_objects(out, spindles):
    task = task_for(out, spindles)
    score = score_field(task)
    assert (score.status, score.reason) == ("scored", None)
    foreground, labels, meta = read_labels(task.labels_path)
    assert score.confluency_percent == pytest.approx(100 * foreground.mean())
    assert score.judgeable_percent == 100
    assert score.field_area_mm2 == pytest.approx(700 * 640 * 1.24**2 / 1e6)
    table = np.load(task.objects_path)
    assert len(table) == score.n_objects == labels.max()
    assert table["area_px"].sum() == foreground.sum()
    assert meta.factor == 1
    assert score.image_sha256 == content_sha256(task.source)


def test_a_black_frame_changes_nothing_but_the_judged_area(out, spindles):
    plain = score_field(task_for(out, spindles))
    framed = cv2.copyMakeBorder(spindles, 60, 60, 60, 60, cv2.BORDER_CONSTANT, value=0)
    score = score_field(task_for(out, framed))
    assert score.judgeable_percent == pytest.approx(100 * spindles.size / framed.size, abs=6)
    assert score.confluency_percent == pytest.approx(plain.confluency_percent, abs=1.5)


def test_without_a_pixel_size_there_is_a_confluency_but_no_area(out, spindles):
    score = score_field(task_for(out, spindles, pixel_size_um=None))
    assert score.status == "scored"
    assert score.field_area_mm2 is None
    assert score.pixel_size_um is None
    assert any("No pixel size is known" in note for note in score.notes)


def test_the_raw_image_is_not_touched(out, spindles):
    task = task_for(out, spindles)
    before = task.source.read_bytes(), task.source.stat().st_mtime_ns
    score_field(task)
    assert (task.source.read_bytes(), task.source.stat().st_mtime_ns) == before


def defocused(image):
    return cv2.GaussianBlur(image, (0, 0), 7)


@pytest.mark.parametrize(
    ("spoil", "row", "status", "reason"),
    [
        (lambda image: np.full_like(image, 700), {}, "failed", "all 448000 pixels have the same value"),
        (lambda image: image[:40, :40], {}, "failed", "only 40 x 40 pixels; at least 64"),
        (lambda image: image, {"sha256": "0" * 64}, "failed", "sha256 differs from the manifest"),
        (lambda image: np.where(image > 0, np.float32(np.nan), 0), {}, "failed", "NaN"),
        (lambda image: image % 3, {}, "rejected", "dark"),
        (defocused, {}, "rejected", "focus"),
    ],
    ids=["one value", "tiny", "changed since the manifest", "NaN", "black", "blurred"],
)
def test_what_cannot_be_measured_has_a_reason_and_no_confluency(out, spindles, spoil, row, status, reason):
    task = task_for(out, spoil(spindles), **row)
    score = score_field(task)
    assert score.status == status
    assert reason in score.reason
    assert score.confluency_percent is None
    assert not task.labels_path.exists()
    assert not task.objects_path.exists()


def test_file_and_manifest_that_disagree_on_the_pixel_size_fail(out, spindles):
    path = out / "field.ome.tif"
    tifffile.imwrite(path, spindles, ome=True, metadata={"axes": "YX", "PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65})
    task = replace(task_for(out, spindles), source=path)
    assert "pixel size is 1.24 µm in the manifest but 0.65 µm in the file" in score_field(task).reason


def test_a_missing_file_is_named(out, spindles):
    task = replace(task_for(out, spindles), source=out / "gone.tif")
    score = score_field(task)
    assert score.status == "failed"
    assert "gone.tif" in score.reason


def test_a_half_copied_store_is_not_bare_surface(out, spindles):
    store = out / "field.ome.zarr"
    root = zarr.open_group(store, mode="w", zarr_format=3)
    array = root.create_array("0", shape=spindles.shape, chunks=(350, 320), dtype="u2")
    array[:] = spindles
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
    scale = [{"type": "scale", "scale": [1.24, 1.24]}]
    levels = [{"path": "0", "coordinateTransformations": scale}]
    root.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": levels, "name": "f"}]}
    task = replace(task_for(out, spindles), source=store)
    assert score_field(task).status == "scored"
    next((store / "0").rglob("c/1/1")).unlink()
    score = score_field(task)
    assert score.status == "failed"
    assert "25 % of its chunks have no file" in score.reason


@pytest.mark.parametrize("tile_px", [1024, 2048, 3072])
def test_tiled_equals_whole(out, tile_px):
    image = np.tile(draw_field(np.random.default_rng(12), 30, shape=(830, 770))[0], (3, 3))
    task = task_for(out, image)
    whole = score_field(task)
    labels = read_labels(task.labels_path)[1]
    objects = task.objects_path.read_bytes()
    with ThreadPoolExecutor(2) as pool:
        tiled = score_field(replace(task, tiling=Tiling(whole_px=1, tile_px=tile_px)), tile_map=pool.map)
    assert tiled == whole
    np.testing.assert_array_equal(read_labels(task.labels_path)[1], labels)
    assert task.objects_path.read_bytes() == objects


def test_tiled_equals_whole_where_only_a_part_is_judged(out):
    image = np.tile(draw_field(np.random.default_rng(12), 30, shape=(620, 550))[0], (2, 2))
    task = task_for(out, cv2.copyMakeBorder(image, 90, 60, 70, 40, cv2.BORDER_CONSTANT, value=0))
    whole = score_field(task)
    judgeable = read_judgeable(task.labels_path)
    assert 50 < whole.judgeable_percent < 95
    assert whole.judgeable_percent == pytest.approx(100 * judgeable.mean())
    assert not judgeable[:80].any()
    assert is_within_judgeable(task.labels_path)
    assert score_field(replace(task, tiling=Tiling(whole_px=1, tile_px=1024))) == whole
    np.testing.assert_array_equal(read_judgeable(task.labels_path), judgeable)


def test_tiled_float_image_equals_whole(out):
    image = np.tile(draw_field(np.random.default_rng(13), 15, shape=(650, 560))[0], (2, 2)).astype(np.float32) / 7e4
    task = task_for(out, image)
    assert score_field(replace(task, tiling=Tiling(whole_px=1, tile_px=1024))) == score_field(task)


def test_tiled_float_image_with_nan_fails(out, spindles):
    image = spindles.astype(np.float32)
    image[300, 300] = np.nan
    score = score_field(replace(task_for(out, image), tiling=Tiling(whole_px=1, tile_px=1024)))
    assert score.status == "failed"
    assert "NaN" in score.reason


def test_tiles_that_do_not_fit_the_label_chunks_are_refused():
    with pytest.raises(InvalidArgumentError, match="no multiple of 1024"):
        Tiling(tile_px=1000)


def test_a_result_that_cannot_be_written_is_the_runs_problem(out, spindles):
    task = replace(task_for(out, spindles), labels_path=out / "nowhere" / "x.ome.zarr")
    with pytest.raises(OutputError, match="nowhere"):
        score_field(task)


# --- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped_pipelines())
def test_shipped_recipes_load(name):
    assert load_pipeline(name).name == name


def test_a_recipe_of_ones_own_states_only_what_differs(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: contrast\nname: mine\ncontrast:\n  debris_um2: 90\n", encoding="utf-8")
    mine, base = load_pipeline(path), load_pipeline("contrast")
    assert mine.contrast.debris_um2 == 90
    assert mine.contrast.window_um == base.contrast.window_um
    assert mine.sha256 != base.sha256


def test_the_description_does_not_change_the_hash():
    base = load_pipeline("contrast")
    assert base.model_copy(update={"description": "other words"}).sha256 == base.sha256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: contrast\ncontrast:\n  debris: 90\n", "contrast.debris: Extra inputs are not permitted"),
        ("extends: contrast\ncontrast:\n  window_um: -1\n", "contrast.window_um: Input should be greater than 0"),
        ("name: [", "is no YAML"),
        ("- 1\n", "holds no settings"),
    ],
    ids=["unknown key", "out of range", "no YAML", "a list"],
)
def test_a_bad_recipe_is_said_in_one_line(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match=r"Recipe .*bad\.yaml") as caught:
        load_pipeline(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_shipped_recipe_states_every_setting_with_its_reason():
    text = resource_path("pipelines/contrast.yaml").read_text(encoding="utf-8")
    assert text == recipe_text(load_pipeline("contrast"))
    assert "None" not in text


def test_a_recipe_written_out_reads_back_the_same(tmp_path):
    path = tmp_path / "copy.yaml"
    path.write_text(recipe_text(load_pipeline("default")), encoding="utf-8")
    assert load_pipeline(path).sha256 == load_pipeline("default").sha256


def test_an_unknown_recipe_lists_what_there_is():
    with pytest.raises(InvalidArgumentError, match="No recipe 'contrst': give a YAML file or one of contrast, default"):
        load_pipeline("contrst")
