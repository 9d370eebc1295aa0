"""Draw the pictures of the plugin for the docs: ``python -m napari_plugin.screenshots OUT``, on a screen or under xvfb.

The sample HYPERStack is scored into a temporary folder, then reviewed as the guide tells: every picture is of the real
window after real steps.
"""

import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import napari
from qtpy.QtWidgets import QApplication, QWidget

from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.plan import RunSettings, plan_run
from msc_vision.batch.run import run_folder
from msc_vision.io.manifest import read_manifest
from msc_vision.vessels import load_catalogue
from napari_msc_vision import registry
from napari_msc_vision.opening import open_later
from napari_msc_vision.scene import Scene

logger = logging.getLogger(__name__)
SAMPLE = Path(__file__).parents[1] / "sample_data" / "hyperstack-12"
WINDOW_PX = (1560, 1060)


def settle(seconds: float = 0.6) -> None:
    """Let the window live."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.005)


def until(is_true: Callable[[], bool], limit_s: float = 60) -> None:
    """Let the window live until something holds.

    Raises
    ------
    TimeoutError
        If it does not.
    """
    end = time.perf_counter() + limit_s
    while not is_true():
        if time.perf_counter() > end:
            raise TimeoutError("What the picture should show did not come about.")
        settle(0.05)
    settle()


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


def dock(viewer: Any, name: str) -> QWidget:
    """Return the dock of a name, brought to the front."""
    for title, widget in viewer.window.dock_widgets.items():
        if title.startswith(name):
            inner = getattr(widget, "native", widget)
            widget.parent().raise_() if widget.parent() is not None else None
            return inner
    raise KeyError(f"no dock {name}; there are {list(viewer.window.dock_widgets)}")


def main(out: Path) -> None:
    """Draw every picture into a folder."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with reviewed_sample() as (viewer, _scene):
        viewer.window.screenshot(str(out / "window.png"), flash=False, canvas_only=False)
        for name in list(viewer.window.dock_widgets):
            widget = dock(viewer, name)
            settle()
            widget.grab().save(str(out / f"{name.split()[0].lower()}.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
