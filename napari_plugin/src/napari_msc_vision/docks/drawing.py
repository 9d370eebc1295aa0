"""Drawings of the dock Measure: the spread of a figure, the time line of a vessel. They draw what they are given."""

from datetime import timedelta
from itertools import pairwise

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFontMetricsF, QHelpEvent, QPainter, QPainterPath, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from msc_vision.report.cell_distribution import N_BINS, CellDistribution, bin_edges, place_on_axis
from napari_msc_vision.tables import Course, CoursePoint

BARS, OTHERS, EXPECTED, SELECTED = "#56b4e9", "#e69f00", "#009e73", "#f0e442"  # Okabe and Ito, apart for every eye
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 22.0, 34.0
_MARK_PX = 5.0


class _Drawing(QWidget):
    """A drawing with room for axes, in the colours of the window."""

    def __init__(self, height_px: int) -> None:
        super().__init__()
        self.setMinimumHeight(height_px)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802  (Qt's name)
        """Return a size that suits a dock."""
        return QSize(320, self.minimumHeight())

    @property
    def _frame(self) -> QRectF:
        return QRectF(_LEFT, _TOP, max(self.width() - _LEFT - _RIGHT, 10), max(self.height() - _TOP - _BOTTOM, 10))

    @property
    def _ink(self) -> QColor:
        return self.palette().windowText().color()

    def _faint(self, alpha: int = 70) -> QColor:
        ink = QColor(self._ink)
        ink.setAlpha(alpha)
        return ink

    def _say(self, painter: QPainter, text: str) -> None:
        painter.setPen(self._faint(170))
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, text)

    def _axis_text(self, painter: QPainter, x: float, text: str) -> None:
        width = QFontMetricsF(painter.font()).horizontalAdvance(text)
        left = min(max(x - width / 2, 0.0), self.width() - width)
        painter.drawText(QPointF(left, self._frame.bottom() + 15), text)


class DistributionView(_Drawing):
    """Bars of the cells, a line or a band of what they are held against, and the selected cell."""

    def __init__(self) -> None:
        super().__init__(180)
        self.distribution: CellDistribution | None = None
        self.selected: float | None = None
        self.selected_name = ""
        self.setAccessibleName("Distribution of the cells")

    def show_distribution(self, found: CellDistribution | None) -> None:
        """Draw a distribution; None: there is none."""
        self.distribution = found
        self.setAccessibleDescription("" if found is None else found.summary)
        self.update()

    def mark(self, value: float | None, name: str = "") -> None:
        """Mark the value of the selected cell."""
        self.selected, self.selected_name = value, name
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802  (Qt's name)
        """Draw it."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        found = self.distribution
        if found is None or found.quantiles is None:
            self._say(painter, "No whole cell to show: choose a field with cells, or another figure.")
            return
        top = self._top_percent(found)
        self._draw_axes(painter, found, top)
        self._draw_bars(painter, found, top)
        self._draw_expected(painter, found)
        self._draw_others(painter, found, top)
        self._draw_selected(painter, found)
        self._draw_key(painter, found)

    @staticmethod
    def _top_percent(found: CellDistribution) -> float:
        highest = max(float(found.shares.max()), 0.0 if found.others is None else float(found.others.max()), 1.0)
        return 1.05 * highest

    def _draw_axes(self, painter: QPainter, found: CellDistribution, top: float) -> None:
        frame = self._frame
        painter.setPen(QPen(self._faint(), 1))
        painter.drawLine(frame.bottomLeft(), frame.bottomRight())
        for tick in found.ticks:
            x = frame.left() + place_on_axis(found.figure, tick) * frame.width()
            painter.setPen(QPen(self._faint(), 1))
            painter.drawLine(QPointF(x, frame.bottom()), QPointF(x, frame.bottom() + 4))
            painter.setPen(self._ink)
            self._axis_text(painter, x, f"{tick:,g}")
        painter.drawText(QPointF(2, frame.top() + 6), f"{top / 1.05:.0f} %")
        painter.drawText(QPointF(2, frame.bottom()), "0 %")
        width = QFontMetricsF(painter.font()).horizontalAdvance(found.figure.heading)
        painter.drawText(QPointF(frame.center().x() - width / 2, self.height() - 4.0), found.figure.heading)

    def _draw_expected(self, painter: QPainter, found: CellDistribution) -> None:
        if found.expected is None:
            return
        frame, figure = self._frame, found.figure
        low, middle, high = (
            frame.left() + place_on_axis(figure, value) * frame.width()
            for value in (found.expected.low, found.expected.middle, found.expected.high)
        )
        band = QColor(EXPECTED)
        band.setAlpha(120)
        painter.fillRect(QRectF(low, frame.top(), max(high - low, 1.0), frame.height()), band)
        painter.setPen(QPen(QColor(EXPECTED), 2))
        painter.drawLine(QPointF(middle, frame.top()), QPointF(middle, frame.bottom()))
        if found.mean is not None:
            here = frame.left() + place_on_axis(figure, found.mean) * frame.width()
            painter.setPen(QPen(self._ink, 2, Qt.PenStyle.DotLine))
            painter.drawLine(QPointF(here, frame.top()), QPointF(here, frame.bottom()))

    def _draw_bars(self, painter: QPainter, found: CellDistribution, top: float) -> None:
        frame, step = self._frame, self._frame.width() / N_BINS
        fill = QColor(BARS)
        fill.setAlpha(200)
        for i, share in enumerate(found.shares.tolist()):
            height = share / top * frame.height()
            bar = QRectF(frame.left() + i * step + 0.5, frame.bottom() - height, max(step - 1, 1.0), height)
            painter.fillRect(bar, fill)

    def _draw_others(self, painter: QPainter, found: CellDistribution, top: float) -> None:
        if found.others is None:
            return
        frame, step = self._frame, self._frame.width() / N_BINS
        line = QPainterPath(frame.bottomLeft())
        for i, share in enumerate(found.others.tolist()):
            y = frame.bottom() - share / top * frame.height()
            line.lineTo(frame.left() + i * step, y)
            line.lineTo(frame.left() + (i + 1) * step, y)
        line.lineTo(frame.bottomRight())
        painter.setPen(QPen(QColor(OTHERS), 2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPath(line)

    def _draw_selected(self, painter: QPainter, found: CellDistribution) -> None:
        if self.selected is None:
            return
        frame = self._frame
        x = frame.left() + place_on_axis(found.figure, self.selected) * frame.width()
        painter.setPen(QPen(QColor(SELECTED), 2, Qt.PenStyle.DashLine))
        painter.drawLine(QPointF(x, frame.top()), QPointF(x, frame.bottom()))
        painter.setBrush(QColor(SELECTED))
        painter.setPen(Qt.PenStyle.NoPen)
        y = frame.top()
        corners = (QPointF(x - _MARK_PX, y - 7), QPointF(x + _MARK_PX, y - 7), QPointF(x, y + 2))
        painter.drawPolygon(QPolygonF(list(corners)))

    def _draw_key(self, painter: QPainter, found: CellDistribution) -> None:
        entries = [(BARS, "cells shown")]
        if found.others is not None:
            entries.append((OTHERS, "rest of vessel"))
        if found.expected is not None:
            entries += [(EXPECTED, "baseline"), (self._ink.name(), "mean here")]
        if self.selected is not None:
            entries.append((SELECTED, self.selected_name))
        x, metrics = _LEFT, QFontMetricsF(painter.font())
        for colour, words in entries:
            painter.fillRect(QRectF(x, 3, 9, 9), QColor(colour))
            painter.setPen(self._ink)
            painter.drawText(QPointF(x + 13, 12), words)
            x += 13 + metrics.horizontalAdvance(words) + 12

    def event(self, event: object) -> bool:
        """Say what a bar stands for where the mouse rests on it."""
        if isinstance(event, QHelpEvent) and self.distribution is not None and self.distribution.quantiles:
            QToolTip.showText(event.globalPos(), self.words_at(float(event.pos().x())), self)
            return True
        return super().event(event)  # type: ignore[arg-type]

    def words_at(self, x: float) -> str:
        """Return what the bar at a place of the drawing says."""
        found, frame = self.distribution, self._frame
        number = int((x - frame.left()) / frame.width() * N_BINS)
        if found is None or not 0 <= number < N_BINS:
            return ""
        edges, figure = bin_edges(found.figure), found.figure
        words = (
            f"{figure.told(edges[number])} to {figure.told(edges[number + 1])}: {found.shares[number]:.1f} % of cells"
        )
        return words if found.others is None else f"{words}; {found.others[number]:.1f} % of the rest"


class CourseView(_Drawing):
    """Confluency over time: a dot and its interval for each time point, a diamond after the review."""

    def __init__(self) -> None:
        super().__init__(230)
        self.course: Course | None = None
        self.setAccessibleName("Time line of the vessel")

    def show_course(self, course: Course | None) -> None:
        """Draw the course of a vessel."""
        self.course = course
        self.setAccessibleDescription("" if course is None else " ".join(one.words for one in course.points))
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802  (Qt's name)
        """Draw it."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self.course is None or not self.course.points:
            self._say(painter, "No time point to show: the manifest states no time (acquired_at) for this vessel.")
            return
        self._draw_axes(painter, self.course)
        found = [one for one in self.course.points if not one.is_reviewed]
        painter.setPen(QPen(QColor(BARS), 1.5))
        places = [self._place(one) for one in found]
        for a, b in pairwise(places):
            painter.drawLine(a, b)
        for one in self.course.points:
            self._draw_point(painter, one)
        self._draw_key(painter, self.course)

    def _span(self) -> tuple[float, float]:
        assert self.course is not None
        times = [one.at.timestamp() for one in self.course.points]
        least = timedelta(hours=12).total_seconds()
        low, high = min(times), max(times)
        room = max(0.06 * (high - low), (least - (high - low)) / 2)
        return low - room, high + room

    def _place(self, point: CoursePoint) -> QPointF:
        frame, (low, high) = self._frame, self._span()
        x = frame.left() + (point.at.timestamp() - low) / (high - low) * frame.width()
        return QPointF(x, self._height_of(point.percent))

    def _height_of(self, percent: float) -> float:
        frame = self._frame
        return frame.bottom() - min(max(percent, 0.0), 100.0) / 100 * frame.height()

    def _draw_axes(self, painter: QPainter, course: Course) -> None:
        frame = self._frame
        for percent in (0, 25, 50, 75, 100):
            y = self._height_of(percent)
            painter.setPen(QPen(self._faint(40), 1))
            painter.drawLine(QPointF(frame.left(), y), QPointF(frame.right(), y))
            painter.setPen(self._ink)
            painter.drawText(QPointF(2, y + 4), f"{percent} %")
        last, metrics = -1e9, QFontMetricsF(painter.font())
        for one in course.points:
            x, text = self._place(one).x(), f"{one.at:%d %b %H:%M}"
            if x - last > metrics.horizontalAdvance(text) + 10:
                self._axis_text(painter, x, text)
                last = x
        painter.drawText(QPointF(frame.left(), self.height() - 4.0), f"Confluency of {course.vessel_id}, time in UTC")

    def _draw_point(self, painter: QPainter, point: CoursePoint) -> None:
        middle, colour = self._place(point), QColor(OTHERS if point.is_reviewed else BARS)
        if point.interval is not None:
            painter.setPen(QPen(colour, 2))
            low, high = (self._height_of(end) for end in point.interval)
            painter.drawLine(QPointF(middle.x(), low), QPointF(middle.x(), high))
            for y in (low, high):
                painter.drawLine(QPointF(middle.x() - 4, y), QPointF(middle.x() + 4, y))
        painter.setPen(QPen(colour, 2))
        painter.setBrush(colour if point.is_of_vessel else self.palette().window())
        if point.is_reviewed:
            offsets = ((0, -7), (7, 0), (0, 7), (-7, 0))
            painter.drawPolygon(QPolygonF([middle + QPointF(x, y) for x, y in offsets]))
        else:
            painter.drawEllipse(middle, _MARK_PX, _MARK_PX)

    def _draw_key(self, painter: QPainter, course: Course) -> None:
        words = "dot: as the run found it, bar: 95 %"
        if any(not one.is_of_vessel for one in course.points):
            words += "; hollow: measured layers only"
        if any(one.is_reviewed for one in course.points):
            words += "; diamond: after the review"
        painter.setPen(self._ink)
        painter.drawText(QPointF(2, 12), words)

    def event(self, event: object) -> bool:
        """Say what a point stands for where the mouse rests on it."""
        if isinstance(event, QHelpEvent) and self.course is not None:
            place = QPointF(event.pos())
            near = [one for one in self.course.points if (self._place(one) - place).manhattanLength() < 3 * _MARK_PX]
            QToolTip.showText(event.globalPos(), "\n".join(one.words for one in near), self)
            return True
        return super().event(event)  # type: ignore[arg-type]
