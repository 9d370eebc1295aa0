"""Native pixels to the working picture: integer binning to about one cell-process width per pixel, 16-bit integers.

Binning by a whole number on one grid anchored at the field's first pixel, and integer values from there on, are what
makes a tile give the same bytes as the whole field.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError

FULL_SCALE = 65535


@dataclass(frozen=True, slots=True)
class IntensityScale:
    """How native grey values become 16-bit ones: ``(value - offset) * gain``, clipped to 0..65535."""

    offset: float = 0.0
    gain: float = 1.0


def intensity_scale(dtype: np.dtype[Any], value_range: tuple[float, float]) -> IntensityScale:
    """Return the scale for a field; ``value_range`` (over the whole field) matters for floating point only.

    8-bit values are spread by 256 so that binning keeps fractions of a grey value. Floating-point images keep zero as
    zero when they have no negative values, because contrast is measured relative to brightness.
    """
    if dtype == np.uint8:
        return IntensityScale(gain=256.0)
    if dtype == np.uint16:
        return IntensityScale()
    low, high = value_range
    offset = min(low, 0.0)
    return IntensityScale(offset=offset, gain=FULL_SCALE / (high - offset) if high > offset else 1.0)


def working_factor(pixel_size_um: float, target_um: float) -> int:
    """Return how many native pixels a side make one working pixel: the most that stays at or below the target.

    Raises
    ------
    InvalidArgumentError
        If the pixel size is not a positive number.
    """
    if not (math.isfinite(pixel_size_um) and pixel_size_um > 0):
        raise InvalidArgumentError(f"Pixel size {pixel_size_um} µm is not a positive number.")
    return max(1, math.floor(target_um / pixel_size_um + 1e-9))


def to_working(native: NDArray[Any], factor: int, scale: IntensityScale) -> NDArray[np.uint16]:
    """Average ``factor`` x ``factor`` native pixels; a ragged last row or column is completed by repeating its edge.

    Parameters
    ----------
    native : (Y, X) uint8, uint16 or float32 array
        Pixels whose first row and column are multiples of ``factor`` in the field.

    Returns
    -------
    (ceil(Y / factor), ceil(X / factor)) uint16 array
    """
    if native.dtype == np.uint8:
        spread = cv2.multiply(native, (256.0, 0.0, 0.0, 0.0), dtype=cv2.CV_16U)
    elif native.dtype == np.uint16:
        spread = native
    else:
        spread = np.clip(np.rint((native - scale.offset) * scale.gain), 0, FULL_SCALE).astype(np.uint16)
    return bin_mean(spread, factor)


def bin_mean(image: NDArray[np.uint16], factor: int) -> NDArray[np.uint16]:
    """Return the mean of each ``factor`` x ``factor`` block, (ceil(Y / factor), ceil(X / factor)) uint16."""
    if factor == 1:
        return np.ascontiguousarray(image)
    height, width = image.shape
    ragged_y, ragged_x = -height % factor, -width % factor
    if ragged_y or ragged_x:
        image = cv2.copyMakeBorder(image, 0, ragged_y, 0, ragged_x, cv2.BORDER_REPLICATE)
    size = (image.shape[1] // factor, image.shape[0] // factor)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
