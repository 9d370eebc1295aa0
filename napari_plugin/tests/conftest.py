"""What the tests of the plugin rely on: settings of their own, a small finished run, a viewer that closes cleanly."""

import os
import shutil
import sys

import numpy as np
import pytest
from hypothesis import settings
from own_settings import OWN

from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.plan import RunSettings, plan_run
from msc_vision.batch.run import run_folder
from msc_vision.synth import render_vessel
from msc_vision.synth.recipe import load_recipe
from msc_vision.vessels import load_catalogue

settings.register_profile("steady", deadline=None, print_blob=True)
settings.load_profile("steady")

HAS_SCREEN = sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
NO_SCREEN = "no screen: start the tests with `make test`, or with xvfb-run -a (Debian package xvfb)"
if not HAS_SCREEN:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

RECIPE = """
description: two layers of a HYPERStack-12, two small fields each
vessel_id: SMALL
vessel_type: hyperstack-12
seed: 77
file_format: ome-tiff
layers:
  - {layer: 1, confluency_percent: 60, n_fields: 2}
  - {layer: 2, confluency_percent: 40, n_fields: 2}
settings: {height_px: 320, width_px: 352, pixel_size_um: 1.24, bit_depth: 12}
odd_fields:
  - {layer: 2, field: 2, is_usable: false, settings: {optics: {defocus_um: 8}}}
"""


def pytest_sessionfinish():
    """Leave nothing behind."""
    shutil.rmtree(OWN, ignore_errors=True)


def make_run(folder, recipe_text=RECIPE, pipeline="contrast"):
    """Draw a vessel and score it; return its run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe_text, encoding="utf-8")
    catalogue = load_catalogue()
    manifest = render_vessel(load_recipe(recipe, catalogue), folder / "images", catalogue=catalogue)
    plan = plan_run(manifest, catalogue, load_pipeline(pipeline), folder / "run", settings=RunSettings(workers=1))
    run_folder(plan)
    return folder / "run"


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A finished run that nobody writes to: four fields, one of them out of focus, scored by contrast alone."""
    return make_run(tmp_path_factory.mktemp("small"))


@pytest.fixture
def small_run(finished_run, tmp_path):
    """A copy of it that may be reviewed."""
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture
def screen():
    """Skip a test that draws where there is no screen; in CI that is a failure."""
    if not HAS_SCREEN:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(NO_SCREEN)


@pytest.fixture
def make_viewer(screen, make_napari_viewer):
    """Make real viewers; their reviews are ended and their windows closed with the test."""
    from napari_msc_vision import registry

    made = []

    def make(**options):
        viewer = make_napari_viewer(**options)
        made.append(viewer)
        return viewer

    yield make
    while made:
        registry.close_run(made.pop())


@pytest.fixture
def viewer(make_viewer):
    """A real viewer whose window is not shown."""
    return make_viewer(show=False)


@pytest.fixture
def shown_viewer(make_viewer):
    """A real viewer on the screen."""
    return make_viewer(show=True)


@pytest.fixture
def rng():
    """Random numbers, the same in every run."""
    return np.random.default_rng(7)
