"""Fields of a run at the size of a page: the image read in strips and averaged, its outlines over it."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import UndefinedResultError
from msc_vision.io.images import FieldImage, open_image
from msc_vision.io.labels import read_aggregates, read_judgeable, read_labels, read_meta
from msc_vision.records import PlaneChoice, Region
from msc_vision.report.content import FieldEntry
from msc_vision.report.pictures import Picture, fit, found_overlay, make_picture, shown_shape

STRIP_PIXELS = 16_000_000
FULLY_JUDGED_PERCENT = 99.95


@dataclass(frozen=True, slots=True)
class SmallImage:
    """A field averaged down. ``factor`` native pixels a side make one of its pixels."""

    gray: NDArray[np.float32]
    factor: float
    native_pixel_size_um: float | None


def read_small(path: Path, longest_px: int, plane: PlaneChoice = PlaneChoice()) -> SmallImage:  # noqa: B008  (frozen)
    """Read a field at a size where its longer side is at most ``longest_px``; a strip at a time is in memory.

    Raises
    ------
    InvalidDataError
        If the image cannot be read.
    """
    with open_image(path, plane) as image:
        height, width = image.info.shape
        shape = shown_shape((height, width), longest_px)
        small = _shrunk(image, _whole_step((height, width), shape))
        gray = cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
        return SmallImage(gray, max(height, width) / max(shape), image.info.pixel_size_um)


def _whole_step(native: tuple[int, int], shown: tuple[int, int]) -> int:
    """Return how many native pixels a side can be averaged at once, leaving at least twice the shown size."""
    return max(1, min(native[0] // (2 * shown[0]), native[1] // (2 * shown[1])))


def _shrunk(image: FieldImage, step: int) -> NDArray[np.float32]:
    """Average ``step`` x ``step`` native pixels, strip by strip; a ragged rim of less than a step is left out."""
    height, width = image.info.shape[0] // step * step, image.info.shape[1] // step * step
    rows = max(step, STRIP_PIXELS // width // step * step)
    strips = []
    for top in range(0, height, rows):
        pixels = image.read(Region(top, min(top + rows, height), 0, width)).astype(np.float32)
        size = (width // step, pixels.shape[0] // step)
        strips.append(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if step > 1 else pixels)
    return np.concatenate(strips)


def field_picture(entry: FieldEntry, longest_px: int, budget_bytes: int) -> Picture:
    """Return the picture of one field of a run: the bare image, and if it was scored outlines and what was not judged.

    Parameters
    ----------
    entry
        The field.
    longest_px, budget_bytes
        Longer side of the picture, and what it may weigh encoded.

    Raises
    ------
    InvalidDataError
        If the image or its labels cannot be read, or the field was judged in part and its labels do not say where, as
        those of older versions do not.
    UndefinedResultError
        If the run does not say where the image lies.
    """
    if entry.image is None:
        raise UndefinedResultError(f"{entry.path}: the run does not say where its image lies.")
    small = read_small(entry.image, longest_px, entry.plane)
    shape = (small.gray.shape[0], small.gray.shape[1])
    overlay = None
    if entry.labels is not None:
        overlay = _overlay(entry.labels, shape, entry.judgeable_percent)
    pixel_size = entry.pixel_size_um
    return make_picture(
        small.gray,
        overlay=overlay,
        pixel_size_um=None if pixel_size is None else pixel_size * small.factor,
        budget_bytes=budget_bytes,
    )


def _overlay(labels: Path, shape: tuple[int, int], judgeable_percent: float | None) -> NDArray[np.uint8]:
    """Return outlines and unjudged area, from the coarsest level that still has the pixels of the picture."""
    levels = read_meta(labels).level_shapes()
    level = max(i for i, (height, _) in enumerate(levels) if i == 0 or height >= shape[0])
    foreground, _, _ = read_labels(labels, level)
    is_partial = judgeable_percent is not None and judgeable_percent < FULLY_JUDGED_PERCENT
    return found_overlay(
        fit(foreground, shape),
        fit(read_judgeable(labels, level), shape) if is_partial else None,
        fit(read_aggregates(labels, level) > 0, shape),
    )
