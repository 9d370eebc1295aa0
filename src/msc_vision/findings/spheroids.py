"""Spheroids on ultra-low attachment surfaces: each one an object on bare surface, so confluency does not apply.

They are those that `find_aggregates` found. Where no network has looked, the picture alone tells, less well: a spheroid
differs from bare surface in brightness.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.findings.outline import ellipse_window, outer_contour, outline_figures
from msc_vision.morphology.feature import Feature

SPHEROID_COLUMNS = np.dtype(
    [
        ("label", "<i4"),
        ("area_um2", "<f8"),
        ("equivalent_diameter_um", "<f8"),
        ("circularity", "<f8"),
        ("solidity", "<f8"),
        ("is_fused", "?"),
        ("dark_core_share", "<f8"),
        ("area_px", "<i8"),
        ("centroid_y_px", "<f8"),
        ("centroid_x_px", "<f8"),
        ("y0_px", "<i8"),
        ("y1_px", "<i8"),
        ("x0_px", "<i8"),
        ("x1_px", "<i8"),
        ("touches_border", "?"),
    ]
)
"""A row per spheroid. ``area_px`` and all positions are working pixels."""

CONFLUENCY_NOTE = "not applicable"
"""What stands in place of a confluency: nothing is meant to cover this surface."""


class SpheroidSettings(BaseModel):
    """What counts as a spheroid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    smallest_diameter_um: float = Field(60.0, gt=0, description="smaller ones are loose clumps; placeholder")
    smooth_um: float = Field(4.0, gt=0, description="one sigma, before the picture is told apart")
    least_contrast: float = Field(
        0.03, gt=0, lt=1, description="deviation from bare surface below which a field shows no spheroid; placeholder"
    )
    close_um: float = Field(8.0, ge=0, description="gaps narrower than this are closed")
    open_um: float = Field(45.0, ge=0, description="necks and heaps of single cells narrower than this are cut")
    fused_depth: float = Field(
        0.12, gt=0, lt=1, description="depth of a dent over the diameter from which a spheroid is fused; placeholder"
    )
    dark_below: float = Field(
        0.5, gt=0, lt=1, description="grey over that of bare surface, below which the inside is dark; placeholder"
    )


SPHEROID_FEATURES = (
    Feature(
        "equivalent_diameter_um", "aggregate", "µm", "Diameter of a disc of the same area.", "2 sqrt(area / pi)", "own"
    ),
    Feature(
        "is_fused",
        "aggregate",
        "1",
        "Two or more spheroids have grown together: the outline has dents on two sides.",
        "at least one dent deeper than fused_depth x diameter, and one half as deep on the other side",
        "own",
    ),
    Feature(
        "dark_core_share",
        "aggregate",
        "1",
        "Share of the spheroid that lets little light through: dense, or dead inside.",
        "pixels with grey < dark_below x bare surface, over all of its pixels",
        "own",
    ),
    Feature(
        "diameter_mean_um", "field", "µm", "Mean diameter of whole spheroids.", "mean of equivalent diameters", "own"
    ),
    Feature(
        "diameter_cv_percent",
        "field",
        "percent",
        "How unequal the spheroids are.",
        "100 x standard deviation (n - 1) / mean",
        "own",
    ),
)


@dataclass(frozen=True, slots=True)
class SpheroidSummary:
    """Spheroids of a field; those at the border and fused ones count, but give no diameter. NaN where undefined."""

    n_spheroids: int
    n_fused: int
    n_measured: int
    diameter_mean_um: float
    diameter_cv_percent: float
    circularity_mean: float
    confluency: str = CONFLUENCY_NOTE


def find_spheroids(
    working: NDArray[np.uint16],
    judged: NDArray[np.uint8],
    working_um: float,
    pixel_size_um: float | None,
    settings: SpheroidSettings,
    labels: NDArray[np.int32] | None = None,
) -> tuple[NDArray[np.void], NDArray[np.int32], SpheroidSummary]:
    """Return the spheroids of a field: rows of `SPHEROID_COLUMNS`, (Y, X) int32 labels and the field's figures.

    Parameters
    ----------
    working : (Y, X) uint16 array
        The whole field: the threshold is that of the field.
    judged : (Y, X) uint8 array
        0 or 1; frames and walls are 0. What a spheroid itself hides must be 1.
    working_um : float
        Side of a working pixel, measured or guessed; filters need one.
    pixel_size_um : float or None
        Side of a working pixel if it is known; without it nothing in µm is given out.
    labels : (Y, X) int32 array, optional
        Of `find_aggregates`, the better choice where a network has looked; without them the picture alone tells.
    """
    relative = _relative(working, judged, working_um)
    if labels is None:
        labels = _segment(relative, judged, working_um, settings)
    else:
        labels = _large(_filled((labels > 0).view(np.uint8)), working_um, settings)
    table = _rows(labels, relative, pixel_size_um, settings)
    return table, labels, _summary(table)


def _relative(working: NDArray[np.uint16], judged: NDArray[np.uint8], working_um: float) -> NDArray[np.float32]:
    """Return grey values over those of bare surface: a tilted plane through the commonest greys of blocks."""
    side = max(8, round(60.0 / working_um))
    height, width = (length // side for length in working.shape)
    if not height or not width:
        return working.astype(np.float32) / np.float32(max(float(np.median(working)), 1.0))
    size = width * side, height * side
    blocks = cv2.resize(working[: size[1], : size[0]], (width, height), interpolation=cv2.INTER_AREA).astype(np.float64)
    clear = cv2.resize(judged[: size[1], : size[0]].astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    rows, columns = (np.mgrid[0:height, 0:width] + 0.5) * side
    terms = np.stack([np.ones_like(rows), rows, columns], axis=-1)[clear > 0.9]
    greys = blocks[clear > 0.9]
    if len(greys) < 3:
        return working.astype(np.float32) / np.float32(max(float(np.median(working)), 1.0))
    plane = _robust_plane(terms, greys)
    ys, xs = np.arange(working.shape[0], dtype=np.float32)[:, None], np.arange(working.shape[1], dtype=np.float32)
    bare = np.float32(plane[0]) + np.float32(plane[1]) * ys + np.float32(plane[2]) * xs
    return (working.astype(np.float32) / np.maximum(bare, np.float32(1))).astype(np.float32)


def _robust_plane(terms: NDArray[np.float64], greys: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the plane that most blocks lie on; blocks of spheroids are far from it and drop out."""
    plane = np.array([np.median(greys), 0.0, 0.0])
    for _ in range(6):
        away = np.abs(greys - terms @ plane)
        near = away <= max(2.5 * float(np.median(away)), 1e-3 * abs(plane[0]))
        plane = np.linalg.lstsq(terms[near], greys[near], rcond=None)[0]
    return plane


def _segment(
    relative: NDArray[np.float32], judged: NDArray[np.uint8], working_um: float, settings: SpheroidSettings
) -> NDArray[np.int32]:
    sigma_px = settings.smooth_um / working_um
    away = cv2.GaussianBlur(np.minimum(np.abs(relative - 1), 1), (0, 0), sigma_px)
    steps = np.rint(away * 255).astype(np.uint8)
    otsu = cv2.threshold(steps[judged > 0].reshape(-1, 1), 0, 255, cv2.THRESH_OTSU)[0] / 255 if judged.any() else 1.0
    mask = ((away > max(0.6 * otsu, settings.least_contrast)) & (judged > 0)).view(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, ellipse_window(settings.close_um / working_um))
    mask = _filled(mask.astype(np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, ellipse_window(settings.open_um / working_um)).astype(np.uint8)
    return _large(mask, working_um, settings)


def _large(mask: NDArray[np.uint8], working_um: float, settings: SpheroidSettings) -> NDArray[np.int32]:
    """Return the connected parts that are large enough, numbered from 1."""
    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
    smallest_px = math.pi / 4 * (settings.smallest_diameter_um / working_um) ** 2
    kept = stats[:, cv2.CC_STAT_AREA] >= smallest_px
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labels] if n > 1 else labels.astype(np.int32)


def _filled(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(mask), contours, -1, 1, cv2.FILLED).astype(np.uint8)


def _rows(
    labels: NDArray[np.int32],
    relative: NDArray[np.float32],
    pixel_size_um: float | None,
    settings: SpheroidSettings,
) -> NDArray[np.void]:
    n, _, stats, centroids = cv2.connectedComponentsWithStats((labels > 0).astype(np.uint8), connectivity=8)
    table = np.zeros(n - 1, SPHEROID_COLUMNS)
    stats = stats[1:].astype(np.int64)
    x0, y0, width, height, area = stats.T
    table["label"] = np.arange(1, n)
    table["area_px"], table["y0_px"], table["x0_px"] = area, y0, x0
    table["y1_px"], table["x1_px"] = y0 + height, x0 + width
    table["centroid_x_px"], table["centroid_y_px"] = centroids[1:].T
    table["area_um2"] = np.nan if pixel_size_um is None else area * pixel_size_um**2
    table["equivalent_diameter_um"] = np.sqrt(4 / np.pi * table["area_um2"])
    table["touches_border"] = (y0 == 0) | (x0 == 0) | (y0 + height == labels.shape[0]) | (x0 + width == labels.shape[1])
    for i, row in enumerate(table):
        crop = np.s_[row["y0_px"] : row["y1_px"], row["x0_px"] : row["x1_px"]]
        own = (labels[crop] == row["label"]).view(np.uint8)
        table["circularity"][i], table["solidity"][i] = outline_figures(own)
        table["is_fused"][i] = is_fused(own, settings)
        dark = (relative[crop] < settings.dark_below) & (own > 0)
        table["dark_core_share"][i] = int(dark.sum()) / int(row["area_px"])
    return table


def is_fused(mask: NDArray[np.uint8], settings: SpheroidSettings) -> bool:
    """Return whether an outline has a deep dent, and one at least half as deep elsewhere: two discs have two."""
    points = outer_contour(mask).astype(np.int32)
    if len(points) < 4:
        return False
    dents = cv2.convexityDefects(points, np.sort(cv2.convexHull(points, returnPoints=False), axis=0)[::-1])
    if dents is None or len(dents) < 2:
        return False
    depths = np.sort(dents.reshape(-1, 4)[:, 3])[::-1] / 256
    short_side = min(cv2.minAreaRect(points.astype(np.float32))[1])
    return bool(depths[0] >= settings.fused_depth * short_side and depths[1] >= 0.5 * depths[0])


def _summary(table: NDArray[np.void]) -> SpheroidSummary:
    whole = table[~table["touches_border"] & ~table["is_fused"]]
    diameters = whole["equivalent_diameter_um"]
    n = len(whole)
    mean = float(diameters.mean()) if n else math.nan
    cv = 100 * float(diameters.std(ddof=1)) / mean if n > 1 else math.nan
    circularity = float(whole["circularity"].mean()) if n else math.nan
    return SpheroidSummary(len(table), int(table["is_fused"].sum()), n, mean, cv, circularity)
