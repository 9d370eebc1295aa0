"""The dock Learn: keep corrected fields for training, annotate a fresh picture, compare two annotators."""

from datetime import datetime
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton, QTabWidget, QVBoxLayout, QWidget

from msc_vision.errors import MscVisionError
from msc_vision.learning.corrections import TrainingPair, field_pair, keep_pair, kept_deed
from msc_vision.review.events import ReviewEvent
from napari_msc_vision.docks.annotate import AnnotatePage
from napari_msc_vision.docks.compare import ComparePage
from napari_msc_vision.docks.training_folder import TrainingFolder
from napari_msc_vision.qt_work import QtWork
from napari_msc_vision.registry import bare, run_opened, scene_of
from napari_msc_vision.scene import Scene
from napari_msc_vision.session import Message
from napari_msc_vision.work import Work

LANE = "training"
NO_FOLDER = "First choose a folder for the pairs, above."
NO_RUN = "Open a run to keep its corrected fields; a single picture can be annotated in the next tab."


class LearnDock(QWidget):
    """What people know goes back into the network: pairs of pictures and corrected labels, and how sure people are."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = bare(napari_viewer)
        self.scene: Scene | None = None
        self._own_work: Work | None = None
        self.folder = TrainingFolder()
        self.annotate = AnnotatePage(self.viewer, self.work, self.folder)
        self.compare = ComparePage(self.viewer, self.work)
        self.tabs = QTabWidget()
        self.tabs.addTab(self._keep_page(), "Use for training")
        self.tabs.addTab(self.annotate, "Annotate a picture")
        self.tabs.addTab(self.compare, "Compare")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.folder)
        layout.addWidget(self.tabs)
        run_opened.connect(self._on_run_opened)
        if (scene := scene_of(self.viewer)) is not None:
            self._take(scene)
        self._refresh()

    def _keep_page(self) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        self.keep_button = QPushButton("Keep this field for training")
        self.keep_button.setToolTip("Write the picture and its labels, corrections included, as a pair into the folder")
        self.keep_button.clicked.connect(self.keep)
        self.missing_label = QLabel()
        self.state_label, self.kept_label, self.how_label = QLabel(), QLabel(), QLabel()
        for label in (self.missing_label, self.state_label, self.kept_label, self.how_label):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        for widget in (self.keep_button, self.missing_label, self.state_label, self.kept_label, self.how_label):
            layout.addWidget(widget)
        layout.addStretch(1)
        self.folder.line.textChanged.connect(lambda _: self._refresh())
        return page

    # --- the run -----------------------------------------------------------------------------------------------------

    def work(self) -> Work:
        """Return what does long work: the session's where a run is open, else one of this dock's own."""
        if self.scene is not None:
            return self.scene.session.work
        if self._own_work is None:
            self._own_work = QtWork()
        return self._own_work

    def _on_run_opened(self, viewer: Any, scene: Scene) -> None:
        if viewer is self.viewer:
            self._take(scene)

    def _take(self, scene: Scene) -> None:
        self._let_go()
        self.scene = scene
        scene.session.field_opened.connect(self._refresh)
        scene.session.state_changed.connect(self._refresh)
        self._refresh()

    def _let_go(self) -> None:
        if self.scene is not None:
            self.scene.session.field_opened.disconnect(self._refresh, missing_ok=True)
            self.scene.session.state_changed.disconnect(self._refresh, missing_ok=True)

    def _refresh(self, _key: str = "") -> None:
        session = None if self.scene is None else self.scene.session
        self.compare.follow(self.scene)
        key = None if session is None else session.current
        self.keep_button.setEnabled(key is not None and self.folder.path() is not None)
        folder = self.folder.path()
        name = "FOLDER" if folder is None else f'"{folder}"'
        is_ready = key is None or folder is not None
        self.missing_label.setText("" if is_ready else NO_FOLDER)
        self.missing_label.setVisible(not is_ready)
        self.how_label.setText(
            f"When there are some pairs, let a network learn from them:\n"
            f"msc-vision train {name} --from culture-3 --name lab-1\n"
            "The network that ships stays as it is. Pictures kept for evaluation are refused."
        )
        if session is None or key is None:
            self.kept_label.setText(NO_RUN)
            return
        keys = session.keys()
        n_kept = sum(_is_kept(session.run.state.of(one).events) for one in keys)
        own = [event for event in session.run.state.of(key).events if event.action == "kept-for-training"]
        said = "" if not own else f" This one: by {own[-1].reviewer.name}, {own[-1].at[:16].replace('T', ' ')} UTC."
        self.kept_label.setText(f"{n_kept} of {len(keys)} fields of this run were kept for training.{said}")

    # --- keeping -----------------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """Write the open field as a pair, and note it among the reviews."""
        folder = self.folder.path()
        if self.scene is None or folder is None:
            return
        session = self.scene.session
        key, masks, run = session.current, session.masks, session.run
        if key is None or masks is None:
            return
        at, (image, _) = datetime.now().astimezone(), self.scene.locate(key)

        def job() -> tuple[TrainingPair, Path]:
            pair = field_pair(run, key, masks, session.reviewer, at=at, image=image)
            return pair, keep_pair(pair, folder)

        def done(found: tuple[TrainingPair, Path]) -> None:
            session.write(kept_deed(run, key, *found))
            text = f"Kept {found[0].name}.tif with its labels in {folder}."
            self.state_label.setText(text)
            session.said.emit(Message("info", text))

        def failed(err: Exception) -> None:
            if not isinstance(err, MscVisionError):
                raise err
            self.state_label.setText(str(err))
            session.said.emit(Message("warning", str(err)))

        session.work.submit(job, done, failed, lane=LANE)

    def closeEvent(self, event: Any) -> None:  # noqa: N802  (Qt's name)
        """Let go of the run with the window."""
        run_opened.disconnect(self._on_run_opened, missing_ok=True)
        self._let_go()
        if self._own_work is not None:
            self._own_work.close()
        super().closeEvent(event)


def _is_kept(events: tuple[ReviewEvent, ...]) -> bool:
    return any(event.action == "kept-for-training" for event in events)
