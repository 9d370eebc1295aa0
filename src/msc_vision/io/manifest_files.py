"""Manifests on disk: CSV or Parquet, checked against the shipped JSON Schema; all complaints at once."""

import csv
import difflib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from functools import cache
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.io.patterns import COLUMNS
from msc_vision.records import Complaint, Manifest, ManifestRow

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

MAX_LISTED = 20
UNKNOWN_LAYER = 0  # a drafted row whose layer nothing tells; written as an empty cell, refused when read
INTEGER_COLUMNS = frozenset({"layer", "passage"})
NUMBER_COLUMNS = frozenset({"y_um", "x_um", "z_um", "pixel_size_um", "pdl"})
CSV_SUFFIXES, PARQUET_SUFFIXES = (".csv", ".tsv"), (".parquet", ".pq")

_NUMBER = re.compile(r"[+-]?(\d{1,40}\.?\d{0,400}|\.\d{1,400})([eE][+-]?\d{1,4})?", re.ASCII)

RawRow = dict[str, Any]


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema of a manifest: an array of rows."""
    schema: dict[str, Any] = json.loads(
        (files("msc_vision.io") / "data" / "manifest.schema.json").read_text(encoding="utf-8")
    )
    return schema


def read_manifest(path: Path | str) -> Manifest:
    """Read a manifest from CSV (comma, semicolon or tab; UTF-8) or Parquet.

    Parameters
    ----------
    path : path
        ``.csv``, ``.tsv``, ``.parquet`` or ``.pq``. Image paths in it are relative to its folder, or absolute.

    Returns
    -------
    Manifest
        Rows in the order of the file. An empty cell or a null is None.

    Raises
    ------
    InvalidDataError
        If the file cannot be read or breaks the schema; the message lists what is wrong, by row and file, up to 20.
    InvalidArgumentError
        If there is no such file or its suffix is another.
    """
    path = Path(path)
    _check_suffix(path)
    if not path.is_file():
        raise InvalidArgumentError(f"{path}: there is no such manifest file.")
    raw_rows = _read_csv(path) if path.suffix.lower() in CSV_SUFFIXES else _read_parquet(path)
    if not raw_rows:
        raise InvalidDataError(f"{path}: the manifest has no rows.")
    complaints: list[Complaint] = []
    rows: list[ManifestRow] = []
    for number, raw in enumerate(raw_rows, start=1):
        wrong = [Complaint("error", text, number, _path_of(raw)) for text in row_problems(raw)]
        complaints += wrong
        if not wrong:
            rows.append(_to_row(raw))
    raise_complaints(path, complaints)
    return Manifest(path.parent, tuple(rows))


def raise_complaints(path: Path, complaints: Sequence[Complaint]) -> None:
    """Raise one `InvalidDataError` that lists the errors among some complaints, the first 20 in full.

    Raises
    ------
    InvalidDataError
        If any complaint is an error.
    """
    errors = [complaint for complaint in complaints if complaint.severity == "error"]
    if not errors:
        return
    lines = [f"  {str(error).removeprefix('error: ')}" for error in errors[:MAX_LISTED]]
    if len(errors) > MAX_LISTED:
        lines.append(f"  and {len(errors) - MAX_LISTED} more")
    things = "1 thing is" if len(errors) == 1 else f"{len(errors)} things are"
    raise InvalidDataError("\n".join((f"{path}: {things} wrong with this manifest:", *lines)))


def row_problems(raw: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with one row of plain values, each as a full sentence; empty if nothing is."""
    problems = []
    for error in sorted(_validator().iter_errors(raw), key=lambda one: [str(step) for step in one.path]):
        if error.validator == "required":
            problems += [f"{name} is missing: {_meaning(name)}." for name in error.validator_value if name not in raw]
        elif error.path:
            name = str(error.path[0])
            problems.append(f"{name} is {error.instance!r}; it must be {_meaning(name)}.")
        else:
            problems.append(f"{error.message}.")
    if not problems and "acquired_at" in raw and parse_time(raw["acquired_at"]) is None:
        problems.append(f"acquired_at is {raw['acquired_at']!r}, which no calendar or clock shows.")
    return list(dict.fromkeys(problems))


@cache
def _validator() -> "Draft202012Validator":
    from jsonschema import Draft202012Validator  # a tenth of a second that only readers should pay

    return Draft202012Validator(manifest_schema()["$defs"]["row"])


def _meaning(column: str) -> str:
    return str(manifest_schema_columns()[column]["description"])


@cache
def manifest_schema_columns() -> Mapping[str, Mapping[str, Any]]:
    """Return what the schema says of each column."""
    columns: Mapping[str, Mapping[str, Any]] = manifest_schema()["$defs"]["row"]["properties"]
    return columns


def parse_time(text: str) -> datetime | None:
    """Return an ISO 8601 date and time, with its zone if it states one; None if it is none."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _to_row(raw: Mapping[str, Any]) -> ManifestRow:
    values: RawRow = {name: float(value) if name in NUMBER_COLUMNS else value for name, value in raw.items()}
    return ManifestRow(**values)


def _path_of(raw: Mapping[str, Any]) -> str | None:
    return str(raw["path"]) if "path" in raw else None


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in CSV_SUFFIXES + PARQUET_SUFFIXES:
        known = ", ".join(CSV_SUFFIXES + PARQUET_SUFFIXES)
        raise InvalidArgumentError(f"{path}: a manifest is one of {known}, not {path.suffix or 'without a suffix'!r}.")


# --- CSV ---------------------------------------------------------------------------------------------------------


def _read_csv(path: Path) -> list[RawRow]:
    text = _read_text(path)
    try:
        lines = list(csv.reader(StringIO(text, newline=""), delimiter=_delimiter(text), strict=True))
    except csv.Error as err:
        raise InvalidDataError(f"{path}: not readable as CSV: {err}.") from err
    if not lines:
        raise InvalidDataError(f"{path}: the manifest is empty.")
    header = [name.strip().casefold() for name in lines[0]]
    _check_header(path, header)
    cells = [line for line in lines[1:] if any(cell.strip() for cell in line)]
    _check_widths(path, header, cells)
    return [
        {name: _from_text(name, cell) for name, cell in zip(header, line, strict=True) if cell.strip()}
        for line in cells
    ]


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as err:
        seen = f"byte 0x{err.object[err.start]:02x} at {err.start}"
        raise InvalidDataError(f"{path}: not UTF-8 text ({seen}); save it as CSV UTF-8.") from err
    except OSError as err:
        raise InvalidDataError(f"{path}: cannot be read: {err}.") from err


def _delimiter(text: str) -> str:
    """Return the separator that makes the most known columns out of the first line."""
    first = text.split("\n", 1)[0]
    return max(",;\t", key=lambda mark: sum(name.strip().casefold() in COLUMNS for name in first.split(mark)))


def _check_header(path: Path, header: Sequence[str]) -> None:
    problems = []
    for name in dict.fromkeys(header):
        if header.count(name) > 1:
            problems.append(f"column {name!r} comes twice")
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, n=1)
            problems.append(f"unknown column {name!r}" + (f" (did you mean {near[0]}?)" if near else ""))
    required = manifest_schema()["$defs"]["row"]["required"]
    problems += [f"column {name!r} is missing" for name in required if name not in header]
    if problems:
        raise InvalidDataError(f"{path}: {'; '.join(problems)}. Columns of a manifest: {', '.join(COLUMNS)}.")


def _check_widths(path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    at = header.index("path")
    complaints = [
        Complaint(
            "error",
            f"{len(line)} cells, but the header has {len(header)} columns; a cell that holds a comma needs quotes.",
            number,
            line[at] if at < len(line) else None,
        )
        for number, line in enumerate(lines, start=1)
        if len(line) != len(header)
    ]
    raise_complaints(path, complaints)


def _from_text(column: str, cell: str) -> Any:
    """Return a cell as the type of its column; text that is no number stays text, for the schema to refuse."""
    if column == "path":
        return cell
    text = cell.strip()
    if column in INTEGER_COLUMNS | NUMBER_COLUMNS and _NUMBER.fullmatch(text):
        return _settle_number(column, int(text) if text.lstrip("+-").isdecimal() else float(text))
    return text


def _settle_number(column: str, value: float) -> Any:
    """Return a whole number for a whole-number column; infinity as text, for the schema to refuse."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if column in INTEGER_COLUMNS and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


# --- Parquet -----------------------------------------------------------------------------------------------------


def _read_parquet(path: Path) -> list[RawRow]:
    import pyarrow as pa  # heavy
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as err:
        raise InvalidDataError(f"{path}: not readable as Parquet: {' '.join(str(err).split())}.") from err
    names = [str(name).strip().casefold() for name in table.column_names]
    _check_header(path, names)
    columns = [table.column(index).to_pylist() for index in range(len(names))]
    return [
        {name: value for name, cell in zip(names, cells, strict=True) if (value := _from_cell(name, cell)) is not None}
        for cells in zip(*columns, strict=True)
    ]


def _from_cell(column: str, cell: Any) -> Any:
    """Return a Parquet cell as the type of its column; None for null, NaN and blank text."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and not cell.strip()):
        return None
    if isinstance(cell, datetime):
        return cell.isoformat()
    if isinstance(cell, str):
        return _from_text(column, cell)
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        if column in INTEGER_COLUMNS | NUMBER_COLUMNS:
            return _settle_number(column, cell)
        return str(cell) if isinstance(cell, int) else cell
    return cell


# --- writing -----------------------------------------------------------------------------------------------------


def write_manifest(manifest: Manifest, path: Path | str) -> None:
    """Write a manifest as CSV or Parquet, whole or not at all; every column is there, unknown values are empty.

    Parameters
    ----------
    manifest : Manifest
        Relative image paths are rewritten if the file goes to another folder than ``manifest.folder``.
    path : path
        ``.csv`` or ``.tsv`` (UTF-8), ``.parquet`` or ``.pq``.

    Raises
    ------
    InvalidArgumentError
        If the suffix is another.
    InvalidDataError
        If a text cannot be written as UTF-8, such as a file name in an old encoding.
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    _check_suffix(path)
    rows = [_plain(replace(row, path=_rebased(manifest, row, path.parent))) for row in manifest.rows]
    for number, row in enumerate(rows, start=1):
        _check_unicode(path, number, row)
    if path.suffix.lower() in CSV_SUFFIXES:
        content = _csv_bytes(rows, "\t" if path.suffix.lower() == ".tsv" else ",")
    else:
        content = _parquet_bytes(rows)
    _write_whole(path, content)


def _rebased(manifest: Manifest, row: ManifestRow, folder: Path) -> str:
    if Path(row.path).is_absolute() or folder.resolve() == manifest.folder.resolve():
        return row.path
    target = manifest.image_path(row).absolute()
    try:
        return Path(os.path.relpath(target, folder.absolute())).as_posix()
    except ValueError:  # another drive of Windows: no relative path leads there
        return target.as_posix()


def _plain(row: ManifestRow) -> RawRow:
    values = asdict(row)
    return {
        name: None if value == "" or (name, value) == ("layer", UNKNOWN_LAYER) else value
        for name, value in values.items()
    }


def _check_unicode(path: Path, number: int, row: RawRow) -> None:
    for column, value in row.items():
        if isinstance(value, str):
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as err:
                raise InvalidDataError(
                    f"{path}: row {number}: {column} {value!r} is not valid Unicode; rename the file or mend the text."
                ) from err


def _csv_bytes(rows: Sequence[RawRow], delimiter: str) -> bytes:
    text = StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([_to_text(row[name]) for name in COLUMNS] for row in rows)
    return text.getvalue().encode("utf-8")


def _to_text(value: object) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _parquet_bytes(rows: Sequence[RawRow]) -> bytes:
    import pyarrow as pa  # heavy
    import pyarrow.parquet as pq

    kinds = {**dict.fromkeys(INTEGER_COLUMNS, pa.int64()), **dict.fromkeys(NUMBER_COLUMNS, pa.float64())}
    schema = pa.schema([pa.field(name, kinds.get(name, pa.string())) for name in COLUMNS])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _write_whole(path: Path, content: bytes) -> None:
    """Write beside the target, then rename: a reader never sees half a manifest."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as err:
        raise OutputError(f"{path}: the manifest cannot be written: {err.strerror or err}.") from err
