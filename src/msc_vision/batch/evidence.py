"""Read the evidence about a vessel from a run folder: all that a decision rests on, and why it may not be enough."""

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any, get_args

from msc_vision.batch.outlooks import Past, Window, outlooks, read_past
from msc_vision.batch.readings import Row, VesselRows, flags_of, n_doubtful, number, pair, readings, stated
from msc_vision.batch.reviewed_files import with_review
from msc_vision.batch.run_files import READ, RunFiles, read_run_files
from msc_vision.batch.store import RUN_NAME, VESSELS_NAME
from msc_vision.decision.evidence import Evidence, Input, LayerSampling, Outlook
from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.records import LayerState, ManifestRow
from msc_vision.review.log import read_log, review_stamp
from msc_vision.statistics.time_points import time_points
from msc_vision.statistics.vessel_rollup import batches_of
from msc_vision.vessels import Catalogue, load_catalogue

_FROM_MANIFEST = tuple(one.name for one in fields_of(ManifestRow) if one.name != "sha256")
_COLUMNS = (*_FROM_MANIFEST, "key", "status", "reason", "flags", "is_latest")
_NEEDED = ("vessel_id", "vessel_type", "layer", "path", "key", "status", "reason", "flags", "is_latest", "acquired_at")
_STATES = get_args(LayerState)
_MOST_REASONS, _LONGEST_REASON = 10, 160


def vessels_of_run(run: Path) -> tuple[str, ...]:
    """Return the vessels of a finished run, ordered by name.

    Raises
    ------
    InvalidArgumentError, InvalidDataError
        As `read_run_files`.
    """
    return _names(read_run_files(run))


def read_evidence(
    run: Path,
    vessel_id: str | None = None,
    *,
    windows: Sequence[Window] = (),
    history: Sequence[Path] = (),
    prior: Path | None = None,
    catalogue: Catalogue | None = None,
    reviews: Collection[str] | None = None,
) -> Evidence:
    """Return everything that a run folder tells of one vessel, after its review.

    Parameters
    ----------
    run : Path
        Run folder.
    vessel_id : str, optional
        May be left out if the run has one vessel.
    windows : sequence of (float, float)
        Confluency, percent, for which a forecast is wanted.
    history : sequence of Path
        Earlier runs that show the vessel; for the forecast.
    prior : Path, optional
        How its bank grows; for the forecast.
    catalogue : Catalogue, optional
        Vessel types; those that ship by default.
    reviews : collection of str, optional
        Names of the review events that count, as a record lists them among its inputs; None: all that are there.

    Raises
    ------
    InvalidArgumentError
        If it is no run folder, its run has no results yet, there is no such vessel, or several and none is named.
    InvalidDataError
        If a file is missing or cannot be read. What can be read but contradicts itself stands in ``problems``.
    """
    files = read_run_files(run)
    chosen = _chosen(files, vessel_id)
    try:
        files = with_review(files, {chosen, *_mates(files, chosen)}, read_log(run, only=reviews), catalogue)
        past = read_past(history, prior, chosen, catalogue, reviews)
        return _evidence(files, chosen, windows, past, catalogue)
    except (KeyError, TypeError, AttributeError, IndexError) as err:
        raise InvalidDataError(
            f"{run}: not written as a run folder is ({type(err).__name__}: {err}); check with `msc-vision verify`."
        ) from err


def evidence_stamp(run: Path, history: Sequence[Path] = (), prior: Path | None = None) -> Hashable:
    """Return what changes when a file that evidence is read from is written anew; for keeping evidence at hand.

    Raises
    ------
    InvalidDataError
        If a file is missing.
    """
    names = (RUN_NAME, *READ)
    files = [run / name for name in names] + [folder / name for folder in history for name in names]
    stamps = tuple(_stamp(path) for path in (*files, *(() if prior is None else (prior,))))
    return stamps, tuple(review_stamp(one) for one in (run, *history))


def _stamp(path: Path) -> tuple[str, int, int, int]:
    try:
        found = path.stat()
    except OSError as err:
        raise InvalidDataError(f"{path}: cannot be read ({err.strerror or err}).") from err
    return str(path), found.st_mtime_ns, found.st_size, found.st_ino


# --- which vessel ----------------------------------------------------------------------------------------------------


def _names(files: RunFiles) -> tuple[str, ...]:
    try:
        return tuple(sorted(str(one["vessel_id"]) for one in files.vessels["vessels"]))
    except (KeyError, TypeError) as err:
        raise InvalidDataError(f"{files.folder / VESSELS_NAME}: holds no vessels; it should list them.") from err


def _chosen(files: RunFiles, vessel_id: str | None) -> str:
    names = _names(files)
    if vessel_id is None and len(names) == 1:
        return names[0]
    if vessel_id is None:
        raise InvalidArgumentError(f"{files.folder} shows {len(names)} vessels; name one of {', '.join(names)}.")
    if names.count(vessel_id) != 1:
        raise InvalidArgumentError(f"{files.folder} shows no vessel {vessel_id!r}; it shows {', '.join(names)}.")
    return vessel_id


# --- everything together ---------------------------------------------------------------------------------------------


def _evidence(
    files: RunFiles, vessel_id: str, windows: Sequence[Window], past: Past, catalogue: Catalogue | None
) -> Evidence:
    record = files.record
    rows = _rows_of(files, vessel_id)
    states = _states(files, rows.vessel)
    counts = Counter(row["status"] for row in rows.latest)
    model = record["model"] or {}
    passage = stated(rows.fields, "passage").value
    return Evidence(
        vessel_id=vessel_id,
        vessel_type=str(rows.vessel["vessel_type"]),
        batch=_batch_name(rows.fields).get(vessel_id),
        passage=int(passage) if isinstance(passage, float) and passage.is_integer() else None,
        run_id=str(record["run_id"]),
        layer_states=states,
        n_fields_scored=counts["scored"],
        n_fields_rejected=counts["rejected"],
        n_fields_failed=counts["failed"],
        readings=readings(rows),
        sampling=tuple(_sampling(layer) for layer in rows.vessel["layers"]),
        inputs=(
            *(Input(name, files.sha256[name]) for name in sorted(READ)),
            *(Input(name, digest) for name, digest in files.reviews.items()),
            *past.inputs,
        ),
        software=str(record["software"]["version"]),
        settings_sha256=_text(record["settings_sha256"]),
        pipeline_name=str(record["settings"]["pipeline"]["content"].get("name") or "unnamed"),
        model_id=model.get("id"),
        model_sha256=model.get("sha256"),
        device=model.get("device"),
        environment=_environment(record),
        quality=_quality(rows),
        metrics=_metrics(rows.vessel),
        outlooks=_outlooks(files, vessel_id, rows.fields, windows, past, catalogue) if windows else {},
        problems=(*files.problems, *_contradictions(rows, catalogue)),
    )


def _outlooks(
    files: RunFiles,
    vessel_id: str,
    fields: Sequence[Row],
    windows: Sequence[Window],
    past: Past,
    catalogue: Catalogue | None,
) -> dict[Window, Outlook]:
    n_time_points = len(time_points({row["key"]: _manifest_row(row) for row in fields}))
    return outlooks(files.folder, vessel_id, n_time_points, windows, past, catalogue, files.reviewed_fields)


def _rows_of(files: RunFiles, vessel_id: str) -> VesselRows:
    vessels = {one["vessel_id"]: one for one in files.vessels["vessels"]}
    batch = _batch_of(files, vessel_id)
    mates = _mates(files, vessel_id)
    listed = files.field_rows(tuple({vessel_id, *mates}), _COLUMNS)
    missing = [name for name in _NEEDED if listed and name not in listed[0]]
    if missing:
        raise InvalidDataError(f"{files.folder}: fields.parquet has no column {', '.join(missing)}: score it again.")
    fields = [row for row in listed if row["vessel_id"] == vessel_id]
    of_batch = [row for row in listed if row["is_latest"]]
    levels = [number(one) for one in files.vessels.get("quantile_levels") or ()]
    known = () if None in levels else tuple(one for one in levels if one is not None)
    holds = files.holds.get(vessel_id, ())
    return VesselRows(vessels[vessel_id], batch, _why_no_batch(fields), fields, of_batch, known, holds)


def _batch_of(files: RunFiles, vessel_id: str) -> Row | None:
    return next((one for one in files.vessels["batches"] if vessel_id in one["vessel_ids"]), None)


def _mates(files: RunFiles, vessel_id: str) -> tuple[str, ...]:
    batch = _batch_of(files, vessel_id)
    return () if batch is None else tuple(batch["vessel_ids"])


def _states(files: RunFiles, vessel: Row) -> tuple[LayerState, ...]:
    layers = vessel["layers"]
    numbers = [one["layer"] for one in layers]
    unknown = sorted({str(one["state"]) for one in layers} - {*_STATES})
    if unknown or not layers or numbers != list(range(1, vessel["n_layers"] + 1)):
        raise InvalidDataError(
            f"{files.folder / VESSELS_NAME}: layers of {vessel['vessel_id']} have to be 1..{vessel['n_layers']}, each"
            f" once and in a known state; got {numbers}{f' and {unknown}' if unknown else ''}."
        )
    return tuple(one["state"] for one in layers)


def _batch_name(fields: Sequence[Row]) -> dict[str, str]:
    distinct = {(row.get("lot"), row.get("passage")): row for row in fields}
    return batches_of(_manifest_row(row) for row in distinct.values())


def _why_no_batch(fields: Sequence[Row]) -> str:
    lots = {row.get("lot") for row in fields} - {None}
    if not lots:
        return "the manifest states no lot for the vessel, so it belongs to no batch"
    return "the manifest states several lots or passages for the vessel, so it belongs to no batch"


def _manifest_row(row: Row) -> ManifestRow:
    return ManifestRow(**{name: row[name] for name in _FROM_MANIFEST if name in row})


def _sampling(layer: Row) -> LayerSampling:
    return LayerSampling(
        layer["layer"],
        layer["state"],
        layer["n_fields_scored"],
        number(layer["confluency_percent"]),
        number(layer.get("standard_error_points")),
        number(layer.get("method_error_points")),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _environment(record: Row) -> dict[str, Any]:
    model, environment = record["model"] or {}, record["environment"]
    return {
        "device": model.get("device"),
        "precision": model.get("precision"),
        "python": environment["python"],
        "packages": dict(environment["packages"]),
    }


# --- what contradicts itself -----------------------------------------------------------------------------------------


def _contradictions(rows: VesselRows, catalogue: Catalogue | None) -> tuple[str, ...]:
    """Return where the fields of a vessel and its estimates do not tell of the same."""
    found = []
    types = {str(rows.vessel["vessel_type"]), *(str(row["vessel_type"]) for row in rows.fields)}
    if len(types) > 1:  # a manifest may spell one type in several ways
        known = load_catalogue() if catalogue is None else catalogue
        types = {_type_id(one, known) for one in types}
    if len(types) > 1:
        found.append(f"The vessel is said to be {' and '.join(sorted(types))}.")
    counted = Counter((row["layer"], row["status"]) for row in rows.latest)
    told = {
        (layer["layer"], status): layer[f"n_fields_{status}"]
        for layer in rows.vessel["layers"]
        for status in ("scored", "rejected", "failed")
    }
    places = counted.keys() | told.keys()
    wrong = sorted({place[0] for place in places if counted[place] != told.get(place, 0)})
    if wrong:
        listed = ", ".join(map(str, wrong))
        found.append(f"fields.parquet and {VESSELS_NAME} do not tell of the same fields on layers {listed}.")
    return tuple(found)


def _type_id(name: str, catalogue: Catalogue) -> str:
    known = catalogue.get(name, None)
    return name if known is None else known.id


# --- what a reader is shown ------------------------------------------------------------------------------------------


def _quality(rows: VesselRows) -> dict[str, Any]:
    latest = rows.latest
    character = rows.vessel.get("character") or {}
    counts = Counter(row["status"] for row in latest)
    troubled = [row for row in latest if row["status"] != "scored"]
    reasons = [f"{row['path']}: {row['status']}: {_short(row['reason'])}" for row in troubled[:_MOST_REASONS]]
    more = len(troubled) - _MOST_REASONS
    return {
        "n_fields_scored": counts["scored"],
        "n_fields_rejected": counts["rejected"],
        "n_fields_failed": counts["failed"],
        "n_fields_earlier": len(rows.fields) - len(latest),
        "n_fields_doubtful": n_doubtful(latest),
        "flags": dict(sorted(flags_of(latest).items())),
        "reasons": [*reasons, *([f"and {more} more, see fields.parquet"] if more > 0 else [])],
        "n_fields_assessed_for_contamination": character.get("n_fields_assessed", 0),
        "n_fields_suspect": character.get("n_fields_suspect", 0),
        "n_fields_suddenly_hazy": character.get("n_fields_suddenly_hazy", 0),
    }


def _short(reason: str | None) -> str:
    text = " ".join((reason or "no reason").split())
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 1]}…"


_FIGURES = ("measured_confluency_percent", "layer_sd_points", "in_window_probability", "area_in_window_percent")
_OF_CHARACTER = (
    "drift_score",
    "drift_limit",
    "drift_probability",
    "spread_ratio",
    "aggregates_per_cm2",
    "aggregate_area_percent",
    "density_per_cm2",
)
_INTERVALS = (
    "drift_interval",
    "spread_interval",
    "aggregates_interval",
    "aggregate_area_interval",
    "density_interval",
)


def _metrics(vessel: Row) -> dict[str, Any]:
    """Return the figures of a vessel that a reader wants; null: not known."""
    character: Mapping[str, Any] = vessel.get("character") or {}
    return {
        "confluency_percent": number(vessel["confluency_percent"]),
        "confluency_interval": pair(vessel["confluency_interval"]),
        **{name: number(vessel.get(name)) for name in _FIGURES},
        "window_percent": pair(vessel.get("window_percent")),
        "area_in_window_interval": pair(vessel.get("area_in_window_interval")),
        "trend_points_per_layer": number(vessel.get("trend_points_per_layer")),
        "trend_interval": pair(vessel.get("trend_interval")),
        "worst_layers": list(vessel.get("worst_layers") or ()),
        "contamination": character.get("contamination"),
        "drift_state": character.get("drift_state"),
        "drift_words": list(character.get("drift_words") or ()),
        "density_state": character.get("density_state"),
        **{name: number(character.get(name)) for name in _OF_CHARACTER},
        **{name: pair(character.get(name)) for name in _INTERVALS},
        "acquired_from": vessel.get("acquired_from"),
        "acquired_to": vessel.get("acquired_to"),
        "culture_area_cm2": number(vessel["culture_area_cm2"]),
    }
