"""What is wrong with the surface itself: scratches, bubbles, layers that come off, and walls that reach into the field.

Dark scratches come from the threads of each tile; what is larger or brighter comes from the small picture of the whole
field (`msc_vision.findings.coarse`).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.findings.background import BackgroundParts, join_threads
from msc_vision.findings.bright_lines import BrightLineSettings, find_bright_lines
from msc_vision.findings.bubbles import BubbleSettings, bubble_area, find_bubbles
from msc_vision.findings.coarse import CoarseView, place_side_px
from msc_vision.findings.rolled_edges import RollSettings, find_rolled_edges
from msc_vision.flags import Flag
from msc_vision.morphology.feature import Feature

SurfaceKind = Literal["scratch", "bright scratch", "bubble", "rolled edge", "wall"]

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
    Feature(
        "bright_scratches_um_per_mm2",
        "field",
        "µm/mm²",
        "Length of straight bright lines on the surface.",
        "sum of lines of 300 µm and more through thin parts 32 % brighter than 12 µm around (Hough transform),"
        " those on bubbles and rolled edges left out, per field area",
        "own; lines after Duda and Hart 1972 (doi:10.1145/361237.361242)",
    ),
    Feature(
        "bubbles_per_mm2",
        "field",
        "1/mm²",
        "Bubbles of gas with a dark rim.",
        "circles that dark edges vote for and 87 % of whose rim is darker than inside and outside, middle in the field,"
        " per field area",
        "own; circles after Duda and Hart 1972 (doi:10.1145/361237.361242)",
    ),
    Feature(
        "bubble_area_percent",
        "field",
        "percent",
        "Part of the field that bubbles cover.",
        "area of the circles, overlaps once, over the area of the field",
        "own",
    ),
    Feature(
        "rolled_edges_um_per_mm2",
        "field",
        "µm/mm²",
        "Length of rolled-up edges of a layer that comes off.",
        "sum of area over width (four times the mean distance to the outline) of bright bands between cells and bare"
        " surface, per field area",
        "own",
    ),
    Feature(
        "rolled_edge_area_percent",
        "field",
        "percent",
        "Part of the field that rolled-up edges cover.",
        "area of the bands over the area of the field",
        "own",
    ),
)
"""What is measured of the surface itself."""
FLAW_FLAGS: dict[SurfaceKind, Flag] = {
    "rolled edge": "detaching",
    "bubble": "bubbles",
    "bright scratch": "bright-scratches",
}
"""Flags of fields that are worth a look, the most serious first."""
_WALL = "A wall "
_ROLL_BESIDE_UM = 40.0  # bright lines so near are the outline of a rolled edge
_BUBBLE_BESIDE = 1.25  # the same for bubbles, over their radius


class SurfaceSettings(BaseModel):
    """What counts as a flaw of the surface. Chosen on synthetic fields: placeholders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    length_um: float = Field(150.0, gt=10, description="Shorter straight lines are processes of cells.")
    across_um: float = Field(10.0, gt=0, description="Four standard deviations across the line; processes bend.")
    width_um: tuple[float, float] = Field((1.5, 6.0), description="Area over length.")
    bright_lines: BrightLineSettings = Field(BrightLineSettings(), description="Scratches brighter than the surface.")
    bubbles: BubbleSettings = Field(BubbleSettings(), description="Bubbles of gas.")
    rolled_edges: RollSettings = Field(RollSettings(), description="Layers that come off.")


@dataclass(frozen=True, slots=True)
class SurfaceFinding:
    """One flaw of the surface; the box is half-open, in working pixels, None where only a sentence is known."""

    kind: SurfaceKind
    box_px: tuple[int, int, int, int] | None
    note: str


@dataclass(frozen=True, slots=True)
class SurfaceFigures:
    """Flaws of a field's surface; ``figures`` are those of `SURFACE_FEATURES`, NaN where nothing can be said."""

    findings: tuple[SurfaceFinding, ...]
    figures: dict[str, float]

    def of_kind(self, kind: SurfaceKind) -> tuple[SurfaceFinding, ...]:
        """Return the flaws of one kind."""
        return tuple(finding for finding in self.findings if finding.kind == kind)


@dataclass(frozen=True, slots=True)
class SurfaceParts:
    """What the tiles of a field show: the threads of each, and all of them in places."""

    tiles: tuple[BackgroundParts, ...]
    view: CoarseView


def surface_figures(
    parts: SurfaceParts | None,
    shape: tuple[int, int],
    pixel_size_um: float | None,
    notes: Sequence[str] = (),
    settings: SurfaceSettings | None = None,
) -> SurfaceFigures:
    """Return the flaws of a field's surface, the same for any tiling.

    Parameters
    ----------
    parts : SurfaceParts or None
        Tiles that cover the field without overlap; None where the size of a pixel is not known.
    shape : (int, int)
        Of the field in working pixels.
    pixel_size_um : float or None
        Of a working pixel.
    notes : sequence of str
        What `msc_vision.imaging.artefacts.judgeable_mask` says of the field: its walls are taken from there.
    settings : SurfaceSettings, optional
    """
    walls = [SurfaceFinding("wall", None, note) for note in notes if note.startswith(_WALL)]
    if pixel_size_um is None or parts is None:
        return SurfaceFigures(tuple(walls), {feature.name: math.nan for feature in SURFACE_FEATURES})
    limits = settings or SurfaceSettings()
    lines = join_threads([tile.threads for tile in parts.tiles], shape, pixel_size_um, limits.length_um)
    scratches = lines[_is_scratch(lines, limits)]
    judged_mm2 = sum(tile.n_judged for tile in parts.tiles) * (pixel_size_um / 1000) ** 2
    found = [
        SurfaceFinding("scratch", _box(line), f"A straight line of {line['length_um']:.0f} µm marks the surface.")
        for line in scratches
    ]
    seen, figures = _coarse_figures(parts.view, shape, pixel_size_um, limits)
    length_um = math.fsum(scratches["length_um"])
    figures["scratches_um_per_mm2"] = length_um / judged_mm2 if judged_mm2 else math.nan
    return SurfaceFigures((*found, *seen, *walls), figures)


def _coarse_figures(
    view: CoarseView, shape: tuple[int, int], pixel_size_um: float, limits: SurfaceSettings
) -> tuple[list[SurfaceFinding], dict[str, float]]:
    """Return bubbles, rolled edges and bright scratches, and their figures."""
    side = place_side_px(pixel_size_um)
    place_um = side * pixel_size_um
    bubbles = find_bubbles(view.grey, place_um, limits.bubbles)
    rolls, rolled = find_rolled_edges(view, place_um, limits.rolled_edges)
    explained = _explained(rolled, bubbles, place_um)
    lines = find_bright_lines(view.thin_bright, explained, place_um, limits.bright_lines)
    found = [
        SurfaceFinding(kind, _working_box(box, side, shape), note)
        for kind, box, note in (*_of_bubbles(bubbles, place_um), *_of_rolls(rolls), *_of_lines(lines))
    ]
    field_mm2 = shape[0] * shape[1] * (pixel_size_um / 1000) ** 2
    figures = {
        "bright_scratches_um_per_mm2": math.fsum(lines["length_um"]) / field_mm2,
        "bubbles_per_mm2": len(bubbles) / field_mm2,
        "bubble_area_percent": 100 * bubble_area(bubbles, view.grey.shape) / view.grey.size,
        "rolled_edges_um_per_mm2": math.fsum(rolls["length_um"]) / field_mm2,
        "rolled_edge_area_percent": 100 * int(rolls["area_px"].sum()) / view.grey.size,
    }
    return found, figures


def _explained(rolled: NDArray[np.uint8], bubbles: NDArray[np.void], place_um: float) -> NDArray[np.uint8]:
    """Return where a bright line is the outline of something else, 0 or 1."""
    reach = round(_ROLL_BESIDE_UM / place_um)
    mask = cv2.dilate(rolled, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    for one in bubbles:
        cv2.circle(mask, (round(one["x_px"]), round(one["y_px"])), round(_BUBBLE_BESIDE * one["radius_px"]), 1, -1)
    return mask


_Named = tuple[SurfaceKind, tuple[float, float, float, float], str]
"""A kind, its box in places (first and last row, first and last column), and a sentence."""


def _of_bubbles(bubbles: NDArray[np.void], place_um: float) -> Iterator[_Named]:
    for one in bubbles:
        y, x, radius = float(one["y_px"]), float(one["x_px"]), float(one["radius_px"])
        note = f"A bubble of {2 * radius * place_um:.0f} µm hides the surface."
        yield "bubble", (y - radius, y + radius, x - radius, x + radius), note


def _of_rolls(rolls: NDArray[np.void]) -> Iterator[_Named]:
    for one in rolls:
        box = (one["y0_px"], one["y1_px"] - 1, one["x0_px"], one["x1_px"] - 1)
        yield "rolled edge", box, f"The layer comes off: its edge is rolled up over {one['length_um']:.0f} µm."


def _of_lines(lines: NDArray[np.void]) -> Iterator[_Named]:
    for one in lines:
        box = (
            min(one["y0_px"], one["y1_px"]),
            max(one["y0_px"], one["y1_px"]),
            min(one["x0_px"], one["x1_px"]),
            max(one["x0_px"], one["x1_px"]),
        )
        yield "bright scratch", box, f"A straight bright line of {one['length_um']:.0f} µm marks the surface."


def _working_box(
    box: tuple[float, float, float, float], side: int, shape: tuple[int, int]
) -> tuple[int, int, int, int]:
    y0, y1, x0, x1 = box
    return (
        max(0, math.floor(y0) * side),
        min(shape[0], (math.ceil(y1) + 1) * side),
        max(0, math.floor(x0) * side),
        min(shape[1], (math.ceil(x1) + 1) * side),
    )


def _is_scratch(lines: NDArray[np.void], limits: SurfaceSettings) -> NDArray[np.bool_]:
    low, high = limits.width_um
    is_thin: NDArray[np.bool_] = (lines["width_um"] >= low) & (lines["width_um"] <= high)
    return is_thin & (lines["across_um"] <= limits.across_um)


def _box(line: np.void) -> tuple[int, int, int, int]:
    return int(line["y0_px"]), int(line["y1_px"]), int(line["x0_px"]), int(line["x1_px"])
