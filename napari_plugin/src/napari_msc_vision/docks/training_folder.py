"""The folder that pairs for training go to, chosen once for a field of a run and for a fresh picture alike."""

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QPushButton, QWidget


class TrainingFolder(QWidget):
    """A folder and a button to choose it."""

    def __init__(self) -> None:
        super().__init__()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.line = QLineEdit()
        self.line.setPlaceholderText("Folder for training pairs")
        self.line.setToolTip("Pictures with their corrected labels are written here; `msc-vision train` learns from it")
        self.button = QPushButton("Choose…")
        self.button.clicked.connect(self._choose)
        layout.addWidget(self.line)
        layout.addWidget(self.button)

    def path(self) -> Path | None:
        """Return the folder; None if none was chosen."""
        text = self.line.text().strip()
        return Path(text).expanduser() if text else None

    def _choose(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder for training pairs")
        if name:
            self.line.setText(name)
