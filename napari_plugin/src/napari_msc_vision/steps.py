"""A few things one after the other, a turn of the event loop each, so that none of them keeps the window waiting."""

import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

Step = Callable[[], object]


class Curtain(Protocol):
    """Keeps what is being changed from being drawn."""

    def close(self) -> None:
        """Draw nothing from now on."""

    def open(self) -> None:
        """Let it be seen again."""


class Steps:
    """What is left to be done of something that has to look as if it were done at once.

    Parameters
    ----------
    later : callable
        Calls what it is given in the next turn of the event loop; without one, at once.
    curtain : Curtain
        Closed before the first step; opened after the last, in a turn of its own, as drawing takes a while too.
    """

    def __init__(self, later: Callable[[Step], object], curtain: Curtain) -> None:
        self._later, self._curtain = later, curtain
        self._left: deque[Step] = deque()
        self._is_busy = False

    @property
    def is_busy(self) -> bool:
        """Whether anything is left."""
        return self._is_busy

    def begin(self, steps: Iterable[Step]) -> None:
        """Do these from now on; what was left of earlier ones is forgotten."""
        was_busy = self._is_busy
        self._left = deque(steps)
        if not was_busy:
            self._is_busy = True
            self._curtain.close()
            self._later(self._next)

    def then(self, steps: Iterable[Step]) -> None:
        """Do these after what is left."""
        if self._is_busy:
            self._left.extend(steps)
        else:
            self.begin(steps)

    def finish(self) -> None:
        """Do what is left without waiting."""
        while self._is_busy:
            self._one()

    def _next(self) -> None:
        try:
            if self._is_busy:
                self._one()
        finally:  # else one that fails leaves the curtain closed
            if self._is_busy:
                self._later(self._next)

    def _one(self) -> None:
        if self._left:
            self._left.popleft()()
        else:
            self._is_busy = False
            self._curtain.open()


class WindowCurtain:
    """Keeps the window of a viewer from being drawn; of a viewer without one, there is nothing to keep.

    The whole window: whenever a part of it is drawn, canvas and docks are put together again, which takes some tens of
    milliseconds where no graphics card helps.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = weakref.ref(viewer)

    def close(self) -> None:
        """Draw nothing from now on."""
        self._set(is_drawn=False)

    def open(self) -> None:
        """Let it be seen again."""
        self._set(is_drawn=True)

    def _set(self, *, is_drawn: bool) -> None:
        window = getattr(getattr(self._viewer(), "window", None), "_qt_window", None)
        if window is not None:
            window.setUpdatesEnabled(is_drawn)
