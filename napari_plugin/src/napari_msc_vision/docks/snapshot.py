"""The picture of a viewer as a PNG with its scale bar and a caption below."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QBuffer, QByteArray, QIODevice, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QFontMetricsF, QImage, QImageWriter, QPainter

from napari_msc_vision.scene import overlay_of

_MARGIN_PX = 8


def captioned_png(viewer: Any, lines: Sequence[str]) -> bytes:
    """Return what the canvas of a viewer shows as a PNG, its scale bar on, with lines of text below."""
    bar = overlay_of(viewer, "scale_bar")
    was_visible, bar.visible = bar.visible, True
    try:
        canvas = np.ascontiguousarray(viewer.screenshot(canvas_only=True, flash=False))
    finally:
        bar.visible = was_visible
    return png_with_caption(canvas, lines)


def png_with_caption(canvas: np.ndarray[Any, Any], lines: Sequence[str]) -> bytes:
    """Return a picture, (Y, X, 4) uint8, as a PNG with lines of text below it; long lines are wrapped."""
    height, width = canvas.shape[:2]
    picture = QImage(canvas.data, width, height, 4 * width, QImage.Format.Format_RGBA8888)
    font = QFont()
    font.setPixelSize(max(13, width // 60))
    room = QRectF(_MARGIN_PX, 0, width - 2 * _MARGIN_PX, 10_000)
    flags = int(Qt.AlignmentFlag.AlignLeft | Qt.TextFlag.TextWrapAnywhere)
    text = "\n".join(lines)
    below = QFontMetricsF(font).boundingRect(room, flags, text).height() + 2 * _MARGIN_PX
    whole = QImage(width, height + int(below), QImage.Format.Format_RGB32)
    whole.fill(QColor("white"))
    painter = QPainter(whole)
    painter.drawImage(0, 0, picture)
    painter.setFont(font)
    painter.setPen(QColor("black"))
    painter.drawText(room.translated(0, height + _MARGIN_PX), flags, text)
    painter.end()
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    QImageWriter(buffer, QByteArray(b"png")).write(whole)
    return bytes(buffer.data().data())
