"""The mosaic of a layer in a viewer: shown over the layers of the open field, until a tile is chosen."""

from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray
from psygnal import Signal

from napari_msc_vision.mosaic import RGB, TILE_PX, Found, Mosaic, Tile, draw_mosaic, paste, plan_mosaic, thumbnail
from napari_msc_vision.scene import Scene, overlay_of
from napari_msc_vision.work import Latest, Task

NAME = "Fields of the layer"
LANE, DRAWING = "mosaic", "mosaic drawing"
_LARGER = 1.02
_MOST_KEPT = 200
"""Thumbnails at hand: 13 MB."""


class MosaicView:
    """Shows the fields of one layer of a vessel in the viewer of a scene; works with a bare ``ViewerModel``.

    Attributes
    ----------
    mosaic : Mosaic or None
        None: not shown.
    place : (str, int) or None
        Vessel and layer that are shown.
    """

    chosen = Signal(str)
    """A tile was clicked: the key of its field."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.mosaic: Mosaic | None = None
        self.place: tuple[str, int] | None = None
        self._layer = Image(np.zeros((1, 1, 3), np.uint8), name=NAME, rgb=True, visible=False, interpolation2d="linear")
        self._layer.mouse_drag_callbacks.append(self._clicked)
        self._drawing = Latest()
        self._reading: dict[str, Task | None] = {}
        self._kept: dict[str, Found] = {}

    def prepare(self) -> None:
        """Make ready to be shown, once a field is open: making a layer takes too long for a click."""
        if self._layer not in self._scene.viewer.layers:
            self._scene.settle()
            self._layer.units = self._scene.image.units
            self._add()

    @property
    def picture(self) -> NDArray[np.uint8]:
        """What is shown."""
        picture: NDArray[np.uint8] = self._layer.data
        return picture

    def show(self, vessel_id: str, layer: int) -> str:
        """Show the fields of a layer: places and figures first, pictures as they are read; return what to know."""
        self._stop_reading()
        self.place = vessel_id, layer
        self.mosaic = self._plan(vessel_id, layer)
        self._draw(self.mosaic)
        return f"Layer {layer}. {self.mosaic.note} Click a field to open it."

    def redraw(self) -> None:
        """Draw what was said meanwhile; thumbnails are at hand."""
        if self.place is not None:
            self.mosaic = self._plan(*self.place)
            self._draw(self.mosaic)

    def _draw(self, mosaic: Mosaic) -> None:
        """Draw the mosaic beside the window with the thumbnails at hand; then the others are read."""
        kept = dict(self._kept)
        self._drawing.ask(
            self._scene.session.work,
            lambda: draw_mosaic(mosaic, kept),
            lambda picture: self._drawn(mosaic, frozenset(kept), picture),
            self._failed,
            lane=DRAWING,
        )

    def _drawn(self, mosaic: Mosaic, shown: frozenset[str], picture: RGB) -> None:
        self._put(picture)
        for tile in mosaic.tiles:
            if tile.key not in shown:
                self._fill(tile)

    def _failed(self, err: Exception) -> None:
        raise err

    def hide(self) -> None:
        """Take the mosaic away: the layers of the open field are below it."""
        self._stop_reading()
        is_shown, self.mosaic, self.place = self.mosaic is not None, None, None
        if not is_shown:
            return
        viewer = self._scene.viewer
        self._layer.visible = False
        overlay_of(viewer, "scale_bar").visible = True
        if self._scene.cells in viewer.layers:
            viewer.layers.selection.active = self._scene.cells

    def remove(self) -> None:
        """Take the mosaic out of the viewer for good, as when another run is opened in it."""
        self.hide()
        if self._layer in self._scene.viewer.layers:
            self._scene.viewer.layers.remove(self._layer)

    def _add(self) -> None:
        viewer = self._scene.viewer
        active = viewer.layers.selection.active
        viewer.add_layer(self._layer)
        viewer.layers.selection.active = active

    def _put(self, picture: RGB) -> None:
        layer, viewer = self._layer, self._scene.viewer
        if layer.visible and layer in viewer.layers and layer.data.shape == picture.shape:
            layer.data[:] = picture
            layer.refresh(thumbnail=False, extent=False)
            return
        self._scene.settle()
        self._scene.in_turns(partial(self._lay, picture), self._bring_up)

    def _lay(self, picture: RGB) -> None:
        """Put the mosaic over the open field, out of sight."""
        self._layer.units = self._scene.image.units
        if self._layer not in self._scene.viewer.layers:  # somebody took it out of the list
            self._add()
        self._layer.data = picture
        self._fit(self._layer)

    def _bring_up(self) -> None:
        viewer = self._scene.viewer
        if self.mosaic is None:  # it was hidden meanwhile
            return
        self._layer.visible = True
        overlay_of(viewer, "scale_bar").visible = False  # fields are drawn larger than they are
        viewer.layers.selection.active = self._layer
        viewer.reset_view()

    def _plan(self, vessel_id: str, layer: int) -> Mosaic:
        session = self._scene.session
        fields = [session.figures.fields[key] for key in session.keys(vessel_id, layer)]
        return plan_mosaic(fields, session.run.state, self._aspect(), session.run.original.fields)

    def _aspect(self) -> float:
        low, high = self._scene.image.extent.world
        height, width = high - low
        return float(height / width) if height > 0 and width > 0 else 1.0

    def _fit(self, layer: Image) -> None:
        """Put the mosaic over the open field, a little larger, so that it hides it and is seen in the same view."""
        low, high = self._scene.image.extent.world
        size = np.array(layer.data.shape[:2])
        scale = _LARGER * float(((high - low) / size).max())
        layer.scale = (scale, scale)
        layer.translate = (low + high) / 2 - scale * (size - 1) / 2

    def _fill(self, tile: Tile) -> None:
        """Show what was found of a tile, or ask for it, unless that was done already."""
        known = self._kept.get(tile.key)
        if known is not None:
            self._show_tile(tile.key, known)
        elif tile.key not in self._reading:
            source, plane = self._scene.locate(tile.key)
            self._reading[tile.key] = None  # the answer may come before the task does
            task = self._scene.session.work.submit(
                partial(thumbnail, source, plane),
                partial(self._came, tile.key),
                lambda err: self._came(tile.key, f"No picture: {err}"),
                lane=LANE,
            )
            if tile.key in self._reading:
                self._reading[tile.key] = task

    def _came(self, key: str, found: Found) -> None:
        while len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = found
        self._reading.pop(key, None)
        self._show_tile(key, found)

    def _show_tile(self, key: str, found: Found) -> None:
        tile = None if self.mosaic is None else next((one for one in self.mosaic.tiles if one.key == key), None)
        if tile is not None:
            paste(self._layer.data, tile, found)
            self._layer.refresh(thumbnail=False, extent=False)

    def _stop_reading(self) -> None:
        self._drawing.cancel()
        for task in self._reading.values():
            if task is not None:
                task.cancel()
        self._reading = {}

    def _clicked(self, layer: Image, event: Any) -> Any:
        """Open a field when its tile was clicked, not when the view was dragged."""
        start = event.position
        yield
        while event.type == "mouse_move":
            yield
        y, x = layer.world_to_data(event.position)[-2:]
        y0, x0 = layer.world_to_data(start)[-2:]
        if self.mosaic is not None and max(abs(y - y0), abs(x - x0)) < TILE_PX / 8:
            tile = self.mosaic.tile_at(y, x)
            if tile is not None:
                self.chosen.emit(tile.key)
