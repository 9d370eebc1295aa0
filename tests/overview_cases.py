"""Overviews of in-memory fields, and the real fields that may be looked at while developing."""

import csv
from pathlib import Path

import cv2
import numpy as np

from msc_vision.imaging.normalise import intensity_scale, to_working, working_factor
from msc_vision.imaging.overview import Overview, OverviewBuilder, overview_factor

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
_FOR_EVALUATION_ONLY = "livecell_crops512"
_LONG_SERIES = ("usiigaci_t98g", "ipsc_ccestimate")


def overview_of(native, *, pixel_size_um=None, target_um=1.3, overview_px=2048) -> Overview:
    """The overview of a field, built in one strip."""
    step = 1 if pixel_size_um is None else working_factor(pixel_size_um, target_um)
    scale = intensity_scale(native.dtype, (float(native.min()), float(native.max())))
    working = to_working(native, step, scale)
    builder = OverviewBuilder(
        factor=overview_factor(working.shape, overview_px),
        working_factor=step,
        native_shape=native.shape,
        pixel_size_um=pixel_size_um,
        saturation_level=None,
        scale=scale,
        dtype=native.dtype,
        strip_rows=working.shape[0],
    )
    builder.add(native, working)
    return builder.build()


def read_grey(path):
    """Pixels as 8 or 16 bit grey, colour as luma."""
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_GRAYSCALE)


def real_fields():
    """Path and pixel size of real fields, of long series every third; empty where the data is not at hand."""
    table = SHARED / "pairs.csv"
    if not table.exists():
        return []
    with table.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["set"] != _FOR_EVALUATION_ONLY]
    some = [row for i, row in enumerate(rows) if i % 3 == 0 or row["set"] not in _LONG_SERIES]
    return [(SHARED / row["image"], float(row["pixel_size_um"]) if row["pixel_size_um"] else None) for row in some]
