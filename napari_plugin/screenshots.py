"""Draw the pictures of the docs: the window with a sample vessel, and each dock by itself. See ``make screenshots``."""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
from qtpy.QtWidgets import QApplication

from napari_msc_vision import registry
from napari_msc_vision.opening import DOCKS, PLUGIN, open_later
from napari_msc_vision.sample import sample_run
from napari_msc_vision.scene import Scene

SIZE_PX = (1560, 1040)
SETTLE_S = 1.5


def live(seconds: float) -> None:
    """Let the window do what it has to."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)


def until(is_true: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Let the window live until something holds."""
    end = time.monotonic() + limit_s
    while not is_true():
        if time.monotonic() > end:
            raise TimeoutError("The window did not come to rest.")
        live(0.02)


def draw(out: Path, folder: Path) -> list[Path]:
    """Draw every picture into a folder; return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    run = sample_run("hyperstack-12", folder)
    viewer = napari.Viewer(show=True)
    window = viewer.window._qt_window
    window.resize(*SIZE_PX)
    opened: list[Scene] = []
    open_later(viewer, run, opened.append)
    until(lambda: bool(opened) and opened[0].is_complete)
    keys = opened[0].session.keys()
    opened[0].session.open(keys[len(keys) // 2])
    until(lambda: opened[0].is_complete)
    made = []
    for name in DOCKS:
        dock, widget = viewer.window.add_plugin_dock_widget(PLUGIN, name)
        dock.raise_()
        live(SETTLE_S)
        made.append(out / f"{name.lower()}.png")
        widget.grab().save(str(made[-1]))
        if name == "Correct":
            made.append(out / "review.png")
            viewer.window.screenshot(str(made[-1]), canvas_only=False, flash=False)
    registry.close_run(viewer)
    viewer.close()
    return made


def main() -> None:
    """Draw into the folder that is named."""
    with tempfile.TemporaryDirectory() as folder:
        for path in draw(Path(sys.argv[1]), Path(folder)):
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
