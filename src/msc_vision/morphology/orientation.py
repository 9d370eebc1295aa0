"""Order of the monolayer: how far cells lie side by side, how wide they are, and how fine their texture is.

No single cell is needed: everything is read off the grey picture where cells cover the surface, so it also holds at
90 % confluency. The picture is taken relative to the local mean and the local contrast of the covered surface, so
light, gain and vignetting do not count. A structure tensor (doi:10.1007/BF01889569) gives direction and coherency.

Edges of cells count as well as what is inside them, so figures of fields of different confluency do not compare. Focus
moves width and texture more than the cells do, coherency little. Defects are few per field: pool fields before use.

Every filter works on whole numbers, or on one pixel alone, and every sum is a whole number: a tile with
`order_reach_px` pixels around it adds exactly what it adds to the whole field. Lengths are brought to whole pixels,
block sides to powers of two, so that tiles do not cut blocks.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.errors import InvalidArgumentError
from msc_vision.morphology.feature import Feature
from msc_vision.records import Region

SCALES_UM = (10, 25, 60)
"""Smoothing of the structure tensor, one sigma."""
BLOCKS_UM = (100, 250)
"""Sides wanted of the blocks of which the local order is taken."""
TEXTURES_UM = ("1_5", "3", "6", "12", "24")
"""Scales of texture, one sigma: each twice the last."""
TILE_PX = 1024
"""Tiles begin at multiples of this; no block is larger."""

_FINEST_UM = 1.5
_LARGEST_GRAIN_UM = 2.83  # twice the square root of two: twice a working pixel of 1.3 µm, or four times one of 0.65 µm
_COARSEST = 2 ** (len(TEXTURES_UM) - 1)
_RELATIVE = 2048  # steps of grey relative to the local mean
_CONTRAST = 1024  # steps of grey relative to the local contrast
_HIGHEST = 4 * _CONTRAST - 1  # times the kernel's gain, still exact in 32-bit floats
_KERNEL_SUM = 64
_DERIVATIVE = np.array([1, -8, 0, 8, -1], np.float32)  # fourth order; twelve times the derivative
_ONE = np.ones(1, np.float32)
_GRADIENT_STEP = 96.0  # keeps sums of products exact in 32-bit floats
_UNIT = 4096  # steps of coherency
_TENSOR_GRAINS = (2, 4, 4)  # grains a side of the squares on which the tensor is smoothed, per scale

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


class OrderSettings(BaseModel):
    """What is asked of a field before its order is stated; lengths in µm. All limits are placeholders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_um: float = Field(80.0, ge=20, le=160, description="side of the window of local mean and local contrast")
    least_contrast: float = Field(0.004, gt=0, description="contrast that is added to the local one: noise of a camera")
    least_area_mm2: float = Field(0.02, gt=0, description="covered area below which no figure is stated; placeholder")
    node_um: float = Field(25.0, ge=10, le=100, description="distance wanted of the nodes whose winding is taken")
    node_coherency: float = Field(0.2, ge=0, le=1, description="least coherency around a defect; placeholder")
    node_covered: float = Field(0.5, gt=0, le=1, description="least covered share of a node; placeholder")


_TENSOR = "Bigun & Granlund 1987; Rezakhaniha et al. 2012, doi:10.1007/s10237-011-0325-z"
_NEMATIC = "Duclos et al. 2014, doi:10.1039/c3sm52323c"


def _features() -> tuple[Feature, ...]:
    def of_field(name: str, unit: str, meaning: str, formula: str, source: str) -> Feature:
        return Feature(name, "field", unit, meaning, formula, source)

    coherency = (
        of_field(
            f"coherency_{scale}um",
            "1",
            f"How far edges within some {scale} µm of each other run one way: 0 all ways, 1 one way.",
            f"mean over covered area of (l1 - l2) / (l1 + l2) of the structure tensor smoothed by {scale} µm",
            _TENSOR,
        )
        for scale in SCALES_UM
    )
    local = (
        of_field(
            f"order_{side}um",
            "1",
            f"How far cells lie side by side within squares of some {side} µm.",
            f"sum over squares of |sum of c exp(2 i angle)| over the sum of c; c: coherency at {SCALES_UM[0]} µm; "
            f"side: the power of two of working pixels nearest to {side} µm",
            _NEMATIC,
        )
        for side in BLOCKS_UM
    )
    defects = (
        of_field(
            f"defects_{word}_half_per_mm2",
            "1/mm²",
            f"Points around which the direction of the layer makes half a turn {way} per covered mm² with a direction.",
            "squares of four nodes with a winding of half a turn, also around the twelve nodes next to them",
            _NEMATIC,
        )
        for word, way in (("plus", "with the circle around them"), ("minus", "against it"))
    )
    texture = (
        of_field(
            f"texture_share_{scale}um",
            "1",
            f"Part of the texture of the cells that has a size of some {scale.replace('_', '.')} µm (one sigma).",
            "energy lost by smoothing from this scale over the square root of two to that times it, over all energy "
            "of such scales; over covered area, grey relative to local mean and contrast",
            "own",
        )
        for scale in TEXTURES_UM
    )
    return (
        *coherency,
        of_field(
            "order_field",
            "1",
            "Whether the whole field has one direction: 0 none, 1 all cells parallel.",
            f"|sum of c exp(2 i angle)| over the sum of c; c: coherency at {SCALES_UM[0]} µm",
            _NEMATIC,
        ),
        *local,
        *defects,
        of_field(
            "fibre_width_um",
            "µm",
            "Typical width of dark and bright stripes across the local direction.",
            "length over changes from dark to bright, along rows and columns, each times the part of the normal that "
            f"lies along it; weighted with coherency at {SCALES_UM[0]} µm",
            "own",
        ),
        of_field(
            "contrast_percent",
            "percent",
            "How strong the texture of the cells is.",
            "root mean square of grey over local mean of the covered surface less 1; moves with focus and optics",
            "own",
        ),
        *texture,
    )


ORDER_FEATURES = _features()
"""In the order in which `order_figures` returns them."""


@dataclass(frozen=True, slots=True)
class OrderParts:
    """What one tile adds to the order of its field: whole numbers only; see `order_figures`.

    Attributes
    ----------
    n_grains, contrast : int
        Covered grains (squares of pixels), and the sum of their squared grey over the local mean.
    coherency : tuple of int
        One per scale, summed over covered grains.
    n_directed : tuple of int
        Covered grains of which that is the sum.
    director_x, director_y : int
        Cosine and sine of twice the direction, each times coherency.
    local_order, local_weight : tuple of int
        Length of the summed director of each block, and the coherency that it would have were all alike.
    n_plus, n_minus, n_plaquettes : int
        Defects, and squares of four nodes around which the direction is known.
    crossings, crossing_weight : int
        Changes from dark to bright across the direction, and length looked at, both times coherency.
    texture : tuple of int
        Energy of each scale over covered grains.
    """

    n_grains: int = 0
    contrast: int = 0
    coherency: tuple[int, ...] = (0,) * len(SCALES_UM)
    n_directed: tuple[int, ...] = (0,) * len(SCALES_UM)
    director_x: int = 0
    director_y: int = 0
    local_order: tuple[int, ...] = (0,) * len(BLOCKS_UM)
    local_weight: tuple[int, ...] = (0,) * len(BLOCKS_UM)
    n_plus: int = 0
    n_minus: int = 0
    n_plaquettes: int = 0
    crossings: int = 0
    crossing_weight: int = 0
    texture: tuple[int, ...] = (0,) * len(TEXTURES_UM)

    def __add__(self, other: "OrderParts") -> "OrderParts":
        """Return the sums over two tiles."""
        sums: list[Any] = []
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            both = zip(mine, theirs, strict=True) if isinstance(mine, tuple) else None
            sums.append(mine + theirs if both is None else tuple(map(sum, both)))
        return OrderParts(*sums)


@dataclass(frozen=True, slots=True)
class OrientationMap:
    """Direction of the layer on a coarse grid, for drawing.

    Attributes
    ----------
    angle_degrees : (Y, X) float32 array
        Direction along the cells, 0 to 180, counter-clockwise from the horizontal as the picture is looked at; NaN
        where too little is covered.
    coherency : (Y, X) float32 array
        0: no direction; 1: all edges run one way. NaN as above.
    step_px : int
        Working pixels from node to node; the first node is the middle of the first square of this side.
    """

    angle_degrees: F32
    coherency: F32
    step_px: int


@dataclass(frozen=True, slots=True)
class _Grid:
    """Lengths of one pixel size in whole pixels: a grain is ``grain_px`` working pixels a side, a patch two grains."""

    grain_px: int
    grain_um: float
    window: int  # grains, odd
    smoothing: tuple[tuple[int, int], ...]  # two boxes each, odd: patches for the first scale, twice those for others
    kernels: tuple[F32, ...]
    blocks_px: tuple[int, ...]
    node_px: int


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a tile lies in what was read of it, in working pixels; the read part begins at ``y0, x0`` of the field."""

    y0: int
    x0: int
    inner: Region

    def part(self, step_px: int) -> tuple[slice, slice]:
        """Return the rows and columns of the tile on a grid of so many pixels; whole squares only."""
        inner = self.inner
        return (
            slice((inner.y0 - self.y0) // step_px, (inner.y1 - self.y0) // step_px),
            slice((inner.x0 - self.x0) // step_px, (inner.x1 - self.x0) // step_px),
        )


def order_reach_px(pixel_size_um: float, settings: OrderSettings) -> int:
    """Return how many working pixels around a tile decide on what it adds."""
    grid = _grid(pixel_size_um, settings)
    texture = sum(kernel.size // 2 * 2**level for level, kernel in enumerate(grid.kernels))
    boxes = max(step * (sum(sides) // 2) for step, sides in zip(_TENSOR_GRAINS, grid.smoothing, strict=True))
    tensor = grid.kernels[0].size // 2 + _DERIVATIVE.size // 2 + boxes
    filters = 2 * (grid.window // 2) + max(texture, tensor)
    return grid.grain_px * (filters + 2 * _COARSEST) + 3 * grid.node_px


def measure_order(
    working: NDArray[np.uint16],
    covered: NDArray[np.uint8],
    around: Region,
    inner: Region,
    pixel_size_um: float,
    settings: OrderSettings,
) -> OrderParts:
    """Return what a field, or one tile of it, adds to the order of the field.

    Parameters
    ----------
    working : (Y, X) uint16 array
        Grey values of ``around``, working pixels; uneven light may be in them.
    covered : (Y, X) uint8 array
        1 where a cell lies and can be judged, else 0.
    around : Region
        Where the arrays lie in the field, working pixels: the tile and `order_reach_px` pixels on every side, or up to
        the edge of the field.
    inner : Region
        The tile. It begins at multiples of `TILE_PX` and ends at one or at the edge of the field.
    pixel_size_um : float
        Side of a working pixel. A field whose pixel size nobody knows has no such figures.

    Returns
    -------
    OrderParts
        Whole numbers; those of all tiles add up to those of the field, to the last bit.

    Raises
    ------
    InvalidArgumentError
        If the arrays do not fit ``around``, or the tile begins elsewhere.
    """
    _check(working, covered, around, inner)
    grid = _grid(pixel_size_um, settings)
    picture, mask, frame = _grains(working, covered, around, inner, grid)
    if min(picture.shape) < 2 * _COARSEST or not mask[frame.part(grid.grain_px)].size:
        return OrderParts()
    relief, squares = _relief(picture, mask, grid, settings)
    smooth, texture = _textures(relief, mask, frame, grid)
    tensor = _tensor(smooth, mask)
    n_covered = 4 * _by_two(mask)
    middle = _smoothed(_halved(tensor), grid.smoothing[1])
    fine = _normalised(_smoothed(tensor, grid.smoothing[0]))
    directions = (fine, _normalised(middle), _normalised(_smoothed(_halved(tensor), grid.smoothing[2])))
    covered_at = (n_covered, *2 * (4 * _by_two(n_covered),))
    seen = [frame.part(step * grid.grain_px) for step in _TENSOR_GRAINS]
    local = _local_orders([part[seen[0]] * n_covered[seen[0]] for part in fine], grid)
    crossings = _crossings(smooth, mask, fine, n_covered, seen[0])
    return OrderParts(
        n_grains=cv2.countNonZero(mask[frame.part(grid.grain_px)]),
        contrast=_total(squares[frame.part(grid.grain_px)]),
        coherency=tuple(
            _total(direction.coherency[at] * weight[at])
            for direction, weight, at in zip(directions, covered_at, seen, strict=True)
        ),
        n_directed=tuple(_total(weight[at]) for weight, at in zip(covered_at, seen, strict=True)),
        director_x=_total(fine.cosine[seen[0]] * n_covered[seen[0]]),
        director_y=_total(fine.sine[seen[0]] * n_covered[seen[0]]),
        local_order=tuple(order for order, _ in local),
        local_weight=tuple(weight for _, weight in local),
        **_defects(middle, covered_at[1], frame, grid, settings),
        crossings=crossings[0],
        crossing_weight=crossings[1],
        texture=texture,
    )


def order_figures(parts: OrderParts, pixel_size_um: float | None, settings: OrderSettings) -> dict[str, float]:
    """Return the figures of `ORDER_FEATURES` for one field.

    Parameters
    ----------
    parts : OrderParts
        Of the whole field, or the sum over its tiles.
    pixel_size_um : float or None
        Side of a working pixel; without it no figure has a value.

    Returns
    -------
    dict of str to float
        NaN where too little is covered.
    """
    names = [feature.name for feature in ORDER_FEATURES]
    if pixel_size_um is None:
        return dict.fromkeys(names, math.nan)
    grid = _grid(pixel_size_um, settings)
    if parts.n_grains * grid.grain_um**2 < settings.least_area_mm2 * 1e6:
        return dict.fromkeys(names, math.nan)
    weight = parts.coherency[0]
    known_mm2 = parts.n_plaquettes * (grid.node_px * pixel_size_um / 1000) ** 2
    known = known_mm2 if known_mm2 >= settings.least_area_mm2 else 0.0
    energy = sum(parts.texture)
    values = [
        *(_ratio(a, _UNIT * n) for a, n in zip(parts.coherency, parts.n_directed, strict=True)),
        _ratio(math.hypot(parts.director_x, parts.director_y), weight),
        *(_ratio(a, n) for a, n in zip(parts.local_order, parts.local_weight, strict=True)),
        _ratio(parts.n_plus, known),
        _ratio(parts.n_minus, known),
        grid.grain_um * _ratio(parts.crossing_weight, parts.crossings),
        100 * math.sqrt(parts.contrast / parts.n_grains) / _RELATIVE,
        *(_ratio(part, energy) for part in parts.texture),
    ]
    return dict(zip(names, values, strict=True))


def orientation_map(
    working: NDArray[np.uint16], covered: NDArray[np.uint8], pixel_size_um: float, settings: OrderSettings
) -> OrientationMap:
    """Return the direction of the layer every 25 µm or so.

    Parameters
    ----------
    working : (Y, X) uint16 array
    covered : (Y, X) uint8 array
        1 where a cell lies and can be judged, else 0.
    """
    region = Region(0, working.shape[0], 0, working.shape[1])
    _check(working, covered, region, region)
    grid = _grid(pixel_size_um, settings)
    picture, mask, _ = _grains(working, covered, region, region, grid)
    relief, _ = _relief(picture, mask, grid, settings)
    tensor = _tensor(_blurred(relief, grid.kernels[0]), mask)
    middle = _smoothed(_halved(tensor), grid.smoothing[1])
    node, known = _nodes(middle, 16 * _by_two(_by_two(mask)), grid, settings)
    angle = (np.degrees(np.arctan2(node.sine, -node.cosine)) / 2 % 180).astype(np.float32)
    coherency = (node.coherency / _UNIT).astype(np.float32)
    angle[~known] = coherency[~known] = math.nan
    return OrientationMap(angle, coherency, grid.node_px)


def _check(working: NDArray[np.uint16], covered: NDArray[np.uint8], around: Region, inner: Region) -> None:
    if working.dtype != np.uint16 or covered.dtype != np.uint8:
        raise InvalidArgumentError(f"Need uint16 grey and uint8 cover; got {working.dtype} and {covered.dtype}.")
    if not working.shape == covered.shape == around.shape:
        raise InvalidArgumentError(f"Shapes differ: {working.shape}, {covered.shape}, around {around.shape}.")
    if inner.y0 % TILE_PX or inner.x0 % TILE_PX:
        raise InvalidArgumentError(f"A tile begins at multiples of {TILE_PX} pixels, not at {inner.y0}, {inner.x0}.")
    if around.y0 > inner.y0 or around.y1 < inner.y1 or around.x0 > inner.x0 or around.x1 < inner.x1:
        raise InvalidArgumentError(f"The tile {inner} does not lie in what was read, {around}.")


def _grid(pixel_size_um: float, settings: OrderSettings) -> _Grid:
    if not 0 < pixel_size_um < math.inf:
        raise InvalidArgumentError(f"A pixel size is above 0 µm, not {pixel_size_um}.")
    largest = TILE_PX // (2 * _COARSEST)
    grain_px = min(2 ** max(math.floor(math.log2(_LARGEST_GRAIN_UM / pixel_size_um)), 0), largest)
    grain_um = grain_px * pixel_size_um
    return _Grid(
        grain_px=grain_px,
        grain_um=grain_um,
        window=_odd(settings.window_um / grain_um),
        smoothing=tuple(
            _boxes(scale / (step * grain_um)) for step, scale in zip(_TENSOR_GRAINS, SCALES_UM, strict=True)
        ),
        kernels=_kernels(grain_um),
        blocks_px=tuple(_block_px(side / pixel_size_um, 2 * grain_px) for side in BLOCKS_UM),
        node_px=_block_px(settings.node_um / pixel_size_um, 4 * grain_px),
    )


def _odd(length: float) -> int:
    return 2 * math.floor(length / 2) + 1


def _boxes(sigma: float) -> tuple[int, int]:
    """Return the odd sides of two boxes that smooth by sigma: a box of n squares has a variance of (n² - 1) / 12."""
    pairs = ((side, side + more) for side in range(1, math.ceil(3 * sigma) + 3, 2) for more in (0, 2))
    return min(pairs, key=lambda pair: abs((pair[0] ** 2 + pair[1] ** 2 - 2) / 12 - sigma**2))


def _block_px(wanted_px: float, least_px: int) -> int:
    return min(max(2 ** round(math.log2(wanted_px)), least_px), TILE_PX)


def _kernels(grain_um: float) -> tuple[F32, ...]:
    """Return what takes the picture from each scale to the next, in whole numbers that add up to `_KERNEL_SUM`.

    Grains, and means of two by two of them, have blurred it already: a box of side s has a variance of s² / 12.
    """
    kernels, side, variance = [], grain_um, grain_um**2 / 12
    for level in range(len(TEXTURES_UM)):
        wanted = (_FINEST_UM * 2**level) ** 2 * 2
        sigma = math.sqrt(max(wanted - variance, 0.0)) / side
        kernels.append(_kernel(sigma))
        variance = max(wanted, variance) + side**2 / 4
        side *= 2
    return tuple(kernels)


def _kernel(sigma: float) -> F32:
    radius = math.ceil(2.5 * sigma)
    weights = [math.exp(-(x**2) / (2 * max(sigma, 0.1) ** 2)) for x in range(1, radius + 1)]
    total = 1 + 2 * sum(weights)
    arm = [round(_KERNEL_SUM * weight / total) for weight in weights]
    return np.array([*reversed(arm), _KERNEL_SUM - 2 * sum(arm), *arm], np.float32)


def _grains(
    working: NDArray[np.uint16], covered: NDArray[np.uint8], around: Region, inner: Region, grid: _Grid
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], _Frame]:
    """Return means over grains, cut to begin where the coarsest squares of the field begin."""
    step = grid.grain_px * _COARSEST * 2
    y0, x0 = -(-around.y0 // step) * step, -(-around.x0 // step) * step
    frame = _Frame(y0, x0, inner)
    rows, columns = slice(y0 - around.y0, None), slice(x0 - around.x0, None)
    return (
        _by(working[rows, columns], grid.grain_px, 4),
        _by(covered[rows, columns], grid.grain_px, 4),
        frame,
    )


def _by(values: NDArray[Any], n: int, whole: int = 1) -> NDArray[Any]:
    """Return means over squares of n by n, their number a multiple of ``whole``; a rest is left out."""
    height, width = (size // (n * whole) * whole for size in values.shape[:2])
    cut = values[: height * n, : width * n]
    return np.ascontiguousarray(cut) if n == 1 else cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA)


def _by_two(values: NDArray[Any]) -> F32:
    return _by(values.astype(np.float32, copy=False), 2)


def _box(values: NDArray[Any], side: int, depth: int) -> NDArray[Any]:
    return cv2.boxFilter(values, depth, (side, side), normalize=False)


def _relief(
    picture: NDArray[np.uint16], mask: NDArray[np.uint8], grid: _Grid, settings: OrderSettings
) -> tuple[F32, F32]:
    """Return grey over local mean and contrast in steps of `_CONTRAST`, and its square over the mean alone.

    Bare surface is 0 in both: it neither counts nor does its grain.
    """
    count = np.maximum(_box(mask, grid.window, cv2.CV_32S), 1).astype(np.float32)
    sums = _box(picture.astype(np.int32) * mask, grid.window, cv2.CV_32S).astype(np.float32)
    deviation = picture * count
    deviation /= np.maximum(sums, 1, out=sums)
    deviation -= 1
    deviation *= _RELATIVE
    np.clip(np.rint(deviation, out=deviation), -_RELATIVE, _RELATIVE, out=deviation)
    deviation *= mask
    squares = deviation * deviation
    factor = _CONTRAST / _local_contrast(squares, mask, grid, settings)
    deviation *= cv2.resize(factor, mask.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.clip(np.rint(deviation, out=deviation), -_HIGHEST, _HIGHEST, out=deviation), squares


def _local_contrast(squares: F32, mask: NDArray[np.uint8], grid: _Grid, settings: OrderSettings) -> F32:
    """Return the root mean square over the window, one value per patch."""
    side = _odd(grid.window / 2)
    count = np.maximum(_box(4 * _by_two(mask), side, cv2.CV_64F), 1)
    mean = 4 * _box(_by_two(squares), side, cv2.CV_64F) / count
    floor = (settings.least_contrast * _RELATIVE) ** 2
    return np.sqrt(mean + floor).astype(np.float32)


def _blurred(values: F32, kernel: F32) -> F32:
    blurred: F32 = cv2.sepFilter2D(values, cv2.CV_32F, kernel, kernel)
    blurred *= 1 / _KERNEL_SUM**2
    return np.rint(blurred, out=blurred)


def _textures(relief: F32, mask: NDArray[np.uint8], frame: _Frame, grid: _Grid) -> tuple[F32, tuple[int, ...]]:
    """Return the picture smoothed to the first scale, and the energy between each scale and the next."""
    energies, first = [], relief
    picture, weight, step_px = relief, mask.astype(np.float32), grid.grain_px
    for level, kernel in enumerate(grid.kernels):
        smooth = _blurred(picture, kernel)
        first = smooth if level == 0 else first
        part = frame.part(step_px)
        band = picture[part] - smooth[part]
        energies.append(_total(band * band * weight[part]))
        picture, weight, step_px = np.rint(_by_two(smooth)), _by_two(weight) * 4, 2 * step_px
    return first, tuple(energies)


def _total(values: NDArray[Any]) -> int:
    """Return a sum of whole numbers, exact below 2**53."""
    return int(values.sum(dtype=np.float64))


def _tensor(smooth: F32, mask: NDArray[np.uint8]) -> F32:
    """Return Jxx - Jyy, 2 Jxy and Jxx + Jyy of covered grains, mean over patches; (Y, X, 3)."""
    across = np.rint(cv2.sepFilter2D(smooth, cv2.CV_32F, _DERIVATIVE, _ONE) * (1 / _GRADIENT_STEP)) * mask
    down = np.rint(cv2.sepFilter2D(smooth, cv2.CV_32F, _ONE, _DERIVATIVE) * (1 / _GRADIENT_STEP)) * mask
    both = _by_two(across * down)
    across *= across
    down *= down
    xx, yy = _by_two(across), _by_two(down)
    return cv2.merge([xx - yy, 2 * both, xx + yy])


def _halved(tensor: F32) -> F64:
    return _by(tensor.astype(np.float64), 2)


def _smoothed(tensor: NDArray[Any], sides: tuple[int, int]) -> F64:
    for side in sides:
        tensor = _box(tensor, side, cv2.CV_64F)
    return tensor


class _Direction(NamedTuple):
    """Cosine and sine of twice the gradient's direction, times coherency, and coherency; whole steps of `_UNIT`."""

    cosine: F32
    sine: F32
    coherency: F32


def _normalised(tensor: F64) -> _Direction:
    cosine, sine, energy = cv2.split(tensor)
    step = _UNIT / np.maximum(energy, 1e-9)
    cosine *= step
    sine *= step
    coherency = np.sqrt(cosine * cosine + sine * sine)
    return _Direction(*(np.rint(part).astype(np.float32) for part in (cosine, sine, coherency)))


def _local_orders(director: list[F32], grid: _Grid) -> list[tuple[int, int]]:
    """Return, per side of blocks, the length of the director summed over each block, and the summed coherency.

    Blocks that the edge of the field cuts count by what lies in them.
    """
    found, side_px = [], 2 * grid.grain_px
    sums = cv2.merge([part.astype(np.float64) for part in director])
    for block_px in grid.blocks_px:
        n = block_px // side_px
        height, width = sums.shape[:2]
        sums = cv2.copyMakeBorder(sums, 0, -height % n, 0, -width % n, cv2.BORDER_CONSTANT, value=0)
        sums = _by(sums, n) * n**2
        length = np.sqrt(sums[..., 0] ** 2 + sums[..., 1] ** 2)
        found.append((_total(np.rint(length)), _total(sums[..., 2])))
        side_px = block_px
    return found


def _crossings(
    smooth: F32, mask: NDArray[np.uint8], direction: _Direction, n_covered: F32, seen: tuple[slice, slice]
) -> tuple[int, int]:
    """Return changes of sign across the local direction, and the length looked at.

    Stripes whose normal makes an angle with the rows are crossed cos(angle) times as often along them.
    """
    bright = (smooth > 0).view(np.uint8)
    along_x, along_y = np.zeros_like(mask), np.zeros_like(mask)
    along_x[:, 1:] = (bright[:, 1:] ^ bright[:, :-1]) & mask[:, 1:] & mask[:, :-1]
    along_y[1:] = (bright[1:] ^ bright[:-1]) & mask[1:] & mask[:-1]
    coherency = direction.coherency[seen]
    cosine = np.clip(direction.cosine[seen] / np.maximum(coherency, 1), -1, 1)
    found = _by_two(along_x)[seen] * np.sqrt((1 + cosine) / 2) + _by_two(along_y)[seen] * np.sqrt((1 - cosine) / 2)
    return _total(np.rint(4 * found * coherency)), _total(n_covered[seen] * coherency)


def _nodes(middle: F64, n_covered: F32, grid: _Grid, settings: OrderSettings) -> tuple[_Direction, NDArray[np.bool_]]:
    """Return the director at nodes and where enough is covered."""
    n = grid.node_px // (4 * grid.grain_px)
    return _normalised(_by(middle, n)), _by(n_covered, n) >= 16 * settings.node_covered


def _defects(middle: F64, n_covered: F32, frame: _Frame, grid: _Grid, settings: OrderSettings) -> dict[str, int]:
    """Count the squares of four nodes around which the direction turns by half a turn.

    The ring of twelve nodes around must be coherent and turn alike: a pair closer than that is no defect but noise.
    """
    node, covered = _nodes(middle, n_covered, grid, settings)
    known = (covered & (node.coherency >= settings.node_coherency * _UNIT)).view(np.uint8)
    ring = np.ones((4, 4), np.uint8)
    ring[1:3, 1:3] = 0
    is_known = cv2.erode(known, ring, anchor=(1, 1), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    director = node.cosine.astype(np.float64), node.sine.astype(np.float64)
    right = _turn([part[:, :-1] for part in director], [part[:, 1:] for part in director])
    down = _turn([part[:-1] for part in director], [part[1:] for part in director])
    turn = np.zeros(known.shape, np.float32)
    turn[:-1, :-1] = np.rint((right[:-1] + down[:, 1:] - right[1:] - down[:, :-1]) / (2 * math.pi))
    around = cv2.boxFilter(turn, cv2.CV_32F, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    part = frame.part(grid.node_px)
    sign = (turn * (around == turn) * is_known)[part]
    return {
        "n_plus": int(np.count_nonzero(sign > 0)),
        "n_minus": int(np.count_nonzero(sign < 0)),
        "n_plaquettes": int(np.count_nonzero(is_known[part])),
    }


def _turn(start: list[F64], end: list[F64]) -> F64:
    """Return by how much twice the direction turns, radians."""
    cross = start[0] * end[1] - start[1] * end[0]
    turn: F64 = np.arctan2(cross, start[0] * end[0] + start[1] * end[1])
    return turn


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
