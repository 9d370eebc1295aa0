"""Read a run folder into what its report says."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from msc_vision.errors import InvalidDataError
from msc_vision.records import PlaneChoice
from msc_vision.report.content import FieldEntry, LayerEntry, Range, RunContent, VesselEntry
from msc_vision.review.log import read_log
from msc_vision.review.state import review_state
from msc_vision.statistics.amounts import AMOUNTS
from msc_vision.statistics.character import Character
from msc_vision.statistics.vessel_rollup import BatchEstimate
from msc_vision.vessels import Catalogue, load_catalogue

COMPLETE_STATES = ("done", "done-with-failures")
NEEDED = ("run.json", "fields.parquet", "layers.parquet", "vessels.json")
_MORPHOLOGY = "morphology_"


def load_run(run: Path, catalogue: Catalogue | None = None) -> RunContent:
    """Return the content of a complete run folder.

    Parameters
    ----------
    run
        Folder written by ``msc-vision run``.
    catalogue
        Names, areas and sources of vessel types; the shipped one by default. A type it does not know keeps its id.

    Raises
    ------
    InvalidDataError
        If it is no run folder, the run is not complete, or a file cannot be read.
    """
    record = _read_json(run / "run.json", run)
    if record.get("state") not in COMPLETE_STATES:
        raise InvalidDataError(
            f"{run}: the run is {record.get('state')}, without results yet; go on with `msc-vision run … --resume`."
        )
    try:
        return _content(run, record, load_catalogue() if catalogue is None else catalogue)
    except (KeyError, TypeError) as err:
        raise InvalidDataError(f"{run}: not written as a run folder is ({type(err).__name__}: {err}).") from err


def _read_json(path: Path, run: Path) -> dict[str, Any]:
    if not run.is_dir():
        raise InvalidDataError(f"{run}: no such run folder.")
    if not path.is_file():
        raise InvalidDataError(f"{run}: no run folder, {path.name} is missing; it should hold {', '.join(NEEDED)}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as err:
        raise InvalidDataError(f"{path}: cannot be read as JSON ({err}).") from err
    if not isinstance(content, dict):
        raise InvalidDataError(f"{path}: holds {type(content).__name__}, not an object.")
    return content


def _read_rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.ParquetFile(path).read().to_pylist()
    except (OSError, pa.ArrowInvalid) as err:
        raise InvalidDataError(f"{path}: cannot be read as a table ({err}); check with `msc-vision verify`.") from err
    return rows


def _content(run: Path, record: Mapping[str, Any], catalogue: Catalogue) -> RunContent:
    images = Path(record["images_folder"])
    plane = PlaneChoice(**record["settings"]["plane"])
    by_layer: defaultdict[tuple[str, int, bool], list[FieldEntry]] = defaultdict(list)
    reviews = review_state(read_log(run).events)
    for row in _read_rows(run / "fields.parquet"):
        by_layer[row["vessel_id"], row["layer"], row["is_latest"]].append(
            _field(row, run, images, plane, reviews.of(row["key"]).words)
        )
    layers: defaultdict[str, list[LayerEntry]] = defaultdict(list)
    for row in _read_rows(run / "layers.parquet"):
        latest, earlier = (by_layer[row["vessel_id"], row["layer"], is_latest] for is_latest in (True, False))
        layers[row["vessel_id"]].append(_layer(row, latest, earlier))
    estimates = _read_json(run / "vessels.json", run)
    vessels = tuple(_vessel(row, layers[row["vessel_id"]], catalogue) for row in estimates["vessels"])
    return RunContent(
        folder=run.absolute(),
        title=_title(vessels),
        state="complete",
        vessels=vessels,
        software=f"{record['software']['name']} {record['software']['version']}",
        pipeline=_pipeline_name(record),
        started_at=record["timing"]["started_at"],
        finished_at=record["timing"]["finished_at"],
        images_folder=record["images_folder"],
        provenance=_provenance(record, vessels),
        baseline_sha256=(record["settings"].get("baseline") or {}).get("sha256"),
        batches=tuple(_batch(row) for row in estimates.get("batches", ())),
    )


def _title(vessels: Sequence[VesselEntry]) -> str:
    if len(vessels) == 1:
        return f"Confluency of {vessels[0].vessel_id}"
    return f"Confluency of {len(vessels)} vessels"


def _pipeline_name(record: Mapping[str, Any]) -> str:
    pipeline = record["settings"]["pipeline"]
    return str(pipeline["content"].get("name") or pipeline["sha256"][:12])


def _field(row: Mapping[str, Any], run: Path, images: Path, plane: PlaneChoice, review: str | None) -> FieldEntry:
    return FieldEntry(
        key=row["key"],
        path=row["path"],
        vessel_id=row["vessel_id"],
        layer=row["layer"],
        status=row["status"],
        reason=row["reason"],
        confluency_percent=row["confluency_percent"],
        judgeable_percent=row["judgeable_percent"],
        judgeable_area_mm2=row["judgeable_area_mm2"],
        pixel_size_um=row["pixel_size_um"],
        flags=tuple(row["flags"] or ()),
        image=images / row["path"],
        labels=run / row["labels"] if row["labels"] else None,
        plane=PlaneChoice(time=row["time_index"], channel=plane.channel, z=row["z_index"], scene=plane.scene),
        contamination=row.get("contamination"),
        contamination_note=row.get("contamination_note"),
        contamination_places=tuple(row.get("contamination_places") or ()),
        aggregate_area_percent=row.get("findings_aggregate_area_percent"),
        morphology={
            name.removeprefix(_MORPHOLOGY): value
            for name, value in row.items()
            if name.startswith(_MORPHOLOGY) and value is not None
        },
        review=review,
    )


def _character(row: Mapping[str, Any] | None, n_fields: int) -> Character | None:
    """Return what a record says beyond confluency; None where it says nothing, as those of older versions do."""
    if row is None or row.get("drift_state") is None:
        return None
    known: dict[str, Any] = {one.name: row.get(one.name) for one in fields(Character)} | {"n_fields": n_fields}
    for name in ("drift_interval", "spread_interval", *(one.column for one in AMOUNTS)):
        known[name] = None if known[name] is None else tuple(known[name])
    known["spread_n_fields"] = known["spread_n_fields"] or 0
    known["drift_words"] = tuple(known["drift_words"] or ())
    return Character(**known)


def _range(pair: Sequence[float] | None) -> Range | None:
    return None if pair is None else Range(*pair)


def _batch(row: Mapping[str, Any]) -> BatchEstimate:
    pair, quantiles = row["confluency_interval"], row.get("confluency_quantiles")
    known: dict[str, Any] = {
        **row,
        "vessel_ids": tuple(row["vessel_ids"]),
        "confluency_interval": None if pair is None else tuple(pair),
        "confluency_quantiles": None if quantiles is None else tuple(quantiles),
    }
    return BatchEstimate(**known)


def _layer(row: Mapping[str, Any], latest: Sequence[FieldEntry], earlier: Sequence[FieldEntry]) -> LayerEntry:
    return LayerEntry(
        layer=row["layer"],
        state=row["state"],
        reason=None if row["state"] == "measured" and not earlier else row["how"],
        confluency_percent=row["confluency_percent"],
        interval=_range(row["confluency_interval"]),
        interval_note=row.get("interval_note") or "",
        sd_points=row["sd_points"],
        judgeable_area_mm2=row["judgeable_area_mm2"],
        fields=tuple(latest),
        earlier=tuple(earlier),
        character=_character(row, sum(one.status == "scored" for one in latest)),
    )


def _vessel(row: Mapping[str, Any], layers: Sequence[LayerEntry], catalogue: Catalogue) -> VesselEntry:
    known = catalogue.get(row["vessel_type"], None)
    return VesselEntry(
        vessel_id=row["vessel_id"],
        type_id=row["vessel_type"],
        type_name=known.name if known else row["vessel_type"],
        n_layers=row["n_layers"],
        layers=tuple(sorted(layers, key=lambda entry: entry.layer)),
        confluency_percent=row["confluency_percent"],
        measured_confluency_percent=row.get("measured_confluency_percent", row["confluency_percent"]),
        interval=_range(row["confluency_interval"]),
        interval_note=row.get("interval_note") or "",
        window=_range(row.get("window_percent")),
        area_in_window_percent=row.get("area_in_window_percent"),
        area_in_window=_range(row.get("area_in_window_interval")),
        trend_points_per_layer=row.get("trend_points_per_layer"),
        trend=_range(row.get("trend_interval")),
        statement=row["how"],
        area_per_layer_cm2=row["culture_area_cm2"] / row["n_layers"],
        source=known.source if known else "a vessel type of this site, not in the catalogue that made this page",
        is_verified=known.verified if known else False,
        character=_character(row.get("character"), sum(len(entry.scored) for entry in layers)),
    )


def _provenance(record: Mapping[str, Any], vessels: Sequence[VesselEntry]) -> tuple[tuple[str, str], ...]:
    """Return what made this run, as pairs of label and value."""
    settings, environment, timing = record["settings"], record["environment"], record["timing"]
    packages = ", ".join(f"{name} {version}" for name, version in sorted(environment["packages"].items()))
    attempts = timing["n_attempts"]
    n_fields = sum(len(layer.fields) + len(layer.earlier) for vessel in vessels for layer in vessel.layers)
    return (
        ("Run", record["run_id"]),
        ("Images", f"{record['images_folder']} ({n_fields} fields; each with its sha256 in fields.parquet)"),
        ("Started, finished", f"{timing['started_at']}, {timing['finished_at']}"),
        ("Time taken", f"{timing['elapsed_s']:.1f} s in {attempts} attempt{'s' if attempts != 1 else ''}"),
        ("Software", f"{record['software']['name']} {record['software']['version']}, Python {environment['python']}"),
        ("Machine", f"{environment['platform']}, {environment['machine']}"),
        ("Optics profile", str(settings["optics_profile"])),
        ("Pipeline sha256", settings["pipeline"]["sha256"]),
        ("Settings sha256", record["settings_sha256"]),
        ("Manifest sha256", settings["manifest"]["sha256"]),
        ("Results sha256", str(record["hashes_sha256"])),
        *_yardsticks(settings),
        ("Packages", packages),
    )


def _yardsticks(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the run was compared with, as pairs of label and value."""
    said = []
    if baseline := settings.get("baseline"):
        said.append(("Baseline", f"{baseline['id']}, version {baseline['version']}, sha256 {baseline['sha256']}"))
    if calibration := settings.get("density_calibration"):
        said.append(("Density calibration", str(calibration["source"])))
    if study := settings.get("layer_study"):
        said.append(("Layer study", f"{study['vessel_type']}, {study['n_vessels']} vessels: {study['source']}"))
    return said
