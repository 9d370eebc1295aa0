"""The ladder of a vessel's layers, drawn: layer 1 at the bottom, as the vessel stands."""

from collections.abc import Callable, Mapping
from typing import Any

from qtpy.QtCore import QEvent, QPointF, QRect, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QBrush, QColor, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_msc_vision.ladder import Ladder, Rung, row_name
from napari_msc_vision.marks import GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, Colour

ROW_PX, TIGHT_ROW_PX, HEAD_PX = 24, 19, 22
TIGHT_FROM = 16
_NUMBER, _FIGURE, _STATE, _OUTCOME, _LOOKED = 36, 46, 88, 84, 38
_DOT = 4.5
_INK = QColor(240, 241, 242)
_FAINT = QColor(150, 156, 166)
_TRACK = QColor(62, 68, 79)
_WINDOW = QColor(0, 158, 115, 70)
_CHOSEN = QColor(86, 180, 233, 60)

STATE_COLOURS: Mapping[str, Colour] = {
    "measured": SKY,
    "measured-degraded": SKY,
    "inferred": ORANGE,
    "unobservable": GREY,
    "missing": VERMILLION,
}
OUTCOME_SIGNS: Mapping[str, tuple[str, Colour]] = {
    "met": ("✓", GREEN),
    "not met": ("✕", VERMILLION),
    "a person has to look": ("!", PURPLE),
}
"""By the outcome's word; every other one is a question mark."""


class LadderView(QWidget):
    """Rows of layers. Arrow keys choose one, Enter or a click shows its fields."""

    layer_opened = Signal(int)
    layer_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.ladder = Ladder((), None, "")
        self._rows: tuple[tuple[Rung, ...], ...] = ()
        self.chosen: int | None = None
        self.open_layer: int | None = None
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Layers of the vessel, layer 1 at the bottom")
        self.setMinimumWidth(330)

    def show_ladder(self, ladder: Ladder, open_layer: int | None) -> None:
        """Show other figures; what was chosen stays chosen. Only rows that look different are drawn again."""
        frame, looks = self._frame, self._looks
        if len(ladder.rungs) != len(self.ladder.rungs):
            self.chosen = None
        self.ladder, self.open_layer, self._rows = ladder, open_layer, ladder.rows
        if self._frame != frame:
            self.setFixedHeight(self.sizeHint().height())
            self.update()
            return
        for i, (before, now) in enumerate(zip(looks, self._looks, strict=True)):
            if before != now:
                self.update(self._rect_of(i).toAlignedRect())

    @property
    def _frame(self) -> tuple[int, bool, tuple[float, float] | None]:
        """What every row is drawn in."""
        return len(self._rows), self.ladder.has_outcomes, self.ladder.window

    @property
    def _looks(self) -> list[tuple[tuple[Rung, ...], bool, bool]]:
        """What each row shows: its layers, whether one is open, whether one is chosen."""
        layers = [{one.layer for one in row} for row in self._rows]
        return [
            (row, self.open_layer in these, self.chosen in these) for row, these in zip(self._rows, layers, strict=True)
        ]

    def sizeHint(self) -> QSize:  # noqa: N802  (Qt's name)
        """Return the size that shows every layer."""
        return QSize(400, HEAD_PX + self._row_px * max(1, len(self._rows)) + 4)

    @property
    def _row_px(self) -> int:
        return TIGHT_ROW_PX if len(self._rows) >= TIGHT_FROM else ROW_PX

    def row_rect(self, layer: int) -> QRectF:
        """Return where a layer is drawn; some that nobody saw share a place."""
        from_top = next(i for i, row in enumerate(self._rows) if any(one.layer == layer for one in row))
        return self._rect_of(from_top)

    def _rect_of(self, from_top: int) -> QRectF:
        return QRectF(0, HEAD_PX + from_top * self._row_px, self.width(), self._row_px)

    def layer_at(self, y: float) -> int | None:
        """Return the layer at a height, None beside them; of layers that share a place, the lowest."""
        from_top = int((y - HEAD_PX) // self._row_px)
        return self._rows[from_top][-1].layer if y >= HEAD_PX and from_top < len(self._rows) else None

    # --- what a person does ------------------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Show the fields of the layer that was clicked."""
        layer = self.layer_at(event.position().y())
        if layer is not None and event.button() == Qt.MouseButton.LeftButton:
            self._choose(layer)
            self.layer_opened.emit(layer)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Choose with the arrow keys, show with Enter."""
        n = len(self._rows)
        here = self.chosen or self.open_layer or 1
        at = next((i for i, row in enumerate(self._rows) if any(one.layer == here for one in row)), n - 1)
        keys: dict[int, Callable[[], None]] = {
            Qt.Key.Key_Up: lambda: self._choose(self._rows[max(0, at - 1)][-1].layer),
            Qt.Key.Key_Down: lambda: self._choose(self._rows[min(n - 1, at + 1)][-1].layer),
            Qt.Key.Key_Home: lambda: self._choose(self._rows[0][-1].layer),
            Qt.Key.Key_End: lambda: self._choose(self._rows[-1][-1].layer),
            Qt.Key.Key_Return: lambda: self.layer_opened.emit(here),
            Qt.Key.Key_Enter: lambda: self.layer_opened.emit(here),
        }
        if n and event.key() in keys:
            keys[event.key()]()
        else:
            super().keyPressEvent(event)

    def event(self, event: QEvent) -> bool:
        """Tell how a layer's figure was got when the pointer rests on it."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            layer = self.layer_at(event.pos().y())
            text = "" if layer is None else self.ladder.rungs[layer - 1].how
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return bool(super().event(event))

    def _choose(self, layer: int) -> None:
        self.chosen = layer
        self.setAccessibleDescription(self.ladder.rungs[layer - 1].how)
        self.layer_chosen.emit(layer)
        self.update()

    # --- drawing -----------------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the rows that are in sight."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        in_sight = event.region()
        if in_sight.intersects(QRect(0, 0, self.width(), HEAD_PX)):
            self._draw_head(painter)
        for i, row in enumerate(self._rows):
            rect = self._rect_of(i)
            if in_sight.intersects(rect.toAlignedRect()):
                self._draw_rung(painter, row[-1], rect, row_name(row))
        painter.end()

    def _track(self, rect: QRectF) -> QRectF:
        left = rect.left() + _NUMBER + 6
        right = rect.right() - _FIGURE - _STATE - self._outcome_px - _LOOKED - 8
        return QRectF(left, rect.top(), max(40.0, right - left), rect.height())

    @property
    def _outcome_px(self) -> int:
        return _OUTCOME if self.ladder.has_outcomes else 0

    def _x(self, track: QRectF, percent: float) -> float:
        return track.left() + min(max(percent, 0.0), 100.0) / 100 * track.width()

    def _draw_head(self, painter: QPainter) -> None:
        track = self._track(QRectF(0, 0, self.width(), HEAD_PX))
        painter.setPen(_FAINT)
        self._small(painter)
        for percent, label in ((0, "0"), (50, "50"), (100, "100 %")):
            at = self._x(track, percent)
            painter.drawText(QRectF(at - 24, 0, 48, HEAD_PX - 3), _CENTRE, label)
        x = track.right() + 8 + _FIGURE
        painter.drawText(QRectF(x, 0, _STATE, HEAD_PX - 3), _LEFT, "layer was")
        if self._outcome_px:
            painter.drawText(QRectF(x + _STATE, 0, _OUTCOME, HEAD_PX - 3), _LEFT, "criteria")
        painter.drawText(QRectF(self.width() - 62, 0, 58, HEAD_PX - 3), _RIGHT, "looked at")

    def _small(self, painter: QPainter) -> None:
        font = self.font()
        font.setPointSizeF(max(7.0, font.pointSizeF() * 0.86))
        painter.setFont(font)

    def _draw_rung(self, painter: QPainter, rung: Rung, rect: QRectF, names: str) -> None:
        if rung.layer in (self.chosen, self.open_layer):
            painter.fillRect(rect, _CHOSEN if rung.layer == self.chosen else QColor(255, 255, 255, 18))
        if rung.layer == self.chosen and self.hasFocus():
            painter.setPen(QPen(_INK, 1, Qt.PenStyle.DotLine))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(rect.adjusted(0.5, 0.5, -0.5, -0.5))
        track = self._track(rect)
        painter.setFont(self.font())
        painter.setPen(_INK)
        name = f"▸{names}" if rung.layer == self.open_layer else names
        painter.drawText(QRectF(0, rect.top(), _NUMBER, rect.height()), _RIGHT, name)
        self._draw_track(painter, rung, track)
        self._draw_words(painter, rung, rect, track.right() + 8)

    def _draw_track(self, painter: QPainter, rung: Rung, track: QRectF) -> None:
        middle = track.center().y()
        if rung.state == "unobservable":
            painter.fillRect(track.adjusted(0, 5, 0, -5), QBrush(QColor(*GREY), Qt.BrushStyle.BDiagPattern))
            return
        if self.ladder.window is not None:
            low, high = (self._x(track, one) for one in self.ladder.window)
            painter.fillRect(QRectF(low, track.top(), high - low, track.height()), _WINDOW)
        painter.setPen(QPen(_TRACK, 2))
        painter.drawLine(QPointF(track.left(), middle), QPointF(track.right(), middle))
        colour = QColor(*STATE_COLOURS[rung.state])
        if rung.interval is not None:
            is_inferred = rung.state == "inferred"
            painter.setPen(QPen(colour, 2, Qt.PenStyle.DashLine if is_inferred else Qt.PenStyle.SolidLine))
            low, high = (self._x(track, one) for one in rung.interval)
            painter.drawLine(QPointF(low, middle), QPointF(high, middle))
            painter.setPen(QPen(colour, 2))
            for end in (low, high):
                painter.drawLine(QPointF(end, middle - 3), QPointF(end, middle + 3))
        if rung.before_percent is not None:
            painter.setPen(QPen(_INK, 1.2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawEllipse(QPointF(self._x(track, rung.before_percent), middle), _DOT, _DOT)
        if rung.confluency_percent is not None:
            draw_state(painter, rung.state, QPointF(self._x(track, rung.confluency_percent), middle))

    def _draw_words(self, painter: QPainter, rung: Rung, rect: QRectF, x: float) -> None:
        top, height = rect.top(), rect.height()
        painter.setPen(_INK)
        painter.drawText(QRectF(x, top, _FIGURE - 12, height), _RIGHT, rung.figure)
        x += _FIGURE
        draw_state(painter, rung.state, QPointF(x + 2, rect.center().y()))
        painter.setPen(_INK if rung.state.startswith("measured") else _FAINT)
        painter.drawText(QRectF(x + 12, top, _STATE - 12, height), _LEFT, rung.state_word)
        x += _STATE
        if rung.outcome is not None:
            sign, colour = OUTCOME_SIGNS.get(rung.outcome.word, ("?", ORANGE))
            painter.setPen(QColor(*colour).lighter(125))
            painter.drawText(QRectF(x, top, 14, height), _LEFT, sign)
            painter.setPen(_INK)
            painter.drawText(QRectF(x + 14, top, _OUTCOME - 14, height), _LEFT, rung.outcome_word)
        painter.setPen(_INK if rung.n_looked else _FAINT)
        painter.drawText(QRectF(rect.right() - 44, top, 40, height), _RIGHT, rung.looked)


_CENTRE = int(Qt.AlignmentFlag.AlignCenter)
_LEFT = int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft)
_RIGHT = int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight)


def draw_state(painter: QPainter, state: str, at: QPointF) -> None:
    """Draw the shape that tells a layer's state: full, half, hollow diamond, hatched square, cross."""
    colour = QColor(*STATE_COLOURS[state])
    drawings: Mapping[str, Any] = {
        "measured": _disc,
        "measured-degraded": _half_disc,
        "inferred": _diamond,
        "unobservable": _hatched,
        "missing": _cross,
    }
    drawings[state](painter, at, colour)


def _disc(painter: QPainter, at: QPointF, colour: QColor) -> None:
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    painter.drawEllipse(at, _DOT, _DOT)


def _half_disc(painter: QPainter, at: QPointF, colour: QColor) -> None:
    box = QRectF(at.x() - _DOT, at.y() - _DOT, 2 * _DOT, 2 * _DOT)
    painter.setPen(QPen(colour, 1.4))
    painter.setBrush(QColor(35, 36, 43))
    painter.drawEllipse(box)
    painter.setBrush(colour)
    painter.drawPie(box, 90 * 16, 180 * 16)


def _diamond(painter: QPainter, at: QPointF, colour: QColor) -> None:
    size = _DOT + 0.8
    painter.setPen(QPen(colour, 1.6))
    painter.setBrush(QColor(35, 36, 43))
    corners = (QPointF(0, -size), QPointF(size, 0), QPointF(0, size), QPointF(-size, 0))
    painter.drawPolygon(QPolygonF([at + corner for corner in corners]))


def _hatched(painter: QPainter, at: QPointF, colour: QColor) -> None:
    box = QRectF(at.x() - _DOT, at.y() - _DOT, 2 * _DOT, 2 * _DOT)
    painter.setPen(QPen(colour, 1))
    painter.setBrush(QColor(35, 36, 43))
    painter.drawRect(box)
    for shift in (-1.0, 0.0, 1.0):
        x = at.x() + shift * 3
        painter.drawLine(QPointF(x - 2, at.y() + 4), QPointF(x + 2, at.y() - 4))


def _cross(painter: QPainter, at: QPointF, colour: QColor) -> None:
    painter.setPen(QPen(colour, 2.2))
    for sign in (1, -1):
        painter.drawLine(QPointF(at.x() - _DOT, at.y() - sign * _DOT), QPointF(at.x() + _DOT, at.y() + sign * _DOT))
