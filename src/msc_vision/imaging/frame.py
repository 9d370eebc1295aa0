"""How a field is looked at: its size in native and working pixels, its grey scale, and its overview."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidDataError
from msc_vision.imaging.normalise import IntensityScale, intensity_scale, to_working
from msc_vision.imaging.overview import BLOCK_PX, Overview, OverviewBuilder, overview_factor
from msc_vision.io.images import FieldImage
from msc_vision.records import ImageInfo, Region

OVERVIEW_SIDE_PX = 2048
STRIP_PX = 2**21  # working pixels that are read at a time for an overview, where its grid allows
RANGE_ROWS_PX = 512


@dataclass(frozen=True, slots=True)
class Frame:
    """What is known of a field before it is measured.

    Attributes
    ----------
    pixel_size_um : float or None
        Of a native pixel.
    factor : int
        Native pixels a side of one working pixel.
    scale : IntensityScale
        From native grey values to working ones.
    """

    info: ImageInfo
    pixel_size_um: float | None
    factor: int
    scale: IntensityScale

    @property
    def working_shape(self) -> tuple[int, int]:
        """Height and width in working pixels."""
        height, width = self.info.shape
        return -(-height // self.factor), -(-width // self.factor)

    @property
    def working_pixel_size_um(self) -> float | None:
        """Side of a working pixel."""
        return None if self.pixel_size_um is None else self.pixel_size_um * self.factor

    def native(self, region: Region) -> Region:
        """Return a region of working pixels in native ones."""
        height, width = self.info.shape
        return Region(
            region.y0 * self.factor,
            min(region.y1 * self.factor, height),
            region.x0 * self.factor,
            min(region.x1 * self.factor, width),
        )


def frame_of(image: FieldImage, native: NDArray[Any] | None, pixel_size_um: float | None, factor: int) -> Frame:
    """Return the frame of an open field.

    Parameters
    ----------
    image : FieldImage
    native : (Y, X) array or None
        Its pixels, if they have been read; otherwise floating-point ones are read strip by strip for their range.
    pixel_size_um : float or None
        Of a native pixel.
    factor : int
        Native pixels a side of one working pixel.

    Raises
    ------
    InvalidDataError
        If floating-point pixels are not all finite.
    """
    dtype = np.dtype(image.info.dtype)
    value_range = _value_range(image, native) if dtype.kind == "f" else (0.0, 0.0)
    return Frame(image.info, pixel_size_um, factor, intensity_scale(dtype, value_range))


def _value_range(image: FieldImage, native: NDArray[Any] | None) -> tuple[float, float]:
    strips = [native] if native is not None else (image.read(s) for s in _strips(image.info.shape, RANGE_ROWS_PX))
    ranges = [(float(strip.min()), float(strip.max())) for strip in strips]
    if not np.isfinite(ranges).all():
        raise InvalidDataError(f"{image.info.path}: some pixels are NaN or infinite; export the image again.")
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def overview_of(image: FieldImage, frame: Frame) -> Overview:
    """Read a field strip by strip, once, and return its overview."""
    builder = _builder(frame)
    for strip in _strips(frame.working_shape, builder.strip_rows):
        native = image.read(frame.native(strip))
        builder.add(native, to_working(native, frame.factor, frame.scale))
    return builder.build()


def overview_of_pixels(native: NDArray[Any], working: NDArray[np.uint16], frame: Frame) -> Overview:
    """Return the same overview of a field that is in memory, native and at working resolution."""
    builder = _builder(frame)
    for strip in _strips(frame.working_shape, builder.strip_rows):
        area = frame.native(strip)
        builder.add(native[area.y0 : area.y1], working[strip.y0 : strip.y1])
    return builder.build()


def strip_rows(working_shape: tuple[int, int]) -> int:
    """Return how many working rows are read at a time: whole rows of blocks and of overview pixels."""
    step = max(BLOCK_PX, overview_factor(working_shape, OVERVIEW_SIDE_PX))  # both are powers of two
    return max(1, STRIP_PX // (working_shape[1] * step)) * step


def _builder(frame: Frame) -> OverviewBuilder:
    return OverviewBuilder(
        factor=overview_factor(frame.working_shape, OVERVIEW_SIDE_PX),
        working_factor=frame.factor,
        native_shape=frame.info.shape,
        pixel_size_um=frame.pixel_size_um,
        saturation_level=frame.info.saturation_level,
        scale=frame.scale,
        dtype=np.dtype(frame.info.dtype),
        strip_rows=strip_rows(frame.working_shape),
    )


def _strips(shape: tuple[int, int], rows: int) -> Iterator[Region]:
    height, width = shape
    for y0 in range(0, height, rows):
        yield Region(y0, min(y0 + rows, height), 0, width)
