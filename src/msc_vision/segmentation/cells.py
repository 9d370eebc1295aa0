"""Basins to cells: two summits are one cell when the way from one to the other hardly descends.

Nothing here assumes a round cell or a marker: along a spindle the cores map stays high, between two cells it falls.
Summits are joined from the highest saddle down, so a cell grows from its middle and a splinter at a border cannot link
two cells. The order follows from the heights alone; how the field was cut into tiles cannot change a cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.records import Region
from msc_vision.segmentation.basins import REACH_PX, SMOOTH_MAX_PX, smooth_height, summits
from msc_vision.segmentation.objects import ObjectTable, object_table

SURROUNDINGS_PX = REACH_PX + round(4 * SMOOTH_MAX_PX) + 2
"""How far around a tile its maps must be known: the longest climb and the smoothing."""


class CellSettings(BaseModel):
    """When two neighbouring basins are one cell, and what is no cell at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    smooth_um: float = Field(4.0, gt=0, description="smoothing of the cores map before it is climbed, one sigma")
    join_from: float = Field(
        0.8, gt=0, lt=1, description="summits are one cell from this height of their saddle over the lower summit"
    )
    splinter_um2: float = Field(
        300.0, ge=0, description="smaller pieces that touch a cell are part of it, unless they are rounded cells"
    )
    smallest_um2: float = Field(120.0, ge=0, description="smaller pieces by themselves are no cells")
    debris_share: float = Field(0.5, ge=0, le=1, description="mean debris probability from which a piece is debris")
    rounded_share: float = Field(0.5, ge=0, le=1, description="mean probability from which a piece is a rounded cell")


class CellMaps(NamedTuple):
    """Maps of a tile with its surroundings, at the working pixel size; each (Y, X) uint8, 255 for one.

    ``foreground`` is 0 or 1.
    """

    foreground: NDArray[np.uint8]
    core: NDArray[np.uint8]
    rounded: NDArray[np.uint8]
    aggregate: NDArray[np.uint8]
    debris: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Contacts:
    """Where basins touch; they are named by their summit's pixel in the whole field."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    saddle: NDArray[np.int64]  # height of the highest place of the contact


@dataclass(frozen=True, slots=True)
class CellParts:
    """The parts of basins that lie in one tile; positions are working pixels of the whole field."""

    region: Region
    summit: NDArray[np.int64]
    peak: NDArray[np.int64]
    area: NDArray[np.int64]
    first: NDArray[np.int64]
    sum_y: NDArray[np.int64]
    sum_x: NDArray[np.int64]
    box: NDArray[np.int64]
    rounded: NDArray[np.int64]
    aggregate: NDArray[np.int64]
    debris: NDArray[np.int64]
    contacts: Contacts


def cell_parts(
    maps: CellMaps, around: Region, region: Region, width: int, smooth_px: float
) -> tuple[CellParts, NDArray[np.int32]]:
    """Return the parts of a tile and their local numbers from 1, (Y, X) int32 of the tile.

    Parameters
    ----------
    maps : CellMaps
        Of the tile with `SURROUNDINGS_PX` around it, where the field goes on.
    around, region : Region
        What the maps cover, and the tile itself, in working pixels of the field.
    width : int
        Of the whole field in working pixels.
    smooth_px : float
        One sigma of the smoothing of the cores map.
    """
    height = smooth_height(maps.core, maps.foreground, smooth_px)
    top = summits(height)
    y0, x0 = region.y0 - around.y0, region.x0 - around.x0
    inner = np.s_[y0 : y0 + region.y1 - region.y0, x0 : x0 + region.x1 - region.x0]
    columns = maps.core.shape[1]
    tile = top[inner]
    local, names = _numbered(tile, top.size)
    rows, places = np.divmod(names, columns)
    summit = (rows + around.y0) * width + places + around.x0
    flat = np.flatnonzero(local)
    number = local.ravel()[flat] - 1
    n = names.size
    ys, xs = np.divmod(flat, tile.shape[1])
    parts = CellParts(
        region=region,
        summit=summit,
        peak=height.ravel()[names].astype(np.int64),
        area=np.bincount(number, minlength=n).astype(np.int64),
        first=_first(number, (ys + region.y0) * width + xs + region.x0, n),
        sum_y=_sums(number, ys + region.y0, n),
        sum_x=_sums(number, xs + region.x0, n),
        box=_boxes(number, ys + region.y0, xs + region.x0, n),
        rounded=_sums(number, maps.rounded[inner].ravel()[flat], n),
        aggregate=_sums(number, maps.aggregate[inner].ravel()[flat], n),
        debris=_sums(number, maps.debris[inner].ravel()[flat], n),
        contacts=_contacts(top, height, (y0, x0), tile.shape, around, width),
    )
    return parts, local


def _numbered(tile: NDArray[np.int32], size: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return numbers from 1 for the summits of a tile, 0 where there is none, and which summit each number is."""
    seen = np.zeros(size + 1, np.bool_)
    seen[tile.ravel()] = True  # -1 marks the last, which is no pixel
    seen[-1] = False
    names = np.flatnonzero(seen)
    lookup = np.zeros(size + 1, np.int32)
    lookup[names] = np.arange(1, names.size + 1, dtype=np.int32)
    return lookup[tile], names


def _sums(number: NDArray[np.integer], values: NDArray[np.generic], n: int) -> NDArray[np.int64]:
    return np.rint(np.bincount(number, values, minlength=n)).astype(np.int64)


def _first(number: NDArray[np.integer], places: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    first = np.zeros(n, np.int64)
    first[number[::-1]] = places[::-1]  # the last one written, hence the first in reading order, stays
    return first


def _boxes(number: NDArray[np.integer], ys: NDArray[np.int64], xs: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    box = np.empty((n, 4), np.int64)
    box[:, 0] = box[:, 2] = np.iinfo(np.int64).max
    box[:, 1] = box[:, 3] = 0
    box[number[::-1], 0] = ys[::-1]
    box[number, 1] = ys + 1
    np.minimum.at(box[:, 2], number, xs)
    np.maximum.at(box[:, 3], number, xs + 1)
    return box


def _contacts(
    top: NDArray[np.int32],
    height: NDArray[np.uint16],
    start: tuple[int, int],
    shape: tuple[int, int],
    around: Region,
    width: int,
) -> Contacts:
    """Return the contacts whose upper or left pixel lies in the tile, so each is counted in one tile only."""
    found = []
    for dy, dx in ((0, 1), (1, 0)):
        here = _slices(start, shape, top.shape, (dy, dx))
        there = tuple(slice(s.start + d, s.stop + d) for s, d in zip(here, (dy, dx), strict=True))
        a, b = top[here], top[there]
        touching = (a != b) & (a >= 0) & (b >= 0)
        saddle = np.minimum(height[here], height[there])[touching]
        found.append(np.stack([a[touching], b[touching], saddle]).astype(np.int64))
    first, second, saddle = np.concatenate(found, axis=1)
    first, second = (_named(summit, top.shape[1], around, width) for summit in (first, second))
    low, high = np.minimum(first, second), np.maximum(first, second)
    return _gathered(Contacts(low, high, saddle))


def _slices(
    start: tuple[int, int], shape: tuple[int, int], full: tuple[int, int], step: tuple[int, int]
) -> tuple[slice, slice]:
    """Return the tile without pixels whose neighbour at ``step`` lies outside of what is known."""
    rows, columns = (
        slice(begin, min(begin + length, known - ahead))
        for begin, length, known, ahead in zip(start, shape, full, step, strict=True)
    )
    return rows, columns


def _named(summit: NDArray[np.int64], columns: int, around: Region, width: int) -> NDArray[np.int64]:
    rows, places = np.divmod(summit, columns)
    return (rows + around.y0) * width + places + around.x0


def _gathered(contacts: Contacts) -> Contacts:
    """Return one entry per pair of basins."""
    order = np.lexsort((contacts.high, contacts.low))
    low, high = contacts.low[order], contacts.high[order]
    starts = np.flatnonzero(np.r_[True, (low[1:] != low[:-1]) | (high[1:] != high[:-1])]) if low.size else low
    if not low.size:
        return contacts
    return Contacts(
        low[starts],
        high[starts],
        np.maximum.reduceat(contacts.saddle[order], starts),
    )


class Landscape(NamedTuple):
    """All basins of a field and where they touch.

    Attributes
    ----------
    basin : (m,) int64 array
        For each part of each tile the basin it belongs to, from 0, in the order of their summits.
    peak, area, rounded : (n,) int64 array
        Height of each basin's summit, its pixels, and the sum of its rounded map.
    low, high, saddle : (k,) int64 array
        Pairs of basins that touch, and how high one can stay on the way from one to the other.
    """

    basin: NDArray[np.int64]
    peak: NDArray[np.int64]
    area: NDArray[np.int64]
    rounded: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    saddle: NDArray[np.int64]


def landscape(tiles: Sequence[CellParts]) -> Landscape:
    """Put the basins of all tiles together."""
    names, basin = np.unique(_all(tiles, "summit"), return_inverse=True)
    peak = np.zeros(names.size, np.int64)
    peak[basin] = _all(tiles, "peak")
    joined = _gathered(
        Contacts(*(np.concatenate([getattr(tile.contacts, name) for tile in tiles]) for name in Contacts.__slots__))
    )
    return Landscape(
        basin.astype(np.int64),
        peak,
        _sums(basin, _all(tiles, "area"), names.size),
        _sums(basin, _all(tiles, "rounded"), names.size),
        np.searchsorted(names, joined.low).astype(np.int64),
        np.searchsorted(names, joined.high).astype(np.int64),
        joined.saddle,
    )


def join_cells(
    tiles: Sequence[CellParts],
    settings: CellSettings,
    shape: tuple[int, int],
    factor: int,
    native_shape: tuple[int, int],
    pixel_size_um: float | None,
    assumed_pixel_size_um: float,
) -> ObjectTable:
    """Join the basins of all tiles to cells; what is no cell gets the number 0 in the lookups.

    Parameters
    ----------
    tiles : sequence of CellParts
        They cover the field without overlap.
    shape, native_shape : (int, int)
        Of the field in working and in native pixels.
    factor : int
        Native pixels a side of one working pixel.
    pixel_size_um, assumed_pixel_size_um : float
        Of a native pixel: None and what is assumed where it is not known, else twice the same.
    """
    land = landscape(tiles)
    pixel_um2 = (assumed_pixel_size_um * factor) ** 2
    cell = joined(land, settings, pixel_um2)[land.basin]
    n = int(cell.max()) + 1 if cell.size else 0
    area = _sums(cell, _all(tiles, "area"), n)
    debris = _sums(cell, _all(tiles, "debris"), n) / np.maximum(area, 1) / 255
    first = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(first, cell, _all(tiles, "first"))
    is_cell = (area * pixel_um2 >= settings.smallest_um2) & (debris < settings.debris_share)
    order = np.argsort(first)
    kept = order[is_cell[order]]
    number = np.zeros(n, np.int64)
    number[kept] = np.arange(1, kept.size + 1)
    labels = number[cell]
    offsets = np.concatenate([[0], np.cumsum([tile.area.size for tile in tiles])]).astype(np.int64)
    lookups = tuple(np.concatenate([[0], labels[start:stop]]).astype(np.int32) for start, stop in pairwise(offsets))
    return ObjectTable(object_table(tiles, labels, kept.size, shape, factor, native_shape, pixel_size_um), lookups)


def joined(land: Landscape, settings: CellSettings, pixel_um2: float) -> NDArray[np.int64]:
    """Return for each basin of a landscape the number of its cell; numbers mean nothing more."""
    return _with_splinters(_from_above(land, settings.join_from), land, settings, pixel_um2)


def _all(tiles: Sequence[CellParts], name: str) -> NDArray[np.int64]:
    return np.concatenate([getattr(tile, name) for tile in tiles])


def _from_above(land: Landscape, join_from: float) -> NDArray[np.int64]:
    """Join basins from the highest saddle down; return for each the number of one basin of its cell."""
    parent = list(range(land.peak.size))
    peak = land.peak.tolist()

    def root(basin: int) -> int:
        while parent[basin] != basin:
            parent[basin] = parent[parent[basin]]
            basin = parent[basin]
        return basin

    order = np.lexsort((land.high, land.low, -land.saddle))
    for low, high, saddle in zip(
        land.low[order].tolist(), land.high[order].tolist(), land.saddle[order].tolist(), strict=True
    ):
        a, b = root(low), root(high)
        if a != b and saddle >= join_from * min(peak[a], peak[b]):
            if (peak[a], -a) < (peak[b], -b):
                a, b = b, a
            parent[b] = a
    return np.array([root(basin) for basin in range(len(parent))], np.int64)


def _with_splinters(
    cell: NDArray[np.int64], land: Landscape, settings: CellSettings, pixel_um2: float
) -> NDArray[np.int64]:
    """Give each piece too small for a cell to the neighbour with the highest saddle; many lie along borders."""
    if not cell.size:
        return cell
    _, cell = np.unique(cell, return_inverse=True)
    size, roundness = np.bincount(cell, land.area), np.bincount(cell, land.rounded)
    is_rounded = roundness >= settings.rounded_share * 255 * size
    is_splinter = (size * pixel_um2 < settings.splinter_um2) & ~is_rounded
    low, high = cell[land.low], cell[land.high]
    inner, outer = np.concatenate([low, high]), np.concatenate([high, low])
    saddle = np.concatenate([land.saddle, land.saddle])
    chosen = is_splinter[inner] & (inner != outer)
    inner, outer, saddle = inner[chosen], outer[chosen], saddle[chosen]
    order = np.lexsort((outer, -saddle, inner))
    first = np.ones(order.size, np.bool_)
    first[1:] = inner[order][1:] != inner[order][:-1]
    best = order[first]
    return _groups(size.size, inner[best], outer[best])[cell]


def _groups(n: int, low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each of ``n`` things the number of the group that the pairs make."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(low.size, np.int8), (low, high)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)
