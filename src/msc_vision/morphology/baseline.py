"""A reference population: fields of cultures that were as they should be, and what may be compared with them.

On disk a baseline is a folder: ``fields.parquet`` (a profile per field), ``baseline.json`` (what it is of, where it
comes from, hashes) and ``card.md`` (the same to read). Everything else is fitted from the profiles when it is loaded.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.io.output import new_folder
from msc_vision.io.sealed import canonical_sha256
from msc_vision.morphology.drift import Drift, DriftJudge, Driver
from msc_vision.morphology.profile import SEGMENTATION_ERRORS, ProfileTrait, profile_array
from msc_vision.morphology.reference import DriftSettings, Grouping
from msc_vision.morphology.spread import SPREAD_KEY, Spread, SpreadYardstick, spread_yardstick

BASELINE_NAME, PROFILES_NAME, CARD_NAME = "baseline.json", "fields.parquet", "card.md"
SCHEMA_VERSION = 1
SAME = ("bank", "medium", "surface", "modality", "objective", "instrument")
"""What fields must have in common with a baseline, where the baseline states it."""
REQUIRED = ("bank", "medium", "objective")
"""What the fields of a baseline have to state."""
PIXEL_TOLERANCE = 0.1
"""Relative difference of working pixel sizes from which fine figures can no longer be compared (own)."""
_KNOWN_SHARE = 0.5
_TOLD = 4
_TOLD_FROM = 2.5
"""Standard errors from which a trait is told as one that drives a score."""

Context = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class ProfiledField:
    """A field that can be compared: where it is from, how full it is, and its profile.

    ``context`` holds `SAME` and ``pipeline_sha256``. ``profile`` is on the compared scale, see `profile`.
    """

    path: str
    vessel_id: str
    layer: int
    confluency_percent: float
    working_pixel_size_um: float | None
    context: Context
    profile: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Source:
    """One run that a baseline was made from."""

    run_id: str
    fields_sha256: str
    n_fields: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Who a baseline is and where it comes from."""

    baseline_id: str
    created_at: str
    software: str
    sources: tuple[Source, ...]
    description: str = ""
    version: int = 1


@dataclass(frozen=True, slots=True)
class BaselineHead:
    """What ``baseline.json`` says: of what a baseline is, from how much, and what it may be compared with."""

    origin: Origin
    applies_to: dict[str, str | None]
    pipeline_sha256: str
    working_pixel_size_um: float
    confluency_from_percent: float
    confluency_to_percent: float
    n_vessels: int
    n_layers: int
    n_fields: int
    settings: DriftSettings
    profiles_sha256: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """A baseline that is ready to judge."""

    head: BaselineHead
    sha256: str
    judge: DriftJudge
    spread_yardstick: SpreadYardstick
    traits: tuple[ProfileTrait, ...]
    table: pa.Table

    def drift(self, fields: Sequence[ProfiledField]) -> Drift:
        """Return how far some fields of one vessel have drifted; a comparison that must not be made is refused.

        Parameters
        ----------
        fields : sequence of ProfiledField
            Of one vessel: all of it, one layer, or one field.
        """
        if not fields:
            return Drift("not measured", "no field has been scored")
        if refusal := self.refusal(fields):
            return Drift("not comparable", refusal)
        kept, missing = self._comparable(fields)
        if missing is not None:
            return missing
        profiles = profile_array([one.profile for one in kept], self.traits)
        confluency = np.array([one.confluency_percent for one in kept])
        layers = np.array([one.layer for one in kept], np.int64)
        score, probability, shifts = self.judge.drift(profiles, confluency, layers)
        return Drift(
            "compared",
            None,
            score,
            self.judge.interval(profiles, confluency, layers),
            probability,
            probability < self.judge.settings.alarm_probability,
            len(kept),
            self._drivers(shifts, self.judge.change(profiles, confluency), self.judge.shift_error(confluency, layers)),
            self.judge.limit(confluency, layers, self.judge.settings.alarm_probability),
        )

    def spread(self, fields: Sequence[ProfiledField]) -> Spread:
        """Return how many cells there are to a covered area, over the baseline's; refused as `drift` is.

        Parameters
        ----------
        fields : sequence of ProfiledField
            Of one vessel, or of one layer.
        """
        if not fields:
            return Spread("not measured", "no field has been scored")
        if refusal := self.refusal(fields):
            return Spread("not comparable", refusal)
        return self.spread_yardstick.spread(
            np.array([one.profile.get(SPREAD_KEY, math.nan) for one in fields]),
            np.array([one.confluency_percent for one in fields]),
            np.array([one.layer for one in fields], np.int64),
        )

    def refusal(self, fields: Iterable[ProfiledField]) -> str | None:
        """Return why these fields must not be compared with this baseline at all, None where they may."""
        for one in fields:
            for name in SAME:
                wanted, found = self.head.applies_to.get(name), one.context.get(name)
                if wanted is not None and found != wanted:
                    said = f"is {found!r}" if found is not None else "is not stated"
                    return f"{name} {said}, the baseline is of {wanted!r} ({one.path})"
            if one.context.get("pipeline_sha256") != self.head.pipeline_sha256:
                return f"it was measured with another recipe or network than the baseline ({one.path})"
            if one.working_pixel_size_um is None:
                return f"its pixel size is not known ({one.path})"
            if abs(one.working_pixel_size_um / self.head.working_pixel_size_um - 1) > PIXEL_TOLERANCE:
                return (
                    f"it was measured at {one.working_pixel_size_um:.3g} µm a pixel,"
                    f" the baseline at {self.head.working_pixel_size_um:.3g} µm ({one.path})"
                )
        return None

    def _comparable(self, fields: Sequence[ProfiledField]) -> tuple[list[ProfiledField], Drift | None]:
        """Return the fields within the baseline's confluency that have enough figures, or why there are too few."""
        margin = self.judge.settings.range_margin_points
        low, high = self.head.confluency_from_percent - margin, self.head.confluency_to_percent + margin
        within = [one for one in fields if low <= one.confluency_percent <= high]
        if 2 * len(within) < len(fields):
            found = [one.confluency_percent for one in fields]
            reason = (
                f"{len(fields) - len(within)} of {len(fields)} fields lie outside the baseline's"
                f" {self.head.confluency_from_percent:.0f} to {self.head.confluency_to_percent:.0f} % confluency"
                f" (they are at {min(found):.0f} to {max(found):.0f} %)"
            )
            return [], Drift("not comparable", reason)
        kept = [one for one in within if self._known_share(one) >= _KNOWN_SHARE]
        if not kept:
            return [], Drift("not measured", "too few cells or too little covered area in every field")
        return kept, None

    def _known_share(self, one: ProfiledField) -> float:
        return float(np.isfinite(profile_array([one.profile], self.traits)).mean())

    def _drivers(
        self, shifts: NDArray[np.float64], changes: NDArray[np.float64], error: NDArray[np.float64]
    ) -> tuple[Driver, ...]:
        """Return the traits that stand out most, in words; of several summaries of one trait the strongest."""
        told: dict[str, Driver] = {}
        sure = np.abs(shifts) / error
        for i in np.argsort(-sure):
            trait = self.traits[int(i)]
            if sure[i] < _TOLD_FROM or len(told) == _TOLD:
                break
            family = trait.name.rsplit("_", 1)[0]
            if family not in told:
                told[family] = Driver(trait.name, float(shifts[i]), trait.told(float(changes[i])))
        return tuple(told.values())


def make_baseline(
    origin: Origin,
    fields: Sequence[ProfiledField],
    traits: Sequence[ProfileTrait],
    settings: DriftSettings | None = None,
) -> Baseline:
    """Return a baseline of fields that were as they should be.

    Raises
    ------
    InvalidArgumentError
        If the fields are not of one bank, medium, surface, instrument, objective and recipe, do not state what they
        must, or are too few.
    """
    settings = settings or DriftSettings()
    usable = [one for one in fields if np.isfinite(profile_array([one.profile], traits)).mean() >= _KNOWN_SHARE]
    _check_enough(usable, settings)
    applies_to = {name: _one_value(usable, name) for name in SAME}
    for name in REQUIRED:
        if applies_to[name] is None:
            raise InvalidArgumentError(f"A baseline has to state its {name}: fill that column of the manifest in.")
    pipeline_sha256 = _one_value(usable, "pipeline_sha256")
    sizes = [one.working_pixel_size_um for one in usable if one.working_pixel_size_um is not None]
    if len(sizes) < len(usable) or max(sizes) / min(sizes) - 1 > PIXEL_TOLERANCE:
        raise InvalidArgumentError("The fields of a baseline need one pixel size; some have none or another.")
    head = BaselineHead(
        origin=origin,
        applies_to=applies_to,
        pipeline_sha256=pipeline_sha256 or "",
        working_pixel_size_um=float(np.median(sizes)),
        confluency_from_percent=min(one.confluency_percent for one in usable),
        confluency_to_percent=max(one.confluency_percent for one in usable),
        n_vessels=len({one.vessel_id for one in usable}),
        n_layers=len({(one.vessel_id, one.layer) for one in usable}),
        n_fields=len(usable),
        settings=settings,
        profiles_sha256="",
    )
    table = _table(usable, traits)
    head = replace(head, profiles_sha256=_table_sha256(table))
    return _baseline(head, canonical_sha256(_head_content(head)), table)


def _check_enough(fields: Sequence[ProfiledField], settings: DriftSettings) -> None:
    n_vessels = len({one.vessel_id for one in fields})
    if len(fields) < settings.fields_min or n_vessels < settings.vessels_min:
        raise InvalidArgumentError(
            f"A baseline needs {settings.fields_min} fields with a profile from {settings.vessels_min} vessels;"
            f" these runs have {len(fields)} from {n_vessels}."
        )


def _one_value(fields: Sequence[ProfiledField], name: str) -> str | None:
    found = sorted({str(one.context.get(name)) for one in fields if one.context.get(name) is not None})
    n_unstated = sum(one.context.get(name) is None for one in fields)
    if len(found) > 1 or (found and n_unstated):
        listed = ", ".join(found) + (f", not stated for {n_unstated} fields" if n_unstated else "")
        raise InvalidArgumentError(f"The fields of a baseline need one {name}; these have {listed}.")
    return found[0] if found else None


def _table(fields: Sequence[ProfiledField], traits: Sequence[ProfileTrait]) -> pa.Table:
    ordered = sorted(fields, key=lambda one: (one.vessel_id, one.layer, one.path))
    profiles = profile_array([one.profile for one in ordered], traits)
    columns: dict[str, Any] = {
        "vessel_id": pa.array([one.vessel_id for one in ordered], pa.string()),
        "layer": pa.array([one.layer for one in ordered], pa.int64()),
        "path": pa.array([one.path for one in ordered], pa.string()),
        "confluency_percent": pa.array([one.confluency_percent for one in ordered], pa.float64()),
        SPREAD_KEY: pa.array([one.profile.get(SPREAD_KEY) for one in ordered], pa.float64(), from_pandas=True),
    }
    columns |= {
        trait.name: pa.array(column, pa.float64(), from_pandas=True)
        for trait, column in zip(traits, profiles.T, strict=True)
    }
    scales = [asdict(trait) for trait in traits]
    return pa.table(columns).replace_schema_metadata({"traits": json.dumps(scales)})


def _table_sha256(table: pa.Table) -> str:
    """Return a digest of what a table says, whatever version of the library writes it."""
    content = {name: table[name].to_pylist() for name in table.column_names}
    content["traits"] = json.loads(table.schema.metadata[b"traits"])
    return canonical_sha256(content)


def _baseline(head: BaselineHead, sha256: str, table: pa.Table) -> Baseline:
    traits = tuple(ProfileTrait(**one) for one in json.loads(table.schema.metadata[b"traits"]))
    profiles = np.column_stack([_column(table, trait.name) for trait in traits])
    groups = Grouping.of(table["vessel_id"].to_pylist(), table["layer"].to_pylist())
    errors = profile_array([one.change for one in SEGMENTATION_ERRORS], traits, otherwise=0.0)
    judge = DriftJudge(profiles, _column(table, "confluency_percent"), groups, head.settings, errors)
    return Baseline(head, sha256, judge, _spread_yardstick(table, head.settings), traits, table)


def _spread_yardstick(table: pa.Table, settings: DriftSettings) -> SpreadYardstick:
    if SPREAD_KEY not in table.column_names:
        reason = "the baseline is of an older version that kept no cells per covered cm²; make it again from its runs"
        return SpreadYardstick(None, reason)
    places = list(zip(table["vessel_id"].to_pylist(), table["layer"].to_pylist(), strict=True))
    return spread_yardstick(_column(table, SPREAD_KEY), _column(table, "confluency_percent"), places, settings)


def _column(table: pa.Table, name: str) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else value for value in table[name].to_pylist()], np.float64)


def _head_content(head: BaselineHead) -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, **asdict(head), "settings": head.settings.model_dump(mode="json")}


def save_baseline(baseline: Baseline, folder: Path) -> None:
    """Write a baseline into a new folder.

    Raises
    ------
    OutputError
        If the folder holds something, or cannot be written.
    """
    with new_folder(folder) as draft:
        pq.write_table(baseline.table, draft / PROFILES_NAME)
        content = _head_content(baseline.head)
        content |= {"sha256": canonical_sha256(content)}
        (draft / BASELINE_NAME).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (draft / CARD_NAME).write_text(card_text(baseline), encoding="utf-8")


def card_text(baseline: Baseline) -> str:
    """Return what a baseline is, for a person to read: Markdown."""
    head, origin = baseline.head, baseline.head.origin
    lines = [
        f"# Baseline {origin.baseline_id}, version {origin.version}",
        "",
        *([origin.description, ""] if origin.description else []),
        f"Made {origin.created_at} by {origin.software}; sha256 `{baseline.sha256}`.",
        "",
        f"{head.n_fields} fields on {head.n_layers} layers of {head.n_vessels} vessels, at"
        f" {head.confluency_from_percent:.0f} to {head.confluency_to_percent:.0f} % confluency,"
        f" {head.working_pixel_size_um:.3g} µm a working pixel, recipe `{head.pipeline_sha256[:12]}`.",
        "",
        "| it may be compared with | |",
        "|---|---|",
        *(
            f"| {name} | {value if value is not None else 'any: not stated here'} |"
            for name, value in head.applies_to.items()
        ),
        "",
        "What fields of one vessel share of their spread:"
        f" {100 * baseline.judge.reference.vessel_share.mean():.0f} % on average; of one layer beyond that:"
        f" {100 * baseline.judge.reference.layer_share.mean():.0f} %.",
        "",
        counted_sentence(baseline.spread_yardstick),
        "",
        *_expected_table(baseline),
        "",
        "| run | fields | sha256 of its fields.parquet |",
        "|---|---|---|",
        *(f"| {one.run_id} | {one.n_fields} | `{one.fields_sha256[:16]}…` |" for one in origin.sources),
        "",
        "A baseline says what these vessels looked like, not what is right. No figure here is a limit of biology.",
        "",
    ]
    return "\n".join(lines)


def counted_sentence(yardstick: SpreadYardstick) -> str:
    """Say at which confluency a baseline counted cells, or why its counts are not compared."""
    if yardstick.judge is None:
        return f"Cells per covered cm² are not compared: {yardstick.reason}."
    at = yardstick.judge.confluency_percent
    return (
        f"Cells per covered cm² are compared at {at.min():.0f} to {at.max():.0f} % confluency: cells were counted in"
        f" {at.size} fields."
    )


def _expected_table(baseline: Baseline) -> list[str]:
    """Return what is expected at some confluencies, with the spread between fields."""
    reference = baseline.judge.reference
    rows = [
        "| expected (spread between fields) | " + " | ".join(f"{knot:.0f} %" for knot in reference.knots) + " |",
        "|---" * (reference.knots.size + 1) + "|",
    ]
    for i, trait in enumerate(baseline.traits):
        cells = [
            _plain_figure(trait, centre, spread)
            for centre, spread in zip(reference.centre[:, i], reference.spread[:, i], strict=True)
        ]
        rows.append(f"| {trait.name} | " + " | ".join(cells) + " |")
    return rows


def _plain_figure(trait: ProfileTrait, centre: float, spread: float) -> str:
    if trait.scale == "ratio":
        return f"{math.exp(centre):.3g} (× {math.exp(spread):.2f})"
    return f"{centre:.3g} (± {spread:.2g})"


def load_baseline(folder: Path) -> Baseline:
    """Read a baseline and check that nobody has altered it.

    Raises
    ------
    InvalidArgumentError
        If there is no baseline in this folder.
    InvalidDataError
        If it is damaged or altered.
    """
    if not (folder / BASELINE_NAME).is_file():
        raise InvalidArgumentError(f"{folder} holds no baseline (no {BASELINE_NAME}); make one with `baseline RUN...`.")
    try:
        content = json.loads((folder / BASELINE_NAME).read_text(encoding="utf-8"))
        sha256 = content.pop("sha256")
        is_unaltered = canonical_sha256(content) == sha256
        version = content.pop("schema_version")
        content["settings"] = DriftSettings.model_validate(content["settings"])
        sources = tuple(Source(**one) for one in content["origin"].pop("sources"))
        content["origin"] = Origin(**content["origin"], sources=sources)
        head = BaselineHead(**content)
        table = pq.read_table(folder / PROFILES_NAME)
    except (OSError, ValueError, KeyError, TypeError, ValidationError, pa.ArrowException) as err:
        raise InvalidDataError(f"{folder}: the baseline cannot be read: {' '.join(str(err).split())}.") from err
    if version != SCHEMA_VERSION:
        raise InvalidDataError(f"{folder}: a baseline of format {version}; this version reads {SCHEMA_VERSION}.")
    if not is_unaltered:
        raise InvalidDataError(f"{folder / BASELINE_NAME} was altered since it was made: its sha256 does not fit.")
    if _table_sha256(table) != head.profiles_sha256:
        raise InvalidDataError(f"{folder / PROFILES_NAME} was altered since it was made: its sha256 does not fit.")
    return _baseline(head, sha256, table)
