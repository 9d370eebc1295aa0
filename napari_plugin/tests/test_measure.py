"""The docks Measure and Learn in a real viewer: cells, tables and pictures hang together, and nothing is lost."""

import csv
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.plan import RunSettings, plan_run
from msc_vision.batch.reviewed import ReviewedRun
from msc_vision.batch.run import run_folder
from msc_vision.io.images import open_image
from msc_vision.report.cell_table import CELL_FIGURES, cell_table
from msc_vision.review.events import Reviewer
from msc_vision.review.masks import difference
from msc_vision.synth import render_vessel
from msc_vision.synth.recipe import load_recipe
from msc_vision.vessels import load_catalogue
from napari_msc_vision import tables
from napari_msc_vision.docks.annotate import PREFIX
from napari_msc_vision.docks.cell_mark import NAME as MARK
from napari_msc_vision.docks.cell_model import CellModel
from napari_msc_vision.docks.compare import NAME as DIFFERENCES
from napari_msc_vision.docks.learn import LearnDock
from napari_msc_vision.docks.measure import MeasureDock
from napari_msc_vision.docks.snapshot import png_with_caption
from napari_msc_vision.qt_work import QtWork
from napari_msc_vision.registry import open_run
from napari_msc_vision.session import open_session
from napari_msc_vision.work import DirectWork

ANNA, BERT = Reviewer("anna"), Reviewer("bert")
RECIPE = """
description: two layers of a HYPERStack-12, two small fields each
vessel_id: SMALL
vessel_type: hyperstack-12
seed: 78
context: {acquired_at: "2026-11-22T09:30:00+01:00"}
file_format: ome-tiff
layers:
  - {layer: 1, confluency_percent: 60, n_fields: 2}
  - {layer: 2, confluency_percent: 40, n_fields: 1}
settings: {height_px: 320, width_px: 352, pixel_size_um: 1.24, bit_depth: 12}
"""


@pytest.fixture(scope="module")
def measured_run(tmp_path_factory):
    """A run of three fields whose cells the network found: contrast alone tells no cells apart."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    catalogue = load_catalogue()
    manifest = render_vessel(load_recipe(folder / "recipe.yaml", catalogue), folder / "images", catalogue=catalogue)
    run_folder(plan_run(manifest, catalogue, load_pipeline("default"), folder / "run", settings=RunSettings(workers=1)))
    return folder / "run"


@pytest.fixture
def run(measured_run, tmp_path):
    return shutil.copytree(measured_run, tmp_path / "run")


@pytest.fixture
def session(run):
    session = open_session(run, reviewer=ANNA)
    session.open(session.keys()[0])
    return session


def asked(session, scope="field", figure=CELL_FIGURES[0], baseline=None):
    return tables.question(session, figure, scope, baseline)


# --- without a screen ------------------------------------------------------------------------------------------------


def test_field_layer_and_vessel_are_wider_and_wider(session):
    vessel = tables.vessel_cells(asked(session))
    scopes = ("field", "layer", "vessel")
    n = [tables.answer(asked(session, scope), vessel).distribution.n_cells for scope in scopes]
    assert 0 < n[0] < n[1] < n[2]
    assert set(vessel.columns) == {"area_um2", "border_weight", "is_measured"}  # a large vessel has a million cells
    of_field = tables.answer(asked(session), vessel)
    assert of_field.distribution.n_others == n[2] - n[0]
    assert f"the {n[2] - n[0]} other measured cells" in of_field.against


def test_a_rejected_field_counts_no_more(session):
    before = len(asked(session).fields)
    session.open(session.keys()[1])
    session.judge_field("rejected", "out of focus", "")
    session.open(session.keys()[0])
    assert len(asked(session).fields) == before - 1


def test_cells_follow_a_correction_and_stay_so_after_reopening(session, run):
    key = session.current
    vessel = tables.vessel_cells(asked(session))
    found = tables.field_cells(asked(session), session.row(key))
    assert len(found) == int(vessel.is_of([key]).sum())
    n_before, gone = len(found), int(found.labels[0])
    after = session.masks.copy()
    after.foreground[after.cells == gone] = False
    after.cells[after.cells == gone] = 0
    session.commit(after, "erase")
    own = tables.open_cells(tables.open_field(session, None, None))
    assert own.row_of(gone) is None
    n_after = len(own)
    assert n_after == n_before - 1
    session.close()
    again = open_session(run, reviewer=ANNA)
    again.open(key)
    cells = tables.field_cells(asked(again), again.row(key))
    assert len(cells) == n_after
    assert cells.row_of(gone) is None
    assert int(tables.vessel_cells(asked(again)).is_of([key]).sum()) == n_after
    assert tables.open_cells(tables.open_field(again, None, None)) is None


class Other:
    """A baseline that was made with another recipe."""

    class head:  # noqa: N801
        class origin:  # noqa: N801
            baseline_id = "mcb-7"

    @staticmethod
    def refusal(fields):
        return f"it was measured with another recipe ({fields[0].path})"


def test_a_baseline_of_another_recipe_is_not_drawn_and_says_why(session):
    vessel = tables.vessel_cells(asked(session))
    found = tables.answer(asked(session, baseline=Other()), vessel)
    assert found.distribution.expected is None
    assert "Not held against baseline mcb-7: it was measured with another recipe" in found.against


def test_the_time_line_shows_what_the_review_changed(session, run):
    vessel_id = session.row(session.current).vessel_id
    catalogue = session.run.catalogue
    before = tables.course_of(run, vessel_id, (), catalogue, session.figures)
    assert [one.is_reviewed for one in before.points] == [False]
    after = replace(session.masks, foreground=np.zeros_like(session.masks.foreground))
    session.commit(replace(after, cells=np.zeros_like(session.masks.cells)), "erase")
    points = tables.course_of(run, vessel_id, (), catalogue, session.figures).points
    assert [one.is_reviewed for one in points] == [False, True]
    assert points[1].percent < points[0].percent
    assert "after the review" in points[1].words


def test_runs_beside_are_offered_and_what_is_no_course_is_said(session, run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    assert {one.name for one in tables.runs_beside(run)} == {"other", "broken"}
    course = tables.course_of(run, "SMALL", tables.runs_beside(run), session.run.catalogue)
    assert {one.run for one in course.points} == {"run", other.name}
    assert any("the run cannot be read" in note for note in course.notes)


def test_the_fields_after_the_review_say_who_rejected_what(session):
    key = session.current
    session.judge_field("rejected", "out of focus", "all of it")
    text = tables.fields_csv(session.keys(), session.run.original, session.figures, session.run.state)
    rows = {row["key"]: row for row in csv.DictReader(text.splitlines())}
    assert len(rows) == 3
    said = rows[key]
    assert (said["standing"], said["judged_by"], said["reason_code"]) == ("rejected", "anna", "out of focus")
    assert said["confluency_percent"] == ""
    assert float(said["confluency_found_percent"]) > 0


def test_a_caption_says_what_who_when_and_of_which_run(session):
    what, who = tables.caption(session, datetime(2026, 11, 22, 12, tzinfo=UTC))
    assert what.startswith("SMALL, layer 1, field")
    assert "% confluent" in what
    assert who == f"anna, 22 Nov 2026 12:00 UTC, run {session.run.run_id}"


def test_thousands_of_rows_sort_by_any_column_with_what_is_missing_last(qtbot):
    names = [("kind", "<U9"), ("label", "<i4"), ("area_um2", "<f8"), ("is_measured", "?")]
    found = np.zeros(5000, names)
    found["kind"], found["label"] = "cell", np.arange(1, 5001)
    found["area_um2"] = np.random.default_rng(0).permutation(5000).astype(float)
    found["area_um2"][7] = np.nan
    model = CellModel()
    model.show_cells(cell_table("f", found))
    for order in (Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder):
        model.sort(1, order)
        areas = [model.table.values(CELL_FIGURES[0])[model.table.row_of(model.label_at(row))] for row in range(5000)]
        assert np.isnan(areas[-1])
        assert areas[:-1] == sorted(areas[:-1], reverse=order == Qt.SortOrder.DescendingOrder)
    assert model.label_at(model.row_of(8)) == 8
    assert model.row_of(6000) is None


# --- in a real viewer ------------------------------------------------------------------------------------------------


@pytest.fixture
def shown(viewer, run):
    """A run open in a real viewer, with the dock Measure."""
    scene = open_run(viewer, run, DirectWork())
    dock = MeasureDock(viewer)
    viewer.window.add_dock_widget(dock, name="Measure")
    yield viewer, scene, dock
    dock.close()


def test_without_a_run_the_dock_says_what_to_do(viewer):
    dock = MeasureDock(viewer)
    assert "No run is open" in dock._stack.currentWidget().text()
    dock.close()


def test_the_baseline_that_a_run_keeps_is_taken_until_somebody_chooses_otherwise(viewer, run, monkeypatch):
    monkeypatch.setattr(ReviewedRun, "baseline", Other())
    open_run(viewer, run, DirectWork())
    dock = MeasureDock(viewer)
    viewer.window.add_dock_widget(dock)
    assert dock.baseline_button.text() == "mcb-7"
    assert "Not held against baseline mcb-7" in dock.against.text()
    dock.against_menu.aboutToShow.emit()
    rest, own, other = dock.against_menu.actions()
    assert [one.text() for one in (rest, own, other)] == [
        "The rest of the vessel", "mcb-7, the baseline of this run", "Another baseline…",
    ]  # fmt: skip
    rest.trigger()
    assert dock.baseline_button.text() == "Against: rest"
    assert "mcb-7" not in dock.against.text()
    own.trigger()
    assert dock.baseline_button.text() == "mcb-7"


def test_a_row_selects_its_cell_and_a_click_in_the_picture_its_row(shown):
    viewer, scene, dock = shown
    assert len(dock.cells) == dock.model.rowCount()
    dock.table.selectRow(3)
    chosen = dock.model.label_at(3)
    assert (dock.selected, scene.cells.selected_label) == (chosen, chosen)
    assert dock.view.selected == pytest.approx(dock.cells.values(CELL_FIGURES[0])[dock.cells.row_of(chosen)])
    sides = viewer.layers[MARK].data
    assert len(sides) == 4
    box = sides.sum(axis=1)  # where they end
    rows = np.argwhere(scene.cells.data == chosen)
    assert (box.min(axis=0) <= rows.min(axis=0)).all()
    assert (box.max(axis=0) >= rows.max(axis=0)).all()
    other = dock.model.label_at(8)
    y, x = np.argwhere(scene.cells.data == other)[0]
    position = scene.cells.data_to_world((y, x))
    scene.session.cell_selected.emit(dock._mark.label_at(position))
    assert dock.table.currentIndex().row() == 8
    assert dock.cell_words.text().startswith(f"Cell {other}:")


def under_mouse(scene, label):
    """What the status bar says with the mouse on a cell."""
    y, x = np.argwhere(scene.cells.data == label)[0]
    return scene.cells.get_status(scene.cells.data_to_world((y, x)), world=True)["coordinates"]


def test_the_status_bar_tells_number_area_and_elongation_of_the_cell_under_the_mouse(shown):
    _, scene, dock = shown
    label = dock.model.label_at(3)
    row = dock.cells.row_of(label)
    area, elongation = (one for one in CELL_FIGURES if one.column in ("area_um2", "elongation"))
    said = f"{label}; Area: {area.told(dock.cells.values(area)[row])}, Elongation: "
    said += elongation.told(dock.cells.values(elongation)[row])
    assert under_mouse(scene, label).endswith(said)
    assert under_mouse(scene, 0).endswith(": 0")


def test_nothing_is_told_of_cells_that_are_not_known_any_more(shown):
    viewer, scene, dock = shown
    session, label = scene.session, dock.model.label_at(0)
    after = session.masks.copy()
    rows = np.nonzero(after.cells == label)[0]
    is_upper = (after.cells == label) & (np.arange(len(after.cells))[:, None] <= np.median(rows))
    before = under_mouse(scene, label)
    after.foreground[is_upper], after.cells[is_upper] = False, 0
    session.replace_masks(after, "erase")
    assert under_mouse(scene, label).split(";")[1] != before.split(";")[1]
    session.is_measured = False  # as while shapes are being measured
    dock._ask()
    assert under_mouse(scene, label).endswith(f": {label}")
    session.is_measured = True
    dock._ask()
    assert "Area" in under_mouse(scene, label)
    viewer.window.remove_dock_widget(dock)
    assert under_mouse(scene, label).endswith(f": {label}")


def test_telling_of_five_hundred_cells_draws_nothing_and_holds_nobody_up(shown_viewer, run, qtbot):
    scene = open_run(shown_viewer, run, DirectWork())
    dock = MeasureDock(shown_viewer)
    drawn = []
    canvas = shown_viewer.window._qt_viewer.canvas._scene_canvas
    canvas.events.draw.connect(lambda _: drawn.append(1))
    n_before = -1
    while len(drawn) != n_before:  # until the window that was just opened has come to rest
        n_before = len(drawn)
        qtbot.wait(500)
    drawn.clear()
    found = np.zeros(500, [("label", "<i4"), ("area_um2", "<f8"), ("elongation", "<f8")])
    found["label"], found["area_um2"], found["elongation"] = np.arange(1, 501), 1234.5, 0.5
    words = tables.words_by_cell(cell_table("f", found))
    took_s = []
    for _ in range(5):
        start = perf_counter()
        dock._mark.tell(words)
        took_s.append(perf_counter() - start)
    qtbot.wait(300)
    assert not drawn
    assert min(took_s) < 0.005
    scene.cells.refresh()
    qtbot.waitUntil(lambda: bool(drawn), timeout=5_000)
    dock.close()


def test_whoever_paints_goes_on_painting(shown):
    viewer, scene, dock = shown
    viewer.layers.selection.active = scene.foreground
    dock.table.selectRow(2)
    assert viewer.layers.selection.active is scene.foreground


def test_the_table_follows_a_correction(shown):
    _, scene, dock = shown
    n, gone = dock.model.rowCount(), dock.model.label_at(0)
    dock.table.selectRow(0)
    after = scene.session.masks.copy()
    after.foreground[after.cells == gone] = False
    after.cells[after.cells == gone] = 0
    scene.session.replace_masks(after, "erase")
    assert dock.model.rowCount() == n - 1
    assert dock.view.selected is None


def test_another_field_is_another_table(shown):
    viewer, scene, dock = shown
    dock.table.selectRow(1)
    scene.session.open(scene.session.keys()[1])
    assert set(dock.cells.keys) == {scene.session.keys()[1]}
    assert not len(viewer.layers[MARK].data)
    assert dock.selected == 0


def test_tables_and_picture_are_saved_where_the_dialog_says(shown, tmp_path, monkeypatch):
    _, _, dock = shown
    asked_for = iter(("cells.csv", "fields.csv", "field.png"))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / next(asked_for)), ""))
    dock.save_cells()
    dock.save_fields()
    dock.save_picture()
    assert len((tmp_path / "cells.csv").read_text().splitlines()) == dock.model.rowCount() + 1
    assert len((tmp_path / "fields.csv").read_text().splitlines()) == 4
    assert (tmp_path / "field.png").read_bytes().startswith(b"\x89PNG")
    assert "Saved" in dock.saved.text()


def test_what_cannot_be_saved_is_said(shown, tmp_path, monkeypatch):
    _, scene, dock = shown
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "no" / "cells.csv"), ""))
    said = []
    scene.session.said.connect(said.append)
    dock.save_cells()
    assert said[-1].level == "error"
    assert "cannot be written" in said[-1].text


def test_a_caption_stands_below_the_picture(screen, qtbot):
    from PIL import Image

    canvas = np.zeros((50, 400, 4), np.uint8)
    canvas[..., 3] = 255
    import io

    picture = np.asarray(Image.open(io.BytesIO(png_with_caption(canvas, ["SMALL, layer 1", "anna, today"]))))
    assert picture.shape[1] == 400
    assert not picture[:50, :, :3].any()
    assert (picture[50:, :, :3] == 255).mean() > 0.5
    assert (picture[50:, :, :3] < 100).any()


def test_answers_that_come_late_are_those_of_the_field_that_is_open(viewer, run, qtbot):
    scene = open_run(viewer, run, QtWork())
    dock = MeasureDock(viewer)
    first, second = scene.session.keys()[:2]
    qtbot.waitUntil(lambda: scene.session.current == first and dock.cells is not None, timeout=20_000)
    scene.session.open(second)
    dock.figure_box.setCurrentIndex(2)
    qtbot.waitUntil(lambda: dock.cells is not None and set(dock.cells.keys) == {second}, timeout=20_000)
    assert dock.answer.distribution.figure is CELL_FIGURES[2]
    dock.close()


# --- learning --------------------------------------------------------------------------------------------------------


@pytest.fixture
def learning(viewer, run, tmp_path):
    """A run open in a real viewer, with the dock Learn and a folder for pairs."""
    scene = open_run(viewer, run, DirectWork())
    dock = LearnDock(viewer)
    dock.folder.line.setText(str(tmp_path / "pairs"))
    yield viewer, scene, dock
    dock.close()


def test_a_field_is_kept_for_training_and_that_is_noted(learning, tmp_path, run):
    _, scene, dock = learning
    dock.keep_button.click()
    key = scene.session.current
    labels = tifffile.imread(tmp_path / "pairs" / f"{key}_labels.tif")
    assert np.array_equal(labels, scene.session.masks.cells)
    assert "1 of 3 fields" in dock.kept_label.text()
    assert ReviewedRun.open(run).state.of(key).events[-1].action == "kept-for-training"


def test_without_a_folder_nothing_can_be_kept(learning):
    _, _, dock = learning
    assert dock.missing_label.isHidden()
    dock.folder.line.setText("")
    assert not dock.keep_button.isEnabled()
    assert not dock.missing_label.isHidden()
    assert dock.missing_label.text() == "First choose a folder for the pairs, above."


def test_what_must_not_be_learned_from_is_said_and_not_kept(learning, tmp_path):
    _, scene, dock = learning
    key = scene.session.current
    sha256 = scene.session.run.original.fields[key].score.image_sha256
    (tmp_path / "pairs.csv").write_text(
        f"image,truth,kind,set,use,sha256\nx.tif,,instances,sealed,evaluation-only,{sha256}\n"
    )
    dock.keep_button.click()
    assert "evaluation only" in dock.state_label.text()
    assert not (tmp_path / "pairs").exists()


def test_a_fresh_picture_is_annotated_from_the_networks_proposal(learning, tmp_path, run):
    viewer, scene, dock = learning
    picture = scene.locate(scene.session.current)[0]
    with open_image(picture) as image:
        tifffile.imwrite(tmp_path / "fresh.tif", image.read())
    page = dock.annotate
    page.take(tmp_path / "fresh.tif")
    page.propose()
    assert "pixel size is not known" in page.state_label.text()
    page.size_box.setValue(1.24)
    page.propose()
    assert "cells proposed" in page.state_label.text()
    cells = viewer.layers[f"{PREFIX}Cells"]
    assert tuple(cells.scale) == (1.24, 1.24)
    cells.data[5:25, 5:25] = 4000
    viewer.layers[f"{PREFIX}Not judgeable"].data[300:, :] = 1
    page.save()
    assert (tifffile.imread(tmp_path / "pairs" / "fresh_labels.tif")[5:25, 5:25] == 4000).all()
    assert (tifffile.imread(tmp_path / "pairs" / "fresh_ignore.tif")[300:] == 1).all()
    origin = json.loads((tmp_path / "pairs" / "fresh_origin.json").read_text(encoding="utf-8"))
    assert origin["run_id"] is None
    assert origin["proposal"].startswith("default")


def test_an_annotation_whose_layer_is_gone_says_so(learning, tmp_path):
    viewer, scene, dock = learning
    dock.annotate.take(scene.locate(scene.session.current)[0])
    dock.annotate.propose()
    viewer.layers.remove(f"{PREFIX}Cells")
    dock.annotate.save()
    assert "was removed; propose again" in dock.annotate.state_label.text()


def test_a_fresh_picture_needs_no_run(viewer, tmp_path, measured_run, qtbot):
    dock = LearnDock(viewer)
    picture = next((measured_run.parent / "images").rglob("*.tif"))
    dock.folder.line.setText(str(tmp_path / "pairs"))
    dock.annotate.take(picture)
    qtbot.waitUntil(lambda: dock.annotate.image is not None, timeout=10_000)
    dock.annotate.propose()
    qtbot.waitUntil(lambda: dock.annotate.proposal is not None, timeout=30_000)
    dock.annotate.save()
    qtbot.waitUntil(lambda: (tmp_path / "pairs").is_dir() and any((tmp_path / "pairs").glob("*_labels.tif")))
    dock.close()


def test_two_people_who_corrected_one_field_are_compared(viewer, run):
    reviewed = ReviewedRun.open(run)
    key = next(iter(reviewed.original.fields))
    found = reviewed.original_masks(key)
    for who, rows in ((ANNA, np.s_[:40]), (BERT, np.s_[60:90])):
        after = found.copy()
        after.cells[rows, :30], after.foreground[rows, :30] = 5000, True
        reviewed.edit(key, difference(found, after), who, "paint")
    scene = open_run(viewer, run, DirectWork())
    dock = LearnDock(viewer)
    page = dock.compare
    assert [page.first_box.itemText(i) for i in range(3)] == ["As the run found it", "anna", "bert"]
    page.first_box.setCurrentIndex(1)
    page.second_box.setCurrentIndex(2)
    page.compare_button.click()
    assert "Only anna: cell" in page.words.text()
    seen = viewer.layers[DIFFERENCES]
    assert tuple(seen.scale) == tuple(scene.cells.scale)
    fresh = ~found.foreground
    assert (seen.data[:40, :30][fresh[:40, :30]] == 1).all()
    assert (seen.data[60:90, :30][fresh[60:90, :30]] == 2).all()
    assert seen.features["who"].tolist()[1:3] == ["only anna", "only bert"]
    dock.close()


def test_a_file_of_labels_is_compared_with_the_run(learning, tmp_path):
    viewer, scene, dock = learning
    tifffile.imwrite(tmp_path / "ours.tif", scene.session.masks.cells)
    dock.compare.add_file(tmp_path / "ours.tif")
    dock.compare.second_box.setCurrentIndex(dock.compare.second_box.findText("Layer: ours"))
    dock.compare.first_box.setCurrentIndex(0)
    dock.compare.compare()
    assert "Dice 1.000" in dock.compare.words.text()
    assert viewer.layers[DIFFERENCES].data.max() == 3


def test_a_file_that_holds_no_labels_is_said(learning, tmp_path):
    _, _, dock = learning
    (tmp_path / "bad.tif").write_bytes(b"no picture")
    dock.compare.add_file(tmp_path / "bad.tif")
    assert "cannot be read as a mask" in dock.compare.words.text()
