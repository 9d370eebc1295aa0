"""Foreground to basins: every pixel climbs the cores map to its own summit; basins are the pieces cells are made of.

A climb goes to the highest of eight neighbours, at most `REACH_PX` steps, so a tile with that much surroundings gives
each pixel the same summit as the whole field does. Summits are named by their pixel in the whole field.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

REACH_PX = 128
"""Longest climb, in working pixels; a power of two."""
UNITS_PER_STEP = 200
"""Height of one of the 255 steps of the cores map: what smoothing makes of it stays a whole number."""
SMOOTH_MAX_PX = 8.0
"""Widest smoothing, one sigma."""


def summits(height: NDArray[np.uint16]) -> NDArray[np.int32]:
    """Return where each foreground pixel's climb ends.

    Parameters
    ----------
    height : (Y, X) uint16 array
        As `smooth_height` gives it: 0 on bare surface.

    Returns
    -------
    (Y, X) int32 array
        Row times X plus column of the summit; -1 on bare surface.
    """
    target = _steps(height)
    inside = np.flatnonzero(height)
    compact = np.full(height.size, -1, np.int32)
    compact[inside] = np.arange(inside.size, dtype=np.int32)
    step = compact[target.ravel()[inside]]
    for _ in range(REACH_PX.bit_length() - 1):
        step = step[step]
    found = np.full(height.shape, -1, np.int32)
    found.ravel()[inside] = inside[step]
    return found


def smooth_height(core: NDArray[np.uint8], foreground: NDArray[np.uint8], smooth_px: float) -> NDArray[np.uint16]:
    """Return the height that is climbed: smoothed cores, 1 or more on the foreground and 0 elsewhere.

    Parameters
    ----------
    core : (Y, X) uint8 array
        0 at the rim of a cell to 255 at its middle.
    foreground : (Y, X) uint8 array
        0 or 1.
    smooth_px : float
        One sigma of a Gaussian; at most `SMOOTH_MAX_PX` is used.
    """
    wide = cv2.multiply(core, (float(UNITS_PER_STEP), 0.0, 0.0, 0.0), dtype=cv2.CV_16U)
    sigma = min(max(smooth_px, 0.3), SMOOTH_MAX_PX)
    smooth = cv2.GaussianBlur(wide, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.where(foreground.view(np.bool_), np.maximum(smooth, np.uint16(1)), np.uint16(0))


def _steps(height: NDArray[np.uint16]) -> NDArray[np.int32]:
    """Return the index of the highest of each pixel and its eight neighbours; of equals the last in reading order."""
    # the two bits below a height say which row, the two below those which column it was found in: one maximum, then,
    # finds height, row and column, and of equals the last
    padded = cv2.copyMakeBorder(height, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0.0, 0.0, 0.0, 0.0))
    found = padded.astype(np.int32)
    for _ in range(2):
        found <<= 2
        found = np.maximum(np.maximum(found[:-2], found[1:-1] | 1), found[2:] | 2).T
    columns = height.shape[1]
    place = np.arange(16)
    offsets = ((place >> 2) - 1) * columns + (place & 3) - 1
    found &= 15
    return offsets.astype(np.int32)[found] + np.arange(height.size, dtype=np.int32).reshape(height.shape)
