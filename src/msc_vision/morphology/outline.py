"""Area, moments, outline and hull of many cells at once, from the horizontal runs of a label image.

Whatever is summed is a whole number, so that no figure depends on where or in which order its cell was looked at.
"""

from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_DIRECTIONS = (((0, 1), (1, 0)), ((1, 1), (1, -1)), ((1, 2), (2, 1), (2, -1), (1, -2)))
"""Steps (y, x) whose lines cut the outline: straight, diagonal, and knight's moves."""
_ANGLES_DEG = (26.565, 18.435, 22.5)
"""Angle that each stands for: half of that between both neighbouring directions. All eight add to 180 degrees."""
_UNITS_PER_PX = 10_000
"""Lengths of outline are added as whole numbers of this fraction of a pixel."""
OUTLINE_REACH_PX = 2
"""How far beyond a cell its outline looks."""
_PAD_PX = 2 * OUTLINE_REACH_PX


class Runs(NamedTuple):
    """Horizontal runs of pixels of one cell, in reading order; an entry per run of a cell that is measured.

    ``cell`` counts from 0. ``x1`` is the first pixel behind the run. ``all_starts`` are the flat places of all runs,
    background and other cells included; ``which`` of them are these.
    """

    cell: Ints
    y: Ints
    x0: Ints
    x1: Ints
    all_starts: Ints
    which: Ints


class Moments(NamedTuple):
    """Sums over the pixels of each cell; y and x count from the first row and column of its box."""

    area: Ints
    y: Ints
    x: Ints
    yy: Ints
    xx: Ints
    yx: Ints


class Inertia(NamedTuple):
    """Second moments of each cell, of pixels that are little squares; variances in pixels²."""

    major: Floats
    minor: Floats
    orientation_deg: Floats  # 0 to 180, of the long axis, from the x axis towards the top of the picture


def runs_of(cells: NDArray[np.int32], n: int) -> Runs:
    """Return the runs of cells 1 to ``n`` of a (Y, X) int32 array; other numbers are not measured."""
    is_start = np.ones(cells.shape, np.bool_)
    np.not_equal(cells[:, 1:], cells[:, :-1], out=is_start[:, 1:])
    starts = np.flatnonzero(is_start)
    cell = cells.ravel()[starts]
    which = np.flatnonzero((cell > 0) & (cell <= n))
    ends = np.append(starts, cells.size)[1:]
    y, x0 = np.divmod(starts[which], cells.shape[1])
    return Runs(cell[which].astype(np.int64) - 1, y, x0, x0 + ends[which] - starts[which], starts, which)


def run_sums(values: NDArray[np.generic], runs: Runs, n: int) -> Ints:
    """Return the sum of whole-number ``values`` (Y, X) over the pixels of each of ``n`` cells, (n,) int64."""
    sums = np.add.reduceat(values.ravel(), runs.all_starts, dtype=np.int64)
    return _by_cell(runs, sums[runs.which], n)


def _by_cell(runs: Runs, values: Ints, n: int) -> Ints:
    return np.bincount(runs.cell, values, minlength=n).astype(np.int64)  # whole numbers far below 2**53


def moments(runs: Runs, boxes: Ints) -> Moments:
    """Return the moments of cells whose boxes y0, y1, x0, x1 are given, (n, 4)."""
    n = len(boxes)
    y = runs.y - boxes[runs.cell, 0]
    x0, x1 = (x - boxes[runs.cell, 2] for x in (runs.x0, runs.x1))
    long = x1 - x0
    sum_x = (x0 + x1 - 1) * long // 2
    sum_xx = _squares(x1) - _squares(x0)
    columns = (long, y * long, sum_x, y * y * long, sum_xx, y * sum_x)
    return Moments(*(_by_cell(runs, column, n) for column in columns))


def _squares(stop: Ints) -> Ints:
    """Return the sum of the squares of 0 to ``stop - 1``."""
    return (stop - 1) * stop * (2 * stop - 1) // 6


def inertia(sums: Moments) -> Inertia:
    """Return the axes of the ellipse that has the second moments of each cell."""
    area = sums.area
    scale = area.astype(np.float64) ** 2
    yy = (area * sums.yy - sums.y**2) / scale + 1 / 12
    xx = (area * sums.xx - sums.x**2) / scale + 1 / 12
    yx = (area * sums.yx - sums.y * sums.x) / scale
    middle, apart = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
    angle = np.degrees(np.arctan2(-2 * yx, xx - yy)) / 2
    return Inertia(middle + apart, middle - apart, angle % 180.0)


def perimeters_px(cells: NDArray[np.int32], n: int) -> Floats:
    """Return the length of the outline of cells 1 to ``n``, holes included, in pixels.

    Lines in eight directions are counted where they cut the outline (Cauchy and Crofton), which is as right for a disc
    as for a diagonal edge.
    """
    padded = np.pad(cells, _PAD_PX)
    window = np.ones(2 * (2 * OUTLINE_REACH_PX + 1,), np.uint8)
    numbers = padded.astype(np.float32)
    near = np.flatnonzero(cv2.dilate(numbers, window) != cv2.erode(numbers, window))
    flat = padded.ravel()
    near = near[(flat[near] > 0) & (flat[near] <= n)]
    here = flat[near]
    length = np.zeros(near.size, np.int32)
    for steps, angle in zip(_DIRECTIONS, _ANGLES_DEG, strict=True):
        n_cut = np.zeros(near.size, np.uint8)
        for y, x in steps:
            step = y * padded.shape[1] + x
            n_cut += flat[near + step] != here
            n_cut += flat[near - step] != here
        length += n_cut.astype(np.int32) * round(_UNITS_PER_PX * np.radians(angle) / (2 * np.hypot(*steps[0])))
    return np.bincount(here, length, minlength=n + 1)[1:] / _UNITS_PER_PX


def hull_areas_px(runs: Runs, n: int) -> Floats:
    """Return the area of the convex hull of each cell, in pixels.

    The hull is drawn around the middles of the pixels' sides: a rectangle is its own hull, a disc nearly so.
    """
    order = np.argsort(runs.cell, kind="stable")
    rows = np.stack([runs.x0[order], runs.y[order], runs.x1[order] - 1, runs.y[order]], axis=1).astype(np.int32)
    bounds = np.searchsorted(runs.cell[order], np.arange(n + 1)).tolist()
    hulls = [cv2.convexHull(rows[a:b].reshape(-1, 1, 2)) for a, b in pairwise(bounds)]
    if not hulls:
        return np.zeros(0)
    sizes = np.array([len(hull) for hull in hulls])
    starts = np.cumsum(sizes) - sizes
    corners = np.concatenate(hulls)[:, 0].astype(np.int64)
    following = np.arange(1, len(corners) + 1)
    following[starts + sizes - 1] = starts
    x, y = corners.T
    next_x, next_y = corners[following].T
    twice_area = np.abs(np.add.reduceat(x * next_y - next_x * y, starts))
    rim = np.add.reduceat(np.maximum(np.abs(next_x - x), np.abs(next_y - y)), starts)
    return (twice_area + rim + 1) / 2
