"""Basins to cells: neighbours that the border map does not part are one cell, however long and thin.

Nothing here assumes a round cell or a marker. The evidence for each pair of neighbouring basins is counted along their
contact; pairs are joined all at once, so neither their order nor how the field was cut into tiles can change a cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.records import Region
from msc_vision.segmentation.basins import REACH_PX, smooth_height, summits
from msc_vision.segmentation.objects import ObjectTable, object_table

SURROUNDINGS_PX = REACH_PX + 8
"""How far around a tile its maps must be known: the longest climb and the smoothing."""


class CellSettings(BaseModel):
    """When two neighbouring basins are one cell, and what is no cell at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bias: float = Field(0.0, description="joined if bias plus the terms below exceed zero (logistic regression)")
    border: float = Field(0.0, description="per unit of the mean border probability along the contact")
    saddle: float = Field(0.0, description="per unit of the highest core value on the contact over the lower summit")
    peak: float = Field(0.0, description="per unit of the lower summit's core value")
    contact: float = Field(0.0, description="per unit of ln(contact length over root of the smaller area)")
    smallest_um2: float = Field(60.0, ge=0, description="smaller pieces are no cells")
    debris_share: float = Field(0.5, ge=0, le=1, description="mean debris probability from which a piece is debris")


class CellMaps(NamedTuple):
    """Maps of a tile with its surroundings, at the working pixel size; each (Y, X) uint8, 255 for one.

    ``foreground`` is 0 or 1.
    """

    foreground: NDArray[np.uint8]
    core: NDArray[np.uint8]
    border: NDArray[np.uint8]
    rounded: NDArray[np.uint8]
    aggregate: NDArray[np.uint8]
    debris: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Contacts:
    """Evidence along the contacts of basins, which are named by their summit's pixel in the whole field."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    length: NDArray[np.int64]
    border: NDArray[np.int64]  # sum over the contact, 255 for one
    saddle: NDArray[np.int64]  # highest


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


def cell_parts(maps: CellMaps, around: Region, region: Region, width: int) -> tuple[CellParts, NDArray[np.int32]]:
    """Return the parts of a tile and their local numbers from 1, (Y, X) int32 of the tile.

    Parameters
    ----------
    maps : CellMaps
        Of the tile with `SURROUNDINGS_PX` around it, where the field goes on.
    around, region : Region
        What the maps cover, and the tile itself, in working pixels of the field.
    width : int
        Of the whole field in working pixels.
    """
    top = summits(maps.core, maps.foreground)
    height = smooth_height(maps.core, maps.foreground)
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
        contacts=_contacts(top, maps.border, height, (y0, x0), tile.shape, around, width),
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
    border: NDArray[np.uint8],
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
        found.append(
            np.stack(
                [
                    a[touching],
                    b[touching],
                    np.maximum(border[here], border[there])[touching],
                    np.minimum(height[here], height[there])[touching],
                ]
            ).astype(np.int64)
        )
    first, second, on_border, saddle = np.concatenate(found, axis=1)
    first, second = (_named(summit, top.shape[1], around, width) for summit in (first, second))
    low, high = np.minimum(first, second), np.maximum(first, second)
    return _gathered(Contacts(low, high, np.ones_like(low), on_border, saddle))


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
        np.add.reduceat(contacts.length[order], starts),
        np.add.reduceat(contacts.border[order], starts),
        np.maximum.reduceat(contacts.saddle[order], starts),
    )


class Evidence(NamedTuple):
    """What speaks for and against two neighbouring basins being one cell; arrays with a value per pair."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    border: NDArray[np.float64]
    saddle: NDArray[np.float64]
    peak: NDArray[np.float64]
    contact: NDArray[np.float64]


def evidence(tiles: Sequence[CellParts]) -> tuple[NDArray[np.int64], NDArray[np.int64], Evidence]:
    """Return the summits of all basins in order, for each part of each tile which of them it belongs to, and pairs.

    ``low`` and ``high`` of the pairs are positions in the list of summits.
    """
    names, basin = np.unique(np.concatenate([tile.summit for tile in tiles]), return_inverse=True)
    area = _sums(basin, np.concatenate([tile.area for tile in tiles]), names.size)
    peak = np.zeros(names.size, np.int64)
    peak[basin] = np.concatenate([tile.peak for tile in tiles])
    joined = _gathered(
        Contacts(*(np.concatenate([getattr(tile.contacts, name) for tile in tiles]) for name in Contacts.__slots__))
    )
    low, high = np.searchsorted(names, joined.low), np.searchsorted(names, joined.high)
    lower_peak = np.maximum(np.minimum(peak[low], peak[high]), 1)
    smaller = np.maximum(np.minimum(area[low], area[high]), 1)
    return (
        names,
        basin.astype(np.int64),
        Evidence(
            low,
            high,
            joined.border / np.maximum(joined.length, 1) / 255,
            joined.saddle / lower_peak,
            lower_peak / (200 * 255),
            np.log(np.maximum(joined.length, 1) / np.sqrt(smaller)),
        ),
    )


def join_cells(
    tiles: Sequence[CellParts],
    settings: CellSettings,
    shape: tuple[int, int],
    factor: int,
    native_shape: tuple[int, int],
    pixel_size_um: float | None,
    smallest_px: float,
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
    pixel_size_um : float or None
        Of a native pixel.
    smallest_px : float
        Working pixels of the smallest cell.
    """
    names, basin, pairs = evidence(tiles)
    basin_area = _sums(basin, _all(tiles, "area"), names.size)
    cell = _with_splinters(_united(names.size, pairs, settings), basin_area, pairs, settings, smallest_px)[basin]
    n = int(cell.max()) + 1 if cell.size else 0
    area = _sums(cell, _all(tiles, "area"), n)
    debris = _sums(cell, _all(tiles, "debris"), n) / np.maximum(area, 1) / 255
    first = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(first, cell, _all(tiles, "first"))
    is_cell = (area >= smallest_px) & (debris < settings.debris_share)
    order = np.argsort(first)
    kept = order[is_cell[order]]
    number = np.zeros(n, np.int64)
    number[kept] = np.arange(1, kept.size + 1)
    labels = number[cell]
    offsets = np.concatenate([[0], np.cumsum([tile.area.size for tile in tiles])]).astype(np.int64)
    lookups = tuple(np.concatenate([[0], labels[start:stop]]).astype(np.int32) for start, stop in pairwise(offsets))
    return ObjectTable(object_table(tiles, labels, kept.size, shape, factor, native_shape, pixel_size_um), lookups)


def _all(tiles: Sequence[CellParts], name: str) -> NDArray[np.int64]:
    return np.concatenate([getattr(tile, name) for tile in tiles])


def _united(n: int, pairs: Evidence, settings: CellSettings) -> NDArray[np.int64]:
    """Return for each of ``n`` basins the number of the cell it belongs to."""
    is_one = _odds(pairs, settings) > 0
    return _groups(n, pairs.low[is_one], pairs.high[is_one])


def _odds(pairs: Evidence, settings: CellSettings) -> NDArray[np.float64]:
    """Return the logarithm of the odds that two basins are one cell."""
    return (
        settings.bias
        + settings.border * pairs.border
        + settings.saddle * pairs.saddle
        + settings.peak * pairs.peak
        + settings.contact * pairs.contact
    )


def _with_splinters(
    cell: NDArray[np.int64], area: NDArray[np.int64], pairs: Evidence, settings: CellSettings, smallest_px: float
) -> NDArray[np.int64]:
    """Give each piece too small for a cell to the neighbour that most speaks for it; many lie along borders.

    Parameters
    ----------
    cell : (n,) int64 array
        Of each basin.
    area : (n,) int64 array
        Of each basin, in working pixels.
    """
    size = np.bincount(cell, area)
    odds = _odds(pairs, settings)
    low, high = cell[pairs.low], cell[pairs.high]
    apart = low != high
    inner = np.concatenate([low[apart], high[apart]])
    outer = np.concatenate([high[apart], low[apart]])
    strength = np.concatenate([odds[apart], odds[apart]])
    is_splinter = size[inner] < smallest_px
    inner, outer, strength = inner[is_splinter], outer[is_splinter], strength[is_splinter]
    order = np.lexsort((outer, -strength, inner))
    first = np.ones(order.size, np.bool_)
    first[1:] = inner[order][1:] != inner[order][:-1]
    chosen = order[first]
    return _groups(size.size, inner[chosen], outer[chosen])[cell]


def _groups(n: int, low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each of ``n`` things the number of the group that the pairs make."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(low.size, np.int8), (low, high)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)
