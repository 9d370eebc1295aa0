"""What every dock that follows a review needs: find the review of its viewer, a hint while there is none, shortcuts."""

import weakref
from collections.abc import Callable
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QLabel, QStackedLayout, QVBoxLayout, QWidget

from napari_msc_vision.registry import bare, run_opened, scene_of
from napari_msc_vision.scene import Scene
from napari_msc_vision.session import ReviewSession

HINT = (
    "No run is open.\n\nDrag a run folder onto the window, or use File > Open Folder.\n"
    "To try it out: File > Open Sample > MSC vessel review."
)


class FollowingDock(QWidget):
    """A dock with two faces: a hint while no run is open in its viewer, and its own once one is.

    A subclass builds its face in ``face`` and says what it listens to in `signals`.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = bare(napari_viewer)
        self.scene: Scene | None = None
        self._is_stale = False
        self.face = QWidget()
        self._hint = QLabel(HINT)
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._hint.setWordWrap(True)
        self._stack = QStackedLayout(self)
        self._stack.addWidget(self._hint)
        self._stack.addWidget(self.face)
        self._keys: dict[str, weakref.WeakMethod[Callable[[], Any]]] = {}
        self._shortcuts: list[QShortcut] = []
        self._heard: list[tuple[Any, Callable[..., Any]]] = []
        self.destroyed.connect(lambda *_, shortcuts=self._shortcuts: _remove(shortcuts))
        run_opened.connect(self._run_opened)

    @property
    def session(self) -> ReviewSession:
        """The review that is open.

        Raises
        ------
        RuntimeError
            If none is.
        """
        if self.scene is None:
            raise RuntimeError("No run is open.")
        return self.scene.session

    def put_off(self) -> bool:
        """Return whether nobody sees the dock, as it lies behind another one or was closed; it catches up later."""
        window = getattr(getattr(self.viewer, "window", None), "_qt_window", None)
        is_shown = window is not None and window.isVisible()
        self._is_stale = is_shown and self.visibleRegion().isEmpty()  # a tab behind another one is visible to Qt
        return self._is_stale

    def catch_up(self) -> None:
        """Show what was put off."""

    def signals(self, session: ReviewSession) -> list[tuple[Any, Callable[..., Any]]]:
        """Return what of a session is listened to, and by what."""
        raise NotImplementedError

    def begin(self) -> None:
        """Show a review that was just opened."""
        raise NotImplementedError

    def follow_viewer(self) -> None:
        """Show the review that is open already; the last line of a subclass's ``__init__``."""
        scene = scene_of(self.viewer)
        if scene is not None:
            self._follow(scene)

    def key(self, sequence: str, action: Callable[[], Any]) -> None:
        """Let a key of the whole window do something, also while the dock lies behind another one.

        Parameters
        ----------
        sequence : str
        action : bound method of the dock
        """
        self._keys[sequence] = weakref.WeakMethod(action)  # a shortcut must not keep a closed dock alive

    def event(self, event: QEvent) -> bool:
        """Take the keys when the dock comes into a window, and give them back when it is taken out of it."""
        if event.type() == QEvent.Type.ParentChange:
            _remove(self._shortcuts)
            if self.parent() is None:
                self._stop_listening()
            else:
                self._take_keys()
        elif event.type() == QEvent.Type.Paint and self._is_stale:
            self._is_stale = False
            QTimer.singleShot(0, self, self.catch_up)
        return bool(super().event(event))

    def _take_keys(self) -> None:
        window = getattr(self.viewer, "window", None)
        if window is None:
            return
        owner = weakref.ref(self)
        for sequence, action in self._keys.items():
            shortcut = QShortcut(QKeySequence(sequence), window._qt_window)
            shortcut.activated.connect(lambda action=action: _act(owner(), action()))
            self._shortcuts.append(shortcut)
        if self.scene is not None and not self._heard:
            self._follow(self.scene)

    def _run_opened(self, viewer: Any, scene: Scene) -> None:
        if viewer is self.viewer and _is_alive(self):
            self._follow(scene)

    def _follow(self, scene: Scene) -> None:
        self._stop_listening()
        self.scene = scene
        self._heard = self.signals(scene.session)
        for signal, slot in self._heard:
            signal.connect(slot)
        self._stack.setCurrentWidget(self.face)
        self.begin()

    def _stop_listening(self) -> None:
        for signal, slot in self._heard:
            signal.disconnect(slot, missing_ok=True)
        self._heard = []


def _act(dock: FollowingDock | None, action: Callable[[], Any] | None) -> None:
    """Do what a key is for, if its dock is still there and follows a review."""
    if dock is not None and dock.scene is not None and action is not None:
        action()


def _remove(shortcuts: list[QShortcut]) -> None:
    for one in shortcuts:
        if _is_alive(one):
            one.setEnabled(False)
            one.deleteLater()
    shortcuts.clear()


def _is_alive(thing: QObject) -> bool:
    return bool(isalive(thing))  # type: ignore[no-untyped-call]


def column(widget: QWidget, margin: int = 8) -> QVBoxLayout:
    """Give a widget a vertical layout as docks have it."""
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(margin, margin, margin, margin)
    layout.setSpacing(6)
    return layout
