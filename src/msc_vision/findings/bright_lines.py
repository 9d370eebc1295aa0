"""Bright straight lines: scratches that stand out brighter than the surface.

Thin bright pixels are found in each tile and counted by place. Lines through the places of the whole field (a
probabilistic Hough transform) then also follow a scratch where it crosses cells, halos or other scratches.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.findings.coarse import place_side_px, places

_FINE_UM, _AROUND_UM = 0.65, 12.0
REACH_UM = 30.0
"""How far around a tile `thin_bright_places` looks."""
_LEAST_SHARE = 2 * 255 // 16  # two of sixteen pixels make a place part of a line
_GAP_PLACES = 2
_LEAST_VOTES = 0.8  # of the least length
_LEAST_PART = 0.4  # of the least length: bright specks that hang together less are no part of any line
_SAME = 0.5  # share of a line that lies on a longer one, or on something known, and so is nothing new

LINE_COLUMNS = np.dtype([(name, "<i4") for name in ("y0_px", "x0_px", "y1_px", "x1_px")] + [("length_um", "<f8")])
"""A row per line: its ends in places."""


class BrightLineSettings(BaseModel):
    """What counts as a bright scratch. Chosen on synthetic fields: placeholders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    percent: float = Field(32.0, gt=1, description="Least brightness against 12 µm around; most halos are fainter.")
    width_um: float = Field(3.2, gt=1, le=6, description="Radius of a disc that fits into no scratch.")
    length_um: float = Field(220.0, gt=20, description="Shorter straight lines are halos along spindles.")


def thin_bright_places(
    working: NDArray[np.uint16],
    judged: NDArray[np.uint8],
    window: tuple[slice, slice],
    working_um: float,
    settings: BrightLineSettings,
) -> NDArray[np.uint8]:
    """Return the share of thin bright pixels in each place of a tile, 0 to 255.

    Parameters
    ----------
    working : (Y, X) uint16 array
        The tile and `REACH_UM` around it, as far as the field reaches.
    judged : (Y, X) uint8 array
        0 or 1; lines on walls are no scratches.
    window : (slice, slice)
        The tile in these arrays.
    working_um : float
        Side of a working pixel.
    settings : BrightLineSettings
    """
    sigma = _FINE_UM / working_um
    reach = 2 * math.ceil(2 * sigma) + 1
    fine = cv2.GaussianBlur(working, (reach, reach), sigma)  # bit-exact on 16-bit integers
    side = 2 * max(1, round(_AROUND_UM / working_um)) + 1
    around = cv2.boxFilter(working, cv2.CV_32S, (side, side), normalize=False)
    factor = np.int32(side * side / (1 + settings.percent / 100))
    bright = (fine * factor > around).view(np.uint8) & judged
    radius = max(1, round(settings.width_um / working_um))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    thin = bright & (1 - cv2.morphologyEx(bright, cv2.MORPH_OPEN, disc))
    return places(thin[window] * np.uint8(255), place_side_px(working_um)).astype(np.uint8)


def find_bright_lines(
    thin: NDArray[np.uint8], known: NDArray[np.uint8], place_um: float, settings: BrightLineSettings | None = None
) -> NDArray[np.void]:
    """Return the bright straight lines of a whole field: rows of `LINE_COLUMNS`, the longest first.

    Parameters
    ----------
    thin : (Y, X) uint8 array
        `thin_bright_places` of the whole field.
    known : (Y, X) uint8 array
        1 where something else explains a bright line: the rim of a bubble, the edge of a roll.
    place_um : float
        Side of a place.
    settings : BrightLineSettings, optional
    """
    limits = settings or BrightLineSettings()
    least = limits.length_um / place_um
    mask = _long_parts((thin >= _LEAST_SHARE).view(np.uint8), _LEAST_PART * least)
    if not mask.any():
        return np.empty(0, LINE_COLUMNS)
    lines = cv2.HoughLinesP(mask, 1, math.pi / 360, round(_LEAST_VOTES * least), None, least, _GAP_PLACES)
    ends = np.empty((0, 4), np.int32) if lines is None else lines.reshape(-1, 4)
    length = np.hypot(ends[:, 2] - ends[:, 0], ends[:, 3] - ends[:, 1])
    taken = known.copy()
    kept: list[tuple[float, ...]] = []
    for i in np.argsort(-length, kind="stable"):
        x0, y0, x1, y1 = (int(value) for value in ends[i])
        if _share_on(taken, (x0, y0), (x1, y1)) < _SAME:
            kept.append((y0, x0, y1, x1, length[i] * place_um))
            cv2.line(taken, (x0, y0), (x1, y1), 1, 5)
    return np.array(kept, LINE_COLUMNS)


def _long_parts(mask: NDArray[np.uint8], least: float) -> NDArray[np.uint8]:
    """Return the parts whose box has at least this diagonal."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    is_long = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]) >= least
    is_long[0] = False
    kept: NDArray[np.uint8] = is_long.view(np.uint8)[labels]
    return kept


def _share_on(taken: NDArray[np.uint8], start: tuple[int, int], end: tuple[int, int]) -> float:
    n = max(abs(end[0] - start[0]), abs(end[1] - start[1])) + 1
    x = np.rint(np.linspace(start[0], end[0], n)).astype(np.intp)
    y = np.rint(np.linspace(start[1], end[1], n)).astype(np.intp)
    return float(np.count_nonzero(taken[y, x])) / n
