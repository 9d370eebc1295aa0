"""The fields that are most worth a look, as a list of two lines each: where and how it stands, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, QRect, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from msc_vision.batch.worth_a_look import Why, WorthALook
from msc_vision.review.state import ReviewState
from msc_vision.statistics.rollup import ScoredField
from napari_msc_vision.marks import STANDINGS, Mark, field_mark, field_name, figure_words

ROW_PX = 40
_INK, _FAINT = QColor(240, 241, 242), QColor(170, 176, 186)
_ANY_INDEX = QModelIndex | QPersistentModelIndex
WHY_WORDS: Mapping[Why, str] = {
    "failed": "failed",
    "rejected": "not judgeable",
    "suspect": "suspect",
    "disputed": "people disagree",
    "doubtful": "doubtful",
    "drives the verdict": "drives the verdict",
    "unusual": "unusual",
    "sample": "sample",
    "judged": "judged",
}


class FieldList(QAbstractListModel):
    """Fields in an order that stays while one walks along it; marks follow what is said."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.items: tuple[WorthALook, ...] = ()
        self._fields: Mapping[str, ScoredField] = {}
        self._original: Mapping[str, ScoredField] = {}
        self._state = ReviewState()
        self._rows: dict[str, int] = {}

    def show_items(self, items: Sequence[WorthALook], original: Mapping[str, ScoredField]) -> None:
        """Show other fields, or the same in another order; `show_state` follows."""
        self.beginResetModel()
        self.items, self._original, self._fields = tuple(items), original, original
        self._rows = {one.key: row for row, one in enumerate(self.items)}
        self.endResetModel()

    def show_state(self, fields: Mapping[str, ScoredField], state: ReviewState) -> None:
        """Show what has become of the fields; their order stays. Only what changed is drawn again."""
        before, were = self._fields, self._state
        self._fields, self._state = fields, state
        for row, item in enumerate(self.items):
            key = item.key
            if fields[key] is not before.get(key) or state.fields.get(key) is not were.fields.get(key):
                self.dataChanged.emit(self.index(row), self.index(row))

    def row_of(self, key: str | None) -> int | None:
        """Return where a field stands, None if it does not."""
        return None if key is None else self._rows.get(key)

    def rowCount(self, parent: _ANY_INDEX = QModelIndex()) -> int:  # noqa: N802, B008  (Qt's)
        """Return the number of fields."""
        return 0 if parent.isValid() else len(self.items)

    def data(self, index: _ANY_INDEX, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a row shows: its two lines, its mark (user role), the whole sentence as tool tip."""
        if not index.isValid():
            return None
        item = self.items[index.row()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return f"{self._headline(item)}\n{item.sentence}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{self._headline(item)} ({self.mark(item.key).word}): {item.sentence}"
        return self.mark(item.key) if role == Qt.ItemDataRole.UserRole else None

    def mark(self, key: str) -> Mark:
        """Return how the review of a field stands."""
        return field_mark(self._state.of(key))

    def is_looked_at(self, key: str) -> bool:
        """Return whether anybody had a field open."""
        return self._state.of(key).is_looked_at

    def _headline(self, item: WorthALook) -> str:
        field = self._fields[item.key]
        figure = figure_words(field, self._original[item.key])
        why = WHY_WORDS[item.why]
        parts = [f"Layer {field.row.layer}", field_name(field), figure, *([why] if why != figure else [])]
        return "  ·  ".join(parts)


class FieldDelegate(QStyledItemDelegate):
    """Draws a field: its mark as a lettered badge, a line with what it is, and a line with the reason."""

    def sizeHint(self, option: QStyleOptionViewItem, index: _ANY_INDEX) -> QSize:  # noqa: N802, ARG002
        """Return a size that every row has, which keeps long lists quick."""
        return QSize(200, ROW_PX)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _ANY_INDEX) -> None:
        """Draw a row."""
        rect: QRect = option.rect
        state = option.state
        painter.save()
        if state & QStyle.StateFlag.State_Selected:
            painter.fillRect(rect, QColor(86, 180, 233, 60))
        elif state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(rect, QColor(255, 255, 255, 16))
        mark: Mark = index.data(Qt.ItemDataRole.UserRole)
        self._badge(painter, mark, QRectF(rect.left() + 6, rect.top() + 9, 22, 22))
        first, _, second = str(index.data()).partition("\n")
        metrics = option.fontMetrics
        width, left = rect.width() - 40, rect.left() + 36
        for line, text, colour in ((0, first, _INK), (1, second, _FAINT)):
            painter.setPen(colour)
            shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, width)
            painter.drawText(QRect(left, rect.top() + 2 + 18 * line, width, 18), _LEFT, shown)
        painter.restore()

    def _badge(self, painter: QPainter, mark: Mark, box: QRectF) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colour = QColor(*mark.colour)
        painter.setPen(colour)
        is_plain = mark is STANDINGS["not looked at"]
        painter.setBrush(Qt.BrushStyle.NoBrush if is_plain else colour)
        painter.drawRoundedRect(box, 4, 4)
        painter.setPen(_FAINT if is_plain else QColor(24, 27, 33))
        painter.drawText(box, _CENTRE, mark.letter)


_LEFT = int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft)
_CENTRE = int(Qt.AlignmentFlag.AlignCenter)
