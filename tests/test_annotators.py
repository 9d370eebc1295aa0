"""Two people and one field: what they agree on, counted in two ways."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from msc_vision.errors import InvalidArgumentError, UndefinedResultError
from msc_vision.statistics.annotators import (
    BOTH,
    NOT_COMPARED,
    ONLY_FIRST,
    ONLY_SECOND,
    Annotation,
    compare_annotations,
    difference_labels,
)
from msc_vision.statistics.validation import average_precision, matched_cells

LABELS = arrays(np.int32, (9, 11), elements=st.integers(0, 4))


def annotated(cells, judgeable=None):
    cells = np.asarray(cells, np.int32)
    return Annotation(cells > 0, cells, np.ones(cells.shape, bool) if judgeable is None else judgeable)


def two_people():
    """Two cells of 10 px by both, one by the first alone, and 4 px more on the second cell by the second.

    first  11111.....22222      second  77777.....88888
           11111.....22222              77777.....88888
           ..33...........              ..........8888.
    """
    first, second = np.zeros((3, 15), np.int32), np.zeros((3, 15), np.int32)
    first[:2, :5], first[:2, 10:], first[2, 2:4] = 1, 2, 3
    second[:2, :5], second[:2, 10:], second[2, 10:14] = 7, 8, 8
    return annotated(first), annotated(second)


def test_cells_are_counted_matched_and_named():
    found = compare_annotations(*two_people())
    assert (found.n_first, found.n_second, found.n_both) == (3, 2, 2)
    assert (found.only_first, found.only_second) == ((3,), ())
    assert found.ap50 == pytest.approx(2 / 3)
    assert found.dice == pytest.approx(2 * 20 / (22 + 24))
    assert found.difference_points == pytest.approx(100 * 2 / 45)


def test_the_picture_of_differences_says_who_drew_what():
    seen = difference_labels(*two_people())
    assert [int((seen == value).sum()) for value in (ONLY_FIRST, ONLY_SECOND, BOTH)] == [2, 4, 20]


def test_what_one_of_them_calls_not_judgeable_is_not_compared():
    first, second = two_people()
    judgeable = np.ones((3, 15), bool)
    judgeable[2] = False
    hidden = annotated(second.cells, judgeable)
    found = compare_annotations(first, hidden)
    assert (found.dice, found.only_first, found.only_second) == (1.0, (), ())
    assert found.compared_percent == pytest.approx(100 * 2 / 3)
    assert (difference_labels(first, hidden)[2] == NOT_COMPARED).all()


def test_fields_of_two_sizes_are_refused():
    with pytest.raises(InvalidArgumentError, match="not of one field"):
        compare_annotations(annotated(np.zeros((3, 4))), annotated(np.zeros((4, 3))))


def test_nothing_judgeable_has_no_agreement():
    nothing = annotated(np.zeros((3, 4)), np.zeros((3, 4), bool))
    with pytest.raises(UndefinedResultError):
        compare_annotations(nothing, nothing)


@settings(max_examples=40)
@given(LABELS, LABELS)
def test_matches_agree_with_a_slow_count(first, second):
    overlaps = {}
    for a in range(1, 5):
        for b in range(1, 5):
            either = ((first == a) | (second == b)).sum()
            if either:
                overlaps[a, b] = ((first == a) & (second == b)).sum() / either
    above = {pair for pair, iou in overlaps.items() if iou > 0.5}  # above one half a match is unique
    found = matched_cells(first, second)
    assert above <= set(found)
    assert all(overlaps[pair] >= 0.5 for pair in found)
    assert all(a < b for (a, _), (b, _) in pairwise(found))
    n_first, n_second = len(np.unique(first[first > 0])), len(np.unique(second[second > 0]))
    if n_first or n_second:
        assert len(found) / (n_first + n_second - len(found)) == pytest.approx(average_precision(first, second)[0])


@settings(max_examples=40)
@given(LABELS, LABELS)
def test_who_comes_first_changes_nothing_but_the_sides(first, second):
    one, other = (compare_annotations(annotated(a), annotated(b)) for a, b in ((first, second), (second, first)))
    assert one.dice == pytest.approx(other.dice)
    assert one.difference_points == pytest.approx(-other.difference_points)
    assert len(one.only_first) + one.n_both == one.n_first
    assert len(one.only_second) + one.n_both == one.n_second


def test_two_halves_of_one_cell_are_not_both_that_cell():
    halves, whole = np.array([[1, 1, 2, 2]]), np.array([[5, 5, 5, 5]])
    assert matched_cells(halves, whole) == ((1, 5),)
    assert matched_cells(whole, halves) == ((5, 1),)
