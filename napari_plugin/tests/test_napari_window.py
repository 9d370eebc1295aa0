"""The real window: what is dropped on it is opened beside it, troubles are told in it, closing it loses nothing."""

import json
import shutil
from pathlib import Path

import napari
import numpy as np
import pytest
from napari.utils.notifications import notification_manager

from msc_vision.review.log import read_log
from napari_msc_vision import commands, convert, opening, registry, sample

pytestmark = pytest.mark.usefixtures("screen")


@pytest.fixture
def notes():
    """What the viewer told."""
    told = []

    def hear(note):
        told.append((str(note.severity), note.message))

    notification_manager.notification_ready.connect(hear)
    yield told
    notification_manager.notification_ready.disconnect(hear)


@pytest.fixture(autouse=True)
def without_docks(monkeypatch, request):
    """Docks have tests of their own; here they would only take time."""
    if "with_docks" not in request.keywords:
        monkeypatch.setattr(opening, "_add_docks", lambda viewer: None)


def opened(viewer, qtbot):
    qtbot.waitUntil(lambda: registry.scene_of(viewer) is not None, timeout=20_000)
    scene = registry.scene_of(viewer)
    qtbot.waitUntil(lambda: scene.is_complete, timeout=20_000)
    return scene


def test_dropping_a_run_folder_opens_its_review(viewer, small_run, qtbot):
    viewer.open(str(small_run), plugin="napari-msc-vision")
    scene = opened(viewer, qtbot)
    assert [layer.name for layer in viewer.layers] == list(convert.LAYER_NAMES)
    assert scene.key == scene.session.current
    qtbot.waitUntil(lambda: [event.action for event in read_log(small_run).events] == ["looked"])


def test_a_picture_is_opened_with_its_pixel_size(viewer, small_run, qtbot):
    images = json.loads((small_run / "run.json").read_text())["images_folder"]
    (path,) = Path(images).glob("L01/*F01.ome.tif")
    (layer,) = viewer.open(path, plugin="napari-msc-vision")
    np.testing.assert_allclose(layer.scale, 1.24)
    assert str(layer.units[0]) == "micrometer"


@pytest.mark.parametrize("name", ["run.json", "fields.parquet", "vessels.json"])
def test_a_half_written_run_is_told_in_the_viewer(viewer, small_run, notes, qtbot, name):
    content = (small_run / name).read_bytes()
    (small_run / name).write_bytes(content[: len(content) // 2])
    viewer.open(str(small_run), plugin="napari-msc-vision")
    qtbot.waitUntil(lambda: bool(notes), timeout=20_000)
    assert notes[0][0] == "error"
    assert str(small_run) in notes[0][1]
    assert registry.scene_of(viewer) is None


def test_a_damaged_event_is_named_and_the_rest_is_shown(viewer, small_run, notes, qtbot):
    (small_run / "reviews").mkdir()
    (small_run / "reviews" / "20260101T000000000000Z-0.json").write_text('{"half": ')
    viewer.open(str(small_run), plugin="napari-msc-vision")
    opened(viewer, qtbot)
    assert [level for level, _ in notes] == ["warning"]
    assert "20260101T000000000000Z-0.json" in notes[0][1]


def test_a_disk_that_takes_nothing_is_told_in_the_viewer(viewer, small_run, notes, qtbot, monkeypatch):
    from msc_vision.errors import OutputError
    from msc_vision.review import log

    def refuse(path, content):
        raise OutputError(f"{path}: cannot be written (Read-only file system).")

    monkeypatch.setattr(log, "write_whole", refuse)
    viewer.open(str(small_run), plugin="napari-msc-vision")
    scene = opened(viewer, qtbot)
    qtbot.waitUntil(lambda: bool(notes), timeout=10_000)
    assert "Read-only file system" in notes[0][1]
    assert "press Save" in notes[0][1]
    assert scene.masks().sha256 == scene.session.masks.sha256


def test_closing_the_window_measures_and_writes_what_was_corrected(make_viewer, small_run, qtbot):
    viewer = make_viewer(show=True)
    opening.open_later(viewer, small_run)
    scene = opened(viewer, qtbot)
    scene.cells.data_setitem((np.array([3, 4]), np.array([5, 5])), 4711)
    scene.foreground.data_setitem((np.array([3, 4]), np.array([5, 5])), 1)
    scene.session.commit(scene.masks(), "paint")
    viewer.close()
    qtbot.waitUntil(lambda: registry.scene_of(viewer) is None, timeout=10_000)
    assert [event.action for event in read_log(small_run).events] == ["looked", "edited", "measured"]


def test_the_menu_opens_a_run_that_somebody_chooses(viewer, small_run, qtbot, monkeypatch):
    assert napari.current_viewer() is viewer
    monkeypatch.setattr(opening.QFileDialog, "getExistingDirectory", lambda *_: str(small_run))
    commands.open_run()
    opened(viewer, qtbot)


def test_the_menu_finds_images_that_have_moved(viewer, small_run, notes, qtbot, monkeypatch, tmp_path):
    commands.find_images()
    assert "No run is open" in notes[0][1]
    images = json.loads((small_run / "run.json").read_text())["images_folder"]
    elsewhere = shutil.copytree(images, tmp_path / "elsewhere")
    opening.open_later(viewer, small_run)
    scene = opened(viewer, qtbot)
    monkeypatch.setattr(opening.QFileDialog, "getExistingDirectory", lambda *_: str(elsewhere))
    commands.find_images()
    qtbot.waitUntil(lambda: scene.locate(scene.key)[0].is_relative_to(elsewhere), timeout=10_000)


def test_a_sample_is_made_beside_the_window(viewer, small_run, qtbot, monkeypatch):
    asked = []

    def made(name, folder, *, heard):
        asked.append((name, folder))
        heard(1, 2)
        return small_run

    monkeypatch.setattr(opening, "sample_run", made)
    viewer.open_sample("napari-msc-vision", "hyperstack-12")
    opened(viewer, qtbot)
    assert asked == [("hyperstack-12", sample.samples_folder())]
    assert [layer.name for layer in viewer.layers] == list(convert.LAYER_NAMES)  # the one that stood for it is gone
