"""How far each place looks like the inside of an aggregate, by the network's maps and the grey values around it.

The network's own map of aggregates is hardly ever sure. What it says of foreground, cores and obscured surface, at
several sizes, and how bright and how uneven the picture is there, tell more. A net of one hidden layer weighs them. All
of it is computed with whole numbers, so a place gets the same answer however the field was cut into tiles.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import chain

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.findings.aggregate_weights import SIGN_MOST, shipped_net
from msc_vision.records import Region
from msc_vision.segmentation.network.maps import MAPS

Grid = NDArray[np.uint8]

GRID_UM = 5.0
"""Side of the places that are judged, near enough: a whole number of working pixels."""
MAP_WINDOWS_UM = (0.0, 20.0, 45.0, 110.0)
"""Widths around a place; 0 is the place alone."""
BACKGROUND_UM = 200.0
MEAN_WINDOWS_UM = (0.0, 15.0, 30.0, 60.0, 110.0)
UNEVEN_WINDOWS_UM = (15.0, 30.0, 60.0)
GRAIN_WINDOWS_UM = (15.0, 35.0)
_LOCAL_UM = 15.0
_DIRECTION_UM = 20.0
RAYS_UM = (35.0, 70.0, 140.0)
SMOOTH_WINDOWS_UM = (35.0, 70.0)
REACH_UM = 0.5 * BACKGROUND_UM + max(0.5 * max(MEAN_WINDOWS_UM), *RAYS_UM) + 4 * GRID_UM
"""How far away something can lie and still count."""

SIGNS = (
    *(f"{name} {window:g}" for name in MAPS for window in MAP_WINDOWS_UM),
    *(f"brightness {window:g}" for window in MEAN_WINDOWS_UM),
    *(f"unevenness {window:g}" for window in UNEVEN_WINDOWS_UM),
    *(f"grain {window:g}" for window in GRAIN_WINDOWS_UM),
    "direction",
    *(f"fine grain {window:g}" for window in GRAIN_WINDOWS_UM),
    *(f"enclosed by {rim} {ray:g}" for rim in ("bright", "grain") for ray in RAYS_UM),
    *(f"{what} over surroundings {window:g}" for what in ("grain", "fine grain") for window in SMOOTH_WINDOWS_UM),
)
"""What is weighed, with the width of its window in µm."""

_CONTRAST_STEPS = 2048
_CONTRAST_MOST = 2047
_GRAIN_STEPS = 16384


def places_side_px(working_um: float) -> int:
    """Return how many working pixels a side one place has."""
    return max(1, round(GRID_UM / working_um))


def places(plane: NDArray[np.generic], side_px: int) -> NDArray[np.generic]:
    """Return the mean of each place; the last ones may be filled up with copies of the last pixel."""
    height, width = plane.shape
    below, right = -height % side_px, -width % side_px
    if below or right:
        plane = cv2.copyMakeBorder(plane, 0, below, 0, right, cv2.BORDER_REPLICATE)
    size = plane.shape[1] // side_px, plane.shape[0] // side_px
    return cv2.resize(plane, size, interpolation=cv2.INTER_AREA) if side_px > 1 else plane


def aggregate_signs(working: NDArray[np.uint16], maps: NDArray[np.uint8], working_um: float) -> NDArray[np.float32]:
    """Return what is weighed: whole numbers from -127 to 127, (signs, Y, X) float32, Y and X in places.

    Parameters
    ----------
    working : (Y, X) uint16 array
    maps : (6, Y, X) uint8 array
        Of the network.
    working_um : float
        Side of a working pixel, measured or guessed.
    """
    side = places_side_px(working_um)
    place_um = side * working_um
    grey = places(working, side)
    contrast, grain = _contrast(grey, place_um), _fine_grain(working, grey, side, place_um)
    signs = np.empty((len(SIGNS), *grey.shape), np.float32)
    found = chain(
        _map_signs((places(plane, side) for plane in maps), place_um),
        _grey_signs(contrast, place_um),
        _grain_signs(grain, place_um),
        _enclosed_signs(contrast.astype(np.int16), grain, place_um),
        _relative_signs(_local(contrast, place_um), place_um),
        _relative_signs(grain, place_um),
    )
    for sign, values in zip(signs, found, strict=True):
        np.rint(values, out=values)
        np.clip(values, -SIGN_MOST, SIGN_MOST, out=sign)
    return signs


def _sum(plane: NDArray[np.generic], window_um: float, place_um: float) -> tuple[NDArray[np.int32], int]:
    """Return the sum over a square window, and how many places that has."""
    width = 2 * round(0.5 * window_um / place_um) + 1
    total = cv2.boxFilter(plane, cv2.CV_32S, (width, width), normalize=False, borderType=cv2.BORDER_REFLECT_101)
    return total, width * width


def _map_signs(planes: Iterable[NDArray[np.generic]], place_um: float) -> Iterator[NDArray[np.float32]]:
    for plane in planes:
        for window_um in MAP_WINDOWS_UM:
            total, n = _sum(plane, window_um, place_um)
            yield np.sqrt(total.astype(np.float32) * np.float32(SIGN_MOST**2 / (255 * n)))


def _grey_signs(contrast: NDArray[np.int32], place_um: float) -> Iterator[NDArray[np.float32]]:
    for window_um in MEAN_WINDOWS_UM:
        total, n = _sum(contrast, window_um, place_um)
        yield total.astype(np.float32) * np.float32(2.0 * SIGN_MOST / (n * _CONTRAST_STEPS))
    squares = contrast * contrast
    for window_um in UNEVEN_WINDOWS_UM:
        total, n = _sum(contrast, window_um, place_um)
        square, _ = _sum(squares, window_um, place_um)
        variance = square.astype(np.float64) / n - (total.astype(np.float64) / n) ** 2
        yield _spread_sign(variance.astype(np.float32))
    local = _local(contrast, place_um)
    for window_um in GRAIN_WINDOWS_UM:
        total, n = _sum(local, window_um, place_um)
        yield _spread_sign(total.astype(np.float32) * np.float32(1 / n))
    yield _direction_sign(contrast, place_um)


def _local(contrast: NDArray[np.int32], place_um: float) -> NDArray[np.int32]:
    """Return the square of the difference from the nearest surroundings."""
    total, n = _sum(contrast, _LOCAL_UM, place_um)
    local = contrast - total // n
    local *= local
    return local


def _relative_signs(plane: NDArray[np.generic], place_um: float) -> Iterator[NDArray[np.float32]]:
    """Return how much more (+) or less (-) of something there is than all around, 127 for all of it."""
    total, n = _sum(plane, BACKGROUND_UM, place_um)
    around = total.astype(np.float32) * np.float32(1 / n)
    for window_um in SMOOTH_WINDOWS_UM:
        total, n = _sum(plane, window_um, place_um)
        inside = total.astype(np.float32) * np.float32(1 / n)
        yield (inside - around) / (inside + around + 1) * np.float32(SIGN_MOST)


def _direction_sign(contrast: NDArray[np.int32], place_um: float) -> NDArray[np.float32]:
    """Return how far the edges around a place share one direction, 127 for all of them."""
    steps = contrast.astype(np.int16)
    across, down = (cv2.Sobel(steps, cv2.CV_16S, *way).astype(np.int32) for way in ((1, 0), (0, 1)))
    xx, yy, xy = (
        _sum(product >> 4, _DIRECTION_UM, place_um)[0].astype(np.float32)
        for product in (across * across, down * down, across * down)
    )
    difference = xx - yy
    return np.sqrt(difference * difference + 4 * xy * xy) * np.float32(SIGN_MOST) / (xx + yy + 1)


def _spread_sign(variance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the fourth root of a variance in steps of contrast, 127 for a spread of one half."""
    spread = np.sqrt(np.sqrt(np.maximum(variance, 0, out=variance), out=variance), out=variance)
    return spread * np.float32(SIGN_MOST / math.sqrt(0.5 * _CONTRAST_STEPS))


def _contrast(grey: NDArray[np.generic], place_um: float) -> NDArray[np.int32]:
    """Return the grey value over that of the surroundings, less 1, in steps of 1/2048."""
    total, n = _sum(grey, BACKGROUND_UM, place_um)
    ratio = grey.astype(np.float32) * np.float32(n * _CONTRAST_STEPS) / (total.astype(np.float32) + 1)
    ratio -= _CONTRAST_STEPS
    return np.clip(np.rint(ratio), -_CONTRAST_MOST, _CONTRAST_MOST).astype(np.int32)


def _fine_grain(
    working: NDArray[np.uint16], grey: NDArray[np.generic], side: int, place_um: float
) -> NDArray[np.int16]:
    """Return how uneven the picture is at the finest scale, over the grey of the surroundings, in steps of 1/16384."""
    smooth = cv2.boxFilter(working, cv2.CV_16U, (5, 5), borderType=cv2.BORDER_REFLECT_101)
    difference = places(cv2.absdiff(working, smooth), side).astype(np.float32)
    around, n = _sum(grey, BACKGROUND_UM, place_um)
    share = difference * np.float32(n * _GRAIN_STEPS) / (around.astype(np.float32) + 1)
    return np.minimum(np.rint(share), _GRAIN_STEPS - 1).astype(np.int16)


def _grain_signs(grain: NDArray[np.int16], place_um: float) -> Iterator[NDArray[np.float32]]:
    for window_um in GRAIN_WINDOWS_UM:
        total, n = _sum(grain, window_um, place_um)
        yield np.sqrt(total.astype(np.float32) * np.float32(4 * SIGN_MOST**2 / (n * _GRAIN_STEPS)))


def _enclosed_signs(
    bright: NDArray[np.int16], grain: NDArray[np.int16], place_um: float
) -> Iterator[NDArray[np.float32]]:
    """Return how strong the weakest side of a rim around a place is, looking out in eight directions."""
    for ray_um in RAYS_UM:
        yield _weakest_side(bright, round(ray_um / place_um)) * np.float32(2.0 * SIGN_MOST / _CONTRAST_STEPS)
    for ray_um in RAYS_UM:
        strength = np.maximum(_weakest_side(grain, round(ray_um / place_um)), 0)
        yield np.sqrt(strength * np.float32(4 * SIGN_MOST**2 / _GRAIN_STEPS))


def _weakest_side(plane: NDArray[np.int16], n: int) -> NDArray[np.float32]:
    """Return the least, over eight directions, of the most along a ray of so many places."""
    line, slope = np.ones((1, n), np.uint8), np.eye(n, dtype=np.uint8)
    rays = [(line, (0, 0)), (line, (n - 1, 0)), (line.T, (0, 0)), (line.T, (0, n - 1))]
    rays += [(slope, (0, 0)), (slope, (n - 1, n - 1)), (slope[:, ::-1], (0, n - 1)), (slope[:, ::-1], (n - 1, 0))]
    weakest = np.full(plane.shape, np.iinfo(np.int16).max, np.int16)
    for kernel, anchor in rays:
        most = cv2.dilate(plane, np.ascontiguousarray(kernel), anchor=anchor, borderType=cv2.BORDER_REPLICATE)
        np.minimum(weakest, most, out=weakest)
    return weakest.astype(np.float32)


def weigh(signs: NDArray[np.float32]) -> Grid:
    """Return what the shipped net makes of signs: 128 plus 16 times the logarithm of the odds, (Y, X) uint8."""
    return shipped_net().weigh(signs)


def aligned(around: Region, side_px: int) -> Region:
    """Return the part of a region that begins where a place of the whole field begins."""
    return Region(-(-around.y0 // side_px) * side_px, around.y1, -(-around.x0 // side_px) * side_px, around.x1)
