"""What becomes of the open field: accept, reject, image again; with a reason that can be counted, and what was said."""

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QGroupBox, QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from msc_vision.errors import InvalidArgumentError
from msc_vision.flags import flag_words
from msc_vision.review.events import NEED_REASON, Action
from msc_vision.review.reasons import OTHER, check_reason, reason_words, reasons_for
from msc_vision.review.state import FieldReview
from msc_vision.service.board.words import clock
from msc_vision.statistics.rollup import ScoredField
from napari_msc_vision.marks import field_mark, field_name, figure_words

KEYS: dict[Action, str] = {"accepted": "Alt+A", "rejected": "Alt+R", "re-image": "Alt+I", "reopened": "Alt+O"}
_BUTTONS: tuple[tuple[Action, str, str], ...] = (
    ("accepted", "✓ Accept", "The field and its masks can be relied on"),
    ("rejected", "✕ Reject", "The field is left out of every figure; needs a reason"),
    ("re-image", "↻ Re-image", "The field is left out and has to be imaged again; needs a reason"),
    ("reopened", "Open again", "Take back what was said of it; needs a reason"),
)
_SAID = ("accepted", "rejected", "re-image", "reopened", "finding-added", "finding-dismissed", "edited")
_WORDS = {
    "accepted": "accepted",
    "rejected": "rejected",
    "re-image": "asked to image again",
    "reopened": "opened again",
    "finding-added": "added a finding",
    "finding-dismissed": "dismissed a finding",
    "edited": "corrected",
}
_MOST_LINES = 4


class FieldJudgement(QGroupBox):
    """Buttons, reason and history of one field."""

    judged = Signal(str, object, str)
    """Action, reason code or None, and text: the person has said enough."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("The open field", parent)
        self.headline = QLabel("No field is open.")
        self.headline.setWordWrap(True)
        self.reasons = QComboBox()
        self.reasons.setAccessibleName("Reason")
        self.text = QLineEdit()
        self.text.setPlaceholderText("Add words, if you like")
        self.trouble = QLabel()
        self.trouble.setWordWrap(True)
        self.history = QLabel()
        self.history.setWordWrap(True)
        self.buttons: dict[Action, QPushButton] = {}
        self.wanted: Action | None = None
        self._build()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setSpacing(4)
        layout.setContentsMargins(4, 8, 4, 4)
        layout.addWidget(self.headline)
        line = QHBoxLayout()
        line.setSpacing(3)
        for action, text, tip in _BUTTONS:
            button = QPushButton(f"{text} [{KEYS[action]}]")
            button.setToolTip(f"{tip}; key {KEYS[action]}")
            button.clicked.connect(lambda _, action=action: self.want(action))
            self.buttons[action] = button
            if action != "reopened":
                line.addWidget(button)
        layout.addLayout(line)
        reason = QHBoxLayout()
        reason.addWidget(QLabel("Reason"))
        reason.addWidget(self.reasons, 2)
        reason.addWidget(self.text, 3)
        layout.addLayout(reason)
        layout.addWidget(self.trouble)
        last = QHBoxLayout()
        last.addWidget(self.history, 1)
        last.addWidget(self.buttons["reopened"])
        layout.addLayout(last)
        self.reasons.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.reasons.setMinimumContentsLength(8)
        self.buttons["reopened"].hide()
        self._offer("rejected")
        self.reasons.activated.connect(lambda _: self._go_on())
        self.text.returnPressed.connect(self._go_on)
        self.trouble.hide()

    def show_field(
        self, field: ScoredField | None, review: FieldReview | None, original: ScoredField | None = None
    ) -> None:
        """Show another field, or what was said of it meanwhile."""
        is_open = field is not None and review is not None
        for button in self.buttons.values():
            button.setEnabled(is_open)
        if field is None or review is None:
            self.headline.setText("No field is open.")
            self.headline.setToolTip("")
            self.history.setText("")
            self.buttons["reopened"].hide()
            return
        mark = field_mark(review)
        colour = "#{:02x}{:02x}{:02x}".format(*mark.colour)
        badge = f"<span style='background:{colour}; color:#181b21'>&nbsp;{mark.letter}&nbsp;{mark.word}&nbsp;</span>"
        name = f"<b>Layer {field.row.layer} · {field_name(field)} · {figure_words(field, original)}</b>"
        self.headline.setText(f"{name} &nbsp; {badge}")
        self.headline.setToolTip("\n".join(f"• {words}" for words in flag_words(field.score.flags)))
        self.buttons["reopened"].setVisible(review.decided_by is not None)
        self.history.setText("\n".join(_history(review)))
        self.history.setVisible(bool(self.history.text()))

    def forget(self) -> None:
        """Forget what was begun for another field."""
        self.wanted = None
        self.text.clear()
        self._offer("rejected")
        self.trouble.hide()

    def want(self, action: Action) -> None:
        """Say what becomes of the field, or ask for the reason that it needs."""
        if not self.buttons[action].isEnabled():
            return
        if action in NEED_REASON and [one.code for one in reasons_for(action)] != self._codes()[1:]:
            self._offer(action)
        self.wanted = action
        self._go_on()

    def _offer(self, action: Action) -> None:
        self.reasons.clear()
        self.reasons.addItem("choose …", None)
        for one in reasons_for(action):
            self.reasons.addItem(one.words, one.code)

    def _codes(self) -> list[str | None]:
        return [self.reasons.itemData(i) for i in range(self.reasons.count())]

    def _go_on(self) -> None:
        """Judge if enough was said; else say what is missing, and put the cursor there."""
        action, code, text = self.wanted, self.reasons.currentData(), self.text.text().strip()
        if action is None:
            return
        try:
            check_reason(action, code, text)
        except InvalidArgumentError as err:
            self._ask(str(err), needs_text=code == OTHER)
            return
        self.judged.emit(action, code if action in NEED_REASON else None, text)
        self.forget()

    def _ask(self, text: str, *, needs_text: bool) -> None:
        self.trouble.setText(f"▸ {text}")
        self.trouble.show()
        if needs_text:
            self.text.setFocus()
        else:
            self.reasons.setFocus()


def _history(review: FieldReview) -> Sequence[str]:
    """Return the last things that people said of a field, the newest first."""
    head = ["! People disagree: judge it again when you have talked."] if review.is_disputed else []
    said = [one for one in review.events if one.action in _SAID]
    lines = []
    for one in said[::-1][:_MOST_LINES]:
        why = ": ".join(filter(None, (reason_words(one.reason_code), one.reason)))
        lines.append(f"{clock(one.at)}  {one.reviewer.name} {_WORDS[one.action]}{f' ({why})' if why else ''}")
    more = len(said) - _MOST_LINES
    return [*head, *lines, *([f"and {more} entries before"] if more > 0 else [])]
