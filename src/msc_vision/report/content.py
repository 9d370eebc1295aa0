"""What a report says, as plain frozen records: the page shows these and computes nothing that decides."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msc_vision.records import FieldStatus, LayerState, PlaneChoice, VisualSigns
from msc_vision.statistics.character import Character
from msc_vision.statistics.rollup import MEASURED
from msc_vision.statistics.vessel_rollup import BatchEstimate


@dataclass(frozen=True, slots=True)
class Range:
    """Lower and upper end of an interval, percent."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class FieldEntry:
    """One field as the report shows it; a rejected or failed field has a reason and no confluency.

    ``contamination`` is None where nobody looked; ``morphology`` is the profile of the field, without what is unknown.
    ``review`` says who corrected or judged it since; figures are those of the run all the same.
    """

    key: str
    path: str
    vessel_id: str
    layer: int
    status: FieldStatus
    reason: str | None = None
    confluency_percent: float | None = None
    judgeable_percent: float | None = None
    judgeable_area_mm2: float | None = None
    pixel_size_um: float | None = None
    flags: tuple[str, ...] = ()
    image: Path | None = None
    labels: Path | None = None
    plane: PlaneChoice = PlaneChoice()  # noqa: RUF009  (frozen)
    contamination: VisualSigns | None = None
    contamination_note: str | None = None
    contamination_places: tuple[str, ...] = ()
    aggregate_area_percent: float | None = None
    morphology: Mapping[str, float] = field(default_factory=dict, hash=False)
    review: str | None = None

    @property
    def name(self) -> str:
        """File name without its folders."""
        return self.path.replace("\\", "/").rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class LayerEntry:
    """One growth surface, seen or not; ``interval_note`` says what the interval rests on, or why there is none.

    A layer in state ``inferred`` has a confluency though nobody saw it.
    ``earlier`` are fields of earlier time points, which count for nothing here. ``character`` is None for a layer
    without a scored field, and in runs older than it.
    """

    layer: int
    state: LayerState
    reason: str | None = None
    confluency_percent: float | None = None
    interval: Range | None = None
    interval_note: str = ""
    sd_points: float | None = None
    judgeable_area_mm2: float | None = None
    fields: tuple[FieldEntry, ...] = ()
    earlier: tuple[FieldEntry, ...] = ()
    character: Character | None = None

    @property
    def scored(self) -> tuple[FieldEntry, ...]:
        """The fields that have a confluency, lowest first."""
        kept = [f for f in self.fields if f.confluency_percent is not None]
        return tuple(sorted(kept, key=lambda f: (f.confluency_percent or 0.0, f.key)))

    @property
    def n_rejected(self) -> int:
        """How many fields could not be judged."""
        return sum(f.status == "rejected" for f in self.fields)

    @property
    def n_failed(self) -> int:
        """How many fields could not be read or scored."""
        return sum(f.status == "failed" for f in self.fields)


@dataclass(frozen=True, slots=True)
class VesselEntry:
    """One vessel, its layers from 1 (bottom) upwards, and what is known about its type.

    ``confluency_percent`` is None where the layers that were not measured are undetermined;
    ``measured_confluency_percent`` is of the measured ones alone.
    """

    vessel_id: str
    type_id: str
    type_name: str
    n_layers: int
    layers: tuple[LayerEntry, ...]
    confluency_percent: float | None = None
    measured_confluency_percent: float | None = None
    interval: Range | None = None
    interval_note: str = ""
    window: Range | None = None
    area_in_window_percent: float | None = None
    area_in_window: Range | None = None
    trend_points_per_layer: float | None = None
    trend: Range | None = None
    statement: str | None = None
    area_per_layer_cm2: float | None = None
    source: str | None = None
    is_verified: bool = True
    character: Character | None = None

    @property
    def measured(self) -> tuple[LayerEntry, ...]:
        """The layers that were seen and have a confluency."""
        return tuple(entry for entry in self.layers if entry.state in MEASURED)

    @property
    def inferred(self) -> tuple[LayerEntry, ...]:
        """The layers whose confluency follows from the others."""
        return tuple(entry for entry in self.layers if entry.state == "inferred")


@dataclass(frozen=True, slots=True)
class RunContent:
    """A run folder, ready to be shown; ``provenance`` are pairs of label and value."""

    folder: Path
    title: str
    state: str
    vessels: tuple[VesselEntry, ...]
    software: str
    pipeline: str
    started_at: str | None = None
    finished_at: str | None = None
    images_folder: str | None = None
    provenance: tuple[tuple[str, str], ...] = ()
    baseline_sha256: str | None = None
    batches: tuple[BatchEstimate, ...] = ()

    @property
    def fields(self) -> tuple[FieldEntry, ...]:
        """Every field of every vessel."""
        return tuple(f for vessel in self.vessels for layer in vessel.layers for f in (*layer.fields, *layer.earlier))

    @property
    def troubled(self) -> tuple[FieldEntry, ...]:
        """The fields without a result, failures before rejections."""
        kept = [f for f in self.fields if f.status != "scored"]
        return tuple(sorted(kept, key=lambda f: (f.status != "failed", f.vessel_id, f.layer, f.path)))
