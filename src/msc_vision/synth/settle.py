"""Cells settle one after another where there is room, side by side with their neighbours, until a field is covered."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.cells import Cell, CellSource, Textures, make_cell, relief
from msc_vision.synth.culture import CellKind
from msc_vision.synth.settings import FieldSettings
from msc_vision.synth.shapes import draw_outlines
from msc_vision.synth.surface import Board, Box, Ground, Pixels, filled

_PLACES = 8  # places tried per cell; the one with the most room is taken
_LEAST_FRESH = (0.85, 0.65, 0.45)  # share of a cell that has to cover bare surface; less when none finds so much
_MISSES = 12  # cells in a row that found no room
_LEAST_GAP_UM = 4.0  # half the width of the narrowest gap that gets a cell of its own
_SITE_UM = 5.0  # spacing of the grid on which bare surface is looked for


@dataclass(slots=True)
class Settler:
    """Puts cells on a board; what it knows of bare surface is looked up again from time to time."""

    board: Board
    ground: Ground
    settings: FieldSettings
    textures: Textures
    rng: np.random.Generator
    _sites: NDArray[np.intp] | None = None
    _next_look: int = 0

    def settle(self, source: CellSource, wanted: int) -> None:
        """Let cells settle until `wanted` pixels are covered or none finds room."""
        cell: Cell | None = None
        for least_fresh in _LEAST_FRESH:
            misses = 0
            while self.board.covered < wanted and misses < _MISSES:
                # the next has the kind of one that found no room, or small round cells would take over
                cell = source.next(cell.kind if cell is not None and misses > 0 else None)
                place = self._place(cell)
                if place is None:
                    return
                missing = wanted - self.board.covered
                misses = 0 if self._add(cell, place, missing, least_fresh) else misses + 1

    def pile(self, source: CellSource, n_cells: int) -> None:
        """Let cells settle on a full layer, anywhere."""
        height, width = self.board.labels.shape
        for _ in range(n_cells):
            y, x = self.rng.random() * height, self.rng.random() * width
            if self.board.barred[int(y), int(x)]:
                continue
            cell = source.next()
            angle = float(self._angles(np.array([y]), np.array([x]))[0])
            box = filled(cell.corners_px(y, x, angle, self.settings.pixel_size_um), self.board.labels.shape)
            if box is not None:
                self._draw(cell, (y, x, angle), box, box.pixels(width), is_above=True)

    def fill(self, wanted: int) -> None:
        """Fill gaps from below with cells that reach under their neighbours, until `wanted` pixels are covered."""
        for _ in range(4):
            y, x, depth_um = self._gaps()
            if y.size == 0:
                return
            missing_um2 = (wanted - self.board.covered) * self.settings.pixel_size_um**2
            largest = min(2.5 * self.settings.cells.area_um2, missing_um2)
            areas = np.minimum(math.pi * (2.3 * depth_um + 8.0) ** 2, largest)
            outlines = draw_outlines(CellKind.FLATTENED, areas, self.settings.cells, self.rng) * (1.25, 0.8)
            angles = self._angles(y, x)
            for i in range(y.size):
                if self.board.covered >= wanted:
                    return
                if self.board.occupied[int(y[i]), int(x[i])] == 0:
                    cell = make_cell(CellKind.STELLATE, outlines[i], float(areas[i]), self.settings, self.rng)
                    place = float(y[i]), float(x[i]), float(angles[i])
                    self._add_filler(cell, place, wanted - self.board.covered)

    # --- places ------------------------------------------------------------------------------------------------------

    def _place(self, cell: Cell) -> tuple[float, float, float] | None:
        """Return the best of some random places on bare surface; None if there is none."""
        if self._sites is None or self.board.covered >= self._next_look:
            self._look()
        assert self._sites is not None
        if self._sites.size == 0:
            return None
        step = max(1, round(_SITE_UM / self.settings.pixel_size_um))
        columns = -(-self.board.labels.shape[1] // step)
        random = self.rng.random((3, _PLACES))
        site = self._sites[(random[0] * self._sites.size).astype(np.intp)]
        y = (site // columns + random[1]) * step
        x = (site % columns + random[2]) * step
        angle = self._angles(y, x)
        crowd = self._overlap(cell, y, x, angle)
        rows, cols = self.ground.cells_of(y, x)
        crowd += 0.35 * (self.rng.random(_PLACES) > self.ground.invitation[rows, cols])
        best = int(np.argmin(crowd))
        return float(y[best]), float(x[best]), float(angle[best])

    def _look(self) -> None:
        step = max(1, round(_SITE_UM / self.settings.pixel_size_um))
        taken = self.board.occupied[::step, ::step] | self.board.barred[::step, ::step]
        self._sites = np.flatnonzero(taken == 0)
        self._next_look = self.board.covered + max(1, self.board.labels.size // 50)

    def _angles(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        rows, columns = self.ground.cells_of(y, x)
        fullness = min(1.0, self.settings.confluency_percent / 90.0)
        looseness = 0.12 + 1.5 * (1 - self.settings.cells.alignment * fullness)
        turned: NDArray[np.float64] = self.ground.direction[rows, columns] + self.rng.normal(0.0, looseness, y.size)
        return turned

    def _overlap(
        self, cell: Cell, y: NDArray[np.float64], x: NDArray[np.float64], angle: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the share of the cell that would lie on others at each place, from a few points of it."""
        height, width = self.board.labels.shape
        rim = cell.outline[:: max(1, len(cell.outline) // 12)] / self.settings.pixel_size_um
        points = np.concatenate([0.92 * rim, 0.5 * rim])
        cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
        columns = (x[:, None] + cosine * points[:, 0] - sine * points[:, 1]).astype(np.intp)
        rows = (y[:, None] + sine * points[:, 0] + cosine * points[:, 1]).astype(np.intp)
        place = np.minimum(np.maximum(rows, 0), height - 1) * width
        place += np.minimum(np.maximum(columns, 0), width - 1)  # beyond the edge counts as its nearest pixel
        taken = self.board.occupied.ravel()[place]
        if self.settings.cells.scratch is not None:
            taken |= self.board.barred.ravel()[place]
        return taken.sum(axis=1) / taken.shape[1]

    def _gaps(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the middles of gaps in random order: y, x in pixels, and the distance to the next cell in µm."""
        step = 2
        bare = ((self.board.occupied | self.board.barred)[::step, ::step] == 0).astype(np.uint8)
        depth = cv2.distanceTransform(bare, cv2.DIST_L2, cv2.DIST_MASK_3)
        np.minimum(depth, np.float32(1e4), out=depth)
        block = max(4, round(16.0 / (step * self.settings.pixel_size_um)))
        rows, columns = bare.shape[0] // block, bare.shape[1] // block
        blocks = depth[: rows * block, : columns * block].reshape(rows, block, columns, block)
        blocks = blocks.transpose(0, 2, 1, 3).reshape(rows * columns, block * block)
        deepest = blocks.argmax(axis=1)
        depth_um = blocks[np.arange(rows * columns), deepest] * (step * self.settings.pixel_size_um)
        chosen = self.rng.permutation(np.flatnonzero(depth_um > _LEAST_GAP_UM))
        y = (chosen // columns * block + deepest[chosen] // block) * float(step)
        x = (chosen % columns * block + deepest[chosen] % block) * float(step)
        return y, x, depth_um[chosen].astype(np.float64)

    # --- drawing -----------------------------------------------------------------------------------------------------

    def _add(self, cell: Cell, place: tuple[float, float, float], missing: int, least_fresh: float) -> bool:
        """Put a cell on the board; False if it found no room, or would overshoot by more than it falls short."""
        box = filled(cell.corners_px(*place, self.settings.pixel_size_um), self.board.labels.shape)
        if box is None:
            return False
        pixels = box.pixels(self.board.labels.shape[1])
        size = pixels.inner.size
        bare = self._bare(pixels)
        fresh = int(np.count_nonzero(bare))
        if fresh < least_fresh * size or fresh == 0 or fresh > missing + self._half_cell_px:
            return False
        is_above = fresh > 0.75 * size and self.rng.random() < 0.5
        self._draw(cell, place, box, pixels, is_above=is_above)
        return True

    @property
    def _half_cell_px(self) -> float:
        return 0.5 * self.settings.cells.area_um2 / self.settings.pixel_size_um**2

    def _bare(self, pixels: Pixels) -> NDArray[np.bool_]:
        taken = self.board.occupied.ravel()[pixels.outer]
        if self.settings.cells.scratch is not None:
            taken = taken | self.board.barred.ravel()[pixels.outer]
        bare: NDArray[np.bool_] = taken == 0
        return bare

    def _add_filler(self, cell: Cell, place: tuple[float, float, float], missing: int) -> None:
        box = filled(cell.corners_px(*place, self.settings.pixel_size_um), self.board.labels.shape)
        if box is None:
            return
        box.mask[self.board.barred[box.at] > 0] = 0
        pixels = box.pixels(self.board.labels.shape[1])
        if 0 < int(np.count_nonzero(self._bare(pixels))) <= missing + self._half_cell_px:
            self._draw(cell, place, box, pixels, is_above=False)

    def _draw(self, cell: Cell, place: tuple[float, float, float], box: Box, pixels: Pixels, *, is_above: bool) -> None:
        board, at = self.board, pixels.outer
        made = relief(cell, box, pixels, place, self.settings.pixel_size_um, self.textures, self.rng)
        board.phase.ravel()[at] += made.phase
        granularity = board.granularity.ravel()
        granularity[at] = np.maximum(granularity[at], made.granularity)
        if made.absorption is not None:
            board.absorption.ravel()[at] += made.absorption
        occupied = board.occupied.ravel()
        fresh = at[occupied[at] == 0]
        label = board.new_label(cell.kind)
        board.labels.ravel()[at if is_above else fresh] = label
        occupied[fresh] = 1
        board.covered += fresh.size


def close_slits(board: Board, n_missing: int, settings: FieldSettings) -> None:
    """Let cells spread into what is left between them, the narrowest slits first."""
    if n_missing <= 0 or board.covered == 0:
        return
    bare = (board.occupied == 0).astype(np.uint8)
    distance, nearest = cv2.distanceTransformWithLabels(bare, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    owner = np.zeros(int(nearest.max()) + 1, np.int32)
    covered = bare == 0
    owner[nearest[covered]] = board.labels[covered]
    distance[board.barred > 0] += 1e4  # a scratch is closed last
    open_places = np.flatnonzero(bare)
    order = np.argsort(distance.ravel()[open_places], kind="stable")[:n_missing]
    grown = open_places[order]
    board.labels.ravel()[grown] = owner[nearest.ravel()[grown]]
    board.occupied.ravel()[grown] = 1
    board.phase.ravel()[grown] += np.float32(0.3 * settings.cells.phase)
    board.covered += grown.size
