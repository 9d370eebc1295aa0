"""What a correction by hand means for all masks of a field: cells lie within the foreground, whatever was painted.

Rules: painting a cell makes foreground; erasing foreground erases its cells; painting foreground makes no cell;
erasing a cell leaves foreground; cells outside the judgeable area stay, they only do not count.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError, UndefinedResultError
from msc_vision.records import Region
from msc_vision.review.masks import FieldMasks
from msc_vision.segmentation import edits
from msc_vision.segmentation.edits import BRIDGE_PX, CRUMB_PX, Labels, Stroke


def settled(before: FieldMasks, painted: FieldMasks) -> FieldMasks:
    """Return painted masks in which cells lie within the foreground; what was painted last says which of them gives.

    Parameters
    ----------
    before : FieldMasks
        As they were before the stroke.
    painted : FieldMasks
        With the stroke.
    """
    region = _changed(before, painted)
    if region is None:
        return painted
    window = np.s_[region.y0 : region.y1, region.x0 : region.x1]
    cells, foreground = painted.cells[window], painted.foreground[window]
    is_painted = (cells != 0) & (cells != before.cells[window])
    is_bared = before.foreground[window] & ~foreground & ~is_painted
    outside = (cells != 0) & ~foreground & ~is_bared
    bared = is_bared & (cells != 0)
    if not outside.any() and not bared.any():
        return painted
    covered, kept = painted.foreground, painted.cells
    if outside.any():
        covered = covered.copy()
        covered[window] |= outside
    if bared.any():
        kept = kept.copy()
        kept[window][bared] = 0
    return replace(painted, foreground=covered, cells=kept)


def split_cells(masks: FieldMasks, stroke: Stroke, *, crumb_px: int = CRUMB_PX) -> FieldMasks:
    """Return masks in which the cells that a stroke crosses are split; errors as `edits.split_by_stroke`."""
    return replace(masks, cells=edits.split_by_stroke(masks.cells, stroke, crumb_px=crumb_px).labels)


def merge_cells(masks: FieldMasks, stroke: Stroke, *, bridge_px: int = BRIDGE_PX) -> FieldMasks:
    """Return masks in which the cells under a stroke are one; errors as `edits.merge_by_stroke`."""
    cells = edits.merge_by_stroke(masks.cells, stroke, bridge_px=bridge_px).labels
    return replace(masks, cells=cells, foreground=masks.foreground | (cells != 0))


def delete_cell(masks: FieldMasks, number: int) -> FieldMasks:
    """Return masks without a cell and without the foreground under it; errors as `edits.delete_cell`."""
    cells = edits.delete_cell(masks.cells, number)
    return replace(masks, cells=cells, foreground=masks.foreground & (masks.cells != number))


def fill_cell(masks: FieldMasks, number: int) -> FieldMasks:
    """Return masks in which the holes of a cell are filled; errors as `edits.fill_cell`."""
    cells = edits.fill_cell(masks.cells, number)
    return replace(masks, cells=cells, foreground=masks.foreground | (cells != 0))


def mark_not_judgeable(masks: FieldMasks, area: NDArray[np.bool_]) -> FieldMasks:
    """Return masks in which an area cannot be judged; cells in it stay.

    Raises
    ------
    InvalidArgumentError
        If the area has another shape than the field.
    """
    _check_area(masks, area)
    return replace(masks, judgeable=masks.judgeable & ~area)


def mark_judgeable(masks: FieldMasks, area: NDArray[np.bool_]) -> FieldMasks:
    """Return masks in which an area can be judged; errors as `mark_not_judgeable`."""
    _check_area(masks, area)
    return replace(masks, judgeable=masks.judgeable | area)


def add_aggregate(masks: FieldMasks, outline: Stroke) -> FieldMasks:
    """Return masks with one aggregate more, within a closed outline; where it meets others, those stay.

    Raises
    ------
    InvalidArgumentError
        If the outline encloses nothing of the field.
    UndefinedResultError
        If all of it is an aggregate already.
    """
    area = edits.outlined(outline, masks.shape) & (masks.aggregates == 0)
    if not area.any():
        raise UndefinedResultError("All of this is an aggregate already: delete that one first to draw it anew.")
    aggregates = masks.aggregates.copy()
    aggregates[area] = edits.new_label(aggregates)
    return replace(masks, aggregates=aggregates)


def delete_aggregate(masks: FieldMasks, number: int) -> FieldMasks:
    """Return masks without an aggregate.

    Raises
    ------
    UndefinedResultError
        If there is no such aggregate.
    """
    is_there = masks.aggregates == number
    if number <= 0 or not is_there.any():
        raise UndefinedResultError("There is no aggregate here: click on one.")
    return replace(masks, aggregates=np.where(is_there, np.int32(0), masks.aggregates))


def label_at(labels: Labels, point: tuple[float, float]) -> int:
    """Return what has the pixel at (row, column), 0 for nothing or outside."""
    row, column = round(point[0]), round(point[1])
    if not (0 <= row < labels.shape[0] and 0 <= column < labels.shape[1]):
        return 0
    return int(labels[row, column])


def _changed(before: FieldMasks, painted: FieldMasks) -> Region | None:
    """Return the rectangle in which cells or foreground differ; masks that are one array are not compared."""
    if before.shape != painted.shape:
        raise InvalidArgumentError(f"Masks of {before.shape} and of {painted.shape} are not of one field.")
    pairs = [(before.cells, painted.cells), (before.foreground, painted.foreground)]
    changes = [old != new for old, new in pairs if old is not new]
    if not changes:
        return None
    x0, y0, width, height = cv2.boundingRect(np.logical_or.reduce(changes).view(np.uint8))
    return Region(y0, y0 + height, x0, x0 + width) if width else None


def _check_area(masks: FieldMasks, area: NDArray[np.bool_]) -> None:
    if area.dtype != bool or area.shape != masks.shape:
        raise InvalidArgumentError(
            f"An area of a field is a bool array of {masks.shape}, got {area.dtype} of {area.shape}."
        )
