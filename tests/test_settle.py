"""How far a field's confluency may be off: found on fields that a network has not seen."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from msc_vision.learning.settle import narrowest
from msc_vision.segmentation.fusion import TrustSettings


@given(st.lists(st.tuples(st.floats(0, 12), st.floats(0, 60)), min_size=1, max_size=60))
def test_nine_of_ten_held_out_fields_lie_within(pairs):
    errors, unsure = np.array(pairs).T
    found = narrowest(errors, unsure)
    within = np.array([found.within_points(one) for one in unsure])
    assert np.mean(errors <= within) >= 0.9


def test_errors_that_follow_doubt_leave_sure_fields_a_narrow_range():
    unsure = np.linspace(0, 50, 101)
    found = narrowest(0.28 * unsure, unsure)
    assert found.per_unsure == 0.3
    assert found.floor_points == 1.0


def test_errors_that_doubt_says_nothing_of_get_the_same_range_everywhere():
    found = narrowest(np.full(40, 4.5), np.zeros(40))
    assert found.within_points(0) == 5.0


def test_the_range_grows_with_what_is_unsure_and_never_falls_below_its_floor():
    trust = TrustSettings(floor_points=3, per_unsure=0.5)
    assert [trust.within_points(u) for u in (0, 4, 20)] == [3, 3, 10]
