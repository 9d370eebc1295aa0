"""Objects of a mask: numbered alike however the field is cut, against a slow and obvious labelling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from msc_vision.records import Region
from msc_vision.segmentation.objects import join_parts, label_parts, tile_parts

masks = hnp.arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24)), elements=st.integers(0, 1))


def obvious_labels(mask):
    """Label with scipy and number by the first pixel in reading order."""
    labels, n = ndimage.label(mask, np.ones((3, 3)))
    order = sorted(range(1, n + 1), key=lambda i: np.flatnonzero(labels.ravel() == i)[0])
    renumbered = np.zeros_like(labels)
    for new, old in enumerate(order, start=1):
        renumbered[labels == old] = new
    return renumbered


def cut_and_joined(mask, step_y, step_x, factor=1, pixel_size_um=None):
    height, width = mask.shape
    regions = [
        Region(y, min(y + step_y, height), x, min(x + step_x, width))
        for y in range(0, height, step_y)
        for x in range(0, width, step_x)
    ]
    found = [tile_parts(np.ascontiguousarray(mask[r.y0 : r.y1, r.x0 : r.x1]), r, width) for r in regions]
    native = height * factor, width * factor
    objects = join_parts([parts for parts, _ in found], mask.shape, factor, native, pixel_size_um)
    labels = np.zeros(mask.shape, np.int32)
    for region, lookup, (_, local) in zip(regions, objects.lookups, found, strict=True):
        labels[region.y0 : region.y1, region.x0 : region.x1] = lookup[local]
    return labels, objects.table


@settings(deadline=None)
@given(masks, st.integers(1, 24), st.integers(1, 24))
def test_labels_are_those_of_the_whole_field_for_any_tiles(mask, step_y, step_x):
    labels, _ = cut_and_joined(mask, step_y, step_x)
    np.testing.assert_array_equal(labels, obvious_labels(mask))


@settings(deadline=None)
@given(masks, st.integers(1, 24), st.integers(1, 24))
def test_table_is_that_of_the_whole_field_for_any_tiles(mask, step_y, step_x):
    _, whole = cut_and_joined(mask, *mask.shape)
    _, table = cut_and_joined(mask, step_y, step_x)
    assert table.tobytes() == whole.tobytes()


@settings(deadline=None)
@given(masks)
def test_table_says_what_an_obvious_count_says(mask):
    _, table = cut_and_joined(mask, *mask.shape, factor=2, pixel_size_um=0.5)
    labels = obvious_labels(mask)
    for row in table:
        ys, xs = np.nonzero(labels == row["label"])
        assert row["area_px"] == ys.size
        assert row["area_um2"] == pytest.approx(ys.size * 1.0)
        assert row["centroid_y_px"] == pytest.approx(2 * ys.mean() + 0.5)
        assert row["centroid_x_px"] == pytest.approx(2 * xs.mean() + 0.5)
        assert (row["y0_px"], row["y1_px"]) == (2 * ys.min(), 2 * ys.max() + 2)
        assert (row["x0_px"], row["x1_px"]) == (2 * xs.min(), 2 * xs.max() + 2)
        at_border = ys.min() == 0 or xs.min() == 0 or ys.max() + 1 == mask.shape[0] or xs.max() + 1 == mask.shape[1]
        assert row["touches_border"] == at_border


def test_empty_mask_has_no_object():
    labels, table = cut_and_joined(np.zeros((5, 7), np.uint8), 2, 3)
    assert len(table) == 0
    assert not labels.any()


def test_area_is_nan_without_a_pixel_size():
    _, table = cut_and_joined(np.ones((4, 4), np.uint8), 4, 4)
    assert np.isnan(table["area_um2"]).all()


def test_label_parts_and_tile_parts_number_alike():
    mask = (np.random.default_rng(0).random((60, 70)) > 0.6).astype(np.uint8)
    np.testing.assert_array_equal(label_parts(mask), tile_parts(mask, Region(0, 60, 0, 70), 70)[1])
