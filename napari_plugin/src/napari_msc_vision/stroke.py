"""The tools in a reviewer's hand: one stroke in the viewer is one correction of the open field.

Brushes are napari's own; lines, outlines and clicks are taken from the mouse and given to the library. Works with a
bare ``ViewerModel``; no Qt here.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from app_model.types import KeyCode, KeyMod
from napari.layers import Labels, Layer
from numpy.typing import NDArray
from psygnal import Signal

from msc_vision.errors import MscVisionError
from msc_vision.review import edits
from msc_vision.review.edits import settled
from msc_vision.review.masks import FieldMasks, Kind
from msc_vision.review.numbers import Shift, moved
from msc_vision.segmentation.edits import new_label
from napari_msc_vision.convert import AGGREGATES, CELLS, FOREGROUND, NOT_JUDGEABLE
from napari_msc_vision.scene import Scene, camera_of
from napari_msc_vision.session import Message

Gesture = Literal["brush", "line", "outline", "click", "box"]
Mode = Literal["paint", "erase", "pan_zoom"]
ToolName = Literal[
    "paint cell",
    "new cell",
    "erase cell",
    "paint foreground",
    "erase foreground",
    "split",
    "merge",
    "fill holes",
    "delete cell",
    "not judgeable",
    "judgeable again",
    "aggregate",
    "delete aggregate",
    "finding",
]


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool.

    Attributes
    ----------
    name : str
        What a correction with it is called.
    words : str
        On its button.
    shortcut : str
        As people read it.
    key : int
        The same for napari.
    help : str
        What it does, what to do with the mouse.
    gesture : str
    layer : str
        The layer that it works on.
    mode : str
        The mode of that layer meanwhile.
    """

    name: ToolName
    words: str
    shortcut: str
    key: int
    help: str
    gesture: Gesture
    layer: str
    mode: Mode = "pan_zoom"


TOOLS: tuple[Tool, ...] = (
    Tool(
        "paint cell",
        "Paint cell",
        "C",
        KeyCode.KeyC,
        "Begin in a cell to enlarge it, beside the cells to make a new one. Other cells stay as they are.",
        "brush",
        CELLS,
        "paint",
    ),
    Tool(
        "new cell",
        "New cell",
        "Shift+C",
        KeyMod.Shift | KeyCode.KeyC,
        "Paints a new cell, over others too.",
        "brush",
        CELLS,
        "paint",
    ),
    Tool(
        "erase cell",
        "Erase cell",
        "E",
        KeyCode.KeyE,
        "Takes pixels off cells; the surface stays covered. For bare surface use Erase foreground.",
        "brush",
        CELLS,
        "erase",
    ),
    Tool("split", "Split", "S", KeyCode.KeyS, "Draw a line across a cell, from beside it to beside it.", "line", CELLS),
    Tool("merge", "Merge", "J", KeyCode.KeyJ, "Draw a line from one cell into the other.", "line", CELLS),
    Tool("fill holes", "Fill holes", "H", KeyCode.KeyH, "Click on a cell: holes within it are filled.", "click", CELLS),
    Tool(
        "delete cell",
        "Delete cell",
        "D",
        KeyCode.KeyD,
        "Click on what is no cell: it goes, and the surface under it is bare.",
        "click",
        CELLS,
    ),
    Tool(
        "paint foreground",
        "Paint foreground",
        "F",
        KeyCode.KeyF,
        "Covered by cells, without saying which cell.",
        "brush",
        FOREGROUND,
        "paint",
    ),
    Tool(
        "erase foreground",
        "Erase foreground",
        "Shift+F",
        KeyMod.Shift | KeyCode.KeyF,
        "Bare surface: what was taken for cells here goes too.",
        "brush",
        FOREGROUND,
        "erase",
    ),
    Tool(
        "not judgeable",
        "Not judgeable",
        "X",
        KeyCode.KeyX,
        "Cannot be judged: scratch, meniscus, wall, dirt. It counts neither as covered nor as bare.",
        "brush",
        NOT_JUDGEABLE,
        "paint",
    ),
    Tool(
        "judgeable again",
        "Judgeable again",
        "Shift+X",
        KeyMod.Shift | KeyCode.KeyX,
        "Can be judged after all.",
        "brush",
        NOT_JUDGEABLE,
        "erase",
    ),
    Tool(
        "aggregate", "Aggregate", "L", KeyCode.KeyL, "Draw around a cluster of several layers.", "outline", AGGREGATES
    ),
    Tool(
        "delete aggregate",
        "Delete aggregate",
        "Shift+L",
        KeyMod.Shift | KeyCode.KeyL,
        "Click on what is no aggregate.",
        "click",
        AGGREGATES,
    ),
    Tool(
        "finding",
        "Finding",
        "T",
        KeyCode.KeyT,
        "Draw a rectangle around what was found, then say what it is.",
        "box",
        CELLS,
    ),
)
"""In the order of the buttons."""
UNDO_KEYS = (KeyMod.CtrlCmd | KeyCode.KeyZ,)
REDO_KEYS = (KeyMod.CtrlCmd | KeyMod.Shift | KeyCode.KeyZ,)
LANE = "edit"
BRUSH_PX = (1, 200)
_SMALLEST_BOX_PX = 4
Edit = Callable[[FieldMasks], FieldMasks]


def tool_named(name: str) -> Tool:
    """Return a tool by its name."""
    return next(tool for tool in TOOLS if tool.name == name)


class Strokes:
    """What the mouse and the keys do to the field that a scene shows.

    Attributes
    ----------
    scene : Scene
    tool : Tool or None
        The one in the hand; None: the mouse moves the view.
    """

    tool_changed = Signal(object)
    """Another tool was taken, or None."""
    brush_changed = Signal(int)
    """The brush has another size, in working pixels."""
    box_drawn = Signal(tuple)
    """A rectangle was drawn for a finding: rows and columns of the image (y0, y1, x0, x1)."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.session = scene, scene.session
        self._viewer = weakref.ref(scene.viewer)
        self.tool: Tool | None = None
        self._line: NDArray[np.float64] | None = None
        self._is_setting = False
        self._begun: int | None = None
        self._labels: dict[str, Labels] = {
            layer.name: layer for layer in (scene.foreground, scene.cells, scene.not_judgeable, scene.aggregates)
        }
        for layer in self._labels.values():
            layer.events.paint.connect(self._on_paint)
            layer.events.mode.connect(self._on_mode)
            layer.events.brush_size.connect(self._on_brush)
        self.session.numbers_moved.connect(self._on_numbers_moved)
        scene.viewer.mouse_drag_callbacks.append(self._drag)
        scene.viewer.layers.selection.events.active.connect(self._on_active)
        self._bind_keys()

    # --- taking a tool -----------------------------------------------------------------------------------------------

    def take(self, tool: Tool | None) -> None:
        """Take a tool in the hand; None puts it away. Taking the same once more puts it away too."""
        tool = None if tool is self.tool else tool
        self._is_setting = True
        try:
            for layer in self._labels.values():
                layer.mode = "pan_zoom"
            if tool is not None:
                self._prepare(tool)
        finally:
            self._is_setting = False
        self.tool = tool
        self.tool_changed.emit(tool)

    def _prepare(self, tool: Tool) -> None:
        self.scene.put_back()
        layer = self._labels[tool.layer]
        if not layer.visible:  # napari would cut and colour it anew
            layer.visible = True
        self.scene.viewer.layers.selection.active = layer
        layer.mode = tool.mode
        if tool.gesture == "brush":
            layer.preserve_labels = tool.name == "paint cell"
            if tool.layer != CELLS:
                layer.selected_label = 1
        elif tool.gesture != "click":
            layer.mouse_pan = False

    @property
    def brush_px(self) -> int:
        """Diameter of the brush in working pixels."""
        return round(float(self._labels[CELLS].brush_size))

    @brush_px.setter
    def brush_px(self, size_px: int) -> None:
        size_px = min(max(int(size_px), BRUSH_PX[0]), BRUSH_PX[1])
        self._is_setting = True
        try:
            for layer in self._labels.values():
                layer.brush_size = size_px
        finally:
            self._is_setting = False
        self.brush_changed.emit(size_px)

    @property
    def brush_um(self) -> float | None:
        """Diameter of the brush in µm; None where the pixel size is not known."""
        placement = self.scene.placement
        return None if placement.pixel_size_um is None else self.brush_px * placement.label_scale

    def close(self) -> None:
        """Let go of the viewer: its keys and its mouse are napari's again."""
        self.session.numbers_moved.disconnect(self._on_numbers_moved, missing_ok=True)
        viewer = self._viewer()
        if viewer is None:
            return
        self.take(None)
        if self._drag in viewer.mouse_drag_callbacks:
            viewer.mouse_drag_callbacks.remove(self._drag)
        viewer.layers.selection.events.active.disconnect(self._on_active)
        for layer in self._labels.values():
            layer.events.paint.disconnect(self._on_paint)
            layer.events.mode.disconnect(self._on_mode)
            layer.events.brush_size.disconnect(self._on_brush)
        self._unbind_keys()
        self._show_line("line", [])

    # --- strokes of the brush ----------------------------------------------------------------------------------------

    def _on_paint(self, event: Any) -> None:
        """Take in what was painted; also with napari's own brush, bucket and polygon."""
        layer, before = event.source, self.session.masks
        if before is None or self.scene.key != self.session.current:
            return
        _write(layer, event.value)
        shown = self.scene.masks(layer.name)
        after = settled(before, _kept_apart(before, shown, self._begun))
        self._begun = None
        in_hand = self.tool is not None and self.tool.gesture == "brush" and self.tool.layer == layer.name
        tool = self.tool.name if in_hand and self.tool is not None else _painting(layer)
        if after is shown:
            self.session.commit(after, tool)
        else:
            self.session.replace_masks(after, tool)

    def _begin_brush(self, tool: Tool, at: tuple[float, float]) -> None:
        """Choose the number that the brush paints with."""
        masks = self.session.masks
        if tool.layer != CELLS or tool.mode != "paint" or masks is None:
            return
        under = edits.label_at(masks.cells, at) if tool.name == "paint cell" else 0
        self._begun = None if under else new_label(masks.cells)
        self._labels[CELLS].selected_label = under or new_label(masks.cells)

    def _on_numbers_moved(self, shifts: Sequence[Shift]) -> None:
        """Let napari's own brush go on with the cell it painted last; a new cell that is being painted is not there."""
        kinds: tuple[tuple[Kind, str], ...] = (("cells", CELLS), ("aggregates", AGGREGATES))
        for kind, name in kinds:
            if name != CELLS or self._begun is None:
                layer = self._labels[name]
                layer.selected_label = moved(layer.selected_label, kind, shifts)

    # --- strokes of the mouse ----------------------------------------------------------------------------------------

    def _drag(self, _viewer: Any, event: Any) -> Iterator[None]:
        tool, self._begun = self.tool, None
        if tool is None or event.button != 1 or self.session.masks is None:
            return
        points = [self._at(event)]
        if tool.gesture == "brush":
            self._begin_brush(tool, points[0])
            return
        yield
        has_moved = False
        while event.type == "mouse_move":
            has_moved = True
            if tool.gesture != "click":
                points = [points[0], self._at(event)] if tool.gesture == "box" else [*points, self._at(event)]
                self._show_line(tool.gesture, points)
            yield
        self._show_line(tool.gesture, [])
        if tool.gesture != "click" or not has_moved:
            self._finish(tool, points)

    def _at(self, event: Any) -> tuple[float, float]:
        y, x = self._labels[CELLS].world_to_data(event.position)[-2:]
        return float(y), float(x)

    def _finish(self, tool: Tool, points: list[tuple[float, float]]) -> None:
        if tool.gesture == "box":
            self._finish_box(points)
        elif tool.name == "split":
            self._apply(tool.name, lambda masks: edits.split_cells(masks, points))
        elif tool.name == "merge":
            self._apply(tool.name, lambda masks: edits.merge_cells(masks, points))
        elif tool.name == "aggregate":
            self._apply(tool.name, lambda masks: edits.add_aggregate(masks, points))
        elif tool.name == "fill holes":
            self._apply(tool.name, lambda masks: edits.fill_cell(masks, edits.label_at(masks.cells, points[0])))
        elif tool.name == "delete cell":
            self._apply(tool.name, lambda masks: edits.delete_cell(masks, edits.label_at(masks.cells, points[0])))
        elif tool.name == "delete aggregate":
            self._apply(tool.name, lambda masks: _without_aggregate(masks, points[0]))

    def _apply(self, tool: str, edit: Edit) -> None:
        """Let the library make an edit off the main thread; if something came between, it is made anew."""
        key, before = self.session.current, self.session.masks
        if before is None:
            return

        def done(after: FieldMasks) -> None:
            if self.session.current != key:
                return
            if self.session.masks is before:
                self.session.replace_masks(after, tool)
            else:
                self._apply(tool, edit)

        self.session.work.submit(lambda: edit(before), done, self._failed, lane=LANE)

    def _failed(self, err: Exception) -> None:
        if not isinstance(err, MscVisionError):
            raise err
        self.session.said.emit(Message("info", str(err)))

    def _finish_box(self, points: list[tuple[float, float]]) -> None:
        image_shape, factor = self.scene.placement.image_shape, self.scene.placement.factor
        corners = np.rint((np.array(points) + 0.5) * factor - 0.5).astype(int)
        (y0, x0), (y1, x1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        box = max(y0, 0), min(y1 + 1, image_shape[0]), max(x0, 0), min(x1 + 1, image_shape[1])
        if box[1] - box[0] < _SMALLEST_BOX_PX or box[3] - box[2] < _SMALLEST_BOX_PX:
            self._failed(MscVisionError("The rectangle is too small: draw it around what was found."))
            return
        self.box_drawn.emit(box)

    # --- the line that is seen while it is drawn ---------------------------------------------------------------------

    def _show_line(self, gesture: Gesture, points: list[tuple[float, float]]) -> None:
        """Show a line through some points, once for all moves of the mouse that come in one turn of the event loop."""
        shown = np.array(points, float).reshape(-1, 2)
        if gesture == "box" and len(shown):
            (y0, x0), (y1, x1) = shown[0], shown[-1]
            shown = np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0), (y0, x0)])
        elif gesture == "outline" and len(shown):
            shown = np.vstack([shown, shown[:1]])
        is_due, self._line = self._line is not None, shown
        if not is_due:
            self.session.work.later(self._draw_line)

    def _draw_line(self) -> None:
        shown, self._line = self._line, None
        if shown is None or self._viewer() is None:
            return
        starts, steps = shown[:-1], np.diff(shown, axis=0)
        lines = np.stack([starts, steps], axis=1) if len(starts) else np.zeros((0, 2, 2))
        if len(lines) or len(self.scene.stroke.data):
            self.scene.draw_stroke(lines, self._line_width_px())

    def _line_width_px(self) -> float:
        """Return the width of the line in working pixels, so that it looks the same at every zoom."""
        zoom = float(camera_of(self.scene.viewer).zoom) * self.scene.placement.label_scale
        return max(3.0 / max(zoom, 1e-9), 0.1)

    # --- what napari's own controls say ------------------------------------------------------------------------------

    def _on_mode(self, event: Any) -> None:
        """Put the tool away when a mode was chosen in napari's own controls."""
        if not self._is_setting and self.tool is not None and str(event.source.mode) != self.tool.mode:
            self.tool = None
            self.tool_changed.emit(None)

    def _on_active(self, event: Any) -> None:
        """Another layer was chosen: the tool is put away, so that no stroke lands where nobody looks."""
        if not self._is_setting and self.tool is not None and event.value is not self._labels[self.tool.layer]:
            self.take(None)

    def _on_brush(self, event: Any) -> None:
        if not self._is_setting:
            self.brush_px = round(float(event.source.brush_size))

    # --- keys --------------------------------------------------------------------------------------------------------

    def _bindings(self) -> Iterator[tuple[int, Callable[[], None]]]:
        for tool in TOOLS:
            yield tool.key, lambda tool=tool: self.take(tool)  # type: ignore[misc]
        yield KeyCode.Escape, lambda: self.take(None)
        for key in UNDO_KEYS:
            yield key, self.session.undo
        for key in REDO_KEYS:
            yield key, self.session.redo

    def _providers(self) -> tuple[Any, ...]:
        """Return what takes keys: the layers come first in napari, so that theirs have to give way to ours."""
        scene = self.scene
        layers: tuple[Layer, ...] = (
            scene.image,
            scene.findings,
            scene.orientation,
            scene.stroke,
            *self._labels.values(),
        )
        return scene.viewer, *layers

    def _bind_keys(self) -> None:
        for key, deed in self._bindings():
            for provider in self._providers():
                provider.bind_key(key, _without_target(deed), overwrite=True)

    def _unbind_keys(self) -> None:
        for key, _ in self._bindings():
            for provider in self._providers():
                provider.bind_key(key, None)


_HANDS: weakref.WeakKeyDictionary[Scene, Strokes] = weakref.WeakKeyDictionary()


def strokes_of(scene: Scene) -> Strokes:
    """Return the tools of a scene: there is one hand, however many docks show its tools."""
    found = _HANDS.get(scene)
    if found is None:
        found = _HANDS[scene] = Strokes(scene)
    return found


def hand_back(scene: Scene) -> None:
    """Let go of the tools of a scene, as when its dock is closed or another run is opened."""
    found = _HANDS.pop(scene, None)
    if found is not None:
        found.close()


def _without_aggregate(masks: FieldMasks, at: tuple[float, float]) -> FieldMasks:
    return edits.delete_aggregate(masks, edits.label_at(masks.aggregates, at))


def _kept_apart(before: FieldMasks, painted: FieldMasks, begun: int | None) -> FieldMasks:
    """Return painted masks in which a new cell stays one, though another got its number while it was being painted."""
    if begun is None or not (is_other := before.cells == begun).any():
        return painted
    is_stroke = (painted.cells == begun) & ~is_other
    return replace(painted, cells=np.where(is_stroke, np.int32(new_label(before.cells)), painted.cells))


def _without_target(deed: Callable[[], None]) -> Callable[[Any], None]:
    def pressed(_target: Any) -> None:
        deed()

    return pressed


def _write(layer: Labels, atoms: Sequence[Any]) -> None:
    """Put what was painted into the layer: napari tells of what its bucket fills just before it is there."""
    for atom in atoms:
        if not hasattr(atom, "slice_key"):
            indices, _, values = atom
            layer.data[indices] = values
            continue
        region = layer.data[atom.slice_key]
        region[... if atom.mask is None else atom.mask] = atom.new_value


def _painting(layer: Labels) -> ToolName:
    """Return what painting in a layer as it is set now is called."""
    is_erasing = str(layer.mode) == "erase" or layer.selected_label == 0
    names: dict[str, tuple[ToolName, ToolName]] = {
        CELLS: ("paint cell", "erase cell"),
        FOREGROUND: ("paint foreground", "erase foreground"),
        NOT_JUDGEABLE: ("not judgeable", "judgeable again"),
        AGGREGATES: ("aggregate", "delete aggregate"),
    }
    return names[layer.name][is_erasing]
