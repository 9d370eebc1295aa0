"""Numbers of new cells and aggregates, where two people gave out the same ones without knowing of each other.

Whoever writes second gives way: numbers from some number on move up, all by the same. So no two of them can become one,
and what a person did before and after with a new cell keeps speaking of that cell.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msc_vision.review.masks import FieldMasks, Kind, MaskPatch

NUMBERED: tuple[Kind, ...] = ("cells", "aggregates")
NewNumbers = Mapping[Kind, tuple[int, ...]]
"""Of each kind that has some, in ascending order."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Numbers of one kind that move up: ``start`` and all above it, by ``by``; those below stay."""

    kind: Kind
    start: int
    by: int

    def of(self, number: int) -> int:
        """Return what a number becomes."""
        return number + self.by if number >= self.start else number

    def applied(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return labels with the numbers that they become; the same array where none of them moves."""
        moves = labels >= self.start
        return np.where(moves, labels + self.by, labels).astype(labels.dtype) if moves.any() else labels


def new_numbers(masks: FieldMasks, patch: MaskPatch) -> NewNumbers:
    """Return the numbers that an edit gives out: they are above all that the masks before it hold."""
    found = {}
    for kind in NUMBERED:
        if kind in patch.kinds:
            after = patch.after[kind]
            found[kind] = tuple(int(one) for one in np.unique(after[after > masks.of(kind).max(initial=0)]))
    return {kind: numbers for kind, numbers in found.items() if numbers}


def shifts_clear_of(masks: FieldMasks, new: NewNumbers) -> tuple[Shift, ...]:
    """Return what moves new numbers above all that some masks hold; nothing where they are.

    A number below the highest one is not free because no pixel has it: it may be that of a cell which was taken away,
    and whoever took it away may bring it back.

    Parameters
    ----------
    masks : FieldMasks
        What is there by now, what others did included.
    new : mapping of kind to tuple of int
        As of `new_numbers`.
    """
    found = []
    for kind, numbers in new.items():
        highest = int(masks.of(kind).max(initial=0))
        if highest >= numbers[0]:
            found.append(Shift(kind, numbers[0], highest + 1 - numbers[0]))
    return tuple(found)


def shifts_above(before: FieldMasks, after: FieldMasks) -> tuple[Shift, ...]:
    """Return what moves numbers that masks did not hold, as of strokes taken back, above those that they hold after."""
    highest = [(kind, int(before.of(kind).max(initial=0)), int(after.of(kind).max(initial=0))) for kind in NUMBERED]
    return tuple(Shift(kind, old + 1, new - old) for kind, old, new in highest if new > old)


def moved(number: int, kind: Kind, shifts: Iterable[Shift]) -> int:
    """Return what a number becomes after some shifts, one after the other."""
    for shift in shifts:
        number = shift.of(number) if shift.kind == kind else number
    return number


def renumbered(patch: MaskPatch, shifts: Iterable[Shift]) -> MaskPatch:
    """Return an edit with the numbers that its cells and aggregates have after some shifts, one after the other.

    It changes the same pixels, and what it joins, parts or takes away is the same too.
    """
    for shift in shifts:
        if shift.kind in patch.kinds:
            before, after = (
                {**side, shift.kind: shift.applied(side[shift.kind])} for side in (patch.before, patch.after)
            )
            patch = replace(patch, before=before, after=after)
    return patch


def renumbered_masks(masks: FieldMasks, shifts: Iterable[Shift]) -> FieldMasks:
    """Return masks with the numbers that their cells and aggregates have after some shifts; other arrays stay."""
    for shift in shifts:
        masks = replace(masks, **{shift.kind: shift.applied(masks.of(shift.kind))})
    return masks


def renumbered_new(new: NewNumbers, shifts: Sequence[Shift]) -> NewNumbers:
    """Return new numbers as they are after some shifts."""
    return {kind: tuple(moved(one, kind, shifts) for one in numbers) for kind, numbers in new.items()}
