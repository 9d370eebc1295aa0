"""Control charts: run lengths against published tables and played games, charts against cases a biologist can read."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError
from msc_vision.statistics.control_chart import (
    CusumSettings,
    EwmaSettings,
    cusum_chart,
    cusum_limit,
    cusum_run_length,
    ewma_chart,
    ewma_limit,
    ewma_run_length,
)


@pytest.mark.parametrize(
    ("limit", "shift", "published"),
    [(4, 0, 168), (4, 1, 8.38), (4, 2, 3.34), (5, 0, 465), (5, 0.5, 38.0), (5, 1, 10.4), (5, 3, 2.57)],
)
def test_cusum_run_lengths_are_the_published_ones(limit, shift, published):
    """Montgomery, Introduction to Statistical Quality Control, table 9.3 (k = 0.5, two-sided)."""
    assert cusum_run_length(limit, 0.5, shift) == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize(("limit", "published"), [(4, 335.4), (5, 930.9)])
def test_one_sided_cusum_run_lengths_are_the_published_ones(limit, published):
    for side in ("rise", "fall"):
        assert cusum_run_length(limit, 0.5, side=side) == pytest.approx(published, rel=0.001)


@pytest.mark.parametrize(
    ("width", "weight", "shift", "published"),
    [
        (2.703, 0.1, 0, 370),
        (2.814, 0.1, 0, 500),
        (2.814, 0.1, 1, 10.3),
        (2.962, 0.2, 0, 500),
        (2.962, 0.2, 0.5, 41.8),
        (2.962, 0.2, 2, 3.7),
        (3.054, 0.4, 1, 14.3),
        (3.0, 1.0, 0, 370.4),
    ],
)
def test_ewma_run_lengths_are_the_published_ones(width, weight, shift, published):
    """Lucas & Saccucci 1990; with a weight of 1 it is Shewhart's chart."""
    assert ewma_run_length(width, weight, shift) == pytest.approx(published, rel=0.01, abs=0.05)


def played(settings, shift, chart, n_series=800, longest=600, seed=0):
    """Mean points to the first alarm of many random series, drawn point by point."""
    rng = np.random.default_rng(seed)
    found = [chart(rng.normal(shift, 1, longest), 0, 1, settings).first_alarm for _ in range(n_series)]
    assert None not in found
    runs = np.array(found) + 1
    return runs.mean(), runs.std() / math.sqrt(n_series)


@pytest.mark.parametrize("side", ["two-sided", "rise", "fall"])
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_alarms_come_as_often_as_the_chain_says(side, shift):
    away = -shift if side == "fall" else shift
    one, other = CusumSettings(in_control_points=40, side=side), EwmaSettings(in_control_points=40, side=side)
    cases = [
        (cusum_chart, one, cusum_run_length(cusum_limit(one), one.allowance_sd, away, side=side)),
        (ewma_chart, other, ewma_run_length(ewma_limit(other), other.weight, away, side=side)),
    ]
    for chart, asked, expected in cases:
        mean, error = played(asked, away, chart)
        assert abs(mean - expected) < 3.5 * error


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["two-sided", "rise", "fall"]), st.floats(0.2, 1.0), st.floats(0.05, 1.0), st.floats(30, 3000))
def test_the_limit_gives_the_run_length_that_was_asked_for(side, allowance, weight, wanted):
    one = CusumSettings(side=side, allowance_sd=allowance, in_control_points=wanted)
    other = EwmaSettings(side=side, weight=weight, in_control_points=wanted)
    assert cusum_run_length(cusum_limit(one), allowance, side=side) == pytest.approx(wanted, rel=1e-3)
    assert ewma_run_length(ewma_limit(other), weight, side=side) == pytest.approx(wanted, rel=1e-3)


def test_cusum_by_hand():
    chart = cusum_chart([1.0, 2.0, -1.0, 3.0], 0.0, 1.0, CusumSettings())
    np.testing.assert_allclose(chart.upper, [0.5, 2.0, 0.5, 3.0])
    np.testing.assert_allclose(chart.lower, [0.0, 0.0, -0.5, 0.0])


def test_ewma_by_hand():
    chart = ewma_chart([10.0, 20.0, 10.0], 10.0, 5.0, EwmaSettings(weight=0.5))
    np.testing.assert_allclose(chart.upper, [0.0, 1.0, 0.5])
    np.testing.assert_array_equal(chart.upper, chart.lower)


@pytest.mark.parametrize("chart", [cusum_chart, ewma_chart])
def test_a_culture_that_drifts_from_passage_8_on_raises_an_alarm_soon_after(chart):
    rng = np.random.default_rng(1)
    asked = CusumSettings() if chart is cusum_chart else EwmaSettings()
    stable = rng.normal(70, 4, 30)
    assert chart(stable, 70, 4, asked).first_alarm is None
    drifting = chart(np.concatenate([stable[:8], stable[8:20] - 8]), 70, 4, asked)
    assert drifting.direction == "fall"
    assert 8 <= drifting.first_alarm <= 12
    assert "below its baseline" in drifting.words
    assert f"point {drifting.first_alarm + 1} of 20" in drifting.words
    assert "once in 370 points" in drifting.words
    assert "independent" in drifting.words


@pytest.mark.parametrize(("chart", "asked"), [(cusum_chart, CusumSettings), (ewma_chart, EwmaSettings)])
def test_a_rise_does_not_alarm_who_watches_for_a_fall(chart, asked):
    values = np.full(20, 3.0)
    seen = chart(values, 0, 1, asked(side="fall"))
    assert seen.first_alarm is None
    assert np.isnan(seen.upper).all()
    assert chart(values, 0, 1, asked(side="rise")).direction == "rise"


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.data())
@settings(max_examples=40, deadline=None)
def test_missing_values_are_skipped_and_named(values, data):
    gap = data.draw(st.integers(0, len(values)))
    holed = [*values[:gap], math.nan, *values[gap:]]
    for chart, asked in ((cusum_chart, CusumSettings()), (ewma_chart, EwmaSettings())):
        full, seen = chart(values, 0, 1, asked), chart(holed, 0, 1, asked)
        assert seen.missing == (gap,)
        assert f"Missing and skipped: point {gap + 1}." in seen.words
        np.testing.assert_array_equal(np.delete(seen.upper, gap), full.upper)
        expected = full.first_alarm
        assert seen.first_alarm == (expected if expected is None or expected < gap else expected + 1)


@given(st.lists(st.floats(-6, 6), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_a_mirrored_score_gives_the_mirrored_chart(values):
    for chart, asked in ((cusum_chart, CusumSettings()), (ewma_chart, EwmaSettings())):
        one, other = chart(values, 0, 1, asked), chart([-value for value in values], 0, 1, asked)
        np.testing.assert_allclose(one.upper, -other.lower)
        assert one.first_alarm == other.first_alarm
        assert {one.direction, other.direction} in ({None}, {"rise", "fall"})


def test_without_values_nothing_is_claimed():
    for values in ([], [math.nan, math.nan]):
        chart = cusum_chart(values, 0, 1, CusumSettings())
        assert chart.first_alarm is None
        assert chart.words.startswith("There is no value to judge.")


@pytest.mark.parametrize(
    ("values", "mean", "sd", "message"),
    [
        ([[1.0, 2.0]], 0, 1, "one series"),
        ([1.0, math.inf], 0, 1, "finite"),
        ([1.0], 0, 0, "spread above 0"),
        ([1.0], math.nan, 1, "mean"),
    ],
)
def test_a_wrong_call_is_refused(values, mean, sd, message):
    for chart, asked in ((cusum_chart, CusumSettings()), (ewma_chart, EwmaSettings())):
        with pytest.raises(InvalidArgumentError, match=message):
            chart(values, mean, sd, asked)


def test_limits_that_cannot_be_are_refused():
    with pytest.raises(InvalidArgumentError, match="smaller allowance"):
        cusum_limit(CusumSettings(allowance_sd=3, in_control_points=100))
    with pytest.raises(InvalidArgumentError, match="above 0"):
        cusum_run_length(0, 0.5)
    with pytest.raises(InvalidArgumentError, match="weight"):
        ewma_run_length(3, 1.5)
