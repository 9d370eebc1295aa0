"""Canonical JSON (RFC 8785) of figures with four decimals, and the hashes of it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

_DECIMALS = 4
_LARGEST_EXACT = 2.0**53 - 1
_ENCODE = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def plain(value: Any) -> Any:
    """Return a value as canonical JSON can hold it: four decimals, whole numbers as such.

    What is no number, or larger than any figure of a culture (2**53), is null.
    """
    if isinstance(value, float):
        return plain_number(value)
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def plain_number(value: float) -> float | int | None:
    """Return a number as canonical JSON can hold it; see `plain`."""
    if not abs(value) <= _LARGEST_EXACT:
        return None
    rounded = round(value, _DECIMALS)
    whole = int(rounded)
    return whole if rounded == whole else rounded


def canonical_text(content: Any) -> str:
    """Return plain content as canonical JSON."""
    return _ENCODE(content)


def text_of_parts(parts: Mapping[str, str], left_out: Iterable[str] = ()) -> str:
    """Return the canonical JSON of an object whose values are canonical JSON already."""
    names = sorted(parts.keys() - set(left_out))
    return "{" + ",".join(f'"{name}":{parts[name]}' for name in names) + "}"


def sha256_of(text: str) -> str:
    """Return the sha256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()
