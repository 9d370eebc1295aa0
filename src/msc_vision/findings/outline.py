"""Figures of one outline: how round, how smooth, what lies around it. Shared by aggregates and spheroids."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_SMOOTH = np.array([1, 2, 3, 2, 1]) / 9
_SMALLEST_PX = 5


class Outline(NamedTuple):
    """Figures without unit; NaN where there is no area."""

    circularity: float
    solidity: float


def outline_figures(mask: NDArray[np.uint8]) -> Outline:
    """Return how round and how convex the largest part of a mask is.

    Parameters
    ----------
    mask : (Y, X) uint8 array
        0 or 1, the object cut out; it may touch the rim.
    """
    points = outer_contour(mask)
    if len(points) < _SMALLEST_PX:
        return Outline(float("nan"), float("nan"))
    smooth = np.stack([np.convolve(np.r_[c[-2:], c, c[:2]], _SMOOTH, "valid") for c in points.T], axis=1)
    smooth = smooth.astype(np.float32)
    area, perimeter = cv2.contourArea(smooth), cv2.arcLength(smooth, closed=True)
    hull = cv2.contourArea(cv2.convexHull(smooth))
    if not perimeter or not hull:
        return Outline(float("nan"), float("nan"))
    return Outline(min(4 * np.pi * area / perimeter**2, 1.0), min(area / hull, 1.0))


def outer_contour(mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the rim of the largest part, (n, 2) x and y in pixels of the mask."""
    contours, _ = cv2.findContours(np.pad(mask, 1), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.empty((0, 2))
    largest = max(contours, key=len)
    return largest.reshape(-1, 2).astype(np.float64) - 1


def ellipse_window(diameter_px: float) -> NDArray[np.uint8]:
    """Return a round window of at least one pixel, its diameter odd."""
    side = 2 * round(0.5 * diameter_px) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.uint8)
