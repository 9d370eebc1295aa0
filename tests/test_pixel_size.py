"""The size of a pixel that nobody stated: taken from how large the network finds the cells at several sizes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msc_vision.batch.network_field import log_size

TRIED = tuple(math.log(ratio) for ratio in (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8))


@given(st.floats(-1.0, 1.0), st.floats(0.3, 1.0))
def test_a_guess_that_only_shrinks_with_distance_still_finds_the_right_size(right, trust):
    guesses = {tried: trust * (right - tried) for tried in TRIED}
    assert log_size(guesses) == pytest.approx(right, abs=1e-9)


def test_of_two_crossings_the_one_nearest_to_the_assumed_size_counts():
    guesses = dict(zip(TRIED, (0.4, -0.2, 0.3, 0.1, -0.1, 0.2, -0.3), strict=True))
    assert log_size(guesses) == pytest.approx((TRIED[3] + TRIED[4]) / 2)


def test_cells_of_which_all_sizes_seem_too_small_get_a_size_beyond_the_best_one():
    assert log_size({0.0: 0.5, 0.5: 0.2}) == pytest.approx(0.7)


def test_a_field_without_cells_keeps_the_assumed_size():
    assert log_size({}) == 0.0
