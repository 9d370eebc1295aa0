"""An evaluation as JSON for programs and as a page for people."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from msc_vision import __version__
from msc_vision.errors import MscVisionError
from msc_vision.io.masks import read_mask
from msc_vision.report.fields import read_small
from msc_vision.report.html import render, write_page
from msc_vision.report.pairs import Evaluation, Pair
from msc_vision.report.pictures import Picture, compared_overlay, fit, make_picture
from msc_vision.statistics.validation import BlandAltman, GroupSummary, Interval, PairScore

logger = logging.getLogger(__name__)

N_WORST = 6
LONGEST_PX = 720
BUDGET_BYTES = 260_000
MARKS = ("circle", "square", "triangle", "diamond", "cross")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8a6d00")  # Okabe and Ito, apart for every eye
PLOT_PX = (760, 230)
FEWEST_FOR_LIMITS = 5  # below that the interval of a limit is wider than the plot
PLOT_LEFT, PLOT_TOP = 62, 12


def evaluation_record(evaluation: Evaluation) -> dict[str, Any]:
    """Return the evaluation as plain values for JSON; figures are not rounded."""
    return {
        "software": f"msc-vision {__version__}",
        "pairs": str(evaluation.pairs_file),
        "predictions": str(evaluation.predictions),
        "n": len(evaluation.scores) + len(evaluation.failures),
        "failures": [asdict(failure) for failure in evaluation.failures],
        "sets": {
            result.summary.name: {
                **_group_record(result.summary),
                "by_density": {band.name: _group_record(band) for band in result.bands},
            }
            for result in evaluation.sets
        },
        "by_density": {band.name: _group_record(band) for band in evaluation.bands},
        "images": [_score_record(score) for score in evaluation.scores],
    }


def _group_record(group: GroupSummary) -> dict[str, Any]:
    record: dict[str, Any] = {"n": group.n, "failures": group.failures}
    if group.agreement is not None:
        record |= _agreement_record(group.agreement)
    for name in (
        "dice",
        "dice_worst",
        "iou",
        "ap50",
        "ap",
        "count_ratio",
        "count_error_percent",
        "spearman",
        "method_error_points",
    ):
        if (value := getattr(group, name)) is not None:
            record[name] = value
    return record


def _agreement_record(agreement: BlandAltman) -> dict[str, Any]:
    record: dict[str, Any] = {
        "confluency_bias": agreement.bias,
        "confluency_mae": agreement.mae,
        "confluency_worst": agreement.worst,
    }
    for name, interval in (
        ("confluency_bias_interval", agreement.bias_interval),
        ("limits_of_agreement", agreement.limits),
        ("lower_limit_interval", agreement.lower_limit_interval),
        ("upper_limit_interval", agreement.upper_limit_interval),
    ):
        if interval is not None:
            record[name] = [interval.low, interval.high]
    return record


def _score_record(score: PairScore) -> dict[str, Any]:
    record = {"image": score.image, "set": score.set_name, "reference_percent": score.reference_percent}
    record |= {"measured_percent": score.measured_percent, "confluency_error": score.confluency_error}
    for name in ("dice", "iou", "ap50", "ap", "n_reference", "n_measured"):
        if (value := getattr(score, name)) is not None:
            record[name] = value
    return record


@dataclass(frozen=True, slots=True)
class Mark:
    """One image in the plot."""

    x: float
    y: float
    shape: str
    colour: str
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """A level in the plot with its interval, pixels from the top, and its words."""

    y: float
    band: tuple[float, float] | None
    text: str


@dataclass(frozen=True, slots=True)
class AgreementPlot:
    """A Bland-Altman plot, everything in pixels."""

    name: str
    marks: tuple[Mark, ...]
    lines: tuple[Line, ...]
    ticks_y: tuple[tuple[float, str], ...]
    ticks_x: tuple[tuple[float, str], ...]
    zero: float
    width: int = PLOT_PX[0]
    height: int = PLOT_PX[1]
    left: int = PLOT_LEFT
    top: int = PLOT_TOP


@dataclass(frozen=True, slots=True)
class ShownPair:
    """One image with both outlines."""

    heading: str
    title: str
    detail: str | None
    picture: Picture


def write_evaluation_page(evaluation: Evaluation, path: Path) -> Path:
    """Write the page of an evaluation and return its path.

    Raises
    ------
    OutputError
        If the page cannot be written.
    """
    by_image = {pair.image: pair for pair in evaluation.pairs}
    masked = [score for score in evaluation.scores if score.has_mask]
    worst = sorted(masked, key=lambda s: -abs(s.confluency_error))[:N_WORST]
    worst_overlap = sorted((s for s in masked if s not in worst), key=lambda s: s.dice or 0.0)[:N_WORST]
    page = render(
        "evaluation.html.j2",
        evaluation=evaluation,
        software=f"msc-vision {__version__}",
        plots=[
            agreement_plot(r.summary, _of_set(evaluation, r.summary.name), i) for i, r in enumerate(evaluation.sets)
        ],
        worst_confluency=_shown(worst, by_image, evaluation.predictions),
        worst_overlap=_shown(worst_overlap, by_image, evaluation.predictions),
    )
    return write_page(path, page)


def _of_set(evaluation: Evaluation, name: str) -> list[PairScore]:
    return [score for score in evaluation.scores if score.set_name == name]


def agreement_plot(group: GroupSummary, scores: Sequence[PairScore], index: int) -> AgreementPlot:
    """Return the Bland-Altman plot of one set: difference over mean, bias and limits with their intervals."""
    errors = [score.confluency_error for score in scores]
    levels = _levels(group.agreement)
    top = _round_up(max([abs(v) for v in (*errors, *(level for _, level, _ in levels))], default=5.0))

    def to_y(value: float) -> float:
        shown = min(max(value, -top), top)  # an interval may reach beyond the plot
        return PLOT_TOP + (top - shown) / (2 * top) * PLOT_PX[1]

    def to_x(value: float) -> float:
        return PLOT_LEFT + value / 100 * PLOT_PX[0]

    marks = tuple(
        Mark(
            x=to_x((score.reference_percent + score.measured_percent) / 2),
            y=to_y(score.confluency_error),
            shape=MARKS[index % len(MARKS)],
            colour=COLOURS[index % len(COLOURS)],
            title=f"{score.image}: {score.measured_percent:.1f} % measured, {score.reference_percent:.1f} % reference",
        )
        for score in scores
    )
    lines = tuple(
        Line(to_y(level), (to_y(band.high), to_y(band.low)), f"{text} {level:+.1f}") for text, level, band in levels
    )
    return AgreementPlot(
        name=group.name,
        marks=marks,
        lines=lines,
        ticks_y=tuple((to_y(v), f"{v:+g}" if v else "0") for v in np.linspace(-top, top, 5)),
        ticks_x=tuple((to_x(v), f"{v} %" if v == 100 else f"{v}") for v in range(0, 101, 20)),
        zero=to_y(0.0),
    )


def _levels(agreement: BlandAltman | None) -> list[tuple[str, float, Interval]]:
    """Return the lines of the plot: words, level, interval; none with too few images."""
    if agreement is None or agreement.n < FEWEST_FOR_LIMITS or not (agreement.limits and agreement.bias_interval):
        return []
    if not (agreement.lower_limit_interval and agreement.upper_limit_interval):
        return []
    return [
        ("upper limit", agreement.limits.high, agreement.upper_limit_interval),
        ("bias", agreement.bias, agreement.bias_interval),
        ("lower limit", agreement.limits.low, agreement.lower_limit_interval),
    ]


def _round_up(value: float) -> float:
    steps = [2, 4, 10, 20, 30, 40, 60, 80, 100, 200, 400, 1000]
    return float(next((step for step in steps if step >= value * 1.05), value))


def _shown(scores: Sequence[PairScore], pairs: dict[str, Pair], predictions: Path) -> list[ShownPair]:
    """Return pictures with both outlines; one that cannot be drawn is logged and left out, its numbers stay."""
    shown = []
    for score in scores:
        try:
            picture = _compared_picture(pairs[score.image], predictions)
        except (MscVisionError, OSError) as err:
            logger.warning("No picture of %s: %s", score.image, err)
            continue
        heading = f"{score.confluency_error:+.1f} points"
        title = f"{score.measured_percent:.1f} % measured, {score.reference_percent:.1f} % reference"
        detail = f"{score.image}" + ("" if score.dice is None else f" · Dice {score.dice:.3f}")
        shown.append(ShownPair(heading, title, detail, picture))
    return shown


def _compared_picture(pair: Pair, predictions: Path) -> Picture:
    small = read_small(pair.source, LONGEST_PX)
    shape = small.gray.shape
    found = fit(read_mask(predictions / f"{pair.stem}_foreground.tif") > 0, shape)
    truth = fit(read_mask(pair.truth) > 0, shape) if pair.truth else np.zeros(shape, bool)
    judged = fit(read_mask(pair.ignore) == 0, shape) if pair.ignore else None
    pixel_size = pair.pixel_size_um or small.native_pixel_size_um
    return make_picture(
        small.gray,
        overlay=compared_overlay(found, truth, judged),
        pixel_size_um=None if pixel_size is None else pixel_size * small.factor,
        budget_bytes=BUDGET_BYTES,
    )
