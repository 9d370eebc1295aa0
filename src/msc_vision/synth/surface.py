"""The surface that cells settle on: where it invites them, which way they lie, and what is covered already."""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.culture import Culture, FloatArray
from msc_vision.synth.settings import FieldSettings

_MAP = 256  # side of the coarse maps
_CLUMP_UM = 110.0  # distance over which cells crowd together and leave gaps


@dataclass(frozen=True, slots=True)
class Ground:
    """Coarse maps of the bare surface.

    Attributes
    ----------
    direction : (256, 256) float array
        Radians, which way cells lie here; it turns around points where it has no value, as in real swirls.
    invitation : (256, 256) float array
        0 to 1: how readily cells settle here.
    spacing_px : (float, float)
        Rows and columns of the field per row and column of the maps.
    """

    direction: NDArray[np.float64]
    invitation: NDArray[np.float64]
    spacing_px: tuple[float, float]

    def cells_of(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the rows and columns of the maps at places of the field, in pixels."""
        rows = np.minimum((y / self.spacing_px[0]).astype(np.intp), _MAP - 1)
        columns = np.minimum((x / self.spacing_px[1]).astype(np.intp), _MAP - 1)
        return rows, columns


def lay_ground(settings: FieldSettings, rng: np.random.Generator) -> Ground:
    """Draw the maps of a field."""
    order = 0.6 * settings.cells.alignment  # a preferred direction keeps the number of swirls low
    start = rng.uniform(0, 2 * np.pi)
    swirl_um = settings.cells.swirl_um
    along = smooth_map(settings, swirl_um, rng) + order * math.cos(start)
    across = smooth_map(settings, swirl_um, rng) + order * math.sin(start)
    crowd = smooth_map(settings, _CLUMP_UM, rng)
    return Ground(
        direction=0.5 * np.arctan2(across, along),
        invitation=np.exp(settings.cells.clumping * (crowd - 2.5)).clip(0, 1),
        spacing_px=(settings.height_px / _MAP, settings.width_px / _MAP),
    )


def smooth_map(settings: FieldSettings, scale_um: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return smooth noise of about unit standard deviation, 256 x 256 over the field, alike in both directions."""
    field_um = max(settings.height_px, settings.width_px) * settings.pixel_size_um
    n = max(2, math.ceil(field_um / scale_um) + 3)
    coarse = rng.normal(size=(n, n))
    share = np.linspace(0, 1, _MAP)
    rows = (share * settings.height_px * settings.pixel_size_um / scale_um + rng.uniform(0.5, 1.5)).astype(np.float32)
    columns = (share * settings.width_px * settings.pixel_size_um / scale_um + rng.uniform(0.5, 1.5)).astype(np.float32)
    at_x, at_y = np.meshgrid(columns, rows)
    return 1.25 * cv2.remap(coarse, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def enlarged(coarse: NDArray[np.float64], settings: FieldSettings) -> FloatArray:
    """Return a coarse map at the size of the field."""
    size = settings.width_px, settings.height_px
    return cv2.resize(coarse.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)


@dataclass(slots=True)
class Board:
    """What is drawn so far: the one record here that changes while a field is made.

    Attributes
    ----------
    occupied : (Y, X) uint8 array
        1 where a cell lies.
    barred : (Y, X) uint8 array
        1 where no cell may settle: a scratch.
    """

    labels: NDArray[np.int32]
    phase: FloatArray
    absorption: FloatArray
    granularity: FloatArray
    aggregates: NDArray[np.uint8]
    debris: NDArray[np.uint8]
    occupied: NDArray[np.uint8]
    barred: NDArray[np.uint8]
    kinds: list[int] = field(default_factory=lambda: [0])
    covered: int = 0

    @classmethod
    def bare(cls, height_px: int, width_px: int) -> "Board":
        """Return an empty board."""
        shape = height_px, width_px
        phase, absorption, granularity = (np.zeros(shape, np.float32) for _ in range(3))
        aggregates, debris, occupied, barred = (np.zeros(shape, np.uint8) for _ in range(4))
        labels = np.zeros(shape, np.int32)
        return cls(labels, phase, absorption, granularity, aggregates, debris, occupied, barred)

    def new_label(self, kind: int) -> int:
        """Return the number of one more cell."""
        self.kinds.append(int(kind))
        return len(self.kinds) - 1

    def finished(self) -> Culture:
        """Return the culture, its labels without gaps: a cell that others hid completely is none."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.kinds))
        is_kept = counts > 0
        is_kept[0] = True
        kinds = np.array(self.kinds, np.uint8)[is_kept]
        labels = self.labels
        if not is_kept.all():
            labels = (np.cumsum(is_kept) - 1).astype(np.int32)[labels]
        np.clip(self.granularity, 0, 1, out=self.granularity)
        np.clip(self.absorption, 0, 0.98, out=self.absorption)
        return Culture(labels, self.phase, self.absorption, self.granularity, kinds, self.aggregates, self.debris)


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the field and a mask in it."""

    y0: int
    x0: int
    mask: NDArray[np.uint8]

    @property
    def at(self) -> tuple[slice, slice]:
        """Rows and columns of the field."""
        return slice(self.y0, self.y0 + self.mask.shape[0]), slice(self.x0, self.x0 + self.mask.shape[1])

    def pixels(self, width_px: int) -> "Pixels":
        """Return the pixels of the mask on a field of this width."""
        inner = self.mask.view(np.bool_).ravel().nonzero()[0]
        rows = inner // self.mask.shape[1]
        columns = inner - rows * self.mask.shape[1]
        return Pixels(
            inner,
            rows + self.y0,
            columns + self.x0,
            inner + (rows * (width_px - self.mask.shape[1]) + (self.y0 * width_px + self.x0)),
        )


@dataclass(frozen=True, slots=True)
class Pixels:
    """The pixels of one cell: a long cell covers a fifth of its box, and only these are worked on.

    Attributes
    ----------
    inner : (n,) int array
        Flat index into the box.
    rows, columns : (n,) int arrays
        On the field.
    outer : (n,) int array
        Flat index into the field.
    """

    inner: NDArray[np.intp]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    outer: NDArray[np.intp]


_SHIFT = 4  # bits of sub-pixel precision of polygon corners: the same pixels on any machine


def filled(corners_px: NDArray[np.float64], shape: tuple[int, int]) -> Box | None:
    """Return the filled polygon, as far as it lies on the field; None if no part of it does.

    Parameters
    ----------
    corners_px : (n, 2) float array
        (x, y) in pixels.
    shape : (int, int)
        Of the field.
    """
    fixed = np.rint(corners_px * (1 << _SHIFT)).astype(np.int32)
    left, top = (fixed.min(axis=0) >> _SHIFT).tolist()
    right, bottom = (fixed.max(axis=0) >> _SHIFT).tolist()
    y0, x0 = max(top - 1, 0), max(left - 1, 0)
    y1, x1 = min(bottom + 3, shape[0]), min(right + 3, shape[1])
    if y1 <= y0 or x1 <= x0:
        return None
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(mask, [fixed - np.array([x0 << _SHIFT, y0 << _SHIFT], np.int32)], 1, shift=_SHIFT)
    return Box(y0, x0, mask)
