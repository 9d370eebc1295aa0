"""What shows beside the cells: grain of the bare surface, small spots, bright bodies and dark threads.

Everything is measured on the logarithm of the grey value in whole numbers, so uneven light cancels and a tile gives
the same numbers as the whole field. What is measured here is judged in `msc_vision.findings.contamination`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.records import Region
from msc_vision.segmentation.objects import TileParts, join_parts, tile_parts

COUNTS = 5000
"""Counts per unit of the natural logarithm: 50 are one percent of the brightness."""
PERCENT = COUNTS // 100
_LOG = np.rint(COUNTS * np.log(np.maximum(np.arange(65536), 1))).astype(np.uint16)
_FINE_UM, _MIDDLE_UM, _COARSE_UM, _AROUND_UM = 0.65, 1.3, 2.6, 12.0
_FAR_UM, _MOST = 20.0, 50 * PERCENT
CELL_SAMPLE = 3
"""Every how many rows and columns `CELL_SUMS` are taken from."""
_REACH_UM = 75.0  # more than any filter here looks around, one after another
_N_LEVELS = 256
_STEEP_PERCENT = 8
"""Slope, as a Sobel filter gives it, from which it is that of a speck."""
_EXACT_FROM_PX = 9
"""Side from which `cv2.blur` of 16 bits may round the last columns otherwise than the rest, which tiles would show."""

SPOT_COLUMNS = np.dtype([(name, "<i4") for name in ("y_px", "x_px", "strength", "coarse", "n_near")])
"""A row per small spot: working pixels, brightness against its surroundings in counts, the same at a coarser scale,
and how many more spots lie within a square of 16 µm."""
_MEANS_UM = (1.3, 2.6, 3.9, 5.2, 7.8, 11.7)
_EXTREMES_UM = (1.3, 3.9, 7.8)
_TEXTURES_UM = (2.6, 5.2, 9.1)
_SHARES_UM = (2.6, 5.2, 7.8)
BODY_FIGURES = (
    *(f"mean_{um:g}_um" for um in _MEANS_UM),
    *(f"{end}_{um:g}_um" for um in _EXTREMES_UM for end in ("least", "most")),
    *(f"texture_{um:g}_um" for um in _TEXTURES_UM),
    *(f"{kind}_{um:g}_um" for um in _SHARES_UM for kind in ("bright", "dark")),
    "cell_5.2_um",
)
"""What is known of a small body: grey and texture in counts against 20 µm around, by how far from it, and shares of
bright, dark and cell pixels in 255ths."""
BODY_COLUMNS = np.dtype([("y_px", "<i4"), ("x_px", "<i4"), ("figures", "<i2", (len(BODY_FIGURES),))])
"""A row per place that is rougher than all within 6 µm; `msc_vision.findings.contamination` tells which are yeast."""
CELL_SUMS = ("n_inside", "inside", "n_rim", "rim", "n_bare", "bare", "lean_y", "lean_x", "steepness")
"""Of every third row and column: pixels 4 µm inside cells, 4 µm outside and farther from them, with their grey in
counts; then the contrast of edges times their direction, and its size."""
_SUMS = ("y", "x", "yy", "xx", "xy", "dark", "halo", "edge", "coarse", "rim")


class BackgroundSettings(BaseModel):
    """What counts as bare surface, spot, body and thread. Chosen on synthetic fields: placeholders, not biology."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell_probability: float = Field(0.3, gt=0, lt=1, description="From here on a pixel may be cell and is not bare.")
    cell_distance_um: float = Field(4.0, ge=0, le=10, description="Halos of cells reach this far at the least.")
    spot_percent: float = Field(10.0, gt=1, description="Least brightness of a spot against its surroundings.")
    body_texture_percent: float = Field(6.0, gt=1, description="Least texture of a body, over 5 µm.")
    thread_percent: float = Field(25.0, gt=1, description="Least darkness of a thread; most cells are paler.")
    thread_width_um: float = Field(3.9, gt=1, le=6, description="Radius of a disc that fits into no thread.")


@dataclass(frozen=True, slots=True)
class ThreadParts:
    """Dark thin parts of one tile.

    ``sums`` is (n, 10) int64 over the pixels of each: y, x, y², x², yx, darkness, 255 x share of the ring beside it
    that is bright, whether it is an edge, darkness at the coarse scale, and how bright that ring is.
    """

    parts: TileParts
    sums: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BackgroundParts:
    """What one tile shows. Counts and histograms add, rows belong to the tile that holds their first pixel.

    Attributes
    ----------
    n_judged, n_bare : int
        Pixels that can be judged, and that are bare.
    grain : (3, 256) int64 array
        Pixels of bare surface by contrast in counts, at three scales from fine to coarse.
    slopes : (3,) int64 array
        Of the middle scale over every third row and column of bare surface: y², x² and yx, which lean where plastic
        is streaked.
    spots : structured array of `SPOT_COLUMNS`
    bodies : structured array of `BODY_COLUMNS`
    threads : ThreadParts
    cells : (9,) int64 array
        `CELL_SUMS`, by which positive phase contrast is told from other pictures.
    """

    n_judged: int
    n_bare: int
    grain: NDArray[np.int64]
    slopes: NDArray[np.int64]
    spots: NDArray[np.void]
    bodies: NDArray[np.void]
    threads: ThreadParts
    cells: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TileArea:
    """A tile of a field in working pixels: with its surroundings, itself, and the width of the whole field."""

    around: Region
    inner: Region
    field_width_px: int

    @classmethod
    def whole(cls, shape: tuple[int, int]) -> "TileArea":
        """Return a field that is not cut into tiles."""
        region = Region(0, shape[0], 0, shape[1])
        return cls(region, region, shape[1])


def background_reach_px(pixel_size_um: float) -> int:
    """Return how many working pixels around a tile `measure_background` needs."""
    return math.ceil(_REACH_UM / pixel_size_um) + 8


@dataclass(frozen=True, slots=True)
class _Scales:
    """The field in counts, and blurred from fine to broad; all uint16."""

    level: NDArray[np.uint16]
    fine: NDArray[np.uint16]
    middle: NDArray[np.uint16]
    coarse: NDArray[np.uint16]
    around: NDArray[np.uint16]


def measure_background(
    working: NDArray[np.uint16],
    labels: NDArray[np.int32],
    judged: NDArray[np.uint8],
    foreground: NDArray[np.uint8],
    area: TileArea,
    pixel_size_um: float,
    settings: BackgroundSettings | None = None,
) -> BackgroundParts:
    """Return what the surface of one tile, or of a whole field, shows beside cells.

    Parameters
    ----------
    working : (Y, X) uint16 array
        Grey values of the tile with its surroundings; all other arrays cover the same.
    labels : (Y, X) int32 array
        Cells, 0 on bare surface.
    judged : (Y, X) uint8 array
        0 or 1.
    foreground : (Y, X) uint8 array
        255 times the network's probability of a cell.
    area : TileArea
        Its surroundings are `background_reach_px` wide, or reach up to the border of the field.
    pixel_size_um : float
        Of a working pixel.
    settings : BackgroundSettings, optional
    """
    limits = settings or BackgroundSettings()
    around, inner, width_px = area.around, area.inner, area.field_width_px
    scales = _scales(working, pixel_size_um)
    window = np.s_[inner.y0 - around.y0 : inner.y1 - around.y0, inner.x0 - around.x0 : inner.x1 - around.x0]
    cells, bare = _bare(labels, judged, foreground, limits, pixel_size_um)
    return BackgroundParts(
        n_judged=cv2.countNonZero(judged[window]),
        n_bare=cv2.countNonZero(bare[window]),
        grain=_grain(scales, bare, window),
        slopes=_slopes(scales, bare, _every_third(window, inner)),
        spots=_spots(scales, bare, window, inner, limits, pixel_size_um),
        bodies=_bodies(scales.level, cells, judged, window, inner, limits, pixel_size_um),
        threads=_threads(scales, judged, window, inner, width_px, limits, pixel_size_um),
        cells=_cell_sums(scales, cells, judged, _every_third(window, inner), pixel_size_um),
    )


def _scales(working: NDArray[np.uint16], pixel_size_um: float) -> _Scales:
    level = _LOG[working]
    fine, middle, coarse = (
        _blurred(level, sigma_um / pixel_size_um) for sigma_um in (_FINE_UM, _MIDDLE_UM, _COARSE_UM)
    )
    return _Scales(level, fine, middle, coarse, _mean(level, _AROUND_UM, pixel_size_um))


def _blurred(level: NDArray[np.uint16], sigma_px: float) -> NDArray[np.uint16]:
    side = 2 * math.ceil(3 * sigma_px) + 1
    return cv2.GaussianBlur(level, (side, side), sigma_px)  # bit-exact on 16-bit integers


def _disc(radius_um: float, pixel_size_um: float) -> NDArray[np.uint8]:
    radius = max(1, round(radius_um / pixel_size_um))
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _bare(
    labels: NDArray[np.int32],
    judged: NDArray[np.uint8],
    foreground: NDArray[np.uint8],
    limits: BackgroundSettings,
    pixel_size_um: float,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return cells, and bare surface away from what may be one; both 0 or 1."""
    cells = (labels > 0).view(np.uint8)
    doubtful = cells | (foreground > round(255 * limits.cell_probability)).view(np.uint8)
    return cells, judged & (1 - cv2.dilate(doubtful, _disc(limits.cell_distance_um, pixel_size_um)))


def _grain(scales: _Scales, bare: NDArray[np.uint8], window: tuple[slice, slice]) -> NDArray[np.int64]:
    steps = ((scales.level, scales.fine), (scales.fine, scales.middle), (scales.middle, scales.coarse))
    mask = np.ascontiguousarray(bare[window])
    found = np.empty((len(steps), _N_LEVELS), np.int64)
    for counts, (sharp, soft) in zip(found, steps, strict=True):
        contrast = cv2.convertScaleAbs(cv2.subtract(sharp[window], soft[window], dtype=cv2.CV_16S))
        counts[:] = cv2.calcHist([contrast], [0], mask, [_N_LEVELS], [0, _N_LEVELS]).ravel()
    return found


def _slopes(scales: _Scales, bare: NDArray[np.uint8], sampled: tuple[slice, slice]) -> NDArray[np.int64]:
    """Return sums of squared slopes of the middle scale, cut off so that no speck leads them."""
    band = cv2.subtract(scales.fine, scales.coarse, dtype=cv2.CV_16S)
    most = _STEEP_PERCENT * PERCENT
    down, right = (
        np.clip(cv2.Sobel(band, cv2.CV_16S, *order, ksize=3)[sampled], -most, most).astype(np.int64)
        for order in ((0, 1), (1, 0))
    )
    where = bare[sampled].astype(np.bool_)
    return np.array([int((a * b).sum(where=where)) for a, b in ((down, down), (right, right), (down, right))], np.int64)


def _spots(
    scales: _Scales,
    bare: NDArray[np.uint8],
    window: tuple[slice, slice],
    inner: Region,
    limits: BackgroundSettings,
    pixel_size_um: float,
) -> NDArray[np.void]:
    contrast = cv2.absdiff(scales.fine, scales.coarse)
    is_peak = (contrast >= round(limits.spot_percent * PERCENT)) & bare.view(np.bool_)
    is_peak &= contrast == cv2.dilate(contrast, np.ones((3, 3), np.uint8))
    side = _side(8.0, pixel_size_um)
    near = cv2.boxFilter(
        is_peak.view(np.uint8), cv2.CV_16U, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    y, x = _places(is_peak[window])
    at = (y + window[0].start, x + window[1].start)
    fine, coarse, around = (a[at].astype(np.int32) for a in (scales.fine, scales.coarse, scales.around))
    rows = np.empty(len(y), SPOT_COLUMNS)
    rows["y_px"], rows["x_px"] = y + inner.y0, x + inner.x0
    rows["strength"], rows["coarse"] = fine - coarse, coarse - around
    rows["n_near"] = near[at].astype(np.int32) - 1
    return rows


def _places(mask: NDArray[np.uint8] | NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns in reading order; far faster than ``nonzero`` of two dimensions."""
    y, x = np.divmod(np.flatnonzero(mask.view(np.bool_)), mask.shape[1])
    return y, x


def find_bodies(
    working: NDArray[np.uint16],
    labels: NDArray[np.int32],
    judged: NDArray[np.uint8],
    pixel_size_um: float,
    settings: BackgroundSettings | None = None,
) -> NDArray[np.void]:
    """Return small rough bodies of a whole field, yeast and others: rows of `BODY_COLUMNS`.

    Parameters
    ----------
    working : (Y, X) uint16 array
    labels : (Y, X) int32 array
        Cells.
    judged : (Y, X) uint8 array
        0 or 1.
    pixel_size_um : float
        Of a working pixel.
    settings : BackgroundSettings, optional
    """
    whole = Region(0, working.shape[0], 0, working.shape[1])
    cells = (labels > 0).view(np.uint8)
    return _bodies(_LOG[working], cells, judged, np.s_[:, :], whole, settings or BackgroundSettings(), pixel_size_um)


def _bodies(
    level: NDArray[np.uint16],
    cells: NDArray[np.uint8],
    judged: NDArray[np.uint8],
    window: tuple[slice, slice],
    inner: Region,
    limits: BackgroundSettings,
    pixel_size_um: float,
) -> NDArray[np.void]:
    texture = cv2.absdiff(level, _mean(level, 2.6, pixel_size_um))
    rough = _mean(texture, 2.6, pixel_size_um)
    side = _side(6.0, pixel_size_um)
    is_peak = (rough >= round(limits.body_texture_percent * PERCENT)) & judged.view(np.bool_)
    is_peak &= rough == cv2.dilate(rough, np.ones((side, side), np.uint8))
    y, x = _places(is_peak[window])
    at = (y + (window[0].start or 0), x + (window[1].start or 0))
    rows = np.empty(len(y), BODY_COLUMNS)
    rows["y_px"], rows["x_px"] = y + inner.y0, x + inner.x0
    rows["figures"] = np.clip(_body_figures(level, texture, cells, at, pixel_size_um), -_MOST, _MOST)
    return rows


def _body_figures(
    level: NDArray[np.uint16],
    texture: NDArray[np.uint16],
    cells: NDArray[np.uint8],
    at: tuple[NDArray[np.intp], NDArray[np.intp]],
    pixel_size_um: float,
) -> NDArray[np.int32]:
    """Return `BODY_FIGURES` of each place."""
    far = _mean(level, _FAR_UM, pixel_size_um)
    bright = (cv2.subtract(level, far) > 10 * PERCENT).view(np.uint8) * np.uint8(255)
    dark = (cv2.subtract(far, level) > 15 * PERCENT).view(np.uint8) * np.uint8(255)
    grey = [_mean_at(level, um, pixel_size_um, at) for um in _MEANS_UM]
    for um in _EXTREMES_UM:
        around = np.ones((_side(um, pixel_size_um),) * 2, np.uint8)
        grey += [cv2.erode(level, around)[at], cv2.dilate(level, around)[at]]
    rest = [_mean_at(texture, um, pixel_size_um, at) for um in _TEXTURES_UM]
    rest += [_mean_at(mask, um, pixel_size_um, at) for um in _SHARES_UM for mask in (bright, dark)]
    rest.append(_mean_at(cells * np.uint8(255), 5.2, pixel_size_um, at))
    against = far[at].astype(np.int32)
    figures = [values.astype(np.int32) - against for values in grey] + [values.astype(np.int32) for values in rest]
    return np.stack(figures, axis=1)


def _side(radius_um: float, pixel_size_um: float) -> int:
    return 2 * max(1, round(radius_um / pixel_size_um)) + 1


def _mean(plane: NDArray[Any], radius_um: float, pixel_size_um: float) -> NDArray[Any]:
    """Return means over squares, rounded."""
    side = _side(radius_um, pixel_size_um)
    if side < _EXACT_FROM_PX:
        return cv2.blur(plane, (side, side))
    sums = cv2.boxFilter(plane, cv2.CV_32S, (side, side), normalize=False)
    return (sums * (1 / side**2) + 0.5).astype(plane.dtype)


def _mean_at(
    plane: NDArray[Any], radius_um: float, pixel_size_um: float, at: tuple[NDArray[np.intp], NDArray[np.intp]]
) -> NDArray[np.int32]:
    """Return the same at some places only."""
    side = _side(radius_um, pixel_size_um)
    if side < _EXACT_FROM_PX:
        return cv2.blur(plane, (side, side))[at].astype(np.int32)
    sums = cv2.boxFilter(plane, cv2.CV_32S, (side, side), normalize=False)[at]
    return (sums * (1 / side**2) + 0.5).astype(np.int32)


def _cell_sums(
    scales: _Scales,
    cells: NDArray[np.uint8],
    judged: NDArray[np.uint8],
    sampled: tuple[slice, slice],
    pixel_size_um: float,
) -> NDArray[np.int64]:
    """Return `CELL_SUMS` of the tile."""
    near, far = (np.ones((_side(um, pixel_size_um),) * 2, np.uint8) for um in (4.0, 6.0))
    wide = cv2.dilate(cells, near)
    masks = (cv2.erode(cells, near), wide - cells, 1 - cv2.dilate(wide, far))
    soft = cv2.blur(cells * np.uint8(255), (_side(2.6, pixel_size_um),) * 2)
    slopes = [cv2.Sobel(soft, cv2.CV_16S, *order, ksize=3) for order in ((0, 1), (1, 0))]
    sums: list[int] = []
    level, seen = scales.level[sampled].astype(np.int64), judged[sampled]
    for mask in masks:
        chosen = (mask[sampled] & seen).astype(np.bool_)
        sums += [int(np.count_nonzero(chosen)), int(level.sum(where=chosen))]
    contrast = (scales.fine[sampled].astype(np.int64) - scales.around[sampled]) * seen
    down, right = (slope[sampled].astype(np.int64) for slope in slopes)
    steep = np.abs(contrast) * (np.abs(down) + np.abs(right))
    return np.array([*sums, *(int((contrast * slope).sum()) for slope in (down, right)), int(steep.sum())], np.int64)


def _every_third(window: tuple[slice, slice], inner: Region) -> tuple[slice, slice]:
    """Return every third row and column of a tile, the same ones of the field for any tile."""
    starts = (window[0].start + -inner.y0 % CELL_SAMPLE, window[1].start + -inner.x0 % CELL_SAMPLE)
    return np.s_[starts[0] : window[0].stop : CELL_SAMPLE, starts[1] : window[1].stop : CELL_SAMPLE]


def _threads(
    scales: _Scales,
    judged: NDArray[np.uint8],
    window: tuple[slice, slice],
    inner: Region,
    width_px: int,
    limits: BackgroundSettings,
    pixel_size_um: float,
) -> ThreadParts:
    dark = cv2.subtract(scales.around, scales.fine)
    mask = (dark >= round(limits.thread_percent * PERCENT)).view(np.uint8) & judged
    thin = mask & (1 - cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disc(limits.thread_width_um, pixel_size_um)))
    n_ring, n_bright, glow = _ring_sums(thin, cv2.subtract(scales.fine, scales.around), pixel_size_um)
    edge = 1 - cv2.erode(thin, np.ones((3, 3), np.uint8))
    tile = np.ascontiguousarray(thin[window])
    parts, labels = tile_parts(tile, inner, width_px)
    y, x = _places(tile)
    label = labels[y, x]
    n_beside = np.maximum(n_ring[window][y, x], 1)
    halo, rim = 255 * n_bright[window][y, x].astype(np.int64) // n_beside, glow[window][y, x] // n_beside
    coarse = cv2.subtract(scales.around, scales.coarse)
    values = (dark[window][y, x], halo, edge[window][y, x], coarse[window][y, x], rim)
    rows, columns = y.astype(np.float64) + inner.y0, x.astype(np.float64) + inner.x0
    weights = (rows, columns, rows * rows, columns * columns, rows * columns, *values)
    sums = [np.bincount(label, weight, minlength=parts.area.size + 1)[1:] for weight in weights]
    return ThreadParts(parts, np.stack(sums, axis=1).astype(np.int64))


def _ring_sums(
    thin: NDArray[np.uint8], bright: NDArray[np.uint16], pixel_size_um: float
) -> tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.int32]]:
    """Return, of what lies 2 to 4 µm beside thin parts, the area within 5 µm, how much is bright, and how bright."""
    ring = cv2.dilate(thin, _disc(4.0, pixel_size_um)) & (1 - cv2.dilate(thin, _disc(2.0, pixel_size_um)))
    side = 2 * max(2, round(5.0 / pixel_size_um)) + 1
    n_ring, n_bright = (
        cv2.boxFilter(mask, cv2.CV_16U, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
        for mask in (ring, ring & (bright > 0).view(np.uint8))
    )
    glow = cv2.boxFilter(bright * ring, cv2.CV_32S, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return n_ring, n_bright, glow


THREAD_FIGURES = ("dark_percent", "halo_share", "edge_share", "coarse_percent", "rim_percent")
THREAD_COLUMNS = np.dtype(
    [(name, "<i8") for name in ("y0_px", "y1_px", "x0_px", "x1_px", "area_px")]
    + [(name, "<f8") for name in ("length_um", "width_um", "across_um", *THREAD_FIGURES)]
)
"""A row per thread of a whole field; ``across_um`` is how far it leaves a straight line."""


def join_threads(
    tiles: Sequence[ThreadParts], shape: tuple[int, int], pixel_size_um: float, least_um: float
) -> NDArray[np.void]:
    """Return the threads of a field that are at least so long, joined over tiles.

    Parameters
    ----------
    tiles : sequence of ThreadParts
        They cover the field without overlap.
    shape : (int, int)
        Of the field in working pixels.
    """
    joined = join_parts([tile.parts for tile in tiles], shape, 1, shape, pixel_size_um)
    table = joined.table
    sums = np.zeros((len(table), len(_SUMS)), np.int64)
    for tile, lookup in zip(tiles, joined.lookups, strict=True):
        np.add.at(sums, lookup[1:] - 1, tile.sums)
    height, width = table["y1_px"] - table["y0_px"], table["x1_px"] - table["x0_px"]
    length_um = np.hypot(height, width) * pixel_size_um
    is_long = length_um >= least_um
    table, sums, length_um = table[is_long], sums[is_long], length_um[is_long]
    area = table["area_px"]
    rows = np.zeros(len(table), THREAD_COLUMNS)
    for name in ("y0_px", "y1_px", "x0_px", "x1_px", "area_px"):
        rows[name] = table[name]
    rows["length_um"] = length_um
    rows["width_um"] = area * pixel_size_um**2 / np.maximum(length_um, pixel_size_um)
    rows["across_um"] = 4 * pixel_size_um * np.sqrt(_least_variance(sums, area))
    rows["dark_percent"] = sums[:, 5] / area / PERCENT
    rows["halo_share"] = sums[:, 6] / area / 255
    rows["edge_share"] = sums[:, 7] / area
    rows["coarse_percent"] = sums[:, 8] / area / PERCENT
    rows["rim_percent"] = sums[:, 9] / area / PERCENT
    return rows


def _least_variance(sums: NDArray[np.int64], area: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the variance of the pixels across the direction in which they spread most, in pixels squared."""
    y, x = sums[:, 0] / area, sums[:, 1] / area
    yy, xx, xy = sums[:, 2] / area - y * y, sums[:, 3] / area - x * x, sums[:, 4] / area - x * y
    apart = np.sqrt((0.5 * (yy - xx)) ** 2 + xy**2)
    return np.maximum(0.5 * (yy + xx) - apart, 0.0)
