"""Connected objects of a foreground mask: numbered the same way however the field was cut into tiles.

The classical path does not split touching cells: an object is a connected patch of cells, and is called an object,
never a cell. Numbers follow the first pixel of each object in reading order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.records import Region

OBJECT_COLUMNS = np.dtype(
    [
        ("label", "<i4"),
        ("area_px", "<i8"),
        ("area_um2", "<f8"),
        ("centroid_y_px", "<f8"),
        ("centroid_x_px", "<f8"),
        ("y0_px", "<i8"),
        ("y1_px", "<i8"),
        ("x0_px", "<i8"),
        ("x1_px", "<i8"),
        ("touches_border", "?"),
    ]
)
"""A row per object. ``area_px`` counts working pixels, positions are native pixels (area_um2: or NaN)."""


@dataclass(frozen=True, slots=True)
class TileParts:
    """The connected parts of one tile, in local numbers from 1; positions are working pixels of the whole field."""

    region: Region
    area: NDArray[np.int64]
    first: NDArray[np.int64]
    sum_y: NDArray[np.int64]
    sum_x: NDArray[np.int64]
    box: NDArray[np.int64]  # (n, 4): y0, y1, x0, x1
    top: NDArray[np.int32]
    bottom: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]


def label_parts(foreground: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the 8-connected parts of a mask in arbitrary but repeatable numbers from 1, int32."""
    return cv2.connectedComponents(foreground, connectivity=8, ltype=cv2.CV_32S)[1]


def tile_parts(foreground: NDArray[np.uint8], region: Region, width: int) -> tuple[TileParts, NDArray[np.int32]]:
    """Return the parts of a tile and its local labels.

    Parameters
    ----------
    foreground : (Y, X) uint8 array
        0 or 1, the tile without surroundings.
    region : Region
        Where the tile lies in the field, in working pixels.
    width : int
        Width of the whole field in working pixels.
    """
    n, labels, stats, centroids = cv2.connectedComponentsWithStats(foreground, connectivity=8, ltype=cv2.CV_32S)
    stats = stats[1:].astype(np.int64)
    area = stats[:, cv2.CC_STAT_AREA]
    y0 = stats[:, cv2.CC_STAT_TOP] + region.y0
    x0 = stats[:, cv2.CC_STAT_LEFT] + region.x0
    sums = np.rint(centroids[1:] * area[:, None]).astype(np.int64)
    parts = TileParts(
        region=region,
        area=area,
        first=_first_pixels(foreground, labels, n - 1, region, width),
        sum_y=sums[:, 1] + area * region.y0,
        sum_x=sums[:, 0] + area * region.x0,
        box=np.stack([y0, y0 + stats[:, cv2.CC_STAT_HEIGHT], x0, x0 + stats[:, cv2.CC_STAT_WIDTH]], axis=1),
        top=labels[0].copy(),
        bottom=labels[-1].copy(),
        left=labels[:, 0].copy(),
        right=labels[:, -1].copy(),
    )
    return parts, labels


def _first_pixels(
    foreground: NDArray[np.uint8], labels: NDArray[np.int32], n: int, region: Region, width: int
) -> NDArray[np.int64]:
    """Return the first pixel of each part in reading order of the whole field, as row times width plus column."""
    starts = foreground.copy()  # the first pixel of each horizontal run; the first pixel of a part is one of them
    starts[:, 1:] &= foreground[:, :-1] ^ 1
    flat = np.flatnonzero(starts.view(np.bool_))[::-1]
    first = np.zeros(n + 1, np.int64)
    first[labels.ravel()[flat]] = flat  # the last one written, hence the first one read, stays
    rows, columns = np.divmod(first[1:], foreground.shape[1])
    return (rows + region.y0) * width + columns + region.x0


@dataclass(frozen=True, slots=True)
class ObjectTable:
    """Objects of a whole field and how each tile's local numbers become theirs."""

    table: NDArray[np.void]
    lookups: tuple[NDArray[np.int32], ...]  # one per tile, index 0 is the background


def join_parts(
    tiles: Sequence[TileParts],
    shape: tuple[int, int],
    factor: int,
    native_shape: tuple[int, int],
    pixel_size_um: float | None,
) -> ObjectTable:
    """Join the parts of all tiles at their seams.

    Parameters
    ----------
    tiles : sequence of TileParts
        They cover the field without overlap, in rows and columns of one grid.
    shape, native_shape : (int, int)
        Of the field in working and in native pixels.
    factor : int
        Native pixels a side of one working pixel.
    pixel_size_um : float or None
        Of a native pixel.
    """
    offsets = np.concatenate([[0], np.cumsum([tile.area.size for tile in tiles])]).astype(np.int64)
    root = _joined(tiles, offsets)
    _, group = np.unique(root, return_inverse=True)
    n = int(group.max()) + 1 if group.size else 0
    first = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(first, group, _all(tiles, "first"))
    order = np.argsort(first)
    number = np.empty(n, np.int64)
    number[order] = np.arange(n)
    group = number[group]
    lookups = tuple(np.concatenate([[0], group[start:stop] + 1]).astype(np.int32) for start, stop in pairwise(offsets))
    return ObjectTable(object_table(tiles, group + 1, n, shape, factor, native_shape, pixel_size_um), lookups)


def _all(tiles: Sequence[TileParts], name: str) -> NDArray[np.int64]:
    return np.concatenate([getattr(tile, name) for tile in tiles])


def _joined(tiles: Sequence[TileParts], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each part of each tile a number that all parts of one object share."""
    n = int(offsets[-1])
    if len(tiles) == 1:
        return np.arange(n)
    pairs = [pair for pair in _seam_pairs(tiles, offsets) if pair.size]
    if not pairs:
        return np.arange(n)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate(pairs)
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _seam_pairs(tiles: Sequence[TileParts], offsets: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return pairs of parts that touch across a seam, corners included."""
    at = {(tile.region.y0, tile.region.x0): i for i, tile in enumerate(tiles)}
    pairs = []
    for i, tile in enumerate(tiles):
        region = tile.region
        right, below = at.get((region.y0, region.x1)), at.get((region.y1, region.x0))
        if right is not None:
            pairs.append(_touching(tile.right, tiles[right].left, offsets[i], offsets[right]))
        if below is not None:
            pairs.append(_touching(tile.bottom, tiles[below].top, offsets[i], offsets[below]))
        for corner_x, mine, theirs in ((region.x1, -1, 0), (None, 0, -1)):
            j = _corner(tiles, at, region, corner_x)
            if j is not None:
                ends = (tile.bottom[[mine]], tiles[j].top[[theirs]])
                pairs.append(_touching(*ends, offsets[i], offsets[j]))
    return pairs


def _corner(tiles: Sequence[TileParts], at: dict[tuple[int, int], int], region: Region, x0: int | None) -> int | None:
    """Return the tile diagonally below: to the right when ``x0`` is given, else the one that ends at our left."""
    if x0 is not None:
        return at.get((region.y1, x0))
    for (y0, _), j in at.items():
        if y0 == region.y1 and tiles[j].region.x1 == region.x0:
            return j
    return None


def _touching(
    mine: NDArray[np.int32], theirs: NDArray[np.int32], my_offset: int, their_offset: int
) -> NDArray[np.int64]:
    """Return the (n, 2) pairs of parts whose pixels are neighbours across a seam, straight or diagonal."""
    found = []
    for a, b in ((mine, theirs), (mine[1:], theirs[:-1]), (mine[:-1], theirs[1:])):
        both = (a > 0) & (b > 0)
        found.append(np.stack([a[both] - 1 + my_offset, b[both] - 1 + their_offset], axis=1))
    return np.unique(np.concatenate(found), axis=0).astype(np.int64)


@dataclass(frozen=True, slots=True)
class LabelPieces:
    """Objects of a whole field by their labels, one entry per label; ``first`` as in `TileParts`."""

    area: NDArray[np.int64]
    sum_y: NDArray[np.int64]
    sum_x: NDArray[np.int64]
    box: NDArray[np.int64]
    first: NDArray[np.int64]


def label_pieces(labels: NDArray[np.int32]) -> LabelPieces:
    """Return where the objects of a field lie, whose labels are 1 to n without gaps; parts may lie apart."""
    from scipy.ndimage import find_objects

    flat = np.flatnonzero(labels)
    number = labels.ravel()[flat] - 1
    n = int(number.max()) + 1 if number.size else 0
    ys, xs = np.divmod(flat, labels.shape[1])
    first = np.zeros(n, np.int64)
    first[number[::-1]] = flat[::-1]  # the last one written, hence the first in reading order, stays
    boxes = [(rows.start, rows.stop, columns.start, columns.stop) for rows, columns in find_objects(labels)]
    return LabelPieces(
        np.bincount(number, minlength=n).astype(np.int64),
        np.rint(np.bincount(number, ys, minlength=n)).astype(np.int64),
        np.rint(np.bincount(number, xs, minlength=n)).astype(np.int64),
        np.array(boxes, np.int64).reshape(n, 4),
        first,
    )


def compact_labels(labels: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return labels as 1 to n in the order of their numbers, and the number that each had, (n,) int32."""
    found = np.flatnonzero(np.bincount(labels.ravel()))
    known: NDArray[np.int32] = found[found > 0].astype(np.int32)
    if known.size == (int(known[-1]) if known.size else 0):
        return labels, known
    lookup = np.zeros(int(known[-1]) + 1, np.int32)
    lookup[known] = np.arange(1, known.size + 1, dtype=np.int32)
    return lookup[labels], known


class Pieces(Protocol):
    """What the table needs to know of the pieces of one tile, an entry per piece."""

    @property
    def area(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def sum_y(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def sum_x(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def box(self) -> NDArray[np.int64]: ...  # noqa: D102


def object_table(
    tiles: Sequence[Pieces],
    labels: NDArray[np.int64],
    n: int,
    shape: tuple[int, int],
    factor: int,
    native_shape: tuple[int, int],
    pixel_size_um: float | None,
) -> NDArray[np.void]:
    """Return a row of `OBJECT_COLUMNS` for each of ``n`` objects.

    Parameters
    ----------
    tiles : sequence of Pieces
    labels : (m,) int64 array
        For each piece of each tile the object it belongs to, from 1; 0 for none.
    shape, native_shape : (int, int)
        Of the field in working and in native pixels.
    factor : int
        Native pixels a side of one working pixel.
    pixel_size_um : float or None
        Of a native pixel.
    """
    kept = labels > 0
    group = labels[kept] - 1
    area, sum_y, sum_x = (np.zeros(n, np.int64) for _ in range(3))
    for total, name in ((area, "area"), (sum_y, "sum_y"), (sum_x, "sum_x")):
        np.add.at(total, group, np.concatenate([getattr(tile, name) for tile in tiles])[kept])
    boxes = np.concatenate([tile.box for tile in tiles])[kept]
    low, high = np.full((n, 2), np.iinfo(np.int64).max), np.zeros((n, 2), np.int64)
    np.minimum.at(low, group, boxes[:, [0, 2]])
    np.maximum.at(high, group, boxes[:, [1, 3]])
    table = np.zeros(n, OBJECT_COLUMNS)
    table["label"] = np.arange(1, n + 1)
    table["area_px"] = area
    table["area_um2"] = np.nan if pixel_size_um is None else area * (pixel_size_um * factor) ** 2
    table["centroid_y_px"] = (sum_y / area + 0.5) * factor - 0.5
    table["centroid_x_px"] = (sum_x / area + 0.5) * factor - 0.5
    table["y0_px"], table["x0_px"] = low[:, 0] * factor, low[:, 1] * factor
    table["y1_px"] = np.minimum(high[:, 0] * factor, native_shape[0])
    table["x1_px"] = np.minimum(high[:, 1] * factor, native_shape[1])
    table["touches_border"] = (low == 0).any(axis=1) | (high == np.array(shape)).any(axis=1)
    return table
