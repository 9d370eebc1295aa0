"""What was found in the open field, by the run or by reviewers: jump to it, add one, say that it is none."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QWidget,
)

from msc_vision.errors import MscVisionError
from msc_vision.review.reasons import reasons_for
from napari_msc_vision.convert import Box, Finding
from napari_msc_vision.correcting import FINDING_KINDS, finding_words, kind_words
from napari_msc_vision.docks.following import column
from napari_msc_vision.scene import Scene
from napari_msc_vision.session import Message

NONE_FOUND = "Nothing was found in this field. To add something, press T and draw a rectangle around it."
HOW_TO_ADD = "To add something, press T and draw a rectangle around it."


class FindingsPanel(QWidget):
    """A list of what was found, and two forms: add one, dismiss one."""

    def __init__(self) -> None:
        super().__init__()
        self.scene: Scene | None = None
        self._box: Box | None = None
        self._found: tuple[Finding, ...] = ()
        self.hint = QLabel(NONE_FOUND)
        self.hint.setWordWrap(True)
        self.list = QListWidget()
        self.list.setWordWrap(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.currentRowChanged.connect(lambda _: self._chosen())
        self.list.itemClicked.connect(lambda _: self._chosen())
        self.reason = QComboBox()
        self.why = QLineEdit()
        self.dismiss = QPushButton("This is none")
        self.kind = QComboBox()
        self.note = QLineEdit()
        self.add = QPushButton("Add")
        self.cancel = QPushButton("Cancel")
        self.dismissing, self.adding = QWidget(), QWidget()
        self._build()
        self._show_forms()

    def _build(self) -> None:
        for reason in reasons_for("finding-dismissed"):
            self.reason.addItem(reason.words, reason.code)
        for kind in FINDING_KINDS:
            self.kind.addItem(kind_words(kind), kind)
        self.why.setPlaceholderText("why, in your words")
        self.note.setPlaceholderText("note, in your words")
        self.dismiss.setToolTip("Say that the chosen place shows no such thing; it stays listed as dismissed.")
        self.dismiss.clicked.connect(lambda _: self._dismiss())
        self.add.clicked.connect(lambda _: self._add())
        self.cancel.clicked.connect(lambda _: self._put_away())
        self.note.returnPressed.connect(self._add)
        _row(self.dismissing, self.reason, self.why, self.dismiss)
        _row(self.adding, self.kind, self.note, self.add, self.cancel)
        layout = column(self, 4)
        layout.addWidget(self.hint)
        layout.addWidget(self.list, 1)
        layout.addWidget(self.dismissing)
        layout.addWidget(self.adding)

    def follow(self, scene: Scene) -> None:
        """Show what was found in the field that a scene shows."""
        self.scene = scene
        self._put_away()
        self.refresh()

    def start(self, box: Box) -> None:
        """Ask what lies in a rectangle that was drawn."""
        self._box = box
        self._show_forms()
        self.kind.setFocus(Qt.FocusReason.OtherFocusReason)

    def refresh(self) -> None:
        """Show what is known now."""
        found = () if self.scene is None else self.scene.found()
        if found != self._found:
            self._found = found
            self.list.clear()
            for one in found:
                item = QListWidgetItem(finding_words(one))
                item.setToolTip("Click: the view moves there")
                self.list.addItem(item)
        self.hint.setText(HOW_TO_ADD if found else NONE_FOUND)
        self._show_forms()

    def _chosen(self) -> None:
        finding = self._current()
        if finding is not None and self.scene is not None:
            self.scene.centre_on(finding.box_px)
        self._show_forms()

    def _current(self) -> Finding | None:
        row = self.list.currentRow()
        return self._found[row] if 0 <= row < len(self._found) else None

    def _dismiss(self) -> None:
        finding, code = self._current(), self.reason.currentData()
        if finding is None or self.scene is None:
            return
        session = self.scene.session
        try:
            session.dismiss_finding(finding.place, str(code), self.why.text().strip())
        except MscVisionError as err:
            session.said.emit(Message("warning", str(err)))
            return
        self.why.clear()

    def _add(self) -> None:
        if self._box is None or self.scene is None:
            return
        self.scene.session.add_finding(str(self.kind.currentData()), self._box, self.note.text().strip())
        self._put_away()

    def _put_away(self) -> None:
        self._box = None
        self.note.clear()
        self._show_forms()

    def _show_forms(self) -> None:
        finding = self._current()
        self.adding.setVisible(self._box is not None)
        self.dismissing.setVisible(self._box is None and finding is not None and not finding.is_dismissed)


def _row(holder: QWidget, choice: QComboBox, text: QLineEdit, *buttons: QPushButton) -> None:
    layout = column(holder, 0)
    layout.addWidget(choice)
    row = QHBoxLayout()
    row.addWidget(text, 1)
    for button in buttons:
        row.addWidget(button)
    layout.addLayout(row)
