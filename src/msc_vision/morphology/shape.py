"""The shape of each cell: size, length along its middle line, arms, and how it looks in phase contrast.

A cell's figures follow from its own box and `margin_px` around it, so a field gives the same rows whole or in tiles.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.errors import InvalidArgumentError
from msc_vision.morphology.grey import GreyScales, greys
from msc_vision.morphology.medial import MedialAxes, medial_axes
from msc_vision.morphology.outline import (
    OUTLINE_REACH_PX,
    Ints,
    Runs,
    hull_areas_px,
    inertia,
    moments,
    perimeters_px,
    run_sums,
    runs_of,
)
from msc_vision.morphology.shape_features import SHAPE_FEATURES
from msc_vision.records import Region
from msc_vision.segmentation.network.maps import MAPS

_FLAGS = (
    ("label", "<i4"),
    ("is_measured", "?"),
    ("touches_border", "?"),
    ("is_oversized", "?"),
    ("in_aggregate", "?"),
    ("is_rounded", "?"),
    ("border_weight", "<f8"),
)
SHAPE_FIGURES = tuple(feature.name for feature in SHAPE_FEATURES)
"""Columns that are measured, each float64."""
SHAPE_COLUMNS = np.dtype([*_FLAGS, *((name, "<f8") for name in SHAPE_FIGURES)])
"""A row per cell. What could not be measured is NaN.

``is_measured`` says whether it may enter statistics of shape: wholly in the field, not oversized, in no aggregate, the
size of a pixel known. ``border_weight`` counts a cell for those of its size that the border cuts (R. E. Miles; C.
Lantuejoul): one over the chance that a box of its size, thrown at random, does not touch it. It is 0 for those that do.
"""

_REACH_LIMIT_PX = 1024
_REACH_UNKNOWN_PX = 512
"""Longest side of a box where the size of a pixel is not known."""
_BLOCK_UNKNOWN_PX = 2
"""Side of the blocks on which medial axes are drawn where the size of a pixel is not known."""


class ShapeSettings(BaseModel):
    """At which lengths shapes are measured, and which cells are left out. Limits of biology are placeholders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reach_um: float = Field(400.0, gt=0, description="longest side of a cell's box that is measured; at most 1024 px")
    axis_um: float = Field(2.0, gt=0, description="size of the pixels, about, on which medial axes are drawn")
    rim_um: float = Field(3.0, gt=0, description="width of the halo's ring, and of the edge left out of the texture")
    fine_um: float = Field(0.7, gt=0, description="one sigma of the smoothing before the texture is measured")
    coarse_um: float = Field(6.0, gt=0, description="side of the window against which the texture is measured")
    around_um: float = Field(15.0, gt=0, description="how far the surroundings of a cell reach beyond its box")
    aggregate_share: float = Field(0.5, ge=0, le=1, description="mean probability from which a cell is in an aggregate")
    rounded_share: float = Field(0.5, ge=0, le=1, description="mean probability from which a cell is a rounded one")


class CellBoxes(NamedTuple):
    """Cells and where they lie in the field: labels (n,) int64, boxes (n, 4) int64 y0, y1, x0, x1 in working pixels."""

    label: Ints
    box: Ints

    def starting_in(self, tile: Region) -> "CellBoxes":
        """Return the cells that belong to a tile: the top left corner of their box lies in it."""
        y0, x0 = self.box[:, 0], self.box[:, 2]
        mine = (y0 >= tile.y0) & (y0 < tile.y1) & (x0 >= tile.x0) & (x0 < tile.x1)
        return CellBoxes(self.label[mine], self.box[mine])


def cell_boxes(table: NDArray[np.void], factor: int) -> CellBoxes:
    """Return the cells of a table of `OBJECT_COLUMNS`; ``factor`` is native pixels a side of one working pixel."""
    box = np.stack([table[name] for name in ("y0_px", "y1_px", "x0_px", "x1_px")], axis=1)
    return CellBoxes(table["label"].astype(np.int64), -(-box // factor))


def reach_px(pixel_size_um: float | None, settings: ShapeSettings) -> int:
    """Return the longest side of a box that is measured, in working pixels."""
    if pixel_size_um is None:
        return _REACH_UNKNOWN_PX
    return min(_REACH_LIMIT_PX, math.ceil(settings.reach_um / pixel_size_um))


def margin_px(pixel_size_um: float | None, settings: ShapeSettings) -> int:
    """Return how far around its box a cell's figures look, in working pixels."""
    if pixel_size_um is None:
        return OUTLINE_REACH_PX
    scales = _scales(pixel_size_um, settings)
    return max(scales.around_px, 2 * scales.rim_px, OUTLINE_REACH_PX, math.ceil(3 * scales.fine_px), scales.coarse_px)


def surroundings_px(pixel_size_um: float | None, settings: ShapeSettings) -> int:
    """Return how far around a tile picture, labels and maps have to be known, where the field goes on."""
    return reach_px(pixel_size_um, settings) + margin_px(pixel_size_um, settings)


def cell_shapes(
    picture: NDArray[np.uint16],
    labels: NDArray[np.int32],
    maps: NDArray[np.uint8],
    cells: CellBoxes,
    around: Region,
    field_shape: tuple[int, int],
    pixel_size_um: float | None,
    settings: ShapeSettings,
) -> NDArray[np.void]:
    """Return a row of `SHAPE_COLUMNS` for each cell.

    Parameters
    ----------
    picture : (Y, X) uint16 array
        Grey, in working pixels of ``around``.
    labels : (Y, X) int32 array
        Cells, 0 = background.
    maps : (6, Y, X) uint8 array
        255 times a probability, in the order of `MAPS`.
    cells : CellBoxes
        The cells that are wanted, in working pixels of the field.
    around : Region
        What the arrays cover: the whole field, or a tile with `surroundings_px` around it.
    field_shape : (int, int)
        Of the whole field in working pixels.
    pixel_size_um : float or None
        Of a working pixel. None: lengths, areas and what is seen at a given length are NaN.

    Raises
    ------
    InvalidArgumentError
        If a cell that can be measured lies outside ``around``.
    """
    table = _named(cells, field_shape, reach_px(pixel_size_um, settings))
    kept = ~table["is_oversized"]
    if not kept.any():
        return table
    box = cells.box[kept] - np.array([around.y0, around.y0, around.x0, around.x0])
    if (box < 0).any() or (box[:, [1, 3]] > np.array(labels.shape)).any():
        raise InvalidArgumentError(f"A cell lies outside {around}: give a tile its surroundings.")
    number = cells.label[kept]
    found = _numbered(labels, number)
    runs = runs_of(found, len(number))
    rows = np.zeros(len(number), SHAPE_COLUMNS)
    area = _put_outline(rows, found, runs, box, pixel_size_um)
    _put_axis(rows, medial_axes(labels, number, box, _block(pixel_size_um, settings)), area, pixel_size_um)
    _put_greys(rows, picture, found, runs, box, None if pixel_size_um is None else _scales(pixel_size_um, settings))
    for name in ("rounded", "aggregate", "debris"):
        rows[f"{name}_share"] = run_sums(maps[MAPS.index(name)], runs, len(number)) / (255 * area)
    for name in SHAPE_FIGURES:
        table[name][kept] = rows[name]
    table["in_aggregate"] = table["aggregate_share"] >= settings.aggregate_share
    table["is_rounded"] = table["rounded_share"] >= settings.rounded_share
    left_out: NDArray[np.bool_] = table["touches_border"] | table["is_oversized"] | table["in_aggregate"]
    table["is_measured"] = ~left_out & (pixel_size_um is not None)
    return table


def _scales(pixel_size_um: float, settings: ShapeSettings) -> GreyScales:
    return GreyScales(
        rim_px=max(1, round(settings.rim_um / pixel_size_um)),
        fine_px=max(0.3, settings.fine_um / pixel_size_um),
        coarse_px=max(3, 2 * round((settings.coarse_um / pixel_size_um - 1) / 2) + 1),
        around_px=math.ceil(settings.around_um / pixel_size_um),
    )


def _named(cells: CellBoxes, field_shape: tuple[int, int], reach: int) -> NDArray[np.void]:
    """Return the rows with what the boxes alone tell; all figures are NaN."""
    table = np.zeros(len(cells.label), SHAPE_COLUMNS)
    for name in SHAPE_FIGURES:
        table[name] = np.nan
    field = np.array(field_shape)
    low, high = cells.box[:, ::2], cells.box[:, 1::2]
    free = np.prod(np.maximum(field - (high - low) - 1, 0), axis=1)  # places of the box without touching the border
    table["label"] = cells.label
    table["touches_border"] = (low == 0).any(axis=1) | (high == field).any(axis=1)
    table["is_oversized"] = (high - low).max(axis=1, initial=0) > reach
    table["border_weight"] = np.where(table["touches_border"], 0.0, field.prod() / np.maximum(free, 1))
    return table


def _numbered(labels: NDArray[np.int32], wanted: Ints) -> NDArray[np.int32]:
    """Return 1 to n for the wanted labels in their order, n + 1 for any other cell, 0 for none."""
    lookup = np.full(max(int(labels.max()), int(wanted.max())) + 1, len(wanted) + 1, np.int32)
    lookup[0] = 0
    lookup[wanted] = np.arange(1, len(wanted) + 1, dtype=np.int32)
    return lookup[labels]


def _put_outline(
    rows: NDArray[np.void], found: NDArray[np.int32], runs: Runs, box: Ints, pixel_size_um: float | None
) -> Ints:
    """Write what area, moments, outline and hull tell; return the areas in pixels."""
    n, unit = len(box), np.nan if pixel_size_um is None else pixel_size_um
    sums = moments(runs, box)
    perimeter, axes = perimeters_px(found, n), inertia(sums)
    rows["area_um2"] = sums.area * unit**2
    rows["perimeter_um"] = perimeter * unit
    rows["aspect_ratio"] = np.sqrt(axes.major / axes.minor)
    rows["elongation"] = 1 - np.sqrt(axes.minor / axes.major)
    rows["circularity"] = np.minimum(4 * np.pi * sums.area / perimeter**2, 1)
    rows["solidity"] = np.minimum(sums.area / hull_areas_px(runs, n), 1)
    rows["orientation_deg"] = axes.orientation_deg
    return sums.area


def _block(pixel_size_um: float | None, settings: ShapeSettings) -> int:
    """Return the side in pixels of the blocks on which axes are drawn."""
    return _BLOCK_UNKNOWN_PX if pixel_size_um is None else max(1, round(settings.axis_um / pixel_size_um))


def _put_axis(rows: NDArray[np.void], axes: MedialAxes, area: Ints, pixel_size_um: float | None) -> None:
    """Write what the medial axes tell."""
    unit = np.nan if pixel_size_um is None else pixel_size_um
    rows["length_um"] = axes.length_px * unit
    rows["width_um"] = area / axes.length_px * unit
    rows["max_width_um"] = 2 * axes.radius_px * unit
    rows["medial_aspect_ratio"] = axes.length_px**2 / area
    rows["n_branches"] = axes.n_branches
    rows["bending"] = 1 - axes.chord_px / axes.length_px


def _put_greys(
    rows: NDArray[np.void],
    picture: NDArray[np.uint16],
    found: NDArray[np.int32],
    runs: Runs,
    box: Ints,
    scales: GreyScales | None,
) -> None:
    """Write how the cells look, at lengths that have to be known."""
    names = ("body_grey", "halo", "texture")
    seen = (np.nan,) * len(names) if scales is None else greys(picture, found, runs, box, scales)
    for name, values in zip(names, seen, strict=True):
        rows[name] = values
