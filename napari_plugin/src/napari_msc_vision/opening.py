"""Open a run in a window that stays quick: it is read off the main thread, then shown with its docks.

What goes wrong is told in the viewer. A review ends with its window: what was corrected is measured and written first.
"""

import gc
import logging
import weakref
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from napari.utils import progress
from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QApplication, QFileDialog

from msc_vision.batch.remeasure import prepare
from msc_vision.batch.reviewed import ReviewedRun
from msc_vision.errors import MscVisionError
from napari_msc_vision import registry
from napari_msc_vision.qt_work import QtWork
from napari_msc_vision.sample import Steps, sample_run
from napari_msc_vision.scene import Scene
from napari_msc_vision.session import Message

logger = logging.getLogger(__name__)

PLUGIN = "napari-msc-vision"
DOCKS = ("Navigator", "Correct", "Decide", "Measure")
_WIDTH_PX = 380
_LANE = "opening"
_PROGRESS_EVERY_MS = 200
_TELL = {"info": show_info, "warning": show_warning, "error": show_error}


def tell(message: Message) -> None:
    """Show a message in the viewer."""
    _TELL[message.level](message.text)


def has_window(viewer: Any) -> bool:
    """Return whether a viewer has a window, so that work may go on beside it."""
    return QApplication.instance() is not None and getattr(registry.bare(viewer), "window", None) is not None


def open_later(viewer: Any, folder: Path, opened: Callable[[Scene], object] = lambda _: None) -> None:
    """Read a run folder beside the window and show it when it is there.

    Parameters
    ----------
    viewer : napari viewer
    folder : Path
    opened : callable
        Hears when it is shown.
    """
    work = QtWork()
    bar = progress(total=0, desc=f"Opening {folder.name}")

    def show(run: ReviewedRun) -> None:
        bar.close()
        opened(show_in_window(viewer, run, work))

    def fail(err: Exception) -> None:
        bar.close()
        work.close()
        tell(Message("error", _sentence(err)))

    work.submit(lambda: _ready(ReviewedRun.open(folder)), show, fail, lane=_LANE)


def open_sample_later(viewer: Any, name: str, folder: Path, placeholder: str) -> None:
    """Make a sample beside the window, show how far it is, and open it; the layer ``placeholder`` goes then.

    Parameters
    ----------
    viewer : napari viewer
    name : str
    folder : Path
        Where samples are kept.
    placeholder : str
        Name of the layer that stands for it meanwhile.
    """
    work, steps = QtWork(), Steps()
    bar = progress(total=100, desc=f"Sample {name}")
    timer = QTimer(work)
    timer.timeout.connect(lambda: _advance(bar, steps))
    timer.start(_PROGRESS_EVERY_MS)

    def finish() -> None:
        timer.stop()
        bar.close()
        layers = registry.bare(viewer).layers
        if placeholder in layers:
            layers.remove(placeholder)

    def show(run: ReviewedRun) -> None:
        finish()
        show_in_window(viewer, run, work)

    def fail(err: Exception) -> None:
        finish()
        work.close()
        tell(Message("error", _sentence(err)))

    work.submit(lambda: _ready(ReviewedRun.open(sample_run(name, folder, heard=steps))), show, fail, lane=_LANE)


def _ready(run: ReviewedRun) -> ReviewedRun:
    """Load what corrected fields are measured with while people wait anyway: later it would hold up the window."""
    try:
        prepare(run.pipeline)
    except MscVisionError as err:
        logger.info("Corrected fields cannot be measured here: %s", err)  # said again when one is
    return run


def _advance(bar: Any, steps: Steps) -> None:
    bar.n = round(100 * steps.n_done / max(steps.n_steps, 1))
    bar.refresh()


def show_in_window(viewer: Any, run: ReviewedRun, work: QtWork) -> Scene:
    """Show a run that was read, with its docks; its messages come up in the viewer."""
    scene = registry.show_run(viewer, run, work, tell)
    _add_docks(viewer)
    _put_aside_what_is_loaded()
    _Ending(registry.bare(viewer))
    return scene


def _put_aside_what_is_loaded() -> None:
    """Let the collector of garbage pass over what is loaded: going through it all would stop the window for 0.4 s."""
    gc.unfreeze()  # what an earlier review left
    gc.collect()
    gc.freeze()
    gc.collect()  # counts what is left; else the next full collection waits for a quarter of all that was put aside


def ask_for_run(viewer: Any) -> None:
    """Let somebody choose a run folder, and open it."""
    parent = registry.bare(viewer).window._qt_window
    chosen = QFileDialog.getExistingDirectory(parent, "Open a run: choose the folder that holds run.json")
    if chosen:
        open_later(viewer, Path(chosen))


def ask_for_images(viewer: Any) -> None:
    """Let somebody say where the images of the run lie now."""
    scene = registry.scene_of(viewer)
    if scene is None:
        tell(Message("info", "No run is open: drop a run folder on the viewer first."))
        return
    parent = registry.bare(viewer).window._qt_window
    chosen = QFileDialog.getExistingDirectory(parent, "Where are the images of this run now?")
    if chosen:
        scene.move_images(Path(chosen))


def _sentence(err: Exception) -> str:
    if not isinstance(err, MscVisionError):
        logger.error("A run could not be opened", exc_info=err)
        return f"The run could not be opened ({type(err).__name__}: {err}); check it with `msc-vision verify`."
    return str(err)


def _add_docks(viewer: Any) -> None:
    """Show the navigator on the left, as a tab beside the list of layers, and the other docks as tabs on the right.

    One above the other they would need a window of 1200 pixels.
    """
    window = registry.bare(viewer).window
    main, found = window._qt_window, []
    for name in DOCKS:
        dock, _ = window.add_plugin_dock_widget(PLUGIN, name)
        dock.setWindowTitle(name)  # with the name of the plugin, tabs are too narrow for their words
        found.append(dock)
    navigator, first = found[:2]
    for one, other in pairwise(found[1:]):
        main.tabifyDockWidget(one, other)
    first.raise_()
    layer_list = getattr(window._qt_viewer, "dockLayerList", None)
    if layer_list is not None:
        main.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, navigator)
        main.tabifyDockWidget(layer_list, navigator)
        QTimer.singleShot(0, navigator, navigator.raise_)  # once Qt has made the tabs
        main.resizeDocks([navigator, first], [_WIDTH_PX] * 2, Qt.Orientation.Horizontal)


class _Ending(QObject):
    """Ends the review of a viewer when its window was closed, or the program ends; outlives the window for that."""

    def __init__(self, viewer: Any) -> None:
        application = QApplication.instance()
        super().__init__(application)
        window = viewer.window._qt_window
        self._viewer, self._window = weakref.ref(viewer), weakref.ref(window)
        window.installEventFilter(self)
        if application is not None:
            application.aboutToQuit.connect(self._end)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802  (Qt's name)
        """Look again after the window was asked to close: somebody may have said no."""
        if event.type() == QEvent.Type.Close:
            QTimer.singleShot(0, self._end_if_closed)
        return super().eventFilter(watched, event)

    def _end_if_closed(self) -> None:
        try:
            window = self._window()
            is_open = window is not None and window.isVisible()
        except RuntimeError:  # Qt has deleted it already
            is_open = False
        if not is_open:
            self._end()

    def _end(self) -> None:
        viewer = self._viewer()
        if viewer is not None:
            registry.close_run(viewer)
        self.deleteLater()
