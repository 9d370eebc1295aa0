"""Aggregates: cells that lie in several layers or have rounded up into a ball, on the layer or apart from it.

Two passes over the tiles of a field. The first finds the parts of aggregates and adds up whole numbers; they are joined
at the seams. The second measures each outline, in the one tile that holds its first pixel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.findings.aggregate_evidence import (
    REACH_UM,
    aggregate_signs,
    aligned,
    places_side_px,
    weigh,
)
from msc_vision.findings.necks import LARGEST_SHARE, NECK_REACH_UM, cut_necks, neck_grid_px
from msc_vision.findings.outline import ellipse_window, outline_figures
from msc_vision.morphology.feature import Feature
from msc_vision.records import Region
from msc_vision.segmentation.network.maps import MAPS
from msc_vision.segmentation.objects import TileParts, join_parts, label_pieces, object_table, tile_parts

AGGREGATE_COLUMNS = np.dtype(
    [
        ("label", "<i4"),
        ("area_um2", "<f8"),
        ("equivalent_diameter_um", "<f8"),
        ("circularity", "<f8"),
        ("solidity", "<f8"),
        ("grey_contrast", "<f8"),
        ("layer_contact", "<f8"),
        ("is_attached", "?"),
        ("attachment_is_sure", "?"),
        ("size_class", "i1"),
        ("evidence", "<f8"),
        ("area_px", "<i8"),
        ("centroid_y_px", "<f8"),
        ("centroid_x_px", "<f8"),
        ("y0_px", "<i8"),
        ("y1_px", "<i8"),
        ("x0_px", "<i8"),
        ("x1_px", "<i8"),
        ("touches_border", "?"),
        ("is_counted", "?"),
    ]
)
"""A row per aggregate. ``area_px`` counts working pixels, positions are native pixels; ``size_class`` is 0 for the
smallest and -1 without a pixel size. What needs the whole outline is NaN for an aggregate larger than
`LARGEST_OUTLINE_UM`."""

LARGEST_OUTLINE_UM = 800.0
"""Height and width up to which an outline is measured: so far around its first pixel it has to be known."""
MASK_REACH_UM = REACH_UM + 85.0 + NECK_REACH_UM
"""How far around a pixel the field must be known to say whether it belongs to an aggregate."""
_RING_UM = 15.0
SURROUNDINGS_UM = MASK_REACH_UM + LARGEST_OUTLINE_UM + 2 * _RING_UM
"""How far around a tile the field must be known for `measure_aggregates`."""

_FOREGROUND, _OBSCURED = MAPS.index("foreground"), MAPS.index("obscured")
_HALF = 128


class AggregateSettings(BaseModel):
    """What counts as an aggregate, and how aggregates are classed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evidence_from: int = Field(-12, ge=-127, le=127, description="of a pixel; 16 is 1 in the logarithm of the odds")
    mean_evidence_from: float = Field(36.0, ge=-127, le=127, description="of an aggregate, on average")
    close_um: float = Field(10.0, ge=0, le=40, description="gaps narrower than this are closed")
    open_um: float = Field(24.0, ge=0, le=40, description="threads and bumps narrower than this are cut off")
    neck_share: float = Field(
        0.5, ge=0, le=LARGEST_SHARE, description="of the width of both parts, below which a neck parts two aggregates"
    )
    neck_dip: float = Field(
        80.0, ge=0, le=255, description="so much less evidence lies on such a neck than in either part"
    )
    smallest_diameter_um: float = Field(
        40.0, gt=0, description="smaller ones are not told from a pair of rounded cells; placeholder"
    )
    smallest_hiding_um: float = Field(
        90.0, gt=0, description="smaller ones are not thick enough to hide most of the surface; placeholder"
    )
    size_edges_um: tuple[float, ...] = Field((70.0, 150.0), description="diameters between size classes; placeholder")
    attached_from: float = Field(
        0.15, ge=0, le=1, description="share of the rim with cells from which it lies on the layer; placeholder"
    )
    sure_below: float = Field(0.05, ge=0, le=1, description="so little contact is surely none; placeholder")
    sure_above: float = Field(0.4, ge=0, le=1, description="so much contact is surely one; placeholder")


AGGREGATE_FEATURES = (
    Feature(
        "area_um2", "aggregate", "µm²", "Area that the aggregate covers in the picture.", "pixels x pixel area", "own"
    ),
    Feature(
        "equivalent_diameter_um",
        "aggregate",
        "µm",
        "Diameter of a disc of the same area.",
        "2 sqrt(area / pi)",
        "own",
    ),
    Feature(
        "circularity",
        "aggregate",
        "1",
        "1 for a disc, less for a long or ragged outline.",
        "4 pi area / perimeter^2, outline smoothed over 5 pixels",
        "Cox, Journal of Paleontology 1 (1927)",
    ),
    Feature(
        "solidity",
        "aggregate",
        "1",
        "1 for a convex outline, less where clusters have grown together.",
        "area / area of the convex hull",
        "own",
    ),
    Feature(
        "grey_contrast",
        "aggregate",
        "1",
        "How much brighter (+) or darker (-) it is than what is around it.",
        "mean grey inside / mean grey in a ring of 15 µm around, less 1",
        "own",
    ),
    Feature(
        "layer_contact",
        "aggregate",
        "1",
        "How much of its rim lies against cells: 0 where bare surface surrounds it.",
        "share of a ring of 15 µm that is foreground and no aggregate",
        "own",
    ),
    Feature(
        "is_attached",
        "aggregate",
        "1",
        "It lies on or touches the layer. If not, it floats or sits on bare surface: one picture cannot tell which.",
        "layer_contact >= attached_from",
        "own",
    ),
    Feature(
        "evidence",
        "aggregate",
        "1",
        "How sure it is that this is an aggregate, as the logarithm of the odds.",
        "mean over its pixels of the weighed maps and grey values, over 16",
        "own; weights fitted to synthetic cultures",
    ),
    Feature(
        "aggregates_per_cm2",
        "field",
        "1/cm²",
        "Aggregates on the judged area; those that touch the lower or right edge are left to the next field.",
        "counted aggregates / (judged area or aggregates)",
        "Gundersen, Journal of Microscopy 111 (1977), without the lines beyond the corners",
    ),
    Feature(
        "aggregate_area_percent",
        "field",
        "percent",
        "Share of the judged area that aggregates cover, those at the border included.",
        "100 x pixels of aggregates / (judged pixels or pixels of aggregates)",
        "own",
    ),
)


class AggregateView(NamedTuple):
    """What is known of a tile with its surroundings, in working pixels.

    ``working`` (Y, X) uint16; ``maps`` (6, Y, X) uint8; ``judged`` (Y, X) uint8, 0 or 1; ``around`` is where these lie
    in the field, ``region`` the tile itself.
    """

    working: NDArray[np.uint16]
    maps: NDArray[np.uint8]
    judged: NDArray[np.uint8]
    around: Region
    region: Region


@dataclass(frozen=True, slots=True)
class FieldScale:
    """Sizes of a field.

    ``working_um`` is the side of a working pixel as measured or guessed: filters need one. ``pixel_size_um`` is that of
    a native pixel, None if it is not known: then nothing in µm is given out.
    """

    shape: tuple[int, int]
    native_shape: tuple[int, int]
    factor: int
    working_um: float
    pixel_size_um: float | None

    def px(self, length_um: float) -> int:
        """Return a length in working pixels, rounded up."""
        return math.ceil(length_um / self.working_um)


@dataclass(frozen=True, slots=True)
class AggregateParts:
    """Parts of aggregates in one tile, and sums over the tile."""

    tile: TileParts
    evidence: NDArray[np.int64]
    n_seen: NDArray[np.int64]
    """Pixels of each part that are judged."""
    n_judged: int


@dataclass(frozen=True, slots=True)
class FoundAggregates:
    """Aggregates of a field before their outlines are measured; ``lookups`` turn a tile's numbers into labels."""

    table: NDArray[np.void]
    lookups: tuple[NDArray[np.int32], ...]
    first: NDArray[np.int64]
    n_area_px: int
    """Judged pixels, and those of aggregates that hide the surface."""


@dataclass(frozen=True, slots=True)
class AggregateSummary:
    """Aggregates of a field; NaN where there is no pixel size or nothing is judged."""

    n_aggregates: int
    n_counted: int
    aggregates_per_cm2: float
    aggregate_area_percent: float


def aggregate_mask(
    view: AggregateView, scale: FieldScale, settings: AggregateSettings
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return where aggregates are, 0 or 1, and the evidence, 128 for even odds; both (Y, X) uint8 of ``around``.

    Only what lies `MASK_REACH_UM` from a rim that is not the field's is final.
    """
    start = aligned(view.around, places_side_px(scale.working_um))
    rows, columns = start.y0 - view.around.y0, start.x0 - view.around.x0
    evidence = np.zeros(view.working.shape, np.uint8)
    part = evidence[rows:, columns:]
    if not part.size:
        return np.zeros_like(evidence), evidence
    signs = aggregate_signs(view.working[rows:, columns:], view.maps[:, rows:, columns:], scale.working_um)
    part[:] = _spread(weigh(signs), places_side_px(scale.working_um), part.shape)
    is_asked = (view.judged > 0) | (view.maps[_OBSCURED] >= _HALF)  # dense aggregates hide the surface themselves
    mask = ((evidence > _HALF + settings.evidence_from) & is_asked).view(np.uint8)
    widths = settings.close_um / scale.working_um, settings.open_um / scale.working_um
    crop = _box(mask, math.ceil(sum(widths)) + 2)
    if crop is not None:
        part = mask[crop]
        for operation, width in zip((cv2.MORPH_CLOSE, cv2.MORPH_OPEN), widths, strict=True):
            part = cv2.morphologyEx(part, operation, ellipse_window(width)).astype(np.uint8)
        mask[crop] = part
        _cut_apart(mask, evidence, view.around, scale, settings)
    return mask, evidence


def _cut_apart(
    mask: NDArray[np.uint8],
    evidence: NDArray[np.uint8],
    around: Region,
    scale: FieldScale,
    settings: AggregateSettings,
) -> None:
    """Part aggregates that touch, in place."""
    box = _box(mask, 2)
    if box is None:
        return
    side = neck_grid_px(scale.working_um)
    first = [
        (start + place.start) // side * side - start for start, place in zip((around.y0, around.x0), box, strict=True)
    ]
    rows, columns = (start if start >= 0 else start + side for start in first)
    crop = slice(rows, box[0].stop), slice(columns, box[1].stop)
    mask[crop] = cut_necks(mask[crop], evidence[crop], scale.working_um, settings.neck_share, settings.neck_dip)


def _box(mask: NDArray[np.uint8], wider_px: int = 0) -> tuple[slice, slice] | None:
    """Return the box around all that is in a mask, wider where the mask goes on; None of an empty one."""
    x0, y0, width, height = cv2.boundingRect(mask)
    if not width:
        return None
    return (
        slice(max(y0 - wider_px, 0), min(y0 + height + wider_px, mask.shape[0])),
        slice(max(x0 - wider_px, 0), min(x0 + width + wider_px, mask.shape[1])),
    )


def _spread(places: NDArray[np.uint8], side_px: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the values of places on working pixels."""
    size = places.shape[1] * side_px, places.shape[0] * side_px
    return cv2.resize(places, size, interpolation=cv2.INTER_LINEAR_EXACT)[: shape[0], : shape[1]].astype(np.uint8)


def aggregate_parts(
    view: AggregateView,
    scale: FieldScale,
    settings: AggregateSettings,
    known: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None,
) -> tuple[AggregateParts, NDArray[np.int32]]:
    """Return the parts of aggregates in a tile, and their local numbers from 1, (Y, X) int32 of the tile."""
    mask, evidence = (_inner(plane, view) for plane in known or aggregate_mask(view, scale, settings))
    judged = _inner(view.judged, view)
    n_judged = cv2.countNonZero(np.ascontiguousarray(judged))
    local = np.zeros(mask.shape, np.int32)
    rows, columns = box = _box(mask) or (slice(0, 1), slice(0, 1))
    y0, x0 = view.region.y0, view.region.x0
    boxed = Region(y0 + rows.start, y0 + rows.stop, x0 + columns.start, x0 + columns.stop)
    inside_box = np.ascontiguousarray(mask[box])
    found, labels = tile_parts(inside_box, boxed, scale.shape[1])
    local[box] = labels
    rims = {"top": local[0], "bottom": local[-1], "left": local[:, 0], "right": local[:, -1]}
    parts = replace(found, region=view.region, **{side: rim.copy() for side, rim in rims.items()})
    at = np.flatnonzero(inside_box.view(np.bool_))
    number, n = labels.ravel()[at] - 1, parts.area.size
    sums = (np.bincount(number, values[box].ravel()[at], minlength=n) for values in (evidence, judged))
    inside, seen = (np.rint(total).astype(np.int64) for total in sums)
    return AggregateParts(parts, inside, seen, n_judged), local


def _inner(plane: NDArray[np.uint8], view: AggregateView) -> NDArray[np.uint8]:
    y0, x0 = view.region.y0 - view.around.y0, view.region.x0 - view.around.x0
    height, width = view.region.shape
    return plane[y0 : y0 + height, x0 : x0 + width]


def join_aggregates(parts: Sequence[AggregateParts], scale: FieldScale, settings: AggregateSettings) -> FoundAggregates:
    """Join the parts of all tiles, drop what is too small or too doubtful, and number the rest by first pixels."""
    joined = join_parts([p.tile for p in parts], scale.shape, scale.factor, scale.native_shape, scale.pixel_size_um)
    n = len(joined.table)
    group = np.concatenate([lookup[1:] for lookup in joined.lookups]) - 1
    evidence, seen, first = np.zeros(n, np.int64), np.zeros(n, np.int64), np.full(n, np.iinfo(np.int64).max)
    np.add.at(evidence, group, np.concatenate([p.evidence for p in parts]))
    np.add.at(seen, group, np.concatenate([p.n_seen for p in parts]))
    np.minimum.at(first, group, np.concatenate([p.tile.first for p in parts]))
    area = joined.table["area_px"]
    mean = evidence / np.maximum(area, 1) - _HALF
    smallest_um = np.where(2 * seen < area, settings.smallest_hiding_um, settings.smallest_diameter_um)
    smallest_px = math.pi / 4 * (smallest_um / scale.working_um) ** 2
    kept = (area >= smallest_px) & (mean >= settings.mean_evidence_from)
    number = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)]).astype(np.int32)
    table = _rows(joined.table[kept], scale, settings)
    table["evidence"] = mean[kept] / 16
    n_area = sum(p.n_judged for p in parts) + int((area - seen)[kept].sum())
    return FoundAggregates(table, tuple(number[lookup] for lookup in joined.lookups), first[kept], n_area)


def painted_aggregates(
    view: AggregateView,
    labels: NDArray[np.int32],
    evidence: NDArray[np.uint8],
    scale: FieldScale,
    settings: AggregateSettings,
) -> FoundAggregates:
    """Return aggregates that a person drew, as `join_aggregates` returns those that were found; none is dropped.

    Parameters
    ----------
    view : AggregateView
        Of a whole field.
    labels : (Y, X) int32 array
        1 to n without gaps.
    evidence : (Y, X) uint8 array
        As `aggregate_mask` returns it.
    scale : FieldScale
    settings : AggregateSettings
    """
    pieces = label_pieces(labels)
    n = pieces.area.size
    numbers = np.arange(1, n + 1)
    objects = object_table([pieces], numbers, n, scale.shape, scale.factor, scale.native_shape, scale.pixel_size_um)
    at = np.flatnonzero(labels)
    number = labels.ravel()[at] - 1
    inside, seen = (
        np.rint(np.bincount(number, plane.ravel()[at], minlength=n)).astype(np.int64)
        for plane in (evidence, view.judged)
    )
    table = _rows(objects, scale, settings)
    table["evidence"] = (inside / np.maximum(pieces.area, 1) - _HALF) / 16
    n_area = cv2.countNonZero(np.ascontiguousarray(view.judged)) + int((pieces.area - seen).sum())
    return FoundAggregates(table, (np.arange(n + 1, dtype=np.int32),), pieces.first, n_area)


def _rows(objects: NDArray[np.void], scale: FieldScale, settings: AggregateSettings) -> NDArray[np.void]:
    table = np.zeros(len(objects), AGGREGATE_COLUMNS)
    for name in set(AGGREGATE_COLUMNS.names or ()) & set(objects.dtype.names or ()):
        table[name] = objects[name]
    table["label"] = np.arange(1, len(objects) + 1)
    diameter_um = np.sqrt(4 / np.pi * table["area_um2"])
    table["equivalent_diameter_um"] = diameter_um
    table["size_class"] = -1 if scale.pixel_size_um is None else np.searchsorted(settings.size_edges_um, diameter_um)
    for name in ("circularity", "solidity", "grey_contrast", "layer_contact"):
        table[name] = np.nan
    height, width = scale.native_shape
    table["is_counted"] = (table["y1_px"] < height) & (table["x1_px"] < width)
    return table


def measure_aggregates(
    view: AggregateView,
    found: FoundAggregates,
    scale: FieldScale,
    settings: AggregateSettings,
    known: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None,
    painted: NDArray[np.int32] | None = None,
) -> NDArray[np.void]:
    """Return the rows of aggregates whose first pixel lies in the tile, with the figures of their outlines.

    Parameters
    ----------
    view : AggregateView
        With `SURROUNDINGS_UM` around the tile, where the field goes on.
    known : pair of arrays, optional
        What `aggregate_mask` returns.
    painted : (Y, X) int32 array, optional
        Labels that a person drew, which may touch; otherwise an aggregate is what hangs together.
    """
    rows, columns = np.divmod(found.first, scale.shape[1])
    region = view.region
    mine = (rows >= region.y0) & (rows < region.y1) & (columns >= region.x0) & (columns < region.x1)
    table = found.table[mine]
    if not mine.any():
        return table
    mask, _ = known or aggregate_mask(view, scale, settings)
    for i, (y, x) in enumerate(zip(rows[mine].tolist(), columns[mine].tolist(), strict=True)):
        _measure(table, i, (y, x), mask, view, scale, painted)
    contact = table["layer_contact"]
    table["is_attached"] = contact >= settings.attached_from
    table["attachment_is_sure"] = (contact <= settings.sure_below) | (contact >= settings.sure_above)
    return table


def _measure(
    table: NDArray[np.void],
    i: int,
    first: tuple[int, int],
    mask: NDArray[np.uint8],
    view: AggregateView,
    scale: FieldScale,
    painted: NDArray[np.int32] | None,
) -> None:
    row = table[i]
    y0, x0 = row["y0_px"] // scale.factor, row["x0_px"] // scale.factor
    y1, x1 = -(-row["y1_px"] // scale.factor), -(-row["x1_px"] // scale.factor)
    if max(y1 - y0, x1 - x0) > scale.px(LARGEST_OUTLINE_UM):
        return
    wide = scale.px(_RING_UM) + 1
    top, left = max(y0 - wide, 0), max(x0 - wide, 0)
    crop = np.s_[
        top - view.around.y0 : min(y1 + wide, scale.shape[0]) - view.around.y0,
        left - view.around.x0 : min(x1 + wide, scale.shape[1]) - view.around.x0,
    ]
    others = mask[crop]
    labels = cv2.connectedComponents(others, connectivity=8)[1] if painted is None else painted[crop]
    own = (labels == labels[first[0] - top, first[1] - left]).view(np.uint8)
    table["circularity"][i], table["solidity"][i] = outline_figures(own)
    around = cv2.dilate(own, ellipse_window(2 * _RING_UM / scale.working_um)) > others
    grey, cells = view.working[crop], view.maps[_FOREGROUND][crop] >= _HALF
    n_around = int(around.sum())
    if n_around:
        outside = int(grey[around].sum(dtype=np.int64)) / n_around
        inside = int(grey[own.view(np.bool_)].sum(dtype=np.int64)) / int(own.sum())
        table["grey_contrast"][i] = inside / outside - 1 if outside else np.nan
        table["layer_contact"][i] = int((cells & around).sum()) / n_around


def find_aggregates(
    working: NDArray[np.uint16],
    maps: NDArray[np.uint8],
    judged: NDArray[np.uint8],
    scale: FieldScale,
    settings: AggregateSettings,
) -> tuple[NDArray[np.void], NDArray[np.int32], AggregateSummary]:
    """Return the aggregates of a field in memory: rows, (Y, X) int32 labels and the field's figures.

    Parameters
    ----------
    working : (Y, X) uint16 array
    maps : (6, Y, X) uint8 array
        Of the network, in the order of `MAPS`.
    judged : (Y, X) uint8 array
        0 or 1.
    """
    whole = Region(0, working.shape[0], 0, working.shape[1])
    view = AggregateView(working, maps, judged, whole, whole)
    known = aggregate_mask(view, scale, settings)
    parts, local = aggregate_parts(view, scale, settings, known)
    found = join_aggregates([parts], scale, settings)
    table = measure_aggregates(view, found, scale, settings, known)
    return table, np.take(found.lookups[0], local, mode="clip"), summarise_aggregates(table, found.n_area_px, scale)


def summarise_aggregates(table: NDArray[np.void], n_area_px: int, scale: FieldScale) -> AggregateSummary:
    """Return the figures of a field from the rows of all its tiles."""
    n_counted = int(table["is_counted"].sum())
    percent = 100 * int(table["area_px"].sum()) / n_area_px if n_area_px else math.nan
    per_cm2 = math.nan
    if scale.pixel_size_um is not None and n_area_px:
        per_cm2 = n_counted / (n_area_px * (scale.pixel_size_um * scale.factor) ** 2 / 1e8)
    return AggregateSummary(len(table), n_counted, per_cm2, percent)
