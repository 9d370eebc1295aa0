"""How a culture fills a vessel: over time, from the middle of a layer to its rim, from layer to layer."""

import itertools
import math

from pydantic import Field, field_validator

from msc_vision.synth.frozen import FrozenModel


class GrowthLaw(FrozenModel):
    """Logistic growth of the covered area after a lag.

    The law is customary for adherent cells (e.g. Maini, McElwain & Leavesley, Tissue Eng. 10, 475 (2004)). The figures
    are placeholders of the right order, not any bank's: a site writes its own and says in `source` where they are from.
    """

    lag_h: float = Field(12.0, ge=0, description="placeholder: attaching and spreading")
    doubling_time_h: float = Field(36.0, gt=0, description="24-48 h is customary; placeholder")
    capacity_percent: float = Field(
        110.0, gt=0, le=200, description="confluency that growth comes to rest at; above 100 cells pile up; placeholder"
    )
    source: str = Field("placeholder", min_length=1, description="where these figures are from")

    def confluency_percent(self, start_percent: float, elapsed_h: float) -> float:
        """Return the confluency some hours after one of `start_percent`; above 100, cells lie on each other.

        Parameters
        ----------
        start_percent : float
            Percent, at 0 h.
        elapsed_h : float
            Not negative.
        """
        if start_percent <= 0:
            return 0.0
        growing_h = max(elapsed_h - self.lag_h, 0.0)
        shortfall = self.capacity_percent / start_percent - 1
        return self.capacity_percent / (1 + shortfall * 2.0 ** (-growing_h / self.doubling_time_h))


class TimeCourse(FrozenModel):
    """When a vessel is photographed; the confluencies of its layers in the recipe are those at 0 h."""

    times_h: tuple[float, ...] = Field(min_length=1, description="hours, rising, from 0")
    growth: GrowthLaw = GrowthLaw()

    @field_validator("times_h")
    @classmethod
    def _rising(cls, times_h: tuple[float, ...]) -> tuple[float, ...]:
        if any(a >= b for a, b in itertools.pairwise(times_h)) or times_h[0] < 0:
            raise ValueError(f"times have to rise from 0 h or later, got {list(times_h)}")
        return times_h


class Unevenness(FrozenModel):
    """How confluency differs within a vessel, in points; each has a mean of 0 over a layer, or over many layers."""

    layer_spread: float = Field(0.0, ge=0, le=30, description="standard deviation between layers, drawn once per layer")
    radial: float = Field(
        0.0, ge=-80, le=80, description="middle of a side against the centre of a layer: swirling, evaporation"
    )
    tilt: float = Field(0.0, ge=-80, le=80, description="one side against the opposite one: a shelf that is not level")
    tilt_direction_degrees: float = Field(0.0, ge=-360, le=360, description="0: towards the right")

    def offset(self, y_share: float, x_share: float) -> float:
        """Return the points that the gradients add at a place of a square layer, given as shares of its sides."""
        y, x = 2 * y_share - 1, 2 * x_share - 1
        angle = math.radians(self.tilt_direction_degrees)
        along = x * math.cos(angle) + y * math.sin(angle)
        return self.radial * (x * x + y * y - 2 / 3) + 0.5 * self.tilt * along
