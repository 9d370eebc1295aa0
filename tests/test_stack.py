"""From measured layers to those nobody saw: against textbook intervals, and what may never show."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from msc_vision.statistics.scales import PERCENT, PLAIN
from msc_vision.statistics.stack import LayerMean, draw_stack, interval, why_undetermined
from sampling_cases import study

HALF = math.pi / 4
"""The angle of half cover."""


def means(centres, error=0.0, freedom=8.0):
    """Layers by number and centre."""
    return tuple(LayerMean(layer, centre, error, freedom) for layer, centre in centres.items())


def areas(n):
    return np.full(n, 500.0)


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ((), "no layer has an interval of its own"),
        (
            (1, 2, 3),
            r"only the lowest layers speak for themselves \(3 of 36\), and nothing tells how the others differ",
        ),
        ((1, 18, 24), r"only some layers speak for themselves \(3 of 36\)"),
        ((1, 36), r"only some layers speak for themselves \(2 of 36\)"),
        ((2, 13, 36), None),
        (tuple(range(1, 37)), None),
    ],
    ids=["none", "bottom three", "no layer of the top third", "two ends", "one in each third", "all"],
)
def test_which_layers_speak_for_a_stack_of_36(layers, reason):
    found = why_undetermined(layers, 36, None)
    assert found is None if reason is None else re.search(reason, str(found))


def test_with_a_study_one_layer_is_enough_and_none_is_not():
    assert why_undetermined((1,), 12, study()) is None
    assert why_undetermined((), 12, study()) == "no layer has an interval of its own"


@pytest.mark.parametrize("n_layers", [2, 3, 5, 10, 12, 36, 40])
def test_thirds_of_a_stack_are_thirds(n_layers):
    """Bottom, middle and top layer are in three thirds, whatever the height; of two layers there are no thirds."""
    found = why_undetermined(tuple(sorted({1, (n_layers + 1) // 2, n_layers})), n_layers, None)
    assert found is None


# --- against textbook intervals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("freedom", [4.0, 30.0])
def test_with_all_layers_measured_the_vessel_has_the_interval_of_welch_and_satterthwaite(freedom):
    """Twelve layers of equal error: half as wide as a quarter of them, t with the degrees of freedom of all."""
    draws = draw_stack(means(dict.fromkeys(range(1, 13), 50.0), 6.0, freedom), areas(12), PLAIN)
    half = 6 / math.sqrt(12) * stats.t.ppf(0.975, 12 * freedom)
    assert interval(draws.vessel) == pytest.approx((50 - half, 50 + half), rel=0.01)
    assert (draws.basis, draws.between) == ("all layers measured", None)


def test_a_layer_nobody_saw_has_the_prediction_interval_of_the_textbook():
    """Four layers known without error, on the scale they are drawn on: mean ± t · s · sqrt(1 + 1/k)."""
    centres = {1: HALF - 0.06, 4: HALF + 0.08, 8: HALF - 0.01, 12: HALF + 0.03}
    draws = draw_stack(means(centres), areas(12), PERCENT)
    inner = PERCENT.inner(draws.values)
    values = np.array([*centres.values()])
    half = stats.t.ppf(0.975, 3) * values.std(ddof=1) * math.sqrt(1 + 1 / 4)
    for layer in (2, 3, 6, 11):
        low, high = np.percentile(inner[:, layer - 1], (2.5, 97.5))
        assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    np.testing.assert_allclose(inner[:, 0], HALF - 0.06)
    assert draws.basis == "measured layers over the stack"
    assert draws.between == pytest.approx(values.std(ddof=1) * math.sqrt(3 / stats.chi2.median(3)), rel=0.01)


def test_the_mean_of_a_stack_is_known_better_than_a_layer_of_it():
    draws = draw_stack(means({1: HALF, 6: HALF + 0.1, 12: HALF - 0.1}, 0.02), areas(12), PERCENT)
    vessel, layer = (np.subtract(*interval(one)[::-1]) for one in (draws.vessel, draws.values[:, 2]))
    assert 0 < vessel < layer


def test_what_fields_explain_is_no_difference_between_layers():
    """Layer means that scatter just as their own errors would have them: layers hardly differ."""
    centres = dict(enumerate(HALF + 0.05 * stats.zscore(np.arange(12.0), ddof=1)[:6], start=1)) | {12: HALF, 9: HALF}
    sure, unsure = (draw_stack(means(centres, error, 30.0), areas(12), PERCENT).between for error in (0.001, 0.05))
    assert unsure < 0.6 * sure


def test_a_study_alone_gives_its_own_spread_and_offsets():
    """One measured layer without error, at half cover: the others scatter by the study's spread around its offsets."""
    offsets = (0.06, 0.02, -0.02, -0.06)
    known = study(4, offsets=offsets, between=0.05, kind="x")
    draws = draw_stack(means({1: HALF}), areas(4), PERCENT, study=known)
    inner = PERCENT.inner(draws.values)
    np.testing.assert_allclose(np.median(inner[:, 1:], axis=0), HALF - 0.06 + np.array(offsets[1:]), atol=0.005)
    assert draws.between == pytest.approx(0.05 * math.sqrt(44 / stats.chi2.median(44)), rel=0.02)
    own_twice = math.sqrt(1 + 1 + 2 / known.n_vessels) * 0.05  # of the seen layer, the unseen one and both offsets
    t = stats.t.ppf(0.975, 44) * own_twice
    low, high = np.percentile(inner[:, 2], (2.5, 97.5))
    assert (high - low) / 2 == pytest.approx(t, rel=0.06)
    assert draws.basis == "layer study"


def test_a_study_that_expects_less_gives_narrower_layers():
    widths = []
    for between in (0.02, 0.05, 0.15):
        draws = draw_stack(means({1: HALF, 2: HALF}, 0.02), areas(12), PERCENT, study=study(between=between))
        widths.append(np.subtract(*interval(draws.values[:, 11])[::-1]))
    assert widths == sorted(widths)


# --- what may never show ---------------------------------------------------------------------------------------------

LEVELS = st.dictionaries(st.integers(1, 12), st.floats(0, math.pi / 2), min_size=1, max_size=12)
"""Layers and their angles, from bare to full."""


@settings(max_examples=25)
@given(LEVELS, st.just(0.0) | st.floats(1e-12, 0.5), st.floats(0, 0.3))
def test_no_layer_is_ever_below_0_or_above_100(levels, error, shared):
    draws = draw_stack(means(levels, error), areas(12), PERCENT, shared, study=study())
    assert draws.values.shape == (4096, 12)
    assert ((draws.values >= 0) & (draws.values <= 100)).all()
    low, high = interval(draws.vessel)
    assert 0 <= low <= high <= 100


@settings(max_examples=10)
@given(LEVELS, st.integers(0, 2**32 - 1))
def test_draws_of_a_vessel_are_the_same_on_each_call(levels, key):
    one, other = (draw_stack(means(levels, 0.03), areas(12), PERCENT, 0.05, study(), key) for _ in range(2))
    np.testing.assert_array_equal(one.values, other.values)


@settings(max_examples=10)
@given(LEVELS, st.floats(1e-3, 1e3))
def test_the_unit_of_areas_does_not_matter(levels, unit):
    one = draw_stack(means(levels, 0.03), areas(12), PERCENT, study=study())
    other = draw_stack(means(levels, 0.03), areas(12) * unit, PERCENT, study=study())
    np.testing.assert_allclose(one.vessel, other.vessel)


def test_vessels_are_independent_but_for_the_error_that_they_share():
    """With the method's error alone two vessels go up and down together; with their own errors alone they do not."""
    levels = dict.fromkeys(range(1, 13), HALF)

    def together(error, shared):
        pair = [draw_stack(means(levels, error), areas(12), PERCENT, shared, key=key).vessel for key in (1, 2)]
        return np.corrcoef(*pair)[0, 1]

    assert together(0.0, 0.05) == pytest.approx(1)
    assert abs(together(0.05, 0.0)) < 0.06
    assert 0.1 < together(0.1, 0.05) < 0.99


def test_an_error_that_all_layers_share_does_not_average_out():
    levels = dict.fromkeys(range(1, 13), HALF)
    draws = draw_stack(means(levels), areas(12), PERCENT, 0.05)
    expected = 100 * np.sin(HALF + stats.norm.ppf(0.975) * 0.05) ** 2 - 50
    assert interval(draws.vessel) == pytest.approx((50 - expected, 50 + expected), abs=0.05)
