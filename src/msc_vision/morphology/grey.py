"""How the inside of a cell, its rim and its surroundings compare in a phase-contrast picture.

All figures are ratios of greys of one place: neither brightness nor gain nor a slow change of the light matters. A
black level that the camera adds to every pixel does: it is not known here and makes all of them smaller.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.morphology.outline import Floats, Ints, Runs, run_sums

_FEW_PX = 8
"""Of fewer pixels no mean is told."""


class GreyScales(NamedTuple):
    """Lengths in working pixels at which greys are compared."""

    rim_px: int  # the ring outside a cell, and the edge inside that is left out of its texture
    fine_px: float  # one sigma of smoothing against noise
    coarse_px: int  # odd side of the window whose mean is the local grey
    around_px: int  # how far the surroundings of a cell reach beyond its box


class Greys(NamedTuple):
    """Figures of cells, an entry per cell; NaN where too few pixels tell."""

    body: Floats
    halo: Floats
    texture: Floats


def greys(picture: NDArray[np.uint16], cells: NDArray[np.int32], runs: Runs, boxes: Ints, scales: GreyScales) -> Greys:
    """Return how cells 1 to n look.

    Parameters
    ----------
    picture : (Y, X) uint16 array
    cells : (Y, X) int32 array
        1 to n for the cells that are measured, 0 bare surface, n + 1 any other cell.
    runs : Runs
        Of ``cells``.
    boxes : (n, 4) int64 array
        y0, y1, x0, x1 of each.
    """
    n = len(boxes)
    numbers = cells.astype(np.float32)
    window = np.ones(2 * (2 * scales.rim_px + 1,), np.uint8)
    highest = cv2.dilate(numbers, window)
    is_inner = (cv2.erode(numbers, window) == highest).view(np.uint8)
    area = np.bincount(runs.cell, runs.x1 - runs.x0, minlength=n).astype(np.int64)
    inside = run_sums(picture, runs, n)
    surround = _surround(picture, boxes, inside, area, scales.around_px)
    detail = _detail(picture, scales)
    detail *= is_inner
    unevenness = run_sums(detail, runs, n) / scales.coarse_px**2
    return Greys(
        body=_mean(inside, area) / surround - 1,
        halo=_mean(*_ring(picture, numbers, highest, window, n)) / surround - 1,
        texture=_mean(unevenness, run_sums(is_inner, runs, n)) / surround,
    )


def _mean(total: NDArray[np.number], count: NDArray[np.number]) -> Floats:
    return np.where(count >= _FEW_PX, total / np.maximum(count, 1), np.nan)


def _surround(picture: NDArray[np.uint16], boxes: Ints, inside: Ints, area: Ints, around_px: int) -> Floats:
    """Return the mean grey of all that lies in and near the box of each cell but is not the cell."""
    integral = cv2.integral(picture, sdepth=cv2.CV_64F)  # whole numbers far below 2**53
    y0, x0 = np.maximum(boxes[:, ::2] - around_px, 0).T
    y1, x1 = np.minimum(boxes[:, 1::2] + around_px, picture.shape).T
    total = integral[y1, x1] - integral[y0, x1] - integral[y1, x0] + integral[y0, x0]
    mean = _mean(total - inside, (y1 - y0) * (x1 - x0) - area)
    return np.where(mean > 0, mean, np.nan)


def _detail(picture: NDArray[np.uint16], scales: GreyScales) -> NDArray[np.int32]:
    """Return how far each place differs from its local mean, times the pixels of the window of that mean."""
    size = 2 * int(np.ceil(3 * scales.fine_px)) + 1
    detail = cv2.GaussianBlur(picture, (size, size), scales.fine_px).astype(np.int32)  # bit-exact for uint16
    side = scales.coarse_px
    detail *= side**2
    detail -= cv2.boxFilter(picture, cv2.CV_32S, (side, side), normalize=False)
    return np.abs(detail, out=detail)


def _ring(
    picture: NDArray[np.uint16],
    numbers: NDArray[np.float32],
    highest: NDArray[np.float32],
    window: NDArray[np.uint8],
    n: int,
) -> tuple[Ints, Ints]:
    """Return the sum of the greys and the number of the bare pixels that lie near one cell only."""
    bare = numbers == 0
    lowest = cv2.erode(np.where(bare, np.float32(n + 2), numbers), window)
    at = np.flatnonzero(bare & (lowest == highest) & (highest <= n))
    cell = highest.ravel()[at].astype(np.int64) - 1
    total = np.bincount(cell, picture.ravel()[at], minlength=n).astype(np.int64)
    return total, np.bincount(cell, minlength=n)
