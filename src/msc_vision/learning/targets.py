"""From masks to what the network shall answer, map by map, at the canonical pixel size."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from msc_vision.segmentation.network.maps import MAPS, MapName

PLANES = (("foreground", "obscured", "core", "judged"), ("rounded", "aggregate", "debris", ""))
"""Order of the maps in storage: four at a time, because OpenCV warps four bytes as one pixel."""
DOUBT_PX = 6
"""Half width of the band along a doubtful outline that teaches nothing."""

Stored = NDArray[np.uint8]


def core_map(labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return the depth within each cell: distance to its rim over the largest such distance, 0 to 255."""
    out = np.zeros(labels.shape, np.uint8)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        own = labels[box] == number
        depth = cv2.distanceTransform(np.pad(own, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        scaled = depth * (255 / max(float(depth.max()), 1e-3))
        out[box][own] = scaled[own].astype(np.uint8)
    return out


def instance_maps(labels: NDArray[np.int32], judged: NDArray[np.bool_] | None = None) -> Stored:
    """Return (1, Y, X, 4) uint8: foreground, nothing obscured, core, what is judged (default: everything)."""
    out = np.zeros((1, *labels.shape, 4), np.uint8)
    out[0, ..., 0] = np.where(labels > 0, 255, 0)
    out[0, ..., 2] = core_map(labels)
    out[0, ..., 3] = 255 if judged is None else np.where(judged, 255, 0)
    return out


def foreground_maps(foreground: NDArray[np.bool_], judged: NDArray[np.bool_] | None = None) -> Stored:
    """Return (1, Y, X, 4) uint8: foreground, nothing obscured, no core, what is judged (default: everything)."""
    out = np.zeros((1, *foreground.shape, 4), np.uint8)
    out[0, ..., 0] = np.where(foreground, 255, 0)
    out[0, ..., 3] = 255 if judged is None else np.where(judged, 255, 0)
    return out


def area_maps(covered: NDArray[np.bool_], judged: NDArray[np.bool_] | None = None) -> Stored:
    """Return `foreground_maps` of a covered area, without a band along its outline."""
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * DOUBT_PX + 1, 2 * DOUBT_PX + 1))
    area = covered.astype(np.uint8)
    is_near_outline = cv2.dilate(area, window) != cv2.erode(area, window)
    return foreground_maps(covered, ~is_near_outline if judged is None else ~is_near_outline & judged)


def valid_maps(names: tuple[MapName, ...]) -> tuple[bool, ...]:
    """Return for each of `MAPS` whether the truth says something about it."""
    return tuple(name in names for name in MAPS)


INSTANCES = valid_maps(("foreground", "core"))
FOREGROUND = valid_maps(("foreground",))
EVERYTHING = valid_maps(MAPS)


def resampled(picture: NDArray[np.generic], factor: float) -> NDArray[np.uint16]:
    """Return a picture at another pixel size, its brightest value scaled to 65535.

    Parameters
    ----------
    picture : (Y, X) array
        Grey values, not negative.
    factor : float
        Native over wanted pixel size: below 1 the picture becomes smaller.
    """
    scaled = picture.astype(np.float32)
    scaled *= np.float32(65535 / max(float(scaled.max()), 1e-6))
    return np.clip(np.rint(_resized(scaled, factor)), 0, 65535).astype(np.uint16)


def resampled_labels(labels: NDArray[np.integer], factor: float) -> NDArray[np.int32]:
    """Return labels at another pixel size: each pixel takes the number nearest to it."""
    size = _size(labels.shape, factor)
    if size == labels.shape:
        return labels.astype(np.int32)
    rows = np.minimum(((np.arange(size[0]) + 0.5) * labels.shape[0] / size[0]).astype(np.intp), labels.shape[0] - 1)
    columns = np.minimum(((np.arange(size[1]) + 0.5) * labels.shape[1] / size[1]).astype(np.intp), labels.shape[1] - 1)
    return labels[np.ix_(rows, columns)].astype(np.int32)


def _size(shape: tuple[int, ...], factor: float) -> tuple[int, int]:
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _resized(picture: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    height, width = _size(picture.shape, factor)
    if (height, width) == picture.shape:
        return picture
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
