"""Layers that come off: the edge rolls up into a bright band, with cells on one side and bare surface on the other."""

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.findings.coarse import CoarseView

_SOFT_UM, _AROUND_UM, _COVER_UM, _BESIDE_UM = 25.0, 600.0, 80.0, (15.0, 40.0)
_SIDES = (15.0, 85.0)  # percentiles of the cover beside a band that stand for its two sides

ROLL_COLUMNS = np.dtype(
    [(name, "<i4") for name in ("y0_px", "y1_px", "x0_px", "x1_px", "area_px")]
    + [(name, "<f8") for name in ("length_um", "width_um", "brightness", "bare_cover", "full_cover")]
)
"""A row per rolled edge, its box in places; ``brightness`` is over the brighter side beside it (natural logarithm), and
the last two are the shares of cells on its two sides."""


class RollSettings(BaseModel):
    """What counts as a rolled edge. Chosen on synthetic fields: placeholders, not biology."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bright: float = Field(0.15, gt=0, description="Least brightness against 600 µm around, natural logarithm.")
    brighter: float = Field(0.12, gt=0, description="The same against the brighter side; the edge of a wound is not.")
    length_um: float = Field(300.0, gt=50, description="Shorter bands are heaps of cells.")
    width_um: tuple[float, float] = Field((28.0, 300.0), description="Narrower bands are halos and fibres.")
    winding: float = Field(1.5, ge=1, description="Length over the diagonal of its box; heaps of cells branch.")
    slenderness: float = Field(3.5, ge=1, description="Length over width.")
    bare_cover: float = Field(0.1, ge=0, le=1, description="Most cells on the bare side; beside fibres are more.")
    full_cover: float = Field(0.35, ge=0, le=1, description="Least cells on the other side.")


def find_rolled_edges(
    view: CoarseView, place_um: float, settings: RollSettings | None = None
) -> tuple[NDArray[np.void], NDArray[np.uint8]]:
    """Return the rolled edges of a field, and where they lie.

    Parameters
    ----------
    view : CoarseView
        Of the whole field.
    place_um : float
        Side of a place.
    settings : RollSettings, optional

    Returns
    -------
    structured array of `ROLL_COLUMNS`
        In reading order.
    (Y, X) uint8 array
        1 on rolled edges.
    """
    limits = settings or RollSettings()
    level = np.log(np.maximum(view.grey, 1), dtype=np.float32)
    soft = _mean(level, _SOFT_UM, place_um)
    bright = (soft - _mean(level, _AROUND_UM, place_um) > limits.bright) & (view.judged >= 128)
    found = np.zeros(view.grey.shape, np.uint8)
    rows = []
    for row, band, at in _bands(bright.view(np.uint8), place_um, limits):
        beside = _beside(band, place_um)
        if not beside.any():
            continue
        row["brightness"] = soft[at][band > 0].mean() - np.percentile(soft[at][beside], 75)
        row["bare_cover"], row["full_cover"] = _cover_of_sides(view.covered[at], band, beside, place_um)
        is_border = row["bare_cover"] <= limits.bare_cover and row["full_cover"] >= limits.full_cover
        if is_border and row["brightness"] >= limits.brighter:
            rows.append(row)
            found[at] |= band
    return np.array(rows, ROLL_COLUMNS), found


def _bands(
    bright: NDArray[np.uint8], place_um: float, limits: RollSettings
) -> Iterator[tuple[NDArray[np.void], NDArray[np.uint8], tuple[slice, slice]]]:
    """Yield long bright bands: a row, its mask with surroundings, and where those lie."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    margin = round(sum(_BESIDE_UM) / place_um) + 2
    for label, (x, y, wide, high, area) in enumerate(stats[1:].tolist(), start=1):
        if (wide + high) * place_um < limits.length_um or area * place_um**2 < limits.length_um * limits.width_um[0]:
            continue
        at = np.s_[max(y - margin, 0) : y + high + margin, max(x - margin, 0) : x + wide + margin]
        band = (labels[at] == label).view(np.uint8)
        width_um = 4 * float(cv2.distanceTransform(band, cv2.DIST_L2, 5)[band > 0].mean()) * place_um
        length_um = area * place_um**2 / width_um
        if _is_band(length_um, width_um, place_um * math.hypot(wide, high), limits):
            row = np.zeros((), ROLL_COLUMNS)
            row["y0_px"], row["y1_px"], row["x0_px"], row["x1_px"] = y, y + high, x, x + wide
            row["area_px"], row["length_um"], row["width_um"] = area, length_um, width_um
            yield row, band, at


def _is_band(length_um: float, width_um: float, diagonal_um: float, limits: RollSettings) -> bool:
    narrow, broad = limits.width_um
    is_long = diagonal_um >= limits.length_um and length_um >= limits.slenderness * width_um
    return is_long and narrow <= width_um <= broad and length_um <= limits.winding * diagonal_um


def _beside(band: NDArray[np.uint8], place_um: float) -> NDArray[np.bool_]:
    """Return what lies a little away from a band on both sides."""
    near_um, far_um = _BESIDE_UM
    near = cv2.dilate(band, _square(2 * near_um, place_um))
    return (cv2.dilate(near, _square(2 * far_um, place_um)) - near).view(np.bool_)


def _cover_of_sides(
    covered: NDArray[np.uint8], band: NDArray[np.uint8], beside: NDArray[np.bool_], place_um: float
) -> NDArray[np.float64]:
    """Return the shares of cells on the emptier and on the fuller side, the band itself left out."""
    outside = 1 - band
    total, n = _mean(covered * outside, _COVER_UM, place_um), _mean(outside, _COVER_UM, place_um)
    return np.percentile(total[beside] / np.maximum(n[beside], 1e-3) / 255, _SIDES)


def _square(side_um: float, place_um: float) -> NDArray[np.uint8]:
    return np.ones((2 * round(0.5 * side_um / place_um) + 1,) * 2, np.uint8)


def _mean(plane: NDArray[np.generic], side_um: float, place_um: float) -> NDArray[np.float32]:
    side = 2 * round(0.5 * side_um / place_um) + 1
    return cv2.blur(plane.astype(np.float32), (side, side), borderType=cv2.BORDER_REFLECT)
