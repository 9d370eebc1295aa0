"""Read finished run folders again: what was asked of them, and their fields as records."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from msc_vision.batch.store import FIELDS_NAME, RUN_NAME
from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.records import FieldScore, ManifestRow
from msc_vision.statistics.layer_study import LayerStudy
from msc_vision.statistics.rollup import ScoredField
from msc_vision.statistics.settings import SamplingSettings


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A finished run.

    Attributes
    ----------
    folder : Path
    run_id : str
    fields : tuple of ScoredField
        All of them, of every time point, in the order of the manifest. Scores hold what the roll-up needs, no figures
        of quality, shape or findings.
    sampling : SamplingSettings
        Those of its recipe.
    study : LayerStudy or None
        The one it was made with.
    optics_profile : str
    """

    folder: Path
    run_id: str
    fields: tuple[ScoredField, ...]
    sampling: SamplingSettings
    study: LayerStudy | None
    optics_profile: str


def read_record(folder: Path) -> dict[str, Any]:
    """Return run.json of a finished run.

    Raises
    ------
    InvalidArgumentError
        If the folder is no run folder, or its run is not finished.
    InvalidDataError
        If it cannot be read.
    """
    if not (folder / RUN_NAME).is_file():
        raise InvalidArgumentError(f"{folder} is no run folder (no {RUN_NAME}).")
    try:
        record: dict[str, Any] = json.loads((folder / RUN_NAME).read_text(encoding="utf-8"))
        state = str(record["state"])
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise InvalidDataError(f"{folder}: the run cannot be read: {' '.join(str(err).split())}.") from err
    if not state.startswith("done"):
        raise InvalidArgumentError(f"{folder} is not finished (its state is {state}); go on with --resume.")
    return record


def read_finished(folder: Path) -> FinishedRun:
    """Return a finished run.

    Raises
    ------
    InvalidArgumentError, InvalidDataError
        As `read_record`; also if its tables are damaged.
    """
    record = read_record(folder)
    try:
        settings = record["settings"]
        sampling = settings["pipeline"]["content"].get("sampling", {})
        study = settings.get("layer_study")
        rows = pq.ParquetFile(folder / FIELDS_NAME).read().to_pylist()
        return FinishedRun(
            folder,
            str(record["run_id"]),
            tuple(_scored_field(row) for row in rows),
            SamplingSettings.model_validate(sampling),
            None if study is None else LayerStudy.model_validate(study),
            str(settings["optics_profile"]),
        )
    except (OSError, KeyError, TypeError, ValidationError, pa.ArrowException) as err:
        raise InvalidDataError(f"{folder}: the run cannot be read: {' '.join(str(err).split())}.") from err


def _scored_field(row: Mapping[str, Any]) -> ScoredField:
    manifest = {one.name: row[one.name] for one in fields(ManifestRow) if one.name in row}
    score = {one.name: row[one.name] for one in fields(FieldScore) if one.name in row}
    for name in ("flags", "notes", "contamination_places"):
        score[name] = tuple(score.get(name) or ())
    return ScoredField(ManifestRow(**manifest), FieldScore(**score))
