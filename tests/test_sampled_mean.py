"""The mean of a layer from a few fields: against scipy, against brute force, and what may never show."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist

from msc_vision.statistics.intervals import figure
from msc_vision.statistics.sampled_mean import (
    RANGES,
    SHARES,
    _seen,
    _surfaces,
    _within,
    half_width,
    simple_mean,
    spatial_mean,
)
from msc_vision.statistics.scales import AMOUNT, PERCENT, PLAIN

SIDE = 223.6
SIDES = (SIDE, SIDE)
PERCENTS = st.lists(st.floats(0, 100), min_size=3, max_size=20)


def drawn(seed, n, spread=8.0):
    """Values around 60, weights and places of n fields."""
    rng = np.random.default_rng(seed)
    return rng.normal(60, spread, n).clip(0, 100), rng.uniform(0.5, 2, n), rng.uniform(0, SIDE, (n, 2))


# --- fields at random places -----------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.lists(st.floats(0, 100), min_size=2, max_size=30))
def test_fields_of_one_size_have_the_interval_of_the_textbook(values):
    mean = simple_mean(np.array(values), np.full(len(values), 3.0))
    assert mean.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert mean.standard_error == pytest.approx(stats.sem(values), abs=1e-9)
    if mean.standard_error > 0:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert half_width(mean) == pytest.approx((high - low) / 2, rel=1e-6)


def test_the_error_of_a_weighted_mean_is_that_of_a_ratio_of_areas():
    """Covered over judged area of four fields: the usual error of a ratio (Cochran, section 6.3), summed by hand."""
    percent, area = [80.0, 60.0, 30.0, 50.0], [1.0, 2.0, 1.0, 4.0]
    ratio = (80 + 120 + 30 + 200) / 8
    summed = sum((a * (p - ratio)) ** 2 for p, a in zip(percent, area, strict=True))
    expected = math.sqrt(summed * 4 / 3) / 8
    mean = simple_mean(np.array(percent), np.array(area))
    assert (mean.mean, mean.freedom, mean.effective_n) == (pytest.approx(ratio), 3, 4)
    assert mean.standard_error == pytest.approx(expected)


@pytest.mark.parametrize("level", [0.0, 37.1, 99.99, 100.0])
@pytest.mark.parametrize("n", [3, 8, 15, 29])
def test_fields_that_all_read_the_same_have_no_error(level, n):
    """Unequal areas leave a scatter of 1e-14 in floats, and a mean of 100.00000000000001 %."""
    _, weights, places = drawn(n, n)
    mean = spatial_mean(np.full(n, level), weights, places, SIDES)
    assert (mean.mean, mean.standard_error, mean.freedom) == (level, 0.0, n - 1)


@pytest.mark.parametrize("level", [37.1, 99.99, 100.0])
def test_fields_that_differ_by_rounding_have_no_error(level):
    """What is left of equal fields after a division and a multiplication: their scatter has no logarithm."""
    for n in range(3, 30):
        values = np.full(n, level)
        values[0] = np.nextafter(level, 0)
        _, weights, places = drawn(n, n)
        mean = spatial_mean(values, weights, places, SIDES)
        assert mean.standard_error == 0
        low, high = figure(mean, PERCENT, 0.0).interval
        assert high - low < 1e-9


# --- fields at known places ------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(3, 25))
def test_known_places_never_make_a_mean_less_sure(seed, n):
    values, weights, places = drawn(seed, n)
    known, simple = spatial_mean(values, weights, places, SIDES), simple_mean(values, weights)
    assert known.mean == simple.mean
    assert half_width(known) <= half_width(simple)
    assert 0 < known.freedom <= n - 1
    assert known.standard_error**2 * known.effective_n == pytest.approx(simple.standard_error**2 * n)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(3, 15), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_where_the_stage_has_its_zero_does_not_matter(seed, n, y, x):
    values, weights, places = drawn(seed, n)
    one = spatial_mean(values, weights, places, SIDES)
    other = spatial_mean(values, weights, places + np.array([y, x]), SIDES)
    assert other.standard_error == pytest.approx(one.standard_error, rel=1e-6)
    assert other.freedom == pytest.approx(one.freedom, rel=1e-5)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(3, 15), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_units_do_not_matter(seed, n, area_unit, length_unit):
    values, weights, places = drawn(seed, n)
    one = spatial_mean(values, weights, places, SIDES)
    other = spatial_mean(values, weights * area_unit, places * length_unit, (SIDE * length_unit,) * 2)
    assert other.mean == pytest.approx(one.mean)
    assert other.standard_error == pytest.approx(one.standard_error, rel=1e-6)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(3, 15))
def test_the_layer_may_be_mirrored_or_turned(seed, n):
    values, weights, places = drawn(seed, n)
    one = spatial_mean(values, weights, places, SIDES)
    for turned in (-places, places[:, ::-1], places * (1, -1)):
        assert spatial_mean(values, weights, turned, SIDES).standard_error == pytest.approx(
            one.standard_error, rel=1e-6
        )


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(3, 15), st.floats(-40, 40), st.floats(0.1, 1))
def test_a_figure_of_another_level_or_unit_has_the_same_error(seed, n, level, unit):
    values, weights, places = drawn(seed, n)
    one = spatial_mean(values, weights, places, SIDES)
    other = spatial_mean(unit * values + level, weights, places, SIDES)
    assert other.standard_error == pytest.approx(unit * one.standard_error, rel=1e-6)


def test_a_grid_over_a_smooth_slope_is_surer_than_its_scatter_says():
    """Cells settled to one side: the fields differ because of the slope, and a grid from rim to rim sees all of it."""
    steps = np.linspace(0, SIDE, 5)
    places = np.array([(y, x) for y in steps for x in steps])
    values = 30 + 40 * places[:, 0] / SIDE + np.random.default_rng(4).normal(0, 1, 25)
    from_rim_to_rim = spatial_mean(values, np.ones(25), places, SIDES)
    assert from_rim_to_rim.effective_n > 2 * 25
    elsewhere = spatial_mean(values, np.ones(25), places, (1.3 * SIDE, 1.3 * SIDE))
    assert from_rim_to_rim.standard_error < elsewhere.standard_error


def test_fields_of_the_same_kind_that_are_added_never_widen():
    """Each field once more, elsewhere: the mean stays, and the interval of 2 n fields is narrower."""
    for seed in range(10):
        values, weights, places = drawn(seed, 8)
        both = np.concatenate([places, (places + SIDE / 2) % SIDE])
        more = spatial_mean(np.tile(values, 2), np.tile(weights, 2), both, SIDES)
        assert half_width(more) < half_width(spatial_mean(values, weights, places, SIDES))


@pytest.mark.parametrize("box", [(1.0, 1.0), (1.41, 0.71)], ids=["square", "oblong"])
def test_two_places_of_a_layer_are_as_alike_as_brute_force_says(box):
    """Mean of exp(-distance / range) over 400,000 pairs of random places."""
    rng = np.random.default_rng(1)
    one, other = (rng.uniform(-0.5, 0.5, (2, 400_000, 2)) * box)[:]
    distance = np.hypot(*(one - other).T)
    brute = [np.exp(-distance / reach).mean() for reach in RANGES]
    np.testing.assert_allclose(_within(box), brute, rtol=0.05)


@pytest.mark.parametrize("slack", [(0.0, 0.0), (0.3, 0.1)], ids=["fields up to the rim", "layer may lie elsewhere"])
def test_a_field_is_as_alike_to_its_layer_as_brute_force_says(slack):
    """The layer may lie anywhere within the slack around the fields."""
    rng = np.random.default_rng(2)
    places = np.array([(0.0, 0.0), (0.3, -0.2), (-0.35, 0.42)])
    layer = rng.uniform(-0.5, 0.5, (400_000, 2)) + rng.uniform(-0.5, 0.5, (400_000, 2)) * slack
    brute = [[np.exp(-np.hypot(*(layer - one).T) / reach).mean() for one in places] for reach in RANGES]
    np.testing.assert_allclose(_seen(places, (1.0, 1.0), np.array(slack)), brute, rtol=0.08)


def test_the_error_on_a_random_surface_is_that_of_matheron():
    """Each kind of surface without slope, term by term: fields with fields, fields with the layer, layer with itself.

    The fields reach two corners, so where the layer lies is known; it is cut into 45 x 45 cells.
    """
    rng = np.random.default_rng(3)
    places = np.vstack([rng.uniform(0, SIDE, (8, 2)), [(0, 0), (SIDE, SIDE)]])
    values, shares = rng.normal(60, 8, 10), np.full(10, 0.1)
    factors, fits = _surfaces(values, shares, places, SIDES)
    cells = np.stack(np.meshgrid(*[(np.arange(45) + 0.5) / 45] * 2), axis=-1).reshape(-1, 2)
    at, ones = places / SIDE, np.ones(10)
    kinds = [(share, reach) for share in SHARES for reach in RANGES]
    for i, (share, reach) in enumerate(kinds, start=1):
        alike = share * np.exp(-cdist(at, at) / reach) + (1 - share) * np.eye(10)
        solved = np.linalg.inv(alike)
        total = ones @ solved @ ones
        residual = values - (ones @ solved @ values) / total
        variance = residual @ solved @ residual / 9
        to_layer = share * np.exp(-cdist(at, cells) / reach).mean(axis=1)
        of_layer = share * np.exp(-cdist(cells, cells) / reach).mean()
        extent = shares @ alike @ shares - 2 * shares @ to_layer + of_layer
        assert factors[i] == pytest.approx(variance * extent, rel=0.06)
        restricted = -0.5 * (np.linalg.slogdet(alike)[1] + np.log(total) + 9 * np.log(variance))
        assert fits[i] == pytest.approx(restricted)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """300 layers of 12 fields at random places, the true mean known, patchy cover; 95 % promised (seed 20)."""
    rng = np.random.default_rng(20)
    held = 0
    for _ in range(300):
        waves = rng.uniform(-3, 3, (6, 2)) * 2 * np.pi / SIDE
        phase, height = rng.uniform(0, 2 * np.pi, 6), rng.normal(0, 5, 6)

        def cover(at, waves=waves, phase=phase, height=height):
            return 50 + (np.sin(at @ waves.T + phase) * height).sum(axis=1)

        places = rng.uniform(0, SIDE, (12, 2))
        values = cover(places) + rng.normal(0, 3, 12)
        mean = spatial_mean(values, np.ones(12), places, SIDES)
        truth = cover(np.stack(np.meshgrid(*[(np.arange(40) + 0.5) * SIDE / 40] * 2), axis=-1).reshape(-1, 2)).mean()
        held += abs(mean.mean - truth) <= half_width(mean)
    assert held >= 0.92 * 300


# --- the interval of a figure ----------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(PERCENTS, st.sampled_from([0.0, 0.02, 0.05, 0.25]), st.integers(0, 1000))
def test_an_interval_lies_within_0_to_100_and_holds_the_estimate(values, method_error, seed):
    _, weights, places = drawn(seed, len(values))
    mean = spatial_mean(np.array(values), weights, places, SIDES)
    low, high = figure(mean, PERCENT, method_error).interval
    assert 0 <= low <= mean.mean + 1e-9
    assert mean.mean - 1e-9 <= high <= 100


@pytest.mark.parametrize(("level", "expected"), [(0.0, (0, 0.96)), (100.0, (99.04, 100))], ids=["bare", "full"])
def test_at_an_end_the_interval_is_one_sided(level, expected):
    """5 points at half cover are 0.05 of an angle: sin²(1.96 x 0.05) at the end."""
    mean = simple_mean(np.full(6, level), np.ones(6))
    assert figure(mean, PERCENT, 0.05).interval == pytest.approx(expected, abs=0.01)
    assert figure(mean, PERCENT, 0.0).interval == (level, level)


def test_degrees_of_freedom_are_those_of_welch_and_satterthwaite():
    """Ten fields at 50 ± 8 points and a method error of 5 points, reckoned by hand on the scale of the angle."""
    values = 50 + 8 * stats.zscore(np.arange(10.0), ddof=1)
    own = 0.5 / math.sqrt(50 * 50) * 8 / math.sqrt(10)
    error = math.sqrt(own**2 + 0.05**2)
    freedom = error**4 / (own**4 / 9)
    found = figure(simple_mean(values, np.ones(10)), PERCENT, 0.05)
    assert (found.error, found.freedom) == (pytest.approx(error), pytest.approx(freedom))
    angles = math.pi / 4 + np.array([-1, 1]) * stats.t.ppf(0.975, freedom) * error
    assert found.interval == pytest.approx(tuple(100 * np.sin(angles) ** 2))
    ends = np.arcsin(np.sqrt([0.7, 0.9]))
    expected = np.diff(stats.t.cdf((ends - math.pi / 4) / error, freedom))[0]
    assert found.probability_within(70, 90) == pytest.approx(expected)


def test_without_a_method_error_at_half_cover_the_interval_is_students():
    values = 50 + 0.5 * stats.zscore(np.arange(10.0), ddof=1)
    mean = simple_mean(values, np.ones(10))
    expected = stats.t.interval(0.95, 9, 50, stats.sem(values))
    assert figure(mean, PERCENT, 0.0).interval == pytest.approx(expected, abs=1e-3)
    assert figure(mean, PLAIN, 0.0).interval == pytest.approx(expected)


@settings(max_examples=30)
@given(st.floats(1, 99), st.floats(0.01, 30), st.floats(0, 0.3), st.floats(0, 100), st.floats(0, 100))
def test_probabilities_of_neighbouring_windows_add_up(level, scatter, method_error, one, other):
    low, high = sorted((one, other))
    mean = simple_mean(np.array([level, min(level + scatter, 100), level]), np.ones(3))
    found = figure(mean, PERCENT, method_error)
    parts = [found.probability_within(*pair) for pair in ((0, low), (low, high), (high, 100))]
    assert all(-1e-12 <= part <= 1 + 1e-12 for part in parts)
    if low > 0 and high < 100 and low < high:
        assert sum(parts) == pytest.approx(1)
    assert found.probability_within(0, 100) == pytest.approx(1)


@pytest.mark.parametrize(("level", "window", "expected"), [(80, (70, 90), 1), (60, (70, 90), 0), (70, (70, 90), 1)])
def test_without_any_error_a_figure_is_inside_or_not(level, window, expected):
    found = figure(simple_mean(np.full(3, float(level)), np.ones(3)), PERCENT, 0.0)
    assert found.probability_within(*window) == expected


@settings(max_examples=30)
@given(st.sampled_from([PERCENT, AMOUNT, PLAIN]), st.floats(0, 100))
def test_scales_lead_there_and_back(scale, value):
    assert float(scale.outer(scale.inner(np.array(value)))) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("scale", [PERCENT, AMOUNT, PLAIN], ids=lambda scale: scale.name)
def test_the_stretch_of_a_scale_is_its_slope(scale):
    for level in (1.0, 20.0, 50.0, 99.0):
        ends = scale.inner(np.array([level - 1e-4, level + 1e-4]))
        assert scale.inner_error(level, 2.0) == pytest.approx(2 * float(ends[1] - ends[0]) / 2e-4, rel=1e-5)
    assert scale.inner_error(0.0, 0.0) == 0
