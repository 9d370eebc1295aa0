"""The network's maps of a whole field on its working pixels, where everything after it counts."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msc_vision.records import Region
from msc_vision.segmentation.network.predict import (
    Resampling,
    Window,
    WindowAnswers,
    interpolated,
    predict_window,
    resampled,
    resampling,
    source_region,
    windows,
)
from msc_vision.segmentation.network.weights import Model

ReadBinned = Callable[[Region], NDArray[np.uint16]]
"""Returns a region of the field, in native pixels binned by `FieldPlan.binning`."""


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """How one field goes through the network.

    Attributes
    ----------
    binning : int
        Native pixels a side of one pixel that is read for the network.
    binned_shape, working_shape : (int, int)
        Of the field in such pixels and in working pixels.
    resampling : Resampling
        From binned to canonical pixels.
    working_ratio : float
        Side of a working pixel in canonical pixels.
    """

    binning: int
    binned_shape: tuple[int, int]
    working_shape: tuple[int, int]
    resampling: Resampling
    working_ratio: float

    @property
    def windows(self) -> tuple[Window, ...]:
        """What goes through the network at once, in reading order."""
        return windows(self.resampling.shape)

    def working(self, window: Window) -> Region:
        """Return the working pixels whose middle lies in the core of a window."""
        (y0, y1), (x0, x1) = (
            (self._first(low), total if high == end else self._first(high))
            for low, high, end, total in zip(
                (window.core.y0, window.core.x0),
                (window.core.y1, window.core.x1),
                self.resampling.shape,
                self.working_shape,
                strict=True,
            )
        )
        return Region(y0, y1, x0, x1)

    def _first(self, canonical: int) -> int:
        return max(0, math.ceil(canonical / self.working_ratio - 0.5))


def plan_field(
    native_shape: tuple[int, int],
    working_shape: tuple[int, int],
    working_factor: int,
    pixel_size: float,
    canonical: float,
    tolerance: float,
) -> FieldPlan:
    """Return how a field goes through the network.

    Parameters
    ----------
    working_factor : int
        Native pixels a side of one working pixel.
    pixel_size, canonical : float
        Side of a native and of a canonical pixel in the same unit.
    tolerance : float
        Relative difference in scale that the network does not mind.
    """
    binning = max(1, round(canonical / pixel_size))
    binned_shape = -(-native_shape[0] // binning), -(-native_shape[1] // binning)
    steps = resampling(binned_shape, pixel_size * binning, canonical, tolerance)
    return FieldPlan(binning, binned_shape, working_shape, steps, working_factor / (steps.ratio * binning))


def window_maps(model: Model, plan: FieldPlan, window: Window, read: ReadBinned, *, bf16: bool) -> WindowAnswers:
    """Return the answers for one window, its maps on working pixels."""
    source = source_region(window.around, plan.resampling, plan.binned_shape)
    picture = resampled(read(source), source, window.around, plan.resampling)
    found = predict_window(model.network, picture, model.config.calibration_temperature, bf16=bf16)
    target = plan.working(window)
    if plan.working_ratio == 1.0:
        rows = slice(target.y0 - window.around.y0, target.y1 - window.around.y0)
        columns = slice(target.x0 - window.around.x0, target.x1 - window.around.x0)
        return found._replace(maps=found.maps[:, rows, columns])
    working = [interpolated(m, window.around, target, plan.working_ratio) for m in found.maps]
    return found._replace(maps=np.stack(working))
