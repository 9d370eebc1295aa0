"""Scales on which the spread of a figure hardly hangs on its level, so that intervals end where the figure ends."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scale:
    """A figure as it is read (outer) and as it is reckoned with (inner).

    Attributes
    ----------
    name : str
    unit : str
        Of the outer figure.
    inner, outer : callable
        There and back, elementwise; ``outer`` never leaves the range of the figure.
    stretch : callable
        Slope of ``inner`` at an outer level; infinite at the ends of a range.
    lowest, highest : float
        Range of the outer figure.
    """

    name: str
    unit: str
    inner: Callable[[FloatArray], FloatArray]
    outer: Callable[[FloatArray], FloatArray]
    stretch: Callable[[float], float]
    lowest: float = -math.inf
    highest: float = math.inf

    def inner_error(self, level: float, error: float) -> float:
        """Return a standard error on the inner scale; 0 stays 0 at the ends of the range."""
        return 0.0 if error == 0 else error * self.stretch(level)


def _angle(percent: FloatArray) -> FloatArray:
    return np.asarray(np.arcsin(np.sqrt(np.clip(percent, 0.0, 100.0) / 100)))


def _percent(angle: FloatArray) -> FloatArray:
    return np.asarray(100 * np.sin(angle) ** 2)


def _angle_slope(percent: float) -> float:
    product = percent * (100.0 - percent)
    return math.inf if product <= 0 else 0.5 / math.sqrt(product)


def _root(amount: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.maximum(amount, 0.0)))


def _square(root: FloatArray) -> FloatArray:
    return np.asarray(np.maximum(root, 0.0) ** 2)


def _root_slope(amount: float) -> float:
    return math.inf if amount <= 0 else 0.5 / math.sqrt(amount)


def _no_slope(_: float) -> float:
    return 1.0


PERCENT = Scale("angle", "%", _angle, _percent, _angle_slope, 0.0, 100.0)
"""Arcsine of the square root: a covered share scatters most at a half and not at all at its ends. In radians, and a
hundredth of it is one point at half cover. Beyond an end it is mirrored."""
AMOUNT = Scale("square root", "", _root, _square, _root_slope, 0.0)
"""Square root: counts and densities, which scatter with their level."""
PLAIN = Scale("plain", "", np.asarray, np.asarray, _no_slope)
"""As it is."""
