"""A few things one after the other, a turn of the event loop each, so that none of them keeps the window waiting."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

Step = Callable[[], object]


class Steps:
    """What is left to be done of something that has to look as if it were done at once.

    Parameters
    ----------
    later : callable
        Calls what it is given in the next turn of the event loop; without one, at once.
    hold : callable
        Called with True before the first step and with False after the last.
    """

    def __init__(self, later: Callable[[Step], object], hold: Callable[[bool], object]) -> None:
        self._later, self._hold = later, hold
        self._left: deque[Step] = deque()
        self._is_held = False

    @property
    def is_busy(self) -> bool:
        """Whether anything is left."""
        return self._is_held

    def begin(self, steps: Iterable[Step]) -> None:
        """Do these from now on; what was left of earlier ones is forgotten."""
        was_busy = self._is_held
        self._left = deque(steps)
        if not was_busy:
            self._is_held = True
            self._hold(True)
            self._later(self._next)

    def finish(self) -> None:
        """Do what is left without waiting."""
        while self._is_held:
            self._one()

    def _next(self) -> None:
        if self._is_held:
            self._one()
        if self._is_held:
            self._later(self._next)

    def _one(self) -> None:
        try:
            if self._left:
                self._left.popleft()()
        finally:
            if not self._left:
                self._is_held = False
                self._hold(False)


def canvas_holder(viewer: Any) -> Callable[[bool], object]:
    """Return what keeps the canvas of a viewer from being drawn; of one without a window, nothing does."""

    def hold(is_held: bool) -> None:
        window = getattr(viewer, "window", None)
        qt_viewer = getattr(window, "_qt_viewer", None)
        if qt_viewer is not None:
            qt_viewer.canvas.native.setUpdatesEnabled(not is_held)

    return hold
