"""How far predicted masks and confluencies are from annotated ones: per image, per set, per density band."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError, UndefinedResultError
from msc_vision.statistics.scales import PERCENT

IOU_THRESHOLDS = np.arange(0.5, 1.0, 0.05)
DENSITY_BANDS = ((0.0, 20.0), (20.0, 40.0), (40.0, 60.0), (60.0, 80.0), (80.0, 100.0))
AGREEMENT_FACTOR = 1.96  # half-width of the limits of agreement in standard deviations (doi:10.1177/096228029900800204)


@dataclass(frozen=True, slots=True)
class Interval:
    """Two ends of an interval, in the unit of what it belongs to."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MaskOverlap:
    """How two masks overlap; both empty counts as full agreement."""

    dice: float
    iou: float


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Agreement of measured with reference values, in their own unit; intervals are 95 %.

    With fewer than two pairs only ``n``, ``bias``, ``mae`` and ``worst`` have a value; the others are None.
    """

    n: int
    bias: float
    mae: float
    worst: float
    sd: float | None
    bias_interval: Interval | None
    limits: Interval | None
    lower_limit_interval: Interval | None
    upper_limit_interval: Interval | None


@dataclass(frozen=True, slots=True)
class PairScore:
    """One annotated image against its prediction. Confluencies in percent, errors in points (measured - reference).

    A pair without a truth mask (an expert's number only) has ``has_mask`` False and no overlap figures; a pair of
    kind ``foreground`` has no instance figures.
    """

    image: str
    set_name: str
    has_mask: bool
    reference_percent: float
    measured_percent: float
    dice: float | None = None
    iou: float | None = None
    ap50: float | None = None
    ap: float | None = None
    n_reference: int | None = None
    n_measured: int | None = None

    @property
    def confluency_error(self) -> float:
        """Measured minus reference confluency, points."""
        return self.measured_percent - self.reference_percent

    @property
    def count_ratio(self) -> float | None:
        """Measured over reference number of cells; None without instances or without any reference cell."""
        if not self.n_reference or self.n_measured is None:
            return None
        return self.n_measured / self.n_reference


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """What a group of pairs (a set, a density band, all) says; None where no pair of the group has the figure."""

    name: str
    n: int
    failures: int
    agreement: BlandAltman | None = None
    dice: float | None = None
    dice_worst: float | None = None
    iou: float | None = None
    ap50: float | None = None
    ap: float | None = None
    count_ratio: float | None = None
    count_error_percent: float | None = None
    spearman: float | None = None
    method_error_points: float | None = None


def mask_overlap(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], judged: NDArray[np.bool_] | None = None
) -> MaskOverlap:
    """Return Dice and IoU of two masks over the judged area.

    Parameters
    ----------
    truth, predicted : (Y, X) bool array
        True where a pixel belongs to a cell.
    judged : (Y, X) bool array, optional
        False where nobody annotated; everything counts when it is missing.

    Raises
    ------
    InvalidArgumentError
        If the shapes differ or a mask is not boolean.
    UndefinedResultError
        If nothing is judged.
    """
    judged = _judged_area(truth, predicted, judged)
    a, b = truth[judged], predicted[judged]
    both, either = int(np.count_nonzero(a & b)), int(np.count_nonzero(a | b))
    total = both + either
    return MaskOverlap(dice=2 * both / total if total else 1.0, iou=both / either if either else 1.0)


def covered_percent(mask: NDArray[np.bool_], judged: NDArray[np.bool_] | None = None) -> float:
    """Return the covered share of the judged area, 0 to 100."""
    judged = _judged_area(mask, mask, judged)
    return 100 * float(mask[judged].mean())


def _judged_area(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], judged: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    """Return the mask of judged pixels after checking that everything fits together."""
    if truth.dtype != bool or predicted.dtype != bool or (judged is not None and judged.dtype != bool):
        raise InvalidArgumentError(f"Masks are {truth.dtype} and {predicted.dtype}, not bool; pass `labels > 0`.")
    if truth.shape != predicted.shape or (judged is not None and judged.shape != truth.shape):
        seen = f"truth {truth.shape}, prediction {predicted.shape}"
        raise InvalidArgumentError(f"Shapes differ: {seen}{'' if judged is None else f', judged {judged.shape}'}.")
    if judged is None:
        judged = np.ones(truth.shape, bool)
    if not judged.any():
        raise UndefinedResultError("No pixel is judged: overlap and confluency are undefined for this image.")
    return judged


def average_precision(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return TP / (TP + FP + FN) at each of `IOU_THRESHOLDS` (0.5 to 0.95), for one operating point.

    Parameters
    ----------
    truth, predicted : (Y, X) integer array
        Instances, 0 = background.

    Returns
    -------
    (10,) float array
        1 everywhere when both are empty, 0 everywhere when one is.

    Raises
    ------
    InvalidArgumentError
        If the shapes differ.
    """
    if truth.shape != predicted.shape:
        raise InvalidArgumentError(f"Shapes differ: truth {truth.shape}, prediction {predicted.shape}.")
    pairs, n_truth, n_predicted = _matched_iou(truth, predicted)
    if n_truth == 0 and n_predicted == 0:
        return np.ones(len(IOU_THRESHOLDS))
    if n_truth == 0 or n_predicted == 0:
        return np.zeros(len(IOU_THRESHOLDS))
    result = np.empty(len(IOU_THRESHOLDS))
    for i, threshold in enumerate(IOU_THRESHOLDS):
        hit = pairs.iou >= threshold  # above 0.5 a match is unique; at exactly 0.5 two can tie: count each side once
        n_true = min(len(np.unique(pairs.truth[hit])), len(np.unique(pairs.predicted[hit])))
        result[i] = n_true / (n_truth + n_predicted - n_true)
    return result


@dataclass(frozen=True, slots=True)
class _OverlappingPairs:
    """Every pair of instances that shares a pixel."""

    truth: NDArray[np.integer]
    predicted: NDArray[np.integer]
    iou: NDArray[np.float64]


def _matched_iou(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> tuple[_OverlappingPairs, int, int]:
    """Return IoU of all overlapping instances and the two instance counts; memory follows from the overlaps."""
    ids_t, t = np.unique(truth, return_inverse=True)
    ids_p, p = np.unique(predicted, return_inverse=True)
    key, joint = np.unique(t.ravel().astype(np.int64) * len(ids_p) + p.ravel(), return_counts=True)
    row, col = key // len(ids_p), key % len(ids_p)
    area_t, area_p = np.bincount(row, joint, len(ids_t)), np.bincount(col, joint, len(ids_p))
    is_pair = (ids_t[row] != 0) & (ids_p[col] != 0)
    row, col, joint = row[is_pair], col[is_pair], joint[is_pair]
    iou = joint / (area_t[row] + area_p[col] - joint)
    return _OverlappingPairs(row, col, iou), int(np.count_nonzero(ids_t)), int(np.count_nonzero(ids_p))


def matched_cells(
    first: NDArray[np.integer], second: NDArray[np.integer], iou_min: float = 0.5
) -> tuple[tuple[int, int], ...]:
    """Return the numbers of the cells that two label images agree on, as pairs in the order of the first.

    A pair is two cells that overlap by ``iou_min`` or more and are each other's best; no cell is in two pairs.

    Parameters
    ----------
    first, second : (Y, X) integer array
        Instances, 0 = background.
    iou_min : float
        Intersection over union.

    Raises
    ------
    InvalidArgumentError
        If the shapes differ.
    """
    if first.shape != second.shape:
        raise InvalidArgumentError(f"Shapes differ: first {first.shape}, second {second.shape}.")
    pairs, _, _ = _matched_iou(first, second)
    ids_first, ids_second = np.unique(first), np.unique(second)
    found: dict[int, int] = {}
    taken: set[int] = set()
    for i in np.argsort(-pairs.iou, kind="stable"):
        a, b = int(ids_first[pairs.truth[i]]), int(ids_second[pairs.predicted[i]])
        if pairs.iou[i] >= iou_min and a not in found and b not in taken:
            found[a] = b
            taken.add(b)
    return tuple(sorted(found.items()))


def bland_altman(reference: Sequence[float], measured: Sequence[float]) -> BlandAltman:
    """Return bias, spread and 95 % limits of agreement of measured against reference values.

    The intervals of bias and limits use Student's t with n - 1 degrees of freedom and the standard errors
    ``sd / sqrt(n)`` and ``sd * sqrt(1 / n + 1.96^2 / (2 (n - 1)))``.

    Raises
    ------
    InvalidArgumentError
        If the lengths differ or a value is not finite.
    UndefinedResultError
        If there is no pair.

    References
    ----------
    Bland and Altman 1999, doi:10.1177/096228029900800204, section 2.
    """
    a, b = np.asarray(reference, float), np.asarray(measured, float)
    if a.shape != b.shape or a.ndim != 1:
        raise InvalidArgumentError(f"Need as many measured as reference values; got {a.shape} and {b.shape}.")
    if not len(a):
        raise UndefinedResultError("No pair of values: agreement is undefined.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InvalidArgumentError("A value is NaN or infinite; leave that pair out and count it as a failure.")
    error = b - a
    n, bias = len(error), float(error.mean())
    mae, worst = float(np.abs(error).mean()), float(np.abs(error).max())
    if n < 2:
        return BlandAltman(n, bias, mae, worst, None, None, None, None, None)
    sd = float(error.std(ddof=1))
    return BlandAltman(n, bias, mae, worst, sd, *_agreement_intervals(n, bias, sd))


def _agreement_intervals(n: int, bias: float, sd: float) -> tuple[Interval, Interval, Interval, Interval]:
    """Return the intervals of bias, the limits of agreement, and the interval of each limit."""
    from scipy.stats import t as student

    quantile = float(student.ppf(0.975, n - 1))
    half_bias = quantile * sd / math.sqrt(n)
    half_limit = quantile * sd * math.sqrt(1 / n + AGREEMENT_FACTOR**2 / (2 * (n - 1)))
    low, high = bias - AGREEMENT_FACTOR * sd, bias + AGREEMENT_FACTOR * sd
    return (
        Interval(bias - half_bias, bias + half_bias),
        Interval(low, high),
        Interval(low - half_limit, low + half_limit),
        Interval(high - half_limit, high + half_limit),
    )


def spearman(reference: Sequence[float], measured: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation; None with fewer than three pairs or when one side is constant."""
    if len(reference) < 3 or len(set(reference)) < 2 or len(set(measured)) < 2:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(reference, measured).statistic)


def method_error_points(reference: Sequence[float], measured: Sequence[float]) -> float:
    """Return the error of a method as a recipe states it: root mean square on the angle scale.

    Parameters
    ----------
    reference, measured : sequences of float
        Confluency, percent, as many of each; a picture per culture, because pictures of one culture share their error.

    Returns
    -------
    float
        Points at half cover; see `msc_vision.statistics.settings.SamplingSettings`.
    """
    angles = PERCENT.inner(np.array([reference, measured], dtype=float))
    return 100 * float(np.sqrt(np.mean((angles[1] - angles[0]) ** 2)))


def density_band(percent: float) -> str:
    """Return the name of the density band of a reference confluency: ``0-20``, …, ``80-100`` (100 in the last).

    Raises
    ------
    InvalidArgumentError
        If the value is not within 0 to 100.
    """
    for low, high in DENSITY_BANDS:
        if low <= percent < high or percent == high == 100:
            return f"{low:g}-{high:g}"
    raise InvalidArgumentError(f"Confluency {percent} is not within 0 to 100 percent.")


def summarise(name: str, scores: Sequence[PairScore], failures: int) -> GroupSummary:
    """Summarise a group of pairs; a failed pair is counted, never scored as empty."""
    agreement = None
    rank = None
    method_error = None
    if scores:
        reference, measured = [s.reference_percent for s in scores], [s.measured_percent for s in scores]
        agreement, rank = bland_altman(reference, measured), spearman(reference, measured)
        method_error = method_error_points(reference, measured)
    dice = [s.dice for s in scores if s.dice is not None]
    ratios = [s.count_ratio for s in scores if s.count_ratio is not None]
    return GroupSummary(
        name=name,
        n=len(scores) + failures,
        failures=failures,
        agreement=agreement,
        dice=_mean(dice),
        dice_worst=min(dice, default=None),
        iou=_mean(s.iou for s in scores),
        ap50=_mean(s.ap50 for s in scores),
        ap=_mean(s.ap for s in scores),
        count_ratio=_mean(ratios),
        count_error_percent=_mean(100 * abs(r - 1) for r in ratios),
        spearman=rank,
        method_error_points=method_error,
    )


def summarise_by_density(scores: Sequence[PairScore]) -> tuple[GroupSummary, ...]:
    """Summarise the pairs that have a truth mask by density band; bands without a pair are left out."""
    by_band: dict[str, list[PairScore]] = {}
    for score in scores:
        if score.has_mask:
            by_band.setdefault(density_band(score.reference_percent), []).append(score)
    names = [f"{low:g}-{high:g}" for low, high in DENSITY_BANDS]
    return tuple(summarise(name, by_band[name], 0) for name in names if name in by_band)


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is there, None when nothing is."""
    kept = [v for v in values if v is not None]
    return float(np.mean(kept)) if kept else None
