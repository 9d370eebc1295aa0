"""What of a field cannot be judged: camera frame, burnt-in text and scale bar, glare, shadow of a meniscus, walls.

Everything is decided on the whole-field overview, so tiling cannot change it. What is found is left out of the area
that confluency refers to; it never counts as cells and never as empty surface.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.imaging.overview import Overview

COARSE_PX = (
    8  # a coarse pixel is 8 x 8 overview pixels: wide enough to average cells, fine enough for a shadow's outline
)
LEAST_PX = 32  # in a smaller picture there is no telling marks from cells
SOFT_PX = 4  # side of the pixels on which soft-edged dark and saturated areas are outlined
FULL_8BIT = 255
WALL_RIM = 8  # soft pixels (about 35 µm) beside the dark line of a wall that show its ragged, bright rim
WALL_THICKNESS = 0.12  # share of the field that the line may take up, its slope included
THIN = 0.34  # thickness over length of a scale bar, ticks included
_ANYWHERE = (2**31, 2**31)
_SQUARE_3 = np.ones((3, 3), np.uint8)

Kind = Literal["frame", "shadow", "wall", "glare", "ink"]
_SENTENCES: dict[Kind, str] = {
    "frame": "A camera frame or border",
    "shadow": "A shadow too dark to judge (meniscus or vignette)",
    "wall": "A wall with what lies behind it",
    "glare": "A saturated area without detail",
    "ink": "Burnt-in text or a scale bar",
}


class ArtefactSettings(BaseModel):
    """Limits of what counts as not judgeable, each with its reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dark_limit: float = Field(
        0.12,
        gt=0,
        lt=0.5,
        description="Share of the field's usual brightness below which a border is black. Dark brightfield aggregates"
        " go down to 0.14; a shuttered border with JPEG noise stays under 0.08.",
    )
    shadow_limit: float = Field(
        0.35,
        gt=0,
        lt=1,
        description="Share of the field's usual brightness below which smooth shade is not judged. At a third of the"
        " light, phase contrast at a well's wall is gone and shot noise has grown 1.7-fold; milder shade is corrected.",
    )
    shadow_width: float = Field(
        0.15,
        gt=0,
        lt=0.5,
        description="Share of the field's shorter side that a shadow must span, so that dark cells and aggregates at"
        " the edge are not taken for one.",
    )
    wall_limit: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Share of the field's usual brightness below which a line near a side may be a wall. In 90 fields"
        " only channel walls formed a dark line this long and straight; chains of cells break up.",
    )
    wall_length: float = Field(
        0.6, gt=0.3, le=1, description="Share of a side that the dark line of a wall must run along, at the least."
    )
    wall_depth: float = Field(
        0.3,
        gt=0,
        lt=0.5,
        description="Share of the field within which a wall must lie from its side; behind it nothing grows.",
    )
    frame_line_share: float = Field(
        0.8,
        gt=0.5,
        le=1,
        description="Share of a row or column at the border that must be black, white or of one value to be a frame;"
        " below 1 to admit the text of an information bar.",
    )
    glare_px: int = Field(
        80,
        ge=8,
        description="Diameter in working pixels (about 100 µm) of a fully saturated disc that is glare and no cell: a"
        " rounded cell measures 15 to 30 µm.",
    )
    ink_contrast: float = Field(
        0.16,
        gt=0,
        lt=1,
        description="Least step from surface to ink as a share of full scale; weaker marks cannot be told from cells.",
    )
    ink_edge_low: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Least share of the ink's contrast within one pixel of its outline. Rendered text measures 0.92 to"
        " 1.05 even after JPEG 85; cells and halos have a median of 0.2 to 0.75.",
    )
    ink_edge_high: float = Field(
        1.2,
        ge=1,
        description="Greatest such share: more means a dark rim around something bright, as round cells have.",
    )
    bar_edge_low: float = Field(
        0.45,
        gt=0,
        le=1,
        description="The same for a bar, whose straightness says more: binning can spread its edge over two pixels.",
    )
    ink_rim_sd: float = Field(
        0.16,
        gt=0,
        description="Greatest grey-value spread just outside a letter, as a share of its contrast. Around rendered text"
        " on surface 0.02 to 0.14; around bright cells 0.1 to 0.4.",
    )
    ink_solid: float = Field(
        0.22,
        gt=0,
        lt=1,
        description="Least share of a letter that reaches the ink's full value. One-pixel strokes smoothed and saved as"
        " JPEG 85 keep 0.26 to 0.57; halos mostly stay under it.",
    )
    bar_px: int = Field(
        24, ge=8, description="Least length in overview pixels of a scale bar; shorter straight runs occur in cells."
    )
    letter_px: tuple[int, int] = Field(
        (5, 90), description="Height in overview pixels that a letter may have, smallest and largest."
    )
    n_letters: int = Field(
        3,
        ge=2,
        description="Letters of like height side by side that make a text where no bar is near: two bright specks"
        " side by side are common, three that pass every other test were not seen in 90 fields.",
    )
    n_candidates_max: int = Field(
        40,
        ge=1,
        description="With more letter-sized extreme spots than this, only those near the border are examined as text,"
        " and none if these are as many: such fields are full of saturated round cells. Bars are always examined.",
    )


@dataclass(frozen=True, slots=True)
class _Box:
    """A rectangle of overview pixels, half open."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    def grown(self, by: int, shape: tuple[int, int]) -> "_Box":
        """Return the box with a margin, clipped to the picture."""
        return _Box(
            max(0, self.y0 - by), min(shape[0], self.y1 + by), max(0, self.x0 - by), min(shape[1], self.x1 + by)
        )

    def meets(self, other: "_Box") -> bool:
        """Tell whether two boxes share a pixel."""
        return self.y0 < other.y1 and other.y0 < self.y1 and self.x0 < other.x1 and other.x0 < self.x1


@dataclass(frozen=True, slots=True)
class _Picture:
    """The overview as 8 bit, with its usual brightness and the scales derived from it."""

    grey: NDArray[np.uint8]
    soft: NDArray[np.uint8]
    coarse: NDArray[np.uint8]
    usual: float
    is_saturating: bool
    working_px: float  # working pixels a side of one overview pixel

    @property
    def shape(self) -> tuple[int, int]:
        return self.grey.shape[0], self.grey.shape[1]


def judgeable_mask(overview: Overview, settings: ArtefactSettings) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Return where a field can be judged, and in words what was left out.

    Parameters
    ----------
    overview : Overview
        The whole field.
    settings : ArtefactSettings
        Limits, see their descriptions.

    Returns
    -------
    (Yo, Xo) bool array
        False over frame, shadow, glare, and burnt-in text and bars; same shape as ``overview.image``.
    tuple of str
        A sentence for each kind found, with its share of the field and its place.
    """
    if min(overview.image.shape) < LEAST_PX:
        return np.ones(overview.image.shape, np.bool_), ()
    picture = _picture(overview)
    blocked = np.zeros(picture.shape, np.uint8)
    if picture.usual <= 0:
        return blocked == 0, ()
    notes: list[str] = []
    finders: dict[Kind, Callable[[_Picture, ArtefactSettings], NDArray[np.uint8] | None]]
    finders = {"frame": _frame, "shadow": _shadow, "wall": _wall, "glare": _glare, "ink": _ink}
    for kind, find in finders.items():
        found = find(_without(picture, blocked) if kind in ("wall", "ink") else picture, settings)
        if found is None:
            continue
        fresh = cv2.bitwise_and(found, cv2.bitwise_not(blocked))
        blocked = cv2.bitwise_or(blocked, found)
        if cv2.countNonZero(fresh):
            notes.append(_sentence(kind, fresh))
    return blocked == 0, tuple(notes)


def _without(picture: _Picture, blocked: NDArray[np.uint8]) -> _Picture:
    """Return the picture with what is blocked painted over, so that a frame's edge is not taken for a bar."""
    if not cv2.countNonZero(blocked):
        return picture
    grey = picture.grey.copy()
    grey[cv2.dilate(blocked, np.ones((7, 7), np.uint8)) > 0] = int(picture.usual)
    return replace(picture, grey=grey, soft=_shrink(grey, SOFT_PX))


def _picture(overview: Overview) -> _Picture:
    """Spread the overview over 8 bit, from zero to its brightest value or saturation, whichever is lower."""
    brightest = float(overview.image.max())
    top = min(brightest, overview.saturation_level) or 1.0
    grey = cv2.convertScaleAbs(overview.image, alpha=FULL_8BIT / top)
    soft = _shrink(grey, SOFT_PX)
    coarse = _shrink(soft, COARSE_PX // SOFT_PX)
    lit = coarse[coarse > 0.1 * coarse.max()]
    return _Picture(
        grey=grey,
        soft=soft,
        coarse=coarse,
        usual=float(np.median(lit)) if lit.size else 0.0,
        is_saturating=brightest >= 0.97 * overview.saturation_level,
        working_px=overview.factor / overview.working_factor,
    )


def _shrink(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return the mean of each whole ``factor`` x ``factor`` block; a ragged last row or column is left out."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    if not (height and width):
        return image
    whole = image[: height * factor, : width * factor]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


def _enlarge(mask: NDArray[np.uint8], factor: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a reduced mask at the overview's size, its last row and column repeated over a ragged rest."""
    size = mask.shape[1] * factor, mask.shape[0] * factor
    full = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)[: shape[0], : shape[1]]
    rest = shape[0] - full.shape[0], shape[1] - full.shape[1]
    return cv2.copyMakeBorder(full, 0, rest[0], 0, rest[1], cv2.BORDER_REPLICATE) if any(rest) else full


# ------------------------------------------------------------------------------------------------ frame, shadow, glare
def _frame(picture: _Picture, settings: ArtefactSettings) -> NDArray[np.uint8] | None:
    """Return straight borders of black, white or one value, and black corners and arcs that reach the border."""
    grey = picture.grey
    low = int(settings.dark_limit * picture.usual)
    high = 250 if picture.usual < 200 else FULL_8BIT + 1
    found = np.zeros(picture.shape, np.uint8)
    is_found = False
    for side in range(4):  # each side in turn becomes the upper one
        depth = _frame_depth(np.rot90(grey, side), low, high, settings.frame_line_share)
        if depth:
            np.rot90(found, side)[:depth] = FULL_8BIT
            is_found = True
    arcs = _black_at_border(picture, low)
    if arcs is not None:
        found = cv2.bitwise_or(found, arcs)
        is_found = True
    return found if is_found else None


def _frame_depth(grey: NDArray[np.uint8], low: int, high: int, share: float) -> int:
    """Return how many rows from the upper edge are frame, with a margin for the edge's ringing; 0 if none is."""
    if not _is_frame_line(grey[:1], low, high, share)[0]:
        return 0
    is_line = _is_frame_line(grey[: max(1, grey.shape[0] // 2)], low, high, share)
    depth = int(is_line.size if is_line.all() else np.argmin(is_line))
    inside = grey[depth : depth + 40]
    if depth == is_line.size or np.median(np.ptp(inside, axis=1)) <= 12:
        return 0  # an even picture, or one that is extreme as a whole: not a frame around something
    return depth + 2


def _is_frame_line(rows: NDArray[np.uint8], low: int, high: int, share: float) -> NDArray[np.bool_]:
    """Tell for each row whether it is black, white or of one value."""
    extreme = ((rows <= low) | (rows >= high)).mean(axis=1) >= share
    even = np.ptp(rows, axis=1) <= 3
    return extreme | even


def _black_at_border(picture: _Picture, low: int) -> NDArray[np.uint8] | None:
    """Return black areas that hold a corner or lie along a quarter of a side: rounded frames, slanted edges."""
    black = cv2.compare(picture.soft, float(low), cv2.CMP_LE)
    if not cv2.countNonZero(_rim(black)):
        return None
    _, labels, stats, _ = cv2.connectedComponentsWithStats(black, connectivity=8)
    corners = {int(labels[y, x]) for y in (0, -1) for x in (0, -1)} - {0}
    contact = np.bincount(_rim(labels), minlength=len(stats))
    keep = [i for i in range(1, len(stats)) if i in corners or contact[i] >= min(black.shape) / 4]
    if not keep:
        return None
    chosen = np.isin(labels, keep).astype(np.uint8) * FULL_8BIT
    return _enlarge(cv2.dilate(chosen, np.ones((5, 5), np.uint8)), SOFT_PX, picture.shape)


def _rim(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the outermost pixels of an array, one after the other."""
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])


def _shadow(picture: _Picture, settings: ArtefactSettings) -> NDArray[np.uint8] | None:
    """Return smooth dark areas that reach the border; dark cells are closed first, being narrower than a shadow."""
    limit = int(settings.shadow_limit * picture.usual)
    if picture.coarse.min() > limit or int(_rim(picture.coarse).min()) > limit:
        return None
    width = int(settings.shadow_width * min(picture.coarse.shape)) | 1
    closed = cv2.morphologyEx(picture.coarse, cv2.MORPH_CLOSE, np.ones((width, width), np.uint8))
    dark = cv2.compare(closed, float(limit), cv2.CMP_LE)
    if not cv2.countNonZero(dark):
        return None
    _, labels = cv2.connectedComponents(dark, connectivity=8)
    chosen = np.isin(labels, np.setdiff1d(_rim(labels), [0])).astype(np.uint8) * FULL_8BIT
    return _enlarge(chosen, COARSE_PX, picture.shape)


def _wall(picture: _Picture, settings: ArtefactSettings) -> NDArray[np.uint8] | None:
    """Return the strip from a dark line that runs along a side to that side, its ragged rim included."""
    dark = cv2.compare(picture.soft, settings.wall_limit * picture.usual, cv2.CMP_LE)
    if cv2.countNonZero(dark) < settings.wall_length * min(dark.shape):
        return None
    _, _, stats, _ = cv2.connectedComponentsWithStats(dark, connectivity=8)
    found = np.zeros(dark.shape, np.uint8)
    for x, y, width, height, _ in stats[1:].tolist():
        _cut_off(found, y, y + height, width / dark.shape[1], settings)
        _cut_off(found.T, x, x + width, height / dark.shape[0], settings)
    return _enlarge(found, SOFT_PX, picture.shape) if cv2.countNonZero(found) else None


def _cut_off(found: NDArray[np.uint8], start: int, stop: int, length: float, settings: ArtefactSettings) -> None:
    """Mark the rows from a line at ``start:stop`` to the nearer end, if it is long, level and near enough."""
    n_rows = found.shape[0]
    if length < settings.wall_length or stop - start > WALL_THICKNESS * n_rows:
        return
    if start > (1 - settings.wall_depth) * n_rows:
        found[max(0, start - WALL_RIM) :] = FULL_8BIT
    elif stop < settings.wall_depth * n_rows:
        found[: stop + WALL_RIM] = FULL_8BIT


def _glare(picture: _Picture, settings: ArtefactSettings) -> NDArray[np.uint8] | None:
    """Return saturated areas that hold a disc far larger than a cell."""
    if not picture.is_saturating:
        return None
    white = cv2.compare(picture.soft, 0.97 * FULL_8BIT, cv2.CMP_GE)
    diameter = max(3, round(settings.glare_px / picture.working_px / SOFT_PX)) | 1
    if cv2.countNonZero(white) < diameter**2 // 2:
        return None
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    slabs = cv2.morphologyEx(white, cv2.MORPH_OPEN, disc)
    if not cv2.countNonZero(slabs):
        return None
    return _enlarge(cv2.dilate(slabs, np.ones((5, 5), np.uint8)), SOFT_PX, picture.shape)


# ------------------------------------------------------------------------------------------------- text and scale bars
@dataclass(frozen=True, slots=True)
class _Ink:
    """Pixels on one side of the surface's grey value: 255 is full ink, ``surface`` the surface, in one polarity."""

    level: NDArray[np.uint8]
    surface: float

    @property
    def contrast(self) -> float:
        return FULL_8BIT - self.surface


@dataclass(frozen=True, slots=True)
class _Spot:
    """One connected patch of ink."""

    box: _Box
    is_bar: bool
    rim_sd: float  # grey-value spread just outside, as a share of the contrast


def _ink(picture: _Picture, settings: ArtefactSettings) -> NDArray[np.uint8] | None:
    """Return burnt-in bars, boxes and lines of text, white or black, or of one grey value (colour, turned to luma)."""
    white = _Ink(picture.grey, picture.usual)
    black = _Ink(cv2.bitwise_not(picture.grey), FULL_8BIT - picture.usual)
    boxes = [box for ink in (white, black) for box in _ink_boxes(ink, settings)]
    boxes += _coloured_boxes(picture, settings)
    if not boxes:
        return None
    found = np.zeros(picture.shape, np.uint8)
    for box in boxes:
        wide = box.grown(3, picture.shape)
        found[wide.y0 : wide.y1, wide.x0 : wide.x1] = FULL_8BIT
    return found


def _ink_boxes(ink: _Ink, settings: ArtefactSettings) -> list[_Box]:
    """Return where bars and text of one polarity lie."""
    if ink.contrast < settings.ink_contrast * FULL_8BIT:
        return []
    full = cv2.compare(ink.level, ink.surface + 0.9 * ink.contrast, cv2.CMP_GE)
    near_step = _near_steps(ink, full, settings)
    if near_step is None:
        return []
    spots = list(_spots(ink, full, near_step, settings))
    bars = [spot.box for spot in spots if spot.is_bar]
    letters = [spot for spot in spots if not spot.is_bar]
    return bars + _text_boxes(letters, bars, settings)


def _near_steps(ink: _Ink, full: NDArray[np.uint8], settings: ArtefactSettings) -> NDArray[np.uint8] | None:
    """Return the surroundings of full ink that falls to the surface's grey value within two pixels, if any.

    Bright cells fall off more slowly or to a dark rim, so little of them is left to examine one by one.
    """
    if cv2.countNonZero(full) < settings.letter_px[0]:
        return None
    lowest = cv2.erode(ink.level, np.ones((5, 5), np.uint8))
    margin = 0.25 * ink.contrast
    steps = cv2.bitwise_and(full, cv2.inRange(lowest, max(0.0, ink.surface - margin), ink.surface + margin))
    if cv2.countNonZero(steps) < 2 * settings.letter_px[0]:
        return None
    return cv2.dilate(steps, np.ones((9, 9), np.uint8))


def _spots(
    ink: _Ink, full: NDArray[np.uint8], near_step: NDArray[np.uint8], settings: ArtefactSettings
) -> Iterator[_Spot]:
    """Yield the patches of ink whose size, solidity and edges are those of a bar or a letter."""
    half = cv2.bitwise_and(cv2.compare(ink.level, ink.surface + 0.5 * ink.contrast, cv2.CMP_GE), near_step)
    outlines = _outlines(half, ink.level)
    low, high = settings.letter_px
    has_step = np.abs(outlines.step / ink.contrast - 1) <= 0.35  # a first, cheap sieve; `_edge_and_rim` is exact
    height, width = outlines.height, outlines.width
    can_letter = has_step & (height >= low) & (height <= high) & (width <= 2 * high)
    can_bar = outlines.could_be_bar(settings.bar_px) & (outlines.step >= 0.4 * ink.contrast)
    if np.count_nonzero(can_letter) > settings.n_candidates_max:
        can_letter &= outlines.near_border(half.shape)
    can_letter = outlines.with_neighbour(can_letter, can_bar)
    if np.count_nonzero(can_letter) > settings.n_candidates_max:
        can_letter[:] = False
    for i in np.flatnonzero(can_letter | can_bar):
        if not (can_letter[i] or outlines.has_straight_edge(int(i))):
            continue
        spot = _spot(ink.level, half, full, outlines, int(i), settings)
        if spot is not None and (spot.is_bar or can_letter[i]):
            yield spot


def _spot(
    level: NDArray[np.uint8],
    half: NDArray[np.uint8],
    full: NDArray[np.uint8],
    outlines: "_Outlines",
    index: int,
    settings: ArtefactSettings,
) -> _Spot | None:
    """Return one patch as bar or letter, None if its solidity or its edges are not those of ink."""
    box = outlines.box(index)
    around = box.grown(3, level.shape)
    window = np.s_[around.y0 : around.y1, around.x0 : around.x1]
    filled = np.zeros((around.height, around.width), np.uint8)
    cv2.drawContours(filled, [outlines.contours[index]], 0, 1, cv2.FILLED, offset=(-around.x0, -around.y0))
    patch = cv2.bitwise_and(filled, half[window])
    area = cv2.countNonZero(patch)
    n_full = cv2.countNonZero(cv2.bitwise_and(patch, full[window]))
    if n_full < settings.ink_solid * area:
        return None
    is_long = max(box.height, box.width) >= settings.bar_px
    n_inked = cv2.countNonZero(cv2.bitwise_and(filled, full[window]))
    is_filled = n_inked >= 0.4 * cv2.countNonZero(filled)  # a drawn outline around cells is not a box of text
    if is_long and is_filled and n_full >= 0.5 * area and _is_straight(patch, box):
        edge, _ = _edge_and_rim(level[window], filled)  # filled: a box may hold text
        is_steep = settings.bar_edge_low <= edge <= settings.ink_edge_high
        return _Spot(box, is_bar=True, rim_sd=0.0) if is_steep else None
    edge, rim_sd = _edge_and_rim(level[window], patch)
    is_steep = settings.ink_edge_low <= edge <= settings.ink_edge_high
    return _Spot(box, is_bar=False, rim_sd=rim_sd) if is_steep else None


@dataclass(frozen=True, slots=True)
class _Outlines:
    """The outer outlines of the patches of a mask, their bounding boxes, and the grey-value step along them."""

    contours: tuple[NDArray[np.int32], ...]
    y0: NDArray[np.int32]
    y1: NDArray[np.int32]
    x0: NDArray[np.int32]
    x1: NDArray[np.int32]
    n_points: NDArray[np.int64]
    step: NDArray[np.float64]

    @property
    def height(self) -> NDArray[np.int32]:
        return self.y1 - self.y0

    @property
    def width(self) -> NDArray[np.int32]:
        return self.x1 - self.x0

    def box(self, index: int) -> _Box:
        """Return the bounding box of one outline."""
        return _Box(int(self.y0[index]), int(self.y1[index]), int(self.x0[index]), int(self.x1[index]))

    def near_border(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Tell which patches lie wholly within a tenth of the field from a side."""
        rows, columns = shape
        at_ends = (self.y1 < 0.1 * rows) | (self.y0 > 0.9 * rows)
        return at_ends | (self.x1 < 0.1 * columns) | (self.x0 > 0.9 * columns)

    def could_be_bar(self, least_px: int) -> NDArray[np.bool_]:
        """Keep what is long and thin, or has an outline as long as a rectangle along the axes has."""
        long, short = np.maximum(self.height, self.width), np.minimum(self.height, self.width)
        is_thin = short <= THIN * long
        is_rectangle = np.abs(self.n_points / np.maximum(2 * (long + short) - 4, 1) - 1) <= 0.08
        return (long >= least_px) & (is_thin | is_rectangle)

    def has_straight_edge(self, index: int) -> bool:
        """Tell whether the outline follows one row or column along most of its length."""
        is_level = self.width[index] >= self.height[index]
        along = self.contours[index][:, 0, 1 if is_level else 0]
        first = self.y0[index] if is_level else self.x0[index]
        length = max(int(self.width[index]), int(self.height[index]))
        counts = np.bincount(along - first, minlength=2)
        return bool((counts[:-1] + counts[1:]).max() >= 0.8 * length)  # two lines: binning may split the edge

    def _gaps(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the gaps between boxes ``i`` (rows) and ``j`` (columns) across and along; overlap is negative."""
        i = i[:, None]
        apart_x = np.maximum(self.x0[j] - self.x1[i], self.x0[i] - self.x1[j])
        apart_y = np.maximum(self.y0[j] - self.y1[i], self.y0[i] - self.y1[j])
        return apart_x, apart_y

    def with_neighbour(self, letters: NDArray[np.bool_], bars: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Keep letters that have another letter beside them or a bar within reach: a lone spot is never text."""
        keep = np.zeros_like(letters)
        index = np.flatnonzero(letters)
        if index.size == 0:
            return keep
        height = self.height[index, None]
        j = index[None, :]
        tall, low = np.maximum(height, self.height[j]), np.minimum(height, self.height[j])
        apart_x, apart_y = self._gaps(index, j)
        is_beside = (apart_x <= 1.5 * tall) & (apart_y <= -0.7 * low) & (low >= 0.5 * tall) & (j != index[:, None])
        keep[index] = is_beside.any(axis=1)
        k = np.flatnonzero(bars)[None, :]
        apart_x, apart_y = self._gaps(index, k)
        is_near = (apart_x <= 4 * height) & (apart_y <= 4 * height) & (k != index[:, None])
        keep[index] |= is_near.any(axis=1)
        return keep


def _outlines(mask: NDArray[np.uint8], level: NDArray[np.uint8]) -> _Outlines:
    """Return the outer outlines of a mask; far cheaper than labelling when the mask is sparse."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        none = np.zeros(0, np.int32)
        return _Outlines((), none, none, none, none, none.astype(np.int64), np.zeros(0))
    sizes = np.array([len(contour) for contour in contours])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    x, y = np.concatenate(contours)[:, 0].T
    gradient = cv2.morphologyEx(level, cv2.MORPH_GRADIENT, _SQUARE_3)
    return _Outlines(
        contours=tuple(contours),
        y0=np.minimum.reduceat(y, starts),
        y1=np.maximum.reduceat(y, starts) + 1,
        x0=np.minimum.reduceat(x, starts),
        x1=np.maximum.reduceat(x, starts) + 1,
        n_points=sizes,
        step=np.add.reduceat(gradient[y, x].astype(np.float64), starts) / sizes,
    )


def _is_straight(patch: NDArray[np.uint8], box: _Box) -> bool:
    """Tell whether a patch is a line or box along the axes: two full outer sides, or one unbroken line and little else.

    ``patch`` is the patch with a margin; cells that reach this length are curved or slanted.
    """
    along = patch.sum(axis=1) if box.width >= box.height else patch.sum(axis=0)
    length, thickness = max(box.width, box.height), min(box.width, box.height)
    is_line = along >= 0.95 * length
    if thickness <= THIN * length:  # a bar, with or without ticks at its ends
        return bool(is_line.any()) and (is_line.sum() >= 0.6 * thickness or patch.sum() <= 0.4 * length * thickness)
    lines = np.flatnonzero(is_line)
    across = patch.sum(axis=0) if box.width >= box.height else patch.sum(axis=1)
    sides = np.flatnonzero(across >= 0.9 * thickness)
    spans = lines.size >= 2 and lines[-1] - lines[0] >= 0.9 * (thickness - 1)
    return bool(spans and sides.size >= 2 and sides[-1] - sides[0] >= 0.9 * (length - 1))


def _edge_and_rim(level: NDArray[np.uint8], patch: NDArray[np.uint8]) -> tuple[float, float]:
    """Return how much of a patch's contrast falls within a pixel of its outline, and the spread just outside it."""
    near = cv2.dilate(patch, _SQUARE_3)
    rim = cv2.subtract(cv2.dilate(near, _SQUARE_3), near)
    mean, sd = cv2.meanStdDev(level, mask=rim)
    contrast = cv2.minMaxLoc(level, mask=patch)[1] - float(mean[0, 0])
    if contrast <= 0:
        return 0.0, 1.0
    gradient = cv2.morphologyEx(level, cv2.MORPH_GRADIENT, _SQUARE_3)
    step = np.sort(gradient[near > patch])
    return float(step[step.size // 2]) / contrast, float(sd[0, 0]) / contrast


def _text_boxes(letters: list[_Spot], bars: list[_Box], settings: ArtefactSettings) -> list[_Box]:
    """Return lines of text: letters of like height side by side, or letters next to a bar."""
    found: list[_Box] = []
    for line in _lines(letters):
        boxes = [spot.box for spot in line]
        n_clear = sum(spot.rim_sd <= settings.ink_rim_sd for spot in line)
        hull = _hull(boxes)
        reach = 3 * max(box.height for box in boxes)
        is_labelled_bar = any(hull.grown(reach, _ANYWHERE).meets(bar) for bar in bars)
        is_alone = 3 * len(line) >= len(letters)  # not one of many such spots
        is_text = n_clear >= settings.n_letters or (is_alone and _is_even_line(boxes, settings))
        if is_text or is_labelled_bar:
            found.append(hull)
    return found


def _is_even_line(boxes: list[_Box], settings: ArtefactSettings) -> bool:
    """Tell whether letters over cells, where the rim says nothing, stand on one line and have one height."""
    if len(boxes) <= settings.n_letters:
        return False
    height = float(np.median([box.height for box in boxes]))
    foot = float(np.median([box.y1 for box in boxes]))
    n_even = sum(abs(box.y1 - foot) <= 1 + 0.08 * height and box.height >= 0.6 * height for box in boxes)
    return n_even > settings.n_letters


def _lines(letters: list[_Spot]) -> list[list[_Spot]]:
    """Group letters, left to right, whose heights and feet agree and whose gaps are at most 1.5 letter heights."""
    lines: list[list[_Spot]] = []
    for spot in sorted(letters, key=lambda s: (s.box.x0, s.box.y0)):
        for line in lines:
            if _follows(line[-1].box, spot.box):
                line.append(spot)
                break
        else:
            lines.append([spot])
    return lines


def _follows(last: _Box, box: _Box) -> bool:
    """Tell whether a box can be the next letter after another (descenders and lower case allowed)."""
    tall, low = max(last.height, box.height), min(last.height, box.height)
    gap = box.x0 - last.x1
    overlap = min(last.y1, box.y1) - max(last.y0, box.y0)
    return -0.3 * tall <= gap <= 1.5 * tall and low >= 0.5 * tall and overlap >= 0.7 * low


def _hull(boxes: list[_Box]) -> _Box:
    """Return the smallest box around some boxes."""
    return _Box(min(b.y0 for b in boxes), max(b.y1 for b in boxes), min(b.x0 for b in boxes), max(b.x1 for b in boxes))


def _coloured_boxes(picture: _Picture, settings: ArtefactSettings) -> list[_Box]:
    """Return straight bars of one grey value, neither black nor white, and the text of that value beside them."""
    spread = cv2.subtract(cv2.dilate(picture.grey, _SQUARE_3), cv2.erode(picture.grey, _SQUARE_3))
    even = cv2.compare(spread, 6.0, cv2.CMP_LE)
    apart = cv2.compare(cv2.absdiff(picture.grey, picture.usual), settings.ink_contrast * FULL_8BIT, cv2.CMP_GE)
    candidates = cv2.bitwise_and(even, apart)
    run = settings.bar_px // 2
    level = cv2.erode(candidates, np.ones((1, run), np.uint8))
    upright = cv2.erode(candidates, np.ones((run, 1), np.uint8))
    if not (cv2.countNonZero(level) or cv2.countNonZero(upright)):
        return []
    level, upright = cv2.dilate(level, np.ones((1, run), np.uint8)), cv2.dilate(upright, np.ones((run, 1), np.uint8))
    outlines = _outlines(cv2.bitwise_or(level, upright), picture.grey)
    found: list[_Box] = []
    for i in np.flatnonzero(outlines.could_be_bar(settings.bar_px))[:16]:
        inner = outlines.box(int(i))
        window = np.s_[inner.y0 : inner.y1, inner.x0 : inner.x1]
        if _is_straight((candidates[window] > 0).astype(np.uint8), inner):
            value = float(np.median(picture.grey[window]))
            found += _marks_of_value(picture, inner.grown(1, picture.shape), value, settings)
    return found


def _marks_of_value(picture: _Picture, bar: _Box, value: float, settings: ArtefactSettings) -> list[_Box]:
    """Return a bar of a known grey value and its text, if the bar's outline is a step."""
    near = bar.grown(max(60, bar.width // 2), picture.shape)
    crop = picture.grey[near.y0 : near.y1, near.x0 : near.x1]
    contrast = abs(value - picture.usual)
    distance = cv2.absdiff(crop, value).astype(np.float32)
    likeness = np.clip(FULL_8BIT * (1 - distance / max(contrast, 1.0)), 0, FULL_8BIT).astype(np.uint8)
    ink = _Ink(likeness, 0.0)
    shifted = _Box(bar.y0 - near.y0, bar.y1 - near.y0, bar.x0 - near.x0, bar.x1 - near.x0)
    full = cv2.compare(likeness, 0.9 * FULL_8BIT, cv2.CMP_GE)
    spots = list(_spots(ink, full, np.full_like(full, FULL_8BIT), settings))
    bars = [spot.box for spot in spots if spot.is_bar and spot.box.meets(shifted)]
    if not bars:
        return []
    marks = bars + _text_boxes([s for s in spots if not s.is_bar], bars, settings)
    return [_Box(b.y0 + near.y0, b.y1 + near.y0, b.x0 + near.x0, b.x1 + near.x0) for b in marks]


# ---------------------------------------------------------------------------------------------------- words
def _sentence(kind: Kind, found: NDArray[np.uint8]) -> str:
    """Return what was found, how much of the field it covers, and where."""
    percent = 100 * cv2.countNonZero(found) / found.size
    return f"{_SENTENCES[kind]} covers {max(percent, 0.1):.1f} % {_place(found)} and is left out as not judgeable."


def _place(found: NDArray[np.uint8]) -> str:
    """Return where the centre of a mask lies, in words."""
    row = _centre(found.sum(axis=1, dtype=np.float64))
    column = _centre(found.sum(axis=0, dtype=np.float64))
    vertical = "upper" if row < 1 / 3 else "lower" if row > 2 / 3 else ""
    horizontal = "left" if column < 1 / 3 else "right" if column > 2 / 3 else ""
    if found[0].any() and found[-1].any() and found[:, 0].any() and found[:, -1].any():
        return "around the field"
    if not vertical and not horizontal:
        return "in the middle"
    return f"at the {' '.join(part for part in (vertical, horizontal) if part)}" + (
        "" if vertical and horizontal else " side"
    )


def _centre(profile: NDArray[np.float64]) -> float:
    """Return the centre of mass of a profile as a share of its length."""
    return float((np.arange(profile.size) + 0.5) @ profile / profile.sum() / profile.size)
