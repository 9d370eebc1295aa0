"""Everything between a run folder and the layers of a viewer, both ways. No Qt and no napari here: plain arrays.

A layer is a tuple as napari takes it: its data, its settings, its type. World coordinates are µm, pixels where nobody
knows their size; the middle of the first pixel of the image is 0, 0.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError
from msc_vision.morphology.orientation import OrientationMap
from msc_vision.records import FieldScore
from msc_vision.report.orientation import BARS_PER_SIDE, LEAST_COHERENCY, thinned
from msc_vision.review.events import ReviewEvent
from msc_vision.review.masks import FieldMasks, Kind
from msc_vision.review.state import FieldReview

LayerType = Literal["image", "labels", "shapes", "vectors"]
LayerData = tuple[Any, dict[str, Any], LayerType]
Box = tuple[int, int, int, int]
"""Rows and columns of the image, half-open: y0, y1, x0, x1."""

IMAGE, FOREGROUND, CELLS, NOT_JUDGEABLE = "Image", "Foreground", "Cells", "Not judgeable"
AGGREGATES, FINDINGS, ORIENTATION, STROKE = "Aggregates", "Findings", "Orientation", "Stroke"
LAYER_NAMES = (IMAGE, FOREGROUND, NOT_JUDGEABLE, CELLS, AGGREGATES, ORIENTATION, FINDINGS, STROKE)
"""From the lowest to the highest in the viewer."""
_KINDS: Mapping[str, Kind] = {
    FOREGROUND: "foreground",
    NOT_JUDGEABLE: "judgeable",
    CELLS: "cells",
    AGGREGATES: "aggregates",
}
MASK_LAYERS = tuple(_KINDS)

# Okabe and Ito (2008): told apart by people of every kind of colour vision.
ORANGE, SKY_BLUE, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
CELL_COLOURS = (SKY_BLUE, ORANGE, YELLOW, GREEN, PURPLE, VERMILLION, BLUE)

_PLACE = re.compile(r"^(?P<kind>.+) (?P<y0>\d+):(?P<y1>\d+),(?P<x0>\d+):(?P<x1>\d+)$")
_FLAW = re.compile(r"^(?P<note>.+) It lies in rows (?P<y0>\d+) to (?P<y1>\d+), columns (?P<x0>\d+) to (?P<x1>\d+)\.$")


# --- where things lie ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the pixels of one field lie in the viewer.

    Attributes
    ----------
    image_shape : (int, int)
        Height and width in native pixels.
    factor : int
        Native pixels a side of one working pixel.
    pixel_size_um : float or None
        Of a native pixel.
    """

    image_shape: tuple[int, int]
    factor: int = 1
    pixel_size_um: float | None = None

    @property
    def unit(self) -> str:
        """The unit of world coordinates; lengths in pixels are never called µm."""
        return "pixel" if self.pixel_size_um is None else "micrometer"

    @property
    def image_scale(self) -> float:
        """World units a side of a native pixel."""
        return 1.0 if self.pixel_size_um is None else self.pixel_size_um

    @property
    def label_scale(self) -> float:
        """World units a side of a working pixel."""
        return self.image_scale * self.factor

    @property
    def label_offset(self) -> float:
        """Where the middle of the first working pixel lies: in the middle of the native pixels that it stands for."""
        return self.image_scale * (self.factor - 1) / 2

    @property
    def on_image(self) -> dict[str, Any]:
        """Settings of a layer in native pixels."""
        return {"scale": (self.image_scale,) * 2, "translate": (0.0, 0.0), "units": (self.unit,) * 2}

    @property
    def on_labels(self) -> dict[str, Any]:
        """Settings of a layer in working pixels."""
        return {"scale": (self.label_scale,) * 2, "translate": (self.label_offset,) * 2, "units": (self.unit,) * 2}


def placement_of(score: FieldScore, masks: FieldMasks, image_shape: tuple[int, int] | None = None) -> Placement:
    """Return where a field lies.

    Parameters
    ----------
    score : FieldScore
        Of a field that could not be read it says neither size nor factor.
    masks : FieldMasks
    image_shape : (int, int), optional
        Height and width of its picture, where that was read.
    """
    factor = score.working_factor
    if factor is None:
        factor = 1 if image_shape is None else max(1, round(image_shape[0] / masks.shape[0]))
    if image_shape is None and score.height_px and score.width_px:
        image_shape = score.height_px, score.width_px
    height, width = image_shape or (masks.shape[0] * factor, masks.shape[1] * factor)
    return Placement((height, width), factor, score.pixel_size_um)


# --- masks -----------------------------------------------------------------------------------------------------------


def masks_to_layers(masks: FieldMasks, placement: Placement) -> tuple[LayerData, ...]:
    """Return the four masks of a field as layers that may be painted in: their arrays are copies."""
    return tuple((data, labels_settings(name, placement), "labels") for name, data in mask_arrays(masks).items())


def mask_arrays(masks: FieldMasks) -> dict[str, NDArray[Any]]:
    """Return the four masks by the names of their layers, as copies that may be painted in."""
    return {name: mask_array(masks, name) for name in MASK_LAYERS}


def mask_array(masks: FieldMasks, name: str) -> NDArray[Any]:
    """Return what the layer of a name shows, as a copy that may be painted in."""
    if name == FOREGROUND:
        return masks.foreground.astype(np.uint8)
    if name == NOT_JUDGEABLE:
        return np.logical_not(masks.judgeable).view(np.uint8)
    return (masks.cells if name == CELLS else masks.aggregates).copy()


def arrays_to_masks(arrays: Mapping[str, NDArray[Any]], known: FieldMasks | None = None) -> FieldMasks:
    """Return masks from what the four layers hold; the arrays are copied.

    Parameters
    ----------
    arrays : mapping of str to (Y, X) array
        By the names of the layers.
    known : FieldMasks, optional
        What is not among them is taken from here as it is.

    Raises
    ------
    InvalidArgumentError
        If a layer is missing or of another shape.
    """
    missing = [name for name in MASK_LAYERS if name not in arrays]
    if missing and known is None:
        raise InvalidArgumentError(f"The layer {' and '.join(missing)} is not in the viewer; open the field again.")
    read = {_KINDS[name]: _as_mask(name, data) for name, data in arrays.items() if name in _KINDS}
    return FieldMasks(**read) if known is None else replace(known, **read)


def _as_mask(name: str, data: Any) -> NDArray[Any]:
    if name == FOREGROUND:
        covered: NDArray[Any] = np.asarray(data) != 0
        return covered
    if name == NOT_JUDGEABLE:
        judgeable: NDArray[Any] = np.asarray(data) == 0
        return judgeable
    return np.array(data, np.int32)


def layers_to_masks(layers: Sequence[LayerData]) -> FieldMasks:
    """Return the masks that four layers hold: the inverse of `masks_to_layers`; other layers are left alone."""
    return arrays_to_masks({settings["name"]: data for data, settings, kind in layers if kind == "labels"})


def labels_settings(name: str, placement: Placement) -> dict[str, Any]:
    """Return how a mask is drawn: colours of one meaning each, outlines where the picture below matters."""
    looks: dict[str, dict[str, Any]] = {
        FOREGROUND: {"opacity": 0.2, "visible": True},
        NOT_JUDGEABLE: {"opacity": 0.45, "visible": True},
        CELLS: {"opacity": 0.9, "visible": True},
        AGGREGATES: {"opacity": 0.45, "visible": True},
    }
    return {"name": name, **looks[name], **placement.on_labels}


def outlines(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels with nothing left but the pixels that have another label beside, above or below them."""
    is_edge = np.zeros(labels.shape, bool)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = labels[one] != labels[other]
        is_edge[one] |= differs
        is_edge[other] |= differs
    left: NDArray[Any] = labels * is_edge
    return left


def thick_outlines(labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return 1 along the edges of labels, three pixels wide and four where two meet, and 0 elsewhere."""
    wide: NDArray[np.uint8] = cv2.dilate((outlines(labels) > 0).view(np.uint8), np.ones((3, 3), np.uint8))
    return wide


def world_of(index: tuple[float, float], settings: Mapping[str, Any]) -> tuple[float, float]:
    """Return where a pixel of a layer lies in the world; its edges are half a pixel from its index."""
    y, x = (
        at * scale + shift for at, scale, shift in zip(index, settings["scale"], settings["translate"], strict=True)
    )
    return y, x


# --- findings --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing at one place of the image.

    Attributes
    ----------
    kind : str
        In the words of the run or of the reviewer.
    box_px : Box
        Native pixels.
    note : str
    found_by : str
        ``run``, or the name of the reviewer.
    is_dismissed : bool
        A reviewer said that it is no such thing.
    """

    kind: str
    box_px: Box
    note: str = ""
    found_by: str = "run"
    is_dismissed: bool = False

    @property
    def place(self) -> str:
        """As the run writes it: ``dots 0:128,640:768``."""
        y0, y1, x0, x1 = self.box_px
        return f"{self.kind} {y0}:{y1},{x0}:{x1}"


def parse_place(text: str) -> Finding | None:
    """Return a place as the run writes it; None if it is none."""
    found = _PLACE.match(text)
    return None if found is None else Finding(found["kind"], _box(found))


def findings_of(score: FieldScore, review: FieldReview | None = None) -> tuple[Finding, ...]:
    """Return what the run and the reviewers pointed at in one field, in this order."""
    events = () if review is None else review.findings
    dismissed = {(one.before or {}).get("place") for one in events if one.action == "finding-dismissed"}
    found = [parse_place(text) for text in score.contamination_places]
    found += [_flaw(note) for note in score.notes]
    found += [_added(one) for one in events if one.action == "finding-added"]
    return tuple(replace(one, is_dismissed=one.place in dismissed) for one in found if one is not None)


def _box(found: "re.Match[str]") -> Box:
    return int(found["y0"]), int(found["y1"]), int(found["x0"]), int(found["x1"])


def _flaw(note: str) -> Finding | None:
    found = _FLAW.match(note)
    return None if found is None else Finding("surface", _box(found), found["note"])


def _added(event: ReviewEvent) -> Finding | None:
    found = parse_place(str((event.after or {}).get("place", "")))
    return None if found is None else replace(found, note=event.reason or "", found_by=event.reviewer.name)


FINDING_TEXT = {"string": "{words}", "size": 11, "color": "white", "anchor": "upper_left"}
"""White is read on bare plastic, on cells and beside the picture; upper left: above the box, which may be small."""


def findings_to_layer(findings: Sequence[Finding], placement: Placement) -> LayerData:
    """Return findings as rectangles with words; one that was dismissed says so."""
    settings = {
        "name": FINDINGS,
        "shape_type": "rectangle",
        "features": finding_features(findings),
        "text": FINDING_TEXT,
        "edge_color": VERMILLION,
        "face_color": "transparent",
        "edge_width": 2 * placement.image_scale,
        "opacity": 1.0,
        **placement.on_image,
    }
    return finding_corners(findings), settings, "shapes"


def finding_corners(findings: Sequence[Finding]) -> list[NDArray[np.float64]]:
    """Return the four corners of each finding: the outer edges of its pixels, in native pixels."""
    return [
        np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0)], float) - 0.5
        for y0, y1, x0, x1 in (one.box_px for one in findings)
    ]


def finding_features(findings: Sequence[Finding]) -> dict[str, list[Any]]:
    """Return what each finding says, as columns; ``words`` is what is written beside it."""
    return {
        "words": [_words(one) for one in findings],
        "kind": [one.kind for one in findings],
        "note": [one.note for one in findings],
        "found_by": [one.found_by for one in findings],
        "is_dismissed": [one.is_dismissed for one in findings],
    }


def _words(finding: Finding) -> str:
    by = "" if finding.found_by == "run" else f" ({finding.found_by})"
    return f"{finding.kind}{by}" + (", dismissed" if finding.is_dismissed else "")


def layer_to_findings(layer: LayerData) -> tuple[Finding, ...]:
    """Return the findings that a layer holds: the inverse of `findings_to_layer`."""
    corners, settings, _ = layer
    columns = settings["features"]
    names = ("kind", "note", "found_by", "is_dismissed")
    rows = zip(corners, *(list(columns[name]) for name in names), strict=True)
    return tuple(
        Finding(str(kind), box_of(at), str(note), str(found_by), bool(is_dismissed))
        for at, kind, note, found_by, is_dismissed in rows
    )


def box_of(corners: NDArray[Any]) -> Box:
    """Return the box of native pixels whose outer edges a drawn shape has; at least one pixel."""
    y0, x0 = (round(float(side) + 0.5) for side in np.min(corners, axis=0)[-2:])
    y1, x1 = (round(float(side) + 0.5) for side in np.max(corners, axis=0)[-2:])
    return y0, max(y1, y0 + 1), x0, max(x1, x0 + 1)


# --- orientation -----------------------------------------------------------------------------------------------------


def orientation_to_layer(found: OrientationMap | None, placement: Placement) -> LayerData:
    """Return the directions of the layer as bars in working pixels, the longer the more the edges run one way."""
    settings = {
        "name": ORIENTATION,
        "edge_color": YELLOW,
        "edge_width": 2.0,
        "vector_style": "line",
        "opacity": 0.9,
        "visible": False,
        **placement.on_labels,
    }
    return orientation_bars(found), settings, "vectors"


def orientation_bars(found: OrientationMap | None) -> NDArray[np.float32]:
    """Return bars (N, 2, 2): where each begins and where it points, in working pixels; rows before columns."""
    if found is None:
        return np.zeros((0, 2, 2), np.float32)
    few = thinned(found, BARS_PER_SIDE)
    rows, columns = np.nonzero(np.nan_to_num(few.coherency) >= LEAST_COHERENCY)
    angle = np.radians(few.angle_degrees[rows, columns])
    length = few.step_px * np.sqrt(few.coherency[rows, columns])
    along = np.stack([-np.sin(angle), np.cos(angle)], axis=1) * length[:, None]
    middle = (np.stack([rows, columns], axis=1) + 0.5) * few.step_px - 0.5
    bars: NDArray[np.float32] = np.stack([middle - along / 2, along], axis=1).astype(np.float32)
    return bars


# --- the picture -----------------------------------------------------------------------------------------------------


def image_to_layer(levels: Sequence[Any], limits: tuple[float, float], placement: Placement) -> LayerData:
    """Return a picture as a layer of several sizes, the finest first."""
    settings = {
        "name": IMAGE,
        "multiscale": True,
        "colormap": "gray",
        "contrast_limits": limits,
        **placement.on_image,
    }
    return list(levels), settings, "image"
