"""Foreground by local contrast: the classical path, without a network.

Cells carry texture, bare plastic does not. The texture (standard deviation in a small window over the local mean) is
compared with that of the bare surface *of the same field*, whose level is read off the histogram of the whole field;
the mask is then taken back to the cell edge: by the reach of the window, and through the bright phase halo.

Every step works on whole numbers or is a per-pixel comparison, and reaches a known number of pixels, so a tile with
`ContrastFilter.depth_px` pixels around it gives the same bytes as the whole field.
"""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.imaging.overview import Overview, whole_blocks

LOG_LOW, LOG_HIGH, LOG_STEP = -7.0, 0.0, 0.05
SAMPLE_STEP_PX = 4
GRAIN_LEVELS = 768  # grey levels that the field's mean is brought to; 12 bits leave five times that for bright cells
MAX_LEVEL = 4095
SurfaceKind = Literal["bare and cells", "bare", "flat cells", "full"]


class ContrastSettings(BaseModel):
    """Settings of the classical path; lengths in µm, contrasts as natural logarithms of sd over mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    assumed_pixel_size_um: float = Field(1.24, gt=0, description="working pixel taken for filter sizes when unknown")
    window_um: float = Field(11.0, gt=0, description="side of the texture window: one cell process and its halo")
    mean_window_um: float = Field(78.0, gt=0, description="side of the window whose mean is the local brightness")
    bare_margin: float = Field(0.9, gt=0, description="least distance of the limit above the bare surface's texture")
    between: float = Field(
        0.6, ge=0, le=1, description="where the limit lies from bare (0) to cells' median (1) at even odds"
    )
    between_per_odds: float = Field(0.2, ge=0, description="shift of the limit per unit of log odds of bare to cells")
    between_range: tuple[float, float] = Field(
        (0.4, 0.7),
        description="the limit stays between these: lower, and halos and ghosts count as cells; higher, and sparse "
        "small cells are lost. From 0.6 to 0.7 the error on annotated T98G falls from 3.4 to 2.7 points, beyond by 0.1 "
        "more, while synthetic fields of 5-10 % go on losing cells",
    )
    limit_low: float = Field(-4.6, description="the limit never falls below: quantisation of 8-bit images")
    limit_high: float = Field(-3.2, description="the limit never rises above, unless the bare surface is that rough")
    full_above: float = Field(-3.9, description="a lowest mode above this is cells: no bare surface is in view")
    full_above_noise: float = Field(2.0, description="or, with a wide lower flank, this far above noise")
    bare_spread: float = Field(
        0.62,
        description="mode less 5th percentile, in a field of one texture; wider is no bare surface: grain is even. "
        "Bare surfaces have 0.5 at most, paled full layers of spindles 0.75 to 0.85",
    )
    bare_flank: float = Field(0.3, description="mode less 1st percentile of a bare surface")
    full_flank: float = Field(1.6, description="mode less 1st percentile; wider, and small gaps are among the cells")
    even_share: float = Field(0.85, gt=0, lt=1, description="share within one unit of the mode: one texture all over")
    even_above_noise: float = Field(2.5, description="a field of one texture this far above noise is full, even or not")
    even_uncertain: float = Field(1.5, description="one texture this far above noise could be either and is flagged")
    flat_max_percent: float = Field(20.0, description="with more pixels without noise, noise was compressed away")
    full_drop: float = Field(1.2, gt=0, description="in a full field the limit lies this far below the lowest mode")
    mode_share: float = Field(0.02, gt=0, lt=1, description="least share of the field that makes a mode")
    cells_share: float = Field(0.003, gt=0, lt=1, description="less than this above the margin: the surface is bare")
    bare_rise: float = Field(1.6, gt=0, description="distance of the limit above the mode when the surface is bare")
    close_um: float = Field(2.5, ge=0, description="gaps of the texture mask up to this radius are closed")
    retreat_um: float = Field(5.0, ge=0, description="how far the window carries texture beyond the cell edge")
    halo_um: float = Field(9.0, ge=0, description="widest phase halo taken off outside a cell edge")
    halo_level: float = Field(0.3, gt=0, description="brightness above the mean that is halo, in units of the limit")
    hole_um2: float = Field(2500.0, ge=0, description="largest flat cell interior that is filled")
    hole_length_um: float = Field(80.0, gt=0, description="longest one; also the longest debris")
    speck_um2: float = Field(60.0, ge=0, description="holes below this are filled even where bright")
    debris_um2: float = Field(
        150.0,
        ge=0,
        description="smaller objects are debris: a rounded MSC covers 180-300 µm². Of rounded synthetic cells 150 "
        "keeps 98 %, 300 loses a third; annotated sets do not tell them apart",
    )
    ghost_um2: float = Field(
        4000.0, ge=0, description="objects up to this must have a core, else they are out of focus"
    )
    core_rise: float = Field(0.6, ge=0, description="texture of a core above the limit, in units from bare to cells")


@dataclass(frozen=True, slots=True)
class ContrastLevels:
    """What the whole field says about its own contrast; natural logarithms of texture.

    Attributes
    ----------
    mean_level : float
        Mean of the field in 16-bit grey values.
    bare, limit : float
        Texture of the bare surface (of the lowest mode) and the limit above which a pixel is textured.
    core : float
        Texture that a small object must reach somewhere: what stays below is out of focus or a cell's remains.
    kind : str
        What the histogram showed.
    is_uncertain : bool
        All of the field has one texture, of a strength that bare surface and pale full cover may both have, or it is
        too uneven for bare surface, which is the only sign of pale cover.
    """

    mean_level: float
    bare: float
    limit: float
    core: float
    kind: SurfaceKind
    is_uncertain: bool = False


@dataclass(frozen=True, slots=True)
class ContrastFilter:
    """Settings in working pixels for one field."""

    window_px: int
    mean_window_px: int
    close_px: int
    retreat_px: int
    halo_px: int
    halo_level: float
    hole_px2: int
    length_px: int
    speck_px2: int
    debris_px2: int
    ghost_px2: int

    @property
    def depth_px(self) -> int:
        """Working pixels around a tile that decide about its pixels."""
        texture = 1 + max(self.window_px, self.mean_window_px) // 2
        return texture + 2 * self.close_px + self.retreat_px + self.halo_px + 3 * (self.length_px + 2) + 2


def contrast_filter(settings: ContrastSettings, working_pixel_size_um: float | None) -> ContrastFilter:
    """Return the filter sizes in working pixels for a field, of known pixel size or not."""
    pixel = working_pixel_size_um or settings.assumed_pixel_size_um

    def length(um: float) -> int:
        return round(um / pixel)

    def area(um2: float) -> int:
        return round(um2 / pixel**2)

    return ContrastFilter(
        window_px=max(3, 2 * (length(settings.window_um) // 2) + 1),
        mean_window_px=min(63, max(15, 2 * (length(settings.mean_window_um) // 2) + 1)),
        close_px=length(settings.close_um),
        retreat_px=min(length(settings.retreat_um), max(3, length(settings.window_um)) // 2),
        halo_px=length(settings.halo_um),
        halo_level=settings.halo_level,
        hole_px2=area(settings.hole_um2),
        length_px=max(8, length(settings.hole_length_um)),
        speck_px2=area(settings.speck_um2),
        debris_px2=area(settings.debris_um2),
        ghost_px2=area(settings.ghost_um2),
    )


@dataclass(frozen=True, slots=True)
class Texture:
    """Local variance and mean of a picture, both in squared or plain grey levels times nine (sums of 3 x 3)."""

    variance: NDArray[np.float32]
    mean: NDArray[np.float32]
    levels: NDArray[np.uint16]

    def cropped(self, rows: slice, columns: slice) -> "Texture":
        """Return a part of it, such as a tile without its surroundings."""
        return Texture(self.variance[rows, columns], self.mean[rows, columns], self.levels[rows, columns])


def texture(working: NDArray[np.uint16], mean_level: float, sizes: ContrastFilter) -> Texture:
    """Return variance and mean of the 3 x 3 smoothed picture in windows around each pixel.

    Parameters
    ----------
    working : (Y, X) uint16 array
    mean_level : float
        Mean of the whole field, not of this tile.
    """
    levels = np.minimum(cv2.multiply(working, (GRAIN_LEVELS / max(mean_level, 1.0), 0, 0, 0)), MAX_LEVEL)
    centred = cv2.subtract(levels, (float(GRAIN_LEVELS), 0, 0, 0), dtype=cv2.CV_16S)
    smooth = cv2.boxFilter(centred, cv2.CV_16S, (3, 3), normalize=False)
    window = (sizes.window_px, sizes.window_px)
    n = float(sizes.window_px**2)
    sums = cv2.boxFilter(smooth, cv2.CV_32F, window, normalize=False)
    squares = cv2.sqrBoxFilter(smooth, cv2.CV_32F, window, normalize=False)
    variance = cv2.subtract(cv2.multiply(squares, 1 / n), cv2.multiply(sums, sums, scale=1 / n**2))
    mean = cv2.boxFilter(levels, cv2.CV_32F, (sizes.mean_window_px,) * 2, normalize=False)
    return Texture(variance, cv2.multiply(mean, 9.0 / sizes.mean_window_px**2), levels)


def texture_histogram(picture: Texture, judgeable: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the logarithm of texture on every fourth row and column, from `LOG_LOW` to `LOG_HIGH`.

    Parameters
    ----------
    picture : Texture
    judgeable : (Y, X) uint8 array
        0 where nothing is judged: a black frame would pass for the calmest of surfaces.
    """
    step = slice(None, None, SAMPLE_STEP_PX)
    is_judged = judgeable[step, step] > 0
    variance = picture.variance[step, step][is_judged].astype(np.float64)
    mean = np.maximum(picture.mean[step, step][is_judged].astype(np.float64), 9.0)
    log_texture = 0.5 * np.log(np.maximum(variance, 1e-3) / mean**2)
    floor = LOG_LOW + 1.0  # JPEG leaves bare surface without any texture; keep that in one class
    n_bins = round((LOG_HIGH - LOG_LOW) / LOG_STEP)
    index = np.clip(((np.clip(log_texture, floor, None) - LOG_LOW) / LOG_STEP).astype(np.int64), 0, n_bins - 1)
    return np.bincount(index, minlength=n_bins)


def noise_log(overview: Overview, judgeable: NDArray[np.bool_], settings: ContrastSettings) -> float | None:
    """Return the texture that the camera's noise alone would show, None where compression has removed the noise."""
    if overview.flat_percent > settings.flat_max_percent:
        return None
    is_judged = whole_blocks(overview, judgeable)
    noise = np.percentile(overview.block_fine[is_judged] / np.maximum(overview.block_mean[is_judged], 1.0), 5)
    return math.log(max(float(noise), 1e-4) / 3)  # 3 x 3 smoothing


def contrast_levels(
    counts: NDArray[np.int64], mean_level: float, noise: float | None, settings: ContrastSettings
) -> ContrastLevels:
    """Read the bare surface's texture and the limit off the histogram of the whole field.

    The lowest mode is the bare surface, unless it is rougher than any bare surface: in itself, or against the
    camera's noise and unevenly so. The limit lies between it and the median of what is clearly above it.

    Parameters
    ----------
    counts : (n,) int64 array
        Histogram from `texture_histogram`, over the whole field.
    mean_level : float
        Mean of the field in 16-bit grey values.
    noise : float or None
        From `noise_log`.
    """
    centres = (LOG_LOW + LOG_STEP * (np.arange(counts.size) + 0.5)).astype(np.float64)
    share = counts / max(int(counts.sum()), 1)
    mode = _lowest_mode(share, centres, settings.mode_share)
    low = _quantile(share, centres, 0.01)
    has_gaps = mode > settings.full_above and mode - low > settings.full_flank
    if has_gaps:
        mode = low + settings.bare_flank  # gaps too small to make a mode of their own
    elif mode > settings.full_above:
        return ContrastLevels(mean_level, mode, mode - settings.full_drop, mode, "full")
    is_even = bool(share[np.abs(centres - mode) < 1.0].sum() > settings.even_share)
    rise = -math.inf if noise is None else mode - noise
    if is_even and rise > settings.even_above_noise:
        return ContrastLevels(mean_level, mode, mode - settings.full_drop, mode, "full", is_uncertain=True)
    is_uncertain = is_even and rise > settings.even_uncertain
    # Only in a field of one texture: with cells in view, bare surface may be as uneven where focus or light is.
    if is_even and noise is not None and mode - _quantile(share, centres, 0.05) > settings.bare_spread:
        return _uneven_levels(share, centres, mode, noise, mean_level, settings)
    above = np.where(centres > mode + settings.bare_margin, share, 0.0)
    if above.sum() < settings.cells_share:
        limit = max(mode + settings.bare_rise, settings.limit_low)
        return ContrastLevels(mean_level, mode, limit, limit, "bare", is_uncertain)
    cells = _quantile(above / above.sum(), centres, 0.5)
    floor = mode if has_gaps else mode + settings.bare_margin
    limit = max(floor, mode + _between(share, centres, mode, cells, settings) * (cells - mode), settings.limit_low)
    limit = min(limit, max(settings.limit_high, floor))
    core = limit + settings.core_rise * (cells - mode)
    return ContrastLevels(mean_level, mode, limit, core, "bare and cells", is_uncertain)


def _between(
    share: NDArray[np.float64],
    centres: NDArray[np.float64],
    bare: float,
    cells: float,
    settings: ContrastSettings,
) -> float:
    """Return where the limit lies from bare (0) to cells (1): the rarer of the two has to be the more distinct.

    The limit of least error between two classes moves from the middle towards the rarer one by the logarithm of their
    odds (e.g. Kittler and Illingworth 1986, doi:10.1016/0031-3203(86)90030-0, equation 4).
    """
    textured = float(share[centres > (bare + cells) / 2].sum())
    odds = math.log(max(1 - textured, 1e-3) / max(textured, 1e-3))
    low, high = settings.between_range
    return min(max(settings.between + settings.between_per_odds * odds, low), high)


def _uneven_levels(
    share: NDArray[np.float64],
    centres: NDArray[np.float64],
    mode: float,
    noise: float,
    mean_level: float,
    settings: ContrastSettings,
) -> ContrastLevels:
    """Return the levels of a field of one texture that is too uneven for bare surface: flat cells, little bare or none.

    Grain is even: the first percentile of bare surface lies a fixed distance below its mode.
    """
    if mode > noise + settings.full_above_noise:
        return ContrastLevels(mean_level, mode, mode - settings.full_drop, mode, "full", is_uncertain=True)
    bare = _quantile(share, centres, 0.01) + settings.bare_flank
    return ContrastLevels(mean_level, bare, (bare + mode) / 2, mode, "flat cells", is_uncertain=True)


def _quantile(share: NDArray[np.float64], centres: NDArray[np.float64], q: float) -> float:
    """Return the value below which a share of the histogram lies."""
    return float(centres[min(int(np.searchsorted(np.cumsum(share), q)), centres.size - 1)])


def _lowest_mode(share: NDArray[np.float64], centres: NDArray[np.float64], mode_share: float) -> float:
    """Return the lowest local maximum of the smoothed histogram that holds `mode_share` within half a unit."""
    smooth = cv2.GaussianBlur(share.reshape(1, -1), (0, 0), 2.5, borderType=cv2.BORDER_CONSTANT).ravel()
    inner = smooth[1:-1]
    for i in 1 + np.flatnonzero((inner >= smooth[:-2]) & (inner > smooth[2:])):
        if share[np.abs(centres - centres[i]) < 0.5].sum() >= mode_share:
            return float(centres[i])
    return float(centres[int(np.argmax(smooth))])


def foreground_mask(picture: Texture, levels: ContrastLevels, sizes: ContrastFilter) -> NDArray[np.uint8]:
    """Return the pixels that belong to cells, 0 or 1.

    Parameters
    ----------
    picture : Texture
        Of the tile and `sizes.depth_px` working pixels around it, or of the whole field.

    Returns
    -------
    (Y, X) uint8 array
    """
    mask = _above(picture, levels.limit)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disk(sizes.close_px))
    if levels.kind == "full":
        return _fill_holes(mask, None, sizes)
    limit = math.exp(levels.limit)
    bright = _brighter(picture, 1.0 + sizes.halo_level * limit)
    mask = cv2.erode(mask, _disk(sizes.retreat_px))
    mask = _peel(mask, bright, sizes.halo_px)
    mask = _fill_holes(mask, bright, sizes)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disk(1))
    return _drop_debris(mask, _above(picture, levels.core), sizes)


def _above(picture: Texture, log_texture: float) -> NDArray[np.uint8]:
    """Return where the texture is above a limit, 0 or 1."""
    squared_limit = cv2.multiply(picture.mean, picture.mean, scale=math.exp(2 * log_texture))
    return cv2.compare(picture.variance, squared_limit, cv2.CMP_GT) & 1


def _disk(radius_px: int) -> NDArray[np.uint8]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))


def _brighter(picture: Texture, ratio: float) -> NDArray[np.uint8]:
    """Return where a pixel is brighter than the local mean by a ratio, 0 or 1."""
    limit = cv2.multiply(picture.mean, ratio / 9.0)
    return cv2.compare(picture.levels.astype(np.float32), limit, cv2.CMP_GT) & 1


def _peel(mask: NDArray[np.uint8], bright: NDArray[np.uint8], depth_px: int) -> NDArray[np.uint8]:
    """Take bright pixels off the mask from outside inwards, at most ``depth_px`` deep: the phase halo."""
    cross = _disk(1)
    for _ in range(depth_px):
        outer = cv2.dilate(1 - mask, cross) & bright & mask
        mask = mask ^ outer
    return mask


def _fill_holes(mask: NDArray[np.uint8], bright: NDArray[np.uint8] | None, sizes: ContrastFilter) -> NDArray[np.uint8]:
    """Return the mask with flat cell interiors filled: specks wholly, larger holes where they are not halo-bright.

    A hole is bounded in area and in length, so its reach is known.
    """
    labels, area, length = _parts(1 - mask, connectivity=4)
    is_short = length <= sizes.length_px
    is_hole, is_speck = is_short & (area <= sizes.hole_px2), is_short & (area <= sizes.speck_px2)
    is_hole[0] = is_speck[0] = False
    filled = np.take(is_hole.view(np.uint8), labels)
    if bright is not None:
        filled &= np.take(is_speck.view(np.uint8), labels) | (1 - bright)
    return mask | filled


def _drop_debris(mask: NDArray[np.uint8], core: NDArray[np.uint8], sizes: ContrastFilter) -> NDArray[np.uint8]:
    """Return the mask without specks, and without small objects that have no core; long thin ones stay."""
    labels, area, length = _parts(mask, connectivity=8)
    has_core = np.zeros(area.size, bool)
    has_core[labels[core.view(np.bool_)]] = True
    is_dropped = (length <= sizes.length_px) & ((area <= sizes.debris_px2) | ((area <= sizes.ghost_px2) & ~has_core))
    is_dropped[0] = True
    return np.take(np.logical_not(is_dropped).view(np.uint8), labels)


def _parts(
    mask: NDArray[np.uint8], *, connectivity: Literal[4, 8]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return the connected parts of a mask: labels, and area and longer side of each; entry 0 is the rest."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=connectivity)
    return labels, stats[:, cv2.CC_STAT_AREA], stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1)
