"""Corrected masks measured as a run measures a field: the same masks give the same figures, others sound ones."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from batch_cases import cell_image
from msc_vision.batch.describe import AGGREGATE, CELL
from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.remeasure import measure_masks, quick_score, second_look
from msc_vision.errors import InvalidArgumentError, InvalidDataError, UndefinedResultError
from msc_vision.io.labels import read_aggregates, read_judgeable, read_labels
from msc_vision.records import ManifestRow, Region
from msc_vision.review.masks import FieldMasks
from msc_vision.segmentation.objects import compact_labels, label_pieces, tile_parts


def scored(folder, pipeline, **columns):
    """Score one drawn field, and return how, its score, its masks and its table of objects."""
    image = folder / "field.tif"
    tifffile.imwrite(image, cell_image(3, 320))
    row = ManifestRow("field.tif", "V1", "t-75", 1, pixel_size_um=1.24, modality="phase contrast", **columns)
    labels, objects = folder / "field.ome.zarr", folder / "field.npy"
    task = FieldTask("field", image, row, load_pipeline(pipeline), labels, objects)
    score = score_field(task)
    assert score.status == "scored", score.reason
    foreground, cells, _ = read_labels(labels)
    masks = FieldMasks(foreground, cells, read_judgeable(labels), read_aggregates(labels))
    return task, score, masks, np.load(objects)


@pytest.fixture(scope="module", params=["default", "contrast"])
def case(request, tmp_path_factory):
    task, score, masks, objects = scored(tmp_path_factory.mktemp("field"), request.param)
    return second_look(task), score, masks, objects


@pytest.fixture(scope="module")
def networked(tmp_path_factory):
    task, score, masks, objects = scored(tmp_path_factory.mktemp("field"), "default")
    return second_look(task), score, masks, objects


def same_rows(one, other):
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


def test_masks_that_nobody_edited_give_the_score_and_the_objects_of_the_run(case):
    look, score, masks, objects = case
    again, table = measure_masks(look, score, masks)
    assert again == score
    assert same_rows(table, objects)
    assert quick_score(score, masks) == score


def test_quick_figures_are_those_of_the_measurement(case):
    look, score, masks, _ = case
    after = masks.copy()
    after.foreground[:40] = True
    after.cells[40:80] = 0
    after.foreground[40:80] = False
    after.judgeable[-30:] = False
    quick, (full, _) = quick_score(score, after), measure_masks(look, score, after)
    for name in ("confluency_percent", "judgeable_percent", "judgeable_area_mm2", "n_objects"):
        assert getattr(quick, name) == getattr(full, name)
    for name in ("n_aggregates", "n_counted", "aggregates_per_cm2", "aggregate_area_percent"):
        assert quick.findings.get(name) == pytest.approx(full.findings.get(name))
    assert quick.morphology.get("density_per_cm2") == pytest.approx(full.morphology.get("density_per_cm2"))


def test_a_cell_that_is_erased_is_gone_from_the_table_and_the_others_keep_their_numbers(case):
    look, score, masks, objects = case
    victim = int(masks.cells.max()) // 2
    after = masks.copy()
    after.foreground[after.cells == victim] = False
    after.cells[after.cells == victim] = 0
    again, table = measure_masks(look, score, after)
    before = objects["label"] if "kind" not in objects.dtype.names else objects["label"][objects["kind"] == CELL]
    now = table["label"] if "kind" not in table.dtype.names else table["label"][table["kind"] == CELL]
    assert sorted({*before} - {*now}) == [victim]
    assert again.confluency_percent < score.confluency_percent


def test_cover_that_is_no_cell_counts_as_covered(case):
    look, score, masks, objects = case
    after = masks.copy()
    after.foreground[:] = True
    again, table = measure_masks(look, score, after)
    assert again.confluency_percent == 100.0
    assert len(table) == len(objects)


def test_painted_aggregates_are_taken_as_drawn(networked):
    look, score, masks, _ = networked
    after = masks.copy()
    after.aggregates[:] = 0
    after.aggregates[100:150, 100:150] = 7
    after.aggregates[100:150, 150:190] = 3  # it touches the other, and is one of its own
    again, table = measure_masks(look, score, after)
    piled = table[table["kind"] == AGGREGATE]
    assert piled["label"].tolist() == [3, 7]
    assert piled["area_px"].tolist() == [50 * 40, 50 * 50]
    assert again.findings["n_aggregates"] == 2
    assert np.isfinite(piled["circularity"]).all()
    assert table["in_aggregate"][table["kind"] == CELL].any() == (masks.cells[100:150, 100:190] > 0).any()


def test_what_is_not_judgeable_is_left_out(networked):
    look, score, masks, _ = networked
    after = masks.copy()
    after.judgeable[:160] = False
    again, table = measure_masks(look, score, after)
    assert again.judgeable_percent == 100 * after.judgeable.mean()
    assert (table["y1_px"][table["kind"] == CELL] > 160).all()


def test_a_field_that_the_run_rejected_gets_a_full_score(networked):
    look, score, masks, _ = networked
    rejected = replace(
        score, status="rejected", reason="out of focus", confluency_percent=None, judgeable_percent=None,
        field_area_mm2=None, judgeable_area_mm2=None, n_objects=None, morphology={}, findings={}, contamination=None,
    )  # fmt: skip
    again, _ = measure_masks(look, rejected, masks)
    assert (again.status, again.reason, again.confluency_percent) == ("scored", None, score.confluency_percent)
    assert again.morphology == score.morphology


def test_a_field_that_failed_gets_a_full_score(networked):
    look, score, masks, _ = networked
    from msc_vision.records import FieldScore

    again, _ = measure_masks(look, FieldScore("field", "field.tif", "failed", "a dead worker"), masks)
    assert (again.status, again.height_px, again.pixel_size_um) == ("scored", 320, 1.24)
    assert again.image_sha256 == score.image_sha256
    assert again.confluency_percent == score.confluency_percent


def test_another_image_is_refused(networked):
    look, score, masks, _ = networked
    with pytest.raises(InvalidDataError, match="it is not the image that was scored"):
        measure_masks(look, replace(score, image_sha256="0" * 64), masks)


def test_masks_of_another_field_are_refused(networked):
    look, score, masks, _ = networked
    smaller = FieldMasks(*(masks.of(kind)[:10] for kind in ("foreground", "cells", "judgeable", "aggregates")))
    with pytest.raises(InvalidArgumentError, match=r"Masks of \(10, 320\) are not of a field of \(320, 320\)"):
        measure_masks(look, score, smaller)


def test_nothing_judgeable_is_no_empty_field(case):
    look, score, masks, _ = case
    after = masks.copy()
    after.judgeable[:] = False
    with pytest.raises(UndefinedResultError, match="Nothing of the field is judgeable"):
        measure_masks(look, score, after)


def test_another_network_than_that_of_the_run_is_refused(networked):
    look, *_ = networked
    network = look.task.pipeline.network.model_copy(update={"model_sha256": "0" * 64})
    task = replace(look.task, pipeline=look.task.pipeline.model_copy(update={"network": network}))
    with pytest.raises(InvalidDataError, match="here is another one"):
        second_look(task)


# --- pieces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_pieces_by_label_are_those_of_connected_parts(seed):
    mask = (np.random.default_rng(seed).random((30, 41)) < 0.3).astype(np.uint8)
    parts, local = tile_parts(mask, Region(0, 30, 0, 41), 41)
    found = label_pieces(local)
    for name in ("area", "sum_y", "sum_x", "box", "first"):
        np.testing.assert_array_equal(getattr(found, name), getattr(parts, name))


def test_no_labels_are_no_pieces():
    found = label_pieces(np.zeros((4, 5), np.int32))
    assert found.area.size == 0
    assert found.box.shape == (0, 4)


def test_labels_with_gaps_are_closed_up_and_remembered():
    labels = np.array([[0, 9, 9], [4, 0, 120]], np.int32)
    compact, known = compact_labels(labels)
    assert known.tolist() == [4, 9, 120]
    assert compact.tolist() == [[0, 2, 2], [1, 0, 3]]
    assert (known[compact[labels > 0] - 1] == labels[labels > 0]).all()
