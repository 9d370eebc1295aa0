"""The layers of the field that is open: made once, filled anew for each field, read back when something was painted.

Works with a bare ``ViewerModel``; no Qt here. Nothing is measured here.
"""

import logging
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Shapes, Vectors
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap
from numpy.typing import NDArray

from msc_vision.errors import MscVisionError
from msc_vision.records import FieldScore, PlaneChoice
from msc_vision.review.masks import FieldMasks
from napari_msc_vision import convert
from napari_msc_vision.convert import Finding, Placement
from napari_msc_vision.fields import Picture, Pictures, check_images, directions
from napari_msc_vision.session import Message, ReviewSession
from napari_msc_vision.steps import Step, Steps, WindowCurtain
from napari_msc_vision.work import Latest, Task

logger = logging.getLogger(__name__)

ONE_COLOUR = {
    convert.FOREGROUND: convert.SKY_BLUE,
    convert.NOT_JUDGEABLE: convert.PURPLE,
    convert.AGGREGATES: convert.ORANGE,
}
NO_PICTURE = "no picture"
MOVED = "If the images were moved, say where they are: File > IO Utilities > The images of this run have moved."
LANE = "directions"


class Scene:
    """The layers of one review in one viewer.

    Attributes
    ----------
    viewer : ViewerModel
        Held weakly: a viewer that is closed takes its scene with it.
    session : ReviewSession
    pictures : Pictures
        Those of the run; docks may ask it to read ahead.
    key : str or None
        The field that the layers show.
    image, foreground, cells, not_judgeable, aggregates, findings, orientation : napari layers
    stroke : napari layer
        The line that is being drawn; made with the others, as it takes too long in the middle of a stroke.
    """

    image: Image
    foreground: Labels
    cells: Labels
    not_judgeable: Labels
    aggregates: Labels
    findings: Shapes
    orientation: Vectors
    stroke: Vectors

    def __init__(self, viewer: ViewerModel, session: ReviewSession, pictures: Pictures | None = None) -> None:
        self._viewer, self.session = weakref.ref(viewer), session
        self.pictures = Pictures(session.work, self.locate) if pictures is None else pictures
        self.key: str | None = None
        self.placement = Placement((1, 1))
        self._picture: Picture | None = None
        self._loading: Task | None = None
        self._is_reading = False
        self._directing = Latest()
        self._layers: dict[str, Layer] = {}
        self._found: tuple[Finding, ...] = ()
        self._steps = Steps(session.work.later, WindowCurtain(viewer))
        self._make_layers()
        session.field_opened.connect(self._on_field_opened)
        session.masks_changed.connect(self._on_masks_changed)
        session.state_changed.connect(self._on_state_changed)
        if session.current is not None and session.masks is not None:
            self._on_field_opened(session.current)

    @property
    def viewer(self) -> ViewerModel:
        """The viewer."""
        viewer = self._viewer()
        if viewer is None:
            raise RuntimeError("The viewer is closed.")
        return viewer

    @property
    def is_complete(self) -> bool:
        """Whether the field that is open is shown with its picture, or it is known that there is none."""
        return (
            self.key is not None and self.key == self.session.current and not (self._is_reading or self._steps.is_busy)
        )

    # --- what docks ask for ------------------------------------------------------------------------------------------

    def masks(self, *painted: str) -> FieldMasks:
        """Return what the layers hold now, painted strokes included.

        Parameters
        ----------
        *painted : str
            Names of the layers that were painted in; the other masks are the session's own. None: all are read.

        Raises
        ------
        InvalidArgumentError
            If a layer was removed or holds something of another shape.
        """
        self._steps.finish()
        known = self.session.masks if painted else None
        return convert.arrays_to_masks(
            {name: self._labels(name).data for name in painted or convert.MASK_LAYERS}, known
        )

    def settle(self) -> None:
        """Bring the layers to rest: whoever adds one of their own has to meet all of them in the same units."""
        self._steps.finish()

    def draw_stroke(self, lines: NDArray[np.float64], width_px: float) -> None:
        """Draw a line while the mouse moves: where each of its parts begins and how far it goes, in working pixels."""
        layer = self.stroke
        with self._at_once(layer, is_same_place=True):
            if layer.edge_width != width_px:
                layer.edge_width = width_px
            layer.data = lines

    def add_layer(self, layer: Layer, then: Step = lambda: None) -> None:
        """Put a layer of somebody else's above the others, then do something with it; what is active stays active."""
        self.in_turns(partial(self._add, layer), then)

    def in_turns(self, *steps: Step) -> None:
        """Do a few things a turn of the event loop each, after what is left; nothing is drawn until all are done.

        napari takes as long for some as for drawing the window. If a field is opened meanwhile, those that are left
        are let be.
        """
        self._steps.then(steps)

    def _add(self, layer: Layer) -> None:
        layers = self.viewer.layers
        active = layers.selection.active
        layers.append(layer)
        layers.selection.active = active

    def show_masks(self, masks: FieldMasks) -> None:
        """Put masks into the layers; layers that are equal already are not touched."""
        self._steps.begin([partial(self._fill, name, masks) for name in convert.MASK_LAYERS])

    def _fill(self, name: str, masks: FieldMasks) -> None:
        """Put one mask into its layer, unless it is there already."""
        layer, data = self._labels(name), convert.mask_array(masks, name)
        is_same_place = layer.data.shape == data.shape
        if not is_same_place or not np.array_equal(layer.data, data):
            with self._at_once(layer, is_same_place=is_same_place):
                layer.data = data

    def prefetch(self, keys: Iterable[str]) -> None:
        """Read the pictures of fields ahead, while nothing else is asked for."""
        self.pictures.prefetch(keys)

    def locate(self, key: str) -> tuple[Path, PlaneChoice]:
        """Return where the picture of a field lies, and which plane of the file it is."""
        task = self.session.run.task(key)
        return task.source, task.plane

    def move_images(self, folder: Path) -> None:
        """Look for the images in another folder while this run is open, if those of the run lie there."""
        run = self.session.run
        fields = run.original.fields
        wanted = [one.score for one in fields.values() if one.score.image_sha256 is not None]
        if self.key is not None and fields[self.key].score.image_sha256 is not None:
            wanted.insert(0, fields[self.key].score)

        def take(_: None) -> None:
            run.record = {**run.record, "images_folder": str(folder)}
            self.pictures.clear()
            if self.key is not None:
                self._on_field_opened(self.key)

        def refuse(err: Exception) -> None:
            self.session.said.emit(Message("error", str(err)))

        self.session.work.submit(lambda: check_images(wanted[:1], folder), take, refuse, lane=LANE)

    def centre_on(self, box_px: convert.Box) -> None:
        """Move the view to a place of the image."""
        y0, y1, x0, x1 = box_px
        middle = ((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2)
        camera_of(self.viewer).center = convert.world_of(middle, self.placement.on_image)

    def is_shown(self, layer: Layer) -> bool:
        """Return whether a layer is one of these."""
        return any(layer is one for one in self._layers.values())

    def put_back(self) -> None:
        """Add the layers that are not in the viewer: all at first, later one that somebody threw away."""
        shown = self.viewer.layers
        at = 0 if any(layer in shown for layer in self._layers.values()) else len(shown)
        for layer in self._layers.values():
            if layer in shown:
                at = shown.index(layer)
            else:
                shown.insert(at, layer)
            at += 1

    def remove_layers(self) -> None:
        """Take the layers out of the viewer, as when another run is opened in it."""
        for layer in self._layers.values():
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)

    def close(self) -> None:
        """Let go of the session; the layers stay."""
        for signal, slot in (
            (self.session.field_opened, self._on_field_opened),
            (self.session.masks_changed, self._on_masks_changed),
            (self.session.state_changed, self._on_state_changed),
        ):
            signal.disconnect(slot, missing_ok=True)
        self._give_up()
        self.pictures.clear()

    # --- the session speaks ------------------------------------------------------------------------------------------

    def _on_field_opened(self, key: str) -> None:
        masks = self.session.masks
        if masks is None:
            return
        self._give_up()
        self.key, self._picture = key, self.pictures.get(key)
        shape = None if self._picture is None else self._picture.shape
        placement = convert.placement_of(self._score(), masks, shape)
        self.put_back()
        steps: list[Step] = [partial(self._fill, name, masks) for name in convert.MASK_LAYERS]
        self._steps.begin([*steps, partial(self._place_anew, placement), self._begin_picture])

    def _place_anew(self, placement: Placement) -> None:
        if len(self.orientation.data):
            self.orientation.data = convert.orientation_bars(None)
        if placement != self.placement:
            self._place(placement)
        self._show_findings()

    def _begin_picture(self) -> None:
        assert self.key is not None
        if self._picture is not None:
            self._show_picture(self._picture)
            return
        self._show_blank("reading the picture …")
        self._is_reading = True
        self._loading = self.pictures.fetch(self.key, self._picture_came, self._picture_failed)

    def _on_masks_changed(self, key: str) -> None:
        if key == self.key and self.session.masks is not None:
            self.show_masks(self.session.masks)
            self._direct()

    def _on_state_changed(self) -> None:
        if self.key is not None:
            self._show_findings()

    # --- the picture -------------------------------------------------------------------------------------------------

    def _picture_came(self, picture: Picture) -> None:
        self._is_reading, self._picture = False, picture
        masks = self.session.masks
        if masks is None or self.key != self.session.current:
            return
        placement = convert.placement_of(self._score(), masks, picture.shape)
        if placement != self.placement:
            self._place(placement)
        self._show_picture(picture)

    def _picture_failed(self, err: Exception) -> None:
        self._is_reading = False
        self._show_blank(NO_PICTURE)
        if not isinstance(err, MscVisionError):
            logger.error("A picture could not be read", exc_info=err)
        self.session.said.emit(Message("error", f"{err} {self._advice()}"))

    def _advice(self) -> str:
        assert self.key is not None
        path, _ = self.locate(self.key)
        shown = "Masks and figures of the field are shown without its picture."
        return shown if path.exists() else f"{shown} {MOVED}"

    def _show_picture(self, picture: Picture) -> None:
        level, corners = self.image.data_level, self.image.corner_pixels
        is_alike = [one.shape for one in self.image.data] == [one.shape for one in picture.levels]
        with self._at_once(self.image, is_same_place=True):
            self.image.data = list(picture.levels)
            if is_alike:  # else the coarsest level is drawn first
                self.image.corner_pixels, self.image.data_level = corners, level
            self.image.reset_contrast_limits_range()
            self.image.contrast_limits = picture.limits
        overlay_of(self.viewer, "text").visible = False
        self._direct()

    def _show_blank(self, words: str) -> None:
        self.image.data = [np.broadcast_to(np.uint8(0), self.placement.image_shape)]
        overlay = overlay_of(self.viewer, "text")
        overlay.text, overlay.visible = words, bool(words)

    # --- filling the layers ------------------------------------------------------------------------------------------

    @contextmanager
    def _at_once(self, *layers: Layer, is_same_place: bool) -> Iterator[None]:
        """Let layers change without drawing, and without measuring the world again where its size stays; draw then."""
        with ExitStack() as held:
            for layer in layers:
                held.enter_context(layer._block_refresh())
                for heard in _heard_for_nothing(layer) if is_same_place else ():
                    held.enter_context(layer.events.data.blocker(heard))
            yield
        for layer in layers:
            layer.refresh(extent=not is_same_place)

    def _place(self, placement: Placement) -> None:
        has_new_size = placement.image_shape != self.placement.image_shape
        self.placement = placement
        for name, layer in self._layers.items():
            where = placement.on_image if name in (convert.IMAGE, convert.FINDINGS) else placement.on_labels
            for setting, value in where.items():
                setattr(layer, setting, value)
        if has_new_size:
            self._show_blank("")
            self.viewer.reset_view()

    def _show_findings(self) -> None:
        found = self.found()
        layer = self.findings
        if found == self._found:
            return
        self._found = found
        layer.data = []
        data, settings, _ = convert.findings_to_layer(found, self.placement)
        if found:
            layer.add(data, shape_type="rectangle", edge_width=settings["edge_width"])
        layer.features = settings["features"]
        layer.refresh_text()

    def found(self) -> tuple[Finding, ...]:
        """Return what the run and the reviewers pointed at in the field that is shown."""
        if self.key is None:
            return ()
        return convert.findings_of(self._score(), self.session.run.state.of(self.key))

    def _score(self) -> FieldScore:
        assert self.key is not None
        return self.session.run.original.fields[self.key].score

    # --- directions --------------------------------------------------------------------------------------------------

    def _direct(self) -> None:
        """Find the directions of the cells off the main thread, when somebody wants to see them."""
        picture, masks, placement = self._picture, self.session.masks, self.placement
        self._directing.cancel()
        if not self.orientation.visible or picture is None or masks is None or placement.pixel_size_um is None:
            return
        size_um = placement.pixel_size_um

        def show(found: Any) -> None:
            self.orientation.data = convert.orientation_bars(found)

        def tell(err: Exception) -> None:
            self.session.said.emit(Message("warning", f"Directions of the cells cannot be shown: {err}"))

        self._directing.ask(
            self.session.work,
            lambda: directions(picture, masks, placement.factor, size_um),
            show,
            tell,
            lane=LANE,
        )

    def _give_up(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
        self._loading = None
        self._directing.cancel()
        self._is_reading = False

    # --- the layers --------------------------------------------------------------------------------------------------

    def _labels(self, name: str) -> Labels:
        layer = self._layers[name]
        assert isinstance(layer, Labels)
        return layer

    def _make_layers(self) -> None:
        placement = self.placement
        blank = np.zeros((1, 1), np.uint8)
        image, settings, _ = convert.image_to_layer([blank], (0.0, 1.0), placement)
        self.image = Image(image, **settings)
        self.foreground = _labels_layer(convert.FOREGROUND, np.uint8, placement)
        self.not_judgeable = _labels_layer(convert.NOT_JUDGEABLE, np.uint8, placement)
        self.cells = _labels_layer(convert.CELLS, np.int32, placement)
        self.aggregates = _labels_layer(convert.AGGREGATES, np.int32, placement)
        _, settings, _ = convert.orientation_to_layer(None, placement)
        self.orientation = Vectors(convert.orientation_bars(None), ndim=2, **settings)
        self.findings = _findings_layer(placement)
        self.stroke = _stroke_layer(placement)
        layers: tuple[Layer, ...] = (self.image, self.foreground, self.not_judgeable, self.cells)
        layers += (self.aggregates, self.orientation, self.findings, self.stroke)
        self._layers = {layer.name: layer for layer in layers}
        self.put_back()
        self.orientation.events.visible.connect(lambda _: self._direct())
        self.viewer.layers.selection.active = self.cells
        overlay_of(self.viewer, "scale_bar").visible = True


def _heard_for_nothing(layer: Layer) -> Iterator[Callable[..., Any]]:
    """Yield what follows when the data of a layer changes, though nothing is new to it where size and type stay."""
    for heard in layer.events.data.callbacks:
        owner = heard[0]() if isinstance(heard, tuple) else None
        if owner is not None and heard[1] in ("_on_layers_change", "_on_colormap_change"):
            yield getattr(owner, heard[1])


def overlay_of(viewer: ViewerModel, name: str) -> Any:
    """Return an overlay of the canvas, ``scale_bar`` or ``text``, where this napari keeps it."""
    canvas = getattr(viewer, "canvas", None)
    if canvas is not None:
        return getattr(canvas.overlays, name)
    return getattr(viewer, {"text": "text_overlay"}.get(name, name))


def camera_of(viewer: ViewerModel) -> Any:
    """Return the camera, where this napari keeps it."""
    scene = getattr(viewer, "scene", None)
    return viewer.camera if scene is None else scene.camera


def _labels_layer(name: str, dtype: type[np.generic], placement: Placement) -> Labels:
    layer = Labels(np.zeros((1, 1), dtype), colormap=_colours(name), **convert.labels_settings(name, placement))
    if name == convert.CELLS:
        _draw_outlines(layer)
    return layer


def _draw_outlines(layer: Labels) -> None:
    """Draw outlines one pixel wide, by a way that is ten times as quick as napari's own, where that can be replaced."""
    own = getattr(layer, "_calculate_contour", None)
    layer.contour = 1

    def outlines(labels: Any, data_slice: tuple[slice, ...]) -> Any:
        if layer.contour != 1 or labels.ndim != 2 or own is None:
            return None if own is None else own(labels, data_slice)
        wide = tuple(slice(max(one.start - 1, 0), one.stop + 1) for one in data_slice)
        inner = tuple(
            slice(one.start - two.start, one.stop - two.start) for one, two in zip(data_slice, wide, strict=True)
        )
        return convert.outlines(labels[wide])[inner]

    if own is not None:
        layer._calculate_contour = outlines


def _colours(name: str) -> Any:
    if name in ONE_COLOUR:
        return DirectLabelColormap(color_dict={None: ONE_COLOUR[name], 0: "transparent"})
    return CyclicLabelColormap(colors=["transparent", *convert.CELL_COLOURS])


def _findings_layer(placement: Placement) -> Shapes:
    _, settings, _ = convert.findings_to_layer((), placement)
    kept = ("name", "edge_color", "face_color", "opacity", "features", "text")
    return Shapes(None, ndim=2, **{name: settings[name] for name in kept})


def _stroke_layer(placement: Placement) -> Vectors:
    settings: dict[str, Any] = {"vector_style": "line", "edge_color": convert.YELLOW, "opacity": 1.0}
    return Vectors(np.zeros((0, 2, 2)), ndim=2, name=convert.STROKE, **settings, **placement.on_labels)
