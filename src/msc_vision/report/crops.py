"""Single cells as small pictures with their outline."""

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import UndefinedResultError
from msc_vision.io.images import open_image
from msc_vision.io.labels import read_labels, read_meta
from msc_vision.records import Region
from msc_vision.report.content import FieldEntry
from msc_vision.report.pictures import Picture, found_overlay, make_picture

SIDE_PX = 280
LEAST_UM = 150.0
"""Side of the smallest crop: enough surroundings to see what a cell lies in (own)."""
AROUND = 1.5


def place_box(place: str) -> tuple[str, tuple[int, int, int, int]]:
    """Return what was seen at a place, and its box y0, y1, x0, x1 in native pixels, as a run writes them."""
    sign, box = place.split(" ")
    rows, columns = (tuple(map(int, ends.split(":"))) for ends in box.split(","))
    return sign, (rows[0], rows[1], columns[0], columns[1])


def cell_picture(entry: FieldEntry, label: int | None, box: tuple[int, int, int, int], budget_bytes: int) -> Picture:
    """Return one cell in the middle of its surroundings, outlined; or a place without any outline.

    Parameters
    ----------
    entry : FieldEntry
    label : int or None
        Number of the cell in its field; None for a place.
    box : (int, int, int, int)
        y0, y1, x0, x1 in native pixels.
    budget_bytes : int

    Raises
    ------
    InvalidDataError
        If the image or its labels cannot be read.
    UndefinedResultError
        If the run does not say where the image lies.
    """
    if entry.image is None or entry.labels is None:
        raise UndefinedResultError(f"{entry.path}: the run does not say where its image lies.")
    meta = read_meta(entry.labels)
    least_px = 0.0 if entry.pixel_size_um is None else LEAST_UM / entry.pixel_size_um / meta.factor
    region = crop_region(tuple(side / meta.factor for side in box), meta.shape, least_px)
    height, width = meta.image_shape
    native = Region(
        region.y0 * meta.factor,
        min(region.y1 * meta.factor, height),
        region.x0 * meta.factor,
        min(region.x1 * meta.factor, width),
    )
    with open_image(entry.image, entry.plane) as image:
        gray = image.read(native).astype(np.float32)
    mask = None if label is None else read_labels(entry.labels, 0, region)[1] == label
    size = (SIDE_PX, round(SIDE_PX * region.shape[0] / region.shape[1]))
    pixel_size_um = None if entry.pixel_size_um is None else entry.pixel_size_um * gray.shape[1] / SIDE_PX
    return make_picture(
        cv2.resize(gray, size, interpolation=cv2.INTER_AREA if gray.shape[1] > SIDE_PX else cv2.INTER_CUBIC),
        overlay=None if mask is None else found_overlay(_smoothly_sized(mask, size)),
        pixel_size_um=pixel_size_um,
        budget_bytes=budget_bytes,
    )


def crop_region(box: tuple[float, ...], shape: tuple[int, int], least_px: float) -> Region:
    """Return a square around a box, half as large again, moved to lie in the field; working pixels."""
    y0, y1, x0, x1 = box
    side = int(max(AROUND * (y1 - y0), AROUND * (x1 - x0), least_px, 8))
    height, width = min(side, shape[0]), min(side, shape[1])
    top = min(max(round((y0 + y1 - height) / 2), 0), shape[0] - height)
    left = min(max(round((x0 + x1 - width) / 2), 0), shape[1] - width)
    return Region(top, top + height, left, left + width)


def _smoothly_sized(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5
