"""The tools in a reviewer's hand, without a window: one stroke of the mouse is one correction that is on disk."""

import shutil

import numpy as np
import pytest
from app_model.types import KeyBinding
from napari.components import ViewerModel
from napari.utils._proxies import ReadOnlyWrapper
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)

from msc_vision.review.events import Reviewer
from msc_vision.review.log import read_log
from msc_vision.segmentation.edits import new_label
from napari_msc_vision.registry import open_run
from napari_msc_vision.session import open_session
from napari_msc_vision.stroke import TOOLS, hand_back, strokes_of, tool_named


class Mouse:
    """Presses, moves and lets go as napari's canvas does: the viewer hears it first, then the active layer."""

    def __init__(self, viewer, layer):
        self.viewer, self.layer = viewer, layer

    def stroke(self, points, button=1):
        self._send(mouse_press_callbacks, "mouse_press", points[0], button)
        for point in points[1:]:
            self._send(mouse_move_callbacks, "mouse_move", point, button)
        self._send(mouse_release_callbacks, "mouse_release", points[-1], button)

    def _send(self, callbacks, kind, point, button):
        for target in (self.viewer, self.viewer.layers.selection.active):
            if target is not None:
                callbacks(target, mouse_event(kind, self.layer.data_to_world(point), button))


class Event:
    """A mouse event with what napari adds to it."""

    def __init__(self, kind, position, button):
        self.type, self.position, self.button = kind, tuple(position), button
        self.is_dragging = kind == "mouse_move"
        self.modifiers, self.handled, self.inverted = (), False, False
        self.view_direction, self.up_direction = None, None
        self.dims_displayed, self.dims_point, self.pos = [0, 1], [0, 0], (0, 0)


def mouse_event(kind, position, button=1):
    return ReadOnlyWrapper(Event(kind, position, button), exceptions=("handled",))


@pytest.fixture
def model():
    return ViewerModel()


@pytest.fixture
def scene(small_run, model):
    scene = open_run(model, small_run)
    yield scene
    scene.session.close()


@pytest.fixture
def strokes(scene):
    return strokes_of(scene)


@pytest.fixture
def mouse(scene):
    return Mouse(scene.viewer, scene.cells)


@pytest.fixture
def blank(scene):
    """The open field without cells but two: 3 in rows 100 to 140, columns 100 to 160; 4 right of it, five apart."""
    masks = scene.session.masks.copy()
    for kind in ("foreground", "cells", "aggregates"):
        masks.of(kind)[:] = 0
    masks.judgeable[:] = True
    masks.cells[100:140, 100:160], masks.cells[100:140, 165:200] = 3, 4
    masks.foreground[:] = masks.cells > 0
    scene.session.replace_masks(masks, "annotation")
    return masks


def tools_used(scene):
    events = read_log(scene.session.run.folder).events
    return [event.after["tool"] for event in events if event.action == "edited"]


@pytest.mark.usefixtures("blank")
def test_painting_from_within_a_cell_enlarges_it_and_spares_the_next(scene, strokes, mouse):
    strokes.brush_px = 9
    strokes.take(tool_named("paint cell"))
    mouse.stroke([(120, 155), (120, 162), (120, 175)])
    cells, foreground = scene.session.masks.cells, scene.session.masks.foreground
    assert cells[120, 162] == 3
    assert cells[120, 175] == 4
    assert foreground[120, 162]
    assert (scene.cells.data == cells).all()
    assert (scene.foreground.data == foreground).all()
    assert tools_used(scene) == ["annotation", "paint cell"]


@pytest.mark.usefixtures("blank")
def test_painting_beside_the_cells_makes_a_new_one_each_time(scene, strokes, mouse):
    strokes.take(tool_named("paint cell"))
    mouse.stroke([(20, 20), (20, 40)])
    mouse.stroke([(60, 20), (60, 40)])
    assert np.unique(scene.session.masks.cells).tolist() == [0, 3, 4, 5, 6]


@pytest.mark.usefixtures("blank")
def test_a_new_cell_may_lie_over_another(scene, strokes, mouse):
    strokes.take(tool_named("new cell"))
    mouse.stroke([(120, 120), (120, 130)])
    assert scene.session.masks.cells[120, 125] == 5


@pytest.mark.usefixtures("blank")
def test_bare_surface_takes_its_cells_and_covered_surface_makes_none(scene, strokes, mouse):
    strokes.take(tool_named("erase foreground"))
    mouse.stroke([(120, 110), (120, 120)])
    assert scene.session.masks.cells[120, 115] == 0
    strokes.take(tool_named("paint foreground"))
    mouse.stroke([(120, 110), (120, 120)])
    assert scene.session.masks.foreground[120, 115]
    assert scene.session.masks.cells[120, 115] == 0
    strokes.take(tool_named("erase cell"))
    mouse.stroke([(120, 180), (120, 190)])
    assert scene.session.masks.foreground[120, 185]
    assert scene.session.masks.cells[120, 185] == 0
    assert tools_used(scene)[1:] == ["erase foreground", "paint foreground", "erase cell"]


@pytest.mark.usefixtures("blank")
def test_what_cannot_be_judged_is_painted_and_taken_back(scene, strokes, mouse):
    before = scene.session.score.judgeable_percent
    strokes.take(tool_named("not judgeable"))
    mouse.stroke([(120, 110), (120, 120)])
    assert not scene.session.masks.judgeable[120, 115]
    assert scene.session.score.judgeable_percent < before
    strokes.take(tool_named("judgeable again"))
    mouse.stroke([(120, 100), (120, 130)])
    assert scene.session.masks.judgeable.all()


@pytest.mark.usefixtures("blank")
def test_split_and_merge_by_a_line_are_one_correction_each(scene, strokes, mouse):
    strokes.take(tool_named("split"))
    mouse.stroke([(90, 120), (120, 120), (150, 120)])
    assert np.unique(scene.session.masks.cells).tolist() == [0, 3, 4, 5]
    assert (scene.cells.data == scene.session.masks.cells).all()
    strokes.take(tool_named("merge"))
    mouse.stroke([(120, 110), (120, 150), (120, 180)])
    assert np.unique(scene.session.masks.cells).tolist() == [0, 3]
    assert scene.session.masks.foreground[120, 162]
    assert tools_used(scene)[1:] == ["split", "merge"]
    scene.session.undo()
    scene.session.undo()
    assert (scene.cells.data == 3).sum() == 40 * 60


def test_the_line_is_seen_while_it_is_drawn_and_gone_after(scene, strokes, blank):
    strokes.take(tool_named("split"))
    assert blank is not None
    at = scene.cells.data_to_world
    mouse_press_callbacks(scene.viewer, mouse_event("mouse_press", at((90, 120))))
    mouse_move_callbacks(scene.viewer, mouse_event("mouse_move", at((110, 120))))
    line = scene.stroke
    np.testing.assert_allclose(line.data, [[[90, 120], [20, 0]]], atol=1e-9)
    assert scene.viewer.layers.selection.active is scene.cells
    assert not scene.cells.mouse_pan
    mouse_release_callbacks(scene.viewer, mouse_event("mouse_release", at((150, 120))))
    assert len(line.data) == 0


@pytest.mark.usefixtures("blank")
def test_a_line_that_does_nothing_says_what_to_do(scene, strokes, mouse):
    said = []
    scene.session.said.connect(said.append)
    strokes.take(tool_named("split"))
    mouse.stroke([(120, 110), (120, 120)])
    assert "does not cut through" in said[-1].text
    strokes.take(tool_named("delete cell"))
    mouse.stroke([(5, 5)])
    assert "click on a cell" in said[-1].text
    assert tools_used(scene) == ["annotation"]


@pytest.mark.usefixtures("blank")
def test_a_click_deletes_a_cell_and_a_dragged_click_does_not(scene, strokes, mouse):
    strokes.take(tool_named("delete cell"))
    mouse.stroke([(120, 120), (130, 130)])
    assert tools_used(scene) == ["annotation"]
    mouse.stroke([(120, 120)])
    assert np.unique(scene.session.masks.cells).tolist() == [0, 4]
    assert not scene.session.masks.foreground[120, 120]


@pytest.mark.usefixtures("blank")
def test_an_aggregate_is_drawn_around_and_deleted_by_a_click(scene, strokes, mouse):
    strokes.take(tool_named("aggregate"))
    mouse.stroke([(20, 20), (20, 60), (60, 60), (60, 20)])
    assert scene.session.masks.aggregates[40, 40] == 1
    strokes.take(tool_named("delete aggregate"))
    mouse.stroke([(40, 40)])
    assert not scene.session.masks.aggregates.any()


def test_a_rectangle_for_a_finding_is_in_pixels_of_the_image_and_within_it(scene, strokes, mouse):
    boxes, said = [], []
    strokes.box_drawn.connect(boxes.append)
    scene.session.said.connect(said.append)
    strokes.take(tool_named("finding"))
    mouse.stroke([(10, 20), (15, 25), (30, 1000)])
    _, width = scene.placement.image_shape
    assert boxes == [(10, 31, 20, width)]
    mouse.stroke([(10, 20), (11, 21)])
    assert len(boxes) == 1
    assert "too small" in said[-1].text


def test_the_brush_is_the_same_for_all_layers_and_known_in_um(scene, strokes):
    told = []
    strokes.brush_changed.connect(told.append)
    scene.cells.brush_size = 21
    assert scene.foreground.brush_size == scene.not_judgeable.brush_size == 21
    assert told == [21]
    assert strokes.brush_um == pytest.approx(21 * 1.24)
    strokes.brush_px = 10_000
    assert strokes.brush_px == 200


def test_a_mode_or_layer_chosen_in_naparis_controls_puts_the_tool_away(scene, strokes):
    tools = []
    strokes.tool_changed.connect(tools.append)
    strokes.take(tool_named("split"))
    assert not scene.cells.mouse_pan
    scene.cells.mode = "pick"
    assert strokes.tool is None
    strokes.take(tool_named("paint cell"))
    scene.viewer.layers.selection.active = scene.image
    assert strokes.tool is None
    assert scene.cells.mode == "pan_zoom"
    strokes.take(tool_named("split"))
    strokes.take(tool_named("split"))
    assert strokes.tool is None
    assert [None if tool is None else tool.name for tool in tools] == [
        "split", None, "paint cell", None, "split", None,
    ]  # fmt: skip


@pytest.mark.usefixtures("blank")
def test_naparis_own_bucket_is_a_correction_too(scene, strokes):
    assert strokes.tool is None
    scene.cells.selected_label = new_label(scene.session.masks.cells)
    scene.cells.fill((120, 120), 5)
    assert scene.session.masks.cells[120, 120] == 5
    assert tools_used(scene)[-1] == "paint cell"


@pytest.mark.usefixtures("blank")
def test_a_new_cell_stays_one_of_its_own_when_somebody_adds_another_while_it_is_painted(
    scene, strokes, mouse, small_run
):
    other = open_session(small_run, reviewer=Reviewer("bert"))
    other.open(scene.session.current)
    strokes.take(tool_named("paint cell"))
    strokes.brush_px = 9

    def add(_viewer, _event):
        masks = other.masks.copy()
        masks.cells[60:70, 60:70] = new_label(masks.cells)
        masks.foreground[60:70, 60:70] = True
        other.commit(masks, "new cell")
        yield
        scene.session.refresh()
        yield

    scene.viewer.mouse_drag_callbacks.append(add)
    mouse.stroke([(20, 20), (20, 40), (20, 60)])
    scene.viewer.mouse_drag_callbacks.remove(add)
    other.refresh()
    cells = scene.session.masks.cells
    assert (cells[65, 65], cells[20, 20], cells[20, 60]) == (5, 6, 6)
    assert (scene.cells.data == cells).all()
    assert other.masks.equals(scene.session.masks)


@pytest.mark.usefixtures("blank")
def test_naparis_own_brush_goes_on_with_a_cell_whose_number_moved(scene, strokes, mouse, small_run):
    other = open_session(small_run, reviewer=Reviewer("bert"))
    other.open(scene.session.current)
    masks = other.masks.copy()
    masks.cells[60:70, 60:70] = scene.cells.selected_label = new_label(masks.cells)
    masks.foreground[60:70, 60:70] = True
    other.commit(masks, "new cell")
    assert strokes.tool is None
    scene.cells.brush_size, scene.cells.mode = 9, "paint"
    mouse.stroke([(20, 20), (20, 22)])
    mouse.stroke([(20, 22), (20, 28)])
    cells = scene.session.masks.cells
    assert (cells[65, 65], cells[20, 20], cells[20, 28]) == (5, 6, 6)
    assert (scene.cells.data == cells).all()


@pytest.mark.usefixtures("blank")
def test_ctrl_z_on_any_layer_is_the_undo_of_the_review(scene, strokes, mouse):
    strokes.take(tool_named("paint cell"))
    mouse.stroke([(20, 20), (20, 40)])
    for provider in (scene.cells, scene.foreground, scene.image, scene.viewer):
        assert pressed(provider, "Ctrl+Z")
        assert scene.session.masks.cells[20, 30] == 0
        assert scene.cells.data[20, 30] == 0
        assert pressed(provider, "Ctrl+Shift+Z")
        assert scene.session.masks.cells[20, 30] == 5


def pressed(provider, keys):
    """Do what a key of a layer or of the viewer does; whether it has any."""
    deed = provider.keymap.get(KeyBinding.from_str(keys))
    if deed is not None:
        deed(provider)
    return deed is not None


def test_every_tool_has_a_key_of_its_own_and_it_takes_the_tool(scene, strokes):
    assert len({tool.key for tool in TOOLS}) == len({tool.name for tool in TOOLS}) == len(TOOLS)
    for tool in TOOLS:
        assert pressed(scene.cells, tool.shortcut)
        assert strokes.tool is tool
    pressed(scene.viewer, "Escape")
    assert strokes.tool is None


@pytest.mark.usefixtures("blank")
def test_after_closing_the_keys_and_the_mouse_are_naparis_again(scene, strokes, mouse):
    strokes.take(tool_named("split"))
    strokes.close()
    mouse.stroke([(90, 120), (150, 120)])
    assert np.unique(scene.session.masks.cells).tolist() == [0, 3, 4]
    assert not pressed(scene.cells, "S")
    assert not scene.viewer.mouse_drag_callbacks or strokes._drag not in scene.viewer.mouse_drag_callbacks


@pytest.mark.usefixtures("blank")
def test_what_was_done_is_there_when_the_run_is_opened_again(scene, strokes, mouse, small_run):
    strokes.take(tool_named("split"))
    mouse.stroke([(90, 120), (150, 120)])
    key = scene.session.current
    other = ViewerModel()
    again = open_run(other, small_run)
    again.session.open(key)
    np.testing.assert_array_equal(again.cells.data, scene.cells.data)
    assert again.session.masks.sha256 == scene.session.masks.sha256
    again.session.close()


def test_another_run_in_the_same_viewer_has_its_own_hand(scene, strokes, model, small_run, tmp_path):
    shutil.copytree(small_run, tmp_path / "other")
    strokes.take(tool_named("delete cell"))
    hand_back(scene)
    again = open_run(model, tmp_path / "other")
    hand = strokes_of(again)
    assert hand is not strokes
    assert hand is strokes_of(again)
    assert pressed(model, "S")
    assert (hand.tool.name, strokes.tool) == ("split", None)
    again.session.close()


def test_closing_after_the_viewer_is_gone_does_nothing(small_run):
    viewer = ViewerModel()
    scene = open_run(viewer, small_run)
    hand = strokes_of(scene)
    scene.session.close()
    hand._viewer = lambda: None
    hand.close()
