"""Everything that a decision about one vessel rests on, read from one run and never looked up again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msc_vision.decision.belief import Belief
from msc_vision.decision.canonical import plain
from msc_vision.decision.metrics import Level
from msc_vision.records import LayerState


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of one metric at one place; without a value, ``missing`` says why.

    Attributes
    ----------
    value : float, str or None
        A figure in the metric's unit, a word of a category, or an ISO 8601 time (UTC) for a metric of kind ``time``.
    interval : (float, float) or None
        95 %.
    belief : Belief or None
        What an estimate may be; None: how sure it is, is not known.
    missing : str or None
        Why there is no value, or no belief: a clause without full stop.
    doubts : tuple of str
        Why a person has to look before the value counts: clauses.
    """

    value: float | str | None
    interval: tuple[float, float] | None = None
    belief: Belief | None = None
    missing: str | None = None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a metric is read: ``layer`` is None except at level ``layer``."""

    metric: str
    level: Level
    layer: int | None = None


@dataclass(frozen=True, slots=True)
class LayerSampling:
    """What tells how many more fields a layer needs.

    ``standard_error_points`` is from the choice of fields alone, at the layer's confluency; ``method_error_points`` at
    half cover. None: not known.
    """

    layer: int
    state: LayerState
    n_fields: int
    confluency_percent: float | None
    standard_error_points: float | None
    method_error_points: float | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """When the vessel's mean is forecast to be within a window (medians, ISO 8601, UTC), or ``reason`` why unknown."""

    low_percent: float
    high_percent: float
    enters_at: str | None
    leaves_at: str | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """A file that the decision rests on; ``path`` as it is called in its run folder."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything known of one vessel in one run.

    Attributes
    ----------
    batch : str or None
        Lot and passage, as the manifest states them.
    layer_states : tuple of str
        Layer 1 first.
    n_fields_scored, n_fields_rejected, n_fields_failed : int
        At the latest time point of the vessel.
    readings : mapping of Place to Reading
    problems : tuple of str
        Why the run as a whole cannot be relied on; sentences.
    quality : mapping
        Figures and flags that the record shows.
    metrics : mapping
        Figures of the vessel that the record shows.
    outlooks : mapping of (float, float) to Outlook
        By window.
    model_id, model_sha256, device : str or None
        Of the network; None: none was used.
    """

    vessel_id: str
    vessel_type: str
    batch: str | None
    passage: int | None
    run_id: str
    layer_states: tuple[LayerState, ...]
    n_fields_scored: int
    n_fields_rejected: int
    n_fields_failed: int
    readings: Mapping[Place, Reading]
    sampling: tuple[LayerSampling, ...]
    inputs: tuple[Input, ...]
    software: str
    settings_sha256: str
    pipeline_name: str
    model_id: str | None = None
    model_sha256: str | None = None
    device: str | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    outlooks: Mapping[tuple[float, float], Outlook] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("environment", "quality", "metrics"):  # once, for the many records that show them
            object.__setattr__(self, name, plain(getattr(self, name)))

    def reading(self, place: Place) -> Reading:
        """Return what is known at a place; nothing is known of a place that nobody looked at."""
        return self.readings.get(place, Reading(None, missing="the run does not tell"))
