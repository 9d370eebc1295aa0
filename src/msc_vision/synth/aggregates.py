"""What piles up and what floats: aggregates of several layers, spheroids, dead cells and debris."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.cells import Textures, repeated, unit_disc
from msc_vision.synth.culture import CellKind, FloatArray
from msc_vision.synth.settings import FieldSettings
from msc_vision.synth.shapes import Corners
from msc_vision.synth.surface import Board, Box, filled

_MEMBER_RADIUS_UM = 8.0


def count_per_field(per_mm2: float, settings: FieldSettings, rng: np.random.Generator) -> int:
    """Return how many of something lie on the field."""
    area_mm2 = settings.height_px * settings.width_px * settings.pixel_size_um**2 / 1e6
    return int(rng.poisson(per_mm2 * area_mm2))


def pile_aggregates(
    board: Board, wanted: int, settings: FieldSettings, textures: Textures, rng: np.random.Generator
) -> None:
    """Put aggregates on the board, as many as fit into the wanted covered area."""
    piles = settings.cells.aggregates
    for _ in range(count_per_field(piles.per_mm2, settings, rng)):
        diameter_um = piles.diameter_um * math.exp(piles.diameter_spread * float(rng.normal(0, 1)))
        area_px = math.pi / 4 * (diameter_um / settings.pixel_size_um) ** 2
        y, x = rng.uniform(0, settings.height_px), rng.uniform(0, settings.width_px)
        if board.covered + 0.8 * area_px <= wanted and not board.barred[int(y), int(x)]:
            _pile(board, y, x, diameter_um, settings, textures, rng)


def _pile(
    board: Board,
    y: float,
    x: float,
    diameter_um: float,
    settings: FieldSettings,
    textures: Textures,
    rng: np.random.Generator,
) -> None:
    """Draw one aggregate: round cells upon each other, or a smooth ball, and anything between."""
    compact = settings.cells.aggregates.compactness
    radius_px = 0.5 * diameter_um / settings.pixel_size_um
    outline = _blob(radius_px, 0.05 + 0.14 * (1 - compact), rng) + np.array([x, y])
    box = filled(outline, board.labels.shape)
    if box is None or not box.mask.any():
        return
    at = box.at
    member_px = _MEMBER_RADIUS_UM / settings.pixel_size_um
    centres = _members(radius_px, member_px, rng) + np.array([x - box.x0, y - box.y0])
    bumps, owner = _bumps(centres, member_px, box, rng)
    depth = cv2.distanceTransform(box.mask, cv2.DIST_L2, cv2.DIST_MASK_3)
    np.minimum(depth, np.float32(radius_px), out=depth)
    height = depth / np.float32(radius_px)
    ball = np.sqrt(height * (2 - height))
    grain = repeated(textures.grain, box.mask.shape, int(rng.integers(65536)))
    thick = np.float32(min(0.035 * diameter_um, 6.0)) * ball * (1 + np.float32(0.15) * grain)
    bumpy = np.float32(1.6) * bumps * np.minimum(height * 4, 1)
    board.phase[at] += (np.float32(0.35 + 0.65 * compact) * thick + np.float32(1.1 - compact) * bumpy) * box.mask
    dark = np.float32((0.08 + 0.5 * compact) * min(diameter_um / 150.0, 1.3)) * ball
    board.absorption[at] += dark * box.mask
    board.granularity[at] += np.float32(0.5) * box.mask
    first = len(board.kinds)
    for _ in range(len(centres) if compact < 0.7 else 1):  # the cells of a smooth ball cannot be told apart
        board.new_label(CellKind.AGGREGATE_MEMBER)
    labels = first + (owner if compact < 0.7 else np.zeros_like(owner))
    np.copyto(board.labels[at], labels.astype(np.int32), where=box.mask.view(np.bool_))
    board.aggregates[at] |= box.mask
    before = cv2.countNonZero(board.occupied[at])
    board.occupied[at] |= box.mask
    board.covered += cv2.countNonZero(board.occupied[at]) - before


def _blob(radius_px: float, unevenness: float, rng: np.random.Generator) -> Corners:
    """Return a closed outline around 0 whose radius wanders."""
    coarse = rng.normal(0.0, unevenness, 9)
    closed = np.concatenate([coarse, coarse[:1]])
    wander = np.interp(np.linspace(0, 9, 48, endpoint=False), np.arange(10), closed)
    return unit_disc(48) * (radius_px * (1 + wander.clip(-0.4, 0.4)))[:, None]


def _members(radius_px: float, member_px: float, rng: np.random.Generator) -> Corners:
    """Return places of cells spread evenly over a disc (sunflower order), shaken; (x, y)."""
    n = max(3, round(1.1 * (radius_px / member_px) ** 2))
    i = np.arange(n)
    distance = radius_px * np.sqrt((i + 0.5) / n)
    angle = i * (np.pi * (3 - math.sqrt(5))) + rng.uniform(0, 2 * np.pi)
    places = np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)
    return places + rng.normal(0.0, 0.35 * member_px, (n, 2))


def _bumps(
    centres: Corners, member_px: float, box: Box, rng: np.random.Generator
) -> tuple[FloatArray, NDArray[np.int32]]:
    """Return the domes of cells that lie upon each other, and the number of the nearest cell."""
    height, width = box.mask.shape
    seeds = np.ones((height, width), np.uint8)
    columns = np.rint(centres[:, 0]).astype(int).clip(0, width - 1)
    rows = np.rint(centres[:, 1]).astype(int).clip(0, height - 1)
    seeds[rows, columns] = 0
    distance, nearest = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    number = np.zeros(int(nearest.max()) + 1, np.int32)
    number[nearest[rows, columns]] = np.arange(len(centres))
    size = (member_px * rng.uniform(0.8, 1.3, len(centres))).astype(np.float32)
    owner = number[nearest]
    dome = np.sqrt(np.clip(1 - (distance / size[owner]) ** 2, 0, 1))
    return dome.astype(np.float32), owner


# --- dead cells and debris -------------------------------------------------------------------------------------------


def strew_debris(board: Board, settings: FieldSettings, textures: Textures, rng: np.random.Generator) -> None:
    """Strew dead cells and debris over the field; they get no label and are no part of the foreground."""
    for _ in range(count_per_field(settings.cells.dead_per_mm2, settings, rng)):
        _dead_cell(board, settings, textures, rng)
    for _ in range(count_per_field(settings.cells.debris_per_mm2, settings, rng)):
        _piece(board, settings, rng)


def _dead_cell(board: Board, settings: FieldSettings, textures: Textures, rng: np.random.Generator) -> None:
    """Draw a shrunken cell with blebs: very bright, sometimes dark inside."""
    y, x = rng.uniform(0, settings.height_px), rng.uniform(0, settings.width_px)
    radius_px = 0.5 * settings.cells.rounded_diameter_um * float(rng.uniform(0.35, 1.0)) / settings.pixel_size_um
    n_blebs = int(rng.integers(0, 9))
    angle = rng.uniform(0, 2 * np.pi, n_blebs)
    out = radius_px * rng.uniform(0.5, 1.2, n_blebs)
    x_all = np.append(x + out * np.cos(angle), x)
    y_all = np.append(y + out * np.sin(angle), y)
    sizes = np.append(radius_px * rng.uniform(0.2, 0.6, n_blebs), radius_px)
    box = _discs(x_all, y_all, sizes, board.labels.shape)
    if box is None:
        return
    depth = cv2.distanceTransform(box.mask, cv2.DIST_L2, cv2.DIST_MASK_3)
    dome = np.sqrt(np.clip(depth / np.float32(max(0.8 * radius_px, 1.0)), 0, 1))
    grain = repeated(textures.grain, box.mask.shape, int(rng.integers(65536)))
    phase = float(rng.uniform(0.8, 3.2)) * dome * (1 + np.float32(rng.uniform(0.0, 0.35)) * grain)
    board.phase[box.at] += phase.astype(np.float32, copy=False)
    board.absorption[box.at] += np.float32(rng.uniform(0.0, 0.5)) * dome
    board.debris[box.at] |= box.mask


def _piece(board: Board, settings: FieldSettings, rng: np.random.Generator) -> None:
    """Draw one piece of debris of 1 to 8 µm: bright, dark or faint, often ragged."""
    y, x = rng.uniform(0, settings.height_px), rng.uniform(0, settings.width_px)
    radius_px = max(0.5 * math.exp(float(rng.normal(0.65, 0.5))), 0.4) / settings.pixel_size_um
    n = 1 + int(rng.integers(0, 4)) * (radius_px > 1.5)
    x_all = x + radius_px * rng.uniform(-1.2, 1.2, n)
    y_all = y + radius_px * rng.uniform(-1.2, 1.2, n)
    box = _discs(x_all, y_all, np.full(n, radius_px) * rng.uniform(0.6, 1.1, n), board.labels.shape)
    if box is None:
        return
    soft = cv2.GaussianBlur(box.mask.astype(np.float32), (0, 0), 0.6)
    if rng.random() < 0.4:
        board.absorption[box.at] += np.float32(rng.uniform(0.1, 0.6)) * soft
    else:
        board.phase[box.at] += np.float32(math.exp(rng.normal(-1.0, 0.7))) * soft
    board.debris[box.at] |= box.mask


def _discs(
    x: NDArray[np.float64], y: NDArray[np.float64], radius: NDArray[np.float64], shape: tuple[int, int]
) -> Box | None:
    """Return the union of discs, as far as it lies on the field."""
    reach = float(radius.max()) + 2
    x0, y0 = max(math.floor(x.min() - reach), 0), max(math.floor(y.min() - reach), 0)
    x1, y1 = min(math.ceil(x.max() + reach) + 1, shape[1]), min(math.ceil(y.max() + reach) + 1, shape[0])
    if x1 <= x0 or y1 <= y0:
        return None
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    centres = np.rint(np.stack([x - x0, y - y0], axis=1) * 16).astype(int).tolist()
    sizes = np.rint(radius * 16).astype(int).tolist()
    for (centre_x, centre_y), size in zip(centres, sizes, strict=True):
        cv2.circle(mask, (centre_x, centre_y), size, 1, -1, shift=4)
    return Box(y0, x0, mask) if mask.any() else None
