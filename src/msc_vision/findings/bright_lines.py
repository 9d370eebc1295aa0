"""Bright straight lines: scratches that stand out brighter than the surface.

Thin bright pixels are found in each tile and counted by place. Lines through the places of the whole field (a Hough
transform) then also follow a scratch where it crosses cells, halos or other scratches.
"""

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

_FINE_UM, _AROUND_UM = 0.65, 12.0
REACH_UM = 30.0
"""How far around a tile `thin_bright` looks."""
_LEAST_SHARE = 2 * 255 // 16  # two of sixteen pixels make a place part of a line
_GAP_PLACES = 2
_LEAST_VOTES = 0.8  # of the least length
_LEAST_PART = 0.4  # of the least length: bright specks that hang together less are no part of any line
_SAME = 0.5  # share of a line that lies on a plainer one, or on something known, and so is nothing new
_BESIDE_PLACES = (-5, -4, -3, 3, 4, 5)
_BROAD_PLACES = 7  # what lies so near to a line is the same line
_TURN = math.pi / 180
_N_PLAINEST = 400  # lines that are compared
_N_LINES = 40  # that are followed; there are more only in a full layer of bright halos

LINE_COLUMNS = np.dtype([(name, "<i4") for name in ("y0_px", "x0_px", "y1_px", "x1_px")] + [("length_um", "<f8")])
"""A row per line: its ends in places."""


class BrightLineSettings(BaseModel):
    """What counts as a bright scratch. Chosen on synthetic fields: placeholders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    percent: float = Field(32.0, gt=1, description="Least brightness against 12 µm around; most halos are fainter.")
    width_um: float = Field(3.2, gt=1, le=6, description="Radius of a disc that fits into no scratch.")
    length_um: float = Field(300.0, gt=20, description="Shorter straight lines are halos along spindles.")
    beside: float = Field(
        0.11,
        ge=0,
        le=1,
        description="Most of what lies 15 to 25 µm beside a line that is bright too; halos come in heaps.",
    )


def thin_bright(
    working: NDArray[np.uint16],
    judged: NDArray[np.uint8],
    window: tuple[slice, slice],
    working_um: float,
    settings: BrightLineSettings,
) -> NDArray[np.bool_]:
    """Return the thin bright pixels of a tile.

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
    return np.ascontiguousarray(thin[window]).view(np.bool_)


def find_bright_lines(
    thin: NDArray[np.uint8], known: NDArray[np.uint8], place_um: float, settings: BrightLineSettings | None = None
) -> NDArray[np.void]:
    """Return the bright straight lines of a whole field: rows of `LINE_COLUMNS`, the longest first.

    Parameters
    ----------
    thin : (Y, X) uint8 array
        Share of `thin_bright` pixels in each place of the whole field, 0 to 255.
    known : (Y, X) uint8 array
        1 where something else explains a bright line: the rim of a bubble, the edge of a roll.
    place_um : float
        Side of a place.
    settings : BrightLineSettings, optional
    """
    limits = settings or BrightLineSettings()
    least = limits.length_um / place_um
    mask = _long_parts((thin >= _LEAST_SHARE).view(np.uint8), _LEAST_PART * least)
    near = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0
    taken = known.copy()
    kept: list[tuple[float, ...]] = []
    for rho, theta in _directions(mask, round(_LEAST_VOTES * least)):
        y, x = _along(rho, theta, mask.shape)
        first, last = _longest_run(near[y, x])
        y, x = y[first : last + 1], x[first : last + 1]
        length = math.hypot(int(y[-1]) - int(y[0]), int(x[-1]) - int(x[0])) if len(y) else 0.0
        if length < least or np.mean(taken[y, x]) > _SAME or _beside(mask, y, x) > limits.beside:
            continue
        kept.append((y[0], x[0], y[-1], x[-1], length * place_um))
        cv2.line(taken, (int(x[0]), int(y[0])), (int(x[-1]), int(y[-1])), 1, _BROAD_PLACES)
    return np.array(sorted(kept, key=lambda line: -line[-1]), LINE_COLUMNS)


def _directions(mask: NDArray[np.uint8], least: int) -> Iterator[tuple[float, float]]:
    """Yield lines as distance and angle, those with most places first; of lines that hardly differ only one."""
    lines = cv2.HoughLines(mask, 1, _TURN, least) if mask.any() else None
    told: list[tuple[float, float]] = []
    for rho, theta in () if lines is None else lines[:_N_PLAINEST].reshape(-1, 2).tolist():
        if len(told) < _N_LINES and not any(_is_like(rho, theta, *other) for other in told):
            told.append((rho, theta))
            yield rho, theta


def _is_like(rho: float, theta: float, other_rho: float, other_theta: float) -> bool:
    if abs(theta - other_theta) > math.pi / 2:  # lines that lean to either side of the upright
        other_rho, other_theta = -other_rho, other_theta + math.copysign(math.pi, theta - other_theta)
    return abs(theta - other_theta) <= 1.5 * _TURN and abs(rho - other_rho) <= 2


def _along(rho: float, theta: float, shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places on a line, one for each column of a flat line or for each row of a steep one."""
    sine, cosine = math.sin(theta), math.cos(theta)
    if abs(sine) >= abs(cosine):
        x = np.arange(shape[1])
        y = np.rint((rho - x * cosine) / sine).astype(np.intp)
    else:
        y = np.arange(shape[0])
        x = np.rint((rho - y * sine) / cosine).astype(np.intp)
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    return y[inside], x[inside]


def _longest_run(on: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the first and last index of the longest run that is interrupted by short gaps only; (0, -1) if none."""
    at = np.flatnonzero(on)
    if at.size == 0:
        return 0, -1
    runs = np.split(at, np.flatnonzero(np.diff(at) > _GAP_PLACES + 1) + 1)
    longest = max(runs, key=lambda run: int(run[-1] - run[0]))
    return int(longest[0]), int(longest[-1])


def _beside(mask: NDArray[np.uint8], y: NDArray[np.intp], x: NDArray[np.intp]) -> float:
    """Return the share of places that are bright three to five places to either side of a line."""
    down, right = int(y[-1]) - int(y[0]), int(x[-1]) - int(x[0])
    length = math.hypot(down, right)
    shares = []
    for off in _BESIDE_PLACES:
        at_y, at_x = y + round(off * right / length), x - round(off * down / length)
        inside = (at_y >= 0) & (at_y < mask.shape[0]) & (at_x >= 0) & (at_x < mask.shape[1])
        shares.append(mask[at_y[inside], at_x[inside]])
    values = np.concatenate(shares)
    return float(values.mean()) if values.size else 0.0


def _long_parts(mask: NDArray[np.uint8], least: float) -> NDArray[np.uint8]:
    """Return the parts whose box has at least this diagonal."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    is_long = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]) >= least
    is_long[0] = False
    kept: NDArray[np.uint8] = is_long.view(np.uint8)[labels]
    return kept
