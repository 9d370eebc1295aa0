"""Corrections by hand: strokes that split, join and remove cells, and what they mean for the other masks of a field."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError, UndefinedResultError
from msc_vision.review.edits import (
    add_aggregate,
    delete_aggregate,
    delete_cell,
    fill_cell,
    label_at,
    mark_judgeable,
    mark_not_judgeable,
    merge_cells,
    settled,
    split_cells,
)
from msc_vision.review.masks import FieldMasks, empty_masks
from msc_vision.segmentation.edits import (
    box_of,
    merge_by_stroke,
    new_label,
    outlined,
    split_by_stroke,
    stroke_pixels,
)

SIDE = 48


@st.composite
def fields(draw):
    """Cells as rectangles in the squares of a 3 x 3 board, 16 pixels each; some squares are empty, some cells touch."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    numbers = draw(st.permutations(range(1, 20)))
    for square, number in zip(range(9), numbers, strict=False):
        if draw(st.booleans()):
            y, x = 16 * (square // 3), 16 * (square % 3)
            height, width = draw(st.integers(8, 16)), draw(st.integers(8, 16))
            labels[y : y + height, x : x + width] = number
    return labels


def crossing(labels, number, share):
    """A stroke down through a cell, from beside it to beside it."""
    box = box_of(labels, number)
    x = box.x0 + 1 + round(share * (box.x1 - box.x0 - 3))
    return [(box.y0 - 2, x), (box.y1 + 1, x)]


def flooded(mask):
    """The parts of a mask, side by side pixels only, by looking at each pixel: slow and plain."""
    parts, left = [], {tuple(pixel) for pixel in np.argwhere(mask).tolist()}
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            for beside in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if beside in left:
                    left.remove(beside)
                    edge.append(beside)
        parts.append(part)
    return parts


# --- split and merge -------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(fields(), st.data())
def test_what_a_stroke_splits_a_stroke_joins_again(labels, data):
    numbers = np.unique(labels[labels > 0]).tolist()
    if not numbers:
        return
    number = data.draw(st.sampled_from(numbers))
    stroke = crossing(labels, number, data.draw(st.floats(0, 1)))
    crossed = sorted({int(one) for one in labels[stroke_pixels(stroke, labels.shape)]} - {0})
    split = split_by_stroke(labels, stroke, crumb_px=1)
    assert split.labels.dtype == np.int32
    for one in set(numbers) - set(crossed):
        np.testing.assert_array_equal(split.labels == one, labels == one)
    np.testing.assert_array_equal(split.labels > 0, labels > 0)
    fresh = sorted(set(split.numbers) - set(numbers))
    assert len(np.unique(split.labels)) == len(np.unique(labels)) + len(fresh)
    pieces = [one for one in split.numbers if np.isin(labels[split.labels == one], number).all()]
    assert pieces[0] == number
    across = [np.argwhere(split.labels == one)[0].tolist() for one in pieces]
    joined = merge_by_stroke(split.labels, across)
    np.testing.assert_array_equal(joined.labels == joined.numbers[0], labels == number)


@settings(max_examples=60, deadline=None)
@given(fields(), st.lists(st.tuples(st.floats(-4, 52), st.floats(-4, 52)), min_size=2, max_size=5))
def test_a_split_leaves_the_parts_that_flooding_finds(labels, stroke):
    line = np.zeros(labels.shape, bool)
    line[stroke_pixels(stroke, labels.shape)] = True
    expected = {
        int(number): [part for part in flooded((labels == number) & ~line) if len(part) >= 4]
        for number in np.unique(labels[line])
        if number
    }
    cut = {number: parts for number, parts in expected.items() if len(parts) > 1}
    if not cut:
        with pytest.raises(UndefinedResultError):
            split_by_stroke(labels, stroke, crumb_px=4)
        return
    edited = split_by_stroke(labels, stroke, crumb_px=4).labels
    for number, parts in cut.items():
        found = [{int(edited[pixel]) for pixel in part} for part in parts]
        assert all(len(one) == 1 for one in found)
        assert len(set.union(*found)) == len(parts)
        largest = max(len(part) for part in parts)
        keeper = next(part for part, one in zip(parts, found, strict=True) if one == {number})
        assert len(keeper) == largest
    untouched = ~np.isin(labels, list(cut))
    np.testing.assert_array_equal(edited[untouched], labels[untouched])
    np.testing.assert_array_equal(edited > 0, labels > 0)


def test_a_cell_of_two_touching_ones_becomes_two():
    """1 1 1 | 1 1: the stroke between them; the larger part keeps the number."""
    labels = np.zeros((20, 30), np.int32)
    labels[5:15, 5:25] = 7
    edited = split_by_stroke(labels, [(0, 17), (19, 17)])
    assert edited.numbers == (7, 8)
    assert (edited.labels == 7).sum() > (edited.labels == 8).sum() > 60
    assert (edited.labels > 0).sum() == 200


def test_crumbs_stay_with_the_piece_beside_them():
    labels = np.zeros((20, 30), np.int32)
    labels[5:15, 5:25] = 1
    zigzag = [(0, 14), (7, 14), (7, 17), (5, 16), (5, 14), (12, 14), (19, 14)]
    edited = split_by_stroke(labels, zigzag)
    assert sorted(np.unique(edited.labels)) == [0, 1, 2]


def test_a_loop_drawn_on_the_way_leaves_each_piece_in_one_part():
    """The line bends back into the smaller piece: what it encloses there belongs to the smaller piece."""
    labels = np.zeros((40, 60), np.int32)
    labels[5:35, 5:55] = 1
    loop = [(0, 35), (20, 35), (20, 44), (24, 44), (24, 41), (20, 41), (20, 35), (39, 35)]
    edited = split_by_stroke(labels, loop)
    assert edited.numbers == (1, 2)
    assert len(flooded(edited.labels == 1)) == 1
    assert len(flooded(edited.labels == 2)) == 1
    assert (edited.labels[20:25, 41:45] == 2).all()


@pytest.mark.parametrize(
    ("stroke", "said"),
    [
        ([(10, 2), (10, 12)], "does not cut through"),
        ([(1, 1), (1, 28)], "touches no cell"),
        ([(5, 5.4), (5, 6)], "does not cut through"),
    ],
    ids=["ends inside", "beside", "a corner"],
)
def test_a_stroke_that_splits_nothing_says_so(stroke, said):
    labels = np.zeros((20, 30), np.int32)
    labels[5:15, 5:25] = 1
    with pytest.raises(UndefinedResultError, match=said):
        split_by_stroke(labels, stroke)


def test_an_island_of_a_cell_that_the_stroke_does_not_touch_stays_with_it():
    labels = np.zeros((20, 40), np.int32)
    labels[5:15, 5:25] = 1
    labels[5:15, 32:38] = 1
    edited = split_by_stroke(labels, [(0, 10), (19, 10)]).labels
    assert (edited[5:15, 32:38] == 1).all()


def test_joining_fills_the_gap_within_the_width_of_the_bridge_and_nothing_at_the_ends():
    """1 1 . . 2 2 . . 3 3: a stroke from beside 1 into 2; 3 is not touched."""
    labels = np.zeros((21, 40), np.int32)
    labels[5:16, 5:12], labels[5:16, 16:26], labels[5:16, 32:38] = 1, 2, 3
    edited = merge_by_stroke(labels, [(10, 1), (10, 20)], bridge_px=5)
    assert edited.numbers == (2,)
    filled = (edited.labels == 2) & (labels == 0)
    assert filled[8:13, 12:16].all()
    assert filled.sum() == 20
    np.testing.assert_array_equal(edited.labels == 3, labels == 3)


def test_the_gap_to_a_third_cell_is_not_filled():
    labels = np.zeros((21, 40), np.int32)
    labels[5:16, 5:12], labels[5:16, 12:20], labels[5:16, 24:30] = 1, 2, 3
    edited = merge_by_stroke(labels, [(10, 8), (10, 22)])
    np.testing.assert_array_equal(edited.labels > 0, labels > 0)


@pytest.mark.parametrize(
    ("stroke", "said"), [([(10, 6), (10, 8)], "one cell only"), ([(0, 0), (0, 20)], "no cell")], ids=["one", "none"]
)
def test_a_stroke_that_joins_nothing_says_so(stroke, said):
    labels = np.zeros((20, 30), np.int32)
    labels[5:15, 5:25] = 1
    with pytest.raises(UndefinedResultError, match=said):
        merge_by_stroke(labels, stroke)


def test_strokes_and_labels_of_another_kind_are_refused():
    labels = np.zeros((20, 30), np.int32)
    with pytest.raises(InvalidArgumentError, match="int32"):
        split_by_stroke(labels.astype(np.uint8), [(0, 0), (1, 1)])
    with pytest.raises(InvalidArgumentError, match="line of points"):
        split_by_stroke(labels, [])
    with pytest.raises(InvalidArgumentError, match="beyond the field"):
        stroke_pixels([(0, 0), (1e5, 1e5)], labels.shape)
    with pytest.raises(InvalidArgumentError, match="three points"):
        outlined([(0, 0), (1, 1)], labels.shape)
    with pytest.raises(InvalidArgumentError, match="outside the field"):
        outlined([(50, 50), (60, 60), (50, 60)], labels.shape)


# --- what it means for the other masks -------------------------------------------------------------------------------


def masks_of(labels):
    return replace(empty_masks(labels.shape), cells=labels, foreground=labels > 0)


@settings(max_examples=60, deadline=None)
@given(fields(), st.data())
def test_after_any_brush_stroke_cells_lie_within_the_foreground(labels, data):
    before = masks_of(labels)
    y, x = data.draw(st.integers(0, SIDE - 9)), data.draw(st.integers(0, SIDE - 9))
    brush = np.s_[y : y + 9, x : x + 9]
    what = data.draw(st.sampled_from(["cell", "erase cell", "foreground", "bare"]))
    painted = before.copy()
    if "cell" in what:
        painted.cells[brush] = 0 if what == "erase cell" else 30
    else:
        painted.foreground[brush] = what == "foreground"
    after = settled(before, painted)
    assert not ((after.cells != 0) & ~after.foreground).any()
    outside = np.ones(labels.shape, bool)
    outside[brush] = False
    for kind in ("cells", "foreground", "judgeable", "aggregates"):
        np.testing.assert_array_equal(after.of(kind)[outside], before.of(kind)[outside])
    if what == "cell":
        assert (after.cells[brush] == 30).all()
    if what == "erase cell":
        np.testing.assert_array_equal(after.foreground, before.foreground)
    if what == "foreground":
        np.testing.assert_array_equal(after.cells, before.cells)
    if what == "bare":
        assert not after.cells[brush].any() and not after.foreground[brush].any()


def test_where_one_stroke_paints_a_cell_and_bares_the_surface_the_cell_stays():
    labels = np.zeros((20, 30), np.int32)
    labels[2:8, 2:8] = 1
    painted = masks_of(labels).copy()
    painted.cells[2:8, 2:8], painted.foreground[:] = 2, False
    after = settled(masks_of(labels), painted)
    np.testing.assert_array_equal(after.cells == 2, labels == 1)
    np.testing.assert_array_equal(after.foreground, labels == 1)


def test_deleting_a_cell_takes_its_foreground_and_no_other():
    labels = np.zeros((20, 30), np.int32)
    labels[2:8, 2:8], labels[2:8, 8:14] = 1, 2
    after = delete_cell(masks_of(labels), 1)
    assert np.unique(after.cells).tolist() == [0, 2]
    np.testing.assert_array_equal(after.foreground, labels == 2)
    with pytest.raises(UndefinedResultError, match="no cell 9"):
        delete_cell(after, 9)


def test_filling_leaves_a_cell_within_a_hole():
    labels = np.zeros((20, 20), np.int32)
    labels[2:18, 2:18] = 1
    labels[5:15, 5:15] = 0
    labels[8:10, 8:10] = 2
    after = fill_cell(masks_of(labels), 1)
    assert (after.cells == 2).sum() == 4
    assert (after.cells == 1).sum() == 16 * 16 - 4
    assert after.foreground[2:18, 2:18].all()
    with pytest.raises(UndefinedResultError, match="no hole"):
        fill_cell(after, 1)


def test_splitting_and_joining_keep_to_the_foreground():
    labels = np.zeros((21, 40), np.int32)
    labels[5:16, 5:12], labels[5:16, 16:26] = 1, 2
    masks = merge_cells(masks_of(labels), [(10, 8), (10, 20)])
    np.testing.assert_array_equal(masks.foreground, masks.cells > 0)
    after = split_cells(masks, [(0, 20), (20, 20)])
    np.testing.assert_array_equal(after.foreground, masks.foreground)


def test_what_cannot_be_judged_keeps_its_cells():
    labels = np.ones((20, 20), np.int32)
    area = outlined([(0, 0), (0, 9), (9, 9), (9, 0)], labels.shape)
    masks = masks_of(labels)
    after = mark_not_judgeable(masks, area)
    assert after.judgeable.sum() == 300
    assert after.cells.all()
    assert mark_judgeable(after, area).sha256 == masks.sha256
    with pytest.raises(InvalidArgumentError, match="bool array"):
        mark_not_judgeable(masks, area.astype(np.uint8))


def test_aggregates_are_drawn_around_and_deleted():
    masks = add_aggregate(empty_masks((30, 30)), [(2, 2), (2, 12), (12, 12), (12, 2)])
    more = add_aggregate(masks, [(8, 8), (8, 20), (20, 20), (20, 8)])
    assert np.unique(more.aggregates).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(more.aggregates == 1, masks.aggregates == 1)
    assert delete_aggregate(more, 2).sha256 == masks.sha256
    with pytest.raises(UndefinedResultError, match="aggregate already"):
        add_aggregate(masks, [(4, 4), (4, 8), (8, 8)])
    with pytest.raises(UndefinedResultError, match="no aggregate here"):
        delete_aggregate(masks, 5)


def test_numbers_and_pixels_are_looked_up():
    labels = np.zeros((5, 5), np.int32)
    assert new_label(labels) == 1
    labels[2, 3] = 6
    assert new_label(labels) == 7
    assert label_at(labels, (2.3, 2.6)) == 6
    assert label_at(labels, (-2, 3)) == 0
    assert box_of(labels, 5) is None


def test_masks_of_two_fields_are_not_one_stroke():
    with pytest.raises(InvalidArgumentError, match="not of one field"):
        settled(empty_masks((5, 5)), FieldMasks(*(one.copy() for one in _arrays((6, 6)))))


def _arrays(shape):
    masks = empty_masks(shape)
    return masks.foreground, masks.cells, masks.judgeable, masks.aggregates
