"""Closed sheets of compact cells: epithelium, endothelium, colonies of stem cells."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.cells import Textures, repeated
from msc_vision.synth.culture import CellKind, FloatArray
from msc_vision.synth.settings import FieldSettings
from msc_vision.synth.surface import Board, enlarged, smooth_map


def grow_islands(
    board: Board, wanted: int, settings: FieldSettings, textures: Textures, rng: np.random.Generator
) -> None:
    """Cover `wanted` pixels with sheets of polygonal cells."""
    if wanted <= 0:
        return
    island = _region(board, wanted, settings, rng)
    nearest = _nearest_seed(settings, rng)
    numbers = np.flatnonzero(np.bincount(nearest[island > 0]))
    relabel = np.zeros(int(nearest.max()) + 1, np.int32)
    for number in numbers.tolist():
        relabel[number] = board.new_label(CellKind.CUBOIDAL)
    cells = relabel[nearest] * island
    board.phase += _sheet_phase(cells, settings, textures, rng)
    board.granularity += np.float32(0.5) * island
    np.copyto(board.labels, cells, where=cells > 0)
    board.occupied |= island
    board.covered = int(np.count_nonzero(board.occupied))


def _region(board: Board, wanted: int, settings: FieldSettings, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return exactly the wanted number of pixels: the highest of smooth noise with a slightly rough rim."""
    size_um = settings.cells.islands.size_um
    height = enlarged(smooth_map(settings, size_um, rng) + 0.12 * smooth_map(settings, size_um / 8, rng), settings)
    height[(board.occupied | board.barred) > 0] = -1e3
    wanted = min(wanted, int(np.count_nonzero(height > -1e2)))
    flat = height.ravel()
    highest = np.argpartition(flat, flat.size - wanted)[flat.size - wanted :]
    region = np.zeros(flat.size, np.uint8)
    region[highest] = 1
    return region.reshape(height.shape)


def _nearest_seed(settings: FieldSettings, rng: np.random.Generator) -> NDArray[np.int32]:
    """Return which cell of a jittered honeycomb each pixel belongs to, with wavy borders."""
    islands = settings.cells.islands
    side_px = math.sqrt(islands.cell_area_um2) / settings.pixel_size_um
    rows = math.ceil(settings.height_px / side_px) + 2
    columns = math.ceil(settings.width_px / side_px) + 2
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float64)
    x += 0.5 * (np.arange(rows) % 2)[:, None]
    y += 0.5 * islands.jitter * rng.uniform(-1, 1, y.shape)
    x += 0.5 * islands.jitter * rng.uniform(-1, 1, x.shape)
    rows_px = np.rint((y.ravel() - 0.5) * side_px).astype(int)
    columns_px = np.rint((x.ravel() - 1.0) * side_px).astype(int)
    is_inside = (rows_px >= 0) & (columns_px >= 0) & (rows_px < settings.height_px) & (columns_px < settings.width_px)
    seeds = np.ones((settings.height_px, settings.width_px), np.uint8)
    seeds[rows_px[is_inside], columns_px[is_inside]] = 0
    if not is_inside.any():
        seeds[0, 0] = 0
    _, nearest = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    wave = 0.18 * side_px
    shift_y, shift_x = (
        enlarged(smooth_map(settings, 0.5 * side_px * settings.pixel_size_um + 4, rng), settings) for _ in range(2)
    )
    at_y = np.arange(settings.height_px, dtype=np.float32)[:, None] + np.float32(wave) * shift_y
    at_x = np.arange(settings.width_px, dtype=np.float32)[None, :] + np.float32(wave) * shift_x
    at_y = np.clip(np.rint(at_y), 0, settings.height_px - 1).astype(np.intp)
    at_x = np.clip(np.rint(at_x), 0, settings.width_px - 1).astype(np.intp)
    return nearest[at_y, at_x]


def _sheet_phase(
    cells: NDArray[np.int32], settings: FieldSettings, textures: Textures, rng: np.random.Generator
) -> FloatArray:
    """Return the phase of a sheet: domes that meet in thin seams, with nuclei; the free rim is flatter."""
    seam = np.ones(cells.shape, np.uint8)
    seam[:, 1:][cells[:, 1:] != cells[:, :-1]] = 0
    seam[1:][cells[1:] != cells[:-1]] = 0
    seam[cells == 0] = 0
    depth_um = cv2.distanceTransform(seam, cv2.DIST_L2, cv2.DIST_MASK_3) * np.float32(settings.pixel_size_um)
    radius_um = math.sqrt(settings.cells.islands.cell_area_um2 / math.pi)
    n = int(cells.max()) + 1
    spread = settings.cells.phase_spread
    level = (settings.cells.phase * np.exp(0.6 * spread * rng.normal(0, 1, n).clip(-2.2, 2.2))).astype(np.float32)
    edge = np.float32(max(0.35 * radius_um, 0.8))
    dome = 1 - cv2.exp(depth_um * np.float32(-1) / edge)
    nucleus = 1 / (1 + cv2.exp((np.float32(0.55 * radius_um) - depth_um) * np.float32(2.0)))
    dome += np.float32(rng.uniform(-0.25, 0.25)) * nucleus
    dome *= 1 + np.float32(settings.cells.texture) * repeated(textures.grain, cells.shape, 0)
    phase: FloatArray = level[cells] * np.maximum(dome, np.float32(0.02)) * (cells > 0)
    return phase
