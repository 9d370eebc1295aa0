"""Check a run folder against itself: hashes, schemas, files missing or foreign, counts, and the raw images."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq

from msc_vision.batch.journal import JOURNAL_NAME, LOCK_NAME
from msc_vision.batch.store import (
    BASELINE_FOLDER,
    FIELDS_NAME,
    HASHES_NAME,
    LABELS_NAME,
    LABELS_SUFFIX,
    LAYERS_NAME,
    OBJECTS_NAME,
    RUN_NAME,
    TABLES,
    VESSELS_NAME,
    VESSELS_SCHEMA_VERSION,
    WORK_NAME,
    fields_columns,
    file_sha256,
    layers_columns,
)
from msc_vision.batch.verify_decisions import verify_decisions
from msc_vision.batch.verify_reviews import verify_reviews
from msc_vision.errors import InvalidArgumentError, InvalidDataError, MscVisionError
from msc_vision.io.images import content_sha256
from msc_vision.io.labels import is_within_judgeable
from msc_vision.io.sealed import canonical_sha256
from msc_vision.morphology.baseline import load_baseline
from msc_vision.records import Complaint
from msc_vision.vessels import Catalogue

_COMPLETE = ("done", "done-with-failures")
_KNOWN = frozenset(
    {
        *TABLES,
        RUN_NAME,
        HASHES_NAME,
        OBJECTS_NAME,
        LABELS_NAME,
        JOURNAL_NAME,
        LOCK_NAME,
        BASELINE_FOLDER,
        "report.html",
        "decisions",
        "reviews",
    }
)
_JOURNAL_SIDES = re.compile(re.escape(JOURNAL_NAME) + r"-(wal|shm)")
_SCHEMAS = {RUN_NAME: "run.schema.json", VESSELS_NAME: "vessels.schema.json", HASHES_NAME: "hashes.schema.json"}


def verify_run(path: Path, catalogue: Catalogue | None = None) -> tuple[Complaint, ...]:
    """Return everything that is wrong with a run folder, worst first; nothing is written.

    Checked: the schemas of the JSON files and the columns of the tables; the hash of every result; labels by their
    content, and that they mark cells only where the field was judged; files that are missing or belong to no field;
    counts, states and figures that contradict each other; whether the raw images, where they can be reached, are those
    that were scored; what people said of it, with every correction that it speaks of; and decision records, each of
    which is replayed. Images that cannot be reached are warnings.

    Parameters
    ----------
    path : Path
        Run folder.
    catalogue : Catalogue, optional
        Vessel types for replaying decisions; those that ship by default.

    Raises
    ------
    InvalidArgumentError
        If the path is no run folder.
    """
    if not (path / RUN_NAME).is_file():
        raise InvalidArgumentError(f"{path} is not a run folder: it has no {RUN_NAME}.")
    folder = _RunFolder(path)
    record, complaints = _load_json(path, RUN_NAME)
    if record is None or complaints:
        return tuple(complaints)
    complaints = [*_check_record(record)]
    if record["state"] not in _COMPLETE:
        complaints.append(
            _error(f"The run is {record['state']}, not complete: resume it before relying on it.", RUN_NAME)
        )
        return tuple(complaints)
    complaints += [*_check_hashes(path, record), *_check_json(path), *_check_tables(folder), *_check_foreign(path)]
    complaints += _check_baseline(path, record)
    if folder.has_all_columns:
        complaints += [
            *_check_fields(folder.rows),
            *_check_counts(folder.rows, record),
            *_check_labels(path, folder.rows),
        ]
        complaints += _check_images(Path(record["images_folder"]), folder.rows)
        complaints += verify_reviews(path, record["run_id"], folder.rows)
    complaints += verify_decisions(path, record["run_id"], catalogue)
    return tuple(sorted(complaints, key=lambda complaint: complaint.severity != "error"))


class _RunFolder:
    """The tables of a run folder, read once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def fields(self) -> pa.Table | None:
        return _read_table(self.path / FIELDS_NAME)

    @cached_property
    def has_all_columns(self) -> bool:
        return self.fields is not None and set(fields_columns()) <= set(self.fields.column_names)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        return [] if self.fields is None else self.fields.to_pylist()


def _error(message: str, path: str | None = None) -> Complaint:
    return Complaint("error", message, path=path)


def _read_table(path: Path) -> pa.Table | None:
    try:
        return pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException):
        return None


def _load_json(folder: Path, name: str) -> tuple[dict[str, Any] | None, list[Complaint]]:
    """Return the content of a JSON file and what its schema says about it."""
    schema = json.loads((Path(__file__).parent / "data" / _SCHEMAS[name]).read_text(encoding="utf-8"))
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, [_error("The file is missing.", name)]
    except (OSError, ValueError) as err:
        return None, [_error(f"It cannot be read as JSON ({err}).", name)]
    if name == VESSELS_NAME and (older := _older_version(content)) is not None:
        return content, [
            _error(f"An older version wrote it (schema {older}): score the images again to decide on it.", name)
        ]
    found = jsonschema.Draft202012Validator(schema).iter_errors(content)
    return content, [_error(f"{error.json_path}: {error.message[:200]}", name) for error in found]


def _older_version(content: Any) -> int | None:
    """Return the version of the form of vessels.json if it is an older one: what is missing then was not taken out."""
    stated = content.get("schema_version") if isinstance(content, dict) else None
    return stated if isinstance(stated, int) and stated < VESSELS_SCHEMA_VERSION else None


def _check_record(record: Mapping[str, Any]) -> Iterator[Complaint]:
    rest = {name: value for name, value in record.items() if name != "record_sha256"}
    if canonical_sha256(rest) != record["record_sha256"]:
        yield _error("It was changed after it was written: its content does not have its record_sha256.", RUN_NAME)
    if canonical_sha256(record["settings"]) != record["settings_sha256"]:
        yield _error("The settings do not have the settings_sha256 that stands beside them.", RUN_NAME)


def _check_json(path: Path) -> Iterator[Complaint]:
    for name in (VESSELS_NAME, HASHES_NAME):
        yield from _load_json(path, name)[1]


def _check_hashes(path: Path, record: Mapping[str, Any]) -> Iterator[Complaint]:
    """Compare every result but the labels, whose fields record their digest, with hashes.json."""
    hashes = path / HASHES_NAME
    if not hashes.is_file():
        return  # said by the schema check
    if file_sha256(hashes) != record["hashes_sha256"]:
        yield _error("It is not the list of hashes that run.json was written with.", HASHES_NAME)
    expected, complaints = _load_json(path, HASHES_NAME)
    if expected is None or complaints:
        return
    for name in TABLES:
        if name not in expected:
            yield _error("It has no hash.", name)
    for name, sha256 in expected.items():
        target = path / name
        if not target.exists():
            yield _error("The file is missing.", name)
        elif not name.endswith(LABELS_SUFFIX) and file_sha256(target) != sha256:
            yield _error("It was changed after the run: its content does not have the hash in hashes.json.", name)


def _check_tables(folder: _RunFolder) -> Iterator[Complaint]:
    for name, table, expected in (
        (FIELDS_NAME, folder.fields, fields_columns()),
        (LAYERS_NAME, _read_table(folder.path / LAYERS_NAME), layers_columns()),
    ):
        if table is None:
            if (folder.path / name).exists():
                yield _error("It cannot be read as Parquet.", name)
            continue
        for column, kind in expected.items():
            if column not in table.column_names:
                yield _error(f"Column {column} is missing.", name)
            elif table.schema.field(column).type != kind:
                yield _error(f"Column {column} is {table.schema.field(column).type}, expected {kind}.", name)


def _check_foreign(path: Path) -> Iterator[Complaint]:
    for entry in sorted(path.iterdir()):
        if entry.name == WORK_NAME:
            yield Complaint("warning", "Intermediate files are left; --resume removes them.", path=entry.name)
        elif entry.name not in _KNOWN and not _JOURNAL_SIDES.fullmatch(entry.name):
            yield Complaint("warning", "It does not belong to a run folder.", path=entry.name)
    listed = _listed(path)
    for part in sorted((path / OBJECTS_NAME).rglob("*")):
        name = part.relative_to(path).as_posix()
        if part.is_file() and name not in listed:
            yield _error("It is not one of the results of this run.", name)
    labels = path / LABELS_NAME
    for entry in sorted(labels.iterdir()) if labels.is_dir() else ():
        if f"{LABELS_NAME}/{entry.name}" not in listed:
            yield _error("These labels belong to no scored field.", f"{LABELS_NAME}/{entry.name}")


def _check_baseline(path: Path, record: Mapping[str, Any]) -> Iterator[Complaint]:
    stated, kept = record["settings"].get("baseline"), path / BASELINE_FOLDER
    if stated is None:
        if kept.exists():
            yield Complaint("warning", "The run was compared with no baseline; this one is not its.", path=kept.name)
        return
    if not kept.exists():
        yield Complaint(
            "warning",
            f"Baseline {stated['id']} is not kept with the run: of fields that a review changes, drift is not known."
            " --resume with --baseline puts it there.",
            path=kept.name,
        )
        return
    try:
        found = load_baseline(kept)
    except MscVisionError as err:
        yield _error(str(err), kept.name)
        return
    if found.sha256 != stated["sha256"]:
        yield _error(f"It is not baseline {stated['id']}, version {stated['version']}, of this run.", kept.name)


def _listed(path: Path) -> frozenset[str]:
    content, _ = _load_json(path, HASHES_NAME)
    return frozenset(content or ())


def _check_fields(rows: Iterable[Mapping[str, Any]]) -> Iterator[Complaint]:
    keys: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        keys[row["key"]] += 1
        for message in _field_problems(row):
            yield Complaint("error", message, row=number, path=f"{FIELDS_NAME}: {row['path']}")
    for key, n in keys.items():
        if n > 1:
            yield _error(f"Field {key} is there {n} times.", FIELDS_NAME)


def _field_problems(row: Mapping[str, Any]) -> Iterator[str]:
    status, confluency = row["status"], row["confluency_percent"]
    if status not in ("scored", "rejected", "failed"):
        yield f"status is {status!r}; a field is scored, rejected or failed."
    elif status == "scored":
        if confluency is None or not 0 <= confluency <= 100:
            yield f"confluency_percent is {confluency}; a scored field has one from 0 to 100."
        if row["judgeable_percent"] is None or not 0 < row["judgeable_percent"] <= 100:
            yield f"judgeable_percent is {row['judgeable_percent']}; a scored field has some judgeable area."
        if row["labels"] is None or row["image_sha256"] is None:
            yield "a scored field names its labels and the sha256 of its image."
    else:
        if confluency is not None:
            yield f"confluency_percent is {confluency}, but the field was {status}."
        if not row["reason"]:
            yield f"the field was {status} without a reason."


def _check_counts(rows: Iterable[Mapping[str, Any]], record: Mapping[str, Any]) -> Iterator[Complaint]:
    counts = Counter(row["status"] for row in rows)
    found = {
        "fields": counts.total(),
        "pending": 0,
        **{name: counts[name] for name in ("scored", "rejected", "failed")},
    }
    for name, n in found.items():
        if record["counts"][name] != n:
            yield _error(f"counts.{name} is {record['counts'][name]}, but {FIELDS_NAME} has {n}.", RUN_NAME)
    state = "done-with-failures" if counts["failed"] else "done"
    if record["state"] != state:
        yield _error(f"state is {record['state']}, but {counts['failed']} fields failed.", RUN_NAME)


def _check_labels(path: Path, rows: Iterable[Mapping[str, Any]]) -> Iterator[Complaint]:
    expected = {row["labels"]: row["labels_sha256"] for row in rows if row["labels"] is not None}
    for name, sha256 in expected.items():
        if not (path / name).exists():
            continue  # said by the hash check
        if _content(path / name) != sha256:
            yield _error("The labels were changed after the run: they do not have their labels_sha256.", name)
        else:
            yield from _check_judged(path, name)


def _check_judged(path: Path, name: str) -> Iterator[Complaint]:
    try:
        if not is_within_judgeable(path / name):
            yield _error("Cells are marked where nothing was judged.", name)
    except InvalidDataError as err:
        yield _error(f"The labels cannot be checked: {err}", name)


def _check_images(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Iterator[Complaint]:
    unreachable = 0
    for row in rows:
        source = folder / row["path"]
        if row["image_sha256"] is None:
            continue  # it could not be read when it was scored
        if not source.exists():
            unreachable += 1
        elif _content(source) != row["image_sha256"]:
            yield _error("The raw image is not the one that was scored.", str(source))
    if unreachable:
        yield Complaint(
            "warning", f"{unreachable} raw images cannot be reached and were not compared.", path=str(folder)
        )


def _content(path: Path) -> str | None:
    try:
        return content_sha256(path)
    except InvalidDataError:
        return None
