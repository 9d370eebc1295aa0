"""The fields of a layer as one picture, each where the stage stood. No Qt and no napari here."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from msc_vision.io.images import open_image
from msc_vision.records import PlaneChoice
from msc_vision.report.pictures import shown_shape, stretch
from msc_vision.review.state import ReviewState
from msc_vision.statistics.rollup import ScoredField
from napari_msc_vision.marks import Colour, Mark, field_mark, field_name, figure_words

RGB = NDArray[np.uint8]
Found = NDArray[np.uint8] | str
"""Of a tile: its thumbnail, or why there is none."""
Originals = Mapping[str, ScoredField]

TILE_PX = 256
GAP_PX = 24
MOST_TILES_ACROSS = 14
"""A layer whose fields lie further apart than that, for their size on the screen, is shown as a grid."""
BORDER_PX = 6
GROUND: Colour = (24, 27, 33)
EMPTY: Colour = (44, 49, 58)
HATCH: Colour = (92, 98, 110)
INK: Colour = (240, 242, 245)


@dataclass(frozen=True, slots=True)
class Tile:
    """One field in the mosaic.

    Attributes
    ----------
    key : str
    y, x : int
        Of its upper left corner in the mosaic, pixels.
    caption : str
        Its name and its figure.
    mark : Mark
        How its review stands.
    reason : str or None
        Why it has no figure; such a tile is hatched.
    """

    key: str
    y: int
    x: int
    caption: str
    mark: Mark
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Where the fields of a layer stand.

    Attributes
    ----------
    tiles : tuple of Tile
    shape : (int, int)
        Of the whole picture, pixels.
    note : str
        What a reader has to know of the places, in one sentence.
    """

    tiles: tuple[Tile, ...]
    shape: tuple[int, int]
    note: str

    def tile_at(self, y: float, x: float) -> Tile | None:
        """Return the tile at a place of the picture, None between tiles."""
        return next((t for t in self.tiles if t.y <= y < t.y + TILE_PX and t.x <= x < t.x + TILE_PX), None)


def plan_mosaic(
    fields: Sequence[ScoredField], state: ReviewState, aspect: float = 1.0, original: Originals | None = None
) -> Mosaic:
    """Return where each field of one layer stands.

    Fields are much smaller than their layer: they are drawn larger than they are, around their stage positions.
    Without a position for every field, or where places lie too unevenly, they stand in a grid in their order.

    Parameters
    ----------
    fields : sequence of ScoredField
    state : ReviewState
    aspect : float
        Height over width of the whole picture; the fields stand in its middle.
    original : mapping of str to ScoredField, optional
        As the run found them, by key.
    """
    if not fields:
        shape = _framed((TILE_PX, TILE_PX), aspect)
        return Mosaic((), shape, "No field of this layer was imaged at the latest time point.")
    corners, note = _stage_corners(fields)
    if corners is None:
        corners = _grid_corners(len(fields))
    at = corners - corners.min(axis=0) + GAP_PX
    height, width = (int(n) + TILE_PX + GAP_PX for n in at.max(axis=0))
    shape = _framed((height, width), aspect)
    at += (np.array(shape) - (height, width)) // 2
    tiles = tuple(
        _tile(one, (original or {}).get(one.score.key), state, int(y), int(x))
        for one, (y, x) in zip(fields, at, strict=True)
    )
    return Mosaic(tiles, shape, note)


def _framed(shape: tuple[int, int], aspect: float) -> tuple[int, int]:
    """Return the smallest shape of this aspect that holds another one."""
    height, width = shape
    return max(height, round(width * aspect)), max(width, round(height / aspect))


def _tile(field: ScoredField, original: ScoredField | None, state: ReviewState, y: int, x: int) -> Tile:
    score = field.score
    is_left_out = original is not None and original.score.status == "scored"
    reason = None
    if score.status != "scored" and not is_left_out:
        reason = " ".join((score.reason or "no reason was recorded").split())
    caption = f"{field_name(field)}   {figure_words(field, original)}"
    return Tile(score.key, y, x, caption, field_mark(state.of(score.key)), reason)


def _stage_corners(fields: Sequence[ScoredField]) -> tuple[NDArray[np.int_] | None, str]:
    """Return the upper left corners of the tiles by stage position, or None, and what to say of it."""
    n_unknown = sum(one.row.y_um is None or one.row.x_um is None for one in fields)
    if n_unknown:
        which = "The manifest states no" if n_unknown == len(fields) else f"{n_unknown} of {len(fields)} fields have no"
        return None, f"{which} stage positions: the fields stand in a grid, in the order of the manifest."
    places_um = np.array([(one.row.y_um, one.row.x_um) for one in fields], float)
    nearest_um = _nearest_um(places_um)
    across_um = float(np.ptp(places_um, axis=0).max())
    if nearest_um <= 0 or across_um / nearest_um > MOST_TILES_ACROSS:
        return (
            None,
            "The fields lie too unevenly to be drawn in place: they stand in a grid, in the order of the manifest.",
        )
    corners = np.rint(places_um / nearest_um * (TILE_PX + GAP_PX)).astype(int)
    return corners, f"Fields stand where the stage stood, drawn {_enlarged_words(fields, nearest_um)}."


def _nearest_um(places_um: NDArray[np.float64]) -> float:
    """Return how far apart the two nearest places are, along the axis on which they are further apart."""
    if len(places_um) == 1:
        return 1.0
    apart = np.abs(places_um[:, None, :] - places_um[None, :, :]).max(axis=2)
    return float(apart[~np.eye(len(places_um), dtype=bool)].min())


def _enlarged_words(fields: Sequence[ScoredField], nearest_um: float) -> str:
    sides = [
        max(one.score.height_px, one.score.width_px) * one.score.pixel_size_um
        for one in fields
        if one.score.pixel_size_um and one.score.height_px and one.score.width_px
    ]
    if not sides or len(fields) == 1:
        return "larger than they are" if len(fields) > 1 else "by itself"
    factor = nearest_um * TILE_PX / (TILE_PX + GAP_PX) / max(sides)
    return f"{factor:.0f} times larger than they are" if factor >= 1.5 else "nearly to scale"


def _grid_corners(n: int) -> NDArray[np.int_]:
    n_across = int(np.ceil(np.sqrt(n)))
    return np.array([divmod(i, n_across) for i in range(n)], int) * (TILE_PX + GAP_PX)


# --- drawing ---------------------------------------------------------------------------------------------------------


def thumbnail(path: Path, plane: PlaneChoice, longest_px: int = TILE_PX) -> NDArray[np.uint8]:
    """Return a small grey picture of an image file, its grey values spread.

    Raises
    ------
    InvalidDataError
        If it is missing or cannot be read.
    """
    with open_image(path, plane) as image:
        pixels = image.read()
    height, width = shown_shape((pixels.shape[0], pixels.shape[1]), longest_px)
    return stretch(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))


def draw_mosaic(mosaic: Mosaic, found: Mapping[str, Found]) -> RGB:
    """Return the whole mosaic; tiles of which nothing was found yet are empty, ``found`` is by key."""
    canvas = np.empty((*mosaic.shape, 3), np.uint8)
    canvas[:] = GROUND
    for tile in mosaic.tiles:
        paste(canvas, tile, found.get(tile.key))
    return canvas


def paste(canvas: RGB, tile: Tile, found: Found | None) -> None:
    """Draw a tile in its place: with its picture, with why there is none, or with neither (yet)."""
    drawn = draw_tile(tile, None, found) if isinstance(found, str) else draw_tile(tile, found)
    canvas[tile.y : tile.y + TILE_PX, tile.x : tile.x + TILE_PX] = drawn


def draw_tile(tile: Tile, picture: NDArray[np.uint8] | None, trouble: str | None = None) -> RGB:
    """Return a tile: its picture, its caption, and its border and letter by how its review stands.

    Parameters
    ----------
    tile : Tile
    picture : (Y, X) uint8 array or None
        At most 256 pixels a side; None: not there (yet).
    trouble : str, optional
        Why there is no picture.
    """
    face = np.empty((TILE_PX, TILE_PX, 3), np.uint8)
    face[:] = EMPTY
    reason = trouble or tile.reason
    if picture is not None:
        height, width = picture.shape
        y, x = (TILE_PX - height) // 2, (TILE_PX - width) // 2
        face[y : y + height, x : x + width] = picture[..., None]
    if reason is not None:
        _hatch(face)
    image = Image.fromarray(face)
    pen = ImageDraw.Draw(image, "RGBA")
    if reason is not None:
        _write_reason(pen, reason)
    _border(pen, tile.mark)
    _captions(pen, tile)
    return np.asarray(image)


def _hatch(face: RGB) -> None:
    """Draw slanting lines over a face, every 16 pixels."""
    rows, columns = np.indices(face.shape[:2])
    face[(rows + columns) % 16 < 2] = HATCH


def _font(size_px: float) -> Any:
    return ImageFont.load_default(size_px)


def _write_reason(pen: ImageDraw.ImageDraw, reason: str) -> None:
    lines = textwrap.wrap(reason, 26)
    shown = [*lines[:5], "…"] if len(lines) > 6 else lines
    pen.rectangle((14, 60, TILE_PX - 15, 68 + 22 * len(shown)), fill=(*GROUND, 220))
    pen.multiline_text((22, 63), "\n".join(shown), fill=INK, font=_font(17), spacing=3)


def _captions(pen: ImageDraw.ImageDraw, tile: Tile) -> None:
    pen.rectangle((BORDER_PX, TILE_PX - 36, TILE_PX - BORDER_PX - 1, TILE_PX - BORDER_PX - 1), fill=(*GROUND, 200))
    pen.text((14, TILE_PX - 34), tile.caption, fill=INK, font=_font(20))
    if tile.mark.line == "thin" and tile.mark.letter == "·":
        return
    words = f"{tile.mark.letter}  {tile.mark.word}"
    width = pen.textlength(words, font=_font(18))
    pen.rectangle((BORDER_PX, BORDER_PX, 24 + width, 36), fill=(*tile.mark.colour, 255))
    pen.text((14, 9), words, fill=_ink_on(tile.mark.colour), font=_font(18))


def _ink_on(colour: Colour) -> Colour:
    red, green, blue = colour
    return GROUND if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else INK


_DASHES: Mapping[str, tuple[int, int]] = {"dashed": (22, 10), "dotted": (6, 8)}


def _border(pen: ImageDraw.ImageDraw, mark: Mark) -> None:
    thick = 2 if mark.line == "thin" else BORDER_PX
    end = TILE_PX - 1
    for begin, stop in _strokes(mark):
        pen.rectangle((begin, 0, stop, thick - 1), fill=mark.colour)
        pen.rectangle((begin, end - thick + 1, stop, end), fill=mark.colour)
        pen.rectangle((0, begin, thick - 1, stop), fill=mark.colour)
        pen.rectangle((end - thick + 1, begin, end, stop), fill=mark.colour)


def _strokes(mark: Mark) -> Iterator[tuple[int, int]]:
    """Yield where the strokes of one side begin and stop."""
    long, gap = _DASHES.get(mark.line, (TILE_PX, 0))
    for begin in range(0, TILE_PX, long + gap):
        yield begin, min(begin + long, TILE_PX) - 1
