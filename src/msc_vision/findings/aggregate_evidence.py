"""How far each place looks like the inside of an aggregate, by the network's maps and the grey values around it.

The network's own map of aggregates is hardly ever sure. What it says of foreground, cores and obscured surface, at
three sizes, and how bright and how uneven the picture is there, tell more. A net of one hidden layer weighs them. All
of it is computed with whole numbers, so a place gets the same answer however the field was cut into tiles.
"""

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.findings.aggregate_weights import BIAS_IN, BIAS_OUT, SHIFT, WEIGHTS_IN, WEIGHTS_OUT
from msc_vision.records import Region

Grid = NDArray[np.uint8]

GRID_UM = 4.0
"""Side of the places that are judged, near enough: a whole number of working pixels."""
MAP_WINDOWS_UM = (8.0, 20.0, 45.0)
BACKGROUND_UM = 200.0
MEAN_WINDOWS_UM = (6.0, 14.0, 30.0, 60.0)
UNEVEN_WINDOWS_UM = (8.0, 20.0, 45.0)
GRAIN_WINDOWS_UM = (14.0, 30.0)
REACH_UM = 0.5 * (BACKGROUND_UM + max(MEAN_WINDOWS_UM)) + 4 * GRID_UM
"""How far away something can lie and still count."""

_TOP = 127
_CONTRAST_STEPS = 2048
_CONTRAST_MOST = 4095


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
    planes = [places(plane, side) for plane in maps]
    grey = places(working, side)
    signs = [*_map_signs(planes, place_um), *_grey_signs(grey, place_um), *_grain_signs(working, side, place_um)]
    return np.stack(signs)


def _width(window_um: float, place_um: float) -> int:
    return 2 * max(1, round(0.5 * window_um / place_um)) + 1


def _sum(plane: NDArray[np.generic], window_um: float, place_um: float) -> tuple[NDArray[np.int32], int]:
    """Return the sum over a square window, and how many places that has."""
    width = _width(window_um, place_um)
    total = cv2.boxFilter(plane, cv2.CV_32S, (width, width), normalize=False, borderType=cv2.BORDER_REFLECT_101)
    return total, width * width


def _rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.clip(np.rint(values, out=values), -_TOP, _TOP, out=values)


def _map_signs(planes: list[NDArray[np.generic]], place_um: float) -> Iterator[NDArray[np.float32]]:
    for plane in planes:
        for window_um in MAP_WINDOWS_UM:
            total, n = _sum(plane, window_um, place_um)
            yield _rounded(np.sqrt(total.astype(np.float32)) * np.float32(_TOP / math.sqrt(255 * n)))


def _grey_signs(grey: NDArray[np.generic], place_um: float) -> Iterator[NDArray[np.float32]]:
    contrast = _contrast(grey, BACKGROUND_UM, place_um)
    for window_um in MEAN_WINDOWS_UM:
        total, n = _sum(contrast, window_um, place_um)
        yield _rounded(total.astype(np.float32) * np.float32(2.0 * _TOP / (n * _CONTRAST_STEPS)))
    squares = contrast * contrast
    for window_um in UNEVEN_WINDOWS_UM:
        total, n = _sum(contrast, window_um, place_um)
        square, _ = _sum(squares, window_um, place_um)
        variance = square.astype(np.float64) / n - (total.astype(np.float64) / n) ** 2
        yield _spread_sign(variance.astype(np.float32))
    local = contrast - _sum(contrast, 8.0, place_um)[0] // _sum(contrast, 8.0, place_um)[1]
    local *= local
    for window_um in GRAIN_WINDOWS_UM:
        total, n = _sum(local, window_um, place_um)
        yield _spread_sign(total.astype(np.float32) * np.float32(1 / n))
    across, down = (cv2.Sobel(contrast.astype(np.int16), cv2.CV_16S, *way).astype(np.int32) for way in ((1, 0), (0, 1)))
    xx, yy, xy = (_sum(product >> 4, 20.0, place_um)[0] for product in (across * across, down * down, across * down))
    strength = (xx + yy).astype(np.float64) + 1
    yield _rounded(
        (np.sqrt((xx - yy).astype(np.float64) ** 2 + 4 * xy.astype(np.float64) ** 2) * (_TOP / strength)).astype(
            np.float32
        )
    )


def _spread_sign(variance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the fourth root of a variance in steps of contrast, 127 for a spread of one half."""
    spread = np.sqrt(np.sqrt(np.maximum(variance, 0, out=variance), out=variance), out=variance)
    return _rounded(spread * np.float32(_TOP / math.sqrt(0.5 * _CONTRAST_STEPS)))


def _contrast(grey: NDArray[np.generic], window_um: float, place_um: float) -> NDArray[np.int32]:
    """Return the grey value over that of the surroundings, less 1, in steps of 1/2048."""
    total, n = _sum(grey, window_um, place_um)
    ratio = grey.astype(np.float32) * np.float32(n * _CONTRAST_STEPS) / (total.astype(np.float32) + 1)
    ratio -= _CONTRAST_STEPS
    return np.clip(np.rint(ratio), -_CONTRAST_MOST // 2, _CONTRAST_MOST // 2).astype(np.int32)


def _grain_signs(working: NDArray[np.uint16], side: int, place_um: float) -> Iterator[NDArray[np.float32]]:
    """Return how uneven the picture is at the finest scale."""
    smooth = cv2.boxFilter(working, cv2.CV_16U, (5, 5), borderType=cv2.BORDER_REFLECT_101)
    difference = places(cv2.absdiff(working, smooth), side)
    around, n_around = _sum(places(working, side), BACKGROUND_UM, place_um)
    for window_um in GRAIN_WINDOWS_UM:
        total, n = _sum(difference, window_um, place_um)
        share = total.astype(np.float32) * np.float32(n_around / n) / (around.astype(np.float32) + 1)
        yield _rounded(np.sqrt(share) * np.float32(_TOP / math.sqrt(0.25)))


def weigh(signs: NDArray[np.float32]) -> Grid:
    """Return 128 plus 16 times the logarithm of the odds that a place lies in an aggregate, (Y, X) uint8.

    Parameters
    ----------
    signs : (signs, Y, X) float32 array
        Whole numbers from -127 to 127; their weights are whole numbers too, so sums are exact in any order.
    """
    flat = signs.reshape(len(signs), -1)
    hidden = np.array(WEIGHTS_IN, np.float32).T @ flat
    hidden += np.array(BIAS_IN, np.float32)[:, None]
    np.maximum(hidden, 0, out=hidden)
    np.floor(hidden * np.float32(1 / 2 ** SHIFT[0]), out=hidden)
    np.minimum(hidden, 2047, out=hidden)
    answer = np.array(WEIGHTS_OUT, np.float32) @ hidden
    answer = np.floor((answer + np.float32(BIAS_OUT)) * np.float32(1 / 2 ** SHIFT[1]))
    return np.clip(answer + 128, 0, 255).astype(np.uint8).reshape(signs.shape[1:])


def aligned(around: Region, side_px: int) -> Region:
    """Return the part of a region that begins where a place of the whole field begins."""
    return Region(-(-around.y0 // side_px) * side_px, around.y1, -(-around.x0 // side_px) * side_px, around.x1)
