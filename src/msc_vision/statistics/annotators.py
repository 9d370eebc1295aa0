"""How far two people agree on one field: covered area, cells, and where they differ."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError
from msc_vision.statistics.validation import average_precision, covered_percent, mask_overlap, matched_cells

ONLY_FIRST, ONLY_SECOND, BOTH, NOT_COMPARED = 1, 2, 3, 4
"""Values of `difference_labels`; 0 is surface that both call bare."""
MATCHED_FROM = 0.5
"""Intersection over union from which two outlines are of one cell, as in AP50."""


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """What one person says of a field.

    Attributes
    ----------
    foreground : (Y, X) bool array
    cells : (Y, X) integer array
        Each cell its number.
    judgeable : (Y, X) bool array
    """

    foreground: NDArray[np.bool_]
    cells: NDArray[np.integer]
    judgeable: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two annotations of a field agree, over what both call judgeable.

    Attributes
    ----------
    dice, iou : float
        Of the covered area, 0 to 1.
    ap50 : float
        Cells that both drew over all that either drew; two outlines are of one cell from an overlap (IoU) of 0.5.
    n_first, n_second, n_both : int
        Cells that each drew, and that both drew.
    first_percent, second_percent : float
        Confluency after each, percent.
    only_first, only_second : tuple of int
        Numbers of the cells that the other does not have.
    compared_percent : float
        Share of the field that both call judgeable.
    """

    dice: float
    iou: float
    ap50: float
    n_first: int
    n_second: int
    n_both: int
    first_percent: float
    second_percent: float
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]
    compared_percent: float

    @property
    def difference_points(self) -> float:
        """Confluency of the second less that of the first, points."""
        return self.second_percent - self.first_percent


def compare_annotations(first: Annotation, second: Annotation) -> Agreement:
    """Return how far two annotations of a field agree.

    Raises
    ------
    InvalidArgumentError
        If they are not of one field.
    UndefinedResultError
        If nothing is judgeable to both.
    """
    judged = _judged(first, second)
    overlap = mask_overlap(first.foreground, second.foreground, judged)
    cells = np.where(judged, first.cells, 0), np.where(judged, second.cells, 0)
    pairs = matched_cells(*cells, MATCHED_FROM)
    numbers = [np.unique(one[one > 0]) for one in cells]
    matched = [{pair[side] for pair in pairs} for side in (0, 1)]
    only_first, only_second = (tuple(int(n) for n in numbers[side] if int(n) not in matched[side]) for side in (0, 1))
    return Agreement(
        dice=overlap.dice,
        iou=overlap.iou,
        ap50=float(average_precision(*cells)[0]),
        n_first=numbers[0].size,
        n_second=numbers[1].size,
        n_both=len(pairs),
        first_percent=covered_percent(first.foreground, judged),
        second_percent=covered_percent(second.foreground, judged),
        only_first=only_first,
        only_second=only_second,
        compared_percent=100 * float(judged.mean()),
    )


def difference_labels(first: Annotation, second: Annotation) -> NDArray[np.uint8]:
    """Return where two annotations differ: `ONLY_FIRST`, `ONLY_SECOND`, `BOTH`, `NOT_COMPARED`, or 0; (Y, X) uint8."""
    judged = _judged(first, second)
    found = first.foreground.astype(np.uint8) * ONLY_FIRST + second.foreground.astype(np.uint8) * ONLY_SECOND
    found[~judged] = NOT_COMPARED
    return found


def _judged(first: Annotation, second: Annotation) -> NDArray[np.bool_]:
    if first.cells.shape != second.cells.shape:
        raise InvalidArgumentError(
            f"The two are not of one field: {first.cells.shape} and {second.cells.shape} pixels; choose two of a size."
        )
    return first.judgeable & second.judgeable
