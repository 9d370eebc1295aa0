"""Where cells lie and how thick they are: spindles and stars laid down until a field is as covered as wanted.

Outlines are polygons on a 1/16 pixel grid, so a field depends on the seed and not on the machine.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.culture import Culture, FloatArray
from msc_vision.synth.culture_settings import CellSettings
from msc_vision.synth.settings import FieldSettings

_SHIFT = 4  # bits of sub-pixel precision of polygon corners
_PLACES = 3  # places tried per cell; the one with the least overlap is taken
_MISSES = 60  # cells in a row that found no room: what is wanted beyond is grown
_FILL = 0.57  # area of a spindle outline over length x width
_ORIENTATION_UM = 220.0  # distance over which neighbours share one direction
_CLUMP_UM = 110.0  # distance over which cells crowd together and leave gaps

Corners = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Cell:
    """One cell around its own centre, in µm: its outlines (a body and processes) and its thickness."""

    outlines: tuple[Corners, ...]
    phase: float
    granularity: float
    is_rounded: bool

    def rotated(self, angle: float) -> tuple[Corners, ...]:
        cosine, sine = math.cos(angle), math.sin(angle)
        return tuple(outline @ np.array([[cosine, sine], [-sine, cosine]]) for outline in self.outlines)


@dataclass(frozen=True, slots=True)
class _Patch:
    """A cell drawn into the part of the field that it touches; ``mask`` is 0 or 1."""

    rows: slice
    columns: slice
    mask: NDArray[np.uint8]
    centre: tuple[float, float]


def grow_culture(settings: FieldSettings, rng: np.random.Generator) -> Culture:
    """Lay cells down until the wanted share of the field is covered.

    Parameters
    ----------
    settings : FieldSettings
        `confluency_percent` is met within the area of one cell.
    rng : numpy.random.Generator
        Decides everything else.
    """
    shape = settings.height_px, settings.width_px
    maps = [np.zeros(shape, np.float32) for _ in range(3)]
    marks = [np.zeros(shape, np.uint8) for _ in range(2)]
    culture = Culture(np.zeros(shape, np.int32), *maps, np.zeros(1, np.uint8), *marks)
    wanted = round(settings.confluency_percent / 100 * culture.labels.size)
    ground = _ground(settings, rng)
    covered, n_cells, misses = 0, 0, 0
    while covered < wanted and misses < _MISSES:
        cell = _draw_cell(settings.cells, rng)
        patch = _place(cell, culture.labels, ground, settings, rng)
        added = _add(culture, cell, patch, n_cells + 1, settings)
        n_cells += added > 0
        covered += added
        misses = 0 if added else misses + 1
    _close_gaps(culture, wanted - covered, settings)
    return culture


# --- shapes ----------------------------------------------------------------------------------------------------------


def _draw_cell(cells: CellSettings, rng: np.random.Generator) -> _Cell:
    if rng.random() < cells.rounded_share:
        return _Cell((_disc(rng.uniform(7.5, 10.5)),), phase=rng.uniform(2.1, 3.0), granularity=0.3, is_rounded=True)
    area = cells.area_um2 * math.exp(rng.normal(0.0, cells.area_spread))
    length = float(np.clip(rng.normal(cells.length_um, cells.length_spread_um), 50.0, 2 * cells.length_um))
    outlines = [_spindle(length, area / (_FILL * length), rng)]
    if rng.random() < cells.branched_share:
        outlines += [_process(length, rng) for _ in range(int(rng.integers(1, 3)))]
    phase = cells.phase * math.exp(rng.normal(0.0, cells.phase_spread))
    return _Cell(tuple(outlines), phase=phase, granularity=float(rng.uniform(0.4, 1.0)), is_rounded=False)


def _disc(radius_um: float) -> Corners:
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    return radius_um * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _spindle(length_um: float, width_um: float, rng: np.random.Generator) -> Corners:
    """Return a bent body that tapers into two processes, with an uneven rim; corners as (x, y)."""
    along = np.linspace(-1, 1, 33)
    middle = rng.uniform(-0.25, 0.25)
    reach = np.where(along < middle, 1 + middle, 1 - middle)
    distance = np.abs(along - middle) / reach
    half = width_um / 2 * (1 - distance ** rng.uniform(1.3, 2.3)) ** rng.uniform(1.5, 2.5) + 0.9
    bend = length_um * rng.normal(0.0, 0.07) * (along**2 - 0.4) + length_um * rng.normal(0.0, 0.02) * along**3
    upper = bend + half * _uneven(along.size, rng)
    lower = bend - half * _uneven(along.size, rng)
    x = along * length_um / 2
    return np.concatenate([np.stack([x, upper], axis=1), np.stack([x, lower], axis=1)[::-1]])


def _process(length_um: float, rng: np.random.Generator) -> Corners:
    """Return one thin process that leaves the body sideways and bends a little."""
    reach = rng.uniform(0.25, 0.5) * length_um
    angle = rng.choice([-1, 1]) * rng.uniform(0.5, 1.4) + rng.choice([0, np.pi])
    along = np.linspace(0, 1, 12)
    half = 9.0 * (1 - along) ** 2.5 + 0.8
    bend = reach * rng.normal(0.0, 0.12) * along**2
    line = np.concatenate(
        [np.stack([along * reach, bend + half], axis=1), np.stack([along * reach, bend - half], axis=1)[::-1]]
    )
    cosine, sine = np.cos(angle), np.sin(angle)
    return line @ np.array([[cosine, sine], [-sine, cosine]])


def _uneven(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return smooth random factors around one."""
    coarse = rng.uniform(0.72, 1.28, (1, 9))
    return cv2.resize(coarse, (n, 1), interpolation=cv2.INTER_CUBIC)[0]


# --- placing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Ground:
    """Coarse maps of the surface, before any cell lies on it: shared direction, how inviting a place is (0 to 1)."""

    direction: NDArray[np.float64]
    invitation: NDArray[np.float64]

    def at(self, y_share: float, x_share: float) -> tuple[float, float]:
        """Return direction and invitation at a place given as shares of height and width."""
        n = self.direction.shape[0]
        row, column = min(int(y_share * n), n - 1), min(int(x_share * n), n - 1)
        return float(self.direction[row, column]), float(self.invitation[row, column])


def _ground(settings: FieldSettings, rng: np.random.Generator) -> _Ground:
    start = rng.uniform(0, 2 * np.pi)
    along, across = (
        _smooth_map(settings, _ORIENTATION_UM, rng) + shift for shift in (math.cos(start), math.sin(start))
    )
    crowd = _smooth_map(settings, _CLUMP_UM, rng)
    return _Ground(0.5 * np.arctan2(across, along), np.exp(settings.cells.clumping * (crowd - 2.5)).clip(0, 1))


def _smooth_map(settings: FieldSettings, scale_um: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return smooth noise of about unit standard deviation, 256 x 256 over the field."""
    field_um = max(settings.height_px, settings.width_px) * settings.pixel_size_um
    n = max(2, math.ceil(field_um / scale_um) + 1)
    return cv2.resize(rng.normal(size=(n, n)), (256, 256), interpolation=cv2.INTER_CUBIC)


def _place(
    cell: _Cell, labels: NDArray[np.int32], ground: _Ground, settings: FieldSettings, rng: np.random.Generator
) -> _Patch:
    """Return the cell at the one of some random places where it overlaps the others least."""
    looseness = 1.6 * (1 - settings.cells.alignment * settings.confluency_percent / 100)
    best, least = None, np.inf
    for _ in range(_PLACES):
        y, x, direction = _open_place(labels, ground, rng)
        patch = _draw(
            cell.rotated(direction + rng.normal(0.0, looseness)), (y, x), labels.shape, settings.pixel_size_um
        )
        overlap = np.count_nonzero(labels[patch.rows, patch.columns][patch.mask > 0]) / max(patch.mask.sum(), 1)
        if best is None or overlap < least:
            best, least = patch, overlap
        if least == 0:
            break
    assert best is not None
    return best


def _open_place(labels: NDArray[np.int32], ground: _Ground, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return a random place and its direction: an inviting one on bare surface, if some tries find one."""
    height, width = labels.shape
    for _ in range(40):
        y_share, x_share, chance = rng.random(3)
        direction, invitation = ground.at(y_share, x_share)
        if labels[int(y_share * height), int(x_share * width)] == 0 and chance < invitation:
            break
    return y_share * height, x_share * width, direction


def _draw(
    outlines: tuple[Corners, ...], centre: tuple[float, float], shape: tuple[int, int], pixel_size_um: float
) -> _Patch:
    corners = [outline / pixel_size_um + np.array([centre[1], centre[0]]) for outline in outlines]
    everything = np.concatenate(corners)
    x0, y0 = np.maximum(np.floor(everything.min(axis=0)).astype(int) - 1, 0)
    x1, y1 = np.minimum(np.ceil(everything.max(axis=0)).astype(int) + 2, [shape[1], shape[0]])
    mask = np.zeros((max(y1 - y0, 1), max(x1 - x0, 1)), np.uint8)
    for outline in corners:
        fixed = np.rint((outline - [x0, y0]) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(mask, [fixed], 1, shift=_SHIFT)
    return _Patch(slice(y0, y0 + mask.shape[0]), slice(x0, x0 + mask.shape[1]), mask, (centre[0] - y0, centre[1] - x0))


# --- laying down -----------------------------------------------------------------------------------------------------


def _add(culture: Culture, cell: _Cell, patch: _Patch, label: int, settings: FieldSettings) -> int:
    """Put a cell on the surface, under those that lie there; return how much it covers, 0 if it found no room."""
    labels = culture.labels[patch.rows, patch.columns]
    fresh = (patch.mask > 0) & (labels == 0)
    n_fresh = int(np.count_nonzero(fresh))
    if n_fresh < 0.4 * np.count_nonzero(patch.mask) or n_fresh == 0:
        return 0
    labels[fresh] = label
    culture.phase[patch.rows, patch.columns] += _thickness(cell, patch, settings)
    near = _near(patch, 16.0 / settings.pixel_size_um)
    culture.granularity[patch.rows, patch.columns] += cell.granularity * near * patch.mask
    return n_fresh


def _thickness(cell: _Cell, patch: _Patch, settings: FieldSettings) -> FloatArray:
    """Return the phase of one cell: a rim that rises to a flat interior, thicker at the nucleus."""
    padded = cv2.copyMakeBorder(patch.mask, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth_um = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1] * settings.pixel_size_um
    if cell.is_rounded:
        dome = np.sqrt(np.clip(depth_um / 9.0, 0, 1))
        return (cell.phase * dome).astype(np.float32)
    rim = 1 - np.exp(-depth_um / settings.cells.edge_um)
    body = 0.45 + 0.55 * _near(patch, 20.0 / settings.pixel_size_um)
    nucleus = 0.35 * _near(patch, 5.0 / settings.pixel_size_um)
    return (cell.phase * rim * (body + nucleus)).astype(np.float32)


def _near(patch: _Patch, sigma_px: float) -> FloatArray:
    """Return one at the centre of the cell, falling off as a Gaussian."""
    y = np.exp(-0.5 * ((np.arange(patch.mask.shape[0]) - patch.centre[0]) / sigma_px) ** 2)
    x = np.exp(-0.5 * ((np.arange(patch.mask.shape[1]) - patch.centre[1]) / sigma_px) ** 2)
    return np.outer(y, x).astype(np.float32)


def _close_gaps(culture: Culture, n_missing: int, settings: FieldSettings) -> None:
    """Let the cells of a crowded field spread into the gaps between them, the narrowest first."""
    if n_missing <= 0 or not culture.labels.any():
        return
    bare = (culture.labels == 0).astype(np.uint8)
    distance, nearest = cv2.distanceTransformWithLabels(bare, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    owner = np.zeros(int(nearest.max()) + 1, np.int32)
    owner[nearest[bare == 0]] = culture.labels[bare == 0]
    open_places = np.flatnonzero(bare)
    order = np.argsort(distance.ravel()[open_places], kind="stable")[:n_missing]
    grown = open_places[order]
    culture.labels.ravel()[grown] = owner[nearest.ravel()[grown]]
    culture.phase.ravel()[grown] += 0.35 * settings.cells.phase
