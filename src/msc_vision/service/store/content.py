"""The canonical content of a row: one text and one sha256, whichever database holds it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Table

from msc_vision.errors import InvalidArgumentError

Row = Mapping[str, Any]
FIRST_SHA256: Final = "0" * 64  # what the first audit entry names as its predecessor
_INTEGER_LIMIT: Final = 2**63


def utc_text(at: datetime | None = None) -> str:
    """Return a time (default: now) as ISO 8601 text in UTC with milliseconds: it sorts as it reads."""
    return (at or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds")


def canonical_json(content: Any) -> str:
    """Return JSON that does not depend on the order of keys or on white space.

    Raises
    ------
    InvalidArgumentError
        If it holds a NaN, an infinity or something that JSON does not know.
    """
    try:
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as err:
        raise InvalidArgumentError(f"Not JSON: {err}.") from err


def text_sha256(text: str) -> str:
    """Return the sha256 of a text in UTF-8; bytes that are no UTF-8 count as they were read."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def row_sha256(row: Row) -> str:
    """Return the sha256 of a row's columns and values, of a damaged row too, so that it can be compared.

    Columns without a value do not count, so a column that a later version adds leaves old rows as they are.
    """
    content = {name: value for name, value in row.items() if value is not None}
    return text_sha256(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=repr))


def row_id(table: Table, row: Row) -> str:
    """Return what names a row in the audit log: its key, or a JSON list of the parts of its key."""
    parts = [row[column.name] for column in table.primary_key]
    return str(parts[0]) if len(parts) == 1 else canonical_json(parts)


def stored_row(table: Table, row: Row) -> dict[str, Any]:
    """Return a row as both databases give it back: every column, doubles as doubles, no negative zero.

    Raises
    ------
    InvalidArgumentError
        If a column is unknown or lacking, or a value is one that a database cannot keep unchanged.
    """
    slots = _slots(table)
    if unknown := sorted(set(row) - {slot.name for slot in slots}):
        raise InvalidArgumentError(f"{table.name} has no column {', '.join(unknown)}.")
    return {slot.name: _stored_value(slot, row.get(slot.name)) for slot in slots}


@dataclass(frozen=True, slots=True)
class _Slot:
    """What may stand in a column; asked for once per table, as every write needs it."""

    name: str
    place: str
    kind: type
    is_nullable: bool


@cache
def _slots(table: Table) -> tuple[_Slot, ...]:
    return tuple(
        _Slot(column.name, f"{table.name}.{column.name}", column.type.python_type, bool(column.nullable))
        for column in table.columns
    )


def _stored_value(slot: _Slot, value: object) -> str | int | float | None:
    if value is None:
        if not slot.is_nullable:
            raise InvalidArgumentError(f"{slot.place} needs a value.")
        return None
    if slot.kind is str:
        return _stored_text(slot.place, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgumentError(f"{slot.place} is a number; got {type(value).__name__}.")
    if slot.kind is float:
        return _stored_double(slot.place, value)
    if not isinstance(value, int) or not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
        raise InvalidArgumentError(f"{slot.place} is a whole number of 64 bits; got {value!r}.")
    return value


def _stored_text(place: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{place} is text; got {type(value).__name__}.")
    if "\x00" in value:
        raise InvalidArgumentError(f"{place} holds a zero character, which a database cannot keep.")
    try:
        value.encode()
    except UnicodeEncodeError as err:
        raise InvalidArgumentError(f"{place} holds half a character (a lone surrogate).") from err
    return str(value)


def _stored_double(place: str, value: float) -> float:
    try:
        number = float(value)
    except OverflowError as err:
        raise InvalidArgumentError(f"{place}: {value} is too large for a double.") from err
    if number - number != 0.0:
        raise InvalidArgumentError(f"{place} is {number}: store a missing number as none.")
    return number + 0.0  # -0.0 becomes 0.0, as SQLite returns it
