"""The layers of the open field: filled anew for each, read back as painted, never of two fields at once."""

import gc
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils._proxies import PublicOnlyProxy

from napari_msc_vision import convert, registry
from napari_msc_vision.scene import Scene, overlay_of
from napari_msc_vision.work import DirectWork


class LaterWork(DirectWork):
    """Keeps jobs of some lanes until it is told to do them."""

    def __init__(self, *lanes):
        self.lanes, self.jobs = lanes, []

    def submit(self, job, done, failed, *, lane="work"):
        if lane not in self.lanes:
            return super().submit(job, done, failed, lane=lane)
        task = _Later(lambda: super(LaterWork, self).submit(job, done, failed))
        self.jobs.append(task)
        return task

    def do(self):
        jobs, self.jobs = self.jobs, []
        for task in jobs:
            if not task.is_cancelled:
                task.do()


class _Later:
    def __init__(self, do):
        self.do, self.is_cancelled = do, False

    def cancel(self):
        self.is_cancelled = True


@pytest.fixture
def model():
    return ViewerModel()


@pytest.fixture
def told():
    return []


@pytest.fixture
def scene(model, small_run, told):
    yield registry.open_run(model, small_run, tell=told.append)
    registry.close_run(model)


def another(scene):
    """Return a field that is not open."""
    return next(key for key in scene.session.keys() if key != scene.session.current)  # noqa: SIM118


def test_opening_a_run_shows_its_first_field_in_micrometres(scene, model):
    assert [layer.name for layer in model.layers] == list(convert.LAYER_NAMES)
    assert scene.key in scene.session.keys()  # noqa: SIM118  (a method of the session)
    assert scene.is_complete
    assert scene.masks().sha256 == scene.session.masks.sha256
    assert {str(unit) for layer in model.layers for unit in layer.units} == {"micrometer"}
    assert overlay_of(model, "scale_bar").visible
    np.testing.assert_allclose(scene.image.scale, 1.24)


def test_layers_are_the_same_for_every_field_and_show_what_is_open(scene, model):
    layers = list(model.layers)
    keys = scene.session.keys()
    for key in keys:
        scene.session.open(key)
        assert scene.key == key
        assert scene.masks().sha256 == scene.session.masks.sha256
        picture = scene.pictures.get(key)
        np.testing.assert_array_equal(np.asarray(scene.image.data[0]), picture.levels[0])
    assert list(model.layers) == layers


def test_the_outer_edges_of_image_and_labels_are_one(scene):
    image, cells = scene.image.extent.world, scene.cells.extent.world
    half = scene.cells.scale[0] / 2 - scene.image.scale[0] / 2
    np.testing.assert_allclose(image[0], cells[0] - half, atol=1e-6)
    np.testing.assert_allclose(image[1], cells[1] + half, atol=1e-6)


def test_what_is_painted_is_read_back_and_the_session_keeps_its_own(scene):
    before = scene.session.masks.sha256
    scene.cells.data_setitem((np.array([3, 4]), np.array([5, 5])), 4711)
    assert scene.session.masks.sha256 == before
    assert list(scene.masks(convert.CELLS).cells[3:5, 5]) == [4711, 4711]
    assert scene.masks(convert.CELLS).foreground is scene.session.masks.foreground
    scene.session.commit(scene.masks(convert.CELLS), "paint")
    assert scene.masks().sha256 == scene.session.masks.sha256 != before


def test_undo_comes_back_into_the_layers(scene):
    before = scene.session.masks.sha256
    scene.cells.data_setitem((np.array([3]), np.array([5])), 4711)
    scene.session.commit(scene.masks(), "paint")
    scene.session.undo()
    assert scene.masks().sha256 == scene.session.masks.sha256 == before


def test_while_a_picture_is_read_that_of_another_field_is_not_shown(model, small_run):
    work = LaterWork("pictures")
    scene = registry.open_run(model, small_run, work)
    first, second = scene.key, another(scene)
    work.do()
    scene.session.open(second)
    assert scene.key == second
    assert not scene.is_complete
    assert not np.asarray(scene.image.data[0]).any()
    assert "reading" in overlay_of(model, "text").text
    scene.session.open(first)  # the picture of the second is given up
    assert scene.is_complete
    work.do()
    np.testing.assert_array_equal(np.asarray(scene.image.data[0]), scene.pictures.get(first).levels[0])


def test_what_was_found_is_written_beside_its_box(scene):
    scene.session.add_finding("dots", (10, 30, 40, 90), "")
    scene.session.add_finding("bubble", (50, 80, 40, 90), "")
    who = scene.session.reviewer.name
    assert scene.findings.text.visible
    assert scene.findings.text.values.tolist() == [f"dots ({who})", f"bubble ({who})"]
    scene.session.dismiss_finding("dots 10:30,40:90", "debris", "")
    assert scene.findings.text.values.tolist() == [f"dots ({who}), dismissed", f"bubble ({who})"]
    scene.session.open(scene.session.keys()[1])
    assert scene.findings.text.values.tolist() == []


def test_reviewers_findings_are_drawn_where_they_are(scene):
    scene.session.add_finding("hyphae", (10, 30, 40, 90), "thin threads")
    assert convert.box_of(scene.findings.data[0]) == (10, 30, 40, 90)
    assert "hyphae" in scene.findings.features["words"][0]
    scene.session.open(another(scene))
    assert len(scene.findings.data) == 0


def test_directions_are_found_when_somebody_wants_to_see_them(scene):
    fields = scene.session.run.original.fields
    scene.session.open(next(key for key, one in fields.items() if one.score.status == "scored"))
    assert len(scene.orientation.data) == 0
    scene.orientation.visible = True
    assert len(scene.orientation.data) > 0


def test_a_missing_picture_leaves_masks_and_says_what_to_do(model, small_run, told, monkeypatch):
    scene = registry.open_run(model, small_run, tell=told.append)
    key = another(scene)
    missing = small_run.parent / "gone.tif"
    monkeypatch.setattr(scene, "locate", lambda _: (missing, scene.session.run.task(key).plane))
    scene.pictures._locate = scene.locate
    scene.session.open(key)
    assert scene.is_complete
    assert scene.masks().sha256 == scene.session.masks.sha256
    assert f"{missing}: there is no such file." in told[-1].text
    assert "The images of this run have moved" in told[-1].text
    assert told[-1].level == "error"


def test_moved_images_are_found_again(model, finished_run, small_run, told, tmp_path):
    """The pictures of the run lie elsewhere now; the session measures with those, too."""
    scene = registry.open_run(model, small_run, tell=told.append)
    images = Path(scene.session.run.record["images_folder"])
    elsewhere = shutil.copytree(images, tmp_path / "elsewhere")
    scene.move_images(tmp_path)
    assert "choose the folder that does" in told[-1].text
    scene.move_images(elsewhere)
    key = another(scene)
    assert scene.locate(key)[0].is_relative_to(elsewhere)
    scene.session.open(key)
    assert scene.is_complete
    assert scene.pictures.get(key) is not None


def test_a_layer_that_was_thrown_away_is_back_with_the_next_field(scene, model):
    model.layers.remove(convert.CELLS)
    scene.session.open(another(scene))
    assert [layer.name for layer in model.layers] == list(convert.LAYER_NAMES)
    assert scene.masks().sha256 == scene.session.masks.sha256


def test_docks_find_the_scene_by_the_viewer_napari_hands_them(scene, model):
    assert registry.scene_of(PublicOnlyProxy(model)) is scene
    assert registry.scene_of(ViewerModel()) is None


def test_who_waits_for_a_run_hears_of_it(model, small_run):
    heard = []
    hear = registry.run_opened.connect(lambda viewer, scene: heard.append((viewer, scene)))
    scene = registry.open_run(model, small_run)
    registry.run_opened.disconnect(hear)
    assert heard == [(model, scene)]


def test_a_second_run_takes_the_place_of_the_first(scene, model, finished_run, tmp_path):
    other = shutil.copytree(finished_run, tmp_path / "other")
    second = registry.open_run(model, other)
    assert registry.scene_of(model) is second
    assert len(model.layers) == len(convert.LAYER_NAMES)


def test_a_viewer_that_is_gone_takes_its_scene_with_it(small_run):
    model = ViewerModel()
    gone = weakref.ref(registry.open_run(model, small_run))
    assert isinstance(gone(), Scene)
    del model
    gc.collect()
    assert gone() is None
