"""Sample vessels: drawn and scored once, in a folder of the user, then opened as any run is."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import napari
import numpy as np
from platformdirs import user_data_path

from msc_vision import __version__
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.plan import RunSettings, plan_run
from msc_vision.batch.reviewed import ReviewedRun
from msc_vision.batch.run import run_folder
from msc_vision.batch.store import RUN_NAME
from msc_vision.errors import OutputError
from msc_vision.io.manifest import read_manifest
from msc_vision.records import FieldScore, Manifest
from msc_vision.synth import synthesise
from msc_vision.vessels import load_catalogue
from napari_msc_vision.reader import first_field

RECIPES = ("hyperstack-12", "t-75")
PIPELINE = "default"
Heard = Callable[[int, int], None]
"""Hears how many steps are done, and of how many."""


@dataclass(slots=True)
class Steps:
    """How far a sample is; written by the thread that makes it, read by the window."""

    n_done: int = 0
    n_steps: int = 1

    def __call__(self, n_done: int, n_steps: int) -> None:
        """Take in how far it is."""
        self.n_done, self.n_steps = n_done, n_steps


def hyperstack_12() -> list[Any]:
    """Open the sample HYPERStack, three of whose twelve layers were photographed."""
    return _opened("hyperstack-12")


def t_75() -> list[Any]:
    """Open the sample T-75 flask."""
    return _opened("t-75")


def samples_folder() -> Path:
    """Return where samples are kept: in the folder that the system has for data of programs of this user."""
    return Path(user_data_path("msc-vision", appauthor=False)) / "samples" / __version__


def sample_run(name: str, folder: Path, *, pipeline: str = PIPELINE, heard: Heard = lambda *_: None) -> Path:
    """Return the run folder of a sample vessel, which is made where it is not there yet.

    Parameters
    ----------
    name : {'hyperstack-12', 't-75'}
    folder : Path
        Where samples are kept; what people reviewed of one stays there.
    pipeline : str
    heard : callable
        Hears how many steps are done, and of how many.

    Raises
    ------
    OutputError
        If the folder cannot be written to.
    """
    run = folder / f"{name}.run"
    if _is_done(run):
        return run
    images = folder / name
    try:
        shutil.rmtree(run, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        manifest = _pictures(name, images, heard)
        plan = plan_run(manifest, load_catalogue(), load_pipeline(pipeline), run, settings=RunSettings(workers=1))
        run_folder(plan, progress=_Heard(heard, len(manifest.rows)))
    except OSError as err:
        if isinstance(err, OutputError):
            raise
        raise OutputError(f"{folder}: the sample cannot be written ({err.strerror or err}); free some space.") from err
    return run


def _is_done(run: Path) -> bool:
    return (run / RUN_NAME).is_file() and (run / "vessels.json").is_file()


def _pictures(name: str, images: Path, heard: Heard) -> Manifest:
    """Return the pictures of a sample: those of the checkout where there is one, else they are drawn."""
    for known in (_checkout(name), images):
        if (known / "manifest.csv").is_file():
            return read_manifest(known / "manifest.csv")
    shutil.rmtree(images, ignore_errors=True)
    recipe = Path(str(files("napari_msc_vision"))) / "samples" / f"{name}.yaml"
    return synthesise(recipe, images, on_field=lambda n_done, n_fields: heard(n_done, 2 * n_fields))


def _checkout(name: str) -> Path:
    """Return where a checkout of the repository has the pictures of a sample; not there in an installation."""
    return Path(__file__).parents[3] / "sample_data" / name


@dataclass
class _Heard:
    """Turns the progress of a run into steps: drawing is the first half."""

    heard: Heard
    n_fields: int
    n_done: int = field(init=False, default=0)

    def begin(self, n_fields: int, n_done_before: int) -> None:
        """Begin."""
        self.n_done = n_done_before
        self.heard(n_fields + n_done_before, 2 * n_fields)

    def advance(self, score: FieldScore) -> None:  # noqa: ARG002  (that it is done is enough)
        """Count a field."""
        self.n_done += 1
        self.heard(self.n_fields + self.n_done, 2 * self.n_fields)

    def end(self) -> None:
        """End."""


def _opened(name: str) -> list[Any]:
    """Make and open a sample beside the window; without one, return the layers of its first field."""
    viewer = napari.current_viewer()
    if viewer is not None:
        from napari_msc_vision.opening import has_window, open_sample_later

        if has_window(viewer):
            wait = f"The sample {name} is being made …"
            open_sample_later(viewer, name, samples_folder(), wait)
            return [(np.zeros((2, 2), np.uint8), {"name": wait, "visible": False}, "image")]
    return list(first_field(ReviewedRun.open(sample_run(name, samples_folder()))))
