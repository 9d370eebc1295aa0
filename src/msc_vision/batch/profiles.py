"""Read out of finished run folders what is compared between cultures: the profiles of their fields."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from msc_vision import __version__
from msc_vision.batch.finished import read_record
from msc_vision.batch.store import FIELDS_NAME, file_sha256
from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.morphology.baseline import SAME, Baseline, Origin, ProfiledField, Source, make_baseline
from msc_vision.morphology.profile import PROFILE_TRAITS
from msc_vision.morphology.reference import DriftSettings

PREFIX = "morphology_"
_NEEDED = ("path", "vessel_id", "layer", "status", "confluency_percent", "working_pixel_size_um", "is_latest", *SAME)


@dataclass(frozen=True, slots=True)
class RunProfiles:
    """The scored fields of one run at the latest time point of each vessel, and the run that they come from.

    ``passages`` and ``acquired`` are those that the manifest states for each vessel, None where it states none or two.
    """

    source: Source
    pipeline_sha256: str
    fields: tuple[ProfiledField, ...]
    passages: dict[str, int | None]
    acquired: dict[str, str | None]


def read_profiles(run: Path) -> RunProfiles:
    """Return the profiles of a finished run.

    Raises
    ------
    InvalidArgumentError
        If the folder is no run folder, or its run is not finished, or is older than profiles.
    InvalidDataError
        If it cannot be read.
    """
    record = read_record(run)
    try:
        pipeline_sha256 = str(record["settings"]["pipeline"]["sha256"])
        table = pq.ParquetFile(run / FIELDS_NAME).read()
        source = Source(str(record["run_id"]), file_sha256(run / FIELDS_NAME), table.num_rows)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as err:
        raise InvalidDataError(f"{run}: the run cannot be read: {' '.join(str(err).split())}.") from err
    missing = [name for name in _NEEDED if name not in table.column_names]
    if missing or not any(name.startswith(PREFIX) for name in table.column_names):
        raise InvalidArgumentError(
            f"{run} has no profiles of its fields: it was made without a network, without a pixel size, or by an older"
            " version; score the folder again."
        )
    rows = [row for row in table.to_pylist() if row["status"] == "scored" and row["is_latest"]]
    return RunProfiles(
        source,
        pipeline_sha256,
        tuple(_profiled(row, pipeline_sha256) for row in rows),
        {name: _one([row["passage"] for row in some]) for name, some in _by_vessel(rows).items()},
        {name: _one([row["acquired_at"] for row in some], last=True) for name, some in _by_vessel(rows).items()},
    )


def _profiled(row: dict[str, Any], pipeline_sha256: str) -> ProfiledField:
    profile = {n.removeprefix(PREFIX): v for n, v in row.items() if n.startswith(PREFIX) and v is not None}
    context = {name: row[name] for name in SAME} | {"pipeline_sha256": pipeline_sha256}
    return ProfiledField(
        row["path"],
        row["vessel_id"],
        row["layer"],
        row["confluency_percent"],
        row["working_pixel_size_um"],
        context,
        profile,
    )


def _by_vessel(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["vessel_id"], []).append(row)
    return found


def _one(values: Sequence[Any], *, last: bool = False) -> Any:
    """Return the value that all share (or the last of all), None without one."""
    stated = sorted({value for value in values if value is not None})
    if not stated:
        return None
    return stated[-1] if last or len(stated) == 1 else None


def baseline_of_runs(
    runs: Sequence[Path], baseline_id: str, *, description: str = "", settings: DriftSettings | None = None
) -> Baseline:
    """Return a baseline of all scored fields of some runs, at the latest time point of each vessel.

    Raises
    ------
    InvalidArgumentError, InvalidDataError
        As `read_profiles` and `make_baseline`; also if two runs hold the same vessel, whose fields would count twice.
    """
    read = [read_profiles(run) for run in runs]
    seen: dict[str, Path] = {}
    for run, one in zip(runs, read, strict=True):
        for vessel_id in sorted({field.vessel_id for field in one.fields}):
            if vessel_id in seen:
                raise InvalidArgumentError(
                    f"Vessel {vessel_id} is in {seen[vessel_id]} and in {run}: its fields would count twice."
                )
            seen[vessel_id] = run
    origin = Origin(
        baseline_id,
        datetime.now(UTC).isoformat(timespec="seconds"),
        f"msc-vision {__version__}",
        tuple(one.source for one in read),
        description,
    )
    return make_baseline(origin, [field for one in read for field in one.fields], PROFILE_TRAITS, settings)
