"""Foreground to basins: every pixel climbs the cores map to its own summit; basins are the pieces cells are made of.

A climb goes to the highest of eight neighbours, at most `REACH_PX` steps, so a tile with that much surroundings gives
each pixel the same summit as the whole field does. Summits are named by their pixel in the whole field.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

REACH_PX = 128
"""Longest climb, in working pixels; a power of two."""
_SMOOTH_PX = 1.2
_UP = ((0, -1), (-1, 1), (-1, 0), (-1, -1))  # neighbours read before a pixel, backwards: they must be higher
_DOWN = ((0, 1), (1, -1), (1, 0), (1, 1))  # neighbours read after it: as high is enough, so plateaus have one summit


def summits(core: NDArray[np.uint8], foreground: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return where each foreground pixel's climb ends.

    Parameters
    ----------
    core : (Y, X) uint8 array
        0 at the rim of a cell to 255 at its middle.
    foreground : (Y, X) uint8 array
        0 or 1.

    Returns
    -------
    (Y, X) int32 array
        Row times X plus column of the summit; -1 on bare surface.
    """
    height = smooth_height(core, foreground)
    target = _steps(height)
    inside = np.flatnonzero(foreground)
    compact = np.full(foreground.size, -1, np.int32)
    compact[inside] = np.arange(inside.size, dtype=np.int32)
    step = compact[target.ravel()[inside]]
    for _ in range(REACH_PX.bit_length() - 1):
        step = step[step]
    found = np.full(foreground.shape, -1, np.int32)
    found.ravel()[inside] = inside[step]
    return found


def smooth_height(core: NDArray[np.uint8], foreground: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return the height that is climbed: smoothed cores, 1 or more on the foreground and 0 elsewhere."""
    wide = cv2.multiply(core, (200.0, 0.0, 0.0, 0.0), dtype=cv2.CV_16U)
    smooth = cv2.GaussianBlur(wide, (0, 0), _SMOOTH_PX, borderType=cv2.BORDER_REPLICATE)
    return np.where(foreground.view(np.bool_), np.maximum(smooth, np.uint16(1)), np.uint16(0))


def _steps(height: NDArray[np.uint16]) -> NDArray[np.int32]:
    """Return the index of the highest of each pixel and its eight neighbours; of equals the last in reading order."""
    rows, columns = height.shape
    padded = cv2.copyMakeBorder(height, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0.0, 0.0, 0.0, 0.0))
    best = height.copy()
    offset = np.zeros(height.shape, np.int32)
    for neighbours, compare in ((_UP, np.greater), (_DOWN, np.greater_equal)):
        for dy, dx in neighbours:
            there = padded[1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns]
            higher = compare(there, best)
            np.copyto(best, there, where=higher)
            offset[higher] = dy * columns + dx
    return offset + np.arange(height.size, dtype=np.int32).reshape(height.shape)
