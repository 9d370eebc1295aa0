"""A culture of a wanted confluency: aggregates, sheets, single cells, then what fills the gaps, then debris."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.aggregates import pile_aggregates, strew_debris
from msc_vision.synth.cells import CellSource, draw_textures
from msc_vision.synth.culture import Culture
from msc_vision.synth.culture_settings import ScratchSettings
from msc_vision.synth.islands import grow_islands
from msc_vision.synth.settings import FieldSettings
from msc_vision.synth.settle import Settler, close_slits
from msc_vision.synth.surface import Board, enlarged, lay_ground, smooth_map


def grow_culture(settings: FieldSettings, rng: np.random.Generator) -> Culture:
    """Cover the wanted share of a field with cells.

    Parameters
    ----------
    settings : FieldSettings
        `confluency_percent` is met within the area of one cell; 0 and 100 exactly.
    rng : numpy.random.Generator
        Decides everything else. Each stage has a stream of its own: more debris leaves the cells where they are.
    """
    of_ground, of_texture, of_piles, of_islands, of_cells, of_debris = rng.spawn(6)
    board = Board.bare(settings.height_px, settings.width_px)
    wanted = round(settings.confluency_percent / 100 * board.labels.size)
    ground = lay_ground(settings, of_ground)
    textures = draw_textures(settings.pixel_size_um, of_texture)
    if settings.cells.scratch is not None:
        board.barred[:] = _scratch(settings.cells.scratch, settings, of_ground)
    pile_aggregates(board, wanted, settings, textures, of_piles)
    in_islands = round(settings.cells.islands.share * (wanted - board.covered))
    grow_islands(board, in_islands, settings, textures, of_islands)
    settler = Settler(board, ground, settings, textures, of_cells)
    source = CellSource(settings, of_cells)
    settler.settle(source, wanted)
    if wanted - board.covered > _one_cell_px(settings):
        settler.fill(wanted)
    if wanted - board.covered > _one_cell_px(settings) or wanted == board.labels.size:
        close_slits(board, wanted - board.covered, settings)
    settler.pile(source, _n_on_top(settings))
    strew_debris(board, settings, textures, of_debris)
    return board.finished()


def _one_cell_px(settings: FieldSettings) -> float:
    return settings.cells.area_um2 / settings.pixel_size_um**2


def _n_on_top(settings: FieldSettings) -> int:
    """Return how many cells lie on a layer that is nearly full."""
    fullness = min(max((settings.confluency_percent - 70.0) / 30.0, 0.0), 1.0)
    n_cells = settings.height_px * settings.width_px / _one_cell_px(settings)
    return round(settings.cells.crowding * fullness * n_cells)


def _scratch(scratch: ScratchSettings, settings: FieldSettings, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return where a scratch runs; it is narrower where the wanted confluency leaves less bare surface."""
    room_um = (1 - settings.confluency_percent / 100) * 0.97
    angle = math.radians(scratch.angle_degrees)
    rows = np.linspace(-0.5, 0.5, 256)[:, None] * settings.height_px * settings.pixel_size_um
    columns = np.linspace(-0.5, 0.5, 256)[None, :] * settings.width_px * settings.pixel_size_um
    across = -math.sin(angle) * columns + math.cos(angle) * rows
    side_um = min(settings.height_px, settings.width_px) * settings.pixel_size_um
    distance = np.abs(across - scratch.offset * side_um)
    distance = distance + scratch.roughness_um * smooth_map(settings, 90.0, rng)
    coarse = cv2.GaussianBlur(distance, (0, 0), 0.5)
    limit = min(0.5 * scratch.width_um, float(np.quantile(coarse, min(room_um, 1.0))))
    return (enlarged(coarse, settings) < limit).astype(np.uint8)
