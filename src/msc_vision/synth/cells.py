"""Single cells: how each differs from its neighbours, and how thick it is where."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.culture import CellKind, FloatArray
from msc_vision.synth.settings import FieldSettings
from msc_vision.synth.shapes import Corners, draw_outlines
from msc_vision.synth.surface import Box, Pixels

_BATCH = 12  # outlines of one kind made at a time
_TILE = 256  # side of the texture tiles, which repeat


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell around its nucleus; lengths in µm, phases in radians.

    Attributes
    ----------
    outline : (n, 2) float array
        (x, y), the long axis along x.
    phase : float
        Of the body.
    edge_um : float
        Distance over which the rim rises to the interior.
    veil : float
        Phase of the cytoplasm far from the nucleus, over that of the body.
    sigma_um : (float, float)
        Extent of the thick middle along and across.
    texture : float
        Unevenness over the phase.
    streaks : float
        Stress fibres over the phase.
    nucleus : float
        Phase of the nucleus against the body around it.
    nucleoli : int
        Dots in the nucleus.
    ruffle : float
        Phase of folds along the rim, over the phase.
    dome : float
        0: flat like a leaf; 1: thickest where it is widest.
    granularity : float
        0 to 1.
    """

    kind: CellKind
    outline: Corners
    phase: float
    edge_um: float
    veil: float
    sigma_um: tuple[float, float]
    texture: float
    streaks: float
    nucleus: float
    nucleoli: int
    ruffle: float
    dome: float
    granularity: float

    def corners_px(self, y: float, x: float, angle: float, pixel_size_um: float) -> Corners:
        """Return the outline at a place of the field, as (x, y) in pixels."""
        cosine, sine = math.cos(angle) / pixel_size_um, math.sin(angle) / pixel_size_um
        return self.outline @ np.array([[cosine, sine], [-sine, cosine]]) + np.array([x, y])


class CellSource:
    """Draws one cell after another in the proportions of the settings."""

    def __init__(self, settings: FieldSettings, rng: np.random.Generator) -> None:
        shares = settings.cells.shares.model_dump()
        self._settings = settings
        self._rng = rng
        self._kinds = [CellKind[name.upper()] for name in shares]
        weights = np.array(list(shares.values()))
        self._chances = np.cumsum(weights / weights.sum())
        self._waiting: dict[CellKind, list[Cell]] = {kind: [] for kind in self._kinds}

    def next(self, kind: CellKind | None = None) -> Cell:
        """Return one more cell, of this kind or of any."""
        if kind is None:
            pick = int(np.searchsorted(self._chances, self._rng.random(), side="right"))
            kind = self._kinds[min(pick, len(self._kinds) - 1)]
        if not self._waiting[kind]:
            self._waiting[kind] = self._batch(kind)
        return self._waiting[kind].pop()

    def _batch(self, kind: CellKind) -> list[Cell]:
        cells, rng = self._settings.cells, self._rng
        median = self._median_area(kind)
        field_um2 = self._settings.height_px * self._settings.width_px * self._settings.pixel_size_um**2
        n = int(min(max(0.02 * field_um2 / median, _BATCH), 5 * _BATCH))  # few per batch: all have as many tips
        areas = median * np.exp(rng.normal(0.0, cells.area_spread, n).clip(-2.5, 2.5))
        outlines = draw_outlines(kind, areas, cells, rng)
        return [
            make_cell(kind, outline, area, self._settings, rng) for outline, area in zip(outlines, areas, strict=True)
        ]

    def _median_area(self, kind: CellKind) -> float:
        cells = self._settings.cells
        if kind == CellKind.ROUNDED:
            return math.pi / 4 * cells.rounded_diameter_um**2
        fullness = min(max((self._settings.confluency_percent - 40.0) / 60.0, 0.0), 1.0)
        area = cells.flattened_area_um2 if kind == CellKind.FLATTENED else cells.area_um2
        return area * (1 - cells.contact * fullness)


def make_cell(
    kind: CellKind, outline: Corners, area_um2: float, settings: FieldSettings, rng: np.random.Generator
) -> Cell:
    """Return a cell of an outline, its optical thickness drawn at random."""
    cells = settings.cells
    width = math.sqrt(area_um2)
    normal = rng.normal(0.0, 1.0, 3).clip(-2.2, 2.2)
    uniform = rng.random(8)
    phase = 1.3 * cells.phase * math.exp(cells.phase_spread * normal[0])  # at its thickest
    edge = cells.edge_um * math.exp(0.5 * normal[1])
    texture = cells.texture * math.exp(0.45 * normal[2])
    along, across = (0.42, 0.20) if kind == CellKind.SPINDLE else (0.30, 0.24)
    veil, streaks, ruffle, nucleus = 0.15 + 0.5 * uniform[0], 0.0, 0.0, -0.3 + 0.7 * uniform[1]
    dome, nucleoli = uniform[6], int(1 + 2 * uniform[7])
    if kind == CellKind.FLATTENED:
        phase *= cells.flattened_phase
        texture *= 1.5
        edge *= 0.5
        dome *= 0.3
        veil, streaks, ruffle = 0.45 + 0.45 * uniform[0], 0.25 * uniform[2] ** 3, 1.2 * uniform[3] ** 2
    elif kind == CellKind.ROUNDED:
        phase, edge, texture = 3.2 + 2.8 * uniform[2], 0.5 * width, 0.3 * texture
        veil, nucleus = 1.0, 0.0
    elif uniform[4] < 0.5:
        ruffle = 1.2 * uniform[3]
    granularity = 0.25 if kind == CellKind.ROUNDED else 0.06 + 0.6 * uniform[5] ** 2
    return Cell(
        kind=kind,
        outline=outline,
        phase=phase,
        edge_um=edge,
        veil=veil,
        sigma_um=(along * width, across * width),
        texture=texture,
        streaks=streaks,
        nucleus=nucleus,
        nucleoli=nucleoli,
        ruffle=ruffle,
        dome=dome,
        granularity=granularity,
    )


@dataclass(frozen=True, slots=True)
class Textures:
    """Repeating patterns that the cytoplasm of all cells is cut from, at random places.

    Attributes
    ----------
    grain : (256, 256) float32 array
        Fine and coarse unevenness, unit standard deviation.
    folds : (256, 256) float32 array
        Slow noise, 0 to about 2.
    """

    grain: FloatArray
    folds: FloatArray


def cut(pattern: FloatArray, pixels: Pixels, shift: int) -> FloatArray:
    """Return a repeating pattern at some pixels, moved by `shift` of its 256 x 256 pixels."""
    place = ((pixels.rows + (shift >> 8)) & (_TILE - 1)) * _TILE
    place += (pixels.columns + shift) & (_TILE - 1)
    return pattern.ravel()[place]


def repeated(pattern: FloatArray, shape: tuple[int, int], shift: int) -> FloatArray:
    """Return a repeating pattern over a whole area, moved by `shift` of its 256 x 256 pixels."""
    start_y, start_x = shift >> 8, shift % _TILE
    repeats = -(-(shape[0] + start_y) // _TILE), -(-(shape[1] + start_x) // _TILE)
    return np.tile(pattern, repeats)[start_y : start_y + shape[0], start_x : start_x + shape[1]]


def draw_textures(pixel_size_um: float, rng: np.random.Generator) -> Textures:
    """Draw the patterns of a field."""
    fine = _wrapped_noise(0.8 / pixel_size_um, rng)
    coarse = _wrapped_noise(2.6 / pixel_size_um, rng)
    slow = _wrapped_noise(4.5 / pixel_size_um, rng)
    grain = np.float32(0.65) * fine + np.float32(0.75) * coarse
    return Textures(grain, np.maximum(slow + np.float32(0.4), np.float32(0)))


def _wrapped_noise(sigma_px: float, rng: np.random.Generator) -> FloatArray:
    noise = rng.standard_normal((_TILE, _TILE), dtype=np.float32)
    reach = min(math.ceil(3 * sigma_px) + 1, _TILE // 2)
    padded = cv2.copyMakeBorder(noise, reach, reach, reach, reach, cv2.BORDER_WRAP)
    if sigma_px > 0.3:
        padded = cv2.GaussianBlur(padded, (0, 0), sigma_px).astype(np.float32, copy=False)
    inner = padded[reach : reach + _TILE, reach : reach + _TILE]
    return (inner / np.float32(max(float(inner.std()), 1e-6))).astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class Relief:
    """What one cell adds to the field at each of its pixels; all (n,) float32 arrays."""

    phase: FloatArray
    granularity: FloatArray
    absorption: FloatArray | None


def relief(
    cell: Cell,
    box: Box,
    pixels: Pixels,
    place: tuple[float, float, float],
    pixel_size_um: float,
    textures: Textures,
    rng: np.random.Generator,
) -> Relief:
    """Return the thickness of one cell.

    Parameters
    ----------
    cell : Cell
        What it is.
    box, pixels : Box, Pixels
        Where on the field.
    place : (float, float, float)
        Of the nucleus: y and x in pixels, and the angle of the long axis.
    pixel_size_um : float
        Micrometres.
    textures : Textures
        Patterns of the field.
    rng : numpy.random.Generator
        Where the patterns are cut, where droplets lie.
    """
    if cell.kind == CellKind.ROUNDED:
        return _ball(cell, box, pixels, pixel_size_um)
    depth_um = cv2.distanceTransform(box.mask, cv2.DIST_L2, cv2.DIST_MASK_3).ravel()[pixels.inner]
    np.minimum(depth_um, np.float32(1e4), out=depth_um)  # a mask that fills its box has no rim: huge figures
    depth_um *= np.float32(pixel_size_um)
    spread = _elliptic(pixels, place, cell.sigma_um, pixel_size_um)
    middle = np.exp(np.float32(-0.5) * spread)
    level = np.float32(cell.veil) + np.float32(1 - cell.veil) * middle
    level *= np.float32(1 - cell.dome) + depth_um * np.float32(cell.dome / max(float(depth_um.max()), 1e-6))
    _add_nucleus(level, cell, pixels, spread, place, pixel_size_um, rng)
    shifts = rng.integers(0, _TILE * _TILE, 2).tolist()
    level *= 1 + np.float32(cell.texture) * cut(textures.grain, pixels, shifts[0])
    if cell.streaks > 0.05:
        level *= 1 + np.float32(cell.streaks) * _streaks(box, place[2], pixel_size_um, rng).ravel()[pixels.inner]
    if cell.ruffle > 0.05:
        folds = cut(textures.folds, pixels, shifts[1])
        level += np.float32(cell.ruffle) * folds * np.exp(np.float32(-0.35) * depth_um)
    rim = 1 - np.exp(depth_um * np.float32(-1 / cell.edge_um))
    phase = np.float32(cell.phase) * rim * np.maximum(level, np.float32(0.05))
    granules = np.float32(cell.granularity) * middle
    if cell.kind == CellKind.LIPID:
        droplets = _droplets(box, place, cell, pixel_size_um, rng).ravel()[pixels.inner]
        return Relief(phase + np.float32(0.9) * droplets, granules, np.float32(0.25) * droplets)
    return Relief(phase, granules, None)


def _elliptic(
    pixels: Pixels, place: tuple[float, float, float], sigma_um: tuple[float, float], pixel_size_um: float
) -> FloatArray:
    """Return the squared distance from a place in units of an ellipse's two radii."""
    y = (pixels.rows - place[0]).astype(np.float32)
    x = (pixels.columns - place[1]).astype(np.float32)
    cosine, sine = math.cos(place[2]), math.sin(place[2])
    a, b = pixel_size_um / sigma_um[0], pixel_size_um / sigma_um[1]
    along = np.float32(a * cosine) * x + np.float32(a * sine) * y
    across = np.float32(-b * sine) * x + np.float32(b * cosine) * y
    return along * along + across * across


def _add_nucleus(
    level: FloatArray,
    cell: Cell,
    pixels: Pixels,
    spread: FloatArray,
    place: tuple[float, float, float],
    pixel_size_um: float,
    rng: np.random.Generator,
) -> None:
    """Add an oval of its own thickness with a fine rim, and its nucleoli, in place."""
    radius_um = min(6.5, 0.75 * cell.sigma_um[1])
    scale = (cell.sigma_um[1] / radius_um) ** 2
    near = (spread < np.float32(2.2 / scale)).nonzero()[0]
    distance = spread[near] * np.float32(scale)  # squared, 1 on the rim
    inside = 1 / (1 + np.exp((distance - 1) * np.float32(8)))
    rim = np.exp(-((distance - 1) ** 2) * np.float32(20))
    added = np.float32(cell.nucleus) * inside + np.float32(0.12) * rim
    y, x = pixels.rows[near] - np.float32(place[0]), pixels.columns[near] - np.float32(place[1])
    at = rng.uniform(-0.45, 0.45, (cell.nucleoli, 2)) * (radius_um / pixel_size_um)
    sharp = (pixel_size_um / max(0.22 * radius_um, pixel_size_um)) ** 2
    for off_y, off_x in at.astype(np.float32):
        added += np.float32(0.45) * np.exp(((y - off_y) ** 2 + (x - off_x) ** 2) * np.float32(-sharp))
    level[near] += added


def _ball(cell: Cell, box: Box, pixels: Pixels, pixel_size_um: float) -> Relief:
    """Return the thickness of a round cell, from precise distances: a rough metric would give it corners."""
    depth = cv2.distanceTransform(box.mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).ravel()[pixels.inner]
    height = np.minimum(depth * np.float32(pixel_size_um / cell.edge_um), np.float32(1))
    phase = np.float32(cell.phase) * np.sqrt(height * (2 - height))
    return Relief(phase, np.full(phase.size, cell.granularity, np.float32), None)


def _streaks(box: Box, angle: float, pixel_size_um: float, rng: np.random.Generator) -> FloatArray:
    """Return noise drawn out along an angle, as stress fibres are."""
    height, width = box.mask.shape
    side = math.ceil(math.hypot(height, width)) + 2
    noise = rng.standard_normal((math.ceil(side * pixel_size_um / 1.6) + 2, max(4, side // 24)), dtype=np.float32)
    turn = angle + float(rng.normal(0.0, 0.2))
    cosine, sine = math.cos(turn), math.sin(turn)
    # from pixels of the box to the noise: finely across the fibres, coarsely along them
    fine, coarse = pixel_size_um / 1.6, noise.shape[1] / side
    across = np.array([-sine, cosine]) * fine
    along = np.array([cosine, sine]) * coarse
    middle = np.array([width / 2, height / 2])
    matrix = np.array(
        [
            [*along, noise.shape[1] / 2 - along @ middle],
            [*across, noise.shape[0] / 2 - across @ middle],
        ]
    )
    return cv2.warpAffine(
        noise, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT
    )


def _droplets(
    box: Box, place: tuple[float, float, float], cell: Cell, pixel_size_um: float, rng: np.random.Generator
) -> FloatArray:
    """Return fat droplets of 1 to 5 µm around the nucleus, each a dome of height about 1."""
    target = np.zeros(box.mask.shape, np.uint8)
    n = int(rng.integers(15, 90))
    largest = float(rng.uniform(1.2, 4.5))
    reach = 1.3 * max(cell.sigma_um)
    offset = rng.normal(0.0, reach, (n, 2)) / pixel_size_um
    radius = (rng.power(0.6, n) * largest).clip(0.6, 6.0) / pixel_size_um
    centre = np.array([place[1] - box.x0, place[0] - box.y0]) + offset
    fixed, radii = np.rint(centre * 16).astype(int).tolist(), np.rint(radius * 16).astype(int).tolist()
    for (x, y), size in zip(fixed, radii, strict=True):
        cv2.circle(target, (x, y), size, 1, -1, shift=4)
    target &= box.mask
    depth = cv2.distanceTransform(target, cv2.DIST_L2, cv2.DIST_MASK_3) * np.float32(pixel_size_um)
    return np.minimum(np.sqrt(depth / np.float32(1.5)), np.float32(1.5))


def unit_disc(n: int) -> NDArray[np.float64]:
    """Return corners of a circle of radius 1, as (x, y)."""
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)
