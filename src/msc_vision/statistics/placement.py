"""Whether the places of the fields let them speak for their whole layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from msc_vision.statistics.arithmetic import counted

FloatArray = NDArray[np.float64]

FEWEST_FIELDS = 3
_MM_PER_CM = 10.0
_UM_PER_MM = 1000.0
_LATTICE = 40
_SAME_PLACE_UM = 1.0


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the fields of a layer lie.

    Attributes
    ----------
    places_mm : (n, 2) float array or None
        Rows before columns; None if they do not allow an interval.
    sides_mm : (float, float)
        Height and width of a layer of the known area, shaped as the box around the fields.
    reached_percent : float or None
        Share of the layer that the fields stand for: the lesser of the share no farther from a field than fields of an
        even grid are apart, and the box around them, widened as much as chance keeps random places from the rim.
    reason : str or None
        Why there is no interval.
    """

    places_mm: FloatArray | None
    sides_mm: tuple[float, float]
    reached_percent: float | None
    reason: str | None


def place_fields(
    y_um: Sequence[float | None], x_um: Sequence[float | None], area_cm2: float, least_reached_percent: float
) -> Placement:
    """Return where the fields of a layer lie and whether they are spread over it.

    Parameters
    ----------
    y_um, x_um : sequences of float or None
        Stage coordinates of the middles of the fields, from any zero.
    area_cm2 : float
        Culture area of the layer.
    least_reached_percent : float
        Below this share of the layer near a field, the fields are a patch.
    """
    side = math.sqrt(area_cm2) * _MM_PER_CM
    square = side, side
    n = len(y_um)
    if n < FEWEST_FIELDS:
        return Placement(None, square, None, f"{counted(n, 'scored field')}, and it takes {FEWEST_FIELDS}")
    known = [(y, x) for y, x in zip(y_um, x_um, strict=True) if y is not None and x is not None]
    if len(known) < n:
        which = "the fields have" if not known else f"{n - len(known)} of {n} fields have"
        return Placement(
            None, square, None, f"{which} no coordinates, so which part of the layer they show is not known"
        )
    places = np.array(known, dtype=float) / _UM_PER_MM
    twins = KDTree(places).query_pairs(_SAME_PLACE_UM / _UM_PER_MM)
    if twins:
        return Placement(None, square, None, f"{len(twins)} pairs of fields have the same coordinates")
    sides = _sides(places, side)
    if sides is None:
        box = np.ptp(places, axis=0)
        reason = f"the coordinates span {box[0]:.0f} x {box[1]:.0f} mm, more than a layer of {area_cm2:g} cm² can hold"
        return Placement(None, square, None, reason)
    reached = _reached_percent(places, sides)
    if reached < least_reached_percent:
        reason = (
            f"the fields lie in a patch and stand for {reached:.0f} % of the layer's area; it takes"
            f" {least_reached_percent:g} %"
        )
        return Placement(None, sides, reached, reason)
    return Placement(places, sides, reached, None)


def _sides(places: FloatArray, side: float) -> tuple[float, float] | None:
    """Return the sides of a layer of known area that holds all fields; None if none can."""
    n = len(places)
    box = np.ptp(places, axis=0)
    grown = box * (math.sqrt(n) / (math.sqrt(n) - 1))
    ratio = math.sqrt(max(grown[0], side / 10) / max(grown[1], side / 10))
    ratio = min(max(ratio, 0.5), 2.0)  # layers are no ribbons
    height, width = side * ratio, side / ratio
    slack = 1.25  # areas are nominal, layers round or with rounded corners
    if box[0] > height:
        height, width = float(box[0]), side**2 / float(box[0])
    if box[1] > width:
        height, width = side**2 / float(box[1]), float(box[1])
    if box[0] > height * slack or box[1] > width * slack:
        return None
    return max(height, float(box[0])), max(width, float(box[1]))


def _reached_percent(places: FloatArray, sides: tuple[float, float]) -> float:
    n = len(places)
    box = float(np.prod(np.ptp(places, axis=0) * (n + 1) / (n - 1)))
    steps = (np.arange(_LATTICE) + 0.5) / _LATTICE - 0.5
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    y, x = np.meshgrid(middle[0] + steps * sides[0], middle[1] + steps * sides[1], indexing="ij")
    nearest, _ = KDTree(places).query(np.column_stack((y.ravel(), x.ravel())))
    near = float(np.mean(nearest <= math.sqrt(sides[0] * sides[1] / n)))
    return 100 * min(near, box / (sides[0] * sides[1]))
