"""Read a finished run with every figure of its fields, as they were when its layers and vessels were estimated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from msc_vision.batch.figures import Compared, FigureSettings
from msc_vision.batch.finished import read_record
from msc_vision.batch.pipeline import Pipeline
from msc_vision.batch.run_files import read_bytes, read_object
from msc_vision.batch.store import BASELINE_FOLDER, FIELDS_NAME, VESSELS_NAME, VESSELS_SCHEMA_VERSION
from msc_vision.errors import InvalidArgumentError, InvalidDataError, MscVisionError
from msc_vision.morphology.baseline import Baseline, load_baseline
from msc_vision.morphology.density import DensityCalibration
from msc_vision.morphology.drift import Drift
from msc_vision.records import FieldScore, ManifestRow
from msc_vision.statistics.character import Character, Characters, Yardsticks
from msc_vision.statistics.layer_study import LayerStudy
from msc_vision.statistics.rollup import ScoredField
from msc_vision.vessels import Catalogue

RUN_SCHEMA_VERSION = 1
_GROUPS = ("quality", "morphology", "findings")
_LISTS = ("flags", "notes", "contamination_places")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """A finished run.

    Attributes
    ----------
    folder : Path
    record, vessels : mapping
        Content of run.json and of vessels.json.
    baseline_trouble : str or None
        Why the baseline that the run was compared with is not at hand; None if it is, or if there was none.
    fields : tuple of ScoredField
        All of them, of every time point, in the order of the manifest, with all their figures.
    drifts : mapping of str to Drift
        As fields.parquet has them: without drivers.
    pipeline : Pipeline
    yardsticks : Yardsticks
    """

    folder: Path
    record: Row
    vessels: Row
    fields: tuple[ScoredField, ...]
    drifts: Mapping[str, Drift]
    pipeline: Pipeline
    yardsticks: Yardsticks
    baseline_trouble: str | None = None

    def figure_settings(self, catalogue: Catalogue) -> FigureSettings:
        """Return what turned the scores into figures."""
        profile = str(self.record["settings"]["optics_profile"])
        return FigureSettings(catalogue, profile, self.pipeline.sampling, self.pipeline.sha256, self.yardsticks)

    def compared(self, fields: Mapping[str, ScoredField]) -> Compared | None:
        """Return what the run said of drift, if it was compared with a baseline that is not at hand."""
        if self.baseline_trouble is None:
            return None
        reason = f"a review changed what was compared, and {self.baseline_trouble}"
        return Compared(fields, _characters(self.vessels, self.drifts), reason)


def read_scored_run(folder: Path, baseline: Baseline | None = None) -> ScoredRun:
    """Return a finished run with every figure of its fields.

    Parameters
    ----------
    folder : Path
    baseline : Baseline, optional
        The one that it was compared with; by default the copy that the run folder holds, if it does.

    Raises
    ------
    InvalidArgumentError
        If the folder is no run folder, its run is not finished, or it was compared with another baseline.
    InvalidDataError
        If it was written by a newer version, or a file is missing or damaged.
    """
    record = read_record(folder)
    return scored_run(folder, record, read_object(folder, VESSELS_NAME), read_bytes(folder, FIELDS_NAME), baseline)


def scored_run(folder: Path, record: Row, vessels: Row, content: bytes, baseline: Baseline | None = None) -> ScoredRun:
    """Return a finished run whose files were read already; ``content`` is that of fields.parquet."""
    _check_version(folder, "run.json", record, RUN_SCHEMA_VERSION)
    _check_version(folder, VESSELS_NAME, vessels, VESSELS_SCHEMA_VERSION)
    try:
        settings = record["settings"]
        baseline, trouble = _baseline_of(folder, settings["baseline"], baseline)
        rows = pq.ParquetFile(pa.BufferReader(content)).read().to_pylist()
        return ScoredRun(
            folder,
            record,
            vessels,
            scored_fields(rows),
            {row["key"]: _drift(row) for row in rows if row["status"] == "scored"},
            Pipeline.model_validate(settings["pipeline"]["content"]),
            _yardsticks(settings, baseline),
            trouble,
        )
    except (OSError, KeyError, TypeError, ValidationError, pa.ArrowException) as err:
        said = " ".join(str(err).split())[:200]
        raise InvalidDataError(
            f"{folder}: the run cannot be read ({said}); check it with `msc-vision verify`."
        ) from err


def scored_fields(rows: Sequence[Row]) -> tuple[ScoredField, ...]:
    """Return the fields of rows of fields.parquet."""
    if not rows:
        return ()
    manifest = [one.name for one in fields(ManifestRow) if one.name in rows[0]]
    plain = [one.name for one in fields(FieldScore) if one.name in rows[0] and one.name not in _LISTS]
    columns = {group: [name for name in rows[0] if name.startswith(f"{group}_")] for group in _GROUPS}
    found = []
    for row in rows:
        values: dict[str, Any] = {name: row[name] for name in plain}
        values |= {name: tuple(row.get(name) or ()) for name in _LISTS}
        for group, names in columns.items():
            start = len(group) + 1
            values[group] = {name[start:]: row[name] for name in names if row[name] is not None}
        found.append(ScoredField(ManifestRow(**{name: row[name] for name in manifest}), FieldScore(**values)))
    return tuple(found)


def _check_version(folder: Path, name: str, content: Row, known: int) -> None:
    stated = content.get("schema_version")
    if isinstance(stated, int) and stated > known:
        raise InvalidDataError(
            f"{folder}: {name} was written by a newer msc-vision (schema {stated}, this version knows {known}); update"
            " to open it."
        )
    if stated != known:
        raise InvalidDataError(
            f"{folder}: {name} was written by an older msc-vision (schema {stated}); score the images again."
        )


def _baseline_of(folder: Path, stated: Row | None, given: Baseline | None) -> tuple[Baseline | None, str | None]:
    """Return the baseline of a run, or why it is not at hand."""
    name = "no baseline" if stated is None else f"baseline {stated['id']}, version {stated['version']}"
    if given is not None and (stated is None or stated["sha256"] != given.sha256):
        origin = given.head.origin
        raise InvalidArgumentError(
            f"{folder} was compared with {name}, not with {origin.baseline_id}, version {origin.version}."
        )
    if given is not None or stated is None:
        return given, None
    kept = folder / BASELINE_FOLDER
    if not kept.is_dir():
        return None, f"{name}, is not at hand: open the run together with it"
    try:
        found = load_baseline(kept)
    except MscVisionError as err:
        return None, f"the copy of {name}, cannot be relied on: {str(err).removesuffix('.')}"
    if found.sha256 != stated["sha256"]:
        return None, f"{kept} holds another baseline than {name}"
    return found, None


def _yardsticks(settings: Row, baseline: Baseline | None) -> Yardsticks:
    calibration, study = settings["density_calibration"], settings["layer_study"]
    return Yardsticks(
        baseline,
        None if calibration is None else DensityCalibration.model_validate(calibration),
        None if study is None else LayerStudy.model_validate(study),
    )


def _drift(row: Row) -> Drift:
    return Drift(
        row["drift_state"],
        row["drift_reason"],
        row["drift_score"],
        probability=row["drift_probability"],
        is_alarm=row["drift_alarm"],
    )


def _characters(vessels: Row, drifts: Mapping[str, Drift]) -> Characters:
    of_vessels: dict[str, Character] = {}
    of_layers: dict[tuple[str, int], Character] = {}
    for vessel in vessels["vessels"]:
        name = vessel["vessel_id"]
        if vessel["character"] is not None:
            of_vessels[name] = _character(vessel["character"])
        for layer in vessel["layers"]:
            if layer["character"] is not None:
                of_layers[name, layer["layer"]] = _character(layer["character"])
    return Characters(of_vessels, of_layers, drifts)


def _character(content: Row) -> Character:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
    return Character(**values)
