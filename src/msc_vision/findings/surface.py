"""What is wrong with the surface itself: dark scratches, and walls that reach into the field.

Bubbles, torn or curling sheets and bright scratches are not reported: nothing measured here tells them from cells.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.findings.background import BackgroundParts, join_threads
from msc_vision.morphology.feature import Feature

SurfaceKind = Literal["scratch", "wall"]

SURFACE_FEATURES = (
    Feature(
        "scratches_um_per_mm2",
        "field",
        "µm/mm²",
        "Length of straight dark lines on the surface.",
        "sum of diagonals of dark thin parts of 150 µm and more that leave a straight line by at most 10 µm, per"
        " judged area",
        "own",
    ),
)
"""What is measured of the surface itself."""
_WALL = "A wall "


class SurfaceSettings(BaseModel):
    """What counts as a scratch. Chosen on synthetic fields: placeholders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    length_um: float = Field(150.0, gt=10, description="Shorter straight lines are processes of cells.")
    across_um: float = Field(10.0, gt=0, description="Four standard deviations across the line; processes bend.")
    width_um: tuple[float, float] = Field((1.5, 6.0), description="Area over length.")


@dataclass(frozen=True, slots=True)
class SurfaceFinding:
    """One flaw of the surface; the box is half-open, in working pixels, None where only a sentence is known."""

    kind: SurfaceKind
    box_px: tuple[int, int, int, int] | None
    note: str


@dataclass(frozen=True, slots=True)
class SurfaceFigures:
    """Flaws of a field's surface. ``scratches_um_per_mm2`` is NaN where the size of a pixel is not known."""

    findings: tuple[SurfaceFinding, ...]
    n_scratches: int
    scratches_um_per_mm2: float


def surface_figures(
    tiles: Sequence[BackgroundParts],
    shape: tuple[int, int],
    pixel_size_um: float | None,
    notes: Sequence[str] = (),
    settings: SurfaceSettings | None = None,
) -> SurfaceFigures:
    """Return the flaws of a field's surface, the same for any tiling.

    Parameters
    ----------
    tiles : sequence of BackgroundParts
        They cover the field without overlap; none where the size of a pixel is not known.
    shape : (int, int)
        Of the field in working pixels.
    pixel_size_um : float or None
        Of a working pixel.
    notes : sequence of str
        What `msc_vision.imaging.artefacts.judgeable_mask` says of the field: its walls are taken from there.
    """
    walls = [SurfaceFinding("wall", None, note) for note in notes if note.startswith(_WALL)]
    if pixel_size_um is None or not tiles:
        return SurfaceFigures(tuple(walls), 0, math.nan)
    limits = settings or SurfaceSettings()
    lines = join_threads([tile.threads for tile in tiles], shape, pixel_size_um, limits.length_um)
    scratches = lines[_is_scratch(lines, limits)]
    judged_mm2 = sum(tile.n_judged for tile in tiles) * (pixel_size_um / 1000) ** 2
    found = [
        SurfaceFinding("scratch", _box(line), f"A straight line of {line['length_um']:.0f} µm marks the surface.")
        for line in scratches
    ]
    per_mm2 = math.fsum(scratches["length_um"]) / judged_mm2 if judged_mm2 else math.nan
    return SurfaceFigures((*found, *walls), len(found), per_mm2)


def _is_scratch(lines: NDArray[np.void], limits: SurfaceSettings) -> NDArray[np.bool_]:
    low, high = limits.width_um
    is_thin: NDArray[np.bool_] = (lines["width_um"] >= low) & (lines["width_um"] <= high)
    return is_thin & (lines["across_um"] <= limits.across_um)


def _box(line: np.void) -> tuple[int, int, int, int]:
    return int(line["y0_px"]), int(line["y1_px"]), int(line["x0_px"]), int(line["x1_px"])
