"""The masks of a field as one of several people left them, and how far two of them agree."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msc_vision.batch.reviewed import ReviewedRun
from msc_vision.errors import InvalidArgumentError
from msc_vision.io.labels import to_native
from msc_vision.review.events import Reviewer
from msc_vision.review.log import read_patch
from msc_vision.review.masks import KINDS, FieldMasks, apply_patch
from msc_vision.statistics.annotators import Agreement, Annotation, compare_annotations, difference_labels


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Two people's masks of a field: how far they agree, and where not, as `difference_labels` tells it."""

    agreement: Agreement
    differences: NDArray[np.uint8]


def annotators(run: ReviewedRun, key: str) -> tuple[Reviewer, ...]:
    """Return who corrected the masks of a field, in the order of their first correction."""
    return tuple(dict.fromkeys(event.reviewer for event in run.state.of(key).edits))


def masks_by(run: ReviewedRun, key: str, reviewer: Reviewer | None) -> FieldMasks:
    """Return the masks of a field with the corrections of one person only; of None those that the run found.

    Raises
    ------
    InvalidArgumentError
        If this person corrected nothing in it.
    InvalidDataError
        If a correction is missing or was altered.
    """
    masks = run.original_masks(key)
    if reviewer is None:
        return masks
    own = [event for event in run.state.of(key).edits if event.reviewer == reviewer]
    if not own:
        raise InvalidArgumentError(f"{reviewer.name} corrected nothing in this field; choose somebody who did.")
    for event in own:
        masks = apply_patch(masks, read_patch(run.folder, event))
    return masks


def annotation(masks: FieldMasks) -> Annotation:
    """Return masks as they are compared."""
    return Annotation(masks.foreground, masks.cells, masks.judgeable)


def native_masks(masks: FieldMasks, factor: int, shape: tuple[int, int]) -> FieldMasks:
    """Return masks in the pixels of their image; those that are so already as they are.

    Parameters
    ----------
    masks : FieldMasks
    factor : int
        Native pixels a side of a working one.
    shape : (int, int)
        Of the image.

    Raises
    ------
    InvalidArgumentError
        If they are not of this image.
    """
    if masks.shape == shape:
        return masks
    return FieldMasks(*(np.ascontiguousarray(to_native(masks.of(kind), factor, shape)) for kind in KINDS))


def compare_masks(first: FieldMasks, second: FieldMasks) -> Compared:
    """Return how far two masks of one field agree; errors as `compare_annotations`."""
    pair = annotation(first), annotation(second)
    return Compared(compare_annotations(*pair), difference_labels(*pair))
