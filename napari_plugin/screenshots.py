"""Draw the pictures of the plugin for the docs: ``python -m napari_plugin.screenshots OUT``, on a screen or under xvfb.

The sample HYPERStack is scored into a temporary folder, then reviewed as the guide tells: every picture is of the real
window after real steps.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari_plugin.mouse import Mouse, settle, until
from qtpy.QtWidgets import QWidget

from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.plan import RunSettings, plan_run
from msc_vision.batch.run import run_folder
from msc_vision.io.manifest import read_manifest
from msc_vision.vessels import load_catalogue
from napari_msc_vision import registry
from napari_msc_vision.opening import open_later
from napari_msc_vision.scene import Scene

SAMPLE = Path(__file__).parents[1] / "sample_data" / "hyperstack-12"
WINDOW_PX = (1560, 1060)


@contextmanager
def reviewed_sample() -> Iterator[tuple[Any, Scene]]:
    """Give a window in which the sample is open."""
    with tempfile.TemporaryDirectory(prefix="msc-pictures-") as name:
        run = Path(name) / "HS12-A.run"
        manifest = read_manifest(SAMPLE / "manifest.csv")
        run_folder(plan_run(manifest, load_catalogue(), load_pipeline("default"), run, settings=RunSettings(workers=2)))
        viewer = napari.Viewer(show=True)
        viewer.window._qt_window.resize(*WINDOW_PX)
        settle()
        scenes: list[Scene] = []
        open_later(viewer, run, scenes.append)
        until(lambda: bool(scenes) and scenes[0].is_complete)
        settle(2)
        try:
            yield viewer, scenes[0]
        finally:
            registry.close_run(viewer)
            viewer.close()


class Desk:
    """The window with its docks, and where its pictures go."""

    def __init__(self, viewer: Any, scene: Scene, out: Path) -> None:
        self.viewer, self.scene, self.out = viewer, scene, out
        self.mouse = Mouse(viewer, scene)

    def dock(self, name: str) -> Any:
        """Return a dock, brought to the front."""
        found: QWidget = self.viewer.window.dock_widgets[f"{name} (napari-msc-vision)"]
        holder = found.parentWidget()
        while holder is not None and not hasattr(holder, "setFloating"):
            holder = holder.parentWidget()
        if holder is not None:
            holder.raise_()
        settle(0.2)
        return found

    def window(self, name: str) -> None:
        """Draw the whole window."""
        settle(1.5)
        self.viewer.window.screenshot(str(self.out / f"{name}.png"), flash=False, canvas_only=False)

    def is_quiet(self) -> bool:
        """Whether everything that was done is written, and every figure is of what is shown."""
        session = self.scene.session
        return session.n_unsaved == 0 and session.is_measured and self.scene.is_complete

    def wait(self) -> None:
        """Wait until everything followed."""
        settle(0.3)
        until(self.is_quiet)
        settle(0.5)


def review(desk: Desk) -> None:
    """Do what the guide tells, and draw a picture of each step."""
    session = desk.scene.session
    navigator, decide = desk.dock("Navigator"), desk.dock("Decide")
    desk.window("open")
    decide.field.reasons.setCurrentIndex(decide.field.reasons.findText("out of focus"))
    decide.reimage_field()
    desk.wait()
    navigator.open_next()
    desk.wait()
    navigator.toggle_mosaic()
    desk.window("mosaic")
    navigator.toggle_mosaic()
    correct = desk.dock("Correct")
    cells = session.masks.cells
    areas = np.bincount(cells.ravel())
    areas[0] = 0
    rows, columns = np.nonzero(cells == int(areas.argmax()))
    middle = int(np.median(columns))
    correct.take("split")
    desk.mouse.stroke((rows.min() - 6, middle), (rows.max() + 6, middle))
    correct.take("not judgeable")
    height, width = cells.shape
    desk.mouse.stroke((height * 0.9, width * 0.02), (height * 0.9, width * 0.2), (height * 0.97, width * 0.2))
    desk.wait()
    desk.window("correct")
    correct.take("split")
    correct.take("split")
    desk.dock("Decide")
    decide.accept_field()
    desk.wait()
    decide.vessel.purposes.setCurrentIndex(1)
    decide.judge_vessel()
    until(lambda: bool(session.records(session.row(session.current).vessel_id)))
    desk.wait()
    desk.window("decide")
    desk.dock("Measure")
    session.cell_selected.emit(int(areas.argmax()))
    desk.window("measure")


def main(out: Path) -> None:
    """Draw every picture into a folder."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with reviewed_sample() as (viewer, scene):
        review(Desk(viewer, scene, out))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
