"""The verdict on a vessel: judge it, read why, answer what waits for a person, sign, and see what was before."""

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QBrush, QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QToolButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from msc_vision.decision.judgement import Purpose, Settlement
from msc_vision.errors import InvalidArgumentError
from msc_vision.review.reasons import check_reason, reasons_for
from msc_vision.service.board.criteria import CriterionRow
from msc_vision.service.board.words import clock
from napari_msc_vision.desk import MEANING_WORDS, Answer, AnswerKind
from napari_msc_vision.docks.banner import Banner, draw_sign
from napari_msc_vision.verdict import Record, Signed, VerdictView, sign_of, superseded_ids, verdict_view

JUDGE = "Alt+J"
_FAINT = QColor(140, 146, 156)
_KINDS: tuple[tuple[AnswerKind, str], ...] = (
    ("settle", "Settle what is in doubt"),
    ("hold", "Hold for review"),
    ("reject", "Reject the vessel"),
)


class VesselVerdict(QGroupBox):
    """One vessel: rule set, verdict, criteria, answer, signature, records."""

    vessel_chosen = Signal(str)
    judge_wanted = Signal()
    browse_wanted = Signal()
    record_chosen = Signal(object)
    answered = Signal(object, object)
    sign_wanted = Signal(object, str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("The vessel", parent)
        self.vessels, self.rule_sets, self.purposes = QComboBox(), QComboBox(), QComboBox()
        self.judge = QPushButton(f"Judge now [{JUDGE}]")
        self.more = QToolButton()
        self.banner = Banner()
        self.about = _words()
        self.criteria = _tree(("Outcome", "Criterion", "Seen", "Allowed"))
        self.why = _words()
        self.changes = _words()
        self.kinds, self.reasons, self.text = QComboBox(), QComboBox(), QLineEdit()
        self.say = QPushButton("Save this answer")
        self.doubts = QWidget()
        self.answers: list[tuple[str, int | None, QComboBox]] = []
        self.trouble = _words()
        self.who = _words()
        self.meanings, self.password = QComboBox(), QLineEdit()
        self.sign = QPushButton("Sign this record")
        self.signed = _words()
        self.records = _tree(("When", "Verdict", "Rule set", ""))
        self.view: VerdictView | None = None
        self._known: tuple[Record, ...] = ()
        self._shown: Record | None = None
        self._build()

    # --- the look ----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setSpacing(5)
        layout.setContentsMargins(4, 8, 4, 4)
        layout.addWidget(self.vessels)
        layout.addLayout(self._ask_row())
        for part in (self.banner, self.about, self.criteria, self.why, self.more, self.changes):
            layout.addWidget(part)
        self.more.setCheckable(True)
        self.more.setStyleSheet("QToolButton { border: none; font-weight: bold; }")
        self.more.toggled.connect(lambda _: self._unfold())
        layout.addWidget(_heading("Your answer"))
        layout.addLayout(self._answer_rows())
        layout.addWidget(_heading("Signature"))
        layout.addLayout(self._sign_rows())
        layout.addWidget(_heading("Records, the last one first"))
        layout.addWidget(self.records)
        self.criteria.setMinimumHeight(150)
        for tree, widths in ((self.criteria, (100, 142, 84)), (self.records, (96, 130, 90))):
            for column, width in enumerate(widths):
                tree.setColumnWidth(column, width)
        self.records.setMaximumHeight(110)
        self.criteria.currentItemChanged.connect(self._show_why)
        self.records.currentItemChanged.connect(self._record_clicked)
        self.vessels.currentTextChanged.connect(self.vessel_chosen)
        self.show_record(None)

    def _unfold(self) -> None:
        """Show what would change the verdict, or only how much that is."""
        n = 0 if self.view is None else len(self.view.changes)
        is_open = self.more.isChecked()
        self.more.setText(f"{'▾' if is_open else '▸'} What would change it ({n})")
        self.more.setVisible(n > 0)
        self.changes.setVisible(is_open and n > 0)

    def _ask_row(self) -> QVBoxLayout:
        self.purposes.addItem("for production", "production")
        self.purposes.addItem("trial", "trial")
        self.purposes.setToolTip("A draft rule set never gives GO for production.")
        self.rule_sets.setAccessibleName("Rule set")
        for box in (self.rule_sets, self.purposes, self.reasons, self.kinds, self.meanings):
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(9)
        browse = QPushButton("…")
        browse.setToolTip("Choose a rule set from a YAML file")
        browse.setMaximumWidth(32)
        browse.clicked.connect(lambda _: self.browse_wanted.emit())
        self.browse = browse
        self.judge.clicked.connect(lambda _: self.judge_wanted.emit())
        first, second = QHBoxLayout(), QHBoxLayout()
        first.addWidget(self.rule_sets, 1)
        first.addWidget(browse)
        second.addWidget(self.purposes, 1)
        second.addWidget(self.judge, 1)
        layout = QVBoxLayout()
        layout.addLayout(first)
        layout.addLayout(second)
        return layout

    def _answer_rows(self) -> QVBoxLayout:
        for kind, words in _KINDS:
            self.kinds.addItem(words, kind)
        self.kinds.setCurrentIndex(1)
        self.reasons.addItem("reason …", None)
        for one in reasons_for("settled"):
            self.reasons.addItem(one.words, one.code)
        self.text.setPlaceholderText("In your words")
        self.kinds.currentIndexChanged.connect(lambda _: self._show_doubts())
        self.say.clicked.connect(lambda _: self._answer())
        layout = QVBoxLayout()
        first, second = QHBoxLayout(), QHBoxLayout()
        first.addWidget(self.kinds, 1)
        first.addWidget(self.reasons, 1)
        second.addWidget(self.text, 1)
        second.addWidget(self.say)
        self.doubts.setLayout(QVBoxLayout())
        layout.addLayout(first)
        layout.addWidget(self.doubts)
        layout.addLayout(second)
        layout.addWidget(self.trouble)
        self.trouble.hide()
        return layout

    def _sign_rows(self) -> QVBoxLayout:
        for meaning, words in MEANING_WORDS.items():
            self.meanings.addItem(words, meaning)
        self.password.setEchoMode(QLineEdit.EchoMode.Password)
        self.password.setPlaceholderText("your password, again")
        self.sign.clicked.connect(lambda _: self._sign())
        line = QHBoxLayout()
        line.addWidget(self.meanings, 1)
        line.addWidget(self.password, 1)
        line.addWidget(self.sign)
        layout = QVBoxLayout()
        layout.addWidget(self.who)
        layout.addLayout(line)
        layout.addWidget(self.signed)
        return layout

    # --- what it is told ---------------------------------------------------------------------------------------------

    @property
    def vessel_id(self) -> str:
        """The vessel that is shown."""
        return self.vessels.currentText()

    @property
    def rules(self) -> str | None:
        """Name or file of the rule set that is chosen."""
        return cast("str | None", self.rule_sets.currentData())

    @property
    def purpose(self) -> Purpose:
        """What the decision is for."""
        return cast(Purpose, self.purposes.currentData())

    def show_vessels(self, names: Sequence[str]) -> None:
        """Offer other vessels."""
        self.vessels.blockSignals(True)
        self.vessels.clear()
        self.vessels.addItems(list(names))
        self.vessels.blockSignals(False)
        self.vessels.setVisible(len(names) > 1)
        self._known = ()
        self.show_record(None)

    def choose_vessel(self, vessel_id: str) -> None:
        """Show the vessel of the open field."""
        if vessel_id != self.vessel_id:
            self.vessels.setCurrentText(vessel_id)

    def show_desk(self, who: str, *, signs_with_password: bool) -> None:
        """Say who signs, and how that is known."""
        self.who.setText(who)
        self.password.setVisible(signs_with_password)
        self.purposes.setVisible(not signs_with_password)
        self.browse.setVisible(not signs_with_password)

    def show_rules(self, rules: Sequence[tuple[str, str]]) -> None:
        """Offer other rule sets: name and title."""
        self.rule_sets.clear()
        for name, title in rules:
            self.rule_sets.addItem(title, name)
            self.rule_sets.setItemData(self.rule_sets.count() - 1, f"{name}: {title}", Qt.ItemDataRole.ToolTipRole)

    def add_rules(self, path: str, title: str) -> None:
        """Offer a rule set from a file, and choose it."""
        self.rule_sets.addItem(title, path)
        self.rule_sets.setCurrentIndex(self.rule_sets.count() - 1)

    def rules_of_record(self, record: Record) -> str | None:
        """Return the chosen rule set if it is the one that a record was made with, for a file that has no id here."""
        name = record["provenance"]["rule_set"]["id"]
        return None if self.rule_sets.findData(name) >= 0 else self.rules

    def show_records(self, records: Sequence[Record]) -> None:
        """Show the records of the vessel; the last one is read, unless it was shown already."""
        if [one["decision_id"] for one in records] == [one["decision_id"] for one in self._known] and self._known:
            if self._shown is not None:
                self.record_chosen.emit(self._shown)
            return
        self._known = tuple(records)
        superseded = superseded_ids(records)
        self.records.blockSignals(True)
        self.records.clear()
        for one in records:
            self.records.addTopLevelItem(_record_item(one, is_superseded=one["decision_id"] in superseded))
        self.records.blockSignals(False)
        self.show_record(records[0] if records else None)
        if records:
            _choose_first(self.records)

    def show_record(self, record: Record | None) -> None:
        """Show a record, or that there is none."""
        self._shown = record
        self.criteria.clear()
        self.signed.setText("")
        parts = (self.about, self.criteria, self.why)
        for part in parts:
            part.setVisible(record is not None)
        self.say.setEnabled(record is not None)
        self.sign.setEnabled(False)
        if record is None:
            self.view = None
            self.banner.show_sign(None, "")
            self._unfold()
            self._show_doubts()
            return
        before = next((one for one in self._known if one["decision_id"] == record["supersedes"]), None)
        self.view = view = verdict_view(record, before)
        self.banner.show_sign(view.sign, view.action)
        self.about.setText("\n".join(filter(None, (view.headline, view.summary, view.said, view.change))))
        for row in view.rows:
            self.criteria.addTopLevelItem(_criterion_item(row))
        _choose_first(self.criteria)
        self.changes.setText("\n".join(f"• {one}" for one in view.changes))
        self._unfold()
        self._show_doubts()
        self._show_signing(record)
        self.record_chosen.emit(record)

    def show_signatures(self, decision_id: str, found: Sequence[Signed]) -> None:
        """Show who signed the record that is shown."""
        if self.view is None or self.view.decision_id != decision_id or not found:
            return
        self.signed.setText("\n".join(f"Signed: {one.words}" for one in found))

    def _show_signing(self, record: Record) -> None:
        assert self.view is not None
        is_old = record["decision_id"] in superseded_ids(self._known)
        reason = "This record was superseded: sign the last one." if is_old else ""
        if self.view.is_draft:
            reason = "Made with a draft rule set: such a record cannot be signed. Have the rule set approved first."
        self.signed.setText(reason)
        self.sign.setEnabled(not reason)
        self.say.setEnabled(not is_old)

    # --- what a person does ------------------------------------------------------------------------------------------

    def _show_why(self, item: QTreeWidgetItem | None) -> None:
        self.why.setText("" if item is None else str(item.data(0, Qt.ItemDataRole.UserRole)))

    def _record_clicked(self, item: QTreeWidgetItem | None) -> None:
        row = self.records.indexOfTopLevelItem(item) if item is not None else -1
        if 0 <= row < len(self._known) and self._known[row] is not self._shown:
            self.show_record(self._known[row])

    def _show_doubts(self) -> None:
        layout = self.doubts.layout()
        assert layout is not None
        while (old := layout.takeAt(0)) is not None:
            if (widget := old.widget()) is not None:
                widget.deleteLater()
        self.answers = []
        wants = self.kinds.currentData() == "settle" and self.view is not None
        doubts = self.view.doubts if wants and self.view is not None else ()
        if wants and not doubts:
            layout.addWidget(_words("Nothing waits for a person here; what is missing or not met cannot be settled."))
        for one in doubts:
            place = "" if one.layer is None else f" on layer {one.layer}"
            layout.addWidget(_words(f"{one.criterion}{place}: {one.message}"))
            choice = QComboBox()
            for words, outcome in (("leave it open", None), ("it is met", "met"), ("it is not met", "not met")):
                choice.addItem(words, outcome)
            layout.addWidget(choice)
            self.answers.append((one.criterion, one.layer, choice))
        self.doubts.setVisible(bool(wants))

    def _answer(self) -> None:
        if self._shown is None:
            return
        kind = cast(AnswerKind, self.kinds.currentData())
        code, text = self.reasons.currentData(), self.text.text().strip()
        settles = tuple(
            Settlement(criterion, layer, choice.currentData())
            for criterion, layer, choice in self.answers
            if choice.currentData() is not None
        )
        try:
            check_reason({"settle": "settled", "hold": "held", "reject": "vessel-rejected"}[kind], code, text)  # type: ignore[arg-type]
            if kind == "settle" and not settles:
                raise InvalidArgumentError("Answer at least one of the doubts, or choose hold or reject.")
        except InvalidArgumentError as err:
            self.trouble.setText(f"▸ {err}")
            self.trouble.show()
            return
        self.trouble.hide()
        self.answered.emit(self._shown, Answer(kind, code, text, settles))
        self.text.clear()
        self.reasons.setCurrentIndex(0)

    def _sign(self) -> None:
        password = self.password.text()
        self.password.clear()
        if self.password.isVisible() and not password:
            self.signed.setText("Give your password to sign.")
        elif self._shown is not None:
            self.sign_wanted.emit(self._shown, str(self.meanings.currentData()), password)


def _words(text: str = "") -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def _heading(text: str) -> QLabel:
    label = QLabel(text)
    label.setStyleSheet("font-weight: bold; margin-top: 6px;")
    return label


def _tree(columns: Sequence[str]) -> QTreeWidget:
    tree = QTreeWidget()
    tree.setColumnCount(len(columns))
    tree.setHeaderLabels(list(columns))
    tree.setRootIsDecorated(False)
    tree.setUniformRowHeights(True)
    tree.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    tree.setIconSize(QSize(14, 14))
    tree.header().setStretchLastSection(True)
    return tree


def _choose_first(tree: QTreeWidget) -> None:
    first = tree.topLevelItem(0)
    if first is not None:
        tree.setCurrentItem(first)


def _criterion_item(row: CriterionRow) -> QTreeWidgetItem:
    place = row.place.replace("layers ", "L").replace("layer ", "L")
    name = f"{row.id} {place}".strip()
    seen = f"{row.observed} ({row.interval})" if row.interval else row.observed
    item = QTreeWidgetItem([row.sign.word, name, seen, row.limit])
    item.setIcon(0, sign_icon(row.sign.shape))
    source = f"{row.message}\nSource: {row.source}"
    item.setData(0, Qt.ItemDataRole.UserRole, source)
    for column in range(4):
        item.setToolTip(column, source)
    return item


def _record_item(record: Record, *, is_superseded: bool) -> QTreeWidgetItem:
    sign, rules = sign_of(record), record["provenance"]["rule_set"]
    tail = "superseded" if is_superseded else ""
    at = datetime.fromisoformat(record["created_at"]).astimezone()
    item = QTreeWidgetItem([f"{at:%d %b %H:%M}", sign.word, f"{rules['id']} {rules['version']}", tail])
    item.setIcon(1, sign_icon(sign.shape))
    item.setToolTip(0, clock(record["created_at"]))
    if is_superseded:
        for column in range(4):
            item.setForeground(column, QBrush(_FAINT))
    return item


def sign_icon(shape: str) -> QIcon:
    """Return the shape of a verdict or an outcome as an icon."""
    pixmap = QPixmap(28, 28)
    pixmap.fill(QColor(0, 0, 0, 0))
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    draw_sign(painter, shape, pixmap.rect().toRectF())
    painter.end()
    return QIcon(pixmap)
