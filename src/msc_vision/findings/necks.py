"""Aggregates that touch: where an outline is narrow between two wide parts, and the evidence dips, it is cut.

The distance to the rim of a convex outline never dips along a line, so a ball, an ellipse or a rod has no neck. Every
answer depends on no more than `NECK_REACH_UM` around it, and so does not change with the tiles a field is cut into.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

_GRID_UM = 2.5
_N_AXES = 8
_WIDE_UM = 60.0
"""Wider parts count as so wide: distance to the rim."""
_NARROW_UM = 16.0
"""Parts narrower than this, from the middle to the rim, are bumps and no aggregates of their own."""
_RAY_UM = 60.0
"""How far from a neck its two parts are looked for."""
_ACROSS_UM = 15.0
_ALONE_UM = 10.0
_STEPS = 16
LARGEST_SHARE = 0.8
NECK_REACH_UM = 2 * LARGEST_SHARE * _WIDE_UM + _ALONE_UM + _RAY_UM + _WIDE_UM + 8 * _GRID_UM
"""How far away something can lie and still decide whether a pixel is cut."""

Rays = list[tuple[int, int]]


def neck_grid_px(working_um: float) -> int:
    """Return how many working pixels lie between the places where necks are looked for."""
    return max(1, round(_GRID_UM / working_um))


def cut_necks(
    mask: NDArray[np.uint8], evidence: NDArray[np.uint8], working_um: float, share: float, dip: float
) -> NDArray[np.uint8]:
    """Return a mask cut along its necks, two pixels wide.

    Parameters
    ----------
    mask : (Y, X) uint8 array
        0 or 1; its first pixel lies where the grid of the whole field has a place (see `neck_grid_px`).
    evidence : (Y, X) uint8 array
        That it is an aggregate.
    working_um : float
        Side of a pixel.
    share : float
        A neck is narrower than this share of both parts, at most `LARGEST_SHARE`.
    dip : float
        So much less is the mean evidence on a neck than the most in either part.
    """
    side = neck_grid_px(working_um)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5)[side // 2 :: side, side // 2 :: side]
    depth = np.minimum(depth, 2 * _WIDE_UM / working_um)  # without a rim anywhere OpenCV gives the largest float
    depth = np.minimum(np.rint(depth * (_STEPS * working_um)), _STEPS * _WIDE_UM).astype(np.uint16)
    if not depth.size or depth.max() < _STEPS * _NARROW_UM:
        return mask
    cuts = np.zeros_like(mask)
    for y, x, axis in _necks(depth, side * working_um, share):
        at = y * side + side // 2, x * side + side // 2
        most_px = 2 * depth[y, x] / (_STEPS * working_um) + 2
        across = _across(mask, at, _turned(axis, math.pi / 2), most_px)
        if across is None:
            continue
        parts = (_along(at, _turned(axis, turn), _RAY_UM / working_um, mask.shape) for turn in (0, math.pi))
        sides = min(int((evidence[part] * mask[part]).max()) for part in parts)
        if evidence[across].sum(dtype=np.int64) <= (sides - dip) * across[0].size:
            cuts[across] = 1
    # two pixels wide, so that no corner joins what lies on either side
    return mask & (cv2.dilate(cuts, np.ones((2, 2), np.uint8), anchor=(0, 0)) ^ 1).astype(np.uint8)


def _necks(depth: NDArray[np.uint16], place_um: float, share: float) -> list[tuple[int, int, int]]:
    """Return the row and column of the middle of each neck, and which axis runs through it from part to part."""
    widest, axis = np.zeros_like(depth), np.zeros(depth.shape, np.uint8)
    for number in range(_N_AXES):
        ends = (_most_along(depth, _step(_turned(number, turn), _RAY_UM / place_um)) for turn in (0, math.pi))
        both = np.minimum(*ends)
        axis[both > widest] = number
        np.maximum(widest, both, out=widest)
    is_narrow = (depth > 0) & (widest >= _STEPS * _NARROW_UM) & (depth < share * widest)
    if not is_narrow.any():
        return []
    for number in range(_N_AXES):
        turns = (math.pi / 2, -math.pi / 2)
        beside = (_most_along(depth, _step(_turned(number, turn), _ACROSS_UM / place_um)) for turn in turns)
        is_narrow &= (axis != number) | (depth >= np.maximum(*beside))
    score = np.where(is_narrow, depth, np.iinfo(np.uint16).max).astype(np.uint16)
    width = 2 * round(_ALONE_UM / place_um) + 1
    is_narrow &= score == cv2.erode(score, np.ones((width, width), np.uint8))
    return [(int(y), int(x), int(axis[y, x])) for y, x in np.argwhere(is_narrow)]


def _turned(axis: int, turn: float) -> float:
    return math.pi * axis / _N_AXES + turn


def _step(angle: float, length: float) -> tuple[int, int]:
    """Return a whole number of rows and columns."""
    return round(length * math.sin(angle)), round(length * math.cos(angle))


def _most_along(plane: NDArray[np.uint16], step: tuple[int, int]) -> NDArray[np.uint16]:
    """Return the most on the line from each place to the one a step away."""
    down, right = step
    start = max(-right, 0), max(-down, 0)
    line = np.zeros((abs(down) + 1, abs(right) + 1), np.uint8)
    cv2.line(line, start, (start[0] + right, start[1] + down), 1)
    return cv2.dilate(plane, line, anchor=start).astype(np.uint16)


Pixels = tuple[NDArray[np.int64], NDArray[np.int64]]


def _along(at: tuple[int, int], angle: float, length_px: float, shape: tuple[int, ...]) -> Pixels:
    """Return the pixels on a line from a pixel on, as far as the picture goes."""
    # whole steps are added to whole places: the same pixels wherever a tile begins
    far = np.arange(int(length_px) + 1)
    rows = at[0] + np.rint(far * math.sin(angle)).astype(np.int64)
    columns = at[1] + np.rint(far * math.cos(angle)).astype(np.int64)
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    return rows[inside], columns[inside]


def _across(mask: NDArray[np.uint8], at: tuple[int, int], angle: float, most_px: float) -> Pixels | None:
    """Return the pixels from rim to rim through a pixel; None if a rim is not met so near."""
    halves = []
    for turn in (0, math.pi):
        rows, columns = _along(at, angle + turn, most_px, mask.shape)
        outside = np.flatnonzero(mask[rows, columns] == 0)
        if not outside.size and rows.size > int(most_px):
            return None
        n = int(outside[0]) if outside.size else rows.size
        halves.append((rows[turn > 0 : n], columns[turn > 0 : n]))  # the pixel itself once
    return np.concatenate([h[0] for h in halves]), np.concatenate([h[1] for h in halves])
