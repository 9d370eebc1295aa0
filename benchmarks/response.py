"""Response over the whole range on synthetic cultures of MSC-like cells: annotated MSC images are not at hand."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, table
from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.io.labels import read_labels
from msc_vision.records import ManifestRow
from msc_vision.synth import FieldSettings, RenderedField, render_field
from msc_vision.synth.culture_settings import CellSettings

CONFLUENCIES = (0, 5, 15, 30, 45, 60, 70, 80, 90, 97, 100)
PIXEL_SIZES_UM = (0.65, 1.24)
FLAT = CellSettings(phase=0.10)
SEEDS = (11, 12)
FIELD_UM = 900.0
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "response.jpg"
SHOWN = (15, 45, 70, 90)
INTRO = f"""Synthetic fields of spindle-shaped cells ({FIELD_UM:g} µm a side, {len(SEEDS)} seeds each) whose true
confluency is known. They show whether the reading follows the truth over the whole range, not how well real cells
are outlined. "Flat": cells with half the phase of the others. Measured minus true, in points, mean over the seeds.

![True outlines (green) and measured ones (magenta) at 15, 45, 70 and 90 % confluency](images/response.jpg)"""


@dataclass(frozen=True, slots=True)
class Reading:
    """One synthetic field, as it is and as it was read; NaN if it was not scored."""

    true_percent: float
    measured_percent: float
    foreground: NDArray[np.bool_]

    @property
    def error(self) -> float:
        return self.measured_percent - self.true_percent


def measure(_: Setup) -> Section:
    """Read fields from bare to full, at two pixel sizes and with flat cells."""
    columns = [(f"{px:g} µm", px, CellSettings()) for px in PIXEL_SIZES_UM] + [("1.24 µm, flat", 1.24, FLAT)]
    rows, errors = [], []
    for percent in CONFLUENCIES:
        found = [[_read(_field(percent, px, cells, seed), px) for seed in SEEDS] for _, px, cells in columns]
        rows.append((f"{percent} %", *(f"{np.mean([r.error for r in readings]):+.1f}" for readings in found)))
        errors += [reading.error for readings in found for reading in readings]
    _draw_picture()
    figures = (
        Figure("mean absolute error over the range", f"{np.nanmean(np.abs(errors)):.1f} points"),
        Figure("largest error", f"{np.nanmax(np.abs(errors)):.1f} points"),
        Figure("fields not scored", f"{int(np.isnan(errors).sum())} of {len(errors)}"),
    )
    return Section(INTRO, figures, (table(("true", *(name for name, _, _ in columns)), rows),))


def _field(percent: float, pixel_size_um: float, cells: CellSettings, seed: int) -> RenderedField:
    side = round(FIELD_UM / pixel_size_um)
    settings = FieldSettings(
        height_px=side, width_px=side, pixel_size_um=pixel_size_um, confluency_percent=percent, cells=cells
    )
    return render_field(settings, seed)


def _read(field: RenderedField, pixel_size_um: float) -> Reading:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "field.tif"
        tifffile.imwrite(path, field.image)
        row = ManifestRow(path.name, "BENCH", "t-75", 1, pixel_size_um=pixel_size_um)
        labels = Path(scratch) / "labels.ome.zarr"
        score = score_field(FieldTask("field", path, row, load_pipeline("contrast"), labels, None))
        if score.confluency_percent is None:
            return Reading(field.confluency_percent, np.nan, np.zeros_like(field.foreground))
        foreground = np.asarray(read_labels(labels)[0])
    return Reading(field.confluency_percent, score.confluency_percent, foreground)


def _draw_picture() -> None:
    """Draw true and measured outlines side by side at some densities."""
    tiles = []
    for percent in SHOWN:
        field = _field(percent, 1.24, CellSettings(), SEEDS[0])
        measured = _read(field, 1.24).foreground.astype(np.uint8)
        measured = cv2.resize(measured, field.image.shape[::-1], interpolation=cv2.INTER_NEAREST)
        grey = cv2.normalize(field.image.astype(np.float32), None, 0, 255, cv2.NORM_MINMAX, dtype=cv2.CV_8U)
        grey = cv2.convertScaleAbs(grey, alpha=127.0 / max(float(np.median(grey)), 1.0))
        picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
        for mask, colour in ((field.foreground.astype(np.uint8), (80, 200, 60)), (measured, (220, 60, 220))):
            outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(picture, outlines, -1, colour, 1)
        tiles.append(picture[:420, :420])
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    montage = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
    PICTURE.write_bytes(cv2.imencode(".jpg", montage, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())
