"""Write the files of a run folder: whole or not at all, and the same bytes for the same result.

Everything is written beside its place and then renamed. Rows are in the order of the manifest, keys are sorted, and no
file but run.json and the journal holds a time, so a result does not show how, or in how many attempts, it was got.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from itertools import groupby
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from msc_vision.batch.field import FieldTask
from msc_vision.errors import InvalidDataError, OutputError
from msc_vision.morphology.drift import Drift
from msc_vision.records import FieldScore, ManifestRow
from msc_vision.statistics.character import Character, Characters
from msc_vision.statistics.components import Components
from msc_vision.statistics.intervals import QUANTILE_LEVELS
from msc_vision.statistics.rollup import LayerEstimate
from msc_vision.statistics.vessel_rollup import BatchEstimate, VesselEstimate

logger = logging.getLogger(__name__)

RUN_NAME = "run.json"
FIELDS_NAME = "fields.parquet"
OBJECTS_NAME = "objects.parquet"
LAYERS_NAME = "layers.parquet"
VESSELS_NAME = "vessels.json"
MANIFEST_NAME = "manifest.csv"
HASHES_NAME = "hashes.json"
TABLES = (FIELDS_NAME, LAYERS_NAME, VESSELS_NAME, MANIFEST_NAME)
VESSELS_SCHEMA_VERSION = 3
LABELS_NAME = "labels"
BASELINE_FOLDER = "baseline"
"""Of a run that was compared with a baseline: that baseline, so that what a review changes is compared with it too."""
WORK_NAME = ".work"
LABELS_SUFFIX = ".ome.zarr"

_TEMPORARY = ".partial"
_ROWS_PER_GROUP = 100_000
_READ_BYTES = 2**20
_ARROW_TYPES: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_NOT_FROM_MANIFEST = frozenset({"sha256", "pixel_size_um"})
_FIGURES = ("quality", "morphology", "findings")
_NOT_FROM_SCORE = frozenset({"path", *_FIGURES})
_DRIFT_COLUMNS: Mapping[str, pa.DataType] = {
    "drift_state": pa.string(),
    "drift_reason": pa.string(),
    "drift_score": pa.float64(),
    "drift_probability": pa.float64(),
    "drift_alarm": pa.bool_(),
}
_CHARACTER = "character"


# --- writing ---------------------------------------------------------------------------------------------------------


@contextmanager
def as_output_error(path: Path) -> Iterator[None]:
    """Turn a file system that refuses into one clear line.

    Raises
    ------
    OutputError
        In place of any OSError, naming the path, what the system said and what to do.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as err:
        raise OutputError(f"{path}: cannot be written ({err.strerror or err}); {_advice(err)}.") from err


def _advice(err: OSError) -> str:
    if err.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return "free space on this disk, then run again with --resume: what is done is kept"
    if err.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "make the folder writable or choose another --out; what is done is kept for --resume"
    return "put it right, then run again with --resume: what is done is kept"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to; when the block ends well, the file there takes the place of ``path`` in one step.

    Raises
    ------
    OutputError
        If the disk is full, read-only or forbidden.
    """
    draft = path.with_name(path.name + _TEMPORARY)
    with as_output_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield draft
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            _remove_quietly(draft)


def _remove_quietly(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as err:
        logger.debug("%s stays behind: %s", path, err)  # a read-only disk; resuming removes it


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file with sorted keys, UTF-8, two spaces; NaN and infinity are refused."""
    text = json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8", newline="\n")


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file whose bytes follow from the table alone."""
    with replacing(path) as draft, _parquet_writer(draft, table.schema) as writer:
        writer.write_table(table)


def _parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, version="2.6", compression="zstd", compression_level=3, store_schema=True)


def remove_output(path: Path) -> None:
    """Remove a file or folder that may not be there.

    Raises
    ------
    OutputError
        If it is there and cannot be removed.
    """
    with as_output_error(path):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass  # another attempt was quicker


def remove_leftovers(out: Path, keys: Iterable[str]) -> None:
    """Remove what killed workers left behind: everything half-written, and labels of no field of this run."""
    expected = {f"{key}{LABELS_SUFFIX}" for key in keys}
    with as_output_error(out):
        drafts = [*out.glob(f"*{_TEMPORARY}"), *out.glob(".*.tmp"), *(out / OBJECTS_NAME).rglob(f"*{_TEMPORARY}")]
        labels = [path for path in _children(out / LABELS_NAME) if path.name not in expected]
        staged = [path for path in _children(out / WORK_NAME / "objects") if path.suffix != ".npy"]
    for path in (*drafts, *labels, *staged):
        logger.info("Removing %s, left by an interrupted run", path)
        remove_output(path)


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


# --- hashes ----------------------------------------------------------------------------------------------------------


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def output_hashes(out: Path, scores: Iterable[FieldScore]) -> dict[str, str]:
    """Return path to sha256 of every result in a run folder, sorted; labels by the digest their field records."""
    found = {name: file_sha256(out / name) for name in TABLES}
    for part in (out / OBJECTS_NAME).rglob("*.parquet"):
        found[part.relative_to(out).as_posix()] = file_sha256(part)
    for score in scores:
        if score.labels_sha256 is not None:
            found[labels_name(score.key)] = score.labels_sha256
    return dict(sorted(found.items()))


# --- fields.parquet --------------------------------------------------------------------------------------------------


def labels_name(key: str) -> str:
    """Return where the labels of a field lie in its run folder."""
    return f"{LABELS_NAME}/{key}{LABELS_SUFFIX}"


def fields_table(
    tasks: Sequence[FieldTask], scores: Sequence[FieldScore], latest: Container[str], drifts: Mapping[str, Drift]
) -> pa.Table:
    """Return a row per field, in the order of the manifest.

    Columns: those of the manifest; the score; ``labels``, the path of the labels in the run folder (null if there
    are none); ``is_latest``, whether the field's key is in ``latest``; ``drift_*``, from ``drifts`` by key (null for
    fields without a score); ``quality_*``, ``morphology_*`` and ``findings_*``, the figures that occur in this run, in
    alphabetical order.
    """
    rows = [
        _field_row(task, score) | {"is_latest": score.key in latest} | _drift_row(drifts.get(score.key))
        for task, score in zip(tasks, scores, strict=True)
    ]
    names = [
        f"{group}_{name}"
        for group in _FIGURES
        for name in sorted({name for score in scores for name in getattr(score, group)})
    ]
    columns = fields_columns() | dict.fromkeys(names, pa.float64())
    return pa.Table.from_pylist(rows, schema=pa.schema(list(columns.items())))


def fields_columns() -> dict[str, pa.DataType]:
    """Return the columns that every ``fields.parquet`` has, in their order, and their types."""
    row = {n: t for n, t in record_columns(ManifestRow).items() if n not in _NOT_FROM_MANIFEST}
    score = {n: t for n, t in record_columns(FieldScore).items() if n not in _NOT_FROM_SCORE}
    return row | score | {"labels": pa.string(), "is_latest": pa.bool_()} | dict(_DRIFT_COLUMNS)


def _field_row(task: FieldTask, score: FieldScore) -> dict[str, Any]:
    values = asdict(task.row) | {name: value for name, value in asdict(score).items() if name != "path"}
    if score.pixel_size_um is None:
        values["pixel_size_um"] = task.row.pixel_size_um
    figures = {f"{group}_{name}": value for group in _FIGURES for name, value in getattr(score, group).items()}
    labels = labels_name(score.key) if score.labels_sha256 is not None else None
    return values | figures | {"labels": labels}


def _drift_row(drift: Drift | None) -> dict[str, Any]:
    if drift is None:
        return {}
    values = (drift.state, drift.reason, drift.score, drift.probability, drift.is_alarm)
    return dict(zip(_DRIFT_COLUMNS, values, strict=True))


# --- layers.parquet, vessels.json ------------------------------------------------------------------------------------


def layers_table(layers: Sequence[LayerEstimate], found: Characters) -> pa.Table:
    """Return a row per layer: its estimate, then what else is said of it (null for layers without a scored field)."""
    columns = layers_columns()
    estimates = record_columns(LayerEstimate)
    rows = []
    for layer in layers:
        character = found.layers.get((layer.vessel_id, layer.layer))
        more = {} if character is None else asdict(character)
        values = asdict(layer) | {name: value for name, value in more.items() if name not in estimates}
        rows.append({name: _plain(values.get(name), kind) for name, kind in columns.items()})
    return pa.Table.from_pylist(rows, schema=pa.schema(list(columns.items())))


def layers_columns() -> dict[str, pa.DataType]:
    """Return the columns that every ``layers.parquet`` has, in their order, and their types."""
    more = {name: kind for name, kind in record_columns(Character).items() if name != "n_fields"}
    return record_columns(LayerEstimate) | more


def vessels_content(
    vessels: Sequence[VesselEstimate],
    batches: Sequence[BatchEstimate],
    components: Components | None,
    found: Characters,
) -> dict[str, Any]:
    """Return what ``vessels.json`` holds; ``character`` is null for what has no scored field."""
    listed = []
    for vessel in vessels:
        content = asdict(vessel)
        content[_CHARACTER] = _character(found.vessels.get(vessel.vessel_id))
        for layer in content["layers"]:
            layer[_CHARACTER] = _character(found.layers.get((vessel.vessel_id, layer["layer"])))
        listed.append(content)
    return {
        "schema_version": VESSELS_SCHEMA_VERSION,
        "quantile_levels": list(QUANTILE_LEVELS),
        "vessels": listed,
        "batches": [asdict(one) for one in batches],
        "components": None if components is None else asdict(components),
    }


def _character(found: Character | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)


def record_columns(record: type[Any]) -> dict[str, pa.DataType]:
    """Return the Arrow type of each field of a record class, from its annotations."""
    hints = get_type_hints(record)
    return {item.name: _arrow_type(hints[item.name]) for item in fields(record)}


def _arrow_type(hint: Any) -> pa.DataType:
    """Return the column type of an annotation; what Parquet has no plain column for is kept as JSON text."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    if get_origin(hint) is tuple:
        return pa.list_(_arrow_type(get_args(hint)[0]))
    if hint not in _ARROW_TYPES and get_args(hint) and all(isinstance(part, str) for part in get_args(hint)):
        return pa.string()  # a Literal of texts
    return _ARROW_TYPES.get(hint, pa.string())


def _plain(value: Any, column: pa.DataType) -> Any:
    if value is not None and column == pa.string() and not isinstance(value, str):
        return json.dumps(value, sort_keys=True)
    return value


# --- objects.parquet -------------------------------------------------------------------------------------------------


def write_objects(out: Path, tasks: Sequence[FieldTask], scores: Sequence[FieldScore]) -> None:
    """Gather the object tables of the fields into ``objects.parquet/vessel_id=…/layer=…/part-0.parquet``.

    One field's table is in memory at a time, plus one row group. A field whose staged table is gone, because the run
    had been complete before, keeps the rows it has.
    """
    scored = [task for task, score in zip(tasks, scores, strict=True) if score.status == "scored"]
    ordered = sorted(scored, key=lambda task: (task.row.vessel_id, task.row.layer))  # stable: manifest order inside
    written = set()
    for _, group in groupby(ordered, key=lambda task: (task.row.vessel_id, task.row.layer)):
        members = list(group)
        path = out / objects_part(members[0].row)
        _write_part(path, members)
        written.add(path)
    for path in (out / OBJECTS_NAME).rglob("*.parquet"):
        if path not in written:
            remove_output(path)


def objects_part(row: ManifestRow) -> Path:
    """Return which file of the run folder holds the objects of a layer; names are percent-encoded as Hive does."""
    vessel = quote(row.vessel_id, safe="").replace(".", "%2E")  # Windows drops a dot at the end of a name
    return Path(OBJECTS_NAME) / f"vessel_id={vessel}" / f"layer={row.layer}" / "part-0.parquet"


def has_objects(out: Path, task: FieldTask) -> bool:
    """Return whether the object table of a scored field is staged, or part of a complete table."""
    return (task.objects_path is not None and task.objects_path.is_file()) or (out / objects_part(task.row)).is_file()


def _write_part(path: Path, tasks: Sequence[FieldTask]) -> None:
    with replacing(path) as draft:
        tables = _object_tables(path, tasks)
        first = next(tables)
        with _parquet_writer(draft, first.schema) as writer:
            for group in _row_groups(first, tables, path):
                writer.write_table(group)


def _object_tables(path: Path, tasks: Sequence[FieldTask]) -> Iterator[pa.Table]:
    for task in tasks:
        if task.objects_path is not None and task.objects_path.is_file():
            yield _with_key(np.load(task.objects_path, allow_pickle=False), task)
        else:
            yield pq.ParquetFile(path).read().filter(pc.field("key") == task.key)


def _with_key(objects: NDArray[np.void], task: FieldTask) -> pa.Table:
    if objects.dtype.names is None:
        raise InvalidDataError(f"{task.objects_path} is no table of objects: its type is {objects.dtype}.")
    n = len(objects)
    columns = {name: pa.array(np.ascontiguousarray(objects[name])) for name in objects.dtype.names}
    return pa.table({"key": pa.array([task.key] * n, pa.string()), **columns})


def _row_groups(first: pa.Table, others: Iterator[pa.Table], path: Path) -> Iterator[pa.Table]:
    held, n_rows = [first], first.num_rows
    for table in others:
        if table.schema != first.schema:
            raise InvalidDataError(f"{path}: the fields of this layer have object tables with different columns.")
        if n_rows >= _ROWS_PER_GROUP:
            yield pa.concat_tables(held).combine_chunks()
            held, n_rows = [], 0
        held.append(table)
        n_rows += table.num_rows
    yield pa.concat_tables(held).combine_chunks()
