"""A line that is there only while something could not be written: what waits, and a button to try again."""

from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from napari_msc_vision.session import Message, ReviewSession


class UnsavedBar(QWidget):
    """Says how much is not on disk, after writing it failed; hidden when all is well."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.setStyleSheet("color: #E69F00; font-weight: bold;")
        self.button = QPushButton("Save")
        self.button.setToolTip("Try again to write what could not be written")
        self.button.clicked.connect(lambda _=False: self._save())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.words, 1)
        layout.addWidget(self.button)
        self._session: ReviewSession | None = None
        self.hide()

    def follow(self, session: ReviewSession) -> None:
        """Show how it is with a review that was just opened."""
        self._session = session
        self.hide()

    def heard(self, message: Message) -> None:
        """Come up when a message tells that something was not written."""
        if message.level == "error" and self._session is not None and self._session.n_unsaved:
            self._show(self._session.n_unsaved)

    def written(self) -> None:
        """Go when everything is on disk."""
        if self._session is not None and not self._session.n_unsaved:
            self.hide()

    def _show(self, n: int) -> None:
        entry = "1 entry is" if n == 1 else f"{n} entries are"
        self.words.setText(f"{entry} not saved yet.")
        self.show()

    def _save(self) -> None:
        if self._session is not None:
            self._session.save()
