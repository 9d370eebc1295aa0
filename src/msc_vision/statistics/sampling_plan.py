"""Which layers and places to image so that a figure is known well enough, and what more it takes after a run.

Places are those of a systematic grid with a random start: it leaves no hole, every place of the layer has the same
chance, and the strip along the walls gets its share. Coordinates are those of the middles of the fields, in µm from a
corner of the layer, rows (y) before columns (x).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.spatial import KDTree
from scipy.special import stdtrit

from msc_vision.errors import InvalidArgumentError
from msc_vision.statistics.placement import FEWEST_FIELDS
from msc_vision.statistics.stack import why_undetermined
from msc_vision.vessels import VesselType

FloatArray = NDArray[np.float64]

MOST_FIELDS = 10_000
_LATTICE = 60
_UM_PER_MM = 1000.0


class ImagingSettings(BaseModel):
    """The microscope: what a field costs. All of it is a setting of the site; the defaults are placeholders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    field_mm: float = Field(1.3, gt=0, description="side of a field; 2048 pixels of 0.65 µm")
    megabytes_per_field: float = Field(8.4, gt=0, description="2048 x 2048 pixels of 16 bits")
    seconds_per_field: float = Field(4.0, gt=0, description="stage, focus and exposure; placeholder")
    seconds_per_layer: float = Field(60.0, ge=0, description="finding the focus of a layer; placeholder")
    edge_mm: float = Field(10.0, ge=0, description="strip along the walls that counts as edge; placeholder")


@dataclass(frozen=True, slots=True)
class Place:
    """Where to take a field: its middle in µm, and its stratum: ``edge``, ``inner``, or ``between`` earlier fields."""

    layer: int
    field: str
    y_um: float
    x_um: float
    stratum: str


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """What to image, what it costs, and what it will tell.

    Half-widths (95 %, points) are from sampling alone; the error of the method comes on top. ``vessel_half_width`` is
    None if the standard deviation between layers is not given, or where the layers that cannot be reached are not
    represented: ``vessel_note`` says so.
    """

    vessel_type: str
    layers: tuple[int, ...]
    unseen_layers: tuple[int, ...]
    unseen_percent: float
    fields_per_layer: int
    sides_mm: tuple[float, float]
    layer_half_width: float
    vessel_half_width: float | None
    vessel_note: str
    minutes: float
    gigabytes: float
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Achieved:
    """What a layer's fields have reached, and what is missing to a goal.

    ``half_width`` (95 %, points) is from sampling alone, None if the layer has no interval; ``n_more`` fields, at
    ``places``, would reach the goal if they scatter as those before.
    """

    layer: int
    n_fields: int
    half_width: float | None
    n_more: int | None
    note: str
    places: tuple[Place, ...]


def half_width(n_fields: int, sd: float) -> float:
    """Return the half-width of the 95 % interval of a mean of independent fields, in the unit of ``sd``."""
    return math.inf if n_fields < 2 else float(stdtrit(n_fields - 1, 0.975)) * sd / math.sqrt(n_fields)


def fields_for(goal: float, sd: float) -> int:
    """Return how many independent fields bring the half-width down to a goal.

    Raises
    ------
    InvalidArgumentError
        If goal or standard deviation are no positive numbers, or it takes more than `MOST_FIELDS`.

    Examples
    --------
    >>> [fields_for(5, sd) for sd in (8, 10, 12, 15)]
    [13, 18, 25, 38]
    """
    if not (0 < goal < math.inf and 0 < sd < math.inf):
        raise InvalidArgumentError(f"Half-width and standard deviation must be above 0, got {goal:g} and {sd:g}.")
    for n in range(FEWEST_FIELDS, MOST_FIELDS + 1):
        if half_width(n, sd) <= goal:
            return n
    raise InvalidArgumentError(
        f"±{goal:g} points at a standard deviation of {sd:g} takes more than {MOST_FIELDS:,} fields a layer."
    )


def plan_sampling(  # noqa: PLR0913  (each is a question of the user's)
    vessel: VesselType,
    *,
    goal: float,
    sd: float,
    layer_sd: float | None = None,
    layers: Sequence[int] | None = None,
    optics_profile: str = "standard",
    sides_mm: tuple[float, float] | None = None,
    imaging: ImagingSettings = ImagingSettings(),  # noqa: B008  (frozen)
    seed: int = 0,
) -> SamplingPlan:
    """Return which layers and places of a vessel to image.

    Parameters
    ----------
    vessel : VesselType
    goal : float
        Half-width of a layer's 95 % interval, points, from sampling alone.
    sd : float
        Standard deviation between fields of a layer, points.
    layer_sd : float, optional
        Standard deviation between layers of a vessel, points; without it nothing is said of the vessel.
    layers : sequence of int, optional
        Those to visit; else all that the optics reach.
    optics_profile : str
    sides_mm : (float, float), optional
        Height and width of a layer; else those of a square of its area.
    imaging : ImagingSettings
    seed : int
        Of the random start of the grid; another seed for another vessel.

    Raises
    ------
    InvalidArgumentError
        If a layer does not exist, no layer can be reached, the sides contradict the area, or the goal is out of reach.
    """
    chosen = _chosen_layers(vessel, layers, optics_profile)
    sides = _sides(vessel, sides_mm)
    n_fields = fields_for(goal, sd)
    rng = np.random.Generator(np.random.PCG64(seed))
    places = tuple(place for layer in chosen for place in _grid(layer, n_fields, sides, imaging, rng.uniform(0, 1, 2)))
    per_layer = len(places) // len(chosen)
    unseen = tuple(layer for layer in range(1, vessel.layers + 1) if layer not in chosen)
    vessel_width, note = _vessel_half_width(chosen, vessel.layers, per_layer, sd, layer_sd)
    seconds = len(places) * imaging.seconds_per_field + len(chosen) * imaging.seconds_per_layer
    return SamplingPlan(
        vessel_type=vessel.id,
        layers=chosen,
        unseen_layers=unseen,
        unseen_percent=100 * len(unseen) / vessel.layers,
        fields_per_layer=per_layer,
        sides_mm=sides,
        layer_half_width=half_width(per_layer, sd),
        vessel_half_width=vessel_width,
        vessel_note=note,
        minutes=seconds / 60,
        gigabytes=len(places) * imaging.megabytes_per_field / 1000,
        places=places,
    )


def more_fields(
    layer: int,
    places_mm: FloatArray | None,
    standard_error: float | None,
    freedom: float | None,
    goal: float,
    note: str,
) -> Achieved:
    """Return what a layer's fields have reached, and where more would reach a goal.

    Parameters
    ----------
    layer : int
    places_mm : (n, 2) float array or None
        Of its scored fields, from any zero; None if unknown.
    standard_error, freedom : float or None
        Of the layer's mean, points, from sampling alone; None if it has no interval.
    goal : float
        Half-width, points.
    note : str
        Why there is no interval, if there is none.
    """
    n = 0 if places_mm is None else len(places_mm)
    if standard_error is None or freedom is None or places_mm is None:
        return Achieved(layer, n, None, None, note, ())
    reached = float(stdtrit(freedom, 0.975)) * standard_error
    total = n
    while total < MOST_FIELDS and _width_of(total, n, standard_error, freedom) > goal:
        total += 1
    if total == MOST_FIELDS:
        return Achieved(layer, n, reached, None, f"more than {MOST_FIELDS:,} fields would be needed", ())
    places = _farthest(layer, places_mm, total - n)
    return Achieved(layer, n, reached, total - n, "the goal is reached" if total == n else "", places)


def _width_of(total: int, n: int, standard_error: float, freedom: float) -> float:
    """Return the half-width that more fields of the same kind would have."""
    return float(stdtrit(freedom + total - n, 0.975)) * standard_error * math.sqrt(n / total)


def _chosen_layers(vessel: VesselType, layers: Sequence[int] | None, optics_profile: str) -> tuple[int, ...]:
    chosen = tuple(sorted(set(layers))) if layers is not None else vessel.reachable_layers(optics_profile)
    strange = [layer for layer in chosen if not 1 <= layer <= vessel.layers]
    if strange:
        raise InvalidArgumentError(f"{vessel.id} has layers 1..{vessel.layers}, not {', '.join(map(str, strange))}.")
    if not chosen:
        raise InvalidArgumentError(
            f"No layer of {vessel.id} is in reach of {optics_profile} optics; name those that you can image: --layers."
        )
    return chosen


def _sides(vessel: VesselType, sides_mm: tuple[float, float] | None) -> tuple[float, float]:
    area_mm2 = vessel.area_per_layer_cm2 * 100
    if sides_mm is None:
        return math.sqrt(area_mm2), math.sqrt(area_mm2)
    height, width = sides_mm
    if not (height > 0 and width > 0 and 0.8 <= height * width / area_mm2 <= 1.3):
        raise InvalidArgumentError(
            f"A layer of {height:g} x {width:g} mm has {height * width / 100:g} cm², that of {vessel.id} has"
            f" {vessel.area_per_layer_cm2:g}: check the sides."
        )
    return height, width


def _grid(
    layer: int, n_fields: int, sides: tuple[float, float], imaging: ImagingSettings, start: FloatArray
) -> list[Place]:
    """Return the places of a full grid of at least so many fields."""
    n_rows = max(1, round(math.sqrt(n_fields * sides[0] / sides[1])))
    n_columns = math.ceil(n_fields / n_rows)
    y = (np.arange(n_rows) + start[0]) * sides[0] / n_rows
    x = (np.arange(n_columns) + start[1]) * sides[1] / n_columns
    grid = [(float(one), float(other)) for one in y for other in x]
    return [_place(layer, f"F{i:02d}", at, sides, imaging) for i, at in enumerate(grid, start=1)]


def _place(
    layer: int, name: str, at: tuple[float, float], sides: tuple[float, float], imaging: ImagingSettings
) -> Place:
    """Return a place as whole µm, moved inwards if a field there would be cut by the wall."""
    half = imaging.field_mm / 2
    y, x = (min(max(one, half), side - half) for one, side in zip(at, sides, strict=True))
    is_edge = min(y, x, sides[0] - y, sides[1] - x) < imaging.edge_mm
    return Place(layer, name, round(y * _UM_PER_MM), round(x * _UM_PER_MM), "edge" if is_edge else "inner")


def _farthest(layer: int, places: FloatArray, n_more: int) -> tuple[Place, ...]:
    """Return places one by one, each farthest from any field, within the box that the fields stand for.

    That box is widened as much as chance keeps fields from the rim (see `place_fields`), so that more fields stand for
    no less. Where the walls are is not known: a place beyond one cannot be taken.
    """
    n = len(places)
    middle, half = (places.min(axis=0) + places.max(axis=0)) / 2, np.ptp(places, axis=0) / 2 * (n + 1) / (n - 1)
    low, high = middle - half, middle + half
    n_steps = max(_LATTICE, math.ceil(2 * math.sqrt(n_more)))  # so that no place has to serve twice
    steps = (np.arange(n_steps) + 0.5) / n_steps
    y, x = np.meshgrid(low[0] + steps * (high[0] - low[0]), low[1] + steps * (high[1] - low[1]), indexing="ij")
    lattice = np.column_stack((y.ravel(), x.ravel()))
    nearest, _ = KDTree(places).query(lattice)
    found = []
    for i in range(n_more):
        best = int(np.argmax(nearest))
        y_um, x_um = (round(float(one) * _UM_PER_MM) for one in lattice[best])
        found.append(Place(layer, f"N{i + 1:02d}", y_um, x_um, "between"))
        nearest = np.minimum(nearest, np.hypot(*(lattice - lattice[best]).T))
    return tuple(found)


def _vessel_half_width(
    layers: tuple[int, ...], n_layers: int, per_layer: int, sd: float, layer_sd: float | None
) -> tuple[float | None, str]:
    """Return the half-width of the vessel's mean, two stages (Cochran, Sampling Techniques, 1977, section 10.6)."""
    k, share = len(layers), len(layers) / n_layers
    own = sd**2 / per_layer
    if k == n_layers:
        return float(stdtrit(k * (per_layer - 1), 0.975)) * math.sqrt(own / k), "every layer is measured"
    reason = why_undetermined(layers, n_layers, None)
    if reason is not None:
        return None, f"undetermined: {reason}"
    if layer_sd is None:
        return None, "not known beforehand: say how much layers differ with --layer-sd"
    variance = (1 - share) * (layer_sd**2 + own) / k + share * own / k
    return float(stdtrit(k - 1, 0.975)) * math.sqrt(variance), "layers over the whole stack speak for the others"
