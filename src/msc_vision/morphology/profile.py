"""The profile of a field: what its cells and its layer look like, in figures that two fields can be compared by."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scale = Literal["ratio", "difference"]

CELLS_MIN = 15
"""Measured cells from which the cells of a field have a profile (own)."""
QUANTILES = (10, 90)
_NEAR_1 = 0.095


@dataclass(frozen=True, slots=True)
class Trait:
    """One thing that may drift, and how a change of it is told.

    Attributes
    ----------
    name : str
        Column of a cell, or figure of a field.
    scale : {"ratio", "difference"}
        Whether changes are factors (compared as logarithms) or differences.
    words : str
        With ``{}`` for the factor or the difference: ``cells {} times as wide``.
    words_falling : str
        The same for a difference below 0; without it, that is told with its sign.
    """

    name: str
    scale: Scale
    words: str
    words_falling: str = ""

    def compared(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return figures on the scale on which they are compared; what has no logarithm becomes NaN."""
        if self.scale == "difference":
            return values
        return np.log(np.where(values > 0, values, np.nan))

    def told(self, change: float) -> str:
        """Return a change, on the compared scale, in words."""
        if self.scale == "ratio":
            return self.words.format(factor_told(math.exp(change)))
        if not self.words_falling:
            return self.words.format(f"{change:+.2g}")
        return (self.words if change >= 0 else self.words_falling).format(f"{abs(change):.2g}")


def factor_told(factor: float) -> str:
    """Return a factor in two digits, or as many as tell it from 1: ``1.8``, ``1.04``, ``0.97``."""
    return f"{factor:.2f}" if abs(factor - 1) < _NEAR_1 else f"{factor:.2g}"


CELL_TRAITS: Mapping[Trait, tuple[str, ...]] = {
    Trait("area_um2", "ratio", "cells {} times as large"): ("mean", "p90"),
    Trait("length_um", "ratio", "cells {} times as long"): ("mean",),
    Trait("width_um", "ratio", "cells {} times as wide"): ("mean", "p90"),
    Trait("medial_aspect_ratio", "ratio", "cells {} times as slender (length over width)"): ("mean", "p10"),
    Trait(
        "circularity", "difference", "outlines rounder, by {} (circularity)", "outlines less round, by {} (circularity)"
    ): ("mean", "p90"),
    Trait("solidity", "difference", "outlines fuller, by {} (solidity)", "outlines less full, by {} (solidity)"): (
        "mean",
    ),
}
"""What is compared of cells, by which summaries.

Chosen on simulated vessels for what tells flattened and cuboidal cells from others while light, camera and focus leave
it alone. Texture and halos are measured, but not compared: they follow the focus.
"""


@dataclass(frozen=True, slots=True)
class ProfileTrait:
    """A trait of fields: of their layer as a whole, or one summary of a trait of their cells."""

    name: str
    scale: Scale
    words: str
    words_falling: str = ""

    def told(self, change: float) -> str:
        """Return a change, on the compared scale, in words."""
        return Trait(self.name, self.scale, self.words, self.words_falling).told(change)


_SPOKEN = {"mean": "on average", "p10": "at the 10th percentile", "p90": "at the 90th percentile"}

LAYER_TRAITS = tuple(
    Trait(name, "difference", words.format(more="more", by="{}"), words.format(more="less", by="{}"))
    for name, words in (
        ("coherency_10um", "edges run {more} one way, by {by} (coherency at 10 µm)"),
        ("coherency_25um", "edges run {more} one way, by {by} (coherency at 25 µm)"),
        ("order_100um", "cells lie {more} side by side, by {by} (order within 100 µm)"),
    )
)
"""What is compared of the layer as a whole."""

PROFILE_TRAITS = (
    *(
        ProfileTrait(
            f"cells_{trait.name}_{key}",
            trait.scale,
            f"{trait.words} {_SPOKEN[key]}",
            trait.words_falling and f"{trait.words_falling} {_SPOKEN[key]}",
        )
        for trait, keys in CELL_TRAITS.items()
        for key in keys
    ),
    *(ProfileTrait(one.name, one.scale, one.words, one.words_falling) for one in LAYER_TRAITS),
)
"""What the profile of a field holds."""


@dataclass(frozen=True, slots=True)
class SegmentationError:
    """An error of the outlines that is no change of the cells, and what it does to the profile of a field.

    ``change`` is on the compared scale; a trait that is not in it is not changed.
    """

    name: str
    change: Mapping[str, float]


SEGMENTATION_ERRORS: tuple[SegmentationError, ...] = (
    SegmentationError(
        "5 % of the cells split",
        {
            "cells_area_um2_mean": -0.069,
            "cells_area_um2_p90": -0.030,
            "cells_length_um_mean": -0.047,
            "cells_width_um_mean": -0.023,
            "cells_width_um_p90": -0.014,
            "cells_medial_aspect_ratio_mean": -0.024,
            "cells_medial_aspect_ratio_p10": -0.019,
            "cells_circularity_mean": 0.009,
            "cells_circularity_p90": 0.011,
            "cells_solidity_mean": 0.004,
            "cells_per_covered_cm2": math.log(1.05),
        },
    ),
    SegmentationError(
        "5 % of the cells merged",
        {
            "cells_area_um2_mean": 0.031,
            "cells_area_um2_p90": 0.101,
            "cells_length_um_mean": 0.025,
            "cells_width_um_mean": 0.006,
            "cells_width_um_p90": 0.011,
            "cells_medial_aspect_ratio_mean": 0.019,
            "cells_medial_aspect_ratio_p10": 0.007,
            "cells_circularity_mean": -0.009,
            "cells_circularity_p90": -0.003,
            "cells_solidity_mean": -0.007,
            "cells_per_covered_cm2": math.log(0.95),
        },
    ),
)
"""What a drift score tolerates: a segmentation may part or join a few more cells than it did in the baseline.

Means over 120 simulated fields at 20 to 98 % confluency (`python -m benchmarks.drift_errors`, seeds below 10,000), over
which they hardly change; what an error does to a count follows from what it is. What a halved cell does to a mean is
geometry; that other cells and networks are like these is an assumption.
"""


def order_profile(figures: Mapping[str, float]) -> dict[str, float]:
    """Return what of the order of a layer is compared, on the compared scale."""
    return {trait.name: float(trait.compared(np.array(figures[trait.name]))) for trait in LAYER_TRAITS}


def cell_profile(cells: NDArray[np.void]) -> dict[str, float]:
    """Return the summaries of the cells of one field, on the compared scale (logarithms of what changes by factors).

    Parameters
    ----------
    cells : (n,) structured array
        With the columns of `CELL_TRAITS`, ``is_measured`` and ``border_weight``: each cell counts as often as cells of
        its size are missing because the border cuts them.

    Returns
    -------
    dict
        Mean and percentiles of each trait; NaN with fewer than `CELLS_MIN` measured cells.
    """
    chosen = cells[cells["is_measured"]]
    weights = chosen["border_weight"].astype(np.float64)
    found: dict[str, float] = {}
    for trait, wanted in CELL_TRAITS.items():
        values = trait.compared(chosen[trait.name].astype(np.float64))
        known = np.isfinite(values)
        figures = _summaries(values[known], weights[known])
        found |= {f"cells_{trait.name}_{key}": figures[key] for key in wanted}
    return found


def _summaries(values: NDArray[np.float64], weights: NDArray[np.float64]) -> dict[str, float]:
    keys = ("mean", *(f"p{q}" for q in QUANTILES))
    if values.size < CELLS_MIN:
        return dict.fromkeys(keys, float("nan"))
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    mean = float((values * weights).sum() / weights.sum())
    return dict(zip(keys, (mean, *weighted_quantiles(values, weights, QUANTILES)), strict=True))


def weighted_quantiles(
    values: NDArray[np.float64], weights: NDArray[np.float64], percents: Sequence[float]
) -> tuple[float, ...]:
    """Return weighted percentiles of ascending values: each value sits in the middle of its weight (Hazen)."""
    reached = (np.cumsum(weights) - 0.5 * weights) / weights.sum() * 100
    return tuple(float(np.interp(percent, reached, values)) for percent in percents)


def profile_array(
    profiles: Sequence[Mapping[str, float]], traits: Sequence[ProfileTrait], otherwise: float = math.nan
) -> NDArray[np.float64]:
    """Return (fields, traits) figures on the compared scale, ``otherwise`` where one is missing."""
    return np.array([[profile.get(trait.name, otherwise) for trait in traits] for profile in profiles], np.float64)
