"""Masks and confluencies against truth: overlap, instances, agreement, bands; the same numbers as a second scorer."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from msc_vision.errors import InvalidArgumentError, UndefinedResultError
from msc_vision.statistics.validation import (
    IOU_THRESHOLDS,
    PairScore,
    average_precision,
    bland_altman,
    covered_percent,
    density_band,
    mask_overlap,
    method_error_points,
    spearman,
    summarise,
    summarise_by_density,
)

SCORER = Path(__file__).parents[1].parent / "shared" / "tools" / "score_masks.py"
masks = hnp.arrays(bool, (7, 9))
instances = hnp.arrays(np.int32, (8, 8), elements=st.integers(0, 4))


def strip(*columns):
    """Return a (1, n) bool mask that is True in the given columns of ten: ``.##.......``."""
    mask = np.zeros((1, 10), bool)
    mask[0, list(columns)] = True
    return mask


@pytest.mark.parametrize(
    ("truth", "predicted", "dice", "iou"),
    [
        (strip(1, 2), strip(1, 2), 1.0, 1.0),
        (strip(1, 2), strip(2, 3), 0.5, 1 / 3),
        (strip(1, 2), strip(5), 0.0, 0.0),
        (strip(), strip(), 1.0, 1.0),
        (strip(), strip(3), 0.0, 0.0),
    ],
    ids=["same", "shifted by one", "apart", "both empty", "cell where there is none"],
)
def test_overlap_of_two_masks(truth, predicted, dice, iou):
    overlap = mask_overlap(truth, predicted)
    assert (overlap.dice, overlap.iou) == pytest.approx((dice, iou))


def test_pixels_that_nobody_annotated_do_not_count():
    judged = ~strip(3)
    assert mask_overlap(strip(1, 2), strip(1, 2, 3), judged).dice == 1.0
    assert covered_percent(strip(3), judged) == 0.0


@given(masks, masks)
def test_dice_follows_from_iou(truth, predicted):
    overlap = mask_overlap(truth, predicted)
    assert overlap.dice == pytest.approx(2 * overlap.iou / (1 + overlap.iou))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: mask_overlap(np.zeros((2, 2), np.int32), np.zeros((2, 2), bool)), "not bool; pass `labels > 0`"),
        (lambda: mask_overlap(np.zeros((2, 2), bool), np.zeros((2, 3), bool)), r"truth \(2, 2\), prediction \(2, 3\)"),
        (lambda: average_precision(np.zeros((2, 2), int), np.zeros((2, 3), int)), "Shapes differ"),
        (lambda: bland_altman([1.0], [1.0, 2.0]), "as many measured as reference"),
        (lambda: bland_altman([1.0], [np.nan]), "NaN or infinite"),
        (lambda: density_band(101), "Confluency 101 is not within 0 to 100"),
    ],
    ids=["labels instead of mask", "other size", "other size of labels", "lengths", "NaN", "over 100"],
)
def test_wrong_calls_are_refused(call, match):
    with pytest.raises(InvalidArgumentError, match=match):
        call()


def test_nothing_judged_is_undefined_not_empty():
    nothing = np.zeros((2, 2), bool)
    with pytest.raises(UndefinedResultError, match="No pixel is judged"):
        mask_overlap(nothing, nothing, nothing)


def slow_average_precision(truth, predicted, threshold):
    """Match instance by instance, in the open."""
    truths, found = set(np.unique(truth)) - {0}, set(np.unique(predicted)) - {0}
    if not truths and not found:
        return 1.0
    hits_t, hits_p = set(), set()
    for t in truths:
        for p in found:
            a, b = truth == t, predicted == p
            if (a & b).sum() / (a | b).sum() >= threshold:
                hits_t.add(t)
                hits_p.add(p)
    n_true = min(len(hits_t), len(hits_p))
    return n_true / (len(truths) + len(found) - n_true)


@given(instances, instances)
@settings(max_examples=60)
def test_average_precision_equals_matching_by_hand(truth, predicted):
    expected = [slow_average_precision(truth, predicted, threshold) for threshold in IOU_THRESHOLDS]
    np.testing.assert_allclose(average_precision(truth, predicted), expected)


def test_average_precision_sees_a_cell_cut_in_two():
    truth, cut = np.ones((4, 10), int), np.ones((4, 10), int)
    cut[:, 5:] = 2
    assert average_precision(truth, truth)[0] == 1.0
    assert average_precision(truth, cut)[0] == pytest.approx(1 / 2)  # two halves tie at IoU 0.5: one counts
    assert average_precision(truth, cut)[1] == 0.0


def test_agreement_of_a_worked_example():
    """Errors 1, 2, 3, 4: mean 2.5, sd 1.29; t(3, 97.5 %) = 3.18."""
    result = bland_altman([10, 20, 30, 40], [11, 22, 33, 44])
    assert (result.n, result.bias, result.mae, result.worst) == (4, 2.5, 2.5, 4.0)
    assert result.sd == pytest.approx(1.2910, abs=1e-4)
    assert (result.limits.low, result.limits.high) == pytest.approx((-0.0303, 5.0303), abs=1e-4)
    assert (result.bias_interval.low, result.bias_interval.high) == pytest.approx((0.4457, 4.5543), abs=1e-4)
    half = 3.18245 * 1.29099 * np.sqrt(1 / 4 + 1.96**2 / 6)
    assert result.upper_limit_interval.high == pytest.approx(5.0303 + half, abs=1e-3)


def test_agreement_of_one_pair_has_no_spread():
    result = bland_altman([10], [12])
    assert (result.bias, result.mae, result.worst) == (2, 2, 2)
    assert result.sd is None
    assert result.limits is None


def test_agreement_interval_covers_the_true_bias_as_often_as_it_says():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(400):
        reference = rng.uniform(0, 100, 8)
        interval = bland_altman(reference, reference + rng.normal(3.0, 5.0, 8)).bias_interval
        hits += interval.low <= 3.0 <= interval.high
    assert 0.92 <= hits / 400 <= 0.98


@pytest.mark.parametrize(
    ("percent", "band"), [(0, "0-20"), (19.99, "0-20"), (20, "20-40"), (99, "80-100"), (100, "80-100")]
)
def test_density_bands(percent, band):
    assert density_band(percent) == band


def pair(reference, measured, **extra):
    return PairScore(image="x.tif", set_name="s", has_mask=True, reference_percent=reference,
                     measured_percent=measured, **extra)  # fmt: skip


def test_summary_counts_failures_and_leaves_them_out_of_the_means():
    summary = summarise("s", [pair(10, 12, dice=0.8, iou=0.6, n_reference=4, n_measured=5)], failures=2)
    assert (summary.n, summary.failures) == (3, 2)
    assert (summary.dice, summary.dice_worst) == (0.8, 0.8)
    assert (summary.count_ratio, summary.count_error_percent) == pytest.approx((1.25, 25.0))
    assert summary.agreement.bias == 2
    assert summary.ap50 is None


def test_summary_of_failures_alone_has_no_figures():
    summary = summarise("s", [], failures=3)
    assert (summary.n, summary.failures, summary.agreement, summary.dice) == (3, 3, None, None)


def test_summary_by_density_leaves_out_pairs_without_a_mask():
    weak = PairScore(image="w", set_name="s", has_mask=False, reference_percent=50, measured_percent=60)
    bands = summarise_by_density([pair(5, 6), pair(95, 90), weak])
    assert [(b.name, b.n) for b in bands] == [("0-20", 1), ("80-100", 1)]


def test_rank_correlation():
    assert spearman([1, 2, 3, 4], [10, 20, 25, 90]) == pytest.approx(1.0)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None


def independent_scorer():
    """Load the scorer that others judge by; it shares no code with this package."""
    spec = importlib.util.spec_from_file_location("score_masks", SCORER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.shared
def test_average_precision_equals_the_independent_scorer():
    scorer = independent_scorer()
    rng = np.random.default_rng(11)
    for _ in range(20):
        truth, predicted = (np.kron(rng.integers(0, 6, (5, 5)), np.ones((3, 3), int)) for _ in range(2))
        np.testing.assert_allclose(
            average_precision(truth, predicted), scorer.overlap_scores(truth, predicted), atol=1e-12
        )


def test_method_error_is_in_points_at_half_cover():
    """An error of 5 points at 50 % is 5; the same error at 5 % is worth more, because there methods differ less."""
    assert method_error_points([50.0], [55.0]) == pytest.approx(5.0, abs=0.05)
    assert method_error_points([5.0], [10.0]) > 9
    assert method_error_points([20.0, 80.0], [20.0, 80.0]) == 0
    by_hand = [100 * (math.asin(math.sqrt(m / 100)) - math.asin(math.sqrt(r / 100))) for r, m in ((20, 30), (70, 60))]
    assert method_error_points([20, 70], [30, 60]) == pytest.approx(math.sqrt(sum(e * e for e in by_hand) / 2))
