"""Corrections of cells by hand: one stroke splits, joins, fills or removes them. No other cell changes.

A stroke is a line of points (row, column) in working pixels, pixel centres at whole numbers. Each function returns new
labels, or says why the stroke does nothing. Work is done on the rectangle that holds the cells in question.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError, UndefinedResultError
from msc_vision.records import Region

Labels = NDArray[np.int32]
Stroke = Sequence[tuple[float, float]] | NDArray[np.float64]
CRUMB_PX = 12
"""Pieces of fewer pixels come from a trembling hand; they stay with the piece beside them."""
BRIDGE_PX = 5
"""Width of what a stroke fills between cells that it joins."""
_SHIFTS = ((-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))


@dataclass(frozen=True, slots=True, eq=False)
class Edited:
    """Labels after a stroke.

    Attributes
    ----------
    labels : (Y, X) int32 array
    numbers : tuple of int
        The cells that the stroke made or changed, the one that kept its number first.
    """

    labels: Labels
    numbers: tuple[int, ...]


def new_label(labels: Labels) -> int:
    """Return a number that no cell of the field has."""
    return int(labels.max(initial=0)) + 1


def box_of(labels: Labels, number: int) -> Region | None:
    """Return the rectangle that holds a cell, None if no pixel has its number."""
    x0, y0, width, height = cv2.boundingRect(cv2.inRange(labels, int(number), int(number)))
    return Region(y0, y0 + height, x0, x0 + width) if width else None


def stroke_pixels(
    stroke: Stroke, shape: tuple[int, int], width_px: int = 1
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of the pixels under a stroke, those within the field.

    Raises
    ------
    InvalidArgumentError
        If it has no point, or is not made of rows and columns.
    """
    points = np.asarray(stroke, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise InvalidArgumentError(f"A stroke is a line of points (row, column), got an array of shape {points.shape}.")
    whole = np.rint(points).astype(np.int64)
    low = whole.min(axis=0) - width_px
    height, width = whole.max(axis=0) + width_px + 1 - low
    if height * width > 16 * max(shape[0] * shape[1], 1):
        raise InvalidArgumentError("The stroke runs far beyond the field; draw it within the picture.")
    drawn = np.zeros((int(height), int(width)), np.uint8)
    line = (whole - low)[:, ::-1].astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(drawn, [line], isClosed=False, color=1, thickness=1, lineType=cv2.LINE_8)
    if width_px > 1:
        cv2.dilate(drawn, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width_px, width_px)), dst=drawn)
    rows, columns = np.nonzero(drawn)
    rows, columns = rows + low[0], columns + low[1]
    is_within = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    return rows[is_within], columns[is_within]


def outlined(outline: Stroke, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the area within a closed outline, its line included.

    Raises
    ------
    InvalidArgumentError
        If it has fewer than three points, or encloses nothing of the field.
    """
    points = np.asarray(outline, dtype=np.float64)
    if points.ndim != 2 or len(points) < 3:
        raise InvalidArgumentError("The outline has fewer than three points: draw around the area.")
    area = np.zeros(shape, np.uint8)
    cv2.fillPoly(area, [np.rint(points)[:, ::-1].astype(np.int32).reshape(-1, 1, 2)], 1)
    if not area.any():
        raise InvalidArgumentError("The outline lies outside the field; draw it within the picture.")
    return area.view(np.bool_)


def split_by_stroke(labels: Labels, stroke: Stroke, *, crumb_px: int = CRUMB_PX) -> Edited:
    """Cut the cells that a stroke crosses.

    The largest piece of a cell keeps its number, the others get new ones. The pixels of the cut stay with the pieces
    beside them, so no area is lost.

    Parameters
    ----------
    labels : (Y, X) int32 array
    stroke : sequence of (row, column)
    crumb_px : int
        Pieces of fewer pixels stay with the piece beside them.

    Raises
    ------
    UndefinedResultError
        If the stroke touches no cell, or cuts through none.
    """
    check_labels(labels)
    rows, columns = stroke_pixels(stroke, labels.shape)
    crossed = _under(labels, rows, columns)
    if not crossed:
        raise UndefinedResultError("The stroke touches no cell: draw it across the cell that is to be split.")
    edited = labels.copy()
    free = new_label(labels)
    changed: list[int] = []
    for number in crossed:
        fresh = _cut(edited, number, rows, columns, crumb_px, free)
        free += len(fresh)
        changed += [number, *fresh] if fresh else []
    if not changed:
        raise UndefinedResultError(
            "The stroke does not cut through the cell: begin it beside the cell and end it beside it again."
        )
    return Edited(edited, tuple(changed))


def _cut(
    labels: Labels, number: int, rows: NDArray[np.intp], columns: NDArray[np.intp], crumb_px: int, free: int
) -> list[int]:
    """Cut one cell in place; return the numbers of its new pieces, none if it stays whole."""
    box = box_of(labels, number)
    assert box is not None
    window = labels[box.y0 : box.y1, box.x0 : box.x1]
    cell = (window == number).view(np.uint8)
    is_here = (rows >= box.y0) & (rows < box.y1) & (columns >= box.x0) & (columns < box.x1)
    y, x = rows[is_here] - box.y0, columns[is_here] - box.x0
    is_cell = cell[y, x] > 0
    y, x = y[is_cell], x[is_cell]
    _, parts = cv2.connectedComponents(cell, connectivity=8, ltype=cv2.CV_32S)
    is_crossed = np.zeros(int(parts.max()) + 1, bool)
    is_crossed[parts[y, x]] = True
    opened = np.where(is_crossed[parts], cell, 0).astype(np.uint8)
    opened[y, x] = 0
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4, ltype=cv2.CV_32S)
    sizes = stats[:, cv2.CC_STAT_AREA]
    kept = [one for one in range(1, count) if sizes[one] >= crumb_px]
    if len(kept) < 2:
        return []
    order = sorted(kept, key=lambda one: -sizes[one])
    return _numbered(window, is_crossed[parts], pieces, order, number, free)


def _numbered(
    window: Labels, area: NDArray[np.bool_], pieces: Labels, order: Sequence[int], number: int, free: int
) -> list[int]:
    """Write the pieces of a cell into a window of labels; what belongs to none of them goes to the one beside it."""
    is_kept = np.zeros(int(pieces.max()) + 1, np.int32)
    is_kept[list(order)] = np.arange(1, len(order) + 1)
    ranked = is_kept[pieces]
    _give_back(ranked, area & (ranked == 0))
    fresh = list(range(free, free + len(order) - 1))
    numbers = np.array([0, number, *fresh], np.int32)
    written = ranked > 0
    window[written] = numbers[ranked[written]]
    return fresh


def _give_back(ranked: Labels, loose: NDArray[np.bool_]) -> None:
    """Give loose pixels to a piece beside them, side by side before corner to corner, ring by ring."""
    height, width = ranked.shape
    padded = np.zeros((height + 2, width + 2), np.int32)
    padded[1:-1, 1:-1] = ranked
    rows, columns = np.nonzero(loose)
    while len(rows):
        found = np.zeros(len(rows), np.int32)
        for dy, dx in _SHIFTS:
            beside = padded[rows + 1 + dy, columns + 1 + dx]
            found = np.where(found == 0, beside, found)
        is_given = found > 0
        if not is_given.any():
            break
        padded[rows[is_given] + 1, columns[is_given] + 1] = found[is_given]
        rows, columns = rows[~is_given], columns[~is_given]
    ranked[:] = padded[1:-1, 1:-1]


def merge_by_stroke(labels: Labels, stroke: Stroke, *, bridge_px: int = BRIDGE_PX) -> Edited:
    """Join all cells under a stroke; the largest keeps its number.

    Parameters
    ----------
    labels : (Y, X) int32 array
    stroke : sequence of (row, column)
    bridge_px : int
        Width of what the stroke fills where it runs over bare surface from one of the cells to another. Its ends
        beyond them fill nothing, and other cells stay as they are.

    Raises
    ------
    UndefinedResultError
        If the stroke touches fewer than two cells.
    """
    check_labels(labels)
    touched = _under(labels, *stroke_pixels(stroke, labels.shape))
    if len(touched) < 2:
        seen = "no cell" if not touched else "one cell only"
        raise UndefinedResultError(f"The stroke touches {seen}: draw it from one cell into the other.")
    edited = labels.copy()
    boxes = {number: box_of(labels, number) for number in touched}
    sizes = {number: _size(labels, number, box) for number, box in boxes.items() if box is not None}
    keeper = max(sizes, key=lambda number: (sizes[number], -number))
    for number, box in boxes.items():
        if box is not None and number != keeper:
            window = edited[box.y0 : box.y1, box.x0 : box.x1]
            window[window == number] = keeper
    _bridge(edited, labels, stroke, touched, keeper, bridge_px)
    return Edited(edited, (keeper,))


def _size(labels: Labels, number: int, box: Region) -> int:
    return int(np.count_nonzero(labels[box.y0 : box.y1, box.x0 : box.x1] == number))


def _bridge(
    edited: Labels, labels: Labels, stroke: Stroke, touched: Sequence[int], keeper: int, bridge_px: int
) -> None:
    """Fill what of a stroke lies on bare surface between two of the cells it touches."""
    rows, columns = stroke_pixels(stroke, labels.shape, bridge_px)
    if not len(rows):
        return
    y0, x0 = max(int(rows.min()) - 1, 0), max(int(columns.min()) - 1, 0)
    window = np.s_[y0 : int(rows.max()) + 2, x0 : int(columns.max()) + 2]
    before = labels[window]
    band = np.zeros(before.shape, np.uint8)
    band[rows - y0, columns - x0] = 1
    band[before != 0] = 0
    count, gaps = cv2.connectedComponents(band, connectivity=4, ltype=cv2.CV_32S)
    beside = [set[int]() for _ in range(count)]
    thin_rows, thin_columns = stroke_pixels(stroke, labels.shape)
    is_crossed = np.zeros(count, bool)
    is_crossed[gaps[thin_rows - y0, thin_columns - x0]] = True
    padded = np.pad(before, 1)
    y, x = np.nonzero(gaps)
    for dy, dx in _SHIFTS[:4]:
        neighbours = padded[y + 1 + dy, x + 1 + dx]
        is_touched = np.isin(neighbours, touched)
        pairs = np.unique(np.stack([gaps[y, x][is_touched], neighbours[is_touched]], axis=1), axis=0)
        for gap, neighbour in pairs.tolist():
            beside[gap].add(neighbour)
    is_between = is_crossed & np.array([len(found) > 1 for found in beside])
    is_between[0] = False
    edited[window][is_between[gaps]] = keeper


def delete_cell(labels: Labels, number: int) -> Labels:
    """Return labels without a cell.

    Raises
    ------
    UndefinedResultError
        If there is no such cell.
    """
    check_labels(labels)
    box = _known_box(labels, number)
    edited = labels.copy()
    window = edited[box.y0 : box.y1, box.x0 : box.x1]
    window[window == number] = 0
    return edited


def fill_cell(labels: Labels, number: int) -> Labels:
    """Return labels in which the holes of a cell are filled; another cell within a hole stays.

    Raises
    ------
    UndefinedResultError
        If there is no such cell, or it has no hole.
    """
    check_labels(labels)
    box = _known_box(labels, number)
    inside = labels[box.y0 : box.y1, box.x0 : box.x1]
    around = np.pad((inside != number).view(np.uint8), 1, constant_values=1)
    _, parts = cv2.connectedComponents(around, connectivity=4, ltype=cv2.CV_32S)
    holes = ((parts != parts[0, 0]) & (around > 0))[1:-1, 1:-1] & (inside == 0)
    if not holes.any():
        raise UndefinedResultError(f"Cell {number} has no hole to fill.")
    edited = labels.copy()
    edited[box.y0 : box.y1, box.x0 : box.x1][holes] = number
    return edited


def check_labels(labels: Labels) -> None:
    """Refuse what is no label image.

    Raises
    ------
    InvalidArgumentError
    """
    if labels.dtype != np.int32 or labels.ndim != 2:
        raise InvalidArgumentError(f"Labels are int32 arrays (Y, X), got {labels.dtype} of shape {labels.shape}.")


def _known_box(labels: Labels, number: int) -> Region:
    box = box_of(labels, number) if number > 0 else None
    if box is None:
        raise UndefinedResultError(f"There is no cell {number} in this field: click on a cell.")
    return box


def _under(labels: Labels, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> tuple[int, ...]:
    """Return the numbers of the cells under some pixels, in ascending order."""
    return tuple(int(number) for number in np.unique(labels[rows, columns]) if number)
