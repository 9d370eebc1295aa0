"""The files of a finished run that decisions rest on: read once, hashed as they were read, and held against each other.

What is judged is what was hashed: each file is read into memory, and its hash and its content are of the same bytes.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from msc_vision.batch.store import FIELDS_NAME, HASHES_NAME, LAYERS_NAME, RUN_NAME, VESSELS_NAME
from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.io.sealed import canonical_sha256
from msc_vision.statistics.rollup import ScoredField

READ = (HASHES_NAME, VESSELS_NAME, LAYERS_NAME, FIELDS_NAME)
"""What a decision names as its inputs. run.json holds times and is not among them; its settings have a hash of their
own."""
_COMPLETE = ("done", "done-with-failures")


@dataclass(frozen=True, slots=True)
class RunFiles:
    """What a run folder says, and whether it is as it was written.

    Attributes
    ----------
    folder : Path
    record, vessels : mapping
        Content of run.json and of vessels.json.
    sha256 : mapping of str to str
        Of the bytes of every file in `READ`.
    problems : tuple of str
        What contradicts itself; sentences.
    fields_bytes : bytes
        Content of fields.parquet.
    reviews : mapping of str to str
        sha256 of every file of the review, by its name in the run folder; empty without a review.
    overlay : mapping of str to mapping
        By the key of a field what its review changes in its row.
    reviewed_fields : mapping of str to ScoredField
        By key the fields that the review changed.
    holds : mapping of str to tuple of str
        By vessel who asks that it be looked at again; clauses.
    """

    folder: Path
    record: Mapping[str, Any]
    vessels: Mapping[str, Any]
    sha256: Mapping[str, str]
    problems: tuple[str, ...]
    fields_bytes: bytes
    reviews: Mapping[str, str] = field(default_factory=dict)
    overlay: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reviewed_fields: Mapping[str, ScoredField] = field(default_factory=dict)
    holds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def field_rows(self, vessel_ids: Sequence[str], columns: Sequence[str]) -> list[dict[str, Any]]:
        """Return the fields of some vessels, of every time point; columns that an older version lacks are left out.

        Raises
        ------
        InvalidDataError
            If fields.parquet cannot be read.
        """
        try:
            file = pq.ParquetFile(pa.BufferReader(self.fields_bytes))
            known = [name for name in columns if name in file.schema_arrow.names]
            table = file.read(columns=known)
            rows: list[dict[str, Any]] = table.filter(pc.field("vessel_id").isin(vessel_ids)).to_pylist()
        except (OSError, pa.ArrowException) as err:
            raise _unreadable(self.folder / FIELDS_NAME, err) from err
        return [{**row, **self.overlay.get(str(row.get("key")), {})} for row in rows] if self.overlay else rows


def read_run_files(run: Path) -> RunFiles:
    """Return what a run folder says.

    Raises
    ------
    InvalidArgumentError
        If it is no run folder, or its run has no results yet.
    InvalidDataError
        If a file is missing or cannot be read.
    """
    record = _object(run / RUN_NAME, read_bytes(run, RUN_NAME))
    state = record.get("state")
    if state not in _COMPLETE and not (run / VESSELS_NAME).is_file():
        raise InvalidArgumentError(f"{run} is not finished (its state is {state}); go on with --resume.")
    content = {name: read_bytes(run, name) for name in READ}
    sha256 = {name: hashlib.sha256(one).hexdigest() for name, one in content.items()}
    return RunFiles(
        folder=run,
        record=record,
        vessels=_object(run / VESSELS_NAME, content[VESSELS_NAME]),
        sha256=sha256,
        problems=(*_of_record(record), *_of_hashes(record, _object(run / HASHES_NAME, content[HASHES_NAME]), sha256)),
        fields_bytes=content[FIELDS_NAME],
    )


def read_bytes(run: Path, name: str) -> bytes:
    """Return the content of a file of a run folder.

    Raises
    ------
    InvalidArgumentError
        If the folder is no run folder.
    InvalidDataError
        If the file is missing or cannot be read.
    """
    if not (run / RUN_NAME).is_file():
        raise InvalidArgumentError(f"{run} is no run folder (no {RUN_NAME}).")
    try:
        return (run / name).read_bytes()
    except FileNotFoundError as err:
        raise InvalidDataError(f"{run}: {name} is missing; check with `msc-vision verify`.") from err
    except OSError as err:
        raise _unreadable(run / name, err) from err


def read_object(run: Path, name: str) -> dict[str, Any]:
    """Return the JSON object in a file of a run folder; errors as `read_bytes`, also if it holds no object."""
    return _object(run / name, read_bytes(run, name))


def _object(path: Path, content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise _unreadable(path, err) from err
    if not isinstance(found, dict):
        raise InvalidDataError(f"{path}: holds {type(found).__name__}, not an object.")
    return found


def _unreadable(path: Path, err: Exception) -> InvalidDataError:
    said = " ".join(str(err).split())[:200]
    return InvalidDataError(f"{path}: cannot be read ({said}); check with `msc-vision verify`.")


def _of_record(record: Mapping[str, Any]) -> Iterator[str]:
    """Say what run.json tells against its own run."""
    if record.get("state") not in _COMPLETE:
        yield f"The run is {record.get('state')}, not complete: resume it before relying on it."
    counts = record.get("counts")
    pending = counts.get("pending") if isinstance(counts, dict) else None
    if pending != 0:
        yield f"Of the fields, {'an unknown number' if pending is None else pending} were not scored yet."
    rest = {name: value for name, value in record.items() if name != "record_sha256"}
    if _sha256_of(rest) != record.get("record_sha256"):
        yield f"{RUN_NAME} was changed after it was written: its content does not have its record_sha256."
    if _sha256_of(record.get("settings")) != record.get("settings_sha256"):
        yield f"The settings in {RUN_NAME} do not have the settings_sha256 that stands beside them."


def _of_hashes(record: Mapping[str, Any], hashes: Mapping[str, Any], found: Mapping[str, str]) -> Iterator[str]:
    """Say which file does not have the hash it was written with."""
    if found[HASHES_NAME] != record.get("hashes_sha256"):
        yield f"{HASHES_NAME} is not the list of hashes that {RUN_NAME} was written with."
    for name in READ:
        if name != HASHES_NAME and hashes.get(name) != found[name]:
            yield f"{name} was changed after the run: its content does not have the hash in {HASHES_NAME}."


def _sha256_of(content: Any) -> str | None:
    """Return the hash of a JSON object; None if it cannot have one, because it holds NaN or is no object."""
    if not isinstance(content, dict):
        return None
    try:
        return canonical_sha256(content)
    except ValueError:
        return None
