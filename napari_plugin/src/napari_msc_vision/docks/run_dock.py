"""What a dock about the open run is made of: a hint while no run is open, and the dock's own body once one is."""

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QLabel, QStackedLayout, QWidget

from napari_msc_vision.registry import bare, run_opened, scene_of
from napari_msc_vision.scene import Scene

HINT = (
    "No run is open.\n\nDrag a run folder into the window, or choose File > Open Folder….\n"
    "To try it out: File > Open Sample > MSC vessel review."
)


class RunDock(QWidget):
    """A dock about the run that a viewer shows. Subclasses fill ``body`` and say what follows from a scene.

    Attributes
    ----------
    viewer : napari viewer
    scene : Scene or None
        The run that is shown.
    body : QWidget
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = bare(viewer)
        self.scene: Scene | None = None
        self.body = QWidget()
        hint = QLabel(HINT)
        hint.setWordWrap(True)
        hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._pages = QStackedLayout(self)
        self._pages.addWidget(hint)
        self._pages.addWidget(self.body)
        run_opened.connect(self._on_run_opened)

    def find_run(self) -> None:
        """Take up the run that is open already; called once the body is filled."""
        scene = scene_of(self.viewer)
        if scene is not None:
            self._take(scene)

    def attach(self, scene: Scene) -> None:
        """Connect to a run that was opened."""

    def detach(self, scene: Scene) -> None:
        """Let go of the run that was open."""

    def _on_run_opened(self, viewer: Any, scene: Scene) -> None:
        if viewer is self.viewer:
            self._take(scene)

    def _take(self, scene: Scene) -> None:
        if self.scene is not None:
            self.detach(self.scene)
        self.scene = scene
        self._pages.setCurrentWidget(self.body)
        self.attach(scene)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802  (Qt's name)
        """Let go of the run with the window."""
        run_opened.disconnect(self._on_run_opened, missing_ok=True)
        if self.scene is not None:
            self.detach(self.scene)
            self.scene = None
        super().closeEvent(event)
