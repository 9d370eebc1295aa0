"""What is said of layers and vessels beyond confluency: drift, aggregates, visual signs of contamination, density."""

import math
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from msc_vision.findings.contamination import of_row, sudden_haze
from msc_vision.morphology.baseline import SAME, Baseline, ProfiledField
from msc_vision.morphology.density import Density, DensityCalibration, area_density
from msc_vision.morphology.drift import Drift, DriftState
from msc_vision.morphology.spread import Spread
from msc_vision.records import FieldScore, ManifestRow, VisualSigns
from msc_vision.statistics.layer_study import LayerStudy
from msc_vision.statistics.rollup import ScoredField, latest_fields
from msc_vision.statistics.time_points import earlier_keys

DENSITY_KEY = "density_per_cm2"
AGGREGATES_PER_CM2, AGGREGATES_AREA = "aggregates_per_cm2", "aggregate_area_percent"
NO_BASELINE = Drift("no baseline", "no baseline was given")
NO_SPREAD = Spread("no baseline", "no baseline was given")


@dataclass(frozen=True, slots=True)
class Yardsticks:
    """What a run is compared with, if anything.

    Attributes
    ----------
    baseline : Baseline or None
    calibration : DensityCalibration or None
        From confluency to cells, where cells cannot be counted.
    layer_study : LayerStudy or None
        How layers that nobody saw differ from those that were measured.
    """

    baseline: Baseline | None = None
    calibration: DensityCalibration | None = None
    layer_study: LayerStudy | None = None


@dataclass(frozen=True, slots=True)
class Character:
    """What the fields of one layer, or of one vessel, show beyond confluency; None: not known.

    ``drift_*`` as in `Drift`; ``drift_words`` say what changed, ``drift_limit`` is the score above
    which it stands out from chance. Aggregates are means over the fields in which they were
    looked for. ``contamination`` is ``suspect`` if any field is, or has turned hazy since it was last pictured; ``no
    visual sign`` if none of those that could be assessed is, else ``not assessable``. ``density_state`` says whether
    cells were counted or read off a calibration. Intervals (95 %) hold what the choice of fields leaves open; that of
    the density is of counted cells. ``spread_*`` as in `Spread`: cells per covered area over the baseline's.
    """

    n_fields: int
    drift_state: DriftState
    drift_reason: str | None
    drift_score: float | None
    drift_interval: tuple[float, float] | None
    drift_probability: float | None
    drift_alarm: bool | None
    drift_words: tuple[str, ...]
    aggregates_per_cm2: float | None
    aggregate_area_percent: float | None
    contamination: VisualSigns
    n_fields_assessed: int
    n_fields_suspect: int
    n_fields_suddenly_hazy: int
    density_per_cm2: float | None
    density_state: str
    density_reason: str | None
    spread_state: DriftState | None = None
    spread_reason: str | None = None
    spread_ratio: float | None = None
    spread_interval: tuple[float, float] | None = None
    spread_probability: float | None = None
    spread_alarm: bool | None = None
    spread_words: str | None = None
    spread_n_fields: int = 0
    aggregates_interval: tuple[float, float] | None = None
    aggregate_area_interval: tuple[float, float] | None = None
    density_interval: tuple[float, float] | None = None
    drift_limit: float | None = None

    @property
    def spread(self) -> Spread | None:
        """Cells per covered area over the baseline's as one record; None in runs of older versions."""
        if self.spread_state is None:
            return None
        return Spread(
            self.spread_state,
            self.spread_reason,
            self.spread_ratio,
            self.spread_interval,
            self.spread_probability,
            self.spread_alarm,
            self.spread_n_fields,
        )


@dataclass(frozen=True, slots=True)
class Characters:
    """Of a run: by vessel, by (vessel, layer), and the drift of each field by its key."""

    vessels: Mapping[str, Character]
    layers: Mapping[tuple[str, int], Character]
    fields: Mapping[str, Drift]


def profiled(row: ManifestRow, score: FieldScore, pipeline_sha256: str) -> ProfiledField:
    """Return what of a scored field is compared with a baseline."""
    context = {name: getattr(row, name) for name in SAME} | {"pipeline_sha256": pipeline_sha256}
    return ProfiledField(
        row.path,
        row.vessel_id,
        row.layer,
        math.nan if score.confluency_percent is None else score.confluency_percent,
        score.working_pixel_size_um,
        context,
        score.morphology,
    )


def characters(fields: Iterable[ScoredField], pipeline_sha256: str, yardsticks: Yardsticks) -> Characters:
    """Return the character of every layer and vessel that has a scored field at its latest time point.

    Parameters
    ----------
    fields : iterable of ScoredField
        Of a run, in any order: the result does not depend on it.
    pipeline_sha256 : str
        Of the recipe that they were measured with.
    yardsticks : Yardsticks
    """
    listed = sorted(fields, key=lambda one: one.score.key)
    latest = latest_fields(listed)
    scored = [one for one in listed if one.score.status == "scored"]
    hazy = suddenly_hazy(listed)
    by_vessel: defaultdict[str, list[ScoredField]] = defaultdict(list)
    by_layer: defaultdict[tuple[str, int], list[ScoredField]] = defaultdict(list)
    for one in scored:
        if one.score.key in latest:
            by_vessel[one.row.vessel_id].append(one)
            by_layer[one.row.vessel_id, one.row.layer].append(one)
    return Characters(
        {key: character_of(some, pipeline_sha256, yardsticks, hazy) for key, some in sorted(by_vessel.items())},
        {key: character_of(some, pipeline_sha256, yardsticks, hazy) for key, some in sorted(by_layer.items())},
        {one.score.key: drift_of([one], pipeline_sha256, yardsticks.baseline) for one in scored},
    )


def suddenly_hazy(fields: Sequence[ScoredField]) -> frozenset[str]:
    """Return the keys of fields whose medium has turned hazy since the same place was last pictured."""
    by_vessel: defaultdict[str, dict[str, ScoredField]] = defaultdict(dict)
    for one in fields:
        by_vessel[one.row.vessel_id][one.score.key] = one
    found = set()
    for members in by_vessel.values():
        earlier = earlier_keys({key: one.row for key, one in members.items()})
        found |= {key for key, before in earlier.items() if _turned_hazy(members[before].score, members[key].score)}
    return frozenset(found)


def _turned_hazy(before: FieldScore, after: FieldScore) -> bool:
    sizes = before.working_pixel_size_um, after.working_pixel_size_um
    if sizes[0] is None or sizes[1] is None or not math.isclose(sizes[0], sizes[1], rel_tol=1e-6):
        return False
    if not (before.contamination and after.contamination):
        return False
    first, last = (of_row(one.findings, sizes[0]) for one in (before, after))
    return bool(sudden_haze(first, last))


def character_of(
    fields: Sequence[ScoredField], pipeline_sha256: str, yardsticks: Yardsticks, hazy: Container[str]
) -> Character:
    """Return the character of one layer or vessel.

    Parameters
    ----------
    fields : sequence of ScoredField
        Its scored fields of the latest time point, at least one, ordered by key.
    pipeline_sha256 : str
    yardsticks : Yardsticks
    hazy : container of str
        Keys of fields that `suddenly_hazy` names.
    """
    drift = drift_of(fields, pipeline_sha256, yardsticks.baseline)
    spread = _spread(fields, pipeline_sha256, yardsticks.baseline)
    density = _density(fields, yardsticks.calibration)
    signs = [one.score.contamination for one in fields]
    n_suspect, n_clear = signs.count("suspect"), signs.count("no visual sign")
    n_hazy = sum(one.score.key in hazy for one in fields)
    return Character(
        n_fields=len(fields),
        drift_state=drift.state,
        drift_reason=drift.reason,
        drift_score=drift.score,
        drift_interval=drift.interval,
        drift_probability=drift.probability,
        drift_alarm=drift.is_alarm,
        drift_words=tuple(driver.words for driver in drift.drivers),
        aggregates_per_cm2=_mean(fields, AGGREGATES_PER_CM2),
        aggregate_area_percent=_mean(fields, AGGREGATES_AREA),
        contamination=_joint_signs(n_suspect + n_hazy, n_clear),
        n_fields_assessed=n_suspect + n_clear,
        n_fields_suspect=n_suspect,
        n_fields_suddenly_hazy=n_hazy,
        density_per_cm2=density.per_cm2,
        density_state=density.state,
        density_reason=density.reason,
        spread_state=spread.state,
        spread_reason=spread.reason,
        spread_ratio=spread.ratio,
        spread_interval=spread.interval,
        spread_probability=spread.probability,
        spread_alarm=spread.is_alarm,
        spread_words=spread.words,
        spread_n_fields=spread.n_fields,
        drift_limit=drift.limit,
    )


def _joint_signs(n_suspect: int, n_clear: int) -> VisualSigns:
    if n_suspect:
        return "suspect"
    return "no visual sign" if n_clear else "not assessable"


def drift_of(fields: Sequence[ScoredField], pipeline_sha256: str, baseline: Baseline | None) -> Drift:
    """Return the drift of some scored fields together."""
    if baseline is None:
        return NO_BASELINE
    return baseline.drift([profiled(one.row, one.score, pipeline_sha256) for one in fields])


def _spread(fields: Sequence[ScoredField], pipeline_sha256: str, baseline: Baseline | None) -> Spread:
    if baseline is None:
        return NO_SPREAD
    return baseline.spread([profiled(one.row, one.score, pipeline_sha256) for one in fields])


def _mean(fields: Sequence[ScoredField], name: str) -> float | None:
    values = [one.score.findings[name] for one in fields if name in one.score.findings]
    return math.fsum(values) / len(values) if values else None


def _density(fields: Sequence[ScoredField], calibration: DensityCalibration | None) -> Density:
    refusal = None
    if calibration is not None:
        rows = [one.row for one in fields]
        refusal = next((why for row in rows if (why := calibration.refusal(row.bank, row.medium, row.passage))), None)
    found = area_density(
        [one.score.morphology.get(DENSITY_KEY, math.nan) for one in fields],
        [one.score.confluency_percent or 0.0 for one in fields],
        None if refusal else calibration,
    )
    return Density(found.state, found.per_cm2, refusal) if refusal and found.state == "not known" else found
