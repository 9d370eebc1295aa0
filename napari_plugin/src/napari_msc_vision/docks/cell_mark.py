"""The selected cell in the picture: a box around it, and what a click in the picture points at."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Vectors
from numpy.typing import NDArray

from msc_vision.report.cell_table import CellTable
from napari_msc_vision.docks.drawing import SELECTED
from napari_msc_vision.scene import Scene

NAME = "selected cell"
_MARGIN_PX = 3
_WIDTH_PX = 2.0
_STILL_PX = 3.0


class CellMark:
    """A box around the selected cell in a scene, and clicks in the picture that select one.

    Attributes
    ----------
    scene : Scene
    chosen : callable
        Called with the number of the cell that was clicked at; 0 beside all cells.
    """

    def __init__(self, scene: Scene, chosen: Callable[[int], object]) -> None:
        self.scene, self.chosen = scene, chosen
        self._layer: Vectors | None = None
        self._sides: NDArray[np.float64] = np.zeros((0, 2, 2))
        self._where: dict[str, Any] = {}
        scene.viewer.mouse_drag_callbacks.append(self._on_press)
        scene.viewer.layers.events.removed.connect(self._on_removed)

    def show(self, table: CellTable, row: int) -> None:
        """Draw a box around a cell of a table."""
        self._sides = _sides_of(box_of(table, row))
        self.scene.settle()
        if self._layer is None or self._layer not in self.scene.viewer.layers:
            self._where = self.scene.placement.on_image
            drawn: dict[str, Any] = {"vector_style": "line", "edge_color": SELECTED, "edge_width": _WIDTH_PX}
            self._layer = Vectors(np.zeros((0, 2, 2)), ndim=2, name=NAME, opacity=1.0, **drawn, **self._where)
            self.scene.add_layer(self._layer, partial(self._draw, self._layer))
        else:
            self._draw(self._layer)

    def _draw(self, layer: Vectors) -> None:
        where = self.scene.placement.on_image
        if self._where != where:  # each costs a redraw, so only where pixels are of another size
            for setting, value in where.items():
                setattr(layer, setting, value)
            self._where = where
        layer.data = self._sides

    def bring_into_view(self, table: CellTable, row: int) -> None:
        """Move the view to a cell that is not wholly in it."""
        box = box_of(table, row)
        (top, left), (bottom, right) = self.scene.cells.corner_pixels * self.scene.placement.factor
        y0, y1, x0, x1 = box
        height, width = self.scene.placement.image_shape
        is_seen = max(y0, 0) >= top and max(x0, 0) >= left
        if not is_seen or min(y1, height) > bottom + 1 or min(x1, width) > right + 1:
            self.scene.centre_on(box)

    def hide(self) -> None:
        """Take the box away."""
        self._sides = np.zeros((0, 2, 2))
        if self._layer is not None and len(self._layer.data):
            self._layer.data = self._sides

    def tell(self, words: pd.DataFrame | None) -> None:
        """Say something of the cell under the mouse, in the status bar of napari; None: nothing any more.

        Nothing is drawn anew for it.

        Parameters
        ----------
        words : DataFrame or None
            See `napari_msc_vision.tables.words_by_cell`.
        """
        cells = self.scene.cells
        if words is not None or len(cells.features.columns):
            cells.features = {} if words is None else words

    def remove(self) -> None:
        """Take box and clicks away, as when another run is opened."""
        try:
            viewer = self.scene.viewer
        except RuntimeError:  # the viewer is gone, and everything with it
            return
        self.tell(None)
        if self._on_press in viewer.mouse_drag_callbacks:
            viewer.mouse_drag_callbacks.remove(self._on_press)
        viewer.layers.events.removed.disconnect(self._on_removed)
        if self._layer is not None and self._layer in viewer.layers:
            viewer.layers.remove(self._layer)

    def _on_removed(self, _event: Any = None) -> None:
        """Go with the picture: a box in µm has no place beside the layers of another run."""
        viewer = self.scene.viewer
        if self.scene.image not in viewer.layers and self._layer is not None and self._layer in viewer.layers:
            viewer.layers.remove(self._layer)

    def _on_press(self, viewer: Any, event: Any) -> Iterator[None]:
        """Select a cell by a click that is no stroke and moves nothing."""
        active = viewer.layers.selection.active
        is_own = active is None or active is self._layer or self.scene.is_shown(active)
        is_plain = event.button == 1 and not event.modifiers and getattr(active, "mode", "pan_zoom") == "pan_zoom"
        start = np.asarray(event.pos, float)
        yield
        while event.type == "mouse_move":
            yield
        if is_own and is_plain and np.abs(np.asarray(event.pos, float) - start).max() <= _STILL_PX:
            self.chosen(self.label_at(event.position))

    def label_at(self, position: Any) -> int:
        """Return the number of the cell at a place of the world; 0 where there is none."""
        found = self.scene.cells.get_value(position, world=True)
        return int(found or 0)


def box_of(table: CellTable, row: int) -> tuple[int, int, int, int]:
    """Return rows and columns (y0, y1, x0, x1) of a cell in pixels of the image, with a little room."""
    y0, y1, x0, x1 = (int(table.columns[name][row]) for name in ("y0_px", "y1_px", "x0_px", "x1_px"))
    return y0 - _MARGIN_PX, y1 + _MARGIN_PX, x0 - _MARGIN_PX, x1 + _MARGIN_PX


def _sides_of(box_px: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """Return the sides of a box as lines (4, 2, 2): where each begins and how far it goes, corners filled."""
    y0, y1, x0, x1 = (edge - 0.5 for edge in box_px)
    corners = np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])
    along = np.roll(corners, -1, axis=0) - corners
    overlap = np.sign(along) * _WIDTH_PX / 2
    return np.stack([corners - overlap, along + 2 * overlap], axis=1)
