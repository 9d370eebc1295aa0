"""A hand at the mouse above the canvas of a real viewer: for tests, and for the pictures of the docs."""

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_msc_vision.scene import Scene, camera_of

Index = tuple[float, float]


def settle(seconds: float = 0.6) -> None:
    """Let the window live."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.005)


def until(is_true: Callable[[], bool], limit_s: float = 60) -> None:
    """Let the window live until something holds.

    Raises
    ------
    TimeoutError
        If it does not.
    """
    end = time.perf_counter() + limit_s
    while not is_true():
        if time.perf_counter() > end:
            raise TimeoutError("What should follow did not come about.")
        settle(0.02)


class Mouse:
    """The mouse over the open field; places are rows and columns of its working pixels."""

    def __init__(self, viewer: Any, scene: Scene) -> None:
        self.viewer, self.scene = viewer, scene
        self.canvas = viewer.window._qt_viewer.canvas.native

    def at(self, index: Index) -> QPoint:
        """Return where a working pixel lies on the canvas."""
        camera = camera_of(self.viewer)
        world = np.array(self.scene.cells.data_to_world(index))
        middle = np.array([self.canvas.height(), self.canvas.width()]) / 2
        y, x = (world - np.array(camera.center)[-2:]) * camera.zoom + middle
        return QPoint(round(x), round(y))

    def stroke(self, *points: Index) -> None:
        """Press at the first place, draw to the others, let go at the last."""
        QTest.mouseMove(self.canvas, self.at(points[0]))
        QTest.mousePress(self.canvas, Qt.MouseButton.LeftButton, pos=self.at(points[0]))
        for start, end in pairwise(points):
            for share in (0.25, 0.5, 0.75, 1.0):
                y, x = np.array(start) + share * (np.array(end) - start)
                QTest.mouseMove(self.canvas, self.at((y, x)))
                settle(0.01)
        QTest.mouseRelease(self.canvas, Qt.MouseButton.LeftButton, pos=self.at(points[-1]))
        settle(0.05)

    def click(self, index: Index) -> None:
        """Click at a place."""
        QTest.mouseMove(self.canvas, self.at(index))
        QTest.mouseClick(self.canvas, Qt.MouseButton.LeftButton, pos=self.at(index))
        settle(0.05)
