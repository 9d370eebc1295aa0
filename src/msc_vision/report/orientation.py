"""Which way the cells of a field lie, as short bars over its picture."""

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import UndefinedResultError
from msc_vision.imaging.normalise import intensity_scale, to_working
from msc_vision.io.images import FieldImage, open_image
from msc_vision.io.labels import LabelsMeta, read_judgeable, read_labels, read_meta
from msc_vision.morphology.orientation import OrderSettings, OrientationMap, orientation_map
from msc_vision.records import Region
from msc_vision.report.content import FieldEntry
from msc_vision.report.pictures import Picture, make_picture, shown_shape

VIEW_PX = 2048
"""Of a larger field the middle is shown: working pixels a side."""
BARS_PER_SIDE = 36
LEAST_COHERENCY = 0.05
"""Shorter bars would be dots (own)."""
_BAR_SHARE = 0.5


def direction_picture(entry: FieldEntry, longest_px: int, budget_bytes: int) -> Picture:
    """Return the middle of a field with a bar every so often along the cells.

    Raises
    ------
    InvalidDataError
        If the image or its labels cannot be read.
    UndefinedResultError
        If the run does not say where the image lies, or the pixel size is not known.
    """
    if entry.image is None or entry.labels is None or entry.pixel_size_um is None:
        raise UndefinedResultError(f"{entry.path}: directions need the image, its labels and a pixel size.")
    meta = read_meta(entry.labels)
    region = middle_of(meta.shape)
    with open_image(entry.image, entry.plane) as image:
        working = _working(image, region, meta)
    covered = read_labels(entry.labels, 0, region)[0] & read_judgeable(entry.labels, 0, region)
    working_um = entry.pixel_size_um * meta.factor
    found = orientation_map(working, covered.view(np.uint8), working_um, OrderSettings())
    height, width = shown_shape((working.shape[0], working.shape[1]), longest_px)
    picture = make_picture(
        cv2.resize(working, (width, height), interpolation=cv2.INTER_AREA),
        pixel_size_um=working_um * working.shape[1] / width,
        budget_bytes=budget_bytes,
    )
    return replace(picture, strokes=bars_path(found, picture.width / working.shape[1]))


def middle_of(shape: tuple[int, int]) -> Region:
    """Return the middle of a field, at most `VIEW_PX` a side."""
    height, width = (min(side, VIEW_PX) for side in shape)
    y0, x0 = (shape[0] - height) // 2, (shape[1] - width) // 2
    return Region(y0, y0 + height, x0, x0 + width)


def _working(image: FieldImage, region: Region, meta: LabelsMeta) -> NDArray[np.uint16]:
    factor, (height, width) = meta.factor, meta.image_shape
    native = image.read(
        Region(region.y0 * factor, min(region.y1 * factor, height), region.x0 * factor, min(region.x1 * factor, width))
    )
    scale = intensity_scale(native.dtype, (float(native.min()), float(native.max())))
    picture = to_working(native, factor, scale)
    return picture[: region.shape[0], : region.shape[1]]


def thinned(found: OrientationMap, most: int) -> OrientationMap:
    """Return a map with at most so many nodes a side: means of twice the angle over squares, by coherency."""
    n = max(1, math.ceil(max(found.angle_degrees.shape) / most))
    if n == 1:
        return found
    height, width = (-(-side // n) * n for side in found.angle_degrees.shape)
    rest = ((0, height - found.angle_degrees.shape[0]), (0, width - found.angle_degrees.shape[1]))
    known = np.pad(np.isfinite(found.angle_degrees), rest)
    doubled = np.exp(2j * np.radians(np.pad(found.angle_degrees, rest)))
    directors = np.where(known, np.pad(found.coherency, rest) * doubled, 0)
    sums = directors.reshape(height // n, n, width // n, n).sum(axis=(1, 3))
    n_known = known.reshape(height // n, n, width // n, n).sum(axis=(1, 3))
    is_known = 2 * n_known >= n * n
    angle = np.where(is_known, np.degrees(np.angle(sums)) / 2 % 180, np.nan)
    coherency = np.where(is_known, np.abs(sums) / np.maximum(n_known, 1), np.nan)
    return OrientationMap(angle.astype(np.float32), coherency.astype(np.float32), found.step_px * n)


def bars_path(found: OrientationMap, scale: float) -> str:
    """Return the bars as the data of an SVG path; the longer, the more the edges run one way.

    Parameters
    ----------
    found : OrientationMap
    scale : float
        Pixels of the picture to a working pixel.
    """
    few = thinned(found, BARS_PER_SIDE)
    step = few.step_px * scale
    bars = []
    for y, x in np.argwhere(np.nan_to_num(few.coherency) >= LEAST_COHERENCY).tolist():
        angle, half = math.radians(few.angle_degrees[y, x]), _BAR_SHARE * step * float(few.coherency[y, x]) ** 0.5
        dx, dy = half * math.cos(angle), -half * math.sin(angle)
        bars.append(f"M{(x + 0.5) * step - dx:.1f} {(y + 0.5) * step - dy:.1f}l{2 * dx:.1f} {2 * dy:.1f}")
    return "".join(bars)
