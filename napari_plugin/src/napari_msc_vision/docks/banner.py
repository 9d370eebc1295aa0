"""A verdict, large: its shape, its word and what to do next."""

from collections.abc import Callable, Mapping

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from msc_vision.service.board.words import Sign
from napari_msc_vision.marks import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, Colour

COLOURS: Mapping[str, Colour] = {
    "go": GREEN,
    "trial": SKY,
    "no-go": VERMILLION,
    "hold": ORANGE,
    "cannot": BLUE,
    "quarantine": PURPLE,
}
"""By the shape's name, as the vessel board has them; every other is grey."""
_SIDE = 44.0


class Banner(QWidget):
    """Shape, word and action of a verdict."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sign: Sign | None = None
        self.action = ""
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802  (Qt's name)
        """Return a size for two lines beside the shape."""
        return QSize(320, int(_SIDE) + 12)

    def show_sign(self, sign: Sign | None, action: str) -> None:
        """Show another verdict; None: nobody has judged yet."""
        self.sign, self.action = sign, action
        self.setToolTip("" if sign is None else sign.meaning)
        self.setAccessibleName("No verdict yet" if sign is None else f"Verdict {sign.word}: {action}")
        self.update()

    def paintEvent(self, _: QPaintEvent) -> None:  # noqa: N802
        """Draw it."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        shape, word = ("none", "No verdict yet") if self.sign is None else (self.sign.shape, self.sign.word)
        draw_sign(painter, shape, QRectF(4, 6, _SIDE, _SIDE))
        font = self.font()
        font.setBold(True)
        font.setPointSizeF(font.pointSizeF() * 1.7)
        painter.setFont(font)
        painter.setPen(_INK)
        width = self.width() - _SIDE - 24
        painter.drawText(QRectF(_SIDE + 18, 4, width, 28), _LEFT, word)
        painter.setFont(self.font())
        text = self.action or "Choose a rule set and press Judge now."
        painter.drawText(QRectF(_SIDE + 18, 31, width, 22), _LEFT, text)
        painter.end()


_INK = QColor(240, 241, 242)
_LEFT = int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft)


def draw_sign(painter: QPainter, shape: str, box: QRectF) -> None:
    """Draw the shape of a verdict or an outcome into a square, with its mark."""
    colour = QColor(*COLOURS.get(shape, GREY))
    painter.save()
    painter.translate(box.topLeft())
    painter.scale(box.width() / 32, box.height() / 32)
    is_hollow = shape not in COLOURS or shape == "trial"
    painter.setPen(QPen(colour, 3) if is_hollow else Qt.PenStyle.NoPen)
    painter.setBrush(Qt.BrushStyle.NoBrush if is_hollow else colour)
    _SHAPES.get(shape, _circle)(painter)
    pen = QPen(colour.lighter(140) if is_hollow else QColor(255, 255, 255), 3)
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    painter.setPen(pen)
    for line in _MARKS.get(shape, (((16, 9), (16, 16), (21, 20)),)):
        painter.drawPolyline(QPolygonF([QPointF(x, y) for x, y in line]))
    painter.restore()


def _circle(painter: QPainter) -> None:
    painter.drawEllipse(QRectF(2.5, 2.5, 27, 27))


def _polygon(*corners: tuple[float, float]) -> Callable[[QPainter], None]:
    return lambda painter: painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in corners]))


_SHAPES: Mapping[str, Callable[[QPainter], None]] = {
    "go": _circle,
    "trial": _circle,
    "no-go": _polygon((10.2, 2), (21.8, 2), (30, 10.2), (30, 21.8), (21.8, 30), (10.2, 30), (2, 21.8), (2, 10.2)),
    "hold": _polygon((16, 2.5), (30.5, 28.5), (1.5, 28.5)),
    "cannot": _polygon((16, 1.5), (30.5, 16), (16, 30.5), (1.5, 16)),
    "quarantine": _polygon((2, 2), (30, 2), (30, 30), (2, 30)),
}
_TICK = ((9, 16.5), (14, 21.5), (23, 11.5))
_MARKS: Mapping[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "go": (_TICK,),
    "trial": (_TICK,),
    "no-go": (((10.5, 10.5), (21.5, 21.5)), ((21.5, 10.5), (10.5, 21.5))),
    "hold": (((16, 11.5), (16, 20)), ((16, 23.6), (16, 24.6))),
    "cannot": (((12.3, 13), (13, 10.6), (16, 9.3), (19, 10.8), (19, 14), (16, 17), (16, 19)), ((16, 22.5), (16, 23))),
    "quarantine": (((6, 26), (26, 6)), ((6, 16), (16, 6)), ((16, 26), (26, 16))),
}
