"""Small pictures for a page: the field as people know it, with outlines and dimmed areas as a layer of its own."""

import base64
import io
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError

Value = TypeVar("Value", np.bool_, np.uint8)

JPEG_QUALITIES = (82, 70, 55, 40)
STRETCH_PERCENTILES = (0.3, 99.7)
SMALLEST_PX = 120
SCALE_BAR_SHARE = 0.28  # of the width, at most

# Colours that stay apart with every common colour-vision deficiency; the dark casing keeps them legible on white halos.
CLEAR, CASING, FOUND, TRUTH, BOTH, VEIL, HATCH, AGGREGATE = range(8)
PALETTE = {
    CLEAR: (0, 0, 0, 0),
    CASING: (0, 0, 0, 130),
    FOUND: (255, 222, 0, 255),
    TRUTH: (0, 200, 255, 255),
    BOTH: (255, 255, 255, 255),
    VEIL: (20, 24, 40, 120),
    HATCH: (255, 255, 255, 150),
    AGGREGATE: (64, 176, 255, 255),
}


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """A round length and how many picture pixels it takes."""

    length_um: float
    length_px: float

    @property
    def text(self) -> str:
        """Length with its unit."""
        return f"{self.length_um / 1000:g} mm" if self.length_um >= 1000 else f"{self.length_um:g} µm"


@dataclass(frozen=True, slots=True)
class Picture:
    """A field for a page: ``image`` and ``overlay`` are data URIs of the same size in pixels.

    ``strokes`` are lines over it, as the data of an SVG path in its pixels.
    """

    image: str
    overlay: str | None
    height: int
    width: int
    scale_bar: ScaleBar | None = None
    strokes: str | None = None

    @property
    def n_bytes(self) -> int:
        """Length of what the page has to carry."""
        return len(self.image) + len(self.overlay or "") + len(self.strokes or "")


def make_picture(
    gray: NDArray[np.generic],
    *,
    overlay: NDArray[np.uint8] | None = None,
    pixel_size_um: float | None = None,
    budget_bytes: int = 120_000,
) -> Picture:
    """Encode a small grey image, and an overlay of palette values, for a page.

    Parameters
    ----------
    gray : (Y, X) array
        Already at the size it is shown at.
    overlay : (Y, X) uint8 array, optional
        Values of `PALETTE`.
    pixel_size_um : float, optional
        Of the small image; a scale bar is drawn only when it is known.
    budget_bytes : int
        Quality goes down, then the size, until the picture with its overlay fits.

    Raises
    ------
    InvalidArgumentError
        If image and overlay differ in size.
    """
    if overlay is not None and overlay.shape != gray.shape:
        raise InvalidArgumentError(f"The overlay is {overlay.shape}, the picture {gray.shape}.")
    shown = stretch(gray)
    cover = None if overlay is None else _data_uri("image/png", _palette_png(overlay))
    room = budget_bytes - len(cover or "")
    encoded = next((e for e in (_jpeg(shown, quality) for quality in JPEG_QUALITIES) if len(e) * 4 / 3 <= room), None)
    if encoded is None and min(gray.shape) > SMALLEST_PX:
        half = shown_shape((gray.shape[0], gray.shape[1]), max(gray.shape) // 2)
        return make_picture(
            cv2.resize(shown, (half[1], half[0]), interpolation=cv2.INTER_AREA),
            overlay=None if overlay is None else fit(overlay, half),
            pixel_size_um=None if pixel_size_um is None else pixel_size_um * gray.shape[1] / half[1],
            budget_bytes=budget_bytes,
        )
    return Picture(
        image=_data_uri("image/jpeg", _jpeg(shown, JPEG_QUALITIES[-1]) if encoded is None else encoded),
        overlay=cover,
        height=gray.shape[0],
        width=gray.shape[1],
        scale_bar=None if pixel_size_um is None else scale_bar(gray.shape[1], pixel_size_um),
    )


def stretch(gray: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Spread the grey values between two percentiles over 0 to 255; a constant image becomes mid-grey."""
    values = gray.astype(np.float32)
    low, high = np.percentile(values, STRETCH_PERCENTILES)
    if high <= low:
        return np.full(gray.shape, 128, np.uint8)
    return np.clip((values - low) * (255 / (high - low)), 0, 255).astype(np.uint8)


def fit(mask: NDArray[Value], shape: tuple[int, int]) -> NDArray[Value]:
    """Bring a mask or an overlay to another shape, nearest value."""
    if mask.shape == shape:
        return mask
    rows = (np.arange(shape[0]) + 0.5) * mask.shape[0] / shape[0]
    cols = (np.arange(shape[1]) + 0.5) * mask.shape[1] / shape[1]
    picked: NDArray[Value] = mask[rows.astype(int)][:, cols.astype(int)]
    return picked


def shown_shape(shape: tuple[int, int], longest_px: int) -> tuple[int, int]:
    """Return the shape at which an image is shown: its longer side at most ``longest_px``, never enlarged."""
    scale = min(1.0, longest_px / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the rim of a mask, two pixels wide and inside it; the picture's own edge is no rim."""
    inside = cv2.erode(
        mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=2, borderType=cv2.BORDER_CONSTANT, borderValue=1
    )
    return mask & (inside == 0)


def found_overlay(
    foreground: NDArray[np.bool_],
    judgeable: NDArray[np.bool_] | None = None,
    aggregates: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Return the overlay of a scored field: outlines of what was found, a hatched veil where nothing was judged.

    Aggregates have a colour of their own; outlines of cells within them are left out.
    """
    overlay = np.full(foreground.shape, CLEAR, np.uint8)
    piled = np.zeros_like(foreground) if aggregates is None else aggregates
    _draw(overlay, outline(foreground) & ~piled, FOUND)
    _draw(overlay, outline(piled), AGGREGATE)
    if judgeable is not None:
        _hatch(overlay, ~judgeable)
    return overlay


def compared_overlay(
    found: NDArray[np.bool_], truth: NDArray[np.bool_], judged: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Return the overlay of a comparison: found in one colour, truth in another, where both agree in white."""
    overlay = np.full(found.shape, CLEAR, np.uint8)
    rim_found, rim_truth = outline(found), outline(truth)
    _draw(overlay, rim_found | rim_truth, FOUND)
    overlay[rim_truth] = TRUTH
    overlay[rim_found & rim_truth] = BOTH
    if judged is not None:
        _hatch(overlay, ~judged)
    return overlay


def _draw(overlay: NDArray[np.uint8], rim: NDArray[np.bool_], colour: int) -> None:
    """Put a rim with a dark casing on the overlay."""
    casing = cv2.dilate(rim.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    overlay[casing] = CASING
    overlay[rim] = colour


def _hatch(overlay: NDArray[np.uint8], area: NDArray[np.bool_]) -> None:
    """Veil an area and hatch it."""
    diagonal = np.add.outer(np.arange(overlay.shape[0]), np.arange(overlay.shape[1]))
    overlay[area] = VEIL
    overlay[area & (diagonal % 12 < 2)] = HATCH


def scale_bar(width_px: int, pixel_size_um: float) -> ScaleBar | None:
    """Return the longest round (1, 2, 5) bar that takes at most about a quarter of the width."""
    longest = width_px * pixel_size_um * SCALE_BAR_SHARE
    lengths = [step * 10.0**power for power in range(-1, 5) for step in (1, 2, 5)]
    fitting = [length for length in lengths if length <= longest]
    return ScaleBar(fitting[-1], fitting[-1] / pixel_size_um) if fitting else None


def _jpeg(gray: NDArray[np.uint8], quality: int) -> bytes:
    is_written, encoded = cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not is_written:
        raise InvalidArgumentError(f"A picture of {gray.shape} could not be encoded as JPEG.")
    return encoded.tobytes()


def _palette_png(overlay: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    picture = Image.fromarray(overlay, mode="P")
    picture.putpalette([channel for value in sorted(PALETTE) for channel in PALETTE[value][:3]])
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True, transparency=bytes(PALETTE[value][3] for value in sorted(PALETTE)))
    return out.getvalue()


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
