"""The correct dock in a real window: a stroke of the mouse is a correction, figures follow, and it is there again."""

import numpy as np
import pytest
from napari_plugin.mouse import Mouse
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from msc_vision.review.log import read_log
from napari_msc_vision.docks.correct import CorrectDock
from napari_msc_vision.docks.following import HINT
from napari_msc_vision.proposal_view import PROPOSAL
from napari_msc_vision.qt_work import QtWork
from napari_msc_vision.registry import open_run


@pytest.fixture
def said():
    return []


@pytest.fixture
def scene(shown_viewer, small_run, said):
    shown_viewer.window._qt_window.resize(1200, 900)
    scene = open_run(shown_viewer, small_run, tell=said.append)
    scene.session.open(scene.session.keys()[0])
    return scene


@pytest.fixture
def dock(shown_viewer, scene, qtbot):
    dock = CorrectDock(shown_viewer)
    shown_viewer.window.add_dock_widget(dock, name="Correct", area="right")
    assert scene is not None
    qtbot.wait(200)
    return dock


@pytest.fixture
def hand(shown_viewer, scene):
    return Mouse(shown_viewer, scene)


@pytest.fixture
def square(scene):
    """The open field with one cell, rows 100 to 200, columns 100 to 200."""
    masks = scene.session.masks.copy()
    for kind in ("foreground", "cells", "aggregates"):
        masks.of(kind)[:] = 0
    masks.judgeable[:] = True
    masks.cells[100:200, 100:200] = 1
    masks.foreground[:] = masks.cells > 0
    scene.session.replace_masks(masks, "annotation")
    return masks


def tools_used(run):
    return [event.after["tool"] for event in read_log(run).events if event.action == "edited"]


def row_of(dock, name):
    table = dock.figures
    rows = [[table.item(i, j).text() for j in range(3)] for i in range(table.rowCount())]
    return next(row for row in rows if name in row[0])


def test_without_a_run_the_dock_says_what_to_do(viewer, qtbot):
    dock = CorrectDock(viewer)
    qtbot.addWidget(dock)
    assert dock._stack.currentWidget().text() == HINT


@pytest.mark.usefixtures("square")
def test_a_run_is_corrected_by_the_mouse_and_opened_again_as_it_was_left(
    dock, hand, scene, small_run, make_viewer, qtbot
):
    key = scene.session.current
    dock.brush.setValue(20)
    dock.buttons["new cell"].click()
    hand.stroke((40, 40), (40, 120))
    assert scene.session.masks.cells[40, 80] == 2
    assert scene.session.masks.foreground[40, 80]
    dock.buttons["split"].click()
    hand.stroke((90, 150), (210, 150))
    assert len(np.unique(scene.session.masks.cells)) == 4
    dock.buttons["merge"].click()
    hand.stroke((150, 120), (150, 180))
    assert len(np.unique(scene.session.masks.cells)) == 3
    dock.undo.click()
    assert len(np.unique(scene.session.masks.cells)) == 4
    assert tools_used(small_run) == ["annotation", "new cell", "split", "merge", "undo"]
    left = scene.session.masks.sha256
    scene.session.close()
    other = make_viewer(show=False)
    again = open_run(other, small_run)
    again.session.open(key)
    assert again.session.masks.sha256 == left
    assert len(np.unique(again.cells.data)) == 4


def test_figures_of_field_and_layer_follow_a_stroke(dock, hand, scene, square):
    before = row_of(dock, "Field")
    dock.brush.setValue(60)
    dock.buttons["erase foreground"].click()
    hand.stroke((150, 110), (150, 190))
    after = row_of(dock, "Field")
    assert after[1] == before[1]
    assert after[2] != before[2]
    assert after[2].startswith("●")
    share = 100 * scene.session.masks.foreground.mean()
    assert after[2] == f"● {share:.1f} %"
    assert share < 100 * square.foreground.mean()
    assert row_of(dock, "Layer 1")[2].startswith("●")
    assert "erase foreground" in dock.changes.item(0).text()


def test_a_key_takes_a_tool_and_ctrl_z_takes_back_the_stroke(dock, hand, scene, square, qtbot):
    hand.canvas.setFocus()
    QTest.keyClick(hand.canvas, Qt.Key.Key_D)
    assert dock.buttons["delete cell"].isChecked()
    assert "Click on what is no cell" in dock.help.text()
    hand.stroke((150, 150))
    assert not scene.session.masks.cells.any()
    QTest.keyClick(hand.canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert scene.session.masks.sha256 == square.sha256
    assert (scene.cells.data == square.cells).all()
    QTest.keyClick(hand.canvas, Qt.Key.Key_Escape)
    assert not any(button.isChecked() for button in dock.buttons.values())


def test_a_finding_is_drawn_named_listed_and_dismissed(dock, hand, scene):
    dock.buttons["finding"].click()
    hand.stroke((50, 60), (110, 160))
    panel = dock.findings
    assert dock.tabs.currentWidget() is panel
    assert panel.adding.isVisible()
    panel.kind.setCurrentIndex(panel.kind.findData("budding"))
    panel.note.setText("pairs of round bodies")
    panel.add.click()
    found = scene.found()[-1]
    assert (found.kind, found.note) == ("budding", "pairs of round bodies")
    assert np.abs(np.array(found.box_px) - (50, 111, 60, 161)).max() <= 2
    panel.list.setCurrentRow(panel.list.count() - 1)
    assert panel.dismissing.isVisible()
    panel.reason.setCurrentIndex(panel.reason.findData("debris"))
    panel.why.setText("looked again at higher magnification")
    panel.dismiss.click()
    assert scene.found()[-1].is_dismissed
    assert "dismissed" in panel.list.item(panel.list.count() - 1).text()


def test_a_proposal_is_shown_compared_and_accepted(dock, scene, shown_viewer):
    before = scene.session.masks
    panel = dock.proposal
    panel.debris.setValue(2000)
    panel.propose.click()
    assert PROPOSAL in shown_viewer.layers
    assert "Confluency" in panel.result.text()
    assert scene.session.masks is before
    panel.discard.click()
    assert PROPOSAL not in shown_viewer.layers
    panel.propose.click()
    proposed = panel.view.proposal.masks
    panel.accept.click()
    assert scene.session.masks.sha256 == proposed.sha256
    assert (scene.cells.data == proposed.cells).all()
    assert PROPOSAL not in shown_viewer.layers
    dock.undo.click()
    assert scene.session.masks.sha256 == before.sha256


def test_a_field_that_the_run_refused_can_be_proposed_and_then_counts(dock, scene, said):
    session = scene.session
    fields = session.run.original.fields
    refused = next(key for key, field in fields.items() if field.score.status == "rejected")
    session.open(refused)
    panel = dock.proposal
    panel.propose.click()
    assert "whatever the quality" in said[-1].text
    panel.gate.setCurrentIndex(1)
    panel.propose.click()
    panel.accept.click()
    assert session.score.status == "scored"
    assert row_of(dock, "state")[2] == "● scored"


def test_another_field_takes_its_proposal_away(dock, scene, shown_viewer):
    dock.proposal.propose.click()
    scene.session.open(scene.session.keys()[1])
    assert PROPOSAL not in shown_viewer.layers
    assert dock.proposal.view.proposal is None


def test_beside_a_window_the_answer_comes_later_and_can_be_cancelled(make_viewer, small_run, qtbot):
    viewer = make_viewer(show=True)
    scene = open_run(viewer, small_run, QtWork())
    dock = CorrectDock(viewer)
    viewer.window.add_dock_widget(dock, name="Correct", area="right")
    first = scene.session.keys()[0]
    scene.session.open(first)
    qtbot.waitUntil(lambda: scene.session.current == first, timeout=20_000)
    panel = dock.proposal
    panel.propose.click()
    assert panel.view.is_waiting
    assert "Looking at the field again" in panel.result.text()
    panel.cancel.click()
    assert not panel.view.is_waiting
    panel.propose.click()
    qtbot.waitUntil(lambda: PROPOSAL in viewer.layers)
    viewer.layers.remove(PROPOSAL)  # out of sight yet, and somebody throws it away
    qtbot.waitUntil(lambda: panel.view.proposal is not None, timeout=20_000)
    qtbot.waitUntil(lambda: PROPOSAL in viewer.layers and viewer.layers[PROPOSAL].visible)
    assert viewer.layers[PROPOSAL].data.any()
