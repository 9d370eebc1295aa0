"""The navigator: what it shows of a run, the way through its fields, the mosaic of a layer.

A window takes seconds to make: what needs none is tested beside a bare viewer, what does in one window together.
"""

import json
import shutil

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import QToolTip

from msc_vision.batch.worth_a_look import worth_a_look
from msc_vision.decision.library import load_rules
from napari_msc_vision.docks.following import HINT
from napari_msc_vision.docks.navigator import NavigatorDock
from napari_msc_vision.mosaic_view import NAME
from napari_msc_vision.qt_work import QtWork
from napari_msc_vision.registry import close_run, open_run


@pytest.fixture
def dock(screen, qtbot, small_run):
    viewer = ViewerModel()
    made = NavigatorDock(viewer)
    qtbot.addWidget(made)
    made.resize(420, 800)
    made.show()
    open_run(viewer, small_run)
    yield made
    close_run(viewer)


@pytest.fixture
def docked(shown_viewer, small_run):
    made = NavigatorDock(shown_viewer)
    shown_viewer.window.add_dock_widget(made, name="Navigator", area="right")
    open_run(shown_viewer, small_run)
    return made


def keys_of(dock):
    return [one.key for one in dock.fields.items]


def test_before_a_run_is_open_it_says_how_to_open_one(screen, qtbot):
    dock = NavigatorDock(ViewerModel())
    qtbot.addWidget(dock)
    assert dock._stack.currentWidget().text() == HINT


def test_a_run_at_a_glance(dock):
    assert "SMALL · hyperstack-12" in dock.headline.text()
    assert dock.progress_words.text() == "1 of 4 fields looked at"
    assert (dock.progress.value(), dock.progress.maximum()) == (1, 4)
    assert sorted(keys_of(dock)) == sorted(dock.session.keys())
    assert [one.layer for one in dock.ladder.ladder.rungs] == list(range(1, 13))
    assert not dock.vessels.isVisible()  # there is one


def test_it_follows_a_run_that_was_open_before_the_dock(screen, qtbot, small_run):
    viewer = ViewerModel()
    open_run(viewer, small_run)
    dock = NavigatorDock(viewer)
    qtbot.addWidget(dock)
    assert dock.progress_words.text() == "1 of 4 fields looked at"
    close_run(viewer)


def test_next_and_previous_walk_along_the_list(dock):
    order = keys_of(dock)
    dock.open_field(order[0])
    assert dock.place.text() == "Most worth a look: 1 of 4"
    seen = [dock.session.current]
    for _ in range(3):
        dock.open_next()
        seen.append(dock.session.current)
    assert seen == order
    assert keys_of(dock) == order  # it stays while one walks
    dock.open_next()
    assert dock.session.current == order[-1]
    assert dock.why.text() == "This is the last field of the list."
    assert dock.why.isVisible()
    dock.open_previous()
    assert dock.session.current == order[-2]
    assert dock.progress_words.text() == "4 of 4 fields looked at"


def test_the_next_one_that_nobody_looked_at_goes_round_the_list(dock):
    order = keys_of(dock)
    dock.open_field(order[-1])
    for _ in range(3):
        dock.open_next_new()
    assert dock.progress_words.text() == "4 of 4 fields looked at"
    dock.open_next_new()
    assert dock.why.text() == "Every field of this vessel was looked at."


def test_keys_work_all_over_the_window_until_the_dock_is_closed(docked, shown_viewer, qtbot):
    order = keys_of(docked)
    docked.open_field(order[1])
    window = shown_viewer.window._qt_window
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    qtbot.keyClick(window, Qt.Key.Key_N)
    assert docked.session.current == order[2]
    qtbot.keyClick(window, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    assert docked.session.current == order[1]
    qtbot.keyClick(window, Qt.Key.Key_G)
    assert shown_viewer.layers[NAME].visible
    qtbot.keyClick(window, Qt.Key.Key_G)
    assert not shown_viewer.layers[NAME].visible
    session, said = docked.session, docked.progress_words.text()
    shown_viewer.window.remove_dock_widget(docked)
    qtbot.keyClick(window, Qt.Key.Key_N)
    assert session.current == order[1]
    session.open(order[3])
    assert docked.progress_words.text() == said  # it listens no more


def test_a_click_on_a_layer_shows_its_fields_and_a_click_on_one_opens_it(dock, qtbot):
    viewer = dock.viewer
    scene = dock.scene
    place = dock.ladder.row_rect(2).center().toPoint()
    qtbot.mouseClick(dock.ladder, Qt.MouseButton.LeftButton, pos=QPoint(20, place.y()))
    layer = viewer.layers[NAME]
    assert layer.visible
    assert viewer.layers.selection.active is layer
    assert viewer.layers[-1] is layer
    assert {one.key for one in dock.mosaic.mosaic.tiles} == set(dock.session.keys("SMALL", 2))
    low, high = scene.image.extent.world
    above, below = layer.extent.world
    assert (above <= low).all()
    assert (below >= high).all()  # it hides the open field
    tile = dock.mosaic.mosaic.tiles[1]
    assert dock.mosaic.picture[tile.y + 100, tile.x : tile.x + 256].std() > 5  # its picture is there
    click(dock.mosaic, layer, tile.y + 50, tile.x + 50)
    assert dock.session.current == tile.key
    assert not layer.visible
    assert viewer.layers.selection.active is scene.cells


def click(view, layer, y, x):
    """Press and let go at a place of the mosaic, as napari tells it."""

    class Event:
        type = "mouse_press"
        position = tuple(layer.data_to_world((y, x)))

    steps = view._clicked(layer, Event)
    next(steps)
    Event.type = "mouse_release"
    with pytest.raises(StopIteration):
        next(steps)


def test_dragging_over_the_mosaic_opens_nothing(dock):
    dock.show_layer(1)
    tile = dock.mosaic.mosaic.tiles[0]
    layer = dock.viewer.layers[NAME]

    class Event:
        type = "mouse_press"
        position = tuple(layer.data_to_world((tile.y + 50, tile.x + 50)))

    current = dock.session.current
    steps = dock.mosaic._clicked(layer, Event)
    next(steps)
    Event.type, Event.position = "mouse_move", tuple(layer.data_to_world((tile.y + 150, tile.x + 50)))
    next(steps)
    Event.type = "mouse_release"
    with pytest.raises(StopIteration):
        next(steps)
    assert (dock.session.current, layer.visible) == (current, True)


def test_the_ladder_is_used_by_keyboard(dock, qtbot):
    opened = []
    dock.ladder.layer_opened.connect(opened.append)
    dock.ladder.setFocus()
    for key in (Qt.Key.Key_End, Qt.Key.Key_Up, Qt.Key.Key_Return):
        qtbot.keyClick(dock.ladder, key)
    assert (dock.ladder.chosen, opened) == (2, [2])
    assert dock.mosaic.place == ("SMALL", 2)
    qtbot.keyClick(dock.ladder, Qt.Key.Key_Home)
    assert dock.ladder.chosen == dock.ladder.ladder.rows[0][-1].layer


def test_the_pointer_on_a_layer_tells_how_its_figure_was_got(dock, qtbot):
    place = QPoint(20, dock.ladder.row_rect(1).center().toPoint().y())
    dock.ladder.event(QHelpEvent(QEvent.Type.ToolTip, place, dock.ladder.mapToGlobal(place)))
    qtbot.waitUntil(QToolTip.isVisible)
    assert QToolTip.text().startswith("Layer 1: seen.")
    assert "scored fields weighted by judgeable area" in QToolTip.text()
    QToolTip.hideText()


def test_what_was_said_shows_in_list_ladder_and_mosaic(dock):
    key = dock.session.keys("SMALL", 1)[0]
    dock.open_field(key)
    dock.show_layer(1)
    dock.session.judge_field("rejected", "debris", "")
    assert dock.progress_words.text().endswith("fields looked at; 1 rejected")
    row = dock.fields.index(dock.fields.row_of(key))
    assert row.data(Qt.ItemDataRole.UserRole).word == "rejected"
    assert "left out, was" in row.data()
    assert dock.ladder.ladder.rungs[0].before_percent is not None
    assert next(one for one in dock.mosaic.mosaic.tiles if one.key == key).mark.word == "rejected"
    dock.sort_anew()
    assert keys_of(dock)[-1] == key


def test_a_decision_brings_its_outcomes_to_the_ladder(dock):
    assert not dock.ladder.ladder.has_outcomes
    dock.session.decide("SMALL", load_rules("msc-expansion-default"), "trial")
    assert dock.ladder.ladder.has_outcomes
    order = keys_of(dock)
    dock.session.judge_field("accepted", None, "")
    dock.session.decide("SMALL", load_rules("msc-expansion-default"), "trial")
    assert keys_of(dock) == order  # whoever walks along the list finds it as it was


def test_a_decision_that_is_there_already_has_a_say_in_the_order(dock, small_run, qtbot):
    dock.session.decide("SMALL", load_rules("msc-expansion-default"), "trial")
    close_run(dock.viewer)
    viewer = ViewerModel()
    again = NavigatorDock(viewer)
    qtbot.addWidget(again)
    open_run(viewer, small_run)
    run = again.session.run
    record = again.session.records("SMALL")[0]
    assert again.fields.items == worth_a_look(run.original, run.state, {"SMALL": record})
    close_run(viewer)


def test_of_a_long_list_only_what_looks_different_is_drawn_again(dock, qtbot, monkeypatch):
    layer = {key: dock.session.row(key).layer for key in keys_of(dock)}
    here = dock.session.current
    there = next(key for key in keys_of(dock) if layer[key] != layer[here])
    drawn, rows, draw = set(), set(), dock.ladder._draw_rung
    qtbot.waitUntil(lambda: not dock.ladder.testAttribute(Qt.WidgetAttribute.WA_PendingUpdate))
    qtbot.wait(50)
    monkeypatch.setattr(
        dock.ladder, "_draw_rung", lambda to, rung, *more: (drawn.add(rung.layer), draw(to, rung, *more))
    )
    dock.fields.dataChanged.connect(lambda first, last: rows.update(range(first.row(), last.row() + 1)))
    dock.open_field(there)
    qtbot.waitUntil(lambda: drawn == {layer[here], layer[there]})
    assert rows == {dock.fields.row_of(there)}  # looked at now
    dock.session.judge_field("rejected", "debris", "a hair")
    qtbot.wait(50)
    assert drawn < {one.layer for one in dock.ladder.ladder.rungs}
    assert dock.fields.mark(there).word == "rejected"


def test_the_layers_are_drawn(dock):
    dock.ladder.setFocus()
    picture = dock.grab().toImage()
    colours = {picture.pixelColor(x, y).name() for x in range(0, picture.width(), 3) for y in range(picture.height())}
    assert "#56b4e9" in colours  # a seen layer's dot


def test_with_threads_the_next_fields_are_read_ahead(screen, qtbot, small_run):
    viewer = ViewerModel()
    dock = NavigatorDock(viewer)
    qtbot.addWidget(dock)
    open_run(viewer, small_run, QtWork())
    qtbot.waitUntil(lambda: dock.session.current is not None, timeout=10_000)
    order = keys_of(dock)
    dock.open_field(order[0])
    qtbot.waitUntil(lambda: order[1] in dock.session._kept, timeout=10_000)
    dock.show_layer(1)
    n = len(dock.mosaic.mosaic.tiles)
    qtbot.waitUntil(lambda: len(dock.mosaic._kept) == n, timeout=10_000)
    assert viewer.layers[NAME].visible
    dock.toggle_mosaic()
    dock.toggle_mosaic()
    dock.toggle_mosaic()  # before it is drawn again
    qtbot.wait(300)
    assert not viewer.layers[NAME].visible
    dock.show_layer(1)
    qtbot.waitUntil(lambda: viewer.layers[NAME].visible, timeout=10_000)
    tile = dock.mosaic.mosaic.tiles[0]
    assert dock.mosaic.picture[tile.y + 100, tile.x : tile.x + 256].std() > 5  # its thumbnail was at hand
    close_run(viewer)


def test_a_mosaic_whose_images_are_gone_says_so(screen, qtbot, finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"images_folder": str(tmp_path / "gone")}))
    viewer = ViewerModel()
    dock = NavigatorDock(viewer)
    qtbot.addWidget(dock)
    open_run(viewer, run)
    dock.show_layer(1)
    assert all("No picture" in str(one) for one in dock.mosaic._kept.values())
    close_run(viewer)


def test_a_layer_beside_the_rows_is_none(dock):
    assert dock.ladder.layer_at(2) is None
    assert dock.ladder.layer_at(10_000) is None
    assert dock.ladder.layer_at(QPointF(dock.ladder.row_rect(1).center()).y()) == 1
