"""What a figure may be: quantiles, and the probability of lying within limits."""

import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msc_vision.decision.belief import Belief, of_interval, to_inner, to_outer
from msc_vision.errors import InvalidArgumentError

LEVELS = (0.005, 0.05, 0.5, 0.95, 0.995)


def normal_belief(mean: float, sd: float) -> Belief:
    return Belief(LEVELS, tuple(NormalDist(mean, sd).inv_cdf(level) for level in LEVELS))


@given(st.floats(-50, 50), st.floats(0.5, 20), st.floats(-80, 80), st.floats(0, 60))
def test_quantiles_of_a_normal_give_its_probabilities(mean, sd, low, width):
    truth = NormalDist(mean, sd)
    expected = truth.cdf(low + width) - truth.cdf(low)
    assert normal_belief(mean, sd).probability_within(low, low + width) == pytest.approx(expected, abs=1e-6)


@given(st.floats(1, 99), st.floats(0.5, 30), st.floats(0, 100), st.floats(0, 100))
def test_a_wider_window_is_never_less_probable(value, half, one, other):
    belief = of_interval(value, (max(value - half, 0), min(value + half, 100)), "percent")
    low, high = sorted((one, other))
    within = belief.probability_within(low, high)
    assert 0 <= within <= belief.probability_within(max(low - 5, 0), high) <= 1
    assert within <= belief.probability_within(low, min(high + 5, 100))


@given(st.floats(5, 95), st.floats(1, 4), st.sampled_from(LEVELS))
def test_quantiles_and_probabilities_are_each_other_undone(value, half, level):
    belief = of_interval(value, (value - half, value + half), "percent")
    assert belief.probability_within(None, belief.quantile(level)) == pytest.approx(level, abs=1e-9)


@pytest.mark.parametrize("scale", ["percent", "amount", "plain"])
@pytest.mark.parametrize("value", [0.0, 0.3, 50.0, 99.9])
def test_scales_lead_there_and_back(scale, value):
    assert to_outer(to_inner(value, scale), scale) == pytest.approx(value, abs=1e-12)


def test_a_limit_at_the_end_of_the_range_is_no_limit():
    full = of_interval(98.0, (90.0, 100.0), "percent")
    assert full.probability_within(0.0, 100.0) == 1.0
    assert of_interval(0.0, (0.0, 180.0), "amount").probability_within(0.0, None) == 1.0


def test_an_interval_ends_where_its_probability_does():
    belief = of_interval(80.0, (62.0, 94.0), "percent")
    assert belief.probability_within(None, 94.0) == pytest.approx(0.975)
    assert belief.probability_within(62.0, None) == pytest.approx(0.975)


def test_no_aggregate_seen_still_leaves_doubt_about_few():
    seen_none = of_interval(0.0, (0.0, 180.0), "amount")
    assert seen_none.probability_within(None, 5.0) < 0.5
    assert seen_none.probability_within(None, 170.0) > 0.95


def test_a_belief_without_width_says_so():
    assert not of_interval(3.0, (3.0, 3.0), "amount").has_width
    assert of_interval(3.0, (2.0, 4.0), "amount").has_width


@pytest.mark.parametrize(
    ("levels", "values", "message"),
    [
        ((0.5,), (1.0,), "two at the least"),
        ((0.1, 0.9), (1.0, math.nan), "have to be finite"),
        ((0.1, 0.9), (2.0, 1.0), "have to rise"),
        ((0.9, 0.1), (1.0, 2.0), "have to rise"),
        ((0.0, 0.9), (1.0, 2.0), "have to rise"),
    ],
)
def test_quantiles_that_cannot_be_are_refused(levels, values, message):
    with pytest.raises(InvalidArgumentError, match=message):
        Belief(levels, values)
