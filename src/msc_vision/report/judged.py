"""Which part of a field was judged: found again from the image, because a run keeps outlines, not judged areas."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from msc_vision.batch.field import OVERVIEW_SIDE_PX, STRIP_ROWS_PX
from msc_vision.imaging.artefacts import ArtefactSettings, judgeable_mask
from msc_vision.imaging.normalise import IntensityScale, intensity_scale, to_working
from msc_vision.imaging.overview import BLOCK_PX, OverviewBuilder, overview_factor
from msc_vision.io.images import FieldImage
from msc_vision.records import Region


def judged_area(
    image: FieldImage, settings: ArtefactSettings, *, pixel_size_um: float | None, working_factor: int
) -> NDArray[np.bool_]:
    """Return what of a field was judged, at the size of its overview, as when it was scored.

    Parameters
    ----------
    image
        An open field.
    settings
        Of the run.
    pixel_size_um, working_factor
        As recorded for the field.

    Returns
    -------
    (Yo, Xo) bool array
        At most 2048 a side; False where nothing was judged.
    """
    height, width = image.info.shape
    working = -(-height // working_factor), -(-width // working_factor)
    dtype = np.dtype(image.info.dtype)
    scale = intensity_scale(dtype, _value_range(image) if dtype.kind == "f" else (0.0, 0.0))
    factor = overview_factor(working, OVERVIEW_SIDE_PX)
    step = BLOCK_PX * factor
    builder = OverviewBuilder(
        factor=factor,
        working_factor=working_factor,
        native_shape=image.info.shape,
        pixel_size_um=pixel_size_um,
        saturation_level=image.info.saturation_level,
        scale=scale,
        dtype=dtype,
        strip_rows=max(1, STRIP_ROWS_PX // step) * step,
    )
    _fill(builder, image, scale)
    return judgeable_mask(builder.build(), settings)[0]


def _fill(builder: OverviewBuilder, image: FieldImage, scale: IntensityScale) -> None:
    for strip in _strips(image.info.shape, builder.strip_rows * builder.working_factor):
        native = image.read(strip)
        builder.add(native, to_working(native, builder.working_factor, scale))


def _value_range(image: FieldImage) -> tuple[float, float]:
    strips = (image.read(strip) for strip in _strips(image.info.shape, STRIP_ROWS_PX))
    ranges = [(float(strip.min()), float(strip.max())) for strip in strips]
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _strips(shape: tuple[int, int], rows: int) -> Iterator[Region]:
    height, width = shape
    for y0 in range(0, height, rows):
        yield Region(y0, min(y0 + rows, height), 0, width)
