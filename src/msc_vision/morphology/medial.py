"""Medial axes of cells: how long, how wide, how bent, and with how many arms.

Each cell is drawn by itself, with bare surface around it, on one common sheet. Neighbours cannot change its axis, and
the sheet is thinned and searched at once. Thinning goes pixel ring by pixel ring, so it is done on a coarser sheet,
whose pixels (blocks) belong to a cell where any of theirs does: thin processes stay. Steps along an axis are counted
in whole numbers, so where on the sheet a cell lies does not matter.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order

from msc_vision.morphology.thinning import WORD_PX, thin

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_STRIDE = 5
"""Every so many blocks of an axis a point is kept: the length between points hardly depends on the direction."""
_STEP, _DIAGONAL = 5, 7
"""Lengths of a straight and of a diagonal step, in fifths of a block."""
_RIM_PX = 0.5
"""The rim lies half a pixel before the middle of the next pixel outside."""
_ARM_RADII = 0.5
"""What reaches less far beyond where it begins, in radii of the cell's largest circle, is no arm: own choice."""
_SHORTEST_ARM = 2.0
"""Shorter arms, in blocks, are steps of the outline."""
_SHEET_WIDTH_PX = 2048


@dataclass(frozen=True, slots=True)
class MedialAxes:
    """The medial axes of cells, an entry per cell.

    Attributes
    ----------
    length_px : (n,) float64 array
        Length of the longest way along the axis, out to the rim at both ends.
    chord_px : (n,) float64 array
        Straight distance between the same two ends; at most ``length_px``.
    radius_px : (n,) float64 array
        Radius of the largest circle that lies in the cell; up to 5 % short: distances go in knight's moves.
    n_branches : (n,) int64 array
        Arms beside the longest way that reach beyond where they begin by half the radius of that circle.
    """

    length_px: Floats
    chord_px: Floats
    radius_px: Floats
    n_branches: Ints


class _Sheet(NamedTuple):
    mask: NDArray[np.uint8]  # 0 or 1
    block: int  # side of a block in pixels; places are multiples of it
    y0: Ints
    x0: Ints


class _Axes(NamedTuple):
    """Blocks of all axes, in reading order of the sheet; lengths are pixels."""

    y: Ints  # of the first pixel of the block
    x: Ints
    depth_px: Floats  # distance to the rim
    neighbours: Ints
    first: Ints  # the neighbours of block i are neighbours[first[i] : first[i + 1]]


class _Tree(NamedTuple):
    """Ways along the axes, away from one root in each cell; an entry per block."""

    parent: Ints  # that of a root, and of a block to which no way leads, is the block itself
    distance: Ints  # from the root, in fifths of a block
    cell: Ints  # -1 where no way leads


def medial_axes(labels: NDArray[np.int32], numbers: Ints, boxes: Ints, block: int = 1) -> MedialAxes:
    """Return the medial axes of cells.

    Parameters
    ----------
    labels : (Y, X) int32 array
    numbers : (n,) int64 array
        Labels of the cells.
    boxes : (n, 4) int64 array
        Their boxes y0, y1, x0, x1 in ``labels``.
    block : int
        Pixels a side of what is one pixel for the axis. Radii are measured on pixels.
    """
    n = len(numbers)
    if not n:
        return MedialAxes(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
    sheet = _draw(labels, numbers, boxes, block)
    depth = cv2.distanceTransform(sheet.mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    lines = thin(_blocks(sheet))
    middle, radius = _deepest(depth, lines, sheet, boxes[:, 1::2] - boxes[:, ::2])
    axes, roots = _axes(lines, depth, middle, block)
    start = _farthest(_tree(axes, roots), n)
    tree = _tree(axes, start)
    end = _farthest(tree, n)
    end_on, end_px = _beyond(axes, tree, end, sheet)
    start_on, start_px = _beyond(axes, _tree(axes, end), start, sheet)
    apart = np.stack([axes.y[end] - axes.y[start], axes.x[end] - axes.x[start]], axis=1) + (end_on - start_on)
    chord = np.hypot(apart[:, 0], apart[:, 1])
    length = np.maximum(np.maximum(_way_px(axes, tree, end) + end_px + start_px, chord), 2 * radius)
    chord = np.where(start == end, length, chord)  # a single block is straight
    return MedialAxes(length, chord, radius, _branches(axes, tree, end, radius, block))


def _draw(labels: NDArray[np.int32], numbers: Ints, boxes: Ints, block: int) -> _Sheet:
    """Draw each cell by itself, in rows, tall ones first, with at least one free block around."""
    sides = -(-(boxes[:, 1::2] - boxes[:, ::2]) // block)  # in blocks, as are the places
    width = -(-max(_SHEET_WIDTH_PX // block, int(sides[:, 1].max()) + 2) // WORD_PX) * WORD_PX
    places = np.empty((len(numbers), 2), np.int64)
    y = x = 1
    shelf = 0
    for i in np.argsort(-sides[:, 0], kind="stable").tolist():
        height, breadth = sides[i].tolist()
        if x + breadth >= width:
            y, x, shelf = y + shelf + 1, 1, 0
        places[i] = y, x
        x, shelf = x + breadth + 1, max(shelf, height)
    sheet = np.zeros(((y + shelf + 1) * block, width * block), np.bool_)
    places *= block
    for number, (y0, y1, x0, x1), (y, x) in zip(numbers.tolist(), boxes.tolist(), places.tolist(), strict=True):
        np.equal(labels[y0:y1, x0:x1], number, out=sheet[y : y + y1 - y0, x : x + x1 - x0])
    return _Sheet(sheet.view(np.uint8), block, places[:, 0], places[:, 1])


def _blocks(sheet: _Sheet) -> NDArray[np.uint8]:
    """Return the blocks of which any pixel is set, 0 or 1."""
    rows = sheet.mask[:: sheet.block].copy()
    for i in range(1, sheet.block):
        rows |= sheet.mask[i :: sheet.block]
    found = rows[:, :: sheet.block].copy()
    for i in range(1, sheet.block):
        found |= rows[:, i :: sheet.block]
    return found


def _deepest(depth: NDArray[np.float32], lines: NDArray[np.uint8], sheet: _Sheet, sides: Ints) -> tuple[Ints, Floats]:
    """Return for each cell a block of its axis, near its deepest pixel, and the radius of its largest circle.

    A cell without an axis is given one block of it.
    """
    block = sheet.block
    places, radius = np.empty(len(sides), np.int64), np.empty(len(sides))
    for i, (y0, x0, (tall, broad)) in enumerate(zip(sheet.y0.tolist(), sheet.x0.tolist(), sides.tolist(), strict=True)):
        _, radius[i], _, (x, y) = cv2.minMaxLoc(depth[y0 : y0 + tall, x0 : x0 + broad])
        y, x = (y0 + y) // block, (x0 + x) // block
        if not lines[y, x]:
            y, x = _nearest(lines, (y, x), (y0 // block, x0 // block, -(-tall // block), -(-broad // block)))
            lines[y, x] = 1
        places[i] = y * lines.shape[1] + x
    return places, radius - _RIM_PX / 2


def _nearest(lines: NDArray[np.uint8], place: tuple[int, int], box: tuple[int, int, int, int]) -> tuple[int, int]:
    """Return the block of the axis nearest to a place, the first of several; the place itself if there is none."""
    y0, x0, tall, broad = box
    ys, xs = np.nonzero(lines[y0 : y0 + tall, x0 : x0 + broad])
    if not ys.size:
        return place
    nearest = int(np.argmin((ys + y0 - place[0]) ** 2 + (xs + x0 - place[1]) ** 2))
    return int(ys[nearest]) + y0, int(xs[nearest]) + x0


def _axes(lines: NDArray[np.uint8], depth: NDArray[np.float32], middle: Ints, block: int) -> tuple[_Axes, Ints]:
    """Return the blocks of all axes, and which of them are those of ``middle``."""
    width = lines.shape[1]
    at = np.flatnonzero(lines)
    number = np.full(lines.size, -1, np.int32)
    number[at] = np.arange(at.size, dtype=np.int32)
    around = (-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1)
    neighbours = np.stack([number[at + step] for step in around], axis=1)
    is_there = neighbours >= 0
    y, x = np.divmod(at, width)
    deepest = np.zeros(at.size)
    for i, j in np.ndindex(block, block):
        np.maximum(deepest, depth[y * block + i, x * block + j], out=deepest)
    axes = _Axes(
        y=y * block,
        x=x * block,
        depth_px=deepest - _RIM_PX,
        neighbours=neighbours[is_there].astype(np.int64),
        first=np.concatenate([[0], np.cumsum(is_there.sum(axis=1))]),
    )
    return axes, number[middle].astype(np.int64)


def _tree(axes: _Axes, roots: Ints) -> _Tree:
    """Return the ways from one root in each cell, all cells at once: a last node leads to all roots."""
    n = len(axes.y)
    indices = np.concatenate([axes.neighbours, roots])
    first = np.append(axes.first, indices.size)
    graph = csr_array((np.ones(indices.size), indices, first), shape=(n + 1, n + 1))
    _, found = breadth_first_order(graph, n, directed=True, return_predecessors=True)
    parent = found[:n].astype(np.int64)
    alone = (parent < 0) | (parent == n)
    parent[alone] = np.flatnonzero(alone)
    straight = (axes.y == axes.y[parent]) | (axes.x == axes.x[parent])
    distance = np.where(alone, 0, np.where(straight, _STEP, _DIAGONAL)).astype(np.int64)
    ancestor = parent
    while not np.array_equal(further := ancestor[ancestor], ancestor):
        distance = distance + distance[ancestor]
        ancestor = further
    cell = np.full(n, -1, np.int64)
    cell[roots] = np.arange(len(roots))
    return _Tree(parent, distance, cell[ancestor])


def _farthest(tree: _Tree, n: int) -> Ints:
    """Return for each cell the block farthest from its root, the first of several."""
    reached = np.flatnonzero(tree.cell >= 0)[::-1]
    order = reached[np.argsort(tree.distance[reached], kind="stable")]
    found = np.empty(n, np.int64)
    found[tree.cell[order]] = order  # the last one written stays
    return found


def _way_px(axes: _Axes, tree: _Tree, end: Ints) -> Floats:
    """Return how long the way from each end to its root is, from point to point."""
    stride = tree.parent
    for _ in range(_STRIDE - 1):
        stride = tree.parent[stride]
    length, here = np.zeros(len(end)), end
    while not np.array_equal(there := stride[here], here):
        length += np.hypot(axes.y[there] - axes.y[here], axes.x[there] - axes.x[here])
        here = there
    return length


def _beyond(axes: _Axes, tree: _Tree, end: Ints, sheet: _Sheet) -> tuple[Floats, Floats]:
    """Return how each way goes on from its last block to the rim, (n, 2) y and x, and how long that is.

    Thinning eats blunt ends, some directions more than others, so the way goes on straight. Fractions of pixels are
    counted from the last block: where on the sheet it lies must not change how they are rounded.
    """
    back = end
    for _ in range(_STRIDE):
        back = tree.parent[back]
    last = np.stack([axes.y[end], axes.x[end]], axis=1)
    way = np.stack([axes.y[end] - axes.y[back], axes.x[end] - axes.x[back]], axis=1)
    length = np.hypot(way[:, 0], way[:, 1])
    ahead = way / np.maximum(length, 1)[:, None]
    beyond = np.zeros(len(end))
    going = np.flatnonzero(length > 0)
    while going.size:
        step = sheet.block / 2 + (beyond[going] + _RIM_PX)[:, None] * ahead[going]
        y, x = (last[going] + np.floor(step).astype(np.int64)).T
        going = going[sheet.mask[y, x] > 0]
        beyond[going] += _RIM_PX
    beyond = np.maximum(beyond, axes.depth_px[end])
    return beyond[:, None] * ahead, beyond


def _branches(axes: _Axes, tree: _Tree, end: Ints, radius_px: Floats, block: int) -> Ints:
    """Return the arms beside the longest way: tips from the farthest down, each as far as no earlier one went."""
    is_tip = tree.cell >= 0
    is_tip[tree.parent] = False
    tips = np.flatnonzero(is_tip)
    tips = tips[np.lexsort((tips, -tree.distance[tips], tree.cell[tips]))]
    _, starts, n_tips = np.unique(tree.cell[tips], return_index=True, return_counts=True)
    rank = np.arange(tips.size) - np.repeat(starts, n_tips)
    walked = np.zeros(len(axes.y), np.bool_)
    walked[tree.parent == np.arange(len(axes.y))] = True
    _joint(tree.parent, end, walked)
    n_branches = np.zeros(len(end), np.int64)
    for tip in (tips[rank == i] for i in range(1, int(n_tips.max(initial=0)))):
        joint = _joint(tree.parent, tip, walked)
        way = (tree.distance[tip] - tree.distance[joint]) * (block / _STEP)
        beyond = way + axes.depth_px[tip] - axes.depth_px[joint]
        cell = tree.cell[tip]
        n_branches[cell] += beyond >= np.maximum(_ARM_RADII * radius_px[cell], _SHORTEST_ARM * block)
    return n_branches


def _joint(parent: Ints, tips: Ints, walked: NDArray[np.bool_]) -> Ints:
    """Walk from each tip until where someone walked; return those blocks, and remember where we walked."""
    here = tips.copy()
    going = np.flatnonzero(~walked[here])
    while going.size:
        walked[here[going]] = True
        here[going] = parent[here[going]]
        going = going[~walked[here[going]]]
    return here
